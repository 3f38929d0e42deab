"""One round each of what a single thing costs: a call, a guarded sample, the start of a process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import repeat

import chronofabric as cf

WINDOW = 100
SAMPLE_NS = 1_000_000
FORMULA = f"historically[0, {WINDOW - 1} ms](value > 0.001) and once[0, {WINDOW - 1} ms](value > 0.9)"

BARE = (sys.executable, "-c", "pass")
IMPORT = (sys.executable, "-c", "import chronofabric")


def call_ns(function: Callable[[], object], count: int) -> float:
    """Return how long a call takes, the loop included."""
    calls = repeat(None, count)
    started_ns = time.perf_counter_ns()
    for _ in calls:
        function()
    return (time.perf_counter_ns() - started_ns) / count


def sample_ns(count: int, *, guarded: bool = True) -> float:
    """Return the nanoseconds that a sample takes to be published by its own time and judged, in this thread."""
    generator = random.Random(7)
    samples = [generator.random() for _ in range(count)]
    fired = cf.Flag()
    with cf.Fabric("benchmark") as fabric:
        guard = fabric.guard("levels", on="plant/*/level", when=FORMULA, do=fired) if guarded else None
        publish = fabric.publisher("plant/7/level").publish
        started_ns = time.perf_counter_ns()
        for time_ns, value in zip(range(0, count * SAMPLE_NS, SAMPLE_NS), samples, strict=True):
            publish(value, time=time_ns)
        ns = (time.perf_counter_ns() - started_ns) / count
        report = guard.report() if guard is not None else None
    if report is not None and (report["evaluated"] != count or report["errors"] or fired.count == 0):
        raise AssertionError(f"of {count} samples not all were judged: {report}")
    return ns


def process_ms(command: tuple[str, ...]) -> float:
    """Return the wall time of a process whose bytecode is cached, as it is after an installation."""
    _compile(command)
    started = time.perf_counter()
    _run(command)
    return (time.perf_counter() - started) * 1e3


@cache
def _compile(command: tuple[str, ...]) -> None:
    """Have the bytecode written, once."""
    _run(command)


def _run(command: tuple[str, ...]) -> None:
    # Whatever the environment says of writing bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(
        command, check=False, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if ended.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
