"""What a source is, and what it sees of its node.

A source is run by its node in a thread of its own. It publishes until it ends or is told to stop, and then returns.
What it raises is counted and reported by the node, which goes on with the others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Literal, Protocol, TypeAlias, cast

from chronofabric.errors import ArgumentError, PublishTimeout
from chronofabric.fabric.stopping import Clock, StopToken

__all__ = ["Node", "OnError", "Output", "Row", "RowSource", "Source", "checked_on_error"]

Row: TypeAlias = tuple[int, str, Any]
"""A recorded event: time in nanoseconds, topic, payload."""

OnError: TypeAlias = Literal["stop", "skip"]
"""What to do with a row that cannot be used: end with a `SourceError`, or count it and go on."""


class Node(Protocol):
    """What a source uses of a `Fabric`."""

    @property
    def clock(self) -> Clock:
        """The node's time source."""
        ...

    def publish(self, topic: str, payload: object, *, time: int | None = None) -> object:
        """Publish a `payload` on a `topic`; `time` is the recorded one, None takes the node's own."""
        ...


class Source(Protocol):
    """Something that publishes events into a node."""

    @property
    def name(self) -> str:
        """Its name in reports and errors."""
        ...

    @property
    def finite(self) -> bool:
        """Whether it ends by itself (a file) or runs until stopped (the host)."""
        ...

    def run(self, node: Node, stop: StopToken) -> None:
        """Publish into a `node` until the end, or until `stop` is set; then return within 100 ms."""
        ...


class RowSource(Source, Protocol):
    """A source of recorded events, which can be merged with others by time."""

    @property
    def speed(self) -> float | Literal["max"]:
        """How much faster than recorded; 1.0 is as recorded."""
        ...

    def rows(self, start_ns: int = 0) -> Iterator[Row]:
        """Its events in the order of their time; `start_ns` is the first time where none was recorded."""
        ...


class Output:
    """Publishes for one source and counts.

    A full subscription that blocks and runs into its timeout is not the source's failure: the bus has counted the drop
    in that subscription's books, so the source counts it too and goes on.

    Attributes
    ----------
    published : int
        Events that the node took.
    timed_out : int
        How many of them a blocking subscription did not take in time.
    """

    __slots__ = ("_node", "published", "timed_out")

    def __init__(self, node: Node) -> None:
        self._node = node
        self.published = 0
        self.timed_out = 0

    def publish(self, topic: str, payload: object, time: int | None = None) -> None:
        """Publish one event."""
        try:
            self._node.publish(topic, payload, time=time)
        except PublishTimeout:
            self.timed_out += 1
        self.published += 1


class Skips:
    """Counts rows that were left out, and logs the first of them.

    Attributes
    ----------
    count : int
        Rows left out so far.
    """

    __slots__ = ("_lock", "_name", "count")

    LOGGED_MAX = 10

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._name = name
        self.count = 0

    def add(self, what: object) -> None:
        """Count one more row; `what` says which and why."""
        with self._lock:
            self.count += 1
            count = self.count
        if count <= self.LOGGED_MAX:
            import logging

            more = "; further ones are only counted" if count == self.LOGGED_MAX else ""
            logging.getLogger("chronofabric.source").warning("%s skipped: %s%s", self._name, what, more)


def checked_on_error(on_error: str) -> OnError:
    """The policy for rows that cannot be used, checked."""
    if on_error in ("stop", "skip"):
        return cast("OnError", on_error)
    hint = "use 'stop' or 'skip'"
    raise ArgumentError(f"on_error is {on_error!r}; {hint}", argument="on_error", value=on_error, hint=hint)
