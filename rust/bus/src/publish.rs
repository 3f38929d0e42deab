//! The way of an event from its publisher into the rings.

use crate::books::Reason;
use crate::cell::{Extras, Parts, Payload, Shares};
use crate::error::BusError;
use crate::ring::pause;
use crate::signal::Wake;
use crate::subscription::{Offer, Subscription};
use crate::sync::{full_fence, lock};
use crate::topic::TopicInfo;
use crate::{CellRef, PRIORITY_NORMAL, Victims};
use arc_swap::ArcSwap;
use chronofabric_clock::{HybridLogicalClock, Stamp, TimeSource};
use smallvec::SmallVec;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    pub extras: Option<Box<Extras<P::Headers>>>,
    /// A recorded time, where the event did not happen now.
    pub time_ns: Option<i64>,
}

impl<P: Payload> NewEvent<P> {
    /// An event of normal priority, without deadline and headers, that happens now.
    pub fn new(payload: P) -> Self {
        Self { payload, priority: PRIORITY_NORMAL, extras: None, time_ns: None }
    }
}

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
    /// Receivers that are full and whose policy is to wait.
    pub blocked: SmallVec<[Blocked<P>; 2]>,
    /// Subscriptions whose receivers sleep, or that were closed meanwhile.
    waking: SmallVec<[Arc<Subscription<P>>; 2]>,
    depth: usize,
}

impl<P: Payload> Default for Outcome<P> {
    fn default() -> Self {
        Self { victims: SmallVec::new(), blocked: SmallVec::new(), waking: SmallVec::new(), depth: 0 }
    }
}

impl<P: Payload> Outcome<P> {
    #[inline(always)]
    fn wake(&mut self) {
        while let Some(subscription) = self.waking.pop() {
            subscription.settle(&mut self.victims);
        }
    }
}

/// An event that waits for room in one subscription. Dropping it gives up, counted as cancelled.
#[derive(Debug)]
pub struct Blocked<P: Payload> {
    subscription: Arc<Subscription<P>>,
    cell: Option<CellRef<P>>,
}

impl<P: Payload> Blocked<P> {
    /// The full subscription.
    pub fn subscription(&self) -> &Arc<Subscription<P>> {
        &self.subscription
    }

    /// Tries again; `true` when the event is in the ring, or the subscription was closed and has counted it.
    pub fn retry(&mut self, victims: &mut Victims<P>) -> bool {
        if let Some(cell) = self.cell.take() {
            self.cell = self.subscription.retry(cell, victims).err();
        }
        self.cell.is_none()
    }

    /// Whether so much room was made that going on is worth it; until then a patient publisher does not try again.
    pub fn has_credit(&self) -> bool {
        let closed = self.subscription.is_closed();
        closed || self.cell.as_ref().is_none_or(|cell| self.subscription.has_credit(cell.priority))
    }

    /// Stops waiting, for a reason that is counted.
    pub fn give_up(mut self, reason: Reason, victims: &mut Victims<P>) {
        if let Some(cell) = self.cell.take() {
            self.subscription.reject(cell, reason, victims);
        }
    }

    /// Registers for a wake-up when there is room. [`Blocked::retry`] must follow before the caller sleeps.
    pub fn arm(&self, wake: Arc<dyn Wake>, token: u64) {
        self.subscription.arm_space(wake, token);
    }

    /// Takes the registration back.
    pub fn disarm(&self, wake: &Arc<dyn Wake>, token: u64) {
        self.subscription.space().disarm(wake, token);
    }
}

impl<P: Payload> Drop for Blocked<P> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            let mut victims = Victims::new();
            self.subscription.reject(cell, Reason::Cancelled, &mut victims);
        }
    }
}

/// What all topics of a bus share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) source: TimeSource,
    pub(crate) clock: Arc<HybridLogicalClock>,
    pub(crate) closed: AtomicBool,
}

/// Where the events of a topic go.
pub(crate) struct Route<P: Payload> {
    pub(crate) subscriptions: Vec<Arc<Subscription<P>>>,
    pub(crate) taps: Vec<Arc<dyn Tap<P>>>,
    /// Whether any of the subscriptions is bounded in bytes.
    measured: bool,
}

impl<P: Payload> Route<P> {
    pub(crate) fn new(subscriptions: Vec<Arc<Subscription<P>>>, taps: Vec<Arc<dyn Tap<P>>>) -> Self {
        let measured = subscriptions.iter().any(|subscription| subscription.options().capacity_bytes.is_some());
        Self { subscriptions, taps, measured }
    }

    /// Whether publishing on it runs no foreign code.
    fn is_plain(&self) -> bool {
        !self.measured && self.taps.is_empty()
    }
}

