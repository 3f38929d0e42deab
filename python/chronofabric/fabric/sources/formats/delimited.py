"""Rows of comma-separated values with a header (RFC 4180), each value read as an int, a float or a text.

Rows are read one at a time by Python's own `csv`, not in blocks: whatever breaks, the rows before it have been given
out, and the message names its line. A quote that is never closed would swallow all lines after it; those are given back
and read again, so one broken line costs one row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from chronofabric.fabric.sources.formats.line import BrokenLine, Line, TextLines

__all__ = ["delimited_header", "delimited_rows", "typed_value"]

# A number with a leading zero is an identifier (a postal code, a part number), and so stays a text.
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE
)
_IDENTIFIER = re.compile(r"[+-]?0[0-9]+", re.ASCII)
_INTEGER_DIGITS_MAX = 4_000  # Python converts up to 4300.


def typed_value(text: str) -> int | float | str:
    """A value as an int or a float where it is written like one, else as the text it is.

    Examples
    --------
    >>> [typed_value(text) for text in ("21", "21.5", "-1e3", "nan", "007", "1_000", "on")]
    [21, 21.5, -1000.0, nan, '007', '1_000', 'on']
    """
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _INTEGER_DIGITS_MAX else text
    if _FLOAT.fullmatch(text) and not _IDENTIFIER.fullmatch(text):
        return float(text)
    return text


def delimited_header(lines: TextLines) -> list[str]:
    """The names of the columns, from the first row that is not blank.

    Raises
    ------
    BrokenLine
        If there is none, it cannot be read, or a name is empty or appears twice.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = next((fields for fields in reader if fields), None)
    except csv.Error as error:
        raise BrokenLine(f"the header cannot be read: {error}") from error
    if header is None:
        raise BrokenLine("there is no header")
    header = [name.strip() for name in header]
    for place, name in enumerate(header):
        if not name:
            raise BrokenLine(f"column {place + 1} of the header has no name")
        if name in header[:place]:
            raise BrokenLine(f"the header names column '{name}' twice")
    return header


def delimited_rows(lines: TextLines, header: list[str], raw: str | None = None) -> Iterator[Line]:
    """The rows after the header, as dicts; a value that is empty is left out.

    Parameters
    ----------
    lines
        The text after its header.
    header
        The names of the columns.
    raw
        A column whose values stay texts.
    """
    reader = csv.reader(lines, strict=True)
    while True:
        lines.begin()
        problem: str | None = None
        fields: list[str] = []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except BrokenLine as error:
            place = "" if len(lines.taken) == 1 else f" (in line {lines.taken[-1][0]}, to which a quote reaches)"
            problem = f"{error}{place}"
        except csv.Error as error:
            problem = f"{error}; a quote is not closed" if "end of data" in str(error) else str(error)
        if problem is None and fields and len(fields) != len(header):
            problem = f"it has {_counted(len(fields))}, the header {len(header)}"
        number = lines.taken[0][0]
        if problem is not None:
            lines.give_back_all_but_first()
            yield Line(number, None, problem)
        elif fields:
            yield Line(
                number,
                {
                    name: text if name == raw else typed_value(text)
                    for name, text in zip(header, fields, strict=True)
                    if text
                },
            )


def _counted(fields: int) -> str:
    return f"{fields} field" + ("" if fields == 1 else "s")
