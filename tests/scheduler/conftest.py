"""A clock that moves only when told, and a scheduler on it."""

from __future__ import annotations

import pytest

import chronofabric as cf
from chronofabric.scheduler import Scheduler


@pytest.fixture
def clock():
    return cf.SimulatedClock()


@pytest.fixture
def scheduler(clock):
    with Scheduler(clock=clock, tolerance=0) as scheduler:
        yield scheduler
