"""A plain model of a bus: who gets which event, what each subscription hands out, what its books say, who fires.

Written from docs/semantics.md in lists and counters, for one thing at a time. Whoever calls it says which thread acts.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

PRIORITIES = 4
NORMAL = 1


@dataclass(frozen=True)
class Regex:
    """A pattern that is a regular expression."""

    text: str


ModelPattern: TypeAlias = str | Regex | list[str | Regex]


def matches(pattern: ModelPattern, topic: str) -> bool:
    """Say whether a pattern matches a topic, segment by segment; Python's own expressions are the judge of others."""
    if isinstance(pattern, list):
        return any(matches(each, topic) for each in pattern)
    if isinstance(pattern, Regex):
        return re.fullmatch(pattern.text, topic) is not None
    return _segments_match(pattern.split("/"), topic.split("/"))


def _segments_match(pattern: list[str], topic: list[str]) -> bool:
    if not pattern:
        return not topic
    if pattern[0] == "**":
        return any(_segments_match(pattern[1:], topic[skipped:]) for skipped in range(len(topic) + 1))
    return bool(topic) and pattern[0] in ("*", topic[0]) and _segments_match(pattern[1:], topic[1:])


class Reading(dict[str, float]):
    """A payload that says itself how many bytes it holds, and has a field for guards."""

    def __init__(self, value: float, nbytes: int) -> None:
        super().__init__(value=value)
        self.nbytes = nbytes


def size_of(payload: object) -> int:
    """How many bytes a payload counts for."""
    match payload:
        case bytes():
            return len(payload)
        case str():
            return len(payload.encode())
        case Reading():
            return payload.nbytes
        case _:
            return sys.getsizeof(payload)


@dataclass(eq=False, slots=True)
class ModelEvent:
    """One event; `number` is its place in the order of stamps."""

    number: int
    topic: str
    payload: Any
    priority: int
    time: int
    deadline: int | None
    headers: Mapping[str, object]

    @property
    def size(self) -> int:
        return size_of(self.payload)


@dataclass(slots=True)
class Refused:
    """Which subscriptions had no room for an event, although their policy is to wait."""

    would_deadlock: set[str] = field(default_factory=set)
    timeout: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.would_deadlock or self.timeout)


def field_of(payload: object, name: str) -> float | None:
    """The field of a payload as formulas read it."""
    found = payload.get(name) if isinstance(payload, dict) else payload if name == "value" else None
    return found if isinstance(found, (int, float)) else None


@dataclass(frozen=True)
class Where:
    """A formula over one field, and what it says of a value."""

    text: str
    field: str
    holds: Callable[[float], bool]


@dataclass(frozen=True)
class Filters:
    """The filters of a subscription; durations are in nanoseconds."""

    where: Where | None = None
    predicate: Callable[[Any], bool] | None = None
    sample: int | None = None
    rate_limit: tuple[int, int] | None = None
    """Nanoseconds for one token, and how many the bucket holds."""
    throttle: int | None = None
    debounce: int | None = None


@dataclass(slots=True)
class OfTopic:
    """What filters remember of a topic."""

    seen: int = 0
    tokens: Fraction | None = None
    filled: int = 0
    passed: int | None = None


