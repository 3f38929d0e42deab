"""Where things stand in a run file, and what is wrong there.

A run file is a text and a tree of values; what the command line sets goes into the same tree but stands in the option.
Both are kept here with their positions, so that whoever finds something wrong only says at which path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from chronofabric._core.settings import parse_toml
from chronofabric.errors import ConfigurationError, Problem
from chronofabric.fabric.settings.wording import nearest

ValuePath: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

Position: TypeAlias = tuple[int, int, int]
"""Line, first column and the column after the last, from 1."""

OPTION = "--set"
"""What stands for the file's name in a problem with an override."""


@dataclass(slots=True)
class Text:
    """A text with the positions of what was read from it."""

    name: str
    lines: list[str]
    values: dict[ValuePath, Position] = field(default_factory=dict)
    keys: dict[ValuePath, Position] = field(default_factory=dict)
    line_offset: int = 0


@dataclass(slots=True)
class Places:
    """The tree of a run with the place of each of its values, and the problems found so far.

    Attributes
    ----------
    tree
        The values.
    folder
        What relative paths in the file are relative to.
    """

    tree: dict[str, object]
    folder: Path
    file: Text
    overrides: list[tuple[ValuePath, Text]] = field(default_factory=list)
    problems: list[tuple[Problem, str]] = field(default_factory=list)

    def report(
        self,
        path: ValuePath,
        message: str,
        suggestion: str | None = None,
        *,
        at: Literal["key", "value"] = "value",
        span: tuple[int, int] | None = None,
        text: Text | None = None,
    ) -> None:
        """Note a problem.

        Parameters
        ----------
        path
            Where; if nothing stands there, what encloses it is shown.
        message
            What is wrong.
        suggestion
            What to do about it.
        at
            Point at the ``"value"`` or at its ``"key"``.
        span
            The characters within a text value that are wrong, from 0.
        text
            The text that holds the path, where it is not in the tree.
        """
        text, position = self._find(path, at, text)
        line, column, end = position
        source = text.lines[line - 1] if 0 < line <= len(text.lines) else ""
        if span is not None:
            column, end = _within_quotes(source, column, end, span)
        problem = Problem(text.name, line + text.line_offset, column, message, suggestion)
        self.problems.append((problem, caret(source, column, end, suggestion)))

    def raise_problems(self) -> None:
        """Raise a `ConfigurationError` that holds every problem noted, in the order of the file."""
        if not self.problems:
            return
        ordered = sorted(self.problems, key=lambda entry: (entry[0].file == OPTION, entry[0].line, entry[0].column))
        raise configuration_error(self.file.name, ordered)

    def path_of(self, value: str, path: ValuePath) -> Path:
        """Return a path: in the file it is relative to the file's folder, on the command line to the current one."""
        override = self._override(path)
        return Path(value) if override is not None else self.folder / value

    def value_at(self, path: ValuePath) -> object:
        """Return the value at ``path``, or ``None``."""
        node: object = self.tree
        for step in path:
            try:
                node = node[step]  # type: ignore[index]
            except (IndexError, KeyError, TypeError):
                return None
        return node

    def _override(self, path: ValuePath) -> Text | None:
        for target, text in reversed(self.overrides):
            if path[: len(target)] == target:
                return text
        return None

    def _introducing(self, path: ValuePath) -> Text | None:
        """Return the override that brought a table into being which the file does not have."""
        if path in self.file.keys or path in self.file.values:
            return None
        return next((text for target, text in self.overrides if path and target[: len(path)] == path), None)

    def _find(self, path: ValuePath, at: str, text: Text | None) -> tuple[Text, Position]:
        text = text or self._override(path) or self._introducing(path) or self.file
        tables = (text.keys, text.values) if at == "key" else (text.values, text.keys)
        for length in range(len(path), -1, -1):
            for table in tables:
                if path[:length] in table:
                    return text, table[path[:length]]
        return text, (1, 1, 2)


def read(path: str | Path) -> Places:
    """Read a run file.

    Raises
    ------
    ConfigurationError
        It cannot be read, is not UTF-8, or is not TOML.
    """
    # Shown, and told to the parser: a name that is not UTF-8 could be neither.
    name, file = os.fsencode(path).decode("utf-8", "replace"), Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        problem = Problem(name, 0, 0, f"cannot be read: {reason}", similar_file(file, ".toml"))
        raise configuration_error(name, [(problem, "")]) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(name, line, 0, f"byte {error.start} is not UTF-8", "save the file as UTF-8")
        raise configuration_error(name, [(problem, "")]) from None
    return parse(text, name, file.parent)


