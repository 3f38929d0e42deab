"""How a claim is put beside its peer: alternating rounds under equal settings, medians, and one line a case.

A concern is a module of this package that ends in `sys.exit(main("concern", cases))`, where `cases` makes the cases::

    def cases(quick: bool) -> list[Case]:
        events = 20_000 if quick else 1_000_000
        return [
            Case(
                "one thread, single events, capacity 4096, block",
                ours=lambda: seconds_ours(events),
                peer=lambda: seconds_simple_queue(events),
                peer_name="queue.SimpleQueue",
                unit="s",
                bar=0.4,
            ),
        ]

Each callable performs one round and returns its figure. Rounds of both alternate, which of them goes first alternating
too. A noisy round is repeated, until three times as many rounds were run as are wanted; when quiet ones stay too few,
the quietest of the noisy ones stand in, and `rounds` counts the quiet ones only.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import statistics
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.peers import _noise

LIMIT = "limit"
ROUNDS = 9
REPEATS = 3
ROUNDS_MAX = REPEATS * ROUNDS
KEYS = ("concern", "case", "ours", "peer", "peer_name", "unit", "ratio", "bar", "rounds", "quick")


@dataclass(frozen=True)
class Case:
    """One claim.

    Parameters
    ----------
    name
        What is measured, with load, capacity, policy, scheduling class and access pattern where they matter.
    ours, peer
        Each performs one round and returns its figure, in `unit`.
    peer_name
        Who the peer is; `"limit"` when there is a stated limit instead.
    unit
        Of both figures.
    better
        Whether the lower or the higher figure is better.
    bar
        The smallest ratio that meets the claim, or None where nothing is claimed.
    limit
        Instead of a peer: the stated limit; its bar is 1.0. With a limit of 0, any figure above is a failure.
    needs
        Modules that the peer needs; the case is skipped, and they are named, when one is not installed.
    rounds
        How many quiet rounds are wanted; fewer only where a round is so long that it is an average in itself, which
        then is not warmed up for either.
    """

    name: str
    ours: Callable[[], float]
    unit: str
    peer: Callable[[], float] | None = None
    peer_name: str = LIMIT
    better: Literal["lower", "higher"] = "lower"
    bar: float | None = None
    limit: float | None = None
    needs: tuple[str, ...] = ()
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        """Refuse a case that has neither or both of a peer and a limit."""
        if (self.peer is None) == (self.limit is None):
            raise ValueError(f"case {self.name!r} needs either a peer or a limit")
        if self.peer is not None and self.peer_name == LIMIT:
            raise ValueError(f"case {self.name!r} has a peer without a name")

    def absent(self) -> list[str]:
        """Return what the peer needs and is not installed."""
        return [module for module in self.needs if importlib.util.find_spec(module) is None]

    def ratio(self, ours: float, peer: float) -> float:
        """Return how many times better `ours` is.

        Examples
        --------
        >>> Case("time", ours=float, peer=float, peer_name="x", unit="s").ratio(2.0, 1.0)
        0.5
        >>> Case("rate", ours=float, peer=float, peer_name="x", unit="1/s", better="higher").ratio(2.0, 1.0)
        2.0
        >>> Case("lost", ours=float, limit=0.0, unit="events").ratio(0.0, 0.0)
        1.0
        """
        if self.limit == 0:
            return 1.0 if ours == 0 else 0.0
        better, worse = (peer, ours) if self.better == "lower" else (ours, peer)
        return better / worse if worse else float("inf")


class Round(NamedTuple):
    """One round of both: the two figures and the noise meanwhile."""

    ours: float
    peer: float
    noise: _noise.Noise


class Outcome(NamedTuple):
    """What became of a case: its line for `--json`, and how many rounds were noisy."""

    line: dict[str, Any]
    noisy: int


Cases = Sequence[Case] | Callable[[bool], Sequence[Case]]


def main(concern: str, cases: Cases, argv: Sequence[str] | None = None) -> int:
    """Run the cases of one concern, print a line each as they end and a table; return the exit status.

    The status is 1 when a case broke (not when a bar was missed: none of this decides whether tests pass), 2 when
    the extension is not a release build.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.peers.{concern}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one line a case to FILE")
    parser.add_argument("--quick", action="store_true", help="one round on fewer inputs; meets no bar")
    parser.add_argument("--case", default="", metavar="TEXT", help="only cases with TEXT in their name")
    chosen = parser.parse_args(argv)
    refusal = debug_refusal()
    if refusal:
        print(refusal, file=sys.stderr)
        return 2
    outcomes: list[Outcome] = []
    broken = False
    for case in cases(chosen.quick) if callable(cases) else cases:
        if chosen.case not in case.name:
            continue
        absent = case.absent()
        if absent:
            print(f"{concern}: {case.name}: skipped, not installed: {', '.join(absent)}", flush=True)
            continue
        try:
            outcome = run(concern, case, quick=chosen.quick)
        except Exception:  # noqa: BLE001 (whatever a case does, the others go on)
            broken = True
            print(f"{concern}: {case.name}: broke\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            continue
        outcomes.append(outcome)
        print(f"{concern}: {case.name}: {_sentence(outcome)}", flush=True)
    lines = [outcome.line for outcome in outcomes]
    if chosen.json is not None:
        chosen.json.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"\n{table(lines)}")
    return 1 if broken else 0


