"""Running a node from the command line: signals, the screen, and what came of it."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from chronofabric.apps.rendering import failed
from chronofabric.apps.screen import Screen
from chronofabric.errors import ChronofabricError

if TYPE_CHECKING:
    from chronofabric.fabric.node import Fabric


Watching: TypeAlias = Callable[["Screen | None", threading.Event], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    report
        The node's report as plain values, taken after it closed.
    exit_code
        What the process should say to its parent.
    findings
        What an app has to add to the report, a sentence each.
    facts
        The same as values, for ``--json``.
    """

    report: Mapping[str, Any]
    exit_code: int
    findings: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """Return the report, the exit code and the facts as one object for JSON."""
        return {**self.report, "exit_code": self.exit_code, **self.facts}


class Interruption:
    """Whether somebody asked this process to end, by Ctrl-C or SIGTERM.

    The first signal calls `stop`, such as that of a node, which then closes in order; a second one calls `insist` with
    its number. `stop` is called from another thread: this one may hold a lock that stopping needs, since a signal comes
    between any two instructions.
    """

    def __init__(self, stop: Callable[[], object], insist: Callable[[int], NoReturn]) -> None:
        self._stop = stop
        self._insist = insist
        self.signal: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        if self.signal is not None:
            self._insist(number)
        self.signal = number
        threading.Thread(target=self._stop, name="chronofabric-stop").start()

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + (self.signal or 0)


def _break_off(_: int) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def interruption_stops(
    stop: Callable[[], object], insist: Callable[[int], NoReturn] = _break_off
) -> Iterator[Interruption]:
    """Call ``stop`` on Ctrl-C and SIGTERM, while the body runs, and on a second one ``insist``."""
    interruption = Interruption(stop, insist)
    if threading.current_thread() is not threading.main_thread():
        yield interruption  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, interruption) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Sentences(logging.Formatter):
    """Log lines without the traceback of what is not a mistake in a program: a broken file, a full disk."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback where somebody's code is to blame."""
        cause = record.exc_info[1] if record.exc_info else None
        if not isinstance(cause, (ChronofabricError, OSError)):
            return super().format(record)
        shown = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        return super().format(shown)


def log_to_stderr(*, errors_only: bool = False) -> None:
    """Send the log of the package to the standard error, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Sentences("%(levelname)s %(message)s"))
    logger = logging.getLogger("chronofabric")
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if errors_only else logging.INFO)
    logger.propagate = False


def carry_out(
    fabric: Fabric,
    *,
    duration_ns: int | None = None,
    show: bool = True,
    watching: Watching | None = None,
) -> Outcome:
    """Run a node to its end and close it.

    Parameters
    ----------
    fabric
        The node, not yet started.
    duration_ns
        Stop after so many nanoseconds.
    show
        Draw the screen meanwhile.
    watching
        Called in a thread of its own while the node runs, with the screen and an event that is set when the node stops;
        it returns soon after that.
    """
    over = threading.Event()
    with interruption_stops(fabric.stop) as interruption:
        try:
            with (
                fabric,
                Screen(fabric, sys.stdout) if show else nullcontext() as screen,
                _beside(watching, screen, over) if watching else nullcontext(),
            ):
                fabric.run(None if duration_ns is None else f"{duration_ns} ns")
        except KeyboardInterrupt:
            return Outcome(fabric.report().as_dict(), interruption.exit_code)
    report = fabric.report().as_dict()
    if failed(report):
        return Outcome(report, 1)
    # What has no end of its own is ended by Ctrl-C; anything else is cut short by it.
    cut_short = interruption.signal is not None and (duration_ns is not None or watching is not None)
    return Outcome(report, interruption.exit_code if cut_short else 0)


@contextmanager
def _beside(watching: Watching, screen: Screen | None, over: threading.Event) -> Iterator[None]:
    """Run ``watching`` in a thread while the body runs, tell it when that is over, and raise what it raised."""
    with ThreadPoolExecutor(1, "chronofabric-watching") as thread:
        watched = thread.submit(watching, screen, over)
        try:
            yield
        finally:
            over.set()
    watched.result()
