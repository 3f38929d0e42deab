"""What goes wrong: what never returns or is cancelled while it runs, a million at once, forks, clocks that jump."""

from __future__ import annotations

import os
import threading

import pytest

import chronofabric as cf
from chronofabric.scheduler import Scheduler, Timers, current_job, workers
from chronofabric.scheduler import timers as timers_module
from tests import settable_clock
from tests.semantics.helpers import until
from tests.subprocesses import run_python

MS = 1_000_000


def counted(report) -> int:
    names = ("completed", "skipped", "dead_lettered", "cancelled", "refused")
    return sum(report[name] for name in names)


def test_a_deadline_before_now_is_missed_and_counted(clock):
    clock.advance("1 s")
    seen: list[str] = []
    with Scheduler(clock=clock, tolerance=0) as scheduler:
        scheduler.submit(lambda: (clock.advance(1), seen.append("ran")), deadline=0)
        clock.advance(0)
        report = scheduler.report()["once"]
    assert (seen, report["late_starts"], report["late_ends"]) == (["ran"], 0, 1)
    queue = cf.scheduler.DeadlineQueue()
    queue.push("past", -5)
    assert queue.pop() == (-5, "past")


def test_a_timer_for_an_instant_that_has_passed_fires_at_once_and_counts_as_late(clock):
    clock.advance("1 s")
    flag = cf.Flag()
    with Timers(clock=clock) as timers:
        timers.at(0, flag)
        clock.advance(0)
        report = timers.report()
    assert (flag.count, report["late_starts"], report["native_start_ns"]["max"]) == (1, 1, 1_000 * MS)


def test_a_task_that_is_cancelled_while_it_runs_runs_to_its_end_and_comes_no_more(clock):
    seen: list[bool] = []
    with Scheduler(clock=clock) as scheduler:

        def run():
            task.cancel()
            seen.append(current_job() is not None)

        task = scheduler.task(run, period="10 ms", budget="1 ms")
        clock.advance("50 ms")
        report = task.report()
    assert seen == [True]
    assert (report["released"], report["completed"], counted(report)) == (1, 1, 1)


def test_a_call_that_never_returns_holds_up_nothing_native_and_closing_no_longer_than_its_bound(monkeypatch):
    monkeypatch.setattr(timers_module, "_FINISH_S", 0.05)
    leave, entered, flag = threading.Event(), threading.Event(), cf.Flag()

    def never():
        entered.set()
        leave.wait(60)

    timers = Timers()
    never_timer = timers.every("1 ms", never)
    assert entered.wait(20)
    timers.every("1 ms", flag)
    until(lambda: flag.count > 20 and never_timer.report()["coalesced"] > 20)
    report = never_timer.report()
    assert report["called"] == 1
    timers.close()
    seen = flag.count
    threading.Event().wait(0.005)
    assert flag.count == seen
    leave.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="its action is a function of POSIX systems")
def test_a_native_action_that_never_returns_holds_up_closing_and_the_end_of_the_process_no_longer_than_its_bound():
    code = """
import ctypes, time
import chronofabric as cf
pause = ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p).value
begun, timers = cf.Flag(), cf.scheduler.Timers()
timers.after(0, begun)
timers.after(0, cf.NativeFunction(pause))
assert begun.wait("20 s")
print("ends")
"""
    assert run_python(code).stdout == "ends\n"


def test_a_job_that_never_returns_holds_up_its_worker_only_and_closing_no_longer_than_its_bound(monkeypatch):
    monkeypatch.setattr(workers, "FINISH_S", 0.05)
    leave, entered, done = threading.Event(), threading.Event(), threading.Event()

    def never():
        entered.set()
        leave.wait(60)

    scheduler = Scheduler(workers=2)
    scheduler.start()
    scheduler.submit(never, deadline="1 ms")
    assert entered.wait(20)
    for _ in range(4):
        scheduler.submit(done.set, deadline="1 s")
    assert done.wait(20)
    # The other worker does all of its own; what waits for the one that is held up goes on waiting.
    held = len(scheduler._workers.queues[0])
    until(lambda: scheduler.report()["once"]["completed"] == 4 - held)
    report = scheduler.report()
    assert (report["once"]["released"], report["waiting"]) == (5, held)
    assert held in (1, 2)
    assert scheduler.close() == report["waiting"]
    leave.set()


def test_every_job_that_came_is_in_one_count(clock):
    with Scheduler(clock=clock, tolerance=0, jobs_max=3) as scheduler:

        def work(duration):
            clock.advance(duration)
            if clock.now() > 500 * MS:  # there is more to do than time for it
                skipped.cancel()
                lettered.cancel()

        skipped = scheduler.task(
            lambda: work("17 ms"), period="10 ms", budget="1 ms", on_miss="skip", otherwise="best-effort"
        )
        lettered = scheduler.task(
            lambda: work("9 ms"), period="20 ms", budget="8 ms", on_miss="dead-letter", on_overrun="demote"
        )
        clock.advance("1 s")
        waiting = scheduler.report()["waiting"]
        reports = [skipped.report(), lettered.report()]
        letters = len(scheduler.dead_letters)
    assert sum(report["released"] for report in reports) == sum(map(counted, reports)) + waiting
    assert reports[0]["skipped"] > 5
    assert reports[1]["dead_lettered"] == letters
    assert reports[0]["refused"] + reports[1]["refused"] > 0


