//! Random formulas and traces, shared by the property tests.
#![allow(dead_code)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same cases at every run; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` draw others.
pub fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x10_61_c5),
        chosen => chosen,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..default }
}

/// The signals that random formulas read.
pub const SIGNALS: [&str; 3] = ["x", "y", "plant.z"];

/// Margins must meet, zeros of both signs and infinities included, so values come from a handful.
pub fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-3..=3).prop_map(f64::from),
        2 => -3.0..3.0,
        1 => Just(-0.0),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e308), Just(5e-324)],
    ]
}

/// Irregular times with equal instants and gaps longer than every window; some traces end at the last instant of time.
pub fn trace(samples_max: usize) -> impl Strategy<Value = Vec<(i64, [f64; 3])>> {
    let step = prop_oneof![3 => Just(0_i64), 6 => 1..5_i64, 1 => 20..60_i64];
    let samples = vec((step, value(), value(), value()), 1..samples_max);
    let start = prop_oneof![4 => Just(0_i64), 1 => Just(i64::MIN), 1 => Just(i64::MAX - 100_000), 1 => -50..50_i64];
    (start, samples).prop_map(|(start, samples)| {
        let mut time_ns = start;
        let sample = |(step, x, y, z)| {
            time_ns += step;
            (time_ns, [x, y, z])
        };
        samples.into_iter().map(sample).collect()
    })
}

fn number() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => proptest::sample::select(&SIGNALS[..]).prop_map(str::to_owned),
        2 => (0..4).prop_map(|number: i32| number.to_string()),
        1 => proptest::sample::select(&["0.5", "2.5e-1", "1e3"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            3 => (pair.clone(), proptest::sample::select(&["+", "-", "*", "/"][..]))
                .prop_map(|((left, right), operator)| format!("({left} {operator} {right})")),
            1 => (pair.clone(), proptest::sample::select(&["+", "-", "*"][..]))
                .prop_map(|((left, right), operator)| format!("{left} {operator} {right}")),
            1 => (pair, proptest::sample::select(&["min", "max"][..]))
                .prop_map(|((left, right), name)| format!("{name}({left},{right})")),
            1 => inner.clone().prop_map(|inner| format!("abs({inner})")),
            1 => inner.prop_map(|inner| format!("-({inner})")),
        ]
    })
}

fn comparison() -> impl Strategy<Value = String> {
    (number(), proptest::sample::select(&["<", "<=", ">", ">=", "==", "!="][..]), number())
        .prop_map(|(left, operator, right)| format!("{left} {operator} {right}"))
}

/// Empty, or an interval of a few nanoseconds.
fn interval() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(String::new()),
        3 => (0..12_i64).prop_map(|end| format!("[0, {end} ns]")),
        3 => (0..6_i64, 0..10_i64).prop_map(|(start, length)| format!("[{start} ns, {} ns]", start + length)),
    ]
}

/// Formula text with operators up to four deep, always grouped by parentheses.
pub fn formula() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![8 => comparison(), 1 => Just("true".to_owned()), 1 => Just("false".to_owned())];
    leaf.prop_recursive(4, 16, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            2 => inner.clone().prop_map(|inner| format!("not ({inner})")),
            3 => (pair.clone(), proptest::sample::select(&["and", "or", "implies", "->"][..]))
                .prop_map(|((left, right), operator)| format!("({left}) {operator} ({right})")),
            3 => (interval(), inner.clone()).prop_map(|(interval, inner)| format!("once{interval}({inner})")),
            3 => (interval(), inner).prop_map(|(interval, inner)| format!("historically{interval} ({inner})")),
            4 => (interval(), pair)
                .prop_map(|(interval, (left, right))| format!("({left}) since{interval} ({right})")),
        ]
    })
}

/// Formula text without temporal operators.
pub fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![12 => comparison(), 1 => Just("true".to_owned()), 1 => Just("false".to_owned())];
    leaf.prop_recursive(6, 24, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            1 => inner.prop_map(|inner| format!("not ({inner})")),
            4 => (pair, proptest::sample::select(&["and", "or", "implies"][..]))
                .prop_map(|((left, right), operator)| format!("({left}) {operator} ({right})")),
        ]
    })
}
