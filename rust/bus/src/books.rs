//! What became of every event that a subscription was offered.
//!
//! The equation: offered + replayed = delivered + filtered + dropped(reason) + dead-lettered(reason) + pending.
//! It holds in every reading, because delivered, offered and pending are derived from the positions of the rings and from
//! the counters below. A single figure of a running reading is off by at most the calls in progress.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an event was dropped, or went to the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Reason {
    /// The subscription was full.
    Overflow,
    /// The subscription stayed full for as long as its publisher was to wait.
    Timeout,
    /// Waiting would have been for the waiting thread itself.
    WouldDeadlock,
    /// The publisher stopped waiting: it was interrupted or cancelled.
    Cancelled,
    /// The payload alone exceeds the subscription's bound in bytes.
    TooLarge,
    /// The dead letters were full.
    DeadLettersFull,
    /// The node was closed.
    Closed,
    /// The subscription was closed.
    Unsubscribed,
    /// It had come before, by its place in causal order.
    Duplicate,
    /// Its deadline had passed when its turn came.
    Late,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Overflow,
        Self::Timeout,
        Self::WouldDeadlock,
        Self::Cancelled,
        Self::TooLarge,
        Self::DeadLettersFull,
        Self::Closed,
        Self::Unsubscribed,
        Self::Duplicate,
        Self::Late,
    ];

    /// The reason as users read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Timeout => "timeout",
            Self::WouldDeadlock => "would-deadlock",
            Self::Cancelled => "cancelled",
            Self::TooLarge => "too-large",
            Self::DeadLettersFull => "dead-letters-full",
            Self::Closed => "closed",
            Self::Unsubscribed => "unsubscribed",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
        }
    }
}

type Counters = [AtomicU64; Reason::ALL.len()];

/// The counters behind the books; everything else follows from the positions of the rings.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Turned away before they entered a ring.
    rejected: Counters,
    /// Taken out of a ring by somebody who did not deliver them.
    evicted: Counters,
    dead_lettered: Counters,
    replayed: AtomicU64,
    /// Taken out of a ring, and held back.
    held: AtomicU64,
    /// Taken out of a ring too late, and put among the dead letters.
    late: AtomicU64,
    /// Late when their turn came, whatever became of them.
    overdue: AtomicU64,
    /// Turned away by a filter before they entered a ring.
    filtered: AtomicU64,
    /// Taken out of a ring, and turned away by a predicate.
    sifted: AtomicU64,
    /// Waiting to become due before they enter a ring.
    deferred: AtomicU64,
}

impl Ledger {
    pub(crate) fn reject(&self, reason: Reason, count: usize) {
        self.rejected[reason as usize].fetch_add(count as u64, Ordering::Release);
    }

    pub(crate) fn evict(&self, reason: Reason) {
        self.evicted[reason as usize].fetch_add(1, Ordering::Release);
    }

    pub(crate) fn dead_letter(&self, reason: Reason) {
        self.dead_lettered[reason as usize].fetch_add(1, Ordering::Release);
    }

    pub(crate) fn replay(&self) {
        self.replayed.fetch_add(1, Ordering::Release);
    }

    /// One event more is held back, after it was taken out of its ring.
    pub(crate) fn hold(&self) {
        self.held.fetch_add(1, Ordering::Release);
    }

