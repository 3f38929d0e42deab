"""Recorded events read from a file: CSV, NDJSON, Parquet, or Arrow IPC.

At any speed an event's `time` is the recorded one, so guards and windows answer the same at every speed. Rows are read
while they are published, never the whole file at once. A row that cannot be used ends the source with a `SourceError`
that names file, line and reason, after all rows before it were published; or it is counted and left out
(``on_error="skip"``).
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias, cast

from chronofabric.duration import Rate, period_ns
from chronofabric.errors import ArgumentError, SourceError
from chronofabric.fabric.counts import checked_count
from chronofabric.fabric.sources.formats.columns import ColumnFile
from chronofabric.fabric.sources.formats.delimited import delimited_header, delimited_rows
from chronofabric.fabric.sources.formats.json_lines import json_rows
from chronofabric.fabric.sources.formats.line import BrokenLine, Line, TextLines, bounded_lines
from chronofabric.fabric.sources.formats.times import time_reader
from chronofabric.fabric.sources.source import Node, OnError, Output, Row, Skips, checked_on_error
from chronofabric.fabric.stopping import StopToken

__all__ = ["FileFormat", "FileSource", "Layout", "Speed"]

FileFormat: TypeAlias = Literal["csv", "ndjson", "parquet", "arrow"]
Layout: TypeAlias = Literal["rows", "events"]
Speed: TypeAlias = float | Literal["recorded", "max"]

_SUFFIXES: dict[str, FileFormat] = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_FORMATS = ("csv", "ndjson", "parquet", "arrow")
_ENVELOPE = frozenset({"topic", "time", "stamp", "node", "priority"})
_FIELD_PREFIX = "payload."

REORDER_ROWS_EVENTS = 1_024
"""How far sinks that record several publishers may be out of order, in rows."""


class FileSource:
    r"""Publishes the rows of a file, each as a dict of its columns.

    Parameters
    ----------
    path
        The file.
    topic
        Where the rows go; needed unless `layout` is ``"events"``.
    format
        ``"csv"``, ``"ndjson"``, ``"parquet"`` or ``"arrow"`` (IPC file or stream); ``"auto"`` goes by the suffix.
    time
        The column that holds the recorded time; it is not part of the payload.
    time_format
        How a time is written: ``"iso"``, ``"s"``, ``"ms"``, ``"us"``, ``"ns"``, or a format as strptime takes it.
        Columns of Arrow timestamps need none. A time without a zone is UTC.
    rate
        For a file without recorded times: the rate at which its rows are taken to follow each other, from the node's
        time on.
    speed
        ``"recorded"``, a factor (``4.0`` is four times as fast), or ``"max"``: as fast as the node takes them, which
        needs a node on simulated time, driven by this source.
    layout
        ``"rows"``: each row is one payload. ``"events"``: the file was written by one of the sinks; topics, times and
        payloads are taken from it.
    on_error
        ``"stop"`` or ``"skip"``, for rows that are broken, have no usable time, or step back in time.
    reorder_rows
        Hold back so many rows to put them in the order of their time; 0 by default, 1 024 for ``layout="events"``.
    batch_rows
        How many rows of Parquet are read at once.
    name
        Its name in reports; by default that of the file.

    Raises
    ------
    ArgumentError
        If the options do not fit together.
    SourceError
        If the file is missing, cannot be opened, or has no such column.

    Notes
    -----
    In CSV an empty value is left out of the payload, as a null is in columns; a number with a leading zero stays a
    text.

    Examples
    --------
    >>> import tempfile, chronofabric as cf
    >>> from pathlib import Path
    >>> from chronofabric.fabric.sources import FileSource
    >>> fabric = cf.Fabric("replay", clock=cf.SimulatedClock())
    >>> rows = fabric.subscribe("plant/7")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "plant.csv")
    ...     _ = file.write_text("time,degrees\n2026-01-01T00:00:00,21.5\n2026-01-01T00:00:01,21.6\n")
    ...     source = fabric.add_source(FileSource(file, topic="plant/7", time="time", speed="max"))
    ...     with fabric:
    ...         fabric.run()
    ...         [event.payload for event in rows.poll_batch(10)]
    [{'degrees': 21.5}, {'degrees': 21.6}]
    """

    finite = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        topic: str | None = None,
        format: FileFormat | Literal["auto"] = "auto",
        time: str | None = None,
        time_format: str = "iso",
        rate: Rate | None = None,
        speed: Speed = "recorded",
        layout: Layout = "rows",
        on_error: OnError = "stop",
        reorder_rows: int | None = None,
        batch_rows: int = 8_192,
        name: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = name or self.path.name
        self.format: FileFormat = _checked_format(format, self.path)
        self.speed: float | Literal["max"] = _checked_speed(speed)
        self.topic = topic
        self._layout = layout
        self._on_error = checked_on_error(on_error)
        _check_layout(layout, topic, time, rate)
        self._time = "time" if layout == "events" else time
        self._read_time = time_reader("ns" if layout == "events" else time_format)
        self._period_ns = None if rate is None else period_ns(rate)
        default = REORDER_ROWS_EVENTS if layout == "events" else 0
        self._reorder_rows = checked_count("reorder_rows", default if reorder_rows is None else reorder_rows, 0)
        self._batch_rows = checked_count("batch_rows", batch_rows, 1)
        self._skips = Skips(self.name)
        self._output: Output | None = None
        self._check_file()

    def __repr__(self) -> str:
        return f"FileSource({str(self.path)!r}, speed={self.speed!r})"

    @property
    def published(self) -> int:
        """Events handed to the node by `run` so far."""
        return self._output.published if self._output else 0

    @property
    def timed_out(self) -> int:
        """How many of them a blocking subscription did not take in time."""
        return self._output.timed_out if self._output else 0

    @property
    def skipped(self) -> int:
        """Rows left out so far because they could not be used."""
        return self._skips.count

    def run(self, node: Node, stop: StopToken) -> None:
        """Publish all rows at the given speed."""
        from chronofabric.fabric.sources.replay import replay

        self._output = Output(node)
        replay(self.rows(node.clock.now()), node, stop, self._output, self.speed, self.name)

    def first_time_ns(self) -> int | None:
        """The time of the first row, where it is recorded: what a simulated clock may start at.

        Returns
        -------
        int or None
            Nanoseconds since the epoch; None for a file without rows or without recorded times.
        """
        if self._time is None:
            return None
        rows = self._ordered(self._numbered_rows(0, Skips(self.name)))
        return next((row[0] for row in rows), None)

    def rows(self, start_ns: int = 0) -> Iterator[Row]:
        """The events in the order of their time.

        Parameters
        ----------
        start_ns
            The time of the first row of a file without recorded times.

        Raises
        ------
        SourceError
            At a row that cannot be used, after all rows before it, unless they are skipped.
        """
        last_ns: int | None = None
        for time_ns, topic, payload, number in self._ordered(self._numbered_rows(start_ns, self._skips)):
            if last_ns is not None and time_ns < last_ns:
                self._refuse(number, f"its time is {last_ns - time_ns} ns before that of the row before", self._skips)
                continue
            last_ns = time_ns
            yield time_ns, topic, payload

    def _ordered(self, rows: Iterator[tuple[int, str, object, int]]) -> Iterator[tuple[int, str, object, int]]:
        """The rows put in order as far as the held back ones reach; those of one time keep their order."""
        if self._reorder_rows == 0:
            yield from rows
            return
        held: list[tuple[int, int, str, object]] = []
        broken: SourceError | None = None
        try:
            for time_ns, topic, payload, number in rows:
                heapq.heappush(held, (time_ns, number, topic, payload))
                if len(held) > self._reorder_rows:
                    time_ns, number, topic, payload = heapq.heappop(held)
                    yield time_ns, topic, payload, number
        except SourceError as error:
            broken = error
        while held:
            time_ns, number, topic, payload = heapq.heappop(held)
            yield time_ns, topic, payload, number
        if broken is not None:
            raise broken

    def _numbered_rows(self, start_ns: int, skips: Skips) -> Iterator[tuple[int, str, object, int]]:
        count = 0
        split = self._split_event if self._layout == "events" else self._split_row
        for line in self._lines():
            if line.problem is not None:
                self._refuse(line.number, line.problem, skips, final=line.final)
                continue
            try:
                topic, time, payload = split(line.value)
                time_ns = start_ns + count * self._period_ns if self._period_ns is not None else self._read_time(time)
            except ValueError as error:
                self._refuse(line.number, str(error), skips)
                continue
            count += 1
            yield time_ns, topic, payload, line.number

    def _split_row(self, value: object) -> tuple[str, object, object]:
        """Topic, time and payload of a row."""
        topic = cast("str", self.topic)
        if self._time is None:
            return topic, None, value
        if not isinstance(value, dict):
            raise ValueError(f"it is a {type(value).__name__}, not an object with a '{self._time}'")
        if self._time not in value:
            raise ValueError(f"it has no '{self._time}'")
        time = value.pop(self._time)
        return topic, time, value

    def _split_event(self, value: object) -> tuple[str, object, object]:
        """Topic, time and payload of a row that a sink wrote."""
        if not isinstance(value, dict) or not isinstance(value.get("topic"), str) or "time" not in value:
            raise ValueError("it has no 'topic' and 'time', as a sink writes them")
        if self.format == "ndjson":
            return value["topic"], value["time"], value.get("payload")
        payload = {name.removeprefix(_FIELD_PREFIX): field for name, field in value.items() if name not in _ENVELOPE}
        return value["topic"], value["time"], payload

    def _lines(self) -> Iterator[Line]:
        if self.format in ("parquet", "arrow"):
            yield from self._column_file().rows(self._time)
            return
        try:
            with self.path.open("rb") as stream:
                lines = TextLines(bounded_lines(stream))
                if self.format == "ndjson":
                    yield from json_rows(lines)
                else:
                    yield from delimited_rows(lines, delimited_header(lines), self._time)
        except OSError as error:
            raise self._broken(None, f"it cannot be read: {error.strerror or error}") from error
        except BrokenLine as error:
            raise self._broken(None, str(error)) from error

    def _column_file(self) -> ColumnFile:
        try:
            return ColumnFile(self.path, cast("Literal['parquet', 'arrow']", self.format), self._batch_rows)
        except Exception as error:  # pyarrow has no common base of its errors
            raise self._broken(None, f"it is not {self.format}: {error}") from error

    def _check_file(self) -> None:
        """Refuse what can be known before the first row: a missing file, a missing column."""
        if not self.path.exists():
            raise self._broken(None, "there is no such file")
        if self.path.is_dir():
            raise self._broken(None, "it is a folder, not a file")
        try:
            if self.format in ("parquet", "arrow"):
                columns = self._column_file()
                self._check_columns(columns.names)
                if self._time is not None and columns.is_timestamp(self._time):
                    self._read_time = time_reader("ns")
                return
            with self.path.open("rb") as stream:
                if self.format == "csv":
                    self._check_columns(delimited_header(TextLines(bounded_lines(stream))))
        except OSError as error:
            raise self._broken(None, f"it cannot be read: {error.strerror or error}") from error
        except BrokenLine as error:
            raise self._broken(None, str(error)) from error

    def _check_columns(self, names: list[str]) -> None:
        needed = ("topic", "time") if self._layout == "events" else (self._time,)
        for column in needed:
            if column is not None and column not in names:
                raise self._broken(None, f"it has no column '{column}'; it has {', '.join(map(repr, names))}")

    def _refuse(self, number: int, what: str, skips: Skips, *, final: bool = False) -> None:
        """Count a row that cannot be used, or raise."""
        if self._on_error == "stop" or final:
            raise self._broken(number, what)
        skips.add(f"{self._unit} {number}: {what}")

    def _broken(self, number: int | None, what: str) -> SourceError:
        place = str(self.path) if number is None else f"{self.path}, {self._unit} {number}"
        return SourceError(f"{place}: {what}", source=self.name, path=str(self.path), line=number)

    @property
    def _unit(self) -> str:
        return "row" if self.format in ("parquet", "arrow") else "line"


def _checked_format(format: str, path: Path) -> FileFormat:
    if format in _FORMATS:
        return cast("FileFormat", format)
    if format == "auto":
        known = _SUFFIXES.get(path.suffix.lower())
        if known is not None:
            return known
        what = f"{path.name!r} has the suffix {path.suffix!r}, which tells no format"
    else:
        what = f"format is {format!r}"
    hint = "give format='csv', 'ndjson', 'parquet' or 'arrow'"
    raise ArgumentError(f"{what}; {hint}", argument="format", value=format, hint=hint)


def _checked_speed(speed: object) -> float | Literal["max"]:
    if speed == "max":
        return "max"
    if speed == "recorded":
        return 1.0
    if isinstance(speed, (int, float)) and not isinstance(speed, bool) and speed > 0 and math.isfinite(speed):
        return float(speed)
    hint = "use 'recorded', 'max', or a factor above zero such as 4.0"
    raise ArgumentError(f"speed is {speed!r}; {hint}", argument="speed", value=speed, hint=hint)


def _check_layout(layout: str, topic: str | None, time: str | None, rate: Rate | None) -> None:
    """Refuse options that do not fit together."""
    if layout not in ("rows", "events"):
        hint = "use 'rows' or 'events'"
        raise ArgumentError(f"layout is {layout!r}; {hint}", argument="layout", value=layout, hint=hint)
    if layout == "events":
        for argument, value in (("topic", topic), ("time", time), ("rate", rate)):
            if value is not None:
                hint = f"leave {argument} out"
                text = f"{argument} is {value!r}, but layout='events' takes it from the file; {hint}"
                raise ArgumentError(text, argument=argument, value=value, hint=hint)
        return
    if topic is None:
        hint = "give topic='...', or layout='events' for a file that a sink wrote"
        raise ArgumentError(f"topic is missing; {hint}", argument="topic", hint=hint)
    if (time is None) == (rate is None):
        both = time is not None
        what = "time and rate are both given" if both else "neither time nor rate is given"
        hint = "give time='column' where times are recorded, else rate='10 Hz'"
        raise ArgumentError(f"{what}; {hint}", argument="time", value=time, hint=hint)
