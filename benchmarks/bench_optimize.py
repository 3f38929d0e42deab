"""Our own figures of ordering jobs, from Python, followed from commit to commit."""

from __future__ import annotations

import random

import chronofabric as cf
from benchmarks._release import refuse_debug_build

SEED = 7


class Order:
    """A fixed number of steps, with and without precedence."""

    params = ([40, 100], [0, 1])
    param_names = ("jobs", "successors")

    def setup(self, jobs: int, successors: int) -> None:
        refuse_debug_build()
        choice = random.Random(SEED)
        times = [choice.randint(1, 100) for _ in range(jobs)]
        total = sum(times)
        self.jobs = [
            cf.optimize.BatchJob(
                f"{time} ns", due=f"{choice.randint(total // 10, 7 * total // 10)} ns", weight=choice.randint(1, 10)
            )
            for time in times
        ]
        self.precedence = [(job, choice.randrange(job + 1, jobs)) for job in range(jobs - 1) for _ in range(successors)]

    def time_hundred_steps(self, jobs: int, successors: int) -> None:
        cf.optimize.order(self.jobs, precedence=self.precedence, steps=100, budget="1 min")

    def track_tardiness_after_hundred_steps(self, jobs: int, successors: int) -> int:
        return cf.optimize.order(self.jobs, precedence=self.precedence, steps=100, budget="1 min").tardiness
