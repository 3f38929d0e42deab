"""What a look at one thing of this machine came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

State: TypeAlias = Literal["ok", "limited", "absent", "broken"]

Read: TypeAlias = Callable[[str], "str | None"]
"""Returns the text of a file, or None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    name
        What was looked at.
    state
        ``"ok"``; ``"limited"`` where it is there and could do more; ``"absent"`` where it is not there, or not known;
        ``"broken"`` where chronofabric cannot do its main work.
    evidence
        What was measured or read.
    meaning
        What that means for who uses chronofabric here.
    way
        How to improve it, where there is something to improve.
    """

    name: str
    state: State
    evidence: str
    meaning: str
    way: str | None = None


def file_text(path: str) -> str | None:
    """Return the text of a file of this machine, or None where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def not_looked_at(name: str, system: str) -> Finding:
    """Return the finding about a thing that only Linux has, or lets one read."""
    return Finding(name, "absent", f"not looked at on {system}", "Only Linux is looked at this closely.")


def bytes_text(count: float) -> str:
    """Return a number of bytes in its natural unit.

    Examples
    --------
    >>> bytes_text(8 * 2**20), bytes_text(1536), bytes_text(12)
    ('8 MiB', '1.5 KiB', '12 bytes')
    """
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"
