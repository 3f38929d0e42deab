"""What a run shows while it runs: a live table on a terminal, a line now and then elsewhere.

The table keeps the lowest rows of the terminal and leaves the others to scroll (DECSTBM, understood since the VT100):
log lines, the events of a terminal sink and tracebacks of any thread keep their order above it. A frame is one write,
which a terminal takes as a whole. Each frame comes from one snapshot, four times a second, in a thread of its own: no
guard, source or publisher ever waits for the screen.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from chronofabric.apps.rendering import Rates, Snapshot, frame, progress_line

if TYPE_CHECKING:
    from types import TracebackType

FRAME_PERIOD_S = 0.25
LINE_PERIOD_S = 5.0
TERMINAL_ROWS_MIN = 12
"""A terminal with fewer rows gets lines: its lower half could not hold a table."""

_SAVE, _RESTORE, _INDEX, _CLEAR_LINE_END = "\x1b7", "\x1b8", "\x1bD", "\x1b[K"


class Report(Protocol):
    """A report that can be had as plain values."""

    def as_dict(self) -> Snapshot:
        """Return the report as plain values."""
        ...


class Node(Protocol):
    """What a screen needs of a node."""

    def report(self) -> Report:
        """Return a snapshot of all counters."""
        ...


class Screen:
    """Shows a node's report from a thread of its own, from entering to leaving.

    Parameters
    ----------
    node
        Whose report to show.
    output
        Where to: a live table if it is a terminal of enough rows, otherwise lines.

    Attributes
    ----------
    frames : int
        How many frames or lines were drawn.
    frame_busy_ns_max : int
        The longest processor time that one of them took.
    """

    def __init__(self, node: Node, output: TextIO) -> None:
        self._node = node
        self._painter: _Table | _Lines = _Table(output) if _holds_a_table(output) else _Lines(output)
        self._output = output
        self._rates = Rates()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_stopped, name="chronofabric-screen", daemon=True)
        self.frames = 0
        self.frame_busy_ns_max = 0

    def __enter__(self) -> Self:
        self._painter.open()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._painter.close()

    def say(self, line: str) -> None:
        """Print a line, above the table where there is one."""
        _write(self._output, f"{line}\n")

    def _draw_until_stopped(self) -> None:
        while not self._stop.wait(self._painter.period_s):
            started_ns = time.thread_time_ns()
            snapshot = self._node.report().as_dict()
            self._rates.take(snapshot)
            self._painter.draw(snapshot, self._rates)
            self.frames += 1
            self.frame_busy_ns_max = max(self.frame_busy_ns_max, time.thread_time_ns() - started_ns)


class _Lines:
    """Progress for an output that is no terminal."""

    period_s = LINE_PERIOD_S

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def open(self) -> None:
        pass

    def draw(self, snapshot: Snapshot, rates: Rates) -> None:
        _write(self._output, f"{progress_line(snapshot, rates)}\n")

    def close(self) -> None:
        pass


class _Table:
    """The live table in the lowest rows; ``_rows`` of them are taken from the scrolling part."""

    period_s = FRAME_PERIOD_S

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._rows = 0
        self._size = os.terminal_size((0, 0))

    def open(self) -> None:
        if os.name == "nt":
            os.system("")  # noqa: S605 - makes the console understand escape sequences

    def draw(self, snapshot: Snapshot, rates: Rates) -> None:
        size = _size(self._output) or self._size
        lines = frame(snapshot, rates, width=size.columns, height=size.lines // 2)
        text = [] if size == self._size else [self._give_back()]
        self._size = size
        if len(lines) > self._rows:
            text.append(self._take_rows(len(lines)))
        lines += [""] * (self._rows - len(lines))
        top = size.lines - self._rows + 1
        text.append(_SAVE)
        text.extend(f"\x1b[{top + row};1H{line}{_CLEAR_LINE_END}" for row, line in enumerate(lines))
        text.append(_RESTORE)
        _write(self._output, "".join(text))

    def close(self) -> None:
        _write(self._output, self._give_back())

    def _take_rows(self, rows: int) -> str:
        """Take more rows from the scrolling part, whose text moves up where it has to."""
        more = rows - self._rows
        self._rows = rows
        # Index (down, scrolling at the foot) and back up: the cursor stays on its line, which ends above the table.
        # Setting the margins moves the cursor home, so it is kept.
        return f"{_INDEX * more}\x1b[{more}A{_SAVE}\x1b[1;{self._size.lines - rows}r{_RESTORE}"

    def _give_back(self) -> str:
        """Wipe the table and let the whole terminal scroll again."""
        if not self._rows:
            return ""
        top = self._size.lines - self._rows + 1
        self._rows = 0
        return f"{_SAVE}\x1b[r\x1b[{top};1H\x1b[J{_RESTORE}"


def _holds_a_table(output: TextIO) -> bool:
    size = _size(output)
    return size is not None and size.lines >= TERMINAL_ROWS_MIN and os.environ.get("TERM") != "dumb"


def _size(output: TextIO) -> os.terminal_size | None:
    """Return the size of the terminal behind ``output``, or ``None`` if there is none."""
    try:
        return os.get_terminal_size(output.fileno()) if output.isatty() else None
    except (OSError, ValueError):
        return None


def _write(output: TextIO, text: str) -> None:
    """Write and flush at once; a reader or a terminal that went away is no reason to end a run."""
    try:
        output.write(text)
        output.flush()
    except (OSError, ValueError):
        pass
