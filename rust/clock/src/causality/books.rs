//! What became of every message that a causal buffer received.

/// Counts of a [`CausalBuffer`](super::CausalBuffer) since it was made.
///
/// The equation: received = delivered + duplicates + late + refused + pending. It holds whenever they can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CausalBooks {
    /// Messages that arrived.
    pub received: u64,
    /// Of these, messages delivered in causal order, the contradictory ones included.
    pub delivered: u64,
    /// Of these, messages that had arrived before.
    pub duplicates: u64,
    /// Of these, messages that arrived after they were declared lost and what depends on them was delivered.
    pub late: u64,
    /// Of these, messages that could not be taken: see [`Refusal`](super::Refusal).
    pub refused: u64,
    /// Of these, messages that wait for others.
    pub pending: u64,
    /// Messages declared lost; those that came late after all are among them.
    pub lost: u64,
    /// Of the delivered, those whose clocks contradict each other, such as two that each depend on the other.
    pub contradictory: u64,
}

impl CausalBooks {
    /// Whether received = delivered + duplicates + late + refused + pending.
    pub const fn balanced(&self) -> bool {
        self.received == self.delivered + self.duplicates + self.late + self.refused + self.pending
    }
}
