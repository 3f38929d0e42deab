"""Rows of newline-delimited JSON: one value a line, blank lines left out."""

from __future__ import annotations

import json
from collections.abc import Iterator

from chronofabric.fabric.sources.formats.line import BrokenLine, Line, TextLines

__all__ = ["json_rows"]


def json_rows(lines: TextLines) -> Iterator[Line]:
    """The values, each with its line."""
    while True:
        lines.begin()
        try:
            text = next(lines).rstrip()
            if not text:
                continue
            line = Line(lines.taken[0][0], json.loads(text))
        except StopIteration:
            return
        except BrokenLine as error:
            line = Line(lines.taken[0][0], None, str(error))
        except json.JSONDecodeError as error:
            line = Line(lines.taken[0][0], None, f"it is not JSON: {error.msg} at column {error.colno}")
        except (ValueError, RecursionError) as error:
            line = Line(lines.taken[0][0], None, f"its JSON cannot be read: {error}")
        yield line
