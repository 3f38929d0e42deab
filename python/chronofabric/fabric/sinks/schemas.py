"""How the columns of a file grow with its events.

A column has the type of its values. When values of another type come, the column becomes wider: integers of several
sizes ``int64``, integers and floats ``float64`` (integers are exact up to 2^53 there), anything else a text of JSON,
which the field's metadata says (``chronofabric.encoding`` = ``json``). Nested values are JSON from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chronofabric.fabric.sinks.records import json_bytes
from chronofabric.fabric.sources.formats.columns import JSON_ENCODING

__all__ = ["column_of", "converted", "json_field", "widened"]


def json_field(name: str) -> Any:
    """A column of JSON texts."""
    import pyarrow as pa

    return pa.field(name, pa.string(), metadata={JSON_ENCODING: b"json"})


def is_json(field: Any) -> bool:
    """Whether a column holds JSON texts."""
    return (field.metadata or {}).get(JSON_ENCODING) == b"json"


def column_of(name: str, values: Sequence[Any]) -> tuple[Any, Any]:
    """Field and array of values, None where there is none.

    Raises
    ------
    Unwritable
        If a value has no form in JSON where it needs one.
    """
    import pyarrow as pa

    kinds = {type(value) for value in values} - {type(None)}
    simple = {
        frozenset[type](): pa.null(),
        frozenset({bool}): pa.bool_(),
        frozenset({int}): pa.int64(),
        frozenset({float}): pa.float64(),
        frozenset({int, float}): pa.float64(),
        frozenset({str}): pa.string(),
        frozenset({bytes}): pa.binary(),
    }.get(frozenset(kinds))
    if simple is not None:
        try:
            if kinds == {int, float}:
                values = [None if value is None else float(value) for value in values]
            return pa.field(name, simple), pa.array(values, simple)
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
            pass  # too great an integer, or half of a surrogate pair
    texts = [None if value is None else json_bytes(value).decode() for value in values]
    return json_field(name), pa.array(texts, pa.string())


def widened(first: Any, second: Any) -> Any:
    """The field that holds the values of both."""
    import pyarrow as pa

    one, other = first.type, second.type
    if one == other and is_json(first) == is_json(second):
        return first
    if pa.types.is_null(one):
        return second
    if pa.types.is_null(other):
        return first
    if not is_json(first) and not is_json(second):
        whole = pa.types.is_integer(one) and pa.types.is_integer(other)
        if whole and pa.uint64() not in (one, other):
            return pa.field(first.name, pa.int64())
        if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)):
            return pa.field(first.name, pa.float64())
    return json_field(first.name)


def converted(array: Any, field: Any, wider: Any) -> Any:
    """An array of one field as one of a wider field."""
    import pyarrow as pa

    if field.type == wider.type and is_json(field) == is_json(wider):
        return array
    if pa.types.is_null(field.type):
        return pa.nulls(len(array), wider.type)
    if is_json(wider):
        texts = [None if value is None else json_bytes(value).decode() for value in array.to_pylist()]
        return pa.array(texts, pa.string())
    return array.cast(wider.type, safe=False)
