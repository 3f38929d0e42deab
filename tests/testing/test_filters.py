"""Filters on simulated time: what stays quiet long enough comes at that very instant."""

from __future__ import annotations

from chronofabric.testing import Simulation


def test_time_stops_where_a_topic_has_been_quiet_for_long_enough():
    with Simulation() as simulation:
        node = simulation.fabric()
        seen = []

        @node.on("a", debounce="10 ms")
        def handle(event):
            seen.append((event.payload, simulation.elapsed))
            node.publish("settled", event.payload)

        @node.on("a", name="task", debounce="10 ms")
        async def handle_in_a_task(event):
            seen.append((event.payload, simulation.elapsed))

        settled = node.expect("settled")
        node.script("a", [(0, 1), ("5 ms", 2), ("30 ms", 3)])
        simulation.advance("1 s")
        assert sorted(seen) == [(2, 0.015), (2, 0.015), (3, 0.04), (3, 0.04)]
        settled.assert_payloads([2, 3])


def test_a_subscription_that_nobody_receives_from_does_not_hold_time_up():
    with Simulation() as simulation:
        node = simulation.fabric()
        subscription = node.subscribe("a", debounce="10 ms")
        node.publish("a", 1)
        simulation.advance("9 ms")
        assert subscription.poll() is None
        simulation.advance("1 ms")
        assert [event.payload for event in subscription.poll_batch(9)] == [1]
        simulation.advance("1 h")
