"""Orders of jobs from Python: what is promised, what is refused, and that the interpreter goes on meanwhile."""

from __future__ import annotations

import itertools
import random
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf
from chronofabric import optimize
from tests.subprocesses import run_python

# What is wrong on purpose is given to them too.
BatchJob: Any = optimize.BatchJob
order: Any = optimize.order


def many(count, seed=7):
    """Jobs that no search is soon done with."""
    choice = random.Random(seed)
    times = [choice.randint(1, 100) for _ in range(count)]
    due = sum(times) // 2
    return [BatchJob(f"{time} ns", due=f"{choice.randint(1, due)} ns", weight=choice.randint(1, 10)) for time in times]


def tardiness(jobs, sequence):
    ends = itertools.accumulate(jobs[index].processing_ns for index in sequence)
    return sum(jobs[index].weight * max(end - jobs[index].due_ns, 0) for index, end in zip(sequence, ends, strict=True))


@st.composite
def batches(draw):
    job = st.builds(
        BatchJob,
        st.integers(1, 20).map("{} ns".format),
        due=st.integers(0, 60).map("{} ns".format),
        weight=st.integers(0, 9),
    )
    jobs = draw(st.lists(job, max_size=6))
    pairs = [pair for pair in itertools.combinations(range(len(jobs)), 2) if draw(st.integers(0, 4)) == 0]
    return jobs, pairs


@given(batches(), st.integers(0, 2**64 - 1))
def test_small_batches_are_ordered_as_the_best_of_all_permutations(batch, seed):
    jobs, pairs = batch
    found = order(jobs, precedence=pairs, seed=seed, budget="1 min")
    feasible = [
        each
        for each in itertools.permutations(range(len(jobs)))
        if all(each.index(first) < each.index(second) for first, second in pairs)
    ]
    assert found.order in feasible
    assert found.tardiness == tardiness(jobs, found.order) == min(tardiness(jobs, each) for each in feasible)
    assert (found.kept == "search") == (found.tardiness < min(found.edf, found.atc))


def test_every_instance_of_the_or_library_is_optimal_within_a_second(data):
    numbers = [int(word) for word in (data / "wt" / "wt40.txt").read_text().split()]
    optima = [int(word) for word in (data / "wt" / "wtopt40.txt").read_text().split()]
    missed = []
    for index, optimum in enumerate(optima):
        times, weights, dues = (numbers[start : start + 40] for start in range(index * 120, index * 120 + 120, 40))
        jobs = [
            BatchJob(f"{time} ns", due=f"{due} ns", weight=weight)
            for time, weight, due in zip(times, weights, dues, strict=True)
        ]
        # Steps and not time are what limits this, so that a slow machine finds the same.
        found = order(jobs, budget="1 min", steps=100)
        assert found.tardiness == tardiness(jobs, found.order) <= min(found.edf, found.atc)
        if found.tardiness != optimum:
            missed.append((index, found.tardiness, optimum))
    assert len(optima) == 125
    assert missed == []


def test_names_of_a_mapping_are_the_order():
    jobs = {"late": BatchJob(3, due=9), ("first", 1): BatchJob(2, due=2, weight=4)}
    found = order(jobs, precedence=[(("first", 1), "late")])
    assert found.order == (("first", 1), "late")
    assert (found.tardiness, found.kept, found.steps) == (0, "edf", 0)


def test_the_same_seed_and_steps_give_the_same_order():
    jobs = many(60)
    first, second = (order(jobs, seed=3, steps=30, budget="1 min") for _ in range(2))
    assert first == second
    assert first.steps == 30
    assert first != order(jobs, seed=3, steps=0, budget="1 min")
    assert repr(first) == repr(second)


def test_without_a_budget_it_is_the_better_rule():
    found = order(many(500), budget=0)
    assert found.tardiness == min(found.edf, found.atc)
    assert (found.kept != "search", found.steps) == (True, 0)


def test_a_budget_of_time_is_kept():
    started = time.monotonic()
    found = order(many(300), budget="50 ms", steps=2**64 - 1)
    assert found.kept == "search"
    assert 0.05 <= time.monotonic() - started < 5


def test_other_threads_run_while_a_search_does():
    done = threading.Event()
    counted = itertools.count()
    searcher = threading.Thread(target=lambda: (order(many(300), budget="300 ms", steps=2**63), done.set()))
    searcher.start()
    while not done.is_set():
        next(counted)
    searcher.join()
    # With the interpreter held throughout there would be none but those before and after.
    assert next(counted) > 1_000


def test_progress_is_told_and_what_it_raises_ends_the_search():
    told = []

    def tell(share, least):
        told.append((share, least))
        if len(told) == 2:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        order(many(300), budget="1 min", steps=2**63, progress=tell)
    (first, before), (second, after) = told
    assert 0 < first < second < 1
    assert before >= after > 0


