"""Events written as newline-delimited JSON, one object a line.

A line has ``topic``, ``time`` (nanoseconds), ``stamp`` (16 hexadecimal digits), ``node``, ``priority``, ``payload``,
and where an event has them ``deadline`` and ``headers``. `FileSource` reads it back with ``layout="events"``. The file
appears under its name when the sink closes; until then, after a kill and after a failure, its whole lines are in
``<name>.<process id>.partial``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from chronofabric.errors import SinkError
from chronofabric.fabric.sinks.partial import PartialFile
from chronofabric.fabric.sinks.records import Unwritable, is_table, json_bytes, plain
from chronofabric.fabric.sinks.sink import RecordedEvent, checked_topics, stamp_text
from chronofabric.fabric.sinks.skipped import SkippedPayloads

__all__ = ["NdjsonSink"]


class NdjsonSink:
    """Writes events to an NDJSON file.

    Parameters
    ----------
    path
        The file; it appears when the sink closes.
    topics
        A pattern or several.
    overwrite
        Whether an existing file may be replaced.
    name
        Its name in reports; by default that of the file.

    Attributes
    ----------
    written : int
        Events written.
    lost : int
        Events accepted but not written because the file could not be.

    Examples
    --------
    >>> import tempfile, chronofabric as cf
    >>> from chronofabric.fabric.sinks import NdjsonSink
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fabric = cf.Fabric("plant")
    ...     sink = fabric.add_sink(NdjsonSink(f"{folder}/plant.ndjson", topics="plant/**"))
    ...     with fabric:
    ...         fabric.publish_many("plant/7/temperature", [21.5, 21.6])
    ...     fabric.report().sinks[0]["written"]
    2
    2
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        topics: Any = "**",
        overwrite: bool = False,
        name: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.topics = checked_topics(topics)
        self.name = name or self.path.name
        self.written = 0
        self.lost = 0
        self._overwrite = overwrite
        self._skipped = SkippedPayloads(self.name)
        self._partial: PartialFile | None = None
        self._file: FileIO | None = None
        self._whole_bytes = 0

    def __repr__(self) -> str:
        return f"NdjsonSink({str(self.path)!r})"

    @property
    def skipped(self) -> int:
        """Events left out because JSON has no form for their payload."""
        return self._skipped.count

    def open(self, node: Any = None) -> None:
        """Begin the partial file.

        Raises
        ------
        SinkError
            If the file exists and may not be replaced, or its folder cannot be written to.
        """
        del node
        self._partial = PartialFile(self.path, overwrite=self._overwrite, sink=self.name)
        self._file = FileIO(str(self._partial.path), "w")

    def write(self, events: Sequence[RecordedEvent]) -> None:
        """Write events.

        Raises
        ------
        SinkError
            If the disk is full or cannot be written to; the sink is closed then, and the partial file keeps its whole
            lines.
        """
        lines = []
        for event in events:
            try:
                lines.append(_line(event))
            except Unwritable as error:
                self._skipped.add(event.topic, error)
        data = memoryview(b"".join(lines))
        file = self._file
        if file is None:
            self.lost += len(lines)
            raise SinkError(f"{self.path}: the sink is not open", sink=self.name, path=str(self.path))
        try:
            rest = data
            while rest:
                rest = rest[file.write(rest) or 0 :]
        except OSError as error:
            self.lost += len(lines)
            raise self._abandoned(error) from error
        self._whole_bytes += len(data)
        self.written += len(lines)

    def close(self) -> None:
        """Give the file its name. Idempotent.

        Raises
        ------
        SinkError
            If that fails; the partial file stays.
        """
        file, partial = self._file, self._partial
        self._file = self._partial = None
        if file is not None and partial is not None:
            file.close()
            partial.commit()

    def _abandoned(self, error: OSError) -> SinkError:
        """Close the partial file at the end of its last whole write."""
        file, partial = self._file, self._partial
        self._file = self._partial = None
        kept = ""
        if file is not None and partial is not None:
            with suppress(OSError):
                file.truncate(self._whole_bytes)
            with suppress(OSError):
                file.close()
            kept = f"; the {self.written} events written until then are in {partial.path}"
        text = f"{self.path}: it cannot be written: {error.strerror or error}{kept}"
        return SinkError(text, sink=self.name, path=str(self.path))


def _line(event: RecordedEvent) -> bytes:
    payload = event.payload
    line: dict[str, Any] = {
        "topic": event.topic,
        "time": event.time,
        "stamp": stamp_text(event.stamp),
        "node": event.node,
        "priority": event.priority,
        "payload": plain(payload) if is_table(payload) else payload,
    }
    if event.deadline is not None:
        line["deadline"] = event.deadline
    if event.headers:
        line["headers"] = dict(event.headers)
    return json_bytes(line) + b"\n"
