//! Stamps: one word that orders events, and its wire forms.
//!
//! The upper 48 bits count units of 2^-16 s since the Unix epoch (the upper 48 bits of an NTP64 time, RFC 5905 section
//! 6, with the Unix epoch); the lower 16 bits count stamps within a unit. A unit is 15 258.789 ns; the word lasts until
//! February 2106. A clock that issues more than 65 536 stamps in a unit carries into the time, which stays legal: words
//! are compared as they are.
//!
//! Wire forms, big endian, so that bytes sort as stamps do:
//!
//! | form | bytes |
//! |---|---|
//! | [`Stamp`] | 8: the word |
//! | [`NodeStamp`] | 24: the word, then the 16 bytes of the node id |

use crate::node::hexadecimal;
use crate::{ClockError, NodeId};
use std::fmt;
use std::iter::FusedIterator;
use std::str::FromStr;

/// The length of a unit of stamp time in nanoseconds, rounded up: how much finer differences of physical time get lost.
pub const STAMP_RESOLUTION_NS: i64 = 15_259;

/// One unit is 1953125/128 ns.
const UNIT_NUMERATOR: u64 = 1_953_125;
const UNIT_DENOMINATOR: u64 = 128;
const COUNTER_BITS: u32 = 16;
const MAX_UNITS: u64 = (1 << (64 - COUNTER_BITS)) - 1;

/// When something happened, by a hybrid logical clock: comparable, unique within its node.
///
/// ```
/// use chronofabric_clock::Stamp;
///
/// let stamp = Stamp::from_time_ns(1_700_000_000_000_000_000);
/// assert_eq!(stamp.counter(), 0);
/// assert_eq!(stamp.time_ns(), 1_700_000_000_000_000_000);
/// assert_eq!(Stamp::decode(&stamp.encode())?, stamp);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// How many bytes an encoded stamp has.
    pub const BYTES: usize = 8;

    /// A stamp of so many units of 2^-16 s and a counter; `None` if the units need more than 48 bits.
    ///
    /// ```
    /// # use chronofabric_clock::Stamp;
    /// assert_eq!(Stamp::from_parts(65_536, 7).map(|stamp| stamp.time_ns()), Some(1_000_000_000));
    /// assert_eq!(Stamp::from_parts(1 << 48, 0), None);
    /// ```
    pub const fn from_parts(units: u64, counter: u16) -> Option<Self> {
        if units > MAX_UNITS {
            return None;
        }
        Some(Self((units << COUNTER_BITS) | counter as u64))
    }

    /// The first stamp of the unit that holds an instant, in nanoseconds since the Unix epoch.
    ///
    /// Instants before the epoch and after the last unit (February 2106) are held at its ends.
    #[inline(always)]
    pub const fn from_time_ns(time_ns: i64) -> Self {
        let ns = if time_ns < 0 { 0 } else { time_ns.cast_unsigned() };
        // Split, so that nothing exceeds 64 bits.
        let units = ns / UNIT_NUMERATOR * UNIT_DENOMINATOR + ns % UNIT_NUMERATOR * UNIT_DENOMINATOR / UNIT_NUMERATOR;
        Self((if units > MAX_UNITS { MAX_UNITS } else { units }) << COUNTER_BITS)
    }

    /// The time part in units of 2^-16 s since the Unix epoch.
    #[inline]
    pub const fn units(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The time part as nanoseconds since the Unix epoch: the first whole nanosecond of its unit.
    ///
    /// The physical time behind a stamp is never before this, and less than [`STAMP_RESOLUTION_NS`] after it unless the
    /// clock ran ahead of its source.
    #[inline]
    pub const fn time_ns(self) -> i64 {
        let units = self.units();
        let ns = units / UNIT_DENOMINATOR * UNIT_NUMERATOR
            + (units % UNIT_DENOMINATOR * UNIT_NUMERATOR).div_ceil(UNIT_DENOMINATOR);
        ns.cast_signed()
    }

    /// The counter part.
    #[inline]
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }

    /// The wire form: 8 bytes, big endian.
    pub const fn encode(self) -> [u8; Self::BYTES] {
        self.0.to_be_bytes()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    ///
    /// [`ClockError::Length`] unless there are exactly 8 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClockError> {
        match bytes.try_into() {
            Ok(word) => Ok(Self(u64::from_be_bytes(word))),
            Err(_) => Err(ClockError::Length { thing: "stamp", expected: Self::BYTES, found: bytes.len() }),
        }
    }
}

/// 16 hexadecimal digits, which sort as stamps do.
impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Stamp({} ns, {})", self.time_ns(), self.counter())
    }
}

impl FromStr for Stamp {
    type Err = ClockError;

    /// Reads 16 hexadecimal digits, of either case.
    fn from_str(text: &str) -> Result<Self, ClockError> {
        match hexadecimal(text, 2 * Self::BYTES).map(u64::try_from) {
            Some(Ok(word)) => Ok(Self(word)),
            _ => Err(ClockError::Text { thing: "stamp", digits: 2 * Self::BYTES, text: text.to_owned() }),
        }
    }
}

/// A stamp with the node that issued it: unique and totally ordered over all nodes.
///
/// ```
/// use chronofabric_clock::{NodeId, NodeStamp, Stamp};
///
/// let first = NodeStamp { stamp: Stamp(7), node: NodeId([1; 16]) };
/// let second = NodeStamp { stamp: Stamp(7), node: NodeId([2; 16]) };
/// assert!(first < second);
/// assert_eq!(NodeStamp::decode(&first.encode())?, first);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeStamp {
    /// When, by the clock of the node.
    pub stamp: Stamp,
    /// The node; it decides between equal stamps.
    pub node: NodeId,
}

