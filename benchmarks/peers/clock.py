"""Reading the time from Python beside `time.time_ns`; the figures of the Rust side are in its own benchmarks.

`python -m benchmarks.peers.clock [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import chronofabric as cf
from benchmarks.peers._rounds import Case, main
from chronofabric.apps.measuring.costs import call_ns


def cases(quick: bool) -> list[Case]:
    """Make the cases; the loop around the calls is in both figures."""
    count = 100_000 if quick else 1_000_000

    def case(name: str, function: Callable[[], object], bar: float | None = None) -> Case:
        return Case(
            f"{name}, one thread, from Python",
            ours=partial(call_ns, function, count),
            peer=partial(call_ns, time.time_ns, count),
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


if __name__ == "__main__":
    sys.exit(main("clock", cases))
