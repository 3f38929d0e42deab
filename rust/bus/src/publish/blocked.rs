//! What waits for room.

use crate::Victims;
use crate::books::Reason;
use crate::cell::{Payload, Share};
use crate::ring::Access;
use crate::signal::Wake;
use crate::subscription::Subscription;
use std::sync::Arc;

/// Events that wait for room in one subscription. Dropping it gives up, counted as cancelled.
#[derive(Debug)]
pub struct Blocked<P: Payload> {
    pub(super) subscription: Arc<Subscription<P>>,
    pub(super) rest: Option<Share<P>>,
    pub(super) priority: u8,
}

impl<P: Payload> Blocked<P> {
    /// The full subscription.
    pub fn subscription(&self) -> &Arc<Subscription<P>> {
        &self.subscription
    }

    /// Whether its events and others wait for the same room, so that none may overtake those that came before it.
    pub fn is_behind(&self, before: &Self) -> bool {
        before.is_for(&self.subscription, self.priority)
    }

    pub(super) fn is_for(&self, subscription: &Arc<Subscription<P>>, priority: u8) -> bool {
        self.priority == priority && Arc::ptr_eq(&self.subscription, subscription)
    }

    /// Tries again; `true` when all events are in the ring, or the subscription was closed and has counted them.
    pub fn retry(&mut self, access: impl Access, victims: &mut Victims<P>) -> bool {
        if let Some(rest) = self.rest.take() {
            self.rest = self.subscription.retry(access, rest, victims).err();
        }
        self.rest.is_none()
    }

    /// Whether there is any room; without trying, so at any time.
    pub fn has_room(&self) -> bool {
        self.subscription.is_closed() || (self.is_next() && self.subscription.has_room(self.priority))
    }

    /// Whether so much room was made that going on is worth it; until then a patient publisher does not try again.
    pub fn has_credit(&self) -> bool {
        self.subscription.is_closed() || (self.is_next() && self.subscription.has_credit(self.priority))
    }

    fn is_next(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| self.subscription.is_next(rest))
    }

    /// Stops waiting, for a reason that is counted.
    pub fn give_up(mut self, reason: Reason, victims: &mut Victims<P>) {
        if let Some(rest) = self.rest.take() {
            self.subscription.abandon(rest, reason, victims);
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
        if let Some(rest) = self.rest.take() {
            let mut victims = Victims::new();
            self.subscription.abandon(rest, Reason::Cancelled, &mut victims);
        }
    }
}
