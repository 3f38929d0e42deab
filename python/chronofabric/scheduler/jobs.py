"""What is executed by deadline: tasks and their jobs."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from chronofabric._core import bus as _bus
from chronofabric._core.scheduler import JobAccount
from chronofabric.errors import ArgumentError

if TYPE_CHECKING:
    import asyncio

    from chronofabric._core.scheduler import ExecutionTime, NativeTask, QueuedJob, Timer
    from chronofabric.scheduler.execution import Scheduler

__all__ = ["CancelledTasks", "DeadLetters", "Job", "Miss", "MissedJob", "Overrun", "Task", "current_job"]

Miss = Literal["run", "skip", "dead-letter"]
Overrun = Literal["report", "demote", "stop"]

_DEAD_LETTERS_MAX = 1024
_OUTCOMES = ("completed", "skipped", "dead_lettered", "cancelled", "refused")
"""What a job that was released ends as."""
_COUNTS = ("released", "missed_ticks", "started", "late_starts", "late_ends", *_OUTCOMES, "overruns", "errors")

CURRENT: ContextVar[Job | None] = ContextVar("chronofabric_job", default=None)
"""The job that runs in a thread."""


@dataclass(slots=True, eq=False)
class Job:
    """One execution of a function, by a deadline.

    Attributes
    ----------
    name
        The name of its task or function.
    arrival_ns, deadline_ns
        When it came, and by when it should be done, in nanoseconds since the Unix epoch.
    stop
        Set where it is asked to stop, natively: a function that takes long looks at ``stop.is_set()``. A coroutine is
        cancelled besides.

    Examples
    --------
    >>> import chronofabric as cf
    >>> clock = cf.SimulatedClock()
    >>> with cf.scheduler.Scheduler(clock=clock) as scheduler:
    ...
    ...     def control():
    ...         print(cf.scheduler.current_job().name)
    ...
    ...     task = scheduler.task(control, period="10 ms", budget="1 ms", name="control")
    ...     _ = clock.advance("10 ms")
    control
    """

    name: str
    arrival_ns: int
    deadline_ns: int
    stop: _bus.Flag
    _function: Callable[[], Any]
    _task: Task
    _asynchronous: bool = False
    _queued: QueuedJob | None = None
    _running: asyncio.Task[BaseException | None] | None = None
    _started_ns: int = 0
    _watch: Timer | None = None
    _learnt: ExecutionTime | None = None

    def cancel(self) -> bool:
        """Take it back if it still waits, otherwise ask it to stop; return whether it still waited."""
        if self._queued is not None and self._queued.cancel():
            self._task._account.cancelled()
            return True
        self.stop.set()
        if (running := self._running) is not None and not (loop := running.get_loop()).is_closed():
            loop.call_soon_threadsafe(running.cancel)
        return False


class MissedJob(NamedTuple):
    """A job that was not begun, because its deadline had passed. Handed to ``on_miss``, and kept as a dead letter."""

    job: Job
    """The job."""
    late_ns: int
    """How long before its deadline had passed."""


def current_job() -> Job | None:
    """Return the job that runs in this thread, if one does.

    Examples
    --------
    >>> import chronofabric as cf
    >>> cf.scheduler.current_job() is None
    True
    """
    return CURRENT.get()


class Task:
    """A function with a budget, of which jobs come again and again. Made by `Scheduler.task`.

    Examples
    --------
    >>> import chronofabric as cf
    >>> clock = cf.SimulatedClock()
    >>> with cf.scheduler.Scheduler(clock=clock) as scheduler:
    ...     alarm = scheduler.task(lambda: print("alarm"), period="1 s", budget="1 ms", kind="sporadic", name="alarm")
    ...     alarm.release()
    ...     _ = clock.advance("1 ms")
    ...     alarm.name, alarm.guaranteed
    alarm
    ('alarm', True)
    """

    def __init__(
        self,
        scheduler: Scheduler,
        function: Callable[[], Any],
        name: str,
        times: tuple[int, int, int],
        *,
        priority: int,
        on_miss: Miss | Callable[[MissedJob], object],
        on_overrun: Overrun,
        guaranteed: bool = True,
        asynchronous: bool = False,
    ) -> None:
        self.name = name
        self._scheduler = scheduler
        self._function = function
        self._asynchronous = asynchronous
        self._times = times
        self._priority = priority
        self._on_miss = on_miss
        self._on_overrun = on_overrun
        self._worker = 0
        self._last_ns: int | None = None
        self._timer: Timer | None = None
        self._native: NativeTask | None = None
        """Where its jobs come from if they need no interpreter."""
        self._account = JobAccount(
            tolerance_ns=scheduler.tolerance_ns,
            budget_ns=times[2],
            on_miss=on_miss if isinstance(on_miss, str) else "call",
            demotes=on_overrun == "demote",
            guaranteed=guaranteed,
            feasible_first=scheduler.order == "feasible-first",
        )
        self._error: str | None = None
        self._cancelled = False

    @property
    def guaranteed(self) -> bool:
        """Whether it was admitted, and not demoted; otherwise its jobs run when none that was waits."""
        return self._account.guaranteed

    def release(self) -> None:
        """Let one job of a sporadic task come.

        One that comes sooner after the one before than the period counts as coming when it may: it comes then, and not
        before, so that the guarantees of all hold however often this is called. Several wait for one another like that;
        only what has come is ``released``.

        Raises
        ------
        ArgumentError
            The task is periodic: a job more than one a period would break the guarantees.
        ClosedError
            The scheduler is closed, or the task was cancelled.
        """
        self._scheduler.release(self)

    def cancel(self) -> None:
        """Take it out of the scheduler, with its jobs that wait; those count as ``cancelled``.

        A job that runs goes on to its end. The share of the worker is free again. Its counts stay in the total of
        cancelled tasks in `Scheduler.report`. Calling it again does nothing more.
        """
        self._scheduler.remove(self)

    def learnt_budget(self, *, quantile: float = 0.99, factor: float = 1.2) -> str | None:
        """Suggest a budget from how long its jobs took: a quantile of them, times a factor for safety.

        It is a suggestion. What is guaranteed is guaranteed for the budget that a task was given, and nothing learnt
        says that no job will ever take longer.

        How long jobs took is kept in buckets that grow with the duration (DDSketch: Masson, Rim and Lee, PVLDB 12(12),
        2019), of which older ones weigh less by forward decay (Cormode and others, ICDE 2009): the quantile is never
        below the exact one, and at most a thirty-second part above it, in at most 15 KiB.

        Parameters
        ----------
        quantile
            The share of its jobs that ended within this time; a job weighs half as much as one a thousand jobs later.
        factor
            By how much more the budget is.

        Returns
        -------
        str or None
            A duration, to be given as ``budget``; None until so many jobs have ended that one beyond the quantile is
            to be expected, which are 100 for 0.99.

        Raises
        ------
        ArgumentError
            The quantile is not between 0 and 1, or the factor is less than 1.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.scheduler.Scheduler(clock=clock) as scheduler:
        ...     read = scheduler.task(lambda: clock.advance("48 us"), period="10 ms", budget="5 ms")
        ...     _ = clock.advance("1 s")
        ...     budget = read.learnt_budget(quantile=0.99, factor=1.5)
        ...     budget, scheduler.would_admit(period="10 ms", budget=budget).admitted
        ('72191 ns', True)
        """
        if not _is_number(quantile) or not 0 < quantile < 1:
            hint = "it must be a number between 0 and 1"
            raise ArgumentError(f"quantile is {quantile!r}; {hint}", argument="quantile", value=quantile, hint=hint)
        if not _is_number(factor) or not 1 <= factor < math.inf:
            hint = "it must be a number of at least 1"
            raise ArgumentError(f"factor is {factor!r}; {hint}", argument="factor", value=factor, hint=hint)
        learnt_ns = self._account.quantile_ns(quantile)
        # Rounded, because in floating point 1 - 0.9 is a little less than a tenth.
        if learnt_ns is None or self._account.observations < round(1 / (1 - quantile), 6):
            return None
        return f"{max(1, math.ceil(learnt_ns * factor))} ns"

    def report(self) -> dict[str, Any]:
        """Return its figures.

        A job that started or ended more than the scheduler's tolerance after its deadline counts in ``late_starts``
        and ``late_ends``. Every job that was ``released`` waits, runs, or is ``completed``, ``skipped``,
        ``dead_lettered``, ``cancelled`` or ``refused`` (as many jobs waited as may). Ticks of the period for which no
        job came are ``missed_ticks``, and not released: those that ``missed`` left out, and, of a task of Python, those
        for which the interpreter was busy for so long that more than 1 024 waited for it, or at the end of the task.
        How long after it had come a job began is ``start_ns``, with percentiles as in the reports of timers; beyond its
        ``deadline_ns`` and ``tolerance_ns`` it is one of the ``late_starts``.
        """
        period_ns, deadline_ns, budget_ns = self._times
        return {
            "name": self.name,
            "guaranteed": self.guaranteed,
            "period_ns": period_ns,
            "deadline_ns": deadline_ns,
            "budget_ns": budget_ns,
            "tolerance_ns": self._scheduler.tolerance_ns,
            "error": self._error,
            **self._figures(),
        }

    def _counts(self) -> dict[str, int]:
        figures = self._figures()
        return {name: figures[name] for name in _COUNTS}

    def _figures(self) -> dict[str, Any]:
        """Return what was counted and measured of its jobs, and the ticks of which there are none."""
        figures = self._account.report()
        if self._timer is None:
            return figures | {"missed_ticks": 0}
        ticks = self._timer.report()
        # At the end nothing waits for the interpreter any more: what has not come by then does not.
        ended = self._cancelled or self._scheduler.closed
        fired_only = ticks["fired"] - figures["released"] if ended else ticks["coalesced"] + ticks["discarded"]
        return figures | {"missed_ticks": ticks["missed_ticks"] + fired_only}


class DeadLetters:
    """The newest jobs that were put to the dead letters. They refer to their scheduler, and only that to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[MissedJob] = deque(maxlen=_DEAD_LETTERS_MAX)
        self._lost = 0

    def add(self, missed: MissedJob) -> None:
        """Keep one; where there is no room the oldest goes."""
        with self._lock:
            self._lost += len(self._kept) == _DEAD_LETTERS_MAX
            self._kept.append(missed)

    def lose(self, count: int) -> None:
        """Take note of some that could not be kept."""
        with self._lock:
            self._lost += count

    def report(self) -> tuple[tuple[MissedJob, ...], int]:
        """Return those that are kept, oldest first, and how many are not any more."""
        with self._lock:
            return tuple(self._kept), self._lost


class CancelledTasks:
    """What became of the jobs of tasks that were cancelled, in one row, however many there were."""

    def __init__(self) -> None:
        self._total: Counter[str] = Counter()
        self._running: list[Task] = []
        """Those whose books are still open, because a job of theirs runs."""

    def add(self, task: Task) -> None:
        """Add a task that was cancelled."""
        self._total["tasks"] += 1
        self._running.append(task)
        self._close_books()

    def _close_books(self) -> None:
        running, self._running = self._running, []
        for task in running:
            counts = task._counts()
            if counts["released"] == sum(counts[name] for name in _OUTCOMES):
                self._total.update(counts)
            else:
                self._running.append(task)

    def report(self) -> dict[str, int]:
        """Return the sums, and of how many ``tasks`` they are."""
        self._close_books()
        total = self._total.copy()
        for task in self._running:
            total.update(task._counts())
        return {name: total[name] for name in ("tasks", *_COUNTS)}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
