"""The threads of a scheduler, from their start to their end."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

import chronofabric as cf
from chronofabric.scheduler import Scheduler, Timers
from tests.semantics.helpers import until
from tests.subprocesses import run_python


def test_jobs_run_in_the_threads_of_the_workers():
    names, done = set(), threading.Event()

    def run():
        names.add(threading.current_thread().name)
        done.set()

    with Scheduler("plant") as scheduler:
        scheduler.task(run, period="1 ms", budget="500 us")
        assert done.wait(20)
    assert names == {"chronofabric-plant-0"}


def test_closing_says_what_waited_and_refuses_what_comes_after():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    scheduler = Scheduler()
    scheduler.start()
    scheduler.submit(hold, deadline="1 s")
    assert entered.wait(20)
    waits = scheduler.submit(print, deadline="1 s")
    closing = threading.Thread(target=lambda: closed.append(scheduler.close()))
    closed: list[int] = []
    closing.start()
    while not scheduler.closed:
        threading.Event().wait(0.001)
    leave.set()
    closing.join(20)
    assert closed == [1]
    assert scheduler.close() == 0
    assert waits.cancel()
    for refused in (scheduler.start, lambda: scheduler.submit(print, deadline=1)):
        with pytest.raises(cf.ClosedError):
            refused()


def threads_of(name):
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"chronofabric-{name}")]


@pytest.mark.parametrize("native", [False, True])
def test_a_running_scheduler_that_nobody_refers_to_is_collected_and_its_threads_end(native):
    done, flag = threading.Event(), cf.Flag()

    def begin():
        scheduler = Scheduler("dropped", workers=2)
        scheduler.start()
        do = flag if native else done.set
        scheduler.task(do, period="2 ms", budget="500 us", on_miss="dead-letter")
        return weakref.ref(scheduler), weakref.ref(scheduler._timers)

    known, timers = begin()
    assert flag.wait("20 s") if native else done.wait(20)
    until(lambda: gc.collect() >= 0 and known() is None)
    until(lambda: threads_of("dropped") == [])
    until(lambda: timers() is None)
    count = flag.count
    threading.Event().wait(0.01)
    assert flag.count == count


def test_a_scheduler_on_a_simulated_clock_is_collected_too(clock):
    ran: list[int] = []

    def begin():
        scheduler = Scheduler(clock=clock).__enter__()
        scheduler.task(lambda: ran.append(1), period="10 ms", budget="1 ms")
        scheduler.task(cf.Flag(), period="10 ms", budget="1 ms", on_miss="dead-letter")
        clock.advance("25 ms")
        return weakref.ref(scheduler)

    known = begin()
    gc.collect()
    assert known() is None
    clock.advance("1 s")
    assert len(ran) == 2


def test_the_thread_of_timers_that_nobody_refers_to_ends_though_nothing_fires():
    def begin():
        timers = Timers("forgotten")
        timers.after("1 h", print)
        return weakref.ref(timers)

    known = begin()
    until(lambda: gc.collect() >= 0 and known() is None)
    until(lambda: threads_of("forgotten") == [])


@pytest.mark.parametrize("native", [False, True])
def test_dead_letters_keep_no_scheduler(native):
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    def begin():
        scheduler = Scheduler("late", tolerance=0)
        scheduler.start()
        scheduler.submit(hold, deadline="1 s")
        assert entered.wait(20)
        do = cf.Flag() if native else print
        task = scheduler.task(do, period="1 ms", budget="10 us", kind="sporadic", on_miss="dead-letter")
        task.release()
        threading.Event().wait(0.01)
        leave.set()
        until(lambda: scheduler.dead_letters)
        return weakref.ref(scheduler)

    known = begin()
    until(lambda: gc.collect() >= 0 and known() is None)
    until(lambda: threads_of("late") == [])


def test_what_waits_when_a_scheduler_is_dropped_still_runs():
    entered, leave, ran, flag = threading.Event(), threading.Event(), threading.Event(), cf.Flag()

    def hold():
        entered.set()
        leave.wait(20)

    def begin():
        scheduler = Scheduler("left")
        scheduler.start()
        scheduler.submit(hold, deadline="1 s")
        scheduler.submit(ran.set, deadline="2 s")
        scheduler.submit(flag, deadline="3 s")
        return weakref.ref(scheduler)

    known = begin()
    assert entered.wait(20)
    gc.collect()
    assert known() is not None
    leave.set()
    until(lambda: gc.collect() >= 0 and known() is None)
    until(lambda: threads_of("left") == [])
    assert ran.is_set()
    assert flag.count == 1


def test_a_task_keeps_its_scheduler():
    flag = cf.Flag()

    def begin():
        scheduler = Scheduler().__enter__()
        return scheduler.task(flag, period="10 ms", budget="1 ms", kind="sporadic"), weakref.ref(scheduler)

    task, known = begin()
    gc.collect()
    task.release()
    assert flag.wait("20 s")
    scheduler = known()
    assert scheduler is not None
    assert scheduler.close() == 0


def test_schedulers_end_with_the_interpreter():
    code = """
        import chronofabric as cf
        scheduler = cf.scheduler.Scheduler(workers=2).__enter__()
        scheduler.task(lambda: None, period="1 ms", budget="100 us")
        print("end")
    """
    assert run_python(code).stdout == "end\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_is_told_whose_scheduler_it_is():
    code = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import chronofabric as cf
        scheduler = cf.scheduler.Scheduler().__enter__()
        if (child := os.fork()) == 0:
            try:
                scheduler.submit(print, deadline=1)
            except cf.ForkedError:
                scheduler.close()
                os._exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run_python(code).stdout == "3\n"
