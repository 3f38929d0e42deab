"""Time sources, stamps, the hybrid logical clock, causality. All times are integer nanoseconds since the Unix epoch."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from types import GenericAlias
from typing import Generic, Literal, TypeVar, final

from typing_extensions import disjoint_base

from chronofabric.duration import Duration

__all__ = [
    "CausalBooks",
    "CausalBuffer",
    "CounterClock",
    "DottedVersionVector",
    "Gap",
    "HybridLogicalClock",
    "SimulatedClock",
    "Stamp",
    "SystemClock",
    "TimeSource",
    "VectorClock",
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

@final
class VectorClock:
    """How many events of each node are in the past of an event.

    Vector clocks say which of two events could have caused the other. They are immutable, can be hashed and pickled,
    and are equal if they count the same.

    Parameters
    ----------
    counters
        Counts of events by node id, 32 hexadecimal digits. A node that is left out counts 0. At most 4096 nodes.

    Raises
    ------
    chronofabric.ArgumentError
        A key is not a node id, or a value not a whole number from 0, of up to 64 bits.
    chronofabric.ClockError
        There are too many nodes.

    References
    ----------
    F. Mattern, "Virtual Time and Global States of Distributed Systems", 1989; C. J. Fidge, "Timestamps in
    Message-Passing Systems That Preserve the Partial Ordering", 1988.

    Examples
    --------
    >>> from chronofabric.clock import VectorClock
    >>> ours, theirs = "01" * 16, "02" * 16
    >>> question = VectorClock().increment(ours)
    >>> answer = question.increment(theirs)
    >>> remark = question.increment(ours)
    >>> question.happens_before(answer), answer.compare(remark)
    (True, 'concurrent')
    >>> answer.merge(remark) == VectorClock({ours: 2, theirs: 1})
    True
    """

    def __new__(cls, counters: Mapping[str, int] | None = None) -> VectorClock: ...
    @property
    def counters(self) -> dict[str, int]:
        """The counts of all nodes that it knows, sorted by node; none is 0."""

    def get(self, node: str) -> int:
        """Return the count of a node: 0 where it is not known.

        Parameters
        ----------
        node
            The id of the node.

        Raises
        ------
        chronofabric.ArgumentError
            It is not a node id.
        """

    def increment(self, node: str) -> VectorClock:
        """Return the clock after one more event of a node.

        Parameters
        ----------
        node
            The id of the node.

        Raises
        ------
        chronofabric.ArgumentError
            It is not a node id.
        chronofabric.ClockError
            There would be too many nodes, or 64 bits count no further.
        """

    def merge(self, other: VectorClock) -> VectorClock:
        """Return the clock of both pasts together: the greater count of every node.

        Parameters
        ----------
        other
            The other clock.

        Raises
        ------
        chronofabric.ClockError
            There would be too many nodes.
        """

    def compare(self, other: VectorClock) -> Literal["after", "before", "concurrent", "equal"]:
        """Say how the event of this clock is related to that of another.

        Parameters
        ----------
        other
            The other clock.

        Returns
        -------
        str
            ``"before"`` if this event could have caused the other, ``"after"`` if the other could have caused this,
            ``"concurrent"`` if neither, ``"equal"`` if their pasts are the same.
        """

    def happens_before(self, other: VectorClock) -> bool:
        """Whether the event of this clock could have caused that of another.

        Parameters
        ----------
        other
            The other clock.
        """

    def is_concurrent_with(self, other: VectorClock) -> bool:
        """Whether neither event could have caused the other.

        Parameters
        ----------
        other
            The other clock.
        """

    def encode(self) -> bytes:
        """Return 3 bytes and 24 for each node."""

    @classmethod
    def decode(cls, data: bytes) -> VectorClock:
        """Read a clock from its bytes.

        Parameters
        ----------
        data
            The bytes of `encode`.

        Raises
        ------
        chronofabric.ArgumentError
            They are no clock; the message has the place and the reason.
        """

    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[[bytes], VectorClock], tuple[bytes]]: ...

@final
class DottedVersionVector:
    """One version of a value that several nodes write: its own event, and the events that its writer had seen.

    It tells apart what plain version vectors do not: two versions that were written through the same node by writers
    who had not read each other's. Versions are immutable, can be hashed and pickled.

    Parameters
    ----------
    node
        The id of the node that wrote it.
    counter
        The number of the writing event at that node, from 1.
    context
        What its writer had seen; the event itself is not in it.

    Raises
    ------
    chronofabric.ArgumentError
        The node is not a node id, or the counter is 0 or in the context.

    References
    ----------
    N. Preguiça and others, "Dotted Version Vectors: Logical Clocks for Optimistic Replication", 2010; P. S. Almeida and
    others, "Scalable and Accurate Causality Tracking for Eventually Consistent Stores", DAIS 2014.

    Examples
    --------
    >>> from chronofabric.clock import DottedVersionVector, VectorClock
    >>> node = "01" * 16
    >>> first = DottedVersionVector.event(node, VectorClock())
    >>> second = DottedVersionVector.event(node, VectorClock(), [first])
    >>> first.compare(second)
    'concurrent'
    >>> both_read = DottedVersionVector.join([first, second])
    >>> third = DottedVersionVector.event(node, both_read, [first, second])
    >>> DottedVersionVector.sync([first, second], [third]) == [third]
    True
    """

    def __new__(cls, node: str, counter: int, context: VectorClock) -> DottedVersionVector: ...
    @staticmethod
    def event(node: str, context: VectorClock, siblings: Sequence[DottedVersionVector] = ...) -> DottedVersionVector:
        """Return the version that a node writes.

        Parameters
        ----------
        node
            The id of the node.
        context
            What the writer had seen: what `join` gave it when it read.
        siblings
            The versions that the node has.

        Raises
        ------
        chronofabric.ArgumentError
            The node is not a node id.
        chronofabric.ClockError
            64 bits count no further.
        """

    @staticmethod
    def discard(known: Sequence[DottedVersionVector], context: VectorClock) -> list[DottedVersionVector]:
        """Return the versions that a context has not seen: what a write with this context leaves beside it.

        Parameters
        ----------
        known
            The versions that a node has.
        context
            What the writer had seen.
        """

    @staticmethod
    def sync(first: Sequence[DottedVersionVector], second: Sequence[DottedVersionVector]) -> list[DottedVersionVector]:
        """Return the versions of two replicas without those that another one replaces.

        Parameters
        ----------
        first
            The versions of one replica.
        second
            The versions of the other.
        """

    @staticmethod
    def join(known: Sequence[DottedVersionVector]) -> VectorClock:
        """Return everything that a reader of these versions has seen.

        Parameters
        ----------
        known
            The versions.

        Raises
        ------
        chronofabric.ClockError
            They know too many nodes.
        """

    @property
    def node(self) -> str:
        """The id of the node that wrote it."""

    @property
    def counter(self) -> int:
        """The number of the writing event at that node."""

    @property
    def context(self) -> VectorClock:
        """What its writer had seen."""

    def contains(self, node: str, counter: int) -> bool:
        """Whether an event is its own, or was seen by its writer.

        Parameters
        ----------
        node
            The id of the node of the event.
        counter
            The number of the event there.

        Raises
        ------
        chronofabric.ArgumentError
            The node is not a node id, or the counter not a whole number from 0.
        """

    def compare(self, other: DottedVersionVector) -> Literal["after", "before", "concurrent", "equal"]:
        """Say how this version is related to another.

        Parameters
        ----------
        other
            The other version.

        Returns
        -------
        str
            ``"before"`` if the other replaces this one, ``"after"`` if this one replaces the other, ``"concurrent"`` if
            neither, ``"equal"`` if they are the same.
        """

    def happens_before(self, other: DottedVersionVector) -> bool:
        """Whether the writer of the other version had seen this one.

        Parameters
        ----------
        other
            The other version.
        """

    def is_concurrent_with(self, other: DottedVersionVector) -> bool:
        """Whether neither writer had seen the version of the other.

        Parameters
        ----------
        other
            The other version.
        """

    def encode(self) -> bytes:
        """Return 27 bytes and 24 for each node of the context."""

    @classmethod
    def decode(cls, data: bytes) -> DottedVersionVector:
        """Read a version from its bytes.

        Parameters
        ----------
        data
            The bytes of `encode`.

        Raises
        ------
        chronofabric.ArgumentError
            They are no version; the message has the place and the reason.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[[bytes], DottedVersionVector], tuple[bytes]]: ...

