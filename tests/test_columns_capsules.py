"""The C structures of Arrow tables: handed on as they came, shared, taken apart, released, and refused when damaged."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import subprocess
import sys
import threading
import weakref
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric._core.columns import Table
from chronofabric.errors import PayloadError


class CSchema(ctypes.Structure):
    """``struct ArrowSchema`` of the C data interface."""


class CArray(ctypes.Structure):
    """``struct ArrowArray`` of the C data interface."""


RELEASE_SCHEMA = ctypes.CFUNCTYPE(None, ctypes.POINTER(CSchema))
RELEASE_ARRAY = ctypes.CFUNCTYPE(None, ctypes.POINTER(CArray))
CSchema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(CSchema))),
    ("dictionary", ctypes.POINTER(CSchema)),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]
CArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(CArray))),
    ("dictionary", ctypes.POINTER(CArray)),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]

capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.restype = ctypes.c_void_p
capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def c_array(capsule) -> CArray:
    return CArray.from_address(capsule_pointer(capsule, b"arrow_array"))


def moved(array: CArray) -> CArray:
    """Move a structure, as a consumer may: copy it and mark the original as released."""
    copy = CArray.from_buffer_copy(array)
    array.release = None
    return copy


def taken(table: Table) -> CArray:
    """Export a table and take the structure out of its capsule."""
    pair = table.__arrow_c_array__()
    return moved(c_array(pair[1]))


def released(array: CArray) -> None:
    """Release a structure; ctypes lets go of the interpreter meanwhile."""
    RELEASE_ARRAY(array.release)(ctypes.byref(array))
    assert array.release is None


class Capsules:
    """Exports a pair of capsules, once."""

    def __init__(self, pair):
        self.pair = pair

    def __arrow_c_array__(self, requested_schema=None):
        return self.pair


def buffers(array) -> list[int | None]:
    """Return where all buffers of a pyarrow array are, bitmaps, children and dictionaries included."""
    found = [None if buffer is None else buffer.address for buffer in array.buffers()]
    return found + (buffers(array.dictionary) if isinstance(array, pa.DictionaryArray) else [])


def watched() -> tuple[np.ndarray, weakref.ref]:
    array = np.arange(1000.0)
    return array, weakref.ref(array)


# Nothing is copied

LEAVES = [
    pa.null(),
    pa.bool_(),
    *(pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
    *(pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("ns"), pa.timestamp("us"), pa.timestamp("s", "UTC")),
    *(pa.duration("ns"), pa.month_day_nano_interval()),
    *(pa.decimal32(5, 1), pa.decimal64(12, 2), pa.decimal128(20, 3), pa.decimal256(50, 4)),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()),
    *(pa.binary(3), pa.uuid(), pa.json_(), pa.bool8()),
    *(pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.uint32(), pa.float64(), ordered=True)),
]


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda kind: pa.list_(kind, 2)),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        st.lists(inner, max_size=3).map(lambda kinds: pa.struct([(f"f{i}", kind) for i, kind in enumerate(kinds)])),
    )


TYPES = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=5)
READ_AT_ONCE = st.one_of(
    st.sampled_from(LEAVES[:10]).map(pa.list_view),
    st.sampled_from(LEAVES[:10]).map(pa.large_list_view),
    st.sampled_from([pa.int64(), pa.string()]).map(lambda kind: pa.run_end_encoded(pa.int32(), kind)),
    st.sampled_from(["sparse", "dense"]).map(
        lambda mode: pa.union([pa.field("a", pa.int8()), pa.field("b", pa.string())], mode)
    ),
)


def filled(kind: pa.DataType, rows: int, rng: random.Random) -> pa.Array:
    """Make an array of any type whose values are random, with nulls where they may be."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, filled(kind.storage_type, rows, rng))
    mask = pa.array([rng.random() < 0.3 for _ in range(rows)], pa.bool_())
    for fits, fill in NESTED.items():
        if fits(kind):
            return fill(kind, rows, rng, mask)
    return pa.array([None if null.as_py() else value(kind, rng) for null in mask], kind)


