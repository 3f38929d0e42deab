"""Statements on requests, on what topics keep, and on groups, by their numbers."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager

import pyarrow as pa
import pytest

import chronofabric as cf
from chronofabric.fabric.sinks import PythonSink
from tests.semantics.helpers import START_NS, in_thread, payloads, until


def answering(subscription, answer):
    """Answer what a subscription gets, in a thread that ends when it closes."""

    def run():
        for event in subscription:
            answer(event)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@contextmanager
def advancing_when(condition, clock):
    """Let more than enough time pass for a request as soon as a condition holds."""

    def advance():
        until(condition)
        clock.advance("1 min")

    thread = threading.Thread(target=advance)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


def asked_in_vain(fabric, topic):
    with pytest.raises(cf.RequestTimeout):
        fabric.request(topic, 2)


# Requests


def test_s91_a_request_is_an_event_and_its_reply_a_payload(fabric):
    seen = []
    everything = fabric.subscribe("**")
    fabric.guard("hot", on="question", when="value > 1")
    fabric.answers("question")(lambda event: seen.append(event) or pa.record_batch({"x": [1, 2]}))
    reply = fabric.request("question", 2, priority="high", deadline="1 s", headers={"unit": "C"})
    assert isinstance(reply, cf.Table)
    assert pa.record_batch(reply)["x"].to_pylist() == [1, 2]
    (event,) = seen
    assert (event.payload, event.priority, event.deadline, event.is_request) == (2, 2, START_NS + 10**9, True)
    assert dict(event.headers) == {"unit": "C"}
    assert [each.topic for each in everything.poll_batch(9)] == ["question", "guard/hot"]
    assert everything.books().offered == 2


def test_s92_whoever_receives_it_may_answer(fabric):
    replies = fabric.subscribe("a/value")
    errors = fabric.subscribe("a/error")
    threads = [
        answering(replies, lambda event: event.reply(event.payload + 1)),
        answering(errors, lambda event: event.reply_error(ValueError("no"))),
    ]
    fabric.answers("a/function")(lambda event: event.payload + 2)

    @fabric.answers("a/coroutine")
    async def answer(event):
        await asyncio.sleep(0)
        return event.payload + 3

    assert [fabric.request(f"a/{kind}", 1) for kind in ("value", "function", "coroutine")] == [2, 3, 4]
    with pytest.raises(cf.AnswerError):
        fabric.request("a/error", 1)
    replies.close()
    errors.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_s93_nobody_is_subscribed(fabric):
    fabric.subscribe("elsewhere")
    with pytest.raises(cf.NoAnswerer) as raised:
        fabric.request("question", 1, timeout=None)
    assert raised.value.topic == "question"
    assert fabric.topics() == {}
    with pytest.raises(cf.NoAnswerer):
        fabric.publisher("made").request(1, timeout=None)
    assert fabric.topics() == {"made": 0}


def test_s94_nobody_has_it_any_more(fabric):
    full = fabric.subscribe("full", capacity=1, overflow="drop-newest")
    fabric.publish("full", 0)
    with pytest.raises(cf.NoAnswerer):
        fabric.request("full", 1, timeout=None)
    assert full.books().dropped == {"overflow": 1}
    fabric.on("ignored")(lambda event: None)
    with pytest.raises(cf.NoAnswerer):
        fabric.request("ignored", 1, timeout=None)


def test_s95_it_times_out_on_the_clock_of_the_node(fabric, clock):
    questions = fabric.subscribe("question")
    with advancing_when(lambda: questions.pending == 1, clock), pytest.raises(cf.RequestTimeout) as raised:
        fabric.request("question", 1, timeout="2 s")
    assert (raised.value.topic, raised.value.timeout_ns) == ("question", 2 * 10**9)
    with advancing_when(lambda: questions.pending == 2, clock), pytest.raises(cf.RequestTimeout) as raised:
        fabric.publisher("question").request(1)
    assert raised.value.timeout_ns == 10**9
    assert questions.pending == 2


def test_s96_the_asker_gets_what_the_answer_raised(fabric, caplog):
    error = ValueError("no such part")

    @fabric.answers("price", name="price")
    def price(event):
        raise error

    with pytest.raises(cf.AnswerError, match="ValueError: no such part") as raised:
        fabric.request("price", 1)
    assert raised.value.__cause__ is error
    assert "in price" in raised.value.traceback
    assert "no such part" in raised.value.traceback
    until(lambda: fabric.report().handlers[0]["errors"] == 1)
    until(lambda: caplog.records)


def test_s97_the_first_reply_wins(fabric, clock):
    questions = fabric.subscribe("question")
    told = []
    thread = threading.Thread(target=lambda: told.append(fabric.request("question", 1)))
    thread.start()
    event = questions.receive(timeout="1 h")
    assert [event.reply(1), event.reply(2), event.reply_error(ValueError())] == [True, False, False]
    thread.join(20)
    assert told == [1]
    with advancing_when(lambda: questions.pending, clock):
        in_thread(lambda: asked_in_vain(fabric, "question"))
    assert not questions.poll().reply(3)
    fabric.publish("question", 3)
    event = questions.poll()
    assert not event.is_request
    assert not event.reply(3)
    counts = fabric.report().requests
    assert (counts["answered"], counts["surplus"], counts["timed_out"], counts["late"]) == (1, 2, 1, 1)


def test_s98_who_would_wait_for_itself_is_told(fabric):
    questions = fabric.subscribe("question")
    assert questions.poll() is None
    with pytest.raises(cf.WouldDeadlock) as raised:
        fabric.request("question", 1, timeout=None)
    assert raised.value.subscriptions == ("question",)
    assert questions.books().offered == 0
    raised_there = []
    fabric.answers("inner")(lambda event: event.payload)

    @fabric.answers("outer")
    def outer(event):
        try:
            fabric.request("inner", 1, timeout=None)
        except cf.WouldDeadlock as error:
            raised_there.append(error)

    fabric.request("outer", 1)
    assert len(raised_there) == 1

    @fabric.answers("slow")
    async def slow(event):
        return await fabric.request_async("quick", event.payload) + 1

    @fabric.answers("quick")
    async def quick(event):
        return event.payload + 1

    assert fabric.request("slow", 1) == 3


def test_s99_closing_ends_a_request(clock):
    fabric = cf.Fabric("closing", clock=clock)
    release = threading.Event()

    @fabric.answers("slow")
    def slow(event):
        release.wait(20)
        return "done"

    told = []

    def ask(topic):
        try:
            told.append(fabric.request(topic, 1, timeout=None))
        except cf.ClosedError as error:
            told.append(type(error))

    with fabric:
        held = fabric.subscribe("held")
        threads = [threading.Thread(target=ask, args=(topic,)) for topic in ("slow", "held")]
        for thread in threads:
            thread.start()
        event = held.receive()
        until(lambda: fabric.report().handlers[0]["calls"] == 1)
        threading.Timer(0.05, release.set).start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(told, key=str) == [cf.ClosedError, "done"]
    assert not event.reply(1)
    with pytest.raises(cf.ClosedError):
        fabric.request("slow", 1)


def test_s100_who_is_cancelled_gives_up(fabric):
    questions = fabric.subscribe("question")

    async def main():
        asking = asyncio.create_task(fabric.request_async("question", 1, timeout=None))
        while not questions.pending:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(main())
    assert not questions.poll().reply(1)
    counts = fabric.report().requests
    assert (counts["asked"], counts["cancelled"], counts["late"]) == (1, 1, 1)


def test_s101_each_request_ends_in_one_way(fabric, clock):
    fabric.answers("ok")(lambda event: 1)
    fabric.answers("broken")(lambda event: 1 / 0)
    fabric.subscribe("nobody", capacity=1, overflow="drop-newest")
    silent = fabric.subscribe("silent")
    fabric.request("ok", 1)
    with pytest.raises(cf.AnswerError):
        fabric.request("broken", 1)
    with pytest.raises(cf.NoAnswerer):
        fabric.request("nowhere", 1)
    with advancing_when(lambda: silent.pending, clock), pytest.raises(cf.RequestTimeout):
        fabric.request("silent", 1)
    waiting = fabric.publisher("silent").request_start(1)
    counts = fabric.report().requests
    ends = ("answered", "failed", "unanswered", "timed_out", "cancelled")
    assert [counts[end] for end in ends] == [1, 1, 1, 1, 0]
    assert counts["asked"] == sum(counts[end] for end in ends) + 1
    waiting.cancel()
    counts = fabric.report().requests
    assert counts["asked"] == sum(counts[end] for end in ends) == 5
    assert silent.pending == 2


# What topics keep


def test_s102_the_last_value_comes_first(fabric):
    fabric.publish("a", 1, retain=True)
    fabric.publisher("a", retain=True).publish(2)
    fabric.publish("a", 3)
    late = fabric.subscribe("**")
    fabric.publish("a", 4, retain=True)
    first, second = late.poll_batch(9)
    assert (first.payload, first.retained) == (2, True)
    assert (second.payload, second.retained) == (4, False)
    books = late.books()
    assert (books.offered, books.replayed, books.delivered, books.balanced) == (1, 1, 2, True)


def test_s103_a_rule_keeps_the_last_events(fabric):
    fabric.retain("plant/**", last=3)
    fabric.publish_many("plant/7", range(4))
    fabric.publish("plant/8", 4, retain=True)
    fabric.publish_many("other", range(5, 9))
    assert payloads(fabric.subscribe("**", history=10)) == [1, 2, 3, 4]
    assert payloads(fabric.subscribe("**", history=2)) == [2, 3, 4]
    assert payloads(fabric.subscribe("**")) == [3, 4]
    assert payloads(fabric.subscribe("**", history=0)) == []


def test_s104_the_seam_has_neither_gap_nor_duplicate():
    count = 3_000
    with cf.Fabric("seam") as fabric:
        fabric.retain("topic/*", last=5)

        def publish(topic):
            for number in range(count):
                fabric.publish(topic, number)

        threads = [threading.Thread(target=publish, args=(f"topic/{number}",)) for number in range(3)]
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            late: list[cf.Subscription] = []
            while any(thread.is_alive() for thread in threads) and len(late) < 40:
                late.append(fabric.subscribe("topic/*", history=5, capacity=3 * count))
        finally:
            sys.setswitchinterval(before)
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
        for subscription in late:
            by_topic: dict[str, list[tuple[int, bool]]] = {}
            for event in subscription.poll_batch(3 * count):
                by_topic.setdefault(event.topic, []).append((event.payload, event.retained))
            assert sorted(by_topic) == ["topic/0", "topic/1", "topic/2"]
            for events in by_topic.values():
                numbers = [number for number, _ in events]
                assert numbers == list(range(numbers[0], count))
                kept = [retained for _, retained in events]
                assert kept == sorted(kept, reverse=True)
                assert sum(kept) == min(5, numbers[0] + sum(kept))
            books = subscription.books()
            assert books.balanced
            assert books.replayed == sum(retained for events in by_topic.values() for _, retained in events)


@pytest.mark.parametrize(
    ("overflow", "received", "lost"),
    [
        ("drop-oldest", [3, 4], {"overflow": 3}),
        ("drop-newest", [0, 1], {"overflow": 3}),
        ("dead-letter", [0, 1], {}),
        ("block", [0, 1], {"would-deadlock": 3}),
    ],
)
@pytest.mark.parametrize("order", ["publisher", "causal"])
def test_s105_what_is_kept_comes_under_the_overflow_policy(fabric, overflow, received, lost, order):
    fabric.retain("a", last=5)
    fabric.publish_many("a", range(5))
    late = fabric.subscribe("a", history=5, capacity=2, overflow=overflow, order=order)
    books = late.books()
    assert (books.offered, books.replayed, books.dropped, books.balanced) == (0, 5, lost, True)
    assert len(late.dead_letters) == (3 if overflow == "dead-letter" else 0)
    assert payloads(late) == received


def test_s106_the_topic_that_changed_last_comes_last(fabric):
    for topic in ("b", "c", "a", "b"):
        fabric.publish(topic, topic, retain=True)
    assert payloads(fabric.subscribe("**")) == ["c", "a", "b"]
    assert payloads(fabric.subscribe("**", capacity=1)) == ["b"]


def test_s107_bytes_are_bounded(clock):
    assert cf.Fabric("default", clock=clock).report().retained["bytes_max"] == 64 << 20
    with cf.Fabric("bounded", clock=clock, retained_bytes_max=1_000) as fabric:
        fabric.retain("history", last=100)
        fabric.publish("other", bytes(136), retain=True)
        for size in (300, 200, 100):
            fabric.publish("history", bytes(size))
        # Each counts 64 bytes more.
        assert fabric.report().retained == {"events": 4, "bytes": 992, "bytes_max": 1_000, "past_bound": 0}
        fabric.publish("history", bytes(50))
        assert [len(each) for each in payloads(fabric.subscribe("history", history=9))] == [200, 100, 50]
        assert fabric.report().retained["past_bound"] == 1
        fabric.publish("history", bytes(900))
        assert payloads(fabric.subscribe("history", history=9)) == []
        assert [len(each) for each in payloads(fabric.subscribe("other"))] == [136]
        assert fabric.report().retained == {"events": 1, "bytes": 200, "bytes_max": 1_000, "past_bound": 5}


def test_s108_what_is_kept_can_be_forgotten(fabric):
    fabric.retain("a/**", last=2)
    for topic in ("a/1", "a/2", "b"):
        fabric.publish_many(topic, [1, 2], retain=True)
    assert fabric.forget("a/1") == 2
    assert fabric.forget(["a/1", "b"]) == 1
    assert payloads(fabric.subscribe("**", history=9)) == [1, 2]
    fabric.retain("**", last=0)
    fabric.publish("b", 3, retain=True)
    assert payloads(fabric.subscribe("**", history=9)) == []
    assert fabric.report().retained["events"] == 0


def test_s109_requests_are_not_kept_and_some_get_nothing_that_was(fabric):
    fabric.retain("**", last=9)
    called = []
    fabric.answers("question")(lambda event: called.append(event.payload))
    fabric.request("question", 1)
    assert payloads(fabric.subscribe("question", history=9)) == []
    fabric.publish("kept", 90)
    fabric.publish("guard/hot", "kept")
    fabric.answers("kept")(lambda event: called.append(event.payload))
    guard = fabric.guard("hot", on="kept", when="value > 80", do=lambda event: called.append(event.payload))
    written = []
    fabric.add_sink(PythonSink(lambda batch: written.extend(batch.payloads), topics=["kept"]))
    fabric.publish("question", 2)
    until(lambda: 2 in called)
    assert called == [1, 2]
    assert guard.report()["evaluated"] == 0
    assert written == []


# Groups


def test_s110_each_event_goes_to_one_member(fabric):
    members = [fabric.subscribe("jobs/*", group="workers") for _ in range(3)]
    fabric.publish_many("jobs/1", range(4))
    taken = [members[number % 3].poll().payload for number in range(4)]
    assert taken == [0, 1, 2, 3]
    assert [each.poll() for each in members] == [None] * 3
    (report,) = fabric.report().subscriptions
    assert (report["name"], report["offered"], report["delivered"]) == ("workers", 4, 4)
    seen = []
    for _ in range(2):
        fabric.on("calls", group="handlers")(lambda event: seen.append(event.payload))
    fabric.publish_many("calls", range(200))
    until(lambda: len(seen) >= 200)
    assert sorted(seen) == list(range(200))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"pattern": "jobs/**"}, "pattern"),
        ({"capacity": 2}, "capacity"),
        ({"overflow": "block"}, "overflow"),
        ({"order": "causal"}, "order"),
        ({"history": 0}, "history"),
        ({"name": "other"}, "name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_s111_members_agree(fabric, other, named):
    member = fabric.subscribe("jobs/*", group="workers")
    with pytest.raises(cf.ArgumentError, match=f"group 'workers' has {named}") as raised:
        fabric.subscribe(**({"pattern": "jobs/*", "group": "workers"} | other))
    assert raised.value.argument == named
    fabric.publish("jobs/1", 1)
    assert member.poll().payload == 1


def test_s112_who_leaves_takes_nothing_along(fabric):
    first, second = (fabric.subscribe("jobs", group="workers") for _ in range(2))
    fabric.publish_many("jobs", [1, 2])
    first.close()
    first.close()
    assert first.closed
    with pytest.raises(cf.ClosedError):
        first.poll()
    assert second.poll().payload == 1
    del second
    assert fabric.report().subscriptions == ()
    again = fabric.subscribe("jobs", group="workers", capacity=5)
    fabric.publish("jobs", 3)
    assert payloads(again) == [3]
