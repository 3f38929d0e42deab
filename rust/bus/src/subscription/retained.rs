//! What a new subscription gets of the events that topics keep.

use super::{Judgement, Offer, Subscription};
use crate::Victims;
use crate::books::Reason;
use crate::cell::{Contents, Payload, Share};
use crate::ring::Concurrent;

impl<P: Payload> Subscription<P> {
    /// Offers an event that its topic has kept to a subscription that nobody has in hand yet: there is nobody to wait for.
    /// Its filters were asked what it carries, and are asked here what they remember.
    pub(crate) fn offer_retained(
        &self,
        event: &Share<P>,
        mut judgement: Judgement<P>,
        unwanted: &mut impl Extend<Contents<P>>,
        victims: &mut Victims<P>,
    ) {
        let filter = self.publishing_filter();
        if let Some(filter) = filter {
            filter.sieve(event.topic(), event.time_ns(), std::slice::from_mut(&mut judgement), unwanted);
        }
        let event = match judgement {
            Judgement::Matches => Some(event.clone()),
            Judgement::MatchesInPart(payload) => {
                event.parts().map(|parts| Share::new(Concurrent, event.topic(), parts.share_with(payload)))
            }
            Judgement::Differs => None,
        };
        match (event, filter.filter(|filter| filter.debounces())) {
            (None, _) => self.count_filtered(1),
            (Some(event), None) => {
                let priority = event.priority();
                let offer = match self.causal() {
                    None => self.offer(Concurrent, event, priority, victims),
                    Some(causal) => self.offer_retained_in_order(causal, &event, victims),
                };
                if let Offer::Full(event) = offer {
                    self.abandon(event, Reason::WouldDeadlock, victims);
                }
            }
            (Some(event), Some(filter)) => {
                let deferred = self.defer(filter, event, filter.now_ns(), |_| false, victims);
                deferred.full.into_iter().for_each(|event| self.abandon(event, Reason::WouldDeadlock, victims));
            }
        }
        self.ledger.replay();
    }
}