/// A topic of a bus; publishers hold it.
///
/// A publisher that finds nobody else publishing on the topic borrows the route for the time of one publish, which costs
/// one exchange of a flag instead of the two of a protected load, and counts without further ones. Who finds the flag
/// taken does not wait for it, but loads the route in the protected way: publishing stays lock-free. A change of routes
/// does wait for the flag; its holder runs no foreign code and takes no lock that the changer could hold.
pub struct Topic<P: Payload> {
    info: Arc<TopicInfo>,
    core: Arc<Core>,
    route: ArcSwap<Route<P>>,
    last_time_ns: AtomicI64,
    borrowed: AtomicBool,
    lent: UnsafeCell<Lent<P>>,
    published_beside: AtomicU64,
    /// The critical section of a guarded topic.
    section: Mutex<()>,
}

/// What the holder of the flag `borrowed` has for itself.
struct Lent<P: Payload> {
    route: Arc<Route<P>>,
    published: AtomicU64,
}

// SAFETY: what is lent is touched only by the holder of the flag `borrowed`, taken by an acquiring exchange and given back
// by a releasing store; the count of publishes is read by others, and is atomic. All parts are Send and Sync.
unsafe impl<P: Payload> Sync for Topic<P> {}

/// The flag `borrowed` of a topic, held.
struct Borrowed<'a, P: Payload>(&'a Topic<P>);

impl<P: Payload> Borrowed<'_, P> {
    fn lent(&self) -> &Lent<P> {
        // SAFETY: the flag is held, and is given back only when this borrow has ended.
        unsafe { &*self.0.lent.get() }
    }
}

impl<P: Payload> Drop for Borrowed<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.borrowed.store(false, Ordering::Release);
    }
}

