//! The causal buffer against an oracle that knows the whole history of every message.
#![cfg(not(loom))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use chronofabric_clock::{
    Arrival, CausalBooks, CausalBuffer, CausalOptions, ClockError, Gap, NodeId, OnFull, Refusal, VectorClock,
};
use common::{cases, node};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn clock(counters: &[(u8, u64)]) -> VectorClock {
    VectorClock::from_counters(counters.iter().map(|(number, counter)| (node(*number), *counter))).unwrap()
}

fn buffer<T>(capacity: usize, on_full: OnFull, age_ns_max: Option<i64>) -> CausalBuffer<T> {
    CausalBuffer::new(CausalOptions { capacity, on_full, age_ns_max }).unwrap()
}

/// A message is known by its sender and its number there.
type Name = (u8, u64);

#[derive(Clone, Debug)]
struct Message {
    name: Name,
    clock: VectorClock,
    /// Everything that its sender had sent and been delivered before.
    history: BTreeSet<Name>,
}

/// Nodes that publish, and are delivered what others published as soon as they have its history.
fn exchange(nodes: u8, steps: &[(u8, u8, bool)]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut delivered: Vec<BTreeSet<Name>> = vec![BTreeSet::new(); usize::from(nodes)];
    for (number, pick, publish) in steps {
        let number = number % nodes;
        let seen = &mut delivered[usize::from(number)];
        if *publish {
            let counter = 1 + seen.iter().filter(|name| name.0 == number).count() as u64;
            let mut counters = BTreeMap::from([(node(number), counter)]);
            for name in seen.iter() {
                let newest = counters.entry(node(name.0)).or_default();
                *newest = name.1.max(*newest);
            }
            let clock = VectorClock::from_counters(counters).unwrap();
            messages.push(Message { name: (number, counter), clock, history: seen.clone() });
            seen.insert((number, counter));
        } else {
            let due: Vec<_> =
                messages.iter().filter(|each| !seen.contains(&each.name) && each.history.is_subset(seen)).collect();
            if let Some(message) = due.get(usize::from(*pick) % due.len().max(1)) {
                seen.insert(message.name);
            }
        }
    }
    messages
}

/// The naive buffer: looks at everything whenever anything comes.
#[derive(Default)]
struct Oracle {
    delivered: BTreeSet<Name>,
    lost: BTreeSet<Name>,
    held: Vec<(Message, i64)>,
    books: CausalBooks,
}

impl Oracle {
    fn is_passed(&self, name: Name) -> bool {
        (1..=name.1)
            .all(|counter| self.delivered.contains(&(name.0, counter)) || self.lost.contains(&(name.0, counter)))
    }

    fn settle(&mut self) -> BTreeSet<Name> {
        let mut due = BTreeSet::new();
        while let Some(place) = self.held.iter().position(|(message, _)| {
            message.history.iter().all(|name| self.delivered.contains(name) || self.lost.contains(name))
        }) {
            let name = self.held.remove(place).0.name;
            self.delivered.insert(name);
            self.books.delivered += 1;
            due.insert(name);
        }
        due
    }

    fn accept(&mut self, now_ns: i64, message: &Message) -> (&'static str, BTreeSet<Name>) {
        self.books.received += 1;
        let name = message.name;
        if self.delivered.contains(&name) || self.held.iter().any(|held| held.0.name == name) {
            self.books.duplicates += 1;
            return ("duplicate", BTreeSet::new());
        }
        if self.lost.contains(&name) {
            if self.is_passed(name) {
                self.lost.remove(&name);
                // Handed out all the same: a second one is a duplicate.
                self.delivered.insert(name);
                self.books.late += 1;
                return ("late", BTreeSet::new());
            }
            self.lost.remove(&name);
            self.books.lost -= 1;
        }
        self.held.push((message.clone(), now_ns));
        let due = self.settle();
        (if due.contains(&name) { "delivered" } else { "waiting" }, due)
    }

    fn declare_lost(&mut self, number: u8, through: u64) -> (u64, BTreeSet<Name>) {
        let missing: Vec<Name> = (1..=through)
            .map(|counter| (number, counter))
            .filter(|name| !self.delivered.contains(name) && !self.lost.contains(name))
            .filter(|name| self.held.iter().all(|held| held.0.name != *name))
            .collect();
        self.books.lost += missing.len() as u64;
        self.lost.extend(&missing);
        (missing.len() as u64, self.settle())
    }

