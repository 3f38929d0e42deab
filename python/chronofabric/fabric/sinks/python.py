"""Events given to a Python function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from chronofabric.errors import ArgumentError, SinkError
from chronofabric.fabric.named import name_of, named_object
from chronofabric.fabric.sinks.sink import RecordedEvent, checked_topics

__all__ = ["PythonSink"]


class PythonSink:
    """Calls a function with each event, or with each batch of them.

    The function runs in the sink's thread. What it raises ends the sink. If it has a method ``close``, that is called
    at the end.

    Parameters
    ----------
    target
        The callable, or its name as ``"module:function"``.
    topics
        A pattern or several.
    batch
        Call it with a sequence of one or more events instead.
    name
        Its name in reports; by default that of the target.

    Attributes
    ----------
    written : int
        Events taken.

    Raises
    ------
    ArgumentError
        If the name leads to nothing, to something that cannot be called, or to a coroutine function.

    Examples
    --------
    >>> seen = []
    >>> sink = PythonSink(seen.append, topics="plant/**")
    """

    def __init__(self, target: Any, *, topics: Any = "**", batch: bool = False, name: str | None = None) -> None:
        import inspect

        found = named_object(target) if isinstance(target, str) else target
        if not callable(found):
            hint = "give a function of one argument"
            text = f"target is {target!r}; a {type(found).__name__} cannot be called; {hint}"
            raise ArgumentError(text, argument="target", value=target, hint=hint)
        if inspect.iscoroutinefunction(found):
            hint = "give a plain function here, or handle the events with a coroutine under 'on'"
            text = f"target is {target!r}; a sink does not await coroutines; {hint}"
            raise ArgumentError(text, argument="target", value=target, hint=hint)
        self.topics = checked_topics(topics)
        self.name = name or (target if isinstance(target, str) else name_of(found))
        self.written = 0
        self._function = cast("Callable[[Any], object]", found)
        self._batch = batch
        self._is_closed = False

    def __repr__(self) -> str:
        return f"PythonSink({self.name!r})"

    def open(self, node: Any = None) -> None:
        """Nothing is to be prepared."""
        del node

    def write(self, events: Sequence[RecordedEvent]) -> None:
        """Call the function.

        Raises
        ------
        SinkError
            If it raises; the cause is what it raised.
        """
        try:
            if self._batch:
                self._function(events)
                self.written += len(events)
                return
            for event in events:
                self._function(event)
                self.written += 1
        except Exception as error:
            raise SinkError(f"{self.name} raised {type(error).__name__}: {error}", sink=self.name) from error

    def close(self) -> None:
        """Close the target where it can be. Idempotent.

        Raises
        ------
        SinkError
            If its ``close`` raises; the cause is what it raised.
        """
        if self._is_closed:
            return
        self._is_closed = True
        close = getattr(self._function, "close", None)
        if callable(close):
            try:
                close()
            except Exception as error:
                raise SinkError(f"{self.name} raised {type(error).__name__}: {error}", sink=self.name) from error
