//! A bounded queue: one algorithm for one or many producers and one or many consumers.
//!
//! Between many and many it is Vyukov's array queue ("Bounded MPMC queue", 1024cores.net): every slot carries a sequence
//! number that says whose turn it is, so a producer and a consumer meet only in the slot they share. Deviations: positions
//! are 64 bits wide and never wrap, so `tail` and `head` are at the same time the number of values ever pushed and ever
//! popped, from which a subscription derives its books; the capacity is any number, held by `tail - head` where it is not
//! a power of two; and a batch is claimed by one move of a position.
//!
//! A side with one party needs no marks in the slots, because its position is its mark. A sole producer moves the tail
//! after it has written, and a sole consumer moves the head after it has read (Lamport, "Specifying Concurrent Program
//! Modules", 1983); the other side keeps the last position that it saw, and looks again only when that is used up.
//!
//! Invariants, with `n` slots (a power of two, at least the capacity and at least 2):
//! - `head <= tail <= head + capacity`;
//! - where a side has many parties, slot `i` holds sequence `p` when it is free for position `p = i (mod n)`; many
//!   producers set it to `p + 1` when they have written, many consumers to `p + n` when they have read;
//! - where there is one producer, the positions below `tail` have been written; where there is one consumer, those below
//!   `head` have been read;
//! - only the thread that moved `tail` over `p` writes the slot of `p`; only the one that moved `head` over it reads it.
//!
//! A thread stopped between claiming a position and marking its slot delays the threads that need this very slot; they
//! yield. No lock is held and every other slot stays usable.

mod access;
mod batch;
mod handles;

pub use access::{Access, Concurrent, Exclusive, Many, Side, Sole};
pub use handles::{Consumer, Producer};

use crate::sync::{AtomicU64, Ordering, UnsafeCell, spin_loop, yield_now};
use access::Mark;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// What one side of a ring works with, on a cache line of its own (two lines, because neighbours are fetched in pairs): its
/// position, and what never changes, so that neither has to be fetched by itself.
#[repr(align(128))]
struct End<S> {
    position: AtomicU64,
    slots: NonNull<S>,
    mask: u64,
    capacity: u64,
}

impl<S> End<S> {
    #[inline(always)]
    fn slot(&self, position: u64) -> &S {
        // SAFETY: the mask is the number of slots less one, there is at least one slot, and the ring owns them for as long as
        // its ends are borrowed.
        unsafe { self.slots.add((position & self.mask) as usize).as_ref() }
    }
}

struct Slot<T, M> {
    mark: M,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// The bounded queue, between `P` producers and `C` consumers. See the module's documentation.
pub struct Ring<T, P: Side = Many, C: Side = Many> {
    tail: End<Slot<T, P::With<C>>>,
    head: End<Slot<T, P::With<C>>>,
    /// Owned; by a pointer, because both ends point there too.
    slots: NonNull<[Slot<T, P::With<C>>]>,
}

/// What one party knows about a ring. Of use only where a side has one party; otherwise nobody reads it.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// The position of a party that is alone on its side.
    position: u64,
    /// The position up to which the sole party of the other side was last seen to have come: below it a producer may write,
    /// a consumer may read.
    limit: u64,
    /// Where a party that is alone on its side last caught up with the other side.
    caught_up: u64,
}

/// For how long a party that is alone on its side and has caught up lets values, or room, gather before it looks again, in
/// spins: after a run of fewer than [`SHORT_RUN`], which may be all that comes, and after a longer one.
const GATHER_SPINS: (u32, u32) = (8, 32);
/// Values that come one by one make no longer run than this.
const SHORT_RUN: u64 = 4;
/// As many in a run have gathered by themselves; in a small ring a quarter of what it holds.
const GATHERED: u64 = 256;
/// For how long a thread stands back after another one took the position that it wanted, in spins, before it looks again.
const CONTENTION_SPINS: u32 = 16;
/// For how long it goes on standing back if the other one took more than [`STREAM`] positions meanwhile, in spins: so
/// that each of them gets through many values between two moves of the cache lines that both write.
const STREAM_SPINS: u32 = 256;
/// As many positions in a moment are taken by a thread that has more to do than one value.
const STREAM: u64 = 2;
/// After so many attempts a thread yields: by then there may be more threads than processors, and another one, of the
/// other side perhaps, has use for this one.
const CONTENTION_ATTEMPTS: u32 = 2;
/// The largest ring, in bytes of its slots, whose sole producer hands on the lines that it has written in a batch. It lies
/// in the caches of both cores, so that the reader is close behind and finds each line in the other core's cache, which
/// takes longer than from where both look. A reader that is far behind finds it there anyway.
const HANDED_ON: usize = 128 << 10;
/// How many slots ahead a thread asks for the cache line that it will write. A locked instruction lets no later access
/// begin before it has ended, so that without this each line would be waited for in full.
const SLOTS_AHEAD: u64 = 4;

