"""Where events go: terminals, files, and Python code."""

from __future__ import annotations

from chronofabric.fabric.sinks.columns import ColumnsSink
from chronofabric.fabric.sinks.ndjson import NdjsonSink
from chronofabric.fabric.sinks.partial import PARTIAL_SUFFIX
from chronofabric.fabric.sinks.python import PythonSink
from chronofabric.fabric.sinks.sink import RecordedEvent, Sink
from chronofabric.fabric.sinks.terminal import TerminalSink

__all__ = [
    "PARTIAL_SUFFIX",
    "ColumnsSink",
    "NdjsonSink",
    "PythonSink",
    "RecordedEvent",
    "Sink",
    "TerminalSink",
]
