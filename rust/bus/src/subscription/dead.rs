//! Dead letters: what was not delivered, and is kept to be looked at and offered again.

use super::{Overflow, Subscription};
use crate::Victims;
use crate::books::Reason;
use crate::cell::{Payload, Share};
use crate::ring::{Access, Concurrent};
use crate::sync::{full_fence, lock};

/// An event that was not delivered, kept for inspection and replay.
#[derive(Debug)]
pub struct DeadLetter<P: Payload> {
    /// The event.
    pub event: Share<P>,
    /// Why it was not delivered.
    pub reason: Reason,
    /// How long after its deadline its turn had come, where that is the reason.
    pub late_ns: Option<i64>,
}

impl<P: Payload> Clone for DeadLetter<P> {
    fn clone(&self) -> Self {
        Self { event: self.event.clone(), ..*self }
    }
}

impl<P: Payload> Subscription<P> {
    /// To the dead letters where the policy keeps them, otherwise dropped.
    pub(super) fn turn_away(&self, event: Share<P>, reason: Reason, victims: &mut Victims<P>) {
        if self.options.overflow != Overflow::DeadLetter {
            return self.reject(event, reason, victims);
        }
        let mut dead = lock(&self.dead);
        if dead.len() >= self.options.dead_letters_max {
            drop(dead);
            return self.reject(event, Reason::DeadLettersFull, victims);
        }
        self.lose(&event);
        self.ledger.dead_letter(reason);
        dead.push_back(DeadLetter { event, reason, late_ns: None });
    }

    /// Looks at the dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter<P>> {
        lock(&self.dead).iter().cloned().collect()
    }

    /// How many dead letters are kept.
    pub fn dead_letters_len(&self) -> usize {
        lock(&self.dead).len()
    }

    /// Takes up to `limit` dead letters out, oldest first.
    pub fn take_dead_letters(&self, limit: usize) -> Vec<DeadLetter<P>> {
        let mut dead = lock(&self.dead);
        let count = dead.len().min(limit);
        dead.drain(..count).collect()
    }

    /// Offers up to `limit` dead letters again, oldest first, as long as there is room; the others stay, and so do those that
    /// are too large for the subscription, or too late. Says how many were placed.
    pub fn replay_dead_letters<A: Access>(&self, access: A, limit: usize, victims: &mut Victims<P>) -> usize {
        if A::EXCLUSIVE && self.is_shared() {
            return self.replay_dead_letters(Concurrent, limit, victims);
        }
        let mut replayed = 0;
        let mut hopeless = Vec::new();
        while replayed < limit && !self.is_closed() {
            let Some(letter) = lock(&self.dead).pop_front() else { break };
            if matches!(letter.reason, Reason::TooLarge | Reason::Late) {
                // There will never be room, or time, for it; it stays for inspection.
                hopeless.push(letter);
                continue;
            }
            let priority = letter.event.priority();
            let pushed = match self.causal() {
                Some(causal) => self.push_again(causal, letter.event),
                None => self.try_push(access, letter.event, priority),
            };
            match pushed {
                Ok(()) => {
                    self.ledger.replay();
                    replayed += 1;
                }
                Err(event) => {
                    lock(&self.dead).push_front(DeadLetter { event, ..letter });
                    break;
                }
            }
        }
        let mut dead = lock(&self.dead);
        hopeless.into_iter().rev().for_each(|letter| dead.push_front(letter));
        drop(dead);
        full_fence();
        self.settle(victims);
        replayed
    }
}
