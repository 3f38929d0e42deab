"""Vector clocks, dotted version vectors and the causal buffer, beside plain models in Python."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import threading
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf
from chronofabric.clock import CausalBuffer, DottedVersionVector, Gap, VectorClock

NODES = [f"{number:02x}" * 16 for number in range(5)]
HERE, THERE, ELSEWHERE = NODES[:3]

nodes = st.sampled_from(NODES)
counters = st.dictionaries(nodes, st.integers(0, 3))


@st.composite
def versions(draw):
    context = draw(counters)
    node = draw(nodes)
    return DottedVersionVector(node, context.get(node, 0) + draw(st.integers(1, 3)), VectorClock(context))


def events_of(version):
    """Every event of a version, one by one."""
    seen = {(node, number) for node, last in version.context.counters.items() for number in range(1, last + 1)}
    return seen | {(version.node, version.counter)}


def relation(first, second):
    """How two sets of events are related."""
    return {(True, True): "equal", (True, False): "before", (False, True): "after", (False, False): "concurrent"}[
        first <= second, second <= first
    ]


class Exchange:
    """Nodes that publish and hear one another, at random; each message has all that its node knew written down."""

    def __init__(self, seed, length):
        choice = random.Random(seed)
        known: dict[str, set[int]] = {node: set() for node in NODES}
        clocks = dict.fromkeys(NODES, VectorClock())
        self.messages: list[tuple[int, str, VectorClock, frozenset[int]]] = []
        for _ in range(length):
            node = choice.choice(NODES)
            if choice.random() < 0.5:
                clocks[node] = clocks[node].increment(node)
                name = len(self.messages)
                self.messages.append((name, node, clocks[node], frozenset(known[node])))
                known[node].add(name)
            else:
                heard = [m for m in self.messages if m[0] not in known[node] and m[3] <= known[node]]
                for name, _, clock, _ in heard[:1]:
                    known[node].add(name)
                    clocks[node] = clocks[node].merge(clock)


# Vector clocks --------------------------------------------------------------------------------------------------------


@given(counters, nodes, counters)
def test_a_clock_counts_as_a_dict_does(first, node, second):
    clock = VectorClock(first)
    kept = {each: count for each, count in first.items() if count}
    assert clock.counters == kept
    assert list(clock.counters) == sorted(kept)
    assert len(clock) == len(kept)
    assert clock.get(node) == first.get(node, 0)
    assert clock.increment(node).counters == {**kept, node: first.get(node, 0) + 1}
    merged = {each: max(first.get(each, 0), second.get(each, 0)) for each in {*first, *second}}
    assert clock.merge(VectorClock(second)) == VectorClock(merged)
    assert clock.counters == kept, "clocks are immutable"


@given(counters, counters)
def test_clocks_are_ordered_as_the_sets_of_events_that_they_count(first, second):
    one, other = VectorClock(first), VectorClock(second)
    past = [{(node, n) for node, last in each.items() for n in range(1, last + 1)} for each in (first, second)]
    expected = relation(*past)
    assert one.compare(other) == expected
    assert one.happens_before(other) == (expected == "before")
    assert one.is_concurrent_with(other) == (expected == "concurrent")
    assert (one == other) == (expected == "equal")
    assert one != other or hash(one) == hash(other)


@given(counters | st.dictionaries(nodes, st.integers(1, 2**64 - 1)))
def test_clocks_survive_bytes_pickles_copies_and_their_repr(counts):
    clock = VectorClock(counts)
    assert VectorClock.decode(clock.encode()) == clock
    assert len(clock.encode()) == 3 + 24 * len(clock)
    assert pickle.loads(pickle.dumps(clock)) == clock == copy.deepcopy(clock)
    assert eval(repr(clock)) == clock


@given(st.binary(max_size=100))
def test_bytes_are_a_clock_or_refused(data):
    for kind in (VectorClock, DottedVersionVector):
        try:
            decoded = kind.decode(data)
        except cf.ArgumentError:
            continue
        assert decoded.encode() == data


# Dotted version vectors -----------------------------------------------------------------------------------------------


@given(versions(), versions())
def test_versions_are_ordered_as_the_sets_of_their_events(first, second):
    expected = relation(events_of(first), events_of(second))
    if expected == "equal" and first != second:
        expected = "concurrent"  # each had seen the other, which cannot be: both are kept
    assert first.compare(second) == expected
    assert first.happens_before(second) == (expected == "before")
    assert first.is_concurrent_with(second) == (expected == "concurrent")
    for node in NODES:
        for number in range(8):
            assert first.contains(node, number) == ((node, number) in events_of(first))


@given(versions())
def test_versions_survive_bytes_pickles_and_their_repr(version):
    assert DottedVersionVector.decode(version.encode()) == version
    assert pickle.loads(pickle.dumps(version)) == version
    assert hash(copy.copy(version)) == hash(version)
    assert eval(repr(version)) == version


@given(st.lists(versions(), max_size=4), st.lists(versions(), max_size=4))
def test_replicas_keep_what_no_version_replaces(first, second):
    together = {*first, *second}
    kept = DottedVersionVector.sync(first, second)
    assert len(kept) == len(set(kept))
    assert set(kept) == {each for each in together if not any(each.happens_before(other) for other in together)}
    seen = DottedVersionVector.join(kept)
    assert DottedVersionVector.discard(kept, seen) == []
    assert DottedVersionVector.discard(kept, VectorClock()) == kept


def test_a_write_replaces_what_its_writer_had_read_and_nothing_else():
    first = DottedVersionVector.event(HERE, VectorClock())
    second = DottedVersionVector.event(HERE, VectorClock(), [first])
    assert (first.counter, second.counter, first.compare(second)) == (1, 2, "concurrent")
    seen = DottedVersionVector.join([first])
    third = DottedVersionVector.event(THERE, seen, [first, second])
    assert DottedVersionVector.discard([first, second], seen) == [second]
    assert DottedVersionVector.sync([first, second], [third]) == [second, third]


# The causal buffer ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 60), st.randoms(use_true_random=False))
def test_a_shuffled_exchange_with_duplicates_is_delivered_once_and_in_causal_order(seed, length, choice):
    messages = Exchange(seed, length).messages
    arrivals = [*messages, *choice.choices(messages, k=len(messages) // 2)] if messages else []
    choice.shuffle(arrivals)
    buffer = CausalBuffer[int]()
    histories = {name: history for name, _, _, history in messages}
    heard: list[int] = []
    outcomes = []
    for time, (name, node, clock, _) in enumerate(arrivals):
        outcome, delivered = buffer.accept(node, clock, name, time=time)
        outcomes.append(outcome)
        for each in delivered:
            assert histories[each] <= set(heard)
            heard.append(each)
        assert (name in delivered) == (outcome == "delivered")
        assert buffer.books().balanced
    assert sorted(heard) == [name for name, *_ in messages]
    assert outcomes.count("duplicate") == len(arrivals) - len(messages)
    assert (buffer.pending, buffer.gaps()) == (0, [])
    books = buffer.books()
    assert (books.received, books.delivered, books.lost) == (len(arrivals), len(messages), 0)


@given(st.integers(0, 2**32), st.integers(1, 60), st.randoms(use_true_random=False))
def test_what_never_comes_is_declared_lost_by_age_and_the_rest_goes_on(seed, length, choice):
    messages = Exchange(seed, length).messages
    arrivals = [each for each in messages if choice.random() < 0.7]
    choice.shuffle(arrivals)
    histories = {name: history for name, _, _, history in messages}
    # What may be missing from a history: what has not come, and what came too late.
    missing = set(histories)
    buffer = CausalBuffer[int](age_max="10 ns")
    heard: set[int] = set()

    def hear(delivered):
        for each in delivered:
            assert histories[each] <= heard | missing
            heard.add(each)

    outcomes = []
    for time, (name, node, clock, _) in enumerate(arrivals):
        hear(buffer.expire(time))
        assert buffer.next_expiry is None or buffer.next_expiry > time
        outcome, delivered = buffer.accept(node, clock, name, time=time)
        outcomes.append(outcome)
        if outcome != "late":
            missing.remove(name)
        hear(delivered)
    hear(buffer.expire(len(arrivals) + 10))
    assert heard == set(histories) - missing
    books = buffer.books()
    assert (books.late, books.delivered) == (outcomes.count("late"), len(heard))
    assert (books.pending, books.contradictory, books.balanced) == (0, 0, True)


def test_gaps_say_what_is_missing_and_since_when():
    buffer = CausalBuffer[int]()
    assert buffer.accept(HERE, VectorClock({HERE: 4}), 4, time=10) == ("waiting", [])
    assert buffer.accept(HERE, VectorClock({HERE: 2, THERE: 1}), 2, time=20) == ("waiting", [])
    gaps = buffer.gaps()
    assert [(gap.node, gap.first, gap.last, gap.since) for gap in gaps] == [
        (HERE, 1, 1, 10),
        (HERE, 3, 3, 10),
        (THERE, 1, 1, 20),
    ]
    assert repr(gaps[0]) == f"Gap(node='{HERE}', first=1, last=1, since=10)"
    assert isinstance(gaps[0], Gap)
    assert gaps == buffer.gaps()


def test_what_was_declared_lost_and_comes_after_all_is_late_once():
    buffer = CausalBuffer[int]()
    buffer.accept(HERE, VectorClock({HERE: 3}), 3, time=0)
    assert buffer.declare_lost(HERE, 2) == [3]
    assert buffer.accept(HERE, VectorClock({HERE: 2}), 2, time=0) == ("late", [])
    assert buffer.accept(HERE, VectorClock({HERE: 2}), 2, time=0) == ("duplicate", [])
    assert buffer.delivered == VectorClock({HERE: 3})
    books = buffer.books()
    assert (books.lost, books.late, books.duplicates, books.balanced) == (2, 1, 1, True)
    assert books == buffer.books()
    assert "late=1" in repr(books)


def test_a_full_buffer_refuses_or_gives_up_what_is_missing_as_it_was_told():
    ahead = [(VectorClock({HERE: counter}), counter) for counter in (2, 4, 6)]
    refusing, giving_up = CausalBuffer[int](capacity=2), CausalBuffer[int](capacity=2, on_full="declare-lost")
    outcomes = [refusing.accept(HERE, clock, counter, time=0)[0] for clock, counter in ahead]
    assert outcomes == ["waiting", "waiting", "refused"]
    assert refusing.books().refused == 1
    delivered = [giving_up.accept(HERE, clock, counter, time=0)[1] for clock, counter in ahead]
    assert delivered == [[], [], [2]]
    assert (giving_up.pending, giving_up.books().lost) == (2, 1)


def test_a_buffer_that_starts_at_a_snapshot_waits_for_nothing_before_it():
    buffer = CausalBuffer[str](start=VectorClock({HERE: 500}))
    assert buffer.accept(HERE, VectorClock({HERE: 501}), "next", time=0) == ("delivered", ["next"])
    assert buffer.accept(HERE, VectorClock({HERE: 500}), "before", time=0) == ("duplicate", [])


def test_nodes_answer_each_other_through_their_buffers():
    """The clock for the next message of a node is what its buffer delivered, and one more of its own."""
    here, there = CausalBuffer[str](), CausalBuffer[str]()
    question = here.delivered.increment(HERE)
    here.accept(HERE, question, "?", time=0)
    there.accept(HERE, question, "?", time=0)
    answer = there.delivered.increment(THERE)
    onlooker = CausalBuffer[str]()
    assert onlooker.accept(THERE, answer, "!", time=0) == ("waiting", [])
    assert onlooker.accept(HERE, question, "?", time=0) == ("delivered", ["?", "!"])
    assert onlooker.delivered == answer


def test_threads_may_share_a_buffer():
    buffer = CausalBuffer[tuple[str, int]]()
    heard: list[tuple[str, int]] = []

    def feed(node, seed):
        numbers = list(range(1, 501))
        # Never far from its place, so that messages keep being released.
        numbers.sort(key=lambda number: number + random.Random(seed + number).randrange(20))
        for number in numbers:
            heard.extend(buffer.accept(node, VectorClock({node: number}), (node, number), time=0)[1])

    threads = [threading.Thread(target=feed, args=(node, seed)) for seed, node in enumerate(NODES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(heard) == [(node, number) for node in NODES for number in range(1, 501)]
    assert (buffer.pending, buffer.books().balanced) == (0, True)


def test_a_message_that_waits_and_knows_its_buffer_keeps_neither_alive():
    class Message:
        pass

    buffer = CausalBuffer[Message]()
    message = Message()
    message.buffer = buffer  # type: ignore[attr-defined]
    buffer.accept(HERE, VectorClock({HERE: 2}), message, time=0)
    alive = weakref.ref(message)
    del buffer, message
    gc.collect()
    assert alive() is None


# Wrong arguments ------------------------------------------------------------------------------------------------------


# As callers without a type checker see them.
AnyClock: Any = VectorClock
AnyBuffer: Any = CausalBuffer


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: AnyClock([(HERE, 1)]), "counters"),
        (lambda: AnyClock({1: 1}), "counters"),
        (lambda: AnyClock({HERE: -1}), "counters"),
        (lambda: AnyClock({HERE: 2**64}), "counters"),
        (lambda: AnyClock({HERE: True}), "counters"),
        (lambda: AnyClock({HERE: "1"}), "counters"),
        (lambda: AnyClock({"here": 1}), "node id"),
        (lambda: VectorClock().get("here"), "node id"),
        (lambda: VectorClock().increment("0" * 31), "node id"),
        (lambda: VectorClock.decode(b""), "vector clock"),
        (lambda: DottedVersionVector(HERE, 0, VectorClock()), "counter"),
        (lambda: DottedVersionVector(HERE, 2, VectorClock({HERE: 2})), "counter"),
        (lambda: DottedVersionVector(HERE, -1, VectorClock()), "counter"),
        (lambda: DottedVersionVector.decode(b"\x02"), "dotted version vector"),
        (lambda: AnyBuffer(capacity=0), "capacity"),
        (lambda: AnyBuffer(capacity=True), "capacity"),
        (lambda: AnyBuffer(capacity=2**30), "capacity"),
        (lambda: AnyBuffer(on_full="block"), "on_full"),
        (lambda: AnyBuffer(age_max=0), "age_max"),
        (lambda: AnyBuffer(age_max="5 parsecs"), "age_max"),
        (lambda: AnyBuffer().accept("here", VectorClock(), 0, time=0), "node id"),
        (lambda: AnyBuffer().accept(HERE, VectorClock({HERE: 1}), 0, time="now"), "time"),
        (lambda: AnyBuffer().expire(1.5), "time"),
        (lambda: AnyBuffer().declare_lost(HERE, -1), "through"),
    ],
)
def test_a_wrong_argument_is_refused_and_named(call, argument):
    with pytest.raises(cf.ArgumentError) as raised:
        call()
    assert raised.value.argument == argument


def test_a_message_that_its_clock_does_not_count_is_refused():
    buffer = CausalBuffer[int]()
    assert buffer.accept(HERE, VectorClock({THERE: 1}), 0, time=0) == ("refused", [])
    assert buffer.books().refused == 1


def test_limits_are_errors_of_the_clock():
    full = VectorClock({f"{number:032x}": 1 for number in range(4096)})
    with pytest.raises(cf.ClockError, match="4096"):
        full.increment("f" * 32)
    with pytest.raises(cf.ClockError, match="4096"):
        full.merge(VectorClock({"f" * 32: 1}))
    with pytest.raises(cf.ClockError, match="64 bits"):
        VectorClock({HERE: 2**64 - 1}).increment(HERE)
    assert VectorClock({HERE: 2**64 - 1}).get(HERE) == 2**64 - 1
