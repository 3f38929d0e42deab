"""The Rust side of chronofabric: one module for each concern.

Users meet its classes in `chronofabric` and in its modules `bus`, `clock`, `logic`, `optimize` and `scheduler`.
"""

from collections.abc import Sequence
from typing import Literal

from . import bus, clock, columns, logic, optimize, scheduler, settings

__all__ = [
    "__version__",
    "build_profile",
    "bus",
    "clock",
    "columns",
    "html_table",
    "logic",
    "optimize",
    "scheduler",
    "settings",
]

__version__: str
"""The version of chronofabric."""

def build_profile() -> Literal["debug", "release"]:
    """Say how this module was compiled: figures measured on a debug build would be false.

    Returns
    -------
    str
        ``"release"`` or ``"debug"``.

    Examples
    --------
    >>> from chronofabric._core import build_profile
    >>> build_profile() in ("debug", "release")
    True
    """

def html_table(caption: str, rows: Sequence[Sequence[str]], columns: Sequence[str] = ()) -> str:
    """Make what a notebook shows: a table in HTML, escaped and of bounded size.

    Parameters
    ----------
    caption
        What stands above it.
    rows
        The texts of its cells, of which the first 400 characters are shown; after 20 rows it is said how many more
        there are.
    columns
        The names of the columns; without them each row begins with its name.

    Examples
    --------
    >>> from chronofabric._core import html_table
    >>> html_table("<plant>", [["pending", "3"]])
    '<table><caption>&lt;plant&gt;</caption><tr><th>pending</th><td>3</td></tr></table>'
    """