def run(concern: str, case: Case, *, quick: bool = False, read: Callable[[], _noise.Reading] = _noise.read) -> Outcome:
    """Run one case and return its outcome; `read` is where the state of the machine is read."""
    if quick:
        rounds = [_round(case, ours_first=True, read=read)]
    else:
        if case.rounds == ROUNDS:
            _round(case, ours_first=True, read=read)  # warms caches and allocators; not counted
        rounds = []
        while sum(not each.noise.noisy for each in rounds) < case.rounds and len(rounds) < REPEATS * case.rounds:
            rounds.append(_round(case, ours_first=len(rounds) % 2 == 0, read=read))
    quiet = sum(not each.noise.noisy for each in rounds)
    counted = sorted(rounds, key=lambda each: each.noise.level if each.noise.noisy else 0.0)[
        : 1 if quick else case.rounds
    ]
    ours = _typical(case, [each.ours for each in counted])
    peer = statistics.median(each.peer for each in counted)
    bar = 1.0 if case.limit is not None else case.bar
    values = (concern, case.name, ours, peer, case.peer_name, case.unit, case.ratio(ours, peer), bar, quiet, quick)
    return Outcome(dict(zip(KEYS, values, strict=True)), len(rounds) - quiet)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the lines of any number of concerns as one text table."""
    heads = ("case", "ours", "peer", "unit", "against", "ratio", "bar", "", "rounds")
    rows = [heads, *(_row(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def verdict(line: dict[str, Any]) -> str:
    """Say whether a line meets its bar; a quick or a noisy run does not say.

    Against a limit noise only ever makes ours worse, so a limit that is met in noise is met.
    """
    if line["bar"] is None:
        return "no bar"
    if line["quick"]:
        return "quick"
    limit = line["peer_name"] == LIMIT
    met = line["ratio"] >= line["bar"]
    if line["rounds"] < (1 if limit else ROUNDS) and not (limit and met):
        return "too noisy"
    return "met" if met else "MISSED"


def figure(value: float) -> str:
    """Return a figure as it is printed: whole numbers from a thousand, otherwise three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def debug_refusal() -> str | None:
    """Return why nothing may be measured, or None: a debug build's figures are false."""
    from chronofabric import _core

    profile: str = _core.build_profile()
    if profile == "release":
        return None
    return f"the extension is a {profile} build, whose figures are false: run make setup, or maturin develop --release"


def _round(case: Case, *, ours_first: bool, read: Callable[[], _noise.Reading]) -> Round:
    gc.collect()
    before = read()
    if case.peer is None:
        ours, peer = case.ours(), float(case.limit or 0.0)
    elif ours_first:
        ours = case.ours()
        peer = case.peer()
    else:
        peer = case.peer()
        ours = case.ours()
    return Round(float(ours), float(peer), _noise.between(before, read()))


def _typical(case: Case, figures: list[float]) -> float:
    # Where nothing is tolerated, one failure among many rounds is a failure.
    return max(figures) if case.limit == 0 else statistics.median(figures)


def _sentence(outcome: Outcome) -> str:
    line = outcome.line
    noisy = f", {outcome.noisy} noisy" if outcome.noisy else ""
    return (
        f"{figure(line['ours'])} against {figure(line['peer'])} {line['unit']} ({line['peer_name']}), "
        f"ratio {figure(line['ratio'])}, {verdict(line)}; {line['rounds']} quiet rounds{noisy}"
    )


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    bar = "-" if line["bar"] is None else figure(line["bar"])
    name = f"{line['concern']}: {line['case']}"
    ours, peer, ratio = (figure(line[key]) for key in ("ours", "peer", "ratio"))
    return (name, ours, peer, line["unit"], line["peer_name"], ratio, bar, verdict(line), str(line["rounds"]))
