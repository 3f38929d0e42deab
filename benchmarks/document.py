"""Writes what was measured into docs/performance.md, between the marks that are there for it.

`python -m benchmarks.document` runs every comparison and every curve first; on a machine that is not quiet that takes
an hour. `--lines FILE ...` takes what runs with `--json FILE` have written.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import curve
from benchmarks.peers._rounds import verdict
from chronofabric.apps.measuring.machine import machine
from chronofabric.apps.measuring.rounds import figure

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, or read what was measured, and write it down; return 1 when a measurement broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document")
    parser.add_argument(
        "--lines", nargs="+", type=Path, metavar="FILE", help="take the lines of these files, run nothing"
    )
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="write into FILE instead")
    chosen = parser.parse_args(argv)
    if chosen.lines is None:
        with tempfile.TemporaryDirectory(prefix="chronofabric-") as folder:
            files = [Path(folder, "peers.json"), Path(folder, "curve.json")]
            for module, file in zip(("benchmarks.peers", "benchmarks.curve"), files, strict=True):
                if subprocess.run([sys.executable, "-m", module, "--json", str(file)], check=False).returncode != 0:
                    print(f"{module} broke; {chosen.page} stays as it is", file=sys.stderr)
                    return 1
            lines = _lines(files)
    else:
        lines = _lines(chosen.lines)
    text = chosen.page.read_text(encoding="utf-8")
    for mark, content in sections(lines).items():
        text = replaced(text, mark, content)
    chosen.page.write_text(text, encoding="utf-8")
    return 0


def sections(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the Markdown that belongs to each mark; marks of which nothing was measured are left out.

    Raises
    ------
    ValueError
        A line is of a quick run.
    """
    quick = [line.get("case") or line["curve"] for line in lines if line["quick"]]
    if quick:
        raise ValueError(f"a quick run is a look, not a figure: {quick[0]}")
    cases = [line for line in lines if "case" in line]
    found = {"machine": f"{machine()}, {dt.datetime.now(tz=dt.UTC).date()}."}
    if cases:
        found["figures"] = figures(cases)
    for line in lines:
        if "curve" in line:
            quiet = f"Nanoseconds; {line['rounds']} quiet rounds."
            found[line["curve"]] = f"{curve.table(line, markdown=True)}\n\n{quiet}"
    return found


def figures(lines: Sequence[dict[str, Any]]) -> str:
    """Return the lines of comparisons as one table of Markdown."""
    heads = ("case", "ours", "against", "ratio", "bar", "", "quiet rounds")
    rows = [heads, tuple("---" for _ in heads)]
    for line in lines:
        bar = "-" if line["bar"] is None else f"≥ {figure(line['bar'])}"
        against = f"{figure(line['peer'])} ({line['peer_name']})"
        ours = f"{figure(line['ours'])} {line['unit']}"
        said = verdict(line).replace("no bar", "-")
        rows.append(
            (f"{line['concern']}: {line['case']}", ours, against, figure(line["ratio"]), bar, said, str(line["rounds"]))
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def replaced(text: str, mark: str, content: str) -> str:
    """Return the text with new content between the two comments of a mark.

    Examples
    --------
    >>> replaced("a\\n<!-- begin: x -->\\nold\\n<!-- end: x -->\\nb", "x", "new")
    'a\\n<!-- begin: x -->\\n\\nnew\\n\\n<!-- end: x -->\\nb'
    """
    begin, end = f"<!-- begin: {mark} -->", f"<!-- end: {mark} -->"
    before, found, rest = text.partition(begin)
    _, found_too, after = rest.partition(end)
    if not (found and found_too):
        raise ValueError(f"no place for {mark!r}: the page needs {begin} and {end}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def _lines(files: Sequence[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
