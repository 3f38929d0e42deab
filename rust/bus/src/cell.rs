//! The one place in memory that an event has, shared by everybody who receives it.
//!
//! A cell is filled once, by the publisher, and then only read. It holds one event, or a batch of events that were published
//! together; its reference count starts at the number of events times that of receivers, so fanning out sets it once
//! instead of raising it once a receiver. When the last reference goes, payloads and headers are dropped and the cell
//! returns to a bounded pool. The topic stays in it: the next event that uses the cell is often of the same topic, and then
//! the topic's own count is not touched either.
//!
//! A cell begins with room for the embedding, which can make the cell of an event that nobody shares the object that its
//! users see: receiving an event then needs no memory beside the cell's.
//!
//! Threads take and return unused cells in magazines (Bonwick and Adams, "Magazines and Vmem", USENIX 2001), because a
//! locked instruction for each costs as much as a push into a ring.

use crate::ring::{Access, Concurrent, Ring, fetch_for_writing};
use crate::topic::TopicInfo;
use chronofabric_clock::{NodeId, Stamp, VectorClock};
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// What events carry.
pub trait Payload: Send + Sync + Sized + 'static {
    /// What travels beside the payload.
    type Headers: Send + Sync + 'static;

    /// Where an answer to an event goes. Every copy of an event has one, so that the last to go can say that there will be
    /// no answer.
    type Reply: Clone + Send + Sync + 'static;

    /// What the embedding keeps at the very start of each cell; see [`Share::into_face`].
    type Face: Default + 'static;

    /// The pool that the cells of such events come from and return to.
    fn pool() -> &'static Pool<Self>;

    /// Runs a function on a magazine that nobody else uses meanwhile: that of all holders of the lock that exclusive access
    /// stands for, or the calling thread's own, a thread-local variable; `None` when the thread is ending.
    fn magazine<R>(access: impl Access, function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R>;

    /// Called once, before [`Payload::bytes`] and only where a subscription is bounded in bytes: fixes the answer, so that
    /// a payload that changes its size does not upset the count.
    fn measure(&mut self);

    /// How many bytes the payload holds; the same answer each time.
    fn bytes(&self) -> usize;

    /// The payload of one event, for a cell of its own: that of the given place in a batch, otherwise the same again.
    fn part(&self, place: usize) -> Self;

    /// The same headers for another cell.
    fn share_headers(headers: &Self::Headers) -> Self::Headers;

    /// Drops it, where nothing is held; an embedding may know a quicker way for who has exclusive access.
    fn release(self, access: impl Access) {
        let _ = access;
        drop(self);
    }
}

/// What few events have; kept apart so that a cell fits into one cache line.
pub struct Extras<P: Payload> {
    /// When the event should have been acted on.
    pub deadline_ns: Option<i64>,
    /// How long after its deadline it was handed out, where somebody asked for that.
    pub late_ns: Option<i64>,
    /// What its publisher sent beside the payload.
    pub headers: Option<P::Headers>,
    /// Its place in causal order, where somebody asked for that, or another node gave it one.
    pub provenance: Option<Provenance>,
    /// Where an answer goes, if the event is a request.
    pub reply: Option<P::Reply>,
}

/// Which event it is among all those that one subscription in causal order is meant to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The node that published it.
    pub node: NodeId,
    /// How many events of each node lie in its past, itself included.
    pub clock: VectorClock,
}

impl<P: Payload> std::fmt::Debug for Extras<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Extras").field("deadline_ns", &self.deadline_ns).finish_non_exhaustive()
    }
}

impl<P: Payload> Extras<P> {
    /// Nothing of it.
    pub fn empty() -> Box<Self> {
        Box::new(Self { deadline_ns: None, late_ns: None, headers: None, provenance: None, reply: None })
    }

    /// The same for another cell.
    pub(crate) fn share(&self) -> Box<Self> {
        let headers = self.headers.as_ref().map(P::share_headers);
        let (provenance, reply) = (self.provenance.clone(), self.reply.clone());
        Box::new(Self { deadline_ns: self.deadline_ns, late_ns: self.late_ns, headers, provenance, reply })
    }
}

/// What a cell is filled with.
pub(crate) struct Parts<P: Payload> {
    pub(crate) payload: P,
    pub(crate) extras: Option<Box<Extras<P>>>,
    pub(crate) priority: u8,
    /// Whether the payload is that of a batch.
    pub(crate) batch: bool,
    /// Whether the time was recorded, and is not that of the entry into the node.
    pub(crate) recorded: bool,
    /// Whether it comes from what its topic has kept.
    pub(crate) retained: bool,
    pub(crate) stamp: Stamp,
    pub(crate) time_ns: i64,
}

