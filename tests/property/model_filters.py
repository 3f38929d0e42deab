"""The filters of a subscription as docs/semantics.md has them, for one event at a time.

Debouncing is not here: what it keeps back is part of what a subscription holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.property.model import ModelEvent


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


UNFILTERED = Filters()


@dataclass(slots=True)
class OfTopic:
    """What filters remember of a topic."""

    seen: int = 0
    tokens: Fraction | None = None
    filled: int = 0
    passed: int | None = None


class ModelFilters:
    """Filters, and what they remember."""

    def __init__(self, given: Filters) -> None:
        self.given = given
        self.remembered: dict[str, OfTopic] = {}
        self.errors = 0

    def admits(self, event: ModelEvent) -> bool:
        """Ask the filters that publishers ask, in their order."""
        if self.given.where is not None:
            value = field_of(event.payload, self.given.where.field)
            if value is None:
                self.errors += 1
            if value is None or not self.given.where.holds(value):
                return False
        of_topic = self.remembered.setdefault(event.topic, OfTopic())
        if self.given.sample is not None:
            of_topic.seen += 1
            if (of_topic.seen - 1) % self.given.sample:
                return False
        if self.given.rate_limit is not None:
            period, burst = self.given.rate_limit
            if of_topic.tokens is None:
                of_topic.tokens, of_topic.filled = Fraction(burst), event.time
            gained = Fraction(event.time - of_topic.filled, period)
            of_topic.tokens, of_topic.filled = min(Fraction(burst), of_topic.tokens + gained), event.time
            if of_topic.tokens < 1:
                return False
            of_topic.tokens -= 1
        if self.given.throttle is not None:
            if of_topic.passed is not None and event.time - of_topic.passed < self.given.throttle:
                return False
            of_topic.passed = event.time
        return True

    def passes(self, event: ModelEvent) -> bool:
        """Ask the callable that receivers ask."""
        if self.given.predicate is None:
            return True
        try:
            return self.given.predicate(event)
        except TypeError:
            self.errors += 1
            return False
