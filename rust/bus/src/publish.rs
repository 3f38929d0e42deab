//! The way of an event from its publisher into the rings.

use crate::cell::{Contents, Extras, Parts, Payload, Share, Shares};
use crate::error::BusError;
use crate::retained::{Retained, Retention};
use crate::ring::{Access, Concurrent};
use crate::snapshot::Snapshot;
use crate::subscription::{Offer, Subscription};
use crate::sync::full_fence;
use crate::topic::{TopicInfo, Topics};
use crate::{PRIORITY_NORMAL, Victims};
use chronofabric_clock::{HybridLogicalClock, Stamp, TimeSource};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

mod apart;
mod blocked;
mod filtered;
mod route;
mod section;
#[cfg(test)]
mod tests;

pub use blocked::Blocked;
use filtered::Judgements;
use route::Arrangement;
pub(crate) use route::{Habits, Route};

/// How deep guards may publish onto guarded topics before it is taken for a loop.
pub const DEPTH_MAX: usize = 16;

/// An event as its publisher gives it.
#[derive(Debug)]
pub struct NewEvent<P: Payload> {
    /// The payload.
    pub payload: P,
    /// 0 to 3, 3 the most urgent.
    pub priority: u8,
    /// Deadline and headers.
    pub extras: Option<Box<Extras<P>>>,
    /// A recorded time, where the event did not happen now.
    pub time_ns: Option<i64>,
    /// Whether its topic keeps it for subscribers to come, if `Bus::retain` has told the topic so.
    pub retain: bool,
}

impl<P: Payload> NewEvent<P> {
    /// An event of normal priority, without deadline and headers, that happens now.
    pub fn new(payload: P) -> Self {
        Self { payload, priority: PRIORITY_NORMAL, extras: None, time_ns: None, retain: false }
    }
}

impl<P: Payload> NewEvent<P> {
    /// What its cell is filled with. `deadline_ns` is that of its topic, for an event without one of its own.
    #[inline(always)]
    fn parts(mut self, observed: Observed, batch: bool, deadline_ns: Option<i64>) -> Parts<P> {
        if let Some(deadline_ns) = deadline_ns {
            self.give_deadline(observed.entered_ns.saturating_add(deadline_ns));
        }
        let Self { payload, priority, extras, time_ns, retain: _ } = self;
        let Observed { stamp, time_ns: time, .. } = observed;
        Parts { payload, extras, priority, recorded: time_ns.is_some(), batch, retained: false, stamp, time_ns: time }
    }

    #[cold]
    #[inline(never)]
    fn give_deadline(&mut self, instant_ns: i64) {
        self.extras.get_or_insert_with(Extras::empty).deadline_ns.get_or_insert(instant_ns);
    }

    /// One event of it, where it is a batch.
    fn part(&self, place: usize) -> Self {
        let extras = self.extras.as_ref().map(|extras| extras.share());
        Self { payload: self.payload.part(place), extras, ..*self }
    }
}

/// The most events that one batch holds.
pub const BATCH_MAX: usize = 16_384;

/// The fields of one event that one tap reads; a count that differs from what the tap wants means that some were missing.
pub type Values = SmallVec<[f64; 8]>;

/// What watches a topic and evaluates each of its events before it is enqueued.
pub trait Tap<P: Payload>: Send + Sync {
    /// Reads what it needs from the payload; called outside of the critical section, so it may run foreign code. Says
    /// whether the event can be evaluated.
    fn sample(&self, payload: &P, values: &mut Values) -> bool;

    /// Evaluates the sample; called inside the topic's critical section, so it must be short, and must neither block nor
    /// run foreign code. `Some` where there is something to do once the section is left.
    fn evaluate(&self, event: &Observed, values: &[f64]) -> Option<Firing>;

    /// Does it; called in the publishing thread after the section is left. What it publishes goes through `outcome`.
    fn fire(&self, event: &Observed, firing: Firing, outcome: &mut Outcome<P>);
}

/// What a tap learns of an event beside its payload.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// The event's stamp.
    pub stamp: Stamp,
    /// The event's time.
    pub time_ns: i64,
    /// When it entered the node.
    pub entered_ns: i64,
}

/// A verdict that something is to be done about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firing {
    /// How far the formula is from changing its verdict.
    pub robustness: f64,
    /// Whether the guard fires, rather than only reports its robustness.
    pub fires: bool,
}