impl<P: Payload> Parts<P> {
    /// The same for another cell.
    pub(crate) fn share(&self) -> Self {
        self.share_with(self.payload.part(0))
    }

    /// The same for another cell, with another payload.
    pub(crate) fn share_with(&self, payload: P) -> Self {
        let extras = self.extras.as_ref().map(|extras| extras.share());
        Self { payload, extras, ..*self }
    }
}

/// One cache line, where payload and face take three words together.
#[repr(C, align(64))]
struct Cell<P: Payload> {
    face: UnsafeCell<P::Face>,
    topic: Arc<TopicInfo>,
    stamp: Stamp,
    time_ns: i64,
    /// `None` in a cell without references.
    payload: Option<P>,
    extras: Option<Box<Extras<P>>>,
    references: AtomicU32,
    priority: u8,
    recorded: bool,
    batch: bool,
    retained: bool,
}

impl<P: Payload> Cell<P> {
    /// A new cell, with neither payload nor extras.
    #[cold]
    fn unused(topic: &Arc<TopicInfo>) -> Box<Self> {
        Box::new(Self {
            face: UnsafeCell::default(),
            topic: Arc::clone(topic),
            stamp: Stamp::default(),
            time_ns: 0,
            payload: None,
            extras: None,
            references: AtomicU32::new(0),
            priority: 0,
            recorded: false,
            batch: false,
            retained: false,
        })
    }

    /// A cell with its contents and the count of its references.
    #[inline(always)]
    fn filled(access: impl Access, topic: &Arc<TopicInfo>, parts: Parts<P>, references: u32) -> NonNull<Self> {
        let mut cell = match P::magazine(access, Magazine::take).flatten() {
            Some(Unused(mut cell)) => {
                if !Arc::ptr_eq(&cell.topic, topic) {
                    cell.topic = Arc::clone(topic);
                }
                cell
            }
            None => Self::unused(topic),
        };
        // Each part is written to its place by itself: a cell that is put together on the stack and copied as a whole stalls
        // on store forwarding.
        let Parts { payload, extras, priority, recorded, batch, retained, stamp, time_ns } = parts;
        cell.stamp = stamp;
        cell.time_ns = time_ns;
        cell.priority = priority;
        cell.recorded = recorded;
        cell.batch = batch;
        cell.retained = retained;
        *cell.references.get_mut() = references;
        // SAFETY: both places are valid, and hold `None`, which needs no dropping: that of an unused cell was taken out.
        unsafe {
            std::ptr::write(&raw mut cell.payload, Some(payload));
            std::ptr::write(&raw mut cell.extras, extras);
        }
        NonNull::from(Box::leak(cell))
    }
}

/// How many cells threads exchange with the pool at a time.
const BATCH: usize = 64;
/// How many unused cells a thread keeps for itself.
const KEPT: usize = 2 * BATCH;

/// How many cells ahead a thread asks the others' caches for the cells that it will write to: the thread that received the
/// last event of a cell mostly still has its line, for which the next locked instruction would wait.
const AHEAD: usize = 8;

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

/// The unused cells of one thread, or of all threads that take turns under one lock.
pub struct Magazine<P: Payload> {
    cells: UnsafeCell<Vec<Unused<P>>>,
    kept: usize,
}

impl<P: Payload> Default for Magazine<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Payload> Magazine<P> {
    /// An empty one, for one thread.
    pub const fn new() -> Self {
        Self::keeping(KEPT)
    }

    /// An empty one that keeps up to so many cells before it gives some to the pool.
    pub const fn keeping(kept: usize) -> Self {
        Self { cells: UnsafeCell::new(Vec::new()), kept }
    }

    #[inline]
    fn take(&self) -> Option<Unused<P>> {
        // SAFETY: the type is not Sync, and nothing below comes back to this magazine: unused cells hold nothing that could
        // run foreign code when it is dropped.
        let cells = unsafe { &mut *self.cells.get() };
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
        let cells = unsafe { &mut *self.cells.get() };
        if cells.len() >= self.kept {
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
        batch.extend(cells.drain(cells.len() - BATCH..));
        // A full pool gives the batch back, and its cells are freed.
        let _ = batches.full.push(batch);
    }
}

/// References to one event, or to several events of one batch that follow one another.
pub struct Share<P: Payload> {
    cell: NonNull<Cell<P>>,
    span: Span,
}

/// Which events of a cell: the place of the first in the low half of the word, their number in the high one. One word, so that
/// a share travels in two registers: taken apart in memory it would be read back while it is still being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span(u64);

impl Span {
    const ONE: Self = Self::new(0, 1);

