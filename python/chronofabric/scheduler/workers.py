"""Workers: what takes jobs from their queues, runs them, and takes account of their ends."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import ref

from chronofabric._core import bus as _bus
from chronofabric._core import clock as _clock
from chronofabric._core import scheduler as _scheduler
from chronofabric.errors import ClosedError
from chronofabric.scheduler.jobs import CURRENT, Job, MissedJob, Task
from chronofabric.scheduler.realtime import Realtime, Refused
from chronofabric.scheduler.timers import Target, Timers
from chronofabric.scheduler.work import nothing

if TYPE_CHECKING:
    import asyncio

    from chronofabric.duration import Duration
    from chronofabric.scheduler.coroutines import Coroutines

__all__ = ["FINISH_S", "Workers", "misses_of"]

FINISH_S = 5.0
"""How long closing waits for a job that runs; one that never returns is left behind."""

_logger = logging.getLogger("chronofabric.scheduler")


class _Releases(Timers):
    """Timers that hand to whom they call what was called for."""

    def _call(self, call: _scheduler.Call) -> None:
        target: Target = call.target
        try:
            target.function(call)
        finally:
            call.completed(False)


class Workers:
    """The queues of a scheduler, and who runs the jobs in them: threads, on a simulated clock who moves the time.

    Nothing here refers to the scheduler but the jobs that wait or run: one that nobody else refers to is collected, and
    its threads end.

    Parameters
    ----------
    name
        That of the scheduler.
    count
        How many there are.
    clock, jobs_max, spin, realtime
        As for the scheduler.
    """

    def __init__(
        self,
        name: str,
        count: int,
        *,
        clock: str | _clock.TimeSource,
        jobs_max: int,
        spin: Duration,
        realtime: Realtime,
    ) -> None:
        # What is the process's is asked for by the first worker. The processor of a worker is not the firing thread's
        # too, because the worker may do native jobs there in the same class.
        of_threads = replace(realtime, lock_memory=False, awake_processors=False)
        self.timers = _Releases(name, clock=clock, spin=spin, realtime=replace(of_threads, processor=None))
        self.simulated = _clock.source(clock).kind == "simulated"
        self.queues = [_scheduler.DeadlineQueue(jobs_max, clock=clock) for _ in range(count)]
        self._workers = [
            _scheduler.Worker(
                queue, self.timers._core, _for_worker(of_threads if number else realtime, number).options()
            )
            for number, queue in enumerate(self.queues)
        ]
        self.coroutines: Coroutines | None = None
        self.running = False
        """Whether jobs begin."""
        self._name = name
        self._threads: list[threading.Thread] = []
        self._runs_soon = False
        self._runs_now = False

    # Their life

    def start(self) -> None:
        """Let jobs begin."""
        self.running = True
        if self.simulated:
            return
        for number, worker in enumerate(self._workers):
            name = f"chronofabric-{self._name}-{number}"
            thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run coroutines on a loop."""
        from chronofabric.scheduler.coroutines import Coroutines

        self.coroutines = Coroutines(loop, self.ended, simulated=self.simulated)

    def close(self) -> int:
        """Let nothing more begin; return how many jobs waited."""
        self.running = False
        self.timers.close()
        return sum(queue.close() for queue in self.queues)

    def finish(self) -> None:
        """End by themselves once no job waits: nobody refers to the scheduler any more."""
        if self.timers.forked:
            return
        for queue in self.queues:
            queue.finish()

    def join(self) -> None:
        """Wait for the jobs that run."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(FINISH_S)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return sum(len(queue) for queue in self.queues)

    @property
    def least_busy(self) -> int:
        """The one for which fewest jobs wait."""
        return min(range(len(self.queues)), key=lambda number: len(self.queues[number]))

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What was asked of the system and refused, each once."""
        of_workers = (refused for worker in self._workers for refused in worker.refused)
        return tuple(Refused(*refused) for refused in dict.fromkeys((*self.timers._core.refused, *of_workers)))

    # Jobs

    def submit(self, job: Job, worker: int, priority: int, latest_start_ns: int | None) -> None:
        """Let a job without a task wait for a worker."""
        job._queued = self.queues[worker].push(
            job, job.deadline_ns, priority=priority, best_effort=True, latest_start=latest_start_ns
        )
        self._run_soon()

    def release(self, job: Job) -> None:
        """Let a job wait for the worker of its task."""
        task = job._task
        job._queued = task._account.release(self.queues[task._worker], job, job.deadline_ns, task._priority)
        self._run_soon()

    def take_back(self, task: Task) -> None:
        """Take out the jobs of a task that wait."""
        for queue in self.queues:
            task._account.take_back(queue)

    def _run_soon(self) -> None:
        if self.simulated and not self._runs_soon:
            # After all that comes at this same instant, so that the earliest deadline goes first.
            self._runs_soon = True
            self.timers._once_for(Target(self._run_simulated, self._name, None)).rearm_at(self.timers.now())

    def _run_simulated(self, _: object) -> None:
        self._runs_soon = False
        if not self._runs_now:  # a job moves the time itself, or awaits: what comes meanwhile waits for its end
            self._run_waiting()

    def _run_waiting(self) -> None:
        """Run what waits, up to a coroutine on the loop of this very thread; at its end this is called again."""
        self._runs_now = True
        try:
            while self.running and (waiting := [queue for queue in self.queues if len(queue)]):
                popped = waiting[0].pop()
                if popped is not None and not self._run(popped[1]):
                    return
        except BaseException:
            self._runs_now = False
            raise
        self._runs_now = False

    def _work(self, worker: _scheduler.Worker) -> None:
        while (popped := worker.wait()) is not None:
            self._run(popped[1])
            # Its job refers to the scheduler, which may be gone before there is another.
            del popped
            if not self.running:
                break
        worker.end()

    def _run(self, job: Job) -> bool:
        """Run a job; say whether that is over."""
        task = job._task
        job._started_ns = self.timers.now()
        late_ns = task._account.begins(job.arrival_ns, job.deadline_ns, job._started_ns)
        if late_ns is not None:
            _missed(MissedJob(job, late_ns))
            return True
        if task._on_overrun == "stop":
            job._watch = self._watch(job)
        if job._asynchronous:
            return self._run_coroutine(job)
        token = CURRENT.set(job)
        try:
            job._function()
        except BaseException as error:  # noqa: BLE001 - whatever a job raises, SystemExit too, the worker goes on
            self.ended(job, error)
        else:
            self.ended(job, None)
        finally:
            CURRENT.reset(token)
        return True

    def _run_coroutine(self, job: Job) -> bool:
        coroutines = self.coroutines
        assert coroutines is not None, "refused before"
        try:
            if coroutines.here:
                coroutines.begin(job, self._run_waiting)
                return False
            coroutines.run(job)
        except RuntimeError as error:  # there is no loop any more
            self.ended(job, error)
        return True

    def _watch(self, job: Job) -> _scheduler.Timer | None:
        """Ask a job to stop at the end of its budget: natively, and a coroutine by cancelling it too."""
        budget_ns = job._task._times[2]
        try:
            if not job._asynchronous:
                return self.timers.after(f"{budget_ns} ns", job.stop)
            watch = self.timers._once_for(Target(lambda _: job.cancel(), job.name, None))
            watch.rearm_at(job._started_ns + budget_ns)
        except ClosedError:  # closed between its being taken and now
            return None
        return watch

    def ended(self, job: Job, error: BaseException | None) -> None:
        """Take account of the end of a job."""
        task = job._task
        if job._watch is not None:
            job._watch.cancel()
        if error is not None:
            task._account.failed()
            task._error = f"{type(error).__name__}: {error}"
            _logger.error("job %s failed", job.name, exc_info=error)
        ended_ns = self.timers.now()
        took_ns = ended_ns - job._started_ns
        if job._learnt is not None:
            job._learnt.observe(took_ns)
        if task._account.ended(job.deadline_ns, job._started_ns, ended_ns):
            budget_ns = task._times[2]
            _logger.warning("a job of task %s took %d ns of its budget of %d ns", task.name, took_ns, budget_ns)


