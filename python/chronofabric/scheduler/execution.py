"""Execution by deadline, on workers that take the earliest deadline first."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self
from weakref import WeakSet, finalize, ref

from chronofabric._core import bus as _bus
from chronofabric._core import clock as _clock
from chronofabric._core import scheduler as _scheduler
from chronofabric.duration import nanoseconds
from chronofabric.errors import AdmissionError, ArgumentError, ClosedError, ForkedError, JobLimitError
from chronofabric.scheduler.admission import Admission, Times, judge, times_of
from chronofabric.scheduler.jobs import CancelledTasks, DeadLetters, Job, Miss, MissedJob, Overrun, Task
from chronofabric.scheduler.promise import warn_below_switch_interval
from chronofabric.scheduler.realtime import Realtime, Refused, realtime_of
from chronofabric.scheduler.timers import Target, checked_count, one_of
from chronofabric.scheduler.work import Work, natively, nothing, work_of
from chronofabric.scheduler.workers import FINISH_S, Workers, misses_of

if TYPE_CHECKING:
    import asyncio

    from chronofabric.duration import Duration
    from chronofabric.scheduler.timers import NativeAction

__all__ = ["Scheduler"]

_LEARNT_MAX = 256
"""Of how many functions that are submitted it is learnt how long they take."""
_EXPECTED = 0.9
"""The share of executions that end within what is expected of the next."""

_logger = logging.getLogger("chronofabric.scheduler")
_OPEN: WeakSet[Scheduler]


class Scheduler:
    """Tasks with deadlines, on workers that take the earliest deadline first and run each job to its end.

    A job is a function, a coroutine, or a native action such as a `NativeFunction`. A worker is a thread; Python runs
    in one of them at a time, so several help only where jobs let the interpreter go. Behind a busy interpreter a job of
    Python starts no sooner than its switch interval allows, and no admission can promise more. Native jobs come and run
    without the interpreter; they wait only for the job that their worker runs. Coroutines run on the loop in which the
    scheduler was entered with ``async with``, or on `loop`; their worker waits for their end. On a simulated clock
    there are no threads: jobs run, one after the other, in the thread that moves the time.

    A scheduler to which nobody refers any more, nor to a task of it, ends by itself: what waits still runs, and nothing
    comes after it.

    Parameters
    ----------
    name
        Its name, in messages.
    workers
        How many jobs run at a time.
    clock
        Where the time comes from.
    reserved
        How long jobs without a guarantee may take: what is admitted leaves room for one of them.
    tolerance
        A start or an end later than this after its deadline counts as missed.
    jobs_max
        How many jobs may wait for each worker.
    order
        How jobs without a guarantee are put in order: ``"deadline"``; or ``"feasible-first"``: by deadline too, but one
        that cannot be expected to end in time any more, from how long its like took so far, waits until none can.
        Jobs with a guarantee always go by deadline, for which they were admitted.
    loop
        Where coroutines run, if not on the loop that enters.
    spin
        How long before the instant of a job a thread that waits for it is awake, as for `Timers`.
    realtime
        What its threads ask of the system: the one that lets jobs come, and the workers. A worker has the class while
        it waits and while it runs native jobs, and lays it down before it calls Python. The processor is that of the
        first worker; each further worker has the one after.

    Raises
    ------
    ArgumentError
        An argument has a value that cannot be used.

    Examples
    --------
    >>> import chronofabric as cf
    >>> clock = cf.SimulatedClock()
    >>> with cf.scheduler.Scheduler(clock=clock) as scheduler:
    ...     control = scheduler.task(lambda: print("control"), period="10 ms", budget="1 ms")
    ...     _ = clock.advance("20 ms")
    ...     control.report()["late_ends"]
    control
    control
    0
    """

    def __init__(
        self,
        name: str = "scheduler",
        *,
        workers: int = 1,
        clock: str | _clock.TimeSource = "counter",
        reserved: Duration = 0,
        tolerance: Duration = "1 ms",
        jobs_max: int = 65_536,
        order: Literal["deadline", "feasible-first"] = "deadline",
        loop: asyncio.AbstractEventLoop | None = None,
        spin: Duration = "auto",
        realtime: Realtime | None = None,
    ) -> None:
        checked_count("workers", workers)
        checked_count("jobs_max", jobs_max)
        one_of("order", order, ("deadline", "feasible-first"))
        self.order = order
        self._reserved_ns = nanoseconds(reserved, argument="reserved")
        self.tolerance_ns = nanoseconds(tolerance, argument="tolerance")
        asked = realtime_of(realtime)
        if loop is not None:
            _check_loop(loop)
        self._workers = Workers(name, workers, clock=clock, jobs_max=jobs_max, spin=spin, realtime=asked)
        self._timers = self._workers.timers
        self._name = name
        self._lock = threading.RLock()
        self._tasks: list[Task] = []
        self._cancelled = CancelledTasks()
        self._dead_letters = DeadLetters()
        self._once = Task(
            self, nothing, "once", (0, 0, 0), priority=0, on_miss="run", on_overrun="report", guaranteed=False
        )
        self._learnt: dict[str, _scheduler.ExecutionTime] = {}
        if loop is not None:
            self._workers.use(loop)
        self._closed = False
        self._abandoned = finalize(self, self._workers.finish)
        self._abandoned.atexit = False  # what is open then is closed
        _OPEN.add(self)

    # Tasks

    def task(
        self,
        function: Callable[[], Any] | NativeAction,
        *,
        period: Duration,
        budget: Duration,
        deadline: Duration | None = None,
        kind: Literal["periodic", "sporadic"] = "periodic",
        missed: Literal["catch-up", "skip", "delay"] = "catch-up",
        priority: int = 0,
        on_miss: Miss | Callable[[MissedJob], object] = "run",
        on_overrun: Overrun = "report",
        otherwise: Literal["refuse", "best-effort"] = "refuse",
        name: str | None = None,
    ) -> Task:
        """Add a task, if the deadlines of all can be kept.

        Parameters
        ----------
        function
            What each job does: a function or coroutine function without arguments; or what needs no interpreter, as for
            `Timers.at`. A C function is called with when the job came and how long it waited, in nanoseconds.
        period
            The time between two jobs; for a sporadic task the least time.
        budget
            How long one job takes at most. Guarantees hold as long as this does.
        deadline
            By when a job should be done, from its arrival; by default the period, and at most that. One of a job of
            Python that is shorter than the switch interval (5 ms by default) is warned of in the log.
        kind
            ``"periodic"``: jobs come by themselves while the scheduler runs. ``"sporadic"``: by `Task.release`, at most
            one a period; one that is released sooner comes when the period is over.
        missed
            What becomes of ticks of the period whose time has passed, as for `Timers.every`: ``"catch-up"`` has a job
            come for each of them; ``"skip"`` leaves them out and counts them in ``missed_ticks``; ``"delay"`` moves
            the grid. On a clock that may be set, such as ``"system"``, choose ``"skip"``: where it is set forward by an
            hour, catching up lets all jobs of that hour come at once.
        priority
            0 to 255; the higher goes first where deadlines are equal.
        on_miss
            What becomes of a job that has not begun when its deadline, and the tolerance, have passed: ``"run"`` it
            late, ``"skip"`` it, or put it to the dead letters (``"dead-letter"``); or a function that is called with
            the `MissedJob`. All are counted.
        on_overrun
            What becomes of a task whose job takes longer than its budget: ``"report"``, ``"demote"`` it, so that
            its jobs run when none that was admitted waits, or ``"stop"``: when its budget is over, the job's ``stop``
            flag is set and, if it is a coroutine, it is cancelled; a native job cannot be asked. All are counted, and
            logged unless they are native.
        otherwise
            What becomes of a task that does not fit: ``"refuse"``, or ``"best-effort"``: its jobs run when none that
            was admitted waits, each of them for no longer than `reserved`, if the guarantees are to hold.
        name
            Its name, in reports and answers; by default the function's.

        Raises
        ------
        AdmissionError
            It does not fit; the error says why, and what would.
        ArgumentError
            An argument has a value that cannot be used.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.scheduler.Scheduler(clock=clock) as scheduler:
        ...     log = scheduler.task(lambda: print("log"), period="20 ms", budget="2 ms", missed="skip")
        ...     control = scheduler.task(lambda: print("control"), period="10 ms", deadline="5 ms", budget="1 ms")
        ...     _ = clock.advance("20 ms")
        ...     control.report()["late_starts"]
        control
        control
        log
        0
        """
        one_of("kind", kind, ("periodic", "sporadic"))
        one_of("missed", missed, ("catch-up", "skip", "delay"))
        one_of("otherwise", otherwise, ("refuse", "best-effort"))
        one_of("on_overrun", on_overrun, ("report", "demote", "stop"))
        if not callable(on_miss):
            one_of("on_miss", on_miss, ("run", "skip", "dead-letter"))
        _checked_priority(priority)
        times = times_of(period, deadline, budget)
        work = self._work_of(function, name)
        if work.act is not None and on_overrun == "stop":
            hint = "a native action cannot be asked to stop; give 'report' or 'demote'"
            raise ArgumentError(f"on_overrun is 'stop'; {hint}", argument="on_overrun", value=on_overrun, hint=hint)
        with self._lock:
            self._refuse_when_closed()
            task = Task(
                self,
                work.function,
                work.name,
                times,
                priority=priority,
                on_miss=on_miss,
                on_overrun=on_overrun,
                asynchronous=work.asynchronous,
            )
            if work.act is not None:
                self._make_native(task, work.act)
            guaranteed = self._guaranteed()
            answer, workers = self._judge(guaranteed, work.name, times)
            if answer.admitted:
                for each, worker in zip([*guaranteed, task], workers, strict=True):
                    self._place(each, worker)
            elif otherwise == "refuse":
                text = f"task '{work.name}' is not admitted: {answer.reason}"
                raise AdmissionError(text, task=work.name, answer=answer)
            else:
                task._account.without_guarantee()
                if times[2] > self._reserved_ns:
                    text = "task %s runs without a guarantee and for longer than is reserved: it can make others miss"
                    _logger.warning(text, work.name)
            if work.act is None and not self._workers.simulated:
                warn_below_switch_interval(f"task {work.name}", times[1])
            self._tasks.append(task)
            if kind == "periodic":
                task._timer = self._timers._periodic_for(self._arrival(task), times[0], missed)
                if self._workers.running:
                    self._begin(task)
        return task

    def would_admit(self, *, period: Duration, budget: Duration, deadline: Duration | None = None) -> Admission:
        """Say whether a task with these times would be admitted, without adding it.

        Parameters
        ----------
        period, budget, deadline
            As for `task`.

        Raises
        ------
        ArgumentError
            An argument has a value that cannot be used.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.scheduler.Scheduler(clock=cf.SimulatedClock()) as scheduler:
        ...     control = scheduler.task(print, period="10 ms", budget="6 ms", name="control")
        ...     answer = scheduler.would_admit(period="20 ms", budget="9 ms")
        ...     answer.admitted, answer.utilisation, answer.budget_fits_ns
        ...     scheduler.would_admit(period="20 ms", budget="4 ms").admitted
        (False, 1.05, 4000001)
        True
        """
        times = times_of(period, deadline, budget)
        with self._lock:
            return self._judge(self._guaranteed(), None, times)[0]

    def _guaranteed(self) -> list[Task]:
        """Return those with a guarantee; a worker may take it from one at any time."""
        return [task for task in self._tasks if task.guaranteed]

    def _judge(self, guaranteed: list[Task], name: str | None, times: Times) -> tuple[Admission, list[int]]:
        """Judge one more task beside those with a guarantee."""
        known = [(task.name, task._times, task._worker) for task in guaranteed]
        return judge(known, name, times, len(self._workers.queues), self._reserved_ns)

    def _work_of(self, function: object, name: str | None) -> Work:
        work = work_of(function, name)
        if work.asynchronous and self._workers.coroutines is None:
            hint = "enter the scheduler with 'async with', or give it a loop, so that there is one for coroutines"
            text = f"'{work.name}' is a coroutine function; {hint}"
            raise ArgumentError(text, argument="function", value=function, hint=hint)
        return work

    def _make_native(self, task: Task, act: object) -> None:
        """Have the jobs of a task come and run without the interpreter; on a simulated clock, as those of Python do."""
        missed = None
        if task._on_miss not in ("run", "skip"):
            missed = misses_of(task)
            self._timers._need_caller(missed)
        jobs = _scheduler.NativeTask(
            act,
            self._timers._core,
            self._workers.queues[0],
            task._account,
            deadline_ns=task._times[1],
            priority=task._priority,
            missed=missed,
        )
        if self._workers.simulated:
            task._function = natively(jobs, self._timers.now)
        else:
            task._native = jobs

    def _place(self, task: Task, worker: int) -> None:
        task._worker = worker
        if task._native is not None:
            task._native.move_to(self._workers.queues[worker])

    def _arrival(self, task: Task) -> Target | _scheduler.NativeTask:
        """Return what a timer does to let a job come."""
        if task._native is not None:
            return task._native
        known = ref(task)

        def arrive(call: _scheduler.Call) -> None:
            if (task := known()) is not None:
                task._scheduler._arrive(task, call.due_ns)

        return Target(arrive, task.name, None)

    def submit(
        self,
        function: Callable[[], Any] | NativeAction,
        *,
        deadline: Duration,
        priority: int = 0,
        name: str | None = None,
    ) -> Job:
        """Have something run once, without a guarantee: by its deadline if nobody who has one stands in the way.

        Parameters
        ----------
        function
            What to do, as for `task`.
        deadline
            By when it should be done, from now.
        priority, name
            As for `task`.

        Raises
        ------
        ArgumentError
            An argument has a value that cannot be used.
        JobLimitError
            As many jobs wait as may.
        ClosedError
            The scheduler is closed.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.scheduler.Scheduler(clock=clock) as scheduler:
        ...     _ = scheduler.submit(lambda: print("tidy up"), deadline="1 s")
        ...     _ = scheduler.submit(lambda: print("answer"), deadline="5 ms")
        ...     unwanted = scheduler.submit(lambda: print("never"), deadline="2 s")
        ...     unwanted.cancel()
        ...     _ = clock.advance("1 ms")
        True
        answer
        tidy up
        """
        _checked_priority(priority)
        work = self._work_of(function, name)
        deadline_ns = nanoseconds(deadline, argument="deadline")
        now_ns = self._timers.now()
        due_ns = min(now_ns + deadline_ns, 2**63 - 1)
        job = Job(work.name, now_ns, due_ns, _bus.Flag(), work.function, self._once, work.asynchronous)
        with self._lock:
            self._refuse_when_closed()
            worker = self._workers.least_busy
            if work.act is not None:
                core, queue, account = self._timers._core, self._workers.queues[worker], self._once._account
                jobs = _scheduler.NativeTask(work.act, core, queue, account, deadline_ns=0, priority=priority)
                job._function = natively(jobs, self._timers.now, job)
                if not self._workers.simulated:
                    job._queued = jobs.submit(job.arrival_ns, job.deadline_ns)
                    account.released()
                    return job
            latest_start_ns = None
            if self.order == "feasible-first":
                job._learnt = self._learnt_of(work.name)
                expected_ns = job._learnt.quantile_ns(_EXPECTED) or 0
                latest_start_ns = max(job.deadline_ns + self.tolerance_ns - expected_ns, -(2**63))
            self._workers.submit(job, worker, priority, latest_start_ns)
            self._once._account.released()
        return job

    def _learnt_of(self, name: str) -> _scheduler.ExecutionTime:
        """Return how long functions of a name took; those that were submitted longest ago are forgotten."""
        learnt = self._learnt.pop(name, None) or _scheduler.ExecutionTime()
        self._learnt[name] = learnt
        if len(self._learnt) > _LEARNT_MAX:
            del self._learnt[next(iter(self._learnt))]
        return learnt

    def release(self, task: Task) -> None:
        """Let one job of a sporadic task come; `Task.release` does this."""
        if task._timer is not None:
            hint = "its jobs come by themselves; make the task with kind='sporadic', or give single jobs to `submit`"
            text = f"task '{task.name}' is periodic and cannot be released; {hint}"
            raise ArgumentError(text, argument="kind", value="periodic", hint=hint)
        with self._lock:
            self._refuse_when_closed()
            if task._cancelled:
                raise ClosedError(f"task '{task.name}' was cancelled", name=task.name)
            now_ns = self._timers.now()
            arrival_ns = now_ns if task._last_ns is None else max(now_ns, task._last_ns + task._times[0])
            task._last_ns = arrival_ns
            if arrival_ns > now_ns:
                self._timers._once_for(self._arrival(task)).rearm_at(arrival_ns)
            elif task._native is not None:
                task._native.release(now_ns)
            else:
                self._arrive(task, now_ns)

    def remove(self, task: Task) -> None:
        """Take a task out; `Task.cancel` does this."""
        with self._lock:
            self._refuse_when_forked()
            if task._cancelled:
                return
            task._cancelled = True
            self._tasks.remove(task)
            if task._native is not None:
                task._native.cancel()
            if task._timer is not None and not self._closed:
                task._timer.cancel()
            self._workers.take_back(task)
            self._cancelled.add(task)

    # Jobs

    def _arrive(self, task: Task, arrival_ns: int) -> None:
        deadline_ns = arrival_ns + task._times[1]
        job = Job(task.name, arrival_ns, deadline_ns, _bus.Flag(), task._function, task, task._asynchronous)
        with self._lock:
            if self._closed or task._cancelled:
                return
            try:
                self._workers.release(job)
            except JobLimitError as error:
                task._error = f"{type(error).__name__}: {error}"

    # What it is and did

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What was asked of the system and refused, each once; known once it runs on a real clock."""
        return self._workers.refused

    @property
    def dead_letters(self) -> tuple[MissedJob, ...]:
        """Jobs that were put to the dead letters, oldest first; of more than 1 024 the newest."""
        return self._dead_letters.report()[0]

    def report(self) -> dict[str, Any]:
        """Return its figures: a row for each task, one for what was submitted once, and one for all cancelled tasks.

        What became of the jobs of tasks that were cancelled is summed up under ``cancelled_tasks``, with how many tasks
        that were. So of all jobs that were ever ``released`` each is in exactly one count, or waits, or runs.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.scheduler.Scheduler(clock=clock) as scheduler:
        ...     task = scheduler.task(lambda: None, period="10 ms", budget="1 ms")
        ...     _ = clock.advance("25 ms")
        ...     task.cancel()
        ...     report = scheduler.report()
        >>> report["tasks"], report["cancelled_tasks"]["tasks"], report["cancelled_tasks"]["completed"]
        ((), 1, 2)
        """
        with self._lock:
            tasks = list(self._tasks)
            cancelled = self._cancelled.report()
        _, lost = self._dead_letters.report()
        return {
            "name": self._name,
            "workers": len(self._workers.queues),
            "waiting": self._workers.waiting,
            "utilisation": sum(task._times[2] / task._times[0] for task in tasks if task.guaranteed),
            "tasks": tuple(task.report() for task in tasks),
            "cancelled_tasks": cancelled,
            "once": self._once.report(),
            "dead_letters_lost": lost,
        }

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._workers.running else "open"
        return f"Scheduler('{self._name}', tasks={len(self._tasks)}, {state})"

    # Its life

    def start(self) -> None:
        """Start the workers; the first job of a periodic task comes one period from now. Entering does this."""
        with self._lock:
            self._refuse_when_closed()
            if self._workers.running:
                return
            self._workers.start()
            for task in self._tasks:
                self._begin(task)

    def _begin(self, task: Task) -> None:
        if task._timer is not None:
            task._timer.rearm_at(self._timers.now() + task._times[0])

    def close(self) -> int:
        """End the workers, once the jobs that run have ended; return how many jobs still waited.

        Called on the loop where coroutines run, it cancels those that do, which nobody could wait for there; leaving
        ``async with`` waits for them. Calling it again does nothing more.
        """
        if self._timers.forked:
            return 0
        waiting = self._shut()
        coroutines = self._workers.coroutines
        if coroutines is not None and (coroutines.here or not coroutines.loop.is_running()):
            coroutines.close()
        if coroutines is None or not coroutines.here:
            self._workers.join()
        if coroutines is not None:
            coroutines.close()
        return waiting

    def _shut(self) -> int:
        """Let nothing more begin; return how many jobs waited."""
        with self._lock:
            if self._closed:
                return 0
            self._closed = True
        self._abandoned.detach()
        return self._workers.close()

    def _refuse_when_closed(self) -> None:
        self._refuse_when_forked()
        if self._closed:
            raise ClosedError(f"scheduler '{self._name}' is closed", name=self._name)

    def _refuse_when_forked(self) -> None:
        if self._timers.forked:
            text = f"scheduler '{self._name}' belongs to the process that this one was forked from; make a new one here"
            raise ForkedError(text, name=self._name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        import asyncio

        if self._workers.coroutines is None:
            self._workers.use(asyncio.get_running_loop())
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        if not self._timers.forked:
            self._shut()
            if self._workers.coroutines is not None and self._workers.coroutines.here:
                await self._workers.coroutines.finish(FINISH_S)
            await loop.run_in_executor(None, self._workers.join)
        self.close()


def _check_loop(loop: object) -> None:
    import asyncio

    if not isinstance(loop, asyncio.AbstractEventLoop):
        hint = "it must be an event loop, such as asyncio.get_running_loop() returns"
        raise ArgumentError(f"loop is {loop!r}; {hint}", argument="loop", value=loop, hint=hint)


def _checked_priority(priority: object) -> None:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 255:
        hint = "it must be a whole number from 0 to 255"
        raise ArgumentError(f"priority is {priority!r}; {hint}", argument="priority", value=priority, hint=hint)


_OPEN = WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is open before the interpreter ends."""
    for scheduler in list(_OPEN):
        scheduler.close()
