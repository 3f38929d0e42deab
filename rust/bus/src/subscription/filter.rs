//! Filters: which events a subscription does not want to see.
//!
//! They apply in this order, each to what those before it let pass: content, every n-th event, rate, throttle, debounce,
//! predicate. All but the last are asked by the publisher, before an event takes room in a ring: what nobody wants displaces
//! nothing. Content is judged while nothing is held, because reading fields may run foreign code; what a filter remembers
//! of a topic, it remembers under a lock of its own, by the time of the events. The predicate is foreign code as a whole, and
//! is asked by the receiver, when an event is about to be handed out.
//!
//! Debouncing keeps the newest event of each topic back. It is let pass by the publisher of a later event, or by a receiver
//! that looks when it is due: who waits for events learns from [`Subscription::due_ns`] when to look.

use super::{Offer, Order, Receiver, Subscription};
use crate::Victims;
use crate::books::Reason;
use crate::cell::{Contents, Payload, Share};
use crate::error::BusError;
use crate::ring::{Access, Concurrent};
use crate::sync::lock;
use crate::topic::TopicInfo;
use chronofabric_clock::TimeSource;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// What a content filter says of an event.
#[derive(Debug)]
pub enum Judgement<P> {
    /// It matches.
    Matches,
    /// It matches in part: this is its payload for the subscription.
    MatchesInPart(P),
    /// It does not match.
    Differs,
}

impl<P> Judgement<P> {
    pub(crate) fn differs(&self) -> bool {
        matches!(self, Self::Differs)
    }
}

/// Judges events by what they carry.
pub trait ContentFilter<P: Payload>: Send + Sync {
    /// Judges a payload, or one payload of a batch; called in the publishing thread while nothing is held, so it may run
    /// foreign code.
    fn judge(&self, payload: &P, place: Option<usize>) -> Judgement<P>;

    /// Judges a payload as a whole without running foreign code, so that something may be held meanwhile; `None` where that
    /// does not suffice.
    fn glance(&self, payload: &P) -> Option<bool> {
        let _ = payload;
        None
    }

    /// How many events could not be judged, and why one of them could not.
    fn failures(&self) -> Failures;
}

/// How often a filter could not judge; such events do not match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How often.
    pub count: u64,
    /// Why, one of these times.
    pub reason: Option<Box<str>>,
}

/// Judges events that are about to be handed out.
pub trait Predicate<P: Payload>: Send + Sync {
    /// Drops the events that do not pass; called in the receiving thread while nothing is held, so it may run foreign code.
    /// Each share is one event.
    fn retain(&self, events: &mut Vec<Share<P>>);

    /// How many events could not be judged, and why one of them could not.
    fn failures(&self) -> Failures;
}

/// A bucket of tokens, of which each event takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How long it takes until there is one token more.
    pub period_ns: i64,
    /// How many tokens there are at most.
    pub burst: u32,
}

/// The filters of a subscription.
pub struct Filters<P: Payload> {
    /// What events must carry.
    pub content: Option<Arc<dyn ContentFilter<P>>>,
    /// Of each topic only the first event and every so many after it.
    pub sample: Option<u64>,
    /// How many events of a topic in a time.
    pub rate_limit: Option<RateLimit>,
    /// For how long no event of a topic passes after one has.
    pub throttle_ns: Option<i64>,
    /// For how long there must be no other event of the topic after one before it passes.
    pub debounce_ns: Option<i64>,
    /// What the receiver asks.
    pub predicate: Option<Arc<dyn Predicate<P>>>,
}

impl<P: Payload> Clone for Filters<P> {
    fn clone(&self) -> Self {
        Self { content: self.content.clone(), predicate: self.predicate.clone(), ..*self }
    }
}

impl<P: Payload> Default for Filters<P> {
    fn default() -> Self {
        Self { content: None, sample: None, rate_limit: None, throttle_ns: None, debounce_ns: None, predicate: None }
    }
}

impl<P: Payload> Filters<P> {
    /// Whether the publisher has to ask them.
    fn concern_publishers(&self) -> bool {
        self.content.is_some() || self.remember() || self.debounce_ns.is_some()
    }

    /// Whether the receiver has to ask them.
    fn concern_receivers(&self) -> bool {
        self.predicate.is_some() || self.debounce_ns.is_some()
    }

    fn remember(&self) -> bool {
        self.sample.is_some() || self.rate_limit.is_some() || self.throttle_ns.is_some()
    }