    /// One event less is held back, before anything else is counted of it.
    pub(crate) fn release(&self) {
        self.held.fetch_sub(1, Ordering::Release);
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// An event that was taken out of a ring too late goes to the dead letters.
    pub(crate) fn set_aside(&self) {
        self.late.fetch_add(1, Ordering::Release);
    }

    /// An event is late, whatever becomes of it.
    pub(crate) fn miss(&self) {
        self.overdue.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn missed(&self) -> u64 {
        self.overdue.load(Ordering::Relaxed)
    }

    pub(crate) fn filter(&self, count: usize) {
        self.filtered.fetch_add(count as u64, Ordering::Release);
    }

    /// As [`Ledger::filter`] for one event; only for who keeps everybody else out who counts.
    pub(crate) fn filter_alone(&self) {
        self.filtered.store(self.filtered.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Events that were taken out of a ring do not pass a predicate.
    pub(crate) fn sift(&self, count: usize) {
        self.sifted.fetch_add(count as u64, Ordering::Release);
    }

    /// One event more waits to become due.
    pub(crate) fn defer(&self) {
        self.deferred.fetch_add(1, Ordering::Release);
    }

    /// One event less does, before anything else is counted of it.
    pub(crate) fn undefer(&self) {
        self.deferred.fetch_sub(1, Ordering::Release);
    }

    pub(crate) fn deferred(&self) -> u64 {
        self.deferred.load(Ordering::Acquire)
    }

    fn read(&self) -> Counts {
        let read = |counters: &Counters| Reason::ALL.map(|reason| counters[reason as usize].load(Ordering::Acquire));
        Counts {
            replayed: self.replayed.load(Ordering::Acquire),
            rejected: read(&self.rejected),
            evicted: read(&self.evicted),
            dead_lettered: read(&self.dead_lettered),
            filtered: self.filtered.load(Ordering::Acquire),
            sifted: self.sifted.load(Ordering::Acquire),
            deferred: self.deferred(),
            held: self.held(),
            late: self.late.load(Ordering::Acquire),
        }
    }

    /// The books, given a way to read how many events were ever popped from the rings and ever pushed into them.
    pub(crate) fn books(&self, positions: impl Fn() -> (u64, u64)) -> Books {
        // The counters are read before the positions, because each is raised after its position moved: what is counted as
        // evicted is then popped too. A reading that an event overtook is repeated, as long as that can succeed.
        let mut counts = self.read();
        let (mut popped, mut pushed) = positions();
        for _ in 0..READINGS_MAX {
            let again = self.read();
            if again == counts {
                break;
            }
            counts = again;
            (popped, pushed) = positions();
        }
        let Counts { replayed, rejected, evicted, mut dead_lettered, filtered, sifted, deferred, held, late } = counts;
        let total = |counts: &[u64]| counts.iter().sum::<u64>();
        let offered = pushed + total(&rejected) + total(&dead_lettered) + filtered + deferred - replayed;
        // Those were pushed, unlike what was turned away.
        dead_lettered[Reason::Late as usize] += late;
        Books {
            offered,
            replayed,
            delivered: popped - total(&evicted) - sifted - held - late,
            filtered: filtered + sifted,
            dropped: Reason::ALL.map(|reason| rejected[reason as usize] + evicted[reason as usize]),
            dead_lettered,
            pending: pushed - popped + held + deferred,
        }
    }
}

/// How often a running reading is repeated.
const READINGS_MAX: usize = 32;

#[derive(PartialEq, Eq)]
struct Counts {
    replayed: u64,
    rejected: [u64; Reason::ALL.len()],
    evicted: [u64; Reason::ALL.len()],
    dead_lettered: [u64; Reason::ALL.len()],
    filtered: u64,
    sifted: u64,
    deferred: u64,
    /// Read after what was evicted: what is evicted from there is let go of before.
    held: u64,
    late: u64,
}

/// A reading of the books of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Events published while the subscription was there.
    pub offered: u64,
    /// Dead letters that were offered again.
    pub replayed: u64,
    /// Events handed to a receiver.
    pub delivered: u64,
    /// Events turned away by a filter.
    pub filtered: u64,
    /// Events dropped, by [`Reason`].
    pub dropped: [u64; Reason::ALL.len()],
    /// Events that went to the dead letters, by [`Reason`].
    pub dead_lettered: [u64; Reason::ALL.len()],
    /// Events waiting to be received.
    pub pending: u64,
}

impl Books {
    /// Left side less right side of the equation: always zero.
    pub fn balance(&self) -> i128 {
        let sum = |counts: &[u64]| counts.iter().map(|count| i128::from(*count)).sum::<i128>();
        i128::from(self.offered) + i128::from(self.replayed)
            - i128::from(self.delivered)
            - i128::from(self.filtered)
            - sum(&self.dropped)
            - sum(&self.dead_lettered)
            - i128::from(self.pending)
    }
}
