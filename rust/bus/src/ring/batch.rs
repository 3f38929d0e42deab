//! Many values by one move of a position.

use super::access::{Access, Mark, Side};
use super::{Cursor, HANDED_ON, Ring, Slot, gather, hand_on};
use crate::sync::Ordering;

impl<T> Ring<T> {
    /// Adds up to `count` values at consecutive positions, claimed by one move of the tail, and returns how many: fewer
    /// when the ring has less room, or when the next slots are still being emptied; none only when it is full.
    ///
    /// `make` gets 0, 1, 2 and so on, and runs between the claim and the release of a slot: it has to be short. A panic
    /// in it aborts the process, since the claimed positions could never be filled.
    #[inline]
    pub fn push_many<A: Access>(&self, access: A, count: usize, make: impl FnMut(usize) -> T) -> usize {
        self.push_many_at(access, &mut Cursor::default(), count, make)
    }

    /// Takes up to `limit` of the oldest values, claimed by one move of the head, and gives each with its position to
    /// `take`. Returns how many; none when the ring is empty or its oldest value is still being written.
    ///
    /// If `take` panics, the other claimed values are dropped.
    #[inline]
    pub fn pop_many<A: Access>(&self, access: A, limit: usize, take: impl FnMut(u64, T)) -> usize {
        self.pop_many_at(access, &mut Cursor::default(), limit, take)
    }
}

impl<T, P: Side, C: Side> Ring<T, P, C> {
    #[inline(always)]
    pub(super) fn push_many_at<A: Access>(
        &self,
        access: A,
        cursor: &mut Cursor,
        count: usize,
        mut make: impl FnMut(usize) -> T,
    ) -> usize {
        let wanted = self.tail.capacity.min(count as u64);
        let mut tail = self.tail(cursor);
        let mut attempts = 0;
        let claimed = loop {
            let free = self.free(tail, wanted, cursor);
            if free > 0 && (P::SOLE || access.advance(&self.tail.position, tail, tail + free).is_ok()) {
                break free;
            }
            match self.next_tail(tail, &mut attempts) {
                Some(now) if wanted > 0 => tail = now,
                _ => return 0,
            }
        };
        let mut filling = Filling { ring: self, cursor, next: tail, end: tail + claimed };
        for piece in self.pieces(tail, claimed) {
            for slot in piece {
                let value = make((filling.next - tail) as usize);
                // SAFETY: this thread claimed the position, and the value of the previous lap has been taken out.
                slot.value.with_mut(|place| unsafe { (*place).write(value) });
                filling.next += 1;
                if !P::SOLE {
                    slot.mark.set(filling.next);
                }
            }
        }
        drop(filling);
        if P::SOLE && C::SOLE && size_of_val(self.slots()) <= HANDED_ON {
            self.pieces(tail, claimed).into_iter().for_each(hand_on);
        }
        claimed as usize
    }

    #[inline(always)]
    pub(super) fn pop_many_at<A: Access>(
        &self,
        access: A,
        cursor: &mut Cursor,
        limit: usize,
        mut take: impl FnMut(u64, T),
    ) -> usize {
        let wanted = self.head.capacity.min(limit as u64);
        let mut head = self.head(cursor);
        let mut attempts = 0;
        let claimed = loop {
            let written = self.written(head, wanted, cursor);
            if written > 0 && (C::SOLE || access.advance(&self.head.position, head, head + written).is_ok()) {
                break written;
            }
            match self.next_head(head, cursor, &mut attempts) {
                Some(now) if wanted > 0 => head = now,
                _ => return 0,
            }
        };
        let mut emptying = Emptying { ring: self, cursor, next: head, end: head + claimed };
        for piece in self.pieces(head, claimed) {
            for slot in piece {
                let position = emptying.next;
                let value = emptying.take(slot);
                take(position, value);
            }
        }
        claimed as usize
    }

