"""Our own figures of timers, from Python, followed from commit to commit."""

from __future__ import annotations

import shutil

from benchmarks._release import refuse_debug_build
from benchmarks.peers._admitted import COMPILER, Admitted
from benchmarks.peers.scheduler import (
    from_two_threads_ns,
    idle,
    native_us,
    pairs_ns,
    python_us,
    rearm_ns,
    with_deadline_queue,
)


class Arming:
    """Arming a timer again, with as many held; nanoseconds a call."""

    unit = "ns"
    params = (0, 10_000)
    param_names = ("held",)

    def setup(self, held: int) -> None:
        refuse_debug_build()

    def track_rearm(self, held: int) -> float:
        return rearm_ns(200_000, held)


class Jobs:
    """Jobs by deadline, nanoseconds each."""

    unit = "ns"

    def setup(self) -> None:
        refuse_debug_build()

    def track_push_and_pop(self) -> float:
        return pairs_ns(with_deadline_queue, 50_000)

    def track_from_two_threads(self) -> float:
        return from_two_threads_ns(with_deadline_queue, 50_000)


class Lateness:
    """How late timers are, 99th percentile in microseconds, one every 5 ms."""

    unit = "us"

    def setup(self) -> None:
        refuse_debug_build()

    def track_native(self) -> float:
        return native_us(200, None, idle)

    def track_python(self) -> float:
        return python_us(200, 99)


class AdmittedSets:
    """Starts of native jobs that were late by more than a tolerance beside the same jobs without noise, in percent."""

    unit = "%"
    params = (1_000_000, 100_000)
    param_names = ("tolerance_ns",)

    def setup(self, tolerance_ns: int) -> None:
        refuse_debug_build()
        if shutil.which(COMPILER) is None:
            raise NotImplementedError(f"{COMPILER} is not installed")  # how asv is told to skip

    def track_late(self, tolerance_ns: int) -> float:
        return Admitted(5, 1.0).run_and_share(tolerance_ns)
