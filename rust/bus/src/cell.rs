//! The one place in memory that an event has, shared by everybody who receives it.
//!
//! A cell is filled once, by the publisher, and then only read. Its reference count starts at the number of receivers, so
//! fanning out sets it once instead of raising it once a receiver. When the last reference goes, payload and headers are
//! dropped and the cell returns to a bounded pool. The topic stays in it: the next event that uses the cell is often of the
//! same topic, and then the topic's own count is not touched either.
//!
//! Threads take and return unused cells in magazines (Bonwick and Adams, "Magazines and Vmem", USENIX 2001), because a
//! locked instruction for each costs as much as a push into a ring.

use crate::ring::Ring;
use crate::topic::TopicInfo;
use chronofabric_clock::Stamp;
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// What events carry.
pub trait Payload: Send + Sync + Sized + 'static {
    /// What travels beside the payload.
    type Headers: Send + Sync + 'static;

    /// The pool that the cells of such events come from and return to.
    fn pool() -> &'static Pool<Self>;

    /// Runs a function on the calling thread's own magazine, a thread-local variable; `None` when the thread is ending.
    fn magazine<R>(function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R>;

    /// Called once, before [`Payload::bytes`] and only where a subscription is bounded in bytes: fixes the answer, so that
    /// a payload that changes its size does not upset the count.
    fn measure(&mut self);

    /// How many bytes the payload holds; the same answer each time.
    fn bytes(&self) -> usize;
}

/// What few events have; kept apart so that a cell fits into one cache line.
#[derive(Debug)]
pub struct Extras<H> {
    /// When the event should have been acted on.
    pub deadline_ns: Option<i64>,
    /// What its publisher sent beside the payload.
    pub headers: Option<H>,
}

/// An event without its topic.
#[derive(Debug)]
pub struct Envelope<P: Payload> {
    /// Order and identity: the node's hybrid logical clock.
    pub stamp: Stamp,
    /// Nanoseconds since the Unix epoch: when it entered this node, or what its file or sensor recorded.
    pub time_ns: i64,
    /// When it entered this node, on the node's own time source; differs from `time_ns` where a time was recorded.
    pub entered_ns: i64,
    /// Deadline and headers.
    pub extras: Option<Box<Extras<P::Headers>>>,
    /// `None` only where nobody can see it: in a cell without references.
    pub(crate) payload: Option<P>,
    /// 0 to 3, 3 the most urgent.
    pub priority: u8,
    /// Here and not in the cell, where it would cost eight bytes.
    pub(crate) references: AtomicU32,
}

/// What a new event is made of.
pub(crate) struct Parts<P: Payload> {
    pub(crate) payload: P,
    pub(crate) extras: Option<Box<Extras<P::Headers>>>,
    pub(crate) priority: u8,
    pub(crate) stamp: Stamp,
    pub(crate) time_ns: i64,
    pub(crate) entered_ns: i64,
}

/// One cache line, where the payload takes two words.
#[repr(align(64))]
struct Cell<P: Payload> {
    topic: Arc<TopicInfo>,
    envelope: Envelope<P>,
}

impl<P: Payload> Cell<P> {
    /// A new cell, with neither payload nor extras.
    #[cold]
    fn unused(topic: &Arc<TopicInfo>) -> Box<Self> {
        let envelope = Envelope {
            stamp: Stamp::default(),
            time_ns: 0,
            entered_ns: 0,
            extras: None,
            payload: None,
            priority: 0,
            references: AtomicU32::new(0),
        };
        Box::new(Self { topic: Arc::clone(topic), envelope })
    }
}

/// How many cells threads exchange with the pool at a time.
const BATCH: usize = 64;
/// How many unused cells a thread keeps for itself.
const KEPT: usize = 2 * BATCH;

/// How many cells ahead a thread asks the others' caches for the cells that it will write to.
const AHEAD: usize = 4;