    #[inline(always)]
    const fn new(first: u32, count: u32) -> Self {
        Self(first as u64 | (count as u64) << 32)
    }

    #[inline(always)]
    const fn first(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

// SAFETY: while several references exist a cell is only read, but for its face, which only the embedding touches and only
// where it holds the one reference there is; all other parts are Send and Sync.
unsafe impl<P: Payload> Send for Share<P> {}
// SAFETY: as above.
unsafe impl<P: Payload> Sync for Share<P> {}

impl<P: Payload> std::fmt::Debug for Share<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Share");
        shown.field("topic", &self.topic().name()).field("span", &self.span).finish()
    }
}

impl<P: Payload> Share<P> {
    /// Puts an event into a cell that one receiver has for itself.
    #[inline(always)]
    pub(crate) fn new(access: impl Access, topic: &Arc<TopicInfo>, parts: Parts<P>) -> Self {
        Self { cell: Cell::filled(access, topic, parts, 1), span: Span::ONE }
    }

    /// The size of a cell.
    pub const CELL_BYTES: usize = size_of::<Cell<P>>();

    #[inline]
    fn cell(&self) -> &Cell<P> {
        // SAFETY: the cell lives as long as a reference to it, and nobody writes to it meanwhile.
        unsafe { self.cell.as_ref() }
    }

    /// Asks for its cell's cache line, which the thread that published it mostly still has.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        fetch_for_writing(self.cell());
    }

