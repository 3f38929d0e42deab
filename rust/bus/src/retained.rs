//! What topics keep for subscribers to come: the last event that its publisher retains, or the last so many of all.
//!
//! A topic that keeps events has a critical section. In it, a publish keeps the event and puts it into the rings of all who
//! are there; and in it, a new subscription joins the route and is given what is kept. So of every event that is kept a
//! subscription gets exactly one: from what was kept, or as it is published; and the former come first.
//!
//! What is kept is a cell of its own, marked as retained, with neither a place in causal order nor a way to answer. It is
//! bounded in number for each topic and in bytes over all topics. Where the bytes do not suffice, a topic gives up its own
//! oldest events, and then the new one: it keeps nothing rather than something that has been superseded.

use crate::Victims;
use crate::cell::{Contents, Parts, Payload, Share};
use crate::error::BusError;
use crate::publish::Topic;
use crate::subscription::{Judgement, Subscription};
use crate::sync::lock;
use crate::topic::TopicInfo;
use chronofabric_clock::Stamp;
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The most events that a topic keeps.
pub const RETAINED_MAX: usize = 1 << 20;

/// What a topic keeps of all its events, whether their publishers retain them or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// The last so many; of zero, nothing at all.
    pub last: usize,
    /// How many bytes they may hold together.
    pub capacity_bytes: Option<usize>,
}

impl RetentionRule {
    pub(crate) fn check(&self) -> Result<(), BusError> {
        let refuse =
            |name, value: usize, allowed| Err(BusError::Option { name, value: value.to_string().into(), allowed });
        if self.last > RETAINED_MAX {
            return refuse("last", self.last, "it must lie between 0 and 1048576 events");
        }
        if self.capacity_bytes == Some(0) {
            return refuse("capacity_bytes", 0, "it must be at least 1 byte, or None for no bound");
        }
        Ok(())
    }
}

/// What is kept at this moment, over all topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionCounts {
    /// How many events.
    pub events: usize,
    /// How many bytes: their payloads, and a cell for each.
    pub bytes: usize,
    /// How many bytes there may be.
    pub bytes_max: usize,
    /// How many events were ever given up, or not kept, because the bytes did not suffice.
    pub past_bound: u64,
}

/// The bound that all topics of a node have together.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    events: AtomicUsize,
    bytes: AtomicUsize,
    past_bound: AtomicU64,
    bytes_max: usize,
}

impl Retention {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub(crate) fn counts(&self) -> RetentionCounts {
        RetentionCounts {
            events: self.events.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            bytes_max: self.bytes_max,
            past_bound: self.past_bound.load(Ordering::Relaxed),
        }
    }