    /// The first bound that is out of its range: its name and value.
    fn fault(&self) -> Option<(&'static str, i128)> {
        let rate = self.rate_limit.map(|rate| i128::from(rate.period_ns).min(i128::from(rate.burst)));
        [
            ("sample", self.sample.map(i128::from)),
            ("rate_limit", rate),
            ("throttle", self.throttle_ns.map(i128::from)),
            ("debounce", self.debounce_ns.map(i128::from)),
        ]
        .into_iter()
        .find_map(|(name, value)| value.filter(|value| *value <= 0).map(|value| (name, value)))
    }
}

impl<P: Payload> std::fmt::Debug for Filters<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Filters")
            .field("content", &self.content.is_some())
            .field("sample", &self.sample)
            .field("rate_limit", &self.rate_limit)
            .field("throttle_ns", &self.throttle_ns)
            .field("debounce_ns", &self.debounce_ns)
            .field("predicate", &self.predicate.is_some())
            .finish()
    }
}

/// The filters of a subscription, and what they remember.
#[derive(Debug)]
pub(crate) struct Filter<P: Payload> {
    given: Filters<P>,
    source: TimeSource,
    memory: Mutex<Memory<P>>,
    /// Nobody has to look before this time; the end of time where nothing is kept back.
    due_ns: AtomicI64,
}

/// What filters remember.
#[derive(Debug)]
struct Memory<P: Payload> {
    /// By the address of the topic, which stays its own as long as it is kept here.
    topics: HashMap<usize, OfTopic<P>>,
    /// When to look after which topic; not later than its event is due, but perhaps earlier.
    agenda: BTreeMap<(i64, u64), usize>,
    /// How many events were kept back so far: their order.
    number: u64,
    /// Whether nothing is kept back any more.
    hastened: bool,
}

/// What filters remember of one topic.
#[derive(Debug)]
struct OfTopic<P: Payload> {
    _topic: Arc<TopicInfo>,
    /// How many events to leave out before the next that passes.
    left_out: u64,
    /// When the bucket will be full again (the virtual scheduling of the generic cell rate algorithm, ITU-T I.371).
    full_ns: i64,
    /// From when on an event passes the throttle.
    open_ns: i64,
    kept: Option<Kept<P>>,
    /// Its entry in the agenda.
    entry: Option<(i64, u64)>,
}

/// An event that passes when its topic stays quiet.
#[derive(Debug)]
struct Kept<P: Payload> {
    event: Share<P>,
    due_ns: i64,
    number: u64,
}

impl<P: Payload> Memory<P> {
    fn of_topic(&mut self, topic: &Arc<TopicInfo>) -> (usize, &mut OfTopic<P>) {
        let key = Arc::as_ptr(topic).addr();
        let new = || OfTopic {
            _topic: Arc::clone(topic),
            left_out: 0,
            full_ns: i64::MIN,
            open_ns: i64::MIN,
            kept: None,
            entry: None,
        };
        (key, self.topics.entry(key).or_insert_with(new))
    }

    /// Takes the next event out that is due, in the order in which they became so.
    fn next_due(&mut self, now_ns: i64) -> Option<Kept<P>> {
        self.look_after_due(now_ns)?;
        let (_, key) = self.agenda.pop_first()?;
        let of_topic = self.topics.get_mut(&key)?;
        of_topic.entry = None;
        of_topic.kept.take()
    }

    /// Whether the first entry of the agenda is due, once those are put right that are there too early.
    fn look_after_due(&mut self, now_ns: i64) -> Option<()> {
        loop {
            let entry = self.agenda.first_entry()?;
            if entry.key().0 > now_ns && !self.hastened {
                return None;
            }
            let of_topic = self.topics.get_mut(entry.get())?;
            match &of_topic.kept {
                // Also of what is due by now the earlier comes first, and of one instant what was published before.
                Some(kept) if *entry.key() == (kept.due_ns, kept.number) => return Some(()),
                Some(kept) => {
                    let key = entry.remove();
                    self.agenda.insert((kept.due_ns, kept.number), key);
                    of_topic.entry = Some((kept.due_ns, kept.number));
                }
                None => {
                    entry.remove();
                    of_topic.entry = None;
                }
            }
        }
    }

    /// Keeps an event back; the topic has none.
    fn keep(&mut self, topic: &Arc<TopicInfo>, event: Share<P>, due_ns: i64) {
        self.number += 1;
        let number = self.number;
        let (key, of_topic) = self.of_topic(topic);
        of_topic.kept = Some(Kept { event, due_ns, number });
        // An earlier entry serves as well, and spares the agenda a change for each event.
        if of_topic.entry.is_none_or(|entry| entry.0 > due_ns) {
            let before = of_topic.entry.replace((due_ns, number));
            if let Some(before) = before {
                self.agenda.remove(&before);
            }
            self.agenda.insert((due_ns, number), key);
        }
    }