class ModelSubscription:
    """What the documentation says of a subscription; under `block` nobody waits any time at all."""

    def __init__(
        self,
        pattern: ModelPattern,
        *,
        name: str,
        capacity: int,
        capacity_bytes: int | None,
        overflow: str,
        dead_letters_max: int,
        filters: Filters = Filters(),
    ) -> None:
        self.filters = filters
        self.remembered: dict[str, OfTopic] = {}
        self.kept: dict[str, tuple[int, int, ModelEvent]] = {}
        self.filtered = self.filter_errors = self.kept_so_far = 0
        self.pattern = pattern
        self.name = name
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self.overflow = overflow
        self.dead_letters_max = dead_letters_max
        self.waiting: list[deque[ModelEvent]] = [deque() for _ in range(PRIORITIES)]
        self.dead: list[tuple[ModelEvent, str]] = []
        self.offered = self.replayed = self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.dead_lettered: Counter[str] = Counter()
        self.paused = self.closed = False
        self.receiver: object = None

    @property
    def pending(self) -> int:
        return sum(map(len, self.waiting)) + len(self.kept)

    def ready(self, now: int) -> bool:
        """Say whether a receiver would find something; a predicate may then turn it away."""
        due = any(due <= now for due, _, _ in self.kept.values())
        return self.closed or ((any(self.waiting) or due) and not self.paused)

    def _admits(self, event: ModelEvent) -> bool:
        """Ask the filters that judge at once, in their order."""
        if self.filters.where is not None:
            value = field_of(event.payload, self.filters.where.field)
            if value is None:
                self.filter_errors += 1
            if value is None or not self.filters.where.holds(value):
                return False
        of_topic = self.remembered.setdefault(event.topic, OfTopic())
        if self.filters.sample is not None:
            of_topic.seen += 1
            if (of_topic.seen - 1) % self.filters.sample:
                return False
        if self.filters.rate_limit is not None:
            period, burst = self.filters.rate_limit
            if of_topic.tokens is None:
                of_topic.tokens, of_topic.filled = Fraction(burst), event.time
            gained = Fraction(event.time - of_topic.filled, period)
            of_topic.tokens, of_topic.filled = min(Fraction(burst), of_topic.tokens + gained), event.time
            if of_topic.tokens < 1:
                return False
            of_topic.tokens -= 1
        if self.filters.throttle is not None:
            if of_topic.passed is not None and event.time - of_topic.passed < self.filters.throttle:
                return False
            of_topic.passed = event.time
        return True

    def _due(self, now: int) -> list[ModelEvent]:
        """What is due, in the order in which it became so."""
        due = sorted((due, number, topic) for topic, (due, number, _) in self.kept.items() if due <= now)
        return [self.kept[topic][2] for _, _, topic in due]

    def _pass_due(self, now: int) -> None:
        """Let pass what is due and finds room, as receivers do."""
        full: set[int] = set()
        for event in self._due(now):
            if event.priority in full or not self._has_room(event):
                full.add(event.priority)
                continue
            del self.kept[event.topic]
            self.waiting[event.priority].append(event)

    def _has_room(self, event: ModelEvent) -> bool:
        if len(self.waiting[event.priority]) >= self.capacity:
            return False
        held = sum(each.size for line in self.waiting for each in line)
        return self.capacity_bytes is None or held + event.size <= self.capacity_bytes

    def offer(self, event: ModelEvent, publisher: object, refused: Refused, now: int, *, patient: bool) -> None:
        """Offer an event that a thread publishes; who is patient waits also for a receiver in its own thread."""
        self.offered += 1
        if not self._admits(event):
            self.filtered += 1
            return
        quiet = self.filters.debounce
        if quiet is None:
            self._place(event, publisher, refused, patient=patient)
            return
        for due in self._due(now):
            del self.kept[due.topic]
            self._place(due, publisher, refused, patient=patient)
        if event.topic in self.kept:
            before = self.kept.pop(event.topic)[2]
            if event.time - before.time >= quiet:
                self._place(before, publisher, refused, patient=patient)
            else:
                self.filtered += 1
        self.kept_so_far += 1
        self.kept[event.topic] = (now + quiet, self.kept_so_far, event)

    def _place(self, event: ModelEvent, publisher: object, refused: Refused, *, patient: bool) -> None:
        if self._has_room(event):
            self.waiting[event.priority].append(event)
        elif self.capacity_bytes is not None and event.size > self.capacity_bytes:
            self._turn_away(event, "too-large")
        elif self.overflow == "drop-oldest":
            while not self._has_room(event):
                own = self.waiting[event.priority]
                victims = own if len(own) >= self.capacity else next(line for line in self.waiting if line)
                victims.popleft()
                self.dropped["overflow"] += 1
            self.waiting[event.priority].append(event)
        elif self.overflow == "block":
            stuck = self.receiver == publisher and not patient
            self.dropped["would-deadlock" if stuck else "timeout"] += 1
            (refused.would_deadlock if stuck else refused.timeout).add(self.name)
        else:
            self._turn_away(event, "overflow")

    def _turn_away(self, event: ModelEvent, reason: str) -> None:
        if self.overflow != "dead-letter":
            self.dropped[reason] += 1
        elif len(self.dead) < self.dead_letters_max:
            self.dead.append((event, reason))
            self.dead_lettered[reason] += 1
        else:
            self.dropped["dead-letters-full"] += 1

    def take(self, limit: int, receiver: object, now: int) -> list[ModelEvent]:
        """Take up to so many events, the most urgent first."""
        if limit > 0:
            self.receiver = receiver
        while True:
            if not self.paused:
                self._pass_due(now)
            taken: list[ModelEvent] = []
            while not self.paused and len(taken) < limit and any(self.waiting):
                line = next(line for line in reversed(self.waiting) if line)
                taken.append(line.popleft())
            admitted = [event for event in taken if self._passes(event)]
            self.filtered += len(taken) - len(admitted)
            if admitted or not taken:
                self.delivered += len(admitted)
                return admitted

    def _passes(self, event: ModelEvent) -> bool:
        if self.filters.predicate is None:
            return True
        try:
            return self.filters.predicate(event)
        except TypeError:
            self.filter_errors += 1
            return False

    def take_dead(self, limit: int | None) -> list[tuple[ModelEvent, str]]:
        """Take dead letters out, oldest first."""
        taken, self.dead = self.dead[:limit], [] if limit is None else self.dead[limit:]
        return taken

    def replay(self, limit: int | None) -> int:
        """Offer dead letters again as long as there is room; those that are too large for ever stay."""
        kept: list[tuple[ModelEvent, str]] = []
        count = 0
        while self.dead and not self.closed and (limit is None or count < limit):
            event, reason = self.dead[0]
            if reason == "too-large":
                kept.append(self.dead.pop(0))
                continue
            if not self._has_room(event):
                break
            self.dead.pop(0)
            self.waiting[event.priority].append(event)
            count += 1
        self.dead[:0] = kept
        self.replayed += count
        return count

    def close(self, reason: str) -> None:
        """Drop what waits."""
        if self.closed:
            return
        self.closed = True
        if self.pending:
            self.dropped[reason] += self.pending
        for line in self.waiting:
            line.clear()
        self.kept.clear()

    def books(self) -> dict[str, object]:
        """Return the books as `Subscription.books_dict` has them."""
        return {
            "offered": self.offered,
            "replayed": self.replayed,
            "delivered": self.delivered,
            "filtered": self.filtered,
            "dropped": dict(self.dropped),
            "dead_lettered": dict(self.dead_lettered),
            "pending": self.pending,
        }


