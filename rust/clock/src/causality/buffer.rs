//! Causal delivery: whatever order messages arrive in, each is delivered after everything it may depend on.
//!
//! After Birman, Schiper and Stephenson, "Lightweight Causal and Atomic Group Multicast" (ACM TOCS 1991), section 5.1.
//! D counts the messages delivered of each node. A message of node i with the clock V is delivered as soon as
//!
//! - V\[i\] = D\[i\] + 1: it is the next one of its node, and
//! - V\[k\] <= D\[k\] for every other node k: all that its node had seen was delivered here too.
//!
//! What their network never does, this one may: messages come twice, late or never. A message that is missing may be
//! declared lost, by name or by age; D then counts it as if it had been delivered, and what waited for it goes on. If it
//! comes after all, while nothing that depends on it was delivered yet, it still takes its place; afterwards it is handed
//! back as late, which is the one way in which causal order can be violated, and is counted.
//!
//! Invariants:
//! - Each waiting message is registered with one counter of one node that it waits for, its first unmet dependency. A
//!   delivery looks only at what waits for it, and dependencies once met are not looked at again: what was delivered
//!   never becomes undelivered.
//! - Between calls no message that could be delivered waits, and D\[k\] + 1 of no node k is declared lost.
//! - received = delivered + duplicates + late + refused + pending.
//! - Honest clocks are never contradictory: the past of a message is well-founded, so once everything missing from it is
//!   declared lost, all the rest of it is delivered, and then the message. Where this fails, two clocks contradict each
//!   other, and the message goes on alone, so that no forgery can block the buffer.

use super::books::CausalBooks;
use super::lost::Lost;
use super::vector::{Entry, VectorClock, key};
use super::waiting::{Place, Waiting, WaitingList};
use crate::{ClockError, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// What happens to a message that would have to wait where as many wait as may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFull {
    /// It is handed back, and may be offered again.
    #[default]
    Refuse,
    /// Everything that is missing for the message that has waited longest is declared lost, and that message delivered.
    DeclareLost,
}

/// Bounds of a [`CausalBuffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CausalOptions {
    /// How many messages may wait, 1 to [`CausalBuffer::CAPACITY_MAX`]; by default 4096.
    pub capacity: usize,
    /// What happens when one more would have to.
    pub on_full: OnFull,
    /// How long a message may wait before [`CausalBuffer::expire`] declares lost what it waits for; by default, for ever.
    pub age_ns_max: Option<i64>,
}

impl Default for CausalOptions {
    fn default() -> Self {
        Self { capacity: 4096, on_full: OnFull::Refuse, age_ns_max: None }
    }
}

/// What became of a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arrival<T> {
    /// It was delivered, and after it what had waited for it.
    Delivered,
    /// It waits for others.
    Waiting,
    /// It was delivered before, or waits already.
    Duplicate(T),
    /// It had been declared lost, and what depends on it may have been delivered: causal order is violated by handing it
    /// on.
    Late(T),
    /// It cannot be taken.
    Refused(T, Refusal),
}

impl<T> Arrival<T> {
    /// As users read it: `"delivered"`, `"waiting"`, `"duplicate"`, `"late"` or `"refused"`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Waiting => "waiting",
            Self::Duplicate(_) => "duplicate",
            Self::Late(_) => "late",
            Self::Refused(..) => "refused",
        }
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It would have to wait, and as many wait as may.
    Full,
    /// The buffer would have to follow more than [`VectorClock::NODES_MAX`] nodes.
    NodeLimit,
    /// Its clock does not count its own sender.
    NotOfSender,
}

/// Messages of one node that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The node that sent them.
    pub node: NodeId,
    /// The counter of the first.
    pub first: u64,
    /// The counter of the last.
    pub last: u64,
    /// Since when something has waited for them, in nanoseconds.
    pub since_ns: i64,
}

