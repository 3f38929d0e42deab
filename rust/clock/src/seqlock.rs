//! A sequence lock over a few words: readers never write, and read all words of one writing or none.
//!
//! After Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?" (MSPC 2012), figure 6: the words are
//! atomics read relaxed between an acquiring load and an acquire fence.
//!
//! Invariants:
//! - The sequence is odd exactly while a writer stores; it changes by two with every writing.
//! - Writers exclude one another by other means (here the mutex around the discipline).
//! - What a reader observes between its two looks at the sequence belongs to the words it returns: a writer makes the
//!   sequence odd, with a full fence, before it observes anything itself.

use crate::sync::{AtomicU64, Ordering, fence, spin_loop, yield_now};
use std::array::from_fn;

/// How often a reader spins on a writing in progress before it yields its core.
const SPINS: u32 = if cfg!(loom) { 1 } else { 64 };
/// After how many looks a reader gives up: the writer is gone (a fork in the middle of its few stores).
const ATTEMPTS: u32 = if cfg!(loom) {
    3
} else if cfg!(miri) {
    100
} else {
    100_000
};

/// `N` words, written together and read together. On a cache line of its own for N <= 7.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Seqlock<const N: usize> {
    sequence: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Seqlock<N> {
    pub(crate) fn new(words: [u64; N]) -> Self {
        Self { sequence: AtomicU64::new(0), words: words.map(AtomicU64::new) }
    }

    /// The words, and what `observe` returned while they were in force; `None` if a writing never ends.
    #[inline(always)]
    pub(crate) fn read<R>(&self, observe: impl Fn() -> R) -> Option<([u64; N], R)> {
        match self.attempt(&observe) {
            None => self.read_contended(observe),
            read => read,
        }
    }

    /// Stores the words that `compose` returns; it runs while readers are held off, so it has to be short.
    ///
    /// The caller makes sure that there is one writer at a time.
    pub(crate) fn write(&self, compose: impl FnOnce() -> [u64; N]) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Full, not only release: what `compose` observes (a counter) has to come after the odd sequence is visible.
        fence(Ordering::SeqCst);
        for (word, value) in self.words.iter().zip(compose()) {
            word.store(value, Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// As [`Seqlock::read`], but `None` also where somebody writes just now.
    #[inline(always)]
    pub(crate) fn attempt<R>(&self, observe: impl Fn() -> R) -> Option<([u64; N], R)> {
        let before = self.sequence.load(Ordering::Acquire);
        let words = from_fn(|index| self.words[index].load(Ordering::Relaxed));
        let observed = observe();
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before & 1 == 0).then_some((words, observed))
    }

    #[cold]
    fn read_contended<R>(&self, observe: impl Fn() -> R) -> Option<([u64; N], R)> {
        for attempt in 0..ATTEMPTS {
            if attempt < SPINS {
                spin_loop();
            } else {
                yield_now();
            }
            if let Some(read) = self.attempt(&observe) {
                return Some(read);
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    const LAST: u64 = if cfg!(miri) { 100 } else { 20_000 };

    #[test]
    fn a_reader_sees_words_of_one_writing_while_a_thread_writes() {
        let lock = Seqlock::new([0, 0, 0]);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 1..=LAST {
                    lock.write(|| [value, value * 3, value * 7]);
                }
                done.store(true, Ordering::Release);
            });
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                let ([first, second, third], ()) = lock.read(|| ()).unwrap();
                assert_eq!((second, third), (first * 3, first * 7));
                assert!(first >= last, "a reader stepped back from {last} to {first}");
                last = first;
            }
        });
        assert_eq!(lock.read(|| ()).unwrap().0, [LAST, LAST * 3, LAST * 7]);
    }

    #[test]
    fn a_reader_gives_up_on_a_writing_that_never_ends() {
        let lock = Seqlock::new([1]);
        lock.sequence.store(1, Ordering::Relaxed);
        assert!(lock.read(|| ()).is_none());
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_readers_never_see_words_of_two_writings() {
        loom::model(|| {
            let lock = Arc::new(Seqlock::new([0, 0]));
            let writer = thread::spawn({
                let lock = Arc::clone(&lock);
                move || {
                    lock.write(|| [1, 10]);
                    lock.write(|| [2, 20]);
                }
            });
            if let Some(([first, second], ())) = lock.read(|| ()) {
                assert_eq!(second, first * 10);
            }
            writer.join().unwrap();
            assert_eq!(lock.read(|| ()).unwrap().0, [2, 20]);
        });
    }
}
