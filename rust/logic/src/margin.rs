//! Robustness as a totally ordered key, so that minimum, maximum and negation are single integer operations.
//!
//! `f64::total_cmp` orders floats by mapping their bits to an integer. A [`Margin`] keeps that integer: the bits of a
//! non-negative float as they are, those of a negative one with all but the sign flipped. The order of margins is then
//! the order of the integers (`-0.0` below `+0.0`), flipping a float's sign is flipping every bit of its key, and a
//! margin is true when its key is not negative.

use crate::formula::Comparison;

/// A signed margin that is not NaN; `+0.0` and all above is true, `-0.0` and all below is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Margin(i64);

impl Margin {
    /// Plus infinity, the neutral element of `and`.
    pub(crate) const TRUE: Self = Self::from_f64(f64::INFINITY);

    /// Minus infinity, the neutral element of `or`.
    pub(crate) const FALSE: Self = Self::from_f64(f64::NEG_INFINITY);

    pub(crate) const fn from_f64(value: f64) -> Self {
        Self(flip_magnitude_if_negative(value.to_bits() as i64))
    }

    pub(crate) const fn to_f64(self) -> f64 {
        f64::from_bits(flip_magnitude_if_negative(self.0) as u64)
    }

    pub(crate) const fn is_true(self) -> bool {
        self.0 >= 0
    }

    /// The margin of `left comparison right`; neither side is NaN.
    ///
    /// Equal sides are told apart before the subtraction: two equal infinities have no difference, and the sign of a
    /// zero margin is the truth of the comparison. Unequal sides never differ by zero, thanks to subnormal numbers.
    #[inline]
    pub(crate) fn of_comparison(comparison: Comparison, left: f64, right: f64) -> Self {
        let equal = left == right;
        Self::from_f64(match comparison {
            Comparison::Less if equal => -0.0,
            Comparison::LessEqual if equal => 0.0,
            Comparison::Greater if equal => -0.0,
            Comparison::GreaterEqual if equal => 0.0,
            Comparison::Equal if equal => 0.0,
            Comparison::NotEqual if equal => -0.0,
            Comparison::Less | Comparison::LessEqual => right - left,
            Comparison::Greater | Comparison::GreaterEqual => left - right,
            Comparison::Equal => -(left - right).abs(),
            Comparison::NotEqual => (left - right).abs(),
        })
    }
}

impl std::ops::Not for Margin {
    type Output = Self;

    #[inline]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// Its own inverse: the sign bit stays, so what was flipped is flipped back.
const fn flip_magnitude_if_negative(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn not_nan() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("a margin is never NaN", |value| !value.is_nan())
    }

    fn seeded() -> ProptestConfig {
        ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(seeded())]

        #[test]
        fn margins_are_ordered_as_by_total_cmp(left in not_nan(), right in not_nan()) {
            prop_assert_eq!(Margin::from_f64(left).cmp(&Margin::from_f64(right)), left.total_cmp(&right));
        }

        #[test]
        fn a_margin_gives_back_its_float(value in not_nan()) {
            prop_assert_eq!(Margin::from_f64(value).to_f64().to_bits(), value.to_bits());
        }

        #[test]
        fn negation_flips_the_sign_and_the_truth(value in not_nan()) {
            let margin = Margin::from_f64(value);
            prop_assert_eq!((!margin).to_f64().to_bits(), (-value).to_bits());
            prop_assert_eq!((!margin).is_true(), !margin.is_true());
        }

        #[test]
        fn truth_of_a_comparison_is_the_truth_of_the_operator(
            left in not_nan(),
            right in not_nan(),
            same in any::<bool>(),
        ) {
            let right = if same { left } else { right };
            let truth = |comparison| Margin::of_comparison(comparison, left, right).is_true();
            prop_assert_eq!(truth(Comparison::Less), left < right);
            prop_assert_eq!(truth(Comparison::LessEqual), left <= right);
            prop_assert_eq!(truth(Comparison::Greater), left > right);
            prop_assert_eq!(truth(Comparison::GreaterEqual), left >= right);
            prop_assert_eq!(truth(Comparison::Equal), left == right);
            prop_assert_eq!(truth(Comparison::NotEqual), left != right);
        }
    }
}
