"""``chronofabric doctor``: what this machine allows, with the evidence for it and the way to better.

Each check is a function of what it looks at, so that tests show it other machines; `here` has them look at this one.
Whatever a check tries it takes back: nothing of the process is changed afterwards.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronofabric.apps.doctor.finding import Finding, State

_COLOURS: dict[State, str] = {"ok": "32", "limited": "33", "absent": "36", "broken": "31"}
_INDENT = 10


def lines(findings: Sequence[Finding], *, width: int, coloured: bool) -> Iterator[str]:
    """Yield the report, a paragraph for each finding."""
    for finding in findings:
        indent = " " * min(_INDENT, width // 4)
        state = f"{finding.state:<{len(indent)}}"
        first, *more = textwrap.wrap(
            f"{state}{finding.name}: {finding.evidence}. {finding.meaning}", width, subsequent_indent=indent
        )
        if coloured:
            first = first.replace(finding.state, f"\x1b[{_COLOURS[finding.state]}m{finding.state}\x1b[0m", 1)
        yield from (first, *more)
        if finding.way:
            yield from textwrap.wrap(
                f"-> {finding.way}", width, initial_indent=indent, subsequent_indent=f"{indent}   "
            )
    counts = ", ".join(f"{sum(finding.state == state for finding in findings)} {state}" for state in _COLOURS)
    yield ""
    yield from textwrap.wrap(f"{counts}. {verdict(findings)}", width)


def verdict(findings: Sequence[Finding]) -> str:
    """Return the sentence under the report."""
    broken = [finding.name for finding in findings if finding.state == "broken"]
    if broken:
        return f"Something that chronofabric needs is broken: {', '.join(broken)}."
    return "All that chronofabric needs works here."


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as one object for JSON."""
    return {"version": 1, "exit_code": exit_code(findings), "findings": [asdict(finding) for finding in findings]}


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 where something that the main work needs is broken, else 0."""
    return int(any(finding.state == "broken" for finding in findings))