    /// Puts one back that was due.
    fn put_back(&mut self, kept: Kept<P>) {
        let key = Arc::as_ptr(kept.event.topic()).addr();
        if let Some(of_topic) = self.topics.get_mut(&key) {
            of_topic.entry = Some((kept.due_ns, kept.number));
            self.agenda.insert((kept.due_ns, kept.number), key);
            of_topic.kept = Some(kept);
        }
    }
}

impl<P: Payload> OfTopic<P> {
    /// Asks the filters that remember whether an event of this time passes.
    fn admits(&mut self, given: &Filters<P>, time_ns: i64) -> bool {
        if let Some(every) = given.sample {
            if self.left_out > 0 {
                self.left_out -= 1;
                return false;
            }
            self.left_out = every - 1;
        }
        if let Some(RateLimit { period_ns, burst }) = given.rate_limit {
            let tolerance_ns = period_ns.saturating_mul(i64::from(burst) - 1);
            if time_ns < self.full_ns.saturating_sub(tolerance_ns) {
                return false;
            }
            self.full_ns = self.full_ns.max(time_ns).saturating_add(period_ns);
        }
        if let Some(throttle_ns) = given.throttle_ns {
            if time_ns < self.open_ns {
                return false;
            }
            self.open_ns = time_ns.saturating_add(throttle_ns);
        }
        true
    }
}

/// What came of keeping an event back.
pub(crate) struct Deferred<P: Payload> {
    /// Events that had become due, and wait for room.
    pub(crate) full: SmallVec<[Share<P>; 1]>,
    /// Whether a receiver has something to take, or has to look earlier than it knows.
    pub(crate) wakes: bool,
}

impl<P: Payload> Filter<P> {
    /// Nothing for filters that let everything pass.
    ///
    /// # Errors
    /// [`BusError::Option`] for a bound that is not above zero, and for debouncing in causal order.
    pub(super) fn new(given: Filters<P>, source: TimeSource, order: Order) -> Result<Option<Box<Self>>, BusError> {
        if let Some((name, value)) = given.fault() {
            return Err(BusError::Option { name, value: value.to_string().into(), allowed: "it must be above zero" });
        }
        if let (Some(debounce_ns), Order::Causal) = (given.debounce_ns, order) {
            let (value, allowed) = (format!("{debounce_ns} ns").into(), "in causal order nothing may be kept back");
            return Err(BusError::Option { name: "debounce", value, allowed });
        }
        let filters = given.concern_publishers() || given.concern_receivers();
        let memory = Memory { topics: HashMap::new(), agenda: BTreeMap::new(), number: 0, hastened: false };
        let new = || Box::new(Self { given, source, memory: Mutex::new(memory), due_ns: AtomicI64::new(i64::MAX) });
        Ok(filters.then(new))
    }

    pub(super) fn concerns_receivers(&self) -> bool {
        self.given.concern_receivers()
    }

    pub(crate) fn concerns_publishers(&self) -> bool {
        self.given.concern_publishers()
    }

    /// Whether what it says of an event depends on nothing but that event.
    pub(crate) fn is_forgetful(&self) -> bool {
        !self.given.remember() && !self.debounces()
    }

    pub(crate) fn debounces(&self) -> bool {
        self.given.debounce_ns.is_some()
    }

    /// Judges a payload at a glance; see [`ContentFilter::glance`].
    #[inline]
    pub(crate) fn glance(&self, payload: &P) -> Option<bool> {
        self.given.content.as_ref().map_or(Some(true), |content| content.glance(payload))
    }

    /// Asks the filters that remember about events of one time, in order; what they turn away differs from now on, and what
    /// it had for a payload goes to `unwanted`.
    pub(crate) fn sieve(
        &self,
        topic: &Arc<TopicInfo>,
        time_ns: i64,
        judgements: &mut [Judgement<P>],
        unwanted: &mut impl Extend<Contents<P>>,
    ) {
        let mut turn_away = |judgement: &mut Judgement<P>| {
            if let Judgement::MatchesInPart(payload) = std::mem::replace(judgement, Judgement::Differs) {
                unwanted.extend([Contents { payload: Some(payload), extras: None }]);
            }
        };
        if self.given.remember() && !judgements.iter().all(Judgement::differs) {
            let mut memory = lock(&self.memory);
            let (_, of_topic) = memory.of_topic(topic);
            for judgement in judgements.iter_mut().filter(|judgement| !judgement.differs()) {
                if !of_topic.admits(&self.given, time_ns) {
                    turn_away(judgement);
                }
            }
        }
        if self.debounces() {
            // All happened at one time, so only the last has a quiet time behind it.
            let admitted = judgements.iter_mut().filter(|judgement| !judgement.differs());
            admitted.rev().skip(1).for_each(turn_away);
        }
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.source.now_ns()
    }

