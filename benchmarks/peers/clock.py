"""Reading the time from Python beside `time.time_ns`; the figures of the Rust side are in its own benchmarks.

`python -m benchmarks.peers.clock [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import repeat

import chronofabric as cf
from benchmarks.peers._rounds import Case, main


def cases(quick: bool) -> list[Case]:
    """Make the cases; the loop around the calls is in both figures."""
    count = 100_000 if quick else 1_000_000

    def case(name: str, function: Callable[[], object], bar: float | None = None) -> Case:
        return Case(
            f"{name}, one thread, from Python",
            ours=partial(nanoseconds, function, count),
            peer=partial(nanoseconds, time.time_ns, count),
            peer_name="time.time_ns",
            unit="ns",
            bar=bar,
        )

    counter = cf.CounterClock()
    kind = "the processor's counter" if counter.hardware else "the monotonic clock, no invariant counter here"
    return [
        case("HybridLogicalClock.now on the counter source", cf.HybridLogicalClock(counter).now, bar=1 / 1.5),
        case(f"CounterClock.now ({kind})", counter.now),
        case("SystemClock.now", cf.SystemClock().now),
    ]


def nanoseconds(function: Callable[[], object], count: int) -> float:
    """Return how long a call takes, the loop included."""
    calls = repeat(None, count)
    started_ns = time.perf_counter_ns()
    for _ in calls:
        function()
    return (time.perf_counter_ns() - started_ns) / count


if __name__ == "__main__":
    sys.exit(main("clock", cases))
