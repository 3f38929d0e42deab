"""Events made by Python code: an iterable, an async iterable, or a function called at a rate.

The code runs in the source's own thread; an async iterable or coroutine function runs on an event loop there, and is
cancelled when the source is told to stop. A plain iterable cannot be interrupted while it waits for its next item: a
source over one that waits long stops only after that item.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, cast

from chronofabric.duration import Rate, period_ns
from chronofabric.errors import ArgumentError, SourceError
from chronofabric.fabric.named import name_of, named_object
from chronofabric.fabric.sources.source import Node, Output
from chronofabric.fabric.sources.ticks import Ticks
from chronofabric.fabric.stopping import StopToken

__all__ = ["PythonSource"]


class PythonSource:
    """Publishes what Python code yields or returns.

    Parameters
    ----------
    target
        An iterable, an async iterable, or a callable, or its name as ``"module:function"``. Called once: a generator
        function, an async generator function, and every callable where no rate is given; it must return an iterable of
        either kind. Called at the rate: every other callable, coroutine functions too; one that returns None publishes
        nothing.
    topic
        Where the items go. Without it each item is a pair of topic and payload.
    rate
        How often to call, or how fast to take items; without it, items are taken as fast as they come.
    name
        Its name in reports; by default that of the target.

    Raises
    ------
    ArgumentError
        If the name leads to nothing, or to something that is neither callable nor iterable.

    Examples
    --------
    >>> PythonSource([20.5, 21.0], topic="plant/7/temperature")
    PythonSource('list')
    """

    def __init__(
        self,
        target: object,
        *,
        topic: str | None = None,
        rate: Rate | None = None,
        name: str | None = None,
    ) -> None:
        found = named_object(target) if isinstance(target, str) else target
        if not (callable(found) or hasattr(found, "__iter__") or hasattr(found, "__aiter__")):
            hint = "give a function, an iterable or an async iterable"
            text = f"target is {target!r}; a {type(found).__name__} gives no events; {hint}"
            raise ArgumentError(text, argument="target", value=target, hint=hint)
        self.topic = topic
        self.name = name or (target if isinstance(target, str) else name_of(found))
        self._target = found
        self._period_ns = None if rate is None else period_ns(rate)
        self.finite = rate is None or not _is_called_at_rate(found)
        self._output: Output | None = None
        self._ticks: Ticks | None = None

    def __repr__(self) -> str:
        return f"PythonSource({self.name!r})"

    @property
    def published(self) -> int:
        """Events handed to the node so far."""
        return self._output.published if self._output else 0

    @property
    def timed_out(self) -> int:
        """How many of them a blocking subscription did not take in time."""
        return self._output.timed_out if self._output else 0

    @property
    def missed(self) -> int:
        """Instants of the rate that passed while the code was busy."""
        return self._ticks.missed if self._ticks else 0

    def run(self, node: Node, stop: StopToken) -> None:
        """Publish until the items end.

        Raises
        ------
        SourceError
            If the target returns what cannot be iterated over, or an item is not a pair where no topic is given.
        Exception
            Whatever the code itself raises.
        """
        self._output = Output(node)
        ticks: Ticks | None = None
        if self._period_ns is not None:
            ticks = self._ticks = Ticks(node.clock, stop, self._period_ns)
        target = self._target
        if ticks is not None and _is_called_at_rate(target):
            self._call(cast("Callable[[], object]", target), ticks, stop)
            return
        items = target() if callable(target) and (isinstance(target, type) or not _is_iterable(target)) else target
        if hasattr(items, "__aiter__"):
            _run_async(self._take_async(items.__aiter__(), ticks, stop), stop)
        elif hasattr(items, "__iter__") and not isinstance(items, (str, bytes, dict)):
            self._take(iter(items), ticks, stop)
        else:
            close = getattr(items, "close", None)
            if close is not None:  # a coroutine that was never awaited
                close()
            raise SourceError(
                f"{self.name} returned a {type(items).__name__}, which gives no events; "
                "return an iterable, or give rate='10 Hz' to have it called at a rate",
                source=self.name,
            )

    def _take(self, items: Iterator[object], ticks: Ticks | None, stop: StopToken) -> None:
        try:
            if ticks is None:
                for item in items:
                    if stop.is_set():
                        return
                    self._publish(item)
            else:
                for _, item in zip(ticks, items, strict=False):
                    self._publish(item)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    async def _take_async(self, items: AsyncIterator[object], ticks: Ticks | None, stop: StopToken) -> None:
        import asyncio

        try:
            if ticks is None:
                async for item in items:
                    if stop.is_set():
                        return
                    self._publish(item)
            else:
                instants = iter(ticks)
                while await asyncio.to_thread(next, instants, None) is not None:
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        return
                    self._publish(item)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _call(self, function: Callable[[], object], ticks: Ticks, stop: StopToken) -> None:
        import inspect

        if inspect.iscoroutinefunction(function):
            _run_async(self._call_async(cast("Callable[[], Coroutine[Any, Any, object]]", function), ticks), stop)
            return
        for _ in ticks:
            item = function()
            if item is not None:
                self._publish(item)

    async def _call_async(self, function: Callable[[], Coroutine[Any, Any, object]], ticks: Ticks) -> None:
        import asyncio

        instants = iter(ticks)
        while await asyncio.to_thread(next, instants, None) is not None:
            item = await function()
            if item is not None:
                self._publish(item)

    def _publish(self, item: object) -> None:
        output = cast("Output", self._output)
        if self.topic is not None:
            output.publish(self.topic, item)
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            output.publish(item[0], item[1])
        else:
            raise SourceError(
                f"{self.name} gave a {type(item).__name__}, not a pair of topic and payload; "
                "give pairs, or topic='...' for all",
                source=self.name,
            )


def _is_iterable(target: object) -> bool:
    """Whether iterating over the target, or calling it once and iterating over what it returns, gives its items."""
    return hasattr(target, "__iter__") or hasattr(target, "__aiter__")


def _is_called_at_rate(target: object) -> bool:
    import inspect

    if not callable(target) or _is_iterable(target):
        return False
    return not (inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target))


def _run_async(work: Coroutine[Any, Any, None], stop: StopToken) -> None:
    """Run a coroutine on a loop of this thread; a stop cancels it."""
    import asyncio

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)

        stop.call_on_set(cancel)
        try:
            await task
        except asyncio.CancelledError:
            if not stop.is_set():
                raise

    asyncio.run(watched())
