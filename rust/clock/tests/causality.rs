//! Vector clocks and dotted version vectors against models that write every event down.
#![cfg(not(loom))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use chronofabric_clock::{Causality, ClockError, Dot, DottedVersionVector, NodeId, VectorClock};
use common::{cases, node};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

fn any_node() -> impl Strategy<Value = NodeId> {
    (0_u8..6).prop_map(node)
}

fn counters() -> impl Strategy<Value = BTreeMap<NodeId, u64>> {
    btree_map(any_node(), 1_u64..4, 0..6)
}

fn clock() -> impl Strategy<Value = VectorClock> {
    counters().prop_map(|counters| VectorClock::from_counters(counters).unwrap())
}

fn merged(first: &VectorClock, second: &VectorClock) -> VectorClock {
    let mut merged = first.clone();
    merged.merge(second).unwrap();
    merged
}

/// Of few nodes, so that versions often contain the events of one another.
fn version() -> impl Strategy<Value = DottedVersionVector> {
    (0_u8..3, 1_u64..3, btree_map((0_u8..3).prop_map(node), 1_u64..4, 0..3)).prop_map(|(number, ahead, counters)| {
        let (node, context) = (node(number), VectorClock::from_counters(counters).unwrap());
        let counter = context.get(node) + ahead;
        DottedVersionVector::new(Dot { node, counter }, context).unwrap()
    })
}

/// Every event of a version, one by one.
fn events(version: &DottedVersionVector) -> BTreeSet<(NodeId, u64)> {
    let context = version.context().iter().flat_map(|(node, counter)| (1..=counter).map(move |each| (node, each)));
    context.chain([(version.dot().node, version.dot().counter)]).collect()
}

