"""Instants at a fixed rate on a node's time source, without drift."""

from __future__ import annotations

from collections.abc import Iterator

from chronofabric.fabric.stopping import Clock, StopToken

__all__ = ["Ticks"]


class Ticks:
    """Waits for the instants ``start + k * period``; those that passed while the caller was busy are only counted.

    Parameters
    ----------
    clock
        The node's time source.
    stop
        Ends the iteration.
    period_ns
        From one instant to the next.

    Attributes
    ----------
    missed : int
        Instants left out because the caller came too late for them.

    Examples
    --------
    >>> class Still:
    ...     time = 1_000
    ...
    ...     def now(self) -> int:
    ...         return self.time
    >>> clock = Still()
    >>> ticks = Ticks(clock, StopToken(clock), 10)
    >>> instants = iter(ticks)
    >>> next(instants)
    1000
    >>> clock.time = 1_025
    >>> next(instants), ticks.missed
    (1020, 1)
    """

    __slots__ = ("_clock", "_period_ns", "_stop", "missed")

    def __init__(self, clock: Clock, stop: StopToken, period_ns: int) -> None:
        self._clock = clock
        self._stop = stop
        self._period_ns = period_ns
        self.missed = 0

    def __iter__(self) -> Iterator[int]:
        due = self._clock.now()
        while not self._stop.wait_until(due):
            yield due
            due += self._period_ns
            behind = (self._clock.now() - due) // self._period_ns
            if behind > 0:
                self.missed += behind
                due += behind * self._period_ns
