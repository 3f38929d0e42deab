//! Publishing where a receiver wants causal order.

use super::{Blocked, Outcome, Route, Topic};
use crate::cell::{Extras, Parts, Payload, Share, Shares};
use crate::ring::Concurrent;
use crate::subscription::Offer;
use smallvec::SmallVec;
use std::sync::Arc;

impl<P: Payload> Topic<P> {
    /// Pushes an event to those first who want causal order. Each has a cell for itself, with its place in their domain;
    /// all others share one, as ever.
    #[cold]
    #[inline(never)]
    pub(super) fn push_in_causal_order(&self, route: &Route<P>, parts: Parts<P>, outcome: &mut Outcome<P>) {
        let priority = parts.priority;
        let (ordered, others): (SmallVec<[_; 4]>, SmallVec<[_; 4]>) =
            route.subscriptions.iter().partition(|subscription| subscription.causal().is_some());
        let copies = ordered.len() - usize::from(others.is_empty());
        let mut cells: SmallVec<[Parts<P>; 2]> = (0..copies).map(|_| parts.share()).collect();
        let mut rest = Some(parts);
        if others.is_empty() {
            cells.extend(rest.take());
        }
        {
            let causal = ordered.iter().filter_map(|subscription| Some((*subscription, subscription.causal()?)));
            let mut domains: SmallVec<[_; 2]> =
                causal.map(|(subscription, causal)| (subscription, causal.domain())).collect();
            for ((subscription, domain), mut parts) in domains.iter_mut().zip(cells) {
                let extras = parts.extras.get_or_insert_with(Extras::empty);
                extras.provenance = domain.place(self.info.node(), extras.provenance.take());
                let share = Share::new(Concurrent, &self.info, parts);
                if let Offer::Full(event) = subscription.offer_in_order(domain, share, &mut outcome.victims) {
                    let subscription = Arc::clone(subscription);
                    outcome.blocked.push(Blocked { subscription, rest: Some(event), priority });
                }
            }
        }
        let Some(parts) = rest else { return };
        let shares = Shares::new(Concurrent, &self.info, parts, 1, others.len());
        for (subscription, share) in others.into_iter().zip(shares) {
            if let Offer::Full(event) = subscription.offer(Concurrent, share, priority, &mut outcome.victims) {
                let subscription = Arc::clone(subscription);
                outcome.blocked.push(Blocked { subscription, rest: Some(event), priority });
            }
        }
    }
}
