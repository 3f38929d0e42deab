//! Where the events of a topic go, and what that asks of who publishes.

use super::{Tap, Unfinished};
use crate::cell::{Payload, REFERENCES_MAX};
use crate::subscription::{Filter, Subscription};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The subscriptions and taps of a route.
pub(super) type Arrangement<P> = (Vec<Arc<Subscription<P>>>, Vec<Arc<dyn Tap<P>>>);

/// What holds for all events of a topic, wherever they go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// Whether the topic itself is used by those who do not hold the lock.
    pub(crate) shared: bool,
    /// Whether the topic keeps events for subscribers to come.
    pub(crate) retaining: bool,
    /// How long after its publish an event is to be acted on that does not say so itself.
    pub(crate) deadline_ns: Option<i64>,
}

/// Where the events of a topic go.
pub(crate) struct Route<P: Payload> {
    pub(crate) subscriptions: Vec<Arc<Subscription<P>>>,
    pub(crate) taps: Vec<Arc<dyn Tap<P>>>,
    /// Whether any of the subscriptions is bounded in bytes.
    pub(super) measured: bool,
    /// Whether any of the subscriptions wants causal order.
    pub(super) causal: bool,
    /// Whether any of the subscriptions has filters that the publisher asks.
    pub(super) filtered: bool,
    /// Whether the topic keeps events for subscribers to come.
    pub(super) retaining: bool,
    /// How long after its publish an event is to be acted on that does not say so itself.
    pub(super) deadline_ns: Option<i64>,
    /// Whether publishing on it runs no foreign code, and all who take part hold the lock that exclusive access stands for.
    pub(super) exclusive: bool,
    /// The same, and a payload needs nothing beside it.
    pub(super) exclusive_and_bare: bool,
    /// The same, as long as filters see at a glance what an event carries, of which they remember nothing.
    pub(super) exclusive_at_a_glance: bool,
}

impl<P: Payload> Route<P> {
    pub(crate) fn new(subscriptions: Vec<Arc<Subscription<P>>>, taps: Vec<Arc<dyn Tap<P>>>, habits: Habits) -> Self {
        let Habits { shared, retaining, deadline_ns } = habits;
        let measured = subscriptions.iter().any(|subscription| subscription.options().capacity_bytes.is_some());
        let shared = shared || subscriptions.iter().any(|subscription| subscription.is_shared());
        let causal = subscriptions.iter().any(|subscription| subscription.causal().is_some());
        let mut filters = subscriptions.iter().filter_map(|subscription| subscription.publishing_filter()).peekable();
        let filtered = filters.peek().is_some();
        let forgetful = filters.all(Filter::is_forgetful);
        let alone = !shared && !measured && !causal && !retaining && taps.is_empty();
        let (exclusive, bare) = (alone && !filtered, deadline_ns.is_none());
        Self {
            subscriptions,
            taps,
            measured,
            causal,
            filtered,
            retaining,
            deadline_ns,
            exclusive,
            exclusive_and_bare: exclusive && bare,
            exclusive_at_a_glance: alone && filtered && forgetful && bare,
        }
    }

    /// A receiver that waits for its turn, unless it was too slow to be waited for.
    #[cold]
    pub(super) fn gathered(&self) -> Option<Arc<Subscription<P>>> {
        let waits = |subscription: &&Arc<Subscription<P>>| {
            let waiting = subscription.waiting();
            let waits = waiting.receivers.load(Ordering::Relaxed) > 0 && subscription.is_ready();
            waits && !waiting.impatient.load(Ordering::Relaxed)
        };
        self.subscriptions.iter().find(waits).cloned()
    }

    /// After the rings are filled: notes who has to be woken, and who waits for its turn.
    #[inline(never)]
    pub(super) fn settle_unusually(&self, burst: bool, unfinished: &mut Option<Box<Unfinished<P>>>) {
        let mut unsettled = self.subscriptions.iter().filter(|subscription| subscription.wants_settling()).peekable();
        if unsettled.peek().is_some() {
            Unfinished::outcome(unfinished).waking.extend(unsettled.cloned());
        }
        if burst && let Some(receiver) = self.gathered() {
            Unfinished::outcome(unfinished).gathered = Some(receiver);
        }
    }

    /// Whether publishing on it runs no foreign code, and takes no lock.
    pub(super) fn is_plain(&self) -> bool {
        !self.filtered && self.is_plain_but_for_filters()
    }

    /// Whether filters are all that publishing on it has to look at.
    pub(super) fn is_plain_but_for_filters(&self) -> bool {
        !self.measured && !self.causal && !self.retaining && self.taps.is_empty()
    }

    /// Whether one cell can count a reference to each of so many events for each receiver.
    pub(super) fn counts(&self, events: usize) -> bool {
        self.subscriptions.len().saturating_mul(events) <= REFERENCES_MAX
    }

    /// Whether its events go to the same subscriptions as those of another route.
    pub(super) fn leads_where(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(one, other);
        self.subscriptions.len() == other.subscriptions.len()
            && self.subscriptions.iter().zip(&other.subscriptions).all(same)
    }
}
