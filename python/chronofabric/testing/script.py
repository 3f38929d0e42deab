"""Events published at given instants.

All scripts of a simulation are merged by time; those of one instant go in the order in which the scripts were made. Of
each script one item is drawn ahead, so a generator may be endless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, TypeAlias

from chronofabric.duration import Duration, instant_ns, nanoseconds
from chronofabric.errors import ArgumentError
from chronofabric.testing.timeline import seconds

__all__ = ["NEVER", "Instant", "Scripts", "instants"]

NEVER = 2**63 - 1
"""When what is never due is due."""

Instant: TypeAlias = Duration | datetime
"""A duration from now, or an instant of simulated time."""

_Publish: TypeAlias = Callable[[Any], object]
_Item: TypeAlias = tuple[int, Any]


class Scripts:
    """The scripts of a simulation, as one thing that is due at the first of their instants."""

    def __init__(self) -> None:
        self.due_ns = NEVER
        self._heap: list[tuple[int, int, Any, Iterator[_Item], _Publish, object]] = []
        self._made = 0

    def add(self, first: _Item, items: Iterator[_Item], publish: _Publish, node: object) -> None:
        """Add a script by its first item and the others; `node` is whose it is."""
        self._made += 1
        heappush(self._heap, (first[0], self._made, first[1], items, publish, node))
        self.due_ns = self._heap[0][0]

    def remove(self, node: object) -> None:
        """Take the scripts of a node out."""
        self._heap = [entry for entry in self._heap if entry[-1] is not node]
        heapify(self._heap)
        self.due_ns = self._heap[0][0] if self._heap else NEVER

    def run(self, now_ns: int) -> int:
        """Publish one event that is due; return how many that were."""
        _, order, payload, items, publish, node = self._heap[0]
        try:
            publish(payload)
        finally:
            # What publish raised leaves this script where it goes on, and so does what the items raise: at its end.
            following = None
            try:
                following = next(items, None)
            finally:
                if following is None:
                    heappop(self._heap)
                else:
                    heapreplace(self._heap, (following[0], order, following[1], items, publish, node))
                self.due_ns = self._heap[0][0] if self._heap else NEVER
        return 1


def instants(topic: str, items: Iterable[Any], now_ns: int, start_ns: int) -> Iterator[_Item]:
    """Read the items of a script: instants in nanoseconds, and payloads.

    Raises
    ------
    ArgumentError
        An item is no pair, its time is none, is past, or is before that of the item before.
    """
    last_ns = now_ns
    for index, item in enumerate(items):
        try:
            time, payload = item
        except (TypeError, ValueError):
            hint = "give pairs of time and payload, such as (0.5, 21.0)"
            text = f"item {index} of the script of '{topic}' is {item!r}; {hint}"
            raise ArgumentError(text, argument="items", value=item, hint=hint) from None
        kind = type(time)
        # The common kinds by themselves: a script may have a million items.
        if kind is int and 0 <= time < 1_000_000_000:
            at_ns = now_ns + time * 1_000_000_000
        elif kind is float and 0.0 <= time < 1e9:
            at_ns = now_ns + round(time * 1e9)
        elif isinstance(time, datetime):
            at_ns = instant_ns(time)
        else:
            at_ns = now_ns + nanoseconds(time, argument=f"the time of item {index} of the script of '{topic}'")
        if at_ns < last_ns:
            what = "the item before it" if index else "the simulation's time"
            hint = "put the items in the order of their times, none of which is past"
            text = (
                f"item {index} of the script of '{topic}' is at {seconds(at_ns - start_ns)}, before {what} at "
                f"{seconds(last_ns - start_ns)}; {hint}"
            )
            raise ArgumentError(text, argument="items", value=item, hint=hint)
        last_ns = at_ns
        yield at_ns, payload
