"""Recorded events read from files."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric.errors import ArgumentError, SourceError
from chronofabric.fabric.sources import FileSource
from chronofabric.fabric.stopping import StopToken
from tests.fabric.recording import FastTime, RecordingNode, SimulatedTime

SECOND = 1_000_000_000
CSV = "time,value\n2013-12-02 21:15:00,73.9\n2013-12-02 21:20:00,74\n2013-12-02 21:25:00,off\n"
START = 1_386_018_900 * SECOND


def written(tmp_path, text, name="rows.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def source_of(tmp_path, text, name="rows.csv", **options):
    return FileSource(written(tmp_path, text, name), **{"topic": "plant", "time": "time", **options})


def test_rows_of_a_csv_are_dicts_of_numbers_and_texts_at_their_recorded_times(tmp_path):
    rows = list(source_of(tmp_path, CSV).rows())
    assert rows == [
        (START, "plant", {"value": 73.9}),
        (START + 300 * SECOND, "plant", {"value": 74}),
        (START + 600 * SECOND, "plant", {"value": "off"}),
    ]
    assert [type(payload["value"]) for _, _, payload in rows] == [float, int, str]


@pytest.mark.parametrize(
    ("written_time", "time_format", "time_ns"),
    [
        ("2013-12-02T21:15:00Z", "iso", START),
        ("2013-12-02T22:15:00+01:00", "iso", START),
        ("2013-12-02 21:15:00.123456789", "iso", START + 123456789),
        ("2013-12-02T21:15:00.1Z", "iso", START + SECOND // 10),
        ("1386018900.000000001", "s", START + 1),
        ("1386018900000", "ms", START),
        ("1386018900000000", "us", START),
        ("1386018900000000007", "ns", START + 7),
        ("02.12.2013 21:15", "%d.%m.%Y %H:%M", START),
        ("1969-12-31T23:59:59Z", "iso", -SECOND),
    ],
)
def test_a_time_is_read_to_the_nanosecond_in_its_format(tmp_path, written_time, time_format, time_ns):
    source = source_of(tmp_path, f"time,value\n{written_time},1\n", time_format=time_format)
    assert list(source.rows()) == [(time_ns, "plant", {"value": 1})]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20), st.integers(0, 2**62))
def test_a_csv_gives_back_the_floats_it_was_written_from(tmp_path_factory, values, start):
    path = tmp_path_factory.mktemp("csv") / "values.csv"
    path.write_text("t,value\n" + "".join(f"{start + place},{value!r}\n" for place, value in enumerate(values)))
    rows = list(FileSource(path, topic="x", time="t", time_format="ns").rows())
    assert [payload["value"] for _, _, payload in rows] == values
    assert [time_ns for time_ns, _, _ in rows] == [start + place for place in range(len(values))]


BROKEN = [
    pytest.param(b"2013-12-02 21:20:00", "it has 1 field, the header 2", id="row that ends in the middle"),
    pytest.param(b"2013-12-02 21:20:00,1,2", "it has 3 fields, the header 2", id="too many fields"),
    pytest.param(b"2013-12-02 21:2", "it has 1 field", id="cut off"),
    pytest.param(b"yesterday,74", "Invalid isoformat string: 'yesterday'", id="unparsable time"),
    pytest.param(b",74", "it has no 'time'", id="no time"),
    pytest.param(b"2013-12-02 21:20:00,7\xff4", "byte 22 of the line, 0xff, is not UTF-8", id="bad encoding"),
    pytest.param(b'2013-12-02 21:20:00,"74', "a quote is not closed", id="open quote"),
    pytest.param(b'2013-12-02 21:20:00,"7"4', "expected after", id="quote in the middle"),
    pytest.param(b"2012-12-02 21:20:00,74", "ns before that of the row before", id="time that steps back"),
    pytest.param(b"2513-12-02 21:20:00,74", "lies beyond the years", id="time beyond the words"),
]


@pytest.mark.parametrize(("row", "what"), BROKEN)
def test_a_broken_row_names_file_line_and_reason_after_all_rows_before_it(tmp_path, row, what):
    lines = CSV.encode().splitlines()
    text = b"\n".join([*lines[:3], row, lines[3], b""])
    source = source_of(tmp_path, text)
    node = RecordingNode(FastTime())
    with pytest.raises(SourceError) as caught:
        source.run(node, StopToken(node.clock))
    assert [payload["value"] for payload in node.payloads()] == [73.9, 74]
    assert source.published == 2
    assert str(caught.value).startswith(f"{source.path}, line 4: ")
    assert what in str(caught.value)
    assert (caught.value.source, caught.value.path, caught.value.line) == ("rows.csv", str(source.path), 4)


@pytest.mark.parametrize(("row", "what"), BROKEN)
def test_a_broken_row_costs_only_itself_where_such_rows_are_skipped(tmp_path, row, what, caplog):
    lines = CSV.encode().splitlines()
    text = b"\n".join([*lines[:3], row, lines[3], b""])
    source = source_of(tmp_path, text, on_error="skip")
    assert [payload["value"] for _, _, payload in source.rows()] == [73.9, 74, "off"]
    assert source.skipped == 1
    assert f"line 4: {what}" in caplog.text or what in caplog.text


def test_a_quoted_value_may_hold_commas_quotes_and_line_breaks(tmp_path):
    source = source_of(tmp_path, 'time,value,note\n1,2,"a ""b"", c\nd"\n2,3,e\n', time_format="s")
    assert [payload for _, _, payload in source.rows()] == [
        {"value": 2, "note": 'a "b", c\nd'},
        {"value": 3, "note": "e"},
    ]


def test_an_empty_value_is_left_out_and_blank_lines_are_no_rows(tmp_path):
    source = source_of(tmp_path, "\ufefftime,a,b\r\n1,,2\r\n\r\n2,3,\r\n", time_format="s")
    assert [payload for _, _, payload in source.rows()] == [{"b": 2}, {"a": 3}]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "there is no header"),
        ("a,a,time\n", "names column 'a' twice"),
        ("time,,b\n", "column 2 of the header has no name"),
        ("when,value\n", "it has no column 'time'; it has 'when', 'value'"),
        (b"time,\xff\n", "is not UTF-8"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_at_once(tmp_path, text, what):
    with pytest.raises(SourceError) as caught:
        source_of(tmp_path, text)
    assert what in str(caught.value)


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "parquet", "arrow"])
def test_a_missing_file_is_refused_at_once(tmp_path, suffix):
    with pytest.raises(SourceError) as caught:
        FileSource(tmp_path / f"absent.{suffix}", topic="x", time="t")
    assert "there is no such file" in str(caught.value)
    assert caught.value.path == str(tmp_path / f"absent.{suffix}")


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_file_of_another_format_is_refused_at_once(tmp_path, suffix):
    with pytest.raises(SourceError, match=f"it is not {suffix}"):
        source_of(tmp_path, CSV, f"rows.{suffix}")


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"topic": None}, "topic"),
        ({"time": None}, "time"),
        ({"rate": "1 Hz"}, "time"),
        ({"speed": 0}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"speed": float("inf")}, "speed"),
        ({"format": "xml"}, "format"),
        ({"time_format": "epoch"}, "time_format"),
        ({"on_error": "ignore"}, "on_error"),
        ({"layout": "event"}, "layout"),
        ({"layout": "events"}, "topic"),
        ({"batch_rows": 0}, "batch_rows"),
        ({"reorder_rows": -1}, "reorder_rows"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(tmp_path, options, argument):
    with pytest.raises(ArgumentError) as caught:
        source_of(tmp_path, CSV, **options)
    assert caught.value.argument == argument
    assert caught.value.hint


def test_an_unknown_suffix_asks_for_the_format(tmp_path):
    with pytest.raises(ArgumentError, match="give format="):
        source_of(tmp_path, CSV, "rows.txt")
    assert len(list(source_of(tmp_path, CSV, "rows.txt", format="csv").rows())) == 3


def test_rows_of_ndjson_are_their_values(tmp_path):
    text = '{"time": 1, "x": {"y": [1, null]}}\n\n{"time": 2.5, "x": "é"}\n'
    source = source_of(tmp_path, text, "rows.ndjson", time_format="s")
    assert list(source.rows()) == [
        (SECOND, "plant", {"x": {"y": [1, None]}}),
        (5 * SECOND // 2, "plant", {"x": "é"}),
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"time": 2, "x"', "it is not JSON: Expecting ':' delimiter at column 16"),
        ("[1, 2]", "it is a list, not an object"),
        ('{"x": 1}', "it has no 'time'"),
        ('{"time": true}', "True is not a number"),
        ('{"time": NaN}', "is not a time"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_broken_line_of_ndjson_names_its_line(tmp_path, line, what):
    text = f'{{"time": 1}}\n{line}\n{{"time": 3}}\n'
    with pytest.raises(SourceError) as caught:
        list(source_of(tmp_path, text, "rows.ndjson", time_format="s").rows())
    assert caught.value.line == 2
    assert what in str(caught.value)
    skipping = source_of(tmp_path, text, "rows.ndjson", time_format="s", on_error="skip")
    assert [time_ns for time_ns, _, _ in skipping.rows()] == [SECOND, 3 * SECOND]
    assert skipping.skipped == 1


TABLE = pa.table(
    {
        "time": pa.array([1_000_000_001, 2_000_000_002, 3_000_000_003], pa.timestamp("ns", tz="UTC")),
        "x": pa.array([1, None, 3], pa.int32()),
        "s": pa.array(["a", "b", None]).dictionary_encode(),
        "when": pa.array([None, 5, None], pa.timestamp("us")),
        "day": pa.array([0, 1, None], pa.date32()),
    }
)
TABLE_ROWS = [
    (1_000_000_001, "plant", {"x": 1, "s": "a", "day": "1970-01-01"}),
    (2_000_000_002, "plant", {"s": "b", "when": 5_000, "day": "1970-01-02"}),
    (3_000_000_003, "plant", {"x": 3}),
]


@pytest.mark.parametrize("kind", ["parquet", "arrow file", "arrow stream", "feather"])
def test_rows_of_columns_are_dicts_without_their_nulls(tmp_path, kind):
    path = tmp_path / ("rows.parquet" if kind == "parquet" else "rows.feather" if kind == "feather" else "rows.arrow")
    if kind == "parquet":
        pq.write_table(TABLE, path, row_group_size=2)
    elif kind == "feather":
        pyarrow.feather.write_feather(TABLE, str(path))
    else:
        new = pa.ipc.new_file if kind == "arrow file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, new(file, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=2)
    assert list(FileSource(path, topic="plant", time="time", batch_rows=1).rows()) == TABLE_ROWS


@pytest.mark.parametrize("values", [pa.array([0, 1], pa.date32()), pa.array([0, 86_400_000], pa.date64())])
def test_a_column_of_dates_can_be_the_time(tmp_path, values):
    pq.write_table(pa.table({"day": values, "x": [1, 2]}), tmp_path / "days.parquet")
    rows = list(FileSource(tmp_path / "days.parquet", topic="plant", time="day").rows())
    assert rows == [(0, "plant", {"x": 1}), (86_400 * SECOND, "plant", {"x": 2})]


def test_a_parquet_file_that_breaks_in_the_middle_ends_with_an_error_after_the_rows_before(tmp_path):
    path = tmp_path / "rows.parquet"
    table = pa.table({"time": pa.array(range(2_000), pa.int64()), "x": [float(place) for place in range(2_000)]})
    pq.write_table(table, path, row_group_size=1_000, compression="zstd", use_dictionary=False)
    offset = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = bytes(200)
    path.write_bytes(bytes(content))
    source = FileSource(path, topic="x", time="time", time_format="ns", batch_rows=1_000, on_error="skip")
    times: list[int] = []
    with pytest.raises(SourceError, match="the rest of the file cannot be read"):
        times.extend(time_ns for time_ns, _, _ in source.rows())
    rows = source.rows()
    assert [next(rows)[0] for _ in range(1_000)] == list(range(1_000))


def test_without_recorded_times_rows_follow_each_other_at_the_rate_from_the_start(tmp_path):
    source = source_of(tmp_path, "value\n1\n2\n3\n", time=None, rate="4 Hz")
    assert [time_ns for time_ns, _, _ in source.rows(100)] == [100, 250_000_100, 500_000_100]
    assert source.first_time_ns() is None
    assert source_of(tmp_path, CSV).first_time_ns() == START
    assert source_of(tmp_path, "time,value\n").first_time_ns() is None


@given(st.data())
def test_rows_out_of_order_within_reach_come_in_order_and_keep_theirs_at_one_time(tmp_path_factory, data):
    reach = data.draw(st.integers(1, 8))
    times = sorted(data.draw(st.lists(st.integers(0, 20), max_size=40)))
    shuffled = list(enumerate(times))
    for place in range(0, len(shuffled), reach + 1):  # within a block nothing is further away than `reach`
        shuffled[place : place + reach + 1] = data.draw(st.permutations(shuffled[place : place + reach + 1]))
    path = tmp_path_factory.mktemp("order") / "rows.ndjson"
    path.write_text("".join(json.dumps({"t": time, "k": key}) + "\n" for key, time in shuffled))
    source = FileSource(path, topic="x", time="t", time_format="ns", reorder_rows=reach)
    rows = [(time_ns, payload["k"]) for time_ns, _, payload in source.rows()]
    assert rows == sorted(((time, key) for key, time in shuffled), key=lambda row: row[0])


def test_rows_held_back_for_order_are_given_out_before_a_broken_one_ends_the_source(tmp_path):
    source = source_of(tmp_path, "time,v\n2,a\n1,b\n3\n", time_format="s", reorder_rows=10)
    seen: list[str] = []
    with pytest.raises(SourceError, match="line 4"):
        seen.extend(payload["v"] for _, _, payload in source.rows())
    assert seen == ["b", "a"]


def test_a_line_beyond_the_limit_is_a_broken_one(tmp_path, monkeypatch):
    from chronofabric.fabric.sources.formats import line

    monkeypatch.setattr(line, "LINE_BYTES_MAX", 100)
    text = '{"time": 1}\n{"time": 2, "x": "' + "y" * 1_000 + '"}\n{"time": 3}\n'
    source = source_of(tmp_path, text, "rows.ndjson", time_format="s", on_error="skip")
    assert [time_ns for time_ns, _, _ in source.rows()] == [SECOND, 3 * SECOND]
    assert source.skipped == 1


def test_the_file_is_read_while_it_is_published_not_at_once(tmp_path):
    path = written(tmp_path, '{"time": 1}\n' * 3, "rows.ndjson")
    source = FileSource(path, topic="x", time="time", time_format="s")
    rows = source.rows()
    next(rows)
    with path.open("a") as file:
        file.write('{"time": 7}\n')
    assert [time_ns for time_ns, _, _ in rows][-1] == 7 * SECOND


def test_stop_ends_a_source_that_waits_for_its_next_row(tmp_path):
    node = RecordingNode(SimulatedTime(0), limit=1)
    node.stop = StopToken(node.clock)
    source_of(tmp_path, CSV).run(node, node.stop)
    assert len(node.events) == 1
