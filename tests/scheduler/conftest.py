"""A clock that moves only when told."""

from __future__ import annotations

import pytest

import chronofabric as cf


@pytest.fixture
def clock():
    return cf.SimulatedClock()
