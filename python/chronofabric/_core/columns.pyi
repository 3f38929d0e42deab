"""Arrow tables as payloads: immutable, and over the buffers of whoever made them."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias, final

import numpy as np  # noqa: TID253 - a stub is read, not imported
import pyarrow as pa  # noqa: TID253

__all__ = ["Column", "Schema", "Table"]

_Capsule: TypeAlias = object

class _ExportsStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> _Capsule: ...

class _ExportsArray(Protocol):
    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[_Capsule, _Capsule]: ...

@final
class Table:
    """Columns of equal length with names and types, over Arrow buffers that nobody copies.

    Whatever exports Arrow and is published arrives as a table, whoever published it. A table is immutable and may be
    used from several threads. It exports Arrow itself, so ``pyarrow.table(table)``, ``polars.DataFrame(table)``,
    ``duckdb.sql("SELECT * FROM table")`` and others read it in place. The buffers live as long as anybody uses them.

    Parameters
    ----------
    data
        What exports Arrow through the PyCapsule interface: a table or data frame, a record batch, an array (it becomes
        the one column ``value``; a struct array becomes a table of its fields), or a stream, which is read to its end
        while other threads run.

    Raises
    ------
    chronofabric.PayloadError
        It exports no Arrow, was read already, or failed while it was read; the original error is the cause. Types that
        nest more than 64 deep, metadata that is no text, and structs of which whole rows are null are refused too.

    Notes
    -----
    Nothing is copied on the way in or out, and nothing but the description of a table is looked at before somebody asks
    for its columns or values: a receiver gets what the producer exported. Bare arrays, and tables with a column that is
    a union, run-end encoded or a list view, are read when they come in; of a slice of these the validity bitmap is
    copied if it starts in the middle of a byte.

    A table of one batch exports an array as well as a stream, which costs less (``pyarrow.record_batch(table)``). A
    table of several has no ``__arrow_c_array__``, because they would have to be copied into one.

    Two tables are equal if their schemas and all their values are, however they are cut into batches; numbers are
    compared bit for bit, so NaN equals itself. Therefore a table has no hash. Pickling goes through pyarrow and copies.

    References
    ----------
    The Arrow PyCapsule interface: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html

    Examples
    --------
    >>> import pyarrow
    >>> from chronofabric._core.columns import Table
    >>> table = Table(pyarrow.table({"time": [1, 2], "pressure": [8.25, 8.5]}))
    >>> table
    <Table 2 rows x 2 columns: time Int64, pressure Float64>
    >>> table.to_pyarrow()["pressure"].to_pylist()
    [8.25, 8.5]
    """

    def __new__(cls, data: _ExportsStream | _ExportsArray, /) -> Table: ...
    @staticmethod
    def from_numpy(columns: Mapping[str, np.ndarray[Any, Any]], /) -> Table:
        """Make a table over the memory of one-dimensional NumPy arrays.

        Parameters
        ----------
        columns
            Names and arrays of one dimension and equal length: integers, float16 to float64, bool, and datetime64 or
            timedelta64 of s, ms, us or ns (NaT becomes null).

        Returns
        -------
        Table
            A table that keeps the arrays alive and shares their memory: do not change them afterwards, for every
            receiver would see it. What Arrow has no layout for is copied: bool, arrays with gaps (``array[::2]``), of
            the other byte order, or at an unaligned address.

        Raises
        ------
        chronofabric.ArgumentError
            A value is no NumPy array, has another type or number of dimensions, is masked, or is not as long as the
            others; or a name is no text.

        Examples
        --------
        >>> import numpy
        >>> from chronofabric._core.columns import Table
        >>> Table.from_numpy({"x": numpy.arange(3.0)}).nbytes
        24
        """

    @property
    def num_rows(self) -> int:
        """The number of rows."""

    @property
    def num_columns(self) -> int:
        """The number of columns."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in their order."""

    @property
    def nbytes(self) -> int:
        """The bytes that the rows take in their buffers; of a slice, those of the slice where that can be told."""

    @property
    def schema(self) -> Schema:
        """The names and types of the columns."""

    def column(self, name: str, /) -> Column:
        """Return one column.

        Parameters
        ----------
        name
            Its name.

        Returns
        -------
        Column
            The column, over the same buffers.

        Raises
        ------
        chronofabric.ArgumentError
            There is no column of this name, or there are several.

        Examples
        --------
        >>> import pyarrow
        >>> from chronofabric._core.columns import Table
        >>> Table(pyarrow.table({"x": [1, 2]})).column("x")
        <Column x Int64: 2 rows>
        """

    def to_pyarrow(self) -> pa.Table:
        """Return the same buffers as a ``pyarrow.Table``."""

    @property
    def __arrow_c_array__(self) -> Callable[..., tuple[_Capsule, _Capsule]]: ...
    def __arrow_c_schema__(self) -> _Capsule: ...
    def __arrow_c_stream__(self, requested_schema: _Capsule | None = None) -> _Capsule: ...
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[type[Table], tuple[pa.Table]]: ...
    def _repr_html_(self) -> str: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class Column:
    """One column of a table, over the same buffers.

    It exports Arrow, so ``pyarrow.chunked_array(column)`` and ``polars.Series(column)`` read it in place; as one array
    (``pyarrow.array(column)``) it is copied if the table has several batches.
    """

    @property
    def name(self) -> str:
        """The name of the column."""

    @property
    def nbytes(self) -> int:
        """The bytes that its values take in their buffers."""

    def to_pyarrow(self) -> pa.ChunkedArray:
        """Return the same buffers as a ``pyarrow.ChunkedArray``."""

    def __arrow_c_schema__(self) -> _Capsule: ...
    def __arrow_c_stream__(self, requested_schema: _Capsule | None = None) -> _Capsule: ...
    def __arrow_c_array__(self, requested_schema: _Capsule | None = None) -> tuple[_Capsule, _Capsule]: ...
    def __len__(self) -> int: ...

@final
class Schema:
    """The names and types of the columns of a table; ``pyarrow.schema(schema)`` has them in full."""

    @property
    def names(self) -> list[str]:
        """The names of the columns, in their order."""

    def __arrow_c_schema__(self) -> _Capsule: ...
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
