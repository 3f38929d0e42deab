"""Events, publishers, subscriptions, guards and what wakes those who wait for them.

`chronofabric.bus` builds on these classes and adds how tasks wait; a fabric makes them.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias, final

from typing_extensions import disjoint_base

from chronofabric._core.clock import HybridLogicalClock, Stamp, VectorClock
from chronofabric._core.logic import Formula
from chronofabric.duration import Duration

__all__ = [
    "YIELD_EVERY",
    "AsyncEvents",
    "Batch",
    "Batches",
    "BlockedPublish",
    "Bus",
    "DeadLetter",
    "Event",
    "Events",
    "Flag",
    "Guard",
    "Pattern",
    "Payloads",
    "PreparedPublish",
    "Publisher",
    "Publishing",
    "Receiving",
    "Request",
    "Subscription",
    "Timer",
    "Wakeups",
    "calling",
    "current_thread",
    "fork_over",
    "forked",
    "forking",
    "regex",
    "union",
    "validate_topic",
    "waiting",
]

YIELD_EVERY: int
"""How many events an ``async for`` hands out at most before it lets the event loop run others."""

_Deadline: TypeAlias = Duration | datetime | Stamp
_Overflow: TypeAlias = Literal["drop-oldest", "drop-newest", "dead-letter", "block"]
_Order: TypeAlias = Literal["publisher", "causal", "deadline"]
_Late: TypeAlias = Literal["deliver", "mark", "dead-letter"]
_Patterns: TypeAlias = str | Pattern | list[str] | list[Pattern] | list[str | Pattern] | tuple[str | Pattern, ...]
_Reason: TypeAlias = Literal[
    "overflow",
    "timeout",
    "would-deadlock",
    "cancelled",
    "too-large",
    "dead-letters-full",
    "closed",
    "unsubscribed",
    "duplicate",
    "late",
]

@final
class Event:
    """One event. Immutable, and shared by all who receive it.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant", clock=cf.SimulatedClock(start=1_000_000_000)) as fabric:
    ...     temperatures = fabric.subscribe("plant/*/temperature")
    ...     fabric.publish("plant/7/temperature", 21.5, priority="high", headers={"unit": "C"})
    ...     event = temperatures.receive()
    >>> event
    Event(topic='plant/7/temperature', time=1000000000, payload=21.5)
    >>> event.priority, event.headers["unit"], event.deadline
    (2, 'C', None)
    """

    @property
    def topic(self) -> str:
        """The topic it was published on."""

    @property
    def payload(self) -> Any:
        """What was published: the same object, a `Table` where it exports Arrow, a dictionary from guards and ticks."""

    @property
    def stamp(self) -> Stamp:
        """When it entered the fabric, on the hybrid logical clock of its node."""

    @property
    def time(self) -> int:
        """When it happened, in nanoseconds since the Unix epoch: its recorded time, otherwise when it was published.

        It never goes back on a topic: what is older than the event before it has the time of that.
        """

    @property
    def node(self) -> str:
        """The id of the node that it entered the fabric on, 32 hexadecimal digits."""

    @property
    def priority(self) -> int:
        """0 (low), 1 (normal), 2 (high) or 3 (urgent)."""

    @property
    def deadline(self) -> int | None:
        """When it should have been acted on, in nanoseconds since the Unix epoch; None without a deadline."""

    @property
    def late_ns(self) -> int | None:
        """How long after its deadline it was handed out, in nanoseconds, by a subscription with ``late="mark"``.

        None where it was in time, has no deadline, or the subscription did not look.
        """

    @property
    def headers(self) -> MappingProxyType[str, Any]:
        """What travels beside the payload; empty where nothing does."""

    @property
    def vector_clock(self) -> VectorClock | None:
        """How many events of each node lie in its past, of those that its subscription was offered.

        None unless it was received from a subscription in causal order.
        """

    @property
    def retained(self) -> bool:
        """Whether its topic had kept it, from before its receiver subscribed."""

    @property
    def is_request(self) -> bool:
        """Whether somebody waits, or waited, for an answer."""

    def reply(self, value: object, /) -> bool:
        """Answer a request.

        Parameters
        ----------
        value
            Any object; what exports Arrow arrives as a `Table`.

        Returns
        -------
        bool
            Whether the asker gets it: False where another reply came before, it comes too late, or nobody asked.

        Raises
        ------
        chronofabric.PayloadError
            The value can be read only once.
        chronofabric.ForkedError
            The request was made in the parent of this process.

        Examples
        --------
        >>> import threading, chronofabric as cf
        >>> with cf.Fabric("plant") as fabric:
        ...     questions = fabric.subscribe("question")
        ...     answerer = threading.Thread(target=lambda: questions.receive().reply(42))
        ...     answerer.start()
        ...     fabric.request("question", "?")
        ...     answerer.join()
        42
        """

    def reply_error(self, error: BaseException, /) -> bool:
        """Answer a request with an exception: the asker gets an `AnswerError`, whose cause it is.

        Parameters
        ----------
        error
            The exception.

        Returns
        -------
        bool
            As for `reply`.
        """
    def _repr_html_(self) -> str: ...

@final
class Batch:
    """Several events received together, in order; each is made when it is asked for.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     numbers = fabric.subscribe("numbers")
    ...     count = fabric.publish_many("numbers", [1, 2, 3])
    ...     batch = next(numbers.batches(10))
    >>> batch, batch[0].payload, batch.payloads
    (Batch(3 events), 1, (1, 2, 3))
    """

    @property
    def payloads(self) -> tuple[Any, ...]:
        """The bare payloads."""

    def __getitem__(self, index: int, /) -> Event: ...
    def __iter__(self) -> Iterator[Event]: ...
    def __len__(self) -> int: ...
    def _repr_html_(self) -> str: ...

@final
class DeadLetter:
    """An event for which a subscription had no room (``overflow="dead-letter"``) or no time (``late="dead-letter"``).

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     orders = fabric.subscribe("orders", capacity=1, overflow="dead-letter")
    ...     count = fabric.publish_many("orders", ["first", "second"])
    ...     letter = orders.dead_letters[0]
    ...     letter.event.payload, letter.reason
    ...     orders.receive().payload, orders.replay_dead_letters(), orders.receive().payload
    ('second', 'overflow')
    ('first', 1, 'second')
    """

    @property
    def event(self) -> Event:
        """The event."""

    @property
    def reason(self) -> _Reason:
        """Why it was not delivered."""

    @property
    def late_ns(self) -> int | None:
        """How long after its deadline its turn had come, in nanoseconds; None unless that is the reason."""

@final
class Pattern:
    """A set of topics: ``*`` is exactly one segment, ``**`` zero or more.

    Parameters
    ----------
    text
        Such as ``"plant/*/temperature"``.

    Raises
    ------
    chronofabric.PatternError
        The text is not a pattern; the message has a caret under the place.

    Examples
    --------
    >>> from chronofabric import Pattern
    >>> pattern = Pattern("plant/*/temperature")
    >>> pattern.matches("plant/7/temperature"), pattern.matches("plant/7/8/temperature")
    (True, False)
    >>> Pattern("plant/**").matches("plant")
    True
    """

    def __new__(cls, text: str) -> Pattern: ...
    @property
    def text(self) -> str:
        """The text it was made from."""

    @property
    def is_regex(self) -> bool:
        """Whether it is a regular expression, made by `regex`."""

    def matches(self, topic: str) -> bool:
        """Say whether a topic belongs to the set."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[..., Pattern], tuple[str | list[Pattern]]]: ...