    fn note_due(&self, memory: &Memory<P>) {
        let due_ns = match memory.agenda.first_key_value() {
            Some(_) if memory.hastened => i64::MIN,
            Some(((due_ns, _), _)) => *due_ns,
            None => i64::MAX,
        };
        self.due_ns.store(due_ns, Ordering::Release);
    }

    /// Whether a receiver would find an event that is due.
    pub(super) fn is_due(&self) -> bool {
        let due_ns = self.due_ns.load(Ordering::Acquire);
        if due_ns == i64::MAX {
            return false;
        }
        let now_ns = self.source.now_ns();
        if due_ns > now_ns {
            return false;
        }
        let mut memory = lock(&self.memory);
        let due = memory.look_after_due(now_ns).is_some();
        self.note_due(&memory);
        due
    }
}

impl<P: Payload> Subscription<P> {
    /// Its filters, where the publisher has to ask them.
    #[inline]
    pub(crate) fn publishing_filter(&self) -> Option<&Filter<P>> {
        self.filter.as_deref().filter(|filter| filter.concerns_publishers())
    }

    /// Its filters, where the receiver has to ask them.
    #[inline]
    pub(super) fn receiving_filter(&self) -> Option<&Filter<P>> {
        self.filter.as_deref().filter(|filter| filter.concerns_receivers())
    }

    /// Judges a payload, or one of a batch, by what it carries; called while nothing is held, because that may run foreign
    /// code.
    pub(crate) fn judge(&self, payload: &P, place: Option<usize>) -> Judgement<P> {
        let content = self.filter.as_ref().and_then(|filter| filter.given.content.as_ref());
        let mut judgement = content.map_or(Judgement::Matches, |content| content.judge(payload, place));
        if self.options.capacity_bytes.is_some()
            && let Judgement::MatchesInPart(part) = &mut judgement
        {
            part.measure();
        }
        judgement
    }

    /// How often its filters could not judge an event.
    pub fn filter_failures(&self) -> Failures {
        let Some(Filters { content, predicate, .. }) = self.filter.as_ref().map(|filter| &filter.given) else {
            return Failures::default();
        };
        let content = content.as_ref().map(|content| content.failures());
        content.or_else(|| predicate.as_ref().map(|predicate| predicate.failures())).unwrap_or_default()
    }

    /// When a receiver should look again although nothing was published; `None` where it need not.
    pub fn due_ns(&self) -> Option<i64> {
        let due_ns = self.filter.as_ref()?.due_ns.load(Ordering::Acquire);
        (due_ns != i64::MAX).then_some(due_ns)
    }

    /// From now on nothing is kept back to see whether its topic stays quiet: the end has come.
    pub fn hasten(&self) {
        if let Some(filter) = self.filter.as_ref().filter(|filter| filter.debounces()) {
            let mut memory = lock(&filter.memory);
            memory.hastened = true;
            filter.note_due(&memory);
            drop(memory);
            self.front.items.notify();
        }
    }

    /// Counts events that a filter turned away before they took room.
    pub(crate) fn count_filtered(&self, count: usize) {
        self.ledger.filter(count);
    }

    /// Counts one such event; only for who publishes exclusively.
    pub(crate) fn count_filtered_alone(&self) {
        self.ledger.filter_alone();
    }

