//! A bounded queue for many producers and many consumers.
//!
//! Vyukov's array queue ("Bounded MPMC queue", 1024cores.net): every slot carries a sequence number that says whose
//! turn it is, so a producer and a consumer meet only in the slot they share. Deviations: positions are 64 bits wide and
//! never wrap, so `tail` and `head` are at the same time the number of values ever pushed and ever popped, from which a
//! subscription derives its books; and the capacity is any number, held by `tail - head` where it is not a power of two.
//!
//! Invariants, with `n` slots (a power of two, at least the capacity and at least 2):
//! - slot `i` holds sequence `p` when it is free for position `p = i (mod n)`, and `p + 1` when it holds the value of
//!   position `p`; popping sets `p + n`;
//! - `head <= tail <= head + capacity`;
//! - only the thread that moved `tail` from `p` to `p + 1` writes the slot of `p`; only the one that moved `head` reads it.
//!
//! A thread stopped between claiming a position and marking its slot delays the threads that need this very slot; they
//! yield. No lock is held and every other slot stays usable.

use crate::sync::{AtomicU64, Ordering, UnsafeCell, spin_loop, yield_now};
use std::mem::MaybeUninit;

mod sealed {
    pub trait Sealed {}
}

/// How a side of a ring moves its position: the algorithm is the same, the instruction differs.
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
    /// The permission to use a ring without atomic exchanges.
    ///
    /// # Safety
    /// While it is used with a ring, nobody else may push into or pop from this ring, by whatever lock the embedding has:
    /// in Python, the interpreter lock. Reading positions and readiness is allowed at any time.
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

/// A value on a cache line of its own (two lines, because neighbours are fetched in pairs).
#[repr(align(128))]
struct Padded<T>(T);

struct Slot<T> {
    sequence: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// The bounded queue. See the module's documentation.
pub struct Ring<T> {
    tail: Padded<AtomicU64>,
    head: Padded<AtomicU64>,
    slots: Box<[Slot<T>]>,
    mask: u64,
    capacity: u64,
}

// SAFETY: a value moves through a slot from the one thread that claimed its position for writing to the one that claimed
// it for reading, ordered by the release store and the acquire load of the slot's sequence number.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above; no reference to a value inside the ring is ever handed out.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> std::fmt::Debug for Ring<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ring").field("capacity", &self.capacity).field("len", &self.len()).finish()
    }
}

