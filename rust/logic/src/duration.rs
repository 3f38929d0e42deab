//! Interval bounds: decimal text and a unit to whole nanoseconds, exactly, and back.

use std::fmt;

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    nanoseconds: u64,
}

pub(crate) const SECOND: Unit = Unit { name: "s", nanoseconds: 1_000_000_000 };

/// From the largest to the smallest.
const UNITS: [Unit; 6] = [
    Unit { name: "h", nanoseconds: 3_600_000_000_000 },
    Unit { name: "min", nanoseconds: 60_000_000_000 },
    SECOND,
    Unit { name: "ms", nanoseconds: 1_000_000 },
    Unit { name: "us", nanoseconds: 1_000 },
    Unit { name: "ns", nanoseconds: 1 },
];

impl Unit {
    pub(crate) fn named(name: &str) -> Option<Self> {
        UNITS.into_iter().find(|unit| unit.name == name)
    }

    /// The unit that a common other spelling stands for.
    pub(crate) fn misspelled(name: &str) -> Option<&'static str> {
        Some(match name.to_ascii_lowercase().as_str() {
            "sec" | "secs" | "second" | "seconds" => "s",
            "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
            "usec" | "micros" | "microsecond" | "microseconds" => "us",
            "nsec" | "nanos" | "nanosecond" | "nanoseconds" => "ns",
            "mins" | "minute" | "minutes" => "min",
            "hr" | "hrs" | "hour" | "hours" => "h",
            lower => UNITS.into_iter().find(|unit| unit.name == lower)?.name,
        })
    }
}

/// Why a duration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DurationFault {
    /// It is not a whole number of nanoseconds.
    NotWhole,
    /// It does not fit in 63 bits of nanoseconds, about 292 years.
    TooLong,
}

/// Reads `digits[.digits][e[+-]digits]` of a unit; floating point would round `0.3 s` away from 300 ms in places.
pub(crate) fn nanoseconds(number: &str, unit: Unit) -> Result<i64, DurationFault> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    let significant = digits.trim_end_matches('0');
    let exponent: i64 = exponent.parse().map_err(|_| DurationFault::TooLong)?;
    let power = exponent - fraction.len() as i64 + (digits.len() - significant.len()) as i64;
    // More digits than this are either too many nanoseconds or a fraction of one: no unit has more than 13 digits.
    if significant.len() > 36 - 13 {
        return Err(if power < 0 { DurationFault::NotWhole } else { DurationFault::TooLong });
    }
    let scaled = significant.parse::<u128>().map_err(|_| DurationFault::TooLong)? * u128::from(unit.nanoseconds);
    let ten_to = |power: i64| u32::try_from(power).ok().and_then(|power| 10_u128.checked_pow(power));
    let total = if power < 0 {
        let divisor = ten_to(-power).ok_or(DurationFault::NotWhole)?;
        if !scaled.is_multiple_of(divisor) {
            return Err(DurationFault::NotWhole);
        }
        scaled / divisor
    } else {
        ten_to(power).and_then(|factor| scaled.checked_mul(factor)).ok_or(DurationFault::TooLong)?
    };
    i64::try_from(total).map_err(|_| DurationFault::TooLong)
}

/// A duration in the largest unit that is exact.
pub(crate) struct Duration(pub(crate) i64);

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.unsigned_abs();
        match UNITS.into_iter().find(|unit| nanoseconds.is_multiple_of(unit.nanoseconds)) {
            Some(unit) if nanoseconds > 0 => write!(formatter, "{} {}", nanoseconds / unit.nanoseconds, unit.name),
            _ => write!(formatter, "0"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn of(number: &str, unit: &str) -> Result<i64, DurationFault> {
        nanoseconds(number, Unit::named(unit).unwrap())
    }

    #[test]
    fn decimals_are_read_exactly() {
        assert_eq!(of("0.3", "s"), Ok(300_000_000));
        assert_eq!(of("1.000000001", "s"), Ok(1_000_000_001));
        assert_eq!(of("2.5e3", "us"), Ok(2_500_000));
        assert_eq!(of("25e-2", "h"), Ok(900_000_000_000));
        assert_eq!(of("0.05", "min"), Ok(3_000_000_000));
        assert_eq!(of("0.000", "h"), Ok(0));
        assert_eq!(of("9223372036854775807", "ns"), Ok(i64::MAX));
    }

    #[test]
    fn fractions_of_a_nanosecond_are_refused() {
        assert_eq!(of("0.5", "ns"), Err(DurationFault::NotWhole));
        assert_eq!(of("1e-10", "s"), Err(DurationFault::NotWhole));
        assert_eq!(of("1e-300", "h"), Err(DurationFault::NotWhole));
        assert_eq!(of("0.1234567890123456789012345678901234567890", "s"), Err(DurationFault::NotWhole));
    }

    #[test]
    fn durations_beyond_63_bits_are_refused() {
        assert_eq!(of("9223372036854775808", "ns"), Err(DurationFault::TooLong));
        assert_eq!(of("1e300", "ns"), Err(DurationFault::TooLong));
        assert_eq!(of("1234567890123456789012345678901234567891", "ns"), Err(DurationFault::TooLong));
    }

    fn seeded() -> ProptestConfig {
        ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(seeded())]

        #[test]
        fn shown_durations_read_back(duration in 0..i64::MAX) {
            let shown = Duration(duration).to_string();
            let (number, unit) = shown.split_once(' ').unwrap_or((&shown, "s"));
            prop_assert_eq!(of(number, unit), Ok(duration));
        }
    }
}
