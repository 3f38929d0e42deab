"""Handlers and sources of a simulated node: nothing of theirs runs but when it is given its turn.

Handlers are called in the thread that advances the simulation. A source has a thread, because its `run` returns only at
its end, but that thread and the advancing one hand one turn to and fro: a source runs until it has published an event
or waits on its stop token, and the other waits for it meanwhile, so there is never more than one of them that runs.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from chronofabric.bus import Publisher
from chronofabric.errors import ClosedError, SimulationError
from chronofabric.fabric.handlers import Handler, Handlers
from chronofabric.fabric.parts import RunningSource
from chronofabric.fabric.sources import Node, TimerSource
from chronofabric.fabric.sources.source import Output
from chronofabric.fabric.stopping import StopToken
from chronofabric.testing.script import NEVER

if TYPE_CHECKING:
    import asyncio

    from chronofabric.bus import Event, Subscription
    from chronofabric.fabric.scheduling import NodeTimers
    from chronofabric.fabric.sources import Source
    from chronofabric.testing.node import SimulatedFabric

__all__ = ["SteppedHandlers", "SteppedQuiet", "SteppedSource", "SteppedTimers"]

SOURCE_S = 10.0
"""How long, in real time, a source may run at one instant."""

_RETRY_S = 0.001
"""After how much simulated time a source that waits for room looks again."""


class SteppedHandlers(Handlers):
    """Handlers that are called when `step` is.

    Parameters
    ----------
    node
        Whose they are.
    """

    def __init__(self, node: SimulatedFabric) -> None:
        super().__init__(node.core, node.stop)
        self._node = node
        self._started: list[Handler] = []
        self._waiting: dict[Handler, asyncio.Future[None]] = {}

    def _start(self, handler: Handler) -> None:
        self._started.append(handler)
        if handler.asynchronous:
            loop = self._node._stepper.loop()
            loop.call_soon(self._start_task, handler)
            loop.wanted = True

    def need(self, asynchronous: bool) -> None:
        """Have coroutines of timers run where those of handlers do."""
        if asynchronous and self.timers is not None:
            self.timers.use(self._node._stepper.loop())

    def step(self) -> int:
        """Call functions for what waits, a fair share each, and wake coroutines; return how many events that were.

        Where deadlines matter, only the most urgent of them takes its share: the next may be the same.
        """
        count = 0
        started = self._started
        if self._choosy:
            now_ns = self._node.clock.now()
            ready = [handler for handler in started if handler.subscription.ready]
            started = sorted(ready, key=lambda each: each.due_ns(now_ns))
        for handler in started:
            if count and self._choosy:
                break
            if not handler.subscription.ready:
                continue
            if not handler.asynchronous:
                try:
                    count += self._take(handler)
                except ClosedError:  # that of a guard that was taken away
                    self._started = [each for each in self._started if each is not handler]
            elif (waiting := self._waiting.pop(handler, None)) is not None:
                waiting.set_result(None)
                self._node._stepper.loop().wanted = True
                count += 1
        return count

    @property
    def idle(self) -> bool:
        """True: what could run without time passing has run."""
        return True

    def stop(self, timeout_s: float) -> None:
        """Call none any more; coroutines that wait for time to pass are cancelled."""
        self._running = False
        self._started = []
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._node._stepper.loop().wanted = True

    async def _wait(self, handler: Handler) -> None:
        import asyncio

        self._waiting[handler] = waiting = asyncio.get_running_loop().create_future()
        await waiting

    def _call(self, handler: Handler, event: Event) -> None:
        self._note(handler, event)
        try:
            handler.function(event)
        except KeyboardInterrupt:
            raise  # this is the thread of the test, which somebody wants to end
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises, SystemExit too, the node goes on
            self._failed(handler, event, error)

    def _failed(self, handler: Handler, event: Event, error: BaseException) -> None:
        self._node._note_failure(f"handler {handler.name}", event.topic, error)
        super()._failed(handler, event, error)


class SteppedTimers:
    """The timers of a simulated node, of which the next is due at an instant.

    Parameters
    ----------
    timers
        The timers.
    """

    def __init__(self, timers: NodeTimers) -> None:
        self._timers = timers

    @property
    def due_ns(self) -> int:
        """When the next timer is due."""
        due_ns = self._timers.next_due_ns
        return NEVER if due_ns is None else due_ns

    def run(self, now_ns: int) -> int:
        """Fire what is due; what was due already when the time came here has fired with it."""
        self._timers.fire_due()
        return 1


class SteppedQuiet:
    """A subscription that waits for its topics to stay quiet: time stops where they have.

    Parameters
    ----------
    subscription
        The subscription.
    node
        Whose it is.
    """

    def __init__(self, subscription: Subscription, node: SimulatedFabric) -> None:
        self._subscription = weakref.ref(subscription)
        self._clock = node.clock

    @property
    def due_ns(self) -> int:
        """When it will have an event to hand out; one that it has already is for whoever receives."""
        subscription = self._subscription()
        due_ns = None if subscription is None else subscription.due
        return NEVER if due_ns is None or due_ns <= self._clock.now() else due_ns

    def run(self, now_ns: int) -> int:
        """Let who receives look: there is nothing else to do."""
        return 1


class _Turn(StopToken):
    """A stop token that hands the turn back where its source waits."""

    __slots__ = ("_back", "_forth", "due_ns")

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.due_ns = NEVER
        self._forth = threading.Semaphore(0)
        self._back = threading.Semaphore(0)

    def set(self) -> None:
        super().set()
        self._forth.release()

    def wait(self) -> None:
        self.wait_until(NEVER)

    def wait_until(self, time_ns: int) -> bool:
        while not self.is_set():
            if time_ns <= self._clock.now():
                return False
            self.due_ns = time_ns
            self._back.release()
            self._forth.acquire()
        return True

    def pass_on(self) -> None:
        """Let what was published be handled, and go on at the same instant."""
        if not self.is_set():
            self.due_ns = self._clock.now()
            self._back.release()
            self._forth.acquire()

    def give(self, timeout_s: float) -> bool:
        """Let the source run; say whether it has handed the turn back in time."""
        self._forth.release()
        return self.await_back(timeout_s)

    def await_back(self, timeout_s: float) -> bool:
        """Wait until the source has published, waits, or ends."""
        return self._back.acquire(timeout=max(0.0, timeout_s))

    def end(self) -> None:
        """The source runs no more."""
        self.due_ns = NEVER
        self._back.release()


class _SteppedNode:
    """A node as its source sees it: what it publishes is handled before it goes on, and it waits on simulated time."""

    def __init__(self, node: SimulatedFabric, turn: _Turn) -> None:
        self._node = node
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def publish(self, topic: str, payload: object, **options: Any) -> None:
        """Publish one event, as `Fabric.publish` does."""
        blocked = Publisher(self._node.core, topic).publish_start(payload, **options)
        self._turn.pass_on()
        while blocked is not None and not blocked.retry():
            left_s = min(blocked.timeout, _RETRY_S)
            if self._turn.wait_until(self._node.clock.now() + max(1, math.ceil(left_s * 1e9))):
                return


class _Ticking:
    """What `TimerSource` does, without its native thread, which could not be stepped."""

    finite = False

    def __init__(self, timer: TimerSource) -> None:
        self.name = timer.name
        self.missed = 0
        self._timer = timer
        self._output: Output | None = None

    @property
    def published(self) -> int:
        """Ticks published so far."""
        return self._output.published if self._output else 0

    def run(self, node: Node, stop: StopToken) -> None:
        """Tick until told to stop."""
        self._output = Output(node)
        period_ns, start_ns, tick = self._timer.period_ns, node.clock.now(), 0
        while not stop.wait_until(start_ns + tick * period_ns):
            lateness_ns = node.clock.now() - (start_ns + tick * period_ns)
            missed = lateness_ns // period_ns
            self.missed += missed
            self._output.publish(self._timer.topic, {"tick": tick, "lateness_ns": lateness_ns, "missed": missed})
            tick += 1 + missed


class SteppedSource(RunningSource):
    """A source that runs only while the simulation waits for it.

    Parameters
    ----------
    source
        The source.
    node
        Whose it is.
    ended
        Called when it has ended.
    """

    def __init__(self, source: Source, node: SimulatedFabric, ended: Callable[[], object]) -> None:
        super().__init__(_Ticking(source) if isinstance(source, TimerSource) else source, node, ended)
        self._simulated = node
        self.stop_token: _Turn = _Turn(node.clock)
        self._node = cast("SimulatedFabric", _SteppedNode(node, self.stop_token))
        self._begun = False
        self._instant_ns = NEVER
        self._spent_s = 0.0

    @property
    def due_ns(self) -> int:
        """When it is to run again."""
        return self.stop_token.due_ns

    def start(self) -> None:
        """Have it start when time is next advanced."""
        self.stop_token.due_ns = self._node.clock.now()

    def run(self, now_ns: int) -> int:
        """Run it until it has published an event, or waits."""
        if now_ns != self._instant_ns:
            self._instant_ns, self._spent_s = now_ns, 0.0
        self.stop_token.due_ns = NEVER
        started_s = time.monotonic()
        if self._begun:
            came_back = self.stop_token.give(SOURCE_S - self._spent_s)
        else:
            self._begun = True
            super().start()
            came_back = self.stop_token.await_back(SOURCE_S)
        self._spent_s += time.monotonic() - started_s
        if not came_back:
            self._refuse_late()
        return 1

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            self.stop_token.end()

    def _failed(self, error: BaseException) -> None:
        self._simulated._note_failure(f"source {self.name}", None, error)
        super()._failed(error)

    def _refuse_late(self) -> None:
        self.stop_token.set()
        raise SimulationError(
            f"source '{self.name}' ran for {SOURCE_S:g} s of real time without waiting for time to pass, and was told "
            "to stop; in a simulation a source waits on its stop token, and for nothing else",
            time_ns=self._node.clock.now(),
        )
