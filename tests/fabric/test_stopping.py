"""How a source is told to stop, and how it waits."""

from __future__ import annotations

import threading

from chronofabric.fabric.stopping import StopToken
from tests.fabric.recording import SimulatedTime, SteppingTime

HOUR_NS = 3_600_000_000_000


def test_a_wait_ends_with_false_once_the_time_source_has_reached_the_instant():
    clock = SteppingTime(step=1_000_000)
    assert StopToken(clock).wait_until(50_000_000) is False
    assert clock.now() >= 50_000_000


def test_under_simulated_time_a_wait_ends_when_somebody_advances_it():
    clock = SimulatedTime(0)
    token = StopToken(clock)
    ended = threading.Event()

    def wait():
        assert token.wait_until(HOUR_NS) is False
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    clock.set(HOUR_NS - 1)
    assert not ended.is_set()
    clock.set(HOUR_NS)
    waiting.join(30)
    assert ended.is_set()


def test_a_wait_ends_with_true_when_told_to_stop():
    token = StopToken(SimulatedTime(0))
    results = []
    waiting = threading.Thread(target=lambda: results.append(token.wait_until(HOUR_NS)))
    waiting.start()
    token.set()
    waiting.join(30)
    assert results == [True]
    assert token.is_set()
    assert token.wait_until(0) is True


def test_callbacks_are_called_once_each_whenever_they_are_added():
    token = StopToken(SimulatedTime(0))
    called = []
    token.call_on_set(lambda: called.append("before"))
    assert called == []
    token.set()
    token.set()
    token.call_on_set(lambda: called.append("after"))
    assert called == ["before", "after"]
