"""The whole bus beside a plain model, step by step: what is received, dead letters, books, topics, guards.

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
from tests.property.model import (
    Filters,
    ModelBus,
    ModelEvent,
    ModelGuard,
    ModelPattern,
    ModelSubscription,
    Reading,
    Refused,
    Regex,
    Where,
    matches,
)
from tests.property.workers import Worker

POLICIES = ("drop-oldest", "drop-newest", "dead-letter", "block")
TOPICS = ("a", "b", "a/b", "b/a")
GUARDS: dict[str, tuple[Any, float]] = {"low": ("a/**", 0.0), "high": (["b", "b/*"], 2.0)}
SUBSCRIPTIONS_MAX = 6
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()

texts = st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=3).map("/".join)
singles = st.one_of(
    st.sampled_from(["**", "a/**", "*", "guard/*"]),
    st.sampled_from(["**", "a"]),
    texts,
    st.sampled_from([r"a/.*", r"[ab]", r".*/a", r"a(/b)?", r"guard/\w+"]).map(Regex),
)
patterns = st.one_of(singles, st.lists(singles, min_size=1, max_size=3))
topics = st.sampled_from(("a", "a", *TOPICS))
priorities = st.integers(0, 3)
actors = st.sampled_from([0, 0, 1, 2])
limits = st.none() | st.integers(0, 4)
sizes = st.sampled_from([0, 5, 10, 21])
payloads = st.one_of(
    st.integers(-2, 4),
    sizes.map(bytes),
    st.sampled_from(["aaaaa", "üüüüü"]),
    st.builds(Reading, st.sampled_from([-1.0, 1.0, 3.0]), sizes),
)
events = st.tuples(payloads, priorities)
accompaniments = st.fixed_dictionaries(
    {},
    optional={
        "priority": priorities,
        "deadline_ms": st.integers(0, 5),
        "headers": st.dictionaries(st.sampled_from(["unit", "by"]), st.integers(0, 1), max_size=2),
    },
)
bounds: dict[str, Any] = {
    "capacity": st.integers(1, 3) | st.integers(1, 8),
    "capacity_bytes": st.none() | st.sampled_from([10, 20, 40]),
    "overflow": st.sampled_from(POLICIES),
    "dead_letters_max": st.integers(1, 5),
}


conditions = [
    Where("value > 0", "value", lambda value: value > 0),
    Where("value >= 1 and not (value >= 3)", "value", lambda value: 1 <= value < 3),
    Where("robustness >= 1", "robustness", lambda value: value >= 1),
]


def is_small(event):
    """Whether an event carries little; what has no length and is no number cannot be judged."""
    return (event.payload if isinstance(event.payload, int) else len(event.payload)) < 3


def is_positive(event):
    """Whether an event carries a number above zero; texts and bytes cannot be compared."""
    return not isinstance(event.payload, dict) and event.payload > 0


durations = st.sampled_from([1, 2, 3])
"""Of the order of the times that pass, and of those that are recorded."""

filters = st.one_of(
    st.just(Filters()),
    st.builds(
        Filters,
        where=st.none() | st.sampled_from(conditions),
        sample=st.none() | st.integers(1, 3),
        rate_limit=st.none() | st.tuples(durations, st.integers(1, 3)),
        throttle=st.none() | durations,
        debounce=st.none() | durations,
    ),
    st.builds(Filters, predicate=st.sampled_from([is_small, is_positive]), debounce=st.none() | durations),
    st.builds(Filters, debounce=durations),
)


def real_filters(filters: Filters) -> dict[str, Any]:
    """The same as options of a subscription."""
    given: dict[str, Any] = {"sample": filters.sample}
    given["where"] = filters.predicate if filters.where is None else filters.where.text
    given["throttle"] = None if filters.throttle is None else f"{filters.throttle} ns"
    given["debounce"] = None if filters.debounce is None else f"{filters.debounce} ns"
    return given


def real_pattern(pattern: ModelPattern) -> Any:
    if isinstance(pattern, list):
        return [real_pattern(each) for each in pattern]
    return cf.regex(pattern.text) if isinstance(pattern, Regex) else pattern


class Pair:
    """A subscription and its model."""

    def __init__(self, real: cf.Subscription, model: ModelSubscription) -> None:
        self.real = real
        self.model = model
        self.iterators: dict[str, Iterator[object]] = {"event": iter(real), "payload": real.payloads()}


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
        self.publishers: dict[str, cf.Publisher] = {}
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
            self.refuses(refused, actor, lambda: self.handle(topic).publish(payload, **given))
        else:
            self.refuses(refused, actor, lambda: asyncio.run(self.fabric.publish_async(topic, payload, **given)))

    @precondition(lambda self: not self.model.closed)
    @rule(topic=topics, burst=st.lists(events, min_size=2, max_size=6), actor=actors)
    def publish_a_burst(self, topic, burst, actor):
        for payload, priority in burst:
            refused, given = self.expectation(topic, payload, actor, {"priority": priority})
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

    def handle(self, topic):
        if topic not in self.publishers:
            self.publishers[topic] = self.fabric.publisher(topic)
            self.model.topic(topic)
        return self.publishers[topic]

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
    def subscribe_to_most(self, **options):
        return self.subscribe(pattern=["a", "a/**", "b"], **options)

    @initialize(target=numbers, capacity=st.integers(1, 2), dead_letters_max=st.integers(2, 5))
    def subscribe_with_dead_letters(self, **options):
        return self.subscribe(pattern=["a", "b/*"], capacity_bytes=20, overflow="dead-letter", **options)

    @initialize(target=numbers, filters=filters, **bounds)
    def subscribe_with_filters(self, filters, **options):
        return self.subscribe(pattern=["a", "a/**"], filters=filters, **options)

    @initialize(
        target=numbers, filters=st.builds(Filters, debounce=durations, where=st.none() | st.sampled_from(conditions))
    )
    def subscribe_to_what_stays(self, filters):
        more = {"capacity": 2, "capacity_bytes": None, "overflow": "drop-newest", "dead_letters_max": 1}
        return self.subscribe(pattern="**", filters=filters, **more)

    @rule(target=numbers, pattern=patterns, filters=filters, **bounds)
    def subscribe(self, pattern, capacity, capacity_bytes, overflow, dead_letters_max, filters=Filters()):  # noqa: B008
        number = next(self.counter)
        if any(matches(pattern, f"guard/{name}") for name in GUARDS):
            capacity_bytes = None  # how many bytes the event of a guard holds is not promised
        options = {
            "name": f"number {number}",
            "capacity": capacity,
            "capacity_bytes": capacity_bytes,
            "overflow": overflow,
            "dead_letters_max": dead_letters_max,
        }
        if self.model.closed:
            with pytest.raises(cf.ClosedError):
                self.fabric.subscribe(real_pattern(pattern), **options, **real_filters(filters))
            return multiple()
        if sum(not pair.model.closed for pair in self.pairs.values()) >= SUBSCRIPTIONS_MAX:
            return multiple()
        model = ModelSubscription(pattern, filters=filters, **options)
        self.model.subscriptions.append(model)
        given = options | real_filters(filters)
        if filters.rate_limit is not None:
            # A rate that has a period of whole nanoseconds cannot be written with a burst of its own.
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("chronofabric.fabric.subscribing.bucket", lambda _, **_options: filters.rate_limit)
                real = self.fabric.subscribe(real_pattern(pattern), block_timeout=0, rate_limit="1/s", **given)
        else:
            real = self.fabric.subscribe(real_pattern(pattern), block_timeout=0, **given)
        self.pairs[number] = Pair(real, model)
        return number

    @rule(number=numbers, actor=actors)
    def unsubscribe(self, number, actor):
        pair = self.pairs[number]
        self.by(actor, pair.real.close)
        self.model.leave(pair.model)

    @rule(number=consumes(numbers), actor=actors)
    def forget(self, number, actor):
        """A subscription that nobody refers to any more is closed."""
        pair = self.pairs.pop(number)
        if not self.model.closed:
            self.model.leave(pair.model)
        box = [pair]
        del pair
        for worker in self.workers.values():
            # What it did before, and what came of that, it lets go only after its caller went on.
            worker.call(int)
        self.by(actor, box.clear)
        if FREE_THREADED:
            # A free-threaded interpreter may leave it to the thread that made an object to notice that it has gone.
            gc.collect()

    @rule(number=numbers, paused=st.booleans(), actor=actors)
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
        if waits and pair.model.filters.predicate is not None:
            how, waits = "poll", False  # it may turn away what is there
        if waits and not pair.model.ready(self.model.now):
            return
        closed = pair.model.closed
        expected = pair.model.take(1, actor, self.model.now)
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
        if not pair.model.ready(self.model.now) or pair.model.filters.predicate is not None:
            how = "poll"
        expected = pair.model.take(size, actor, self.model.now)
        calls = {
            "poll": lambda: pair.real.poll_batch(size),
            "batches": lambda: next(pair.real.batches(size), []),
            "in a task": lambda: asyncio.run(first_batch_of(pair.real, size)),
        }
        batch = self.by(actor, calls[how])
        assert len(batch) == len(expected)
        for event, model in zip(batch, expected, strict=True):
            self.check(event, model)

    # Dead letters

    def check_letters(self, letters, expected):
        assert [letter.reason for letter in letters] == [reason for _, reason in expected]
        for letter, (event, _) in zip(letters, expected, strict=True):
            self.check(letter.event, event)

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
    @rule(actor=actors)
    def close(self, actor):
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
            assert (real.pending, real.paused, real.closed) == (model.pending, model.paused, model.closed)
            assert real.ready == model.ready(self.model.now)
            assert real.filter_errors == model.filter_errors
            self.check_letters(real.dead_letters, model.dead)
        for guard, expected in self.guards.values():
            report = guard.report()
            found = (report["evaluated"], report["fired"], report["errors"])
            assert found == (expected.evaluated, expected.fired, expected.errors)

    @precondition(lambda self: not self.model.closed)
    @rule()
    def look_at_the_report(self):
        found = {each["name"]: each for each in self.fabric.report().subscriptions}
        assert list(found) == [each.name for each in self.model.subscriptions]
        for model in self.model.subscriptions:
            figures = found[model.name]
            assert {name: figures[name] for name in model.books()} == model.books()
            assert figures["dead_letters"] == len(model.dead)

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
            expected = pair.model.take(1000, 0, self.model.now)
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
