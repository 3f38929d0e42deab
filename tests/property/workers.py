"""Threads that do what they are told, under a watchdog that says where every thread stands."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

PATIENCE_S = 60.0
"""Far beyond what any step takes: who is not back by then hangs."""


class Worker:
    """A thread that does one thing after another."""

    def __init__(self, name: str) -> None:
        self._given: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (given := self._given.get()) is not None:
            future, body = given
            # Nothing of it must live on here once the caller goes on.
            del given
            try:
                result = body()
            except BaseException as error:
                del body
                future.set_exception(error)
            else:
                del body
                future.set_result(result)
                del result
            del future

    def begin(self, body: Callable[[], Any]) -> Future[Any]:
        """Have it done."""
        future: Future[Any] = Future()
        self._given.put((future, body))
        return future

    def call(self, body: Callable[[], Any]) -> Any:
        """Have it done, and wait for what comes of it."""
        return finished(self.begin(body))

    def end(self) -> None:
        """Let the thread go."""
        self._given.put(None)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), standing(f"{self.thread.name} did not end")


def finished(future: Future[Any]) -> Any:
    """Wait for what comes of a call; a call that does not come back is a failure that says where everybody stands."""
    try:
        return future.result(PATIENCE_S)
    except TimeoutError:
        if future.done():  # it raised a timeout of its own
            raise
        raise AssertionError(standing(f"no end within {PATIENCE_S:g} s")) from None
    finally:
        # What was raised refers to this frame; were it to refer back, all callers would stay until the collector comes.
        del future


def together(workers: Sequence[Worker], bodies: Sequence[Callable[[], Any]]) -> list[Any]:
    """Have things done at once, one by each worker, which begin together; return what came of each."""
    begin = threading.Barrier(len(bodies))

    def at_once(body: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            begin.wait(PATIENCE_S)
            return body()

        return run

    futures = [worker.begin(at_once(body)) for worker, body in zip(workers, bodies, strict=False)]
    return [finished(future) for future in futures]


def standing(what: str) -> str:
    """Say where every thread stands."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = [
        f"--- {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    ]
    return "\n".join([what, *stacks])
