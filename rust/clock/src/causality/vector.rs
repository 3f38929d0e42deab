//! Vector clocks (Mattern: "Virtual Time and Global States of Distributed Systems", 1989; Fidge 1988).
//!
//! Invariants:
//! - Entries are sorted by node, no node comes twice, and no counter is 0: equal clocks have equal entries.
//! - There are at most [`VectorClock::NODES_MAX`] of them. An operation that would need more changes nothing.

use crate::{ClockError, NodeId};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::fmt;

/// How many entries need no memory of their own.
const INLINE: usize = 4;

pub(super) type Entry = (NodeId, u64);

/// How two events are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Causality {
    /// The first could have caused the second.
    Before,
    /// The second could have caused the first.
    After,
    /// They are the same, or have the same past.
    Equal,
    /// Neither could have caused the other.
    Concurrent,
}

impl Causality {
    /// From whether the first has what the second lacks, and the other way round.
    pub(super) const fn of(first_has_more: bool, second_has_more: bool) -> Self {
        match (first_has_more, second_has_more) {
            (false, false) => Self::Equal,
            (false, true) => Self::Before,
            (true, false) => Self::After,
            (true, true) => Self::Concurrent,
        }
    }

    /// As users read it: `"before"`, `"after"`, `"equal"` or `"concurrent"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Equal => "equal",
            Self::Concurrent => "concurrent",
        }
    }

    pub(super) const fn ordering(self) -> Option<Ordering> {
        match self {
            Self::Before => Some(Ordering::Less),
            Self::After => Some(Ordering::Greater),
            Self::Equal => Some(Ordering::Equal),
            Self::Concurrent => None,
        }
    }
}

/// How many events of each node are in the past of an event.
///
/// Clocks are partially ordered: `first < second` says that `first` could have caused `second`, and where neither
/// `first <= second` nor `second <= first` they are concurrent.
///
/// ```
/// use chronofabric_clock::{Causality, NodeId, VectorClock};
///
/// let (ours, theirs) = (NodeId([1; 16]), NodeId([2; 16]));
/// let mut sent = VectorClock::new();
/// sent.increment(ours)?;
/// let mut received = sent.clone();
/// received.increment(theirs)?;
/// assert!(sent.happens_before(&received));
///
/// let mut meanwhile = sent.clone();
/// meanwhile.increment(ours)?;
/// assert_eq!(meanwhile.compare(&received), Causality::Concurrent);
/// received.merge(&meanwhile)?;
/// assert_eq!((received.get(ours), received.get(theirs)), (2, 1));
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct VectorClock {
    entries: SmallVec<[Entry; INLINE]>,
}

impl VectorClock {
    /// The most nodes that a clock may know.
    pub const NODES_MAX: usize = 4096;

    /// The clock of no event: every counter is 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// A clock with these counters; of a node that comes more than once, the greatest.
    ///
    /// # Errors
    ///
    /// [`ClockError::NodeLimit`] if there are more than [`VectorClock::NODES_MAX`] nodes.
    pub fn from_counters(counters: impl IntoIterator<Item = (NodeId, u64)>) -> Result<Self, ClockError> {
        let mut clock = Self::new();
        for (node, counter) in counters {
            clock.raise(node, counter)?;
        }
        Ok(clock)
    }

    /// The clock with these entries, which keep the invariants.
    pub(super) fn from_sorted(entries: impl Iterator<Item = Entry>) -> Self {
        Self { entries: entries.collect() }
    }

    /// How many events of a node are in it; 0 for a node that it does not know.
    #[inline]
    pub fn get(&self, node: NodeId) -> u64 {
        self.position(node).map_or(0, |position| self.entries[position].1)
    }

    /// Counts one more event of a node, and returns how many there are then.
    ///
    /// # Errors
    ///
    /// [`ClockError::NodeLimit`] if it knows [`VectorClock::NODES_MAX`] other nodes, [`ClockError::CounterExhausted`]
    /// if 64 bits count no further. The clock is unchanged.
    pub fn increment(&mut self, node: NodeId) -> Result<u64, ClockError> {
        let next = self.get(node).checked_add(1).ok_or(ClockError::CounterExhausted { node })?;
        self.raise(node, next)?;
        Ok(next)
    }

