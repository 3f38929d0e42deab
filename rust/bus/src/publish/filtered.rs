//! Publishing where subscriptions have filters.
//!
//! Content is judged first, while nothing is held. What filters remember they are asked once the event has its time. Only
//! who wants the event is then reckoned with: an event that nobody wants fills no cell and wakes nobody.
//!
//! Most often there is nothing but content to judge, and a glance suffices, which runs no foreign code: then publishing
//! with exclusive access stays exclusive.

use super::apart::{Wanted, offer, settle};
use super::{NewEvent, Observed, Outcome, Route, Topic, Unfinished, offer_unusually};
use crate::cell::{Contents, Parts, Payload, Share, Shares};
use crate::error::BusError;
use crate::ring::{Access, Concurrent};
use crate::subscription::{Judgement, Subscription};
use smallvec::SmallVec;
use std::sync::Arc;

/// What the filters of each subscription of a route say of an event; empty where none has any.
pub(super) type Judgements<P> = SmallVec<[Judgement<P>; 2]>;

impl<P: Payload> Route<P> {
    /// Judges an event by what it carries; called while nothing is held, because that may run foreign code.
    #[inline]
    pub(super) fn judge(&self, payload: &P) -> Judgements<P> {
        if !self.filtered {
            return Judgements::new();
        }
        self.subscriptions.iter().map(|subscription| subscription.judge(payload, None)).collect()
    }

    /// As [`Route::judge`], where an event was judged for the subscriptions of another route before.
    #[cold]
    pub(super) fn judge_further(&self, before: &Self, judged: Judgements<P>, payload: &P) -> Judgements<P> {
        if !self.filtered {
            return Judgements::new();
        }
        let mut judged: SmallVec<[_; 2]> = before.subscriptions.iter().zip(judged).collect();
        let judge = |subscription: &Arc<Subscription<P>>| {
            let place = judged.iter().position(|(other, _)| Arc::ptr_eq(other, subscription));
            place.map_or_else(|| subscription.judge(payload, None), |place| judged.swap_remove(place).1)
        };
        self.subscriptions.iter().map(judge).collect()
    }
}

