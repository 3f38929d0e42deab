"""Where events come from: the host, files, the standard input, and Python code."""

from __future__ import annotations

from chronofabric.fabric.sources.file import FileSource
from chronofabric.fabric.sources.host import HostSource
from chronofabric.fabric.sources.python import PythonSource
from chronofabric.fabric.sources.replay import ReplaySource
from chronofabric.fabric.sources.source import Node, Row, RowSource, Source
from chronofabric.fabric.sources.stdin import StdinSource
from chronofabric.fabric.sources.timer import TimerSource

__all__ = [
    "FileSource",
    "HostSource",
    "Node",
    "PythonSource",
    "ReplaySource",
    "Row",
    "RowSource",
    "Source",
    "StdinSource",
    "TimerSource",
]
