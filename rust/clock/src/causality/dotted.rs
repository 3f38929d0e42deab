//! Dotted version vectors: which versions of a value replace which, where several nodes write it.
//!
//! From Preguiça, Baquero, Almeida, Fonte and Gonçalves, "Dotted Version Vectors: Logical Clocks for Optimistic
//! Replication" (2010), with the operations of Almeida, Baquero, Gonçalves, Preguiça and Fonte, "Scalable and Accurate
//! Causality Tracking for Eventually Consistent Stores" (DAIS 2014), sections 4 and 5:
//!
//! | operation | what it does |
//! |---|---|
//! | [`DottedVersionVector::event`] | the version that a node writes, given what the writer had read |
//! | [`DottedVersionVector::discard`] | drops the versions that a writer had read |
//! | [`DottedVersionVector::sync`] | puts the versions of two replicas together |
//! | [`DottedVersionVector::join`] | everything that a reader of these versions has seen |
//!
//! This is the dotted version vector of one version, not the set of the second paper, which shares one context between
//! all versions of a value: here a version travels alone, with its event, and has to be compared alone. Versions of
//! one value that are concurrent are few, so sharing their contexts would save little.
//!
//! Invariant: the dot is not in the context, and counts from 1.

use super::vector::{Causality, VectorClock};
use crate::{ClockError, NodeId};
use std::cmp::Ordering;

/// One event: the node where it happened, and its number there, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The node.
    pub node: NodeId,
    /// The number of the event at this node.
    pub counter: u64,
}

/// One version: its own event, and the events that its writer had seen.
///
/// ```
/// use chronofabric_clock::{Causality, DottedVersionVector, NodeId, VectorClock};
///
/// // Two clients that have read nothing write through the same node: neither version may replace the other.
/// let node = NodeId([1; 16]);
/// let first = DottedVersionVector::event(node, &VectorClock::new(), &[])?;
/// let second = DottedVersionVector::event(node, &VectorClock::new(), &[first.clone()])?;
/// assert_eq!(first.compare(&second), Causality::Concurrent);
///
/// // Whoever has read both replaces both.
/// let read = DottedVersionVector::join(&[first.clone(), second.clone()])?;
/// let third = DottedVersionVector::event(node, &read, &[first.clone(), second.clone()])?;
/// assert_eq!(DottedVersionVector::sync(&[first, second], &[third.clone()]), [third]);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DottedVersionVector {
    dot: Dot,
    context: VectorClock,
}

impl DottedVersionVector {
    /// A version of this event, whose writer had seen a context.
    ///
    /// # Errors
    ///
    /// [`ClockError::InvalidDot`] if the counter is 0 or the event is in the context.
    pub fn new(dot: Dot, context: VectorClock) -> Result<Self, ClockError> {
        let past = context.get(dot.node);
        if dot.counter <= past {
            return Err(ClockError::InvalidDot { node: dot.node, counter: dot.counter, past });
        }
        Ok(Self { dot, context })
    }

    /// The version that a node writes for a writer who had seen a context, beside the versions that the node has.
    ///
    /// # Errors
    ///
    /// [`ClockError::CounterExhausted`] if 64 bits count no further.
    pub fn event(node: NodeId, context: &VectorClock, siblings: &[Self]) -> Result<Self, ClockError> {
        let seen = siblings.iter().map(|version| version.newest(node)).fold(context.get(node), u64::max);
        let counter = seen.checked_add(1).ok_or(ClockError::CounterExhausted { node })?;
        Ok(Self { dot: Dot { node, counter }, context: context.clone() })
    }

    /// The versions that a context has not seen, in their order.
    pub fn discard(versions: &[Self], context: &VectorClock) -> Vec<Self> {
        let unseen = |version: &&Self| version.dot.counter > context.get(version.dot.node);
        versions.iter().filter(unseen).cloned().collect()
    }

    /// The versions of two replicas without those that another one replaces: the first's, then the second's.
    pub fn sync(first: &[Self], second: &[Self]) -> Vec<Self> {
        let mut kept: Vec<Self> = Vec::with_capacity(first.len().max(second.len()));
        for version in first.iter().chain(second) {
            if kept.contains(version) || first.iter().chain(second).any(|other| version.happens_before(other)) {
                continue;
            }
            kept.push(version.clone());
        }
        kept
    }

    /// Everything that a reader of these versions has seen: the context for what it writes next.
    ///
    /// # Errors
    ///
    /// [`ClockError::NodeLimit`] if they know more than [`VectorClock::NODES_MAX`] nodes.
    pub fn join(versions: &[Self]) -> Result<VectorClock, ClockError> {
        let mut joined = VectorClock::new();
        for version in versions {
            joined.merge(&version.context)?;
            joined.raise(version.dot.node, version.dot.counter)?;
        }
        Ok(joined)
    }

    /// The event of this version.
    pub const fn dot(&self) -> Dot {
        self.dot
    }

    /// What its writer had seen.
    pub const fn context(&self) -> &VectorClock {
        &self.context
    }

    /// Whether an event is this version's own, or was seen by its writer.
    pub fn contains(&self, dot: Dot) -> bool {
        dot.counter > 0 && (dot == self.dot || dot.counter <= self.context.get(dot.node))
    }

    /// How this version is related to another, by the events that each contains.
    ///
    /// Versions that claim to have seen each other are called concurrent, so that neither replaces the other.
    pub fn compare(&self, other: &Self) -> Causality {
        match Causality::of(!self.is_within(other), !other.is_within(self)) {
            Causality::Equal if self != other => Causality::Concurrent,
            causality => causality,
        }
    }

    /// Whether the other version was written by somebody who had seen this one, and replaces it.
    pub fn happens_before(&self, other: &Self) -> bool {
        self.compare(other) == Causality::Before
    }

    /// Whether neither writer had seen the version of the other.
    pub fn is_concurrent_with(&self, other: &Self) -> bool {
        self.compare(other) == Causality::Concurrent
    }

    fn is_within(&self, other: &Self) -> bool {
        let closes =
            |node, counter| other.dot == Dot { node, counter } && other.context.get(node) == counter.saturating_sub(1);
        other.contains(self.dot)
            && self.context.iter().all(|(node, counter)| counter <= other.context.get(node) || closes(node, counter))
    }

    /// The greatest number of an event of this node in it.
    fn newest(&self, node: NodeId) -> u64 {
        if node == self.dot.node { self.dot.counter } else { self.context.get(node) }
    }
}

/// The order of replacement; `None` for concurrent versions.
impl PartialOrd for DottedVersionVector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.compare(other).ordering()
    }
}
