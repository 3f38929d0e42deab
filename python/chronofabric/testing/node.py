"""A node on simulated time, with what tests need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from chronofabric.bus import wait_for_answer
from chronofabric.duration import nanoseconds
from chronofabric.errors import ArgumentError, SinkError, UnsupportedError, WouldDeadlock
from chronofabric.fabric.counts import checked_count
from chronofabric.fabric.node import Fabric
from chronofabric.testing.expectation import Expectation
from chronofabric.testing.script import Instant, instants
from chronofabric.testing.subscription import SimulatedSubscription
from chronofabric.testing.timeline import CAPACITY, EVENTS_MAX, Recording
from chronofabric.testing.turns import SteppedHandlers, SteppedQuiet, SteppedSource, SteppedTimers

if TYPE_CHECKING:
    from chronofabric._core import bus as _bus
    from chronofabric.bus import Pattern, Subscription
    from chronofabric.duration import Duration
    from chronofabric.fabric.handlers import Handlers
    from chronofabric.fabric.parts import RunningSource
    from chronofabric.fabric.sinks import Sink
    from chronofabric.fabric.sources import Source
    from chronofabric.testing.stepper import Stepper

__all__ = ["SimulatedFabric"]


class SimulatedFabric(Fabric):
    """A node whose time moves only when its simulation is told. Made by `Simulation.fabric`, and running from then on.

    It is a `Fabric`, and what is under test is given it in place of one. Handlers, coroutines and sources run in the
    thread that advances the simulation.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.testing.Simulation() as simulation:
    ...     node = simulation.fabric("plant")
    ...
    ...     @node.on("plant/*/temperature")
    ...     def double(event):
    ...         node.publish("doubled", 2 * event.payload)
    ...
    ...     doubled = node.expect("doubled")
    ...     node.script("plant/7/temperature", [("1 ms", 20.5)])
    ...     simulation.advance("1 ms")
    ...     doubled.payloads
    [41.0]
    """

    _subscription_type = SimulatedSubscription

    def __init__(self, stepper: Stepper, name: str, *, events_max: int = EVENTS_MAX, **options: Any) -> None:
        checked_count("events_max", events_max, 1)
        if "clock" in options:
            hint = "leave it out: the clock of a simulated node is its simulation's"
            text = f"clock is {options['clock']!r}; {hint}"
            raise ArgumentError(text, argument="clock", value=options["clock"], hint=hint)
        self._stepper = stepper
        self._recordings: list[Recording] = []
        self._quiet: list[SteppedQuiet] = []
        self._adds_sink = False
        super().__init__(name, clock=stepper.clock, **options)
        self._timers.failed = lambda called, error: self._note_failure(f"timer {called}", None, error)
        self._stepped_timers = SteppedTimers(self._timers)
        stepper.participants.append(self._stepped_timers)
        self._recording = self._record("**", "recording of the simulation", events_max)

    # What tests need

    def script(
        self,
        topic: str,
        items: Iterable[tuple[Instant, Any]],
        *,
        priority: str | int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish payloads at given instants, when the simulation gets there.

        Parameters
        ----------
        topic
            Where.
        items
            Pairs of time and payload, in the order of the times. A time is a duration from now (a text, a timedelta, or
            seconds) or a datetime with a time zone. A list or tuple is checked at once; of any other iterable, which
            may be endless, one item is drawn ahead.
        priority, headers
            As for `publish`; they hold for every event.

        Raises
        ------
        ArgumentError
            An item is no pair, or its time is none, is past, or is before that of the item before; of an iterable that
            is drawn from later, `Simulation.advance` raises it.
        TopicError, TopicLimitError
            The topic is none, or one too many.
        ClosedError
            The node is closed.

        Examples
        --------
        >>> import chronofabric as cf
        >>> from itertools import count
        >>> with cf.testing.Simulation() as simulation:
        ...     node = simulation.fabric()
        ...     ticks = node.expect("tick")
        ...     node.script("tick", ((number / 10, number) for number in count()))
        ...     simulation.advance("1 s")
        ...     ticks.count
        11
        """
        self._refuse_when_closed()
        if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
            hint = "give pairs of time and payload, such as [(0, 20.5), (1, 21.0)]"
            raise ArgumentError(f"items is {items!r}; {hint}", argument="items", value=items, hint=hint)
        read = instants(topic, items, self._clock.now(), self._stepper.start_ns)
        if isinstance(items, (list, tuple)):
            read = iter(list(read))
        first = next(read, None)  # so that what is refused changes nothing
        publisher = self.publisher(topic, priority=priority)
        publish = publisher.publish if headers is None else partial(publisher.publish, headers=headers)
        if first is not None:
            self._stepper.scripts.add(first, read, publish, self)

    def expect(self, pattern: str | Pattern | Iterable[str | Pattern], *, events_max: int = EVENTS_MAX) -> Expectation:
        """See the events of a pattern from now on, to assert something of them.

        Parameters
        ----------
        pattern
            As for `subscribe`.
        events_max
            How many events are kept to look at; they are counted beyond that too.

        Raises
        ------
        PatternError
            The pattern is none.
        ClosedError
            The node is closed.
        """
        checked_count("events_max", events_max, 1)
        recording = self._record(pattern, "", events_max)
        return Expectation(recording, self._recording, self._stepper.start_ns)

    def _record(self, pattern: str | Pattern | Iterable[str | Pattern], name: str, events_max: int) -> Recording:
        recording = Recording(self.subscribe(pattern, name=name, capacity=CAPACITY), events_max)
        self._recordings.append(recording)
        return recording

    def _drain_recordings(self) -> None:
        """Take over what waits for the expectations."""
        for recording in self._recordings:
            recording.drain()

    def _note_failure(self, part: str, topic: str | None, error: BaseException) -> None:
        """Remember what a handler or source raised."""
        self._stepper.note_failure(self.name, part, topic, error)

    # What is different from a node in real time

    def subscribe(self, pattern: str | Pattern | Iterable[str | Pattern], **options: Any) -> Subscription:
        """Receive the events of a set of topics, as `Fabric.subscribe` does.

        Raises
        ------
        WouldDeadlock
            By what would wait in the thread that moves the time: receiving where nothing waits, and publishing to a
            full subscription with ``overflow="block"``.
        """
        subscription = super().subscribe(pattern, **options)
        assert isinstance(subscription, SimulatedSubscription)
        subscription._stepper = self._stepper
        if options.get("debounce") is not None:
            quiet = SteppedQuiet(subscription, self)
            self._quiet.append(quiet)
            self._stepper.participants.append(quiet)
        if options.get("overflow") == "block" and not self._adds_sink:
            subscription.poll()  # whoever receives is known to be this thread, which cannot wait for itself
        return subscription

    def request(self, topic: str, payload: object, **options: Any) -> Any:
        """Ask as `Fabric.request` does, in a thread that does not move the time.

        Parameters
        ----------
        topic, payload, **options
            As for `Fabric.request`.

        Raises
        ------
        WouldDeadlock
            It would wait in the thread that moves the time; await `request_async` in a coroutine handler.
        """
        if self._stepper.is_here and not self.closed:
            raise WouldDeadlock(
                f"a request on '{topic}' would wait in the thread that moves the simulation's time, so for ever; await "
                "request_async() in a coroutine handler",
                topic=topic,
            )
        return super().request(topic, payload, **options)

    async def request_async(self, topic: str, payload: object, **options: Any) -> Any:
        """Ask as `Fabric.request_async` does; in a coroutine handler, on the time of the simulation.

        Parameters
        ----------
        topic, payload, **options
            As for `Fabric.request_async`.
        """
        return await wait_for_answer(self._core, self._core.request_start(topic, payload, **options), _longest_s)

    def add_sink(self, sink: Sink, **filters: Any) -> None:
        """Add a sink, as `Fabric.add_sink` does; it writes in a thread of its own, which publishes nothing."""
        self._adds_sink = True
        try:
            super().add_sink(sink, **filters)
        finally:
            self._adds_sink = False

    def add_source(self, source: Source) -> None:
        """Add a source, as `Fabric.add_source` does; it runs when the simulation gives it a turn.

        Raises
        ------
        UnsupportedError
            The source reads from outside, or would move the time itself.
        """
        from chronofabric.fabric.sources import StdinSource

        why = None
        if isinstance(source, StdinSource):
            why = "reads what comes from outside the simulation; publish it by node.script()"
        elif getattr(source, "speed", None) == "max":
            why = "moves the time itself at speed='max'; give it speed='recorded', which takes no longer here"
        if why is not None:
            raise UnsupportedError(f"source '{source.name}' {why}", feature=type(source).__name__)
        super().add_source(source)

    def run(self, duration: Duration | None = None) -> None:
        """Advance the simulation until `stop`, the end of the duration, or that of every source where all are finite.

        Parameters
        ----------
        duration
            How long; by default without end.

        Raises
        ------
        WouldDeadlock
            There is no end: nothing is due any more, and nobody stopped the node.
        SimulationError, ClosedError
            As for `Simulation.advance`.
        """
        self._refuse_when_closed()
        stopped = self._stepper.advance(None if duration is None else nanoseconds(duration), self._stop.is_set)
        if duration is None and not stopped:
            text = f"'{self.name}' would run for ever: nothing is due any more, and nobody stops it; give a duration"
            raise WouldDeadlock(text)

    def _start(self, loop: Any) -> None:
        if loop is not None:
            text = (
                f"'{self.name}' is simulated, and runs its coroutines on a loop of its own; enter it with plain `with`"
            )
            raise UnsupportedError(text, feature="async with")
        super()._start(None)

    def _make_handlers(self) -> Handlers:
        handlers = SteppedHandlers(self)
        self._step = handlers.step
        return handlers

    def _make_source(self, source: Source) -> RunningSource:
        running = SteppedSource(source, self, self._source_ended)
        self._stepper.participants.append(running)
        return running

    def _drain(self, until_s: float) -> None:
        super()._drain(until_s)
        self._drain_recordings()

    def _drained(self) -> bool:
        self._stepper.settle()
        return super()._drained()

    def _end(self, until_s: float) -> None:
        super()._end(until_s)
        for sink in self._sinks:
            if sink.errors:
                self._note_failure(f"sink {sink.name}", None, SinkError(str(sink.error), sink=sink.name))
        sources = [source for source in self._sources if isinstance(source, SteppedSource)]
        self._stepper.forget(self, [*sources, *self._quiet, self._stepped_timers])


def _longest_s(bus: _bus.Bus, deadline_ns: int) -> float:
    # Coroutine handlers run on a loop whose time is the node's own.
    return max(0.0, (deadline_ns - bus.now()) / 1e9)
