"""What threads that fire timers or run jobs ask of the system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from chronofabric.duration import nanoseconds
from chronofabric.errors import ArgumentError

if TYPE_CHECKING:
    from chronofabric.duration import Duration

__all__ = ["Realtime", "Refused", "realtime_of"]

_PROCESSOR_MAX = 2**20 - 1
"""The highest number of a processor; no system counts so far."""


class Refused(NamedTuple):
    """Something that was asked of the system and not granted.

    Examples
    --------
    >>> print(Refused("class", "Operation not permitted", "other threads may run first"))
    class was refused (Operation not permitted): other threads may run first
    """

    option: str
    """What was asked for."""
    reason: str
    """What the system said."""
    cost: str
    """What it costs to be without."""

    def __str__(self) -> str:
        return f"{self.option} was refused ({self.reason}): {self.cost}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Realtime:
    """What the thread that fires timers, or the workers of a scheduler, ask of the system.

    It grants that to those who may have it. Where something is refused all work the same, only later; `Timers.refused`
    and `Scheduler.refused` say what, and what it costs.

    Parameters
    ----------
    scheduling
        ``"usual"``; ``"fifo"``, before every usual thread; or ``"deadline"``, before those too, with `runtime` in each
        `period`. A thread of the last class cannot be pinned to a processor.
    priority
        1 to 99, for ``"fifo"``.
    runtime, period
        For ``"deadline"``: how long the thread may run in each period.
    processor
        The one processor to run on.
    lock_memory
        Keep all memory of the process from being paged out.
    awake_processors
        Keep processors from sleeping so deeply that waking takes long, by ``/dev/cpu_dma_latency``. It costs power.

    Raises
    ------
    ArgumentError
        An argument has a value that cannot be used.

    Examples
    --------
    >>> Realtime(scheduling="fifo", priority=80, processor=1).priority
    80
    """

    scheduling: Literal["usual", "fifo", "deadline"] = "usual"
    priority: int = 50
    runtime: Duration = "200 us"
    period: Duration = "1 ms"
    processor: int | None = None
    lock_memory: bool = False
    awake_processors: bool = False

    def __post_init__(self) -> None:
        if self.scheduling not in ("usual", "fifo", "deadline"):
            self._refuse("scheduling", "it must be 'usual', 'fifo' or 'deadline'")
        if not _is_within(self.priority, 1, 99):
            self._refuse("priority", "it must be a whole number from 1 to 99")
        if self.processor is not None and not _is_within(self.processor, 0, _PROCESSOR_MAX):
            self._refuse(
                "processor", f"it must be the number of a processor, from 0 to {_PROCESSOR_MAX}, or None for any"
            )
        if self.scheduling == "deadline" and self.processor is not None:
            self._refuse("processor", "a thread that is scheduled by deadline cannot be pinned; leave it out")
        for argument in ("lock_memory", "awake_processors"):
            if not isinstance(getattr(self, argument), bool):
                self._refuse(argument, "it must be True or False")
        if not 0 < nanoseconds(self.runtime, argument="runtime") <= nanoseconds(self.period, argument="period"):
            self._refuse("runtime", "it must be above zero and at most the period")

    def _refuse(self, argument: str, hint: str) -> None:
        value = getattr(self, argument)
        raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)

    def options(self) -> dict[str, Any]:
        """Return what the Rust side takes."""
        return {
            "scheduling": self.scheduling,
            "priority": self.priority,
            "runtime_ns": nanoseconds(self.runtime),
            "period_ns": nanoseconds(self.period),
            "processor": self.processor,
            "lock_memory": self.lock_memory,
            "awake_processors": self.awake_processors,
        }


def realtime_of(value: object, *, argument: str = "realtime") -> Realtime:
    """Return what an option asks of the system: nothing where it is None.

    Raises
    ------
    ArgumentError
        It is something else than a `Realtime`.

    Examples
    --------
    >>> realtime_of(None) == Realtime()
    True
    >>> realtime_of("fifo")
    Traceback (most recent call last):
    chronofabric.errors.ArgumentError: realtime is 'fifo'; it must be a Realtime, such as Realtime(scheduling='fifo')
    """
    if value is None:
        return Realtime()
    if isinstance(value, Realtime):
        return value
    example = value if isinstance(value, str) and value in ("usual", "fifo", "deadline") else "fifo"
    hint = f"it must be a Realtime, such as Realtime(scheduling={example!r})"
    raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)


def _is_within(value: object, least: int, most: int) -> bool:
    """Return whether it is a whole number, which True and False are not meant as, in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
