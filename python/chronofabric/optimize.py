"""Orders of jobs with due dates and precedence on one machine, by rules and by an annealed search that beats them.

What is made small is the total weighted tardiness: for each job its weight by how much later than due it ends, summed.
Two dispatching rules give an order at once: earliest due date first (Jackson, 1955) and apparent tardiness cost
(Vepsalainen and Morton, 1987). The search begins with the better one: a large-step Markov chain (Martin, Otto and
Felten, 1991) whose descents are dynasearch (Congram, Potts and van de Velde, 2002; Grosso, Della Croce and Tadei,
2004).

Examples
--------
>>> from chronofabric.optimize import BatchJob, order
>>> jobs = {
...     "thumbnails": BatchJob("8 ms", due="9 ms"),
...     "fetch": BatchJob("4 ms", due="10 ms", weight=5),
...     "answer": BatchJob("3 ms", due="12 ms", weight=5),
... }
>>> found = order(jobs, precedence=[("fetch", "answer")])
>>> found.order, found.tardiness, found.edf
(('fetch', 'answer', 'thumbnails'), 6000000, 25000000)
"""

from __future__ import annotations

import atexit
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from chronofabric._core import optimize as _core
from chronofabric._core.optimize import JobOrder
from chronofabric.duration import Duration, nanoseconds
from chronofabric.errors import ArgumentError

__all__ = ["BatchJob", "JobOrder", "order"]

_WEIGHT_MAX = 2**32 - 1
_WORD_MAX = 2**64 - 1

# A search of another thread would otherwise go on while the interpreter ends.
atexit.register(_core.end)


class BatchJob:
    """One piece of work that runs without interruption.

    Jobs are immutable and equal where their values are.

    Parameters
    ----------
    processing
        How long it runs: a text such as ``"5 ms"``, a timedelta, or seconds; at least 1 ns.
    due
        When it should have ended, counted from the start of the batch. Zero for one that is late already: by how much
        it was late before is the same in every order.
    weight
        What each nanosecond costs by which it ends later, a whole number from 0 to 4 294 967 295.

    Raises
    ------
    chronofabric.ArgumentError
        One of these is out of range, or is not what it has to be.

    Examples
    --------
    >>> BatchJob("5 ms", due="20 ms", weight=3)
    BatchJob(processing_ns=5000000, due_ns=20000000, weight=3)
    >>> BatchJob("5 ms", due="20 ms", weight=-1)
    Traceback (most recent call last):
    chronofabric.errors.ArgumentError: weight is -1; give a whole number from 0 to 4294967295
    """

    __slots__ = ("_values",)

    def __init__(self, processing: Duration, *, due: Duration, weight: int = 1) -> None:
        self._values = (
            nanoseconds(processing, argument="processing", positive=True),
            nanoseconds(due, argument="due"),
            _whole(weight, "weight", _WEIGHT_MAX),
        )

    @property
    def processing_ns(self) -> int:
        """How long it runs, in nanoseconds."""
        return self._values[0]

    @property
    def due_ns(self) -> int:
        """When it should have ended, in nanoseconds from the start of the batch."""
        return self._values[1]

    @property
    def weight(self) -> int:
        """What each nanosecond costs by which it ends later."""
        return self._values[2]

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, BatchJob) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return f"BatchJob(processing_ns={self.processing_ns}, due_ns={self.due_ns}, weight={self.weight})"


