//! What waits in one priority of a subscription.
//!
//! An event that goes to one subscription lies in its slot of the ring as it is. Its cell is taken when it is received: that
//! is mostly one which the receiver has just given back, so its cache line need not come from the publisher. An event that
//! others receive too has its cell from the start, and the slot refers to that.
//!
//! A batch lies in one slot as long as everybody who takes part holds the lock that exclusive access stands for: its events
//! are taken off one by one, or many at a time, where they lie. All numbers count events. Those of a slot beyond the first are
//! counted apart from the positions of the ring, which move by one for the slot.

use crate::cell::{Contents, Parts, Payload, Share};
use crate::ring::{Access, Exclusive, Ring};
use crate::topic::TopicInfo;
use chronofabric_clock::Stamp;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An event with nothing but a payload, which nobody else receives.
pub(super) struct Plain<P> {
    /// Not counted. A route leads to a subscription only from the topics of its bus, all of which it keeps as long as it lives,
    /// and what is taken out of its queues has a cell before it leaves the subscription.
    topic: NonNull<TopicInfo>,
    payload: P,
    stamp: Stamp,
    time_ns: i64,
}

// SAFETY: it refers to a topic as a shared reference would.
unsafe impl<P: Send> Send for Plain<P> {}
// SAFETY: as above.
unsafe impl<P: Sync> Sync for Plain<P> {}

/// What one slot holds.
pub(super) enum Item<P: Payload> {
    Plain(Plain<P>),
    Share(Share<P>),
}

impl<P: Payload> From<Share<P>> for Item<P> {
    #[inline(always)]
    fn from(share: Share<P>) -> Self {
        Self::Share(share)
    }
}

impl<P: Payload> Item<P> {
    /// Whether it has a cell.
    #[inline(always)]
    pub(super) fn is_share(&self) -> bool {
        matches!(self, Self::Share(_))
    }

    /// How many events it is.
    #[inline(always)]
    fn len(&self) -> usize {
        match self {
            Self::Plain(_) => 1,
            Self::Share(share) => share.len(),
        }
    }

    /// When it entered its node.
    pub(super) fn entered_ns(&self) -> i64 {
        match self {
            Self::Plain(plain) => plain.time_ns,
            Self::Share(share) => share.entered_ns(),
        }
    }

    /// Its first events, where it has more than so many.
    #[inline(always)]
    fn take_front(&mut self, count: usize) -> Option<Self> {
        match self {
            Self::Plain(_) => None,
            Self::Share(share) => share.take_front(count).map(Self::Share),
        }
    }

    /// The event with a cell.
    #[inline(always)]
    pub(super) fn into_share(self, access: impl Access, priority: u8) -> Share<P> {
        match self {
            Self::Plain(Plain { topic, payload, stamp, time_ns }) => {
                // SAFETY: the topic lives as long as the subscription, which the caller uses; it is only borrowed.
                let topic = ManuallyDrop::new(unsafe { Arc::from_raw(topic.as_ptr().cast_const()) });
                let (recorded, batch, retained) = (false, false, false);
                let parts = Parts { payload, extras: None, priority, recorded, batch, retained, stamp, time_ns };
                Share::new(access, &topic, parts)
            }
            Self::Share(share) => share,
        }
    }

    /// What it carries, where nothing else of it is wanted.
    ///
    /// # Errors
    /// The event, where others may refer to it.
    #[inline(always)]
    pub(super) fn into_contents(self, access: impl Access) -> Result<Contents<P>, Share<P>> {
        match self {
            Self::Plain(Plain { payload, .. }) => Ok(Contents { payload: Some(payload), extras: None }),
            Self::Share(share) => share.into_contents(access),
        }
    }
}

/// The events of one priority.
pub(super) struct Queue<P: Payload> {
    ring: Ring<Item<P>>,
    priority: u8,
    /// How many events ever came in, and went out, beyond the first of each slot. They change only while all who take part hold
    /// the lock; while they differ, there is a slot with several events.
    pushed_beyond: AtomicU64,
    popped_beyond: AtomicU64,
}

impl<P: Payload> std::fmt::Debug for Queue<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queue").field("priority", &self.priority).field("len", &self.len()).finish()
    }
}

impl<P: Payload> Queue<P> {
    pub(super) fn new(capacity: usize, priority: u8) -> Self {
        let (pushed_beyond, popped_beyond) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { ring: Ring::new(capacity), priority, pushed_beyond, popped_beyond }
    }

