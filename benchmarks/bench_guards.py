"""Our own figures of guards, from Python, followed from commit to commit."""

from __future__ import annotations

from benchmarks._release import refuse_debug_build
from benchmarks.peers.guards import native_action_ms, native_source
from chronofabric.apps.measuring.costs import sample_ns


class Guard:
    """A guard of three operators on 100-sample windows; nanoseconds a sample, published from Python."""

    unit = "ns"

    def setup(self) -> None:
        refuse_debug_build()

    def track_sample(self) -> float:
        return sample_ns(200_000)


class Action:
    """From a sample of a native source to the start of a native action, p99 of 1 000; milliseconds."""

    unit = "ms"

    def setup(self) -> None:
        refuse_debug_build()

    def track_action(self) -> float:
        return native_action_ms(native_source, 1_000)