@final
class Gap:
    """Messages of one node that others wait for. Made by `CausalBuffer.gaps`."""

    @property
    def node(self) -> str:
        """The id of the node that sent them."""

    @property
    def first(self) -> int:
        """The number of the first, as its node counts them."""

    @property
    def last(self) -> int:
        """The number of the last."""

    @property
    def since(self) -> int:
        """Since when something has waited for them, in nanoseconds."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class CausalBooks:
    """What became of every message that a causal buffer received. Made by `CausalBuffer.books`.

    The equation is received = delivered + duplicates + late + refused + pending.
    """

    @property
    def received(self) -> int:
        """Messages that arrived."""

    @property
    def delivered(self) -> int:
        """Of these, messages delivered in causal order, the contradictory ones included."""

    @property
    def duplicates(self) -> int:
        """Of these, messages that had arrived before."""

    @property
    def late(self) -> int:
        """Of these, messages that arrived after they were declared lost and what depends on them was delivered."""

    @property
    def refused(self) -> int:
        """Of these, messages that could not be taken: for want of room, or because their clock does not count them."""

    @property
    def pending(self) -> int:
        """Of these, messages that wait for others."""

    @property
    def lost(self) -> int:
        """Messages declared lost; those that came late after all are among them."""

    @property
    def contradictory(self) -> int:
        """Of the delivered, those whose clocks contradict each other, such as two that each depend on the other."""

    @property
    def balanced(self) -> bool:
        """Whether received = delivered + duplicates + late + refused + pending."""

    def __eq__(self, other: object, /) -> bool: ...

_T = TypeVar("_T")

@final
class CausalBuffer(Generic[_T]):
    """Puts messages that arrive in any order into causal order: each is delivered after everything it may depend on.

    A message of node ``i`` with clock ``V`` is delivered as soon as it is the next one of its node,
    ``V[i] = D[i] + 1``, and all that its node had seen was delivered here too, ``V[k] <= D[k]`` for every other node
    ``k``, where ``D`` counts what was delivered. Until then it waits. What is missing may be declared lost, by name or
    by age; then what waited for it goes on. The buffer has no clock of its own: it is told the time. It may be used
    from several threads.

    Parameters
    ----------
    capacity
        How many messages may wait; by default 4096.
    on_full
        What happens to one more: ``"refuse"`` (default) turns it away, ``"declare-lost"`` declares lost what the
        message that has waited longest waits for, and delivers that message.
    age_max
        How long a message may wait before `expire` declares lost what it waits for: a duration; by default for ever.
    start
        What counts as delivered from the beginning, as after reading a snapshot; by default nothing.

    Raises
    ------
    chronofabric.ArgumentError
        An argument has a value that cannot be used.

    References
    ----------
    K. Birman, A. Schiper and P. Stephenson, "Lightweight Causal and Atomic Group Multicast", ACM TOCS 9 (3), 1991.

    Examples
    --------
    >>> from chronofabric.clock import CausalBuffer, VectorClock
    >>> asker, answerer = "01" * 16, "02" * 16
    >>> question = VectorClock({asker: 1})
    >>> answer = question.increment(answerer)
    >>> buffer = CausalBuffer[str](age_max="5 s")
    >>> buffer.accept(answerer, answer, "noon", time=0)
    ('waiting', [])
    >>> buffer.gaps()
    [Gap(node='01010101010101010101010101010101', first=1, last=1, since=0)]
    >>> buffer.accept(asker, question, "what time is it?", time=1)
    ('delivered', ['what time is it?', 'noon'])
    >>> buffer.books().balanced
    True
    """

    def __new__(
        cls,
        *,
        capacity: int | None = None,
        on_full: Literal["declare-lost", "refuse"] | None = None,
        age_max: Duration | None = None,
        start: VectorClock | None = None,
    ) -> CausalBuffer[_T]: ...
    def accept(
        self, sender: str, clock: VectorClock, message: _T, *, time: int | datetime | Stamp
    ) -> tuple[Literal["delivered", "duplicate", "late", "refused", "waiting"], list[_T]]:
        """Take a message.

        Parameters
        ----------
        sender
            The id of the node that sent it.
        clock
            Its clock, which counts the message itself.
        message
            The message.
        time
            What time it is, in nanoseconds since the Unix epoch, or as a datetime with a time zone, or a stamp.

        Returns
        -------
        str
            What became of it: it was delivered, waits, is a duplicate, came late (what depends on it may have been
            delivered), or was refused. Only in the first two cases the buffer has taken it.
        list
            The messages to be delivered now, in this order.

        Raises
        ------
        chronofabric.ArgumentError
            The sender is not a node id, or the time not an instant.
        """

    def declare_lost(self, node: str, through: int) -> list[_T]:
        """Declare the missing messages of a node lost, up to a number; those that wait here are not missing.

        Parameters
        ----------
        node
            The id of the node.
        through
            The number of the last, as its node counts them.

        Returns
        -------
        list
            The messages to be delivered now, in this order.

        Raises
        ------
        chronofabric.ArgumentError
            It is not a node id, or not a number of a message.
        chronofabric.ClockError
            The node is new here, and there are too many.
        """

    def expire(self, time: int | datetime | Stamp) -> list[_T]:
        """Declare lost what messages have waited for as long as `age_max`.

        Parameters
        ----------
        time
            What time it is.

        Returns
        -------
        list
            The messages to be delivered now, in this order.

        Raises
        ------
        chronofabric.ArgumentError
            It is not an instant.
        """

    def gaps(self) -> list[Gap]:
        """Return what is missing, by node and number: what to ask for again."""

    def books(self) -> CausalBooks:
        """Return what became of everything that arrived."""

    @property
    def delivered(self) -> VectorClock:
        """What was delivered or declared lost: the past of the next message sent from here."""

    @property
    def pending(self) -> int:
        """How many messages wait."""

    @property
    def next_expiry(self) -> int | None:
        """When `expire` has something to do, if nothing changes until then."""

    @classmethod
    def __class_getitem__(cls, item: object) -> GenericAlias: ...

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
