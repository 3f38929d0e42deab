//! The two sides of a ring as handles, so that the type system knows a side with one party.

use super::{Concurrent, Cursor, Many, Ring, Side};
use crate::sync::Arc;

impl<T, P: Side, C: Side> Ring<T, P, C> {
    /// A ring that holds at most `capacity` values (zero is taken as one), as a handle for each of its sides. The handle of
    /// a side with [`Many`] parties can be cloned; that of a [`Sole`](super::Sole) one cannot, which makes it faster.
    ///
    /// ```
    /// use chronofabric_bus::{Many, Ring, Sole};
    ///
    /// let (mut producer, mut consumer) = Ring::<u32, Many, Sole>::split(8);
    /// let mut another = producer.clone();
    /// producer.push(1)?;
    /// another.push(2)?;
    /// assert_eq!(consumer.pop(), Some((0, 1)));
    /// assert_eq!(consumer.pop(), Some((1, 2)));
    /// assert_eq!(consumer.pop(), None);
    /// # Ok::<(), u32>(())
    /// ```
    pub fn split(capacity: usize) -> (Producer<T, P, C>, Consumer<T, P, C>) {
        let ring = Arc::new(Self::with_capacity(capacity));
        let consumer = Consumer { ring: Arc::clone(&ring), cursor: Cursor::default() };
        (Producer { ring, cursor: Cursor::default() }, consumer)
    }
}

/// A producer's side of a ring.
#[derive(Debug)]
pub struct Producer<T, P: Side, C: Side> {
    ring: Arc<Ring<T, P, C>>,
    cursor: Cursor,
}

impl<T, C: Side> Clone for Producer<T, Many, C> {
    fn clone(&self) -> Self {
        Self { ring: Arc::clone(&self.ring), cursor: self.cursor }
    }
}

impl<T, P: Side, C: Side> Producer<T, P, C> {
    /// The ring, to read its positions.
    pub fn ring(&self) -> &Ring<T, P, C> {
        &self.ring
    }

    /// Adds a value at the end, or gives it back when the ring is full.
    ///
    /// # Errors
    /// The value itself, when as many are inside as the ring can hold.
    #[inline(always)]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.ring.push_at(Concurrent, &mut self.cursor, value)
    }

    /// Adds up to `count` values at consecutive positions, and returns how many: fewer when the ring has less room, none
    /// when it is full. `make` gets 0, 1, 2 and so on.
    ///
    /// If `make` panics, a sole producer has added what it made before; one of many aborts the process, since the
    /// positions that it has claimed could never be filled.
    #[inline(always)]
    pub fn push_many(&mut self, count: usize, make: impl FnMut(usize) -> T) -> usize {
        self.ring.push_many_at(Concurrent, &mut self.cursor, count, make)
    }
}

/// A consumer's side of a ring.
#[derive(Debug)]
pub struct Consumer<T, P: Side, C: Side> {
    ring: Arc<Ring<T, P, C>>,
    cursor: Cursor,
}

impl<T, P: Side> Clone for Consumer<T, P, Many> {
    fn clone(&self) -> Self {
        Self { ring: Arc::clone(&self.ring), cursor: self.cursor }
    }
}

impl<T, P: Side, C: Side> Consumer<T, P, C> {
    /// The ring, to read its positions.
    pub fn ring(&self) -> &Ring<T, P, C> {
        &self.ring
    }

    /// Takes the oldest value, with its position, or nothing when the ring is empty or its oldest value is still being
    /// written.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.ring.pop_at(Concurrent, &mut self.cursor)
    }

    /// Takes up to `limit` of the oldest values and gives each with its position to `take`. Returns how many; none when the
    /// ring is empty or its oldest value is still being written.
    ///
    /// The producers get the room when `take` is through. If it panics, the other values of the batch are dropped.
    #[inline(always)]
    pub fn pop_many(&mut self, limit: usize, take: impl FnMut(u64, T)) -> usize {
        self.ring.pop_many_at(Concurrent, &mut self.cursor, limit, take)
    }
}