/// What a publish leaves to its caller, and the scratch space that it works in.
#[derive(Debug)]
pub struct Outcome<P: Payload> {
    /// Events to drop, once the caller holds nothing.
    pub victims: Victims<P>,
    /// Events for receivers that are full and whose policy is to wait, in the order in which they were published.
    pub blocked: SmallVec<[Blocked<P>; 2]>,
    /// A receiver that waits while a burst of events has gathered for it: the caller may let it have its turn.
    pub gathered: Option<Arc<Subscription<P>>>,
    /// What the filters of all subscriptions turned away, to be dropped as the victims are.
    pub unwanted: SmallVec<[Contents<P>; 1]>,
    /// Subscriptions whose receivers sleep, or that were closed meanwhile.
    waking: SmallVec<[Arc<Subscription<P>>; 2]>,
    depth: usize,
}

impl<P: Payload> Default for Outcome<P> {
    fn default() -> Self {
        Self {
            victims: SmallVec::new(),
            blocked: SmallVec::new(),
            gathered: None,
            unwanted: SmallVec::new(),
            waking: SmallVec::new(),
            depth: 0,
        }
    }
}

impl<P: Payload> Outcome<P> {
    /// Whether nothing is left to the caller, and nothing has to be freed either.
    #[inline(always)]
    pub fn is_settled(&self) -> bool {
        self.victims.is_empty()
            && self.blocked.is_empty()
            && self.gathered.is_none()
            && self.unwanted.is_empty()
            && self.waking.is_empty()
            && !self.waking.spilled()
    }

    /// The receivers to wake by [`Outcome::wake`], if there are any.
    #[inline(always)]
    pub fn waking(&self) -> &[Arc<Subscription<P>>] {
        &self.waking
    }

    /// Whether an event for a subscription waits for room already, one that comes after it must not overtake.
    #[inline(always)]
    fn holds_up(&self, subscription: &Arc<Subscription<P>>, priority: u8) -> bool {
        !self.blocked.is_empty() && self.blocked.iter().rev().any(|before| before.is_for(subscription, priority))
    }

    /// Wakes the receivers that sleep, and empties those that were closed meanwhile. Left to who publishes with exclusive
    /// access; otherwise done already.
    #[inline(always)]
    pub fn wake(&mut self) {
        self.wake_sleepers();
        self.empty_closed();
    }

    /// The first half of [`Outcome::wake`]. It touches no event, so who has exclusive access may let go of the lock for it:
    /// who is woken then finds it free.
    #[inline(always)]
    pub fn wake_sleepers(&self) {
        self.waking.iter().for_each(|subscription| subscription.wake_sleepers());
    }

    /// The second half of [`Outcome::wake`], with the access that was published with.
    #[inline(always)]
    pub fn empty_closed(&mut self) {
        while let Some(subscription) = self.waking.pop() {
            subscription.empty_if_closed(&mut self.victims);
        }
    }
}

/// A publish that left something to see to. Boxed wherever it may be absent: making room for it, or copying it, would cost more
/// than a publish that leaves nothing.
#[derive(Debug)]
pub struct Unfinished<P: Payload> {
    /// Why nobody has received the event, where that is so.
    pub published: Result<(), Box<BusError>>,
    /// What the caller sees to.
    pub outcome: Outcome<P>,
}

impl<P: Payload> Unfinished<P> {
    #[cold]
    fn outcome(place: &mut Option<Box<Self>>) -> &mut Outcome<P> {
        let new = || Box::new(Self { published: Ok(()), outcome: Outcome::default() });
        &mut place.get_or_insert_with(new).outcome
    }

    #[cold]
    #[inline(never)]
    fn unless_settled(self: Box<Self>) -> Option<Box<Self>> {
        (self.published.is_err() || !self.outcome.is_settled()).then_some(self)
    }

    #[cold]
    fn failed(error: Box<BusError>) -> Option<Box<Self>> {
        Some(Box::new(Self { published: Err(error), outcome: Outcome::default() }))
    }
}

#[cold]
#[inline(never)]
fn offer_unusually<P: Payload>(
    access: impl Access,
    subscription: &Arc<Subscription<P>>,
    share: Share<P>,
    priority: u8,
    unfinished: &mut Option<Box<Unfinished<P>>>,
) {
    let outcome = Unfinished::outcome(unfinished);
    if let Offer::Full(rest) = subscription.offer(access, share, priority, &mut outcome.victims) {
        outcome.blocked.push(Blocked { subscription: Arc::clone(subscription), rest: Some(rest), priority });
    }
}

