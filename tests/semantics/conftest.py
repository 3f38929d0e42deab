"""A fabric whose time moves only when told."""

from __future__ import annotations

import pytest

import chronofabric as cf
from tests.semantics.helpers import START_NS


@pytest.fixture
def clock():
    return cf.SimulatedClock(start=START_NS)


@pytest.fixture
def fabric(clock):
    with cf.Fabric("semantics", clock=clock) as made:
        yield made
