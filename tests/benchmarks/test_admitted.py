"""Admitted sets on real time: what starts are held against, what is drawn, and a short run."""

from __future__ import annotations

import math
import random
import shutil
from dataclasses import replace

import pytest

from benchmarks.peers import _admitted
from benchmarks.peers._admitted import (
    COMPILER,
    Times,
    compiled,
    draw,
    environment,
    quietly,
    run,
    starts_without_noise,
    uunifast,
)
from chronofabric.apps.measuring import noise

MS = 1_000_000


@pytest.fixture(autouse=True)
def unlocked(monkeypatch):
    """Lock no memory: in a process as large as that of the tests it takes as long as a whole run of theirs."""
    monkeypatch.setattr(_admitted, "REALTIME", replace(_admitted.REALTIME, lock_memory=False))


def takes(period_ms: int, budget_ms: int) -> Times:
    return Times(period_ms * MS, budget_ms * MS)


def test_without_noise_a_job_runs_to_its_end_and_then_the_earliest_deadline_is_next():
    # The first begins alone; of those that come meanwhile the third is the most urgent, though it comes last.
    tasks = [takes(100, 5), takes(60, 7), takes(20, 3)]
    starts = starts_without_noise(tasks, [0, 1 * MS, 2 * MS], 30 * MS)
    assert starts == {(0, 0): 0, (2, 2 * MS): 5 * MS, (1, 1 * MS): 8 * MS, (2, 22 * MS): 22 * MS}


def test_what_comes_while_a_job_ends_late_may_go_first():
    tasks = [takes(100, 5), takes(100, 5), takes(20, 3)]
    first_ns = [0, 1 * MS, 5 * MS + 50_000]
    assert starts_without_noise(tasks, first_ns, 9 * MS) == {(0, 0): 0, (1, 1 * MS): 5 * MS, (2, first_ns[2]): 10 * MS}
    for noise_ns, began_ns in [((0, 60_000), 0), ((60_000, 0), 60_000)]:
        later = starts_without_noise(tasks, first_ns, 9 * MS, {(0, 0): noise_ns})
        assert later == {(0, 0): began_ns, (2, first_ns[2]): 5 * MS + 60_000, (1, 1 * MS): 8 * MS + 60_000}


def test_shares_add_up_to_the_utilisation_and_periods_lie_within_a_decade():
    drawing = random.Random(3)
    for _ in range(100):
        tasks = uunifast(drawing, 10, 0.9)
        assert math.isclose(sum(task.budget_ns / task.period_ns for task in tasks), 0.9, abs_tol=0.04)
        assert all(10 * MS <= task.period_ns <= 100 * MS and task.budget_ns > 0 for task in tasks)


def test_what_is_drawn_is_the_same_every_time_and_the_refused_are_counted():
    assert draw(3, 7) == draw(3, 7)
    drawn, refused = draw(20, 7)
    assert len(drawn) == 20
    assert refused > 0


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs a C compiler")
def test_a_run_judges_the_jobs_of_all_tasks(tmp_path):
    (tasks, *_), _ = draw(1, 7)
    late = run(compiled(tmp_path), tasks, 0.4)
    # The first job of a task comes after a period, and the last that is judged a period before the end.
    assert len(late) >= sum(int(0.4e9 / task.period_ns) - 2 for task in tasks)
    assert any(math.isfinite(each.ns) for each in late)
    assert all(math.isfinite(each.by_machine_ns) for each in late)


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs a C compiler")
def test_a_noisy_round_is_repeated_and_the_least_noisy_one_is_known(tmp_path, monkeypatch):
    (tasks, *_), _ = draw(1, 7)
    monkeypatch.setattr(_admitted, "STANDSTILL_NS", 10**12)
    monkeypatch.setattr(_admitted, "ROUNDS_MAX", 3)
    spinning = compiled(tmp_path)
    for stolen, rounds in [([0.5, 0.0], 2), ([0.5, 0.3, 0.4], 3)]:
        # Seconds of the machine before and after each round, and how much of them the host took.
        readings = iter(
            [noise.Reading(total, steal, 0.0, 0.0) for each in stolen for total, steal in ((0, 0), (1, each))]
        )
        monkeypatch.setattr(noise, "read", lambda readings=readings: next(readings))
        ran = quietly(spinning, tasks, 0.4)
        assert [each.noise_level for each in ran] == pytest.approx([each / noise.STEAL_SHARE_MAX for each in stolen])
        assert len(ran) == rounds
        assert all(each.late for each in ran)


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs a C compiler")
def test_a_processor_that_stands_still_is_noise(tmp_path, monkeypatch):
    (tasks, *_), _ = draw(1, 7)
    # Every look at the clock is a standstill: nothing is left of the processor.
    monkeypatch.setattr(_admitted, "STANDSTILL_NS", 0)
    quiet = noise.Reading(0.0, 0.0, 0.0, 0.0)
    monkeypatch.setattr(noise, "read", lambda: quiet)
    levels = [each.noise_level for each in quietly(compiled(tmp_path), tasks, 0.4)]
    assert len(levels) == _admitted.ROUNDS_MAX
    assert min(levels) > 10


def test_what_decides_the_figures_is_named():
    assert environment().startswith(("class fifo, ", "usual class, "))
