"""The Rust side of chronofabric: one module for each concern.

Users meet its classes in `chronofabric` and in its modules `bus`, `clock`, `logic` and `scheduler`.
"""

from typing import Literal

from . import bus, clock, columns, logic, scheduler, settings

__all__ = ["__version__", "build_profile", "bus", "clock", "columns", "logic", "scheduler", "settings"]

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
