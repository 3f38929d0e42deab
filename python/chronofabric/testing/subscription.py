"""Receiving on a simulated node, in the thread that moves the time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from chronofabric.bus import Batch, Event, Subscription
from chronofabric.duration import nanoseconds
from chronofabric.errors import ClosedError, WouldDeadlock

if TYPE_CHECKING:
    from chronofabric.duration import Duration
    from chronofabric.testing.stepper import Stepper

__all__ = ["SimulatedSubscription"]


class SimulatedSubscription(Subscription):
    """A subscription that does not wait, in the thread that moves the time, for what only this thread could bring."""

    _stepper: Stepper

    def receive(self, timeout: Duration | None = None) -> Event:
        """Receive the next event, where there is one now."""
        event = self.poll()
        if event is not None:
            return event
        if timeout is None or nanoseconds(timeout, argument="timeout"):
            self._refuse_to_wait()
        return super().receive(timeout)

    def __iter__(self) -> Iterator[Event]:  # type: ignore[override]
        while True:
            try:
                yield self.receive()
            except ClosedError:
                return

    def __next__(self) -> Event:
        return next(iter(self))

    def payloads(self) -> Iterator[Any]:  # type: ignore[override]
        """Return an iterator over bare payloads."""
        return (event.payload for event in self)

    def batches(self, size: int) -> Iterator[Batch]:  # type: ignore[override]
        """Return an iterator over batches."""
        super().batches(size)  # refuses a size that makes no sense
        return self._batches(size)

    def _batches(self, size: int) -> Iterator[Batch]:
        while True:
            closed = self.closed
            batch = self.poll_batch(size)
            if len(batch):
                yield batch
            elif closed:
                return
            else:
                self.wait_ready()

    def wait_ready(self, timeout_ns: int | None = None) -> bool:
        """Say that it has something to do, or is closed."""
        if not self.ready and timeout_ns != 0:
            self._refuse_to_wait()
        return super().wait_ready(timeout_ns)

    def _longest_s(self, deadline_ns: int) -> float:
        # A coroutine handler runs on a loop whose time is the node's own.
        return max(0.0, (deadline_ns - self._bus.now()) / 1e9)

    def _refuse_to_wait(self) -> None:
        if self._stepper.is_here and not self.closed:
            raise WouldDeadlock(
                f"receiving from '{self.name}' would wait in the thread that moves the simulation's time, so for ever; "
                "advance the simulation and use poll(), or await receive_async() in a coroutine handler",
                subscriptions=(self.name,),
            )
