//! The clock word: the last stamp issued, and the bound that no stamp may exceed. Lock-free; no time is read here.
//!
//! The time part and the counter share one atomic word, so the rules of the hybrid logical clock become arithmetic on
//! it (l the time part, c the counter; `wall` is the physical time with a counter of zero):
//!
//! - an event of this node: `max(wall, last + 1)`. If the physical time has passed l, c starts at zero, else c + 1; a
//!   full counter carries into l, which stays above everything issued.
//! - a received stamp: `max(wall, max(last, remote) + 1)`. This is c + 1 of whichever of last and remote has the
//!   greater l, max(c) + 1 where they agree, and zero where the physical time is ahead of both.
//!
//! Invariants:
//! - The word grows with every success, so each word is issued once. Compare-and-swap makes issues of all threads one
//!   sequence; read-modify-writes always meet the newest word, so relaxed order would suffice for that.
//! - No word above the bound is issued. The bound is raised after it has been made durable, and read with acquire
//!   order, so who holds a word knows that its bound is durable.
//! - After [`ClockWord::seal`] nothing is issued: it sets the bound to zero and then moves the word itself, so an issue
//!   that had looked at the old bound fails its compare-and-swap, and looks again behind an acquiring load.

use crate::sync::{AtomicU64, Ordering};

/// The greatest word that is ever issued; one more stands for "no room", so that saturating arithmetic is safe.
pub(crate) const MAX_WORD: u64 = u64::MAX - 1;

/// The word that was needed lies above the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beyond {
    pub(crate) needed: u64,
}

/// On a cache line of its own (two where they are fetched in pairs): every stamp of every thread writes it.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(AtomicU64);

#[derive(Debug)]
pub(crate) struct ClockWord {
    last: Padded,
    bound: AtomicU64,
}

impl ClockWord {
    /// A clock that has issued all words up to `last` and may issue those up to `bound`.
    pub(crate) fn new(last: u64, bound: u64) -> Self {
        Self { last: Padded(AtomicU64::new(last)), bound: AtomicU64::new(bound.min(MAX_WORD)) }
    }

