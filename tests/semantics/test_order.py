"""Statements on causal order, by their numbers."""

from __future__ import annotations

import threading

import pytest

import chronofabric as cf
from tests.semantics.helpers import payloads


def test_s79_no_effect_before_its_cause(fabric):
    ordered = fabric.subscribe("**", order="causal")
    for number, priority in enumerate(("low", "urgent", "normal", "high") * 5):
        fabric.publish(f"topic/{number % 3}", number, priority=priority)
    assert payloads(ordered) == list(range(20))


def test_s80_it_holds_between_threads(fabric):
    ordered = [fabric.subscribe("**", order="causal", capacity=4096) for _ in range(2)]
    requests = fabric.subscribe("request", capacity=4096)

    def answer():
        for _ in range(500):
            fabric.publish("answer", requests.receive(timeout="1 h").payload, priority="urgent")

    thread = threading.Thread(target=answer)
    thread.start()
    for number in range(500):
        fabric.publish("request", number, priority="low")
    thread.join(20)
    assert not thread.is_alive()
    for subscription in ordered:
        seen = set()
        for event in subscription.poll_batch(4096):
            assert event.topic == "request" or event.payload in seen
            seen.add(event.payload)
        assert len(seen) == 500


@pytest.mark.parametrize("overflow", ["drop-oldest", "drop-newest", "dead-letter"])
def test_s81_nothing_waits_for_what_was_dropped(fabric, overflow):
    ordered = fabric.subscribe("a", order="causal", capacity=2, overflow=overflow)
    fabric.publish_many("a", range(4))
    fabric.publish("a", 4, priority="urgent")
    assert payloads(ordered) == ([2, 3, 4] if overflow == "drop-oldest" else [0, 1, 4])


def test_s82_under_block_publishers_wait_in_turn(fabric):
    ordered = fabric.subscribe("a", order="causal", capacity=1, overflow="block", block_timeout="1 h")
    fabric.publish("a", 0)
    waiting = [fabric.publisher("a").publish_start(number, priority=number) for number in (1, 2)]
    assert payloads(ordered) == [0]
    assert not waiting[1].retry()
    assert waiting[0].retry()
    assert waiting[1].retry()
    assert payloads(ordered) == [1, 2]


def test_s83_a_replayed_dead_letter_takes_its_place_or_is_late(fabric):
    ordered = fabric.subscribe("a", order="causal", capacity=1, overflow="dead-letter")
    fabric.publish_many("a", [0, 1])
    fabric.publish("a", 2, priority="urgent")
    assert ordered.receive().payload == 0
    ordered.replay_dead_letters()
    assert payloads(ordered) == [1, 2]
    fabric.publish_many("a", [3, 4])
    fabric.publish("a", 5, priority="urgent")
    assert payloads(ordered) == [3, 5]
    ordered.replay_dead_letters()
    assert payloads(ordered) == [4]
    assert ordered.causal_counts["late"] == 1


def test_s84_what_waits_for_others_is_pending(fabric):
    ordered = fabric.subscribe("a", order="causal")
    fabric.publish("a", 0)
    fabric.publish("a", 1, priority="urgent")
    fabric.publish("a", 2)
    assert ordered.receive().payload == 0
    assert ordered.causal_counts["held_back"] == 1
    assert ordered.pending == ordered.books().pending == 2
    assert ordered.books().balanced


def test_s85_clocks_only_where_they_were_asked_for(fabric):
    ordered, plain = fabric.subscribe("a", order="causal"), fabric.subscribe("a")
    fabric.publish("a", 0)
    assert ordered.receive().vector_clock == cf.clock.VectorClock({fabric.stamps.node: 1})
    assert plain.receive().vector_clock is None
