//! One subscriber's side: a ring for each priority in use, an overflow policy, dead letters, books.
//!
//! `capacity` counts for each priority by itself: a backlog of ordinary events neither displaces an urgent one nor makes its
//! publisher wait. Rings are made when their priority is first used.

use crate::books::{Books, Ledger, Reason};
use crate::cell::{Parts, Payload, Share};
use crate::error::BusError;
use crate::histogram::{Histogram, Percentiles};
use crate::ring::{Access, Concurrent, Exclusive};
use crate::signal::{Signal, Wake};
use crate::sync::{full_fence, lock};
use crate::topic::{Pattern, TopicInfo, Topics};
use crate::{PRIORITIES, Victims};
use chronofabric_clock::TimeSource;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

mod causal;
mod dead;
mod filter;
mod late;
mod options;
#[allow(unsafe_code)]
mod queue;
mod receive;
mod retained;
mod urgent;

use causal::Causal;
pub use causal::CausalCounts;
pub use dead::DeadLetter;
pub(crate) use filter::Filter;
pub use filter::{ContentFilter, Failures, Filters, Judgement, Predicate, RateLimit};
use late::Reading;
pub use options::{CAPACITY_MAX, Late, Order, Overflow, SubscriptionOptions};
use queue::Queue;
use receive::is_timed;
use urgent::Urgent;

/// Waiting publishers go on when all but this part of a ring is free again.
const CREDIT_SHARE: usize = 8;

/// It was closed.
const CLOSED: u8 = 1;
/// It hands nothing out for the time being.
const PAUSED: u8 = 2;
/// Somebody takes part who does not hold the lock that exclusive access stands for.
const SHARED: u8 = 4;
/// It is bounded in bytes.
const MEASURED: u8 = 8;
/// It hands out in causal order.
const CAUSAL: u8 = 16;
/// Its receivers have to ask filters.
const FILTERED: u8 = 32;
/// Its receivers look at deadlines.
const TIMELY: u8 = 64;
/// It hands out by deadline, and has no rings.
const URGENT: u8 = 128;

/// What came of offering an event.
pub(crate) enum Offer<P: Payload> {
    /// It is in the ring, or its fate has been counted.
    Settled,
    /// The ring is full and the policy is to wait.
    Full(Share<P>),
}

/// Who receives, as the embedding tells threads apart.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    /// Tells the thread from every other that receives at the same time; quick to get.
    pub token: u64,
    /// Asked where the token is another than the last: the thread's number, never zero, never that of another thread.
    pub number: fn() -> u64,
}

/// Who waits at this moment, having let go of whatever it held for that: hints for the other side, never more.
#[derive(Debug, Default)]
pub struct Waiting {
    /// How many receivers wait for events.
    pub receivers: AtomicU32,
    /// How many publishers wait for room.
    pub publishers: AtomicU32,
    /// Whether a publisher that waited for the receivers to wait in their turn had to give that up.
    pub impatient: AtomicBool,
    /// How many waits for events in a row were long enough to sleep.
    pub slept: AtomicU32,
    /// How many waits in a row ended soon, with few events.
    pub soon: AtomicU32,
    /// How long each event of the last burst took its publisher, in nanoseconds.
    pub each_ns: AtomicU32,
    /// For how many wake-ups yet it is too costly for a publisher to let go of what it holds.
    pub costly: AtomicU32,
}

/// What every publisher reads, side by side: with a thousand receivers each further cache line of each costs as much as the
/// push itself.
#[derive(Debug)]
#[repr(C, align(64))]
struct Front {
    /// What is out of the ordinary, as bits.
    state: AtomicU8,
    used: AtomicU8,
    items: Signal,
}

