//! Publishing where not all receivers share one cell: those who want causal order have each their own place in it, and of
//! a payload that matches a filter only in part its subscription gets that part.

use super::{Blocked, Outcome, Topic};
use crate::cell::{Contents, Extras, Parts, Payload, Share, Shares};
use crate::ring::Concurrent;
use crate::subscription::{Offer, Subscription};
use crate::sync::full_fence;
use smallvec::SmallVec;
use std::sync::Arc;

/// A subscription that gets an event.
pub(super) struct Wanted<'a, P: Payload> {
    pub(super) subscription: &'a Arc<Subscription<P>>,
    /// Its payload, where it is not that of all others.
    pub(super) payload: Option<P>,
}

impl<P: Payload> Topic<P> {
    /// Pushes an event to those first who have a cell for themselves; all others share one, as ever. Then notes who has to
    /// be woken.
    #[cold]
    #[inline(never)]
    pub(super) fn push_apart<'a>(
        &self,
        wanted: SmallVec<[Wanted<'a, P>; 4]>,
        parts: Parts<P>,
        entered_ns: i64,
        outcome: &mut Outcome<P>,
    ) {
        let priority = parts.priority;
        let is_apart = |wanted: &Wanted<'a, P>| wanted.payload.is_some() || wanted.subscription.causal().is_some();
        let (apart, together): (SmallVec<[_; 4]>, SmallVec<[_; 4]>) = wanted.into_iter().partition(is_apart);
        let mut settling: SmallVec<[_; 4]> = SmallVec::new();
        let mut rest = Some(parts);
        if !apart.is_empty() {
            let causal = apart.iter().filter_map(|wanted| wanted.subscription.causal());
            // Held at the same time, so that what the first receiver causes cannot overtake the event on its way to the next.
            let mut domains: SmallVec<[_; 2]> = causal.map(|causal| causal.domain()).collect();
            let mut domains = domains.iter_mut();
            let last = apart.len() - 1;
            for (place, Wanted { subscription, payload }) in apart.into_iter().enumerate() {
                let whole = if place == last && payload.is_none() && together.is_empty() { rest.take() } else { None };
                let shared = || {
                    let parts = rest.as_ref()?;
                    Some(payload.map_or_else(|| parts.share(), |payload| parts.share_with(payload)))
                };
                let Some(mut parts) = whole.or_else(shared) else { continue };
                if subscription.causal().is_none() {
                    let share = Share::new(Concurrent, &self.info, parts);
                    if offer(subscription, share, priority, entered_ns, outcome) {
                        settling.push(subscription);
                    }
                    continue;
                }
                let Some(domain) = domains.next() else { continue };
                let extras = parts.extras.get_or_insert_with(Extras::empty);
                extras.provenance = domain.place(self.info.node(), extras.provenance.take());
                let share = Share::new(Concurrent, &self.info, parts);
                if let Offer::Full(event) = subscription.offer_in_order(domain, share, &mut outcome.victims) {
                    let subscription = Arc::clone(subscription);
                    outcome.blocked.push(Blocked { subscription, rest: Some(event), priority });
                }
                settling.push(subscription);
            }
        }
        if together.is_empty() {
            // Not dropped here, because a section may be held.
            let unwanted = rest.map(|parts| Contents { payload: Some(parts.payload), extras: parts.extras });
            outcome.unwanted.extend(unwanted);
        } else if let Some(parts) = rest {
            let shares = Shares::new(Concurrent, &self.info, parts, 1, together.len());
            for (Wanted { subscription, .. }, share) in together.into_iter().zip(shares) {
                if offer(subscription, share, priority, entered_ns, outcome) {
                    settling.push(subscription);
                }
            }
        }
        settle(&settling, outcome);
    }
}

/// Offers an event to a subscription that does not ask for causal order; says whether its receiver may have to be woken.
pub(super) fn offer<P: Payload>(
    subscription: &Arc<Subscription<P>>,
    share: Share<P>,
    priority: u8,
    entered_ns: i64,
    outcome: &mut Outcome<P>,
) -> bool {
    let blocked = |rest: Share<P>| Blocked {
        subscription: Arc::clone(subscription),
        priority: rest.priority(),
        rest: Some(rest),
    };
    if let Some(filter) = subscription.publishing_filter().filter(|filter| filter.debounces()) {
        let Outcome { victims, blocked: waiting, .. } = outcome;
        let held_up = |priority| waiting.iter().any(|before| before.is_for(subscription, priority));
        let deferred = subscription.defer(filter, share, entered_ns, held_up, victims);
        waiting.extend(deferred.full.into_iter().map(blocked));
        return deferred.wakes || subscription.is_closed();
    }
    let offered = if outcome.holds_up(subscription, priority) {
        subscription.offer_behind(share, &mut outcome.victims)
    } else {
        subscription.offer(Concurrent, share, priority, &mut outcome.victims)
    };
    if let Offer::Full(rest) = offered {
        outcome.blocked.push(blocked(rest));
    }
    true
}

/// Notes which of the subscriptions have to be woken.
pub(super) fn settle<P: Payload>(subscriptions: &[&Arc<Subscription<P>>], outcome: &mut Outcome<P>) {
    if subscriptions.is_empty() {
        return;
    }
    full_fence();
    let unsettled = subscriptions.iter().filter(|subscription| subscription.wants_settling());
    outcome.waking.extend(unsettled.map(|subscription| Arc::clone(subscription)));
}
