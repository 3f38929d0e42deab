"""Arrow tables: what goes in comes out, over the same buffers, whoever made it, and bad producers are told apart."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric._core.columns import Column, Schema, Table
from chronofabric.errors import ArgumentError, PayloadError


class Stream:
    """Exports whatever a function makes."""

    def __init__(self, make):
        self.make = make

    def __arrow_c_stream__(self, requested_schema=None):
        return self.make()


class Array:
    def __init__(self, make):
        self.make = make

    def __arrow_c_array__(self, requested_schema=None):
        return self.make()


def addresses(arrays) -> list[int]:
    """Return where the buffers of pyarrow arrays are, children included, without the bitmaps, which may be rebuilt."""
    found: list[int] = []
    for array in arrays:
        for chunk in array.chunks if isinstance(array, pa.ChunkedArray) else [array]:
            found.extend(buffer.address for buffer in chunk.buffers()[1:] if buffer is not None and buffer.size)
            if isinstance(chunk, pa.DictionaryArray):
                found.extend(addresses([chunk.dictionary]))
    return found


def plant() -> pa.Table:
    return pa.table({"time": [1, 2, 3], "pressure": [8.25, None, 8.5], "valve": ["open", "shut", None]})


# In and out again


def test_a_table_of_pyarrow_comes_back_over_the_same_buffers():
    table = pa.table(
        {
            "integers": pa.array(range(1000), pa.int32()),
            "floats": pa.array(np.linspace(0, 1, 1000)),
            "texts": [f"row {row}" for row in range(1000)],
            "words": pa.array(["red", "green"] * 500).dictionary_encode(),
            "lists": [[row, row + 1] for row in range(1000)],
            "structs": [{"x": row, "y": str(row)} for row in range(1000)],
        }
    )
    back = Table(table).to_pyarrow()
    assert back.equals(table, check_metadata=True)
    assert addresses(back.columns) == addresses(table.columns)
    assert len(addresses(table.columns)) >= 10


def test_the_bitmaps_of_whole_arrays_are_not_copied_either():
    array = pa.array([1, None, 3] * 100)
    back = Table(array).to_pyarrow()["value"].chunk(0)
    assert back.buffers()[0].address == array.buffers()[0].address


def test_a_slice_of_pyarrow_points_into_the_buffers_of_the_whole():
    whole = pa.table({"x": pa.array(range(1000), pa.int64()), "flag": [row % 3 == 0 for row in range(1000)]})
    part = whole.slice(101, 57)
    table = Table(part)
    back = table.to_pyarrow()
    assert back.equals(part)
    chunk = back["x"].chunk(0)
    start = whole["x"].chunk(0).buffers()[1].address
    assert chunk.buffers()[1].address + 8 * chunk.offset == start + 8 * 101
    assert table.column("x").nbytes == 8 * 57


def test_a_data_frame_of_polars_comes_back_over_the_same_buffers():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x": range(1000), "y": [float(row) for row in range(1000)]})
    back = polars.DataFrame(Table(frame))
    assert back.equals(frame)
    for name in frame.columns:
        there, here = (data[name].to_numpy(allow_copy=False).ctypes.data for data in (frame, back))
        assert here == there


def test_texts_of_polars_survive():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"text": ["short", "a text that is longer than twelve bytes", None]})
    table = Table(frame)
    assert polars.DataFrame(table).equals(frame)
    assert table.nbytes >= len("a text that is longer than twelve bytes")


def test_a_series_of_polars_becomes_the_column_value():
    polars = pytest.importorskip("polars")
    table = Table(polars.Series("named", [1, 2, 3]))
    assert table.column_names == ["value"]
    assert table.to_pyarrow()["value"].to_pylist() == [1, 2, 3]


class Exporting:
    """Hands on what another object exports, and keeps it, so that a test sees the buffers of that very export."""

    def __init__(self, source):
        self.exported = pa.RecordBatchReader.from_stream(source).read_all()

    def __arrow_c_stream__(self, requested_schema=None):
        return self.exported.__arrow_c_stream__(requested_schema)


def test_of_what_pandas_exports_nothing_is_copied():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": np.arange(1000), "y": np.arange(1000.0), "text": ["a"] * 1000})
    source = Exporting(frame)
    back = Table(source).to_pyarrow()
    assert addresses(back.columns) == addresses(source.exported.columns)
    assert back.to_pandas().equals(frame)
    assert Table(frame) == Table(source)


def test_a_numeric_column_of_pandas_is_read_where_it_is():
    pandas = pytest.importorskip("pandas")
    values = np.arange(1000.0)
    frame = pandas.DataFrame({"x": values}, copy=False)
    assert addresses(Table(frame).to_pyarrow().columns) == [frame["x"].to_numpy().ctypes.data]


def test_of_what_duckdb_exports_nothing_is_copied():
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT range AS x, range / 2 AS y, 'text ' || range AS t FROM range(5000)")
        source = Exporting(relation)
        back = Table(source).to_pyarrow()
        assert addresses(back.columns) == addresses(source.exported.columns)
        assert Table(relation) == Table(source)
        assert back.num_rows == 5000


def test_duckdb_queries_a_table():
    duckdb = pytest.importorskip("duckdb")
    events = Table(pa.table({"x": [1, 2, 3]}))
    with duckdb.connect() as connection:
        connection.register("events", events)
        assert connection.sql("SELECT sum(x) FROM events").fetchall() == [(6,)]


def test_a_struct_array_becomes_a_table_and_any_other_array_the_column_value():
    assert Table(pa.array([{"x": 1, "y": "a"}])).column_names == ["x", "y"]
    assert Table(pa.chunked_array([[{"x": 1}], [{"x": 2}]])).to_pyarrow()["x"].to_pylist() == [1, 2]
    for bare in (pa.array([1, 2]), pa.chunked_array([[1], [2]])):
        table = Table(bare)
        assert table.column_names == ["value"]
        assert table.to_pyarrow()["value"].to_pylist() == [1, 2]


def test_a_record_batch_is_a_table_of_one_batch():
    batch = pa.record_batch({"x": [1, 2]})
    assert Table(batch).to_pyarrow().to_batches() == [batch]


def test_metadata_order_of_dictionaries_and_nullability_survive():
    field = pa.field("x", pa.dictionary(pa.int8(), pa.string(), ordered=True), nullable=False, metadata={"unit": "bar"})
    schema = pa.schema([field], metadata={"plant": "7"})
    back = Table(schema.empty_table()).to_pyarrow().schema
    assert back.equals(schema, check_metadata=True)
    assert back.field("x").type.ordered


TYPES = {
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=20),
    pa.string_view(): st.text(st.characters(codec="utf-8"), max_size=20),
    pa.large_binary(): st.binary(max_size=20),
    pa.timestamp("ns", "Europe/Berlin"): st.integers(0, 2**60),
    pa.duration("us"): st.integers(0, 2**40),
    pa.decimal128(12, 2): st.decimals(-(10**9), 10**9, places=2),
    pa.dictionary(pa.int16(), pa.string()): st.sampled_from(["red", "green", "blue"]),
    pa.list_(pa.int32()): st.lists(st.integers(0, 9), max_size=4),
    pa.list_(pa.float32(), 2): st.lists(st.sampled_from([0.0, 1.5]), min_size=2, max_size=2),
    pa.map_(pa.string(), pa.int8()): st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)).map(
        lambda entries: list(entries.items())
    ),
    pa.struct([("x", pa.int16()), ("y", pa.string())]): st.fixed_dictionaries(
        {"x": st.none() | st.integers(0, 9), "y": st.text("ab", max_size=3)}
    ),
    pa.null(): st.none(),
}


@st.composite
def tables(draw) -> pa.Table:
    """Tables of any types, cut into any chunks, at times without rows, columns or chunks, and at times sliced."""
    types = draw(st.lists(st.sampled_from(list(TYPES)), max_size=4))
    lengths = draw(st.lists(st.integers(0, 12), max_size=3))
    columns = []
    for kind in types:
        values = st.none() | TYPES[kind]
        chunks = [pa.array(draw(st.lists(values, min_size=length, max_size=length)), kind) for length in lengths]
        columns.append(pa.chunked_array(chunks, kind))
    table = pa.table(columns, names=[f"column {index}" for index in range(len(columns))])
    start = draw(st.integers(0, table.num_rows))
    return table.slice(start, draw(st.integers(0, table.num_rows - start)))


@given(tables())
def test_any_table_comes_back_as_it_was(table):
    ours = Table(table)
    back = ours.to_pyarrow()
    assert back.equals(table)
    assert back.schema.equals(table.schema, check_metadata=True)
    back.validate(full=True)
    assert (ours.num_rows, ours.num_columns, ours.column_names) == (
        table.num_rows,
        table.num_columns,
        table.column_names,
    )
    assert ours == Table(back)
    assert ours == Table(table.combine_chunks())


@given(tables())
def test_every_column_of_any_table_comes_back_as_it_was(table):
    ours = Table(table)
    for name in table.column_names:
        column = ours.column(name)
        assert len(column) == table.num_rows
        assert column.to_pyarrow().equals(table[name])
        whole = pa.array(column)
        assert whole.type == table[name].type
        assert whole.to_pylist() == table[name].to_pylist()


def test_rows_without_columns_are_counted():
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}, {}], pa.struct([])))
    table = Table(batch)
    assert (len(table), table.num_columns) == (3, 0)
    assert Table(pa.RecordBatchReader.from_stream(table)).num_rows == 3


# What a table says of itself


def test_a_table_says_what_it_holds():
    table = Table(plant())
    assert (table.num_rows, table.num_columns, len(table)) == (3, 3, 3)
    assert table.column_names == ["time", "pressure", "valve"]
    assert repr(table) == "<Table 3 rows x 3 columns: time Int64, pressure Float64, valve Utf8>"
    assert repr(table.schema) == "<Schema time Int64, pressure Float64, valve Utf8>"
    assert repr(Table(pa.table({}))) == "<Table 0 rows x 0 columns>"
    many = repr(Table(pa.table({str(index): [1] for index in range(10)})))
    assert many.endswith("7 Int64, and 2 more>")


def test_a_table_in_a_notebook_escapes_names():
    text = Table(pa.table({"<script>": [1]}))._repr_html_()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text


def test_a_schema_is_one_for_others():
    schema = Table(plant()).schema
    assert isinstance(schema, Schema)
    assert pa.schema(schema) == plant().schema
    assert pa.schema(Table(plant())) == plant().schema
    assert (schema.names, len(schema)) == (["time", "pressure", "valve"], 3)
    assert schema == Table(plant()).schema
    assert schema != Table(pa.table({"x": [1]})).schema


def test_bytes_are_those_of_the_rows():
    assert Table(pa.table({"x": pa.array(range(100), pa.int32())})).nbytes == 400
    assert Table(pa.table({"x": pa.array(range(100), pa.int32())}).slice(10, 5)).nbytes == 20
    assert Table(pa.table({"x": ["abc", "de"]})).nbytes == 3 * 4 + 5


def test_an_unknown_column_is_an_error_with_a_suggestion():
    table = Table(plant())
    with pytest.raises(ArgumentError, match='no column "presure"; did you mean "pressure"') as caught:
        table.column("presure")
    assert caught.value.value == "presure"
    assert caught.value.hint == 'did you mean "pressure"?'
    with pytest.raises(ArgumentError, match='there are "time", "pressure", "valve"'):
        table.column("zzz")
    with pytest.raises(ArgumentError, match="no columns"):
        Table(pa.table({})).column("x")
    with pytest.raises(ArgumentError, match="several columns"):
        Table(pa.table([[1], [2]], names=["x", "x"])).column("x")


def test_tables_are_equal_by_value_whatever_their_batches():
    one = pa.table({"x": pa.chunked_array([[1, 2], [3]])})
    other = pa.table({"x": pa.chunked_array([[1], [], [2, 3]])})
    assert Table(one) == Table(other)
    assert Table(one) != Table(pa.table({"x": [1, 2, 4]}))
    assert Table(one) != Table(pa.table({"x": [1, 2]}))
    assert Table(one) != Table(pa.table({"y": [1, 2, 3]}))
    assert Table(one) != one.to_pydict()
    assert Table(pa.table({"x": [float("nan")]})) == Table(pa.table({"x": [float("nan")]}))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Table(one))


def test_a_table_of_a_table_shares_it():
    table = Table(plant())
    again = Table(table)
    assert again == table
    assert addresses(again.to_pyarrow().columns) == addresses(table.to_pyarrow().columns)


@given(tables())
def test_a_pickled_table_is_equal(table):
    ours = Table(table)
    assert pickle.loads(pickle.dumps(ours)) == ours


def test_a_table_cannot_be_changed():
    table = Table(plant())
    with pytest.raises(AttributeError):
        table.num_rows = 7  # type: ignore[misc]
    with pytest.raises(AttributeError):
        table.other = 7  # type: ignore[attr-defined]


# What a consumer asks for


def test_a_requested_type_is_delivered():
    table = Table(pa.table({"x": pa.array([1, 2], pa.int32())}))
    wanted = pa.schema([("x", pa.int64())])
    assert pa.table(table, schema=wanted) == pa.table({"x": pa.array([1, 2], pa.int64())})
    assert pa.array(table.column("x"), type=pa.float64()).to_pylist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (pa.schema([("x", pa.int8())]), "Can't cast value 300"),
        (pa.schema([("y", pa.int32())]), r"columns \(y\) were requested, but there are \(x\)"),
        (pa.schema([("x", pa.int32()), ("y", pa.int32())]), "were requested"),
        (pa.schema([("x", pa.struct([("a", pa.int8())]))]), "does not become"),
    ],
    ids=["too small", "other name", "other number", "no conversion"],
)
def test_a_request_that_cannot_be_met_is_an_error(wanted, reason):
    table = Table(pa.table({"x": pa.array([1, 300], pa.int32())}))
    with pytest.raises(PayloadError, match=reason):
        table.__arrow_c_stream__(wanted.__arrow_c_schema__())


@pytest.mark.parametrize("request_of", [7, "schema", pa.array([1]).__arrow_c_array__()[1]])
def test_a_request_that_is_no_schema_is_an_error(request_of):
    with pytest.raises(PayloadError):
        Table(plant()).__arrow_c_stream__(request_of)


# NumPy

NUMERIC = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", NUMERIC)
def test_a_numeric_array_is_shared(dtype):
    array = np.arange(100).astype(dtype)
    table = Table.from_numpy({"x": array})
    column = table.to_pyarrow()["x"]
    assert column.type == pa.from_numpy_dtype(array.dtype)
    assert addresses([column]) == [array.ctypes.data]
    assert table.nbytes == array.nbytes
    np.testing.assert_array_equal(column.to_numpy(), array)


def test_a_part_of_an_array_is_shared_too():
    array = np.arange(100.0)
    column = Table.from_numpy({"x": array[10:20]}).to_pyarrow()["x"]
    assert addresses([column]) == [array.ctypes.data + 80]
    assert column.to_pylist() == list(range(10, 20))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
def test_times_are_shared_and_those_that_are_none_are_null(kind, unit):
    array = np.array([5, "NaT", 7], dtype=f"{kind}[{unit}]")
    column = Table.from_numpy({"t": array}).to_pyarrow()["t"]
    assert addresses([column]) == [array.ctypes.data]
    assert column.is_null().to_pylist() == [False, True, False]
    assert column.equals(pa.chunked_array([pa.array(array)]))


@pytest.mark.parametrize(
    "array",
    [
        np.array([True, False, True] * 11),
        np.arange(20)[::2],
        np.arange(20)[::-1],
        np.arange(12.0).reshape(4, 3)[:, 1],
        np.arange(20, dtype=">i4"),
        np.frombuffer(bytes(range(17)), "u1")[1:].view("f8"),
        np.zeros(5, dtype=[("a", "i1"), ("b", "f8")])["b"],
        np.array([], dtype="f8"),
        np.broadcast_to(np.float64(3), 7),
    ],
    ids=["bool", "step", "reversed", "column", "big endian", "odd address", "record field", "empty", "broadcast"],
)
def test_an_array_that_arrow_cannot_show_is_copied(array):
    column = Table.from_numpy({"x": array}).to_pyarrow()["x"]
    np.testing.assert_array_equal(column.to_numpy(), array)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (7, "map names to arrays"),
        ([("x", np.arange(3))], "map names to arrays"),
        ({"x": [1, 2]}, "not a NumPy array"),
        ({"x": np.float64(1)}, "not a NumPy array"),
        ({"x": np.array(1.0)}, "0 dimensions"),
        ({"x": np.zeros((2, 2))}, "2 dimensions"),
        ({"x": np.array(["a"])}, "dtype <U1"),
        ({"x": np.array([object()])}, "dtype object"),
        ({"x": np.array([1j])}, "dtype complex128"),
        ({"x": np.zeros(3, dtype="M8[D]")}, r"dtype datetime64\[D\]"),
        ({"x": np.ma.masked_array([1, 2], [True, False])}, "mask"),
        ({"x": np.arange(3), "y": np.arange(4)}, '"x" has 3 rows, but "y" has 4'),
        ({7: np.arange(3)}, "no column name"),
    ],
)
def test_what_cannot_be_a_column_is_refused(columns, reason):
    with pytest.raises(ArgumentError, match=reason):
        Table.from_numpy(columns)


def test_an_array_cannot_lie_about_its_address():
    class Liar(np.ndarray):
        @property
        def __array_interface__(self):
            return {"data": (8, False), "shape": (10**9,), "typestr": "<f8", "strides": None, "version": 3}

    array = np.arange(3.0).view(Liar)
    column = Table.from_numpy({"x": array}).to_pyarrow()["x"]
    assert column.to_pylist() == [0.0, 1.0, 2.0]


def test_a_table_without_columns_is_one():
    assert len(Table.from_numpy({})) == 0


def test_a_shared_array_cannot_be_resized():
    array = np.arange(10.0)
    table = Table.from_numpy({"x": array})
    with pytest.raises(ValueError, match="resize"):
        array.resize(10_000_000)
    assert len(table) == 10


# How long buffers live


def test_a_numpy_array_lives_as_long_as_its_table():
    array = np.arange(1000.0)
    alive = weakref.ref(array)
    table = Table.from_numpy({"x": array})
    del array
    gc.collect()
    assert alive() is not None
    del table
    gc.collect()
    assert alive() is None


def test_a_consumer_keeps_the_buffers_after_the_table_is_gone():
    array = np.arange(1000.0)
    alive = weakref.ref(array)
    column = Table.from_numpy({"x": array}).column("x").to_pyarrow()
    del array
    gc.collect()
    assert alive() is not None
    assert column.to_pylist() == list(range(1000))
    del column
    gc.collect()
    assert alive() is None


def test_the_source_of_an_import_is_released_with_the_table():
    array = np.arange(1000.0)
    alive = weakref.ref(array)
    table = Table(pa.array(array))
    del array
    gc.collect()
    assert alive() is not None
    del table
    gc.collect()
    assert alive() is None


def test_a_capsule_that_nobody_reads_releases_the_buffers():
    array = np.arange(1000.0)
    alive = weakref.ref(array)
    capsule = Table.from_numpy({"x": array}).__arrow_c_stream__()
    del array
    gc.collect()
    assert alive() is not None
    del capsule
    gc.collect()
    assert alive() is None


def test_many_threads_read_and_export_one_table_at_once():
    texts = [str(row) for row in range(1000)]
    source = pa.table({"x": pa.chunked_array([range(100), range(100, 1000)]), "text": texts})
    table = Table(source)
    start = threading.Barrier(8)

    def read(_):
        start.wait()
        for _ in range(100):
            assert pa.table(table).equals(source)
            assert pa.array(table.column("x"))[-1].as_py() == 999
            assert Table(table) == table
            assert table.nbytes > 8000
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_the_last_holder_may_be_another_thread():
    array = np.arange(1000.0)
    alive = weakref.ref(array)
    holders = [Table.from_numpy({"x": array})]
    del array
    thread = threading.Thread(target=holders.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert alive() is None


# One-shot streams and bad producers


def reader(*chunks, fail=None):
    schema = pa.schema([("x", pa.int64())])

    def batches():
        for chunk in chunks:
            yield pa.record_batch({"x": chunk}, schema)
        if fail is not None:
            raise fail

    return pa.RecordBatchReader.from_batches(schema, batches())


def test_a_one_shot_stream_is_read_to_its_end():
    table = Table(reader([1, 2], [], [3]))
    assert table.to_pyarrow()["x"].to_pylist() == [1, 2, 3]
    assert pa.table(table) == pa.table(table)


def test_other_threads_run_while_a_stream_is_read():
    started, proceed = threading.Event(), threading.Event()

    def batches():
        started.set()
        assert proceed.wait(60)
        yield pa.record_batch({"x": [1]})

    source = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())
    with ThreadPoolExecutor(1) as pool:
        table = pool.submit(Table, source)
        assert started.wait(60)
        proceed.set()
        assert len(table.result(60)) == 1


def test_a_stream_that_fails_says_why():
    with pytest.raises(PayloadError, match="the sensor fell off") as caught:
        Table(reader([1], fail=ValueError("the sensor fell off")))
    assert caught.value.kind == "pyarrow.lib.RecordBatchReader"


def test_an_interrupt_while_exporting_passes_as_it_is():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Table(Stream(interrupt))


def test_an_error_while_exporting_is_the_cause():
    with pytest.raises(PayloadError, match="ZeroDivisionError: division by zero") as caught:
        Table(Stream(lambda: 1 / 0))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("data", [None, 7, "text", [1, 2], {"x": [1]}, np.arange(3), Table, pa.schema([])])
def test_what_exports_no_arrow_is_refused(data):
    with pytest.raises(PayloadError, match="exports no Arrow"):
        Table(data)


def test_a_capsule_is_read_once():
    capsule = pa.table({"x": [1]}).__arrow_c_stream__()
    assert len(Table(Stream(lambda: capsule))) == 1
    with pytest.raises(PayloadError, match="read already"):
        Table(Stream(lambda: capsule))
    pair = pa.array([1]).__arrow_c_array__()
    assert len(Table(Array(lambda: pair))) == 1
    with pytest.raises(PayloadError, match="read already"):
        Table(Array(lambda: pair))


def schema_capsule():
    return pa.schema([("x", pa.int64())]).__arrow_c_schema__()


def array_capsules():
    return pa.array([1, 2]).__arrow_c_array__()


@pytest.mark.parametrize(
    "source",
    [
        Stream(lambda: None),
        Stream(lambda: 7),
        Stream(schema_capsule),
        Stream(array_capsules),
        Stream(lambda: array_capsules()[1]),
        Array(lambda: None),
        Array(lambda: ()),
        Array(lambda: (1, 2)),
        Array(lambda: (1, 2, 3)),
        Array(lambda: list(array_capsules())),
        Array(lambda: array_capsules()[::-1]),
        Array(lambda: (schema_capsule(), schema_capsule())),
        Array(lambda: pa.table({}).__arrow_c_stream__()),
    ],
)
def test_nonsense_is_refused(source):
    with pytest.raises(PayloadError, match="cannot be used"):
        Table(source)


def test_a_schema_that_does_not_fit_its_array_is_refused():
    # The schema promises a struct of two fields, and the array has none.
    schema = pa.struct([("x", pa.int64()), ("y", pa.string())]).__arrow_c_schema__()
    with pytest.raises(PayloadError, match="cannot be used"):
        Table(Array(lambda: (schema, array_capsules()[1])))


def test_a_struct_with_rows_that_are_null_as_a_whole_is_refused():
    structs = pa.array([{"x": 1}, None, {"x": 3}])
    with pytest.raises(PayloadError, match="1 of its 3 rows are null as a whole"):
        Table(structs)
    assert Table(structs.slice(2)).to_pyarrow()["x"].to_pylist() == [3]
    assert Table(pa.table({"value": structs})).to_pyarrow()["value"].to_pylist() == structs.to_pylist()


def test_types_that_nest_without_end_are_refused():
    nested = pa.int8()
    for _ in range(500):
        nested = pa.list_(nested)
    with pytest.raises(PayloadError, match="nest more than 64 deep"):
        Table(pa.array([], nested))


def test_metadata_that_is_no_text_is_refused():
    table = pa.table({"x": [1]}).replace_schema_metadata({b"key": b"\xff\xfe"})
    with pytest.raises(PayloadError, match="utf-8"):
        Table(table)


def test_columns_are_made_by_tables_only():
    with pytest.raises(TypeError):
        Column()
    with pytest.raises(TypeError):
        Schema()


def test_numpy_and_pyarrow_are_not_imported_before_they_are_needed():
    code = "import sys; from chronofabric._core import columns; print(sorted({'numpy', 'pyarrow'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