def value(kind: pa.DataType, rng: random.Random) -> object:
    number = rng.randrange(100)
    if pa.types.is_boolean(kind):
        return number < 50
    if pa.types.is_fixed_size_binary(kind):
        return rng.randbytes(kind.byte_width)
    if kind in (pa.string(), pa.large_string(), pa.string_view()):
        return "ä" * (number % 20)
    if kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        return rng.randbytes(number % 20)
    if pa.types.is_interval(kind):
        return (number, 2, 3)
    if pa.types.is_floating(kind):
        return np.float16(number) if kind == pa.float16() else float(number)
    if pa.types.is_decimal(kind):
        return Decimal(number)
    return date(2000, 1, 1) + timedelta(number) if pa.types.is_date(kind) else number


def dictionary(kind, rows, rng, mask):
    keys = pa.array([None if null.as_py() else rng.randrange(4) for null in mask], kind.index_type)
    return pa.DictionaryArray.from_arrays(keys, filled(kind.value_type, 4, rng), ordered=kind.ordered)


def struct(kind, rows, rng, mask):
    if kind.num_fields == 0:
        return pa.array([None if null.as_py() else {} for null in mask], kind)
    fields = [filled(field.type, rows, rng) for field in kind]
    return pa.StructArray.from_arrays(fields, fields=list(kind), mask=mask)


def list_of(kind, rows, rng, mask):
    large = pa.types.is_large_list(kind)
    offsets = pa.array(sorted(rng.randrange(9) for _ in range(rows + 1)), pa.int64() if large else pa.int32())
    make = pa.LargeListArray if large else pa.ListArray
    return make.from_arrays(offsets, filled(kind.value_type, 8, rng), mask=mask)


def fixed_size_list(kind, rows, rng, mask):
    return pa.FixedSizeListArray.from_arrays(filled(kind.value_type, kind.list_size * rows, rng), type=kind, mask=mask)


def list_view(kind, rows, rng, mask):
    lists = [None if null.as_py() else filled(kind.value_type, rng.randrange(3), rng).to_pylist() for null in mask]
    return pa.array(lists, kind)


def map_of(kind, rows, rng, mask):
    offsets = pa.array(sorted(rng.randrange(9) for _ in range(rows + 1)), pa.int32())
    keys = pa.array([str(number) for number in range(8)], kind.key_type)
    return pa.MapArray.from_arrays(offsets, keys, filled(kind.item_type, 8, rng))


def run_end_encoded(kind, rows, rng, mask):
    ends = pa.array(range(1, rows + 1), kind.run_end_type)
    return pa.RunEndEncodedArray.from_arrays(ends, filled(kind.value_type, rows, rng))


def union(kind, rows, rng, mask):
    ids = pa.array([rng.randrange(2) for _ in range(rows)], pa.int8())
    children = [filled(field.type, rows, rng) for field in kind]
    if kind.mode == "sparse":
        return pa.UnionArray.from_sparse(ids, children, field_names=["a", "b"])
    return pa.UnionArray.from_dense(ids, pa.array(range(rows), pa.int32()), children, field_names=["a", "b"])


NESTED = {
    pa.types.is_null: lambda kind, rows, rng, mask: pa.nulls(rows),
    pa.types.is_dictionary: dictionary,
    pa.types.is_struct: struct,
    pa.types.is_fixed_size_list: fixed_size_list,
    pa.types.is_list: list_of,
    pa.types.is_large_list: list_of,
    pa.types.is_list_view: list_view,
    pa.types.is_large_list_view: list_view,
    pa.types.is_map: map_of,
    pa.types.is_run_end_encoded: run_end_encoded,
    pa.types.is_union: union,
}


@st.composite
def tables(draw, types=TYPES) -> pa.Table:
    """Tables of any types, in any chunks, at times without rows, columns or chunks, at times sliced, with metadata."""
    kinds = draw(st.lists(types, max_size=4))
    rng = random.Random(draw(st.integers(0, 2**32)))
    lengths = draw(st.lists(st.integers(0, 20), max_size=3))
    metadata = st.none() | st.dictionaries(st.text("ab", max_size=3), st.text("xy", max_size=3), max_size=2)
    fields = [pa.field(f"column {index}", kind, metadata=draw(metadata)) for index, kind in enumerate(kinds)]
    schema = pa.schema(fields, metadata=draw(metadata))
    columns = [pa.chunked_array([filled(kind, length, rng) for length in lengths], kind) for kind in kinds]
    table = pa.table(columns, schema=schema)
    start = draw(st.integers(0, table.num_rows))
    return table.slice(start, draw(st.integers(0, table.num_rows - start)))


