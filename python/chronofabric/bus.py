"""Events, subscriptions and publishers.

The hot paths are in Rust, the asynchronous ones too; this module adds how tasks wait. An event loop is woken once for
many events, through a file descriptor that it watches, so a publisher never waits for it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary, ref

from chronofabric._core import bus as _bus
from chronofabric._core import html_table
from chronofabric._core.bus import Batch, DeadLetter, Event, Flag, Pattern, PreparedPublish, regex
from chronofabric.errors import ArgumentError, ReceiveTimeout

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime

    from chronofabric._core.clock import Stamp
    from chronofabric.duration import Duration

__all__ = [
    "Batch",
    "Books",
    "DeadLetter",
    "Event",
    "Flag",
    "NativeFunction",
    "Pattern",
    "PreparedPublish",
    "Publisher",
    "Subscription",
    "regex",
]

_SLICE_S = 0.001
"""How often an asynchronous wait looks again at what does not wake it: simulated time, half-full rings."""


@dataclass(frozen=True, slots=True)
class Books:
    """What became of every event that a subscription was offered.

    Attributes
    ----------
    offered
        Events published while the subscription was there.
    replayed
        Dead letters that were offered again, and events that topics had kept for it.
    delivered
        Events handed to a receiver.
    filtered
        Events turned away by a filter.
    dropped
        Events dropped, by reason.
    dead_lettered
        Events that went to the dead letters, by reason.
    pending
        Events that wait to be received.

    Examples
    --------
    >>> Books(offered=3, replayed=0, delivered=2, filtered=0, dropped={}, dead_lettered={}, pending=1).balanced
    True
    """

    offered: int
    replayed: int
    delivered: int
    filtered: int
    dropped: Mapping[str, int]
    dead_lettered: Mapping[str, int]
    pending: int

    @property
    def balanced(self) -> bool:
        """Whether offered + replayed = delivered + filtered + dropped + dead-lettered + pending."""
        out = self.delivered + self.filtered + sum(self.dropped.values()) + sum(self.dead_lettered.values())
        return self.offered + self.replayed == out + self.pending

    def _rows(self) -> list[list[str]]:
        reasons = {"dropped": self.dropped, "dead_lettered": self.dead_lettered}
        texts = {
            name: _counts(reasons[name]) if name in reasons else str(getattr(self, name)) for name in self.__slots__
        }
        return [[name.replace("_", " "), text] for name, text in texts.items()]

    def _repr_html_(self) -> str:
        """Show the books in a notebook."""
        return html_table("books", self._rows())


def _counts(reasons: Mapping[str, int]) -> str:
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    return listed or "0"


@dataclass(frozen=True, slots=True)
class NativeFunction:
    """A C function that guards, timers and jobs call without Python.

    Parameters
    ----------
    address
        Where ``void function(int64_t time_ns, double value)`` lies: the ``address`` of a numba ``cfunc``,
        ``ctypes.cast(function, ctypes.c_void_p).value``, or ``int(ffi.cast("intptr_t", function))`` of cffi. It may be
        called from any thread, with the time and the robustness of a guard, or the instant of a timer or job and how
        long ago it was, in nanoseconds.
    keep
        Whatever keeps the function alive.

    Raises
    ------
    ArgumentError
        The address cannot be one.

    Examples
    --------
    >>> import ctypes, chronofabric as cf
    >>> seen = []
    >>> signature = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_double)
    >>> action = signature(lambda time_ns, robustness: seen.append(robustness))
    >>> address = ctypes.cast(action, ctypes.c_void_p).value
    >>> with cf.Fabric("plant") as fabric:
    ...     guard = fabric.guard("hot", on="a", when="value > 80", do=cf.NativeFunction(address, keep=action))
    ...     fabric.publish("a", 81.5)
    >>> seen
    [1.5]
    """

    address: int
    keep: object = None

    def __post_init__(self) -> None:
        if type(self.address) is not int or not 0 < self.address <= 2 * sys.maxsize + 1:
            hint = "it must be the address of a C function: a whole number above 0 that fits a pointer"
            text = f"address is {self.address!r}; {hint}"
            raise ArgumentError(text, argument="address", value=self.address, hint=hint)


class Subscription(_bus.Subscription):
    """The receiving end of a set of topics. Made by `Fabric.subscribe`.

    Iterating hands out events until the subscription or its fabric closes. Several threads and tasks may receive from
    one subscription; each event goes to one of them. A subscription that nobody refers to any more is closed.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     temperatures = fabric.subscribe("plant/*/temperature")
    ...     fabric.publish("plant/7/temperature", 21.5)
    ...     temperatures.receive(timeout="10 ms").payload
    21.5
    """

    def __init__(self, bus: _bus.Bus, pattern: object, **options: Any) -> None:
        self._bus = bus

    def books(self) -> Books:
        """Read the books: exact while no call is in progress.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant") as fabric:
        ...     subscription = fabric.subscribe("a", capacity=1)
        ...     fabric.publish_many("a", [1, 2, 3])
        ...     subscription.books().dropped
        3
        {'overflow': 2}
        """
        return Books(**self.books_dict())

    async def receive_async(self, timeout: Duration | None = None) -> Event:  # noqa: ASYNC109 - on the fabric's own time
        """Receive the next event; the event loop runs on meanwhile.

        Parameters
        ----------
        timeout
            How long to wait, on the fabric's own time source; None for ever.

        Raises
        ------
        ReceiveTimeout
            Nothing arrived in time.
        ClosedError
            The subscription or its fabric is closed.

        Examples
        --------
        >>> import asyncio, chronofabric as cf
        >>> async def main():
        ...     async with cf.Fabric("plant") as fabric:
        ...         subscription = fabric.subscribe("a")
        ...         fabric.publish("a", 1)
        ...         return (await subscription.receive_async(timeout="1 s")).payload
        >>> asyncio.run(main())
        1
        """
        timeout_ns = deadline_ns = None
        if timeout is not None:
            from chronofabric.duration import nanoseconds

            timeout_ns = nanoseconds(timeout, argument="timeout")
            deadline_ns = self._bus.now() + timeout_ns
        while True:
            event = self.poll()
            if event is not None:
                return event
            if deadline_ns is not None and self._bus.now() >= deadline_ns:
                text = f"subscription '{self.name}' received nothing within {(timeout_ns or 0) / 1e6} ms"
                raise ReceiveTimeout(text, subscription=self.name, timeout_ns=timeout_ns)
            await self._wait(deadline_ns)

    async def batches_async(self, size: int) -> AsyncIterator[Batch]:
        """Hand out batches of 1 to `size` events, without waiting to fill one.

        Parameters
        ----------
        size
            The most events in a batch.
        """
        import asyncio

        self.batches(size)  # refuses a size that makes no sense
        while True:
            closed = self.closed
            batch = self.poll_batch(size)
            if len(batch):
                yield batch
                await asyncio.sleep(0)
            elif closed:
                return
            else:
                await self._wait(None)

    async def _wait(self, deadline_ns: int | None) -> None:
        due_ns = self.due
        if due_ns is not None and (deadline_ns is None or due_ns < deadline_ns):
            deadline_ns = due_ns
        await _waker(self._bus).wait(self, None if deadline_ns is None else self._longest_s(deadline_ns))

    def _longest_s(self, deadline_ns: int) -> float:
        """How long the running loop may sleep before it looks at the node's time again."""
        return _longest_s(self._bus, deadline_ns)

    def _repr_html_(self) -> str:
        """Show the books in a notebook."""
        return html_table(self.name, self.books()._rows())

    def __repr__(self) -> str:
        state = "closed" if self.closed else "paused" if self.paused else "open"
        return f"Subscription('{self.pattern}', capacity={self.capacity}, pending={self.pending}, {state})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Publisher(_bus.Publisher):
    """A handle for publishing on one topic. Made by `Fabric.publisher`.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     probe = fabric.publisher("plant/7/temperature")
    ...     readings = fabric.subscribe("plant/**")
    ...     probe.publish(21.5)
    ...     readings.poll()
    Event(topic='plant/7/temperature', time=..., payload=21.5)
    """

    def __init__(self, bus: _bus.Bus, topic: str, **options: Any) -> None:
        self._bus = bus

    async def request_async(
        self,
        payload: object,
        *,
        timeout: Duration | None = "1 s",  # noqa: ASYNC109 - on the fabric's own time
        priority: str | int | None = None,
        deadline: Duration | datetime | Stamp | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Ask as `request` does; the event loop runs on meanwhile.

        Parameters
        ----------
        payload, timeout, priority, deadline, headers
            As for `request`.

        Returns
        -------
        object
            The payload of the reply.

        Raises
        ------
        ChronofabricError
            As for `request`.
        """
        request = self.request_start(payload, timeout=timeout, priority=priority, deadline=deadline, headers=headers)
        return await wait_for_answer(self._bus, request)

    async def _wait_for_room(self, blocked: _bus.BlockedPublish) -> None:
        await wait_for_room(self._bus, blocked)


async def wait_for_room(bus: _bus.Bus, blocked: _bus.BlockedPublish) -> None:
    """Wait until a publish that found no room is over."""
    waker = _waker(bus)
    while not blocked.retry():
        await waker.wait_for_room(blocked, min(_SLICE_S, blocked.timeout))


def _longest_s(bus: _bus.Bus, deadline_ns: int) -> float:
    return _SLICE_S if bus.simulated else max(0.0, (deadline_ns - bus.now()) / 1e9)


async def wait_for_answer(
    bus: _bus.Bus, request: _bus.Request, longest_s: Callable[[_bus.Bus, int], float] = _longest_s
) -> Any:
    """Wait for the answer to a request, and give it up where this is cancelled."""
    try:
        blocked = request.take_blocked()
        if blocked is not None:
            await wait_for_room(bus, blocked)
        waker = _waker(bus)
        while (answer := request.outcome()) is None:
            deadline_ns = request.deadline_ns
            await waker.wait_for_answer(request, None if deadline_ns is None else longest_s(bus, deadline_ns))
        return answer[0]
    finally:
        request.cancel()


def listen(wakeups: _bus.Wakeups, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
    """Have a loop call a function when there is something to take."""
    try:
        loop.add_reader(wakeups.fileno(), wake)
    except (NotImplementedError, AttributeError):
        # The proactor loop of Windows watches no descriptors; it is woken through itself.
        known = ref(loop)
        wakeups.call(lambda: (it := known()) and not it.is_closed() and it.call_soon_threadsafe(wake))


class _LoopWaker:
    """Wakes the tasks of one event loop that wait on one bus."""

    def __init__(self, bus: _bus.Bus, loop: asyncio.AbstractEventLoop) -> None:
        self._wakeups = _bus.Wakeups(bus)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._next = 0
        listen(self._wakeups, loop, self._wake)

    def _wake(self) -> None:
        for token in self._wakeups.take():
            waiting = self._waiting.pop(token, None)
            if waiting is not None:
                _finish(waiting)

    async def wait(self, subscription: _bus.Subscription, timeout_s: float | None) -> None:
        """Wait until a subscription has something to do, or a time has passed."""
        token = self._new_token()
        self._wakeups.watch(subscription, token)
        try:
            await self._sleep(token, timeout_s)
        finally:
            if self._waiting.pop(token, None) is not None:
                self._wakeups.unwatch(subscription, token)

    async def wait_for_room(self, blocked: _bus.BlockedPublish, timeout_s: float) -> None:
        """Wait until a publish may find room, or a time has passed."""
        token = self._new_token()
        self._wakeups.watch_space(blocked, token)
        try:
            await self._sleep(token, timeout_s)
        finally:
            if self._waiting.pop(token, None) is not None:
                self._wakeups.unwatch_space(blocked, token)

    async def wait_for_answer(self, request: _bus.Request, timeout_s: float | None) -> None:
        """Wait until a request is answered, or a time has passed."""
        token = self._new_token()
        self._wakeups.watch_answer(request, token)
        try:
            await self._sleep(token, timeout_s)
        finally:
            if self._waiting.pop(token, None) is not None:
                self._wakeups.unwatch_answer(request, token)

    def _new_token(self) -> int:
        self._next += 1
        return self._next

    async def _sleep(self, token: int, timeout_s: float | None) -> None:
        """Sleep until woken under a number, or until a time has passed."""
        import asyncio

        loop = asyncio.get_running_loop()
        waiting = self._waiting[token] = loop.create_future()
        alarm = None if timeout_s is None else loop.call_later(timeout_s, _finish, waiting)
        try:
            await waiting
        finally:
            if alarm is not None:
                alarm.cancel()


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


_WAKERS: WeakKeyDictionary[_bus.Bus, WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopWaker]] = WeakKeyDictionary()


def _waker(bus: _bus.Bus) -> _LoopWaker:
    """Return the waker of the running loop for a bus."""
    import asyncio

    loop = asyncio.get_running_loop()
    wakers = _WAKERS.setdefault(bus, WeakKeyDictionary())
    waker = wakers.get(loop)
    if waker is None:
        waker = wakers[loop] = _LoopWaker(bus, loop)
    return waker