    /// How many consecutive positions from `tail` on may be written, at most `wanted`. They stay so until the tail moves.
    #[inline(always)]
    fn free(&self, tail: u64, wanted: u64, cursor: &mut Cursor) -> u64 {
        if C::SOLE {
            let room = cursor.limit.saturating_sub(tail);
            return if room < wanted { self.room_gathered_after(tail, cursor).min(wanted) } else { wanted };
        }
        let room = if self.tail.capacity > self.tail.mask { wanted } else { self.room_after(tail, cursor).min(wanted) };
        self.count_marked(tail, room, 0)
    }

    /// How many consecutive positions from `head` on may be read, at most `wanted`. They stay so until the head moves.
    #[inline(always)]
    fn written(&self, head: u64, wanted: u64, cursor: &mut Cursor) -> u64 {
        if P::SOLE {
            if cursor.limit.saturating_sub(head) < wanted {
                if C::SOLE {
                    cursor.caught_up = gather(cursor.caught_up, head, self.head.capacity);
                }
                cursor.limit = self.tail.position.load(Ordering::Acquire);
            }
            return cursor.limit.saturating_sub(head).min(wanted);
        }
        self.count_marked(head, wanted, 1)
    }

    /// How many slots from the position `from` on carry their position and `ahead`, at most `wanted`.
    #[inline(always)]
    fn count_marked(&self, from: u64, wanted: u64, ahead: u64) -> u64 {
        let mut count = 0;
        for piece in self.pieces(from, wanted) {
            for slot in piece {
                if slot.mark.get() != from + count + ahead {
                    return count;
                }
                count += 1;
            }
        }
        count
    }

    /// The slots of consecutive positions, in the two pieces in which they lie in memory.
    #[inline(always)]
    fn pieces(&self, from: u64, count: u64) -> [&[Slot<T, P::With<C>>]; 2] {
        let (start, count) = ((from & self.head.mask) as usize, count as usize);
        let (before, after) = self.slots().split_at(start);
        let first = count.min(after.len());
        [&after[..first], &before[..count - first]]
    }
}

/// Positions that a producer has claimed, from `next` on not yet written.
struct Filling<'a, T, P: Side, C: Side> {
    ring: &'a Ring<T, P, C>,
    cursor: &'a mut Cursor,
    next: u64,
    end: u64,
}

impl<T, P: Side, C: Side> Drop for Filling<'_, T, P, C> {
    #[inline(always)]
    fn drop(&mut self) {
        if P::SOLE {
            // Its claim is nobody else's business: after a panic what was written counts.
            self.cursor.position = self.next;
            self.ring.tail.position.store(self.next, Ordering::Release);
        } else if self.next != self.end {
            std::process::abort();
        }
    }
}

/// Positions that a consumer has claimed, from `next` on not yet read.
struct Emptying<'a, T, P: Side, C: Side> {
    ring: &'a Ring<T, P, C>,
    cursor: &'a mut Cursor,
    next: u64,
    end: u64,
}

impl<T, P: Side, C: Side> Emptying<'_, T, P, C> {
    /// Takes the value of position `next` out of its slot.
    #[inline(always)]
    fn take(&mut self, slot: &Slot<T, P::With<C>>) -> T {
        // SAFETY: this thread claimed the position and saw that its value had been written; `next` passes it once.
        let value = slot.value.with(|place| unsafe { (*place).assume_init_read() });
        if !C::SOLE {
            slot.mark.set(self.next + self.ring.head.mask + 1);
        }
        self.next += 1;
        value
    }
}

impl<T, P: Side, C: Side> Drop for Emptying<'_, T, P, C> {
    #[inline(always)]
    fn drop(&mut self) {
        // Something is left only when `take` panicked.
        while self.next != self.end {
            drop(self.take(self.ring.head.slot(self.next)));
        }
        if C::SOLE {
            self.cursor.position = self.end;
            self.ring.head.position.store(self.end, Ordering::Release);
        }
    }
}
