//! Causal order: no event is handed out before one that could have caused it, whatever their topics and priorities.
//!
//! Each subscription in causal order has a domain, which counts the events that are offered to it. An event gets its place
//! in the domain, and is pushed, under the lock of the domain, before anybody else can receive it: what it causes gets a
//! later place. Publishers hold the locks of all domains that an event enters at the same time, so what its first receiver
//! causes cannot overtake it on the way to the second.
//!
//! From that follows what the receiving side builds on:
//! - In the ring of each priority, events of this node lie in the order of their places.
//! - A place that is in no ring, was not handed out and is not lost belongs to an event whose publisher waits for room.
//!   Who comes after it waits behind it, so nothing later is in any ring.
//!
//! The receiver takes events from the rings into a [`CausalBuffer`], from the priority of which it holds back the fewest;
//! of this node's events it therefore holds back at most one for each priority. Events that came from other nodes bring
//! their own clocks; they may arrive in any order, and what they depend on may never come. What is held back is bounded
//! by the capacity: past that, what is missing for the oldest is declared lost.
//!
//! What the overflow policy drops or sets aside is lost for the order, and known to be: nothing waits for it.
//!
//! Locks are taken in this order: domains, as they stand in the route, then what is held back.

use super::{Offer, Overflow, Reading, Receiver, Subscription, is_timed};
use crate::PRIORITIES;
use crate::Victims;
use crate::books::Reason;
use crate::cell::{Extras, Payload, Provenance, Share};
use crate::ring::Concurrent;
use crate::sync::{full_fence, lock};
use chronofabric_clock::{Arrival, CausalBooks, CausalBuffer, CausalOptions, NodeId, OnFull, VectorClock};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Events on their way to a receiver.
pub(super) type Taken<P> = SmallVec<[Share<P>; 1]>;

/// What names an event in its domain: the node that counted it, and its count. `None` without a clock.
type Key = Option<(NodeId, u64)>;

/// What became of the order of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CausalCounts {
    /// Events that wait at this moment although they were taken from the rings.
    pub held_back: u64,
    /// Events handed out when what they could have caused may have been before: replayed dead letters, and what came
    /// after it had been declared lost.
    pub late: u64,
    /// Events that came again, and were dropped.
    pub duplicates: u64,
    /// Events handed out as they came, because their clock does not count them, or names too many nodes.
    pub unordered: u64,
    /// Events declared lost; those that came late after all are among them.
    pub lost: u64,
    /// Events handed out although their clocks contradict each other.
    pub contradictory: u64,
}

impl CausalCounts {
    fn and(self, books: &CausalBooks) -> Self {
        Self {
            held_back: self.held_back,
            late: self.late + books.late,
            duplicates: self.duplicates + books.duplicates,
            unordered: self.unordered + books.refused,
            lost: self.lost.saturating_add(books.lost),
            contradictory: self.contradictory + books.contradictory,
        }
    }
}

/// What a subscription in causal order has beside the others.
#[derive(Debug)]
pub(crate) struct Causal<P: Payload> {
    domain: Mutex<Domain>,
    back: Mutex<Back<P>>,
    /// Whether a receiver would find something in what is held back.
    ready: AtomicBool,
}

/// The places of a subscription's events.
#[derive(Debug, Default)]
pub(crate) struct Domain {
    /// Counts the events of this node, and what those of others brought.
    clock: VectorClock,
    /// The events whose publishers wait for room, in order.
    parked: VecDeque<Key>,
}

impl Domain {
    /// Gives the next event its place. One that brought its own is taken note of: what follows may depend on it.
    pub(crate) fn place(&mut self, node: NodeId, brought: Option<Provenance>) -> Option<Provenance> {
        let Some(brought) = brought else {
            // Fails where other nodes fill the clock; then the event goes without.
            self.clock.increment(node).ok()?;
            return Some(Provenance { node, clock: self.clock.clone() });
        };
        if brought.node == node && brought.clock.get(node) > self.clock.get(node) {
            // No event of this node: it must not take the place of one.
            return None;
        }
        for (other, counter) in brought.clock.iter().filter(|(other, _)| *other != node) {
            // Past the bound of nodes, the order of the newest is not kept.
            let _ = self.clock.raise(other, counter);
        }
        Some(brought)
    }
}

/// What was taken from the rings and not handed out.
#[derive(Debug)]
struct Back<P: Payload> {
    buffer: CausalBuffer<Share<P>>,
    /// How many wait in the buffer, for each priority.
    waiting: [usize; PRIORITIES],
    /// Handed out next.
    due: VecDeque<Share<P>>,
    /// What was dropped or set aside, while something before it is on its way.
    gone: Vec<(NodeId, Ranges)>,
    handed_out: u64,
    /// Of buffers that were emptied.
    counts: CausalCounts,
}