/// Puts messages that arrive in any order into causal order.
///
/// `deliver` is called for each message as it becomes due; a message in order passes straight through it.
///
/// ```
/// use chronofabric_clock::{Arrival, CausalBuffer, CausalOptions, NodeId, VectorClock};
///
/// let (asker, answerer) = (NodeId([1; 16]), NodeId([2; 16]));
/// let question = VectorClock::from_counters([(asker, 1)])?;
/// let answer = VectorClock::from_counters([(asker, 1), (answerer, 1)])?;
///
/// let mut buffer = CausalBuffer::new(CausalOptions::default())?;
/// let mut heard = Vec::new();
/// let arrival = buffer.accept(0, answerer, &answer, "noon", |message| heard.push(message));
/// assert_eq!(arrival, Arrival::Waiting);
/// let arrival = buffer.accept(1, asker, &question, "what time is it?", |message| heard.push(message));
/// assert_eq!(arrival, Arrival::Delivered);
/// assert_eq!(heard, ["what time is it?", "noon"]);
/// # Ok::<(), chronofabric_clock::ClockError>(())
/// ```
#[derive(Debug)]
pub struct CausalBuffer<T> {
    options: CausalOptions,
    /// D, sorted by node.
    delivered: Vec<Entry>,
    /// What else is known of each node, at the same positions.
    peers: Vec<Peer>,
    waiting: WaitingList<T>,
    now_ns: i64,
    books: CausalBooks,
    /// Of `release`, kept for its memory.
    advanced: Vec<usize>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Its messages that wait, by counter.
    held: BTreeMap<u64, Place>,
    /// Who waits for it, by the counter that D has to reach.
    waits: BTreeSet<(u64, Place)>,
    lost: Lost,
}

impl<T> CausalBuffer<T> {
    /// The most messages that may be let wait.
    pub const CAPACITY_MAX: usize = 1 << 24;

    /// A buffer that waits for every message from the first on.
    ///
    /// # Errors
    ///
    /// [`ClockError::InvalidOption`] if an option is outside its limits.
    pub fn new(options: CausalOptions) -> Result<Self, ClockError> {
        Self::starting_at(&VectorClock::new(), options)
    }