def test_a_million_timers_for_one_instant_all_fire_in_the_order_of_arming(clock):
    count = 1_000_000
    first, last, flag = [], [], cf.Flag()
    with Timers(clock=clock) as timers:
        timers.after("1 s", lambda: first.append(flag.count))
        for _ in range(count):
            timers.at(1_000 * MS, flag)
        timers.after("1 s", lambda: last.append(flag.count))
        assert len(timers) == count + 2
        clock.advance("1 s")
        assert (first, last, flag.count) == ([0], [count], count)
        assert (len(timers), timers.report()["fired"], timers.report()["late_starts"]) == (0, count + 2, 0)


def test_closing_while_jobs_come_and_run_loses_none_that_is_counted():
    for _ in range(20):
        flag, done = cf.Flag(), cf.Flag()
        scheduler = Scheduler(workers=2, tolerance="1 s")
        scheduler.start()
        native = scheduler.task(flag, period="200 us", budget="50 us")
        python = scheduler.task(done.set, period="500 us", budget="100 us")
        while flag.count < 5 or not done.count:
            threading.Event().wait(0.001)
        waiting = scheduler.close()
        reports = [native.report(), python.report()]
        assert sum(report["released"] for report in reports) == sum(map(counted, reports)) + waiting
        assert (flag.count, done.count) == (reports[0]["completed"], reports[1]["completed"])
        seen = flag.count
        threading.Event().wait(0.001)
        assert flag.count == seen


def test_timers_and_jobs_go_on_where_the_counter_is_not_invariant_and_the_clock_says_so(monkeypatch):
    monkeypatch.setenv("CHRONOFABRIC_COUNTER", "monotonic")
    code = """
        import chronofabric as cf
        with cf.scheduler.Timers() as timers, cf.scheduler.Scheduler() as scheduler:
            due_ns = timers.now() + 5_000_000
            timers.sleep_until(due_ns)
            native, python = cf.Flag(), cf.Flag()
            scheduler.task(native, period="1 ms", budget="100 us")
            scheduler.task(lambda: python.set(), period="1 ms", budget="100 us")
            print(timers.now() >= due_ns, native.wait("20 s"), python.wait("20 s"))
        clock = cf.CounterClock()
        print(clock.kind, clock.hardware)
    """
    assert run_python(code).stdout == "True True True\ncounter False\n"
    code = """
        import runpy, sys
        sys.argv = ["chronofabric", "doctor"]
        runpy.run_module("chronofabric", run_name="__main__")
    """
    doctor = run_python(code, check=False)
    assert "monotonic clock stands in" in " ".join(doctor.stdout.split())


@settable_clock.needed
def test_jobs_follow_a_system_clock_that_is_set(tmp_path, monkeypatch):
    library = settable_clock.library(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    code = """
        import ctypes, sys
        import chronofabric as cf
        set_ahead = ctypes.CDLL(sys.argv[1]).set_ahead
        set_ahead.argtypes = [ctypes.c_longlong]
        with cf.scheduler.Scheduler(clock="system") as scheduler:
            first, late, back = cf.Flag(), cf.Flag(), cf.Flag()
            scheduler.task(first, period="10 ms", budget="1 ms", kind="sporadic").release()
            print(first.wait("20 s"))
            set_ahead(3_600_000_000_000)
            scheduler.submit(late, deadline="10 ms")
            print(late.wait("20 s"))
            set_ahead(0)
            scheduler.submit(back, deadline="10 ms")
            print(back.wait("20 s"), scheduler.report()["once"]["completed"] >= 1)
    """
    assert run_python(code, library).stdout == "True\nTrue\nTrue True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_forks_while_native_jobs_and_payloads_are_on_their_way_leave_parent_and_child_whole():
    code = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import chronofabric as cf
        fabric = cf.Fabric("plant").__enter__()
        scheduler = cf.scheduler.Scheduler().__enter__()
        seen = fabric.subscribe("a")
        beat = fabric.publisher("a").prepare({"x": [1]})
        fabric.timers.every("50 us", beat)
        task = scheduler.task(beat, period="100 us", budget="50 us")
        codes = set()
        for _ in range(30):
            seen.receive(timeout="20 s")
            if (child := os.fork()) == 0:
                try:
                    scheduler.submit(cf.Flag(), deadline=1)
                except cf.ForkedError:
                    with cf.Fabric("child") as own, cf.scheduler.Scheduler() as mine:
                        got = own.subscribe("b")
                        mine.submit(own.publisher("b").prepare({"y": 2}), deadline="1 s")
                        os._exit(got.receive(timeout="20 s").payload["y"])
                os._exit(1)
            codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        scheduler.close()
        report = task.report()
        print(codes, report["errors"], report["completed"] > 0)
    """
    assert run_python(code).stdout == "{2} 0 True\n"
