"""Our own figures of the monitors, from Python, followed from commit to commit."""

from __future__ import annotations

from itertools import count, cycle

import chronofabric as cf
from benchmarks._release import refuse_debug_build

SAMPLE_NS = 1_000_000
LEVELS = (0.2, 0.9, 0.4, 0.7, 0.1, 0.6)


class Update:
    """One sample a call, windows covered."""

    params = (["once", "historically", "since", "three operators"], [100, 10_000])
    param_names = ("formula", "window")

    def setup(self, formula: str, window: int) -> None:
        refuse_debug_build()
        interval = f"[0, {window - 1} ms]"
        text = {
            "once": f"once{interval}(value > 0.5)",
            "historically": f"historically{interval}(value > 0.5)",
            "since": f"(value > 0.15) since{interval} (value > 0.8)",
            "three operators": f"historically{interval}(value > 0.05) and once{interval}(value > 0.8)",
        }[formula]
        self.monitor = cf.logic.Monitor(text)
        self.times_ns = count(0, SAMPLE_NS)
        self.levels = cycle(LEVELS)
        for _ in range(window):
            self.time_update(formula, window)

    def time_update(self, formula: str, window: int) -> None:
        self.monitor.update(next(self.times_ns), value=next(self.levels))


class Parse:
    """A formula from its text."""

    def setup(self) -> None:
        refuse_debug_build()

    def time_parse(self) -> None:
        cf.logic.Formula("historically[0, 500 ms](load > 90) and not once[0, 10 s](temperature < 80 or fan >= 2)")
