//! Tests of the clock without a folder, held against a plain model; `tests/persistence.rs` has those with one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;
use std::thread;

const NODE: NodeId = NodeId([9; 16]);
const UNIT_NS: i64 = 15_259;

fn simulated(start_ns: i64) -> HybridLogicalClock {
    HybridLogicalClock::new(TimeSource::simulated(start_ns), NODE)
}

/// The clock as the paper writes it: time and counter apart, with the carry of a 16-bit counter.
#[derive(Debug, Default)]
struct Model {
    units: u64,
    counter: u64,
}

impl Model {
    fn now(&mut self, wall: u64) -> (u64, u64) {
        if wall > self.units {
            (self.units, self.counter) = (wall, 0);
        } else {
            self.counter += 1;
        }
        self.carried()
    }

    fn receive(&mut self, wall: u64, units: u64, counter: u64) -> (u64, u64) {
        let greatest = wall.max(self.units).max(units);
        self.counter = match (greatest == self.units, greatest == units) {
            (true, true) => self.counter.max(counter) + 1,
            (true, false) => self.counter + 1,
            (false, true) => counter + 1,
            (false, false) => 0,
        };
        self.units = greatest;
        self.carried()
    }

    fn carried(&mut self) -> (u64, u64) {
        if self.counter > u64::from(u16::MAX) {
            (self.units, self.counter) = (self.units + 1, 0);
        }
        (self.units, self.counter)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Now { wall: u64 },
    Receive { wall: u64, units: u64, counter: u16 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few units and counters at both ends, so that equal times, carries and steps back of the wall clock are common.
    let wall = 1_000..1_012_u64;
    let counter = prop_oneof![0..3_u16, u16::MAX - 2..=u16::MAX];
    let step = prop_oneof![
        wall.clone().prop_map(|wall| Step::Now { wall }),
        (wall.clone(), wall, counter).prop_map(|(wall, units, counter)| Step::Receive { wall, units, counter }),
    ];
    prop::collection::vec(step, 1..200)
}

fn start_ns(units: u64) -> i64 {
    Stamp::from_parts(units, 0).unwrap().time_ns()
}

proptest! {
    #[test]
    fn stamps_are_those_of_the_plain_model(steps in steps()) {
        let clock = simulated(0);
        let mut model = Model::default();
        let mut last = clock.last();
        for step in steps {
            let (stamp, expected) = match step {
                Step::Now { wall } => (clock.now_at(start_ns(wall)).unwrap(), model.now(wall)),
                Step::Receive { wall, units, counter } => {
                    let remote = Stamp::from_parts(units, counter).unwrap();
                    let stamp = clock.receive_at(start_ns(wall), remote).unwrap();
                    prop_assert!(stamp > remote);
                    (stamp, model.receive(wall, units, u64::from(counter)))
                }
            };
            prop_assert_eq!((stamp.units(), u64::from(stamp.counter())), expected);
            prop_assert!(stamp > last);
            prop_assert_eq!(stamp, clock.last());
            last = stamp;
        }
    }

    #[test]
    fn a_stamp_within_the_drift_is_accepted_and_one_beyond_is_refused(
        physical_ns in 0..4_000_000_000_000_000_000_i64,
        ahead_ns in -2_000_000_000..2_000_000_000_i64,
        max_drift_ns in 0..1_000_000_000_i64,
    ) {
        let options = ClockOptions { max_drift_ns, ..ClockOptions::default() };
        let clock = HybridLogicalClock::with_options(TimeSource::simulated(0), NODE, &options).unwrap();
        let remote = Stamp::from_time_ns(physical_ns + ahead_ns);
        let really_ahead_ns = remote.time_ns() - physical_ns;
        match clock.receive_at(physical_ns, remote) {
            Ok(stamp) => {
                prop_assert!(really_ahead_ns <= max_drift_ns);
                prop_assert!(stamp > remote);
            }
            Err(ClockError::Drift { remote: named, ahead_ns, limit_ns }) => {
                prop_assert!(really_ahead_ns > max_drift_ns);
                prop_assert_eq!((named, ahead_ns, limit_ns), (remote, really_ahead_ns, max_drift_ns));
                prop_assert_eq!(clock.last(), Stamp(0), "a refused stamp changed the clock");
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn batches_and_single_stamps_form_one_sequence(counts in prop::collection::vec(0..200_usize, 1..50)) {
        let clock = simulated(0);
        let mut last = clock.last();
        for count in counts {
            let stamps = clock.now_many_at(start_ns(1_000), count).unwrap();
            prop_assert_eq!(stamps.len(), count);
            for stamp in stamps.chain([clock.now_at(0).unwrap()]) {
                prop_assert!(stamp > last);
                last = stamp;
            }
        }
    }
}

#[test]
fn stamps_of_all_threads_are_unique_and_grow_within_each() {
    for source in [TimeSource::counter(), TimeSource::system(), TimeSource::simulated(5)] {
        let clock = HybridLogicalClock::new(source, NODE);
        let mut all: Vec<Stamp> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut stamps = Vec::new();
                        for index in 0..if cfg!(miri) { 50 } else { 5_000 } {
                            stamps.push(clock.now().unwrap());
                            if index % 50 == 0 {
                                stamps.push(clock.receive(clock.last()).unwrap());
                                stamps.extend(clock.now_many_at(clock.source().now_ns(), 3).unwrap());
                            }
                        }
                        assert!(stamps.is_sorted_by(|first, second| first < second), "{}", clock.source().name());
                        stamps
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let issued = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), issued, "{}: a stamp was issued twice", clock.source().name());
    }
}

#[test]
fn a_stamp_holds_the_time_of_its_source_within_a_unit() {
    for source in [TimeSource::counter(), TimeSource::system()] {
        let clock = HybridLogicalClock::new(source, NODE);
        let before = clock.source().now_ns();
        let stamp = clock.now().unwrap();
        let after = clock.source().now_ns();
        assert!(before - UNIT_NS < stamp.time_ns() && stamp.time_ns() <= after);
    }
}

#[test]
fn a_source_that_steps_back_does_not_take_stamps_back() {
    let clock = simulated(0);
    let before = clock.now_at(5_000_000_000).unwrap();
    let after = clock.now_at(1_000_000_000).unwrap();
    assert_eq!(after, Stamp(before.0 + 1));
}

#[test]
fn the_drift_error_names_both_distances_and_the_way_out() {
    let error = simulated(0).receive(Stamp::from_time_ns(700_000_000)).unwrap_err().to_string();
    assert!(error.contains("69999") || error.contains("700000000"), "{error}");
    assert!(error.contains("500000000 ns") && error.contains("synchronise"), "{error}");
}

#[test]
fn options_outside_their_limits_are_refused_with_the_limits_named() {
    for (options, name) in [
        (ClockOptions { max_drift_ns: -1, ..ClockOptions::default() }, "max_drift_ns is -1"),
        (ClockOptions { max_drift_ns: i64::MAX, ..ClockOptions::default() }, "max_drift_ns is 9223372036854775807"),
        (ClockOptions { horizon_ns: Some(0), ..ClockOptions::default() }, "horizon_ns is 0"),
    ] {
        let error = HybridLogicalClock::with_options(TimeSource::system(), NODE, &options).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("3600000000000"), "{error}");
    }
}

#[test]
fn the_last_stamp_of_the_range_is_an_error_not_a_wrap() {
    let clock = simulated(i64::MAX);
    let first = clock.now().unwrap();
    assert_eq!(first.units(), (1 << 48) - 1);
    assert!(matches!(clock.now_many_at(i64::MAX, 1 << 16), Err(ClockError::Exhausted)));
    assert!(matches!(clock.receive(Stamp(u64::MAX)), Err(ClockError::Exhausted)));
    assert_eq!(clock.now().unwrap(), Stamp(first.0 + 1));
}

#[test]
fn a_closed_clock_refuses_and_closing_again_does_nothing() {
    let clock = simulated(1_000_000);
    let last = clock.now().unwrap();
    clock.close().unwrap();
    clock.close().unwrap();
    assert!(matches!(clock.now(), Err(ClockError::Closed)));
    assert!(matches!(clock.receive(last), Err(ClockError::Closed)));
    assert!(!clock.extend().unwrap());
    assert_eq!(clock.extend_interval_ns(), None);
}

#[test]
fn a_clock_without_a_folder_has_nothing_to_extend() {
    let clock = simulated(0);
    assert_eq!(clock.extend_interval_ns(), None);
    assert!(!clock.extend().unwrap());
}

#[test]
fn a_stamp_with_its_node_is_that_of_the_clock() {
    let clock = simulated(0);
    let stamp = clock.now().unwrap();
    assert_eq!(clock.with_node(stamp), NodeStamp { stamp, node: NODE });
}

proptest! {
    #[test]
    fn a_unit_that_is_remembered_gives_the_word_that_dividing_gives(
        start_ns in prop_oneof![0_i64..100_000, Just(-5), 1_700_000_000_000_000_000_i64..1_800_000_000_000_000_000],
        steps in proptest::collection::vec(-20_000_i64..40_000, 1..200),
    ) {
        let unit = Unit::default();
        let mut time_ns = start_ns;
        for step in steps {
            time_ns += step;
            prop_assert_eq!(unit.word(time_ns), Stamp::from_time_ns(time_ns).0, "at {} ns", time_ns);
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn exclusive_stamps_are_those_of_the_shared_way(
        steps in proptest::collection::vec((0_i64..30_000, 1_usize..40), 1..100),
    ) {
        let clocks = [(), ()].map(|()| HybridLogicalClock::new(TimeSource::simulated(0), NodeId([1; 16])));
        let mut time_ns = 0;
        for (step, count) in steps {
            time_ns += step;
            // SAFETY: nobody else has the clock.
            let exclusive = unsafe { clocks[0].now_exclusively_at(time_ns, count) }.unwrap();
            prop_assert_eq!(Some(exclusive), clocks[1].now_many_at(time_ns, count).unwrap().next());
            prop_assert_eq!(clocks[0].last(), clocks[1].last());
        }
    }
}
