"""How long the test of an hour takes: a node on simulated time, with a handler, a guard and an expectation.

`python -m benchmarks.peers.testing [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import sys
import time
from functools import partial

from benchmarks.peers._rounds import Case, main
from chronofabric.testing import Simulation

RATE_HZ = 100
HOUR_S = 3_600
SECONDS_MAX = 2.0
HOT_EVERY = 1_000


def cases(quick: bool) -> list[Case]:
    """Make the cases."""
    simulated_s = 60 if quick else HOUR_S
    return [
        Case(
            f"wall time of a test of {simulated_s} simulated seconds at {RATE_HZ} events/s, each to a handler, a guard "
            "and an expectation",
            ours=partial(seconds_of_a_test, simulated_s),
            limit=SECONDS_MAX,
            unit="s",
        )
    ]


def seconds_of_a_test(simulated_s: int) -> float:
    """Return the wall time of one test, which fails where an event is missing."""
    events, handled = simulated_s * RATE_HZ, 0
    started = time.perf_counter()
    with Simulation() as simulation:
        node = simulation.fabric()
        readings, alarms = node.expect("plant/7/temperature"), node.expect("plant/alarm")
        node.guard("hot", on="plant/7/temperature", when="value > 80", publish="plant/alarm")

        @node.on("plant/*/temperature")
        def count(event: object) -> None:  # noqa: ARG001 - it is counted, not looked at
            nonlocal handled
            handled += 1

        node.script("plant/7/temperature", ((n / RATE_HZ, 20 if n % HOT_EVERY else 90) for n in range(events)))
        simulation.advance(simulated_s)
        readings.assert_count(events)
        alarms.assert_count(-(-events // HOT_EVERY))
        if handled != events:
            raise AssertionError(f"the handler was called {handled} times, not {events}")
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main("testing", cases))
