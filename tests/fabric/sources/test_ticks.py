"""Instants at a fixed rate, without drift."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from chronofabric.fabric.sources.ticks import Ticks
from chronofabric.fabric.stopping import StopToken
from tests.fabric.recording import SimulatedTime, SteppingTime


@given(st.integers(1, 10**9), st.lists(st.integers(0, 5 * 10**9), min_size=1, max_size=30))
def test_every_instant_lies_on_the_grid_and_is_given_out_or_counted_as_missed(period, busy):
    clock = SimulatedTime(17)
    token = StopToken(clock)
    ticks = Ticks(clock, token, period)
    instants = iter(ticks)
    seen = [next(instants)]
    for work in busy:
        clock.set(max(clock.now() + work, seen[-1] + period))
        seen.append(next(instants))
        assert seen[-1] <= clock.now()
    numbers = [(instant - 17) / period for instant in seen]
    assert numbers == [int(number) for number in numbers]
    assert numbers == sorted(set(numbers))
    assert ticks.missed == numbers[-1] + 1 - len(numbers)


def test_instants_do_not_drift_though_each_wait_ends_late():
    clock = SteppingTime(step=7)
    assert list(islice(Ticks(clock, StopToken(clock), 100), 50)) == [7 + 100 * place for place in range(50)]


def test_stop_ends_the_instants():
    clock = SimulatedTime(0)
    token = StopToken(clock)
    instants = iter(Ticks(clock, token, 100))
    assert next(instants) == 0
    token.set()
    assert list(instants) == []