impl<P: Payload> Causal<P> {
    /// `None` for a capacity that no buffer can have.
    pub(super) fn new(capacity: usize) -> Option<Self> {
        let back = Back {
            buffer: buffer(capacity)?,
            waiting: [0; PRIORITIES],
            due: VecDeque::new(),
            gone: Vec::new(),
            handed_out: 0,
            counts: CausalCounts::default(),
        };
        Some(Self { domain: Mutex::default(), back: Mutex::new(back), ready: AtomicBool::new(false) })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn domain(&self) -> MutexGuard<'_, Domain> {
        lock(&self.domain)
    }

    /// What is held back, for a sequence of changes that receivers see as one.
    pub(super) fn hold(&self) -> Holding<'_, P> {
        Holding { causal: self, back: lock(&self.back) }
    }

    fn is_next(&self, key: Key) -> bool {
        self.domain().parked.front().is_none_or(|first| *first == key)
    }
}

fn buffer<P: Payload>(capacity: usize) -> Option<CausalBuffer<Share<P>>> {
    let capacity = (PRIORITIES * capacity).min(CausalBuffer::<Share<P>>::CAPACITY_MAX);
    CausalBuffer::new(CausalOptions { capacity, on_full: OnFull::DeclareLost, age_ns_max: None }).ok()
}

fn key<P: Payload>(event: &Share<P>) -> Key {
    event.provenance().map(|provenance| (provenance.node, provenance.clock.get(provenance.node)))
}

/// What is held back, locked.
pub(super) struct Holding<'a, P: Payload> {
    causal: &'a Causal<P>,
    back: MutexGuard<'a, Back<P>>,
}

impl<P: Payload> Drop for Holding<'_, P> {
    fn drop(&mut self) {
        let ready = !self.back.due.is_empty() || self.back.passable().is_some();
        self.causal.ready.store(ready, Ordering::Release);
    }
}

impl<P: Payload> Holding<'_, P> {
    /// An event will not come: nothing has to wait for it.
    pub(super) fn lose(&mut self, event: &Share<P>) {
        let Some((node, counter)) = key(event) else { return };
        let gone = &mut self.back.gone;
        let place = gone.iter().position(|(other, _)| *other == node).unwrap_or_else(|| {
            gone.push((node, Ranges::default()));
            gone.len() - 1
        });
        gone[place].1.insert(counter);
    }

    /// It comes after all; unless what follows it has been handed out, it takes its place.
    fn find(&mut self, key: Key) {
        if let Some((node, counter)) = key
            && let Some((_, ranges)) = self.back.gone.iter_mut().find(|(other, _)| *other == node)
        {
            ranges.remove(counter);
        }
    }
}

impl<P: Payload> Back<P> {
    /// Takes an event from a ring; gives one back that is not to be handed out.
    fn accept(&mut self, now_ns: i64, event: Share<P>) -> Option<Share<P>> {
        let Some(Provenance { node, clock }) = event.provenance().cloned() else {
            self.due.push_back(event);
            return None;
        };
        let level = level(&event);
        self.waiting[level] += 1;
        let Self { buffer, waiting, due, .. } = self;
        let deliver = |event: Share<P>| {
            waiting[self::level(&event)] -= 1;
            due.push_back(event);
        };
        match buffer.accept(now_ns, node, &clock, event, deliver) {
            Arrival::Delivered | Arrival::Waiting => {}
            Arrival::Late(event) | Arrival::Refused(event, _) => {
                self.waiting[level] -= 1;
                self.due.push_back(event);
            }
            Arrival::Duplicate(event) => {
                self.waiting[level] -= 1;
                return Some(event);
            }
        }
        None
    }

    /// Where something waits for what is gone, and for nothing of its node before that: the place among what is gone, and
    /// the count that comes next.
    fn passable(&self) -> Option<(usize, u64)> {
        if self.gone.is_empty() || self.buffer.pending() == 0 {
            return None;
        }
        let delivered = self.buffer.delivered();
        self.gone.iter().enumerate().find_map(|(place, (node, ranges))| {
            let next = delivered.get(*node).saturating_add(1);
            ranges.begin_by(next).then_some((place, next))
        })
    }

    /// Goes on past what is gone; says whether there was any. Not before somebody wants what comes after: until then a dead
    /// letter may take its place again.
    fn pass_gone(&mut self) -> bool {
        let Some((place, next)) = self.passable() else { return false };
        let node = self.gone[place].0;
        if let Some(last) = self.gone[place].1.take_first(next) {
            self.declare_lost(node, last);
        }
        if self.gone[place].1.is_empty() {
            self.gone.swap_remove(place);
        }
        true
    }

