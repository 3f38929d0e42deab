"""The comparisons: each concern makes its cases, names them apart, and claims no more than is stated."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.peers.__main__ import concerns

SINGLE = "two threads, single events, capacity 65536, block"
IN_THREAD = "a call in the sending thread"
REQUEST = "request and reply, Python to Python, two threads, p50"
EVENT_LOOP = "single events, capacity 4096, block, against"
CLAIMED = {
    "bus": {
        SINGLE: 1.0,
        "two threads, payloads only, capacity 65536, block": 1.2,
        "two threads, batches of 256, capacity 65536, block": 5.0,
        **{
            f"{SINGLE}, against {name}, {IN_THREAD}": 5.0
            for name in ("pyee", "psygnal", "blinker", "reactivex", "aiopubsub")
        },
        **{f"{SINGLE}, against {name}": 5.0 for name in ("pyzmq inproc PUSH/PULL", "culsans", "janus")},
        **{f"task to task of one loop, {EVENT_LOOP} {name}": 2.0 for name in ("asyncio.Queue", "janus")},
        **{f"thread to task, {EVENT_LOOP} {name}": 5.0 for name in ("asyncio.Queue", "janus")},
        "one thread, publish to one subscription beside 10 000 that do not match, drop-newest": 1 / 1.1,
        "two threads, paced at 1 kHz, p50, capacity 4096, block": 1.0,
        "two threads, paced at 1 kHz, p99, capacity 4096, block": 1.0,
        **{f"{REQUEST}, {answerer}": 1 / 1.5 for answerer in ("a thread that iterates", "a function that answers")},
    },
    "clock": {"HybridLogicalClock.now on the counter source, one thread, from Python": 1 / 1.5},
    "filters": {
        f"a filter over a table of {columns} columns, of whose rows {share} stay": 0.5
        for columns in (1, 4)
        for share in ("1%", "50%")
    },
    "guards": {},
    "logic": {},
    "optimize": {},
    "scheduler": {
        "lateness p99 of native timers, usual class, idle": 1.0,
        "lateness p99 of native timers, usual class, a busy Python thread": 1 / 1.2,
        **{
            f"lateness p{percent} of Python callbacks, usual class, idle, against {name}": bar
            for percent, bar in ((50, 1 / 0.3), (99, 1 / 0.7))
            for name in ("asyncio", "uvloop", "threading.Timer", "sched", "APScheduler")
        },
    },
    "startup": {},
    "testing": {},
}
# Only where the class is permitted and cyclictest is installed.
PERMITTED = {
    "scheduler": {
        "lateness p99 of native timers, class fifo, processors kept awake, idle": 1.0,
        "lateness p99 of native timers, class fifo, processors kept awake, a busy Python thread": 1 / 1.2,
    }
}
# Rows a second, ms until a late subscriber has all last values, then a sustained rate, what it dropped, and what its
# memory grew by; ns a sample, and ms to an action; optima found, and missed where they are zero, the worst by its
# optimum, those worse than a rule, and s; ns a call, and % of late starts; ms to start; s for the test of an hour.
LIMITS = {
    "bus": [1e9, 1e9, 1e9, 1e9, 20.0, 999_000.0, 0.0, 0.0],
    "filters": [150.0] * 4,
    "guards": [300.0, 2.0],
    "optimize": [0.96, 0.0, 1.01, 0.0, 1.0],
    "scheduler": [250.0, 250.0, 0.1, 5.0],
    "startup": [60.0, 250.0],
    "testing": [2.0],
}


def test_every_comparison_is_known_here():
    assert concerns() == sorted(CLAIMED)


@pytest.mark.parametrize("concern", sorted(CLAIMED))
@pytest.mark.parametrize("quick", [True, False])
def test_cases_have_names_of_their_own_and_the_stated_bars(concern, quick):
    cases = importlib.import_module(f"benchmarks.peers.{concern}").cases(quick)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names) > 0
    bars = {case.name: case.bar for case in cases if case.bar is not None}
    permitted = PERMITTED.get(concern, {})
    assert {name: bar for name, bar in bars.items() if name not in permitted} == CLAIMED[concern]
    assert permitted | bars == permitted | CLAIMED[concern]
    assert [case.limit for case in cases if case.limit is not None] == LIMITS.get(concern, [])
