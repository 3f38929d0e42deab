"""Orders of jobs beside their known optima: the 125 instances of 40 jobs of the OR-Library.

`python -m benchmarks.peers.optimize [--quick] [--json FILE] [--case TEXT]`

The instances are read from the folder that `CHRONOFABRIC_TEST_DATA` names.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import chronofabric as cf
from benchmarks.peers._rounds import Case, main

FOLDER = "CHRONOFABRIC_TEST_DATA"
JOBS = 40
BUDGET_S = 1.0
PEER_BUDGET_S = 0.1
STEP = 5
"""A quick run takes every fifth instance, one of each class; so does the peer, which takes all the time it is given."""


class Instance(NamedTuple):
    """Processing times, weights and due dates of 40 jobs, and the least total weighted tardiness."""

    times: Sequence[int]
    weights: Sequence[int]
    dues: Sequence[int]
    optimum: int


class Answer(NamedTuple):
    """What was found for an instance, and in which time."""

    instance: Instance
    found: cf.optimize.JobOrder
    seconds: float


def cases(quick: bool) -> list[Case]:
    """Make the cases; what is counted comes out the same in every round, so one is enough."""
    step = STEP if quick else 1
    named = f"{JOBS} jobs, one thread, default steps, at most {BUDGET_S:g} s each"
    return [
        Case(
            f"share of instances at their optimum, {named}",
            ours=lambda: share_optimal(answers(step)),
            limit=0.96,
            better="higher",
            unit="share",
            rounds=1,
        ),
        Case(
            f"optima of zero that were missed, {named}",
            ours=lambda: sum(each.found.tardiness > each.instance.optimum == 0 for each in answers(step)),
            limit=0.0,
            unit="instances",
            rounds=1,
        ),
        Case(
            f"worst tardiness by its optimum, {named}",
            ours=lambda: max(
                each.found.tardiness / each.instance.optimum for each in answers(step) if each.instance.optimum
            ),
            limit=1.01,
            unit="",
            rounds=1,
        ),
        Case(
            f"orders worse than by EDF or ATC, {named}",
            ours=lambda: sum(each.found.tardiness > min(each.found.edf, each.found.atc) for each in answers(step)),
            limit=0.0,
            unit="instances",
            rounds=1,
        ),
        Case(
            f"longest search, until nothing better comes, {named}",
            ours=lambda: max(each.seconds for each in answers(step)),
            limit=BUDGET_S,
            unit="s",
            rounds=1,
        ),
        Case(
            f"share of instances at their optimum, {JOBS} jobs, one thread, {PEER_BUDGET_S:g} s each",
            ours=lambda: share_optimal(answers(STEP, PEER_BUDGET_S)),
            peer=partial(share_of_cp_sat, PEER_BUDGET_S),
            peer_name="ortools, CP-SAT",
            better="higher",
            unit="share",
            needs=("ortools",),
            rounds=1,
        ),
    ]


@functools.cache
def instances() -> list[Instance]:
    """Read the instances."""
    folder = Path(os.environ[FOLDER]) / "wt"
    numbers = [int(word) for word in (folder / "wt40.txt").read_text().split()]
    rows = [numbers[start : start + JOBS] for start in range(0, len(numbers), JOBS)]
    columns = zip(rows[::3], rows[1::3], rows[2::3], strict=True)
    optima = [int(word) for word in (folder / "wtopt40.txt").read_text().split()]
    return [Instance(*of_one, optimum) for of_one, optimum in zip(columns, optima, strict=True)]


@functools.cache
def answers(step: int, budget_s: float = BUDGET_S) -> list[Answer]:
    """Order every `step`-th instance."""
    return [answer(instance, budget_s) for instance in instances()[::step]]


def answer(instance: Instance, budget_s: float) -> Answer:
    """Order one instance; its unit of time is a nanosecond to us."""
    jobs = [
        cf.optimize.BatchJob(f"{processing} ns", due=f"{due} ns", weight=weight)
        for processing, weight, due in zip(instance.times, instance.weights, instance.dues, strict=True)
    ]
    started_ns = time.perf_counter_ns()
    found = cf.optimize.order(jobs, budget=budget_s)
    return Answer(instance, found, (time.perf_counter_ns() - started_ns) / 1e9)


def share_optimal(found: Sequence[Answer]) -> float:
    """Return the share of the instances that were ordered at their optimum."""
    return statistics.fmean(each.found.tardiness == each.instance.optimum for each in found)


def share_of_cp_sat(budget_s: float) -> float:
    """Return the same of OR-Tools' CP-SAT, given intervals that do not overlap and the sum to make small."""
    return statistics.fmean(cp_sat(instance, budget_s) == instance.optimum for instance in instances()[::STEP])


def cp_sat(instance: Instance, budget_s: float) -> float:
    """Return the total weighted tardiness that CP-SAT finds, or infinity."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    horizon = sum(instance.times)
    intervals, terms = [], []
    for processing, weight, due in zip(instance.times, instance.weights, instance.dues, strict=True):
        start = model.new_int_var(0, horizon - processing, "")
        intervals.append(model.new_fixed_size_interval_var(start, processing, ""))
        late = model.new_int_var(0, horizon, "")
        model.add(late >= start + processing - due)
        terms.append(weight * late)
    model.add_no_overlap(intervals)
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = budget_s
    solver.parameters.num_workers = 1
    found = solver.solve(model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return float(round(solver.objective_value)) if found else float("inf")


if __name__ == "__main__":
    if not os.environ.get(FOLDER):
        print(f"optimize: skipped, needs recorded data: set {FOLDER} to its folder")
    sys.exit(main("optimize", cases if os.environ.get(FOLDER) else []))