    /// The last word issued.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.last.0.load(Ordering::Acquire)
    }

    /// The greatest word that may be issued.
    #[inline]
    pub(crate) fn bound(&self) -> u64 {
        self.bound.load(Ordering::Acquire)
    }

    /// Issues `count` (at least one) consecutive words, the first at or above `floor`, and returns it.
    #[inline]
    pub(crate) fn take(&self, floor: u64, count: u64) -> Result<u64, Beyond> {
        let mut last = self.last();
        loop {
            let first = floor.max(last.saturating_add(1));
            let end = first.saturating_add(count - 1);
            if end > self.bound() {
                return Err(Beyond { needed: end });
            }
            match self.last.0.compare_exchange_weak(last, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(first),
                Err(newer) => last = newer,
            }
        }
    }

    /// As [`ClockWord::take`], for callers that exclude one another and everybody else who issues: without a locked
    /// instruction.
    #[inline(always)]
    pub(crate) fn take_exclusively(&self, floor: u64, count: u64) -> Result<u64, Beyond> {
        let first = floor.max(self.last.0.load(Ordering::Relaxed).saturating_add(1));
        let end = first.saturating_add(count - 1);
        if end > self.bound() {
            return Err(Beyond { needed: end });
        }
        self.last.0.store(end, Ordering::Release);
        Ok(first)
    }

    /// Allows words up to `bound`, which has been made durable. Callers exclude one another and [`ClockWord::seal`].
    pub(crate) fn raise(&self, bound: u64) {
        self.bound.store(bound.min(MAX_WORD), Ordering::Release);
    }

    /// Ends all issuing, and returns a word above all that were issued.
    pub(crate) fn seal(&self) -> u64 {
        self.bound.store(0, Ordering::Release);
        let mut last = self.last();
        loop {
            let sealed = last.saturating_add(1);
            match self.last.0.compare_exchange_weak(last, sealed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return sealed,
                Err(newer) => last = newer,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_full_counter_carries_into_the_time() {
        let word = ClockWord::new(0x1_ffff, MAX_WORD);
        assert_eq!(word.take(0x1_0000, 1), Ok(0x2_0000));
        assert_eq!(word.take(0x2_0000, 1), Ok(0x2_0001));
    }

    #[test]
    fn nothing_above_the_bound_is_issued_and_a_refusal_changes_nothing() {
        let word = ClockWord::new(5, 7);
        assert_eq!(word.take(0, 3), Err(Beyond { needed: 8 }));
        assert_eq!(word.take(9, 1), Err(Beyond { needed: 9 }));
        assert_eq!(word.take(0, 2), Ok(6));
        assert_eq!(word.take(0, 1), Err(Beyond { needed: 8 }));
        word.raise(8);
        assert_eq!(word.take(0, 1), Ok(8));
    }

    #[test]
    fn the_end_of_the_words_is_a_refusal_not_a_wrap() {
        let word = ClockWord::new(MAX_WORD - 1, u64::MAX);
        assert_eq!(word.take(0, 2), Err(Beyond { needed: u64::MAX }));
        assert_eq!(word.take(0, 1), Ok(MAX_WORD));
        assert_eq!(word.take(0, 1), Err(Beyond { needed: u64::MAX }));
        assert_eq!(word.take(u64::MAX, u64::MAX), Err(Beyond { needed: u64::MAX }));
        assert_eq!(word.seal(), u64::MAX);
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_words_are_unique_and_grow_within_each_thread() {
        loom::model(|| {
            let word = Arc::new(ClockWord::new(0, MAX_WORD));
            let threads: Vec<_> = [10_u64, 11]
                .map(|wall| {
                    let word = Arc::clone(&word);
                    thread::spawn(move || [word.take(wall, 1).unwrap(), word.take(wall, 2).unwrap()])
                })
                .into();
            let [first, second] = <[_; 2]>::try_from(threads).unwrap().map(|thread| thread.join().unwrap());
            for [one, pair] in [first, second] {
                assert!(one < pair);
            }
            let mut all = [first, second].map(|[one, pair]| [one, pair, pair + 1]).concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 6);
            assert_eq!(all.last(), Some(&word.last()));
        });
    }

    #[test]
    fn loom_words_are_unique_when_a_thread_begins_to_take_them_without_the_lock_of_the_others() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let word = Arc::new((ClockWord::new(0, MAX_WORD), loom::sync::Mutex::new(false)));
            let take_held = |word: &(ClockWord, loom::sync::Mutex<bool>)| {
                let shared = word.1.lock().unwrap();
                if *shared { word.0.take(5, 1).unwrap() } else { word.0.take_exclusively(5, 1).unwrap() }
            };
            let outside = thread::spawn({
                let word = Arc::clone(&word);
                move || {
                    *word.1.lock().unwrap() = true;
                    [word.0.take(4, 1).unwrap(), word.0.take(6, 1).unwrap()]
                }
            });
            let holder = thread::spawn({
                let word = Arc::clone(&word);
                move || take_held(&word)
            });
            let mine = [take_held(&word), take_held(&word)];
            let theirs = outside.join().unwrap();
            assert!(mine.is_sorted() && theirs.is_sorted());
            let mut all = [&mine[..], &theirs[..], &[holder.join().unwrap()]].concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 5);
        });
    }

    #[test]
    fn loom_a_stamp_received_is_below_the_stamp_it_leads_to() {
        loom::model(|| {
            let sender = Arc::new(ClockWord::new(100, MAX_WORD));
            let receiver = Arc::new(ClockWord::new(0, MAX_WORD));
            let local = thread::spawn({
                let receiver = Arc::clone(&receiver);
                move || receiver.take(99, 1).unwrap()
            });
            let remote = sender.take(0, 1).unwrap();
            let received = receiver.take(50.max(remote + 1), 1).unwrap();
            assert!(received > remote);
            assert_ne!(local.join().unwrap(), received);
        });
    }

    #[test]
    fn loom_no_word_is_issued_at_or_above_the_seal() {
        loom::model(|| {
            let word = Arc::new(ClockWord::new(0, 1_000));
            let stamping = thread::spawn({
                let word = Arc::clone(&word);
                move || [word.take(1, 1), word.take(1, 1)]
            });
            let sealed = word.seal();
            for taken in stamping.join().unwrap().into_iter().flatten() {
                assert!(taken < sealed, "issued {taken}, sealed at {sealed}");
            }
            assert!(word.take(1, 1).is_err());
        });
    }

    #[test]
    fn loom_no_word_is_issued_above_a_bound_that_is_not_yet_durable() {
        loom::model(|| {
            let word = Arc::new(ClockWord::new(0, 1));
            let durable = Arc::new(AtomicU64::new(1));
            let extending = thread::spawn({
                let (word, durable) = (Arc::clone(&word), Arc::clone(&durable));
                move || {
                    durable.store(2, Ordering::SeqCst);
                    word.raise(2);
                }
            });
            for _ in 0..2 {
                if let Ok(taken) = word.take(0, 1) {
                    assert!(taken <= durable.load(Ordering::SeqCst));
                }
            }
            extending.join().unwrap();
        });
    }
}
