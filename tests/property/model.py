"""A plain model of a bus: who gets which event, what each subscription hands out, what its books say, who fires.

Written from docs/semantics.md in lists and counters, for one thing at a time. Whoever calls it says which thread acts.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from tests.property.model_filters import UNFILTERED, Filters, ModelFilters

NORMAL = 1
CELL_BYTES = 64
"""What an event that is kept counts for beside its payload."""


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
    retained: bool = False
    late_ns: int | None = None

    @property
    def size(self) -> int:
        return size_of(self.payload)


def urgency(event: ModelEvent) -> tuple[bool, int, int]:
    """How urgent an event is in the order of deadlines; the least comes first."""
    return (event.deadline is None, event.deadline or 0, -event.priority)


class ModelLetter(NamedTuple):
    """A dead letter."""

    event: ModelEvent
    reason: str
    late_ns: int | None = None


@dataclass(slots=True)
class Refused:
    """Which subscriptions had no room for an event, although their policy is to wait."""

    would_deadlock: set[str] = field(default_factory=set)
    timeout: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.would_deadlock or self.timeout)


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
        order: str = "publisher",
        late: str = "deliver",
        history: int = 1,
        filters: Filters = UNFILTERED,
    ) -> None:
        self.pattern = pattern
        self.name = name
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self.overflow = overflow
        self.dead_letters_max = dead_letters_max
        self.by_deadline = order == "deadline"
        self.late = late
        self.history = history
        self.filters = ModelFilters(filters)
        self.members = 1
        self.waiting: list[ModelEvent] = []
        """In the order in which they came."""
        self.dead: list[ModelLetter] = []
        self.kept: dict[str, tuple[int, int, ModelEvent]] = {}
        """What debouncing keeps back, by topic: when it is due, and which one in turn it was."""
        self.offered = self.replayed = self.delivered = self.filtered = self.missed = self.kept_so_far = 0
        self.dropped: Counter[str] = Counter()
        self.dead_lettered: Counter[str] = Counter()
        self.paused = self.closed = False
        self.receiver: object = None

    @property
    def pending(self) -> int:
        return len(self.waiting) + len(self.kept)

    def ready(self, now: int) -> bool:
        """Say whether a receiver would find something; it may then be turned away, or late."""
        due = any(due <= now for due, _, _ in self.kept.values())
        return self.closed or ((bool(self.waiting) or due) and not self.paused)

    # Order and room

    def _first(self) -> ModelEvent:
        """The event whose turn it is; of several that are alike the one that came first."""
        if self.by_deadline:
            return min(self.waiting, key=lambda event: (urgency(event), event.number))
        return max(self.waiting, key=lambda event: event.priority)

    def _beside(self, event: ModelEvent) -> list[ModelEvent]:
        """What waits and counts towards the same capacity."""
        return [each for each in self.waiting if self.by_deadline or each.priority == event.priority]

    def _victim(self, event: ModelEvent) -> ModelEvent:
        """The event that makes room for another, which may be that itself."""
        if self.by_deadline:
            least = max(map(urgency, [*self.waiting, event]))
            alike = [each for each in self.waiting if urgency(each) == least]
            return min(alike, key=lambda each: each.number, default=event)
        beside = self._beside(event)
        return beside[0] if len(beside) >= self.capacity else min(self.waiting, key=lambda each: each.priority)

    def _has_room(self, event: ModelEvent) -> bool:
        held = sum(each.size for each in self.waiting)
        fits = self.capacity_bytes is None or held + event.size <= self.capacity_bytes
        return fits and len(self._beside(event)) < self.capacity

    def _is_too_large(self, event: ModelEvent) -> bool:
        return self.capacity_bytes is not None and event.size > self.capacity_bytes

    # Coming in

    def offer(self, event: ModelEvent, publisher: object, refused: Refused, now: int, *, patient: bool) -> None:
        """Offer an event that a thread publishes; who is patient waits also for a receiver in its own thread."""
        self.offered += 1
        self._sieve(event, now, lambda passed: self._place(passed, publisher, refused, patient=patient))

    def offer_retained(self, event: ModelEvent, now: int) -> None:
        """Offer an event that its topic has kept, before anybody could receive."""
        self.replayed += 1
        # Nobody could make room, which is like a receiver that waits for itself.
        self._sieve(event, now, lambda passed: self._place(passed, self.receiver, Refused(), patient=False))

    def _sieve(self, event: ModelEvent, now: int, place: Callable[[ModelEvent], None]) -> None:
        """Ask the filters of publishers, and place what passes."""
        if not self.filters.admits(event):
            self.filtered += 1
            return
        quiet = self.filters.given.debounce
        if quiet is None:
            place(event)
            return
        for due in self._due(now):
            del self.kept[due.topic]
            place(due)
        if event.topic in self.kept:
            before = self.kept.pop(event.topic)[2]
            if event.time - before.time >= quiet:
                place(before)
            else:
                self.filtered += 1
        self.kept_so_far += 1
        self.kept[event.topic] = (now + quiet, self.kept_so_far, event)

    def _due(self, now: int) -> list[ModelEvent]:
        """What is due, in the order in which it became so."""
        due = sorted((due, number, topic) for topic, (due, number, _) in self.kept.items() if due <= now)
        return [self.kept[topic][2] for _, _, topic in due]

    def _place(self, event: ModelEvent, publisher: object, refused: Refused, *, patient: bool) -> None:
        if self._has_room(event):
            self.waiting.append(event)
        elif self._is_too_large(event):
            self._turn_away(event, "too-large")
        elif self.overflow == "drop-oldest":
            while not self._has_room(event):
                victim = self._victim(event)
                self.dropped["overflow"] += 1
                if victim is event:
                    return
                self.waiting.remove(victim)
            self.waiting.append(event)
        elif self.overflow == "block":
            stuck = self.receiver == publisher and not patient
            self.dropped["would-deadlock" if stuck else "timeout"] += 1
            (refused.would_deadlock if stuck else refused.timeout).add(self.name)
        else:
            self._turn_away(event, "overflow")

    def _turn_away(self, event: ModelEvent, reason: str) -> None:
        if self.overflow == "dead-letter":
            self._set_aside(ModelLetter(event, reason))
        else:
            self.dropped[reason] += 1

    def _set_aside(self, letter: ModelLetter) -> None:
        if len(self.dead) < self.dead_letters_max:
            self.dead.append(letter)
            self.dead_lettered[letter.reason] += 1
        else:
            self.dropped["dead-letters-full"] += 1

    # Going out

    def take(self, limit: int, receiver: object, now: int) -> list[ModelEvent]:
        """Take up to so many events, the most urgent first."""
        if limit > 0:
            self.receiver = receiver
        while True:
            if not self.paused:
                self._pass_due(now)
            taken: list[ModelEvent] = []
            while not self.paused and len(taken) < limit and self.waiting:
                event = self._first()
                self.waiting.remove(event)
                taken += self._in_time(event, now)
            passed = [event for event in taken if self.filters.passes(event)]
            self.filtered += len(taken) - len(passed)
            if passed or not taken:
                self.delivered += len(passed)
                return passed

    def _pass_due(self, now: int) -> None:
        """Let pass what is due and finds room, as receivers do; what will never find any they turn away."""
        full: set[int] = set()
        for event in self._due(now):
            if self._is_too_large(event):
                del self.kept[event.topic]
                self._turn_away(event, "too-large")
                continue
            if event.priority in full or not self._has_room(event):
                full.add(event.priority)
                continue
            del self.kept[event.topic]
            self.waiting.append(event)

    def _in_time(self, event: ModelEvent, now: int) -> list[ModelEvent]:
        """The event as it is handed out; none where it is late and goes to the dead letters."""
        if self.late == "deliver" or event.deadline is None or event.deadline >= now:
            return [event]
        self.missed += 1
        if self.late == "mark":
            return [replace(event, late_ns=now - event.deadline)]
        self._set_aside(ModelLetter(event, "late", now - event.deadline))
        return []

    # Dead letters, and the end

    def take_dead(self, limit: int | None) -> list[ModelLetter]:
        """Take dead letters out, oldest first."""
        taken, self.dead = self.dead[:limit], [] if limit is None else self.dead[limit:]
        return taken

    def replay(self, limit: int | None) -> int:
        """Offer dead letters again as long as there is room; those that are too large, or late, for ever stay."""
        hopeless: list[ModelLetter] = []
        count = 0
        while self.dead and not self.closed and (limit is None or count < limit):
            letter = self.dead[0]
            if letter.reason in ("too-large", "late"):
                hopeless.append(self.dead.pop(0))
                continue
            if not self._has_room(letter.event):
                break
            self.dead.pop(0)
            self.waiting.append(letter.event)
            count += 1
        self.dead[:0] = hopeless
        self.replayed += count
        return count

    def close(self, reason: str) -> None:
        """Drop what waits."""
        if self.closed:
            return
        self.closed = True
        if self.pending:
            self.dropped[reason] += self.pending
        self.waiting.clear()
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


class ModelRetention:
    """What topics keep: a list for each, and the rules in the order in which they were given."""

    def __init__(self, bytes_max: int = 64 * 2**20) -> None:
        self.bytes_max = bytes_max
        self.rules: list[tuple[ModelPattern, int, int | None]] = []
        self.kept: defaultdict[str, list[ModelEvent]] = defaultdict(list)
        self.past_bound = 0

    @staticmethod
    def _bytes(events: list[ModelEvent]) -> int:
        return sum(CELL_BYTES + event.size for event in events)

    def retain(self, pattern: ModelPattern, last: int, limit: int | None = None) -> None:
        """Keep the last so many events, of so many bytes, from now on; of several rules the last one holds."""
        self.rules.append((pattern, last, limit))
        for topic, kept in self.kept.items():
            while matches(pattern, topic) and (len(kept) > last or (limit is not None and self._bytes(kept) > limit)):
                kept.pop(0)

    def keep(self, event: ModelEvent, *, retain: bool) -> None:
        """Keep an event, where a rule or its publisher says so."""
        by_itself = (event.topic, 1 if retain else 0, None)
        _, last, limit = next((rule for rule in reversed(self.rules) if matches(rule[0], event.topic)), by_itself)
        if not last:
            return
        kept, size = self.kept[event.topic], CELL_BYTES + event.size
        while kept and (len(kept) >= last or (limit is not None and self._bytes(kept) + size > limit)):
            kept.pop(0)
        while (limit is not None and size > limit) or self.counts()["bytes"] + size > self.bytes_max:
            self.past_bound += 1
            if not kept:
                return
            kept.pop(0)
        kept.append(replace(event, retained=True))

    def history(self, pattern: ModelPattern, count: int) -> list[ModelEvent]:
        """The last so many events of each topic, the topic that changed last at the end."""
        lines = [kept for topic, kept in self.kept.items() if kept and matches(pattern, topic)]
        lines.sort(key=lambda kept: kept[-1].number)
        return [event for kept in lines for event in kept[max(0, len(kept) - count) :]]

    def forget(self, pattern: ModelPattern) -> int:
        """Give up what topics keep, and say how many events that were."""
        meant = [kept for topic, kept in self.kept.items() if matches(pattern, topic)]
        count = sum(map(len, meant))
        for kept in meant:
            kept.clear()
        return count

    def counts(self) -> dict[str, int]:
        """Return the counts as a report has them."""
        events = [event for kept in self.kept.values() for event in kept]
        bytes_now = self._bytes(events)
        return {
            "events": len(events),
            "bytes": bytes_now,
            "bytes_max": self.bytes_max,
            "past_bound": self.past_bound,
        }


class ModelBus:
    """A bus whose time moves only when told."""

    def __init__(self) -> None:
        self.retention = ModelRetention()
        self.now = 0
        self.numbers = 0
        self.published: Counter[str] = Counter()
        self.newest: dict[str, int] = {}
        self.subscriptions: list[ModelSubscription] = []
        self.guards: list[ModelGuard] = []
        self.closed = False

    def subscribe(self, subscription: ModelSubscription) -> None:
        """Let a subscription in, and give it what topics have kept for it."""
        self.subscriptions.append(subscription)
        for event in self.retention.history(subscription.pattern, subscription.history):
            subscription.offer_retained(event, self.now)

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
        retain: bool = False,
        patient: bool = False,
    ) -> Refused:
        """Publish an event, and what guards have to say of it."""
        refused = Refused()
        moment = self.now if time is None else time
        self.newest[topic] = moment = max(moment, self.newest.get(topic, moment))
        self.published[topic] += 1
        self.numbers += 1
        event = ModelEvent(self.numbers, topic, payload, priority, moment, deadline, headers or {})
        self.retention.keep(event, retain=retain)
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
        """Leave a subscription; the last of its members closes it."""
        subscription.members -= 1
        if subscription.members == 0 and subscription in self.subscriptions:
            subscription.close("unsubscribed")
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
