"""Requests and those who answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from chronofabric.bus import wait_for_answer

if TYPE_CHECKING:
    from datetime import datetime

    from chronofabric._core import bus as _bus
    from chronofabric._core.clock import Stamp
    from chronofabric.bus import Event, Pattern
    from chronofabric.duration import Duration
    from chronofabric.fabric.handlers import Handler

__all__ = ["Requests"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Requests:
    """The part of a fabric that asks and answers."""

    _core: _bus.Bus
    _decorator: Callable[..., Callable[[_Function], _Function]]

    def request(
        self,
        topic: str,
        payload: object,
        *,
        timeout: Duration | None = "1 s",
        priority: str | int | None = None,
        deadline: Duration | datetime | Stamp | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Publish an event and return what the first who answers it replies.

        Parameters
        ----------
        topic, payload, priority, deadline, headers
            As for `publish`: a request is an event like every other.
        timeout
            How long to wait, on the node's own time source; None for ever.

        Returns
        -------
        object
            The payload of the reply; what exports Arrow is a `Table`.

        Raises
        ------
        NoAnswerer
            At once: no subscription matches the topic, or nobody has the request any more.
        RequestTimeout
            Nobody answered in time.
        AnswerError
            Who answered raised an exception; it is the ``__cause__``.
        WouldDeadlock
            Only this same thread could answer; nothing was published.
        ClosedError
            The fabric is closed, or was closed meanwhile.
        ChronofabricError
            As for `publish`.

        Examples
        --------
        >>> import chronofabric as cf
        >>> fabric = cf.Fabric("shop")
        >>> @fabric.answers("shop/price")
        ... def price(event):
        ...     return {"bolt": 0.2, "nut": 0.1}[event.payload]
        >>> with fabric:
        ...     fabric.request("shop/price", "bolt")
        0.2
        """
        return self._core.request(
            topic, payload, timeout=timeout, priority=priority, deadline=deadline, headers=headers
        )

    async def request_async(
        self,
        topic: str,
        payload: object,
        *,
        timeout: Duration | None = "1 s",  # noqa: ASYNC109 - on the fabric's own time
        **options: Any,
    ) -> Any:
        """Ask as `request` does; the event loop runs on meanwhile, so tasks of the same loop may answer.

        Cancelling it gives the request up; a reply that comes then is counted as late.

        Parameters
        ----------
        topic, payload, timeout, **options
            As for `request`.

        Returns
        -------
        object
            The payload of the reply.

        Raises
        ------
        NoAnswerer, RequestTimeout, AnswerError, ClosedError
            As for `request`.

        Examples
        --------
        >>> import asyncio, chronofabric as cf
        >>> async def main():
        ...     fabric = cf.Fabric("shop")
        ...
        ...     @fabric.answers("shop/price")
        ...     async def price(event):
        ...         return {"bolt": 0.2, "nut": 0.1}[event.payload]
        ...
        ...     async with fabric:
        ...         return await fabric.request_async("shop/price", "nut")
        >>> asyncio.run(main())
        0.1
        """
        return await wait_for_answer(self._core, self._core.request_start(topic, payload, timeout=timeout, **options))

    def answers(
        self,
        pattern: str | Pattern | Iterable[str | Pattern],
        *,
        deadline: Duration | None = None,
        on_error: str = "continue",
        name: str | None = None,
        **options: Any,
    ) -> Callable[[_Function], _Function]:
        """Answer the requests on a set of topics by what the decorated function returns.

        It is called as a handler is, in the same thread or on the same loop, and counted like one. If it raises, the
        asker gets an `AnswerError`. It is called for events that nobody waits for, too; what it returns then goes
        nowhere.

        Parameters
        ----------
        pattern, deadline, on_error, name, **options
            As for `on`; but it gets nothing that topics keep from before, unless ``history=`` says so.

        Examples
        --------
        >>> import chronofabric as cf
        >>> fabric = cf.Fabric("arithmetic")
        >>> @fabric.answers("divide")
        ... def divide(event):
        ...     return event.payload[0] / event.payload[1]
        >>> with fabric:
        ...     fabric.request("divide", (1, 4))
        ...     try:
        ...         fabric.request("divide", (1, 0))
        ...     except cf.AnswerError as error:
        ...         print(repr(error.__cause__))
        0.25
        ZeroDivisionError('division by zero')
        """
        options.setdefault("history", 0)
        return self._decorator(pattern, deadline, on_error, name, _answer_by, **options)


def _answer_by(handler: Handler) -> None:
    """Have a handler reply what its function returns, or raises."""
    handler.function = (_answering_later if handler.asynchronous else _answering)(handler.function)


def _answering(function: Callable[[Event], Any]) -> Callable[[Event], None]:
    def answer(event: Event) -> None:
        try:
            event.reply(function(event))
        except BaseException as error:
            event.reply_error(error)
            raise

    return answer


def _answering_later(function: Callable[[Event], Any]) -> Callable[[Event], Any]:
    import asyncio

    async def answer(event: Event) -> None:
        try:
            event.reply(await function(event))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                event.reply_error(error)  # what it awaited was cancelled, not it
            raise
        except BaseException as error:
            event.reply_error(error)
            raise

    return answer
