"""How a source is told to stop, and how it waits.

A `StopToken` is shared by a node and one of its sources. Whoever waits on it waits on the node's own time source, so
under a simulated one a wait ends when somebody advances it, and is woken at once when the token is set.

Invariants: once set, a token stays set; every callback is called exactly once; no wait outlives `set` by more than a
wake-up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "StopToken"]

LONGEST_SLICE_S = 0.05
"""The longest sleep between two looks at the time source, which may be stepped meanwhile."""

SIMULATED_SLICE_S = 0.001
"""The same where the time source moves only when told."""


class Clock(Protocol):
    """A time source as sources and sinks see it."""

    def now(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...


class StopToken:
    """Tells a source to stop, and lets it wait until then.

    Parameters
    ----------
    clock
        The node's time source.

    Examples
    --------
    >>> import time
    >>> class SystemTime:
    ...     def now(self) -> int:
    ...         return time.time_ns()
    >>> token = StopToken(SystemTime())
    >>> token.wait_until(time.time_ns() + 1_000)
    False
    >>> token.set()
    >>> token.wait_until(time.time_ns() + 3_600_000_000_000)
    True
    """

    __slots__ = ("_callbacks", "_clock", "_event", "_lock", "_slice_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = threading.Event()
        self._lock = threading.RLock()  # a signal handler may set it while its thread does
        self._callbacks: list[Callable[[], object]] = []
        # Only a simulated source can be set.
        self._slice_s = SIMULATED_SLICE_S if hasattr(clock, "set") else LONGEST_SLICE_S

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Tell the source to stop: every wait ends, every callback is called in this thread. Idempotent."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def call_on_set(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the token is set, at once if it is already.

        Parameters
        ----------
        callback
            Called in the thread that sets the token; it must not block or raise.
        """
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def wait(self) -> None:
        """Wait until told to stop."""
        self._event.wait()

    def wait_until(self, time_ns: int) -> bool:
        """Wait until the node's time source reaches an instant, or until told to stop.

        Parameters
        ----------
        time_ns
            The instant, in nanoseconds of the node's time source.

        Returns
        -------
        bool
            True when told to stop, False when the instant has come.
        """
        while not self._event.is_set():
            remaining_s = (time_ns - self._clock.now()) / 1e9
            if remaining_s <= 0:
                return False
            self._event.wait(min(remaining_s, self._slice_s))
        return True
