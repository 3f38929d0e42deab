"""Admission: what fits, and what a refusal says."""

from __future__ import annotations

import pytest

import chronofabric as cf
from chronofabric.scheduler import Scheduler

MS = 1_000_000


def test_what_fits_is_admitted_and_what_does_not_is_refused_with_its_reason(scheduler):
    scheduler.task(print, period="10 ms", budget="5 ms", name="fast")
    with pytest.raises(cf.AdmissionError, match="task 'slow' breaks it") as caught:
        scheduler.task(print, period="100 ms", budget="20 ms", name="slow")
    answer = caught.value.answer
    assert (answer.task, answer.interval_ns, answer.demand_ns) == ("slow", 10 * MS, 5 * MS)
    assert answer.blocking_ns == 20 * MS - 1
    assert scheduler.would_admit(period="100 ms", budget=answer.budget_fits_ns / 1e9).admitted
    assert [row["name"] for row in scheduler.report()["tasks"]] == ["fast"]


def test_a_set_that_asks_for_more_than_there_is_is_refused(scheduler):
    scheduler.task(print, period="10 ms", budget="6 ms")
    answer = scheduler.would_admit(period="10 ms", budget="6 ms")
    assert not answer.admitted
    assert answer.utilisation == pytest.approx(1.2)
    assert answer.budget_fits_ns == 4 * MS


def test_a_refusal_speaks_of_the_new_task_whichever_breaks_it(scheduler):
    scheduler.task(print, period="100 ms", budget="6 ms", name="old")
    with pytest.raises(cf.AdmissionError) as caught:
        scheduler.task(print, period="10 ms", budget="5 ms", name="fast")
    answer = caught.value.answer
    assert str(caught.value) == f"task 'fast' is not admitted: {answer.reason}"
    assert answer.reason == (
        "within 10000000 ns there may be 5000000 ns to do, after 5999999 ns of a job of task 'old' that cannot be "
        "interrupted; task 'old' breaks it (utilisation of all tasks together: 56.0 % of one worker): task 'fast' fits "
        "with a budget of 4000001 ns"
    )
    assert (answer.task, answer.utilisation, answer.blocking_ns) == ("old", pytest.approx(0.56), 6 * MS - 1)
    assert answer.budget_fits_ns == 4 * MS + 1
    assert scheduler.would_admit(period="10 ms", budget="4000001 ns").admitted
    answer = scheduler.would_admit(period="10 ms", budget="4000002 ns")
    assert not answer.admitted
    assert answer.reason.endswith(": the new task fits with a budget of 4000001 ns")


def test_a_task_that_fits_with_no_budget_is_told_so(scheduler):
    scheduler.task(print, period="10 ms", budget="10 ms", name="all")
    answer = scheduler.would_admit(period="10 ms", budget="1 ms")
    assert (answer.admitted, answer.task, answer.budget_fits_ns) == (False, "the new task", None)
    assert "no budget of the new task fits" in answer.reason


def test_a_refusal_by_several_workers_tells_one_from_all(clock):
    with Scheduler(clock=clock, workers=2) as scheduler:
        for name in ("left", "right"):
            scheduler.task(print, period="10 ms", budget="6 ms", name=name)
        answer = scheduler.would_admit(period="10 ms", budget="7 ms")
        assert answer.utilisation == pytest.approx(1.9)
        assert answer.reason == (
            "none of 2 workers has room; on the one with most the tasks would take 130.0 % of the worker's time "
            "(utilisation of all tasks together: 190.0 % of one worker): the new task fits with a budget of 4000000 ns"
        )
        assert scheduler.would_admit(period="10 ms", budget="4 ms").admitted


def test_several_workers_admit_more(clock):
    with Scheduler(clock=clock, workers=2) as scheduler:
        for _ in range(2):
            scheduler.task(print, period="10 ms", budget="6 ms")
        assert not scheduler.would_admit(period="10 ms", budget="6 ms").admitted