class ModelGuard:
    """The guard `value > threshold` on each topic by itself."""

    def __init__(self, name: str, pattern: ModelPattern, threshold: float) -> None:
        self.name = name
        self.pattern = pattern
        self.threshold = threshold
        self.fired_on: set[str] = set()
        self.evaluated = self.fired = self.errors = 0

    def judge(self, event: ModelEvent) -> dict[str, object] | None:
        """Judge an event; where it fires, say what its own event carries."""
        value = event.payload.get("value") if isinstance(event.payload, Reading) else event.payload
        if not isinstance(value, (int, float)):
            self.errors += 1
            return None
        self.evaluated += 1
        if value <= self.threshold:
            self.fired_on.discard(event.topic)
            return None
        if event.topic in self.fired_on:
            return None
        self.fired_on.add(event.topic)
        self.fired += 1
        margin = float(value - self.threshold)
        return {"guard": self.name, "topic": event.topic, "robustness": margin, "time": event.time}


class ModelBus:
    """A bus whose time moves only when told."""

    def __init__(self) -> None:
        self.now = 0
        self.numbers = 0
        self.published: Counter[str] = Counter()
        self.newest: dict[str, int] = {}
        self.subscriptions: list[ModelSubscription] = []
        self.guards: list[ModelGuard] = []
        self.closed = False

    def topic(self, name: str) -> None:
        """Know a topic from now on."""
        self.published[name] += 0

    def publish(
        self,
        topic: str,
        payload: object,
        publisher: object,
        *,
        priority: int = NORMAL,
        time: int | None = None,
        deadline: int | None = None,
        headers: Mapping[str, object] | None = None,
        patient: bool = False,
    ) -> Refused:
        """Publish an event, and what guards have to say of it."""
        refused = Refused()
        moment = self.now if time is None else time
        self.newest[topic] = moment = max(moment, self.newest.get(topic, moment))
        self.published[topic] += 1
        self.numbers += 1
        event = ModelEvent(self.numbers, topic, payload, priority, moment, deadline, headers or {})
        told = [(guard, guard.judge(event)) for guard in self.guards if matches(guard.pattern, topic)]
        for subscription in self.subscriptions:
            if matches(subscription.pattern, topic):
                subscription.offer(event, publisher, refused, self.now, patient=patient)
        for guard, firing in told:
            if firing is not None:
                more = self.publish(f"guard/{guard.name}", firing, publisher, time=moment, patient=patient)
                refused.would_deadlock |= more.would_deadlock
                refused.timeout |= more.timeout
        return refused

    def leave(self, subscription: ModelSubscription) -> None:
        """Close one subscription."""
        subscription.close("unsubscribed")
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)

    def close(self) -> dict[str, int]:
        """Close it, and say how many events of which subscription were still pending."""
        pending = {each.name: each.pending for each in self.subscriptions if each.pending}
        for subscription in self.subscriptions:
            subscription.close("closed")
        self.subscriptions.clear()
        self.guards.clear()
        self.closed = True
        return pending
