"""Handlers: functions and coroutines called for each event.

A handler that raises is counted and reported, and goes on; `Handlers` has that, whatever runs them. `ThreadedHandlers`
run functions in one thread of the node, and coroutines on the event loop that entered the fabric with ``async with``,
otherwise on a loop in that same thread. Other nodes may have others: `Fabric._make_handlers` chooses.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from chronofabric._core import bus as _bus
from chronofabric._core.bus import YIELD_EVERY
from chronofabric.bus import listen
from chronofabric.errors import ClosedError

if TYPE_CHECKING:
    import asyncio

    from chronofabric.bus import Event, Subscription
    from chronofabric.fabric.scheduling import NodeTimers

__all__ = ["Handler", "Handlers", "ThreadedHandlers"]

_SERVED_AT_ONCE = 64
"""How many events one handler takes before the others get their turn, where none has a deadline."""

_PATIENCE_NS = 1_000_000_000
"""What a handler without a deadline counts as: it waits for the others, and gets its turn in the end."""

_STOP = 0
"""The number under which the thread is told to stop; handlers count from 1."""

_LOOP = 2**64 - 1
"""The number under which the thread is told that it needs an event loop."""

_logger = logging.getLogger("chronofabric.handler")


class Handler:
    """A function and the subscription it is called for."""

    def __init__(
        self,
        function: Callable[[Event], Any],
        subscription: Subscription,
        *,
        name: str,
        deadline_ns: int | None,
        stop_on_error: bool,
        asynchronous: bool,
    ) -> None:
        self.function = function
        self.subscription = subscription
        self.name = name
        self.deadline_ns = deadline_ns
        self.stop_on_error = stop_on_error
        self.asynchronous = asynchronous
        self.calls = 0
        self.errors = 0
        self.late = 0
        self.error: str | None = None
        self.busy = False

    def due_ns(self, now_ns: int) -> int:
        """By when what waits for it should be handled; an event that does not show yet counts as of now.

        So do all where it has no deadline: however long they wait, they are less urgent than those that have one.
        """
        if self.deadline_ns is None:
            return now_ns + _PATIENCE_NS
        stamped_ns = self.subscription.next_time_ns
        return self.deadline_ns + (now_ns if stamped_ns is None else stamped_ns)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for it and nothing is in its hands."""
        return self.subscription.pending == 0 and not self.busy

    def report(self) -> dict[str, Any]:
        """Return its figures."""
        return {
            "name": self.name,
            "pattern": str(self.subscription.pattern),
            "calls": self.calls,
            "errors": self.errors,
            "error": self.error,
            "deadline_ns": self.deadline_ns,
            "late": self.late,
            "lateness_ns": self.subscription.latency(),
        }


