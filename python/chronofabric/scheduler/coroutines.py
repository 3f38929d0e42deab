"""Jobs that are coroutines: they run on a loop, and whoever takes them from their queue waits for their end."""

from __future__ import annotations

import asyncio  # noqa: TID253 - this module is imported for coroutines only
import contextlib
import threading
from collections.abc import Callable

from chronofabric.scheduler.jobs import CURRENT, Job

__all__ = ["Coroutines"]

_SLICE_S = 0.1
"""How often who waits for a coroutine looks whether its loop is still there."""


class Coroutines:
    """Runs the coroutines of jobs on one loop.

    Parameters
    ----------
    loop
        Where they run.
    ended
        Told of each that has ended, on the loop, with what it raised.
    simulated
        Whether whoever moves the time runs the loop where nobody else does.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[Job, BaseException | None], None],
        *,
        simulated: bool,
    ) -> None:
        self.loop = loop
        self._simulated = simulated
        self._ended = ended
        self._closed = False
        self._running: set[asyncio.Task[BaseException | None]] = set()

    @property
    def here(self) -> bool:
        """Whether the calling thread runs the loop."""
        return asyncio._get_running_loop() is self.loop

    def begin(self, job: Job, then: Callable[[], None]) -> asyncio.Task[BaseException | None]:
        """Start a job, in the thread of the loop; `then` is called there after its end."""

        def end(task: asyncio.Task[BaseException | None]) -> None:
            self._running.discard(task)
            if not task.cancelled():
                error = task.result()
            else:  # asked to stop, it has; otherwise somebody ends all that runs on the loop
                error = None if job.stop.is_set() else asyncio.CancelledError("its loop ended")
            self._ended(job, error)
            then()

        task = self.loop.create_task(_run(job), name=f"job {job.name}")
        job._running = task
        self._running.add(task)
        task.add_done_callback(end)
        return task

    def run(self, job: Job) -> None:
        """Run a job from outside of the loop, and wait for its end.

        Raises
        ------
        RuntimeError
            The loop is closed, or stands still and the scheduler is closed.
        """
        if self._simulated and not self.loop.is_running():
            with contextlib.suppress(asyncio.CancelledError):
                self.loop.run_until_complete(self.begin(job, _nothing))
            return
        done = threading.Event()
        self.loop.call_soon_threadsafe(self.begin, job, done.set)
        while not done.wait(_SLICE_S):
            if self.loop.is_closed() or (self._closed and not self.loop.is_running()):
                text = f"the loop ended before job {job.name} did"
                raise RuntimeError(text)

    def close(self) -> None:
        """Cancel what still runs, from whatever thread."""
        self._closed = True
        for task in list(self._running):
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(task.cancel)

    async def finish(self, timeout_s: float) -> None:
        """Wait on the loop for what runs, and cancel what takes longer."""
        self._closed = True
        if running := set(self._running):
            _, late = await asyncio.wait(running, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _run(job: Job) -> BaseException | None:
    CURRENT.set(job)
    try:
        await job._function()
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a job raises, the scheduler and the loop go on
        return error
    return None


def _nothing() -> None:
    pass
