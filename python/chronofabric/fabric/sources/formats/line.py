"""One row as a reader found it, and text lines read within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple

__all__ = ["BrokenLine", "Line", "TextLines", "bounded_lines"]

LINE_BYTES_MAX = 16 * 1024 * 1024
"""A longer line is a broken one."""


class Line(NamedTuple):
    """A row, or what is wrong with it."""

    number: int
    """Its line in a text, its row in columns, counted from 1."""
    value: object
    """The row; meaningless where `problem` is given."""
    problem: str | None = None
    """What is wrong with it."""
    final: bool = False
    """Whether nothing can be read after it."""


class BrokenLine(Exception):
    """A line of text that cannot be read; raised by `TextLines`, never seen by users."""


def bounded_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream; of one that is too long, only so much that it shows."""
    while raw := stream.readline(LINE_BYTES_MAX + 1):
        if len(raw) > LINE_BYTES_MAX and not raw.endswith(b"\n"):
            while (rest := stream.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
                pass
        yield raw


class TextLines:
    """Decoded lines with their numbers, which can be given back.

    Lines are decoded one by one, so that a wrong byte breaks its own line and none before it. An exception raised from
    `__next__` does not end the iteration.

    Attributes
    ----------
    taken : list of tuple
        Number and bytes of each line given out since `begin`.
    """

    __slots__ = ("_next_number", "_pending", "_raw", "taken")

    def __init__(self, raw: Iterator[bytes]) -> None:
        self._raw = raw
        self._pending: list[tuple[int, bytes]] = []
        self._next_number = 1
        self.taken: list[tuple[int, bytes]] = []

    def begin(self) -> None:
        """Forget the lines given out: a new row begins."""
        self.taken.clear()

    def give_back_all_but_first(self) -> None:
        """Give back all lines since `begin` but the first, to be read again."""
        self._pending.extend(reversed(self.taken[1:]))

    def __iter__(self) -> TextLines:
        return self

    def __next__(self) -> str:
        if self._pending:
            number, raw = self._pending.pop()
        else:
            raw = next(self._raw)
            number = self._next_number
            self._next_number += 1
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
        self.taken.append((number, raw))
        if len(raw) > LINE_BYTES_MAX:
            raise BrokenLine(f"the line is longer than {LINE_BYTES_MAX} bytes")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            raise BrokenLine(f"byte {error.start + 1} of the line, 0x{byte:02x}, is not UTF-8") from error
