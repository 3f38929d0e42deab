"""Our own figures of timers, from Python, followed from commit to commit."""

from __future__ import annotations

from benchmarks._release import refuse_debug_build
from benchmarks.peers.scheduler import idle, native_us, python_us, rearm_ns


class Arming:
    """Arming a timer again, with as many held; nanoseconds a call."""

    unit = "ns"
    params = (0, 10_000)
    param_names = ("held",)

    def setup(self, held: int) -> None:
        refuse_debug_build()

    def track_rearm(self, held: int) -> float:
        return rearm_ns(200_000, held)


class Lateness:
    """How late timers are, 99th percentile in microseconds, one every 5 ms."""

    unit = "us"

    def setup(self) -> None:
        refuse_debug_build()

    def track_native(self) -> float:
        return native_us(200, idle)

    def track_python(self) -> float:
        return python_us(200, 99)
