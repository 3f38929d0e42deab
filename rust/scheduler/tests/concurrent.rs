//! Timers armed, cancelled and armed again by several threads at once, while they fire.
#![allow(clippy::unwrap_used, missing_docs)]

use chronofabric_clock::TimeSource;
use chronofabric_scheduler::{Action, Firing, Timer, Timers, TimersOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const THREADS: u64 = 4;
const TIMERS: usize = 64;
const STEPS: usize = 5_000;

#[derive(Debug, Default)]
struct Count {
    fired: AtomicU64,
    early: AtomicU64,
}

#[derive(Debug)]
struct Tell(Arc<Count>);

impl Action for Tell {
    fn fire(&self, firing: Firing) {
        self.0.fired.fetch_add(1, Ordering::Relaxed);
        if firing.now_ns < firing.due_ns {
            self.0.early.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What pseudorandom numbers are made of.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn until(timers: &Timers<Tell>, what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} timers are held", timers.len());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_timer_fires_or_is_cancelled_once_for_each_time_it_was_armed_whoever_did_it() {
    let timers = Arc::new(Timers::new(TimeSource::counter(), &TimersOptions::default()).unwrap());
    let counts: Vec<Arc<Count>> = (0..TIMERS).map(|_| Arc::default()).collect();
    let all: Vec<Arc<Timer<Tell>>> = counts.iter().map(|count| timers.timer(None, Tell(Arc::clone(count)))).collect();
    let (armed, cancelled) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (timers, all, armed, cancelled) = (&timers, &all, &armed, &cancelled);
            scope.spawn(move || {
                let mut state = seed;
                for _ in 0..STEPS {
                    let timer = &all[next(&mut state) as usize % TIMERS];
                    if next(&mut state).is_multiple_of(3) {
                        cancelled.fetch_add(u64::from(timers.cancel(timer)), Ordering::Relaxed);
                    } else {
                        let due_ns = timers.source().now_ns() + (next(&mut state) % 200_000) as i64;
                        timers.arm_again(timer, due_ns).unwrap();
                        armed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    until(&timers, || timers.is_empty());
    // What fires after all others has ended, too.
    let last: Arc<Count> = Arc::default();
    timers.arm(0, None, Tell(Arc::clone(&last))).unwrap();
    until(&timers, || last.fired.load(Ordering::Acquire) == 1);
    let fired = || counts.iter().map(|count| count.fired.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let before = fired();
    assert!(before.iter().sum::<u64>() + cancelled.load(Ordering::Relaxed) <= armed.load(Ordering::Relaxed));
    // None was lost on the way: each can be armed still, and fires once for it.
    for timer in &all {
        timers.arm_again(timer, timers.source().now_ns() + 100_000).unwrap();
    }
    until(&timers, || fired().iter().sum::<u64>() == before.iter().sum::<u64>() + TIMERS as u64);
    assert!(fired().iter().zip(&before).all(|(now, before)| *now == before + 1));
    assert!(counts.iter().all(|count| count.early.load(Ordering::Relaxed) == 0));
    assert_eq!(timers.close(), 0);
}