def parse(text: str, name: str, folder: Path) -> Places:
    """Read the text of a run file that is called ``name``; its relative paths start at ``folder``."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    try:
        tree, values, keys = parse_toml(text, name)
    except ConfigurationError as error:
        problem = error.problems[0]
        source = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
        raise configuration_error(name, [(problem, caret(source, problem.column, problem.column + 1, None))]) from None
    return Places(tree, folder, Text(name, lines, values, keys))


def override(places: Places, settings: Sequence[str]) -> None:
    """Put what the command line sets, ``key=value`` each, into the tree.

    A key is dotted: ``node.name``, ``source.0.rate``; a table of an array is named by its index, its name or its kind.
    A value is TOML, or the text itself where it is not.
    """
    for index, setting in enumerate(settings):
        shown = setting.encode("utf-8", "replace").decode("utf-8")
        text = Text(OPTION, [shown], line_offset=index)
        if shown != setting:
            places.report((), f"'{shown}' is not UTF-8", "give it as UTF-8", text=text)
            continue
        read_setting = _read_setting(setting)
        if read_setting is None:
            places.report((), f"'{setting}' is not a setting", "write it like --set node.name=plant", text=text)
            continue
        keys, value, start = read_setting
        text.keys[()] = (1, 1, max(start, 2))
        text.values[()] = (1, start + 1, max(len(setting), start + 1) + 1)
        _apply(places, keys, value, text)


def configuration_error(name: str, problems: Iterable[tuple[Problem, str]]) -> ConfigurationError:
    """Return the error that holds the problems of a run file, its text with the lines they are in."""
    entries = list(problems)
    head = f"{name}: {len(entries)} problem{'' if len(entries) == 1 else 's'}"
    blocks = [f"{_place(problem)}: {problem.message}" + (shown or _ending(problem)) for problem, shown in entries]
    return ConfigurationError("\n".join([head, *blocks]), problems=[problem for problem, _ in entries])


def caret(source: str, column: int, end: int, suggestion: str | None) -> str:
    """Return the source line with carets under columns ``column`` to ``end`` and what to do beside them."""
    if not source.strip():
        return f" ({suggestion})" if suggestion else ""
    # Tabs stay tabs below the line, so that the carets stand right whatever their width.
    indent = "".join("\t" if character == "\t" else " " for character in source[: column - 1]).ljust(column - 1)
    marks = "^" * max(1, min(end, len(source) + 1) - column)
    return f"\n    {source.rstrip()}\n    {indent}{marks}" + (f" {suggestion}" if suggestion else "")


def similar_file(file: Path, suffix: str | None = None) -> str | None:
    """Return "did you mean ...?" for a file of the same folder and suffix whose name is close, or ``None``."""
    try:
        names = [entry.name for entry in file.parent.iterdir() if entry.suffix == (suffix or file.suffix)]
    except OSError:
        return None
    return nearest(file.name, names)


def _place(problem: Problem) -> str:
    return ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)


def _ending(problem: Problem) -> str:
    return f" ({problem.suggestion})" if problem.suggestion else ""


def _within_quotes(source: str, column: int, end: int, span: tuple[int, int]) -> tuple[int, int]:
    """Return the columns of characters ``span`` of a text; the whole where escapes or several lines hide them."""
    written = source[column - 1 : end - 1]
    if len(written) >= 2 and written[0] in "\"'" and written[0] == written[-1] and written[1:2] != written[0]:
        if written[0] == "'" or "\\" not in written:
            first = column + 1 + span[0]
            return first, max(first + 1, column + 1 + span[1])
    elif written[:1] not in {'"', "'", "[", "{"}:
        return column + span[0], max(column + span[0] + 1, column + span[1])
    return column, end


def _read_setting(setting: str) -> tuple[list[str], object, int] | None:
    """Return the keys, the value and the column after the key of ``key=value``."""
    key, sign, written = setting.partition("=")
    keys = _keys(key) if sign else None
    return (keys, _value(written), len(key) + 1) if keys else None


def _keys(written: str) -> list[str] | None:
    """Return the parts of a dotted TOML key, or ``None`` where the text is something else."""
    keys: list[str] = []
    node: object = _parsed(f"{written} = 0") if "\n" not in written else None
    while isinstance(node, dict):
        # Nothing stands in the tree of a comment.
        if not node:
            return None
        ((key, node),) = node.items()
        keys.append(key)
    return keys


def _value(written: str) -> object:
    """Return the TOML value that a text is, or the text itself."""
    tree = _parsed(f"value = {written}")
    return tree["value"] if tree is not None and len(tree) == 1 else written


def _parsed(text: str) -> dict[str, object] | None:
    """Return the tree of a TOML text, or ``None`` where it is none."""
    try:
        return parse_toml(text, OPTION)[0]
    except ConfigurationError:
        return None


def _apply(places: Places, keys: list[str], value: object, text: Text) -> None:
    node: object = places.tree
    path: ValuePath = ()
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        if isinstance(node, dict):
            path = (*path, key)
            if last:
                node[key] = value
                text.keys = {path[:length]: text.keys[()] for length in range(len(path) + 1)}
                text.values = {path: text.values[()]}
                places.overrides.append((path, text))
                return
            node = node.setdefault(key, {})
        elif isinstance(node, list):
            index = _index(node, key)
            if index is None:
                break
            path = (*path, index)
            if last:
                break
            node = node[index]
        else:
            break
    places.report((), f"there is nothing at '{'.'.join(keys)}' to set", _names(node), at="key", text=text)


def _index(tables: list[object], key: str) -> int | None:
    """Return the index of the table called ``key``: by number, by name, or by kind where that is unique."""
    indices = [str(index) for index in range(len(tables))]
    if key in indices:
        return indices.index(key)
    for attribute in ("name", "kind"):
        found = [index for index, table in enumerate(tables) if isinstance(table, dict) and table.get(attribute) == key]
        if len(found) == 1:
            return found[0]
    return None


def _names(node: object) -> str | None:
    if not isinstance(node, list):
        return None
    names = [
        str(table.get("name") or table.get("kind") or index) if isinstance(table, dict) else str(index)
        for index, table in enumerate(node)
    ]
    return f"there is {', '.join(names)}" if names else None