    fn missing(&self) -> BTreeMap<Name, i64> {
        let mut missing = BTreeMap::new();
        for (message, since_ns) in &self.held {
            for name in &message.history {
                let here = self.held.iter().any(|held| held.0.name == *name);
                if !here && !self.delivered.contains(name) && !self.lost.contains(name) {
                    let since = missing.entry(*name).or_insert(*since_ns);
                    *since = (*since).min(*since_ns);
                }
            }
        }
        missing
    }

    fn books(&self) -> CausalBooks {
        CausalBooks { pending: self.held.len() as u64, ..self.books }
    }
}

/// What a buffer delivered, checked for order as it comes.
#[derive(Default)]
struct Heard {
    all: BTreeSet<Name>,
    now: BTreeSet<Name>,
}

impl Heard {
    fn hear(&mut self, message: Message, excused: &BTreeSet<Name>) {
        assert!(message.history.iter().all(|name| self.all.contains(name) || excused.contains(name)), "{message:?}");
        assert!(self.all.insert(message.name), "{message:?} came twice");
        self.now.insert(message.name);
    }
}

/// Steps of an exchange, and what happens at a buffer that watches it.
type Arrivals = (Vec<(u8, u8, bool)>, Vec<(u16, u8)>);

fn arrivals() -> impl Strategy<Value = Arrivals> {
    (vec((0_u8..5, any::<u8>(), any::<bool>()), 1..60), vec((any::<u16>(), any::<u8>()), 1..120))
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn the_buffer_does_what_an_oracle_with_all_histories_does((steps, moves) in arrivals(), nodes in 2_u8..6) {
        let messages = exchange(nodes, &steps);
        prop_assume!(!messages.is_empty());
        let mut buffer = buffer(1_000, OnFull::Refuse, None);
        let (mut oracle, mut heard) = (Oracle::default(), Heard::default());
        // Whatever is lost at some time may be missing from a history from then on.
        let mut excused = BTreeSet::new();
        for (now_ns, (pick, what)) in (0_i64..).zip(moves) {
            heard.now.clear();
            if what < 24 {
                let (number, through) = (what % nodes, u64::from(pick % 12));
                let (count, due) = oracle.declare_lost(number, through);
                excused.extend(&oracle.lost);
                let declared = buffer.declare_lost(node(number), through, |message| heard.hear(message, &excused)).unwrap();
                prop_assert_eq!(declared, count);
                prop_assert_eq!(&heard.now, &due);
            } else {
                let message = &messages[usize::from(pick) % messages.len()];
                let (outcome, due) = oracle.accept(now_ns, message);
                let sender = node(message.name.0);
                let arrival =
                    buffer.accept(now_ns, sender, &message.clock, message.clone(), |message| heard.hear(message, &excused));
                prop_assert_eq!(arrival.name(), outcome);
                prop_assert_eq!(&heard.now, &due);
            }
            prop_assert_eq!(buffer.books(), oracle.books());
            prop_assert!(buffer.books().balanced());
            let missing: BTreeMap<Name, i64> = buffer.gaps().iter()
                .flat_map(|gap| (gap.first..=gap.last).map(|counter| ((gap.node.0[0], counter), gap.since_ns)))
                .collect();
            let expected = oracle.missing();
            prop_assert_eq!(missing.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for gap in buffer.gaps() {
                prop_assert_eq!(gap.since_ns, expected[&(gap.node.0[0], gap.first)]);
            }
        }
    }

    #[test]
    fn everything_arrives_in_causal_order_once_all_of_it_has_arrived((steps, moves) in arrivals(), nodes in 2_u8..6) {
        let messages = exchange(nodes, &steps);
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.sort_by_key(|place| moves[place % moves.len()]);
        let mut buffer = buffer(messages.len().max(1), OnFull::Refuse, None);
        let mut heard = Heard::default();
        for place in &order {
            let message = &messages[*place];
            let arrival = buffer.accept(0, node(message.name.0), &message.clock, message.clone(), |message| {
                heard.hear(message, &BTreeSet::new());
            });
            prop_assert!(matches!(arrival, Arrival::Delivered | Arrival::Waiting));
        }
        prop_assert_eq!(heard.all.len(), messages.len());
        prop_assert_eq!(buffer.pending(), 0);
        prop_assert!(buffer.gaps().is_empty());
        let mut past = VectorClock::new();
        for message in &messages {
            past.merge(&message.clock).unwrap();
        }
        prop_assert_eq!(buffer.delivered(), past);
    }

    #[test]
    fn nothing_waits_longer_than_it_may_and_only_what_is_missing_is_declared_lost(
        (steps, moves) in arrivals(), nodes in 2_u8..6, age_ns in 1_i64..30,
    ) {
        let messages = exchange(nodes, &steps);
        prop_assume!(!messages.is_empty());
        let mut buffer = buffer(1_000, OnFull::Refuse, Some(age_ns));
        let mut heard = Heard::default();
        // What may be missing from a history: what has not come, and what came too late.
        let mut absent: BTreeSet<Name> = messages.iter().map(|message| message.name).collect();
        for (now_ns, (pick, what)) in (0_i64..).zip(moves) {
            buffer.expire(now_ns, |message| heard.hear(message, &absent));
            prop_assert!(buffer.next_expiry_ns().is_none_or(|expiry_ns| expiry_ns > now_ns));
            if what < 128 {
                let message = &messages[usize::from(pick) % messages.len()];
                let arrival = buffer.accept(now_ns, node(message.name.0), &message.clock, message.clone(), |message| {
                    heard.hear(message, &absent);
                });
                if matches!(arrival, Arrival::Delivered | Arrival::Waiting) {
                    absent.remove(&message.name);
                }
            }
        }
        prop_assert_eq!(buffer.books().contradictory, 0);
        buffer.expire(i64::MAX, |message| heard.hear(message, &absent));
        prop_assert_eq!(buffer.books().contradictory, 0, "honest clocks never contradict each other");
        prop_assert_eq!((buffer.books().pending, buffer.books().balanced()), (0, true));
        prop_assert!(buffer.gaps().is_empty());
    }

    #[test]
    fn no_clocks_however_forged_make_it_panic_block_grow_or_deliver_twice(
        forged in vec((0_u8..4, vec((0_u8..4, prop_oneof![0_u64..6, Just(u64::MAX), Just(u64::MAX - 1)]), 0..4), any::<u8>()), 0..80),
        capacity in 1_usize..6, refuse: bool,
    ) {
        let on_full = if refuse { OnFull::Refuse } else { OnFull::DeclareLost };
        let mut buffer = buffer(capacity, on_full, Some(10));
        let mut heard = BTreeSet::new();
        let mut handed_back = 0;
        for (now_ns, (sender, counters, what)) in (0_i64..).zip(forged) {
            let clock = clock(&counters);
            let name = (sender, clock.get(node(sender)));
            let mut twice = false;
            match what {
                0..16 => _ = buffer.expire(now_ns, |name| twice |= !heard.insert(name)),
                16..32 => {
                    _ = buffer.declare_lost(node(sender), name.1, |name| twice |= !heard.insert(name)).unwrap();
                }
                _ => {
                    let arrival = buffer.accept(now_ns, node(sender), &clock, name, |name| twice |= !heard.insert(name));
                    handed_back += u64::from(!matches!(arrival, Arrival::Delivered | Arrival::Waiting));
                    prop_assert!(refuse || !matches!(arrival, Arrival::Refused(_, Refusal::Full)));
                }
            }
            prop_assert!(!twice);
            prop_assert!(buffer.pending() <= capacity);
            let books = buffer.books();
            prop_assert!(books.balanced());
            prop_assert_eq!(books.delivered, heard.len() as u64);
            prop_assert_eq!(books.duplicates + books.late + books.refused, handed_back);
            for gap in buffer.gaps() {
                prop_assert!(gap.first <= gap.last && gap.since_ns <= now_ns);
            }
        }
        buffer.expire(i64::MAX, |name| _ = heard.insert(name));
        prop_assert_eq!((buffer.pending(), buffer.books().delivered), (0, heard.len() as u64));
    }
}

#[test]
fn an_answer_waits_for_its_question() {
    let mut buffer = buffer(10, OnFull::Refuse, None);
    let mut heard = Vec::new();
    let arrival = buffer.accept(5, node(2), &clock(&[(1, 1), (2, 1)]), "answer", |message| heard.push(message));
    assert_eq!(arrival, Arrival::Waiting);
    assert_eq!(buffer.gaps(), [Gap { node: node(1), first: 1, last: 1, since_ns: 5 }]);
    let arrival = buffer.accept(6, node(1), &clock(&[(1, 1)]), "question", |message| heard.push(message));
    assert_eq!(arrival, Arrival::Delivered);
    assert_eq!(heard, ["question", "answer"]);
    assert_eq!(buffer.delivered(), clock(&[(1, 1), (2, 1)]));
}

#[test]
fn what_comes_after_it_was_declared_lost_is_handed_back_as_late_once() {
    let mut buffer = buffer(10, OnFull::Refuse, None);
    let mut heard = Vec::new();
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 3)]), 3, |message| heard.push(message)), Arrival::Waiting);
    assert_eq!(buffer.declare_lost(node(1), 2, |message| heard.push(message)).unwrap(), 2);
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 2)]), 2, |_| panic!()), Arrival::Late(2));
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 2)]), 2, |_| panic!()), Arrival::Duplicate(2));
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 3)]), 3, |_| panic!()), Arrival::Duplicate(3));
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 4)]), 4, |message| heard.push(message)), Arrival::Delivered);
    assert_eq!(heard, [3, 4]);
    let expected = CausalBooks { received: 5, delivered: 2, duplicates: 2, late: 1, lost: 2, ..CausalBooks::default() };
    assert_eq!(buffer.books(), expected);
}

