"""Events as they were recorded, and how a failure shows them.

A recording keeps the newest events of a subscription, in the batches in which they were received, and makes objects of
them only when somebody looks. It is bounded: what it forgets, and what it never got because too many events were
published in one step, it counts.
"""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from chronofabric.errors import ClosedError

if TYPE_CHECKING:
    from chronofabric.bus import Batch, Event, Subscription

__all__ = ["CAPACITY", "Recording", "lines", "seconds"]

CAPACITY = 65_536
"""How many events, of each priority, may be published in one step before a recording misses some."""

EVENTS_MAX = 65_536
"""How many events a recording keeps, where nothing else is said."""

_BATCH = 1_024
_SHOWN_MAX = 20


class Recording:
    """The newest events of a subscription.

    Parameters
    ----------
    subscription
        Where they come from.
    events_max
        How many are kept, to the next 1 024.
    """

    def __init__(self, subscription: Subscription, events_max: int) -> None:
        self._subscription = subscription
        self._events_max = events_max
        self._batches: deque[Batch] = deque()
        self._kept = 0
        self._forgotten = 0
        self._events: list[Event] | None = None

    @property
    def pattern(self) -> str:
        """What it is of."""
        return str(self._subscription.pattern)

    def drain(self) -> None:
        """Take over what waits."""
        try:
            while size := len(batch := self._subscription.poll_batch(_BATCH)):
                self._batches.append(batch)
                self._kept += size
                self._events = None
                while self._kept - (oldest := len(self._batches[0])) >= self._events_max:
                    self._batches.popleft()
                    self._kept -= oldest
                    self._forgotten += oldest
        except ClosedError:
            return

    @property
    def count(self) -> int:
        """How many events were published, whether they are kept or not."""
        self.drain()
        return self._kept + self.missing

    @property
    def missing(self) -> int:
        """How many of them are not kept."""
        return self._forgotten + sum(self._subscription.books().dropped.values())

    @property
    def events(self) -> list[Event]:
        """Those that are kept, in the order in which they were published."""
        self.drain()
        if self._events is None:
            # A batch has the more urgent ones first.
            self._events = sorted((event for batch in self._batches for event in batch), key=lambda event: event.stamp)
        return self._events


def seconds(time_ns: int) -> str:
    """Write a time since the start of the simulation, such as ``1.5 s``; exact to the nanosecond.

    Examples
    --------
    >>> seconds(1_500_000_000), seconds(3_000_000_000), seconds(-1)
    ('1.5 s', '3 s', '-0.000000001 s')
    """
    whole, rest = divmod(abs(time_ns), 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{'-' if time_ns < 0 else ''}{whole}{fraction} s"


def lines(events: Sequence[Event], start_ns: int, marked: Container[object] = ()) -> str:
    """Write the last events, one a line, with the time since the start; those whose stamps are marked have an arrow."""
    shown = events[-_SHOWN_MAX:]
    rows = [(seconds(event.time - start_ns), event.topic, reprlib.repr(event.payload), event.stamp) for event in shown]
    time_width = max((len(row[0]) for row in rows), default=0)
    topic_width = max((len(row[1]) for row in rows), default=0)
    text = [
        f"  {'>' if stamp in marked else ' '} {time:>{time_width}}  {topic:<{topic_width}}  {payload}"
        for time, topic, payload, stamp in rows
    ]
    if len(events) > len(shown):
        text.insert(0, f"    ({len(events) - len(shown)} events before)")
    return "\n".join(text) or "    (nothing)"
