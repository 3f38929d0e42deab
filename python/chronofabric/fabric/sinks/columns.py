"""Events written as columns: a Parquet or an Arrow IPC file.

Each event is a row, or each row of a table one. The columns are ``topic``, ``time`` (nanoseconds, UTC), ``stamp``,
``node``, ``priority``, and one for every field that any payload has, null where an event has it not. A payload that is
not a mapping is the field ``value``; a field with the name of one of the first five is written as ``payload.<name>``.
`FileSource` reads the file back with ``layout="events"``.

The columns of such a file are fixed once it is begun, but new fields may come at any time. So the rows are written in
segments, each with the columns known when it begins; at the end there is mostly one, which becomes the file, else all
are copied into it, batch by batch. Segments are files ``<name>.<process id>[-<n>].partial``. A killed process leaves
them behind; as a column file without its end cannot be read, a failure removes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from chronofabric.errors import ArgumentError, SinkError
from chronofabric.fabric.counts import checked_count
from chronofabric.fabric.sinks.partial import PartialFile
from chronofabric.fabric.sinks.records import Unwritable, arrow_table, fields_of, is_table, json_bytes
from chronofabric.fabric.sinks.schemas import column_of, widened
from chronofabric.fabric.sinks.segments import Segment, fitted
from chronofabric.fabric.sinks.sink import RecordedEvent, checked_topics, stamp_text
from chronofabric.fabric.sinks.skipped import SkippedPayloads

__all__ = ["ColumnFormat", "ColumnsSink"]

ColumnFormat: TypeAlias = Literal["parquet", "arrow"]

COLUMNS_MAX = 1_024
HELD_BYTES_MAX = 64 * 1024 * 1024
_SUFFIXES: dict[str, ColumnFormat] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_ENVELOPE = ("topic", "time", "stamp", "node", "priority")
_FIELD_PREFIX = "payload."

# What is held of an event until its row is written is not the event itself, whose cell the bus wants back.
_HeldRow: TypeAlias = tuple[tuple[str, int, str, str, int], dict[str, Any]]


class ColumnsSink:
    """Writes events to a Parquet or Arrow IPC file.

    Parameters
    ----------
    path
        The file; it appears when the sink closes.
    topics
        A pattern or several.
    format
        ``"parquet"`` or ``"arrow"`` (IPC file); ``"auto"`` goes by the suffix.
    overwrite
        Whether an existing file may be replaced.
    group_rows
        How many rows are held in memory and then written as one row group or batch.
    name
        Its name in reports; by default that of the file.

    Attributes
    ----------
    written : int
        Events in the file, once it is closed.
    lost : int
        Events accepted but not written because the file could not be.

    Notes
    -----
    At most 1 024 columns: payloads with ever new fields belong into an `NdjsonSink`.

    Examples
    --------
    >>> import tempfile, chronofabric as cf, pyarrow.parquet
    >>> from chronofabric.fabric.sinks import ColumnsSink
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fabric = cf.Fabric("plant")
    ...     sink = fabric.add_sink(ColumnsSink(f"{folder}/plant.parquet", topics="plant/**"))
    ...     with fabric:
    ...         fabric.publish("plant/7/temperature", {"degrees": 21.5})
    ...     pyarrow.parquet.read_table(f"{folder}/plant.parquet").num_rows
    1
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        topics: Any = "**",
        format: ColumnFormat | Literal["auto"] = "auto",
        overwrite: bool = False,
        group_rows: int = 16_384,
        name: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.topics = checked_topics(topics)
        self.format: ColumnFormat = _checked_format(format, self.path)
        self.name = name or self.path.name
        self.written = 0
        self.lost = 0
        self._overwrite = overwrite
        self._group_rows = checked_count("group_rows", group_rows, 1)
        self._skipped = SkippedPayloads(self.name)
        self._accepted = 0
        self._is_open = False
        self._rows: list[_HeldRow] = []
        self._batches: list[Any] = []
        self._batch_rows = 0
        self._batch_bytes = 0
        self._fields: dict[str, Any] = {}
        self._segments: list[Segment] = []

    def __repr__(self) -> str:
        return f"ColumnsSink({str(self.path)!r})"

    @property
    def skipped(self) -> int:
        """Events left out because columns have no form for their payload."""
        return self._skipped.count

    def open(self, node: Any = None) -> None:
        """Begin the first segment.

        Raises
        ------
        SinkError
            If the file exists and may not be replaced, or its folder cannot be written to.
        """
        del node
        import pyarrow as pa

        kinds = (pa.string(), pa.timestamp("ns", tz="UTC"), pa.string(), pa.string(), pa.int8())
        self._fields = {name: pa.field(name, kind) for name, kind in zip(_ENVELOPE, kinds, strict=True)}
        self._segments = [Segment(self._partial(), self.format)]
        self._is_open = True

    def write(self, events: Sequence[RecordedEvent]) -> None:
        """Take events; they are written when enough have come.

        Raises
        ------
        SinkError
            If the disk is full or cannot be written to, or there are too many columns; nothing remains of the file
            then.
        """
        if not self._is_open:
            self.lost += len(events)
            raise self._error("the sink is not open")
        self._accepted += len(events)
        with _Abandoning(self):
            for event in events:
                if is_table(event.payload):
                    self._take_table(event)
                else:
                    self._rows.append((_envelope_of(event), fields_of(event.payload)))
                if len(self._rows) + self._batch_rows >= self._group_rows or self._batch_bytes >= HELD_BYTES_MAX:
                    self._write_held()

    def close(self) -> None:
        """Write what is held and give the file its name. Idempotent.

        Raises
        ------
        SinkError
            If that fails; nothing remains of the file then.
        """
        if not self._is_open:
            return
        with _Abandoning(self):
            self._write_held()
            last = self._segments[-1]
            if last.schema is None:
                last.begin(self._schema())
            last.end()
            whole = last if len(self._segments) == 1 else self._merged()
            whole.partial.commit()
            for segment in self._segments:
                if segment is not whole:
                    segment.partial.discard()
            self._is_open = False

    def _rows_to_batch(self) -> None:
        """Turn the held rows into a batch of columns."""
        rows, self._rows = self._rows, []
        while rows:
            names = dict.fromkeys(name for _, fields in rows for name in fields)
            columns = []
            try:
                for name in names:
                    values = [_scalar(fields.get(name)) for _, fields in rows]
                    columns.append(column_of(_column_name(name), values))
            except Unwritable:
                rows = self._without_unwritable(rows)
                continue
            envelopes = zip(*(envelope for envelope, _ in rows), strict=True)
            envelope = self._envelope(*(list(values) for values in envelopes))
            columns = [*envelope, *columns]
            self._hold(_batch_of(columns))
            self.written += len(rows)
            return

    def _take_table(self, event: RecordedEvent) -> None:
        table = arrow_table(event.payload)
        if len(set(table.column_names)) < table.num_columns:
            self._skipped.add(event.topic, "a table with two columns of one name")
            return
        self._rows_to_batch()
        for batch in table.to_batches():
            self._hold(self._batch_of_table(event, batch))
        self.written += 1

    def _without_unwritable(self, rows: list[_HeldRow]) -> list[_HeldRow]:
        """The rows whose every value can be written, alone or in a column of JSON."""
        kept = []
        for envelope, fields in rows:
            try:
                for value in fields.values():
                    json_bytes(_scalar(value))
            except Unwritable as error:
                self._skipped.add(envelope[0], error)
            else:
                kept.append((envelope, fields))
        return kept

    def _batch_of_table(self, event: RecordedEvent, batch: Any) -> Any:
        """A batch of a table with the envelope of its event before each row."""
        import pyarrow as pa

        count = batch.num_rows
        columns = list(self._envelope(*([value] * count for value in _envelope_of(event))))
        for field, array in zip(batch.schema, batch.columns, strict=True):
            plain = array.dictionary_decode() if pa.types.is_dictionary(field.type) else array
            columns.append((pa.field(_column_name(field.name), plain.type, metadata=field.metadata), plain))
        return _batch_of(columns)

    def _envelope(self, *values: list[Any]) -> Iterator[tuple[Any, Any]]:
        import pyarrow as pa

        for name, column in zip(_ENVELOPE, values, strict=True):
            field = self._fields[name]
            yield field, pa.array(column, field.type)

    def _hold(self, batch: Any) -> None:
        self._batches.append(batch)
        self._batch_rows += batch.num_rows
        self._batch_bytes += batch.nbytes

    def _write_held(self) -> None:
        """Write what is held, in a new segment if it brings new columns or wider ones."""
        import pyarrow as pa

        self._rows_to_batch()
        batches, self._batches, self._batch_rows, self._batch_bytes = self._batches, [], 0, 0
        if not batches:
            return
        for batch in batches:
            for field in batch.schema:
                known = self._fields.get(field.name)
                self._fields[field.name] = field if known is None else widened(known, field)
        if len(self._fields) > COLUMNS_MAX:
            raise self._error(f"more than {COLUMNS_MAX} columns; use an NDJSON sink where fields are ever new ones")
        schema = self._schema()
        segment = self._segments[-1]
        if segment.schema is not None and not segment.schema.equals(schema, check_metadata=True):
            segment.end()
            segment = Segment(self._partial(), self.format)
            self._segments.append(segment)
        if segment.schema is None:
            segment.begin(schema)
        segment.write(pa.Table.from_batches([fitted(batch, schema) for batch in batches], schema))

    def _merged(self) -> Segment:
        """All segments copied into one with the final columns."""
        import pyarrow as pa

        whole = Segment(self._partial(), self.format)
        segments = tuple(self._segments)
        self._segments.append(whole)
        schema = self._schema()
        whole.begin(schema)
        for segment in segments:
            for batch in segment.batches(self._group_rows):
                whole.write(pa.Table.from_batches([fitted(batch, schema)], schema))
        whole.end()
        return whole

    def _schema(self) -> Any:
        import pyarrow as pa

        return pa.schema(list(self._fields.values()))

    def _partial(self) -> PartialFile:
        return PartialFile(self.path, overwrite=self._overwrite, sink=self.name)

    def _abandon(self) -> None:
        """Leave nothing of the file."""
        self._is_open = False
        self._rows, self._batches = [], []
        self.lost += self._accepted - self.skipped
        self.written = 0
        for segment in self._segments:
            segment.abandon()
        self._segments = []

    def _error(self, what: str) -> SinkError:
        return SinkError(f"{self.path}: {what}", sink=self.name, path=str(self.path))


