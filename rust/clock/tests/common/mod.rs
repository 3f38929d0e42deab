//! What the tests of causality share.
#![allow(dead_code)]

use chronofabric_clock::NodeId;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

pub fn node(number: u8) -> NodeId {
    NodeId([number; 16])
}

/// The same cases at every run; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` draw others.
pub fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0xca_05_a1),
        chosen => chosen,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..default }
}