    /// Reserved first and looked at then, so that several topics together cannot pass the bound.
    fn reserve(&self, bytes: usize) -> bool {
        let fits = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.bytes_max;
        if fits {
            self.events.fetch_add(1, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.events.fetch_sub(1, Ordering::Relaxed);
    }

    fn pass_bound(&self) {
        self.past_bound.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one topic keeps.
#[derive(Debug)]
pub(crate) struct Retained<P: Payload> {
    events: VecDeque<Share<P>>,
    bytes: usize,
    rule: Option<RetentionRule>,
    /// Whether a publisher retains events on it.
    asked: bool,
}

impl<P: Payload> Default for Retained<P> {
    fn default() -> Self {
        Self { events: VecDeque::new(), bytes: 0, rule: None, asked: false }
    }
}

impl<P: Payload> Retained<P> {
    fn retains(&self) -> bool {
        self.rule.map_or(self.asked, |rule| rule.last > 0)
    }

    /// The last so many of what is kept.
    fn last(&self, count: usize) -> impl Iterator<Item = &Share<P>> {
        self.events.iter().skip(self.events.len().saturating_sub(count))
    }

    /// Whether an event is kept that its publisher retains, or does not.
    pub(crate) fn wants(&self, retain: bool) -> bool {
        self.rule.map_or(retain, |rule| rule.last > 0)
    }

    /// Keeps an event in the place of the oldest. A request is not kept: it asks those who are there.
    pub(crate) fn keep(
        &mut self,
        shared: &Retention,
        topic: &Arc<TopicInfo>,
        event: &Parts<P>,
        victims: &mut Victims<P>,
    ) {
        if event.extras.as_ref().is_some_and(|extras| extras.reply.is_some()) {
            return;
        }
        let mut kept = Parts { retained: true, ..event.share() };
        if let Some(extras) = &mut kept.extras {
            extras.provenance = None;
        }
        let RetentionRule { last, capacity_bytes } =
            self.rule.unwrap_or(RetentionRule { last: 1, capacity_bytes: None });
        // By the cells of its own thread: who keeps may not hold the interpreter.
        let event = Share::new(crate::Concurrent, topic, kept);
        let bytes = size(&event);
        self.trim(last - 1, capacity_bytes.map(|limit| limit.saturating_sub(bytes)), shared, victims);
        let too_large = capacity_bytes.is_some_and(|limit| bytes > limit);
        while too_large || !shared.reserve(bytes) {
            shared.pass_bound();
            if !self.give_up_oldest(shared, victims) {
                victims.push(event);
                return;
            }
        }
        self.bytes += bytes;
        self.events.push_back(event);
    }

    /// Gives up the oldest until no more than so many, with no more than so many bytes, are kept.
    fn trim(&mut self, last: usize, bytes: Option<usize>, shared: &Retention, victims: &mut Victims<P>) {
        while self.events.len() > last || bytes.is_some_and(|limit| self.bytes > limit) {
            if !self.give_up_oldest(shared, victims) {
                return;
            }
        }
    }

    fn give_up_oldest(&mut self, shared: &Retention, victims: &mut Victims<P>) -> bool {
        let Some(event) = self.events.pop_front() else { return false };
        let bytes = size(&event);
        self.bytes -= bytes;
        shared.release(bytes);
        victims.push(event);
        true
    }
}

/// What an event counts for: its cell too, so that events without a payload worth speaking of are bounded as well.
fn size<P: Payload>(event: &Share<P>) -> usize {
    Share::<P>::CELL_BYTES + event.payload().map_or(0, Payload::bytes)
}

impl<P: Payload> Topic<P> {
    /// Keeps events by another rule from now on; what is kept and exceeds it is given up. The caller arranges the routes.
    pub(crate) fn set_retention(&self, shared: &Retention, rule: RetentionRule, victims: &mut Victims<P>) {
        let mut retained = lock(&self.section);
        retained.rule = Some(rule);
        retained.trim(rule.last, rule.capacity_bytes, shared, victims);
        self.set_retaining(retained.retains());
    }

    pub(crate) fn is_asked_to_retain(&self) -> bool {
        lock(&self.section).asked
    }

    /// Keeps from now on what its publishers retain, unless a rule says otherwise. The caller arranges the routes.
    pub(crate) fn ask_to_retain(&self) {
        let mut retained = lock(&self.section);
        retained.asked = true;
        self.set_retaining(retained.retains());
    }

    /// Gives up all that is kept, and says how many events that were.
    pub(crate) fn forget(&self, shared: &Retention, victims: &mut Victims<P>) -> usize {
        let mut retained = lock(&self.section);
        let count = retained.events.len();
        retained.trim(0, None, shared, victims);
        count
    }
}

/// What the filters of a new subscription say of events that topics keep, by their stamps.
pub(crate) type Judged<P> = BTreeMap<Stamp, Judgement<P>>;

/// Lets a new subscription into the routes of its topics, and gives it the last events that they keep, as its options say: topic
/// by topic, the one that changed last at the end. Where its filters have to judge some of these first, which may run foreign
/// code, nothing is changed, and they come back to be judged while nothing is held.
pub(crate) fn admit<P: Payload>(
    topics: &[Arc<Topic<P>>],
    subscription: &Arc<Subscription<P>>,
    judged: &mut Judged<P>,
    unwanted: &mut Vec<Contents<P>>,
    victims: &mut Victims<P>,
) -> Vec<Share<P>> {
    // All at the same time, so that none changes what it keeps between the look at it and the end. Who publishes is in no more
    // than one of these sections, and who changes what topics keep has the lock of the registry, as the caller here has.
    let mut sections: Vec<_> = topics.iter().map(|topic| (topic, lock(&topic.section))).collect();
    sections.sort_by_key(|(_, retained)| retained.events.back().map(Share::stamp));
    let history = subscription.options().history;
    if let Some(filter) = subscription.publishing_filter() {
        let mut unclear = Vec::new();
        for event in sections.iter().flat_map(|(_, retained)| retained.last(history)) {
            let Entry::Vacant(place) = judged.entry(event.stamp()) else { continue };
            match event.payload().map_or(Some(false), |payload| filter.glance(payload)) {
                Some(true) => {
                    place.insert(Judgement::Matches);
                }
                Some(false) => {
                    place.insert(Judgement::Differs);
                }
                None => unclear.push(event.clone()),
            }
        }
        if !unclear.is_empty() {
            return unclear;
        }
    }
    for (topic, retained) in sections {
        topic.rearrange(|route| {
            let mut subscriptions = Vec::with_capacity(route.subscriptions.len() + 1);
            subscriptions.extend_from_slice(&route.subscriptions);
            subscriptions.push(Arc::clone(subscription));
            (subscriptions, route.taps.clone())
        });
        for event in retained.last(history) {
            let judgement = judged.remove(&event.stamp()).unwrap_or(Judgement::Matches);
            subscription.offer_retained(event, judgement, unwanted, victims);
        }
    }
    Vec::new()
}
