"""Our own figures of the clock, from Python, followed from commit to commit."""

from __future__ import annotations

import chronofabric as cf
from benchmarks._release import refuse_debug_build


class Clock:
    """One call each."""

    def setup(self) -> None:
        refuse_debug_build()
        self.counter = cf.CounterClock()
        self.system = cf.SystemClock()
        self.stamps = cf.HybridLogicalClock(self.counter)
        self.remote = cf.HybridLogicalClock(self.counter).now()

    def time_counter_now(self) -> None:
        self.counter.now()

    def time_system_now(self) -> None:
        self.system.now()

    def time_stamp(self) -> None:
        self.stamps.now()

    def time_receive_a_stamp(self) -> None:
        self.stamps.receive(self.remote)
