"""Events on a terminal, one line each, at most so many a second.

The limit is for whoever reads along, so it counts real seconds, whatever time source the node has; what it leaves out
is counted and said. Characters that would steer the terminal are shown escaped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TextIO

from chronofabric.duration import Rate, rate_hz
from chronofabric.errors import ArgumentError, SinkError
from chronofabric.fabric.counts import checked_count
from chronofabric.fabric.sinks.records import arrow_table, fields_of, is_table
from chronofabric.fabric.sinks.sink import RecordedEvent, checked_topics

__all__ = ["TerminalSink"]

WIDTH_MIN = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TerminalSink:
    """Prints events.

    Parameters
    ----------
    topics
        A pattern or several.
    stream
        ``"stderr"``, ``"stdout"``, or a text stream.
    rate
        How many lines a second at most; None prints all.
    width
        The longest line in characters; a longer one is cut.
    name
        Its name in reports.
    seconds
        What the limit measures seconds with.

    Attributes
    ----------
    written : int
        Events printed.
    left_out : int
        Events not printed because of the limit.

    Examples
    --------
    >>> import io, chronofabric as cf
    >>> from chronofabric.fabric.sinks import TerminalSink
    >>> shown = io.StringIO()
    >>> fabric = cf.Fabric("plant")
    >>> sink = fabric.add_sink(TerminalSink(topics="plant/**", stream=shown))
    >>> with fabric:
    ...     fabric.publish("plant/7/temperature", 21.5)
    >>> "plant/7/temperature" in shown.getvalue()
    True
    """

    def __init__(
        self,
        *,
        topics: Any = "**",
        stream: Literal["stderr", "stdout"] | TextIO = "stderr",
        rate: Rate | None = "20/s",
        width: int = 160,
        name: str = "terminal",
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(stream, str) and stream not in ("stderr", "stdout"):
            hint = "use 'stderr', 'stdout' or a text stream"
            raise ArgumentError(f"stream is {stream!r}; {hint}", argument="stream", value=stream, hint=hint)
        self.topics = checked_topics(topics)
        self.name = name
        self.written = 0
        self.left_out = 0
        self._stream = stream
        self._rate_hz = None if rate is None else rate_hz(rate)
        self._width = checked_count("width", width, WIDTH_MIN)
        self._seconds = seconds
        self._allowed = 0.0
        self._allowed_at = 0.0
        self._unsaid = 0
        self._text: TextIO | None = None

    def __repr__(self) -> str:
        return f"TerminalSink(topics={self.topics!r})"

    def open(self, node: Any = None) -> None:
        """Find the stream.

        Raises
        ------
        SinkError
            If this process has none of that name.
        """
        del node
        text = getattr(sys, self._stream) if isinstance(self._stream, str) else self._stream
        if text is None:
            raise SinkError(f"{self.name}: this process has no {self._stream}", sink=self.name)
        self._text = text
        self._allowed = self._burst
        self._allowed_at = self._seconds()

    def write(self, events: Sequence[RecordedEvent]) -> None:
        """Print events as far as the limit allows.

        Raises
        ------
        SinkError
            If the stream is closed or cannot be written to.
        """
        lines: list[str] = []
        for event in events:
            if self._is_allowed():
                self._say_left_out(lines)
                lines.append(_cut(_line(event), self._width))
                self.written += 1
            else:
                self.left_out += 1
                self._unsaid += 1
        self._print(lines)

    def close(self) -> None:
        """Say what was left out since the last line. Idempotent."""
        if self._text is not None:
            lines: list[str] = []
            self._say_left_out(lines)
            self._print(lines)
            self._text = None

    @property
    def _burst(self) -> float:
        return max(1.0, self._rate_hz or 1.0)

    def _is_allowed(self) -> bool:
        """A bucket that fills at the rate and holds what a second brings."""
        if self._rate_hz is None:
            return True
        now = self._seconds()
        self._allowed = min(self._burst, self._allowed + (now - self._allowed_at) * self._rate_hz)
        self._allowed_at = now
        if self._allowed < 1.0:
            return False
        self._allowed -= 1.0
        return True

    def _say_left_out(self, lines: list[str]) -> None:
        if self._unsaid:
            lines.append(f"... {self._unsaid} event{'' if self._unsaid == 1 else 's'} left out")
            self._unsaid = 0

    def _print(self, lines: list[str]) -> None:
        if not lines:
            return
        text = self._text
        if text is None:
            raise SinkError(f"{self.name}: the sink is not open", sink=self.name)
        try:
            text.write("\n".join(lines) + "\n")
            text.flush()
        except UnicodeEncodeError:
            text.write("\n".join(lines).encode("ascii", "backslashreplace").decode("ascii") + "\n")
            text.flush()
        except (OSError, ValueError) as error:
            self._text = None
            raise SinkError(f"{self.name}: the stream cannot be written to: {error}", sink=self.name) from error


def _line(event: RecordedEvent) -> str:
    instant = (_EPOCH + timedelta(microseconds=event.time // 1_000)).replace(tzinfo=None)
    return _shown(f"{instant.isoformat(timespec='milliseconds')}Z {event.topic} {_payload_text(event.payload)}")


def _payload_text(payload: Any) -> str:
    if is_table(payload):
        table = arrow_table(payload)
        return f"table of {table.num_rows} rows: {', '.join(table.column_names)}"
    if isinstance(payload, Mapping):
        return " ".join(f"{name}={_value_text(value)}" for name, value in fields_of(payload).items())
    return _value_text(payload)


def _value_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value and not any(character.isspace() for character in value):
        return value
    return repr(value)


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."