def union(patterns: Sequence[str | Pattern]) -> Pattern:
    """Make one pattern of several: an event that several match is received once.

    Parameters
    ----------
    patterns
        At least one pattern or text.

    Raises
    ------
    chronofabric.PatternError
        One of them is no pattern.
    chronofabric.ArgumentError
        There is none.
    """

def regex(text: str) -> Pattern:
    r"""Make a pattern from a regular expression that must match whole topics.

    Parameters
    ----------
    text
        The expression, in the syntax of Rust's ``regex``: without look-around and back-references, so that matching
        takes time linear in the topic.

    Raises
    ------
    chronofabric.PatternError
        The text is no such expression.

    Examples
    --------
    >>> from chronofabric import regex
    >>> regex(r"plant/\d+/temperature").matches("plant/7/temperature")
    True
    """

def validate_topic(text: str) -> None:
    """Refuse a text that is not a topic.

    Parameters
    ----------
    text
        Non-empty segments joined by ``/``, without wildcards.

    Raises
    ------
    chronofabric.TopicError
        The text is not a topic; the message has a caret under the place.

    Examples
    --------
    >>> from chronofabric._core.bus import validate_topic
    >>> validate_topic("plant/*/temperature")
    Traceback (most recent call last):
        ...
    chronofabric.errors.TopicError: 'plant/*/temperature' is not a topic
      plant/*/temperature
            ^ '*' stands for other segments only in a pattern; an event needs one definite topic
    """

def current_thread() -> int:
    """Return the number of the calling thread, as `Subscription.receiver` has it."""

def waiting() -> int:
    """Return how many calls wait without the interpreter at this moment, in all fabrics of the process."""

