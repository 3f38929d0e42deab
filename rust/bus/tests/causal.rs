//! Causal order: threads that are held up between pushes, every policy against what it promises, and events that other
//! nodes have put into their own order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_bus::{
    Access, Blocked, Books, Bus, BusOptions, CausalCounts, Concurrent, Extras, Magazine, NewEvent, Order, Outcome,
    Overflow, Pattern, Payload, Pool, Provenance, Reason, Receiver, Share, Subscription, SubscriptionOptions, Topic,
    Victims, Wake,
};
use chronofabric_clock::{HybridLogicalClock, NodeId, TimeSource, VectorClock};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const ME: Receiver = Receiver { token: 1, number: || 1 };
const HERE: NodeId = NodeId([1; 16]);

thread_local! {
    static MAGAZINE: Magazine<Item> = const { Magazine::new() };
    /// State of the numbers by which this thread gives up its turn; zero for never.
    static YIELDS: Cell<u64> = const { Cell::new(0) };
}
static POOL: Pool<Item> = Pool::new(64);

/// The bus asks for cells and for sizes between one push and the next: there threads give up their turn.
fn perhaps_yield() {
    YIELDS.with(|state| {
        if state.get() != 0 {
            let mut number = state.get();
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            state.set(number);
            if number % 3 == 0 {
                thread::yield_now();
            }
        }
    });
}

/// A payload: its number, and that of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    number: u64,
    cause: Option<u64>,
}

impl Payload for Item {
    type Headers = ();
    type Reply = ();
    type Face = ();
    fn pool() -> &'static Pool<Self> {
        &POOL
    }
    fn magazine<R>(_access: impl Access, function: impl FnOnce(&Magazine<Self>) -> R) -> Option<R> {
        perhaps_yield();
        MAGAZINE.try_with(function).ok()
    }
    fn measure(&mut self) {}
    fn bytes(&self) -> usize {
        perhaps_yield();
        8
    }
    fn part(&self, _place: usize) -> Self {
        *self
    }
    fn share_headers(_headers: &()) {}
}

fn bus() -> Bus<Item> {
    let source = TimeSource::system();
    let clock = Arc::new(HybridLogicalClock::new(source.clone(), HERE));
    Bus::new(source, clock, BusOptions::default())
}

fn options(capacity: usize, overflow: Overflow) -> SubscriptionOptions {
    SubscriptionOptions { capacity, overflow, order: Order::Causal, ..Default::default() }
}

fn publish(topic: &Topic<Item>, number: u64, priority: u8) -> Outcome<Item> {
    let mut outcome = Outcome::default();
    let item = Item { number, cause: None };
    topic.publish(Concurrent, NewEvent { priority, ..NewEvent::new(item) }, &mut outcome).unwrap();
    outcome
}

fn bring(topic: &Topic<Item>, number: u64, node: NodeId, clock: &VectorClock) {
    let provenance = Some(Provenance { node, clock: clock.clone() });
    let extras = Some(Box::new(Extras { deadline_ns: None, headers: None, provenance, reply: None }));
    let event = NewEvent { extras, ..NewEvent::new(Item { number, cause: None }) };
    topic.publish(Concurrent, event, &mut Outcome::default()).unwrap();
}

fn receive(subscription: &Subscription<Item>) -> Option<Share<Item>> {
    subscription.try_receive(Concurrent, ME, || 0)
}

fn number(event: &Share<Item>) -> u64 {
    event.payload().unwrap().number
}

fn drain(subscription: &Subscription<Item>) -> Vec<u64> {
    std::iter::from_fn(|| receive(subscription)).map(|event| number(&event)).collect()
}

fn clock(counters: &[(NodeId, u64)]) -> VectorClock {
    VectorClock::from_counters(counters.iter().copied()).unwrap()
}

fn dropped(books: &Books) -> u64 {
    books.dropped.iter().sum()
}