/// A subscription, shared between the routes that lead to it and those who receive from it.
#[derive(Debug)]
pub struct Subscription<P: Payload> {
    front: Front,
    // In here and not in boxes, whose addresses would have to be fetched first.
    queues: [OnceLock<Queue<P>>; PRIORITIES],
    space: Signal,
    /// The thread that received last: what it is told by, and its number; zero for none.
    receiver_token: AtomicU64,
    receiver: AtomicU64,
    bytes: AtomicUsize,
    ledger: Ledger,
    dead: Mutex<VecDeque<DeadLetter<P>>>,
    latency: OnceLock<Histogram>,
    close_reason: OnceLock<Reason>,
    waiting: Waiting,
    /// Only where it hands out in causal order.
    causal: Option<Box<Causal<P>>>,
    /// Only where it hands out by deadline.
    urgent: Option<Box<Urgent<P>>>,
    /// Only where it has filters.
    filter: Option<Box<Filter<P>>>,
    options: SubscriptionOptions,
    pattern: Pattern,
    /// Those of its bus, from the time on when routes lead to it. After the queues: what waits there refers to them.
    topics: OnceLock<Arc<Topics>>,
}

impl<P: Payload> Subscription<P> {
    /// A subscription without filters that no route leads to yet.
    ///
    /// # Errors
    /// [`BusError::Option`] for a bound out of range.
    pub fn new(pattern: Pattern, options: SubscriptionOptions) -> Result<Self, BusError> {
        Self::filtered(pattern, options, Filters::default(), TimeSource::System)
    }

    /// A subscription that no route leads to yet; what its filters keep back for a time, they keep by `source`.
    ///
    /// # Errors
    /// [`BusError::Option`] for a bound out of range, and for debouncing in causal order.
    pub fn filtered(
        pattern: Pattern,
        options: SubscriptionOptions,
        filters: Filters<P>,
        source: TimeSource,
    ) -> Result<Self, BusError> {
        let refuse =
            |name, value: usize, allowed| Err(BusError::Option { name, value: value.to_string().into(), allowed });
        if !(1..=CAPACITY_MAX).contains(&options.capacity) {
            return refuse("capacity", options.capacity, "it must lie between 1 and 67108864 events");
        }
        if options.capacity_bytes == Some(0) {
            return refuse("capacity_bytes", 0, "it must be at least 1 byte, or None for no bound");
        }
        if !(1..=CAPACITY_MAX).contains(&options.dead_letters_max) {
            return refuse("dead_letters_max", options.dead_letters_max, "it must lie between 1 and 67108864 events");
        }
        if options.block_timeout_ns < 0 {
            return Err(BusError::Option {
                name: "block_timeout",
                value: format!("{} ns", options.block_timeout_ns).into(),
                allowed: "it must not be negative",
            });
        }
        let filter = Filter::new(filters, source, options.order)?;
        let measured = if options.capacity_bytes.is_some() { MEASURED } else { 0 };
        let asked = if filter.as_ref().is_some_and(|filter| filter.concerns_receivers()) { FILTERED } else { 0 };
        let timely = if options.late == Late::Deliver { 0 } else { TIMELY };
        let causal = if options.order == Order::Causal { Causal::new(options.capacity).map(Box::new) } else { None };
        let urgent = (options.order == Order::Deadline).then(Box::default);
        let order = if causal.is_some() { CAUSAL } else { 0 } | if urgent.is_some() { URGENT } else { 0 };
        Ok(Self {
            queues: std::array::from_fn(|_| OnceLock::new()),
            front: Front {
                state: AtomicU8::new(order | measured | asked | timely),
                // Where there are no rings, so that receivers always look.
                used: AtomicU8::new(urgent.is_some().into()),
                items: Signal::default(),
            },
            space: Signal::default(),
            receiver_token: AtomicU64::new(0),
            receiver: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            ledger: Ledger::default(),
            dead: Mutex::new(VecDeque::new()),
            latency: OnceLock::new(),
            close_reason: OnceLock::new(),
            waiting: Waiting::default(),
            causal,
            urgent,
            filter,
            options,
            pattern,
            topics: OnceLock::new(),
        })
    }