def calling() -> int:
    """Return how many calls run Python code from Rust at this moment, such as a generator given to `publish_many`."""

def forking() -> None:
    """Tell the module that a fork is next, and wait until no thread publishes without the interpreter."""

def fork_over() -> None:
    """Tell the module that the fork is over, in the parent."""

def forked() -> None:
    """Tell the module that this process was forked: what was made before refuses to work from now on."""

@final
class Flag:
    """A flag that guards, timers and jobs set at once and without Python, to be looked at and waited for by any thread.

    Examples
    --------
    >>> import chronofabric as cf
    >>> tripped = cf.Flag()
    >>> with cf.Fabric("plant") as fabric:
    ...     guard = fabric.guard("hot", on="plant/*/temperature", when="value > 80", do=tripped)
    ...     fabric.publish("plant/7/temperature", 81.0)
    ...     tripped.is_set(), tripped.count
    (True, 1)
    >>> tripped.clear()
    >>> tripped
    Flag(count=0)
    """

    def __new__(cls) -> Flag: ...
    def is_set(self) -> bool:
        """Say whether it was set since it was last cleared."""

    @property
    def count(self) -> int:
        """How often it was set since it was last cleared."""

    def set(self) -> None:
        """Set it, as a guard does."""

    def clear(self) -> None:
        """Clear it; the count starts again at 0."""

    def wait(self, timeout: Duration | None = None) -> bool:
        """Wait until it is set; the thread is woken by whoever sets it, without the interpreter.

        Parameters
        ----------
        timeout
            How long at most, in real time; None for ever.

        Returns
        -------
        bool
            Whether it is set.

        Raises
        ------
        ArgumentError
            The timeout is no duration, or negative.

        Examples
        --------
        >>> import chronofabric as cf
        >>> ready = cf.Flag()
        >>> with cf.scheduler.Timers() as timers:
        ...     timer = timers.after("1 ms", ready)
        ...     ready.wait(timeout="10 s")
        True
        """

@final
class PreparedPublish:
    """A publisher with a payload, for timers and jobs: who has it publishes without the interpreter.

    Made by `Publisher.prepare`.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     fabric.publisher("plant/heartbeat").prepare("alive")
    PreparedPublish('plant/heartbeat', 'alive')
    """

    @property
    def topic(self) -> str:
        """Where it publishes."""

    @property
    def payload(self) -> Any:
        """What it publishes."""