    /// How many events it refers to; at least one.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.span.count() as usize
    }

    /// The topic it was published on.
    #[inline]
    pub fn topic(&self) -> &Arc<TopicInfo> {
        &self.cell().topic
    }

    /// Order and identity of its first event, on the node's hybrid logical clock; those after it have the stamps that follow.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        Stamp(self.cell().stamp.0 + u64::from(self.span.first()))
    }

    /// Nanoseconds since the Unix epoch: when it entered this node, or what its file or sensor recorded.
    #[inline]
    pub fn time_ns(&self) -> i64 {
        self.cell().time_ns
    }

    /// When it entered this node, on the node's own time source; where a time was recorded, to the resolution of the stamp.
    #[inline]
    pub fn entered_ns(&self) -> i64 {
        let cell = self.cell();
        if cell.recorded { cell.stamp.time_ns() } else { cell.time_ns }
    }

    /// 0 to 3, 3 the most urgent.
    #[inline]
    pub fn priority(&self) -> u8 {
        self.cell().priority
    }

    /// When it should have been acted on.
    pub fn deadline_ns(&self) -> Option<i64> {
        self.cell().extras.as_ref()?.deadline_ns
    }

    /// How long after its deadline it was handed out; `None` where it was in time, or its receiver did not ask.
    pub fn late_ns(&self) -> Option<i64> {
        self.cell().extras.as_ref()?.late_ns
    }

    /// What its publisher sent beside the payload.
    pub fn headers(&self) -> Option<&P::Headers> {
        self.cell().extras.as_ref()?.headers.as_ref()
    }

    /// Its place in causal order, in the subscription that it was received from; `None` where nobody asked for that.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.cell().extras.as_ref()?.provenance.as_ref()
    }

    /// Where an answer goes, if it is a request.
    pub fn reply(&self) -> Option<&P::Reply> {
        self.cell().extras.as_ref()?.reply.as_ref()
    }

    /// Whether it comes from what its topic has kept, and was published before its receiver subscribed.
    #[inline]
    pub fn is_retained(&self) -> bool {
        self.cell().retained
    }

    /// The payload: that of its one event, or that of the whole batch which its events are from.
    #[inline]
    pub fn payload(&self) -> Option<&P> {
        self.cell().payload.as_ref()
    }

    /// The places of its events in their batch, where they are from one.
    #[inline]
    pub fn places(&self) -> Option<Range<usize>> {
        let (first, count) = (self.span.first() as usize, self.len());
        self.cell().batch.then(|| first..first + count)
    }

    /// One of its events.
    pub fn get(&self, place: usize) -> Option<Self> {
        if place >= self.len() {
            return None;
        }
        self.cell().references.fetch_add(1, Ordering::Relaxed);
        Some(Self { cell: self.cell, span: Span::new(self.span.first() + place as u32, 1) })
    }

    /// Pushes each of its events into a ring, as many as there is room for, but at most `most`; the others come back.
    pub(crate) fn push_into<T: From<Self>>(self, access: impl Access, ring: &Ring<T>, most: usize) -> Result<(), Self> {
        let Self { cell, span } = *ManuallyDrop::new(self);
        let place = |index: usize| T::from(Self { cell, span: Span::new(span.first() + index as u32, 1) });
        let pushed = ring.push_many(access, most.min(span.count() as usize), place) as u32;
        if pushed == span.count() {
            return Ok(());
        }
        Err(Self { cell, span: Span::new(span.first() + pushed, span.count() - pushed) })
    }

    /// Its first `count` events, where it has more; it keeps the others.
    #[inline(always)]
    pub(crate) fn take_front(&mut self, count: usize) -> Option<Self> {
        let (span, count) = (self.span, count as u32);
        if span.count() <= count {
            return None;
        }
        debug_assert!(count > 0);
        self.span = Span::new(span.first() + count, span.count() - count);
        Some(Self { cell: self.cell, span: Span::new(span.first(), count) })
    }

    /// Each of its events by itself.
    pub fn each(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let share = rest.as_mut()?;
            let Self { cell, span } = *share;
            if span.count() == 1 {
                return rest.take();
            }
            share.span = Span::new(span.first() + 1, span.count() - 1);
            Some(Self { cell, span: Span::new(span.first(), 1) })
        })
    }

    /// Whether the events of another share follow its own in the same batch.
    #[inline(always)]
    pub(crate) fn is_followed_by(&self, other: &Self) -> bool {
        self.cell == other.cell && self.span.first() + self.span.count() == other.span.first()
    }

    /// Takes in the events of another share, which follow its own.
    #[inline(always)]
    pub(crate) fn join(&mut self, other: Self) {
        debug_assert!(self.is_followed_by(&other));
        self.span = Span::new(self.span.first(), self.span.count() + other.span.count());
        let _ = ManuallyDrop::new(other);
    }

    /// What tells its cell from others, and how many references to it there are, one for each event.
    pub(crate) fn references(&self) -> (usize, usize) {
        (self.cell.addr().get(), self.cell().references.load(Ordering::Acquire) as usize)
    }

    /// Whether nobody else refers to the cell.
    #[inline]
    fn is_sole(&self) -> bool {
        self.cell().references.load(Ordering::Acquire) == self.span.count()
    }

    /// Gives up this reference for what the cell holds, if it is the only one and the event was published by itself.
    ///
    /// # Errors
    /// The reference, where that is not so.
    #[inline(always)]
    pub fn into_contents(self, access: impl Access) -> Result<Contents<P>, Self> {
        if self.cell().batch || !self.is_sole() {
            return Err(self);
        }
        // SAFETY: this is the only reference, and it is forgotten.
        Ok(unsafe { give_back(ManuallyDrop::new(self).cell, access) })
    }

    /// The same event in a cell that nobody else refers to: this one where that is so, or a new one. Of several events, the
    /// first.
    #[inline]
    pub fn into_sole(self, access: impl Access) -> Self {
        self.into_sole_leaving(access, drop)
    }

    /// As [`Share::into_sole`], but what this reference was the last to keep goes to `leave`.
    #[inline]
    pub fn into_sole_leaving(self, access: impl Access, leave: impl FnOnce(Contents<P>)) -> Self {
        if !self.cell().batch && self.is_sole() { self } else { self.copied(access, leave) }
    }

    #[inline(never)]
    fn copied(self, access: impl Access, leave: impl FnOnce(Contents<P>)) -> Self {
        let Some(parts) = self.parts() else { return self };
        let copy = Self::new(access, &self.cell().topic, parts);
        if let Some(contents) = self.give_up(access) {
            leave(contents);
        }
        copy
    }

    /// What another cell is filled with to hold the same event; of several events, the first.
    pub(crate) fn parts(&self) -> Option<Parts<P>> {
        let cell = self.cell();
        Some(Parts {
            payload: cell.payload.as_ref()?.part(self.span.first() as usize),
            extras: cell.extras.as_ref().map(|extras| extras.share()),
            priority: cell.priority,
            recorded: cell.recorded,
            batch: false,
            retained: cell.retained,
            stamp: self.stamp(),
            time_ns: cell.time_ns,
        })
    }

    /// Turns the only reference to a cell into a pointer to the cell's face, which lies at the very start of the cell and is
    /// then the caller's alone. [`Share::from_face`] turns it back. The face outlives the events of the cell: the embedding
    /// leaves it in a state that the next event can begin with.
    #[inline]
    pub fn into_face(self) -> NonNull<P::Face> {
        debug_assert!(self.is_sole() && self.span == Span::ONE);
        ManuallyDrop::new(self).cell.cast()
    }

    /// The reference that [`Share::into_face`] turned into a pointer.
    ///
    /// # Safety
    /// The pointer came from `into_face` of the same type, and is turned back once; who only borrows the reference must not
    /// drop it.
    #[inline]
    pub unsafe fn from_face(face: NonNull<P::Face>) -> Self {
        Self { cell: face.cast(), span: Span::ONE }
    }

    /// Drops the reference, by the magazine that belongs to the access.
    #[inline]
    pub fn release(self, access: impl Access) {
        drop(self.give_up(access));
    }

    /// Drops the reference, but what it was the last to keep comes out, for the caller to drop: that may run foreign code,
    /// which may publish.
    #[inline(always)]
    pub fn give_up(self, access: impl Access) -> Option<Contents<P>> {
        let (cell, count) = {
            let kept = ManuallyDrop::new(self);
            (kept.cell, kept.span.count())
        };
        // SAFETY: the reference was given up just now, by this thread; it is subtracted below.
        let references = unsafe { &(*cell.as_ptr()).references };
        // The only owner needs no atomic subtraction.
        if references.load(Ordering::Acquire) != count {
            // Both orders in one, which x86-64 has anyway: an acquire fence after it is unknown to ThreadSanitizer.
            if references.fetch_sub(count, Ordering::AcqRel) != count {
                return None;
            }
        }
        // SAFETY: this was the last reference.
        Some(unsafe { give_back(cell, access) })
    }
}

