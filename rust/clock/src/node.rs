//! The identity of a node: 16 random bytes, written as 32 hexadecimal digits.

use crate::ClockError;
use std::fmt;
use std::str::FromStr;

/// The identity of a node.
///
/// ```
/// use chronofabric_clock::NodeId;
///
/// let node = NodeId::random()?;
/// assert_eq!(node.to_string().parse::<NodeId>()?, node);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// How many bytes an id has.
    pub const BYTES: usize = 16;

    /// A new id from the operating system's random bytes.
    ///
    /// # Errors
    ///
    /// [`ClockError::Randomness`] if it gives none.
    pub fn random() -> Result<Self, ClockError> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes).map_err(|source| ClockError::Randomness { source })?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = ClockError;

    /// Reads 32 hexadecimal digits, of either case.
    fn from_str(text: &str) -> Result<Self, ClockError> {
        hexadecimal(text, 2 * Self::BYTES).map(|value| Self(value.to_be_bytes())).ok_or_else(|| ClockError::Text {
            thing: "node id",
            digits: 2 * Self::BYTES,
            text: text.to_owned(),
        })
    }
}

/// The value of exactly so many hexadecimal digits (at most 32), without a sign or a prefix.
pub(crate) fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_random_ids_differ() {
        assert_ne!(NodeId::random().unwrap(), NodeId::random().unwrap());
    }

    #[test]
    fn leading_zeros_are_written() {
        let mut bytes = [0; 16];
        bytes[15] = 0xab;
        assert_eq!(NodeId(bytes).to_string(), "000000000000000000000000000000ab");
        assert_eq!(format!("{:?}", NodeId(bytes)), "NodeId(000000000000000000000000000000ab)");
    }

    #[test]
    fn other_texts_are_refused_with_the_text_named() {
        for text in ["", "ab", "+00000000000000000000000000000ab", "0000000000000000000000000000000g", "é"] {
            let error = text.parse::<NodeId>().unwrap_err().to_string();
            assert!(error.contains("32 hexadecimal digits") && error.contains(&format!("{text:?}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips_and_keeps_the_order(first: [u8; 16], second: [u8; 16]) {
            let (first, second) = (NodeId(first), NodeId(second));
            prop_assert_eq!(first.to_string().parse::<NodeId>().unwrap(), first);
            prop_assert_eq!(first.to_string().to_uppercase().parse::<NodeId>().unwrap(), first);
            prop_assert_eq!(first.cmp(&second), first.to_string().cmp(&second.to_string()));
        }
    }
}