// SAFETY: a value moves through a slot from the one thread that claimed its position for writing to the one that claimed
// it for reading, ordered by the release store and the acquire load of the slot's mark or of a sole party's position.
unsafe impl<T: Send, P: Side, C: Side> Send for Ring<T, P, C> {}
// SAFETY: as above; no reference to a value inside the ring is ever handed out, and sole parties act through a mutable
// reference to their only handle.
unsafe impl<T: Send, P: Side, C: Side> Sync for Ring<T, P, C> {}

impl<T, P: Side, C: Side> std::fmt::Debug for Ring<T, P, C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ring").field("capacity", &self.capacity()).field("len", &self.len()).finish()
    }
}

impl<T> Ring<T> {
    /// A ring that holds at most `capacity` values; a capacity of zero is taken as one.
    pub fn new(capacity: usize) -> Self {
        Self::with_capacity(capacity)
    }

    /// Adds a value at the end, or gives it back when the ring is full.
    ///
    /// # Errors
    /// The value itself, when `capacity` values are inside.
    #[inline(always)]
    pub fn push(&self, value: T) -> Result<(), T> {
        self.push_with(Concurrent, value)
    }

    /// As [`Ring::push`], with the given access to the ring.
    ///
    /// # Errors
    /// The value itself, when `capacity` values are inside.
    #[inline(always)]
    pub fn push_with<A: Access>(&self, access: A, value: T) -> Result<(), T> {
        self.push_at(access, &mut Cursor::default(), value)
    }

    /// Takes the oldest value, with its position, or nothing when the ring is empty or its oldest value is still being
    /// written.
    #[inline(always)]
    pub fn pop(&self) -> Option<(u64, T)> {
        self.pop_with(Concurrent)
    }

    /// As [`Ring::pop`], with the given access to the ring.
    #[inline(always)]
    pub fn pop_with<A: Access>(&self, access: A) -> Option<(u64, T)> {
        self.pop_at(access, &mut Cursor::default())
    }

    /// As [`Ring::pop_with`] for who has exclusive access: where `part` takes a part of the oldest value, that is what comes, and
    /// the rest stays. Says whether the whole came.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn pop_part<A: Access>(
        &self,
        access: A,
        part: impl FnOnce(&mut T) -> Option<T>,
    ) -> Option<(u64, T, bool)> {
        debug_assert!(A::EXCLUSIVE);
        let head = self.head.position.load(Ordering::Relaxed);
        let slot = self.head.slot(head);
        if slot.mark.get() != head + 1 {
            return None;
        }
        // SAFETY: the value has been written, and who has exclusive access has it for itself.
        if let Some(part) = slot.value.with_mut(|place| part(unsafe { (*place).assume_init_mut() })) {
            return Some((head, part, false));
        }
        // Never refused: nobody else moves it.
        access.advance(&self.head.position, head, head + 1).ok()?;
        // SAFETY: as above; the head has passed it, so it is read once.
        let value = slot.value.with(|place| unsafe { (*place).assume_init_read() });
        slot.mark.set(head + self.head.mask + 1);
        Some((head, value, true))
    }

    /// Looks at the value of a position, if it has been written and nobody can take it meanwhile: of use to a consumer whose
    /// access is exclusive.
    #[inline(always)]
    pub(crate) fn look_at(&self, position: u64, look: impl FnOnce(&T)) {
        let slot = self.head.slot(position);
        if slot.mark.get() == position + 1 {
            // SAFETY: the value has been written, and who has exclusive access takes it only after this call.
            slot.value.with(|place| look(unsafe { (*place).assume_init_ref() }));
        }
    }

    /// As [`Ring::look_at`] for the value so many places behind the oldest one.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn look_ahead(&self, ahead: u64, look: impl FnOnce(&T)) {
        self.look_at(self.head.position.load(Ordering::Relaxed) + ahead, look);
    }

    /// Looks at every value, oldest first, as [`Ring::look_at`] does at one.
    pub(crate) fn look_at_all(&self, mut look: impl FnMut(&T)) {
        let (head, tail) = self.positions();
        (head..tail).for_each(|position| self.look_at(position, &mut look));
    }

    /// As [`Ring::pop`], but waits for a value that is still being written.
    pub fn pop_settled(&self) -> Option<(u64, T)> {
        let mut attempts = 0;
        loop {
            if let Some(popped) = self.pop() {
                return Some(popped);
            }
            if self.is_empty() {
                return None;
            }
            pause(&mut attempts);
        }
    }
}

