//! The hybrid logical clock: stamps that follow physical time, and never an order that cannot be.
//!
//! Kulkarni, Demirbas, Madappa, Avva, Leone: "Logical Physical Clocks" (OPODIS 2014), with time and counter in one
//! atomic word (see `word` for the rules as arithmetic).
//!
//! Invariants:
//! - Stamps of one clock are strictly increasing over all its threads, and each is issued once.
//! - A stamp issued after a receipt is greater than the stamp received.
//! - A stamp runs ahead of the physical time only as far as a received stamp did (at most `max_drift_ns`), the counter
//!   carried (above 4.3 G stamps/s), the physical clock stepped back, or a crash left a bound ahead (at most
//!   `horizon_ns`).
//! - Of a clock opened on a folder no stamp above the durable bound is issued, so a restart never steps back.
//!
//! # Failure
//!
//! `now` is fallible, at no cost that can be measured: a stamp that cannot be kept must not be issued, and a full disk
//! is no reason to end a process. It fails only when the durable bound is used up and cannot be extended
//! ([`ClockError::Storage`]; the next call tries again), after [`HybridLogicalClock::close`], and in the year 2106. A
//! clock without a folder fails in the last two cases only.

use crate::persistence::{Record, Store};
use crate::word::{Beyond, ClockWord, MAX_WORD};
use crate::{ClockError, NodeId, NodeStamp, Stamp, Stamps, TimeSource};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far ahead of this node a received stamp may be, unless the options say otherwise: 500 ms.
pub const DEFAULT_MAX_DRIFT_NS: i64 = 500_000_000;

/// Simulated time passes quickly, and an extension of the bound waits for the disk.
const SIMULATED_HORIZON_NS: i64 = 60_000_000_000;
/// A clock that has issued nothing for so long is not extended ahead of time.
const IDLE_NS: i64 = 10_000_000_000;

const DRIFT_LIMITS_NS: (i64, i64) = (0, 3_600_000_000_000);
const HORIZON_LIMITS_NS: (i64, i64) = (1_000_000, 3_600_000_000_000);

/// What a clock accepts, and how far ahead it keeps its bound.
///
/// ```
/// use chronofabric_clock::{ClockOptions, HybridLogicalClock, NodeId, TimeSource};
///
/// let options = ClockOptions { max_drift_ns: 20_000_000, ..ClockOptions::default() };
/// let clock = HybridLogicalClock::with_options(TimeSource::system(), NodeId([7; 16]), &options)?;
/// assert_eq!(clock.max_drift_ns(), 20_000_000);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockOptions {
    /// How far ahead of this node a received stamp may be; 0 to 1 h.
    pub max_drift_ns: i64,
    /// How far ahead of the last stamp the durable bound is set, 1 ms to 1 h; it is what a crash can make the next run
    /// start ahead of its physical time. `None`: 60 s on a simulated source, 500 ms on a real one, so that peers
    /// with the default drift still accept the stamps that follow a crash.
    pub horizon_ns: Option<i64>,
}

impl Default for ClockOptions {
    fn default() -> Self {
        Self { max_drift_ns: DEFAULT_MAX_DRIFT_NS, horizon_ns: None }
    }
}

/// A hybrid logical clock; shared between threads by reference or [`Arc`](std::sync::Arc), without a lock.
///
/// ```
/// use chronofabric_clock::{HybridLogicalClock, NodeId, Stamp, TimeSource};
///
/// let clock = HybridLogicalClock::new(TimeSource::simulated(1_000_000_000), NodeId([1; 16]));
/// assert_eq!(clock.now()?, Stamp(65_536 << 16));
/// assert_eq!(clock.now()?, Stamp((65_536 << 16) + 1));
///
/// let remote = Stamp::from_time_ns(1_200_000_000);
/// assert!(clock.receive(remote)? > remote);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Debug)]
pub struct HybridLogicalClock {
    word: ClockWord,
    source: TimeSource,
    node: NodeId,
    max_drift_ns: i64,
    horizon_ns: i64,
    durability: Mutex<Durability>,
    /// Whether somebody stamps who does not hold the lock that exclusive stamping stands for.
    shared: AtomicBool,
    unit: Unit,
}

