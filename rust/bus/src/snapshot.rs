//! A value that is read all the time and replaced now and then.
//!
//! A reader that finds nobody else reading borrows the value for a moment, which costs one exchange of a flag instead of the
//! two of a protected load. Who finds the flag taken does not wait for it, but loads the value in the protected way: reading
//! stays lock-free. Replacing does wait for the flag; its holder must run no foreign code and take no lock that the replacer
//! could hold. Those who take turns under a lock of their own, the replacer among them, need not even the flag.

use crate::ring::pause;
use crate::sync::{Arc, AtomicBool, Ordering, UnsafeCell};

/// The value that a protected load finds.
#[cfg(not(loom))]
type Current<T> = arc_swap::ArcSwap<T>;

/// What a protected load gives.
#[cfg(not(loom))]
pub(crate) type Loaded<T> = arc_swap::Guard<Arc<T>>;
#[cfg(loom)]
pub(crate) type Loaded<T> = Arc<T>;

/// A model checks the flag and what it protects; the protected load stands for itself.
#[cfg(loom)]
struct Current<T>(crate::sync::Mutex<Arc<T>>);

#[cfg(loom)]
impl<T> Current<T> {
    fn new(value: Arc<T>) -> Self {
        Self(crate::sync::Mutex::new(value))
    }
    fn load(&self) -> Arc<T> {
        Arc::clone(&crate::sync::lock(&self.0))
    }
    fn store(&self, value: Arc<T>) {
        *crate::sync::lock(&self.0) = value;
    }
}

/// See the module's documentation.
pub(crate) struct Snapshot<T> {
    current: Current<T>,
    borrowed: AtomicBool,
    lent: UnsafeCell<Arc<T>>,
}

// SAFETY: what is lent is replaced only by the holder of the flag `borrowed`, taken by an acquiring exchange and given back by
// a releasing store. Who reads it without the flag holds the lock that the replacer holds. The value itself is shared by
// reference, and dropped by whoever has the last count.
unsafe impl<T: Send + Sync> Sync for Snapshot<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Snapshot<T> {}

/// The value, lent to one reader.
pub(crate) struct Borrowed<'a, T>(&'a Snapshot<T>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: T) -> Self {
        let value = Arc::new(value);
        Self {
            current: Current::new(Arc::clone(&value)),
            borrowed: AtomicBool::new(false),
            lent: UnsafeCell::new(value),
        }
    }

    /// The value, if nobody else borrows it at this moment.
    #[inline(always)]
    pub(crate) fn borrow(&self) -> Option<Borrowed<'_, T>> {
        // The only exchange of the flag; giving it back is a plain store.
        self.borrowed
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| Borrowed(self))
    }

    /// The value, without the flag.
    ///
    /// # Safety
    /// The caller holds a lock that every caller of [`Snapshot::replace`] holds too, as long as the reference lives.
    #[inline(always)]
    pub(crate) unsafe fn under_lock(&self) -> &T {
        // SAFETY: nobody replaces it meanwhile.
        self.lent.with(|lent| unsafe { &**lent })
    }

    /// The value, at any time.
    #[inline]
    pub(crate) fn load(&self) -> Loaded<T> {
        self.current.load()
    }

    /// Replaces the value. Every read that begins after this finds the new one; nobody reads the old one through the flag
    /// any more.
    pub(crate) fn replace(&self, value: T) {
        let value = Arc::new(value);
        self.current.store(Arc::clone(&value));
        let mut attempts = 0;
        let borrowed = loop {
            match self.borrow() {
                Some(borrowed) => break borrowed,
                None => pause(&mut attempts),
            }
        };
        // SAFETY: the flag is held, and `borrowed` has lent nothing out.
        let before = self.lent.with_mut(|lent| std::mem::replace(unsafe { &mut *lent }, value));
        drop(borrowed);
        // Only now: dropping the value may take long.
        drop(before);
    }
}

impl<T> Borrowed<'_, T> {
    #[inline(always)]
    pub(crate) fn get(&self) -> &T {
        // SAFETY: the flag is held, and is given back only when this borrow has ended.
        self.0.lent.with(|lent| unsafe { &**lent })
    }
}

impl<T> Drop for Borrowed<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.borrowed.store(false, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod loom_models {
    use super::*;
    use crate::sync::AtomicU64;
    use loom::thread;

    fn model(check: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(check);
    }

    /// A value that says whether it was used after it was dropped, and a count that only its borrower touches.
    struct Value {
        number: u64,
        touched: UnsafeCell<u64>,
    }

    // SAFETY: only a borrower touches the cell, which is what the models check.
    unsafe impl Sync for Value {}

    fn value(number: u64) -> Value {
        Value { number, touched: UnsafeCell::new(0) }
    }

    fn touch(borrowed: &Borrowed<'_, Value>) -> u64 {
        borrowed.get().touched.with_mut(|touched| unsafe { *touched += 1 });
        borrowed.get().number
    }

    #[test]
    fn two_borrowers_never_have_the_value_at_once_and_none_misses_a_replacement() {
        model(|| {
            let snapshot = Arc::new(Snapshot::new(value(1)));
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let snapshot = Arc::clone(&snapshot);
                    thread::spawn(move || match snapshot.borrow() {
                        Some(borrowed) => touch(&borrowed),
                        None => snapshot.load().number,
                    })
                })
                .collect();
            snapshot.replace(value(2));
            assert_eq!(snapshot.load().number, 2);
            for reader in readers {
                assert!((1..=2).contains(&reader.join().unwrap()));
            }
            assert_eq!(snapshot.borrow().map(|borrowed| touch(&borrowed)), Some(2));
        });
    }

    #[test]
    fn who_reads_under_the_lock_and_who_borrows_beside_it_never_meet_a_value_that_is_being_replaced() {
        model(|| {
            let shared = Arc::new((Snapshot::new(1_u64), crate::sync::Mutex::new(())));
            let borrower = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.0.borrow().map_or(1, |borrowed| *borrowed.get()))
            };
            let holder = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let _held = crate::sync::lock(&shared.1);
                    // SAFETY: the lock is held, as it is where the value is replaced.
                    unsafe { *shared.0.under_lock() }
                })
            };
            let held = crate::sync::lock(&shared.1);
            shared.0.replace(2);
            // SAFETY: as above.
            assert_eq!(unsafe { *shared.0.under_lock() }, 2);
            drop(held);
            for thread in [borrower, holder] {
                assert!((1..=2).contains(&thread.join().unwrap()));
            }
        });
    }

    #[test]
    fn what_borrowers_count_with_plain_loads_and_stores_is_exact() {
        model(|| {
            let shared = Arc::new((Snapshot::new(value(1)), AtomicU64::new(0)));
            let count = |shared: &(Snapshot<Value>, AtomicU64)| {
                shared.0.borrow().map_or(0, |_borrowed| {
                    shared.1.store(shared.1.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    1
                })
            };
            let other = Arc::clone(&shared);
            let thread = thread::spawn(move || count(&other));
            let counted = count(&shared) + count(&shared);
            assert_eq!(counted + thread.join().unwrap(), shared.1.load(Ordering::Relaxed));
        });
    }
}
