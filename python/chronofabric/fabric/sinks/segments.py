"""A part of a column file: the rows that came while the columns stayed the same, in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from chronofabric.fabric.sinks.partial import PartialFile
from chronofabric.fabric.sinks.schemas import converted

__all__ = ["Segment", "fitted"]


class Segment:
    """A part of the rows, in a file of its own."""

    def __init__(self, partial: PartialFile, format: str) -> None:
        self.partial = partial
        self.schema: Any = None
        self._format = format
        self._file: Any = None
        self._writer: Any = None

    def begin(self, schema: Any) -> None:
        """Open it for rows of a schema."""
        import pyarrow as pa

        self.schema = schema
        self._file = pa.OSFile(str(self.partial.path), "wb")
        if self._format == "parquet":
            import pyarrow.parquet as pq

            self._writer = pq.ParquetWriter(self._file, schema)
        else:
            self._writer = pa.ipc.new_file(self._file, schema)

    def write(self, table: Any) -> None:
        """Add rows, as one row group or one batch."""
        if self._format == "parquet":
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        else:
            for batch in table.combine_chunks().to_batches():
                self._writer.write_batch(batch)

    def end(self) -> None:
        """Complete the file."""
        writer, self._writer = self._writer, None
        writer.close()
        file, self._file = self._file, None
        file.close()

    def batches(self, rows: int) -> Iterator[Any]:
        """Its rows, read back."""
        import pyarrow as pa

        if self._format == "parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(self.partial.path) as parquet:
                yield from parquet.iter_batches(batch_size=rows)
            return
        with pa.OSFile(str(self.partial.path)) as file:
            reader = pa.ipc.open_file(file)
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)

    def abandon(self) -> None:
        """Close and remove the file, whatever state it is in."""
        for open_one in (self._writer, self._file):
            if open_one is not None:
                with suppress(Exception):
                    open_one.close()
        self._writer = self._file = None
        self.partial.discard()


def fitted(batch: Any, schema: Any) -> Any:
    """A batch with the columns of a schema that is at least as wide."""
    import pyarrow as pa

    arrays = []
    for field in schema:
        place = batch.schema.get_field_index(field.name)
        if place < 0:
            arrays.append(pa.nulls(batch.num_rows, field.type))
        else:
            arrays.append(converted(batch.column(place), batch.schema.field(place), field))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
