"""Rows of Parquet and Arrow IPC files, read batch by batch.

Timestamps and durations become integer nanoseconds, dates and times of day ISO texts, decimals floats; a null is left
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from chronofabric.fabric.sources.formats.line import Line

__all__ = ["ColumnFile"]

JSON_ENCODING = b"chronofabric.encoding"
"""Metadata key of a field; ``json`` says that its texts hold JSON."""


class ColumnFile:
    """A Parquet or Arrow IPC file.

    Parameters
    ----------
    path
        The file.
    kind
        Its format; an Arrow file may be an IPC file (Feather) or an IPC stream.
    batch_rows
        How many rows of Parquet are read at once.

    Raises
    ------
    OSError, pyarrow.ArrowException
        If it cannot be opened. Every pyarrow error but those of I/O is a `ValueError` or an `ArrowException`.
    """

    def __init__(self, path: Path, kind: Literal["parquet", "arrow"], batch_rows: int) -> None:
        self._path = path
        self._kind = kind
        self._batch_rows = batch_rows
        batches, schema, close = self._opened()
        del batches
        close()
        self.names: list[str] = list(schema.names)
        self._schema = schema

    def is_timestamp(self, name: str) -> bool:
        """Whether a column holds timestamps or dates, and so is read as nanoseconds when it is the time column."""
        import pyarrow as pa

        kind = self._schema.field(name).type
        return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))

    def rows(self, time: str | None = None) -> Iterator[Line]:
        """The rows as dicts; dates in the column `time` become nanoseconds too."""
        import pyarrow as pa

        number = 0
        try:
            batches, schema, close = self._opened()
            decoded = [field.name for field in schema if (field.metadata or {}).get(JSON_ENCODING) == b"json"]
            try:
                for batch in batches:
                    for row in _rows_of(batch, time, decoded):
                        number += 1
                        yield Line(number, row)
            finally:
                close()
        except (OSError, pa.ArrowException, ValueError) as error:
            yield Line(number + 1, None, f"the rest of the file cannot be read: {error}", final=True)

    def _opened(self) -> tuple[Iterator[Any], Any, Any]:
        """Batches, schema, and what closes the file."""
        import pyarrow as pa

        if self._kind == "parquet":
            import pyarrow.parquet as pq

            parquet = pq.ParquetFile(self._path)
            return parquet.iter_batches(batch_size=self._batch_rows), parquet.schema_arrow, parquet.close
        source = pa.OSFile(str(self._path))
        try:
            try:
                reader = pa.ipc.open_file(source)
                batches = (reader.get_batch(place) for place in range(reader.num_record_batches))
            except pa.ArrowInvalid:
                source.seek(0)
                reader = pa.ipc.open_stream(source)
                batches = iter(reader)
        except BaseException:
            source.close()
            raise
        return batches, reader.schema, source.close


def _rows_of(batch: Any, time: str | None, decoded: list[str]) -> Iterator[dict[str, object]]:
    import json

    import pyarrow as pa

    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = _plain(column, is_time=name == time).to_pylist()
        if name in decoded:
            values = [None if value is None else json.loads(value) for value in values]
        elif pa.types.is_date(column.type) or pa.types.is_time(column.type):
            values = [value.isoformat() if hasattr(value, "isoformat") else value for value in values]
        columns.append((name, values))
    for place in range(batch.num_rows):
        yield {name: values[place] for name, values in columns if values[place] is not None}


def _plain(column: Any, *, is_time: bool) -> Any:
    """The column with values that Python holds exactly."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode(), is_time=is_time)
    if pa.types.is_timestamp(kind) or (is_time and pa.types.is_date(kind)):
        return column.cast(pa.timestamp("ns", tz=getattr(kind, "tz", None))).cast(pa.int64())
    if pa.types.is_duration(kind):
        return column.cast(pa.duration("ns")).cast(pa.int64())
    if pa.types.is_time(kind):
        return column.cast(pa.time64("us"), safe=False) if kind == pa.time64("ns") else column
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    return column