impl<P: Payload> std::fmt::Debug for Topic<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Topic").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<P: Payload> Topic<P> {
    pub(crate) fn new(info: Arc<TopicInfo>, core: Arc<Core>, route: Route<P>) -> Self {
        let route = Arc::new(route);
        Self {
            info,
            core,
            route: ArcSwap::new(Arc::clone(&route)),
            last_time_ns: AtomicI64::new(i64::MIN),
            borrowed: AtomicBool::new(false),
            lent: UnsafeCell::new(Lent { route, published: AtomicU64::new(0) }),
            published_beside: AtomicU64::new(0),
            section: Mutex::new(()),
        }
    }

    /// The flag, if nobody holds it.
    #[inline(always)]
    fn borrow(&self) -> Option<Borrowed<'_, P>> {
        // The only exchange of the flag; giving it back is a plain store. Not `then_some`: its argument would exist, and be
        // dropped, where somebody else holds the flag.
        (!self.borrowed.swap(true, Ordering::Acquire)).then(|| Borrowed(self))
    }

    /// Where its events go at this moment.
    pub(crate) fn route(&self) -> Arc<Route<P>> {
        self.route.load_full()
    }

    /// Changes where its events go. Every publish that begins after this takes the new route.
    pub(crate) fn change_route(&self, route: Route<P>) {
        let route = Arc::new(route);
        self.route.store(Arc::clone(&route));
        let mut attempts = 0;
        let borrowed = loop {
            match self.borrow() {
                Some(borrowed) => break borrowed,
                None => pause(&mut attempts),
            }
        };
        // SAFETY: the flag is held, and `borrowed` has lent nothing out.
        let before = std::mem::replace(unsafe { &mut (*self.lent.get()).route }, route);
        drop(borrowed);
        // Only now: dropping subscriptions may take long.
        drop(before);
    }

    /// Its name and node.
    pub fn info(&self) -> &Arc<TopicInfo> {
        &self.info
    }

    /// How many events were published on it.
    pub fn published(&self) -> u64 {
        // SAFETY: only the atomic count is referred to, never the part that the holder of the flag may change.
        let lent = unsafe { &(*self.lent.get()).published };
        lent.load(Ordering::Relaxed) + self.published_beside.load(Ordering::Relaxed)
    }

    /// How many subscriptions its events go to.
    pub fn receivers(&self) -> usize {
        self.route.load().subscriptions.len()
    }

    /// Publishes an event. The caller drops the victims and sees to the blocked ones of `outcome`.
    ///
    /// # Errors
    /// [`BusError::Closed`], [`BusError::GuardLoop`], [`BusError::Clock`]; nobody has received the event then. Boxed, so that
    /// success fits into registers.
    // Always inlined, with what it calls: an event that is passed through memory piece by piece and read back as a whole
    // stalls on store forwarding, which costs more than everything else here but the atomics.
    #[inline(always)]
    pub fn publish(&self, event: NewEvent<P>, outcome: &mut Outcome<P>) -> Result<Stamp, Box<BusError>> {
        let core = &*self.core;
        if core.closed.load(Ordering::Relaxed) {
            return Err(Box::new(BusError::Closed));
        }
        let Some(borrowed) = self.borrow() else { return self.publish_beside(event, outcome) };
        let lent = borrowed.lent();
        if lent.route.is_plain() {
            // Where this fails, the flag is given back before the event is dropped, which may run foreign code.
            let observed = self.observe(event.time_ns)?;
            lent.published.store(lent.published.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            self.enqueue(&lent.route, event, observed, outcome);
            self.settle(&lent.route, outcome);
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
        if route.measured {
            // May run foreign code, and so comes before the critical section of a guarded topic.
            event.payload.measure();
        }
        if route.taps.is_empty() {
            let observed = self.observe(event.time_ns)?;
            self.enqueue(&route, event, observed, outcome);
            self.settle(&route, outcome);
            outcome.wake();
            return Ok(observed.stamp);
        }
        self.publish_guarded(&route, event, outcome)
    }

    /// Time and stamp of an event that enters now.
    #[inline(always)]
    fn observe(&self, recorded_ns: Option<i64>) -> Result<Observed, Box<BusError>> {
        // Unordered: the stamp never steps back by itself, and the line after it holds that of the topic's times.
        let entered_ns = self.core.source.now_unordered_ns();
        let stamp = self.core.clock.now_at(entered_ns).map_err(BusError::clock)?;
        Ok(Observed { stamp, time_ns: self.not_before_last(recorded_ns, entered_ns), entered_ns })
    }

    #[cold]
    #[inline(never)]
    fn publish_guarded(
        &self,
        route: &Route<P>,
        event: NewEvent<P>,
        outcome: &mut Outcome<P>,
    ) -> Result<Stamp, Box<BusError>> {
        if outcome.depth >= DEPTH_MAX {
            return Err(Box::new(BusError::GuardLoop { topic: self.info.name().into() }));
        }
        let core = &*self.core;
        // Reading fields may run foreign code and so comes before the critical section.
        let mut samples: SmallVec<[Option<Values>; 2]> = SmallVec::new();
        for tap in &route.taps {
            let mut values = Values::new();
            samples.push(tap.sample(&event.payload, &mut values).then_some(values));
        }
        let mut firings: SmallVec<[(usize, Firing); 2]> = SmallVec::new();
        let section = lock(&self.section);
        let entered_ns = core.source.now_ns();
        let stamp = core.clock.now_at(entered_ns).map_err(BusError::clock)?;
        let time_ns = self.not_before_last(event.time_ns, entered_ns);
        let observed = Observed { stamp, time_ns, entered_ns };
        for (index, (tap, values)) in route.taps.iter().zip(&samples).enumerate() {
            if let Some(firing) = values.as_ref().and_then(|values| tap.evaluate(&observed, values)) {
                firings.push((index, firing));
            }
        }
        self.enqueue(route, event, observed, outcome);
        drop(section);
        self.settle(route, outcome);
        outcome.wake();
        outcome.depth += 1;
        for (index, firing) in firings {
            route.taps[index].fire(&observed, firing, outcome);
        }
        outcome.depth -= 1;
        Ok(stamp)
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

    #[inline(always)]
    fn enqueue(&self, route: &Route<P>, event: NewEvent<P>, observed: Observed, outcome: &mut Outcome<P>) {
        let NewEvent { payload, priority, extras, time_ns: _ } = event;
        let Observed { stamp, time_ns, entered_ns } = observed;
        let parts = Parts { payload, extras, priority, stamp, time_ns, entered_ns };
        let shares = Shares::new(&self.info, parts, route.subscriptions.len());
        if route.subscriptions.is_empty() {
            // Nobody wants it; it is dropped with the other victims.
            outcome.victims.extend(shares);
            return;
        }
        for (subscription, cell) in route.subscriptions.iter().zip(shares) {
            if let Offer::Full(cell) = subscription.offer(cell, priority, &mut outcome.victims) {
                outcome.blocked.push(Blocked { subscription: Arc::clone(subscription), cell: Some(cell) });
            }
        }
    }

    /// After the rings are filled: one fence for all receivers, then a look at who has to be woken. Waking itself comes after
    /// the route is given back, because it may take long.
    #[inline(always)]
    fn settle(&self, route: &Route<P>, outcome: &mut Outcome<P>) {
        full_fence();
        for subscription in &route.subscriptions {
            if subscription.wants_settling() {
                outcome.waking.push(Arc::clone(subscription));
            }
        }
    }
}