#[test]
fn neither_priorities_nor_topics_overtake_what_was_published_before() {
    let bus = bus();
    let urgent_first = SubscriptionOptions { order: Order::Publisher, ..options(64, Overflow::DropOldest) };
    let urgent_first = bus.subscribe(Pattern::parse("**").unwrap(), urgent_first).unwrap();
    let ordered = bus.subscribe(Pattern::parse("**").unwrap(), options(64, Overflow::DropOldest)).unwrap();
    let topics = ["a", "b", "c"].map(|name| bus.topic(name).unwrap());
    for number in 0..48 {
        publish(&topics[number as usize % 3], number, (number * 7 % 4) as u8);
    }
    assert_ne!(drain(&urgent_first), (0..48).collect::<Vec<_>>());
    assert_eq!(drain(&ordered), (0..48).collect::<Vec<_>>());
    for number in 0..48 {
        publish(&topics[number as usize % 3], number, (number * 7 % 4) as u8);
    }
    let batches = [5, 1, 100].map(|limit| ordered.try_receive_many(Concurrent, ME, limit, || 0));
    assert_eq!(batches.each_ref().map(Vec::len), [5, 1, 42]);
    assert_eq!(batches.iter().flatten().map(number).collect::<Vec<_>>(), (0..48).collect::<Vec<_>>());
}

#[test]
fn clocks_travel_only_to_who_asked_and_count_what_each_was_offered() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let plain = bus.subscribe(Pattern::parse("a").unwrap(), SubscriptionOptions::default()).unwrap();
    publish(&topic, 0, 1);
    assert!(receive(&plain).unwrap().provenance().is_none());
    let ordered = [0, 1].map(|_| {
        publish(&topic, 0, 1);
        bus.subscribe(Pattern::parse("a").unwrap(), options(4, Overflow::DropNewest)).unwrap()
    });
    publish(&topic, 9, 1);
    let counts = ordered.each_ref().map(|subscription| {
        let last = std::iter::from_fn(|| receive(subscription)).last().unwrap();
        let provenance = last.provenance().unwrap();
        assert_eq!((provenance.node, number(&last)), (HERE, 9));
        provenance.clock.get(HERE)
    });
    assert_eq!(counts, [2, 1]);
    assert!(std::iter::from_fn(|| receive(&plain)).all(|event| event.provenance().is_none()));
    assert_eq!(plain.causal_counts(), None);
}

#[test]
fn who_comes_after_a_waiting_publisher_waits_behind_it() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let ordered = bus.subscribe(Pattern::parse("a").unwrap(), options(1, Overflow::Block)).unwrap();
    let mut victims = Victims::new();
    assert!(publish(&topic, 0, 1).blocked.is_empty());
    let mut waiting: Vec<Blocked<Item>> =
        (1..4).flat_map(|number| publish(&topic, number, number as u8).blocked).collect();
    assert_eq!(waiting.len(), 3, "an urgent event might have been caused by the one that waits");
    assert_eq!(drain(&ordered), [0]);
    assert_eq!(waiting.iter().map(Blocked::has_room).collect::<Vec<_>>(), [true, false, false]);
    assert!(!waiting[2].retry(Concurrent, &mut victims) && !waiting[1].retry(Concurrent, &mut victims));
    waiting.remove(0).give_up(Reason::Timeout, &mut victims);
    assert!(!waiting[1].retry(Concurrent, &mut victims));
    assert!(waiting[0].retry(Concurrent, &mut victims) && waiting[1].retry(Concurrent, &mut victims));
    assert_eq!(drain(&ordered), [2, 3]);
    assert_eq!(ordered.causal_counts().unwrap(), CausalCounts { lost: 1, ..CausalCounts::default() });
    let books = ordered.books();
    assert_eq!((books.balance(), books.offered, books.delivered, dropped(&books)), (0, 4, 3, 1));
}