impl<T> Ring<T> {
    /// A ring that holds at most `capacity` values; a capacity of zero is taken as one.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let slots = capacity.next_power_of_two().max(2);
        Self {
            tail: Padded(AtomicU64::new(0)),
            head: Padded(AtomicU64::new(0)),
            slots: (0..slots as u64)
                .map(|index| Slot { sequence: AtomicU64::new(index), value: UnsafeCell::new(MaybeUninit::uninit()) })
                .collect(),
            mask: slots as u64 - 1,
            capacity: capacity as u64,
        }
    }

    /// How many values it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// How many values were ever popped, then how many were ever pushed (claimed positions count).
    pub fn positions(&self) -> (u64, u64) {
        // `head` first: the other way round it could overtake the tail that was read.
        let head = self.head.0.load(Ordering::Acquire);
        (head, self.tail.0.load(Ordering::Acquire))
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
        let head = self.head.0.load(Ordering::Acquire);
        self.slot(head).sequence.load(Ordering::Acquire) > head
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> &Slot<T> {
        // SAFETY: the mask is the number of slots less one, and there is at least one slot.
        unsafe { self.slots.get_unchecked((position & self.mask) as usize) }
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
        let mut attempts = 0;
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(tail);
            if slot.sequence.load(Ordering::Acquire) == tail && self.room(tail) > 0 {
                match access.advance(&self.tail.0, tail, tail + 1) {
                    Ok(()) => {
                        // SAFETY: moving the tail gave this thread the slot of this position, and the sequence says that
                        // the value of the previous lap has been taken out.
                        slot.value.with_mut(|place| unsafe { (*place).write(value) });
                        slot.sequence.store(tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
            } else {
                match self.next_tail(tail, &mut attempts) {
                    Some(now) => tail = now,
                    None => return Err(value),
                }
            }
        }
    }

    /// Adds up to `count` values at consecutive positions, claimed by one move of the tail, and returns how many: fewer
    /// when the ring has less room, or when the next slots are still being emptied; none only when it is full.
    ///
    /// `make` gets 0, 1, 2 and so on, and runs between the claim and the release of a slot: it has to be short. A panic
    /// in it aborts the process, since the claimed positions could never be filled.
    #[inline]
    pub fn push_many<A: Access>(&self, access: A, count: usize, mut make: impl FnMut(usize) -> T) -> usize {
        let mut attempts = 0;
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        let claimed = loop {
            let wanted = self.room(tail).min(count as u64);
            let free =
                (0..wanted).take_while(|i| self.slot(tail + i).sequence.load(Ordering::Acquire) == tail + i).count();
            if free > 0 {
                match access.advance(&self.tail.0, tail, tail + free as u64) {
                    Ok(()) => break free,
                    Err(now) => tail = now,
                }
            } else if count == 0 {
                return 0;
            } else {
                match self.next_tail(tail, &mut attempts) {
                    Some(now) => tail = now,
                    None => return 0,
                }
            }
        };
        let guard = AbortOnUnwind;
        for index in 0..claimed {
            let position = tail + index as u64;
            let slot = self.slot(position);
            // SAFETY: as in `push_with`; each of these slots was seen to be free, and a free slot stays so until the tail
            // moves over its position.
            slot.value.with_mut(|place| unsafe { (*place).write(make(index)) });
            slot.sequence.store(position + 1, Ordering::Release);
        }
        std::mem::forget(guard);
        claimed
    }

    /// How many positions from `tail` on the capacity leaves, whatever the slots say. All of them where the capacity is
    /// the number of slots, because then the slots say it themselves.
    ///
    /// The tail that was read may be older than the head; then moving it fails.
    #[inline(always)]
    fn room(&self, tail: u64) -> u64 {
        if self.capacity > self.mask {
            return self.capacity;
        }
        self.capacity.saturating_sub(tail.saturating_sub(self.head.0.load(Ordering::Acquire)))
    }

    /// For a producer that could not claim the slot at `tail`: the tail to try next, or nothing when the ring is full.
    #[cold]
    #[inline(never)]
    fn next_tail(&self, tail: u64, attempts: &mut u32) -> Option<u64> {
        let head = self.head.0.load(Ordering::Acquire);
        let now = self.tail.0.load(Ordering::Relaxed);
        if now == tail {
            // The tail stood here when the head was read, so this is how many values were inside.
            if tail - head >= self.capacity {
                return None;
            }
            // There is room, but a consumer has claimed the slot and not yet marked it free.
            pause(attempts);
        }
        Some(now)
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
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            if slot.sequence.load(Ordering::Acquire) == head + 1 {
                match access.advance(&self.head.0, head, head + 1) {
                    Ok(()) => {
                        // SAFETY: moving the head gave this thread the value of this position, and the sequence says
                        // that it has been written.
                        let value = slot.value.with(|place| unsafe { (*place).assume_init_read() });
                        slot.sequence.store(head + self.mask + 1, Ordering::Release);
                        return Some((head, value));
                    }
                    Err(now) => head = now,
                }
            } else {
                // A slot that is ahead of this position was seen after another consumer moved the head.
                let now = self.head.0.load(Ordering::Relaxed);
                if now == head {
                    return None;
                }
                head = now;
            }
        }
    }

    /// Takes up to `limit` of the oldest values, claimed by one move of the head, and gives each with its position to
    /// `take`. Returns how many; none when the ring is empty or its oldest value is still being written.
    ///
    /// If `take` panics, the other claimed values are dropped.
    #[inline]
    pub fn pop_many<A: Access>(&self, access: A, limit: usize, mut take: impl FnMut(u64, T)) -> usize {
        let mut head = self.head.0.load(Ordering::Relaxed);
        let claimed = loop {
            let wanted = self.capacity.min(limit as u64);
            let ready = (0..wanted)
                .take_while(|i| self.slot(head + i).sequence.load(Ordering::Acquire) == head + i + 1)
                .count();
            if ready > 0 {
                match access.advance(&self.head.0, head, head + ready as u64) {
                    Ok(()) => break ready,
                    Err(now) => head = now,
                }
            } else {
                let now = self.head.0.load(Ordering::Relaxed);
                if now == head {
                    return 0;
                }
                head = now;
            }
        };
        let mut values = Claimed { ring: self, next: head, end: head + claimed as u64 };
        while let Some((position, value)) = values.next() {
            take(position, value);
        }
        claimed
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

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// Positions whose values this thread has claimed and not yet taken out.
struct Claimed<'a, T> {
    ring: &'a Ring<T>,
    next: u64,
    end: u64,
}

impl<T> Claimed<'_, T> {
    #[inline(always)]
    fn next(&mut self) -> Option<(u64, T)> {
        let position = self.next;
        if position == self.end {
            return None;
        }
        self.next += 1;
        let slot = self.ring.slot(position);
        // SAFETY: only `pop_many` makes these, after it saw that every value had been written and moved the head over them;
        // `next` passes each position once.
        let value = slot.value.with(|place| unsafe { (*place).assume_init_read() });
        slot.sequence.store(position + self.ring.mask + 1, Ordering::Release);
        Some((position, value))
    }
}

impl<T> Drop for Claimed<'_, T> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

/// Ends the process when it is dropped by a panic that would leave claimed positions unfilled.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
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

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Arc;

    #[test]
    fn holds_exactly_its_capacity_for_every_small_capacity() {
        for capacity in 1..70 {
            let ring = Ring::new(capacity);
            for lap in 0..3 {
                for value in 0..capacity {
                    assert_eq!(ring.push(lap * 100 + value), Ok(()), "capacity {capacity}");
                }
                assert_eq!(ring.push(999), Err(999));
                assert_eq!(ring.len(), capacity);
                for value in 0..capacity {
                    assert_eq!(ring.pop().map(|(_, value)| value), Some(lap * 100 + value));
                }
                assert!(ring.pop().is_none());
                assert!(!ring.is_ready());
            }
        }
    }

    #[test]
    fn drops_what_is_left_inside_exactly_once() {
        let value = Arc::new(());
        let ring = Ring::new(8);
        for _ in 0..5 {
            ring.push(Arc::clone(&value)).unwrap();
        }
        drop(ring.pop());
        assert_eq!(Arc::strong_count(&value), 5);
        drop(ring);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    proptest::proptest! {
        #[test]
        fn behaves_like_a_bounded_deque(capacity in 1_usize..20, steps in proptest::collection::vec(0_u8..3, 0..400)) {
            let ring = Ring::new(capacity);
            let mut model = VecDeque::new();
            for (number, step) in steps.into_iter().enumerate() {
                if step < 2 {
                    let pushed = ring.push(number);
                    if model.len() < capacity {
                        model.push_back(number);
                        proptest::prop_assert_eq!(pushed, Ok(()));
                    } else {
                        proptest::prop_assert_eq!(pushed, Err(number));
                    }
                } else {
                    proptest::prop_assert_eq!(ring.pop().map(|(_, value)| value), model.pop_front());
                }
                proptest::prop_assert_eq!(ring.len(), model.len());
                proptest::prop_assert_eq!(ring.is_ready(), !model.is_empty());
            }
        }
    }

    #[test]
    fn many_threads_lose_and_double_nothing_and_keep_each_producer_in_order() {
        for capacity in [1, 2, 3, 64] {
            let ring = Arc::new(Ring::new(capacity));
            let (producers, each) = (3_u64, 5_000_u64);
            let writers: Vec<_> = (0..producers)
                .map(|producer| {
                    let ring = Arc::clone(&ring);
                    std::thread::spawn(move || {
                        for number in 0..each {
                            while ring.push((producer, number)).is_err() {
                                std::thread::yield_now();
                            }
                        }
                    })
                })
                .collect();
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let ring = Arc::clone(&ring);
                    std::thread::spawn(move || {
                        let mut seen = Vec::new();
                        loop {
                            match ring.pop() {
                                Some((_, (u64::MAX, _))) => return seen,
                                Some((_, value)) => seen.push(value),
                                None => std::thread::yield_now(),
                            }
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            for _ in 0..2 {
                while ring.push((u64::MAX, 0)).is_err() {
                    std::thread::yield_now();
                }
            }
            let mut all = Vec::new();
            for reader in readers {
                let seen = reader.join().unwrap();
                for producer in 0..producers {
                    let numbers: Vec<_> = seen.iter().filter(|value| value.0 == producer).collect();
                    assert!(numbers.is_sorted(), "a consumer saw one producer out of order");
                }
                all.extend(seen);
            }
            all.sort_unstable();
            let expected: Vec<_> =
                (0..producers).flat_map(|producer| (0..each).map(move |number| (producer, number))).collect();
            assert_eq!(all, expected);
        }
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod loom_models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn model(check: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(check);
    }

    #[test]
    fn two_producers_and_a_consumer_lose_and_double_nothing() {
        for capacity in [1, 2] {
            model(move || {
                let ring = Arc::new(Ring::new(capacity));
                let other = Arc::clone(&ring);
                let producer = thread::spawn(move || other.push(1).is_ok());
                let pushed = usize::from(ring.push(2).is_ok());
                let mut seen: Vec<i32> = ring.pop().map(|(_, value)| value).into_iter().collect();
                let pushed = pushed + usize::from(producer.join().unwrap());
                while let Some((_, value)) = ring.pop_settled() {
                    seen.push(value);
                }
                assert_eq!(seen.len(), pushed);
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), pushed);
            });
        }
    }

    #[test]
    fn two_consumers_never_take_the_same_value() {
        model(|| {
            let ring = Arc::new(Ring::new(2));
            ring.push(1).unwrap();
            ring.push(2).unwrap();
            let other = Arc::clone(&ring);
            let consumer = thread::spawn(move || other.pop().map(|(_, value)| value));
            let mine = ring.pop().map(|(_, value)| value);
            let theirs = consumer.join().unwrap();
            assert!(mine.is_some() && theirs.is_some() && mine != theirs);
        });
    }
}
