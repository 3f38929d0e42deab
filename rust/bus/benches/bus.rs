//! What a publish costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use chronofabric_bus::{
    Access, Bus, BusOptions, Concurrent, Magazine, NewEvent, Outcome, Overflow, Pattern, Payload, Pool, Receiver,
    SubscriptionOptions,
};
use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ME: Receiver = Receiver { token: 1, number: || 1 };

struct Number(u64);

thread_local! {
    static MAGAZINE: Magazine<Number> = const { Magazine::new() };
}
static POOL: Pool<Number> = Pool::new(4096);

impl Payload for Number {
    type Headers = ();
    type Reply = ();
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

fn publish(criterion: &mut Criterion) {
    if cfg!(debug_assertions) {
        eprintln!("figures of a debug build would be false: run `cargo bench`");
        std::process::exit(2);
    }
    let mut group = criterion.benchmark_group("one publisher, one thread");
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
        let drain = || {
            for subscription in &subscriptions {
                while subscription.try_receive(Concurrent, ME, || 0).is_some() {}
            }
        };
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(format!("publish to {receivers}, drained between rounds"), |bencher| {
            bencher.iter_custom(|count| {
                let mut elapsed = Duration::ZERO;
                let mut left = count;
                while left > 0 {
                    let round = left.min(32);
                    let started = Instant::now();
                    for _ in 0..round {
                        topic.publish(Concurrent, NewEvent::new(Number(black_box(1))), &mut outcome).unwrap();
                    }
                    elapsed += started.elapsed();
                    drain();
                    left -= round;
                }
                elapsed
            });
        });
        group.bench_function(format!("publish to {receivers} and receive each"), |bencher| {
            bencher.iter(|| {
                topic.publish(Concurrent, NewEvent::new(Number(black_box(1))), &mut outcome).unwrap();
                drain();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
