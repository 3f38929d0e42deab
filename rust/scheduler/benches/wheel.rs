//! The wheel with a million timers held, beside tokio's `DelayQueue` and a heap that forgets cancelled timers lazily.
//!
//! Instants are uniform over 60 s. `arm and cancel` is of one timer; `cancel and arm` takes a random one and puts another in
//! its place, so it touches memory everywhere. The drain of the heap and of the wheel fires what is left of 100 000 timers of
//! which half were cancelled.
#![allow(clippy::unwrap_used, missing_docs)]

use chronofabric_scheduler::Wheel;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hint::black_box;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio_util::time::DelayQueue;

const HELD: usize = 1_000_000;
const DRAINED: u64 = 100_000;
const SPAN_NS: u64 = 60_000_000_000;

/// Marsaglia's xorshift, so that numbers cost next to nothing.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn instant_ns(&mut self) -> i64 {
        (self.next() % SPAN_NS) as i64 + 1
    }

    fn place(&mut self) -> usize {
        self.next() as usize % HELD
    }
}

/// A heap that skips, when it meets them, the timers that were cancelled.
#[derive(Default)]
struct LazyHeap {
    heap: BinaryHeap<Reverse<(i64, u64)>>,
    cancelled: HashSet<u64>,
    last: u64,
}

impl LazyHeap {
    fn arm(&mut self, due_ns: i64) -> u64 {
        self.last += 1;
        self.heap.push(Reverse((due_ns, self.last)));
        self.last
    }

    fn pop(&mut self) -> Option<u64> {
        loop {
            let Reverse((_, number)) = self.heap.pop()?;
            if !self.cancelled.remove(&number) {
                return Some(number);
            }
        }
    }
}

fn held(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one million held");
    group.throughput(Throughput::Elements(1));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let value = NonZeroU64::MIN;

    let mut wheel = Wheel::new(0, HELD + 1);
    let mut handles: Vec<_> = (0..HELD).map(|_| wheel.arm(random.instant_ns(), value).unwrap()).collect();
    group.bench_function("arm and cancel/wheel", |bencher| {
        bencher.iter(|| {
            let handle = wheel.arm(random.instant_ns(), value).unwrap();
            black_box(wheel.cancel(handle));
        });
    });
    group.bench_function("cancel and arm/wheel", |bencher| {
        bencher.iter(|| {
            let place = random.place();
            black_box(wheel.cancel(handles[place]));
            handles[place] = wheel.arm(random.instant_ns(), value).unwrap();
        });
    });
    drop((wheel, handles));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let mut queue = DelayQueue::with_capacity(HELD + 1);
    // Instants that do not come while it runs.
    let delay = |random: &mut Random| Duration::from_nanos(random.instant_ns() as u64) + Duration::from_secs(3_600);
    let mut keys: Vec<_> = (0..HELD).map(|_| queue.insert(value, delay(&mut random))).collect();
    group.bench_function("arm and cancel/DelayQueue", |bencher| {
        bencher.iter(|| {
            let key = queue.insert(value, delay(&mut random));
            black_box(queue.remove(&key));
        });
    });
    group.bench_function("cancel and arm/DelayQueue", |bencher| {
        bencher.iter(|| {
            let place = random.place();
            black_box(queue.remove(&keys[place]));
            keys[place] = queue.insert(value, delay(&mut random));
        });
    });
    group.finish();
}

fn drained(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arm, cancel half, drain");
    group.throughput(Throughput::Elements(DRAINED)).sample_size(20);
    let mut random = Random(7);
    let instants: Vec<i64> = (0..DRAINED).map(|_| random.instant_ns()).collect();
    group.bench_function("wheel", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let mut wheel = Wheel::new(0, DRAINED as usize);
                let handles: Vec<_> =
                    instants.iter().map(|due_ns| wheel.arm(*due_ns, NonZeroU64::MIN).unwrap()).collect();
                handles.iter().step_by(2).for_each(|handle| assert!(wheel.cancel(*handle).is_some()));
                let fired = std::iter::from_fn(|| wheel.pop_due(i64::MAX)).count();
                assert_eq!(fired as u64, DRAINED / 2);
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("lazy heap", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let mut heap = LazyHeap::default();
                let numbers: Vec<_> = instants.iter().map(|due_ns| heap.arm(*due_ns)).collect();
                numbers.iter().step_by(2).for_each(|number| assert!(heap.cancelled.insert(*number)));
                let fired = std::iter::from_fn(|| heap.pop()).count();
                assert_eq!(fired as u64, DRAINED / 2);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, held, drained);
criterion_main!(benches);