def order(
    jobs: Sequence[BatchJob] | Mapping[Any, BatchJob],
    *,
    precedence: Iterable[tuple[Hashable, Hashable]] = (),
    budget: Duration = "100 ms",
    steps: int | None = None,
    seed: int = 0,
    progress: Callable[[float, int], object] | None = None,
) -> JobOrder:
    """Order jobs so that their total weighted tardiness is small.

    The search runs without the interpreter, so that other threads go on; Ctrl-C ends it. The rules, from which it
    begins, take about a millisecond for a thousand jobs and are not interrupted.

    Parameters
    ----------
    jobs
        At most 65 536, in a sequence, or by name in a mapping.
    precedence
        Pairs of which the first has to end before the second begins: positions in a sequence, names in a mapping.
    budget
        How long to search at most, in real time.
    steps
        How many steps to search at most; the same jobs, seed and steps give the same order, as long as the budget
        suffices. Without it the search ends when 200 steps, and 20 more for each job, have brought nothing better. It
        always ends where nothing is late.
    seed
        Of the random numbers, from 0 to 2**64 - 1.
    progress
        Called about every 250 ms, in the calling thread, with the share of the budget that is used and the least
        tardiness so far. What it raises ends the search.

    Returns
    -------
    JobOrder
        The order, its tardiness, that of both rules, and which of the three was kept.

    Raises
    ------
    chronofabric.ArgumentError
        Precedence has a cycle, which the message names, or a job that does not exist; weights and times together exceed
        what is computed exactly; or an argument is not what it has to be.

    References
    ----------
    R. K. Congram, C. N. Potts and S. L. van de Velde, "An Iterated Dynasearch Algorithm for the Single-Machine Total
    Weighted Tardiness Scheduling Problem", INFORMS Journal on Computing 14(1), 2002.

    A. P. J. Vepsalainen and T. E. Morton, "Priority Rules for Job Shops with Weighted Tardiness Costs", Management
    Science 33(8), 1987.

    Examples
    --------
    >>> from chronofabric.optimize import BatchJob, order
    >>> found = order([BatchJob("8 ms", due="9 ms"), BatchJob("4 ms", due="10 ms", weight=5)], budget="10 ms", seed=7)
    >>> found.order, found.kept
    ((1, 0), 'atc')
    >>> order([BatchJob(1, due=1), BatchJob(1, due=1)], precedence=[(0, 1), (1, 0)])
    Traceback (most recent call last):
    chronofabric.errors.ArgumentError: precedence is a cycle: 1 before 0 before 1; take one of these pairs out
    """
    try:
        values = list(jobs.values()) if isinstance(jobs, Mapping) else list(jobs)
    except TypeError:
        hint = "give a sequence of cf.optimize.BatchJob, or a mapping of names to them"
        raise ArgumentError(f"jobs is {jobs!r}; {hint}", argument="jobs", value=jobs, hint=hint) from None
    names: list[Hashable] = list(jobs) if isinstance(jobs, Mapping) else list(range(len(values)))
    for name, job in zip(names, values, strict=True):
        if not isinstance(job, BatchJob):
            raise ArgumentError(
                f"job {name!r} is {job!r}; give a cf.optimize.BatchJob",
                argument="jobs",
                value=job,
                hint="give a cf.optimize.BatchJob",
            )
    if progress is not None and not callable(progress):
        raise ArgumentError(f"progress is {progress!r}; give a function of two arguments", argument="progress")
    return _core.order(
        names,
        [job._values for job in values],
        _positions(names, precedence),
        budget_ns=nanoseconds(budget, argument="budget"),
        steps=None if steps is None else _whole(steps, "steps", _WORD_MAX),
        seed=_whole(seed, "seed", _WORD_MAX),
        progress=progress,
    )


def _positions(names: list[Hashable], precedence: Iterable[tuple[Hashable, Hashable]]) -> list[tuple[int, int]]:
    places = {name: place for place, name in enumerate(names)}
    positions = []
    for pair in precedence:
        try:
            before, after = pair
            positions.append((places[before], places[after]))
        except KeyError as error:
            hint = "name jobs of this batch: positions of a sequence, names of a mapping"
            message = f"precedence has the pair {pair!r}, but there is no job {error.args[0]!r}; {hint}"
            raise ArgumentError(message, argument="precedence", value=pair, hint=hint) from None
        except (TypeError, ValueError):
            hint = "give pairs such as (first, second)"
            message = f"precedence has {pair!r}; {hint}"
            raise ArgumentError(message, argument="precedence", value=pair, hint=hint) from None
    return positions


def _whole(value: int, argument: str, most: int) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        whole = -1
    if isinstance(value, bool) or not 0 <= whole <= most:
        hint = f"give a whole number from 0 to {most}"
        raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)
    return whole
