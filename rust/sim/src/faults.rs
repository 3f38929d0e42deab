//! What can go wrong, by name, and how long messages take.

use crate::Random;

/// How likely something is, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

impl Chance {
    /// It does not happen.
    pub const NEVER: Self = Self(0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many times in a million; a million at most.
    pub const fn per_million(times: u32) -> Self {
        Self(if times > 1_000_000 { 1_000_000 } else { times })
    }

    pub(crate) fn happens(self, random: &mut Random) -> bool {
        // Drawn in any case, so that a fault uses as much of its stream whatever its chance.
        random.below(1_000_000) < u64::from(self.0)
    }
}

/// How long a message is under way, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Always as long.
    Constant(i64),
    /// Between two bounds, each equally likely.
    Uniform {
        /// The shortest.
        least_ns: i64,
        /// The longest.
        most_ns: i64,
    },
    /// As `Uniform` up to `usual_ns` in half of the cases, up to twice that in a quarter, four times in an eighth, and so
    /// on up to 64 times: most are quick, and a few very slow.
    LongTailed {
        /// The shortest.
        least_ns: i64,
        /// How much is added at most in half of the cases.
        usual_ns: i64,
    },
}

impl Delay {
    pub(crate) fn draw(self, random: &mut Random) -> i64 {
        match self {
            Self::Constant(delay_ns) => delay_ns,
            Self::Uniform { least_ns, most_ns } => random.between(least_ns, most_ns),
            Self::LongTailed { least_ns, usual_ns } => {
                let doublings = random.next_u64().trailing_ones().min(6);
                least_ns.saturating_add(random.between(0, usual_ns).saturating_mul(1 << doublings))
            }
        }
        .max(0)
    }
}

/// Something that goes wrong as long as it is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Messages do not arrive.
    Loss {
        /// How likely each is lost.
        chance: Chance,
    },
    /// Messages arrive twice; the copy takes a time of its own and may overtake.
    Duplication {
        /// How likely each is sent twice.
        chance: Chance,
    },
    /// Messages take longer, and later ones of their link overtake them.
    Reordering {
        /// How likely this happens to each.
        chance: Chance,
        /// By how much longer at most.
        delay_ns_max: i64,
    },
    /// Messages are stuck for as long as this, while all others of their link pass.
    Straggling {
        /// How likely this happens to each.
        chance: Chance,
        /// How much longer.
        delay_ns: i64,
    },
    /// Nothing that is sent from within an island arrives outside of it, or the other way round. What is under way
    /// arrives.
    Partition {
        /// The nodes of the island.
        island: Vec<usize>,
    },
    /// The clocks of the nodes are off, each by an amount of its own.
    ClockSkew {
        /// By how much at most, either way.
        offset_ns_max: i64,
    },
}

/// The name of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// [`Fault::Loss`]
    Loss,
    /// [`Fault::Duplication`]
    Duplication,
    /// [`Fault::Reordering`]
    Reordering,
    /// [`Fault::Straggling`]
    Straggling,
    /// [`Fault::Partition`]
    Partition,
    /// [`Fault::ClockSkew`]
    ClockSkew,
}