impl<P: Payload> Topic<P> {
    /// Pushes an event to who wants it, and notes who has to be woken.
    pub(super) fn push_wanted(
        &self,
        route: &Route<P>,
        mut judgements: Judgements<P>,
        parts: Parts<P>,
        entered_ns: i64,
        outcome: &mut Outcome<P>,
    ) {
        judgements.resize_with(route.subscriptions.len(), || Judgement::Matches);
        let mut wanted: SmallVec<[Wanted<'_, P>; 4]> = SmallVec::new();
        for (subscription, mut judgement) in route.subscriptions.iter().zip(judgements) {
            if let Some(filter) = subscription.publishing_filter() {
                let all = std::slice::from_mut(&mut judgement);
                filter.sieve(&self.info, parts.time_ns, all, &mut outcome.unwanted);
            }
            match judgement {
                Judgement::Matches => wanted.push(Wanted { subscription, payload: None }),
                Judgement::MatchesInPart(part) => wanted.push(Wanted { subscription, payload: Some(part) }),
                Judgement::Differs => subscription.count_filtered(1),
            }
        }
        if wanted.is_empty() {
            outcome.unwanted.push(Contents { payload: Some(parts.payload), extras: parts.extras });
            return;
        }
        self.push_apart(wanted, parts, entered_ns, outcome);
    }

    /// As [`Topic::publish_payload`] where subscriptions have filters, as long as a glance suffices; otherwise the payload
    /// comes back.
    #[inline(never)]
    pub(super) fn publish_at_a_glance<A: Access>(
        &self,
        access: A,
        payload: P,
        priority: u8,
    ) -> Result<Option<Box<Unfinished<P>>>, P> {
        let Some(route) = self.route_under_lock::<A>().filter(|route| route.exclusive_at_a_glance) else {
            return Err(payload);
        };
        if self.is_closed() {
            return Err(payload);
        }
        let mut wanted: SmallVec<[&Arc<Subscription<P>>; 4]> = SmallVec::new();
        for subscription in &route.subscriptions {
            match subscription.publishing_filter().map_or(Some(true), |filter| filter.glance(&payload)) {
                Some(true) => wanted.push(subscription),
                Some(false) => {}
                None => return Err(payload),
            }
        }
        let observed = match self.observe(access, None, 1) {
            Ok(observed) => observed,
            Err(error) => return Ok(Unfinished::failed(error)),
        };
        let burst = self.count(1);
        let mut unfinished = None;
        if wanted.len() < route.subscriptions.len() {
            let turned_away =
                route.subscriptions.iter().filter(|each| !wanted.iter().any(|one| Arc::ptr_eq(one, each)));
            turned_away.for_each(|subscription| subscription.count_filtered_alone());
        }
        if wanted.is_empty() {
            if burst {
                route.settle_unusually(true, &mut unfinished);
            }
            // Nothing of the route is looked at any more.
            payload.release(access);
            return Ok(unfinished.and_then(Unfinished::unless_settled));
        }
        let parts = NewEvent { priority, ..NewEvent::new(payload) }.parts(observed, false, None);
        let shares = Shares::new(access, &self.info, parts, 1, wanted.len());
        for (subscription, share) in wanted.into_iter().zip(shares) {
            if let Err(share) = subscription.offer_plainly(access, share, priority) {
                offer_unusually(access, subscription, share, priority, &mut unfinished);
            }
        }
        route.settle_unusually(burst, &mut unfinished);
        Ok(unfinished.and_then(Unfinished::unless_settled))
    }

    /// Publishes a batch: each of its events is judged by itself, and those that a subscription wants stay together.
    #[cold]
    #[inline(never)]
    pub(super) fn publish_filtered_batch(
        &self,
        route: &Route<P>,
        batch: NewEvent<P>,
        count: usize,
        outcome: &mut Outcome<P>,
    ) -> Result<(), Box<BusError>> {
        let judge = |subscription: &Arc<Subscription<P>>| {
            subscription.publishing_filter()?;
            Some((0..count).map(|place| subscription.judge(&batch.payload, Some(place))).collect())
        };
        let judged: Vec<Option<Vec<Judgement<P>>>> = route.subscriptions.iter().map(judge).collect();
        let observed = self.observe(Concurrent, batch.time_ns, count)?;
        self.published_beside.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
        let mut wanted: SmallVec<[_; 4]> = SmallVec::new();
        for (subscription, mut judgements) in route.subscriptions.iter().zip(judged) {
            if let (Some(filter), Some(judgements)) = (subscription.publishing_filter(), &mut judgements) {
                filter.sieve(&self.info, observed.time_ns, judgements, &mut outcome.unwanted);
                let filtered = judgements.iter().filter(|judgement| judgement.differs()).count();
                subscription.count_filtered(filtered);
                if filtered == count {
                    continue;
                }
            }
            wanted.push((subscription, judgements));
        }
        let parts = batch.parts(observed, true, route.deadline_ns);
        if wanted.is_empty() {
            outcome.unwanted.push(Contents { payload: Some(parts.payload), extras: parts.extras });
            return Ok(());
        }
        let own = parts.share_without_payload(observed);
        let shares = Shares::new(Concurrent, &self.info, parts, count as u32, wanted.len());
        let mut settling: SmallVec<[_; 4]> = SmallVec::new();
        for ((subscription, judgements), share) in wanted.into_iter().zip(shares) {
            let settles = match judgements {
                None => offer(subscription, share, own.priority, observed.entered_ns, outcome),
                Some(judgements) => self.offer_some(subscription, share, judgements, &own, outcome),
            };
            if settles {
                settling.push(subscription);
            }
        }
        settle(&settling, outcome);
        outcome.wake();
        Ok(())
    }

    /// Offers those events of a batch that match; says whether a receiver may have to be woken.
    fn offer_some(
        &self,
        subscription: &Arc<Subscription<P>>,
        batch: Share<P>,
        judgements: Vec<Judgement<P>>,
        own: &OwnCell<P>,
        outcome: &mut Outcome<P>,
    ) -> bool {
        let mut settles = false;
        let mut give = |share: Share<P>, outcome: &mut Outcome<P>| {
            settles |= offer(subscription, share, own.priority, own.observed.entered_ns, outcome);
        };
        let mut rest = Some(batch);
        let mut judgements = judgements.into_iter().enumerate().peekable();
        while let (Some(mut others), Some((place, judgement))) = (rest.take(), judgements.next()) {
            let mut run = 1;
            while judgements.next_if(|(_, next)| next.continues(&judgement)).is_some() {
                run += 1;
            }
            let share = match others.take_front(run) {
                Some(share) => {
                    rest = Some(others);
                    share
                }
                None => others,
            };
            match judgement {
                Judgement::Matches => give(share, outcome),
                Judgement::Differs => outcome.victims.push(share),
                Judgement::MatchesInPart(part) => {
                    outcome.victims.push(share);
                    give(Share::new(Concurrent, &self.info, own.parts(part, place)), outcome);
                }
            }
        }
        settles
    }
}

impl<P> Judgement<P> {
    /// Whether events of both can stay together.
    fn continues(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Matches, Self::Matches) | (Self::Differs, Self::Differs))
    }
}

/// What an event of a batch needs for a cell of its own.
struct OwnCell<P: Payload> {
    extras: Option<Box<crate::cell::Extras<P>>>,
    priority: u8,
    recorded: bool,
    observed: Observed,
}

impl<P: Payload> Parts<P> {
    fn share_without_payload(&self, observed: Observed) -> OwnCell<P> {
        let extras = self.extras.as_ref().map(|extras| extras.share());
        OwnCell { extras, priority: self.priority, recorded: self.recorded, observed }
    }
}

impl<P: Payload> OwnCell<P> {
    /// The event at a place of the batch, with a payload of its own.
    fn parts(&self, payload: P, place: usize) -> Parts<P> {
        let Observed { mut stamp, time_ns, .. } = self.observed;
        stamp.0 += place as u64;
        let extras = self.extras.as_ref().map(|extras| extras.share());
        let (batch, retained) = (false, false);
        Parts { payload, extras, priority: self.priority, batch, recorded: self.recorded, retained, stamp, time_ns }
    }
}