impl<T, P: Side, C: Side> Ring<T, P, C> {
    fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let count = capacity.next_power_of_two().max(2) as u64;
        let slots: Box<[_]> = (0..count)
            .map(|index| Slot { mark: Mark::new(index), value: UnsafeCell::new(MaybeUninit::uninit()) })
            .collect();
        let slots = NonNull::from(Box::leak(slots));
        let end =
            || End { position: AtomicU64::new(0), slots: slots.cast(), mask: count - 1, capacity: capacity as u64 };
        Self { tail: end(), head: end(), slots }
    }

    fn slots(&self) -> &[Slot<T, P::With<C>>] {
        // SAFETY: the ring owns them.
        unsafe { self.slots.as_ref() }
    }

    /// How many values it can hold.
    pub fn capacity(&self) -> usize {
        self.head.capacity as usize
    }

    /// How many values were ever popped, then how many were ever pushed (claimed positions count).
    pub fn positions(&self) -> (u64, u64) {
        // `head` first: the other way round it could overtake the tail that was read.
        let head = self.head.position.load(Ordering::Acquire);
        (head, self.tail.position.load(Ordering::Acquire))
    }

    /// How many values are inside, those being pushed included.
    pub fn len(&self) -> usize {
        let (head, tail) = self.positions();
        (tail - head) as usize
    }

    /// Whether nothing is inside and nothing is being pushed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a pop would find a value now.
    pub fn is_ready(&self) -> bool {
        let head = self.head.position.load(Ordering::Acquire);
        if P::SOLE { self.tail.position.load(Ordering::Acquire) > head } else { self.head.slot(head).mark.get() > head }
    }

    #[inline(always)]
    fn push_at<A: Access>(&self, access: A, cursor: &mut Cursor, value: T) -> Result<(), T> {
        let tail = self.tail(cursor);
        match self.push_once(access, cursor, tail, value) {
            Ok(()) => Ok(()),
            Err(value) => {
                let (result, now) = self.push_again(access, *cursor, tail, value);
                *cursor = now;
                result
            }
        }
    }

    #[inline(always)]
    fn push_once<A: Access>(&self, access: A, cursor: &mut Cursor, tail: u64, value: T) -> Result<(), T> {
        let slot = self.tail.slot(tail);
        if !A::EXCLUSIVE && !P::SOLE {
            fetch_for_writing(self.tail.slot(tail + SLOTS_AHEAD));
        }
        if !self.is_free(slot, tail, cursor)
            || !(P::SOLE || access.advance(&self.tail.position, tail, tail + 1).is_ok())
        {
            return Err(value);
        }
        // SAFETY: this thread owns the position `tail`, and the value of the previous lap has been taken out.
        slot.value.with_mut(|place| unsafe { (*place).write(value) });
        if P::SOLE {
            cursor.position = tail + 1;
            self.tail.position.store(tail + 1, Ordering::Release);
        } else {
            slot.mark.set(tail + 1);
        }
        Ok(())
    }

    /// Takes and returns the cursor by value, which leaves it in registers on the short way.
    #[cold]
    #[inline(never)]
    fn push_again<A: Access>(
        &self,
        access: A,
        mut cursor: Cursor,
        mut tail: u64,
        mut value: T,
    ) -> (Result<(), T>, Cursor) {
        let mut attempts = 0;
        while let Some(now) = self.next_tail(tail, &mut attempts) {
            tail = now;
            match self.push_once(access, &mut cursor, tail, value) {
                Ok(()) => return (Ok(()), cursor),
                Err(back) => value = back,
            }
        }
        (Err(value), cursor)
    }

    #[inline(always)]
    fn pop_at<A: Access>(&self, access: A, cursor: &mut Cursor) -> Option<(u64, T)> {
        let head = self.head(cursor);
        let popped = self.pop_once(access, cursor, head);
        if popped.is_some() {
            return popped;
        }
        let (popped, now) = self.pop_again(access, *cursor, head);
        *cursor = now;
        popped
    }

    #[inline(always)]
    fn pop_once<A: Access>(&self, access: A, cursor: &mut Cursor, head: u64) -> Option<(u64, T)> {
        let slot = self.head.slot(head);
        if !A::EXCLUSIVE && !C::SOLE {
            fetch_for_writing(self.head.slot(head + SLOTS_AHEAD));
        }
        if !self.is_written(slot, head, cursor)
            || !(C::SOLE || access.advance(&self.head.position, head, head + 1).is_ok())
        {
            return None;
        }
        // SAFETY: this thread owns the position `head`, and its value has been written.
        let value = slot.value.with(|place| unsafe { (*place).assume_init_read() });
        if C::SOLE {
            cursor.position = head + 1;
            self.head.position.store(head + 1, Ordering::Release);
        } else {
            slot.mark.set(head + self.head.mask + 1);
        }
        Some((head, value))
    }

    #[cold]
    #[inline(never)]
    fn pop_again<A: Access>(&self, access: A, mut cursor: Cursor, mut head: u64) -> (Option<(u64, T)>, Cursor) {
        let mut attempts = 0;
        while let Some(now) = self.next_head(head, &mut cursor, &mut attempts) {
            head = now;
            if let Some(popped) = self.pop_once(access, &mut cursor, head) {
                return (Some(popped), cursor);
            }
        }
        (None, cursor)
    }

    /// Where a producer stands. The tail that is read may be older than the head; then moving it fails.
    #[inline(always)]
    fn tail(&self, cursor: &Cursor) -> u64 {
        if P::SOLE { cursor.position } else { self.tail.position.load(Ordering::Relaxed) }
    }

    /// Where a consumer stands.
    #[inline(always)]
    fn head(&self, cursor: &Cursor) -> u64 {
        if C::SOLE { cursor.position } else { self.head.position.load(Ordering::Relaxed) }
    }

    /// Whether the slot of position `tail` may be written. It stays so until the tail moves.
    #[inline(always)]
    fn is_free(&self, slot: &Slot<T, P::With<C>>, tail: u64, cursor: &mut Cursor) -> bool {
        if C::SOLE {
            return tail < cursor.limit || self.room_gathered_after(tail, cursor) > 0;
        }
        // Where the capacity is not the number of slots, a free slot does not yet mean that there is room.
        slot.mark.get() == tail && (self.tail.capacity > self.tail.mask || self.room_after(tail, cursor) > 0)
    }

    /// As `room_after`, of which a sole producer lets some gather.
    #[inline(always)]
    fn room_gathered_after(&self, tail: u64, cursor: &mut Cursor) -> u64 {
        if P::SOLE {
            cursor.caught_up = gather(cursor.caught_up, tail, self.tail.capacity);
        }
        self.room_after(tail, cursor)
    }

    /// How many values the capacity allows from position `tail` on, by the head as it is now.
    #[inline(always)]
    fn room_after(&self, tail: u64, cursor: &mut Cursor) -> u64 {
        cursor.limit = self.head.position.load(Ordering::Acquire) + self.tail.capacity;
        cursor.limit.saturating_sub(tail)
    }

    /// Whether the slot of position `head` may be read. It stays so until the head moves.
    #[inline(always)]
    fn is_written(&self, slot: &Slot<T, P::With<C>>, head: u64, cursor: &mut Cursor) -> bool {
        if P::SOLE { head < cursor.limit } else { slot.mark.get() == head + 1 }
    }

    /// For a producer that could not claim the slot at `tail`: the tail to try next, or nothing when the ring is full.
    fn next_tail(&self, tail: u64, attempts: &mut u32) -> Option<u64> {
        let head = self.head.position.load(Ordering::Acquire);
        let now = self.tail.position.load(Ordering::Relaxed);
        if now != tail {
            return Some(contended(&self.tail.position, now, attempts));
        }
        // The tail stood here when the head was read, so this is how many values were inside.
        if tail - head >= self.tail.capacity {
            return None;
        }
        // There is room, but a consumer has claimed the slot and not yet marked it free.
        pause(attempts);
        Some(tail)
    }

    /// For a consumer that could not claim the slot at `head`: the head to try next, or nothing when there is nothing to
    /// take.
    fn next_head(&self, head: u64, cursor: &mut Cursor, attempts: &mut u32) -> Option<u64> {
        if !C::SOLE {
            let now = self.head.position.load(Ordering::Relaxed);
            // A slot that is ahead of this position was seen after another consumer moved the head.
            if now != head {
                return Some(contended(&self.head.position, now, attempts));
            }
        } else {
            cursor.caught_up = gather(cursor.caught_up, head, self.head.capacity);
        }
        if P::SOLE {
            cursor.limit = self.tail.position.load(Ordering::Acquire);
        }
        self.is_written(self.head.slot(head), head, cursor).then_some(head)
    }
}

