"""What a sink is, and what it sees of an event.

A sink is driven by its node in a thread of its own: `open` once, `write` with one or more events at a time in the order
of their arrival, `close` once. The node gives it a blocking subscription and drains that when it closes. A sink that
raises is counted, reported and stopped; `close` after that does nothing more than leave no half file behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from chronofabric.errors import ArgumentError

__all__ = ["EncodedStamp", "RecordedEvent", "Sink", "checked_topics", "stamp_text"]


class EncodedStamp(Protocol):
    """What a sink uses of a `Stamp`."""

    def encode(self) -> bytes:
        """Eight bytes of time and counter, then those of the node."""
        ...


class RecordedEvent(Protocol):
    """What a sink uses of an `Event`."""

    @property
    def topic(self) -> str:
        """Where it was published."""
        ...

    @property
    def payload(self) -> Any:
        """What was published."""
        ...

    @property
    def time(self) -> int:
        """Nanoseconds since the epoch: when it entered the node, or what its source recorded."""
        ...

    @property
    def stamp(self) -> EncodedStamp:
        """Its place in the order of events."""
        ...

    @property
    def node(self) -> str:
        """The node that stamped it."""
        ...

    @property
    def priority(self) -> int:
        """0 to 3, the most urgent."""
        ...

    @property
    def deadline(self) -> int | None:
        """When it should have been handled, in nanoseconds."""
        ...

    @property
    def headers(self) -> Mapping[str, Any]:
        """What its publisher added."""
        ...


class Sink(Protocol):
    """Something that takes events out of a node."""

    @property
    def name(self) -> str:
        """Its name in reports and errors."""
        ...

    @property
    def topics(self) -> tuple[Any, ...]:
        """The patterns of the topics that it takes."""
        ...

    def open(self, node: Any) -> None:
        """Get ready; called once before the first event, with the `node` that it belongs to."""
        ...

    def write(self, events: Sequence[RecordedEvent]) -> None:
        """Take some `events`, in the order of their arrival."""
        ...

    def close(self) -> None:
        """Finish; called once after the last event. Idempotent."""
        ...


def stamp_text(stamp: EncodedStamp) -> str:
    """The time and counter of a stamp in 16 hexadecimal digits, which sort as stamps do.

    With the 32 digits of the node behind them they are what `Stamp.decode` takes, as bytes.
    """
    return stamp.encode()[:8].hex()


def checked_topics(topics: Any) -> tuple[Any, ...]:
    """One pattern or several, as a tuple of at least one."""
    several = tuple(topics) if isinstance(topics, (list, tuple, set, frozenset)) else (topics,)
    if not several:
        hint = "give at least one pattern; '**' is every topic"
        raise ArgumentError(f"topics is empty; {hint}", argument="topics", value=topics, hint=hint)
    return several