/// The unit of time that was last stamped in: readings that follow one another mostly fall into the same, and a comparison
/// that is foreseen takes the division off the way of what waits for the stamp. Atomic only to be shared; used by one
/// thread at a time.
#[derive(Debug, Default)]
struct Unit {
    start_ns: AtomicI64,
    word: AtomicU64,
}

impl Unit {
    /// Shorter than any unit by less than a nanosecond.
    const NS: u64 = 15_258;

    /// The word of a physical time with a counter of zero. Callers exclude one another.
    #[inline(always)]
    fn word(&self, physical_ns: i64) -> u64 {
        let since_start = physical_ns.wrapping_sub(self.start_ns.load(Ordering::Relaxed)).cast_unsigned();
        if since_start < Self::NS { self.word.load(Ordering::Relaxed) } else { self.enter(physical_ns) }
    }

    #[cold]
    fn enter(&self, physical_ns: i64) -> u64 {
        let stamp = Stamp::from_time_ns(physical_ns);
        // Units begin between two nanoseconds.
        let floor_ns = stamp.time_ns();
        let start_ns = if Stamp::from_time_ns(floor_ns) == stamp { floor_ns } else { floor_ns.saturating_add(1) };
        self.start_ns.store(start_ns, Ordering::Relaxed);
        self.word.store(stamp.0, Ordering::Relaxed);
        stamp.0
    }
}

/// What stands behind the bound; the mutex is taken only to raise it or to close.
#[derive(Debug)]
enum Durability {
    /// Nothing: the order holds as long as the process.
    Volatile,
    Folder(Store),
    Closed,
}

impl HybridLogicalClock {
    /// A clock without a folder: strictly increasing as long as it lives.
    pub fn new(source: TimeSource, node: NodeId) -> Self {
        Self::assembled(source, node, DEFAULT_MAX_DRIFT_NS, SIMULATED_HORIZON_NS, ClockWord::new(0, MAX_WORD), None)
    }

    /// A clock without a folder, with options.
    ///
    /// # Errors
    ///
    /// [`ClockError::InvalidOption`] if one is outside its limits.
    pub fn with_options(source: TimeSource, node: NodeId, options: &ClockOptions) -> Result<Self, ClockError> {
        let (max_drift_ns, horizon_ns) = checked(options, &source)?;
        Ok(Self::assembled(source, node, max_drift_ns, horizon_ns, ClockWord::new(0, MAX_WORD), None))
    }

    /// The clock of a folder: its node id and its order last across restarts. A new folder gets a random id.
    ///
    /// The folder is made if it is not there, and locked for this clock until it is closed or dropped.
    ///
    /// ```
    /// use chronofabric_clock::{HybridLogicalClock, TimeSource};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let clock = HybridLogicalClock::open(folder.path(), TimeSource::system())?;
    /// let (node, before) = (clock.node(), clock.now()?);
    /// drop(clock);
    ///
    /// let clock = HybridLogicalClock::open(folder.path(), TimeSource::system())?;
    /// assert_eq!(clock.node(), node);
    /// assert!(clock.now()? > before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClockError::FolderInUse`] if another clock has it open, [`ClockError::Corrupt`] and
    /// [`ClockError::UnknownVersion`] for a file that is not understood, [`ClockError::Storage`] if the system refuses,
    /// and [`ClockError::Randomness`] if a new id cannot be made.
    pub fn open(folder: impl AsRef<Path>, source: TimeSource) -> Result<Self, ClockError> {
        Self::open_with_options(folder, source, &ClockOptions::default())
    }

