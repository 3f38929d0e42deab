//! The queue of execution by deadline at depth 256, beside a binary heap that cannot cancel: one thread, and two threads
//! that share it behind a lock. Percentiles are of single pairs of push and pop, each timed by itself, less what timing
//! nothing takes in the median; they are printed beside the means, with their limits.
#![allow(clippy::unwrap_used, missing_docs)]

use chronofabric_clock::TimeSource;
use chronofabric_scheduler::DeadlineQueue;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::sync::{Barrier, Mutex};

const DEPTH: i64 = 256;
const PAIRS: usize = 1_000_000;
const ROUNDS: usize = 9;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 1) as i64 % bound
    }
}

fn filled(random: &mut Random) -> DeadlineQueue<u64> {
    let mut queue = DeadlineQueue::new(4_096);
    for number in 0..DEPTH {
        queue.push(random.below(1_000_000), 1, number as u64).unwrap();
    }
    queue
}

/// How long each of many calls takes, shortest first.
fn timed(source: &TimeSource, mut call: impl FnMut()) -> Vec<i64> {
    let mut took: Vec<i64> = (0..PAIRS)
        .map(|_| {
            let began = source.now_ns();
            call();
            source.now_ns() - began
        })
        .collect();
    took.sort_unstable();
    took
}

/// A percentile of what calls take less what timing nothing takes in the median; all threads begin at once.
fn percentiles(percents: &[usize], all: &Barrier, call: impl FnMut()) -> Vec<i64> {
    let source = TimeSource::counter();
    let nothing = timed(&source, || {})[PAIRS / 2];
    all.wait();
    let took = timed(&source, call);
    percents.iter().map(|percent| took[PAIRS * percent / 100] - nothing).collect()
}

/// Prints a percentile beside what it is to stay within.
fn print(name: &str, ns: i64, limit: i64) {
    let verdict = if ns <= limit { "met" } else { "MISSED" };
    println!("{name}: {ns} ns, limit {limit} ns, {verdict}");
}

fn pairs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push and pop at depth 256");
    group.throughput(Throughput::Elements(1));
    let mut random = Random(3);
    let mut queue = filled(&mut random);
    // Later deadlines than those popped, as a running system has.
    let mut base = 0;
    let mut pair = || {
        black_box(queue.push(base + random.below(1_000_000), 1, 7).unwrap());
        if let Some((deadline_ns, value)) = queue.pop() {
            base = deadline_ns;
            black_box(value);
        }
    };
    group.bench_function("DeadlineQueue", |bencher| bencher.iter(&mut pair));
    let took = percentiles(&[50, 99], &Barrier::new(1), &mut pair);
    print("one producer, p50", took[0], 60);
    print("one producer, p99", took[1], 200);
    let mut random = Random(3);
    let mut heap: BinaryHeap<Reverse<(i64, u8, u64)>> =
        (0..DEPTH).map(|number| Reverse((random.below(1_000_000), 1, number as u64))).collect();
    let mut base = 0;
    group.bench_function("BinaryHeap, no handle", |bencher| {
        bencher.iter(|| {
            heap.push(Reverse((base + random.below(1_000_000), 1, 7)));
            if let Some(Reverse((deadline_ns, _, value))) = heap.pop() {
                base = deadline_ns;
                black_box(value);
            }
        });
    });
    group.finish();
}

/// How long the slower of two threads takes in the 99th percentile that share a queue behind a lock.
fn two_producers_ns() -> i64 {
    let queue = Mutex::new(filled(&mut Random(5)));
    let all = Barrier::new(2);
    std::thread::scope(|scope| {
        let producers = [5, 6].map(|seed| {
            let (queue, all) = (&queue, &all);
            scope.spawn(move || {
                let mut random = Random(seed);
                percentiles(&[99], all, || {
                    let mut queue = queue.lock().unwrap();
                    black_box(queue.push(random.below(1_000_000), 1, 7).unwrap());
                    black_box(queue.pop());
                })
            })
        });
        producers.into_iter().map(|producer| producer.join().unwrap()[0]).max().unwrap()
    })
}

fn two_producers(_criterion: &mut Criterion) {
    let mut rounds: Vec<i64> = (0..ROUNDS).map(|_| two_producers_ns()).collect();
    rounds.sort_unstable();
    let name = format!(
        "two producers, p99, of {ROUNDS} rounds between {} and {} ns the median",
        rounds[0],
        rounds[ROUNDS - 1]
    );
    print(&name, rounds[ROUNDS / 2], 500);
}

criterion_group!(benches, pairs, two_producers);
criterion_main!(benches);
