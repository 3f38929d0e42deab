"""The sources and sinks of a running node, each in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chronofabric.errors import ClosedError
from chronofabric.fabric.stopping import StopToken

if TYPE_CHECKING:
    from chronofabric.bus import Subscription
    from chronofabric.fabric.node import Fabric
    from chronofabric.fabric.sinks import Sink
    from chronofabric.fabric.sources import Source

__all__ = ["RunningSink", "RunningSource"]

_SINK_BATCH = 1024

_SOURCE_COUNTS = ("published", "skipped", "timed_out", "missed")
"""What a source may count: events it published, rows it could not use, events that a full subscription did not take in
time, instants of its rate that had passed."""

_logger = logging.getLogger("chronofabric.node")


class _Part:
    """What sources and sinks have in common: a thread, and what went wrong in it."""

    def __init__(self, kind: str, part: Source | Sink) -> None:
        self.part: Any = part
        self.name = part.name
        self.errors = 0
        self.error: str | None = None
        self.done = threading.Event()
        self._kind = kind
        self._thread: threading.Thread | None = None

    def _start(self, body: Callable[[], None]) -> None:
        def run() -> None:
            try:
                body()
            finally:
                self.done.set()

        self._thread = threading.Thread(target=run, name=f"chronofabric-{self._kind}-{self.name}", daemon=True)
        self._thread.start()

    def _failed(self, error: BaseException) -> None:
        self.errors += 1
        self.error = f"{type(error).__name__}: {error}"
        _logger.error("%s %s failed: %s", self._kind, self.name, error, exc_info=error)

    @property
    def is_here(self) -> bool:
        """Whether its thread is the calling one."""
        return self._thread is threading.current_thread()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of its thread; say whether it has ended."""
        if self._thread is None or self.is_here:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


class RunningSource(_Part):
    """A source of a running node."""

    def __init__(self, source: Source, node: Fabric, ended: Callable[[], object]) -> None:
        super().__init__("source", source)
        self._node = node
        self._ended = ended
        self.stop_token = StopToken(node.clock)

    @property
    def finite(self) -> bool:
        """Whether it ends by itself."""
        return bool(self.part.finite)

    def start(self) -> None:
        """Start it."""
        self._start(self._run)

    def _run(self) -> None:
        try:
            self.part.run(self._node, self.stop_token)
        except ClosedError as error:
            # The node closed while the source was publishing: that is its end, not a failure.
            if not self.stop_token.is_set():
                self._failed(error)
        except BaseException as error:  # noqa: BLE001 - whatever a source raises, SystemExit too, the node goes on
            self._failed(error)
        finally:
            self.done.set()
            self._ended()

    def report(self) -> dict[str, Any]:
        """Return its figures; those that it does not count itself are 0."""
        counts = {count: getattr(self.part, count, 0) for count in _SOURCE_COUNTS}
        return {
            "name": self.name,
            **counts,
            "left_out": list(getattr(self.part, "left_out", ())),
            "errors": self.errors,
            "error": self.error,
            "done": self.done.is_set(),
        }


class RunningSink(_Part):
    """A sink of a running node."""

    def __init__(self, sink: Sink, node: Fabric, subscription: Subscription) -> None:
        super().__init__("sink", sink)
        self._node = node
        self.subscription = subscription
        self._taken = 0
        self._written = 0
        self._busy = False

    @property
    def written(self) -> int:
        """Events written: as the sink itself counts them, otherwise those of its whole calls."""
        return int(getattr(self.part, "written", self._written))

    @property
    def skipped(self) -> int:
        """Events that the sink left out, if it counts them."""
        return int(getattr(self.part, "skipped", 0))

    @property
    def lost(self) -> int:
        """Events that it had taken when it failed, and did not write."""
        if hasattr(self.part, "lost"):
            return int(self.part.lost)
        return self._taken - self.written - self.skipped if self.errors else 0

    @property
    def idle(self) -> bool:
        """Whether nothing waits for it and nothing is in its hands; while it asks itself, it cannot go on."""
        return self.done.is_set() or self.is_here or (self.subscription.pending == 0 and not self._busy)

    @property
    def dropped(self) -> int:
        """Events that never reached the sink, because it was full for too long, failed, or was not done in time."""
        return sum(self.subscription.books().dropped.values())

    def start(self) -> None:
        """Open it, so that what is wrong with it is raised here, and start its thread."""
        self.part.open(self._node)
        self._start(self._run)

    def _run(self) -> None:
        try:
            while True:
                self._busy = True
                try:
                    batch = self.subscription.poll_batch(_SINK_BATCH)
                    if len(batch):
                        self._taken += len(batch)
                        self.part.write(batch)
                        self._written += len(batch)
                        continue
                finally:
                    self._busy = False
                if self.subscription.closed:
                    break
                self.subscription.wait_ready()
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises, SystemExit too, the node goes on
            self._failed(error)
            self.subscription.close()
        finally:
            try:
                self.part.close()
            except BaseException as error:  # noqa: BLE001 - as above
                self._failed(error)

    def report(self) -> dict[str, Any]:
        """Return its figures."""
        counts = {count: getattr(self, count) for count in ("written", "skipped", "lost", "dropped")}
        return {"name": self.name, **counts, "errors": self.errors, "error": self.error}