class _Abandoning:
    """Turns a failure of a sink into a `SinkError` after leaving nothing of its file."""

    def __init__(self, sink: ColumnsSink) -> None:
        self._sink = sink

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        sink = self._sink
        sink._abandon()
        if isinstance(error, Exception) and not isinstance(error, SinkError):
            what = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise sink._error(f"it cannot be written: {what}; its {sink.lost} events are lost") from error


def _envelope_of(event: RecordedEvent) -> tuple[str, int, str, str, int]:
    return event.topic, event.time, stamp_text(event.stamp), event.node, event.priority


def _batch_of(columns: list[tuple[Any, Any]]) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(
        [array for _, array in columns], schema=pa.schema([field for field, _ in columns])
    )


def _column_name(field: str) -> str:
    return f"{_FIELD_PREFIX}{field}" if field in _ENVELOPE or field.startswith(_FIELD_PREFIX) else field


def _scalar(value: Any) -> Any:
    """A value of NumPy or a subclass of a number as the plain one."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "shape", None) == ():
        return item()
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _checked_format(format: str, path: Path) -> ColumnFormat:
    if format in ("parquet", "arrow"):
        return cast("ColumnFormat", format)
    if format == "auto":
        known = _SUFFIXES.get(path.suffix.lower())
        if known is not None:
            return known
        what = f"{path.name!r} has the suffix {path.suffix!r}, which tells no column format"
    else:
        what = f"format is {format!r}"
    hint = "give format='parquet' or 'arrow'"
    raise ArgumentError(f"{what}; {hint}", argument="format", value=format, hint=hint)
