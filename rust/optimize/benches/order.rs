//! Orders until the best known is found, by size; what the rules take.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_optimize::{Batch, Job, Search, order};
use criterion::{BenchmarkId, Criterion};
use std::hint::black_box;
use std::time::Duration;

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build, whose figures mean nothing: run `cargo bench -p chronofabric-optimize`.");
        std::process::exit(1);
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    orders(&mut criterion);
    criterion.final_summary();
}

/// Jobs after the recipe of the OR-Library: tardiness factor 0.6, range of due dates 0.6.
fn batch(count: usize, pairs_of_each: usize) -> Batch {
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let times: Vec<u64> = (0..count).map(|_| 1 + below(100)).collect();
    let total: u64 = times.iter().sum();
    let due = |share: u64| total / 10 + share * total * 6 / 10_000;
    let jobs: Vec<Job> = times
        .into_iter()
        .map(|processing| Job { processing, due: due(below(1_000)), weight: 1 + below(10) as u32 })
        .collect();
    let pairs: Vec<_> = (0..count.saturating_sub(1))
        .flat_map(|job| {
            [(); 4].map(|()| (job, job + 1 + below((count - job - 1) as u64) as usize)).into_iter().take(pairs_of_each)
        })
        .collect();
    Batch::new(&jobs, &pairs).unwrap()
}

fn orders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("order");
    for (jobs, pairs) in [(40, 0), (40, 1), (100, 0), (100, 1), (1_000, 0)] {
        let batch = batch(jobs, pairs);
        let name = format!("{jobs} jobs, {pairs} successors each");
        group.bench_with_input(BenchmarkId::new("rules and first descent", &name), &batch, |bencher, batch| {
            bencher.iter(|| order(black_box(batch), &Search { seed: 0, steps: Some(0) }, &mut |_| false));
        });
        if jobs <= 100 {
            group.bench_with_input(BenchmarkId::new("100 steps", &name), &batch, |bencher, batch| {
                bencher.iter(|| order(black_box(batch), &Search { seed: 0, steps: Some(100) }, &mut |_| false));
            });
        }
        group.bench_with_input(BenchmarkId::new("rules", &name), &batch, |bencher, batch| {
            bencher.iter(|| order(black_box(batch), &Search { seed: 0, steps: Some(0) }, &mut |_| true));
        });
    }
    group.finish();
}