impl NodeStamp {
    /// How many bytes the encoded form has.
    pub const BYTES: usize = Stamp::BYTES + NodeId::BYTES;

    /// The wire form: 24 bytes, the stamp big endian and then the node id.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (stamp, node) = bytes.split_at_mut(Stamp::BYTES);
        stamp.copy_from_slice(&self.stamp.encode());
        node.copy_from_slice(&self.node.0);
        bytes
    }

    /// Reads the wire form.
    ///
    /// # Errors
    ///
    /// [`ClockError::Length`] unless there are exactly 24 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClockError> {
        let wrong_length =
            || ClockError::Length { thing: "stamp with node id", expected: Self::BYTES, found: bytes.len() };
        let (stamp, node) = bytes.split_first_chunk::<{ Stamp::BYTES }>().ok_or_else(wrong_length)?;
        let node = node.try_into().map_err(|_| wrong_length())?;
        Ok(Self { stamp: Stamp(u64::from_be_bytes(*stamp)), node: NodeId(node) })
    }
}

/// Consecutive stamps, taken from a clock in one step: see
/// [`HybridLogicalClock::now_many_at`](crate::HybridLogicalClock::now_many_at).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps {
    next: u64,
    left: usize,
}

impl Stamps {
    pub(crate) fn new(first: u64, count: usize) -> Self {
        Self { next: first, left: count }
    }
}

impl Iterator for Stamps {
    type Item = Stamp;

    #[inline]
    fn next(&mut self) -> Option<Stamp> {
        self.left = self.left.checked_sub(1)?;
        let stamp = Stamp(self.next);
        self.next = self.next.wrapping_add(1);
        Some(stamp)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Stamps {}
impl FusedIterator for Stamps {}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wire_forms_are_pinned() {
        let stamp = Stamp::from_parts(0x0123_4567_89ab, 0xcdef).unwrap();
        assert_eq!(stamp.encode(), [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert_eq!(stamp.to_string(), "0123456789abcdef");
        let node: NodeId = "f0e1d2c3b4a5968778695a4b3c2d1e0f".parse().unwrap();
        let golden = [
            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87, 0x78, 0x69,
            0x5a, 0x4b, 0x3c, 0x2d, 0x1e, 0x0f,
        ];
        assert_eq!(NodeStamp { stamp, node }.encode(), golden);
        assert_eq!(NodeStamp::decode(&golden).unwrap(), NodeStamp { stamp, node });
    }

    #[test]
    fn wrong_lengths_are_refused_with_both_lengths_named() {
        for length in (0..40).filter(|length| *length != 8) {
            let error = Stamp::decode(&vec![0; length]).unwrap_err().to_string();
            assert!(error.contains("8 bytes") && error.contains(&format!("not {length}")), "{error}");
        }
        for length in (0..40).filter(|length| *length != 24) {
            let error = NodeStamp::decode(&vec![0; length]).unwrap_err().to_string();
            assert!(error.contains("24 bytes") && error.contains(&format!("not {length}")), "{error}");
        }
    }

    #[test]
    fn instants_outside_the_range_are_held_at_its_ends() {
        assert_eq!(Stamp::from_time_ns(-1), Stamp(0));
        assert_eq!(Stamp::from_time_ns(i64::MIN), Stamp(0));
        assert_eq!(Stamp::from_time_ns(i64::MAX), Stamp(MAX_UNITS << 16));
        // The last unit ends with the 32-bit second.
        assert_eq!(Stamp::from_time_ns((1 << 32) * 1_000_000_000 - 1), Stamp(MAX_UNITS << 16));
        assert_eq!(Stamp(u64::MAX).time_ns(), 4_294_967_295_999_984_742);
    }

    #[test]
    fn a_batch_is_as_long_as_it_says() {
        let stamps = Stamps::new(5, 3);
        assert_eq!(stamps.len(), 3);
        assert_eq!(stamps.collect::<Vec<_>>(), [Stamp(5), Stamp(6), Stamp(7)]);
    }

    proptest! {
        #[test]
        fn units_are_exact_and_rounded_down(time_ns in 0..(1_i64 << 32) * 1_000_000_000) {
            let stamp = Stamp::from_time_ns(time_ns);
            let exact = time_ns as u128 * 65_536 / 1_000_000_000;
            prop_assert_eq!(u128::from(stamp.units()), exact);
            prop_assert!(stamp.time_ns() <= time_ns && time_ns - stamp.time_ns() < STAMP_RESOLUTION_NS);
            prop_assert_eq!(Stamp::from_time_ns(stamp.time_ns()), stamp);
            prop_assert_eq!(stamp.counter(), 0);
        }

        #[test]
        fn parts_bytes_and_text_round_trip_and_keep_the_order(first: u64, second: u64) {
            let (first, second) = (Stamp(first), Stamp(second));
            prop_assert_eq!(Stamp::from_parts(first.units(), first.counter()), Some(first));
            prop_assert_eq!(Stamp::decode(&first.encode()).unwrap(), first);
            prop_assert_eq!(first.to_string().parse::<Stamp>().unwrap(), first);
            prop_assert_eq!(first.cmp(&second), first.encode().cmp(&second.encode()));
            prop_assert_eq!(first.cmp(&second), first.to_string().cmp(&second.to_string()));
        }

        #[test]
        fn node_stamps_round_trip_and_sort_as_their_bytes(first: (u64, [u8; 16]), second: (u64, [u8; 16])) {
            let [first, second] =
                [first, second].map(|(word, node)| NodeStamp { stamp: Stamp(word), node: NodeId(node) });
            prop_assert_eq!(NodeStamp::decode(&first.encode()).unwrap(), first);
            prop_assert_eq!(first.cmp(&second), first.encode().cmp(&second.encode()));
        }
    }
}