/// Asks for a cell's cache line, which the thread that received its last event mostly still has: otherwise the next locked
/// instruction waits for it.
#[inline(always)]
fn fetch_for_writing<P: Payload>(cell: &Cell<P>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, without effect on memory or flags.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) std::ptr::from_ref(cell), options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = cell;
}

/// A cell that nobody refers to.
struct Unused<P: Payload>(Box<Cell<P>>);

/// A bounded store of unused cells, shared by the whole process.
pub struct Pool<P: Payload> {
    batches: OnceLock<Batches<P>>,
    capacity: usize,
}

struct Batches<P: Payload> {
    full: Ring<Vec<Unused<P>>>,
    /// Vectors to be filled again, so that exchanging batches allocates nothing.
    empty: Ring<Vec<Unused<P>>>,
}

impl<P: Payload> Pool<P> {
    /// A pool that keeps about `capacity` unused cells, and some for each thread; what is returned beyond that is freed.
    pub const fn new(capacity: usize) -> Self {
        Self { batches: OnceLock::new(), capacity }
    }

    fn batches(&self) -> &Batches<P> {
        let batches = self.capacity.div_ceil(BATCH);
        self.batches.get_or_init(|| Batches { full: Ring::new(batches), empty: Ring::new(batches) })
    }
}

/// The unused cells of one thread.
pub struct Magazine<P: Payload>(UnsafeCell<Vec<Unused<P>>>);

impl<P: Payload> Default for Magazine<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Payload> Magazine<P> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Vec::new()))
    }

    #[inline]
    fn take(&self) -> Option<Unused<P>> {
        // SAFETY: the type is not Sync, and nothing below comes back to this magazine: unused cells hold nothing that could
        // run foreign code when it is dropped.
        let cells = unsafe { &mut *self.0.get() };
        if cells.is_empty() {
            Self::refill(cells);
        }
        if let Some(soon) = cells.len().checked_sub(AHEAD).and_then(|place| cells.get(place)) {
            fetch_for_writing(&*soon.0);
        }
        cells.pop()
    }

    #[inline]
    fn give(&self, cell: Unused<P>) {
        // SAFETY: as in `take`.
        let cells = unsafe { &mut *self.0.get() };
        if cells.len() >= KEPT {
            Self::unload(cells);
        }
        cells.push(cell);
    }

    #[cold]
    fn refill(cells: &mut Vec<Unused<P>>) {
        let batches = P::pool().batches();
        if let Some((_, mut batch)) = batches.full.pop() {
            cells.append(&mut batch);
            // One vector too many is simply freed.
            let _ = batches.empty.push(batch);
        }
    }

    #[cold]
    fn unload(cells: &mut Vec<Unused<P>>) {
        let batches = P::pool().batches();
        let mut batch = batches.empty.pop().map_or_else(|| Vec::with_capacity(BATCH), |(_, batch)| batch);
        batch.extend(cells.drain(BATCH..));
        // A full pool gives the batch back, and its cells are freed.
        let _ = batches.full.push(batch);
    }
}

/// One reference to an event: a pointer that is never null, and nothing else.
#[repr(transparent)]
pub struct CellRef<P: Payload>(NonNull<Cell<P>>);

// SAFETY: while several references exist a cell is only read, and all its parts are Send and Sync.
unsafe impl<P: Payload> Send for CellRef<P> {}
// SAFETY: as above.
unsafe impl<P: Payload> Sync for CellRef<P> {}

impl<P: Payload> std::fmt::Debug for CellRef<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CellRef").field("topic", &self.topic().name()).finish_non_exhaustive()
    }
}