class Handlers:
    """The handlers of a node, and how one is called for one event; a subclass says when, and where.

    Parameters
    ----------
    bus
        The node's bus.
    stop_node
        Called when a handler with ``stop_on_error`` raises.
    """

    TIMERS = 2**64 - 2
    """The number under which it is told that timers have fired for which Python is called."""

    def __init__(self, bus: _bus.Bus, stop_node: Callable[[], object]) -> None:
        self.all: list[Handler] = []
        self.timers: NodeTimers | None = None
        self.wakeups = _bus.Wakeups(bus)
        self._bus = bus
        self._stop_node = stop_node
        self._running = False
        self._choosy = False  # whether any of them has a deadline
        self._lock = threading.Lock()
        self._outer_loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of their start

    def add(self, handler: Handler) -> None:
        """Add a handler; it starts with the others, or at once where they run already."""
        with self._lock:
            self.all.append(handler)
            self._choosy |= handler.deadline_ns is not None
            if self._running:
                self._start(handler)

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Start all handlers; coroutines run on `loop` if there is one."""
        with self._lock:
            self._running = True
            for handler in self.all:
                self._start(handler)

    def _start(self, handler: Handler) -> None:
        """Begin to call a handler."""
        raise NotImplementedError

    def need(self, asynchronous: bool) -> None:
        """See to it that there is somebody who calls Python for timers, once the handlers run."""

    @property
    def idle(self) -> bool:
        """Whether no handler has anything to do that it could do while the calling thread waits."""
        raise NotImplementedError

    def stop(self, timeout_s: float) -> None:
        """Call none any more, and wait for what runs; a handler that does not return is left behind."""
        raise NotImplementedError

    def _take(self, handler: Handler) -> int:
        """Call a function for what is there, a fair share at a time; return how often.

        Where deadlines matter, that is one event: a call is not interrupted, and the next may be another's.
        """
        poll = handler.subscription.poll
        share = 1 if self._choosy else _SERVED_AT_ONCE
        for count in range(share):
            event = poll()
            if event is None:
                return count
            self._call(handler, event)
        return share

    def _call(self, handler: Handler, event: Event) -> None:
        self._note(handler, event)
        try:
            handler.function(event)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises, SystemExit too, the node goes on
            self._failed(handler, event, error)

    def _start_task(self, handler: Handler) -> None:
        import asyncio

        task = asyncio.get_running_loop().create_task(self._consume(handler), name=f"handler {handler.name}")
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _consume(self, handler: Handler) -> None:
        """Call a coroutine function for each event, in order."""
        import asyncio

        subscription, handled = handler.subscription, 0
        while True:
            # Before an event is taken, so that a node that closes meanwhile does not find the handler idle.
            handler.busy = True
            try:
                event = subscription.poll()
                if event is not None:
                    await self._await(handler, event)
            except ClosedError:
                return
            finally:
                handler.busy = False
            if event is None:
                await self._wait(handler)
                continue
            handled += 1
            if handled % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _wait(self, handler: Handler) -> None:
        """Wait until something waits for a coroutine function."""
        await handler.subscription._wait(None)

    async def _await(self, handler: Handler, event: Event) -> None:
        import asyncio

        self._note(handler, event)
        try:
            await handler.function(event)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed(handler, event, error)  # what it awaited was cancelled, not it
        except SystemExit as error:
            if self._outer_loop is not None:
                raise  # on a loop of the program, it ends the program
            self._failed(handler, event, error)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the node goes on
            self._failed(handler, event, error)

    def _note(self, handler: Handler, event: Event) -> None:
        handler.calls += 1
        if handler.deadline_ns is not None and self._bus.now() - event.stamp.time > handler.deadline_ns:
            handler.late += 1

    def _failed(self, handler: Handler, event: Event, error: BaseException) -> None:
        handler.errors += 1
        handler.error = f"{type(error).__name__}: {error}"
        _logger.error("handler %s failed on %s", handler.name, event.topic, exc_info=error)
        if handler.stop_on_error:
            self._stop_node()


class _Alarm:
    """Calls a function on an event loop although nothing was announced."""

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
        self._loop = loop
        self._function = function
        self._handle: asyncio.TimerHandle | None = None

    def set(self, timeout_s: float | None) -> None:
        """Call it then, or not at all, in place of when it was to be called before."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None if timeout_s is None else self._loop.call_later(timeout_s, self._function)


