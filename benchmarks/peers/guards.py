"""What a guard costs a sample, and how long after one its action begins beside a burning core and a live table.

`python -m benchmarks.peers.guards [--quick] [--json FILE] [--case TEXT]`

The native source is a pair of timers of one rate. The difference of their tick numbers goes up by one with a tick of
the first and down again with the next one of the second, so a formula on it has one crossing a period, and no Python
is involved.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from typing import TypeAlias

import chronofabric as cf
from benchmarks.peers._rounds import Case, main
from chronofabric.apps.measuring.costs import WINDOW, sample_ns
from chronofabric.apps.screen import Screen
from chronofabric.fabric.sources import PythonSource, TimerSource

RATE_HZ = 500
NATIVE_MS_MAX = 2.0
SAMPLE_NS_MAX = 300.0
GIVE_UP_S = 60.0
TICKS_LOOKED_AT = 40
ROWS_AND_COLUMNS = (40, 120)

_Do: TypeAlias = "cf.Flag | Callable[[cf.Event], object]"
_Watch: TypeAlias = Callable[[cf.Fabric, _Do], cf.Guard]


def cases(quick: bool) -> list[Case]:
    """Make the cases."""
    crossings = 200 if quick else 1_000
    load = f"{crossings} crossings at {RATE_HZ} Hz, a core burnt by a child, live table on, p99"
    native = partial(native_action_ms, native_source, crossings)
    samples = 20_000 if quick else 200_000
    return [
        Case(
            f"guard of three operators on {WINDOW}-sample windows, with publishing from Python",
            ours=partial(sample_ns, samples),
            limit=SAMPLE_NS_MAX,
            unit="ns/sample",
        ),
        Case(
            f"sample to start of a native action, native timer source, {load}",
            ours=native,
            limit=NATIVE_MS_MAX,
            unit="ms",
            needs=("termios",),
        ),
        Case(
            f"sample to start of a native action, Python source, {load}",
            ours=partial(native_action_ms, python_source, crossings),
            peer=native,
            peer_name="a native source",
            unit="ms",
            needs=("termios",),
        ),
        Case(
            f"sample to start of a Python action, native timer source, {load}",
            ours=partial(python_action_ms, native_source, crossings),
            peer=native,
            peer_name="a native action",
            unit="ms",
            needs=("termios",),
        ),
    ]


def native_source(fabric: cf.Fabric, do: _Do) -> cf.Guard:
    """Guard the difference of two timers of one rate, in a node that runs."""
    ticks = fabric.subscribe("timer/*")
    for name in ("first", "second"):
        fabric.add_source(TimerSource(f"timer/{name}", rate=f"{RATE_HZ} Hz"))
    # They started at different instants, so the difference alternates between any number and the next; a late tick may
    # show another one for once.
    newest: dict[str, int] = {}
    differences: Counter[int] = Counter()
    for event in islice(ticks, TICKS_LOOKED_AT):
        newest[event.topic] = event.payload["tick"]
        if len(newest) == 2:
            differences[newest["timer/first"] - newest["timer/second"]] += 1
    ticks.close()
    below = min(difference for difference, _ in differences.most_common(2))
    signals = {name: f"timer/{name}#tick" for name in ("first", "second")}
    return fabric.guard("crossing", signals=signals, when=f"first - second > {below + 0.5}", do=do)


def python_source(fabric: cf.Fabric, do: _Do) -> cf.Guard:
    """Publish zeros and ones from Python, so that every second event crosses."""
    guard = fabric.guard("crossing", on="python/level", when="value > 0.5", do=do)
    fabric.add_source(PythonSource(cycle((0.0, 1.0)), topic="python/level", rate=f"{2 * RATE_HZ} Hz"))
    return guard


def native_action_ms(watch: _Watch, crossings: int) -> float:
    """Return the 99th percentile of the milliseconds from a sample to the start of a native action."""
    done = cf.Flag()
    guard = run(watch, done, lambda: done.count >= crossings)
    return float(guard.report()["lateness_ns"]["p99"]) / 1e6


def python_action_ms(watch: _Watch, crossings: int) -> float:
    """Return the 99th percentile of the milliseconds from a sample to the start of a Python action."""
    now = cf.CounterClock().now
    waits_ns: list[int] = []
    # The event of a firing has the time of the sample that made the guard fire.
    run(watch, lambda event: waits_ns.append(now() - event.time), lambda: len(waits_ns) >= crossings)
    waits_ns.sort()
    return waits_ns[int(0.99 * len(waits_ns))] / 1e6


def run(watch: _Watch, do: _Do, done: Callable[[], bool]) -> cf.Guard:
    """Run a node beside a burning child and a live table until it is done; return its guard."""
    give_up_s = time.monotonic() + GIVE_UP_S
    fabric = cf.Fabric("benchmark", clock="counter")
    with burning_child(), fabric, live_table(fabric) as screen:
        guard = watch(fabric, do)
        while not done():
            fabric.run("50 ms")
            if time.monotonic() > give_up_s:
                raise AssertionError(f"too few crossings within {GIVE_UP_S} s:\n{fabric.report()}")
    report = fabric.report()
    failed = [each for each in (*report.guards, *report.sources, *report.handlers) if each["errors"]]
    if failed or screen.frames == 0:
        raise AssertionError(f"{screen.frames} frames drawn; errors: {failed}")
    return guard


@contextmanager
def burning_child() -> Iterator[None]:
    """Have a child process use a whole core."""
    with subprocess.Popen((sys.executable, "-c", "while True: pass")) as child:
        try:
            yield
        finally:
            child.kill()


@contextmanager
def live_table(fabric: cf.Fabric) -> Iterator[Screen]:
    """Draw the live table on a terminal whose other end is read and forgotten."""
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, ROWS_AND_COLUMNS)
    reader = threading.Thread(target=_read_to_end, args=(ours,), name="terminal")
    reader.start()
    try:
        with os.fdopen(theirs, "w", encoding="utf-8") as terminal, Screen(fabric, terminal) as screen:
            yield screen
    finally:
        reader.join()
        os.close(ours)


def _read_to_end(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65_536):
            pass
    except OSError:  # on Linux, the other end is closed
        pass


if __name__ == "__main__":
    sys.exit(main("guards", cases))