impl<P: Payload> CellRef<P> {
    /// Puts an event into a cell. Each part is written to its place by itself: an envelope that is put together on the stack
    /// and copied as a whole stalls on store forwarding.
    #[inline(always)]
    fn new(topic: &Arc<TopicInfo>, parts: Parts<P>, references: u32) -> Self {
        let mut cell = match P::magazine(Magazine::take).flatten() {
            Some(Unused(mut cell)) => {
                if !Arc::ptr_eq(&cell.topic, topic) {
                    cell.topic = Arc::clone(topic);
                }
                cell
            }
            None => Cell::unused(topic),
        };
        let envelope = &mut cell.envelope;
        let Parts { payload, extras, priority, stamp, time_ns, entered_ns } = parts;
        envelope.stamp = stamp;
        envelope.time_ns = time_ns;
        envelope.entered_ns = entered_ns;
        envelope.priority = priority;
        *envelope.references.get_mut() = references;
        // SAFETY: both places are valid, and hold `None`, which needs no dropping: that of an unused cell was taken out.
        unsafe {
            std::ptr::write(&raw mut envelope.payload, Some(payload));
            std::ptr::write(&raw mut envelope.extras, extras);
        }
        Self(NonNull::from(Box::leak(cell)))
    }

    #[inline]
    fn cell(&self) -> &Cell<P> {
        // SAFETY: the cell lives as long as a reference to it, and nobody writes to it meanwhile.
        unsafe { self.0.as_ref() }
    }

    /// The topic it was published on.
    #[inline]
    pub fn topic(&self) -> &Arc<TopicInfo> {
        &self.cell().topic
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> Option<&P> {
        self.cell().envelope.payload.as_ref()
    }

    /// Gives up this reference for the payload itself, if it is the only one.
    ///
    /// # Errors
    /// The reference, when others hold the event too.
    #[inline]
    pub fn into_payload(mut self) -> Result<P, Self> {
        if self.cell().envelope.references.load(Ordering::Acquire) != 1 {
            return Err(self);
        }
        // SAFETY: this is the only reference, and the acquire load orders the reads of those who dropped theirs before.
        let payload = unsafe { self.0.as_mut() }.envelope.payload.take();
        match payload {
            Some(payload) => Ok(payload),
            None => Err(self),
        }
    }
}

/// The references to a new event, one for each receiver: their number is set in the cell from the start.
pub(crate) struct Shares<P: Payload> {
    cell: NonNull<Cell<P>>,
    left: usize,
}

impl<P: Payload> Shares<P> {
    /// Puts an event into a cell that `receivers` will share; at least one.
    #[inline(always)]
    pub(crate) fn new(topic: &Arc<TopicInfo>, parts: Parts<P>, receivers: usize) -> Self {
        let left = receivers.max(1);
        let cell = ManuallyDrop::new(CellRef::new(topic, parts, left as u32));
        Self { cell: cell.0, left }
    }
}

impl<P: Payload> Iterator for Shares<P> {
    type Item = CellRef<P>;

    #[inline]
    fn next(&mut self) -> Option<CellRef<P>> {
        self.left = self.left.checked_sub(1)?;
        Some(CellRef(self.cell))
    }
}

impl<P: Payload> Drop for Shares<P> {
    #[inline]
    fn drop(&mut self) {
        // References that nobody took are counted in the cell all the same.
        self.for_each(drop);
    }
}

impl<P: Payload> Deref for CellRef<P> {
    type Target = Envelope<P>;

    #[inline]
    fn deref(&self) -> &Envelope<P> {
        &self.cell().envelope
    }
}

impl<P: Payload> Clone for CellRef<P> {
    fn clone(&self) -> Self {
        // As for `Arc`: a new reference comes from an existing one, so no order is needed. The count cannot overflow: each
        // reference takes eight bytes of memory somewhere.
        self.cell().envelope.references.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<P: Payload> Drop for CellRef<P> {
    #[inline]
    fn drop(&mut self) {
        let references = &self.cell().envelope.references;
        // The only owner needs no atomic subtraction.
        if references.load(Ordering::Acquire) != 1 {
            if references.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        // SAFETY: this was the last reference, and the pointer came from `Box::leak`.
        let mut cell = unsafe { Box::from_raw(self.0.as_ptr()) };
        // Before the cell goes back: dropping a payload may run foreign code, which may publish.
        drop(cell.envelope.payload.take());
        drop(cell.envelope.extras.take());
        // Where the thread is ending, the cell is freed.
        P::magazine(|magazine| magazine.give(Unused(cell)));
    }
}
