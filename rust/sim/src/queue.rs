//! What will happen, by time, and at the same time in the order in which it was decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events ordered by (time, sequence). The sequence is the order in which they were put in, so nothing is left to chance.
///
/// ```
/// use chronofabric_sim::EventQueue;
///
/// let mut queue = EventQueue::default();
/// queue.push(20, "late");
/// queue.push(10, "early");
/// queue.push(10, "early too");
/// assert_eq!([queue.pop(), queue.pop()], [Some((10, "early")), Some((10, "early too"))]);
/// ```
#[derive(Debug)]
pub struct EventQueue<E> {
    entries: BinaryHeap<Reverse<Entry<E>>>,
    next_sequence: u64,
}

impl<E> EventQueue<E> {
    /// Puts an event in.
    pub fn push(&mut self, time_ns: i64, event: E) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.entries.push(Reverse(Entry { time_ns, sequence, event }));
    }

    /// Takes the first event out, with its time.
    pub fn pop(&mut self) -> Option<(i64, E)> {
        self.entries.pop().map(|Reverse(entry)| (entry.time_ns, entry.event))
    }

    /// When the first event is due.
    pub fn next_ns(&self) -> Option<i64> {
        self.entries.peek().map(|Reverse(entry)| entry.time_ns)
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { entries: BinaryHeap::new(), next_sequence: 0 }
    }
}

#[derive(Debug)]
struct Entry<E> {
    time_ns: i64,
    sequence: u64,
    event: E,
}

impl<E> Entry<E> {
    fn key(&self) -> (i64, u64) {
        (self.time_ns, self.sequence)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_come_out_as_a_stable_sort_by_time_has_them(times in prop::collection::vec(-3_i64..3, 0..50)) {
            let mut queue = EventQueue::default();
            for (number, time_ns) in times.iter().enumerate() {
                queue.push(*time_ns, number);
            }
            let mut expected: Vec<_> = times.iter().copied().zip(0..).collect();
            expected.sort_by_key(|event| event.0);
            prop_assert_eq!(queue.next_ns(), expected.first().map(|event| event.0));
            prop_assert_eq!(queue.len(), expected.len());
            prop_assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), expected);
        }
    }
}
