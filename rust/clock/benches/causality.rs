//! Vector clocks beside `vclock`, and causal delivery beside the buffer that looks at everything whenever anything comes.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chronofabric_clock::{Arrival, CausalBuffer, CausalOptions, DottedVersionVector, NodeId, VectorClock};
use chronofabric_sim::Random;
use criterion::{BatchSize, Criterion, Throughput};
use std::hint::black_box;
use std::time::Duration;

const MESSAGES: usize = 1_000;
/// How far a shuffled message is from its place, at most.
const DISTANCE: usize = 50;

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build, whose figures mean nothing: run `cargo bench -p chronofabric-clock`.");
        std::process::exit(1);
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    clocks(&mut criterion);
    versions(&mut criterion);
    delivery(&mut criterion);
    criterion.final_summary();
}

fn node(number: usize) -> NodeId {
    // Ids are random in use: neighbours differ in their first bytes.
    let mut random = Random::new(number as u64, "node");
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_be_bytes());
    NodeId(bytes)
}

fn clock(nodes: usize, counter: u64) -> VectorClock {
    VectorClock::from_counters((0..nodes).map(|number| (node(number), counter + number as u64))).unwrap()
}

fn peer(clock: &VectorClock) -> vclock::VClock<[u8; 16], u64> {
    let mut peer = vclock::VClock::default();
    for (node, counter) in clock.iter() {
        // It counts from 0 at the first increment.
        for _ in 0..=counter {
            peer.incr(&node.0);
        }
    }
    peer
}

fn clocks(criterion: &mut Criterion) {
    for nodes in [4, 8, 64] {
        let (first, mut second) = (clock(nodes, 1), clock(nodes, 1));
        second.increment(node(nodes / 2)).unwrap();
        let (peer_first, peer_second) = (peer(&first), peer(&second));
        assert!(first < second && peer_first < peer_second);

        let mut group = criterion.benchmark_group(format!("vector clock, {nodes} nodes"));
        group.bench_function("compare, chronofabric", |bencher| {
            bencher.iter(|| black_box(&first).compare(black_box(&second)));
        });
        group.bench_function("compare, peer vclock", |bencher| {
            bencher.iter(|| black_box(&peer_first).partial_cmp(black_box(&peer_second)));
        });
        let (mut merged, mut peer_merged) = (first.clone(), peer_first.clone());
        group.bench_function("merge, chronofabric", |bencher| {
            bencher.iter(|| black_box(&mut merged).merge(black_box(&second)));
        });
        group.bench_function("merge, peer vclock", |bencher| {
            bencher.iter(|| black_box(&mut peer_merged).merge(black_box(&peer_second)));
        });
        let (own, mut counting, mut peer_counting) = (node(nodes / 2), first.clone(), peer_first.clone());
        group.bench_function("increment, chronofabric", |bencher| {
            bencher.iter(|| black_box(&mut counting).increment(black_box(own)));
        });
        group.bench_function("increment, peer vclock", |bencher| {
            bencher.iter(|| black_box(&mut peer_counting).incr(black_box(&own.0)));
        });
        let encoded = first.encode();
        group.bench_function("decode, chronofabric", |bencher| {
            bencher.iter(|| VectorClock::decode(black_box(&encoded)).unwrap());
        });
        group.finish();
    }
}

fn versions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dotted version vector, 8 nodes");
    let first = DottedVersionVector::event(node(3), &clock(8, 1), &[]).unwrap();
    let read = DottedVersionVector::join(std::slice::from_ref(&first)).unwrap();
    let second = DottedVersionVector::event(node(5), &read, &[]).unwrap();
    assert!(first < second);
    group.bench_function("compare, chronofabric", |bencher| {
        bencher.iter(|| black_box(&first).compare(black_box(&second)));
    });
    group.finish();
}

/// Messages of nodes in turn, each after all before it: every one depends on all others.
fn conversation(nodes: usize) -> Vec<(NodeId, VectorClock)> {
    let names: Vec<NodeId> = (0..nodes).map(node).collect();
    let mut clock = VectorClock::new();
    let turn = |turn: usize| {
        let sender = names[turn % nodes];
        clock.increment(sender).unwrap();
        (sender, clock.clone())
    };
    (0..MESSAGES).map(turn).collect()
}

