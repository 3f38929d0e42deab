"""Execution by deadline, on workers that take the earliest deadline first."""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self
from weakref import WeakSet

from chronofabric._core import bus as _bus
from chronofabric._core import clock as _clock
from chronofabric._core import scheduler as _scheduler
from chronofabric.duration import nanoseconds
from chronofabric.errors import AdmissionError, ArgumentError, ClosedError, ForkedError, UnsupportedError
from chronofabric.scheduler.jobs import CURRENT, Admission, Job, Miss, MissedJob, Overrun, Task
from chronofabric.scheduler.timers import Target, Timers, checked_count, is_coroutine_function, one_of

if TYPE_CHECKING:
    from chronofabric.duration import Duration

__all__ = ["Scheduler"]

_DEAD_LETTERS_MAX = 1024
_FINISH_S = 5.0

_logger = logging.getLogger("chronofabric.scheduler")
_OPEN: WeakSet[Scheduler]


class _Releases(Timers):
    """Timers that say to whom they call when they were due."""

    def _call(self, call: _scheduler.Call) -> None:
        target: Target = call.target
        target.function(call.due_ns)
        call.completed(False)


class Scheduler:
    """Tasks with deadlines, on workers that take the earliest deadline first and run each job to its end.

    A worker is a thread; Python runs in one of them at a time, so several help only where jobs let the interpreter go.
    Behind a busy interpreter a job starts no sooner than its switch interval allows, and no admission can promise more:
    what must not wait is a native action of `Timers`. On a simulated clock there are no threads: jobs run, one after
    the other, in the thread that moves the time.

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
    ) -> None:
        checked_count("workers", workers)
        checked_count("jobs_max", jobs_max)
        self._reserved_ns = nanoseconds(reserved, argument="reserved")
        self.tolerance_ns = nanoseconds(tolerance, argument="tolerance")
        self._timers = _Releases(name, clock=clock)
        self._simulated = _clock.source(clock).kind == "simulated"
        self._queues = [_scheduler.DeadlineQueue(jobs_max) for _ in range(workers)]
        self._name = name
        self._lock = threading.RLock()
        self._tasks: list[Task] = []
        self._threads: list[threading.Thread] = []
        self._dead_letters: deque[MissedJob] = deque(maxlen=_DEAD_LETTERS_MAX)
        self._dead_letters_lost = 0
        self._once = Task(
            self, _nothing, "once", (0, 0, 0), priority=0, on_miss="run", on_overrun="report", guaranteed=False
        )
        self._running = False
        self._runs_soon = False
        self._runs_now = False
        self._closed = False
        _OPEN.add(self)

    # Tasks

    def task(
        self,
        function: Callable[[], Any],
        *,
        period: Duration,
        budget: Duration,
        deadline: Duration | None = None,
        kind: Literal["periodic", "sporadic"] = "periodic",
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
            What each job calls, without arguments.
        period
            The time between two jobs; for a sporadic task the least time.
        budget
            How long one job takes at most. Guarantees hold as long as this does.
        deadline
            By when a job should be done, from its arrival; by default the period, and at most that.
        kind
            ``"periodic"``: jobs come by themselves while the scheduler runs. ``"sporadic"``: by `Task.release`.
        priority
            0 to 255; the higher goes first where deadlines are equal.
        on_miss
            What becomes of a job that has not begun when its deadline, and the tolerance, have passed: ``"run"`` it
            late, ``"skip"`` it, or put it to the dead letters (``"dead-letter"``); or a function that is called with
            the `MissedJob`. All are counted.
        on_overrun
            What becomes of a task whose job takes longer than its budget: ``"report"``, ``"demote"`` it, so that
            its jobs run when none that was admitted waits, or ``"stop"``: the job's ``stop`` flag is set when its
            budget is over.
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
        """
        if not callable(function):
            hint = "give a function without arguments"
            raise ArgumentError(f"function is {function!r}; {hint}", argument="function", value=function, hint=hint)
        if is_coroutine_function(function):
            raise UnsupportedError("jobs are functions in this version, not coroutines", feature="coroutine jobs")
        one_of("kind", kind, ("periodic", "sporadic"))
        one_of("otherwise", otherwise, ("refuse", "best-effort"))
        one_of("on_overrun", on_overrun, ("report", "demote", "stop"))
        if not callable(on_miss):
            one_of("on_miss", on_miss, ("run", "skip", "dead-letter"))
        _checked_priority(priority)
        times = _times(period, deadline, budget)
        called = name or getattr(function, "__qualname__", None) or repr(function)
        with self._lock:
            self._refuse_when_closed()
            task = Task(
                self,
                function,
                called,
                times,
                priority=priority,
                on_miss=on_miss,
                on_overrun=on_overrun,
                guaranteed=True,
            )
            answer, workers = self._judge(task)
            if answer.admitted:
                for each, worker in zip([*self._guaranteed(), task], workers, strict=True):
                    each._worker = worker
            elif otherwise == "refuse":
                text = f"task '{called}' is not admitted: {answer.reason}"
                raise AdmissionError(text, task=called, answer=answer)
            else:
                task.guaranteed = False
                if times[2] > self._reserved_ns:
                    text = "task %s runs without a guarantee and for longer than is reserved: it can make others miss"
                    _logger.warning(text, called)
            self._tasks.append(task)
            if kind == "periodic":
                target = Target(lambda due_ns: self._arrive(task, due_ns), called, None)
                task._timer = self._timers._periodic_for(target, times[0])
                if self._running:
                    self._begin(task)
        return task

    def would_admit(self, *, period: Duration, budget: Duration, deadline: Duration | None = None) -> Admission:
        """Say whether a task with these times would be admitted, without adding it.

        Parameters
        ----------
        period, budget, deadline
            As for `task`.
        """
        task = Task(
            self,
            _nothing,
            "the new task",
            _times(period, deadline, budget),
            priority=0,
            on_miss="run",
            on_overrun="report",
            guaranteed=True,
        )
        with self._lock:
            return self._judge(task)[0]

    def _guaranteed(self) -> list[Task]:
        return [task for task in self._tasks if task.guaranteed]

    def _judge(self, task: Task) -> tuple[Admission, list[int]]:
        tasks = [*self._guaranteed(), task]
        answer = _scheduler.admission([each._times for each in tasks], len(self._queues), self._reserved_ns)
        names = [each.name for each in tasks]
        breaks = answer.get("task")
        reason = answer["reason"]
        if breaks is not None:
            reason = reason.replace(f"task {breaks}", f"task '{names[breaks]}'")
        admission = Admission(
            admitted=answer["admitted"],
            utilisation=answer["utilisation"],
            reason=reason,
            blocking_ns=answer.get("blocking_ns", 0),
            task=None if breaks is None else names[breaks],
            interval_ns=answer.get("interval_ns"),
            demand_ns=answer.get("demand_ns"),
            budget_fits_ns=answer.get("budget_fits_ns"),
        )
        return admission, answer.get("workers", [])

    def submit(
        self, function: Callable[[], Any], *, deadline: Duration, priority: int = 0, name: str | None = None
    ) -> Job:
        """Have a function run once, without a guarantee: by its deadline if nobody who has one stands in the way.

        Parameters
        ----------
        function
            What to call, without arguments.
        deadline
            By when it should be done, from now.
        priority, name
            As for `task`.

        Raises
        ------
        JobLimitError
            As many jobs wait as may.
        ClosedError
            The scheduler is closed.
        """
        if not callable(function):
            hint = "give a function without arguments"
            raise ArgumentError(f"function is {function!r}; {hint}", argument="function", value=function, hint=hint)
        _checked_priority(priority)
        deadline_ns = nanoseconds(deadline, argument="deadline")
        called = name or getattr(function, "__qualname__", None) or repr(function)
        now_ns = self._timers.now()
        job = Job(called, now_ns, min(now_ns + deadline_ns, 2**63 - 1), _bus.Flag(), function, self._once)
        with self._lock:
            self._refuse_when_closed()
            worker = min(range(len(self._queues)), key=lambda each: len(self._queues[each]))
            self._once._count("released")
            self._push(job, worker, priority, best_effort=True)
        return job

    def release(self, task: Task) -> None:
        """Let one job of a sporadic task come; `Task.release` does this."""
        with self._lock:
            self._refuse_when_closed()
            if task not in self._tasks:
                raise ClosedError(f"task '{task.name}' was cancelled", name=task.name)
            now_ns = self._timers.now()
            arrival_ns = now_ns if task._last_ns is None else max(now_ns, task._last_ns + task._times[0])
            task._last_ns = arrival_ns
            if arrival_ns == now_ns:
                self._arrive(task, now_ns)
            else:
                target = Target(lambda due_ns: self._arrive(task, due_ns), task.name, None)
                self._timers._once_for(target).rearm_at(arrival_ns)

    def remove(self, task: Task) -> None:
        """Take a task out; `Task.cancel` does this."""
        with self._lock:
            if task in self._tasks:
                self._tasks.remove(task)
            if task._timer is not None and not self._closed:
                task._timer.cancel()

    # Jobs

    def _arrive(self, task: Task, arrival_ns: int) -> None:
        deadline_ns = arrival_ns + task._times[1]
        job = Job(task.name, arrival_ns, deadline_ns, _bus.Flag(), task._function, task)
        with self._lock:
            if self._closed or task not in self._tasks:
                return
            task._count("released")
            self._push(job, task._worker, task._priority, best_effort=not task.guaranteed)

    def _push(self, job: Job, worker: int, priority: int, *, best_effort: bool) -> None:
        queue = self._queues[worker]
        job._queued = queue.push(job, job.deadline_ns, priority=priority, best_effort=best_effort)
        if self._simulated and not self._runs_soon:
            # After all that comes at this same instant, so that the earliest deadline goes first.
            self._runs_soon = True
            self._timers._once_for(Target(self._run_simulated, self._name, None)).rearm_at(self._timers.now())

    def _run_simulated(self, _: int) -> None:
        self._runs_soon = False
        if self._runs_now:  # a job moves the time itself: what comes meanwhile waits for its end
            return
        self._runs_now = True
        try:
            self._run_waiting()
        finally:
            self._runs_now = False

    def _run_waiting(self) -> None:
        while self._running and (waiting := [queue for queue in self._queues if len(queue)]):
            popped = waiting[0].pop()
            if popped is not None:
                self._run(popped[1])

    def _work(self, queue: _scheduler.DeadlineQueue) -> None:
        while (popped := queue.wait()) is not None:
            self._run(popped[1])
            if self._closed:
                return

    def _run(self, job: Job) -> None:
        task = job._task
        started_ns = self._timers.now()
        late_ns = started_ns - job.deadline_ns
        if late_ns > self.tolerance_ns:
            task._count("late_starts")
            if not self._runs_late(MissedJob(job, late_ns)):
                return
        task._count("started")
        budget_ns = task._times[2]
        if task._on_overrun == "stop":
            watch = self._timers.after(budget_ns / 1e9, job.stop)
        token = CURRENT.set(job)
        try:
            job._function()
        except BaseException as error:
            task._count("errors")
            task._error = f"{type(error).__name__}: {error}"
            _logger.exception("job %s failed", job.name)
        finally:
            CURRENT.reset(token)
        if task._on_overrun == "stop" and not self._closed:
            watch.cancel()
        ended_ns = self._timers.now()
        task._count("completed")
        if ended_ns - job.deadline_ns > self.tolerance_ns:
            task._count("late_ends")
        self._account(task, ended_ns - started_ns)

    def _account(self, task: Task, took_ns: int) -> None:
        task._times_learnt.observe(took_ns)
        budget_ns = task._times[2]
        if not budget_ns or took_ns <= budget_ns:
            return
        task._count("overruns")
        _logger.warning("a job of task %s took %d ns of its budget of %d ns", task.name, took_ns, budget_ns)
        if task._on_overrun == "demote":
            task.guaranteed = False

    def _runs_late(self, missed: MissedJob) -> bool:
        """Do with a job whose deadline has passed what its task asks for; say whether it runs."""
        task = missed.job._task
        if task._on_miss == "run":
            return True
        if task._on_miss == "skip":
            task._count("skipped")
        elif task._on_miss == "dead-letter":
            task._count("dead_lettered")
            with self._lock:
                self._dead_letters_lost += len(self._dead_letters) == _DEAD_LETTERS_MAX
                self._dead_letters.append(missed)
        else:
            task._count("skipped")
            try:
                task._on_miss(missed)
            except Exception as error:
                task._count("errors")
                task._error = f"{type(error).__name__}: {error}"
                _logger.exception("the handler of misses of task %s failed", task.name)
        return False

    # What it is and did

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def dead_letters(self) -> tuple[MissedJob, ...]:
        """Jobs that were put to the dead letters, oldest first; of more than 1 024 the newest."""
        with self._lock:
            return tuple(self._dead_letters)

    def report(self) -> dict[str, Any]:
        """Return its figures: a row for each task, and one for what was submitted once."""
        with self._lock:
            tasks = list(self._tasks)
            lost = self._dead_letters_lost
        return {
            "name": self._name,
            "workers": len(self._queues),
            "waiting": sum(len(queue) for queue in self._queues),
            "utilisation": sum(task._times[2] / task._times[0] for task in tasks if task.guaranteed),
            "tasks": tuple(task.report() for task in tasks),
            "once": self._once.report(),
            "dead_letters_lost": lost,
        }

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._running else "open"
        return f"Scheduler('{self._name}', tasks={len(self._tasks)}, {state})"

    # Its life

    def start(self) -> None:
        """Start the workers; the first job of a periodic task comes one period from now. Entering does this."""
        with self._lock:
            self._refuse_when_closed()
            if self._running:
                return
            self._running = True
            if not self._simulated:
                for number, queue in enumerate(self._queues):
                    name = f"chronofabric-{self._name}-{number}"
                    thread = threading.Thread(target=self._work, args=(queue,), name=name, daemon=True)
                    self._threads.append(thread)
                    thread.start()
            for task in self._tasks:
                self._begin(task)

    def _begin(self, task: Task) -> None:
        if task._timer is not None:
            task._timer.rearm_at(self._timers.now() + task._times[0])

    def close(self) -> int:
        """End the workers, once the jobs that run have ended; return how many jobs still waited.

        Calling it again does nothing more.
        """
        if self._timers.forked:
            return 0
        with self._lock:
            if self._closed:
                return 0
            self._closed = True
            self._running = False
        self._timers.close()
        waiting = sum(len(queue) for queue in self._queues)
        for queue in self._queues:
            queue.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_FINISH_S)
        return waiting

    def _refuse_when_closed(self) -> None:
        if self._timers.forked:
            text = f"scheduler '{self._name}' belongs to the process that this one was forked from; make a new one here"
            raise ForkedError(text, name=self._name)
        if self._closed:
            raise ClosedError(f"scheduler '{self._name}' is closed", name=self._name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _nothing() -> None:
    """Stand for the function of what has none of its own."""


def _checked_priority(priority: object) -> None:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 255:
        hint = "it must be a whole number from 0 to 255"
        raise ArgumentError(f"priority is {priority!r}; {hint}", argument="priority", value=priority, hint=hint)


def _times(period: Duration, deadline: Duration | None, budget: Duration) -> tuple[int, int, int]:
    period_ns = nanoseconds(period, argument="period", positive=True)
    deadline_ns = period_ns if deadline is None else nanoseconds(deadline, argument="deadline", positive=True)
    budget_ns = nanoseconds(budget, argument="budget", positive=True)
    if deadline_ns > period_ns:
        hint = f"it must be at most the period of {period_ns} ns"
        raise ArgumentError(f"deadline is {deadline!r}; {hint}", argument="deadline", value=deadline, hint=hint)
    if budget_ns > deadline_ns:
        hint = f"it must be at most the deadline of {deadline_ns} ns, which is by default the period"
        raise ArgumentError(f"budget is {budget!r}; {hint}", argument="budget", value=budget, hint=hint)
    return period_ns, deadline_ns, budget_ns


_OPEN = WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is open before the interpreter ends."""
    for scheduler in list(_OPEN):
        scheduler.close()