#[test]
fn what_is_held_back_is_dropped_and_counted_when_the_subscription_closes() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let ordered = bus.subscribe(Pattern::parse("a").unwrap(), options(8, Overflow::DropOldest)).unwrap();
    let far = NodeId([7; 16]);
    for counter in [2, 3] {
        bring(&topic, counter, far, &clock(&[(far, counter)]));
    }
    publish(&topic, 4, 3);
    assert!(receive(&ordered).is_none(), "what was published here may have been caused by what is held back");
    assert!(!ordered.is_ready());
    assert_eq!((ordered.pending(), ordered.causal_counts().unwrap().held_back), (3, 3));
    assert_eq!((ordered.books().pending, ordered.books().delivered, ordered.books().balance()), (3, 0, 0));
    let mut victims = Victims::new();
    bus.unsubscribe(&ordered, Reason::Unsubscribed, &mut victims);
    assert_eq!(victims.len(), 3);
    let books = ordered.books();
    assert_eq!((books.pending, books.dropped[Reason::Unsubscribed as usize], books.balance()), (0, 3, 0));
    assert_eq!(ordered.causal_counts().unwrap().held_back, 0);
}

#[test]
fn a_dead_letter_comes_late_unless_what_followed_it_still_waits() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let ordered = bus.subscribe(Pattern::parse("a").unwrap(), options(2, Overflow::DeadLetter)).unwrap();
    let mut victims = Victims::new();
    // 2 finds no room; 3 does, and so follows a gap.
    (0..3).for_each(|number| drop(publish(&topic, number, 1)));
    publish(&topic, 3, 3);
    assert_eq!(number(&receive(&ordered).unwrap()), 0);
    assert_eq!(ordered.replay_dead_letters(Concurrent, 9, &mut victims), 1);
    assert_eq!(drain(&ordered), [1, 2, 3]);
    assert_eq!(ordered.causal_counts().unwrap(), CausalCounts::default());

    (4..7).for_each(|number| drop(publish(&topic, number, 1)));
    publish(&topic, 7, 3);
    assert_eq!(drain(&ordered), [4, 5, 7]);
    assert_eq!(ordered.replay_dead_letters(Concurrent, 9, &mut victims), 1);
    assert_eq!(drain(&ordered), [6]);
    assert_eq!(ordered.causal_counts().unwrap(), CausalCounts { late: 1, lost: 1, ..CausalCounts::default() });
    assert_eq!(ordered.books().balance(), 0);
}

#[test]
fn a_receiver_that_sleeps_is_woken_for_what_another_one_has_released() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(&self, _token: u64) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let ordered = bus.subscribe(Pattern::parse("a").unwrap(), options(8, Overflow::DropOldest)).unwrap();
    let far = NodeId([7; 16]);
    bring(&topic, 2, far, &clock(&[(far, 2)]));
    assert!(receive(&ordered).is_none());
    bring(&topic, 1, far, &clock(&[(far, 1)]));
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    ordered.items().arm(Arc::clone(&flag) as Arc<dyn Wake>, 0);
    assert_eq!(number(&receive(&ordered).unwrap()), 1);
    assert!(flag.0.load(Ordering::SeqCst) && ordered.is_ready());
    assert_eq!(drain(&ordered), [2]);
    bring(&topic, 4, far, &clock(&[(far, 4)]));
    assert!(receive(&ordered).is_none());
    flag.0.store(false, Ordering::SeqCst);
    ordered.items().arm(Arc::clone(&flag) as Arc<dyn Wake>, 0);
    ordered.declare_lost(far, 3);
    assert!(flag.0.load(Ordering::SeqCst));
    assert_eq!(drain(&ordered), [4]);
}

#[test]
fn an_event_that_claims_a_place_of_this_node_does_not_take_it() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let ordered = bus.subscribe(Pattern::parse("a").unwrap(), options(8, Overflow::DropOldest)).unwrap();
    bring(&topic, 100, HERE, &clock(&[(HERE, 2)]));
    publish(&topic, 1, 1);
    publish(&topic, 2, 1);
    bring(&topic, 101, HERE, &clock(&[(HERE, 2)]));
    assert_eq!(drain(&ordered), [100, 1, 2]);
    let books = ordered.books();
    assert_eq!((books.dropped[Reason::Duplicate as usize], books.balance()), (1, 0));
    assert_eq!(ordered.causal_counts().unwrap().duplicates, 1);
}

