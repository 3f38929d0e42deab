//! Order by deadline: the earliest first, then the most urgent priority, then the order of publishing.
//!
//! There are no rings: what waits lies in one sorted map under one lock, which is held for an insertion or a removal. The
//! map has both ends that are needed, the event that is handed out next and the one that makes room. What has no deadline
//! comes after everything that has one. Because events are ordered by their own stamps, a dead letter that is offered
//! again, and what a topic had kept, take the place that they would have had.
//!
//! The capacity counts over all priorities. What makes room is the least urgent event, the new one included, and of those
//! of the same deadline and priority the oldest: without deadlines that is what other orders do in their least urgent ring.

use super::{CREDIT_SHARE, Reading, Receiver, Subscription, is_timed};
use crate::Victims;
use crate::books::Reason;
use crate::cell::{Payload, Share};
use crate::ring::Access;
use crate::sync::lock;
use chronofabric_clock::Stamp;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How urgent an event is; the least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Urgency {
    /// Whether it has no deadline.
    open: bool,
    deadline_ns: i64,
    /// The highest priority is 0.
    rank: u8,
}

/// The place of an event: its urgency, its place in the order of publishing, and what tells it from another node's event
/// of the same stamp.
type Place = (Urgency, Stamp, u64);

fn urgency<P: Payload>(event: &Share<P>) -> Urgency {
    let deadline_ns = event.deadline_ns();
    Urgency { open: deadline_ns.is_none(), deadline_ns: deadline_ns.unwrap_or(0), rank: u8::MAX - event.priority() }
}

/// What a subscription by deadline has instead of rings.
#[derive(Debug)]
pub(super) struct Urgent<P: Payload> {
    waiting: Mutex<BTreeMap<Place, Share<P>>>,
    /// How many events ever came in, and went out; changed under the lock.
    pushed: AtomicU64,
    popped: AtomicU64,
}

impl<P: Payload> Default for Urgent<P> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), pushed: AtomicU64::new(0), popped: AtomicU64::new(0) }
    }
}

impl<P: Payload> Urgent<P> {
    /// How many events were ever taken out, and put in.
    pub(super) fn positions(&self) -> (u64, u64) {
        let popped = self.popped.load(Ordering::Acquire);
        (popped, self.pushed.load(Ordering::Acquire))
    }

    pub(super) fn len(&self) -> usize {
        let (popped, pushed) = self.positions();
        (pushed - popped) as usize
    }

    /// The stamp of the most urgent event.
    pub(super) fn next_stamp(&self) -> Option<Stamp> {
        lock(&self.waiting).first_key_value().map(|((_, stamp, _), _)| *stamp)
    }

    pub(super) fn look_at_all(&self, look: impl FnMut(&Share<P>)) {
        lock(&self.waiting).values().for_each(look);
    }
}

impl<P: Payload> Subscription<P> {
    /// What waits, where it hands out by deadline.
    pub(super) fn urgent(&self) -> Option<&Urgent<P>> {
        self.urgent.as_deref()
    }

    /// Puts as many of the events in as there is room for; the others come back.
    pub(super) fn push_urgent(&self, urgent: &Urgent<P>, share: Share<P>) -> Result<(), Share<P>> {
        let mut waiting = lock(&urgent.waiting);
        let mut each = share.each();
        while let Some(event) = each.next() {
            if let Err(mut rest) = self.insert(urgent, &mut waiting, event) {
                each.for_each(|event| rest.join(event));
                return Err(rest);
            }
        }
        Ok(())
    }

    fn insert(
        &self,
        urgent: &Urgent<P>,
        waiting: &mut BTreeMap<Place, Share<P>>,
        event: Share<P>,
    ) -> Result<(), Share<P>> {
        if waiting.len() >= self.options.capacity {
            return Err(event);
        }
        if let Some(limit) = self.options.capacity_bytes {
            // Changed under the lock alone.
            let bytes = event.payload().map_or(0, Payload::bytes);
            if self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > limit {
                return Err(event);
            }
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        let number = urgent.pushed.load(Ordering::Relaxed);
        waiting.insert((urgency(&event), event.stamp(), number), event);
        urgent.pushed.store(number + 1, Ordering::Release);
        Ok(())
    }

    /// Notes that an event was taken out, while the lock is held; gives the number of those before it.
    fn removed(&self, urgent: &Urgent<P>, event: &Share<P>) -> u64 {
        self.release_bytes(event);
        let number = urgent.popped.load(Ordering::Relaxed);
        urgent.popped.store(number + 1, Ordering::Release);
        number
    }

    /// Has the least urgent events make room for a new one, itself perhaps. It fits into the empty subscription.
    pub(super) fn displace(&self, urgent: &Urgent<P>, mut event: Share<P>, victims: &mut Victims<P>) {
        let mut waiting = lock(&urgent.waiting);
        while let Err(back) = self.insert(urgent, &mut waiting, event) {
            let least = waiting.last_key_value().map(|((urgency, ..), _)| *urgency);
            let least = least.filter(|least| *least >= urgency(&back));
            let oldest = least.and_then(|least| {
                let (place, _) = waiting.range((least, Stamp::default(), 0)..).next()?;
                let place = *place;
                waiting.remove(&place)
            });
            let Some(victim) = oldest else {
                drop(waiting);
                return self.reject(back, Reason::Overflow, victims);
            };
            self.removed(urgent, &victim);
            self.ledger.evict(Reason::Overflow);
            victims.push(victim);
            event = back;
        }
    }

    /// Whether enough room was made for a waiting publisher to go on with many events.
    pub(super) fn has_credit_urgent(&self, urgent: &Urgent<P>) -> bool {
        urgent.len() <= self.options.capacity / CREDIT_SHARE
    }

    /// Takes up to `limit` events, the most urgent first.
    #[cold]
    #[inline(never)]
    pub(super) fn take_urgent<F: FnOnce() -> i64>(
        &self,
        urgent: &Urgent<P>,
        access: impl Access,
        receiver: Receiver,
        limit: usize,
        now: &mut Reading<F>,
    ) -> Vec<Share<P>> {
        let (mut taken, mut left) = (Vec::<Share<P>>::new(), limit);
        let mut victims = Victims::new();
        if self.ready_levels(receiver) == 0 {
            return taken;
        }
        while left > 0 {
            let (number, event) = {
                let mut waiting = lock(&urgent.waiting);
                let Some((_, event)) = waiting.pop_first() else { break };
                (self.removed(urgent, &event), event)
            };
            let Some(event) = self.judge_lateness(access, event, now, &mut victims) else { continue };
            if is_timed(number) {
                self.record_wait(event.entered_ns(), now.ns());
            }
            left -= 1;
            match taken.last_mut() {
                Some(run) if run.is_followed_by(&event) => run.join(event),
                _ => taken.push(event),
            }
        }
        if self.space.is_armed() && self.has_credit_urgent(urgent) {
            self.space.wake_all();
        }
        taken
    }

    pub(super) fn empty_urgent(&self, urgent: &Urgent<P>, victims: &mut Victims<P>) {
        let mut waiting = lock(&urgent.waiting);
        for event in std::mem::take(&mut *waiting).into_values() {
            self.removed(urgent, &event);
            self.ledger.evict(self.reason_closed());
            victims.push(event);
        }
    }
}