    /// Raises the counter of a node to at least a value.
    ///
    /// # Errors
    ///
    /// [`ClockError::NodeLimit`] if it knows [`VectorClock::NODES_MAX`] other nodes. The clock is unchanged.
    pub fn raise(&mut self, node: NodeId, counter: u64) -> Result<(), ClockError> {
        match self.position(node) {
            Ok(position) => self.entries[position].1 = self.entries[position].1.max(counter),
            Err(_) if counter == 0 => {}
            Err(_) if self.entries.len() == Self::NODES_MAX => return Err(Self::full()),
            Err(position) => self.entries.insert(position, (node, counter)),
        }
        Ok(())
    }

    /// Takes the past of another clock into this one: the greater counter of every node.
    ///
    /// # Errors
    ///
    /// [`ClockError::NodeLimit`] if the two know more than [`VectorClock::NODES_MAX`] nodes. The clock is unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), ClockError> {
        if self.entries.len() + other.entries.len() > Self::NODES_MAX {
            return self.merge_near_the_limit(other);
        }
        let mut position = 0;
        for entry in &other.entries {
            position += self.entries[position..].iter().take_while(|ours| key(ours) < key(entry)).count();
            match self.entries.get_mut(position) {
                Some(ours) if ours.0 == entry.0 => ours.1 = ours.1.max(entry.1),
                _ => {
                    self.entries = union(&self.entries, &other.entries);
                    break;
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn merge_near_the_limit(&mut self, other: &Self) -> Result<(), ClockError> {
        let merged = union(&self.entries, &other.entries);
        if merged.len() > Self::NODES_MAX {
            return Err(Self::full());
        }
        self.entries = merged;
        Ok(())
    }

    /// How the event of this clock is related to that of another.
    pub fn compare(&self, other: &Self) -> Causality {
        let (mut first, mut second) = (self.entries.as_slice(), other.entries.as_slice());
        let (mut first_has_more, mut second_has_more) = (false, false);
        while let ([ours, first_rest @ ..], [theirs, second_rest @ ..]) = (first, second) {
            if ours.0 == theirs.0 {
                first_has_more |= ours.1 > theirs.1;
                second_has_more |= ours.1 < theirs.1;
                (first, second) = (first_rest, second_rest);
            } else if key(ours) < key(theirs) {
                first_has_more = true;
                first = first_rest;
            } else {
                second_has_more = true;
                second = second_rest;
            }
            if first_has_more && second_has_more {
                return Causality::Concurrent;
            }
        }
        Causality::of(first_has_more || !first.is_empty(), second_has_more || !second.is_empty())
    }

    /// Whether the event of this clock could have caused that of another.
    pub fn happens_before(&self, other: &Self) -> bool {
        self.compare(other) == Causality::Before
    }

    /// Whether neither event could have caused the other.
    pub fn is_concurrent_with(&self, other: &Self) -> bool {
        self.compare(other) == Causality::Concurrent
    }

    /// The nodes it knows, in order, with how many of their events are in it; none has 0.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (NodeId, u64)> + '_ {
        self.entries.iter().copied()
    }

    /// How many nodes it knows.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it is the clock of no event.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn position(&self, node: NodeId) -> Result<usize, usize> {
        let wanted = key(&(node, 0));
        self.entries.binary_search_by(|entry| key(entry).cmp(&wanted))
    }

    fn full() -> ClockError {
        ClockError::NodeLimit { limit: Self::NODES_MAX }
    }
}

/// A node id as a number that sorts as its bytes do: compared in two instructions, without a call.
#[inline]
pub(super) fn key(entry: &Entry) -> u128 {
    u128::from_be_bytes(entry.0.0)
}

fn union(first: &[Entry], second: &[Entry]) -> SmallVec<[Entry; INLINE]> {
    let (mut first, mut second) = (first, second);
    let mut merged = SmallVec::with_capacity(first.len() + second.len());
    while let ([ours, first_rest @ ..], [theirs, second_rest @ ..]) = (first, second) {
        match key(ours).cmp(&key(theirs)) {
            Ordering::Less => {
                merged.push(*ours);
                first = first_rest;
            }
            Ordering::Greater => {
                merged.push(*theirs);
                second = second_rest;
            }
            Ordering::Equal => {
                merged.push((ours.0, ours.1.max(theirs.1)));
                (first, second) = (first_rest, second_rest);
            }
        }
    }
    merged.extend_from_slice(first);
    merged.extend_from_slice(second);
    merged
}

/// The order of possible causes; `None` for concurrent events.
impl PartialOrd for VectorClock {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.compare(other).ordering()
    }
}

impl fmt::Debug for VectorClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}