    /// A buffer for which everything in the past of a clock counts as delivered, as after reading a snapshot.
    ///
    /// # Errors
    ///
    /// [`ClockError::InvalidOption`] if an option is outside its limits.
    pub fn starting_at(past: &VectorClock, options: CausalOptions) -> Result<Self, ClockError> {
        let within = |name, value: i64, most: i64| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(ClockError::InvalidOption { name, value, least: 1, most }),
        };
        within("capacity", i64::try_from(options.capacity).unwrap_or(i64::MAX), Self::CAPACITY_MAX as i64)?;
        within("age_ns_max", options.age_ns_max.unwrap_or(i64::MAX), i64::MAX)?;
        Ok(Self {
            options,
            delivered: past.iter().collect(),
            peers: past.iter().map(|_| Peer::default()).collect(),
            waiting: WaitingList::new(),
            now_ns: i64::MIN,
            books: CausalBooks::default(),
            advanced: Vec::new(),
        })
    }

    /// Takes a message of a sender; its clock counts the message itself.
    #[inline]
    pub fn accept(
        &mut self,
        now_ns: i64,
        sender: NodeId,
        clock: &VectorClock,
        message: T,
        mut deliver: impl FnMut(T),
    ) -> Arrival<T> {
        self.books.received += 1;
        if self.waiting.is_empty()
            && let Some(position) = self.in_order(sender, clock.entries())
        {
            self.delivered[position].1 += 1;
            self.books.delivered += 1;
            deliver(message);
            return Arrival::Delivered;
        }
        self.now_ns = self.now_ns.max(now_ns);
        self.accept_any(sender, clock, message, &mut deliver)
    }

    /// Declares the missing messages of a node lost, from the next one to a counter; those that wait here are not.
    ///
    /// Returns how many were.
    ///
    /// # Errors
    ///
    /// [`ClockError::NodeLimit`] if the buffer follows [`VectorClock::NODES_MAX`] nodes, and not this one.
    pub fn declare_lost(&mut self, node: NodeId, through: u64, mut deliver: impl FnMut(T)) -> Result<u64, ClockError> {
        if !self.follow(&[(node, through)]) {
            return Err(ClockError::NodeLimit { limit: VectorClock::NODES_MAX });
        }
        let before = self.books.lost;
        if let Ok(position) = self.position(node) {
            self.lose(position, through, &mut deliver);
        }
        Ok(self.books.lost - before)
    }

    /// Declares lost what messages have waited for as long as the options allow, and delivers these messages.
    ///
    /// Returns how many were declared lost.
    pub fn expire(&mut self, now_ns: i64, mut deliver: impl FnMut(T)) -> u64 {
        self.now_ns = self.now_ns.max(now_ns);
        let before = self.books.lost;
        while let Some(oldest) = self.waiting.first()
            && self.next_expiry_ns().is_some_and(|expiry_ns| expiry_ns <= self.now_ns)
        {
            self.resolve(oldest, &mut deliver);
        }
        self.books.lost - before
    }

    /// When [`CausalBuffer::expire`] has something to do, if nothing changes until then.
    pub fn next_expiry_ns(&self) -> Option<i64> {
        let oldest = self.waiting.get(self.waiting.first()?)?;
        Some(oldest.since_ns.saturating_add(self.options.age_ns_max?))
    }

    /// What is missing, by node and counter. Looks at every waiting message.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut needs: Vec<(NodeId, u64, i64)> = Vec::new();
        for waiting in self.waiting.iter() {
            let met = |need: &Entry| self.position(need.0).is_ok_and(|position| need.1 <= self.delivered[position].1);
            needs.extend(
                waiting.needs().filter(|need| !met(need)).map(|(node, counter)| (node, counter, waiting.since_ns)),
            );
        }
        needs.sort_unstable();
        let mut gaps = Vec::new();
        for of_node in needs.chunk_by(|first, second| first.0 == second.0) {
            let first_gap = gaps.len();
            let node = of_node[0].0;
            let Ok(position) = self.position(node) else { continue };
            let mut rest = of_node;
            let last = of_node[of_node.len() - 1].1;
            self.peers[position].missing(self.delivered[position].1, last, |first, last| {
                gaps.push(Gap { node, first, last, since_ns: i64::MAX });
            });
            // Every need from the first counter of a gap on has waited for it.
            for gap in &mut gaps[first_gap..] {
                rest = &rest[rest.partition_point(|need| need.1 < gap.first)..];
                gap.since_ns = rest.iter().map(|need| need.2).min().unwrap_or(self.now_ns);
            }
        }
        gaps
    }

    /// What was delivered or declared lost, by node: the past of the next message sent from here.
    pub fn delivered(&self) -> VectorClock {
        VectorClock::from_sorted(self.delivered.iter().copied().filter(|entry| entry.1 > 0))
    }

    /// What became of everything that arrived.
    pub fn books(&self) -> CausalBooks {
        CausalBooks { pending: self.waiting.len() as u64, ..self.books }
    }

    /// How many messages wait.
    pub fn pending(&self) -> usize {
        self.waiting.len()
    }

    /// What waits, in order of arrival.
    pub fn iter_pending(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.message)
    }

    /// Ends it: what still waits, in order of arrival.
    pub fn into_pending(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().map(|waiting| waiting.message)
    }

    /// The position of the sender, where its message may be delivered and all nodes of its clock are known.
    #[inline]
    fn in_order(&self, sender: NodeId, clock: &[Entry]) -> Option<usize> {
        let mut found = None;
        let mut position = 0;
        for entry in clock {
            while self.delivered.get(position)?.0 != entry.0 {
                position += 1;
            }
            let delivered = self.delivered[position].1;
            if entry.0 == sender {
                if entry.1 != delivered.wrapping_add(1) {
                    return None;
                }
                found = Some(position);
            } else if entry.1 > delivered {
                return None;
            }
            position += 1;
        }
        found
    }

    #[inline(never)]
    fn accept_any(
        &mut self,
        sender: NodeId,
        clock: &VectorClock,
        message: T,
        deliver: &mut impl FnMut(T),
    ) -> Arrival<T> {
        let counter = clock.get(sender);
        if counter == 0 {
            self.books.refused += 1;
            return Arrival::Refused(message, Refusal::NotOfSender);
        }
        if let Ok(position) = self.position(sender) {
            let peer = &mut self.peers[position];
            if counter <= self.delivered[position].1 && peer.lost.remove(counter) {
                self.books.late += 1;
                return Arrival::Late(message);
            }
            if counter <= self.delivered[position].1 || peer.held.contains_key(&counter) {
                self.books.duplicates += 1;
                return Arrival::Duplicate(message);
            }
        }
        let mut following = 0;
        let due = clock.entries().iter().all(|&(node, counter)| {
            let position = position_after(&self.delivered, following, node);
            let delivered = position.map_or(0, |position| self.delivered[position].1);
            following = position.map_or_else(|position| position, |position| position + 1);
            if node == sender { counter - 1 == delivered } else { counter <= delivered }
        });
        if !due && self.waiting.len() >= self.options.capacity && self.options.on_full == OnFull::Refuse {
            self.books.refused += 1;
            return Arrival::Refused(message, Refusal::Full);
        }
        if !self.follow(clock.entries()) {
            self.books.refused += 1;
            return Arrival::Refused(message, Refusal::NodeLimit);
        }
        let Ok(position) = self.position(sender) else { return Arrival::Waiting };
        if due {
            self.delivered[position].1 = counter;
            self.books.delivered += 1;
            deliver(message);
            self.release(position, deliver);
            return Arrival::Delivered;
        }
        if self.peers[position].lost.remove(counter) {
            // Declared lost, but nothing that depends on it was delivered yet.
            self.books.lost -= 1;
        }
        let (clock, since_ns) = (clock.clone(), self.now_ns);
        let place = self.waiting.push(Waiting { sender, counter, clock, unmet: 0, since_ns, message });
        self.peers[position].held.insert(counter, place);
        self.register(place);
        if self.waiting.len() > self.options.capacity
            && let Some(oldest) = self.waiting.first()
        {
            self.resolve(oldest, deliver);
        }
        if self.waiting.get(place).is_some() { Arrival::Waiting } else { Arrival::Delivered }
    }

    /// Registers a message with its first unmet dependency; says whether it has one.
    fn register(&mut self, place: Place) -> bool {
        let Some(waiting) = self.waiting.get_mut(place) else { return true };
        let mut following = 0;
        for (index, entry) in waiting.clock.entries().iter().enumerate().skip(waiting.unmet) {
            let need = waiting.need(*entry);
            let Ok(position) = position_after(&self.delivered, following, entry.0) else { continue };
            if need > self.delivered[position].1 {
                self.peers[position].waits.insert((need, place));
                waiting.unmet = index;
                return true;
            }
            following = position + 1;
        }
        false
    }

    /// Delivers whatever waits for a node no more, and what waits for that, and so on.
    fn release(&mut self, position: usize, deliver: &mut impl FnMut(T)) {
        let mut advanced = mem::take(&mut self.advanced);
        advanced.push(position);
        while let Some(position) = advanced.pop() {
            let peer = &mut self.peers[position];
            let delivered = &mut self.delivered[position].1;
            if let Some(through) = delivered.checked_add(1).and_then(|next| peer.lost.through(next)) {
                *delivered = through;
            }
            let Some(&(need, place)) = peer.waits.first() else { continue };
            if need > *delivered {
                continue;
            }
            peer.waits.pop_first();
            // More may wait here: looked at again, after what this one releases.
            advanced.push(position);
            if !self.register(place)
                && let Some(sender) = self.take_out(place, deliver)
            {
                advanced.push(sender);
            }
        }
        self.advanced = advanced;
    }

    /// Delivers a waiting message that is registered nowhere, and returns the position of its sender.
    fn take_out(&mut self, place: Place, deliver: &mut impl FnMut(T)) -> Option<usize> {
        let waiting = self.waiting.remove(place)?;
        let position = self.position(waiting.sender).ok()?;
        self.peers[position].held.remove(&waiting.counter);
        self.delivered[position].1 = waiting.counter;
        self.books.delivered += 1;
        deliver(waiting.message);
        Some(position)
    }

    /// Declares the missing messages up to a counter lost.
    fn lose(&mut self, position: usize, through: u64, deliver: &mut impl FnMut(T)) {
        let mut missing = Vec::new();
        let delivered = self.delivered[position].1;
        let peer = &mut self.peers[position];
        peer.missing(delivered, through, |first, last| missing.push((first, last)));
        for (first, last) in missing {
            self.books.lost = self.books.lost.saturating_add(peer.lost.insert(first, last));
        }
        peer.lost.bound(delivered);
        self.release(position, deliver);
    }

    /// Has a message delivered: all that is missing for it is declared lost.
    fn resolve(&mut self, place: Place, deliver: &mut impl FnMut(T)) {
        let Some(waiting) = self.waiting.get(place) else { return };
        let sender = waiting.sender;
        let needs: Vec<Entry> = waiting.needs().collect();
        for (node, counter) in needs {
            if let Ok(position) = self.position(node) {
                self.lose(position, counter, deliver);
            }
        }
        // It waits for what waits for it. Its sender's messages go on, up to itself.
        while self.waiting.get(place).is_some()
            && let Ok(position) = self.position(sender)
            && let Some((_, &first)) = self.peers[position].held.first_key_value()
        {
            self.unregister(first);
            self.books.contradictory += 1;
            if let Some(position) = self.take_out(first, deliver) {
                self.release(position, deliver);
            }
        }
    }

    fn unregister(&mut self, place: Place) {
        if let Some(waiting) = self.waiting.get(place)
            && let Some(entry) = waiting.clock.entries().get(waiting.unmet)
            && let Ok(position) = self.position(entry.0)
        {
            self.peers[position].waits.remove(&(waiting.need(*entry), place));
        }
    }

    /// Makes places for nodes that are new; says whether there is room for them.
    fn follow(&mut self, nodes: &[Entry]) -> bool {
        let mut following = 0;
        let is_unknown = |entry: &&Entry| {
            let position = position_after(&self.delivered, following, entry.0);
            following = position.map_or_else(|position| position, |position| position + 1);
            position.is_err()
        };
        let unknown = nodes.iter().filter(is_unknown).count();
        if unknown == 0 || self.delivered.len() + unknown > VectorClock::NODES_MAX {
            return unknown == 0;
        }
        for (node, _) in nodes {
            if let Err(position) = self.position(*node) {
                self.delivered.insert(position, (*node, 0));
                self.peers.insert(position, Peer::default());
            }
        }
        true
    }

    fn position(&self, node: NodeId) -> Result<usize, usize> {
        position_after(&self.delivered, 0, node)
    }
}

