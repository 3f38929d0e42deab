"""The statements of docs/semantics.md about timers."""

from __future__ import annotations

import itertools
import threading
from functools import partial

import pytest

import chronofabric as cf
from tests.semantics.helpers import START_NS, payloads, until

MS = 1_000_000


def test_s113_timers_fire_in_the_order_of_instants_then_of_arming(fabric, clock):
    seen = []
    for number, delay in enumerate(["2 ms", "1 ms", "2 ms"]):
        fabric.after(delay, lambda number=number: seen.append((number, clock.now() - START_NS)))
    clock.advance("5 ms")
    assert seen == [(1, MS), (0, 2 * MS), (2, 2 * MS)]


def test_s114_no_timer_fires_early_and_what_has_passed_fires_at_once():
    with cf.scheduler.Timers() as timers:
        flag, lateness = cf.Flag(), []
        due_ns = timers.now() + 2 * MS
        timers.at(due_ns, lambda: lateness.append(timers.now() - due_ns))
        timers.at(1, flag)
        until(lambda: lateness and flag.is_set())
    assert lateness[0] >= 0


def test_s115_the_ticks_of_a_period_do_not_drift_and_those_left_out_are_counted():
    with cf.Fabric("grid") as fabric:
        ticks = fabric.subscribe("tick", capacity=100_000)
        timer = fabric.timers.every("10 us", fabric.publisher("tick"))
        until(lambda: timer.report()["fired"] > 100)
        timer.cancel()
        seen = payloads(ticks)
    for tick, following in itertools.pairwise(seen):
        assert following["due"] - tick["due"] == (tick["missed"] + 1) * 10_000
    assert sum(tick["missed"] for tick in seen) == timer.report()["missed_ticks"]


def test_s116_native_actions_need_no_interpreter_and_both_starts_are_counted():
    with cf.Fabric("native") as fabric:
        timer = fabric.timers.every("1 ms", cf.Flag())
        until(lambda: timer.report()["fired"] > 2)
        report = timer.report()
        assert report["native_start_ns"]["count"] >= 3
        assert (report["called"], report["python_start_ns"]["count"]) == (0, 0)


def test_s117_ticks_that_find_the_interpreter_busy_are_joined_and_counted():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    with cf.Fabric("busy") as fabric:
        fabric.after(0, hold)
        assert entered.wait(20)
        timer = fabric.timers.every("1 ms", lambda: None)
        until(lambda: timer.report()["coalesced"] >= 2)
        timer.rearm("1 h")
        leave.set()
        until(lambda: timer.report()["called"] == 1)
        report = timer.report()
    assert report["called"] + report["coalesced"] == report["fired"]


def test_s118_on_simulated_time_whoever_moves_it_fires_in_a_fixed_order_without_a_thread(fabric, clock):
    threads, before = set(), threading.active_count()
    for period in ("3 ms", "5 ms"):
        fabric.timers.every(period, lambda: threads.add(threading.current_thread()))
    clock.advance("1 s")
    assert threads == {threading.current_thread()}
    assert threading.active_count() == before + 1  # the node's handler thread, which they did not use


def test_s119_closing_takes_timers_back_and_lets_calls_that_wait_finish():
    entered, leave, seen = threading.Event(), threading.Event(), []

    def hold():
        entered.set()
        leave.wait(20)

    with cf.Fabric("closing") as fabric:
        fabric.after(0, hold)
        assert entered.wait(20)
        fabric.after(0, lambda: seen.append(1))
        far = fabric.after("1 h", lambda: seen.append(2))
        until(lambda: fabric.timers.report()["fired"] == 2)
        leave.set()
    assert (seen, far.armed) == ([1], False)


def test_s120_the_earliest_deadline_goes_first_and_admitted_jobs_before_others(clock):
    seen = []

    def hold():
        clock.advance("10 ms")
        scheduler.submit(lambda: seen.append("other"), deadline=0)

    with cf.scheduler.Scheduler(clock=clock) as scheduler:
        scheduler.task(lambda: seen.append("admitted"), period="10 ms", budget="1 ms")
        for name, deadline, priority in [("a", 3, 0), ("b", 2, 0), ("c", 3, 1), ("d", 3, 0)]:
            scheduler.submit(partial(seen.append, name), deadline=deadline, priority=priority)
        scheduler.submit(hold, deadline=4)
        clock.advance(0)
    assert seen == ["b", "c", "a", "d", "admitted", "other"]


def test_s121_a_refusal_says_which_task_breaks_it_and_what_would_fit(clock):
    scheduler = cf.scheduler.Scheduler(clock=clock)
    scheduler.task(print, period="10 ms", budget="5 ms")
    with pytest.raises(cf.AdmissionError) as caught:
        scheduler.task(print, period="1 s", budget="20 ms", name="long")
    assert caught.value.answer.task == "long"
    fits_ns = caught.value.answer.budget_fits_ns
    assert scheduler.would_admit(period="1 s", budget=f"{fits_ns} ns").admitted
    assert not scheduler.would_admit(period="1 s", budget=f"{fits_ns + 1} ns").admitted


def test_s122_misses_count_by_start_and_by_end_beyond_the_tolerance(clock):
    with cf.scheduler.Scheduler(clock=clock, tolerance="1 ms") as scheduler:
        for late in ("9 ms", "10.5 ms", "12 ms"):
            scheduler.submit(partial(clock.advance, late), deadline="10 ms", priority=9)
            clock.advance("100 ms")
        scheduler.submit(lambda: clock.advance("12 ms"), deadline="5 ms")
        scheduler.submit(print, deadline="10 ms")
        clock.advance(0)
        report = scheduler.report()["once"]
    assert (report["late_starts"], report["late_ends"], report["tolerance_ns"]) == (1, 3, MS)


def test_s123_a_job_that_comes_too_soon_counts_as_coming_when_it_may(clock):
    seen = []
    with cf.scheduler.Scheduler(clock=clock) as scheduler:
        task = scheduler.task(lambda: seen.append(clock.now() - START_NS), period="10 ms", budget=1e-3, kind="sporadic")
        task.release()
        task.release()
        with pytest.raises(cf.ArgumentError, match="periodic"):
            scheduler.task(print, period="1 h", budget="1 ms").release()
        clock.advance("30 ms")
    assert seen == [0, 10 * MS]
