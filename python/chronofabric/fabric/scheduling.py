"""The part of a node that acts at instants: its timers, and how soon Python gets the interpreter."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from chronofabric.duration import nanoseconds
from chronofabric.errors import ArgumentError
from chronofabric.scheduler.timers import Action, Instant, Periodic, Target, Timers

if TYPE_CHECKING:
    import asyncio

    from chronofabric._core import clock as _clock
    from chronofabric._core.scheduler import Timer
    from chronofabric.duration import Duration
    from chronofabric.fabric.handlers import Handlers
    from chronofabric.scheduler.realtime import Realtime

__all__ = ["NodeTimers", "Scheduling", "SwitchInterval"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class NodeTimers(Timers):
    """The timers of a node: Python is called for them where it is called for events. Made by `Fabric`."""

    def __init__(
        self,
        name: str,
        clock: str | _clock.TimeSource,
        handlers: Handlers,
        realtime: Realtime | None,
        switch_interval_s: float | None,
    ) -> None:
        self._handlers = handlers
        self._entered = False
        self._needs_loop = False
        self._switch_interval_s = switch_interval_s
        self._begin(name, clock, handlers.wakeups, handlers.TIMERS, timers_max=1 << 20, spin="auto", realtime=realtime)

    def _need_caller(self, target: Target) -> None:
        self._needs_loop |= target.asynchronous
        self._handlers.need(target.asynchronous)

    def serve(self) -> None:
        """Make the calls that wait, as soon as the node was entered, and there is a loop if one is needed."""
        # A thread that was called before it was told to run a loop serves again as soon as it does.
        if self._entered and (self._loop is not None or not self._needs_loop):
            super().serve()

    def enter(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Have Python called from now on; coroutines on `loop`, if there is one."""
        self.use(loop)
        self._entered = True
        if self._core.simulated:
            self.serve()
        else:
            self._shared.wake_with(self._token)

    def use(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run coroutines on a loop."""
        if self._loop is None:
            self._loop = loop

    def disarm(self) -> int:
        """Take all timers back; calls that wait are made all the same."""
        self._closed = True
        return self._take_back()

    def close(self) -> int:
        """Take all timers and calls back. The node does this when it is closed."""
        if self._core.forked:
            return 0
        armed = 0 if self._closed else self.disarm()
        self._core.discard()
        for task in list(self._tasks):
            task.get_loop().call_soon_threadsafe(task.cancel)
        return armed


class Scheduling:
    """What a `Fabric` offers for acting at instants."""

    _timers: NodeTimers
    _lock: threading.RLock
    _running: bool
    _waiting_rows: list[Periodic]
    _switch: SwitchInterval | None

    @property
    def timers(self) -> Timers:
        """The node's timers: for handles, several at a time, and actions that need no interpreter."""
        return self._timers

    def every(
        self,
        period: Duration,
        *,
        budget: Duration | None = None,
        first: Duration | None = None,
        missed: str = "skip",
        busy: str = "coalesce",
        tolerance: Duration = "1 ms",
        name: str | None = None,
    ) -> Callable[[_Function], _Function]:
        """Call the decorated function again and again while the node runs.

        It is called where handlers are: functions in the handler thread, coroutines on the loop. Python cannot promise
        to be on time: behind a busy interpreter a call starts after its switch interval, 5 ms by default, or later.
        What must not wait is given to `timers` as an action that needs no interpreter.

        Parameters
        ----------
        period
            From one tick to the next, on a grid that does not drift and begins when the node is entered.
        budget
            How long one call may take; longer ones are counted and reported.
        first, missed, busy, tolerance, name
            As for `chronofabric.scheduler.Timers.every`.

        Raises
        ------
        ArgumentError
            An argument has a value that cannot be used, such as a budget beyond the period.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> fabric = cf.Fabric("plant", clock=clock)
        >>> @fabric.every("10 ms", budget="1 ms")
        ... def control():
        ...     print("at", clock.now() // 1_000_000, "ms")
        >>> with fabric:
        ...     _ = clock.advance("25 ms")
        at 10 ms
        at 20 ms
        """
        nanoseconds(period, argument="period", positive=True)  # at once, also where the decorator is never called

        def decorate(function: _Function) -> _Function:
            row = self._timers._periodic(
                period,
                function,
                budget=budget,
                first=first,
                missed=missed,
                busy=busy,
                tolerance=tolerance,
                name=name,
            )
            with self._lock:
                if self._running:
                    row.begin(self._timers.now())
                else:
                    self._waiting_rows.append(row)
            return function

        return decorate

    def at(self, instant: Instant, do: Action, *, tolerance: Duration = "1 ms", name: str | None = None) -> Timer:
        """Act once, at an instant, as `chronofabric.scheduler.Timers.at` does.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant", clock=cf.SimulatedClock()) as fabric:
        ...     closing = fabric.at(3_600_000_000_000, fabric.publisher("plant/closing"))
        ...     closing.armed
        True
        """
        return self._timers.at(instant, do, tolerance=tolerance, name=name)

    def after(self, delay: Duration, do: Action, *, tolerance: Duration = "1 ms", name: str | None = None) -> Timer:
        """Act once, after a delay, as `chronofabric.scheduler.Timers.after` does.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.Fabric("plant", clock=clock) as fabric:
        ...     silent = cf.Flag()
        ...     watchdog = fabric.after("1 s", silent)
        ...     _ = clock.advance("0.9 s")
        ...     watchdog.rearm("1 s")
        ...     _ = clock.advance("0.9 s")
        ...     silent.is_set()
        False
        """
        return self._timers.after(delay, do, tolerance=tolerance, name=name)

    def _start_timers(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if self._switch is not None:
            self._switch.begin()
        self._timers.enter(loop)
        now_ns = self._timers.now()
        for row in self._waiting_rows:
            row.begin(now_ns)
        self._waiting_rows.clear()

    def _end_timers(self) -> None:
        self._timers.close()
        if self._switch is not None:
            self._switch.end()


class SwitchInterval:
    """How long a thread of Python may keep the interpreter from others, as long as somebody asks for less than usual.

    It holds for the whole process: the shortest that any open node asks for, and what it was before when the last of
    them is closed.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _asked: ClassVar[dict[int, float]] = {}
    _before: ClassVar[float] = 0.0

    def __init__(self, interval: Duration) -> None:
        self.seconds = nanoseconds(interval, argument="switch_interval", positive=True) / 1e9
        if not 1e-6 <= self.seconds <= 1.0:
            hint = "it must be from 1 us to 1 s"
            text = f"switch_interval is {interval!r}; {hint}"
            raise ArgumentError(text, argument="switch_interval", value=interval, hint=hint)

    def begin(self) -> None:
        """Ask for it."""
        with self._lock:
            if not self._asked:
                SwitchInterval._before = sys.getswitchinterval()
            self._asked[id(self)] = self.seconds
            sys.setswitchinterval(min(self._asked.values()))

    def end(self) -> None:
        """Ask for it no more. Doing so again does nothing."""
        with self._lock:
            if self._asked.pop(id(self), None) is not None:
                sys.setswitchinterval(min(self._asked.values(), default=self._before))
