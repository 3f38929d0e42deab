"""``chronofabric bench``: the figures that a user cares about, on the user's own machine, beside known ones.

Each figure is the median of rounds that alternate with those of its peer. What was measured is kept, and the next run
is compared with it. Ctrl-C ends the run after the round that it falls into, a second at most, and keeps what is done.
Another one ends it at once.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from chronofabric.apps.rendering import terminal_width
from chronofabric.apps.running import interruption_stops
from chronofabric.errors import ArgumentError

if TYPE_CHECKING:
    from chronofabric.apps.measuring.kept import Figure, Kept
    from chronofabric.apps.measuring.noise import Reading
    from chronofabric.apps.measuring.rounds import Case, Outcome

WIDTH_MAX = 120
SAME_SHARE = 0.02
"""A figure that differs from the one before by less than this is called the same."""

_SCALES = ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, " "))


class _Interrupted(Exception):
    """Somebody asked this run to end."""


def measure(*, quick: bool, wanted: str, lines_to: Path | None) -> int:
    """Measure, show, compare and keep; return the exit code.

    Parameters
    ----------
    quick
        One round on less work: a look, not a figure.
    wanted
        Only cases with this in their name.
    lines_to
        A file that gets one line of JSON a case.

    Raises
    ------
    ArgumentError
        No case has this in its name.
    """
    from chronofabric.apps.measuring.rounds import debug_refusal
    from chronofabric.apps.measuring.suite import cases

    refusal = debug_refusal()
    if refusal:
        print(f"chronofabric: {refusal}", file=sys.stderr)
        return 2
    chosen = [case for case in cases(quick) if wanted in case.name]
    if not chosen:
        names = "\n  ".join(case.name for case in cases(quick))
        raise ArgumentError(f"no figure has {wanted!r} in its name; there are:\n  {names}", argument="--case")
    absent = sorted({module for case in chosen for module in case.absent()})
    chosen = [case for case in chosen if not case.absent()]
    if lines_to is not None:
        lines_to.write_text("", encoding="utf-8")  # so that a bad path is known now
    outcomes, broken, exit_code = _measured(chosen, quick=quick)
    if lines_to is not None:
        lines_to.write_text("".join(f"{json.dumps(each.line)}\n" for each in outcomes), encoding="utf-8")
    if outcomes:
        kept, place = _kept_and_replaced(outcomes)
        before = kept.figures["quick" if quick else "full"]
        width = terminal_width(WIDTH_MAX)
        print("\n".join(table(outcomes, before, width=width)))
        remarks = [*_remarks(outcomes, absent, broken, quick=quick), kept.remark, place]
        print(
            "\n".join(["", *(textwrap.fill(remark, width) for remark in remarks if remark)]),
            flush=True,
        )
    return exit_code


def _kept_and_replaced(outcomes: Sequence[Outcome]) -> tuple[Kept, str | None]:
    """Return what was kept of earlier runs, and a sentence on where these figures now are."""
    from chronofabric import SystemClock, __version__
    from chronofabric.apps.measuring import kept as earlier
    from chronofabric.apps.measuring.machine import machine

    try:
        file = earlier.state_folder() / "bench.json"
    except RuntimeError as error:  # who runs this has no home
        return earlier.Kept(), f"The figures are not kept: {error}"
    here = machine()
    kept = earlier.load(file, here)
    if not kept.writable:
        return kept, None
    now = dt.datetime.fromtimestamp(SystemClock().now() // 10**9, tz=dt.UTC).isoformat()
    lines = [outcome.line for outcome in outcomes]
    refusal = earlier.save(file, here, earlier.merged(kept.figures, lines, time=now, version=__version__))
    return kept, refusal or f"Kept in {file}, for the next run to compare with."


def _remarks(outcomes: Sequence[Outcome], absent: list[str], broken: list[str], *, quick: bool) -> Iterator[str]:
    from chronofabric import __version__
    from chronofabric.apps.measuring.machine import machine

    yield f"Ratio says how many times better chronofabric is. {machine()}; chronofabric {__version__}."
    if quick:
        yield "One round each, on less work: a look, not a figure. Without --quick, figures are medians of nine rounds."
    if any(_doubtful(outcome) for outcome in outcomes):
        yield "~ Others (processes, or the host of this virtual machine) used the processor in most rounds of it."
    if absent:
        yield f"Not installed, so nothing stands beside them: {', '.join(absent)}."
    if broken:
        yield f"Broke, as shown above: {', '.join(broken)}."


def _measured(chosen: Sequence[Case], *, quick: bool) -> tuple[list[Outcome], list[str], int]:
    """Measure all cases, or those before an interruption; return outcomes, names of broken ones, and the exit code."""
    from chronofabric.apps.measuring import noise
    from chronofabric.apps.measuring.rounds import run

    outcomes: list[Outcome] = []
    broken: list[str] = []
    stop = threading.Event()
    progress = _Progress(sys.stderr, len(chosen))

    def read() -> Reading:  # before and after every round
        if stop.is_set():
            raise _Interrupted
        progress.show()
        return noise.read()

    with interruption_stops(stop.set, _end_at_once) as interruption:
        for case in chosen:
            progress.begin(case.name)
            try:
                outcomes.append(run("bench", case, quick=quick, read=read))
            except Exception as error:  # noqa: BLE001 - whatever a case does, the others go on
                if interruption.signal is not None:  # a child that was measured may have had the same Ctrl-C
                    progress.clear()
                    print(f"Interrupted: {len(outcomes)} of {len(chosen)} figures are done.", file=sys.stderr)
                    return outcomes, broken, interruption.exit_code
                progress.clear()
                print(f"{case.name} broke:\n{''.join(traceback.format_exception(error))}", file=sys.stderr, end="")
                broken.append(case.name)
                continue
            progress.end(amount(outcomes[-1].line["ours"], case.unit))
        progress.clear()
    return outcomes, broken, 1 if broken else 0


def _end_at_once(number: int) -> NoReturn:
    # Not by an exception: a round that is broken off leaves threads that wait for it, and it, or the interpreter at its
    # end, would wait for them.
    os.write(2, b"\nInterrupted again: nothing is kept.\n")
    os._exit(128 + number)


class _Progress:
    """Says what is being measured: one line that is drawn again on a terminal, a line for each figure elsewhere."""

    def __init__(self, output: TextIO, count: int) -> None:
        self._output = output
        self._count = count
        self._number = 0
        self._name = ""
        self._started_s = time.monotonic()
        self._redraws = output.isatty() and os.environ.get("TERM") != "dumb"

    def begin(self, name: str) -> None:
        self._number += 1
        self._name = name
        self.show()

    def show(self) -> None:
        if self._redraws:
            elapsed_s = time.monotonic() - self._started_s
            line = f"{self._number}/{self._count} {self._name} ({elapsed_s:.0f} s; Ctrl-C ends)"
            self._write(f"\r{line[: terminal_width(WIDTH_MAX) - 1]}\x1b[K")

    def end(self, figure: str) -> None:
        if not self._redraws:
            self._write(f"{self._number}/{self._count} {self._name}: {figure}\n")

    def clear(self) -> None:
        if self._redraws:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def table(outcomes: Sequence[Outcome], before: Mapping[str, Figure], *, width: int) -> list[str]:
    """Return the figures as lines: one for each where that fits, otherwise two."""
    heads = ("figure", "chronofabric", "than before", "beside it", "", "ratio")
    rows = [_row(outcome, before.get(outcome.line["case"])) for outcome in outcomes]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    if sum(widths) + 2 * (len(widths) - 1) <= width:
        return [_aligned(row, widths) for row in (heads, tuple("-" * each for each in widths), *rows)]
    lines: list[str] = []
    for name, ours, change, peer, theirs, ratio in rows:
        than_before = {"-": "", "same": ", same as before"}.get(change, f", {change} than before")
        lines += textwrap.wrap(f"{name}: {ours}{than_before}", width)
        lines += textwrap.wrap(
            f"{peer}: {theirs}; ratio {ratio}", width, initial_indent="    ", subsequent_indent="    "
        )
    return lines


def amount(value: float, unit: str) -> str:
    """Return a figure with its unit, rates in thousands and millions.

    Examples
    --------
    >>> amount(14_260_000.0, "events/s"), amount(18.76, "us"), amount(512.3, "rows/s")
    ('14.3 M events/s', '18.8 us', '512 rows/s')
    """
    if not unit.endswith("/s"):
        return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
    size, scale = next((step for step in _SCALES if value >= step[0] * 0.9995), _SCALES[-1])
    return f"{value / size:.3g}{scale} {unit}".replace("  ", " ")


def _row(outcome: Outcome, before: Figure | None) -> tuple[str, ...]:
    line = outcome.line
    doubt = "~" if _doubtful(outcome) else ""
    return (
        doubt + line["case"].partition(", beside ")[0],
        amount(line["ours"], line["unit"]),
        "-" if before is None or before.unit != line["unit"] else _change(line["ours"], before),
        line["peer_name"],
        amount(line["peer"], line["unit"]),
        f"{line['ratio']:.3g}",
    )


def _change(ours: float, before: Figure) -> str:
    """Say how a figure differs from the one before: rates are better when higher, times when lower."""
    better = ours / before.ours if before.unit.endswith("/s") else before.ours / ours
    if abs(better - 1) < SAME_SHARE:
        return "same"
    return f"{better - 1:.0%} better" if better > 1 else f"{1 - better:.0%} worse"


def _doubtful(outcome: Outcome) -> bool:
    return outcome.noisy > int(outcome.line["rounds"])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
