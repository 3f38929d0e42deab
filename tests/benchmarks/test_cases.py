"""The comparisons: each concern makes its cases, names them apart, and claims no more than is stated."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.peers.__main__ import concerns

CLAIMED = {
    "bus": {"two threads, single events, capacity 4096, block": 0.4},
    "clock": {},
    "guards": {},
    "logic": {},
    "startup": {},
}
LIMITS = {"bus": [1e9, 1e9, 1e9], "guards": [2.0], "startup": [60.0, 250.0]}


def test_every_comparison_is_known_here():
    assert concerns() == sorted(CLAIMED)


@pytest.mark.parametrize("concern", sorted(CLAIMED))
@pytest.mark.parametrize("quick", [True, False])
def test_cases_have_names_of_their_own_and_the_stated_bars(concern, quick):
    cases = importlib.import_module(f"benchmarks.peers.{concern}").cases(quick)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names) > 0
    assert {case.name: case.bar for case in cases if case.bar is not None} == CLAIMED[concern]
    assert [case.limit for case in cases if case.limit is not None] == LIMITS.get(concern, [])
