"""What topics keep, and what becomes of requests, beside plain models, in any order of steps."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import chronofabric as cf
from tests.property.model import NORMAL, ModelEvent, ModelRetention, matches

TOPICS = ("a", "b", "a/b", "c")
PATTERNS = ("a", "a/**", "*", "**", "*/b")
POLICIES = ("drop-oldest", "drop-newest", "dead-letter", "block")
BYTES_MAX = 600

topics = st.sampled_from(TOPICS)
patterns = st.sampled_from(PATTERNS)
payloads = st.sampled_from([0, 10, 100, 700]).map(bytes)


class Kept(RuleBasedStateMachine):
    """What topics keep, within bounds, beside the model of it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = cf.SimulatedClock()
        self.fabric = cf.Fabric("kept", clock=self.clock, retained_bytes_max=BYTES_MAX)
        self.model = ModelRetention(BYTES_MAX)
        self.numbers = itertools.count(1)

    def keep(self, topic: str, payload: bytes, retain: bool) -> None:
        self.model.keep(ModelEvent(next(self.numbers), topic, payload, NORMAL, 0, None, {}), retain=retain)

    @rule(topic=topics, payload=payloads, retain=st.booleans(), by_publisher=st.booleans())
    def publish(self, topic: str, payload: bytes, retain: bool, by_publisher: bool) -> None:
        if by_publisher:
            self.fabric.publisher(topic, retain=retain).publish(payload)
        else:
            self.fabric.publish(topic, payload, retain=retain)
        self.keep(topic, payload, retain)

    @rule(topic=topics, many=st.lists(payloads, max_size=5), retain=st.booleans())
    def publish_many(self, topic: str, many: list[bytes], retain: bool) -> None:
        self.fabric.publish_many(topic, many, retain=retain)
        for payload in many:
            self.keep(topic, payload, retain)

    @rule(pattern=patterns, last=st.integers(0, 4), limit=st.none() | st.sampled_from([64, 150, 400]))
    def retain(self, pattern: str, last: int, limit: int | None) -> None:
        self.fabric.retain(pattern, last=last, capacity_bytes=limit)
        self.model.retain(pattern, last, limit)

    @rule(pattern=patterns)
    def forget(self, pattern: str) -> None:
        assert self.fabric.forget(pattern) == self.model.forget(pattern)

    @rule(
        pattern=patterns,
        history=st.integers(0, 5),
        capacity=st.integers(1, 6),
        overflow=st.sampled_from(POLICIES),
        order=st.sampled_from(["publisher", "causal"]),
    )
    def subscribe(self, pattern: str, history: int, capacity: int, overflow: str, order: str) -> None:
        expected = [event.payload for event in self.model.history(pattern, history)]
        options: dict[str, Any] = {"capacity": capacity, "overflow": overflow, "block_timeout": 0, "order": order}
        late = self.fabric.subscribe(pattern, history=history, **options)
        with contextlib.suppress(cf.PublishTimeout):
            self.fabric.publish(TOPICS[0], b"live")
        live = [b"live"] if matches(pattern, TOPICS[0]) else []
        self.keep(TOPICS[0], b"live", False)
        received = [(event.payload, event.retained) for event in late.poll_batch(100)]
        offered = [(payload, True) for payload in expected] + [(payload, False) for payload in live]
        assert received == (offered[-capacity:] if overflow == "drop-oldest" else offered[:capacity])
        books = late.books()
        assert books.balanced
        assert (books.replayed, books.offered) == (len(expected), len(live))
        if overflow == "block":
            assert books.dropped.get("would-deadlock", 0) == max(0, len(expected) - capacity)
        late.close()

    @invariant()
    def counts_agree(self) -> None:
        assert self.fabric.report().retained == self.model.counts()

    def teardown(self) -> None:
        self.fabric.close()
        assert self.fabric.report().retained["events"] == 0


class Asked(RuleBasedStateMachine):
    """Requests in one thread, by their beginnings and ends: each ends in one way, whatever comes when."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = cf.SimulatedClock()
        self.fabric = cf.Fabric("asked", clock=self.clock)
        self.publisher = self.fabric.publisher("a")
        self.answerer = self.fabric.subscribe("a", capacity=4)
        self.number = 0
        self.waiting: dict[int, Any] = {}
        self.until: dict[int, int] = {}
        self.queued: deque[int] = deque()
        self.held: dict[int, Any] = {}
        self.settled: dict[int, object] = {}
        self.ended: set[int] = set()
        self.counts: Counter[str] = Counter()

    def settle(self, number: int, value: object, count: str) -> bool:
        """Note an answer, or that there will be none."""
        if number not in self.settled and number not in self.ended:
            self.settled[number] = value
            self.counts[count] += 1
            return True
        if count != "unanswered":
            self.counts["surplus" if number in self.settled else "late"] += 1
        return False

    @rule(timeout=st.integers(1, 5))
    def ask(self, timeout: int) -> None:
        self.number += 1
        self.counts["asked"] += 1
        if len(self.queued) == 4:
            self.settle(self.queued.popleft(), cf.NoAnswerer, "unanswered")
        self.queued.append(self.number)
        self.until[self.number] = self.clock.now() + timeout * 10**9
        self.waiting[self.number] = self.publisher.request_start(self.number, timeout=f"{timeout} s")

    @precondition(lambda self: self.queued)
    @rule(keep=st.booleans())
    def take(self, keep: bool) -> None:
        event, number = self.answerer.poll(), self.queued.popleft()
        assert event is not None
        assert (event.payload, event.is_request) == (number, True)
        if keep:
            self.held[number] = event
        else:
            del event
            self.settle(number, cf.NoAnswerer, "unanswered")

    @precondition(lambda self: self.held)
    @rule(data=st.data(), fails=st.booleans(), keep=st.booleans())
    def reply(self, data: st.DataObject, fails: bool, keep: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.held)))
        event = self.held[number]
        if fails:
            assert event.reply_error(ValueError()) is self.settle(number, cf.AnswerError, "failed")
        else:
            assert event.reply(-number) is self.settle(number, -number, "answered")
        if not keep:
            del self.held[number]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.held)))
        del self.held[number]
        self.settle(number, cf.NoAnswerer, "unanswered")

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        request = self.waiting[number]
        expected = self.settled.get(number)
        if expected is None and self.clock.now() >= self.until[number]:
            expected = cf.RequestTimeout
            self.counts["timed_out"] += 1
            self.ended.add(number)
        if isinstance(expected, type):
            with contextlib.suppress(expected):
                raise AssertionError(request.outcome())
        else:
            assert request.outcome() == (None if expected is None else (expected,))
        if expected is not None:
            request.cancel()
            del self.waiting[number]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.pop(number).cancel()
        if number not in self.settled:
            self.ended.add(number)
            self.counts["cancelled"] += 1

    @rule(seconds=st.integers(1, 3))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def counts_agree(self) -> None:
        assert {name: count for name, count in self.fabric.report().requests.items() if count} == +self.counts

    def teardown(self) -> None:
        self.fabric.close()
        counts = self.fabric.report().requests
        for request in self.waiting.values():
            request.cancel()
        counts = self.fabric.report().requests
        ends = ("answered", "failed", "unanswered", "timed_out", "cancelled")
        assert counts["asked"] == sum(counts[end] for end in ends)


TestKept = Kept.TestCase
TestAsked = Asked.TestCase
TestKept.settings = TestAsked.settings = settings(stateful_step_count=40)