#[test]
fn what_was_declared_lost_takes_its_place_if_nothing_after_it_was_delivered_yet() {
    let mut buffer = buffer(10, OnFull::Refuse, None);
    let mut heard = Vec::new();
    // 2 waits for another node; 3 is declared lost behind it, and comes before 2 could be delivered.
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 1)]), 1, |message| heard.push(message)), Arrival::Delivered);
    assert_eq!(
        buffer.accept(0, node(1), &clock(&[(1, 2), (2, 1)]), 2, |message| heard.push(message)),
        Arrival::Waiting
    );
    assert_eq!(buffer.declare_lost(node(1), 3, |message| heard.push(message)).unwrap(), 1);
    assert_eq!(
        buffer.accept(0, node(1), &clock(&[(1, 3), (2, 1)]), 3, |message| heard.push(message)),
        Arrival::Waiting
    );
    assert_eq!(buffer.books().lost, 0);
    assert_eq!(buffer.accept(0, node(2), &clock(&[(2, 1)]), 9, |message| heard.push(message)), Arrival::Delivered);
    assert_eq!(heard, [1, 9, 2, 3]);
}

#[test]
fn a_full_buffer_refuses_what_would_wait_and_takes_what_would_not() {
    let mut buffer = buffer(2, OnFull::Refuse, None);
    let mut heard = Vec::new();
    for counter in [2, 3] {
        let arrival = buffer.accept(0, node(1), &clock(&[(1, counter)]), counter, |message| heard.push(message));
        assert_eq!(arrival, Arrival::Waiting);
    }
    let full = Arrival::Refused(4, Refusal::Full);
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 4)]), 4, |message| heard.push(message)), full);
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 1)]), 1, |message| heard.push(message)), Arrival::Delivered);
    assert_eq!(heard, [1, 2, 3]);
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 4)]), 4, |message| heard.push(message)), Arrival::Delivered);
    assert_eq!((buffer.books().refused, buffer.books().balanced()), (1, true));
}