impl<T, P: Side, C: Side> Drop for Ring<T, P, C> {
    fn drop(&mut self) {
        let (head, tail) = self.positions();
        for position in head..tail {
            // SAFETY: nobody else is left, so every claimed position was written, and those from the head on are not read.
            self.head.slot(position).value.with_mut(|place| unsafe { (*place).assume_init_drop() });
        }
        // SAFETY: the slots came from a box, and nobody points to them any more.
        drop(unsafe { Box::from_raw(self.slots.as_ptr()) });
    }
}

/// Has the cache line of a place brought here, to be written soon. A hint: nothing depends on it.
#[inline(always)]
pub(crate) fn fetch_for_writing<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    // SAFETY: reads and writes nothing; processors that do not know the instruction take it for none.
    unsafe {
        std::arch::asm!("prefetchw byte ptr [{}]", in(reg) place, options(nostack, preserves_flags));
    }
    let _ = place;
}

/// Has the cache lines of slots that were written brought where every core finds them soon. A hint, for a reader that is
/// waiting for them; whoever writes them next fetches them again.
#[inline(always)]
fn hand_on<T>(written: &[T]) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    for line in (0..size_of_val(written)).step_by(64) {
        let place = written.as_ptr().wrapping_byte_add(line);
        // SAFETY: reads and writes nothing; processors that do not know the instruction take it for none.
        unsafe {
            std::arch::asm!("cldemote byte ptr [{}]", in(reg) place, options(nostack, preserves_flags));
        }
    }
    let _ = written;
}

