//! What it takes to learn one execution time, and to ask for a quantile of many.
#![allow(clippy::unwrap_used, missing_docs)]

use chronofabric_scheduler::ExecutionTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::num::NonZeroU32;

fn execution_times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execution time");
    group.throughput(Throughput::Elements(1));
    let mut learnt = ExecutionTime::new(NonZeroU32::new(1_000).unwrap());
    let mut state = 7_u64;
    group.bench_function("observe", |bencher| {
        bencher.iter(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            learnt.observe(black_box(100_000 + (state >> 46)));
        });
    });
    group.bench_function("ask for a quantile", |bencher| {
        bencher.iter(|| black_box(&learnt).quantile_ns(black_box(0.99)))
    });
    group.finish();
}

criterion_group!(benches, execution_times);
criterion_main!(benches);
