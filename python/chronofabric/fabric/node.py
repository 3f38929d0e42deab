"""The node: it carries events, runs handlers and guards, has sources and sinks, and reports what became of it all."""

from __future__ import annotations

import logging
import os
import threading
import time as _time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from chronofabric._core import bus as _bus
from chronofabric._core import clock as _clock
from chronofabric.bus import Pattern, Publisher, wait_for_room
from chronofabric.duration import nanoseconds
from chronofabric.errors import ArgumentError, ClosedError
from chronofabric.fabric.checks import checked_flag, checked_text
from chronofabric.fabric.counts import checked_count
from chronofabric.fabric.deadlines import Deadlines
from chronofabric.fabric.ending import OPEN_BUSES, OPEN_FABRICS
from chronofabric.fabric.guarding import Guarding
from chronofabric.fabric.guards import Guard
from chronofabric.fabric.handlers import Handler, Handlers, ThreadedHandlers
from chronofabric.fabric.parts import RunningSink, RunningSource
from chronofabric.fabric.publishing import declares, publish
from chronofabric.fabric.report import Report
from chronofabric.fabric.requests import Requests
from chronofabric.fabric.retention import Retention
from chronofabric.fabric.scheduling import NodeTimers, Scheduling, SwitchInterval
from chronofabric.fabric.subscribing import FILTERS, Subscribing
from chronofabric.scheduler.functions import is_coroutine_function
from chronofabric.scheduler.promise import warn_below_switch_interval
from chronofabric.scheduler.realtime import Realtime, realtime_of

if TYPE_CHECKING:
    from datetime import datetime

    from chronofabric.duration import Duration
    from chronofabric.fabric.sinks import Sink
    from chronofabric.fabric.sources import Source

__all__ = ["Fabric"]

_DRAIN_S = 5.0
_POLL_S = 0.002
_SIGNAL_SLICE_S = 0.05
"""How long `run` sleeps at most before it looks for Ctrl-C and at its clock."""

_FINISH_S = 30.0
"""How long a sink may take to finish its file once all its events have been given to it."""

_SINK_CAPACITY = 8192