/// Messages of nodes that do not listen: each depends on its node's earlier ones only.
fn monologues(nodes: usize) -> Vec<(NodeId, VectorClock)> {
    let alone = |turn: usize| {
        let sender = node(turn % nodes);
        (sender, VectorClock::from_counters([(sender, (turn / nodes + 1) as u64)]).unwrap())
    };
    (0..MESSAGES).map(alone).collect()
}

fn shuffled(messages: &[(NodeId, VectorClock)]) -> Vec<(NodeId, VectorClock)> {
    let mut random = Random::new(1, "shuffle");
    let mut places: Vec<(u64, usize)> =
        (0..messages.len()).map(|place| (place as u64 + random.below(DISTANCE as u64), place)).collect();
    places.sort_unstable();
    places.into_iter().map(|(_, place)| messages[place].clone()).collect()
}

fn delivery(criterion: &mut Criterion) {
    for nodes in [2, 4, 8, 64] {
        let mut group = criterion.benchmark_group(format!("causal delivery, {nodes} nodes"));
        group.throughput(Throughput::Elements(MESSAGES as u64));
        for (what, messages) in [("conversation", conversation(nodes)), ("monologues", monologues(nodes))] {
            let late = shuffled(&messages);
            for (order, messages) in [("in order", &messages), ("shuffled by up to 50", &late)] {
                group.bench_function(format!("{what} {order}, chronofabric"), |bencher| {
                    bencher.iter_batched_ref(
                        || CausalBuffer::new(CausalOptions::default()).unwrap(),
                        |buffer| assert_eq!(through(buffer, messages), MESSAGES),
                        BatchSize::LargeInput,
                    );
                });
                group.bench_function(format!("{what} {order}, plain re-scan of all that waits"), |bencher| {
                    bencher.iter_batched_ref(
                        Rescanned::default,
                        |buffer| {
                            for (sender, clock) in messages {
                                buffer.accept(*sender, clock);
                            }
                            assert_eq!(buffer.count, MESSAGES);
                        },
                        BatchSize::LargeInput,
                    );
                });
            }
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("causal delivery beside 2 000 messages that wait for another node");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let silent = NodeId([0xff; 16]);
    let stuck: Vec<VectorClock> =
        (2..2_002).map(|counter| VectorClock::from_counters([(silent, counter)]).unwrap()).collect();
    let messages = conversation(4);
    group.bench_function("conversation in order, chronofabric", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut buffer = CausalBuffer::new(CausalOptions::default()).unwrap();
                for clock in &stuck {
                    assert_eq!(buffer.accept(0, silent, clock, 0, |_| {}), Arrival::Waiting);
                }
                buffer
            },
            |buffer| assert_eq!(through(buffer, &messages), MESSAGES),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn through(buffer: &mut CausalBuffer<usize>, messages: &[(NodeId, VectorClock)]) -> usize {
    let mut count = 0;
    for (number, (sender, clock)) in messages.iter().enumerate() {
        _ = black_box(buffer.accept(0, *sender, clock, number, |number| {
            black_box(number);
            count += 1;
        }));
    }
    count
}

/// The textbook's buffer: a list, looked through from the start after every delivery. It tells no duplicates.
#[derive(Default)]
struct Rescanned {
    delivered: VectorClock,
    waiting: Vec<(NodeId, VectorClock)>,
    count: usize,
}

impl Rescanned {
    fn accept(&mut self, sender: NodeId, clock: &VectorClock) {
        self.waiting.push((sender, clock.clone()));
        while let Some(place) = self.waiting.iter().position(|(sender, clock)| {
            clock.iter().all(|(node, counter)| {
                let delivered = self.delivered.get(node);
                if node == *sender { counter == delivered + 1 } else { counter <= delivered }
            })
        }) {
            let (sender, _) = self.waiting.remove(place);
            self.delivered.increment(sender).unwrap();
            self.count += 1;
        }
    }
}