#[test]
fn a_full_buffer_may_give_up_what_the_oldest_waits_for() {
    let mut buffer = buffer(2, OnFull::DeclareLost, None);
    let mut heard = Vec::new();
    for counter in [3, 5, 7] {
        _ = buffer.accept(0, node(1), &clock(&[(1, counter)]), counter, |message| heard.push(message));
    }
    assert_eq!(heard, [3], "1 and 2 are lost; 5 and 7 still wait for 4 and 6");
    assert_eq!((buffer.books().lost, buffer.pending()), (2, 2));
    // The newest itself may be what the oldest waited for.
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 4)]), 4, |message| heard.push(message)), Arrival::Delivered);
    assert_eq!(heard, [3, 4, 5]);
}

#[test]
fn clocks_that_contradict_each_other_cannot_block_it() {
    let mut buffer = buffer(10, OnFull::Refuse, Some(100));
    let mut heard = Vec::new();
    let contradiction = clock(&[(1, 1), (2, 1)]);
    for number in [1, 2] {
        assert_eq!(buffer.accept(0, node(number), &contradiction, number, |_| panic!()), Arrival::Waiting);
    }
    assert!(buffer.gaps().is_empty(), "nothing is missing");
    assert_eq!(buffer.next_expiry_ns(), Some(100));
    assert_eq!(buffer.expire(99, |_| panic!()), 0);
    assert_eq!(buffer.expire(100, |message| heard.push(message)), 0);
    assert_eq!(heard, [1, 2]);
    assert_eq!((buffer.books().contradictory, buffer.books().balanced(), buffer.pending()), (1, true, 0));
}