_logger = logging.getLogger("chronofabric.node")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Fabric(Deadlines, Guarding, Requests, Retention, Scheduling, Subscribing):
    """A node of the fabric.

    Publishing and subscribing work as soon as it is made. Handlers, sources and sinks start when it is entered with
    ``with`` or ``async with``, or by `run`, and end when it is closed.

    Parameters
    ----------
    name
        The node's name, in reports and messages.
    clock
        Where its time comes from: the name of a registered time source (``"counter"``, ``"system"``) or a time source,
        such as a `SimulatedClock`.
    folder
        Where to keep the node's id and the bound of its clock, so that its stamps go on after a restart. Without it,
        the id is random for each process.
    topics_max
        How many topics it may have.
    retained_bytes_max
        How many bytes the events may hold together that topics keep for subscriptions to come: their payloads, and 64
        for each event.
    realtime
        What the threads that fire its timers, and those of its timer sources, ask of the system.
    switch_interval
        How long a thread of Python may keep the interpreter from others while the node runs, such as ``"0.5 ms"``; for
        the whole process, and as it was before when the node is closed.

    Raises
    ------
    ArgumentError
        If an argument has a value that cannot be used.
    ClockError
        If the folder cannot be used, or another process uses it.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     alarms = fabric.subscribe("plant/**")
    ...     fabric.publish("plant/7/temperature", 21.5)
    ...     alarms.receive(timeout="1 s").payload
    21.5
    """

    def __init__(
        self,
        name: str = "fabric",
        *,
        clock: str | _clock.TimeSource = "counter",
        folder: str | os.PathLike[str] | None = None,
        topics_max: int = 65_536,
        retained_bytes_max: int = 67_108_864,
        realtime: Realtime | None = None,
        switch_interval: Duration | None = None,
    ) -> None:
        checked_text("name", name, empty=False)
        checked_count("retained_bytes_max", retained_bytes_max, 0)
        self._realtime = realtime_of(realtime)
        self._switch = None if switch_interval is None else SwitchInterval(switch_interval)
        self._clock = _clock.source(clock)
        self._stamps = _clock.HybridLogicalClock(self._clock, folder=None if folder is None else os.fspath(folder))
        try:
            self._core = _bus.Bus(name, self._stamps, topics_max=topics_max, retained_bytes_max=retained_bytes_max)
        except BaseException:
            self._stamps.close()
            raise
        self._name = name
        self._started_ns = self._clock.now()
        self._closed_ns: int | None = None
        self._lock = threading.RLock()
        self._running = False
        self._closing = False
        self._dropped: dict[str, int] = {}
        self._stop = threading.Event()
        self._stop_asked = False
        self._handlers = self._make_handlers()
        seconds = None if self._switch is None else self._switch.seconds
        self._timers = self._handlers.timers = NodeTimers(name, self._clock, self._handlers, self._realtime, seconds)
        self._waiting_rows = []
        self._guards: dict[str, Guard] = {}
        self._guard_handlers: dict[str, Handler] = {}
        self._sources: list[RunningSource] = []
        self._sinks: list[RunningSink] = []
        OPEN_FABRICS.add(self)
        OPEN_BUSES.add(self._core)

    # What runs its parts; a kind of node may choose otherwise
    def _make_handlers(self) -> Handlers:
        return ThreadedHandlers(self._core, self._name, self.stop)

    def _make_source(self, source: Source) -> RunningSource:
        return RunningSource(source, self, self._source_ended)

    # What it is

    @property
    def name(self) -> str:
        """The node's name."""
        return self._name

    @property
    def clock(self) -> _clock.TimeSource:
        """The node's time source."""
        return self._clock

    @property
    def realtime(self) -> Realtime:
        """What its threads that keep time ask of the system."""
        return self._realtime

    @property
    def stamps(self) -> _clock.HybridLogicalClock:
        """The node's hybrid logical clock."""
        return self._stamps

    @property
    def core(self) -> _bus.Bus:
        """The bus underneath, for what extends the node."""
        return self._core

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed_ns is not None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "running" if self._running else "open"
        return f"Fabric('{self._name}', clock='{self._clock.kind}', topics={self._core.topics_count}, {state})"

    # Publishing

    @declares(publish)
    def publish(
        self,
        topic: str,
        payload: object,
        *,
        priority: str | int | None = None,
        deadline: Duration | datetime | _clock.Stamp | None = None,
        headers: Mapping[str, Any] | None = None,
        time: int | None = None,
        retain: bool = False,
    ) -> None:
        """Publish one event.

        Parameters
        ----------
        topic
            Where, such as ``"plant/7/temperature"``.
        payload
            Any object; it is carried by reference. What exports Arrow arrives as a `Table`.
        priority
            ``"low"``, ``"normal"``, ``"high"``, ``"urgent"``, or 0 to 3.
        deadline
            When it should have been acted on: a duration from now, a datetime, or a stamp.
        headers
            What travels beside the payload.
        time
            A recorded time in nanoseconds since the Unix epoch; by default the event happens now.
        retain
            Keep it as the last value of its topic, in the place of the one before, for subscriptions to come.

        Raises
        ------
        TopicError, TopicLimitError
            The topic is none, or one too many.
        PayloadError
            The payload cannot be carried.
        PublishTimeout
            Subscriptions with ``overflow="block"`` stayed full; all others have the event.
        WouldDeadlock
            It would wait for a subscription that this same thread receives from.
        ClosedError
            The fabric is closed.
        """

    def publish_many(
        self,
        topic: str,
        payloads: Iterable[object],
        *,
        priority: str | int | None = None,
        deadline: Duration | datetime | _clock.Stamp | None = None,
        headers: Mapping[str, Any] | None = None,
        retain: bool = False,
    ) -> int:
        """Publish each payload of an iterable as an event; return how many.

        Parameters
        ----------
        topic, priority, deadline, headers, retain
            As for `publish`; they hold for every event.
        payloads
            The payloads.
        """
        if not isinstance(payloads, Iterable):
            hint = "it must be an iterable of payloads, each of which becomes an event"
            raise ArgumentError(f"payloads is {payloads!r}; {hint}", argument="payloads", value=payloads, hint=hint)
        publisher = _bus.Publisher(self._core, topic, retain=checked_flag("retain", retain))
        return publisher.publish_many(payloads, priority=priority, deadline=deadline, headers=headers)

    async def publish_async(self, topic: str, payload: object, **options: Any) -> None:
        """Publish one event without ever blocking the event loop.

        Parameters
        ----------
        topic, payload, **options
            As for `publish`.

        Raises
        ------
        PublishTimeout
            As for `publish`.
        """
        blocked = _bus.Publisher(self._core, topic).publish_start(payload, **options)
        if blocked is not None:
            await wait_for_room(self._core, blocked)

    def publisher(
        self,
        topic: str,
        *,
        schema: object | None = None,
        priority: str | int | None = None,
        retain: bool = False,
        deadline: Duration | None = None,
    ) -> Publisher:
        """Make a handle for publishing on one topic; it is faster than naming the topic each time.

        Parameters
        ----------
        topic
            Where it publishes.
        schema
            ``"arrow"`` where every payload must export Arrow, or an Arrow schema that each must have.
        priority
            The priority of its events, where a publish states none.
        retain
            Keep each of its events as the last value of the topic, for subscriptions to come.
        deadline
            By when its events should have been acted on, counted from each publish that states none, whether a timer or
            a job publishes by the handle or somebody calls it. By default what `deadline` says of the topic.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant") as fabric:
        ...     probe = fabric.publisher("plant/7/temperature", priority="high")
        ...     probe.publish(21.5)
        """
        checked_flag("retain", retain)
        deadline_ns = None if deadline is None else nanoseconds(deadline, argument="deadline")
        return Publisher(self._core, topic, schema=schema, priority=priority, retain=retain, deadline_ns=deadline_ns)

    # Receiving

    def on(
        self,
        pattern: str | Pattern | Iterable[str | Pattern],
        *,
        deadline: Duration | None = None,
        on_error: str = "continue",
        name: str | None = None,
        **options: Any,
    ) -> Callable[[_Function], _Function]:
        """Call the decorated function for each event of a set of topics.

        Functions run in one thread of the node; coroutine functions on the loop that entered the fabric with ``async
        with``, otherwise on a loop in that thread.

        Parameters
        ----------
        pattern
            As for `subscribe`.
        deadline
            Calls that begin later than this after the event was stamped are counted as late. Where several functions
            have something to do, the one whose deadline comes first is called first; one without a deadline counts as
            one of 1 s. A deadline below the switch interval (5 ms by default) is warned of in the log: a busy thread
            may keep the interpreter as long.
        on_error
            ``"continue"``: an exception is counted and reported. ``"stop"``: it also stops the node.
        name
            Its name in reports; by default the function's.
        **options
            As for `subscribe`.

        Examples
        --------
        >>> import chronofabric as cf
        >>> fabric = cf.Fabric("plant")
        >>> @fabric.on("plant/**")
        ... def show(event):
        ...     print(event.topic, event.payload)
        >>> with fabric:
        ...     fabric.publish("plant/7/temperature", 21.5)
        plant/7/temperature 21.5
        """
        return self._decorator(pattern, deadline, on_error, name, lambda handler: None, **options)

    def _decorator(
        self,
        pattern: str | Pattern | Iterable[str | Pattern],
        deadline: Duration | None,
        on_error: str,
        name: str | None,
        prepare: Callable[[Handler], None],
        **options: Any,
    ) -> Callable[[_Function], _Function]:
        """Make the decorator that adds a handler, once it is prepared."""
        if callable(pattern):
            hint = "name the topics first: @fabric.on('plant/**')"
            raise ArgumentError(f"pattern is {pattern!r}; {hint}", argument="pattern", value=pattern, hint=hint)
        if on_error not in ("continue", "stop"):
            hint = "it must be 'continue' or 'stop'"
            raise ArgumentError(f"on_error is {on_error!r}; {hint}", argument="on_error", value=on_error, hint=hint)
        deadline_ns = None if deadline is None else nanoseconds(deadline, argument="deadline")

        def decorate(function: _Function) -> _Function:
            called: str = name or getattr(function, "__qualname__", None) or repr(function)
            handler = self._handler(function, pattern, called, deadline_ns, on_error == "stop", **options)
            prepare(handler)
            self._handlers.add(handler)
            return function

        return decorate

    def _handler(
        self,
        function: Callable[..., Any],
        pattern: str | Pattern | Iterable[str | Pattern],
        name: str,
        deadline_ns: int | None,
        stop_on_error: bool = False,
        **options: Any,
    ) -> Handler:
        """Subscribe for a function, which is not called before the handler is added."""
        if not callable(function):
            hint = "give a function or coroutine function of one event"
            text = f"{function!r} cannot be called; {hint}"
            raise ArgumentError(text, argument="handler", value=function, hint=hint)
        if not self._core.simulated:
            seconds = None if self._switch is None else self._switch.seconds
            warn_below_switch_interval(f"handler {name}", deadline_ns, seconds)
        return Handler(
            function,
            self.subscribe(pattern, name=name, **options),
            name=name,
            deadline_ns=deadline_ns,
            stop_on_error=stop_on_error,
            asynchronous=is_coroutine_function(function),
        )

    # Sources and sinks

    def add_source(self, source: Source) -> None:
        """Add a source; it starts with the node, or at once where the node runs.

        Parameters
        ----------
        source
            Such as `chronofabric.fabric.sources.HostSource`.

        Raises
        ------
        ArgumentError
            A recording at ``speed="max"`` drives the node's time, which needs a simulated clock.
        """
        self._core.check()
        if getattr(source, "speed", None) == "max" and not self._core.simulated:
            hint = "make the node with clock=cf.SimulatedClock()"
            text = f"source '{source.name}' at speed 'max' drives the node's time; {hint}"
            raise ArgumentError(text, argument="speed", value="max", hint=hint)
        with self._lock:
            self._refuse_when_closed()
            running = self._make_source(source)
            self._sources.append(running)
            # That those before it have ended is no reason to end the run any more.
            self._stop.clear()
            if self._stop_asked:
                self._stop.set()
            if self._running:
                running.start()

    def add_sink(self, sink: Sink, **filters: Any) -> None:
        """Add a sink; it gets every event of its topics that is published from now on.

        Parameters
        ----------
        sink
            Such as `chronofabric.fabric.sinks.NdjsonSink`.
        **filters
            ``where``, ``sample``, ``rate_limit``, ``throttle`` and ``debounce``, as for `subscribe`.

        Raises
        ------
        ArgumentError, FormulaError
            As for `subscribe`.
        """
        if unknown := filters.keys() - FILTERS:
            raise TypeError(f"add_sink() got an unexpected keyword argument '{min(unknown)}'")
        self._core.check()
        with self._lock:
            self._refuse_when_closed()
            subscription = self.subscribe(
                tuple(sink.topics),
                name=f"sink {sink.name}",
                capacity=_SINK_CAPACITY,
                overflow="block",
                history=0,
                **filters,
            )
            running = RunningSink(sink, self, subscription)
            if self._running:
                running.start()
            self._sinks.append(running)

    def _source_ended(self) -> None:
        with self._lock:
            if self._sources and all(source.finite and source.done.is_set() for source in self._sources):
                self._stop.set()

    # Its life

    def start(self) -> None:
        """Start handlers, sinks and sources. Entering does this."""
        self._start(None)

    def _start(self, loop: Any) -> None:
        self._core.check()
        with self._lock:
            self._refuse_when_closed()
            if self._running:
                return
            opened: list[RunningSink] = []
            try:
                for sink in self._sinks:
                    sink.start()
                    opened.append(sink)
            except BaseException:
                for sink in opened:
                    sink.subscription.close()
                raise
            self._running = True
            self._handlers.start(loop)
            self._start_timers(loop)
            for source in self._sources:
                source.start()

    def run(self, duration: Duration | None = None) -> None:
        """Run until Ctrl-C, `stop`, the end of the duration, or the end of every source where all are finite.

        Parameters
        ----------
        duration
            How long, on the node's own time source; by default without end.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant") as fabric:
        ...     fabric.run("10 ms")
        """
        until_ns = None if duration is None else self._clock.now() + nanoseconds(duration, argument="duration")
        self.start()
        slice_s = 0.001 if self._core.simulated else _SIGNAL_SLICE_S
        try:
            while not self._stop.is_set():
                if until_ns is None:
                    # In slices: a signal just before the wait, or one that another thread was given, does not end it.
                    self._stop.wait(_SIGNAL_SLICE_S)
                    continue
                left_s = (until_ns - self._clock.now()) / 1e9
                if left_s <= 0:
                    break
                self._stop.wait(min(left_s, slice_s))
        except KeyboardInterrupt:
            _logger.info("interrupted")

    def stop(self) -> None:
        """End `run`, from any thread or signal handler. The node is closed by who entered it."""
        self._stop_asked = True
        self._stop.set()

    def close(self, drain: Duration = _DRAIN_S) -> Mapping[str, int]:
        """Close the node: sources stop, handlers and sinks finish what waits, everybody who waits is woken.

        Calling it again does nothing more.

        Parameters
        ----------
        drain
            How long handlers, sinks and other receiving threads get to finish what was accepted. The rest is counted as
            dropped (``closed``).

        Returns
        -------
        Mapping
            By subscription, how many events were dropped because they were still pending.
        """
        self._core.check()
        drain_s = nanoseconds(drain, argument="drain") / 1e9
        with self._lock:
            if self._closing:
                return dict(self._dropped)
            self._closing = True
        until_s = _time.monotonic() + drain_s
        try:
            self._drain(until_s)
        except BaseException:
            until_s = 0.0  # interrupted: nobody is waited for any more, but everybody is woken
            raise
        finally:
            self._end(until_s)
        return dict(self._dropped)

    def _drain(self, until_s: float) -> None:
        """Stop the sources, and give those who receive the time to finish."""
        self.stop()
        self._timers.disarm()
        for source in self._sources:
            source.stop_token.set()
        for source in self._sources:
            if self._running and not source.join(max(0.1, until_s - _time.monotonic())):
                _logger.warning("source %s did not stop", source.name)
        self._core.hasten()  # no topic is going to be heard of any more
        while _time.monotonic() < until_s and not self._drained():
            _time.sleep(_POLL_S)  # noqa: TID251 - those who drain need real time, whatever the node's clock

    def _end(self, until_s: float) -> None:
        """Close the bus, end the threads, and take down what was still pending."""
        self._core.close()
        self._end_timers()
        try:
            self._handlers.stop(max(0.1, until_s - _time.monotonic()))
            for sink in self._sinks:
                if self._running and not sink.join(_FINISH_S):
                    _logger.warning("sink %s did not finish within %g s", sink.name, _FINISH_S)
        finally:
            self._closed_ns = self._clock.now()
            self._stamps.close()
            OPEN_FABRICS.discard(self)
        for each in self._core.subscriptions():
            if count := each["dropped"].get("closed", 0):
                self._dropped[each["name"]] = self._dropped.get(each["name"], 0) + count
        if self._dropped:
            pending = ", ".join(f"{name}: {count}" for name, count in self._dropped.items())
            _logger.info("fabric %s closed with events pending: %s", self._name, pending)

    def _drained(self) -> bool:
        """Whether everybody who is still receiving has received everything."""
        if self._running and not (self._handlers.idle and all(sink.idle for sink in self._sinks)):
            return False
        return all(
            not each["pending"] or not each["received_elsewhere"] or each["paused"] for each in self._core.pending()
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._core.forked:  # a forked child that leaves has nothing to close
            self.close()

    async def __aenter__(self) -> Self:
        import asyncio

        self._start(asyncio.get_running_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        # In another thread, so that coroutines on this loop can finish what waits for them.
        if not self._core.forked:
            await asyncio.to_thread(self.close)

    # What it did

    def report(self) -> Report:
        """Read all its figures, without stopping it.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant") as fabric:
        ...     fabric.publish("a", 1)
        ...     fabric.report().topics["published"]
        1
        """
        topics = self._core.topics()
        now_ns = self._clock.now() if self._closed_ns is None else self._closed_ns
        return Report(
            node=self._name,
            clock=self._clock.kind,
            uptime_ns=now_ns - self._started_ns,
            topics={"count": len(topics), "published": sum(count for _, count in topics)},
            subscriptions=tuple(self._core.subscriptions()),
            handlers=tuple(handler.report() for handler in self._handlers.all),
            guards=tuple(guard.report() for guard in list(self._guards.values())),
            sources=tuple(source.report() for source in self._sources),
            sinks=tuple(sink.report() for sink in self._sinks),
            requests=self._core.requests(),
            retained=self._core.retention(),
            timers=self._timers.report()["periodic"],
        )

    def topics(self) -> Mapping[str, int]:
        """Say how many events were published on each topic."""
        return dict(self._core.topics())

    def _refuse_when_closed(self) -> None:
        if self._closing:
            raise ClosedError(f"fabric '{self._name}' is closed", name=self._name)