    /// The topics it wants.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// How it buffers.
    pub fn options(&self) -> &SubscriptionOptions {
        &self.options
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.front.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether it hands nothing out for the time being.
    pub fn is_paused(&self) -> bool {
        self.front.state.load(Ordering::Acquire) & PAUSED != 0
    }

    /// Stops or resumes handing out; what arrives meanwhile waits under the overflow policy.
    pub fn set_paused(&self, paused: bool) {
        if paused {
            self.front.state.fetch_or(PAUSED, Ordering::Release);
        } else {
            self.front.state.fetch_and(!PAUSED, Ordering::Release);
        }
        self.front.items.notify();
    }

    /// The thread that received last, zero for none.
    pub fn receiver(&self) -> u64 {
        self.receiver.load(Ordering::Relaxed)
    }

    /// Says which thread is going to receive, before it has.
    pub fn serve_in(&self, thread: u64) {
        self.receiver.store(thread, Ordering::Relaxed);
    }

    /// How many events wait.
    pub fn pending(&self) -> usize {
        let urgent = self.urgent().map_or(0, Urgent::len);
        let apart = self.ledger.held() + self.ledger.deferred();
        self.queues().map(Queue::len).sum::<usize>() + urgent + apart as usize
    }

    /// How many events were ever taken out, whatever became of them.
    pub fn received(&self) -> u64 {
        self.positions().0
    }

    /// Whether a receiver has something to do: an event to take, or the end to notice.
    pub fn is_ready(&self) -> bool {
        let held = || self.causal().is_some_and(Causal::is_ready);
        let urgent = || self.urgent().is_some_and(|urgent| urgent.len() > 0);
        let due = || self.filter.as_ref().is_some_and(|filter| filter.is_due());
        let ready = || self.queues().any(Queue::is_ready) || held() || urgent() || due();
        self.is_closed() || (!self.is_paused() && ready())
    }

    /// Who waits at this moment.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Where receivers wait for [`Subscription::is_ready`].
    pub fn items(&self) -> &Signal {
        &self.front.items
    }

    /// The books, exact while no call is in progress.
    pub fn books(&self) -> Books {
        self.ledger.books(|| self.positions())
    }

    /// How many events were ever taken out, and put in.
    fn positions(&self) -> (u64, u64) {
        let all = self.queues().map(Queue::positions).chain(self.urgent().map(Urgent::positions));
        all.fold((0, 0), |sum, (head, tail)| (sum.0 + head, sum.1 + tail))
    }

    /// How long events waited between entering the node and being received: the first 1 024 of each priority, then every
    /// sixty-fourth.
    pub fn latency(&self) -> Percentiles {
        self.latency.get().map(Histogram::percentiles).unwrap_or_default()
    }

    /// Whether exclusive access is refused it.
    #[inline(always)]
    pub(crate) fn is_shared(&self) -> bool {
        self.front.state.load(Ordering::Relaxed) & SHARED != 0
    }

    /// From now on it is used by those too who do not hold the lock that exclusive access stands for. The caller holds it.
    pub(crate) fn set_shared(&self) {
        if self.is_shared() {
            return;
        }
        self.front.state.fetch_or(SHARED, Ordering::Relaxed);
        self.queues().for_each(Queue::spread);
        // While it spread, there may have seemed to be nothing.
        self.front.items.notify();
    }

    /// Keeps the topics of its bus as long as it lives.
    pub(crate) fn keep(&self, topics: &Arc<Topics>) {
        self.topics.get_or_init(|| Arc::clone(topics));
    }

    fn queues(&self) -> impl Iterator<Item = &Queue<P>> {
        self.queues.iter().rev().filter_map(OnceLock::get)
    }

    #[inline(always)]
    fn queue(&self, priority: u8) -> &Queue<P> {
        let level = usize::from(priority).min(PRIORITIES - 1);
        self.queues[level].get_or_init(|| {
            self.front.used.fetch_or(1 << level, Ordering::Release);
            Queue::new(self.options.capacity, level as u8)
        })
    }

    /// Offers events under the overflow policy, one by one where not all find room. Who must be dropped goes to `victims`, to be
    /// dropped by the caller once it holds nothing. The caller then passes a full fence, unless its access is exclusive, and
    /// calls [`Subscription::settle`].
    #[inline(always)]
    pub(crate) fn offer(
        &self,
        access: impl Access,
        share: Share<P>,
        priority: u8,
        victims: &mut Victims<P>,
    ) -> Offer<P> {
        // The priority is handed in: the cell has just been written, and reading it back would wait for that.
        match self.try_push(access, share, priority) {
            Ok(()) => Offer::Settled,
            Err(rest) => self.overflow(access, rest, victims),
        }
    }

    /// Offers an event in the short way: where nothing is out of the ordinary and there is room.
    ///
    /// # Errors
    /// The event, which is to be offered in the general way.
    #[inline(always)]
    pub(crate) fn offer_plainly(&self, access: impl Access, event: Share<P>, priority: u8) -> Result<(), Share<P>> {
        match self.queues.get(usize::from(priority)).and_then(OnceLock::get) {
            Some(queue) => queue.push(access, event, false),
            None => Err(event),
        }
    }

    /// As [`Subscription::offer_plainly`] for an event with nothing but a payload that nobody else receives.
    ///
    /// # Errors
    /// The event, which is to be offered in the general way.
    #[inline(always)]
    pub(crate) fn offer_alone(
        &self,
        access: impl Access,
        topic: &Arc<TopicInfo>,
        parts: Parts<P>,
    ) -> Result<(), Share<P>> {
        let priority = parts.priority;
        match self.queues.get(usize::from(priority)).and_then(OnceLock::get) {
            Some(queue) => queue.push_plain(access, topic, parts),
            None => Err(Share::new(access, topic, parts)),
        }
    }

    /// Pushes as many of the events as there is room for; the others come back.
    #[inline(always)]
    fn try_push(&self, access: impl Access, share: Share<P>, priority: u8) -> Result<(), Share<P>> {
        if self.front.state.load(Ordering::Relaxed) & (MEASURED | URGENT) != 0 {
            return self.try_push_unusually(access, share, priority);
        }
        self.queue(priority).push(access, share, self.takes_batches_whole(access))
    }

    /// Whether a batch may lie in one place: everybody who takes part holds the lock, and nobody asks for each event by itself.
    #[inline(always)]
    fn takes_batches_whole<A: Access>(&self, _access: A) -> bool {
        A::EXCLUSIVE && self.front.state.load(Ordering::Relaxed) & !(PAUSED | CLOSED) == 0
    }

    /// As [`Subscription::try_push`] where there are no rings, or bytes are counted: then events are not published in batches.
    #[inline(never)]
    fn try_push_unusually(&self, access: impl Access, event: Share<P>, priority: u8) -> Result<(), Share<P>> {
        if let Some(urgent) = self.urgent() {
            return self.push_urgent(urgent, event);
        }
        let queue = self.queue(priority);
        let limit = self.options.capacity_bytes.unwrap_or(usize::MAX);
        let bytes = event.payload().map_or(0, Payload::bytes);
        // Reserved first, so that several publishers together cannot pass the bound.
        if self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > limit {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(event);
        }
        queue.push(access, event, false).inspect_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        })
    }

    /// Offers events that come after others which wait for room, and which they must not overtake.
    #[cold]
    pub(crate) fn offer_behind(&self, share: Share<P>, victims: &mut Victims<P>) -> Offer<P> {
        if !self.is_too_large(&share) {
            return Offer::Full(share);
        }
        // There will never be room for it.
        self.turn_away(share, Reason::TooLarge, victims);
        Offer::Settled
    }

    #[cold]
    fn overflow(&self, access: impl Access, mut rest: Share<P>, victims: &mut Victims<P>) -> Offer<P> {
        if self.is_too_large(&rest) {
            self.turn_away(rest, Reason::TooLarge, victims);
            return Offer::Settled;
        }
        if self.options.overflow == Overflow::DropOldest
            && let Some(urgent) = self.urgent()
        {
            rest.each().for_each(|event| self.displace(urgent, event, victims));
            return Offer::Settled;
        }
        match self.options.overflow {
            Overflow::Block => return Offer::Full(rest),
            Overflow::DropNewest => self.reject(rest, Reason::Overflow, victims),
            Overflow::DeadLetter => rest.each().for_each(|event| self.turn_away(event, Reason::Overflow, victims)),
            Overflow::DropOldest => loop {
                let priority = rest.priority();
                self.make_room(access, priority, victims);
                match self.try_push(access, rest, priority) {
                    Ok(()) => break,
                    Err(back) => rest = back,
                }
            },
        }
        Offer::Settled
    }

    fn is_too_large(&self, event: &Share<P>) -> bool {
        let too_large = |limit: usize| event.payload().is_some_and(|payload| payload.bytes() > limit);
        self.options.capacity_bytes.is_some_and(too_large)
    }

    /// Drops the event that makes room for one of `priority`: the oldest of its own priority; where the bound in bytes is what
    /// is exceeded and its own priority has none, the oldest of the least urgent.
    fn make_room(&self, access: impl Access, priority: u8, victims: &mut Victims<P>) {
        let own = self.queue(priority);
        let holding = self.causal().map(Causal::hold);
        let evicted = if own.len() >= own.capacity() || self.options.capacity_bytes.is_none() {
            own.pop_share(access)
        } else {
            self.queues.iter().filter_map(OnceLock::get).find_map(|queue| queue.pop_share(access))
        };
        if let Some((_, victim)) = evicted {
            self.release_bytes(&victim);
            if let Some(mut holding) = holding {
                holding.lose(&victim);
            }
            self.ledger.evict(Reason::Overflow);
            victims.push(victim);
        }
    }

    pub(crate) fn reject(&self, share: Share<P>, reason: Reason, victims: &mut Victims<P>) {
        self.lose(&share);
        self.ledger.reject(reason, share.len());
        victims.push(share);
    }

    /// Whether [`Subscription::settle`] has something to do.
    #[inline(always)]
    pub(crate) fn wants_settling(&self) -> bool {
        self.front.items.is_armed() || self.front.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// The second half of an offer, after a full fence: wakes who waits, and empties the ring again if the subscription was
    /// closed meanwhile.
    #[inline]
    pub(crate) fn settle(&self, victims: &mut Victims<P>) {
        self.wake_sleepers();
        self.empty_if_closed(victims);
    }

    #[inline]
    pub(crate) fn wake_sleepers(&self) {
        if self.front.items.is_armed() {
            self.front.items.wake_all();
        }
    }

    #[inline]
    pub(crate) fn empty_if_closed(&self, victims: &mut Victims<P>) {
        if self.front.state.load(Ordering::Relaxed) & CLOSED != 0 {
            self.empty(victims);
        }
    }

    /// Tries once more to place events that found the subscription full; those that still find no room come back.
    pub(crate) fn retry<A: Access>(
        &self,
        access: A,
        share: Share<P>,
        victims: &mut Victims<P>,
    ) -> Result<(), Share<P>> {
        if A::EXCLUSIVE && self.is_shared() {
            return self.retry(Concurrent, share, victims);
        }
        if let Some(causal) = self.causal() {
            return self.retry_in_order(causal, share, victims);
        }
        if self.is_closed() {
            self.reject(share, self.reason_closed(), victims);
            return Ok(());
        }
        let (priority, count) = (share.priority(), share.len());
        let pushed = self.try_push(access, share, priority);
        if pushed.as_ref().err().is_none_or(|rest| rest.len() < count) {
            full_fence();
            self.settle(victims);
        }
        pushed
    }

    /// Whether there is room for one event more, as far as their number goes.
    pub(crate) fn has_room(&self, priority: u8) -> bool {
        let len = self.urgent().map_or_else(|| self.queue(priority).len(), Urgent::len);
        self.options.capacity_bytes.is_some() || len < self.options.capacity
    }

    /// Whether enough room was made for a waiting publisher to go on with many events, not only one.
    pub(crate) fn has_credit(&self, priority: u8) -> bool {
        match self.urgent() {
            Some(urgent) => self.has_credit_urgent(urgent),
            None => has_credit(self.queue(priority)),
        }
    }

    /// Where publishers wait for space.
    pub(crate) fn space(&self) -> &Signal {
        &self.space
    }

    #[inline]
    fn release_bytes(&self, event: &Share<P>) {
        if self.options.capacity_bytes.is_some() {
            let bytes = event.payload().map_or(0, Payload::bytes);
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// Credits go back to waiting publishers most of a ring at a time, so that one wake-up serves many events. Without a fence:
    /// who waits for room looks for it every millisecond as well, so a wake-up that crosses with its registration is only
    /// late, and that costs less than a fence an event.
    #[inline(always)]
    fn return_credit(&self, queue: &Queue<P>) {
        if self.space.is_armed() {
            self.return_credit_to_waiting(queue);
        }
    }

    #[cold]
    #[inline(never)]
    fn return_credit_to_waiting(&self, queue: &Queue<P>) {
        if has_credit(queue) {
            self.space.wake_all();
        }
    }

    /// Closes the subscription: what waits is dropped with the reason, who waits is woken. The first close counts.
    pub fn close(&self, reason: Reason, victims: &mut Victims<P>) {
        self.close_reason.get_or_init(|| reason);
        self.front.state.fetch_or(CLOSED, Ordering::SeqCst);
        full_fence();
        self.empty(victims);
        self.front.items.wake_all();
        self.space.wake_all();
    }

    fn reason_closed(&self) -> Reason {
        self.close_reason.get().copied().unwrap_or(Reason::Closed)
    }

    fn empty(&self, victims: &mut Victims<P>) {
        let mut holding = self.causal().map(Causal::hold);
        for queue in self.queues() {
            while let Some(event) = queue.pop_settled(Concurrent) {
                self.release_bytes(&event);
                self.ledger.evict(self.reason_closed());
                victims.push(event);
            }
        }
        if let Some(holding) = &mut holding {
            self.empty_back(holding, victims);
        }
        if let Some(urgent) = self.urgent() {
            self.empty_urgent(urgent, victims);
        }
        self.empty_filter(victims);
    }

    /// Looks at the events that this subscription alone refers to, for a collector of cycles: dead letters, and those that wait
    /// in its rings; those of one batch are looked at once. What a cell holds is counted once, however many receivers share the
    /// cell, so an event that others have too is left out.
    ///
    /// As long as the caller has exclusive access, another look finds what the first one found, and perhaps what others have
    /// given up meanwhile. Who uses the subscription without the lock could take a waiting event out while it is looked at:
    /// once there is such a party, only dead letters are looked at, whose own lock is held for moments and never while foreign
    /// code runs. What causal order holds back, and what debouncing keeps back, is left out.
    pub fn look_at_own(&self, _access: Exclusive, mut look: impl FnMut(&P, Option<&P::Headers>)) {
        let mut last = 0;
        let mut found = 0;
        let mut look_at = |item: Result<&P, &Share<P>>| {
            let share = match item {
                Ok(payload) => return look(payload, None),
                Err(share) => share,
            };
            let (cell, references) = share.references();
            found = if cell == last { found + share.len() } else { share.len() };
            last = cell;
            if found == references
                && let Some(payload) = share.payload()
            {
                look(payload, share.headers());
            }
        };
        lock(&self.dead).iter().for_each(|letter| look_at(Err(&letter.event)));
        if !self.is_shared() {
            self.queues().for_each(|queue| queue.look_at_all(&mut look_at));
            self.urgent().iter().for_each(|urgent| urgent.look_at_all(|share| look_at(Err(share))));
        }
    }

    /// Registers a publisher's wish for space.
    pub(crate) fn arm_space(&self, wake: Arc<dyn Wake>, token: u64) {
        self.space.arm(wake, token);
    }
}

/// Whether most of a ring is free.
fn has_credit<P: Payload>(queue: &Queue<P>) -> bool {
    queue.len() <= queue.capacity() / CREDIT_SHARE
}