    pub(super) fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// How many events were ever taken out, then how many were ever put in.
    pub(super) fn positions(&self) -> (u64, u64) {
        // In this order, so that what was taken out does not overtake what was put in.
        let popped_beyond = self.popped_beyond.load(Ordering::Acquire);
        let (head, tail) = self.ring.positions();
        let popped = head.wrapping_add(popped_beyond);
        (popped, tail.wrapping_add(self.pushed_beyond.load(Ordering::Acquire)))
    }

    pub(super) fn len(&self) -> usize {
        let (popped, pushed) = self.positions();
        // Less than nothing is read where another thread is spreading slots out at this moment.
        (pushed.wrapping_sub(popped) as i64).max(0) as usize
    }

    /// Whether there is an event to take.
    pub(super) fn is_ready(&self) -> bool {
        self.ring.is_ready()
    }

    /// Whether there is a slot with several events; then all who take part hold the lock.
    #[inline(always)]
    fn has_batches(&self) -> bool {
        self.pushed_beyond.load(Ordering::Relaxed) != self.popped_beyond.load(Ordering::Relaxed)
    }

    /// For how many events there is room.
    fn room(&self) -> usize {
        self.capacity().saturating_sub(self.len())
    }

    /// Puts an event in as it is: one with nothing but a payload, which nobody else receives.
    ///
    /// # Errors
    /// The event, in a cell, where there is no room.
    #[inline(always)]
    pub(super) fn push_plain(
        &self,
        access: impl Access,
        topic: &Arc<TopicInfo>,
        parts: Parts<P>,
    ) -> Result<(), Share<P>> {
        let Parts { payload, stamp, time_ns, .. } = parts;
        // SAFETY: what an `Arc` points to has an address.
        let topic = unsafe { NonNull::new_unchecked(Arc::as_ptr(topic).cast_mut()) };
        let item = Item::Plain(Plain { topic, payload, stamp, time_ns });
        self.push_one(access, item).map_err(|item| item.into_share(access, self.priority))
    }

    #[inline(always)]
    fn push_one(&self, access: impl Access, item: Item<P>) -> Result<(), Item<P>> {
        if self.has_batches() && self.room() == 0 {
            return Err(item);
        }
        self.ring.push_with(access, item)
    }

    /// Puts in as many events as there is room for; the others come back. `whole` where a batch may lie in one slot.
    #[inline(always)]
    pub(super) fn push(&self, access: impl Access, share: Share<P>, whole: bool) -> Result<(), Share<P>> {
        if share.len() == 1 {
            // What was put in as a share comes back as one.
            return self.push_one(access, Item::Share(share)).map_err(|item| item.into_share(access, self.priority));
        }
        if whole { self.push_whole(access, share) } else { self.push_each(access, share) }
    }

    fn push_whole(&self, access: impl Access, mut share: Share<P>) -> Result<(), Share<P>> {
        let room = self.room();
        if room == 0 {
            return Err(share);
        }
        let (first, rest) = match share.take_front(room) {
            Some(first) => (first, Some(share)),
            None => (share, None),
        };
        let beyond = first.len() as u64 - 1;
        if let Err(item) = self.ring.push_with(access, Item::Share(first)) {
            // A slot that is still being emptied; there is none as long as all hold the lock.
            let mut back = item.into_share(access, self.priority);
            rest.into_iter().for_each(|rest| back.join(rest));
            return Err(back);
        }
        let pushed = self.pushed_beyond.load(Ordering::Relaxed).wrapping_add(beyond);
        self.pushed_beyond.store(pushed, Ordering::Release);
        rest.map_or(Ok(()), Err)
    }

    fn push_each(&self, access: impl Access, share: Share<P>) -> Result<(), Share<P>> {
        let most = if self.has_batches() { self.room() } else { usize::MAX };
        share.push_into(access, &self.ring, most)
    }

    /// Takes the oldest event, with the number of those before it.
    #[inline(always)]
    pub(super) fn pop<A: Access>(&self, access: A) -> Option<(u64, Item<P>)> {
        if A::EXCLUSIVE {
            return self.pop_front(access, 1);
        }
        if self.has_batches() {
            return self.pop_front(self.exclusive(), 1);
        }
        let (position, item) = self.ring.pop_with(access)?;
        Some((position.wrapping_add(self.popped_beyond.load(Ordering::Relaxed)), item))
    }

