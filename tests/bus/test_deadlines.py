"""Deadlines on events where they meet the other options, and what is refused."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest

import chronofabric as cf
from chronofabric.fabric.sources import TimerSource


@pytest.fixture
def fabric():
    with cf.Fabric("deadlines", clock=cf.SimulatedClock()) as made:
        yield made


@pytest.mark.parametrize("deadline", [math.nan, math.inf, -1, "-5 ms", "soon", object(), True])
def test_what_is_no_deadline_is_refused_and_changes_nothing(fabric, deadline):
    subscription = fabric.subscribe("a", order="deadline")
    for publish in (partial(fabric.publish, "a"), fabric.publisher("a").publish):
        with pytest.raises(cf.ArgumentError, match="deadline"):
            publish(1, deadline=deadline)
    with pytest.raises(cf.ArgumentError, match="deadline"):
        fabric.publisher("b", deadline=deadline)
    assert subscription.books().offered == 0


@pytest.mark.parametrize("late", ["drop", "", None, 1])
def test_what_is_no_policy_is_refused(fabric, late):
    with pytest.raises(cf.ArgumentError, match="'deliver' or 'mark' or 'dead-letter'"):
        fabric.subscribe("a", late=late)
    assert fabric.core.subscriptions() == []


def test_members_of_a_group_agree_on_order_and_lateness(fabric):
    member = fabric.subscribe("a", group="g", order="deadline", late="mark")
    for difference in ({"order": "publisher"}, {"late": "deliver"}):
        with pytest.raises(cf.ArgumentError, match=next(iter(difference))):
            fabric.subscribe("a", group="g", **{"order": "deadline", "late": "mark"} | difference)
    other = fabric.subscribe("a", group="g", order="deadline", late="mark")
    fabric.publish("a", 1)
    fabric.publish("a", 2, deadline="1 ms")
    assert (other.receive().payload, member.receive().payload) == (2, 1)


def test_bytes_are_bounded_over_all(fabric):
    subscription = fabric.subscribe("a", order="deadline", capacity_bytes=10)
    fabric.publish("a", bytes(6), deadline="5 ms")
    fabric.publish("a", bytes(5), deadline="9 ms")
    fabric.publish("a", bytes(4), deadline="1 ms")
    fabric.publish("a", bytes(11), deadline="1 ms")
    assert [len(payload) for payload in subscription.poll_batch(9).payloads] == [4, 6]
    assert subscription.books().dropped == {"overflow": 1, "too-large": 1}
    fabric.publish("a", bytes(10))
    assert len(subscription.receive().payload) == 10


def test_a_publisher_waits_for_room_and_a_receiver_for_an_event(fabric):
    subscription = fabric.subscribe("a", order="deadline", capacity=2, overflow="block", block_timeout="1 h")
    publisher = threading.Thread(target=fabric.publish_many, args=("a", range(500)))
    publisher.start()
    received = [subscription.receive().payload for _ in range(500)]
    publisher.join(20)
    assert received == list(range(500))
    assert subscription.books().balanced


def test_a_task_waits_for_the_most_urgent(fabric):
    async def main():
        subscription = fabric.subscribe("a", order="deadline", late="dead-letter")
        waiting = asyncio.create_task(subscription.receive_async())
        await asyncio.sleep(0)
        fabric.publish("a", 1, deadline="1 ms")
        first = await waiting
        fabric.publish("a", 2, deadline="1 ms")
        fabric.publish("a", 3)
        fabric.clock.advance("2 ms")
        return first.payload, (await subscription.receive_async()).payload

    assert asyncio.run(main()) == (1, 3)


def test_an_event_that_others_share_is_marked_for_one_alone(fabric):
    marking, other = fabric.subscribe("a", late="mark"), fabric.subscribe("a")
    payload = [1]
    fabric.publish("a", payload, deadline="1 ms", headers={"unit": "C"})
    fabric.clock.advance("3 ms")
    marked, plain = marking.receive(), other.receive()
    assert (marked.late_ns, plain.late_ns) == (2_000_000, None)
    assert marked.payload is plain.payload is payload
    assert (marked.headers["unit"], marked.stamp, marked.deadline) == ("C", plain.stamp, plain.deadline)


def test_the_last_dead_letter_that_finds_no_room_may_publish_when_it_goes(fabric):
    subscription = fabric.subscribe("a", late="dead-letter", dead_letters_max=1, order="deadline")
    gone = fabric.subscribe("gone")

    class Goes:
        def __del__(self):
            fabric.publish("gone", subscription.pending)

    for _ in range(3):
        fabric.publish("a", Goes(), deadline="1 ms")
    fabric.clock.advance("2 ms")
    assert subscription.poll() is None
    assert len(gone.poll_batch(9)) == 2
    assert subscription.books().dropped == {"dead-letters-full": 2}
    subscription.take_dead_letters()  # the one that was kept, while there is somewhere to publish
    assert len(gone.poll_batch(9)) == 1


def test_a_cycle_through_a_waiting_event_is_found():
    fabric = cf.Fabric("cycle")
    subscription = fabric.subscribe("a", order="deadline")

    class Holder:
        subscription: object = None

    holder = Holder()
    holder.subscription = subscription
    fabric.publish("a", holder, deadline="1 ms")
    gone = weakref.ref(holder)
    del holder, subscription, fabric
    gc.collect()
    assert gone() is None


def test_handlers_in_a_loop_are_called_by_deadline_and_coroutines_go_on():
    calls, entered, go = [], threading.Event(), threading.Event()
    fabric = cf.Fabric("loop")

    @fabric.on("coroutine")
    async def coroutine(event):
        calls.append("coroutine")

    @fabric.on("block")
    def block(event):
        entered.set()
        go.wait(20)

    fabric.on("open")(lambda event: calls.append("open"))
    fabric.on("tight", deadline="5 ms")(lambda event: calls.append("tight"))
    with fabric:
        fabric.publish("block", 0)
        assert entered.wait(20)
        for topic in ("open", "tight", "coroutine"):
            fabric.publish_many(topic, range(3))
        go.set()
    assert sorted(calls) == ["coroutine"] * 3 + ["open"] * 3 + ["tight"] * 3
    assert [call for call in calls if call != "coroutine"] == ["tight"] * 3 + ["open"] * 3


def test_a_handler_without_a_deadline_gets_its_turn_while_others_never_cease():
    fabric, patient = cf.Fabric("busy"), threading.Event()

    @fabric.on("a", deadline="1 ms")
    def again(event):
        if not patient.is_set():
            fabric.publish("a", event.payload)

    fabric.on("b")(lambda event: patient.set())
    with fabric:
        fabric.publish("a", 1)
        fabric.publish("b", 1)
        assert patient.wait(20)


def test_in_a_simulation_the_most_urgent_handler_goes_first_at_each_instant(simulation):
    node, calls = simulation.fabric(), []
    node.on("a")(lambda event: calls.append(("open", event.payload)))

    @node.on("a", deadline="5 ms")
    def tight(event):
        calls.append(("tight", event.payload))
        if event.payload < 2:
            node.publish("a", event.payload + 1)

    node.publish("a", 0)
    simulation.advance("1 ms")
    assert calls == [("tight", 0), ("tight", 1), ("tight", 2), ("open", 0), ("open", 1), ("open", 2)]


# Deadlines of topics


@pytest.mark.parametrize("duration", [math.nan, math.inf, -1, "-5 ms", "soon", object(), True])
def test_what_is_no_duration_gives_no_topic_a_deadline(fabric, duration):
    subscription = fabric.subscribe("a")
    fabric.deadline("a", "5 ms")
    with pytest.raises(cf.ArgumentError, match="duration") as caught:
        fabric.deadline("a", duration)
    assert caught.value.argument == "duration"
    with pytest.raises(cf.PatternError):
        fabric.deadline("a/**b", "1 ms")
    fabric.publish("a", 1)
    event = subscription.receive()
    assert event.deadline - event.time == 5_000_000


def test_a_closed_fabric_takes_no_rule():
    with cf.Fabric("closed") as fabric:
        pass
    with pytest.raises(cf.ClosedError):
        fabric.deadline("a", "5 ms")


async def _publish_async(fabric, publisher):
    await fabric.publish_async("a", 7)
    await publisher.publish_async(7)


def _by_timer(fabric, action):
    fabric.timers.after("1 us", action)
    fabric.clock.advance("1 us")


WAYS = {
    "name": (1, lambda fabric, publisher: fabric.publish("a", 7)),
    "headers": (1, lambda fabric, publisher: fabric.publish("a", 7, headers={"unit": "C"}, priority="high")),
    "handle": (1, lambda fabric, publisher: publisher.publish(7)),
    "handle with options": (1, lambda fabric, publisher: publisher.publish(7, retain=True)),
    "list": (2_000, lambda fabric, publisher: publisher.publish_many([7] * 2_000)),
    "generator": (3, lambda fabric, publisher: fabric.publish_many("a", (7 for _ in range(3)))),
    "coroutine": (2, lambda fabric, publisher: asyncio.run(_publish_async(fabric, publisher))),
    "timer": (1, lambda fabric, publisher: _by_timer(fabric, publisher.prepare(7))),
    "guard": (1, lambda fabric, publisher: fabric.publish_many("source", [7, 0])),  # it fires, and is armed again
}

ROUTES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two": {"receivers": 2},
    "by deadline": {"order": "deadline"},
    "causal": {"order": "causal"},
    "bytes": {"capacity_bytes": 1 << 20},
    "formula": {"where": "value > 0"},
    "sampled": {"sample": 1},
    "callable": {"where": lambda event: True},
    "retained": {"retain": True},
    "guarded": {"guarded": True},
    "shared": {"shared": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("route", ROUTES)
def test_every_way_to_publish_over_every_route_gives_the_deadline_and_the_books_balance(fabric, route, way):
    options: dict[str, Any] = dict(ROUTES[route])
    if (route, way) == ("formula", "guard"):
        options["where"] = "robustness > 0"
    publisher = fabric.publisher("a")
    if options.pop("retain", False):
        fabric.retain("a", last=5)
    if options.pop("guarded", False):
        fabric.guard("watched", on="a", when="value > 100", do=cf.Flag())
    if options.pop("shared", False):
        publisher.prepare(0)
    fabric.guard("other", on="source", when="value > 1", publish="a")
    receivers = options.pop("receivers", 1)
    subscriptions = [fabric.subscribe("a", capacity=8_192, **options) for _ in range(receivers)]
    count, publish = WAYS[way]
    publish(fabric, publisher)
    fabric.deadline("a", "5 ms")
    publish(fabric, publisher)
    fabric.deadline("a", None)
    publish(fabric, publisher)
    expected = [None] * count + [5_000_000] * count + [None] * count
    for subscription in subscriptions:
        events = sorted(subscription.poll_batch(100_000), key=lambda event: event.stamp)
        assert [event.deadline and event.deadline - event.time for event in events] == expected
        assert subscription.books().balanced


def test_columns_requests_and_events_of_a_native_source_have_it_too():
    seen: list[int | None] = []
    fabric = cf.Fabric("plant")
    fabric.deadline("**", "1 h")
    fabric.answers("ask")(lambda event: seen.append(event.deadline))
    fabric.add_source(TimerSource("ticks", rate="100 Hz"))
    tables, ticks = fabric.subscribe("table"), fabric.subscribe("ticks")
    with fabric:
        fabric.publish("table", cf.Table.from_numpy({"value": np.array([1.0, 2.0])}))
        assert fabric.request("ask", 1, timeout="20 s") is None
        events = [tables.receive(timeout="20 s"), ticks.receive(timeout="20 s")]
    assert seen[0] is not None
    for event in events:
        assert event.deadline == event.time + 3_600 * 10**9


def test_what_a_timer_publishes_by_a_handle_has_the_deadline_of_the_handle(fabric):
    fabric.deadline("a", "9 ms")
    subscription = fabric.subscribe("a")
    fabric.timers.after("1 ms", fabric.publisher("a", deadline="5 ms"))
    fabric.clock.advance("1 ms")
    event = subscription.receive()
    assert event.deadline - event.payload["due"] == 5_000_000


def test_rules_come_and_go_while_others_publish():
    stop = threading.Event()
    with cf.Fabric("plant") as fabric:
        subscription = fabric.subscribe("**", capacity=256)

        def publish(topic):
            publisher = fabric.publisher(topic)
            while not stop.is_set():
                publisher.publish(1)
                publisher.publish_many([1, 2, 3])

        threads = [threading.Thread(target=publish, args=(f"topic/{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        for number in range(40):
            fabric.deadline("topic/*", None if number % 2 else "1 h")
            # What was published before the rule may still wait; what comes after has it, or this has no end.
            while (subscription.receive(timeout="20 s").deadline is None) is not bool(number % 2):
                pass
        stop.set()
        for thread in threads:
            thread.join(20)
        assert subscription.books().balanced
