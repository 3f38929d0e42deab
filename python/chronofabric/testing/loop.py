"""An event loop on simulated time: it runs what can run at one instant, and never waits.

Where asyncio would sleep until the next timer, or until something arrives, the loop stops instead, and says when it has
to run again. It asks its selector for how long to sleep, which is a documented argument of asyncio's own loop.
"""

from __future__ import annotations

import asyncio  # noqa: TID253 - this module is imported only where a coroutine function is a handler
import math
import selectors
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chronofabric.errors import SimulationError
from chronofabric.testing.script import NEVER

if TYPE_CHECKING:
    from chronofabric._core.clock import SimulatedClock

__all__ = ["SimulatedLoop"]

_TURNS_MAX = 100_000
"""How many turns the loop may take at one instant."""

_RESOLUTION_S = 1e-9


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of a simulation.

    Parameters
    ----------
    clock
        The simulation's clock.

    Attributes
    ----------
    due_ns : int
        When the first of its timers is due.
    wanted : bool
        Whether something was given to it since it ran.
    endless : bool
        Whether it was stopped because its turns at one instant had no end.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self._simulated = clock
        self._start_ns = clock.now()
        self._pauses = _Pauses(self)
        self.due_ns = NEVER
        self.wanted = False
        self.endless = False
        super().__init__(self._pauses)

    def time(self) -> float:
        """Seconds since it was made."""
        return (self._simulated.now() - self._start_ns) / 1e9

    def has_input(self) -> bool:
        """Whether another thread, or a descriptor, has something for it."""
        return bool(self._pauses.inner.select(0))

    def run(self, now_ns: int) -> int:
        """Run everything that can run now; return how many turns that took.

        Raises
        ------
        SimulationError
            The calling task runs on another loop of this thread.
        """
        other = asyncio._get_running_loop()
        if other is not None:
            raise SimulationError(
                "coroutine handlers run on the loop of their simulation, and the caller runs on another loop in this "
                "thread; advance the simulation in a plain function, not in a coroutine",
                time_ns=now_ns,
            )
        self.wanted = self.endless = False
        self._pauses.turns = 0
        self.run_forever()
        return self._pauses.turns

    def pause(self, timeout_s: float | None) -> None:
        """Nothing more can run at this instant."""
        self.due_ns = NEVER if timeout_s is None else self._simulated.now() + max(1, math.ceil(timeout_s * 1e9))
        self.stop()

    def finish(self) -> None:
        """Cancel what runs, and close."""
        self.run(self._simulated.now())  # tasks of handlers were cancelled in their order
        tasks = sorted(asyncio.all_tasks(self), key=asyncio.Task.get_name)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run(self._simulated.now())
        self.close()


class _Pauses(selectors.BaseSelector):
    """A selector that waits for nothing, and stops its loop where there is nothing to do."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.inner = selectors.DefaultSelector()
        self.turns = 0
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self.inner.select(0)
        # What is due within the loop's own resolution runs in this turn.
        if not ready and (timeout is None or timeout >= _RESOLUTION_S):
            self._loop.pause(timeout)
            return ready
        self.turns += 1
        if self.turns > _TURNS_MAX:
            self._loop.wanted = self._loop.endless = True
            self._loop.stop()
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self.inner.get_map()

    def close(self) -> None:
        self.inner.close()
