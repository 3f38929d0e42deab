"""Differences of counters over a sliding window of time.

Counters that the kernel keeps in ticks of 10 ms say nothing about 20 ms. A difference is therefore always taken over at
least the window, against the newest reading that is old enough.
"""

from __future__ import annotations

from collections import deque

__all__ = ["SlidingDifference"]


class SlidingDifference:
    """Keeps readings of counters for as long as a window needs them.

    Parameters
    ----------
    window_ns
        The shortest time to take a difference over.

    Examples
    --------
    >>> window = SlidingDifference(200)
    >>> window.add(0, (1.0, 0.0))
    >>> window.add(150, (3.0, 0.0)) is None
    True
    >>> window.add(250, (6.0, 2.0))
    (250, (5.0, 2.0))
    """

    __slots__ = ("_readings", "_window_ns")

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._readings: deque[tuple[int, tuple[float, ...]]] = deque()

    def add(self, time_ns: int, counters: tuple[float, ...]) -> tuple[int, tuple[float, ...]] | None:
        """Add a reading and compare it with the newest one that is at least a window older.

        Parameters
        ----------
        time_ns
            When it was read; never less than before.
        counters
            What was read. Another number of counters than before (a core went offline) starts anew.

        Returns
        -------
        tuple or None
            The time between the two and the difference of each counter, not below zero; None while the window is not
            covered.
        """
        readings = self._readings
        if readings and len(readings[-1][1]) != len(counters):
            readings.clear()
        readings.append((time_ns, counters))
        while len(readings) > 1 and readings[1][0] <= time_ns - self._window_ns:
            readings.popleft()
        then_ns, then = readings[0]
        if time_ns - then_ns < self._window_ns:
            return None
        differences = tuple(max(0.0, now - before) for now, before in zip(counters, then, strict=True))
        return time_ns - then_ns, differences