def misses_of(task: Task) -> Target:
    """Return who is told of the misses of a native task, in the thread that lets jobs of Python come."""
    known = ref(task)  # what timers refer to keeps nothing that refers to them

    def missed(call: _scheduler.Call) -> None:
        if (task := known()) is None:
            return
        deadline_ns = call.due_ns + task._times[1]
        job = Job(task.name, call.due_ns, deadline_ns, _bus.Flag(), nothing, task)
        # Those that found no room to wait for the interpreter.
        task._scheduler._dead_letters.lose(call.missed)
        _missed(MissedJob(job, call.fired_ns - deadline_ns))

    return Target(missed, task.name, None)


def _missed(missed: MissedJob) -> None:
    """Do what a task asks for with a job that is late and does not run; it is counted already."""
    task = missed.job._task
    if task._on_miss == "dead-letter":
        task._scheduler._dead_letters.add(missed)
    elif callable(task._on_miss):
        try:
            task._on_miss(missed)
        except BaseException as error:  # as with a job: whatever it raises, SystemExit too, the worker goes on
            task._account.failed()
            task._error = f"{type(error).__name__}: {error}"
            _logger.exception("the handler of misses of task %s failed", task.name)


def _for_worker(asked: Realtime, number: int) -> Realtime:
    """Each worker has the processor after that of the one before."""
    return asked if asked.processor is None else replace(asked, processor=asked.processor + number)