class ThreadedHandlers(Handlers):
    """Handlers that run beside their node: functions in one thread of it, coroutines on an event loop.

    Parameters
    ----------
    bus, stop_node
        As for `Handlers`.
    name
        The node's name, for that of the thread.
    """

    def __init__(self, bus: _bus.Bus, name: str, stop_node: Callable[[], object]) -> None:
        super().__init__(bus, stop_node)
        self._needs_thread = False
        self._needs_loop = False
        self._served: dict[int, Handler] = {}
        # The numbers of those who have something to do, each with when that should be done.
        self._ready: list[tuple[int, int]] = []
        self._thread_name = f"chronofabric-handlers-{name}"
        self._thread: threading.Thread | None = None
        self._loop_thread: int | None = None
        # The numbers of both threads as receivers; 0 where there is none.
        self._receiver = self._loop_receiver = 0

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Start all handlers; coroutines run on `loop` if there is one."""
        with self._lock:
            self._outer_loop = loop
            self._loop_thread = None if loop is None else threading.get_ident()
            self._loop_receiver = 0 if loop is None else _bus.current_thread()
            self._start_for_timers()
        super().start(loop)

    def need(self, asynchronous: bool) -> None:
        """See to it that there is somebody who calls Python for timers, once the handlers run."""
        with self._lock:
            self._needs_thread = True
            self._needs_loop |= asynchronous
            if self._running:
                self._start_for_timers()

    def _start_for_timers(self) -> None:
        if not self._needs_thread:
            return
        self._start_thread()
        if self._needs_loop and self._outer_loop is None:
            self.wakeups.wake_with(_LOOP)

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
            self._thread.start()

    def _start(self, handler: Handler) -> None:
        if handler.asynchronous and self._outer_loop is not None:
            _serve_in(handler, self._loop_receiver)
            self._outer_loop.call_soon_threadsafe(self._start_task, handler)
            return
        _serve_in(handler, self._receiver)
        token = len(self._served) + 1
        self._served[token] = handler
        self._start_thread()
        if handler.asynchronous:
            self.wakeups.wake_with(_LOOP)
        self.wakeups.watch(handler.subscription, token)

    @property
    def idle(self) -> bool:
        """Whether no handler has anything to do; those that wait for the calling thread to return cannot go on."""
        here = self._thread is threading.current_thread()
        served = self.timers is None or self.timers.idle or here
        return served and all(handler.idle or self._waits_for_here(handler) for handler in self.all)

    def _waits_for_here(self, handler: Handler) -> bool:
        if handler.asynchronous and self._outer_loop is not None:
            return self._loop_thread == threading.get_ident()
        return self._thread is threading.current_thread()

    def stop(self, timeout_s: float) -> None:
        """End the thread and wait for it; a handler that does not return is left behind."""
        with self._lock:
            self._running = False
            thread = self._thread
        if thread is None:
            return
        self.wakeups.wake_with(_STOP)
        if thread is not threading.current_thread():
            thread.join(timeout_s)

    def _run(self) -> None:
        with self._lock:
            self._receiver = _bus.current_thread()
            for handler in self._served.values():
                _serve_in(handler, self._receiver)
        while True:
            for token in self.wakeups.take() if self._ready else self.wakeups.wait():
                if token == _STOP:
                    return
                if token == _LOOP:
                    import asyncio

                    asyncio.run(self._run_with_loop())
                    return
                self._enroll(token)
            self._serve_next()

    async def _run_with_loop(self) -> None:
        """Serve functions and coroutines from one event loop in this thread."""
        import asyncio

        loop = asyncio.get_running_loop()
        stopped = loop.create_future()
        started: set[int] = set()

        def serve() -> None:
            self._serve_in_turn(stopped)
            if self._ready:
                loop.call_soon(serve)  # after others have had their turn
            for token, handler in list(self._served.items()):
                if handler.asynchronous and token not in started:
                    started.add(token)
                    self._start_task(handler)
            alarm.set(self.wakeups.timeout)

        alarm = _Alarm(loop, serve)
        listen(self.wakeups, loop, serve)
        # What was announced before the loop listened.
        self._ready.clear()
        for token, handler in list(self._served.items()):
            self.wakeups.watch(handler.subscription, token)
        if self.timers is not None:
            self.timers.use(loop)
            self._serve_timers()
        serve()
        await stopped
        alarm.set(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _serve_in_turn(self, stopped: asyncio.Future[None]) -> None:
        """Serve as many as have something to do, and look who else has before each; tasks see to coroutines."""
        self._enroll_functions(stopped)
        for _ in range(len(self._ready)):
            self._serve_next()
            self._enroll_functions(stopped)

    def _enroll_functions(self, stopped: asyncio.Future[None]) -> None:
        for token in self.wakeups.take():
            if token == _STOP:
                if not stopped.done():
                    stopped.set_result(None)
            elif token == self.TIMERS or (token != _LOOP and not self._served[token].asynchronous):
                self._enroll(token)

    def _enroll(self, token: int) -> None:
        """Note that there is something to do; timers are due already, and so are served at once."""
        if token == self.TIMERS:
            self._serve_timers()
        else:
            heappush(self._ready, (self._served[token].due_ns(self._bus.now()), token))

    def _serve_next(self) -> None:
        """Serve the most urgent of those who have something to do."""
        if self._ready:
            self._serve(heappop(self._ready)[1])

    def _serve_timers(self) -> None:
        if self.timers is not None:
            self.timers.serve()

    def _serve(self, token: int) -> None:
        handler = self._served[token]
        handler.busy = True
        try:
            self._take(handler)
        except ClosedError:
            return
        finally:
            handler.busy = False
        self.wakeups.watch(handler.subscription, token)


def _serve_in(handler: Handler, receiver: int) -> None:
    """Say which thread is going to receive, so that whoever would wait in it for itself is told at once.

    Members of a group may receive elsewhere.
    """
    if receiver and handler.subscription.group is None:
        handler.subscription.serve_in(receiver)
