"""Our own figures of starting, followed from commit to commit."""

from __future__ import annotations

from statistics import median

from benchmarks._release import refuse_debug_build
from benchmarks.peers.startup import cases

STARTS = 5


class Start:
    """Wall time of a process, from its start to its end; the median of five."""

    params = (["import chronofabric", "chronofabric --help"],)
    param_names = ("process",)
    unit = "ms"

    def setup(self, process: str) -> None:
        refuse_debug_build()
        self.case = cases(quick=True)[self.params[0].index(process)]

    def track_start(self, process: str) -> float:
        return median(self.case.ours() for _ in range(STARTS))
