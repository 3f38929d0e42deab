"""Time sources, stamps and the hybrid logical clock. All times are integer nanoseconds since the Unix epoch."""

from collections.abc import Callable
from datetime import datetime
from os import PathLike
from typing import Literal, final

from typing_extensions import disjoint_base

from chronofabric.duration import Duration

__all__ = [
    "CounterClock",
    "HybridLogicalClock",
    "SimulatedClock",
    "Stamp",
    "SystemClock",
    "TimeSource",
    "register",
    "source",
    "sources",
    "unregister",
]

@disjoint_base
class TimeSource:
    """Where a node takes its time from: a `SystemClock`, a `CounterClock` or a `SimulatedClock`."""

    def now(self) -> int:
        """Read the time, in nanoseconds since the Unix epoch."""

    @property
    def kind(self) -> Literal["counter", "simulated", "system"]:
        """Which kind of source it is."""

@final
class SystemClock(TimeSource):
    """The system's clock. It steps when somebody sets it.

    Examples
    --------
    >>> from chronofabric import SystemClock
    >>> SystemClock().now() > 1_700_000_000_000_000_000
    True
    """

    def __new__(cls) -> SystemClock: ...

@final
class CounterClock(TimeSource):
    """The processor's counter, disciplined to the system's clock: the cheapest to read, and it never steps back.

    It is calibrated once for the whole process. Where the processor has no counter that can be relied on, the system's
    monotonic clock stands in.

    Examples
    --------
    >>> from chronofabric import CounterClock
    >>> clock = CounterClock()
    >>> clock.now() <= clock.now()
    True
    """

    def __new__(cls) -> CounterClock: ...
    @property
    def hardware(self) -> bool:
        """Whether the processor's own counter is used, rather than the system's monotonic clock."""

@final
class SimulatedClock(TimeSource):
    """A clock that moves only when told, so that a program of hours runs in a moment and always alike.

    Whoever waits on it, in any thread, is woken when it gets there.

    Parameters
    ----------
    start
        Where it starts: a datetime with a time zone, a stamp, or nanoseconds since the Unix epoch; by default 0.

    Raises
    ------
    chronofabric.ArgumentError
        The start is not an instant.

    Examples
    --------
    >>> from chronofabric import SimulatedClock
    >>> clock = SimulatedClock(start=1_000_000_000)
    >>> clock.advance("5 ms")
    1005000000
    >>> clock.set(2_000_000_000)
    >>> clock
    SimulatedClock(start=2000000000)
    >>> clock.set(0)
    Traceback (most recent call last):
        ...
    chronofabric.errors.ClockError: simulated time never steps back: it stands at 2000000000 ns and 0 ns was ...
    """

    def __new__(cls, start: int | datetime | Stamp | None = None) -> SimulatedClock: ...
    def advance(self, duration: Duration) -> int:
        """Move forward by a duration.

        Parameters
        ----------
        duration
            Such as ``"5 ms"``, a timedelta, or seconds.

        Returns
        -------
        int
            The time then, in nanoseconds since the Unix epoch.

        Raises
        ------
        chronofabric.ArgumentError
            It is not a duration.
        chronofabric.ClockError
            It would pass the last nanosecond that 64 bits count, in the year 2262.
        """

    def set(self, time: int | datetime | Stamp) -> None:
        """Move forward to an instant.

        Parameters
        ----------
        time
            A datetime with a time zone, a stamp, or nanoseconds since the Unix epoch.

        Raises
        ------
        chronofabric.ArgumentError
            It is not an instant.
        chronofabric.ClockError
            It lies before the clock's time.
        """

