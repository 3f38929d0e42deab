"""What the sinks that write files have in common: files are complete or absent, and what went in comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric.errors import SinkError
from chronofabric.fabric.sinks import PARTIAL_SUFFIX, ColumnsSink, NdjsonSink
from chronofabric.fabric.sources import FileSource
from tests.fabric.recording import StoredEvent

SINKS = {"ndjson": NdjsonSink, "parquet": ColumnsSink, "arrow": ColumnsSink}
SUFFIXES = sorted(SINKS)
COLUMN_SUFFIXES = ["arrow", "parquet"]


def sink_for(folder, suffix, **options):
    return SINKS[suffix](folder / f"events.{suffix}", **options)


def record(folder, suffix, events, writes=1, **options):
    """Write events to a file in several calls; the sink, closed."""
    sink = sink_for(folder, suffix, **options)
    sink.open()
    size = max(1, -(-len(events) // writes))
    for place in range(0, len(events), size):
        sink.write(events[place : place + size])
    sink.close()
    return sink


def read_back(path):
    return list(FileSource(path, layout="events").rows())


def partials(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(PARTIAL_SUFFIX))


finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | finite | st.text()
names = st.text(min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def events_of(payloads):
    """Events with these payloads, in the order of time."""

    def with_envelope(drawn):
        return [
            StoredEvent(topic=topic, payload=payload, time=place * 7) for place, (topic, payload) in enumerate(drawn)
        ]

    topics = st.sampled_from(["host/cpu", "plant/7/temperature", "é"])
    return st.lists(st.tuples(topics, payloads), max_size=12).map(with_envelope)


@given(events_of(json_values))
def test_ndjson_gives_back_topic_time_and_payload_of_every_event(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("ndjson")
    sink = record(folder, "ndjson", events, writes=3)
    assert read_back(sink.path) == [(event.time, event.topic, event.payload) for event in events]
    assert (sink.written, sink.skipped, sink.lost) == (len(events), 0, 0)
    assert partials(folder) == []


def widest(events, name):
    """What a column of these values makes of an integer: a float, if a float is among them and nothing else."""
    kinds = {type(event.payload[name]) for event in events if event.payload.get(name) is not None}
    return float if kinds == {int, float} else None


@pytest.mark.parametrize("suffix", COLUMN_SUFFIXES)
@given(
    events=events_of(
        st.dictionaries(names | st.sampled_from(["time", "topic", "payload.x"]), st.none() | scalars, max_size=5)
    ),
    group_rows=st.integers(1, 5),
)
def test_columns_give_back_every_field_of_every_event_however_fields_come_and_change(
    tmp_path_factory, suffix, events, group_rows
):
    folder = tmp_path_factory.mktemp("columns")
    sink = record(folder, suffix, events, writes=3, group_rows=group_rows)
    rows = read_back(sink.path)
    assert [(time, topic) for time, topic, _ in rows] == [(event.time, event.topic) for event in events]
    for event, (_, _, payload) in zip(events, rows, strict=True):
        assert set(payload) == {name for name, value in event.payload.items() if value is not None}
        for name, value in payload.items():
            original = event.payload[name]
            convert = widest(events, name)
            if convert is not None:
                assert value == convert(original)
            else:
                assert (value, type(value)) == (original, type(original)) or value == float(original)
    assert sink.written == len(events)
    assert partials(folder) == []


@pytest.mark.parametrize("suffix", COLUMN_SUFFIXES)
@given(events=events_of(st.dictionaries(names, json_values, max_size=3)))
def test_nested_values_come_back_from_columns(tmp_path_factory, suffix, events):
    sink = record(tmp_path_factory.mktemp("nested"), suffix, events)
    for event, (_, _, payload) in zip(events, read_back(sink.path), strict=True):
        assert payload == {name: value for name, value in event.payload.items() if value is not None}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_appears_only_when_its_sink_closes(tmp_path, suffix):
    sink = sink_for(tmp_path, suffix)
    sink.open()
    sink.write([StoredEvent("a", {"x": 1})])
    assert not sink.path.exists()
    assert partials(tmp_path) == [f"events.{suffix}.{os.getpid()}.partial"]
    sink.close()
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == [f"events.{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sink_without_events_leaves_a_file_without_rows(tmp_path, suffix):
    assert read_back(record(tmp_path, suffix, []).path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_is_refused_unless_it_may_be_replaced(tmp_path, suffix):
    record(tmp_path, suffix, [StoredEvent("a", 1)])
    before = (tmp_path / f"events.{suffix}").read_bytes()
    with pytest.raises(SinkError, match="it exists already") as caught:
        sink_for(tmp_path, suffix).open()
    assert caught.value.path == str(tmp_path / f"events.{suffix}")
    assert (tmp_path / f"events.{suffix}").read_bytes() == before
    replaced = record(tmp_path, suffix, [StoredEvent("b", 2)], overwrite=True)
    assert [topic for _, topic, _ in read_back(replaced.path)] == ["b"]
    assert partials(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path, suffix):
    sink = sink_for(tmp_path, suffix)
    sink.open()
    sink.write([StoredEvent("a", 1)])
    sink.path.write_text("theirs")
    with pytest.raises(SinkError, match="it exists already"):
        sink.close()
    assert sink.path.read_text() == "theirs"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_does_not_exist_is_refused(tmp_path, suffix):
    with pytest.raises(SinkError, match="there is no folder"):
        sink_for(tmp_path / "absent", suffix).open()
    (tmp_path / f"events.{suffix}").mkdir()
    with pytest.raises(SinkError, match="it is a folder"):
        sink_for(tmp_path, suffix).open()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_to_a_sink_that_is_not_open_is_an_error(tmp_path, suffix):
    sink = record(tmp_path, suffix, [])
    with pytest.raises(SinkError, match="not open"):
        sink.write([StoredEvent("a", 1)])
    assert sink.lost == 1


PROLOGUE = """
import os, signal, sys
from pathlib import Path
from tests.fabric.sinks.test_files import *
folder, suffix = Path(sys.argv[1]), sys.argv[2]
events = [StoredEvent("a", {"x": place, "text": os.urandom(100).hex()}, time=place) for place in range(1_000)]
options = {} if suffix == "ndjson" else {"group_rows": 1_000}
"""


def run_child(code, folder, suffix):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in [str(Path.cwd()), *sys.path] if path)}
    return subprocess.run(
        [sys.executable, "-c", PROLOGUE + code, str(folder), suffix], capture_output=True, text=True, env=environment
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_an_error_that_leaves_no_file_and_counts_what_was_lost(tmp_path, suffix):
    ran = run_child(
        """
