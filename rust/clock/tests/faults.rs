//! Sources that lie: readings that run backwards, jump, and lie beyond every range, from several threads at once.

#![cfg(not(loom))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_clock::{
    ClockError, ClockOptions, DEFAULT_MAX_DRIFT_NS, HybridLogicalClock, NodeId, STAMP_RESOLUTION_NS, Stamp, TimeSource,
};
use proptest::prelude::*;
use std::sync::Barrier;
use std::thread;

const NODE: NodeId = NodeId([7; 16]);
const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const THREADS: usize = 4;

fn clock() -> HybridLogicalClock {
    HybridLogicalClock::new(TimeSource::simulated(START_NS), NODE)
}

/// Readings of a source that goes wrong: near a start, hours before and after it, and at the ends of the range.
fn readings() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => START_NS - 10 * STAMP_RESOLUTION_NS..START_NS + 10 * STAMP_RESOLUTION_NS,
        2 => START_NS - 3_600 * SECOND_NS..START_NS + 3_600 * SECOND_NS,
        1 => prop::sample::select(vec![i64::MIN, -1, 0, 1]),
    ]
}

/// What one thread asks of a clock.
#[derive(Clone, Debug)]
enum Step {
    Now(i64),
    Many(i64, usize),
    Receive(i64, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => readings().prop_map(Step::Now),
        1 => (readings(), 1_usize..100).prop_map(|(reading, count)| Step::Many(reading, count)),
        1 => (readings(), readings()).prop_map(|(reading, remote)| Step::Receive(reading, remote)),
    ];
    prop::collection::vec(step, 1..60)
}

/// Does it, and gives back the stamps, in the order in which this thread got them.
fn run(clock: &HybridLogicalClock, steps: &[Step]) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    for step in steps {
        match *step {
            Step::Now(reading) => stamps.push(clock.now_at(reading).unwrap()),
            Step::Many(reading, count) => stamps.extend(clock.now_many_at(reading, count).unwrap()),
            Step::Receive(reading, remote_ns) => {
                let remote = Stamp::from_time_ns(remote_ns);
                let ahead_ns = remote.time_ns().saturating_sub(reading);
                match clock.receive_at(reading, remote) {
                    Ok(stamp) => {
                        assert!(stamp > remote, "{stamp:?} is not after the {remote:?} that was received");
                        assert!(ahead_ns <= DEFAULT_MAX_DRIFT_NS, "{ahead_ns} ns ahead, and not refused");
                        stamps.push(stamp);
                    }
                    Err(ClockError::Drift { .. }) => {
                        assert!(ahead_ns > DEFAULT_MAX_DRIFT_NS, "only {ahead_ns} ns ahead")
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    stamps
}

proptest! {
    #[test]
    fn stamps_rise_by_one_thread_whatever_its_source_reads(steps in steps()) {
        let clock = clock();
        let mut newest_ns = i64::MIN;
        let mut last = clock.last();
        for step in steps {
            for stamp in run(&clock, std::slice::from_ref(&step)) {
                prop_assert!(stamp > last, "{stamp:?} after {last:?}");
                last = stamp;
            }
            if let Step::Now(reading) | Step::Many(reading, _) = step {
                newest_ns = newest_ns.max(reading);
                // Neither back to a source that steps back, nor behind one that goes on.
                prop_assert!(last.time_ns() + STAMP_RESOLUTION_NS > newest_ns);
            }
        }
    }

    #[test]
    fn stamps_are_given_out_once_and_rise_in_every_thread_whatever_each_reads(
        programs in prop::collection::vec(steps(), THREADS),
    ) {
        let clock = clock();
        let begin = Barrier::new(THREADS);
        let all: Vec<Vec<Stamp>> = thread::scope(|scope| {
            let threads: Vec<_> = programs
                .iter()
                .map(|steps| {
                    scope.spawn(|| {
                        begin.wait();
                        run(&clock, steps)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for stamps in &all {
            prop_assert!(stamps.is_sorted_by(|one, other| one < other));
        }
        let mut every: Vec<_> = all.concat();
        let issued = every.len();
        every.sort_unstable();
        every.dedup();
        prop_assert_eq!(every.len(), issued);
        prop_assert_eq!(every.last().copied().unwrap_or(Stamp(0)).max(Stamp(0)), clock.last());
    }
}

#[test]
fn a_source_stuck_in_the_past_costs_the_counter_and_then_the_time_never_the_order() {
    let clock = clock();
    let ahead = clock.now_at(START_NS).unwrap();
    let mut last = ahead;
    for turn in 0..200_000 {
        let stamp = clock.now_at(START_NS - turn).unwrap();
        assert!(stamp > last);
        last = stamp;
    }
    // 65 536 stamps to a unit of time: so many more have carried it by three units.
    assert_eq!(last.time_ns() - ahead.time_ns(), 3 * STAMP_RESOLUTION_NS);
}

#[test]
fn a_source_that_jumps_to_the_end_of_the_range_exhausts_the_clock_with_an_error_and_stays_usable_for_reading() {
    let clock = clock();
    let last = clock.now_at(i64::MAX).unwrap();
    let mut count = 0_u64;
    let refused = loop {
        match clock.now_at(START_NS) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 1 << 17, "the range has no end");
    };
    assert!(matches!(refused, ClockError::Exhausted), "{refused}");
    assert!(clock.last() > last);
    assert!(matches!(clock.now(), Err(ClockError::Exhausted)));
}

#[test]
fn a_folder_keeps_its_bound_while_its_source_runs_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let source = TimeSource::simulated(START_NS);
    let options = ClockOptions { horizon_ns: Some(SECOND_NS), ..ClockOptions::default() };
    let mut last = Stamp(0);
    for turn in 0..20 {
        let clock = HybridLogicalClock::open_with_options(folder.path(), source.clone(), &options).unwrap();
        for back in 0..50 {
            let stamp = clock.now_at(START_NS - turn * SECOND_NS - back * SECOND_NS).unwrap();
            assert!(stamp > last, "{stamp:?} after {last:?}");
            last = stamp;
        }
        // Ahead again, beyond the horizon, before it falls back for the next turn.
        last = clock.now_at(last.time_ns() + 2 * SECOND_NS).unwrap();
    }
}