    /// The clock of a folder, with options.
    ///
    /// # Errors
    ///
    /// Those of [`HybridLogicalClock::open`], and [`ClockError::InvalidOption`] if an option is outside its limits.
    pub fn open_with_options(
        folder: impl AsRef<Path>,
        source: TimeSource,
        options: &ClockOptions,
    ) -> Result<Self, ClockError> {
        let (max_drift_ns, horizon_ns) = checked(options, &source)?;
        let (store, record) = Store::open(folder.as_ref())?;
        let Record { node, bound: last } = match record {
            Some(record) => record,
            None => Record { node: NodeId::random()?, bound: 0 },
        };
        let next = last.saturating_add(1).max(Stamp::from_time_ns(source.now_ns()).0);
        let bound = raised(next, horizon_ns);
        store.write(&Record { node, bound })?;
        Ok(Self::assembled(source, node, max_drift_ns, horizon_ns, ClockWord::new(last, bound), Some(store)))
    }

    /// The stamp of an event of this node.
    ///
    /// # Errors
    ///
    /// [`ClockError::Storage`] if the bound of a clock with a folder is used up and cannot be extended,
    /// [`ClockError::Closed`] after [`HybridLogicalClock::close`], [`ClockError::Exhausted`] in 2106.
    #[inline]
    pub fn now(&self) -> Result<Stamp, ClockError> {
        // The word brings stamps into order, so the reading need not be.
        self.now_at(self.source.now_unordered_ns())
    }

    /// The stamp of an event of this node, for callers that have read the source already.
    ///
    /// ```
    /// # use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
    /// let clock = HybridLogicalClock::new(TimeSource::counter(), NodeId([1; 16]));
    /// let time_ns = clock.source().now_ns();
    /// let stamp = clock.now_at(time_ns)?;
    /// assert!(time_ns - stamp.time_ns() < chronofabric_clock::STAMP_RESOLUTION_NS);
    /// # Ok::<(), chronofabric_clock::ClockError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`HybridLogicalClock::now`].
    #[inline]
    pub fn now_at(&self, physical_ns: i64) -> Result<Stamp, ClockError> {
        self.take(Stamp::from_time_ns(physical_ns).0, 1).map(Stamp)
    }

    /// As many consecutive stamps, taken in one step: no other stamp of this clock lies between them.
    ///
    /// ```
    /// # use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource};
    /// let clock = HybridLogicalClock::new(TimeSource::counter(), NodeId([1; 16]));
    /// let stamps = clock.now_many_at(clock.source().now_ns(), 256)?;
    /// assert_eq!(stamps.len(), 256);
    /// assert_eq!(stamps.last(), Some(clock.last()));
    /// # Ok::<(), chronofabric_clock::ClockError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`HybridLogicalClock::now`]; then none is taken.
    #[inline]
    pub fn now_many_at(&self, physical_ns: i64, count: usize) -> Result<Stamps, ClockError> {
        if count == 0 {
            return Ok(Stamps::new(0, 0));
        }
        Ok(Stamps::new(self.take(Stamp::from_time_ns(physical_ns).0, count as u64)?, count))
    }