def check(source, back) -> None:
    """Hold what came back against what went in; pyarrow compares and validates."""
    back.validate(full=True)
    assert back.schema.equals(source.schema, check_metadata=True)
    assert back.num_rows == source.num_rows
    # A value that is not a number is equal to nothing.
    assert repr(back.to_pylist()) == repr(source.to_pylist())


@given(tables())
def test_a_table_of_any_type_comes_back_over_the_same_buffers_bitmaps_included(table):
    ours = Table(table)
    back = ours.to_pyarrow()
    check(table, back)
    batches = table.to_batches()
    assert [buffers(column) for batch in back.to_batches() for column in batch.columns] == [
        buffers(column) for batch in batches for column in batch.columns
    ]
    assert Table(back) == ours
    assert ours.nbytes >= 0


@given(tables())
def test_a_batch_of_any_type_comes_back_over_the_same_buffers_bitmaps_included(table):
    for batch in table.to_batches():
        ours = Table(batch)
        back = pa.record_batch(ours)
        check(batch, back)
        assert [buffers(column) for column in back.columns] == [buffers(column) for column in batch.columns]
        assert ours == Table(pa.table([batch[name] for name in batch.schema.names], schema=batch.schema))


@given(tables(READ_AT_ONCE | TYPES))
def test_what_is_read_at_once_comes_back_as_it_was(table):
    check(table, Table(table).to_pyarrow())
    for batch in table.to_batches():
        check(batch, pa.record_batch(Table(batch)))


@given(tables())
def test_a_table_that_was_looked_at_is_handed_on_as_it_came(table):
    ours = Table(table)
    for name in table.column_names:
        assert repr(ours.column(name).to_pyarrow().to_pylist()) == repr(table[name].to_pylist())
    check(table, ours.to_pyarrow())


def test_structs_within_structs_are_cut_once():
    inner = pa.array([{"x": row, "words": [str(row)]} for row in range(100)])
    outer = pa.StructArray.from_arrays([inner.slice(10, 80), inner.slice(5, 80)], ["a", "b"])
    lists = pa.ListArray.from_arrays(pa.array([0, 3, 7], pa.int32()), outer.slice(20, 10))
    pairs = pa.FixedSizeListArray.from_arrays(outer, 2)
    table = pa.table({"outer": outer.slice(30, 2), "lists": lists, "pairs": pairs.slice(7, 2)})
    ours = Table(table)
    for name in table.column_names:
        assert ours.column(name).to_pyarrow().to_pylist() == table[name].to_pylist()
    assert ours.to_pyarrow().equals(table)


def test_the_bitmap_of_a_slice_is_not_copied():
    batch = pa.record_batch({"x": pa.array([1, None, 3] * 100), "flag": pa.array([True, None, False] * 100)})
    part = batch.slice(3, 50)
    back = pa.record_batch(Table(part))
    assert back.equals(part)
    assert [buffers(column) for column in back.columns] == [buffers(column) for column in batch.columns]


def test_others_read_slices_that_are_handed_on():
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    columns = {"x": [1, None, 3] * 100, "flag": [True, None, False] * 100, "text": ["a", None, "a longer text"] * 100}
    columns["words"] = pa.array(columns["text"]).dictionary_encode()
    columns["lists"] = [[1], None, [2, None]] * 100
    part = pa.table(columns).slice(5, 77)
    expected = part.to_pylist()
    assert polars.DataFrame(Table(part)).to_dicts() == expected
    part_table = Table(part)
    with duckdb.connect() as connection:
        connection.register("part_table", part_table)
        rows = connection.sql("SELECT * FROM part_table").fetchall()
    assert rows == [tuple(row.values()) for row in expected]
    assert part_table.to_pyarrow().to_pandas().shape == (77, 5)


# A table as an array


def test_a_table_of_one_batch_is_an_array_and_of_several_is_none():
    batch = pa.record_batch({"x": [1, 2]})
    assert pa.record_batch(Table(batch)).equals(batch)
    assert pa.array(Table(batch)).to_pylist() == [{"x": 1}, {"x": 2}]
    for count in (0, 2):
        table = Table(pa.Table.from_batches([batch] * count, batch.schema))
        assert not hasattr(table, "__arrow_c_array__")
        assert pa.table(table).num_rows == 2 * count