fn opposite(causality: Causality) -> Causality {
    match causality {
        Causality::Before => Causality::After,
        Causality::After => Causality::Before,
        other => other,
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_clock_counts_as_a_map_does(moves in vec((any_node(), prop::option::of(0_u64..5)), 0..40)) {
        let (mut clock, mut model) = (VectorClock::new(), BTreeMap::<NodeId, u64>::new());
        for (node, raise) in moves {
            let counter = model.entry(node).or_default();
            match raise {
                Some(least) => {
                    clock.raise(node, least).unwrap();
                    *counter = least.max(*counter);
                }
                None => {
                    *counter += 1;
                    prop_assert_eq!(clock.increment(node).unwrap(), *counter);
                }
            }
            model.retain(|_, counter| *counter > 0);
            prop_assert_eq!(clock.iter().collect::<Vec<_>>(), model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(clock.get(node), model.get(&node).copied().unwrap_or(0));
            prop_assert_eq!((clock.len(), clock.is_empty()), (model.len(), model.is_empty()));
        }
    }

    #[test]
    fn the_order_of_clocks_is_inclusion_of_their_pasts(first in counters(), second in counters()) {
        let past = |counters: &BTreeMap<NodeId, u64>| -> BTreeSet<(NodeId, u64)> {
            counters.iter().flat_map(|(node, counter)| (1..=*counter).map(|each| (*node, each))).collect()
        };
        let (first_past, second_past) = (past(&first), past(&second));
        let expected = match (first_past.is_subset(&second_past), second_past.is_subset(&first_past)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            (false, false) => Causality::Concurrent,
        };
        let [first, second] = [first, second].map(|counters| VectorClock::from_counters(counters).unwrap());
        prop_assert_eq!(first.compare(&second), expected);
        prop_assert_eq!(second.compare(&first), opposite(expected));
        prop_assert_eq!(first.happens_before(&second), expected == Causality::Before);
        prop_assert_eq!(first.is_concurrent_with(&second), expected == Causality::Concurrent);
        prop_assert_eq!(first == second, expected == Causality::Equal);
        let ordering = match expected {
            Causality::Before => Some(Ordering::Less),
            Causality::After => Some(Ordering::Greater),
            Causality::Equal => Some(Ordering::Equal),
            Causality::Concurrent => None,
        };
        prop_assert_eq!(first.partial_cmp(&second), ordering);
    }

    #[test]
    fn clocks_are_partially_ordered(first in clock(), second in clock(), third in clock()) {
        prop_assert_eq!(first.compare(&first), Causality::Equal);
        prop_assert!(!(first <= second && second <= first) || first == second);
        prop_assert!(!(first <= second && second <= third) || first <= third);
        prop_assert!(first <= merged(&first, &second) && second <= merged(&first, &second));
    }

    #[test]
    fn merging_is_the_least_upper_bound_of_a_semilattice(first in clock(), second in clock(), third in clock()) {
        let both = merged(&first, &second);
        prop_assert_eq!(&both, &merged(&second, &first));
        prop_assert_eq!(merged(&both, &third), merged(&first, &merged(&second, &third)));
        prop_assert_eq!(merged(&first, &first), first.clone());
        prop_assert!(!(first <= third && second <= third) || both <= third);
        for number in 0..6 {
            prop_assert_eq!(both.get(node(number)), first.get(node(number)).max(second.get(node(number))));
        }
    }

    #[test]
    fn an_encoded_clock_is_read_back(counters in btree_map(any::<[u8; 16]>().prop_map(NodeId), 1_u64.., 0..20)) {
        let clock = VectorClock::from_counters(counters).unwrap();
        prop_assert_eq!(clock.encode().len(), 3 + 24 * clock.len());
        prop_assert_eq!(VectorClock::decode(&clock.encode()).unwrap(), clock);
    }

    #[test]
    fn an_encoded_version_is_read_back(version in version()) {
        prop_assert_eq!(DottedVersionVector::decode(&version.encode()).unwrap(), version);
    }

    #[test]
    fn what_can_be_decoded_is_encoded_to_the_same_bytes(
        clock in clock(), version in version(), place: prop::sample::Index, value: u8, cut: prop::sample::Index, more in vec(any::<u8>(), 0..3),
    ) {
        for bytes in [clock.encode(), version.encode()] {
            let mut changed = bytes;
            let place = place.index(changed.len());
            changed[place] = value;
            changed.truncate(cut.index(changed.len() + 1).max(changed.len() / 2));
            changed.extend_from_slice(&more);
            if let Ok(clock) = VectorClock::decode(&changed) {
                prop_assert_eq!(clock.encode(), changed.clone());
            }
            if let Ok(version) = DottedVersionVector::decode(&changed) {
                prop_assert_eq!(version.encode(), changed);
            }
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(mut bytes in vec(any::<u8>(), 0..200), first in 0_u8..3) {
        if let Some(version) = bytes.first_mut() {
            *version = first;
        }
        let _ = VectorClock::decode(&bytes);
        let _ = DottedVersionVector::decode(&bytes);
    }

    #[test]
    fn versions_are_ordered_by_the_events_that_they_contain(first in version(), second in version(), third in version()) {
        let (first_events, second_events) = (events(&first), events(&second));
        let expected = match (first_events.is_subset(&second_events), second_events.is_subset(&first_events)) {
            (true, true) if first == second => Causality::Equal,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            // Both had seen each other: a contradiction, which keeps both.
            _ => Causality::Concurrent,
        };
        prop_assert_eq!(first.compare(&second), expected);
        prop_assert_eq!(first.partial_cmp(&first), Some(Ordering::Equal));
        prop_assert!(!(first <= second && second <= first) || first == second);
        prop_assert!(!(first <= second && second <= third) || first <= third);
        for number in 0..6 {
            for counter in 0..9 {
                let dot = Dot { node: node(number), counter };
                prop_assert_eq!(first.contains(dot), first_events.contains(&(dot.node, counter)));
            }
        }
    }

    #[test]
    fn putting_replicas_together_is_commutative_and_idempotent_but_for_order(
        first in vec(version(), 0..4), second in vec(version(), 0..4),
    ) {
        let set = |versions: Vec<DottedVersionVector>| versions.iter().map(DottedVersionVector::encode).collect::<BTreeSet<_>>();
        let both = DottedVersionVector::sync(&first, &second);
        prop_assert_eq!(set(both.clone()), set(DottedVersionVector::sync(&second, &first)));
        prop_assert_eq!(&DottedVersionVector::sync(&both, &both), &both);
        prop_assert_eq!(set(DottedVersionVector::sync(&both, &first)), set(both.clone()));
        let joined = DottedVersionVector::join(&both).unwrap();
        prop_assert!(both.iter().all(|version| events(version).iter().all(|(node, counter)| *counter <= joined.get(*node))));
        prop_assert_eq!(DottedVersionVector::discard(&both, &joined), []);
    }

    /// Replicas of one value, written through by clients with what they read, at whatever time they read it.
    #[test]
    fn replicas_keep_exactly_the_versions_that_no_other_has_replaced(
        steps in vec((0_usize..3, 0_usize..3, 0_usize..3, 0_u8..3), 1..60),
    ) {
        // The model names versions by number, and writes down for each all that its writer had seen.
        let mut seen_by: Vec<BTreeSet<usize>> = Vec::new();
        let mut model: [BTreeSet<usize>; 3] = Default::default();
        let mut model_reads: [BTreeSet<usize>; 3] = Default::default();
        let mut versions: Vec<DottedVersionVector> = Vec::new();
        let mut replicas: [Vec<DottedVersionVector>; 3] = Default::default();
        let mut reads: [VectorClock; 3] = Default::default();
        for (replica, other, client, what) in steps {
            match what {
                0 => {
                    reads[client] = DottedVersionVector::join(&replicas[replica]).unwrap();
                    let all = &model[replica];
                    model_reads[client] = all.iter().flat_map(|each| &seen_by[*each]).chain(all).copied().collect();
                }
                1 => {
                    let written = DottedVersionVector::event(node(replica as u8), &reads[client], &replicas[replica]).unwrap();
                    prop_assert!(versions.iter().all(|version| version.dot() != written.dot()), "a dot is given out once");
                    replicas[replica] = DottedVersionVector::discard(&replicas[replica], &reads[client]);
                    replicas[replica].push(written.clone());
                    model[replica].retain(|each| !model_reads[client].contains(each));
                    model[replica].insert(seen_by.len());
                    seen_by.push(model_reads[client].clone());
                    versions.push(written);
                }
                _ => {
                    replicas[replica] = DottedVersionVector::sync(&replicas[replica], &replicas[other]);
                    let both: BTreeSet<usize> = model[replica].union(&model[other]).copied().collect();
                    let replaced = |each: &usize| both.iter().any(|newer| seen_by[*newer].contains(each));
                    model[replica] = both.iter().copied().filter(|each| !replaced(each)).collect();
                }
            }
            for (replica, model) in replicas.iter().zip(&model) {
                let kept: BTreeSet<usize> =
                    replica.iter().map(|kept| versions.iter().position(|version| version == kept).unwrap()).collect();
                prop_assert_eq!(&kept, model);
                prop_assert_eq!(replica.len(), model.len());
            }
        }
        for (first, first_version) in versions.iter().enumerate() {
            for (second, second_version) in versions.iter().enumerate() {
                let caused = seen_by[second].contains(&first);
                prop_assert_eq!(first_version.happens_before(second_version), caused);
                prop_assert_eq!(second_version.contains(first_version.dot()), caused || first == second);
            }
        }
    }
}

#[test]
fn wire_forms_are_pinned() {
    let clock = VectorClock::from_counters([(node(0xbb), 0x0102_0304_0506_0708), (node(0xaa), 5)]).unwrap();
    let golden = format!("010002{}0000000000000005{}0102030405060708", "aa".repeat(16), "bb".repeat(16));
    assert_eq!(hexadecimal(&clock.encode()), golden);
    let version = DottedVersionVector::new(Dot { node: node(0xaa), counter: 9 }, clock).unwrap();
    let golden = format!("01{}0000000000000009{}", "aa".repeat(16), &golden[2..]);
    assert_eq!(hexadecimal(&version.encode()), golden);
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bytes_that_are_no_clock_are_refused_with_the_place_and_the_reason() {
    let encoded = VectorClock::from_counters([(node(1), 1), (node(2), 2)]).unwrap().encode();
    let entry = |number: u8, counter: u64| [&[number; 16][..], &counter.to_be_bytes()].concat();
    let clock = |count: u16, entries: &[Vec<u8>]| [&[1][..], &count.to_be_bytes(), &entries.concat()].concat();
    let cases = [
        (Vec::new(), 0, "1 bytes are expected, but 0 follow"),
        (vec![2], 0, "format version 2 is not known"),
        (vec![1, 0], 1, "2 bytes are expected, but 1 follow"),
        (encoded[..encoded.len() - 1].to_vec(), 1, "2 nodes need 48 bytes, but 47 follow"),
        ([encoded, vec![0]].concat(), 1, "2 nodes need 48 bytes, but 49 follow"),
        (clock(2, &[entry(2, 1), entry(1, 1)]), 27, "nodes are sorted"),
        (clock(2, &[entry(1, 1), entry(1, 2)]), 27, "none comes twice"),
        (clock(1, &[entry(1, 0)]), 3, "a counter of 0"),
        (clock(4097, &[]), 1, "at most 4096"),
        (clock(u16::MAX, &[entry(1, 1)]), 1, "at most 4096"),
    ];
    for (bytes, place, reason) in cases {
        let error = VectorClock::decode(&bytes).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, ClockError::Encoding { thing: "vector clock", position, .. } if position == place),
            "{text}"
        );
        assert!(text.contains(reason), "{text}");
    }
    let dotted = [&[1][..], &entry(1, 4), &clock(1, &[entry(1, 4)])[1..]].concat();
    assert!(matches!(DottedVersionVector::decode(&dotted), Err(ClockError::InvalidDot { counter: 4, past: 4, .. })));
    let dotted = [&[1][..], &entry(1, 0), &clock(0, &[])[1..]].concat();
    assert!(matches!(DottedVersionVector::decode(&dotted), Err(ClockError::InvalidDot { counter: 0, .. })));
}

#[test]
fn a_clock_is_bounded_and_unchanged_by_what_would_exceed_the_bound() {
    let wide = |range: std::ops::Range<u128>| {
        VectorClock::from_counters(range.map(|number| (NodeId(number.to_be_bytes()), 1)))
    };
    let limit = VectorClock::NODES_MAX as u128;
    let full = wide(0..limit).unwrap();
    assert_eq!(full.encode().len(), VectorClock::BYTES_MAX);
    assert_eq!(VectorClock::decode(&full.encode()).unwrap(), full);
    assert!(matches!(wide(0..limit + 1), Err(ClockError::NodeLimit { limit: 4096 })));

    let mut clock = full.clone();
    let other = NodeId([0xff; 16]);
    assert!(matches!(clock.increment(other), Err(ClockError::NodeLimit { .. })));
    assert!(matches!(clock.raise(other, 1), Err(ClockError::NodeLimit { .. })));
    let mut beyond = VectorClock::from_counters([(node(0), 7), (other, 1)]).unwrap();
    assert!(matches!(clock.merge(&beyond), Err(ClockError::NodeLimit { .. })));
    assert_eq!(clock, full);
    assert!(matches!(beyond.merge(&full), Err(ClockError::NodeLimit { .. })));
    assert_eq!(beyond.len(), 2);
    clock.merge(&wide(5..limit).unwrap()).unwrap();
    clock.increment(node(0)).unwrap();
    assert_eq!(clock.get(node(0)), 2);
}

#[test]
fn a_counter_ends_with_64_bits_and_says_so() {
    let mut clock = VectorClock::from_counters([(node(1), u64::MAX)]).unwrap();
    assert!(
        matches!(clock.increment(node(1)), Err(ClockError::CounterExhausted { node: exhausted }) if exhausted == node(1))
    );
    assert!(matches!(DottedVersionVector::event(node(1), &clock, &[]), Err(ClockError::CounterExhausted { .. })));
    assert_eq!(clock.get(node(1)), u64::MAX);
}

#[test]
fn two_writes_of_one_node_that_had_not_seen_each_other_are_both_kept() {
    // What plain version vectors get wrong: the second write would look like the first's successor.
    let nothing = VectorClock::new();
    let first = DottedVersionVector::event(node(1), &nothing, &[]).unwrap();
    let second = DottedVersionVector::event(node(1), &nothing, from_ref(&first)).unwrap();
    assert_eq!((second.dot().counter, second.context().is_empty()), (2, true));
    assert!(first.is_concurrent_with(&second));
    assert_eq!(DottedVersionVector::sync(from_ref(&first), from_ref(&second)), [first.clone(), second.clone()]);
}
