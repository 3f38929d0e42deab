"""Events from the standard input, one a line: NDJSON, CSV with a header, or bare texts.

Each event takes the time at which its line is read. While the input is silent, a stop is noticed within 50 ms: where
the system can wait for a file descriptor the source looks up from waiting, elsewhere (Windows) a daemon thread reads
ahead by at most 64 blocks and is left behind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Literal, TypeAlias

from chronofabric.errors import ArgumentError, SourceError
from chronofabric.fabric.sources.formats.delimited import delimited_header, delimited_rows
from chronofabric.fabric.sources.formats.json_lines import json_rows
from chronofabric.fabric.sources.formats.line import LINE_BYTES_MAX, BrokenLine, Line, TextLines
from chronofabric.fabric.sources.source import Node, OnError, Output, Skips, checked_on_error
from chronofabric.fabric.stopping import StopToken

__all__ = ["StdinFormat", "StdinSource"]

StdinFormat: TypeAlias = Literal["ndjson", "csv", "lines"]

BLOCK_BYTES = 65_536
READ_AHEAD_BLOCKS = 64
LOOK_UP_S = 0.05


class StdinSource:
    """Publishes what is written to the standard input of this process.

    Parameters
    ----------
    topic
        Where it goes.
    format
        ``"ndjson"``: the value of each line; ``"csv"``: a dict a row, after a header; ``"lines"``: each line as a text.
    on_error
        ``"stop"`` or ``"skip"``, for lines that cannot be read.
    descriptor
        The file descriptor to read; by default that of the standard input.
    name
        Its name in reports.

    Raises
    ------
    ArgumentError
        If the format or policy is not one of these.
    """

    finite = True

    def __init__(
        self,
        topic: str,
        *,
        format: StdinFormat = "ndjson",
        on_error: OnError = "stop",
        descriptor: int | None = None,
        name: str = "stdin",
    ) -> None:
        if format not in ("ndjson", "csv", "lines"):
            hint = "use 'ndjson', 'csv' or 'lines'"
            raise ArgumentError(f"format is {format!r}; {hint}", argument="format", value=format, hint=hint)
        self.topic = topic
        self.format = format
        self.name = name
        self._on_error = checked_on_error(on_error)
        self._descriptor = descriptor
        self._skips = Skips(name)
        self._output: Output | None = None

    def __repr__(self) -> str:
        return f"StdinSource({self.topic!r}, format={self.format!r})"

    @property
    def published(self) -> int:
        """Events handed to the node so far."""
        return self._output.published if self._output else 0

    @property
    def timed_out(self) -> int:
        """How many of them a blocking subscription did not take in time."""
        return self._output.timed_out if self._output else 0

    @property
    def skipped(self) -> int:
        """Lines left out so far because they could not be read."""
        return self._skips.count

    def run(self, node: Node, stop: StopToken) -> None:
        """Publish line by line until the input ends.

        Raises
        ------
        SourceError
            If there is no standard input, or at a line that cannot be read, unless such are skipped.
        """
        self._output = Output(node)
        text = TextLines(_lines_of(self._blocks(stop)))
        try:
            for line in self._read(text):
                if stop.is_set():
                    return
                if line.problem is None:
                    self._output.publish(self.topic, line.value)
                elif self._on_error == "stop":
                    raise SourceError(
                        f"{self.name}, line {line.number}: {line.problem}", source=self.name, line=line.number
                    )
                else:
                    self._skips.add(f"line {line.number}: {line.problem}")
        except BrokenLine as error:  # the header
            if not stop.is_set():
                raise SourceError(f"{self.name}: {error}", source=self.name, line=1) from error

    def _read(self, text: TextLines) -> Iterator[Line]:
        if self.format == "ndjson":
            return json_rows(text)
        if self.format == "csv":
            return delimited_rows(text, delimited_header(text))
        return _texts(text)

    def _blocks(self, stop: StopToken) -> Iterator[bytes]:
        descriptor = self._descriptor
        if descriptor is None:
            try:
                descriptor = sys.stdin.fileno()
            except (AttributeError, OSError, ValueError) as error:
                raise SourceError(f"{self.name}: this process has no standard input", source=self.name) from error
        if sys.platform == "win32":
            return _blocks_read_ahead(descriptor, stop)
        return _blocks_when_ready(descriptor, stop)


def _texts(text: TextLines) -> Iterator[Line]:
    while True:
        text.begin()
        try:
            line = Line(0, next(text).rstrip("\r\n"))
        except StopIteration:
            return
        except BrokenLine as error:
            line = Line(0, None, str(error))
        yield line._replace(number=text.taken[0][0])


def _lines_of(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines put together from blocks; of one that is too long, only so much that it shows."""
    rest = b""
    parts: list[bytes] = []
    held = 0
    for block in blocks:
        *ended, rest = block.split(b"\n")
        for line in ended:
            parts.append(line)
            yield b"".join(parts) + b"\n"
            parts, held = [], 0
        if held <= LINE_BYTES_MAX:
            parts.append(rest)
            held += len(rest)
    if held:
        yield b"".join(parts)


def _blocks_when_ready(descriptor: int, stop: StopToken) -> Iterator[bytes]:
    import select

    while not stop.is_set():
        ready, _, _ = select.select([descriptor], [], [], LOOK_UP_S)
        if ready:
            block = os.read(descriptor, BLOCK_BYTES)
            if not block:
                return
            yield block


def _blocks_read_ahead(descriptor: int, stop: StopToken) -> Iterator[bytes]:
    import queue
    import threading

    blocks: queue.Queue[bytes] = queue.Queue(READ_AHEAD_BLOCKS)

    def read_ahead() -> None:
        while True:
            try:
                block = os.read(descriptor, BLOCK_BYTES)
            except OSError:
                block = b""
            blocks.put(block)
            if not block or stop.is_set():
                return

    threading.Thread(target=read_ahead, name="chronofabric-stdin", daemon=True).start()
    while not stop.is_set():
        try:
            block = blocks.get(timeout=LOOK_UP_S)
        except queue.Empty:
            continue
        if not block:
            return
        yield block