#[test]
fn what_other_nodes_never_send_is_declared_lost_once_too_much_waits_for_it() {
    let bus = bus();
    let topic = bus.topic("a").unwrap();
    let ordered = bus.subscribe(Pattern::parse("a").unwrap(), options(4, Overflow::DropOldest)).unwrap();
    let far = NodeId([7; 16]);
    let mut heard = Vec::new();
    for counter in 2..40 {
        bring(&topic, counter, far, &clock(&[(far, counter)]));
        heard.extend(drain(&ordered));
        assert!(ordered.pending() <= 16, "four priorities of four");
    }
    assert_eq!(heard, (2..40).collect::<Vec<_>>());
    assert_eq!(ordered.causal_counts().unwrap().lost, 1);
}

/// What publishers, a receiver that answers, and two that want causal order make of each other, for one seed.
fn storm(seed: u64, order: Order) -> usize {
    const PUBLISHERS: u64 = 2;
    const EACH: u64 = 150;
    let bus = Arc::new(bus());
    // Bounded in bytes, so that every push asks for a size.
    let wide = SubscriptionOptions { capacity_bytes: Some(1 << 20), ..options(4096, Overflow::Block) };
    let plain = SubscriptionOptions { order: Order::Publisher, ..wide.clone() };
    let wide = SubscriptionOptions { order, ..wide };
    let answered = bus.subscribe(Pattern::parse("cause").unwrap(), plain).unwrap();
    let watched: Vec<_> = (0..2).map(|_| bus.subscribe(Pattern::parse("**").unwrap(), wide.clone()).unwrap()).collect();
    let next = AtomicU64::new(PUBLISHERS * EACH);
    let answers = 2 * PUBLISHERS * EACH;
    let yields = |thread: u64| YIELDS.set((seed << 8 | thread).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let send = |topic: &Topic<Item>, item: Item, priority: u64| {
        let event = NewEvent { priority: (priority % 4) as u8, ..NewEvent::new(item) };
        topic.publish(Concurrent, event, &mut Outcome::default()).unwrap();
    };
    let (next, send, yields) = (&next, &send, &yields);
    let violations = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let topic = bus.topic("cause").unwrap();
            scope.spawn(move || {
                yields(publisher);
                for number in publisher * EACH..(publisher + 1) * EACH {
                    send(&topic, Item { number, cause: None }, number * 5);
                }
            });
        }
        // One answers from an ordinary subscription, one from the first in causal order, to the second.
        let effect = bus.topic("effect").unwrap();
        let answerer = &answered;
        scope.spawn(move || {
            yields(10);
            let mut left = PUBLISHERS * EACH;
            while left > 0 {
                let Some(event) = receive(answerer) else {
                    thread::yield_now();
                    continue;
                };
                let item = Item { number: next.fetch_add(1, Ordering::Relaxed), cause: Some(number(&event)) };
                send(&effect, item, item.number * 3);
                left -= 1;
            }
        });
        let receivers: Vec<_> = watched
            .iter()
            .enumerate()
            .map(|(index, subscription)| {
                let effect = bus.topic("effect").unwrap();
                scope.spawn(move || {
                    yields(20 + index as u64);
                    let (mut seen, mut violations) = (HashSet::new(), 0);
                    while (seen.len() as u64) < answers + PUBLISHERS * EACH {
                        let Some(event) = receive(subscription) else {
                            thread::yield_now();
                            continue;
                        };
                        assert_eq!(subscription.books().balance(), 0);
                        let Item { number, cause } = *event.payload().unwrap();
                        violations += usize::from(cause.is_some_and(|cause| !seen.contains(&cause)));
                        seen.insert(number);
                        if index == 0 && cause.is_none() {
                            let item = Item { number: next.fetch_add(1, Ordering::Relaxed), cause: Some(number) };
                            send(&effect, item, item.number * 7);
                        }
                    }
                    violations
                })
            })
            .collect();
        receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum()
    });
    for subscription in &watched {
        let books = subscription.books();
        assert_eq!((books.balance(), books.pending), (0, 0));
        assert_eq!(books.delivered, 3 * PUBLISHERS * EACH);
        if order == Order::Causal {
            assert_eq!(subscription.causal_counts().unwrap(), CausalCounts::default());
        }
    }
    violations
}