    /// As [`Queue::pop`], with a cell.
    pub(super) fn pop_share(&self, access: impl Access) -> Option<(u64, Share<P>)> {
        self.pop(access).map(|(position, item)| (position, item.into_share(access, self.priority)))
    }

    /// As [`Queue::pop_share`], but waits for an event that is still being written.
    pub(super) fn pop_settled(&self, access: impl Access) -> Option<Share<P>> {
        if self.has_batches() {
            return self.pop_front(self.exclusive(), 1).map(|(_, item)| item.into_share(access, self.priority));
        }
        self.ring.pop_settled().map(|(_, item)| item.into_share(access, self.priority))
    }

    /// The access that everybody has while there are batches.
    fn exclusive(&self) -> Exclusive {
        // SAFETY: a batch lies in one slot only as long as all who take part hold the lock.
        unsafe { Exclusive::new() }
    }

    /// Up to `limit` of the oldest events, as many as lie in one slot.
    #[inline(always)]
    fn pop_front(&self, access: impl Access, limit: usize) -> Option<(u64, Item<P>)> {
        let popped = self.popped_beyond.load(Ordering::Relaxed);
        let (position, item, whole) = self.ring.pop_part(access, |item| item.take_front(limit))?;
        if let Item::Share(share) = &item {
            let beyond = share.len() as u64 - u64::from(whole);
            if beyond > 0 {
                self.popped_beyond.store(popped.wrapping_add(beyond), Ordering::Release);
            }
        }
        Some((position.wrapping_add(popped), item))
    }

    /// Takes up to `limit` of the oldest events, and gives each share with the number of the events before it to `take`. Says
    /// how many events they were; none where there are none, or the oldest is still being written.
    #[inline(always)]
    pub(super) fn pop_many(&self, access: impl Access, limit: usize, mut take: impl FnMut(u64, Share<P>)) -> usize {
        if self.has_batches() {
            let access = self.exclusive();
            let mut left = limit;
            while left > 0
                && let Some((position, item)) = self.pop_front(access, left)
            {
                left -= item.len();
                take(position, item.into_share(access, self.priority));
            }
            return limit - left;
        }
        let beyond = self.popped_beyond.load(Ordering::Relaxed);
        self.ring.pop_many(access, limit, |position, item| {
            take(position.wrapping_add(beyond), item.into_share(access, self.priority));
        })
    }

    /// Asks for the cache line of a cell that is received soon.
    #[inline(always)]
    pub(super) fn fetch_ahead(&self, ahead: u64) {
        self.ring.look_ahead(ahead, |item| {
            if let Item::Share(share) = item {
                share.fetch();
            }
        });
    }

    /// The stamp of the oldest event, for who alone takes out.
    pub(super) fn next_stamp(&self) -> Option<Stamp> {
        let mut stamp = None;
        self.ring.look_at(self.ring.positions().0, |item| {
            stamp = Some(match item {
                Item::Plain(plain) => plain.stamp,
                Item::Share(share) => share.stamp(),
            });
        });
        stamp
    }

    /// Looks at what waits; see [`super::Subscription::look_at_own`].
    pub(super) fn look_at_all(&self, look: &mut impl FnMut(Result<&P, &Share<P>>)) {
        self.ring.look_at_all(|item| match item {
            Item::Plain(plain) => look(Ok(&plain.payload)),
            Item::Share(share) => look(Err(share)),
        });
    }

    /// Gives each event a slot of its own: from now on somebody takes part who does not hold the lock, which the caller holds.
    pub(super) fn spread(&self) {
        if !self.has_batches() {
            return;
        }
        let access = self.exclusive();
        let (popped, pushed) = self.positions();
        let items: Vec<Item<P>> =
            std::iter::from_fn(|| self.ring.pop_part(access, |_| None)).map(|(_, item, _)| item).collect();
        for item in items {
            let spread = match item {
                Item::Plain(_) => self.ring.push_with(access, item).is_ok(),
                Item::Share(share) => share.push_into(access, &self.ring, usize::MAX).is_ok(),
            };
            debug_assert!(spread, "the ring has room for as many events");
        }
        let (head, tail) = self.ring.positions();
        self.popped_beyond.store(popped.wrapping_sub(head), Ordering::Release);
        self.pushed_beyond.store(pushed.wrapping_sub(tail), Ordering::Release);
    }
}
