//! Quantiles of execution times beside exact weighted ones.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_scheduler::{EXECUTION_TIME_BYTES_MAX, ExecutionTime};
use proptest::prelude::*;
use std::num::NonZeroU32;

const QUANTILES: [f64; 8] = [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0];

fn learn(half_life: u32, times: &[u64]) -> ExecutionTime {
    let mut learnt = ExecutionTime::new(NonZeroU32::new(half_life).unwrap());
    times.iter().for_each(|&time| learnt.observe(time));
    learnt
}

/// The least observation so that those up to it have the share `q` of the weight; older ones weigh less.
fn exact(half_life: u32, times: &[u64], q: f64) -> u64 {
    let age = |index: usize| (times.len() - 1 - index) as f64;
    let mut weighted: Vec<(u64, f64)> =
        times.iter().enumerate().map(|(index, &time)| (time, (-age(index) / f64::from(half_life)).exp2())).collect();
    weighted.sort_by_key(|each| each.0);
    let total: f64 = weighted.iter().map(|each| each.1).sum();
    let mut up_to = 0.0;
    let reached = weighted.iter().find(|(_, weight)| {
        up_to += weight;
        up_to >= q * total
    });
    reached.or(weighted.last()).unwrap().0
}

/// Holds an estimate to its bounds: not below the exact quantile, at most one part in 32 above, `rounding` in rank aside.
fn check(half_life: u32, times: &[u64], rounding: f64) -> Result<(), TestCaseError> {
    let learnt = learn(half_life, times);
    for q in QUANTILES {
        let estimate = learnt.quantile_ns(q).unwrap();
        let least = exact(half_life, times, (q - rounding).max(0.0));
        // What weighs less than rounding shows may be the greatest.
        let most =
            if q + rounding < 1.0 { exact(half_life, times, q + rounding) } else { *times.iter().max().unwrap() };
        prop_assert!(estimate >= least, "q = {q}: {estimate} is below {least}");
        prop_assert!(estimate <= most.saturating_add(most / 32), "q = {q}: {estimate} is above {most}");
    }
    prop_assert_eq!(learnt.observations(), times.len() as u64);
    prop_assert_eq!(learnt.longest_ns(), times.iter().copied().max());
    prop_assert!(learnt.bytes() <= EXECUTION_TIME_BYTES_MAX, "{} bytes", learnt.bytes());
    Ok(())
}

/// Samples of a distribution, by its quantile function at uniform numbers.
fn drawn(count: usize, seed: u64, quantile: impl Fn(f64) -> f64) -> Vec<u64> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    (0..count).map(|_| quantile(uniform()) as u64).collect()
}

type Named = (&'static str, fn(f64) -> f64);

const DISTRIBUTIONS: [Named; 7] = [
    ("constant", |_| 5_000_000.0),
    ("uniform", |u| 1e6 * u),
    ("exponential", |u| -1e5 * (1.0 - u).ln()),
    ("two modes far apart", |u| if u < 0.97 { 2e4 + 1e3 * u } else { 8e8 * u }),
    ("log-logistic", |u| 1e5 * (u / (1.0 - u)).sqrt()),
    ("Pareto without a mean", |u| 1e3 * (1.0 - u).powf(-1.5)),
    ("Pareto of exponent 1/4", |u| (1.0 - u).powf(-4.0)),
];

proptest! {
    #[test]
    fn any_times_are_estimated_within_the_stated_bounds(
        times in prop::collection::vec(prop_oneof![0_u64..200, any::<u64>(), (0_u32..64).prop_map(|bit| 1 << bit)], 1..400),
        half_life in 1_u32..200,
    ) {
        check(half_life, &times, 1e-9)?;
    }

    #[test]
    fn distributions_are_estimated_within_the_stated_bounds_however_heavy_their_tail(
        (name, quantile) in prop::sample::select(DISTRIBUTIONS.to_vec()),
        seed in any::<u64>(),
        half_life in prop::sample::select(vec![1, 10, 300, 10_000, u32::MAX]),
    ) {
        let failed = |error| TestCaseError::fail(format!("{name}: {error}"));
        check(half_life, &drawn(3_000, seed, quantile), 1e-9).map_err(failed)?;
    }

    #[test]
    fn after_a_change_the_error_of_rank_halves_with_every_half_life(
        (_, before) in prop::sample::select(DISTRIBUTIONS.to_vec()),
        (_, after) in prop::sample::select(DISTRIBUTIONS.to_vec()),
        seed in any::<u64>(),
        half_life in 1_u32..100,
        half_lives in 1_usize..8,
    ) {
        let old = drawn(2_000, seed, before);
        let new = drawn(half_lives * half_life as usize, !seed, after);
        let learnt = learn(half_life, &[old, new.clone()].concat());
        let share = 0.5_f64.powi(half_lives as i32) + 1e-9;
        for q in QUANTILES {
            let estimate = learnt.quantile_ns(q).unwrap();
            // The weights of the new ones among themselves are those of learning from nothing.
            if q > share {
                let least = exact(half_life, &new, q - share);
                prop_assert!(estimate >= least, "q = {q}: {estimate} is below {least}");
            }
            if q + share < 1.0 {
                let most = exact(half_life, &new, q + share);
                prop_assert!(estimate <= most.saturating_add(most / 32), "q = {q}: {estimate} is above {most}");
            }
        }
    }
}

#[test]
fn nothing_is_estimated_from_nothing() {
    let nothing = learn(10, &[]);
    assert_eq!((nothing.quantile_ns(0.5), nothing.observations(), nothing.bytes()), (None, 0, 0));
}

#[test]
fn a_share_outside_zero_to_one_counts_as_the_nearer_of_these() {
    let learnt = learn(100, &[3, 5, 9]);
    assert_eq!([-1.0, 0.0, 1.0, 7.0].map(|q| learnt.quantile_ns(q)), [Some(3), Some(3), Some(9), Some(9)]);
}

#[test]
fn memory_is_bounded_whatever_is_observed_and_comes_back_when_the_old_is_forgotten() {
    let mut learnt = learn(1, &[0, u64::MAX]);
    assert_eq!(learnt.bytes(), EXECUTION_TIME_BYTES_MAX);
    for bit in 0..64 {
        learnt.observe(1 << bit);
        learnt.observe((1 << bit) - 1);
    }
    assert!(learnt.bytes() <= EXECUTION_TIME_BYTES_MAX);
    for _ in 0..300 {
        learnt.observe(1_000_000);
    }
    assert_eq!(learnt.bytes(), 256);
    assert_eq!(learnt.quantile_ns(0.0), learnt.quantile_ns(1.0));
    assert!(learnt.quantile_ns(0.5).is_some_and(|median| (1_000_000..=1_031_250).contains(&median)));
}

#[test]
fn weights_stay_finite_over_many_times_the_half_life() {
    let times: Vec<u64> = (0..200_000).map(|run| 1_000 + run % 7).collect();
    let learnt = learn(1, &times);
    assert!(learnt.quantile_ns(0.5).is_some_and(|median| (1_000..=1_040).contains(&median)));
    assert_eq!(learnt.observations(), 200_000);
}
