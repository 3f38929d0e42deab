"""Payloads as what files can hold."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric.fabric.sinks.records import Unwritable, fields_of, json_bytes


@dataclass
class Point:
    x: float
    inner: object = None


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 2


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Point(1.5, {3}), {"x": 1.5, "inner": [3]}),
        ((1, 2), [1, 2]),
        ({1: "a", (2, 3): "b"}, {"1": "a", "(2, 3)": "b"}),
        (b"\x00\xff", {"base64": "AP8="}),
        (dt.datetime(2013, 12, 2, 21, 15, tzinfo=dt.UTC), "2013-12-02T21:15:00+00:00"),
        (dt.date(2013, 12, 2), "2013-12-02"),
        (dt.timedelta(seconds=1.5), 1.5),
        (Colour.RED, "red"),
        (Level.HIGH, 2),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ([float("inf"), float("-inf")], ["Infinity", "-Infinity"]),
        ("\ud800", "\ud800"),
    ],
    ids=repr,
)
def test_what_json_lacks_has_a_documented_form(value, written):
    assert json.loads(json_bytes(value)) == written
    assert json.loads(json_bytes({"v": value})) == {"v": written}


@given(st.recursive(st.floats() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_number_and_text_makes_one_line_of_strict_json(value):
    line = json_bytes(value)
    assert b"\n" not in line
    json.loads(line.decode("utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize("value", [object(), [object()], {"x": {"y": object}}, lambda: 0], ids=repr)
def test_what_has_no_form_is_refused(value):
    with pytest.raises(Unwritable):
        json_bytes(value)


def test_a_dataclass_has_its_fields_and_a_bare_value_the_field_value():
    assert fields_of(Point(1.0)) == {"x": 1.0, "inner": None}
    assert fields_of([1]) == {"value": [1]}
    assert fields_of({2: 3}) == {"2": 3}
