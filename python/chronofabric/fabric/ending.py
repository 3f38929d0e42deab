"""The ends that no fabric chooses: the interpreter's, and a fork. Imported with the node, for its effect."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from chronofabric._core import bus as _bus

if TYPE_CHECKING:
    from chronofabric.fabric.node import Fabric

__all__ = ["OPEN_BUSES", "OPEN_FABRICS"]

_Open = TypeVar("_Open")

OPEN_FABRICS: WeakSet[Fabric] = WeakSet()
"""The fabrics that were not closed."""

OPEN_BUSES: WeakSet[_bus.Bus] = WeakSet()
"""All buses; a subscription or a publisher may keep one alive although its fabric is gone."""


def _listed(those: WeakSet[_Open]) -> list[_Open]:
    """List a set that other threads may add to meanwhile."""
    while True:
        with contextlib.suppress(RuntimeError):
            return list(those)


@atexit.register
def _close_all() -> None:
    """Close what is open before the interpreter ends, so that no thread of a node meets its ruins."""
    for fabric in _listed(OPEN_FABRICS):
        fabric.close(drain=0.2)
    for bus in _listed(OPEN_BUSES):
        bus.close()
    # Whoever waited was woken, and gets the time to leave.
    until_s = time.monotonic() + 1.0
    while (_bus.waiting() or _bus.calling()) and time.monotonic() < until_s:
        time.sleep(0.001)  # noqa: TID251 - those who were woken need real time to leave


def _forked() -> None:
    """In a forked child: its objects belong to the parent."""
    _bus.forked()
    OPEN_FABRICS.clear()
    OPEN_BUSES.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_bus.forking, after_in_parent=_bus.fork_over, after_in_child=_forked)