@final
class Bus:
    """The bus of one node. `Fabric.core` is it. It may have 1 to 16 777 216 topics, as `topics_max` says."""

    def __new__(cls, name: str, clock: HybridLogicalClock, *, topics_max: int, retained_bytes_max: int) -> Bus: ...
    def publish(
        self,
        topic: str,
        payload: object,
        options: dict[str, Any] | None = None,
        /,
    ) -> None:
        """Publish one payload on a topic by name, with the options of `Publisher.publish` from a dictionary."""

    def request(
        self,
        topic: str,
        payload: object,
        *,
        timeout: Duration | None = "1 s",
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Publish a request on a topic by name and wait for its answer, as `Publisher.request` does."""

    def request_start(
        self,
        topic: str,
        payload: object,
        *,
        timeout: Duration | None = "1 s",
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Request:
        """Publish a request on a topic by name without waiting, as `Publisher.request_start` does."""

    def requests(self) -> dict[str, int]:
        """Return how many requests were ``asked``, and what became of them, by name.

        Each ends as ``answered``, ``failed``, ``unanswered``, ``timed_out`` or ``cancelled``. Replies that nobody
        waited for are ``late``, or ``surplus`` after another.
        """

    def set_retention(self, pattern: _Patterns, last: int, capacity_bytes: int | None) -> None:
        """Have each topic of a pattern keep its last events, at most 1 048 576; of none, nothing at all."""

    def set_deadline(self, pattern: _Patterns, deadline_ns: int | None) -> None:
        """Give each event on the topics of a pattern that has no deadline one; None takes that back."""

    def forget(self, pattern: _Patterns) -> int:
        """Give up what the topics of a pattern keep, and return how many events that were."""

    def retention(self) -> dict[str, int]:
        """Return what topics keep: ``events``, ``bytes``, ``bytes_max``, and how many events were ``past_bound``."""

    def check(self) -> None:
        """Raise `chronofabric.ForkedError` in a process forked from the node's."""

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the node's."""

    def now(self) -> int:
        """Read the node's time, in nanoseconds since the Unix epoch."""

    @property
    def simulated(self) -> bool:
        """Whether the node's time moves only when told."""

    @property
    def closed(self) -> bool:
        """Whether it takes no more events."""

    def stop_publishing(self) -> None:
        """Refuse further publishing; what was accepted can still be received."""

    def hasten(self) -> None:
        """Let pass what subscriptions keep back to see whether its topic stays quiet, now and from now on."""

    def close(self) -> None:
        """Close every subscription, wake everybody who waits, and end the thread of log lines and commands."""

    def topics(self) -> list[tuple[str, int]]:
        """Return the name of each topic, and how many events were published on it."""

    @property
    def topics_count(self) -> int:
        """How many topics there are."""

    def pending(self) -> list[dict[str, Any]]:
        """Return of each open subscription what is ``pending``, its last ``receiver``, and whether it is ``paused``.

        ``received_elsewhere`` says whether the last receiver is another thread than this one, and still lives.
        """

    def subscriptions(self) -> list[dict[str, Any]]:
        """Return the figures of every subscription, those closed with the bus too.

        Each has what `Subscription.books_dict` has, and ``name``, ``pattern``, ``capacity``, ``late`` (how many were
        late when their turn came), ``dead_letters`` (how many are kept), ``latency_ns`` (as `Subscription.latency`),
        ``filter_errors`` (how many events its filters could not judge) and ``filter_error`` (why one of them could not;
        None where none).
        """

@disjoint_base
class Publisher:
    """A handle for one topic; `chronofabric.Publisher` adds how tasks wait. Made by `Fabric.publisher`.

    Parameters
    ----------
    bus
        The bus of the node.
    topic
        Where it publishes.
    priority
        The priority of its events, where a publish states none; by default ``"normal"``.
    schema
        ``"arrow"`` where every payload must export Arrow, or an Arrow schema that each must have.
    retain
        Whether the topic keeps each of its events as the last value.
    deadline_ns
        How many nanoseconds after its publish an event is to have been acted on, where the publish does not say.

    Raises
    ------
    chronofabric.ArgumentError
        An argument has a value that cannot be used.
    chronofabric.TopicError, chronofabric.TopicLimitError
        The topic is none, or one too many.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     probe = fabric.publisher("plant/7/temperature", priority="high")
    ...     readings = fabric.subscribe("plant/**")
    ...     probe.publish(21.5)
    ...     probe.publish_many([21.6, 21.7])
    ...     readings.poll_batch(10).payloads
    2
    (21.5, 21.6, 21.7)
    """

    def __new__(
        cls,
        bus: Bus,
        topic: str,
        *,
        priority: str | int | None = None,
        schema: object | None = None,
        retain: bool = False,
        deadline_ns: int | None = None,
    ) -> Self: ...
    def prepare(self, payload: object) -> PreparedPublish:
        """Take a payload for publishing it without the interpreter, as often as one likes.

        The payload is taken once: every event carries this very object, which is not to be changed any more. Guards
        and filters see it as it is now: a number, or of a mapping the first 1 024 numbers, up to eight levels deep; of
        a table they see nothing. The events have the priority, the deadline and the retention of the publisher.

        Parameters
        ----------
        payload
            What to publish.

        Raises
        ------
        PayloadError
            It can be read only once, or is not what the publisher's schema says.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.Fabric("plant", clock=clock) as fabric:
        ...     alive = fabric.publisher("plant/heartbeat").prepare({"alive": True})
        ...     beats = fabric.subscribe("plant/heartbeat")
        ...     timer = fabric.timers.every("1 s", alive)
        ...     _ = clock.advance("2 s")
        ...     beats.poll_batch(10).payloads
        ({'alive': True}, {'alive': True})
        """

    def publish(
        self,
        payload: object,
        *,
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
        time: int | None = None,
        retain: bool = False,
    ) -> None:
        """Publish one payload.

        Parameters
        ----------
        payload
            Any object; it is carried by reference. What exports Arrow arrives as a `Table`.
        priority
            ``"low"``, ``"normal"``, ``"high"``, ``"urgent"``, or 0 to 3.
        deadline
            When it should have been acted on: a duration from now, a datetime with a time zone, or a stamp.
        headers
            What travels beside the payload: a mapping from text to anything, of which a copy is made.
        time
            A recorded time in nanoseconds since the Unix epoch; by default the event happens now.
        retain
            Whether the topic keeps it as the last value, in the place of the one before.

        Raises
        ------
        chronofabric.ArgumentError
            An argument has a value that cannot be used.
        chronofabric.PayloadError
            The payload can be read only once, is not Arrow, or has another schema than the topic.
        chronofabric.PublishTimeout
            Subscriptions with ``overflow="block"`` stayed full; all others have the event.
        chronofabric.WouldDeadlock
            It would wait for a subscription that this same thread receives from; all others have the event.
        chronofabric.GuardError
            Guards publish in a circle.
        chronofabric.ClosedError, chronofabric.ForkedError
            The fabric is closed, or belongs to the parent of this process.
        """

    def publish_many(
        self,
        payloads: Iterable[object],
        *,
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
        retain: bool = False,
    ) -> int:
        """Publish each payload of an iterable as an event.

        Parameters
        ----------
        payloads
            The payloads.
        priority, deadline, headers, retain
            As for `publish`; they hold for every event.

        Returns
        -------
        int
            How many were published.

        Raises
        ------
        chronofabric.ChronofabricError
            As for `publish`, at the first payload that is refused; those before it were published.
        """

    def publish_async(
        self,
        payload: object,
        *,
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
        time: int | None = None,
        retain: bool = False,
    ) -> Publishing:
        """Publish, and wait for room where a subscription asks for that, without blocking the event loop.

        Like a coroutine, what is returned does nothing before it is awaited, and a task can be made of it.

        Parameters
        ----------
        payload
            Any object.
        priority, deadline, headers, time, retain
            As for `publish`.

        Raises
        ------
        chronofabric.PublishTimeout
            Some subscriptions stayed full for as long as their ``block_timeout`` says; all others have the event.
        chronofabric.ChronofabricError
            As for `publish`.

        Examples
        --------
        >>> import asyncio, chronofabric as cf
        >>> async def main():
        ...     async with cf.Fabric("plant") as fabric:
        ...         readings = fabric.subscribe("plant/**", capacity=1, overflow="block")
        ...         probe = fabric.publisher("plant/7/temperature")
        ...         await probe.publish_async(21.5)
        ...         waits = asyncio.create_task(probe.publish_async(21.6))
        ...         print((await anext(aiter(readings))).payload)
        ...         await waits
        ...         print((await anext(aiter(readings))).payload)
        >>> asyncio.run(main())
        21.5
        21.6
        """

    def publish_start(
        self,
        payload: object,
        *,
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
        time: int | None = None,
        retain: bool = False,
    ) -> BlockedPublish | None:
        """Publish as `publish` does, without ever waiting.

        Returns
        -------
        BlockedPublish or None
            What found no room, to be tried again; None where everybody has the event.
        """

    def request(
        self,
        payload: object,
        *,
        timeout: Duration | None = "1 s",
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Publish a request and wait for its answer.

        Parameters
        ----------
        payload, priority, deadline, headers
            As for `publish`.
        timeout
            How long to wait, on the node's own time source; None for ever.

        Returns
        -------
        object
            The payload of the reply.

        Raises
        ------
        chronofabric.NoAnswerer
            At once: no subscription matches the topic, or nobody has the request any more.
        chronofabric.RequestTimeout
            Nobody answered in time.
        chronofabric.AnswerError
            Who answered raised an exception; it is the ``__cause__``.
        chronofabric.WouldDeadlock
            Only this same thread could answer; nothing was published.
        chronofabric.ChronofabricError
            As for `publish`.
        """

    def request_start(
        self,
        payload: object,
        *,
        timeout: Duration | None = "1 s",
        priority: str | int | None = None,
        deadline: _Deadline | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Request:
        """Publish a request without ever waiting, also where only this same thread could answer."""

    @property
    def topic(self) -> str:
        """The topic it publishes on."""

@final
class BlockedPublish:
    """A publish that found no room in some subscriptions. Dropping it gives up, which is counted as ``cancelled``."""

    def retry(self) -> bool:
        """Try again, without waiting, and say whether it is over.

        Raises
        ------
        chronofabric.PublishTimeout
            It is over because some subscriptions stayed full for as long as their ``block_timeout`` says.
        """

    @property
    def timeout(self) -> float:
        """Seconds until the first of its timeouts, on the node's own time source; infinite when it is over."""

@final
class Request:
    """A request that waits for its answer. Dropping it gives up, which is counted as ``cancelled``."""

    def take_blocked(self) -> BlockedPublish | None:
        """Return, once, what its publish found no room for; None where everybody has the request."""

    def outcome(self) -> tuple[Any] | None:
        """Take the reply, in a tuple; None while there is none.

        Raises
        ------
        chronofabric.NoAnswerer, chronofabric.RequestTimeout, chronofabric.AnswerError, chronofabric.ClosedError
            It ended without a reply.
        """

    @property
    def deadline_ns(self) -> int | None:
        """When it times out, in nanoseconds of the node's time source; None for never."""

    def cancel(self) -> None:
        """Give up; a reply that comes then is late. Calling it again does nothing more."""

@disjoint_base
class Subscription:
    """The receiving end; `chronofabric.Subscription` adds the asynchronous forms. Made by `Fabric.subscribe`.

    Iterating hands out events until the subscription or its fabric closes. A subscription that nobody refers to any
    more is closed.

    Parameters
    ----------
    bus
        The bus of the node.
    pattern
        A pattern, its text, or several of either in a list or tuple.
    name
        Its name in reports; an empty one stands for the pattern.
    capacity
        How many events may wait, for each priority.
    capacity_bytes
        How many bytes of payload may wait, over all priorities; None for no bound.
    overflow
        What happens when it is full.
    block_timeout_ns
        How long a publisher waits under ``"block"``, in nanoseconds of the node's time source.
    dead_letters_max
        How many dead letters are kept.
    order
        ``"publisher"``; ``"causal"``: no event before one that could have caused it; or ``"deadline"``: the earliest
        first.
    history
        How many of the events that a topic keeps it gets first, of each topic.
    group
        Share one subscription with all others of this name, who give the same pattern and options.
    late
        What becomes of an event whose deadline has passed when its turn comes.
    condition
        A formula that events must satisfy, or a callable of one event.
    sample
        Of each topic only the first event and each so many after it.
    rate_limit
        Nanoseconds for one token of the bucket of each topic, and how many it holds.
    throttle_ns
        For how long no event of a topic passes after one has.
    debounce_ns
        For how long there must be no other event of the topic after one before it passes.

    Raises
    ------
    chronofabric.PatternError
        The pattern is none; the message has a caret under the place.
    chronofabric.FormulaError
        The condition is no formula, or looks into the past.
    chronofabric.ArgumentError
        Another argument has a value that cannot be used.
    chronofabric.ClosedError, chronofabric.ForkedError
        The fabric is closed, or belongs to the parent of this process.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     temperatures = fabric.subscribe("plant/*/temperature", capacity=2)
    ...     fabric.publish_many("plant/7/temperature", [20.5, 21.0, 21.5])
    ...     temperatures.receive(timeout="1 s").payload, temperatures.pending
    ...     temperatures.books().dropped
    3
    (21.0, 1)
    {'overflow': 1}
    """

    def __new__(
        cls,
        bus: Bus,
        pattern: _Patterns,
        *,
        name: str,
        capacity: int,
        capacity_bytes: int | None,
        overflow: _Overflow,
        block_timeout_ns: int,
        dead_letters_max: int,
        order: _Order,
        history: int,
        group: str | None = None,
        late: _Late = "deliver",
        condition: str | Formula | Callable[[Event], object] | None = None,
        sample: int | None = None,
        rate_limit: tuple[int, int] | None = None,
        throttle_ns: int | None = None,
        debounce_ns: int | None = None,
    ) -> Self: ...
    def receive(self, timeout: Duration | None = None) -> Event:
        """Receive the next event, and wait for it; the most urgent first.

        Parameters
        ----------
        timeout
            How long to wait, on the node's own time source; None for ever.

        Raises
        ------
        chronofabric.ReceiveTimeout
            Nothing arrived in time.
        chronofabric.ClosedError, chronofabric.ForkedError
            The subscription is closed, or belongs to the parent of this process.
        KeyboardInterrupt
            Ctrl-C, in the main thread; so does whatever else a signal handler raises.
        """

    def poll(self) -> Event | None:
        """Receive the next event if there is one now.

        Returns
        -------
        Event or None
            The event; None where nothing waits.

        Raises
        ------
        chronofabric.ClosedError, chronofabric.ForkedError
            The subscription is closed, or belongs to the parent of this process.
        """

    def poll_batch(self, limit: int) -> Batch:
        """Receive what is there now, possibly nothing, and at most as many events as the limit says."""

    def payloads(self) -> Payloads:
        """Return an iterator over bare payloads, which is the fastest way to receive one by one."""

    def batches(self, size: int) -> Batches:
        """Return an iterator over batches. It waits for the first event of a batch, never to fill one.

        Parameters
        ----------
        size
            The most events in a batch, at least 1.

        Raises
        ------
        chronofabric.ArgumentError
            The size is 0.
        """

    def pause(self) -> None:
        """Hand nothing out until `resume`; what arrives meanwhile waits under the overflow policy."""

    def resume(self) -> None:
        """Hand out again."""

    def close(self) -> None:
        """Close it; what waits is counted as dropped (``unsubscribed``)."""

    def wait_ready(self, timeout_ns: int | None = None) -> bool:
        """Wait until it has something to do or is closed; False when the timeout passed before."""

    @property
    def paused(self) -> bool:
        """Whether it hands nothing out for the time being."""

    @property
    def closed(self) -> bool:
        """Whether it or its fabric was closed."""

    @property
    def ready(self) -> bool:
        """Whether receiving would not wait."""

    @property
    def pending(self) -> int:
        """How many events wait."""

    @property
    def next_time_ns(self) -> int | None:
        """The time of the stamp of the event that would be taken next; None where that shows only by taking it."""

    @property
    def due(self) -> int | None:
        """When to look again although nothing was published, in nanoseconds of the node's time; None for never."""

    @property
    def filter_errors(self) -> int:
        """How many events its filters could not judge, because they lack a field or a callable raised."""

    @property
    def name(self) -> str:
        """Its name in reports."""

    @property
    def pattern(self) -> Pattern:
        """Its topics."""

    @property
    def group(self) -> str | None:
        """The group whose events it shares; None where it has all for itself."""

    def serve_in(self, receiver: int) -> None:
        """Say which thread is going to receive, by its number, before it has."""

    @property
    def capacity(self) -> int:
        """How many events may wait, for each priority."""

    @property
    def receiver(self) -> int:
        """The number of the thread that received last, never given out twice; 0 for none."""

    @property
    def late(self) -> int:
        """How many events were late when their turn came; 0 with ``late="deliver"``, which does not look."""

    def books_dict(self) -> dict[str, Any]:
        """Return the books by name; `chronofabric.Subscription.books` makes `Books` of them."""

    @property
    def causal_counts(self) -> dict[str, int] | None:
        """What became of its causal order, by name; None where it was not asked for.

        ``held_back``: events that wait for others now. ``late``: received when what they could have caused may have
        been before. ``lost``: dropped or set aside, and passed over. ``duplicates``, ``unordered``, ``contradictory``:
        events of other nodes that came twice, without a usable clock, or with clocks that contradict each other.
        """

    def latency(self) -> dict[str, int]:
        """Return how long events waited to be received.

        Returns
        -------
        dict
            ``count``, how many were measured, and ``p50``, ``p90``, ``p99`` and ``max`` in nanoseconds.
        """

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters, oldest first; they stay."""

    def take_dead_letters(self, limit: int | None = None) -> list[DeadLetter]:
        """Take dead letters out, oldest first: all, or as many as the limit says."""

    def replay_dead_letters(self, limit: int | None = None) -> int:
        """Offer dead letters again, oldest first, while there is room, and say how many; the others stay.

        Parameters
        ----------
        limit
            The most to offer; None for all.
        """

    def __iter__(self) -> Events: ...
    def __next__(self) -> Event: ...
    def __aiter__(self) -> AsyncEvents: ...

@final
class AsyncEvents(AsyncIterator[Event]):
    """Events, one by one for tasks, until the subscription closes. Made by `aiter(subscription)`.

    The event loop runs others at least every 64 events.
    """

    def __aiter__(self) -> AsyncEvents: ...
    def __anext__(self) -> Receiving: ...

@final
class Receiving(Coroutine[None, None, Event]):
    """The next event of an asynchronous iteration, taken when it is awaited and handed out in the same step."""

    def __await__(self) -> Receiving: ...
    def __iter__(self) -> Receiving: ...
    def __next__(self) -> Any: ...
    def send(self, value: None, /) -> Any:
        """Go on."""

    def throw(self, type: Any, value: Any = None, traceback: Any = None, /) -> Any:
        """Raise an exception where it waits."""

    def close(self) -> None:
        """End it."""

@final
class Publishing(Coroutine[None, None, None]):
    """An asynchronous publish. Made by `Publisher.publish_async`."""

    def __await__(self) -> Publishing: ...
    def __iter__(self) -> Publishing: ...
    def __next__(self) -> Any: ...
    def send(self, value: None, /) -> Any:
        """Go on."""

    def throw(self, type: Any, value: Any = None, traceback: Any = None, /) -> Any:
        """Raise an exception where it waits."""

    def close(self) -> None:
        """End it."""

@final
class Events:
    """Events, one by one, until the subscription closes. Made by `iter(subscription)`."""

    def __iter__(self) -> Events: ...
    def __next__(self) -> Event: ...

@final
class Payloads:
    """Bare payloads, one by one, until the subscription closes. Made by `Subscription.payloads`."""

    def __iter__(self) -> Payloads: ...
    def __next__(self) -> Any: ...

@final
class Batches:
    """Batches of events, until the subscription closes. Made by `Subscription.batches`."""

    def __iter__(self) -> Batches: ...
    def __next__(self) -> Batch: ...

@disjoint_base
class Guard:
    """A formula that watches topics and acts when it fires. Made by `Fabric.guard`, which explains the options.

    Here the deadline is in nanoseconds, `signals` has the name, topic and field of each signal, and `fires_when` says
    whether the guard fires when the formula becomes true, rather than false. `function` is the address of a C function
    ``void function(int64_t time_ns, double robustness)`` that may be called from any thread and outlives the guard.

    Raises
    ------
    chronofabric.FormulaError, chronofabric.PatternError, chronofabric.TopicError
        A text is none; the message has a caret under the place.
    chronofabric.GuardError
        Signals and formula do not agree.
    chronofabric.ArgumentError
        Another argument has a value that cannot be used.
    """

    def __new__(
        cls,
        bus: Bus,
        name: str,
        *,
        on: _Patterns | None,
        signals: Sequence[tuple[str, str, str]] | None,
        formula: str | Formula,
        fires_when: bool,
        hysteresis: float,
        max_samples: int,
        deadline_ns: int | None,
        robustness: bool,
        publish: str | None,
        flag: Flag | None,
        function: int | None,
        log: bool,
        command: Sequence[str] | None,
        keep: object = None,
    ) -> Self: ...
    @property
    def name(self) -> str:
        """Its name; it fires on ``guard/<name>``."""

    @property
    def fired(self) -> int:
        """How often it fired."""

    def close(self) -> None:
        """Take the guard away."""

    def report(self) -> dict[str, Any]:
        """Return its figures.

        Returns
        -------
        dict
            ``name``, ``formula``, ``evaluated``, ``fired``, ``errors``, ``error`` (the last), ``deadline_ns``,
            ``late``, ``last_robustness``, and as `Subscription.latency` ``lateness_ns`` of native actions and
            ``handed_over_ns`` of log lines and commands.
        """

@final
class Timer:
    """A thread that publishes ticks every `period_ns`, without Python, until it is stopped or its bus closes.

    Each event is a dictionary of ``tick``, ``lateness_ns`` and ``missed``: how many ticks were skipped before it as
    their time had passed. On a real clock the thread asks the system for `realtime`, the options of a `Realtime`.

    Raises
    ------
    chronofabric.TopicError, chronofabric.TopicLimitError
        The topic is none, or one too many.
    """

    def __new__(cls, bus: Bus, topic: str, period_ns: int, realtime: Mapping[str, object] | None = None) -> Timer: ...
    def stop(self) -> None:
        """Stop the thread and wait for its end."""

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """What was asked of the system and refused: option, reason, cost."""

    @property
    def published(self) -> int:
        """Ticks that were published."""

    @property
    def missed(self) -> int:
        """Ticks that were skipped because their time had passed."""

    @property
    def errors(self) -> int:
        """Ticks that the bus refused."""

@final
class Wakeups:
    """Wake-ups for one thread or event loop that serves many subscriptions.

    `watch` registers a subscription under a number from 0 to 2**64 - 1. When it has something to do, `wait` or `take`
    hands that number out once, and the subscription has to be watched again. An event loop watches `fileno`, or gives
    `call` a callable.
    """

    def __new__(cls, bus: Bus | None = None) -> Wakeups: ...
    def watch(self, subscription: Subscription, token: int) -> None:
        """Register a subscription under a number, for the next time it has something to do."""

    def unwatch(self, subscription: Subscription, token: int) -> None:
        """Take the registration of a subscription back."""

    def watch_space(self, blocked: BlockedPublish, token: int) -> None:
        """Register a publish that waits for room under a number, for the next time there may be some."""

    def unwatch_space(self, blocked: BlockedPublish, token: int) -> None:
        """Take the registration of a publish back."""

    def watch_answer(self, request: Request, token: int) -> None:
        """Register a request that waits for its answer under a number."""

    def unwatch_answer(self, request: Request, token: int) -> None:
        """Take the registration of a request back."""

    def wake_with(self, token: int) -> None:
        """Wake who waits here, with a number of the caller's choice."""

    @property
    def timeout(self) -> float | None:
        """Seconds until a watched subscription has something to do although nothing is published; None if none will."""

    def wait(self) -> list[int]:
        """Wait until there are numbers to hand out, and return them."""

    def take(self) -> list[int]:
        """Return the numbers there are now, possibly none, and empty the file descriptor."""

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when there is a number to take. Not on Windows.

        Raises
        ------
        OSError
            The system has none to give, or a callable is called instead.
        """

    def call(self, callable: Callable[[], object]) -> None:
        """Give what is called, from whatever thread, when there is a number to take after there was none."""
