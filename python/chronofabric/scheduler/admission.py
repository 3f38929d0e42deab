"""Admission: whether every deadline of some tasks is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from chronofabric._core import scheduler as _scheduler
from chronofabric.duration import nanoseconds
from chronofabric.errors import ArgumentError

if TYPE_CHECKING:
    from chronofabric.duration import Duration

__all__ = ["Admission", "Times", "judge", "times_of"]

Times: TypeAlias = "tuple[int, int, int]"
"""The period of a task, the deadline of its jobs, and how long one takes at most, in nanoseconds."""


class Admission(NamedTuple):
    """Whether a set of tasks keeps its deadlines, and why.

    For sporadic tasks, and periodic ones of unknown phase, on one worker the answer is exact: George, Rivierre and
    Spuri, INRIA report 2966, 1996; with deadlines equal to periods it is that of Jeffay, Stanat and Martel, RTSS 1991.
    On several workers a task is put on one beside those that are there, or all are divided among them anew, which is
    sufficient, not necessary.

    Examples
    --------
    >>> import chronofabric as cf
    >>> scheduler = cf.scheduler.Scheduler(clock=cf.SimulatedClock())
    >>> fast = scheduler.task(print, period="10 ms", budget="5 ms")
    >>> answer = scheduler.would_admit(period="100 ms", budget="20 ms")
    >>> answer.admitted, answer.budget_fits_ns
    (False, 5000001)
    >>> answer.reason.rpartition(": ")[2]
    'the new task fits with a budget of 5000001 ns'
    """

    admitted: bool
    """Whether every deadline is kept, as long as no job takes longer than its budget."""
    utilisation: float
    """The share of one worker that all tasks take together; on two workers there is room for up to 2."""
    reason: str
    """Why, in words."""
    blocking_ns: int
    """The longest that a job waits for one that began before it and is not interrupted."""
    task: str | None
    """The task that breaks it; one that was admitted before, where it is its job that blocks the new one."""
    interval_ns: int | None
    """The shortest interval in which more has to be done than it is long."""
    demand_ns: int | None
    """What has to be done within it."""
    budget_fits_ns: int | None
    """The longest budget with which the new task would fit beside those that were admitted; None if none would.

    One nanosecond more does not fit. On several workers a still longer one may, because the tasks are divided anew.
    """


def judge(
    known: Sequence[tuple[str, Times, int]], name: str | None, times: Times, workers: int, reserved_ns: int
) -> tuple[Admission, list[int]]:
    """Say whether one more task fits on some workers, and, where it does, on which worker each is.

    Parameters
    ----------
    known
        The tasks that were admitted: their names, their times, and on which workers they are.
    name, times
        Those of the new task; it may have no name yet.
    workers
        How many there are.
    reserved_ns
        How long other jobs may take.
    """
    tasks = [*(times for _, times, _ in known), times]
    answer = _scheduler.admission(tasks, [worker for _, _, worker in known], workers, reserved_ns)
    names = [*(name for name, _, _ in known), name]

    def called(number: int) -> str:
        return "the new task" if names[number] is None else f"task '{names[number]}'"

    breaks = answer.get("task")
    reason = re.sub(r"task (\d+)", lambda found: called(int(found[1])), answer["reason"])
    admission = Admission(
        admitted=answer["admitted"],
        utilisation=answer["utilisation"],
        reason=reason,
        blocking_ns=answer.get("blocking_ns", 0),
        task=None if breaks is None else names[breaks] or "the new task",
        interval_ns=answer.get("interval_ns"),
        demand_ns=answer.get("demand_ns"),
        budget_fits_ns=answer.get("budget_fits_ns"),
    )
    return admission, answer.get("workers", [])


def times_of(period: Duration, deadline: Duration | None, budget: Duration) -> Times:
    """Read what a user gives.

    Raises
    ------
    ArgumentError
        They cannot be those of a task.
    """
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
