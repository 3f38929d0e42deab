"""Timers, and what they do when they fire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self, final

from chronofabric._core.bus import Wakeups
from chronofabric._core.clock import Stamp, TimeSource
from chronofabric.duration import Duration

__all__ = [
    "Call",
    "DeadlineQueue",
    "ExecutionTime",
    "JobAccount",
    "NativeTask",
    "QueuedJob",
    "Timer",
    "Timers",
    "Worker",
    "admission",
]

@final
class Timers:
    """A wheel of timers and the thread that fires them. Users have `chronofabric.scheduler.Timers`."""

    def __new__(
        cls,
        name: str,
        source: str | TimeSource,
        wakeups: Wakeups,
        token: int,
        *,
        timers_max: int,
        spin_ns: int | None,
        realtime: Mapping[str, object],
    ) -> Self: ...
    def attend(self, runner: Any) -> None:
        """On a simulated source: have timers fire as its time moves, with Python called by `runner`."""

    def timer(
        self,
        act: object,
        *,
        period_ns: int | None = None,
        missed: str = "skip",
        waiting_max: int = 1,
        tolerance_ns: int = 0,
        measured: bool = False,
    ) -> Timer:
        """Make a timer that is not armed."""

    def take(self) -> Call | None:
        """Return the next call of Python that waits; it counts as started."""

    @property
    def next_due_ns(self) -> int | None:
        """When the next timer is due."""

    def fire_due(self) -> None:
        """Fire what is due, in the calling thread."""

    def __len__(self) -> int: ...
    def now(self) -> int:
        """Return the time of its source."""

    @property
    def simulated(self) -> bool:
        """Whether its source is simulated."""

    @property
    def waiting(self) -> int:
        """How many calls of Python wait."""

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """What was asked of the system and refused: option, reason, cost."""

    def report(self) -> dict[str, Any]:
        """Return the figures of all timers that have none of their own."""

    def close(self) -> int:
        """End the thread and take all timers back; return how many were armed. Calls that wait go on waiting."""

    def discard(self) -> int:
        """Take back the calls that wait; return how many."""

    @property
    def forked(self) -> bool:
        """Whether this is a forked child of the process that made it."""

@final
class Timer:
    """A timer, made by `chronofabric.scheduler.Timers`. Dropping it leaves the timer as it is.

    Every method may be called from any thread.

    Examples
    --------
    >>> import chronofabric as cf
    >>> clock = cf.SimulatedClock()
    >>> with cf.scheduler.Timers(clock=clock) as timers:
    ...     watchdog = timers.after("1 s", cf.Flag())
    ...     watchdog.rearm("2 s")
    ...     watchdog.due_ns, watchdog.cancel(), watchdog.armed
    (2000000000, True, False)
    """

    def rearm(self, delay: Duration) -> None:
        """Arm it for a time from now, whether it is armed, has fired, or was cancelled.

        Parameters
        ----------
        delay
            How long from now.

        Raises
        ------
        ArgumentError
            It is not a duration, or is negative; the timer is as before.
        TimerLimitError
            It was not armed, and as many timers are armed as may be.
        ClosedError
            Its timers are closed.
        """

    def rearm_at(self, instant: datetime | Stamp | int) -> None:
        """Arm it for an instant; one that has passed fires at once.

        Parameters
        ----------
        instant
            A datetime with a time zone, a stamp, or integer nanoseconds since the Unix epoch.

        Raises
        ------
        ArgumentError, TimerLimitError, ClosedError
            As for `rearm`.
        """

    def cancel(self) -> bool:
        """Take it back, with calls of Python that wait; return whether it was armed, or any waited.

        A call that runs at this moment goes on. What waited counts as ``discarded``.
        """

    @property
    def armed(self) -> bool:
        """Whether it will fire."""

    @property
    def due_ns(self) -> int | None:
        """When it fires next, in nanoseconds since the Unix epoch; None if it is not armed."""

    def report(self) -> dict[str, Any]:
        """Return its figures; a timer that fires once shares them with the others of its kind."""

@final
class Call:
    """A call of Python that was handed over and counts as started."""

    @property
    def target(self) -> Any:
        """What is to be called."""

    @property
    def due_ns(self) -> int:
        """When the timer was due."""

    @property
    def fired_ns(self) -> int:
        """When the timer fired."""

    @property
    def missed(self) -> int:
        """How many further ticks it stands for: left out, or fired while it waited."""

    def completed(self, failed: bool) -> bool:
        """Take note that it has ended; return whether that was later than the tolerance."""

@final
class DeadlineQueue:
    """Jobs, of which the one with the earliest deadline comes first, then that of higher priority, then the older.

    Jobs pushed as best effort come when no other waits. Every method may be called from any thread.

    Parameters
    ----------
    jobs_max
        How many jobs may wait, with a guarantee and without it.
    clock
        What says whether a job can still be done in time: the name of a registered time source or a time source. Only
        for jobs that are pushed with a `latest_start`.

    Raises
    ------
    ArgumentError
        An argument has a value that cannot be used.

    Examples
    --------
    >>> import chronofabric as cf
    >>> queue = cf.scheduler.DeadlineQueue()
    >>> later = queue.push("later", 20)
    >>> sooner = queue.push("sooner", 10)
    >>> later.cancel(), queue.pop(), queue.pop()
    (True, (10, 'sooner'), None)
    """

    def __new__(cls, jobs_max: int = 65_536, *, clock: str | TimeSource | None = None) -> Self: ...
    def push(
        self,
        job: object,
        deadline: datetime | Stamp | int,
        *,
        priority: int = 0,
        best_effort: bool = False,
        latest_start: datetime | Stamp | int | None = None,
    ) -> QueuedJob:
        """Add a job.

        Parameters
        ----------
        job
            Any object.
        deadline
            A datetime with a time zone, a stamp, or integer nanoseconds since the Unix epoch.
        priority
            0 to 255; the higher comes first where deadlines are equal.
        best_effort
            Whether it comes only when no job without this waits.
        latest_start
            When it has to begin to be done by its deadline, for a job pushed as best effort. One that has not begun by
            then will be late whatever is done; it waits until no other waits that need not be.

        Raises
        ------
        ArgumentError
            An argument has a value that cannot be used, such as a latest start without `best_effort`, or without a
            clock of the queue.
        JobLimitError
            As many jobs wait as may.
        ClosedError
            The queue is closed.
        """

    def pop(self) -> tuple[int, Any] | None:
        """Take the most urgent job, with its deadline in nanoseconds, if one waits."""

    def wait(self) -> tuple[int, Any] | None:
        """Take the most urgent job, and wait for one; return None once the queue is closed."""

    def __len__(self) -> int: ...
    @property
    def next_deadline_ns(self) -> int | None:
        """The deadline of the job that comes next."""

    def close(self) -> int:
        """Wake everybody who waits, and take no more; return how many jobs wait, which can still be popped."""

    def finish(self) -> None:
        """Take no more, and wake everybody who waits once no job does."""

@final
class Worker:
    """Takes jobs for one thread. Users have `chronofabric.scheduler.Scheduler`.

    Between jobs of Python it lets come those that its timers are due for, by itself and awake for the instant, and does
    those that are native, in the class that was asked for.
    """

    def __new__(cls, queue: DeadlineQueue, timers: Timers, realtime: Mapping[str, object]) -> Self: ...
    def wait(self) -> tuple[int, Any] | None:
        """Take the most urgent job, and wait for one; return None once the queue is closed.

        The thread that calls this first is the one that the system is asked for.
        """

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """What was asked of the system and refused: option, reason, cost."""

    def end(self) -> None:
        """Give back what was granted for as long as it works; called at the end of its thread."""

@final
class QueuedJob:
    """A job in a `DeadlineQueue`. Made by `DeadlineQueue.push`."""

    def cancel(self) -> bool:
        """Take it out; return whether it still waited."""

@final
class ExecutionTime:
    """How long a function ran, as quantiles in bounded memory (at most 15 KiB), of which older runs weigh less.

    A run weighs half as much as one a thousand runs later. A quantile is never below the exact one, and at most a
    thirty-second part above it. Sources: DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019) with the buckets of
    HdrHistogram, and forward decay (Cormode and others, ICDE 2009).
    """

    def __new__(cls) -> Self: ...
    def observe(self, duration_ns: int) -> None:
        """Take note of one run."""

    def quantile_ns(self, quantile: float) -> int | None:
        """Return the duration within which a share of the runs ended; None before the first."""

    def report(self) -> dict[str, int]:
        """Return ``count``, ``p50``, ``p90``, ``p99`` and ``max``, the longest of all."""

@final
class JobAccount:
    """The policies of a task, and what became of its jobs. Users have `chronofabric.scheduler.Task`."""

    def __new__(
        cls,
        *,
        tolerance_ns: int,
        budget_ns: int,
        on_miss: str,
        demotes: bool,
        guaranteed: bool,
        feasible_first: bool,
    ) -> Self: ...
    def released(self) -> None:
        """Take note of a job that has come."""

    def release(self, queue: DeadlineQueue, job: object, deadline_ns: int, priority: int) -> QueuedJob:
        """Let a job come to a queue; one that finds no room is counted too.

        Raises
        ------
        JobLimitError
            As many jobs wait as may.
        """

    def take_back(self, queue: DeadlineQueue) -> None:
        """Take back its jobs that wait in a queue."""

    def cancelled(self) -> None:
        """Take note of a job that was taken back."""

    def failed(self) -> None:
        """Take note of a job, or a handler, that failed."""

    def begins(self, arrival_ns: int, deadline_ns: int, now_ns: int) -> int | None:
        """Take note of a job that is about to begin; return how late it is where it does not run."""

    def ended(self, deadline_ns: int, started_ns: int, ended_ns: int) -> bool:
        """Take note of the end of a job; return whether it took longer than its budget."""

    @property
    def guaranteed(self) -> bool:
        """Whether its task was admitted, and not demoted."""

    def without_guarantee(self) -> None:
        """Tell it that its task is not admitted."""

    def quantile_ns(self, quantile: float) -> int | None:
        """Return the duration within which a share of its jobs ended; None before the first."""

    @property
    def observations(self) -> int:
        """How many jobs were learnt from."""

    def report(self) -> dict[str, Any]:
        """Return the counts, how long after they had come jobs began, and how long they took."""

@final
class NativeTask:
    """A task whose jobs come and run without the interpreter. Users have `chronofabric.scheduler.Scheduler.task`."""

    def __new__(
        cls,
        act: object,
        timers: Timers,
        queue: DeadlineQueue,
        account: JobAccount,
        *,
        deadline_ns: int,
        priority: int,
        missed: object | None = None,
    ) -> Self: ...
    def submit(self, arrival_ns: int, deadline_ns: int) -> QueuedJob:
        """Let one job come now, by a deadline of its own."""

    def move_to(self, queue: DeadlineQueue) -> None:
        """Have its jobs wait for another worker from now on."""

    def release(self, arrival_ns: int) -> None:
        """Let one job come now."""

    def __call__(self, due_ns: int, now_ns: int) -> bool:
        """Do it in the calling thread; return whether that succeeded."""

    def cancel(self) -> None:
        """Let no more jobs come, and none begin."""

def admission(
    tasks: list[tuple[int, int, int]], worker_of: list[int], workers: int, reserved_ns: int
) -> dict[str, Any]:
    """Say whether one more task fits on some workers, and why.

    Tasks are ``(period_ns, deadline_ns, budget_ns)``, the last of them new; for the others it is given on which workers
    they are.
    """