impl Peer {
    /// Calls for each range of counters after `delivered`, up to `last`, that is neither here nor declared lost.
    fn missing(&self, delivered: u64, last: u64, mut each: impl FnMut(u64, u64)) {
        let Some(mut first) = delivered.checked_add(1).filter(|first| *first <= last) else { return };
        let held = self.held.range(first..=last).map(|(&counter, _)| (counter, counter));
        let mut here: Vec<(u64, u64)> = held.chain(self.lost.iter().filter(|range| range.1 >= first)).collect();
        here.sort_unstable();
        for (from, through) in here {
            if from > last {
                break;
            }
            if from > first {
                each(first, from - 1);
            }
            match through.checked_add(1) {
                Some(next) => first = first.max(next),
                None => return,
            }
        }
        if first <= last {
            each(first, last);
        }
    }
}

/// The position of a node that is not before another one; found at once if it is there, as it is in clocks of all nodes.
#[inline]
fn position_after(entries: &[Entry], start: usize, node: NodeId) -> Result<usize, usize> {
    if entries.get(start).is_some_and(|entry| entry.0 == node) {
        return Ok(start);
    }
    let wanted = key(&(node, 0));
    let found = entries[start.min(entries.len())..].binary_search_by(|entry| key(entry).cmp(&wanted));
    found.map(|position| start + position).map_err(|position| start + position)
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_in_spite_of_contradictions_leaves_no_registration_behind() {
        // The first message of a node claims to have seen what its second has not: it alone waits for another node.
        let (sender, other) = (NodeId([1; 16]), NodeId([2; 16]));
        let first = VectorClock::from_counters([(sender, 1), (other, 100)]).unwrap();
        let second = VectorClock::from_counters([(sender, 2)]).unwrap();
        let options = CausalOptions { age_ns_max: Some(10), ..CausalOptions::default() };
        let mut buffer = CausalBuffer::new(options).unwrap();
        let registrations =
            |buffer: &CausalBuffer<u64>| buffer.peers.iter().map(|peer| peer.waits.len()).sum::<usize>();
        assert_eq!(buffer.accept(0, sender, &second, 2, |_| {}), Arrival::Waiting);
        assert_eq!(buffer.accept(5, sender, &first, 1, |_| {}), Arrival::Waiting);
        assert_eq!(registrations(&buffer), 2);
        let mut heard = Vec::new();
        assert_eq!(buffer.expire(10, |message| heard.push(message)), 0);
        assert_eq!((heard, buffer.books().contradictory), (vec![1, 2], 1));
        assert_eq!(registrations(&buffer), 0);
    }
}