import json, resource
sink = sink_for(folder, suffix, **options)
sink.open()
sink.write(events[:500])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
written = 500
try:
    for _ in range(100):
        sink.write(events)
        written += len(events)
except SinkError as error:
    told = [str(error), error.path, type(error.__cause__).__name__]
sink.close()
print(json.dumps({"told": told, "written": sink.written, "lost": sink.lost, "accepted": written + len(events)}))
""",
        tmp_path,
        suffix,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Exception ignored" not in ran.stderr
    report = json.loads(ran.stdout)
    message, path, cause = report["told"]
    assert "it cannot be written: " in message
    assert path == str(tmp_path / f"events.{suffix}")
    assert cause == "OSError"
    assert not (tmp_path / f"events.{suffix}").exists()
    assert report["written"] + report["lost"] == report["accepted"]
    if suffix == "ndjson":
        (partial,) = partials(tmp_path)
        lines = (tmp_path / partial).read_text().splitlines()
        assert [json.loads(line)["topic"] for line in lines] == ["a"] * report["written"]
        assert report["written"] >= 500
    else:
        assert partials(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_process_leaves_only_partial_files(tmp_path, suffix):
    ran = run_child(
        """
sink = sink_for(folder, suffix, **options)
sink.open()
sink.write(events)
os.kill(os.getpid(), signal.SIGKILL)
""",
        tmp_path,
        suffix,
    )
    assert ran.returncode == -signal.SIGKILL
    names = [path.name for path in tmp_path.iterdir()]
    assert names
    assert all(name.startswith(f"events.{suffix}.") and name.endswith(PARTIAL_SUFFIX) for name in names)
    record(tmp_path, suffix, [StoredEvent("b", 1)])
    assert (tmp_path / f"events.{suffix}").exists()


def test_new_fields_start_new_segments_which_become_one_file(tmp_path):
    sink = sink_for(tmp_path, "parquet", group_rows=2)
    sink.open()
    for place in range(6):
        sink.write([StoredEvent("a", {f"x{place // 2}": place}, time=place)])
    assert len(partials(tmp_path)) == 3
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["events.parquet"]
    table = pq.read_table(sink.path)
    assert table.column_names == ["topic", "time", "stamp", "node", "priority", "x0", "x1", "x2"]
    assert table.column("x1").to_pylist() == [None, None, 2, 3, None, None]
    assert table.schema.field("time").type == pa.timestamp("ns", tz="UTC")


@pytest.mark.parametrize("suffix", COLUMN_SUFFIXES)
def test_a_column_widens_with_its_values(tmp_path, suffix):
    payloads = [{"v": None}, {"v": 1}, {"v": 2.5}, {"v": "text"}, {"v": [1]}, {"v": 2**70}]
    events = [StoredEvent("a", payload, time=place) for place, payload in enumerate(payloads)]
    sink = record(tmp_path, suffix, events, writes=6, group_rows=1)
    values = [payload.get("v") for _, _, payload in read_back(sink.path)]
    assert values == [None, 1, 2.5, "text", [1], 2**70]


def test_more_columns_than_can_be_are_an_error_that_leaves_no_file(tmp_path):
    sink = sink_for(tmp_path, "parquet")
    sink.open()
    sink.write([StoredEvent("a", {f"x{place}": 1}) for place in range(1_100)])
    with pytest.raises(SinkError, match="more than 1024 columns; use an NDJSON sink"):
        sink.close()
    assert list(tmp_path.iterdir()) == []
    assert sink.lost == 1_100


TABLE = pa.table({"x": [1, 2, 3], "s": pa.array(["a", None, "a"]).dictionary_encode(), "time": [0.5, 1.5, 2.5]})
TABLE_ROWS: list[dict[str, object]] = [
    {"x": 1, "s": "a", "time": 0.5},
    {"x": 2, "s": None, "time": 1.5},
    {"x": 3, "s": "a", "time": 2.5},
]


@pytest.mark.parametrize("suffix", COLUMN_SUFFIXES)
def test_each_row_of_a_table_is_a_row_of_its_columns(tmp_path, suffix):
    events = [StoredEvent("a", {"x": 0.5}, time=1), StoredEvent("t", TABLE, time=2), StoredEvent("a", {"x": 7}, time=3)]
    rows = read_back(record(tmp_path, suffix, events).path)
    of_table = [{name: value for name, value in row.items() if value is not None} for row in TABLE_ROWS]
    assert rows == [(1, "a", {"x": 0.5}), *((2, "t", row) for row in of_table), (3, "a", {"x": 7.0})]


def test_a_table_is_the_list_of_its_rows_in_ndjson(tmp_path):
    rows = read_back(record(tmp_path, "ndjson", [StoredEvent("t", TABLE, time=2)]).path)
    assert rows == [(2, "t", TABLE_ROWS)]


def test_a_table_with_two_columns_of_one_name_is_left_out_of_columns_and_counted(tmp_path, caplog):
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    sink = record(tmp_path, "parquet", [StoredEvent("t", twice), StoredEvent("a", 1)])
    assert (sink.written, sink.skipped) == (1, 1)
    assert "two columns of one name" in caplog.text


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_written_is_counted_and_the_rest_is_written(tmp_path, suffix, caplog):
    itself: dict[str, object] = {}
    itself["itself"] = itself
    payloads = [{"x": 1}, {"x": object()}, {"x": [lambda: 0]}, itself, {"x": 2}, {"x": object()}]
    sink = record(tmp_path, suffix, [StoredEvent("a", payload) for payload in payloads])
    assert [payload["x"] for _, _, payload in read_back(sink.path)] == [1, 2]
    assert (sink.written, sink.skipped, sink.lost) == (2, 4, 0)
    assert caplog.text.count("cannot write a object") == 1


def test_a_line_of_ndjson_has_the_envelope_and_is_json_for_everyone(tmp_path):
    event = StoredEvent("a", {"x": float("nan"), "y": b"\x00"}, 5, deadline=9, headers={"unit": "K"}, priority=3)
    sink = record(tmp_path, "ndjson", [event])
    (line,) = sink.path.read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "topic": "a",
        "time": 5,
        "stamp": "0000000000000001",
        "node": event.node,
        "priority": 3,
        "payload": {"x": "NaN", "y": {"base64": "AA=="}},
        "deadline": 9,
        "headers": {"unit": "K"},
    }


def test_a_bare_payload_is_the_field_value_of_columns(tmp_path):
    sink = record(tmp_path, "parquet", [StoredEvent("a", 21.5), StoredEvent("a", b"\x00")], group_rows=1)
    assert pq.read_table(sink.path).column_names[5:] == ["value"]
    assert read_back(sink.path)[0] == (0, "a", {"value": 21.5})