fn spin(times: u32) {
    if cfg!(loom) {
        return;
    }
    for _ in 0..times {
        spin_loop();
    }
}

/// A sole party that catches up with the other side again and again looks only after a moment, once each time: otherwise it
/// takes the cache line from the other for every few values, which costs both sides more. Gives where it has caught up now.
#[cold]
#[inline(never)]
fn gather(caught_up: u64, position: u64, capacity: u64) -> u64 {
    let run = position - caught_up;
    if (1..GATHERED.min(capacity / 4)).contains(&run) {
        spin(if run < SHORT_RUN { GATHER_SPINS.0 } else { GATHER_SPINS.1 });
    }
    position
}

/// Lets the thread that took a position get on with its work, and reads the position again. `taken` is where it was found.
fn contended(position: &AtomicU64, taken: u64, attempts: &mut u32) -> u64 {
    if *attempts < CONTENTION_ATTEMPTS {
        spin(CONTENTION_SPINS);
        if position.load(Ordering::Relaxed) - taken > STREAM {
            spin(STREAM_SPINS);
        }
    } else {
        yield_now();
    }
    *attempts += 1;
    position.load(Ordering::Relaxed)
}

/// Waits a moment for another thread that is a few instructions from done.
pub(crate) fn pause(attempts: &mut u32) {
    *attempts += 1;
    if *attempts < 16 && !cfg!(loom) {
        spin_loop();
    } else {
        yield_now();
    }
}

#[cfg(all(test, loom))]
mod loom_models;
#[cfg(all(test, not(loom)))]
mod tests;
