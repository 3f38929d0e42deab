"""The figures of earlier runs on this machine, kept in the user's state folder.

One file of JSON, complete or absent: ``{"format", "version", "machine", "figures": {"full" | "quick": {case: ...}}}``,
where a figure has ``ours``, ``unit``, ``time`` (of its measurement, ISO 8601 in UTC) and ``chronofabric`` (its
version). A file of a newer version is left alone; one that cannot be read is replaced, and either is said.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from chronofabric.errors import SinkError
from chronofabric.fabric.sinks.partial import PartialFile

FORMAT, VERSION = "chronofabric-bench", 1
BYTES_MAX = 1_000_000

Length: TypeAlias = Literal["full", "quick"]
Figures: TypeAlias = "dict[Length, dict[str, Figure]]"


@dataclass(frozen=True, slots=True)
class Figure:
    """What one case came to, once."""

    ours: float
    unit: str
    time: str
    chronofabric: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of earlier runs.

    Attributes
    ----------
    figures
        By length of the run and name of the case; empty where nothing can be compared.
    remark
        Why there is nothing, if that needs a sentence.
    writable
        Whether the file may be replaced: not where a newer version wrote it.
    """

    figures: Figures = field(default_factory=lambda: {"full": {}, "quick": {}})
    remark: str | None = None
    writable: bool = True


def state_folder(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform, home: Path | None = None
) -> Path:
    """Return the folder in which this user's programs keep what is neither settings nor cache.

    Raises
    ------
    RuntimeError
        If the user has no home folder.

    Examples
    --------
    >>> state_folder({}, "linux", Path("/users/ada")).as_posix()
    '/users/ada/.local/state/chronofabric'
    >>> state_folder({"XDG_STATE_HOME": "/var/state"}, "linux", Path("/users/ada")).as_posix()
    '/var/state/chronofabric'
    """
    if platform == "win32" and environment.get("LOCALAPPDATA"):
        return Path(environment["LOCALAPPDATA"], "chronofabric")
    named = environment.get("XDG_STATE_HOME", "")
    if platform not in ("win32", "darwin") and PurePosixPath(named).is_absolute():  # the standard has others ignored
        return Path(named, "chronofabric")
    home = Path.home() if home is None else home
    inside = {"win32": "AppData/Local", "darwin": "Library/Application Support"}.get(platform, ".local/state")
    return home / inside / "chronofabric"


def load(file: Path, machine: str) -> Kept:
    """Read what is kept; whatever is wrong with it becomes a remark."""
    try:
        document = _document(file)
        if document["version"] > VERSION:
            newer = f"{file} is of version {document['version']}, and this chronofabric knows {VERSION}"
            return Kept(remark=f"{newer}: nothing is compared with it, and it stays as it is.", writable=False)
        figures = _figures(document)
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        return Kept(remark=f"The figures of earlier runs in {file} cannot be read ({why}), so none are compared.")
    if document["machine"] != machine:
        return Kept(remark=f"Earlier runs were on another machine ({document['machine']}), so none are compared.")
    return Kept(figures)


def save(file: Path, machine: str, figures: Figures) -> str | None:
    """Write what is to be kept; return why it could not be, if so."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "machine": machine,
        "figures": {
            length: {case: {name: getattr(each, name) for name in Figure.__slots__} for case, each in cases.items()}
            for length, cases in figures.items()
        },
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = PartialFile(file, overwrite=True, sink="bench")
        try:
            partial.path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            partial.commit()
        except BaseException:
            partial.discard()
            raise
    except (OSError, SinkError) as error:
        return f"The figures could not be kept: {error}"
    return None


def merged(kept: Figures, lines: Iterable[Mapping[str, Any]], *, time: str, version: str) -> Figures:
    """Return the kept figures with those of new lines in the place of older ones."""
    figures: Figures = {"full": dict(kept["full"]), "quick": dict(kept["quick"])}
    for line in lines:
        length: Length = "quick" if line["quick"] else "full"
        figures[length][line["case"]] = Figure(line["ours"], line["unit"], time, version)
    return figures


def _document(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        text = opened.read(BYTES_MAX + 1)
    if len(text) > BYTES_MAX:
        raise ValueError(f"it has more than {BYTES_MAX} bytes")
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("it is not a file of chronofabric bench")
    version = document.get("version")
    if not isinstance(version, int) or version < VERSION:
        raise ValueError(f"its version is {version!r}")
    return document


def _figures(document: Mapping[str, Any]) -> Figures:
    if not isinstance(document["machine"], str):
        raise TypeError("its machine is not a text")
    return {
        "full": {case: _figure(case, each) for case, each in document["figures"]["full"].items()},
        "quick": {case: _figure(case, each) for case, each in document["figures"]["quick"].items()},
    }


def _figure(case: str, fields: Mapping[str, Any]) -> Figure:
    ours, texts = fields["ours"], (fields["unit"], fields["time"], fields["chronofabric"])
    if not isinstance(ours, int | float) or not math.isfinite(ours) or ours <= 0:
        raise ValueError(f"the figure of {case!r} is {ours!r}")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"the figure of {case!r} has a unit, time or version that is not a text")
    return Figure(float(ours), *texts)
