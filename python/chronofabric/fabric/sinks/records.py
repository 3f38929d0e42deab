"""Payloads as what files can hold: JSON values and texts.

What JSON has no form for is written so: bytes as ``{"base64": "..."}``; a number that is not finite as ``"NaN"``,
``"Infinity"`` or ``"-Infinity"`` (as the JSON mapping of Protocol Buffers does); dates and times as ISO 8601; durations
as seconds; dataclasses as objects; sets as lists; a table as the list of its rows; arrays as lists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["Unwritable", "arrow_table", "fields_of", "is_table", "json_bytes", "plain"]


class Unwritable(Exception):
    """A payload that no file format here can hold; sinks count it and go on, users never see it."""


def is_table(payload: Any) -> bool:
    """Whether a payload is columns, that is, exports Arrow."""
    return hasattr(payload, "__arrow_c_stream__") or hasattr(payload, "__arrow_c_array__")


def arrow_table(payload: Any) -> Any:
    """A payload that exports Arrow, as a pyarrow table; nothing is copied."""
    import pyarrow as pa

    return pa.table(payload)


def fields_of(payload: Any) -> dict[str, Any]:
    """A payload as named fields; one that is not a mapping is the field ``value``.

    Examples
    --------
    >>> fields_of({"x": 1}), fields_of(21.5), fields_of(None)
    ({'x': 1}, {'value': 21.5}, {})
    """
    if isinstance(payload, Mapping):
        return {str(name): value for name, value in payload.items()}
    if payload is None:
        return {}
    members = _members(payload)
    return {"value": payload} if members is None else members


def json_bytes(value: Any) -> bytes:
    """A value as JSON on one line, in UTF-8.

    Raises
    ------
    Unwritable
        If it holds something without a form in JSON, or itself.

    Examples
    --------
    >>> json_bytes({"x": float("nan"), "raw": b"abc"})
    b'{"x":"NaN","raw":{"base64":"YWJj"}}'
    """
    try:
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=plain)
        except (ValueError, TypeError):
            text = json.dumps(plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        try:
            return text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can hold
            return json.dumps(json.loads(text), separators=(",", ":")).encode()
    except RecursionError as error:
        raise Unwritable(f"a {type(value).__name__} nested too deeply, or in itself") from error


def plain(value: Any) -> Any:
    """A value made of what JSON knows.

    Raises
    ------
    Unwritable
        If it holds something without a form in JSON.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _finite(float(value))
    if isinstance(value, Mapping):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(member) for member in value]
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    import base64
    import datetime as dt
    import decimal
    import enum
    import pathlib
    import uuid

    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, (decimal.Decimal, uuid.UUID, pathlib.PurePath)):
        return str(value)
    if is_table(value):
        return [plain(row) for row in arrow_table(value).to_pylist()]
    members = _members(value)
    if members is not None:
        return plain(members)
    as_list = getattr(value, "tolist", None)  # NumPy's arrays and scalars
    if as_list is not None:
        return plain(as_list())
    raise Unwritable(f"a {type(value).__qualname__}")


def _members(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass."""
    names = getattr(type(value), "__dataclass_fields__", None)
    return None if names is None else {name: getattr(value, name) for name in names if hasattr(value, name)}


def _finite(value: float) -> float | str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value
