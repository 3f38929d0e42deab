"""Loading a run file: its tables checked one by one, then against each other."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError  # noqa: TID253 - only run files import this module, when one is loaded

from chronofabric.errors import ArgumentError, ChronofabricError
from chronofabric.fabric.settings.models import (
    ACTIONS,
    SINKS,
    SOURCES,
    Action,
    FileSection,
    GuardSection,
    NodeSection,
    RealtimeSection,
    Section,
    SinkSection,
    SourceSection,
)
from chronofabric.fabric.settings.places import Places, ValuePath, override, read, similar_file
from chronofabric.fabric.settings.wording import alternatives, choice, kind_of, validation_words, without_hint

if TYPE_CHECKING:
    from chronofabric.fabric.settings.models import Resolve

SECTIONS = ("node", "source", "sink", "guard")
LATER_SECTIONS = ("analysis", "ledger", "record")
"""Tables that the format has a place for and this version cannot carry out."""

AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard of a run file and its action."""

    section: GuardSection
    action: Action | None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """A run file that was found to be right.

    Attributes
    ----------
    file
        Its path as it was given.
    node, sources, sinks, guards
        Its tables, in the order of the file.
    """

    file: str
    node: NodeSection
    sources: tuple[tuple[SourceSection, Resolve], ...]
    sinks: tuple[tuple[SinkSection, Resolve], ...]
    guards: tuple[Guard, ...]
    folder: Path | None


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunSettings:
    r"""Read and check a run file.

    Parameters
    ----------
    path
        The file. What it names is found from its folder: data files, and Python modules too.
    overrides
        Values set from outside, ``"key=value"`` each: ``"node.name=plant"``, ``"source.0.rate=10 Hz"``. Paths among
        them are found from the current folder.

    Raises
    ------
    ConfigurationError
        The file cannot be used. It holds every problem.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "plant.toml")
    ...     _ = file.write_text('[[source]]\nkind = "timer"\ntopic = "tick"\nrate = "10 Hz"')
    ...     settings = load(file, ["node.name=plant"])
    >>> settings.node.name, settings.sources[0][0].kind
    ('plant', 'timer')
    """
    places = read(path)
    override(places, overrides)
    folder = str(places.folder.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    settings = _Loading(places).settings(str(path))
    places.raise_problems()
    return settings


class _Loading:
    """One pass over the tree; problems go to ``places``, and what has problems is left out."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._outputs: set[Path] = set()

    def settings(self, file: str) -> RunSettings:
        self._check_sections()
        node = self._node(self._places.tree.get("node", {}))
        sources = self._parts("source", SOURCES)
        sinks = self._parts("sink", SINKS)
        guards = [guard for path in self._tables("guard") if (guard := self._guard(path))]
        if not sources and not self._places.problems:
            self._places.report((), "there is no [[source]], so nothing would happen", 'add one, such as kind = "host"')
        self._check_speeds(sources)
        for kind in ("source", "sink", "guard"):
            self._check_names(kind)
        folder = self._places.path_of(node.folder, ("node", "folder")) if node and node.folder else None
        return RunSettings(
            file,
            node or NodeSection(),
            tuple((section, self._resolve(path)) for path, section in sources),
            tuple((section, self._resolve(path)) for path, section in sinks),
            tuple(guards),
            folder,
        )

    def _check_sections(self) -> None:
        for name in self._places.tree:
            if name in LATER_SECTIONS:
                self._places.report((name,), f"'{name}' is not in this version", "leave it out", at="key")
            elif name not in SECTIONS:
                self._places.report((name,), f"unknown table '{name}'", choice(name, SECTIONS), at="key")

    def _node(self, table: object) -> NodeSection | None:
        """Check the node's own table, and what it asks of the system by itself: each knows its own keys."""
        if not isinstance(table, dict) or "realtime" not in table:
            return self._section(NodeSection, ("node",), table)
        path, given = ("node", "realtime"), table["realtime"]
        realtime = None
        if not isinstance(given, dict):
            self._places.report(path, f"{kind_of(given)} where a table belongs", 'write { scheduling = "fifo" }')
        elif realtime := self._section(RealtimeSection, path, given):
            self._try_to_make(realtime, path)
        return self._section(NodeSection, ("node",), {**table, "realtime": realtime})

    def _parts(self, name: str, kinds: Mapping[str, type[AnySection]]) -> list[tuple[ValuePath, AnySection]]:
        """Check the sources or the sinks, and make each once to see whether it can be made."""
        parts = []
        for path in self._tables(name):
            section = self._of_kind(path, kinds)
            usable = self._check_file(path, self._check_input if name == "source" else self._check_output)
            if section is not None:
                if usable:
                    self._try_to_make(section, path)
                parts.append((path, section))
        return parts

    def _check_file(self, table: ValuePath, check: Callable[[ValuePath, Path], bool]) -> bool:
        """Check the file that a table names, if it names one."""
        path = (*table, "path")
        written = self._places.value_at(path)
        if not isinstance(written, str):
            return True
        file = self._places.path_of(written, path)
        if "\0" in written:
            self._places.report(path, "the name of a file has no zero byte", "choose another name")
            return False
        try:
            # Newer versions of Python take a name that cannot be looked for to be that of no file.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                file.stat()
            return check(path, file)
        except OSError as error:
            # The name is too long, or a folder on the way may not be read.
            reason = error.strerror or str(error)
            self._places.report(path, f"the file '{file}' cannot be looked for: {reason}", "choose another name")
            return False

    def _check_output(self, path: ValuePath, file: Path) -> bool:
        """Note a file that cannot be written, or that another sink writes."""
        if file in self._outputs:
            self._places.report(path, f"another sink writes '{file}' already", "give each its own file")
        elif not file.parent.is_dir():
            self._places.report(path, f"there is no folder '{file.parent}'", "make it first")
        elif file.exists() and self._places.value_at((*path[:-1], "overwrite")) is not True:
            self._places.report(path, f"the file '{file}' is there already", "choose another name, or overwrite = true")
        else:
            self._outputs.add(file)
            return True
        return False

    def _check_input(self, path: ValuePath, file: Path) -> bool:
        """Note a data file that is not there; whatever else is wrong with its table, this is worth knowing at once."""
        if file.is_file():
            return True
        what = "is a folder" if file.is_dir() else "is not there"
        self._places.report(path, f"the file '{file}' {what}", similar_file(file))
        return False

    def _of_kind(self, path: ValuePath, kinds: Mapping[str, type[AnySection]]) -> AnySection | None:
        """Check a table by the model of its kind."""
        table = self._places.value_at(path)
        if not isinstance(table, dict):
            self._places.report(path, f"{kind_of(table)} where a table belongs", 'write { kind = "..." }')
            return None
        if "kind" not in table:
            self._places.report(path, "the key 'kind' is missing", f"write {alternatives(kinds)}")
            return None
        kind = table["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            self._places.report((*path, "kind"), f"{kind!r} is not a kind of {_title(path)}", choice(str(kind), kinds))
            return None
        return self._section(kinds[kind], path, table)

    def _section(self, model: type[AnySection], path: ValuePath, table: object) -> AnySection | None:
        """Check a table, and note every problem of it."""
        try:
            return model.model_validate(table)
        except ValidationError as found:
            for error in found.errors(include_url=False):
                self._note(path, error, list(model.model_fields))
            return None

    def _note(self, path: ValuePath, error: Mapping[str, Any], known: Sequence[str]) -> None:
        message, suggestion = validation_words(error, known)
        at: Literal["key", "value"] = "key" if error["type"] == "extra_forbidden" else "value"
        cause = error.get("ctx", {}).get("error")
        span = getattr(cause, "span", None)
        self._places.report((*path, *error["loc"]), message, suggestion, at=at, span=span)

    def _try_to_make(self, section: Section, path: ValuePath) -> None:
        try:
            section.make(self._resolve(path))  # type: ignore[attr-defined]
        except ArgumentError as error:
            message, suggestion = without_hint(error)
            self._places.report((*path, error.argument or ""), message, suggestion)
        except ChronofabricError as error:
            self._places.report((*path, "path"), error.message, None)

    def _resolve(self, path: ValuePath) -> Resolve:
        def resolved(key: str) -> Path:
            return self._places.path_of(str(self._places.value_at((*path, key))), (*path, key))

        return resolved

    def _guard(self, path: ValuePath) -> Guard | None:
        table = self._places.value_at(path)
        if not isinstance(table, dict):
            self._places.report(path, f"{kind_of(table)} where a table belongs", None)
            return None
        action = self._of_kind((*path, "action"), ACTIONS) if "action" in table else None
        section = self._section(GuardSection, path, {key: table[key] for key in table if key != "action"})
        self._check_guard(path, table, section)
        return Guard(section, action) if section else None

    def _check_guard(self, path: ValuePath, table: Mapping[str, object], section: GuardSection | None) -> None:
        for one, other in (("on", "signals"), ("when", "must")):
            given = [key for key in (one, other) if key in table]
            if len(given) == 2:
                self._places.report((*path, other), f"'{one}' and '{other}' are both given", "leave one out", at="key")
            elif not given:
                self._places.report(path, f"the guard has neither '{one}' nor '{other}'", "give one of them")
        if section and section.signals:
            key = "when" if section.when is not None else "must"
            self._check_signals((*path, key), section.when or section.must or "", section.signals)

    def _check_signals(self, path: ValuePath, text: str, signals: Mapping[str, str]) -> None:
        """Note what a formula asks for and its signals do not have, and the other way round."""
        from chronofabric.logic import Formula

        read = Formula(text).signals if text else tuple(signals)
        for name in read:
            if name not in signals:
                message = f"the formula asks for '{name}', which 'signals' does not have"
                self._places.report(path, message, choice(name, signals))
        for name in signals:
            if name not in read:
                self._places.report(
                    (*path[:-1], "signals", name), f"the formula does not ask for '{name}'", "leave it out", at="key"
                )

    def _check_names(self, kind: str) -> None:
        seen: set[str] = set()
        for path in self._tables(kind, quiet=True):
            name = self._places.value_at((*path, "name"))
            if not isinstance(name, str):
                continue
            if name in seen:
                self._places.report(
                    (*path, "name"), f"another {kind} is called {name!r} already", "give each its own name"
                )
            seen.add(name)

    def _check_speeds(self, sources: Sequence[tuple[ValuePath, SourceSection]]) -> None:
        """Note sources that cannot run beside one that drives the node's time."""
        drivers = [path for path, section in sources if _drives(section)]
        for path, section in sources:
            if drivers and not _drives(section):
                self._places.report(
                    (*path, "speed" if isinstance(section, FileSection) else "kind"),
                    f"a '{section.kind}' source runs on real time; another, with speed = \"max\", drives the time",
                    'write speed = "recorded" or a factor there, or leave this source out',
                )
        if drivers and self._places.value_at(("node", "clock")) is not None:
            self._places.report(
                ("node", "clock"), 'a source with speed = "max" drives the time, not this clock', "leave the clock out"
            )

    def _tables(self, name: str, *, quiet: bool = False) -> list[ValuePath]:
        """Return the paths of an array of tables."""
        tables = self._places.tree.get(name, [])
        if not isinstance(tables, list):
            if not quiet:
                self._places.report((name,), f"'{name}' is not an array of tables", f"write [[{name}]]", at="key")
            return []
        return [(name, index) for index in range(len(tables))]


def _drives(section: SourceSection) -> bool:
    return isinstance(section, FileSection) and section.speed == "max"


def _title(path: ValuePath) -> str:
    return next((str(step) for step in reversed(path) if isinstance(step, str)), "table")