    fn declare_lost(&mut self, node: NodeId, through: u64) {
        let Self { buffer, waiting, due, .. } = self;
        // Refused for one node too many: then nothing of it is held back either.
        let _ = buffer.declare_lost(node, through, |event| {
            waiting[level(&event)] -= 1;
            due.push_back(event);
        });
    }
}

fn level<P: Payload>(event: &Share<P>) -> usize {
    usize::from(event.priority()).min(PRIORITIES - 1)
}

impl<P: Payload> Subscription<P> {
    /// What its order keeps, where it is the causal one.
    pub(crate) fn causal(&self) -> Option<&Causal<P>> {
        self.causal.as_deref()
    }

    /// What became of the causal order; `None` where it was not asked for.
    pub fn causal_counts(&self) -> Option<CausalCounts> {
        let holding = self.causal()?.hold();
        let counts = holding.back.counts.and(&holding.back.buffer.books());
        Some(CausalCounts { held_back: self.ledger.held(), ..counts })
    }

    /// Says that the missing events of another node will not come, up to a count; what waited for them goes on.
    pub fn declare_lost(&self, node: NodeId, through: u64) {
        if let Some(causal) = self.causal() {
            causal.hold().back.declare_lost(node, through);
            self.front.items.notify();
        }
    }

    /// Offers an event that has its place in the domain, which the caller has locked.
    pub(crate) fn offer_in_order(&self, domain: &mut Domain, event: Share<P>, victims: &mut Victims<P>) -> Offer<P> {
        let priority = event.priority();
        let blocks = self.options.overflow == Overflow::Block;
        let offer = if blocks && !domain.parked.is_empty() && !self.is_too_large(&event) {
            Offer::Full(event)
        } else {
            self.offer(Concurrent, event, priority, victims)
        };
        if let Offer::Full(event) = &offer {
            domain.parked.push_back(key(event));
        }
        offer
    }

    /// Offers an event that its topic has kept, with a place in this order.
    pub(super) fn offer_retained_in_order(
        &self,
        causal: &Causal<P>,
        event: &Share<P>,
        victims: &mut Victims<P>,
    ) -> Offer<P> {
        let Some(mut parts) = event.parts() else { return Offer::Settled };
        let mut domain = causal.domain();
        let topic = event.topic();
        parts.extras.get_or_insert_with(Extras::empty).provenance = domain.place(topic.node(), None);
        self.offer_in_order(&mut domain, Share::new(Concurrent, topic, parts), victims)
    }

    /// Tries once more to place an event whose publisher waits for room.
    #[cold]
    pub(super) fn retry_in_order(
        &self,
        causal: &Causal<P>,
        event: Share<P>,
        victims: &mut Victims<P>,
    ) -> Result<(), Share<P>> {
        if self.is_closed() {
            self.abandon(event, self.reason_closed(), victims);
            return Ok(());
        }
        let (key, priority) = (key(&event), event.priority());
        let mut domain = causal.domain();
        if domain.parked.front() != Some(&key) {
            return Err(event);
        }
        self.try_push(Concurrent, event, priority)?;
        domain.parked.pop_front();
        let others = !domain.parked.is_empty();
        drop(domain);
        full_fence();
        self.settle(victims);
        if others {
            self.space.notify();
        }
        Ok(())
    }

    /// Whether a publisher that waits with this event is the first who does.
    pub(crate) fn is_next(&self, event: &Share<P>) -> bool {
        self.causal().is_none_or(|causal| causal.is_next(key(event)))
    }

    /// Gives up an event whose publisher waited for room.
    pub(crate) fn abandon(&self, event: Share<P>, reason: Reason, victims: &mut Victims<P>) {
        let Some(causal) = self.causal() else { return self.reject(event, reason, victims) };
        let mut domain = causal.domain();
        let key = key(&event);
        domain.parked.retain(|other| *other != key);
        self.reject(event, reason, victims);
        drop(domain);
        self.front.items.notify();
        self.space.notify();
    }

    /// An event that the subscription was offered will not be handed out.
    #[inline]
    pub(super) fn lose(&self, event: &Share<P>) {
        if let Some(causal) = self.causal() {
            causal.hold().lose(event);
        }
    }

    /// Pushes a dead letter again.
    pub(super) fn push_again(&self, causal: &Causal<P>, event: Share<P>) -> Result<(), Share<P>> {
        let (key, priority) = (key(&event), event.priority());
        let mut holding = causal.hold();
        self.try_push(Concurrent, event, priority)?;
        holding.find(key);
        Ok(())
    }