/// What all topics of a bus share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) source: TimeSource,
    pub(crate) clock: Arc<HybridLogicalClock>,
    pub(crate) closed: AtomicBool,
    pub(crate) retention: Retention,
    pub(crate) topics: Arc<Topics>,
}

/// A topic of a bus; publishers hold it.
///
/// A publisher whose access is exclusive uses the route as it lies there. Among others, one that finds nobody else publishing
/// on the topic borrows the route for the time of one publish, and counts without locked instructions.
pub struct Topic<P: Payload> {
    info: Arc<TopicInfo>,
    core: Arc<Core>,
    route: Snapshot<Route<P>>,
    last_time_ns: AtomicI64,
    /// How many events were published by those who had the route for themselves.
    published: AtomicU64,
    published_beside: AtomicU64,
    /// Whether it is published on by those who do not hold the lock that exclusive access stands for.
    shared: AtomicBool,
    /// Whether it keeps events; changed only while routes are arranged.
    retaining: AtomicBool,
    /// How long after its publish an event is to be acted on that does not say so itself, or [`NO_DEADLINE`]; changed only
    /// while routes are arranged, which is what publishers look at.
    deadline_ns: AtomicI64,
    /// The critical section of a topic that is guarded or keeps events, and what it keeps.
    pub(crate) section: Mutex<Retained<P>>,
}

/// After how many events of a topic its publisher looks whether somebody waits for its turn to receive them. Their cells
/// are then still in the caches.
pub const BURST: u64 = 16_384;

/// No topic has a deadline that lies before the publish.
const NO_DEADLINE: i64 = i64::MIN;

