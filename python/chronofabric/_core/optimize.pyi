"""Orders of jobs against their due dates."""

from collections.abc import Callable
from typing import ClassVar, Literal, final

__all__ = ["JobOrder", "end", "order"]

@final
class JobOrder:
    """An order of jobs, beside what the dispatching rules reach. Made by `chronofabric.optimize.order`.

    Examples
    --------
    >>> from chronofabric.optimize import BatchJob, order
    >>> order([BatchJob("8 ns", due="9 ns"), BatchJob("4 ns", due="10 ns", weight=5)])
    JobOrder(order=(1, 0), tardiness=3, edf=10, atc=3, kept='atc', steps=240)
    """

    @property
    def order(self) -> tuple[object, ...]:
        """The jobs, first to last: their positions in a sequence, or their names in a mapping."""

    @property
    def tardiness(self) -> int:
        """Its total weighted tardiness: each job's weight by the nanoseconds that it ends too late, summed."""

    @property
    def edf(self) -> int:
        """The total weighted tardiness of the order of earliest due dates."""

    @property
    def atc(self) -> int:
        """The total weighted tardiness of the best order by apparent tardiness cost."""

    @property
    def kept(self) -> Literal["search", "edf", "atc"]:
        """Whose order it is: that of the search only where it beats both rules."""

    @property
    def steps(self) -> int:
        """How many steps the search took."""

    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

def order(
    names: list[object],
    jobs: list[tuple[int, int, int]],
    precedence: list[tuple[int, int]],
    *,
    budget_ns: int,
    steps: int | None,
    seed: int,
    progress: Callable[[float, int], object] | None,
) -> JobOrder:
    """Order jobs, as `chronofabric.optimize.order` does, which checks and converts what this takes.

    Parameters
    ----------
    names
        What each job is called in the order, and in errors.
    jobs
        For each, processing time and due date in nanoseconds, and weight.
    precedence
        Pairs of positions of which the first has to end before the second begins.
    budget_ns
        How long to search.
    steps
        How many steps to search; None until nothing better has come for long.
    seed
        Of the random numbers.
    progress
        Told the share of the budget that is used and the least tardiness so far.

    Raises
    ------
    chronofabric.ArgumentError
        Precedence has a cycle, or there is too much of something to be computed exactly.
    """

def end() -> None:
    """End all searches for good, each with the best that it has found: the interpreter is about to end."""
