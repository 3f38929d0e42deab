"""Statements about deadlines that travel with events."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

import chronofabric as cf
from tests.semantics.helpers import START_NS, payloads, until

MS = 1_000_000


def test_s142_the_earliest_deadline_comes_first_then_priority_then_age(fabric):
    subscription = fabric.subscribe("**", order="deadline")
    for payload, deadline, priority in (
        ("none", None, "normal"),
        ("none, urgent", None, "urgent"),
        ("9 ms", "9 ms", "urgent"),
        ("5 ms", "5 ms", "normal"),
        ("5 ms, later", "5 ms", "normal"),
        ("5 ms, high", "5 ms", "high"),
        ("1 ms", "1 ms", "low"),
        ("none, later", None, "normal"),
    ):
        fabric.publish(f"from/{priority}", payload, deadline=deadline, priority=priority)
    expected = ["1 ms", "5 ms, high", "5 ms", "5 ms, later", "9 ms", "none, urgent", "none", "none, later"]
    assert payloads(subscription) == expected
    assert subscription.books().balanced


def test_s143_the_least_urgent_makes_room_the_new_one_included(fabric):
    subscription = fabric.subscribe("a", order="deadline", capacity=2)
    for payload, deadline in (("3 ms", "3 ms"), ("open", None), ("2 ms", "2 ms"), ("9 ms", "9 ms"), ("1 ms", "1 ms")):
        fabric.publish("a", payload, deadline=deadline)
    assert payloads(subscription) == ["1 ms", "2 ms"]
    assert subscription.books().dropped == {"overflow": 3}
    equal = fabric.subscribe("b", order="deadline", capacity=3)
    fabric.publish("b", "urgent", priority="urgent")
    fabric.publish_many("b", range(5))
    assert payloads(equal) == ["urgent", 3, 4]
    newest = fabric.subscribe("c", order="deadline", capacity=1, overflow="drop-newest")
    fabric.publish("c", "open")
    fabric.publish("c", "pressing", deadline="1 ms", priority="urgent")
    assert payloads(newest) == ["open"]


def test_s144_what_is_replayed_or_was_kept_takes_its_place(fabric):
    subscription = fabric.subscribe("a", order="deadline", capacity=1, overflow="dead-letter")
    fabric.publish("a", 0, deadline="9 ms", retain=True)
    fabric.publish("a", 1, deadline="2 ms")
    assert (subscription.receive().payload, subscription.replay_dead_letters()) == (0, 1)
    assert payloads(subscription) == [1]
    fabric.publish("b", "kept", deadline="5 ms", retain=True)
    both = fabric.subscribe("*", order="deadline")
    fabric.publish("c", "new", deadline="1 ms")
    assert payloads(both) == ["new", "kept", 0]
    assert both.books().replayed == 2


@pytest.mark.parametrize("order", ["publisher", "causal", "deadline"])
def test_s145_late_events_go_to_the_dead_letters(fabric, clock, order):
    subscription = fabric.subscribe("a", order=order, late="dead-letter")
    fabric.publish("a", "soon", deadline="1 ms")
    fabric.publish("a", "later", deadline="10 ms")
    clock.advance("3 ms")
    assert payloads(subscription) == ["later"]
    (letter,) = subscription.dead_letters
    assert (letter.event.payload, letter.reason, letter.late_ns) == ("soon", "late", 2 * MS)
    assert (subscription.late, subscription.books().dead_lettered) == (1, {"late": 1})
    assert (subscription.replay_dead_letters(), len(subscription.take_dead_letters())) == (0, 1)
    assert subscription.books().balanced


@pytest.mark.parametrize("order", ["publisher", "causal", "deadline"])
def test_s146_late_events_are_marked(fabric, clock, order):
    marking = fabric.subscribe("a", order=order, late="mark")
    plain = fabric.subscribe("a", order=order)
    fabric.publish("a", "soon", deadline="1 ms")
    fabric.publish("a", "later", deadline="10 ms")
    clock.advance("3 ms")
    assert [(event.payload, event.late_ns) for event in marking.poll_batch(9)] == [("soon", 2 * MS), ("later", None)]
    assert [event.late_ns for event in plain.poll_batch(9)] == [None, None]
    assert (marking.late, marking.books().delivered, plain.late) == (1, 2, 0)
    assert "1 late" in str(fabric.report())


def test_s147_late_is_after_the_deadline_and_never_without_one(fabric, clock):
    subscription = fabric.subscribe("a", late="mark")
    for deadline in (datetime(1970, 1, 1, 0, 16, 39, tzinfo=UTC), "0 s", "5 ms", None):
        fabric.publish("a", deadline, deadline=deadline)
    assert [subscription.receive().late_ns for _ in range(2)] == [1000 * MS, None]
    clock.advance("5000001 ns")
    assert [subscription.receive().late_ns for _ in range(2)] == [1, None]


def test_s148_a_publisher_has_a_deadline_for_events_without_one(fabric, clock):
    subscription = fabric.subscribe("a", order="deadline")
    probe = fabric.publisher("a", deadline="5 ms")
    probe.publish("first")
    clock.advance("1 ms")
    probe.publish("own", deadline="1 ms")
    probe.publish_many(["second", "third"])
    events = subscription.poll_batch(9)
    assert events.payloads == ("own", "first", "second", "third")
    assert [event.deadline - START_NS for event in events] == [2 * MS, 5 * MS, 6 * MS, 6 * MS]


def test_s149_the_handler_whose_deadline_comes_first_is_called_first():
    calls, entered, go = [], threading.Event(), threading.Event()
    clock = cf.SimulatedClock(start=START_NS)
    fabric = cf.Fabric("plant", clock=clock)

    @fabric.on("block")
    def block(event):
        entered.set()
        go.wait(20)

    fabric.on("open")(lambda event: calls.append("open"))
    fabric.on("slack", deadline="10 ms")(lambda event: calls.append("slack"))
    fabric.on("tight", deadline="5 ms")(lambda event: calls.append("tight"))
    with fabric:
        fabric.publish("block", 0)
        entered.wait(20)
        for topic in ("open", "slack", "tight"):
            fabric.publish_many(topic, range(3))
        go.set()
        until(lambda: len(calls) == 9)
        assert calls == ["tight"] * 3 + ["slack"] * 3 + ["open"] * 3
        entered.clear()
        go.clear()
        calls.clear()
        fabric.publish("block", 0)
        entered.wait(20)
        fabric.publish("slack", 0)  # by 10 ms
        clock.advance("6 ms")
        fabric.publish("slack", 1)  # by 16 ms
        fabric.publish("tight", 0)  # by 11 ms
        go.set()
        until(lambda: len(calls) == 3)
    assert calls == ["slack", "tight", "slack"]


def test_s150_filters_judge_before_an_event_takes_its_place_and_a_callable_after_lateness(fabric, clock):
    narrow = fabric.subscribe("a", order="deadline", where="value > 0", capacity=2)
    quiet = fabric.subscribe("*", order="deadline", debounce="5 ms")
    for payload, deadline in ((1, "30 ms"), (0, "1 ms"), (2, "20 ms"), (-1, "2 ms")):
        fabric.publish("a", payload, deadline=deadline)
    fabric.publish("b", 3, deadline="9 ms")
    fabric.publish("b", 4, deadline="10 ms")
    fabric.publish("c", 5, deadline="1 ms")
    assert (payloads(narrow), narrow.books().filtered, narrow.books().dropped) == ([2, 1], 2, {})
    assert (payloads(quiet), quiet.pending, quiet.ready) == ([], 3, False)
    clock.advance("5 ms")
    assert quiet.ready
    assert (payloads(quiet), quiet.books().filtered) == ([5, -1, 4], 4)

    seen: list[tuple[object, int | None]] = []

    def odd(event: cf.Event) -> bool:
        seen.append((event.payload, event.late_ns))
        return event.payload % 2 == 1

    options = {"order": "deadline", "where": odd}
    marking, strict = (fabric.subscribe("d", late=late, **options) for late in ("mark", "dead-letter"))
    for payload, deadline in ((1, "9 ms"), (2, "1 ms"), (3, "2 ms")):
        fabric.publish("d", payload, deadline=deadline)
    fabric.publish("d", 4)
    clock.advance("3 ms")
    assert payloads(marking) == [3, 1]
    assert seen == [(2, 2 * MS), (3, MS), (1, None), (4, None)]
    seen.clear()
    assert (payloads(strict), seen) == ([1], [(1, None), (4, None)])
    books = strict.books()
    assert (books.filtered, books.dead_lettered, books.delivered) == (1, {"late": 2}, 1)
    assert all(each.books().balanced for each in (narrow, quiet, marking, strict))


def test_s157_a_topic_has_a_deadline_for_events_without_one_and_the_last_rule_holds(fabric):
    subscription = fabric.subscribe("**", order="deadline")
    fabric.deadline("orders/*", "5 ms")
    fabric.publish("orders/7", "topic")
    fabric.publish("orders/7", "publish", deadline="9 ms")
    fabric.publisher("orders/7", deadline="7 ms").publish("publisher")
    fabric.publish("other", "none")
    events = subscription.poll_batch(9)
    assert events.payloads == ("topic", "publisher", "publish", "none")
    assert [event.deadline and event.deadline - START_NS for event in events] == [5 * MS, 7 * MS, 9 * MS, None]

    def given(topic):
        fabric.publish(topic, 0)
        deadline = subscription.receive().deadline
        return deadline and deadline - START_NS

    fabric.deadline(["orders/**", cf.regex("other.*")], "20 ms")
    assert (given("orders/7"), given("orders/8"), given("other")) == (20 * MS,) * 3
    fabric.deadline("orders/7", None)
    assert (given("orders/7"), given("orders/8")) == (None, 20 * MS)
    fabric.deadline("orders/*", 0.001)
    assert (given("orders/7"), given("orders/8"), given("orders/new"), given("orders/a/b")) == (MS, MS, MS, 20 * MS)
    fabric.deadline("**", None)
    assert {given(topic) for topic in ("orders/7", "orders/newer", "other", "others")} == {None}


def test_s158_whoever_publishes_and_whenever_the_topic_appears(fabric, clock):
    older = fabric.publisher("a/older")
    older.publish("before", retain=True)
    fabric.deadline("a/*", "5 ms")
    fabric.deadline("guard/*", "6 ms")
    subscription = fabric.subscribe("**", order="deadline")
    fabric.guard("high", on="a/value", when="value > 1", publish="a/fired")
    older.publish("after")
    older.publish_many(["many", "more"])
    fabric.publish("a/value", 2)
    fabric.timers.after("1 ms", fabric.publisher("a/timer"))
    fabric.timers.after("1 ms", fabric.publisher("a/prepared").prepare("prepared"))
    clock.advance("1 ms")
    deadlines = {}
    for event in subscription.poll_batch(99):
        key = event.payload if event.topic == "a/older" else event.topic
        deadlines[key] = event.deadline and event.deadline - START_NS
    assert deadlines == {
        "before": None,
        "after": 5 * MS,
        "many": 5 * MS,
        "more": 5 * MS,
        "a/value": 5 * MS,
        "a/fired": 5 * MS,
        "guard/high": 6 * MS,
        "a/timer": 6 * MS,
        "a/prepared": 6 * MS,
    }
    assert subscription.books().balanced


def test_s159_it_counts_from_the_entry_and_once_for_a_batch(fabric, clock):
    fabric.deadline("a", "5 ms")
    subscription = fabric.subscribe("a")
    fabric.publish("a", "recorded", time=START_NS + 1_000 * MS)
    clock.advance("1 ms")
    fabric.publish_many("a", range(3))
    recorded, *batch = subscription.poll_batch(9)
    assert (recorded.time - START_NS, recorded.deadline - START_NS) == (1_000 * MS, 5 * MS)
    assert {event.deadline - START_NS for event in batch} == {6 * MS}
    assert len({event.stamp for event in batch}) == 3