impl<P: Payload> std::fmt::Debug for Topic<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Topic").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<P: Payload> Topic<P> {
    pub(crate) fn new(info: Arc<TopicInfo>, core: Arc<Core>, route: Route<P>) -> Self {
        Self {
            info,
            core,
            retaining: AtomicBool::new(route.retaining),
            deadline_ns: AtomicI64::new(route.deadline_ns.unwrap_or(NO_DEADLINE)),
            route: Snapshot::new(route),
            last_time_ns: AtomicI64::new(i64::MIN),
            published: AtomicU64::new(0),
            published_beside: AtomicU64::new(0),
            shared: AtomicBool::new(false),
            section: Mutex::default(),
        }
    }

    /// Counts publishes; only for who has the route for itself. Says whether a burst is full.
    #[inline(always)]
    fn count(&self, events: usize) -> bool {
        let before = self.published.load(Ordering::Relaxed);
        let after = before + events as u64;
        self.published.store(after, Ordering::Relaxed);
        before / BURST != after / BURST
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    pub(crate) fn set_shared(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_retaining(&self) -> bool {
        self.retaining.load(Ordering::Relaxed)
    }

    pub(crate) fn set_retaining(&self, retaining: bool) {
        self.retaining.store(retaining, Ordering::Relaxed);
    }

    pub(crate) fn set_deadline(&self, deadline_ns: Option<i64>) {
        self.deadline_ns.store(deadline_ns.unwrap_or(NO_DEADLINE), Ordering::Relaxed);
    }

    fn habits(&self) -> Habits {
        let deadline_ns = self.deadline_ns.load(Ordering::Relaxed);
        Habits {
            shared: self.is_shared(),
            retaining: self.is_retaining(),
            deadline_ns: (deadline_ns != NO_DEADLINE).then_some(deadline_ns),
        }
    }

    /// Changes where its events go, which taps see them. Every publish that begins after this takes the new route.
    pub(crate) fn rearrange(&self, change: impl FnOnce(&Route<P>) -> Arrangement<P>) {
        let (subscriptions, taps) = change(&self.route.load());
        self.route.replace(Route::new(subscriptions, taps, self.habits()));
    }

    /// The subscriptions that its events go to at this moment.
    pub(crate) fn subscriptions(&self) -> Vec<Arc<Subscription<P>>> {
        self.route.load().subscriptions.clone()
    }

    /// Makes its route anew, after something that the route remembers of its subscriptions has changed.
    pub(crate) fn rearrange_as_it_is(&self) {
        self.rearrange(|route| (route.subscriptions.clone(), route.taps.clone()));
    }

    /// Its name and node.
    pub fn info(&self) -> &Arc<TopicInfo> {
        &self.info
    }

    /// How many events were published on it.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed) + self.published_beside.load(Ordering::Relaxed)
    }

    /// How many subscriptions its events go to.
    pub fn receivers(&self) -> usize {
        self.route.load().subscriptions.len()
    }

    /// What the subscriptions are called that its events go to.
    pub fn subscription_names(&self) -> Vec<String> {
        self.route.load().subscriptions.iter().map(|each| each.options().name.to_string()).collect()
    }

    /// Whether there are subscriptions that its events go to, and the thread of this number is the one that received last
    /// from each of them.
    pub fn is_received_only_by(&self, thread: u64) -> bool {
        let route = self.route.load();
        !route.subscriptions.is_empty() && route.subscriptions.iter().all(|each| each.receiver() == thread)
    }

    /// Publishes an event. The caller drops the victims and sees to the blocked ones of `outcome`; with exclusive access it
    /// also calls [`Outcome::wake`].
    ///
    /// # Errors
    /// [`BusError::Closed`], [`BusError::GuardLoop`], [`BusError::Clock`]; nobody has received the event then. Boxed, so that
    /// success fits into registers.
    pub fn publish<A: Access>(
        &self,
        access: A,
        event: NewEvent<P>,
        outcome: &mut Outcome<P>,
    ) -> Result<Stamp, Box<BusError>> {
        self.refuse_closed()?;
        if let Some(route) = self.route_exclusively::<A>() {
            let observed = self.observe(access, event.time_ns, 1)?;
            self.count(1);
            self.enqueue(access, route, event.parts(observed, false, route.deadline_ns), 1, outcome);
            return Ok(observed.stamp);
        }
        self.publish_shared(event, outcome)
    }

    /// As [`Topic::publish`] for an event that has nothing but a payload and a priority. Where everything went the usual way,
    /// there is nothing to see to.
    // Always inlined, with what it calls: an event that is passed through memory piece by piece and read back as a whole
    // stalls on store forwarding, which costs more than everything else here.
    #[inline(always)]
    pub fn publish_payload<A: Access>(&self, access: A, payload: P, priority: u8) -> Option<Box<Unfinished<P>>> {
        let Some(route) = self.route_under_lock::<A>().filter(|route| route.exclusive_and_bare) else {
            return self.publish_unusually(access, payload, priority);
        };
        if self.is_closed() {
            return self.publish_unusually(access, payload, priority);
        }
        let Observed { stamp, time_ns, .. } = match self.observe(access, None, 1) {
            Ok(observed) => observed,
            Err(error) => return Unfinished::failed(error),
        };
        let (recorded, batch, retained) = (false, false, false);
        let parts = Parts { payload, extras: None, priority, recorded, batch, retained, stamp, time_ns };
        let burst = self.count(1);
        let mut unfinished = None;
        // One subscription goes straight through: what is kept for several would be kept in memory.
        if let [subscription] = &*route.subscriptions {
            if let Err(share) = subscription.offer_alone(access, &self.info, parts) {
                offer_unusually(access, subscription, share, priority, &mut unfinished);
            }
            if burst || subscription.wants_settling() {
                route.settle_unusually(burst, &mut unfinished);
            }
        } else {
            self.push_to_several(access, route, parts, &mut unfinished);
            route.settle_unusually(burst, &mut unfinished);
        }
        unfinished.and_then(Unfinished::unless_settled)
    }

    #[inline(never)]
    fn push_to_several(
        &self,
        access: impl Access,
        route: &Route<P>,
        parts: Parts<P>,
        unfinished: &mut Option<Box<Unfinished<P>>>,
    ) {
        let priority = parts.priority;
        let mut shares = Shares::new(access, &self.info, parts, 1, route.subscriptions.len());
        for (subscription, share) in route.subscriptions.iter().zip(&mut shares) {
            if let Err(share) = subscription.offer_plainly(access, share, priority) {
                offer_unusually(access, subscription, share, priority, unfinished);
            }
        }
        if route.subscriptions.is_empty() {
            // Nobody wants it; it is dropped with the other victims.
            Unfinished::outcome(unfinished).victims.extend(shares);
        }
    }

    #[cold]
    #[inline(never)]
    fn publish_unusually(&self, access: impl Access, payload: P, priority: u8) -> Option<Box<Unfinished<P>>> {
        let payload = match self.publish_at_a_glance(access, payload, priority) {
            Ok(unfinished) => return unfinished,
            Err(payload) => payload,
        };
        let mut outcome = Outcome::default();
        let event = NewEvent { priority, ..NewEvent::new(payload) };
        let published = self.publish(access, event, &mut outcome).map(drop);
        Box::new(Unfinished { published, outcome }).unless_settled()
    }

    /// Publishes the events of a batch in one step: a payload that has as many parts. Their stamps follow one another; all else
    /// they have in common. Where guards watch the topic, or it has so many receivers that one cell cannot count them all, each
    /// event is published by itself.
    ///
    /// # Errors
    /// Those of [`Topic::publish`], and [`BusError::Option`] for a count out of range. Where guards watch the topic, the events
    /// before the one that is refused have been published.
    pub fn publish_batch<A: Access>(
        &self,
        access: A,
        batch: NewEvent<P>,
        count: usize,
        outcome: &mut Outcome<P>,
    ) -> Result<(), Box<BusError>> {
        self.refuse_closed()?;
        if !(1..=BATCH_MAX).contains(&count) {
            let allowed = "it must hold 1 to 16384 events";
            return Err(Box::new(BusError::Option { name: "batch", value: count.to_string().into(), allowed }));
        }
        if let Some(route) = self.route_exclusively::<A>().filter(|route| route.counts(count)) {
            let observed = self.observe(access, batch.time_ns, count)?;
            self.enqueue(access, route, batch.parts(observed, true, route.deadline_ns), count as u32, outcome);
            if self.count(count) {
                outcome.gathered = route.gathered();
            }
            return Ok(());
        }
        let route = self.route.load();
        if !route.is_plain() || !route.counts(count) {
            if route.is_plain_but_for_filters() && route.counts(count) {
                return self.publish_filtered_batch(&route, batch, count, outcome);
            }
            drop(route);
            return (0..count).try_for_each(|place| self.publish_shared(batch.part(place), outcome).map(drop));
        }
        let observed = self.observe(Concurrent, batch.time_ns, count)?;
        self.published_beside.fetch_add(count as u64, Ordering::Relaxed);
        self.enqueue(Concurrent, &route, batch.parts(observed, true, route.deadline_ns), count as u32, outcome);
        drop(route);
        outcome.wake();
        Ok(())
    }

    #[inline(always)]
    fn refuse_closed(&self) -> Result<(), Box<BusError>> {
        if self.is_closed() { Err(Box::new(BusError::Closed)) } else { Ok(()) }
    }

    #[inline(always)]
    fn is_closed(&self) -> bool {
        self.core.closed.load(Ordering::Relaxed)
    }

    /// The route, where the access is exclusive and all who take part hold the lock: nobody changes it before the caller lets
    /// go of the lock.
    #[inline(always)]
    fn route_exclusively<A: Access>(&self) -> Option<&Route<P>> {
        self.route_under_lock::<A>().filter(|route| route.exclusive)
    }

    /// The route, where the access is exclusive; whether all who take part hold the lock is for the caller to look at.
    #[inline(always)]
    fn route_under_lock<A: Access>(&self) -> Option<&Route<P>> {
        if !A::EXCLUSIVE {
            return None;
        }
        // SAFETY: exclusive access stands for the lock that who changes routes holds too.
        Some(unsafe { self.route.under_lock() })
    }

    /// Publishes where others publish at the same time, guards watch, or the topic keeps events.
    fn publish_shared(&self, event: NewEvent<P>, outcome: &mut Outcome<P>) -> Result<Stamp, Box<BusError>> {
        let Some(borrowed) = self.route.borrow() else { return self.publish_beside(event, outcome) };
        let route = borrowed.get();
        if route.is_plain() {
            // Where this fails, the flag is given back before the event is dropped, which may run foreign code.
            let observed = self.observe(Concurrent, event.time_ns, 1)?;
            self.count(1);
            self.enqueue(Concurrent, route, event.parts(observed, false, route.deadline_ns), 1, outcome);
            drop(borrowed);
            outcome.wake();
            return Ok(observed.stamp);
        }
        drop(borrowed);
        self.publish_beside(event, outcome)
    }

    /// Publishes without the flag: somebody else holds it, or foreign code has to run first.
    #[cold]
    #[inline(never)]
    fn publish_beside(&self, mut event: NewEvent<P>, outcome: &mut Outcome<P>) -> Result<Stamp, Box<BusError>> {
        let route = self.route.load();
        self.published_beside.fetch_add(1, Ordering::Relaxed);
        // Both may run foreign code, and so come before the critical section.
        if route.measured || route.retaining {
            event.payload.measure();
        }
        let judgements = route.judge(&event.payload);
        if route.taps.is_empty() && !route.retaining {
            let observed = self.observe(Concurrent, event.time_ns, 1)?;
            let parts = event.parts(observed, false, route.deadline_ns);
            self.push_beside(&route, judgements, parts, observed.entered_ns, outcome);
            outcome.wake();
            return Ok(observed.stamp);
        }
        self.publish_in_section(&route, judgements, event, outcome)
    }

    /// Time and stamp of an event that enters now; of several, the first stamp.
    #[inline(always)]
    fn observe<A: Access>(
        &self,
        _access: A,
        recorded_ns: Option<i64>,
        count: usize,
    ) -> Result<Observed, Box<BusError>> {
        // Unordered: the stamp never steps back by itself, and the line after it holds that of the topic's times.
        let entered_ns = self.core.source.now_unordered_ns();
        let clock = &self.core.clock;
        let stamp = if A::EXCLUSIVE {
            // SAFETY: the access says that the caller holds the lock, and who stamps without it has said so to the clock
            // (`Bus::share`).
            unsafe { clock.now_exclusively_at(entered_ns, count) }
        } else {
            clock.now_many_at(entered_ns, count).map(|mut stamps| stamps.next().unwrap_or_default())
        };
        let stamp = stamp.map_err(BusError::clock)?;
        Ok(Observed { stamp, time_ns: self.not_before_last(recorded_ns, entered_ns), entered_ns })
    }

    /// The time of an event never lies before that of an earlier one of its topic.
    ///
    /// Two publishes that overlap have no order before they are in a ring. What follows both has read a later time itself,
    /// unless times are recorded or the system's clock was set back: only then is the greatest one kept by exchange.
    #[inline]
    fn not_before_last(&self, recorded_ns: Option<i64>, entered_ns: i64) -> i64 {
        let mut last = self.last_time_ns.load(Ordering::Relaxed);
        let time_ns = recorded_ns.unwrap_or(entered_ns);
        if recorded_ns.is_none() && !matches!(self.core.source, TimeSource::System) {
            if last < time_ns {
                self.last_time_ns.store(time_ns, Ordering::Relaxed);
            }
            return last.max(time_ns);
        }
        while last < time_ns {
            match self.last_time_ns.compare_exchange_weak(last, time_ns, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return time_ns,
                Err(now) => last = now,
            }
        }
        last
    }

    fn push_beside(
        &self,
        route: &Route<P>,
        judgements: Judgements<P>,
        parts: Parts<P>,
        entered_ns: i64,
        outcome: &mut Outcome<P>,
    ) {
        if route.causal || route.filtered {
            return self.push_wanted(route, judgements, parts, entered_ns, outcome);
        }
        self.enqueue(Concurrent, route, parts, 1, outcome);
    }

    #[inline(always)]
    fn enqueue(&self, access: impl Access, route: &Route<P>, parts: Parts<P>, count: u32, outcome: &mut Outcome<P>) {
        self.push(access, route, parts, count, outcome);
        self.settle(access, route, outcome);
    }

    #[inline(always)]
    fn push(&self, access: impl Access, route: &Route<P>, parts: Parts<P>, count: u32, outcome: &mut Outcome<P>) {
        let priority = parts.priority;
        let shares = Shares::new(access, &self.info, parts, count, route.subscriptions.len());
        if route.subscriptions.is_empty() {
            // Nobody wants it; it is dropped with the other victims.
            outcome.victims.extend(shares);
            return;
        }
        for (subscription, share) in route.subscriptions.iter().zip(shares) {
            let offered = if outcome.holds_up(subscription, priority) {
                subscription.offer_behind(share, &mut outcome.victims)
            } else {
                subscription.offer(access, share, priority, &mut outcome.victims)
            };
            if let Offer::Full(rest) = offered {
                let subscription = Arc::clone(subscription);
                outcome.blocked.push(Blocked { subscription, rest: Some(rest), priority });
            }
        }
    }

    /// After the rings are filled: one fence for all receivers, then a look at who has to be woken. Who holds the lock that
    /// receivers hold too when they register needs none. Waking itself comes after the route is given back, because it may
    /// take long.
    #[inline(always)]
    fn settle<A: Access>(&self, _access: A, route: &Route<P>, outcome: &mut Outcome<P>) {
        if !A::EXCLUSIVE {
            full_fence();
        }
        for subscription in &route.subscriptions {
            if subscription.wants_settling() {
                outcome.waking.push(Arc::clone(subscription));
            }
        }
    }
}
