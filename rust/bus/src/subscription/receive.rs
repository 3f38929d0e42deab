//! Taking events out: one by one, many at a time, or only what they carry.

use super::late::Reading;
use super::queue::{Item, Queue};
use super::{PAUSED, Receiver, Subscription};
use crate::cell::{Contents, Payload, Share};
use crate::histogram::Histogram;
use crate::ring::{Access, Concurrent};
use crate::{PRIORITY_NORMAL, Victims};
use chronofabric_clock::Stamp;
use std::sync::atomic::Ordering;

/// How many events of a priority are timed one by one before only every sixty-fourth is.
const TIMED_FIRST: u64 = 1024;
const TIMED_EVERY: u64 = 64;

/// How many events ahead a receiver asks the publisher's cache for the cells that it will read.
const AHEAD: u64 = 16;

impl<P: Payload> Subscription<P> {
    /// Takes the next event, the most urgent priority first. `receiver` is the thread that asks; `now_ns` is read only for the
    /// events whose waiting time is recorded.
    #[inline(always)]
    pub fn try_receive<A: Access>(
        &self,
        access: A,
        receiver: Receiver,
        now_ns: impl FnOnce() -> i64,
    ) -> Option<Share<P>> {
        self.take(access, receiver, now_ns).map(|item| item.into_share(access, PRIORITY_NORMAL))
    }

    /// As [`Subscription::try_receive`] for who wants what the event carries, and nothing else of it; where others may refer to
    /// the event, it comes instead.
    #[inline(always)]
    pub fn try_receive_contents<A: Access>(
        &self,
        access: A,
        receiver: Receiver,
        now_ns: impl FnOnce() -> i64,
    ) -> Option<Result<Contents<P>, Share<P>>> {
        self.take(access, receiver, now_ns).map(|item| item.into_contents(access))
    }

    /// The next event; without a cell only where its priority is the normal one.
    #[inline(always)]
    fn take<A: Access>(&self, access: A, receiver: Receiver, now_ns: impl FnOnce() -> i64) -> Option<Item<P>> {
        // The short way: nothing out of the ordinary, and one priority in use, the normal one.
        let normal = self.queues[usize::from(PRIORITY_NORMAL)].get();
        if self.front.state.load(Ordering::Relaxed) == 0
            && self.front.used.load(Ordering::Acquire) == 1 << PRIORITY_NORMAL
            && self.receiver_token.load(Ordering::Relaxed) == receiver.token
            && let Some(queue) = normal
            && let Some((position, item)) = queue.pop(access)
        {
            if A::EXCLUSIVE && item.is_share() {
                queue.fetch_ahead(AHEAD);
            }
            self.return_credit(queue);
            if is_timed(position) {
                self.record_wait(item.entered_ns(), now_ns());
            }
            return Some(item);
        }
        if A::EXCLUSIVE && self.is_shared() {
            return self.take_next(Concurrent, receiver, now_ns).map(Item::Share);
        }
        self.take_next(access, receiver, now_ns).map(Item::Share)
    }

    #[cold]
    #[inline(never)]
    fn take_next(&self, access: impl Access, receiver: Receiver, now_ns: impl FnOnce() -> i64) -> Option<Share<P>> {
        if let Some(filter) = self.receiving_filter() {
            return self.take_filtered(filter, access, receiver, 1).pop();
        }
        if let Some(causal) = self.causal() {
            return self.take_in_order(causal, receiver, 1, now_ns).pop();
        }
        let (mut now, mut victims) = (Reading::new(now_ns), Victims::new());
        if let Some(urgent) = self.urgent() {
            return self.take_urgent(urgent, access, receiver, 1, &mut now).pop();
        }
        let mut used = self.ready_levels(receiver);
        while used != 0 {
            let level = 7 - used.leading_zeros();
            used &= !(1 << level);
            let Some(queue) = self.queues[level as usize].get() else { continue };
            while let Some((position, event)) = queue.pop_share(access) {
                self.release_bytes(&event);
                self.return_credit(queue);
                let Some(event) = self.judge_lateness(access, event, &mut now, &mut victims) else { continue };
                if is_timed(position) {
                    self.record_wait(event.entered_ns(), now.ns());
                }
                return Some(event);
            }
        }
        None
    }