@final
class Stamp:
    """A reading of a hybrid logical clock, with the node that it is of.

    Stamps have one order for all nodes: first time and counter, then node. If an event could have caused another, its
    stamp is the smaller one. Stamps are immutable, can be hashed and pickled, and take 24 bytes encoded.

    Examples
    --------
    >>> from chronofabric import HybridLogicalClock, SimulatedClock, Stamp
    >>> clock = HybridLogicalClock(SimulatedClock(start=1_000_000_000), node="07" * 16)
    >>> stamp = clock.now()
    >>> stamp
    Stamp(time=1000000000, counter=0, node='07070707070707070707070707070707')
    >>> stamp < clock.now(), stamp.to_datetime().isoformat()
    (True, '1970-01-01T00:00:01+00:00')
    >>> Stamp.decode(stamp.encode()) == stamp
    True
    """

    @property
    def time(self) -> int:
        """Nanoseconds since the Unix epoch, to 15.3 microseconds."""

    @property
    def counter(self) -> int:
        """Orders what has the same time; 0 to 65 535."""

    @property
    def node(self) -> str:
        """The id of the node, 32 hexadecimal digits."""

    def to_datetime(self) -> datetime:
        """Return its time as a datetime in UTC, rounded down to microseconds."""

    def encode(self) -> bytes:
        """Return 24 bytes: time and counter, big endian, then the node. Bytes are ordered as the stamps are."""

    @classmethod
    def decode(cls, data: bytes) -> Stamp:
        """Read a stamp from its bytes.

        Parameters
        ----------
        data
            The 24 bytes of `encode`.

        Raises
        ------
        chronofabric.ArgumentError
            They are not 24 bytes.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: Stamp, /) -> bool: ...
    def __le__(self, other: Stamp, /) -> bool: ...
    def __gt__(self, other: Stamp, /) -> bool: ...
    def __ge__(self, other: Stamp, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[[bytes], Stamp], tuple[bytes]]: ...

@final
class HybridLogicalClock:
    """The clock that stamps the events of a node.

    Its stamps never repeat or step back, are greater than those it received, and stay close to the physical time of its
    source. It may be used from several threads, without a lock.

    Parameters
    ----------
    source
        A time source or the name of a registered one; by default ``"counter"``.
    node
        The id of the node, 32 hexadecimal digits; by default random.
    max_drift
        How far ahead of this node's time a received stamp may be: a duration of up to 1 h, by default 500 ms.
    folder
        Where to keep the node's id and a bound above every stamp given out, so that stamps go on rising after a restart
        or a crash, even if the system's clock was set back. One clock at a time may use it.

    Raises
    ------
    chronofabric.ArgumentError
        An argument has a value that cannot be used, or `node` is given beside a folder, which keeps it.
    chronofabric.ClockError
        The folder cannot be used, or another clock uses it.

    References
    ----------
    S. Kulkarni, M. Demirbas, D. Madappa, B. Avva and M. Leone, "Logical Physical Clocks", OPODIS 2014.

    Examples
    --------
    >>> from chronofabric import HybridLogicalClock, SimulatedClock
    >>> time = SimulatedClock(start=1_000_000_000)
    >>> ours = HybridLogicalClock(time, node="00" * 16)
    >>> first, second = ours.now(), ours.now()
    >>> first < second, second.counter
    (True, 1)
    >>> theirs = HybridLogicalClock(SimulatedClock(start=1_200_000_000), node="01" * 16)
    >>> sent = theirs.now()
    >>> ours.receive(sent) > sent
    True
    """

    def __new__(
        cls,
        source: str | TimeSource | None = None,
        *,
        node: str | None = None,
        max_drift: Duration | None = None,
        folder: str | PathLike[str] | None = None,
    ) -> HybridLogicalClock: ...
    def now(self) -> Stamp:
        """Return a stamp for something that happens now.

        Raises
        ------
        chronofabric.ClosedError
            The clock was closed.
        chronofabric.ForkedError
            It has a folder and belongs to the parent of this process.
        chronofabric.ClockError
            The bound in its folder cannot be raised.
        """

    def receive(self, remote: Stamp) -> Stamp:
        """Return a stamp for the receipt of something stamped elsewhere: greater than that and than all of this node.

        Parameters
        ----------
        remote
            The stamp that came with it.

        Raises
        ------
        chronofabric.DriftError
            The stamp lies further ahead of this node's time than `max_drift`. The clock is as before.
        chronofabric.ClockError
            As for `now`.
        """

    def close(self) -> None:
        """End a clock with a folder: record its last stamp and give the folder back. Without one nothing happens.

        Raises
        ------
        chronofabric.ClockError
            The record cannot be written. The clock is closed all the same, and the bound in the folder holds.
        chronofabric.ForkedError
            The clock belongs to the parent of this process.
        """

    @property
    def last(self) -> Stamp:
        """The newest stamp given out or received."""

    @property
    def node(self) -> str:
        """The id of the node, 32 hexadecimal digits."""

    @property
    def max_drift_ns(self) -> int:
        """How far ahead of this node's time a received stamp may be, in nanoseconds."""

    @property
    def source(self) -> TimeSource:
        """Where its physical time comes from."""

def source(name: str | TimeSource) -> TimeSource:
    """Return the time source of a name.

    Parameters
    ----------
    name
        The name of a registered time source; a time source is returned as it is, on the same time.

    Raises
    ------
    chronofabric.ArgumentError
        No time source has this name; the message has the names there are.

    Examples
    --------
    >>> from chronofabric import clock
    >>> clock.source("system")
    SystemClock()
    """

def register(name: str, source: TimeSource) -> None:
    """Name a time source for the whole process.

    Parameters
    ----------
    name
        Up to 255 bytes, without control characters, and without spaces at either end.
    source
        The time source.

    Raises
    ------
    chronofabric.ArgumentError
        It cannot be a name.
    chronofabric.ClockError
        The name is taken, or there are too many.

    Examples
    --------
    >>> from chronofabric import SimulatedClock, clock
    >>> clock.register("plant", SimulatedClock(start=1))
    >>> clock.source("plant").now(), clock.sources()
    (1, ['counter', 'plant', 'system'])
    >>> clock.unregister("plant")
    """

def unregister(name: str) -> None:
    """Take a name back. The time source goes on where it is in use.

    Parameters
    ----------
    name
        The name of a registered time source.

    Raises
    ------
    chronofabric.ArgumentError
        No time source has this name; the message has the names there are.
    chronofabric.ClockError
        The time source is built in: ``"counter"``, ``"system"``.
    """

def sources() -> list[str]:
    """Return the names of all registered time sources, sorted."""
