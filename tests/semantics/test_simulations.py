"""Statements on simulations, by their numbers."""

from __future__ import annotations

import asyncio

import pytest

import chronofabric as cf
from chronofabric.fabric.sources import PythonSource
from chronofabric.testing import Simulation


def test_s86_time_moves_only_when_told(simulation):
    node = simulation.fabric()
    log = []
    node.on("a")(lambda event: log.append((event.payload, simulation.elapsed)))
    node.script("a", [(0, "now"), (1, "later"), (2, "last")])
    node.publish("a", "published")
    assert (log, simulation.elapsed) == ([], 0.0)
    simulation.advance(0)
    assert log == [("published", 0.0), ("now", 0.0)]
    simulation.run_until(lambda: len(log) == 3, within="1 h")
    assert (log[-1], simulation.elapsed) == (("later", 1.0), 1.0)
    node.run("1 min")
    assert (log[-1], simulation.elapsed) == (("last", 2.0), 61.0)


def scenario():
    log: list[tuple] = []
    with Simulation(seed=5) as simulation:
        node, other = simulation.fabric(), simulation.fabric()
        node.on("a")(lambda event: log.append(("first", event.payload, simulation.elapsed)))
        node.on("a")(lambda event: other.publish("b", event.payload))

        @other.on("b")
        async def slow(event):
            await asyncio.sleep(simulation.random.random())
            log.append(("slow", event.payload, simulation.elapsed))

        for name in ("x", "y"):
            node.script("a", [(second, name) for second in range(5)])
        node.add_source(PythonSource(lambda: "source", topic="a", rate="1 Hz"))
        simulation.advance("10 s")
    return log


def test_s87_the_same_in_every_run_in_the_order_of_adding():
    once = scenario()
    assert scenario() == once
    assert [payload for part, payload, at in once if part == "first" and at == 3.0] == ["x", "y", "source"]


def test_s88_what_a_step_publishes_is_handled_before_the_next(simulation):
    node = simulation.fabric()
    log = []
    node.on("a")(lambda event: (log.append((event.payload, simulation.clock.now())), node.publish("b", event.payload)))
    node.on("b")(lambda event: log.append((-event.payload, simulation.clock.now())))
    node.script("a", [("1 ms", 1), ("1 ms", 2), ("2 ms", 3)])
    simulation.advance(1)
    ms = 1_000_000
    assert log == [(1, ms), (-1, ms), (2, ms), (-2, ms), (3, 2 * ms), (-3, 2 * ms)]


def test_s89_no_wait_in_the_thread_that_moves_the_time(simulation):
    node = simulation.fabric()
    subscription = node.subscribe("a", capacity=1, overflow="block")
    with pytest.raises(cf.WouldDeadlock):
        subscription.receive(timeout="1 s")
    node.on("b")(lambda event: subscription.receive())
    node.publish("b", 1)
    simulation.advance(0)
    assert [type(failure.error) for failure in simulation.take_failures()] == [cf.WouldDeadlock]
    node.publish("a", 1)
    with pytest.raises(cf.WouldDeadlock):
        node.publish("a", 2)


def test_s90_what_raised_fails_the_test_unless_it_was_taken():
    def run(take):
        with Simulation() as simulation:
            node = simulation.fabric()
            node.on("a")(lambda event: 1 / event.payload)
            node.script("a", [(1, 0)])
            node.add_source(PythonSource([None, 5], name="pairs"))
            simulation.advance(2)
            if take:
                assert [failure.part[:6] for failure in simulation.take_failures()] == ["source", "handle"]

    run(take=True)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(take=False)
