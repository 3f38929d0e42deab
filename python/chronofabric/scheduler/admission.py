"""Admission: whether every deadline of some tasks is kept."""

from __future__ import annotations

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
    On several workers tasks are divided among them, which is sufficient, not necessary.

    Examples
    --------
    >>> import chronofabric as cf
    >>> scheduler = cf.scheduler.Scheduler(clock=cf.SimulatedClock())
    >>> fast = scheduler.task(print, period="10 ms", budget="5 ms")
    >>> answer = scheduler.would_admit(period="100 ms", budget="20 ms")
    >>> answer.admitted, answer.budget_fits_ns
    (False, 5000001)
    """

    admitted: bool
    """Whether every deadline is kept, as long as no job takes longer than its budget."""
    utilisation: float
    """The share of one worker that all tasks take together."""
    reason: str
    """Why, in words."""
    blocking_ns: int
    """The longest that a job waits for one that began before it and is not interrupted."""
    task: str | None
    """The task that breaks it."""
    interval_ns: int | None
    """The shortest interval in which more has to be done than it is long."""
    demand_ns: int | None
    """What has to be done within it."""
    budget_fits_ns: int | None
    """The longest budget with which the task that breaks it would fit; None if none would."""


def judge(tasks: Sequence[tuple[str, Times]], workers: int, reserved_ns: int) -> tuple[Admission, list[int]]:
    """Say whether tasks fit on some workers, and, where they do, on which worker each is."""
    answer = _scheduler.admission([times for _, times in tasks], workers, reserved_ns)
    breaks = answer.get("task")
    reason = answer["reason"]
    name = None
    if breaks is not None:
        name = tasks[breaks][0]
        reason = reason.replace(f"task {breaks}", f"task '{name}'")
    admission = Admission(
        admitted=answer["admitted"],
        utilisation=answer["utilisation"],
        reason=reason,
        blocking_ns=answer.get("blocking_ns", 0),
        task=name,
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