#[test]
fn a_message_that_does_not_count_itself_is_refused() {
    let mut buffer = buffer(10, OnFull::Refuse, None);
    let refused = Arrival::Refused("message", Refusal::NotOfSender);
    assert_eq!(buffer.accept(0, node(1), &VectorClock::new(), "message", |_| panic!()), refused);
    assert_eq!(buffer.accept(0, node(1), &clock(&[(2, 1)]), "message", |_| panic!()), refused);
    assert_eq!((buffer.books().refused, buffer.books().balanced()), (2, true));
}

#[test]
fn more_nodes_than_a_clock_may_know_are_refused() {
    let mut buffer = buffer(10, OnFull::Refuse, None);
    for number in 0..VectorClock::NODES_MAX as u128 {
        let sender = NodeId(number.to_be_bytes());
        let clock = VectorClock::from_counters([(sender, 1)]).unwrap();
        assert_eq!(buffer.accept(0, sender, &clock, (), |()| {}), Arrival::Delivered);
    }
    let refused = Arrival::Refused((), Refusal::NodeLimit);
    assert_eq!(buffer.accept(0, node(0xff), &clock(&[(0xff, 1)]), (), |()| {}), refused);
    assert!(matches!(buffer.declare_lost(node(0xff), 1, |()| {}), Err(ClockError::NodeLimit { limit: 4096 })));
    let known = NodeId(7_u128.to_be_bytes());
    let next = VectorClock::from_counters([(known, 2)]).unwrap();
    assert_eq!(buffer.accept(0, known, &next, (), |()| {}), Arrival::Delivered);
}

#[test]
fn a_buffer_that_starts_at_a_snapshot_waits_for_nothing_in_its_past() {
    let options = CausalOptions::default();
    let mut buffer = CausalBuffer::starting_at(&clock(&[(1, 500), (2, 9)]), options).unwrap();
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 501), (2, 9)]), 501, |_| {}), Arrival::Delivered);
    assert_eq!(buffer.accept(0, node(1), &clock(&[(1, 500), (2, 9)]), 500, |_| {}), Arrival::Duplicate(500));
    assert_eq!(buffer.delivered(), clock(&[(1, 501), (2, 9)]));
}

#[test]
fn what_still_waits_is_handed_out_at_the_end() {
    let mut buffer = buffer(10, OnFull::Refuse, None);
    for counter in [5, 3] {
        _ = buffer.accept(0, node(1), &clock(&[(1, counter)]), counter, |_| panic!());
    }
    assert_eq!(buffer.iter_pending().collect::<Vec<_>>(), [&5, &3]);
    assert_eq!(buffer.into_pending().collect::<Vec<_>>(), [5, 3]);
}

#[test]
fn options_outside_their_limits_are_refused_by_name() {
    for (capacity, age_ns_max, name) in
        [(0, None, "capacity"), (usize::MAX, None, "capacity"), (1, Some(0), "age_ns_max")]
    {
        let options = CausalOptions { capacity, on_full: OnFull::Refuse, age_ns_max };
        let error = CausalBuffer::<()>::new(options).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