    /// Takes up to `limit` events, in causal order.
    #[cold]
    #[inline(never)]
    pub(super) fn take_in_order(
        &self,
        causal: &Causal<P>,
        receiver: Receiver,
        limit: usize,
        now_ns: impl FnOnce() -> i64,
    ) -> Taken<P> {
        let mut taken = Taken::new();
        if self.ready_levels(receiver) == 0 {
            return taken;
        }
        let now_ns = now_ns();
        let mut now = Reading::new(|| now_ns);
        // Dropped last, when nothing is locked.
        let mut victims = Victims::new();
        let mut holding = causal.hold();
        while taken.len() < limit {
            if let Some(event) = holding.back.due.pop_front() {
                self.ledger.release();
                let judged = self.judge_lateness(Concurrent, event, &mut now, &mut victims);
                let Some(event) = judged else { continue };
                if is_timed(holding.back.handed_out) {
                    self.record_wait(event.entered_ns(), now_ns);
                }
                holding.back.handed_out += 1;
                taken.push(event);
                continue;
            }
            if holding.back.pass_gone() {
                continue;
            }
            let ready = self.queues.iter().map(OnceLock::get).zip(holding.back.waiting).rev();
            let ready = ready.filter_map(|(queue, waiting)| Some((queue.filter(|queue| queue.is_ready())?, waiting)));
            let Some((queue, _)) = ready.min_by_key(|(_, waiting)| *waiting) else { break };
            let Some((_, event)) = queue.pop_share(Concurrent) else { break };
            self.ledger.hold();
            self.release_bytes(&event);
            self.return_credit(queue);
            if let Some(duplicate) = holding.back.accept(now_ns, event) {
                self.ledger.release();
                self.ledger.evict(Reason::Duplicate);
                victims.push(duplicate);
            }
        }
        drop(holding);
        if causal.is_ready() {
            // Who looked meanwhile saw nothing.
            self.front.items.notify();
        }
        taken
    }

    /// Empties what is held back, the rings having been emptied.
    pub(super) fn empty_back(&self, holding: &mut Holding<'_, P>, victims: &mut Victims<P>) {
        let back = &mut *holding.back;
        let mut left = std::mem::take(&mut back.due);
        if let Some(empty) = buffer(self.options.capacity) {
            let full = std::mem::replace(&mut back.buffer, empty);
            back.counts = back.counts.and(&full.books());
            left.extend(full.into_pending());
        }
        back.waiting = [0; PRIORITIES];
        back.gone.clear();
        for event in left {
            self.ledger.release();
            self.ledger.evict(self.reason_closed());
            victims.push(event);
        }
    }
}

/// Sorted ranges of counters that neither overlap nor touch: the last of each by its first.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, counter: u64) {
        let before = self.0.range(..=counter).next_back().map(|(first, last)| (*first, *last));
        let (first, mut last) = match before {
            Some((_, last)) if last >= counter => return,
            Some((first, last)) if last + 1 == counter => (first, counter),
            _ => (counter, counter),
        };
        if let Some(after) = counter.checked_add(1).and_then(|next| self.0.remove(&next)) {
            last = after;
        }
        self.0.insert(first, last);
    }

    fn remove(&mut self, counter: u64) {
        let Some((&first, &last)) = self.0.range(..=counter).next_back().filter(|(_, last)| **last >= counter) else {
            return;
        };
        self.0.remove(&first);
        if first < counter {
            self.0.insert(first, counter - 1);
        }
        if counter < last {
            self.0.insert(counter + 1, last);
        }
    }

    /// Whether the first range begins no later than a counter.
    fn begin_by(&self, counter: u64) -> bool {
        self.0.first_key_value().is_some_and(|(first, _)| *first <= counter)
    }

    /// Takes out the first range where it begins no later than a counter, and gives its last.
    fn take_first(&mut self, from: u64) -> Option<u64> {
        let first = self.0.first_entry().filter(|entry| *entry.key() <= from)?;
        Some(first.remove())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), 0u64..24), 0..200)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (inserts, counter) in steps {
                if inserts {
                    ranges.insert(counter);
                    model.insert(counter);
                } else {
                    ranges.remove(counter);
                    model.remove(&counter);
                }
                let all: Vec<u64> = ranges.0.iter().flat_map(|(first, last)| *first..=*last).collect();
                prop_assert!(all.iter().eq(&model));
                let mut ends: Vec<_> = ranges.0.iter().collect();
                ends.dedup_by(|later, earlier| *earlier.1 + 1 == *later.0);
                prop_assert_eq!(ends.len(), ranges.0.len(), "neighbours are one range");
            }
            let first = model.first().copied();
            prop_assert_eq!(ranges.take_first(10).is_some(), first.is_some_and(|first| first <= 10));
        }
    }
}
