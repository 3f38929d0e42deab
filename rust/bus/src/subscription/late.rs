//! Events whose deadline has passed when they are about to be handed out.

use super::{DeadLetter, Late, Subscription, TIMELY};
use crate::Victims;
use crate::books::Reason;
use crate::cell::{Extras, Payload, Share};
use crate::ring::Access;
use crate::sync::lock;
use std::sync::atomic::Ordering;

/// The time of one call, read at most once, and only if somebody needs it.
pub(super) enum Reading<F> {
    Unread(F),
    Read(i64),
}

impl<F: FnOnce() -> i64> Reading<F> {
    pub(super) fn new(now_ns: F) -> Self {
        Self::Unread(now_ns)
    }

    pub(super) fn ns(&mut self) -> i64 {
        let now_ns = match std::mem::replace(self, Self::Read(0)) {
            Self::Unread(now_ns) => now_ns(),
            Self::Read(now_ns) => now_ns,
        };
        *self = Self::Read(now_ns);
        now_ns
    }
}

impl<P: Payload> Subscription<P> {
    /// How many events were late when their turn came; looked at only where `late` asks for it.
    pub fn late(&self) -> u64 {
        self.ledger.missed()
    }

    /// The event as it is to be handed out; `None` where it is late and goes to the dead letters,
    /// or, where they are full, to `victims`, to be dropped by the caller once it holds nothing.
    #[inline(always)]
    pub(super) fn judge_lateness<F: FnOnce() -> i64>(
        &self,
        access: impl Access,
        event: Share<P>,
        now: &mut Reading<F>,
        victims: &mut Victims<P>,
    ) -> Option<Share<P>> {
        if self.front.state.load(Ordering::Relaxed) & TIMELY == 0 {
            return Some(event);
        }
        match event.deadline_ns() {
            Some(deadline_ns) if deadline_ns < now.ns() => {
                self.hand_out_late(access, event, now.ns().saturating_sub(deadline_ns), victims)
            }
            _ => Some(event),
        }
    }

    #[cold]
    fn hand_out_late(
        &self,
        access: impl Access,
        event: Share<P>,
        late_ns: i64,
        victims: &mut Victims<P>,
    ) -> Option<Share<P>> {
        self.ledger.miss();
        if self.options.late == Late::Mark {
            return Some(marked(access, event, late_ns));
        }
        let mut dead = lock(&self.dead);
        if dead.len() < self.options.dead_letters_max {
            self.ledger.set_aside();
            dead.push_back(DeadLetter { event, reason: Reason::Late, late_ns: Some(late_ns) });
        } else {
            self.ledger.evict(Reason::DeadLettersFull);
            victims.push(event);
        }
        None
    }
}

/// The event with a mark, in a cell that nobody else refers to.
fn marked<P: Payload>(access: impl Access, event: Share<P>, late_ns: i64) -> Share<P> {
    let Some(mut parts) = event.parts() else { return event };
    parts.extras.get_or_insert_with(Extras::empty).late_ns = Some(late_ns);
    let marked = Share::new(access, event.topic(), parts);
    event.release(access);
    marked
}
