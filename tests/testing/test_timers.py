"""Timers of simulated nodes: they take their turn, whatever else is due, and what they raise fails the test."""

from __future__ import annotations

import asyncio

import chronofabric as cf
from chronofabric.testing import Simulation


def test_timers_take_their_turn_and_what_they_publish_is_handled_before_time_goes_on():
    with Simulation() as simulation:
        node = simulation.fabric()
        seen = []
        node.on("tick")(lambda event: seen.append(("handled", simulation.elapsed)))

        @node.every("10 ms")
        def tick():
            seen.append(("tick", simulation.elapsed))
            node.publish("tick", 1)

        node.script("tick", [("15 ms", 2)])
        simulation.advance("20 ms")
        assert seen == [
            ("tick", 0.01),
            ("handled", 0.01),
            ("handled", 0.015),
            ("tick", 0.02),
            ("handled", 0.02),
        ]


def test_native_actions_and_one_shots_fire_at_their_instants():
    with Simulation() as simulation:
        node = simulation.fabric()
        ticks = node.expect("tick")
        flag = cf.Flag()
        node.timers.every("1 s", node.publisher("tick"))
        watchdog = node.after("2.5 s", flag)
        simulation.advance("2 s")
        watchdog.rearm("1 s")
        simulation.advance("0.9 s")
        assert not flag.is_set()
        simulation.advance("0.1 s")
        assert flag.is_set()
        ticks.assert_count(3)


def test_coroutines_of_timers_run_on_the_loop_of_the_simulation():
    with Simulation() as simulation:
        node = simulation.fabric()
        seen = []

        @node.every("10 ms")
        async def tick():
            await asyncio.sleep(0.003)
            seen.append(round(simulation.elapsed, 6))

        simulation.advance("25 ms")
        assert seen == [0.013, 0.023]


def test_a_timer_that_raises_fails_the_test_unless_it_takes_the_failure():
    with Simulation() as simulation:
        node = simulation.fabric()
        node.every("10 ms", name="broken")(lambda: 1 / 0)
        simulation.advance("10 ms")
        [failure] = simulation.take_failures()
        assert failure.part == "timer broken"
        assert isinstance(failure.error, ZeroDivisionError)
