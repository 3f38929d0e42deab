"""What a job does: a function, a coroutine, or something that needs no interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from chronofabric.errors import ArgumentError
from chronofabric.scheduler.functions import arguments_needed, is_coroutine_function
from chronofabric.scheduler.jobs import CURRENT, Job
from chronofabric.scheduler.timers import native

if TYPE_CHECKING:
    from chronofabric._core.scheduler import NativeTask

__all__ = ["Work", "natively", "nothing", "work_of"]


class Work(NamedTuple):
    """What was given to be done."""

    name: str
    function: Callable[[], Any]
    """What Python calls for it; nothing where it is native."""
    act: object | None
    """What the Rust side does by itself."""
    asynchronous: bool


def work_of(do: object, name: str | None) -> Work:
    """Tell apart what a user gives.

    Raises
    ------
    ArgumentError
        It cannot be done.
    """
    if name is not None and (not isinstance(name, str) or not name):  # type: ignore[redundant-expr]
        hint = "it must be a text that is not empty; left out, it is the name of the function"
        raise ArgumentError(f"name is {name!r}; {hint}", argument="name", value=name, hint=hint)
    called = name or getattr(do, "__qualname__", None) or type(do).__name__
    if (act := native(do)) is not None:
        return Work(called, nothing, act, False)
    if not callable(do):
        hint = "give a function or coroutine function without arguments, or a native action, as to timers"
        raise ArgumentError(f"function is {do!r}; {hint}", argument="function", value=do, hint=hint)
    if (needed := arguments_needed(do)) > 0:
        hint = "give one without parameters, or functools.partial with what it needs"
        text = f"'{called}' cannot be called without arguments, of which it needs {needed}; {hint}"
        raise ArgumentError(text, argument="function", value=do, hint=hint)
    return Work(called, do, None, is_coroutine_function(do))


def natively(jobs: NativeTask, now: Callable[[], int], job: Job | None = None) -> Callable[[], None]:
    """Return a function that does what native jobs do, for a clock on which there is no thread to do it.

    Parameters
    ----------
    jobs
        Where they come from.
    now
        Returns the time.
    job
        Whose it is; by default of the job that runs when it is called.
    """

    def act() -> None:
        running = job or CURRENT.get()
        assert running is not None, "it is called as a job"
        if not jobs(running.arrival_ns, now()):
            running._task._account.failed()

    return act


def nothing() -> None:
    """Stand for the function of what has none of its own."""