#[test]
fn an_effect_never_comes_before_its_cause_however_threads_are_held_up_between_pushes() {
    for seed in 0..20 {
        assert_eq!(storm(seed, Order::Causal), 0, "seed {seed}");
    }
    assert!((0..20).any(|seed| storm(seed, Order::Publisher) > 0), "the storm shows nothing");
}

/// A step of one thread.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u8),
    Receive(usize),
    Retry(usize),
    GiveUp(usize),
    Replay(usize),
    Pause(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4).prop_map(Step::Publish),
        4 => (1usize..4).prop_map(Step::Receive),
        3 => (0usize..8).prop_map(Step::Retry),
        1 => (0usize..8).prop_map(Step::GiveUp),
        1 => (1usize..4).prop_map(Step::Replay),
        1 => any::<bool>().prop_map(Step::Pause),
    ]
}

proptest! {
    #[test]
    fn under_every_policy_nothing_comes_early_nothing_stays_and_the_books_balance(
        steps in prop::collection::vec(step(), 0..160),
        capacity in 1usize..5,
        bytes in prop::option::of(8usize..64),
        overflow in prop::sample::select(vec![
            Overflow::DropOldest, Overflow::DropNewest, Overflow::DeadLetter, Overflow::Block,
        ]),
        closes in any::<bool>(),
    ) {
        let bus = bus();
        let topics = ["a", "b"].map(|name| bus.topic(name).unwrap());
        let bounds = SubscriptionOptions { capacity_bytes: bytes, dead_letters_max: 3, ..options(capacity, overflow) };
        let ordered = bus.subscribe(Pattern::parse("**").unwrap(), bounds).unwrap();
        let (mut published, mut heard) = (0u64, Vec::new());
        let mut waiting: Vec<Blocked<Item>> = Vec::new();
        let mut victims = Victims::new();
        let mut all = steps;
        all.push(Step::Pause(false));
        for step in all {
            match step {
                Step::Publish(priority) => {
                    let outcome = publish(&topics[published as usize % 2], published, priority);
                    waiting.extend(outcome.blocked);
                    published += 1;
                }
                Step::Receive(limit) => {
                    let taken = ordered.try_receive_many(Concurrent, ME, limit, || 0);
                    prop_assert!(taken.len() == limit || ordered.is_paused() || ordered.pending() == 0);
                    heard.extend(taken.iter().map(number));
                }
                Step::Retry(_) | Step::GiveUp(_) if waiting.is_empty() => {}
                Step::Retry(place) => {
                    let place = place % waiting.len();
                    if waiting[place].retry(Concurrent, &mut victims) {
                        prop_assert_eq!(place, 0, "in the order in which they came");
                        waiting.remove(place);
                    }
                }
                Step::GiveUp(place) => {
                    waiting.remove(place % waiting.len()).give_up(Reason::Timeout, &mut victims);
                }
                Step::Replay(limit) => drop(ordered.replay_dead_letters(Concurrent, limit, &mut victims)),
                Step::Pause(pauses) => ordered.set_paused(pauses),
            }
            let books = ordered.books();
            prop_assert_eq!(books.balance(), 0);
            prop_assert_eq!(books.offered, published - waiting.len() as u64);
            prop_assert_eq!((books.delivered, books.pending), (heard.len() as u64, ordered.pending() as u64));
            prop_assert_eq!(ordered.is_ready(), books.pending > 0 && !ordered.is_paused());
            // One of each priority but one waits beside the rings; behind a dead letter that takes its place again, more.
            let beside = if books.replayed == 0 { 3 } else { 4 * capacity };
            prop_assert!(books.pending <= (4 * capacity + beside) as u64);
        }
        if closes {
            bus.unsubscribe(&ordered, Reason::Unsubscribed, &mut victims);
            for mut blocked in waiting.drain(..) {
                prop_assert!(blocked.retry(Concurrent, &mut victims));
            }
        }
        loop {
            heard.extend(drain(&ordered));
            waiting.retain_mut(|blocked| !blocked.retry(Concurrent, &mut victims));
            if ordered.pending() == 0 && waiting.is_empty() {
                break;
            }
        }
        let (books, counts) = (ordered.books(), ordered.causal_counts().unwrap());
        prop_assert_eq!((books.balance(), books.offered, books.pending), (0, published, 0));
        prop_assert_eq!(counts.held_back, 0);
        prop_assert_eq!(heard.iter().collect::<HashSet<_>>().len(), heard.len());
        prop_assert_eq!((counts.duplicates, counts.unordered, counts.contradictory), (0, 0, 0));
        // Only replayed dead letters come after later ones.
        let mut last = None;
        let late = heard.iter().filter(|number| {
            let late = last.is_some_and(|last| last > **number);
            last = last.max(Some(**number));
            late
        });
        prop_assert!(late.count() as u64 <= counts.late);
        prop_assert!(counts.late <= books.replayed);
    }

    #[test]
    fn events_of_other_nodes_come_in_causal_order_whatever_order_they_arrive_in(
        sends in prop::collection::vec((0usize..3, any::<u8>()), 1..40),
        arrivals in prop::collection::vec((any::<prop::sample::Index>(), 0u8..12), 0..60),
    ) {
        // Three nodes send to one another; each hears some of the others before it sends.
        let nodes = [2, 3, 4].map(|byte| NodeId([byte; 16]));
        let mut clocks = [const { Vec::new() }; 3];
        let mut heard_by = [0, 1, 2].map(|_| VectorClock::new());
        let mut sent: Vec<(NodeId, VectorClock)> = Vec::new();
        for (sender, hears) in sends {
            for (other, their) in clocks.iter().enumerate() {
                if hears >> other & 1 == 1 && let Some(last) = their.last() {
                    heard_by[sender].merge(last).unwrap();
                }
            }
            heard_by[sender].increment(nodes[sender]).unwrap();
            clocks[sender].push(heard_by[sender].clone());
            sent.push((nodes[sender], heard_by[sender].clone()));
        }
        let bus = bus();
        let topic = bus.topic("a").unwrap();
        let ordered = bus.subscribe(Pattern::parse("a").unwrap(), options(256, Overflow::DropOldest)).unwrap();
        let mut heard: Vec<(u64, VectorClock)> = Vec::new();
        let mut take = || heard.extend(std::iter::from_fn(|| receive(&ordered)).map(|event| {
            (number(&event), event.provenance().unwrap().clock.clone())
        }));
        let (mut arrived, mut twice, mut own) = (HashSet::new(), 0, 0u64);
        for (index, kind) in arrivals {
            let place = index.index(sent.len());
            match kind {
                0 => {
                    own += 1;
                    publish(&topic, 1000 + own, 2);
                }
                1 => take(),
                _ => {
                    twice += u64::from(!arrived.insert(place));
                    bring(&topic, place as u64, sent[place].0, &sent[place].1);
                }
            }
        }
        // The others come at last, from the newest to the oldest.
        for place in (0..sent.len()).rev().filter(|place| !arrived.contains(place)) {
            bring(&topic, place as u64, sent[place].0, &sent[place].1);
        }
        take();
        prop_assert_eq!(heard.len() as u64, sent.len() as u64 + own);
        for (place, (later, clock)) in heard.iter().enumerate() {
            for (earlier, before) in &heard[..place] {
                prop_assert!(!clock.happens_before(before), "{} came after {}", later, earlier);
            }
        }
        let counts = ordered.causal_counts().unwrap();
        prop_assert_eq!(counts, CausalCounts { duplicates: twice, ..CausalCounts::default() });
        let books = ordered.books();
        prop_assert_eq!((books.balance(), books.pending), (0, 0));
        prop_assert_eq!(books.dropped[Reason::Duplicate as usize], twice);
    }
}
