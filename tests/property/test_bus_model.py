"""The whole bus beside a plain model, step by step: what is received, dead letters, books, topics, groups, guards.

Three threads act, one at a time, so every answer is exact. Simulated time stands still unless a step moves it, and
`block` waits no time at all, so that nobody has to be waited for.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

import chronofabric as cf
from tests.property.drawn import (
    accompaniments,
    actors,
    bounds,
    conditions,
    differences,
    durations,
    events,
    filters,
    limits,
    patterns,
    payloads,
    real_filters,
    real_pattern,
    topics,
)
from tests.property.model import ModelBus, ModelEvent, ModelGuard, ModelSubscription, Reading, Refused, matches
from tests.property.model_filters import UNFILTERED, Filters
from tests.property.workers import Worker

GUARDS: dict[str, tuple[Any, float]] = {"low": ("a/**", 0.0), "high": (["b", "b/*"], 2.0)}
SUBSCRIPTIONS_MAX = 8
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


class Pair:
    """A subscription and its model, which several have in common where they are a group."""

    def __init__(self, real: cf.Subscription, model: ModelSubscription, given: dict[str, Any]) -> None:
        self.real = real
        self.model = model
        self.given = given
        self.left = False
        self.iterators: dict[str, Iterator[object]] = {"event": iter(real), "payload": real.payloads()}

    @property
    def closed(self) -> bool:
        return self.left or self.model.closed

    def ready(self, now: int) -> bool:
        return self.left or self.model.ready(now)

    def take(self, limit: int, receiver: object, now: int) -> list[ModelEvent]:
        return [] if self.left else self.model.take(limit, receiver, now)

    def may_turn_away(self) -> bool:
        """Whether nothing of what is there may be for a receiver."""
        filters = self.model.filters.given
        too_large = filters.debounce is not None and self.model.capacity_bytes is not None
        return filters.predicate is not None or self.model.late == "dead-letter" or too_large


class Bus(RuleBasedStateMachine):
    """One fabric beside its model; subscriptions are known by their numbers."""

    numbers = Bundle("numbers")

    def __init__(self) -> None:
        super().__init__()
        self.clock = cf.SimulatedClock()
        self.fabric = cf.Fabric("model", clock=self.clock)
        self.model = ModelBus()
        self.pairs: dict[int, Pair] = {}
        self.counter = itertools.count()
        self.publishers: dict[tuple[str, bool], cf.Publisher] = {}
        self.guards: dict[str, tuple[cf.fabric.guards.Guard, ModelGuard]] = {}
        self.stamps: dict[int, cf.Stamp] = {}
        self.workers = {1: Worker("first"), 2: Worker("second")}
        # Whether a list travels as batches depends on what is known of the types of its items.
        with cf.Fabric("types") as types:
            types.publish("a", Reading(0.0, 0))

    def by(self, actor, body):
        """Have a thread do it: this one or another."""
        return body() if actor == 0 else self.workers[actor].call(body)

    def check(self, event, model: ModelEvent):
        """An event is the one of the model in all its parts."""
        assert event.payload is model.payload or (model.topic.startswith("guard/") and event.payload == model.payload)
        assert (event.topic, event.priority, event.time) == (model.topic, model.priority, model.time)
        assert (event.deadline, dict(event.headers)) == (model.deadline, model.headers)
        assert (event.late_ns, event.retained) == (model.late_ns, model.retained)
        assert event.node == self.fabric.stamps.node
        assert self.stamps.setdefault(model.number, event.stamp) == event.stamp

    # Publishing

    @rule(by=st.sampled_from([1, 2, 5_000_000_000]))
    def time_passes(self, by):
        self.model.now = self.clock.advance(f"{by} ns")

    def expectation(self, topic, payload, actor, options, **more) -> tuple[Refused, dict[str, Any]]:
        """What the model says of a publish, and the options that the real one is given."""
        given = dict(options)
        deadline_ms = given.pop("deadline_ms", None)
        if deadline_ms is not None:
            given["deadline"] = f"{deadline_ms} ms"
        refused = self.model.publish(
            topic,
            payload,
            actor,
            priority=options.get("priority", 1),
            headers=options.get("headers"),
            retain=options.get("retain", False),
            deadline=None if deadline_ms is None else self.model.now + deadline_ms * 1_000_000,
            **more,
        )
        return refused, given

    def refuses(self, refused: Refused, actor, body):
        """A publish raises what the model says, and nothing where everybody had room."""
        if not refused:
            return self.by(actor, body)
        kind = cf.WouldDeadlock if refused.would_deadlock else cf.PublishTimeout
        with pytest.raises((cf.WouldDeadlock, cf.PublishTimeout)) as raised:
            self.by(actor, body)
        assert raised.type is kind
        assert set(raised.value.subscriptions) == (refused.would_deadlock or refused.timeout)  # type: ignore[attr-defined]
        return None

    @rule(
        topic=topics,
        payload=payloads,
        actor=actors,
        options=accompaniments,
        time=st.none() | st.integers(-5, 5),
        how=st.sampled_from(["by name", "by name", "by handle", "by handle", "in a task"]),
    )
    def publish(self, topic, payload, actor, options, time, how):
        if self.model.closed:
            with pytest.raises(cf.ClosedError):
                self.by(actor, lambda: self.fabric.publish(topic, payload))
            return
        refused, given = self.expectation(topic, payload, actor, options, time=time, patient=how == "in a task")
        if time is not None:
            given["time"] = time
        if how == "by name":
            self.refuses(refused, actor, lambda: self.fabric.publish(topic, payload, **given))
        elif how == "by handle":
            handle = self.handle(topic, retain=given.pop("retain", False))
            self.refuses(refused, actor, lambda: handle.publish(payload, **given))
        else:
            self.refuses(refused, actor, lambda: asyncio.run(self.fabric.publish_async(topic, payload, **given)))

    @precondition(lambda self: not self.model.closed)
    @rule(topic=topics, burst=st.lists(events, min_size=2, max_size=6), actor=actors)
    def publish_a_burst(self, topic, burst, actor):
        for payload, options in burst:
            refused, given = self.expectation(topic, payload, actor, options)
            self.refuses(refused, actor, lambda: self.fabric.publish(topic, payload, **given))  # noqa: B023 - called at once

    @rule(
        topic=topics,
        several=st.lists(payloads, max_size=8),
        actor=actors,
        options=accompaniments,
        by_name=st.booleans(),
    )
    def publish_many(self, topic, several, actor, options, by_name):
        many = self.many(topic, by_name)
        if many is None or self.model.closed:
            with pytest.raises(cf.ClosedError):
                self.by(actor, lambda: self.fabric.publish_many(topic, iter(several)))
            return
        self.model.topic(topic)
        refused = Refused()
        given: dict[str, Any] = {}
        left = iter(several)
        for payload in left:
            refused, given = self.expectation(topic, payload, actor, options)
            if refused:
                break
        remaining = list(left)
        source = iter(several)
        count = self.refuses(refused, actor, lambda: many(source, **given))
        # What comes after a payload that found no room is not even asked for.
        assert list(source) == remaining
        assert count is None or count == len(several)

    @precondition(lambda self: not self.model.closed)
    @rule(topic=topics, several=st.lists(payloads, min_size=2, max_size=8), actor=actors, options=accompaniments)
    def publish_a_batch(self, topic, several, actor, options):
        """All events of a list are published, whoever has no room for some of them."""
        refused = Refused()
        given: dict[str, Any] = {}
        many = self.handle(topic).publish_many
        for payload in several:
            more, given = self.expectation(topic, payload, actor, options)
            refused.would_deadlock |= more.would_deadlock
            refused.timeout |= more.timeout
        count = self.refuses(refused, actor, lambda: many(several, **given))
        assert count is None or count == len(several)

    def many(self, topic, by_name):
        if by_name:
            return lambda several, **options: self.fabric.publish_many(topic, several, **options)
        return None if self.model.closed else self.handle(topic).publish_many

    def handle(self, topic, retain=False):
        if (topic, retain) not in self.publishers:
            self.publishers[topic, retain] = self.fabric.publisher(topic, retain=retain)
            self.model.topic(topic)
        return self.publishers[topic, retain]

    # What topics keep

    @precondition(lambda self: not self.model.closed)
    @rule(pattern=patterns, last=st.none() | st.integers(0, 3))
    def retain_or_forget(self, pattern, last):
        if last is None:
            assert self.fabric.forget(real_pattern(pattern)) == self.model.retention.forget(pattern)
        else:
            self.fabric.retain(real_pattern(pattern), last=last)
            self.model.retention.retain(pattern, last)

    # Guards

    @precondition(lambda self: not self.model.closed)
    @rule(name=st.sampled_from(sorted(GUARDS)))
    def guard(self, name):
        if name in self.guards:
            real, model = self.guards.pop(name)
            real.close()
            self.model.guards.remove(model)
            return
        pattern, threshold = GUARDS[name]
        model = ModelGuard(name, pattern, threshold)
        self.guards[name] = (self.fabric.guard(name, on=pattern, when=f"value > {threshold}"), model)
        self.model.guards.append(model)
        self.model.topic(f"guard/{name}")

    # Subscribing

    @initialize(target=numbers, **bounds)
    def subscribe_to_most_in_a_group(self, grouped, **options):
        number = self.subscribe(pattern=["a", "a/**", "b"], grouped=True, **options)
        return multiple(number, self.join(number=number, other=None)) if grouped else number

    @initialize(target=numbers, capacity=st.integers(1, 2), dead_letters_max=st.integers(2, 5))
    def subscribe_with_dead_letters(self, **options):
        return self.subscribe(pattern=["a", "b/*"], capacity_bytes=20, overflow="dead-letter", **options)

    @initialize(target=numbers, kept=st.lists(payloads, max_size=3), filters=filters, **bounds)
    def subscribe_with_filters_to_what_is_kept(self, kept, filters, **options):
        self.retain_or_forget(pattern="a/b", last=2)
        for payload in kept:
            self.publish(topic="a/b", payload=payload, actor=0, options={"deadline_ms": 0}, time=None, how="by name")
        return self.subscribe(pattern=["a", "a/**"], filters=filters, **options)

    @initialize(
        target=numbers,
        filters=st.builds(Filters, debounce=durations, where=st.none() | st.sampled_from(conditions)),
        order=bounds["order"],
    )
    def subscribe_to_what_stays(self, filters, order):
        more = {"capacity": 2, "capacity_bytes": None, "overflow": "drop-newest", "dead_letters_max": 1}
        return self.subscribe(pattern="**", filters=filters, order=order, **more)

    @rule(target=numbers, pattern=patterns, filters=filters, **bounds)
    def subscribe(self, pattern, filters=UNFILTERED, grouped=False, **options):
        number = next(self.counter)
        if any(matches(pattern, f"guard/{name}") for name in GUARDS):
            options["capacity_bytes"] = None  # how many bytes the event of a guard holds is not promised
        options["name"] = f"number {number}"
        given = {"pattern": real_pattern(pattern), "block_timeout": 0, **options, **real_filters(filters)}
        if grouped:
            given["group"] = f"group {number}"
        if self.model.closed:
            with pytest.raises(cf.ClosedError):
                self.fabric.subscribe(**given)
            return multiple()
        if sum(not pair.closed for pair in self.pairs.values()) >= SUBSCRIPTIONS_MAX:
            return multiple()
        model = ModelSubscription(pattern, filters=filters, **options)
        self.model.subscribe(model)
        self.pairs[number] = Pair(self.real_subscription(model, given), model, given)
        return number

    def real_subscription(self, model, given):
        rate = model.filters.given.rate_limit
        if rate is None:
            return self.fabric.subscribe(**given)
        # A rate that has a period of whole nanoseconds cannot be written with a burst of its own.
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("chronofabric.fabric.subscribing.bucket", lambda _, **_options: rate)
            return self.fabric.subscribe(rate_limit="1/s", **given)

    @rule(target=numbers, number=numbers, other=differences)
    def join(self, number, other):
        """One more member of a group shares its subscription, if it asks for the same."""
        pair = self.pairs[number]
        if "group" not in pair.given or pair.model.closed:
            return multiple()
        if other and pair.given["debounce"] is None:
            with pytest.raises(cf.ArgumentError) as raised:
                self.real_subscription(pair.model, pair.given | other)
            assert {raised.value.argument} == set(other)
            # What was raised refers to this frame, and so to the subscription.
            del raised
            return multiple()
        pair.model.members += 1
        joined = next(self.counter)
        self.pairs[joined] = Pair(self.real_subscription(pair.model, pair.given), pair.model, pair.given)
        return joined

    @rule(number=numbers, actor=actors)
    def unsubscribe(self, number, actor):
        self.by(actor, self.pairs[number].real.close)
        self.leaves(self.pairs[number])

    def leaves(self, pair):
        if not pair.closed:
            self.model.leave(pair.model)
        pair.left = True

    @rule(number=consumes(numbers), actor=actors)
    def forget(self, number, actor):
        """A subscription that nobody refers to any more is closed."""
        pair = self.pairs.pop(number)
        self.leaves(pair)
        box = [pair]
        del pair
        for worker in self.workers.values():
            # What it did before, and what came of that, it lets go only after its caller went on.
            worker.call(int)
        self.by(actor, box.clear)
        if FREE_THREADED:
            # A free-threaded interpreter may leave it to the thread that made an object to notice that it has gone.
            gc.collect()

    @rule(number=numbers, paused=st.sampled_from([False, False, True]), actor=actors)
    def pause(self, number, paused, actor):
        pair = self.pairs[number]
        self.by(actor, pair.real.pause if paused else pair.real.resume)
        pair.model.paused = paused

    # Receiving

    @rule(
        number=numbers,
        actor=actors,
        how=st.sampled_from(
            ["poll", "receive", "receive in time", "event", "payload", "receive in a task", "in a task"]
        ),
    )
    def receive(self, number, actor, how):
        pair = self.pairs[number]
        waits = how not in ("poll", "receive in time")
        if waits and pair.may_turn_away():
            how, waits = "poll", False
        if waits and not pair.ready(self.model.now):
            return
        closed = pair.closed
        expected = pair.take(1, actor, self.model.now)
        calls = {
            "poll": pair.real.poll,
            "receive": pair.real.receive,
            "receive in time": lambda: pair.real.receive(timeout=0),
            "event": lambda: next(pair.iterators["event"], None),
            "payload": lambda: next(pair.iterators["payload"], None),
            "receive in a task": lambda: asyncio.run(pair.real.receive_async()),
            "in a task": lambda: asyncio.run(first_of(pair.real)),
        }
        if not expected and how in ("poll", "receive", "receive in time", "receive in a task") and closed:
            with pytest.raises(cf.ClosedError):
                self.by(actor, calls[how])
        elif not expected and how == "receive in time":
            with pytest.raises(cf.ReceiveTimeout):
                self.by(actor, calls[how])
        else:
            received = self.by(actor, calls[how])
            if not expected:
                assert received is None
            elif how == "payload":
                assert received is expected[0].payload or received == expected[0].payload
            else:
                self.check(received, expected[0])

    @rule(number=numbers, size=st.integers(1, 10), actor=actors, how=st.sampled_from(["poll", "batches", "in a task"]))
    def batch(self, number, size, actor, how):
        pair = self.pairs[number]
        if not pair.ready(self.model.now) or pair.may_turn_away():
            how = "poll"
        expected = pair.take(size, actor, self.model.now)
        calls = {
            "poll": lambda: pair.real.poll_batch(size),
            "batches": lambda: next(pair.real.batches(size), []),
            "in a task": lambda: asyncio.run(first_batch_of(pair.real, size)),
        }
        batch = self.by(actor, calls[how])
        assert len(batch) == len(expected)
        for event, model in zip(batch, expected, strict=True):
            self.check(event, model)

    @rule(size=st.integers(1, 5), actor=actors)
    def receive_from_all(self, size, actor):
        for number in self.pairs:
            self.batch(number=number, size=size, actor=actor, how="poll")

    # Dead letters

    def check_letters(self, letters, expected):
        told = [(letter.reason, letter.late_ns) for letter in letters]
        assert told == [(letter.reason, letter.late_ns) for letter in expected]
        for letter, model in zip(letters, expected, strict=True):
            self.check(letter.event, model.event)

    @rule(number=numbers, limit=limits, actor=actors)
    def take_dead_letters(self, number, limit, actor):
        pair = self.pairs[number]
        expected = pair.model.take_dead(limit)
        self.check_letters(self.by(actor, lambda: pair.real.take_dead_letters(limit)), expected)

    @rule(number=numbers, limit=limits, actor=actors, room=st.integers(0, 6))
    def replay_dead_letters(self, number, limit, actor, room):
        if room:
            self.batch(number=number, size=room, actor=actor, how="poll")
        pair = self.pairs[number]
        expected = pair.model.replay(limit)
        assert self.by(actor, lambda: pair.real.replay_dead_letters(limit)) == expected

    # The end

    @precondition(lambda self: len(self.pairs) > 3 and not self.model.closed)
    @rule(actor=actors, seldom=st.sampled_from([False, False, False, True]))
    def close(self, actor, seldom):
        if not seldom:
            return
        expected = self.model.close()
        assert self.by(actor, lambda: self.fabric.close(drain=0)) == expected
        assert self.fabric.close() == expected
        self.guards.clear()

    @invariant()
    def everything_equals_the_model(self):
        assert self.fabric.topics() == dict(self.model.published)
        for pair in self.pairs.values():
            real, model = pair.real, pair.model
            assert real.books_dict() == model.books()
            assert real.books().balanced
            assert (real.pending, real.paused, real.closed) == (model.pending, model.paused, pair.closed)
            assert real.ready == pair.ready(self.model.now)
            assert (real.filter_errors, real.late) == (model.filters.errors, model.missed)
            self.check_letters(real.dead_letters, model.dead)
        for guard, expected in self.guards.values():
            report = guard.report()
            found = (report["evaluated"], report["fired"], report["errors"])
            assert found == (expected.evaluated, expected.fired, expected.errors)

    @precondition(lambda self: not self.model.closed)
    @rule()
    def look_at_the_report(self):
        report = self.fabric.report()
        found = {each["name"]: each for each in report.subscriptions}
        assert list(found) == [each.name for each in self.model.subscriptions]
        for model in self.model.subscriptions:
            figures = found[model.name]
            assert {name: figures[name] for name in model.books()} == model.books()
            assert figures["dead_letters"] == len(model.dead)
        assert report.retained["events"] == self.model.retention.counts()["events"]

    def teardown(self):
        try:
            self.what_still_waits_equals_the_model()
        finally:
            self.fabric.close(drain=0)
            for worker in self.workers.values():
                worker.end()

    def what_still_waits_equals_the_model(self):
        for pair in self.pairs.values():
            pair.real.resume()
            pair.model.paused = False
            expected = pair.take(1000, 0, self.model.now)
            for event, model in zip(pair.real.poll_batch(1000), expected, strict=True):
                self.check(event, model)
        self.everything_equals_the_model()
        stamps = [stamp for _, stamp in sorted(self.stamps.items())]
        assert all(one < other for one, other in itertools.pairwise(stamps))


async def first_of(subscription):
    async for event in subscription:
        return event
    return None


async def first_batch_of(subscription, size):
    async for batch in subscription.batches_async(size):
        return batch
    return []


Bus.TestCase.settings = settings(stateful_step_count=40, max_examples=max(250, settings().max_examples))
TestBus = Bus.TestCase