    /// As [`HybridLogicalClock::now_many_at`] without an atomic exchange, for callers that take turns under one lock of their
    /// own; the first of `count` stamps, at least one.
    ///
    /// # Errors
    ///
    /// Those of [`HybridLogicalClock::now`]; then none is taken.
    ///
    /// # Safety
    ///
    /// Whoever takes stamps of this clock or closes it holds the same lock, unless [`HybridLogicalClock::share`] was called
    /// before, by a holder of the lock.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub unsafe fn now_exclusively_at(&self, physical_ns: i64, count: usize) -> Result<Stamp, ClockError> {
        let (wall, count) = (self.unit.word(physical_ns), count.max(1) as u64);
        if !self.shared.load(Ordering::Relaxed)
            && let Ok(first) = self.word.take_exclusively(wall, count)
        {
            return Ok(Stamp(first));
        }
        self.take(wall, count).map(Stamp)
    }

    /// Ends exclusive stamping: from now on stamps are taken without the lock too.
    pub fn share(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    /// The stamp of the receipt of an event of another node: greater than its stamp and than all of this node.
    ///
    /// # Errors
    ///
    /// [`ClockError::Drift`] if the stamp is further ahead of the physical time of this node than `max_drift_ns`; the
    /// clock is unchanged. Otherwise those of [`HybridLogicalClock::now`].
    #[inline]
    pub fn receive(&self, remote: Stamp) -> Result<Stamp, ClockError> {
        self.receive_at(self.source.now_unordered_ns(), remote)
    }

    /// The stamp of a receipt, for callers that have read the source already.
    ///
    /// ```
    /// # use chronofabric_clock::{ClockError, HybridLogicalClock, NodeId, Stamp, TimeSource};
    /// let clock = HybridLogicalClock::new(TimeSource::simulated(0), NodeId([1; 16]));
    /// let refused = clock.receive_at(1_000_000_000, Stamp::from_time_ns(2_000_000_000));
    /// assert!(matches!(refused, Err(ClockError::Drift { ahead_ns: 1_000_000_000, limit_ns: 500_000_000, .. })));
    /// assert_eq!(clock.last(), Stamp(0));
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`HybridLogicalClock::receive`].
    #[inline]
    pub fn receive_at(&self, physical_ns: i64, remote: Stamp) -> Result<Stamp, ClockError> {
        let ahead_ns = remote.time_ns().saturating_sub(physical_ns);
        if ahead_ns > self.max_drift_ns {
            return Err(ClockError::Drift { remote, ahead_ns, limit_ns: self.max_drift_ns });
        }
        let wall = Stamp::from_time_ns(physical_ns).0;
        self.take(wall.max(remote.0.saturating_add(1)), 1).map(Stamp)
    }

    /// The last stamp issued; before the first, that of the folder's last run, or zero.
    #[inline]
    pub fn last(&self) -> Stamp {
        Stamp(self.word.last())
    }

    /// The time source.
    pub fn source(&self) -> &TimeSource {
        &self.source
    }

    /// The node that stamps by this clock.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// A stamp of this clock with its node id.
    pub fn with_node(&self, stamp: Stamp) -> NodeStamp {
        NodeStamp { stamp, node: self.node }
    }

    /// How far ahead of this node a received stamp may be.
    pub fn max_drift_ns(&self) -> i64 {
        self.max_drift_ns
    }

    /// How often a housekeeping thread should call [`HybridLogicalClock::extend`]; `None` if there is nothing to
    /// extend.
    pub fn extend_interval_ns(&self) -> Option<i64> {
        matches!(*self.durability(), Durability::Folder(_)).then_some(self.horizon_ns / 4)
    }

    /// Raises the durable bound ahead of time, so that no stamp has to wait for the disk; returns whether it did.
    ///
    /// To be called by a housekeeping thread every [`HybridLogicalClock::extend_interval_ns`]. It writes when less than
    /// half of the horizon is left, and not for a clock that has issued nothing for 10 s.
    ///
    /// # Errors
    ///
    /// [`ClockError::Storage`] if it cannot be written (stamps go on up to the old bound; the next call tries again),
    /// [`ClockError::Forked`] in a forked child. A closed clock has nothing to extend.
    pub fn extend(&self) -> Result<bool, ClockError> {
        let durability = self.durability();
        let Durability::Folder(store) = &*durability else { return Ok(false) };
        let last = self.word.last();
        let physical_ns = self.source.now_ns();
        if physical_ns.saturating_sub(Stamp(last).time_ns()) > IDLE_NS {
            return Ok(false);
        }
        let next = last.saturating_add(1).max(Stamp::from_time_ns(physical_ns).0);
        if raised(next, self.horizon_ns / 2) < self.word.bound() {
            return Ok(false);
        }
        self.raise(store, next)?;
        Ok(true)
    }

    /// Ends the clock: records its last stamp as the bound, so that the next run need not start ahead, and gives the
    /// folder back. Later stamps are refused. Closing again does nothing; dropping the clock closes it.
    ///
    /// # Errors
    ///
    /// [`ClockError::Storage`] if the record cannot be written; the clock is closed all the same, and the bound that is
    /// on disk holds. [`ClockError::Forked`] in a forked child, where nothing is written.
    pub fn close(&self) -> Result<(), ClockError> {
        let mut durability = self.durability();
        let sealed = match *durability {
            Durability::Closed => return Ok(()),
            _ => self.word.seal(),
        };
        match std::mem::replace(&mut *durability, Durability::Closed) {
            Durability::Folder(store) => store.write(&Record { node: self.node, bound: sealed }),
            Durability::Volatile | Durability::Closed => Ok(()),
        }
    }

    fn assembled(
        source: TimeSource,
        node: NodeId,
        max_drift_ns: i64,
        horizon_ns: i64,
        word: ClockWord,
        store: Option<Store>,
    ) -> Self {
        let durability = Mutex::new(store.map_or(Durability::Volatile, Durability::Folder));
        Self {
            word,
            source,
            node,
            max_drift_ns,
            horizon_ns,
            durability,
            shared: AtomicBool::new(false),
            unit: Unit::default(),
        }
    }

    #[inline]
    fn take(&self, floor: u64, count: u64) -> Result<u64, ClockError> {
        match self.word.take(floor, count) {
            Ok(first) => Ok(first),
            Err(beyond) => self.take_beyond(floor, count, beyond),
        }
    }

    /// The bound is used up: extends it, and waits for the disk.
    #[cold]
    #[inline(never)]
    fn take_beyond(&self, floor: u64, count: u64, mut beyond: Beyond) -> Result<u64, ClockError> {
        loop {
            self.cover(beyond.needed)?;
            match self.word.take(floor, count) {
                Ok(first) => return Ok(first),
                // Other threads used up what was just added.
                Err(again) => beyond = again,
            }
        }
    }

    fn cover(&self, needed: u64) -> Result<(), ClockError> {
        let durability = self.durability();
        match &*durability {
            Durability::Closed => Err(ClockError::Closed),
            _ if needed > MAX_WORD => Err(ClockError::Exhausted),
            Durability::Volatile => Err(ClockError::Exhausted),
            // Another thread may have extended it while this one waited.
            Durability::Folder(_) if needed <= self.word.bound() => Ok(()),
            Durability::Folder(store) => self.raise(store, needed),
        }
    }

    fn raise(&self, store: &Store, needed: u64) -> Result<(), ClockError> {
        let bound = raised(needed, self.horizon_ns);
        store.write(&Record { node: self.node, bound })?;
        self.word.raise(bound);
        Ok(())
    }

    fn durability(&self) -> MutexGuard<'_, Durability> {
        self.durability.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HybridLogicalClock {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure, and the bound on disk holds without the record.
        let _ = self.close();
    }
}

fn checked(options: &ClockOptions, source: &TimeSource) -> Result<(i64, i64), ClockError> {
    let within = |name, value, (least, most): (i64, i64)| {
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(ClockError::InvalidOption { name, value, least, most })
        }
    };
    let max_drift_ns = within("max_drift_ns", options.max_drift_ns, DRIFT_LIMITS_NS)?;
    let default_horizon_ns = if source.as_simulated().is_some() { SIMULATED_HORIZON_NS } else { DEFAULT_MAX_DRIFT_NS };
    let horizon_ns = within("horizon_ns", options.horizon_ns.unwrap_or(default_horizon_ns), HORIZON_LIMITS_NS)?;
    Ok((max_drift_ns, horizon_ns))
}

/// The bound that leaves room for a horizon above a word.
fn raised(word: u64, horizon_ns: i64) -> u64 {
    word.saturating_add(Stamp::from_time_ns(horizon_ns).0).min(MAX_WORD)
}

#[cfg(all(test, not(loom)))]
#[path = "hlc_tests.rs"]
mod tests;
