//! The ring beside crossbeam's `ArrayQueue`, and what a publish costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use chronofabric_bus::{
    Access, Bus, Concurrent, BusOptions, Magazine, NewEvent, Outcome, Overflow, Pattern, Payload, Pool, Ring, SubscriptionOptions,
};
use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use std::hint::black_box;
use std::sync::Arc;

struct Number(u64);

thread_local! {
    static MAGAZINE: Magazine<Number> = const { Magazine::new() };
}
static POOL: Pool<Number> = Pool::new(4096);

impl Payload for Number {
    type Headers = ();
    type Face = ();
    fn pool() -> &'static Pool<Self> {
        &POOL
    }
    fn magazine<R>(_access: impl Access, function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R> {
        MAGAZINE.try_with(function).ok()
    }
    fn measure(&mut self) {}
    fn bytes(&self) -> usize {
        size_of_val(&self.0)
    }
    fn part(&self, place: usize) -> Self {
        Self(self.0 + place as u64)
    }
    fn share_headers(_headers: &()) {}
}

fn ring(criterion: &mut Criterion) {
    if cfg!(debug_assertions) {
        eprintln!("figures of a debug build would be false: run `cargo bench`");
        std::process::exit(2);
    }
    let mut group = criterion.benchmark_group("ring, one thread, push and pop 64");
    group.throughput(Throughput::Elements(64));
    let (ours, peer) = (Ring::new(1024), ArrayQueue::new(1024));
    group.bench_function("chronofabric", |bencher| {
        bencher.iter(|| {
            (0..64_u64).for_each(|value| ours.push(black_box(value)).unwrap());
            for _ in 0..64 {
                black_box(ours.pop());
            }
        });
    });
    group.bench_function("crossbeam ArrayQueue", |bencher| {
        bencher.iter(|| {
            (0..64_u64).for_each(|value| peer.push(black_box(value)).unwrap());
            for _ in 0..64 {
                black_box(peer.pop());
            }
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("ring, two threads, 100 000 values");
    group.throughput(Throughput::Elements(100_000)).sample_size(20);
    group.bench_function("chronofabric", |bencher| {
        bencher.iter(|| {
            let ring = Arc::new(Ring::new(1024));
            let other = Arc::clone(&ring);
            let writer = std::thread::spawn(move || {
                (0..100_000_u64).for_each(|value| {
                    while other.push(value).is_err() {
                        std::thread::yield_now()
                    }
                });
            });
            (0..100_000).for_each(|_| {
                while ring.pop().is_none() {
                    std::thread::yield_now()
                }
            });
            writer.join().unwrap();
        });
    });
    group.bench_function("crossbeam ArrayQueue", |bencher| {
        bencher.iter(|| {
            let ring = Arc::new(ArrayQueue::new(1024));
            let other = Arc::clone(&ring);
            let writer = std::thread::spawn(move || {
                (0..100_000_u64).for_each(|value| {
                    while other.push(value).is_err() {
                        std::thread::yield_now()
                    }
                });
            });
            (0..100_000).for_each(|_| {
                while ring.pop().is_none() {
                    std::thread::yield_now()
                }
            });
            writer.join().unwrap();
        });
    });
    group.finish();
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish and receive, one thread");
    for receivers in [1_usize, 10, 1000] {
        let source = TimeSource::counter();
        let clock = Arc::new(HybridLogicalClock::new(source.clone(), NodeId([1; 16])));
        let bus: Bus<Number> = Bus::new(source, clock, BusOptions::default());
        let subscriptions: Vec<_> = (0..receivers)
            .map(|_| {
                let options = SubscriptionOptions { overflow: Overflow::Block, capacity: 64, ..Default::default() };
                bus.subscribe(Pattern::parse("plant/*/temperature").unwrap(), options).unwrap()
            })
            .collect();
        let topic = bus.topic("plant/7/temperature").unwrap();
        let mut outcome = Outcome::default();
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(format!("{receivers} subscriptions"), |bencher| {
            bencher.iter(|| {
                topic.publish(Concurrent, NewEvent::new(Number(black_box(1))), &mut outcome).unwrap();
                for subscription in &subscriptions {
                    black_box(subscription.try_receive(Concurrent, 1, || 0));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ring, publish);
criterion_main!(benches);