    /// Keeps an event back until its topic has been quiet for long enough, in place of the one before it, which passes if that
    /// was long enough ago; so does whatever has become due. Of some priorities an event waits for room already.
    pub(crate) fn defer(
        &self,
        filter: &Filter<P>,
        event: Share<P>,
        entered_ns: i64,
        held_up: impl Fn(u8) -> bool,
        victims: &mut Victims<P>,
    ) -> Deferred<P> {
        let debounce_ns = filter.given.debounce_ns.unwrap_or(0);
        let mut deferred = Deferred { full: SmallVec::new(), wakes: false };
        let mut pass = |kept: Kept<P>, victims: &mut Victims<P>| {
            self.ledger.undefer();
            deferred.wakes = true;
            let priority = kept.event.priority();
            // What follows an event that waits for room waits behind it.
            let held_up = held_up(priority) || deferred.full.iter().any(|before| before.priority() == priority);
            let offered = if held_up {
                self.offer_behind(kept.event, victims)
            } else {
                self.offer(Concurrent, kept.event, priority, victims)
            };
            if let Offer::Full(event) = offered {
                deferred.full.push(event);
            }
        };
        let mut memory = lock(&filter.memory);
        while let Some(kept) = memory.next_due(entered_ns) {
            pass(kept, victims);
        }
        let topic = Arc::clone(event.topic());
        if let Some(before) = memory.of_topic(&topic).1.kept.take() {
            if event.time_ns().saturating_sub(before.event.time_ns()) >= debounce_ns {
                pass(before, victims);
            } else {
                self.ledger.undefer();
                self.ledger.filter(1);
                victims.push(before.event);
            }
        }
        self.ledger.defer();
        memory.keep(&topic, event, entered_ns.saturating_add(debounce_ns));
        let known_ns = filter.due_ns.load(Ordering::Relaxed);
        filter.note_due(&memory);
        deferred.wakes |= filter.due_ns.load(Ordering::Relaxed) < known_ns;
        deferred
    }

    /// Lets pass what is due, as far as there is room: a receiver turns nothing away but what will never have room, and would
    /// have it look for ever.
    fn pass_due(&self, filter: &Filter<P>) {
        if filter.due_ns.load(Ordering::Acquire) == i64::MAX {
            return;
        }
        let now_ns = filter.source.now_ns();
        let mut victims = Victims::new();
        let mut memory = lock(&filter.memory);
        let mut kept_back: SmallVec<[Kept<P>; 4]> = SmallVec::new();
        let mut full = 0_u8;
        while let Some(mut kept) = memory.next_due(now_ns) {
            if self.is_too_large(&kept.event) {
                self.ledger.undefer();
                self.turn_away(kept.event, Reason::TooLarge, &mut victims);
                continue;
            }
            let priority = kept.event.priority();
            if full & 1 << priority == 0 {
                match self.try_push(Concurrent, kept.event, priority) {
                    Ok(()) => {
                        self.ledger.undefer();
                        continue;
                    }
                    Err(event) => kept.event = event,
                }
                full |= 1 << priority;
            }
            // What comes after it of the same priority must not overtake it.
            kept_back.push(kept);
        }
        kept_back.into_iter().for_each(|kept| memory.put_back(kept));
        filter.note_due(&memory);
    }

    /// Takes events for a receiver who has to ask filters first.
    #[cold]
    #[inline(never)]
    pub(super) fn take_filtered(
        &self,
        filter: &Filter<P>,
        access: impl Access,
        receiver: Receiver,
        limit: usize,
    ) -> Vec<Share<P>> {
        loop {
            if !self.is_paused() {
                self.pass_due(filter);
            }
            let taken = self.take_many(access, receiver, limit, || filter.source.now_ns());
            let Some(predicate) = filter.given.predicate.as_ref().filter(|_| !taken.is_empty()) else { return taken };
            let mut events: Vec<_> = taken.into_iter().flat_map(Share::each).collect();
            let before = events.len();
            predicate.retain(&mut events);
            self.ledger.sift(before - events.len());
            if !events.is_empty() {
                return joined(events);
            }
        }
    }

    /// Drops what is kept back, when the subscription is closed.
    pub(super) fn empty_filter(&self, victims: &mut Victims<P>) {
        let Some(filter) = self.filter.as_ref().filter(|filter| filter.debounces()) else { return };
        let mut memory = lock(&filter.memory);
        memory.agenda.clear();
        for of_topic in memory.topics.values_mut() {
            of_topic.entry = None;
            if let Some(kept) = of_topic.kept.take() {
                self.ledger.undefer();
                self.reject(kept.event, self.reason_closed(), victims);
            }
        }
        filter.note_due(&memory);
    }
}

/// Events that follow one another in one batch as one share again.
fn joined<P: Payload>(events: Vec<Share<P>>) -> Vec<Share<P>> {
    let mut joined: Vec<Share<P>> = Vec::with_capacity(events.len());
    for event in events {
        match joined.last_mut() {
            Some(run) if run.is_followed_by(&event) => run.join(event),
            _ => joined.push(event),
        }
    }
    joined
}
