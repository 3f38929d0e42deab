"""What a concern is made of, and how it is run from the command line.

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

How rounds are run is in `chronofabric.apps.measuring`, which `chronofabric bench` uses too.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chronofabric.apps.measuring.rounds import LIMIT, ROUNDS, Case, Outcome, debug_refusal, figure, run

__all__ = ["Case", "main", "table", "verdict"]

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
