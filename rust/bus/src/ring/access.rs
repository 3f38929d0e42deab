//! How a ring's positions move, and how many parties each of its two sides has.

use crate::sync::{AtomicU64, Ordering};

mod sealed {
    pub trait Sealed {}
}

/// How a shared side moves its position: the algorithm is the same, the instruction differs.
pub trait Access: Copy + sealed::Sealed {
    /// Whether it stands for a lock that keeps everybody else out.
    const EXCLUSIVE: bool;

    /// Moves a position on.
    ///
    /// # Errors
    /// Where the position is instead, when it is not at `from` any more (or at times although it is).
    fn advance(self, position: &AtomicU64, from: u64, to: u64) -> Result<(), u64>;
}

/// Any number of threads at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Concurrent;

/// One thread at a time, by a lock that the caller holds: no locked instruction and no fence.
#[derive(Clone, Copy, Debug)]
pub struct Exclusive(());

impl Exclusive {
    /// The permission to use rings, and a bus with all it has, without atomic exchanges.
    ///
    /// # Safety
    /// The caller holds a lock, as long as it uses the permission, which everybody else holds who uses the same ring, or the
    /// same bus in any way but reading: publishes, receives, subscribes, closes, adds guards, or takes stamps of its clock;
    /// and that everybody holds who has this permission, because magazines are shared by the whole process. In Python it is
    /// the interpreter's lock. Topics that others publish on are told before (`Bus::share`), by a holder of the lock. Reading
    /// positions, readiness and books is allowed at any time.
    #[inline(always)]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

impl sealed::Sealed for Concurrent {}
impl sealed::Sealed for Exclusive {}

// Both release, so that who reads a head also sees the tail that its consumer saw (`Ring::positions`).
impl Access for Concurrent {
    const EXCLUSIVE: bool = false;

    #[inline(always)]
    fn advance(self, position: &AtomicU64, from: u64, to: u64) -> Result<(), u64> {
        position.compare_exchange_weak(from, to, Ordering::Release, Ordering::Relaxed).map(|_| ())
    }
}

impl Access for Exclusive {
    const EXCLUSIVE: bool = true;

    #[inline(always)]
    fn advance(self, position: &AtomicU64, _from: u64, to: u64) -> Result<(), u64> {
        position.store(to, Ordering::Release);
        Ok(())
    }
}

/// How many parties a side of a ring has, its producers or its consumers.
pub trait Side: sealed::Sealed + 'static {
    /// Whether there is one.
    const SOLE: bool;
    /// What a slot carries when the other side is sole.
    type Own: Mark;
    /// What a slot carries when the other side is `Other`.
    type With<Other: Side>: Mark;
}

/// One party, by the type system: its handle cannot be cloned.
#[derive(Debug)]
pub enum Sole {}

/// Any number of parties.
#[derive(Debug)]
pub enum Many {}

impl sealed::Sealed for Sole {}
impl sealed::Sealed for Many {}

impl Side for Sole {
    const SOLE: bool = true;
    type Own = ();
    type With<Other: Side> = Other::Own;
}

impl Side for Many {
    const SOLE: bool = false;
    type Own = Sequence;
    type With<Other: Side> = Sequence;
}

/// What a slot says about itself.
pub trait Mark: Send + Sync + sealed::Sealed {
    /// The mark of a slot that is free for this position.
    fn new(position: u64) -> Self;
    /// Reads it, and with it what the party that set it did before.
    fn get(&self) -> u64;
    /// Sets it.
    fn set(&self, sequence: u64);
}

/// The sequence number of Vyukov's queue.
#[derive(Debug)]
pub struct Sequence(AtomicU64);

impl sealed::Sealed for Sequence {}
impl sealed::Sealed for () {}

impl Mark for Sequence {
    fn new(position: u64) -> Self {
        Self(AtomicU64::new(position))
    }
    #[inline(always)]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
    #[inline(always)]
    fn set(&self, sequence: u64) {
        self.0.store(sequence, Ordering::Release);
    }
}

/// No mark: the slots of a ring with one producer and one consumer, whose positions say it all.
impl Mark for () {
    fn new(_position: u64) -> Self {}
    #[inline(always)]
    fn get(&self) -> u64 {
        0
    }
    #[inline(always)]
    fn set(&self, _sequence: u64) {}
}