def test_ctrl_c_ends_a_search_of_the_main_thread():
    run_python(
        """
        import os, signal, threading
        import chronofabric as cf

        jobs = [cf.optimize.BatchJob(f"{3 + k * 7 % 11} ns", due=f"{k * 5 % 97} ns") for k in range(200)]
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            cf.optimize.order(jobs, budget="10 min", steps=2**63)
        except KeyboardInterrupt:
            raise SystemExit(0)
        raise SystemExit("it was not interrupted")
        """
    )


def test_the_interpreter_ends_while_a_daemon_thread_searches():
    run_python(
        """
        import threading
        import chronofabric as cf

        jobs = [cf.optimize.BatchJob(f"{3 + k * 7 % 11} ns", due=f"{k * 5 % 97} ns") for k in range(200)]
        begun = threading.Event()
        def search():
            begun.set()
            cf.optimize.order(jobs, budget="10 min", steps=2**63)
        threading.Thread(target=search, daemon=True).start()
        begun.wait()
        """
    )


@pytest.mark.parametrize(
    ("call", "argument", "said"),
    [
        (lambda: BatchJob(0, due=1), "processing", "processing is 0"),
        (lambda: BatchJob(-1, due=1), "processing", "not negative"),
        (lambda: BatchJob(float("nan"), due=1), "processing", "finite"),
        (lambda: BatchJob(1, due="soon"), "due", "due is 'soon'"),
        (lambda: BatchJob(1, due=-1), "due", "not negative"),
        (lambda: BatchJob(1, due=1, weight=-1), "weight", "weight is -1"),
        (lambda: BatchJob(1, due=1, weight=2**32), "weight", "to 4294967295"),
        (lambda: BatchJob(1, due=1, weight=0.5), "weight", "weight is 0.5; give a whole number"),
        (lambda: order([1]), "jobs", "job 0 is 1"),
        (lambda: order(None), "jobs", "jobs is None"),
        (lambda: order([BatchJob(1, due=1)] * 65_537), "jobs", "65537 jobs, and a batch has at most 65536"),
        (lambda: order([BatchJob("1 h", due=0, weight=2**32 - 1)]), "jobs", "smaller weights or a coarser unit"),
        (lambda: order({"a": BatchJob(1, due=1)}, precedence=[("a", "b")]), "precedence", "there is no job 'b'"),
        (lambda: order([BatchJob(1, due=1)], precedence=[(0, 1)]), "precedence", "there is no job 1"),
        (lambda: order([BatchJob(1, due=1)], precedence=[0]), "precedence", "precedence has 0; give pairs"),
        (lambda: order([BatchJob(1, due=1)], precedence=[([], 0)]), "precedence", "give pairs"),
        (lambda: order([BatchJob(1, due=1)], precedence=[(0, 0)]), "precedence", "a cycle: 0 before 0"),
        (lambda: order([BatchJob(1, due=1)] * 2, precedence=[(0, 1)] * (2**20 + 1)), "precedence", "1048577 pairs"),
        (lambda: order([BatchJob(1, due=1)], budget=-1), "budget", "budget is -1"),
        (lambda: order([BatchJob(1, due=1)], steps=-1), "steps", "steps is -1"),
        (lambda: order([BatchJob(1, due=1)], seed=2**64), "seed", "to 18446744073709551615"),
        (lambda: order([BatchJob(1, due=1)], progress=1), "progress", "progress is 1"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(call, argument, said):
    with pytest.raises(cf.ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
    assert said in str(caught.value)


def test_a_cycle_is_named_by_the_names_of_its_jobs():
    jobs = dict.fromkeys(["wash", "dry", "fold", "wear"], BatchJob(1, due=1))
    pairs = [("wash", "dry"), ("dry", "fold"), ("fold", "wash"), ("fold", "wear")]
    with pytest.raises(cf.ArgumentError, match="precedence is a cycle: ") as caught:
        order(jobs, precedence=pairs)
    cycle = caught.value.value
    assert isinstance(cycle, tuple)
    assert sorted(cycle) == ["dry", "fold", "wash"]
    assert {*zip(cycle, [*cycle[1:], cycle[0]], strict=True)} <= set(pairs)


def test_jobs_are_values():
    job = BatchJob(timedelta(milliseconds=5), due="20 ms", weight=3)
    assert job == BatchJob("5 ms", due=0.02, weight=3)
    assert hash(job) == hash(BatchJob("5 ms", due=0.02, weight=3))
    assert job != BatchJob("5 ms", due=0.02)
    assert (job.processing_ns, job.due_ns, job.weight) == (5_000_000, 20_000_000, 3)
    with pytest.raises(AttributeError):
        job.weight = 4