/// Gives a cell back, and what it held out.
///
/// # Safety
/// Nobody refers to the cell any more, and all who did have done so before.
#[inline(always)]
unsafe fn give_back<P: Payload>(cell: NonNull<Cell<P>>, access: impl Access) -> Contents<P> {
    // SAFETY: passed on; the pointer came from `Box::leak`.
    let mut cell = unsafe { Box::from_raw(cell.as_ptr()) };
    let contents = Contents { payload: cell.payload.take(), extras: cell.extras.take() };
    // Where the thread is ending, the cell is freed.
    P::magazine(access, |magazine| magazine.give(Unused(cell)));
    contents
}

/// What a cell held.
#[derive(Debug)]
pub struct Contents<P: Payload> {
    /// The payload.
    pub payload: Option<P>,
    /// What few events have.
    pub extras: Option<Box<Extras<P>>>,
}

impl<P: Payload> Clone for Share<P> {
    fn clone(&self) -> Self {
        // As for `Arc`: a new reference comes from an existing one, so no order is needed. The count cannot overflow: see
        // `REFERENCES_MAX`.
        self.cell().references.fetch_add(self.span.count(), Ordering::Relaxed);
        Self { ..*self }
    }
}

impl<P: Payload> Drop for Share<P> {
    #[inline]
    fn drop(&mut self) {
        Self { ..*self }.release(Concurrent);
    }
}

/// How many references a new cell may begin with: the number of its events times that of its receivers. The other half of
/// what the count can hold is for references that are made later, each of which takes up memory of its own.
#[cfg(not(test))]
pub(crate) const REFERENCES_MAX: usize = 1 << 31;
/// So few that a test reaches it.
#[cfg(test)]
pub(crate) const REFERENCES_MAX: usize = 64;

/// The references to a new event, or to the events of a new batch: one share for each receiver. Their number is set in the
/// cell from the start.
pub(crate) struct Shares<P: Payload> {
    cell: NonNull<Cell<P>>,
    count: u32,
    left: usize,
}

impl<P: Payload> Shares<P> {
    /// Puts `count` events into a cell that `receivers` will share; at least one.
    #[inline(always)]
    pub(crate) fn new(
        access: impl Access,
        topic: &Arc<TopicInfo>,
        parts: Parts<P>,
        count: u32,
        receivers: usize,
    ) -> Self {
        let left = receivers.max(1);
        debug_assert!(left.saturating_mul(count as usize) <= REFERENCES_MAX);
        Self { cell: Cell::filled(access, topic, parts, left as u32 * count), count, left }
    }
}

impl<P: Payload> Iterator for Shares<P> {
    type Item = Share<P>;

    #[inline]
    fn next(&mut self) -> Option<Share<P>> {
        self.left = self.left.checked_sub(1)?;
        Some(Share { cell: self.cell, span: Span::new(0, self.count) })
    }
}

impl<P: Payload> Drop for Shares<P> {
    #[inline]
    fn drop(&mut self) {
        // References that nobody took are counted in the cell all the same.
        self.for_each(drop);
    }
}
