"""Deadlines on events where they meet the other options, and what is refused."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import weakref
from functools import partial

import pytest

import chronofabric as cf


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
