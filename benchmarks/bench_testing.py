"""Our own figures of simulations, followed from commit to commit."""

from __future__ import annotations

from benchmarks._release import refuse_debug_build
from benchmarks.peers.testing import HOUR_S, seconds_of_a_test


class Hour:
    """The test of a simulated hour at 100 events a second, through a handler, a guard and an expectation."""

    unit = "s"

    def setup(self) -> None:
        refuse_debug_build()

    def track_test(self) -> float:
        return seconds_of_a_test(HOUR_S)