    /// The stamp of the event that would be looked at next, where that shows without taking it: for who decides which of
    /// several subscriptions comes first. Filters may still turn the event away.
    pub fn next_stamp<A: Access>(&self, _access: A) -> Option<Stamp> {
        if let Some(urgent) = self.urgent() {
            return urgent.next_stamp();
        }
        // Otherwise somebody could take it while it is looked at.
        if !A::EXCLUSIVE || self.is_shared() {
            return None;
        }
        self.queues().find_map(Queue::next_stamp)
    }

    /// Takes up to `limit` events, the most urgent first; those of one batch that follow one another come as one share.
    pub fn try_receive_many<A: Access>(
        &self,
        access: A,
        receiver: Receiver,
        limit: usize,
        now_ns: impl FnOnce() -> i64,
    ) -> Vec<Share<P>> {
        if A::EXCLUSIVE && self.is_shared() {
            return self.try_receive_many(Concurrent, receiver, limit, now_ns);
        }
        if let Some(filter) = self.receiving_filter() {
            return self.take_filtered(filter, access, receiver, limit);
        }
        self.take_many(access, receiver, limit, now_ns)
    }

    pub(super) fn take_many(
        &self,
        access: impl Access,
        receiver: Receiver,
        limit: usize,
        now_ns: impl FnOnce() -> i64,
    ) -> Vec<Share<P>> {
        if let Some(causal) = self.causal() {
            return self.take_in_order(causal, receiver, limit, now_ns).into_vec();
        }
        let (mut now, mut victims) = (Reading::new(now_ns), Victims::new());
        if let Some(urgent) = self.urgent() {
            return self.take_urgent(urgent, access, receiver, limit, &mut now);
        }
        let measured = self.options.capacity_bytes.is_some();
        let mut taken: Vec<Share<P>> = Vec::new();
        let mut run: Option<Share<P>> = None;
        let mut left = limit;
        let mut used = self.ready_levels(receiver);
        while used != 0 && left > 0 {
            let level = 7 - used.leading_zeros();
            used &= !(1 << level);
            let Some(queue) = self.queues[level as usize].get() else { continue };
            // A pop takes what is ready up to the end of one claim; what is ready after it is another claim's.
            loop {
                let mut late = 0;
                let count = queue.pop_many(access, left, |position, event| {
                    if measured {
                        self.release_bytes(&event);
                    }
                    let Some(event) = self.judge_lateness(access, event, &mut now, &mut victims) else {
                        late += 1;
                        return;
                    };
                    for _ in (position..position + event.len() as u64).filter(|position| is_timed(*position)) {
                        self.record_wait(event.entered_ns(), now.ns());
                    }
                    match &mut run {
                        Some(run) if run.is_followed_by(&event) => run.join(event),
                        _ => taken.extend(run.replace(event)),
                    }
                });
                left -= count - late;
                if count == 0 || left == 0 {
                    break;
                }
            }
            self.return_credit(queue);
        }
        taken.extend(run);
        taken
    }

    /// The priorities that may have something for a receiver, as bits.
    #[inline(always)]
    pub(super) fn ready_levels(&self, receiver: Receiver) -> u8 {
        if self.receiver_token.load(Ordering::Relaxed) != receiver.token {
            self.receiver.store((receiver.number)(), Ordering::Relaxed);
            self.receiver_token.store(receiver.token, Ordering::Relaxed);
        }
        if self.front.state.load(Ordering::Relaxed) & PAUSED != 0 { 0 } else { self.front.used.load(Ordering::Acquire) }
    }

    #[cold]
    pub(super) fn record_wait(&self, entered_ns: i64, now_ns: i64) {
        self.latency.get_or_init(Histogram::default).record(now_ns - entered_ns);
    }
}

/// Whether the waiting time of the event of a position is recorded.
#[inline(always)]
pub(super) fn is_timed(position: u64) -> bool {
    position < TIMED_FIRST || position.is_multiple_of(TIMED_EVERY)
}
