"""Causal order as Python sees it: across threads, topics, priorities, asyncio, policies and closing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import chronofabric as cf
from chronofabric.clock import VectorClock
from chronofabric.fabric.sources import TimerSource

PRIORITIES = ("low", "normal", "high", "urgent")
QUIET = {"held_back": 0, "late": 0, "duplicates": 0, "unordered": 0, "lost": 0, "contradictory": 0}


@pytest.fixture
def fabric():
    with cf.Fabric("order") as made:
        yield made


def take(subscription):
    return list(subscription.poll_batch(100_000).payloads)


def run(*bodies):
    """Run bodies in threads of their own to their ends; raise what one raised."""
    raised = []

    def guarded(body):
        try:
            body()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


def test_orders_of_later_versions_are_named_as_such(fabric):
    with pytest.raises(cf.UnsupportedError, match="use 'publisher' or 'causal' or 'deadline'") as raised:
        fabric.subscribe("a", order="total")
    assert raised.value.feature == "order=total"


@pytest.mark.parametrize("order", ["random", "", "Causal", None, 3, ["causal"]])
def test_what_is_no_order_is_refused(fabric, order):
    with pytest.raises(cf.ArgumentError, match="'publisher' or 'causal'"):
        fabric.subscribe("a", order=order)


def test_no_event_overtakes_another_by_its_priority_or_topic(fabric):
    ordered = fabric.subscribe("**", order="causal")
    urgent_first = fabric.subscribe("**")
    for number in range(200):
        fabric.publish(f"topic/{number % 3}", number, priority=number * 7 % 4)
    assert take(urgent_first) != list(range(200))
    assert [ordered.receive().payload for _ in range(50)] == list(range(50))
    assert [payload for payload, _ in zip(ordered.payloads(), range(50), strict=False)] == list(range(50, 100))
    assert take(ordered) == list(range(101, 200)), "one was taken by the iteration that had enough"


def test_answers_come_after_questions_in_every_subscription_and_thread(fabric):
    asked, answers = 3 * 300, 2
    everything = [fabric.subscribe("**", order="causal", capacity=8192, overflow="block") for _ in range(3)]
    answering = [fabric.subscribe("question/*", overflow="block", capacity=16) for _ in range(answers)]

    def ask(who):
        publisher = fabric.publisher(f"question/{who}")
        for number in range(300):
            publisher.publish((who, number), priority=number % 4)

    def answer(subscription, name):
        publisher = fabric.publisher(f"answer/{name}")
        for count in range(asked):
            publisher.publish(subscription.receive(timeout="30 s").payload, priority=count % 4)

    def watch(subscription):
        seen = set()
        for _ in range(asked * (1 + answers)):
            event = subscription.receive(timeout="30 s")
            if event.topic.startswith("question/"):
                seen.add(event.payload)
            else:
                assert event.payload in seen

    run(
        *(lambda who=who: ask(who) for who in range(3)),
        *(lambda index=index: answer(answering[index], index) for index in range(answers)),
        *(lambda subscription=subscription: watch(subscription) for subscription in everything),
    )
    for subscription in everything:
        assert subscription.books().balanced
        assert subscription.books().delivered == asked * (1 + answers)
        assert subscription.causal_counts == QUIET


def test_a_native_source_that_publishes_beside_python_keeps_the_order(fabric):
    ordered = fabric.subscribe("**", order="causal", capacity=65_536, overflow="block")
    ticks = fabric.subscribe("tick", capacity=65_536, overflow="block")
    fabric.add_source(TimerSource("tick", rate="2 kHz"))
    with fabric:
        for _ in range(50):
            tick = ticks.receive(timeout="30 s")
            fabric.publish("tock", tick.payload["tick"], priority="urgent")
        seen = set()
        tocks = 0
        while tocks < 50:
            event = ordered.receive(timeout="30 s")
            if event.topic == "tick":
                seen.add(event.payload["tick"])
            else:
                assert event.payload in seen
                tocks += 1


def test_clocks_are_on_the_events_of_who_asked_for_them_alone(fabric):
    plain, ordered = fabric.subscribe("a"), fabric.subscribe("a", order="causal")
    later = fabric.subscribe("b", order="causal")
    fabric.publish_many("a", [1, 2, 3])
    fabric.publish("b", 4, headers={"unit": "C"}, deadline="1 s")
    assert [event.vector_clock for event in plain.poll_batch(9)] == [None] * 3
    assert plain.causal_counts is None
    clocks = [event.vector_clock for event in ordered.poll_batch(9)]
    assert clocks == [VectorClock({fabric.stamps.node: count}) for count in (1, 2, 3)]
    assert clocks[0].happens_before(clocks[2])
    event = later.receive()
    assert (event.vector_clock.get(fabric.stamps.node), dict(event.headers)) == (1, {"unit": "C"})
    assert event.deadline is not None


def test_all_receive_the_very_object(fabric):
    subscriptions = [fabric.subscribe("a", order=order) for order in ("causal", "publisher", "causal")]
    payload = object()
    fabric.publish("a", payload)
    assert all(subscription.receive().payload is payload for subscription in subscriptions)


@pytest.mark.parametrize("overflow", ["drop-oldest", "drop-newest", "dead-letter"])
@pytest.mark.parametrize("capacity_bytes", [None, 2000])
def test_what_the_policy_drops_keeps_nothing_back(fabric, overflow, capacity_bytes):
    ordered = fabric.subscribe(
        "**", order="causal", capacity=3, capacity_bytes=capacity_bytes, overflow=overflow, dead_letters_max=5
    )
    heard, published = [], 0
    for round_ in range(40):
        for _ in range(round_ % 17):
            fabric.publish("a", published, priority=PRIORITIES[published * 5 % 4])
            published += 1
        for _ in range(round_ % 5):
            event = ordered.poll()
            heard += [] if event is None else [event.payload]
        assert ordered.books().balanced
        assert ordered.books().offered == published
        assert ordered.books().pending == ordered.pending
    heard += take(ordered)
    assert heard == sorted(heard)
    assert ordered.pending == 0
    assert 0 < ordered.causal_counts["lost"] <= published - len(heard)


def test_a_dead_letter_that_is_replayed_in_time_takes_its_place_and_is_late_otherwise(fabric):
    ordered = fabric.subscribe("a", order="causal", capacity=1, overflow="dead-letter")
    fabric.publish_many("a", [1, 2])
    fabric.publish("a", 3, priority="urgent")
    assert ordered.receive().payload == 1
    assert ordered.replay_dead_letters() == 1
    assert take(ordered) == [2, 3]
    fabric.publish_many("a", [4, 5])
    fabric.publish("a", 6, priority="urgent")
    assert take(ordered) == [4, 6]
    assert ordered.replay_dead_letters() == 1
    assert take(ordered) == [5]
    assert ordered.causal_counts["late"] == 1
    assert ordered.books().balanced


def test_a_publisher_that_gives_up_waiting_keeps_nothing_back(fabric):
    ordered = fabric.subscribe("a", order="causal", capacity=1, overflow="block", block_timeout="5 ms")
    fabric.publish("a", 1)
    with pytest.raises(cf.PublishTimeout):
        fabric.publish("a", 2)
    fabric.publish("a", 3, priority="urgent")
    assert take(ordered) == [1, 3]
    assert ordered.books().dropped == {"timeout": 1}


def test_publishers_wait_in_turn_and_lose_nothing(fabric):
    ordered = fabric.subscribe("**", order="causal", capacity=4, overflow="block", block_timeout="60 s")
    heard: list[tuple[int, int]] = []

    def publish(who):
        publisher = fabric.publisher(f"from/{who}")
        for number in range(200):
            publisher.publish((who, number), priority=number % 4)

    def receive():
        heard.extend(ordered.receive(timeout="30 s").payload for _ in range(600))

    run(receive, *(lambda who=who: publish(who) for who in range(3)))
    for who in range(3):
        assert [number for other, number in heard if other == who] == list(range(200))
    assert ordered.causal_counts == QUIET


def test_tasks_receive_in_order_while_tasks_and_threads_publish():
    async def main():
        async with cf.Fabric("order") as fabric:
            ordered = fabric.subscribe("**", order="causal", capacity=16, overflow="block", block_timeout="60 s")
            questions = fabric.subscribe("question", capacity=16, overflow="block", block_timeout="60 s")

            async def ask():
                for number in range(200):
                    await fabric.publish_async("question", number, priority=number % 4)

            def answer():
                for _ in range(200):
                    question = questions.receive(timeout="30 s")
                    fabric.publish("answer", question.payload, priority="urgent")

            async def watch():
                seen, answered = set(), 0
                async for event in ordered:
                    if event.topic == "question":
                        seen.add(event.payload)
                    else:
                        assert event.payload in seen
                        answered += 1
                        if answered == 200:
                            break
                return seen

            _, _, seen = await asyncio.wait_for(asyncio.gather(ask(), asyncio.to_thread(answer), watch()), 60)
            assert seen == set(range(200))

    asyncio.run(main())


def test_several_threads_share_one_subscription(fabric):
    ordered = fabric.subscribe("**", order="causal", capacity=4096)
    shares: list[list[Any]] = [[], [], []]

    def receive(share):
        for event in ordered:
            share.append(event.payload)
            if event.payload == "end":
                ordered.close()

    def publish():
        for number in range(2000):
            fabric.publish("a", number, priority=number % 4)
        fabric.publish("a", "end")

    run(publish, *(lambda share=share: receive(share) for share in shares))
    numbers = [[number for number in share if number != "end"] for share in shares]
    assert all(share == sorted(share) for share in numbers)
    assert sorted(number for share in numbers for number in share) == list(range(2000))


def test_pausing_keeps_and_closing_counts_what_waits(fabric):
    ordered = fabric.subscribe("a", order="causal")
    fabric.publish_many("a", range(3))
    ordered.pause()
    assert ordered.poll() is None
    assert not ordered.ready
    fabric.publish("a", 3, priority="urgent")
    ordered.resume()
    assert ordered.receive().payload == 0
    ordered.close()
    assert ordered.books().dropped == {"unsubscribed": 3}
    assert (ordered.pending, ordered.causal_counts["held_back"]) == (0, 0)
    with pytest.raises(cf.ClosedError):
        ordered.receive()
    fabric.publish("a", 4)
    assert ordered.books().offered == 4


def test_handlers_may_ask_for_causal_order():
    heard = []
    fabric = cf.Fabric("order")

    @fabric.on("**", order="causal")
    def hear(event):
        heard.append(event.payload)

    with fabric:
        for number in range(100):
            fabric.publish("a", number, priority=number % 4)
    assert heard == list(range(100))


def test_what_a_guard_publishes_comes_after_what_made_it_fire(fabric):
    ordered = fabric.subscribe("**", order="causal")
    fabric.guard("hot", on="temperature", when="value > 80")
    for value in (20.0, 90.0, 30.0, 95.0):
        fabric.publish("temperature", value, priority="low")
    topics = [event.topic for event in ordered.poll_batch(99)]
    assert topics == ["temperature", "temperature", "guard/hot", "temperature", "temperature", "guard/hot"]
