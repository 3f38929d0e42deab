"""Monitors beside RTAMT's, sample by sample from Python.

`python -m benchmarks.peers.logic [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import chronofabric as cf
from benchmarks.peers._rounds import Case, main

WINDOW = 100
SAMPLE_NS = 1_000_000
SEED = 7
OURS = f"historically[0, {WINDOW - 1} ms](value > 0.001) and once[0, {WINDOW - 1} ms](value > 0.9)"
RTAMT = f"out = historically[0:{WINDOW - 1}](value > 0.001) and once[0:{WINDOW - 1}](value > 0.9)"


def cases(quick: bool) -> list[Case]:
    """Make the cases."""
    count = 2_000 if quick else 20_000
    generator = random.Random(SEED)
    samples = [generator.random() for _ in range(count)]
    return [
        Case(
            f"three operators (historically, and, once) on {WINDOW}-sample windows, a sample a call, from Python",
            ours=partial(ours, samples),
            peer=partial(rtamt, samples),
            peer_name="rtamt, discrete time, online",
            unit="ns/sample",
            needs=("rtamt",),
        )
    ]


def ours(samples: list[float]) -> float:
    """Return the nanoseconds a sample of our monitor."""
    update = cf.logic.Monitor(OURS).update
    times_ns = range(0, len(samples) * SAMPLE_NS, SAMPLE_NS)
    started_ns = time.perf_counter_ns()
    for time_ns, value in zip(times_ns, samples, strict=True):
        update(time_ns, value=value)
    return (time.perf_counter_ns() - started_ns) / len(samples)


def rtamt(samples: list[float]) -> float:
    """Return the nanoseconds a sample of RTAMT's monitor, after both were seen to answer the same."""
    check(samples[: 3 * WINDOW])
    update = rtamt_update()
    started_ns = time.perf_counter_ns()
    for index, value in enumerate(samples):
        update(index, [("value", value)])
    return (time.perf_counter_ns() - started_ns) / len(samples)


def rtamt_update() -> Callable[[int, list[tuple[str, float]]], float]:
    """Make a monitor of RTAMT's and return its update."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its parser generator uses what Python has deprecated
        import rtamt as library

        specification: Any = library.StlDiscreteTimeSpecification()
        specification.declare_var("value", "float")
        specification.declare_var("out", "float")
        specification.spec = RTAMT
        specification.parse()
    update: Callable[[int, list[tuple[str, float]]], float] = specification.update
    return update


def check(samples: list[float]) -> None:
    """Compare both monitors where the windows are covered; before that, RTAMT answers and ours does not."""
    monitor = cf.logic.Monitor(OURS)
    update = rtamt_update()
    for index, value in enumerate(samples):
        verdict = monitor.update(index * SAMPLE_NS, value=value)
        expected = update(index, [("value", value)])
        if verdict.known != (index >= WINDOW - 1):
            raise AssertionError(f"after {index + 1} samples the verdict is {verdict}")
        if verdict.robustness is not None and verdict.robustness != expected:
            raise AssertionError(f"sample {index}: {verdict}, but rtamt says {expected}")


if __name__ == "__main__":
    sys.exit(main("logic", cases))