def test_an_array_of_a_requested_type_is_delivered():
    table = Table(pa.record_batch({"x": pa.array([1, 2], pa.int32())}))
    wanted = pa.schema([("x", pa.int64())])
    assert pa.record_batch(table, schema=wanted).schema == wanted
    with pytest.raises(PayloadError, match="were requested"):
        table.__arrow_c_array__(pa.schema([("y", pa.int64())]).__arrow_c_schema__())


def test_several_batches_reach_polars_without_a_copy():
    polars = pytest.importorskip("polars")
    table = pa.table({"x": pa.chunked_array([range(100), range(100)])})
    frame = polars.DataFrame(Table(table))
    assert frame.n_chunks() == 2
    addresses = [chunk.to_numpy(allow_copy=False).ctypes.data for chunk in frame["x"].get_chunks()]
    assert addresses == [chunk.buffers()[1].address for chunk in table["x"].chunks]


# Schemas that are known already


@given(st.lists(tables(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_known_schemas_are_told_from_like_ones(some, rng):
    for _ in range(8):
        table = rng.choice(some)
        assert pa.schema(Table(table)).equals(table.schema, check_metadata=True)


LIKE = [
    pa.field("x", pa.int64()),
    pa.field("x", pa.int64(), nullable=False),
    pa.field("y", pa.int64()),
    pa.field("", pa.int64()),
    pa.field("x", pa.uint64()),
    pa.field("x", pa.int64(), metadata={"a": "b"}),
    pa.field("x", pa.int64(), metadata={"ab": ""}),
    pa.field("x", pa.int64(), metadata={"": "ab"}),
    pa.field("x", pa.timestamp("s")),
    pa.field("x", pa.timestamp("s", "UTC")),
    pa.field("x", pa.dictionary(pa.int8(), pa.string())),
    pa.field("x", pa.dictionary(pa.int8(), pa.string(), ordered=True)),
    pa.field("x", pa.dictionary(pa.int8(), pa.binary())),
    pa.field("x", pa.struct([])),
    pa.field("x", pa.struct([pa.field("x", pa.int64())])),
    pa.field("x", pa.map_(pa.string(), pa.int8())),
    pa.field("x", pa.map_(pa.string(), pa.int8(), keys_sorted=True)),
    pa.field("x", pa.list_(pa.int8(), 2)),
    pa.field("x", pa.list_(pa.int8(), 3)),
]


def test_schemas_that_differ_in_one_thing_are_not_confused():
    for _ in range(3):
        for field in LIKE:
            schema = pa.schema([field])
            assert pa.schema(Table(schema.empty_table())).equals(schema, check_metadata=True)


def test_more_schemas_than_are_remembered_stay_right():
    for _ in range(3):
        for number in range(50):
            batch = pa.record_batch({f"x{number}": [number]})
            assert pa.record_batch(Table(batch)).equals(batch)


def test_a_schema_of_thousands_of_columns_is_imported_each_time():
    wide = pa.record_batch({f"a column with a rather long name {number}": [number] for number in range(3000)})
    for _ in range(3):
        assert pa.record_batch(Table(wide)).equals(wide)


# How long structures live


def test_each_consumer_may_move_children_and_release_in_any_order():
    rng = random.Random(5)
    for _ in range(100):
        array, alive = watched()
        names = [f"c{number}" for number in range(4)]
        table = Table.from_numpy(dict.fromkeys(names, array))
        pairs = [table.__arrow_c_array__() for _ in range(3)]
        del array, table
        held = []
        for pair in pairs:
            root = moved(c_array(pair[1]))
            held += [moved(root.children[number].contents) for number in range(4) if rng.random() < 0.5]
            held.append(root)
        del pairs
        rng.shuffle(held)
        while held:
            gc.collect(0)
            assert alive() is not None
            structure = held.pop()
            if structure.n_children == 0:
                values = ctypes.cast(structure.buffers[1], ctypes.POINTER(ctypes.c_double))
                assert values[999] == 999.0
            released(structure)
        assert alive() is None


def test_structures_are_released_in_threads_that_never_saw_the_interpreter():
    array, alive = watched()
    table = Table.from_numpy({"x": array})
    held = [taken(table) for _ in range(8)]
    del array, table
    libc = ctypes.CDLL(None)
    create = libc.pthread_create
    create.argtypes = [ctypes.POINTER(ctypes.c_ulong), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
    threads = []
    for structure in held:
        # The thread's function is the callback itself.
        thread = ctypes.c_ulong()
        assert create(ctypes.byref(thread), None, structure.release, ctypes.addressof(structure)) == 0
        threads.append(thread)
    for thread in threads:
        assert libc.pthread_join(thread, None) == 0
    assert all(structure.release is None for structure in held)
    assert alive() is None


def test_the_source_is_released_once_when_the_last_share_is():
    counts: list[int] = []
    pair, _, keep = counted_export({"x": range(10)}, counts)
    table = Table(Capsules(pair))
    exports = [table.__arrow_c_array__() for _ in range(3)]
    streams = [table.__arrow_c_stream__() for _ in range(3)]
    assert table.column("x").to_pyarrow().to_pylist() == list(range(10))
    del table, exports
    assert counts == []
    batches = [pa.RecordBatchReader.from_stream(Once(stream)) for stream in streams]
    del streams
    read = [batch.read_all() for batch in batches]
    del batches
    assert counts == []
    assert [table.num_rows for table in read] == [10] * 3
    del read
    gc.collect()
    assert counts == [1]
    assert keep


class Once:
    def __init__(self, capsule):
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema=None):
        return self.capsule


def counted_export(columns, counts: list[int]) -> tuple[tuple[object, object], CArray, list[object]]:
    """Export a batch by structures made here; count their releases. What is returned last must be kept meanwhile."""
    schema, capsule = pa.record_batch(columns).__arrow_c_array__()

    @RELEASE_ARRAY
    def release(pointer):
        counts.append(1)
        pointer.contents.release = None

    keep: list[object] = [capsule, release]
    root = copied(c_array(capsule), keep)
    root.release = ctypes.cast(release, ctypes.c_void_p).value
    return (schema, new_capsule(ctypes.addressof(root), b"arrow_array", None)), root, keep


def copied(array: CArray, keep: list[object]) -> CArray:
    copy = CArray.from_buffer_copy(array)
    copy.buffers = (ctypes.c_void_p * array.n_buffers)(*array.buffers[: array.n_buffers])
    below = [copied(array.children[index].contents, keep) for index in range(array.n_children)]
    copy.children = (ctypes.POINTER(CArray) * len(below))(*map(ctypes.pointer, below))
    if array.dictionary:
        copy.dictionary = ctypes.pointer(copied(array.dictionary.contents, keep))
    keep.append(copy)
    return copy


def test_a_stream_is_released_with_what_it_has_not_given_out():
    array, alive = watched()
    batch = pa.record_batch({"x": array})
    reader = pa.RecordBatchReader.from_stream(Table(pa.Table.from_batches([batch] * 3)))
    first = reader.read_next_batch()
    del array, batch
    reader.close()
    del reader
    gc.collect()
    assert alive() is not None
    assert first["x"][999].as_py() == 999.0
    del first
    gc.collect()
    assert alive() is None


def test_a_table_that_was_read_is_freed():
    array, alive = watched()
    table = Table(pa.record_batch({"x": array}))
    assert table.nbytes == 8000
    assert table == Table(table)
    del array
    gc.collect()
    assert alive() is not None
    del table
    gc.collect()
    assert alive() is None


def test_a_hundred_thousand_tables_leave_no_memory_behind():
    batch = pa.record_batch({f"column {number}": np.arange(100.0) for number in range(8)})
    table = pa.Table.from_batches([batch, batch])

    def carry(count: int) -> None:
        for _ in range(count):
            pa.record_batch(Table(batch))
            Table(table).__arrow_c_stream__()
            ours = Table(batch)
            ours.__arrow_c_array__()
            ours.column("column 3")

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("the resident memory is read from /proc")
    carry(5_000)
    before = resident()
    carry(100_000 // 3)
    # One byte lost a table would not be seen, one structure of eighty would be.
    assert resident() - before < 2_000_000


def test_an_interpreter_ends_while_others_hold_structures():
    code = """
import ctypes
import numpy as np, pyarrow as pa
import chronofabric as cf
from chronofabric._core.columns import Table

own = Table.from_numpy({"x": np.arange(1000.0)})
theirs = Table(pa.record_batch({"x": np.arange(1000.0)}))
theirs.column("x")
held = [own.__arrow_c_array__(), own.__arrow_c_stream__(), theirs.__arrow_c_array__(), theirs.__arrow_c_stream__()]
imported = [pa.table(own), pa.record_batch(theirs)]
reader = pa.RecordBatchReader.from_stream(own)

# What C++ holds beyond the end of the interpreter: a pair of structures that nobody releases in Python.
get = ctypes.pythonapi.PyCapsule_GetPointer
get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
capsule = own.__arrow_c_array__()[1]
pointer = get(capsule, b"arrow_array")
ctypes.pythonapi.Py_IncRef(ctypes.py_object(capsule))
release = ctypes.c_void_p.from_address(pointer + 64).value
libc = ctypes.CDLL(None)
# Runs when the process ends, after the interpreter.
libc.__cxa_atexit(ctypes.c_void_p(release), ctypes.c_void_p(pointer), None)

fabric = cf.Fabric("node")
fabric.subscribe("t", overflow="drop-newest")
fabric.publisher("t").publish(imported[0])
print("ends")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "ends\n"), ended.stderr


# Damaged structures

COLUMNS = {
    "number": pa.array([1, None, 3, 4]),
    "text": pa.array(["a", "bb", None, "dddd"]),
    "view": pa.array(["a", "b", None, "a text of more than twelve bytes"], pa.string_view()),
    "list": pa.array([[1], None, [2, 3], []]),
    "pair": pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int8(), 2)),
    "map": pa.array([[("a", 1)], [], None, [("b", 2)]], pa.map_(pa.string(), pa.int8())),
    "struct": pa.array([{"x": 1}, {"x": None}, None, {"x": 4}]),
    "word": pa.array(["red", "green", None, "red"]).dictionary_encode(),
    "flag": pa.array([True, False, None, True]),
}


def set_field(field: str, value):
    return lambda array: setattr(array, field, value)


def null_buffer(index: int):
    def damage(array):
        array.buffers[index] = None

    return damage


def null_child(array):
    array.children[0] = ctypes.POINTER(CArray)()


def short_child(array):
    array.children[0].contents.length = 1


def offset_at(index: int, value: int):
    def damage(array):
        offsets = (ctypes.c_int32 * 5)(*ctypes.cast(array.buffers[1], ctypes.POINTER(ctypes.c_int32))[:5])
        offsets[index] = value
        KEPT.append(offsets)
        array.buffers[1] = ctypes.addressof(offsets)

    return damage


KEPT: list[object] = []
NO_ARRAYS = ctypes.POINTER(ctypes.POINTER(CArray))()
DAMAGES = {
    "negative length": (None, set_field("length", -1)),
    "negative offset": (None, set_field("offset", -1)),
    "fewer rows in a column": ("number", set_field("length", 3)),
    "negative length of a column": ("number", set_field("length", -(2**63))),
    "negative offset of a column": ("number", set_field("offset", -4)),
    "length and offset beyond all": ("number", set_field("offset", 2**63 - 1)),
    "more nulls than rows": ("number", set_field("null_count", 5)),
    "no children": (None, set_field("n_children", 0)),
    "fewer children": (None, set_field("n_children", len(COLUMNS) - 1)),
    "more children": (None, set_field("n_children", len(COLUMNS) + 1)),
    "negative children": (None, set_field("n_children", -1)),
    "no list of children": (None, set_field("children", NO_ARRAYS)),
    "a child that is null": (None, null_child),
    "no buffers of a column": ("number", set_field("n_buffers", 0)),
    "one buffer of a column": ("number", set_field("n_buffers", 1)),
    "three buffers of a column": ("number", set_field("n_buffers", 3)),
    "negative buffers": ("number", set_field("n_buffers", -1)),
    "no list of buffers": ("number", set_field("buffers", ctypes.POINTER(ctypes.c_void_p)())),
    "no values": ("number", null_buffer(1)),
    "no bits": ("flag", null_buffer(1)),
    "no offsets": ("text", null_buffer(1)),
    "no bytes": ("text", null_buffer(2)),
    "two buffers of texts": ("text", set_field("n_buffers", 2)),
    "no views": ("view", null_buffer(1)),
    "no bytes behind views": ("view", null_buffer(2)),
    "no lengths of them": ("view", null_buffer(3)),
    "two buffers of views": ("view", set_field("n_buffers", 2)),
    "a text that ends before it begins": ("text", offset_at(0, 100)),
    "a text that ends before all": ("text", offset_at(4, -1)),
    "a text that begins before all": ("text", offset_at(0, -1)),
    "a list behind the end of its values": ("list", offset_at(4, 100)),
    "a map behind the end of its entries": ("map", offset_at(4, 100)),
    "no offsets of lists": ("list", null_buffer(1)),
    "fewer values of lists": ("list", short_child),
    "fewer values of pairs": ("pair", short_child),
    "fewer rows of a struct's field": ("struct", short_child),
    "a list without its child": ("list", set_field("n_children", 0)),
    "a list whose child is null": ("list", null_child),
    "a word without its dictionary": ("word", set_field("dictionary", ctypes.POINTER(CArray)())),
    "no keys": ("word", null_buffer(1)),
}


def test_what_is_not_damaged_is_taken():
    counts: list[int] = []
    pair, _, keep = counted_export(COLUMNS, counts)
    assert pa.record_batch(Table(Capsules(pair))).equals(pa.record_batch(COLUMNS))
    assert counts == [1]
    assert keep


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_structures_are_refused_and_released(damage):
    name, break_it = damage
    counts: list[int] = []
    pair, root, keep = counted_export(COLUMNS, counts)
    broken = root if name is None else root.children[list(COLUMNS).index(name)].contents
    break_it(broken)
    with pytest.raises(PayloadError, match="cannot be used: "):
        Table(Capsules(pair))
    assert counts == [1]
    assert keep


def test_a_column_that_promises_no_nulls_and_has_some_is_refused():
    schema = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    for nulls in ([1, None], [None, None]):
        batch = pa.RecordBatch.from_arrays([pa.array(nulls, pa.int64())], schema=schema)
        with pytest.raises(PayloadError, match="non-nullable"):
            Table(batch)
    batch = pa.RecordBatch.from_arrays([pa.array([1, 2])], schema=schema)
    assert pa.record_batch(Table(batch)).equals(batch)


def test_nulls_that_were_not_counted_are_carried_uncounted():
    pair = pa.record_batch({"x": [1, None, 3]}).__arrow_c_array__()
    c_array(pair[1]).children[0].contents.null_count = -1
    table = Table(Capsules(pair))
    assert pa.record_batch(table)["x"].null_count == 1
    assert table.column("x").to_pyarrow().null_count == 1


def test_a_struct_that_starts_in_its_middle_becomes_a_table_that_all_can_read():
    structs = pa.array([{"x": row, "y": str(row)} for row in range(10)])
    table = Table(structs.slice(3, 4))
    assert pa.record_batch(table).to_pylist() == [{"x": row, "y": str(row)} for row in range(3, 7)]
    assert c_array(table.__arrow_c_array__()[1]).offset == 0


# Who exports


def test_a_class_that_only_looks_like_one_of_pyarrow_is_read_like_any_other():
    batch = pa.record_batch({"x": [1, 2]})

    class RecordBatch:
        def __arrow_c_array__(self, requested_schema=None):
            raise ZeroDivisionError

        def __arrow_c_stream__(self, requested_schema=None):
            return batch.__arrow_c_stream__()

    assert len(Table(RecordBatch())) == 2
    RecordBatch.__module__, RecordBatch.__qualname__ = "pyarrow.lib", "RecordBatch"
    renamed = type("RecordBatch", (RecordBatch,), {"__module__": "pyarrow.lib", "__qualname__": "RecordBatch"})
    with pytest.raises(PayloadError, match="ZeroDivisionError"):
        Table(renamed())


def test_many_threads_share_and_release_one_table_at_once():
    array, alive = watched()
    table = Table(pa.record_batch({"x": array, "y": array}))
    start = threading.Barrier(4)

    def use(shared: Table) -> None:
        start.wait()
        for _ in range(2000):
            held = [taken(shared) for _ in range(2)]
            child = moved(held[0].children[1].contents)
            for structure in (*held, child):
                released(structure)

    threads = [threading.Thread(target=use, args=(table,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threads.clear()
    assert table.column("y").to_pyarrow()[999].as_py() == 999.0
    del array, table
    gc.collect()
    assert alive() is None
