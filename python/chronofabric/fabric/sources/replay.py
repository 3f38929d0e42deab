"""Recorded events played back, and several recordings merged into one by time.

At a finite speed the wait for a row runs on the node's time source: a row is due when as much time has passed since the
first row, divided by the speed, as was recorded. At ``"max"`` nothing waits: the node's simulated clock is set to the
time of each row before it is published, so whatever reads that clock sees the recorded time. There is one driver of a
simulated clock, hence one `ReplaySource` for all files that run at ``"max"`` in one node.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, cast

from chronofabric.errors import ArgumentError, SourceError
from chronofabric.fabric.sources.source import Node, Output, Row, RowSource
from chronofabric.fabric.stopping import StopToken

__all__ = ["ReplaySource", "replay"]


class ReplaySource:
    """Publishes the events of several recorded sources as one, in the order of their time.

    Events of one time keep the order in which their sources are given. A source that breaks ends; the others go on, and
    the failure is raised at the end.

    Parameters
    ----------
    sources
        The recorded sources, all of the same speed.
    name
        Its name in reports; by default made of theirs.

    Raises
    ------
    ArgumentError
        If there is no source, or their speeds differ.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from chronofabric.fabric.sources import FileSource, ReplaySource
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = [Path(folder, name) for name in ("a.ndjson", "b.ndjson")]
    ...     for file, second in zip(files, (2, 1), strict=True):
    ...         _ = file.write_text(f'{{"time": {second}, "from": "{file.stem}"}}')
    ...     options = {"topic": "plant", "time": "time", "time_format": "s", "speed": "max"}
    ...     merged = ReplaySource([FileSource(file, **options) for file in files])
    ...     [payload for time, topic, payload in merged.rows()]
    [{'from': 'b'}, {'from': 'a'}]
    """

    finite = True

    def __init__(self, sources: Sequence[RowSource], *, name: str | None = None) -> None:
        self.sources = tuple(sources)
        if not self.sources:
            hint = "give at least one"
            raise ArgumentError(f"sources is empty; {hint}", argument="sources", value=(), hint=hint)
        speeds = sorted({str(source.speed) for source in self.sources})
        if len(speeds) > 1:
            hint = "give all of them the same speed"
            text = f"sources differ in speed ({', '.join(speeds)}) and cannot be merged by time; {hint}"
            raise ArgumentError(text, argument="sources", value=tuple(speeds), hint=hint)
        self.speed: float | Literal["max"] = self.sources[0].speed
        self.name = name or " + ".join(source.name for source in self.sources)
        self._output: Output | None = None

    def __repr__(self) -> str:
        return f"ReplaySource({self.name!r}, speed={self.speed!r})"

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
        """Rows that the sources left out."""
        return sum(cast("int", getattr(source, "skipped", 0)) for source in self.sources)

    def first_time_ns(self) -> int | None:
        """The earliest recorded time, where one is recorded: what a simulated clock may start at."""
        firsts = [source.first_time_ns() for source in self.sources if hasattr(source, "first_time_ns")]
        return min((first for first in firsts if first is not None), default=None)

    def rows(self, start_ns: int = 0) -> Iterator[Row]:
        """The events of all sources in the order of their time.

        Parameters
        ----------
        start_ns
            The time of the first row of a source without recorded times.

        Raises
        ------
        SourceError
            At the end, if a source broke.
        """
        failures: list[SourceError] = []
        streams = [_until_broken(source.rows(start_ns), failures) for source in self.sources]
        yield from heapq.merge(*streams, key=_time_of)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            text = "; ".join(map(str, failures))
            raise SourceError(f"{len(failures)} of {len(self.sources)} sources broke: {text}", source=self.name)

    def run(self, node: Node, stop: StopToken) -> None:
        """Publish all events at the common speed."""
        self._output = Output(node)
        replay(self.rows(node.clock.now()), node, stop, self._output, self.speed, self.name)


def replay(
    rows: Iterable[Row],
    node: Node,
    stop: StopToken,
    output: Output,
    speed: float | Literal["max"],
    name: str,
) -> None:
    """Publish recorded events at a speed, until they end or `stop` is set.

    Parameters
    ----------
    rows
        Events in the order of their time.
    node, stop, output
        Where they go, what ends it, and what counts them.
    speed
        A factor, or ``"max"``.
    name
        The source's name, for an error.

    Raises
    ------
    SourceError
        If the speed is ``"max"`` and the node's clock cannot be set, or has passed the time of a row.
    """
    if speed == "max":
        _replay_at_once(rows, node, stop, output, name)
    else:
        _replay_paced(rows, node, stop, output, speed)


def _replay_at_once(rows: Iterable[Row], node: Node, stop: StopToken, output: Output, name: str) -> None:
    clock = node.clock
    set_clock = cast("Callable[[int], object] | None", getattr(clock, "set", None))
    if set_clock is None:
        raise SourceError(
            f"{name} runs at speed 'max', which needs a node on simulated time; "
            "give the node clock=SimulatedClock(), or the source a speed such as 'recorded' or 4.0",
            source=name,
        )
    now_ns = clock.now()
    for time_ns, topic, payload in rows:
        if stop.is_set():
            return
        if time_ns != now_ns:
            now_ns = max(now_ns, clock.now())
            if time_ns < now_ns:
                raise SourceError(
                    f"{name} has a row at {time_ns} ns, but the node's simulated clock is at {now_ns} ns already; "
                    "start the clock at or before the first row, and let nothing else advance it",
                    source=name,
                )
            set_clock(time_ns)
            now_ns = time_ns
        output.publish(topic, payload, time_ns)


def _replay_paced(rows: Iterable[Row], node: Node, stop: StopToken, output: Output, speed: float) -> None:
    origin_ns: int | None = None
    first_ns = 0
    for time_ns, topic, payload in rows:
        if origin_ns is None:
            origin_ns, first_ns = node.clock.now(), time_ns
        elapsed_ns = time_ns - first_ns
        due_ns = origin_ns + (elapsed_ns if speed == 1.0 else round(elapsed_ns / speed))
        if stop.wait_until(due_ns):
            return
        output.publish(topic, payload, time_ns)


def _until_broken(rows: Iterator[Row], failures: list[SourceError]) -> Iterator[Row]:
    try:
        yield from rows
    except SourceError as error:
        failures.append(error)


def _time_of(row: Row) -> int:
    return row[0]
