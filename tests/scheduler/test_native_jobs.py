"""Jobs that need no interpreter: C functions, flags, publishers with and without a payload, descriptors."""

from __future__ import annotations

import ctypes
import gc
import socket
import sys
import threading
import weakref

import pytest

import chronofabric as cf
from chronofabric._core import scheduler as core
from chronofabric.scheduler import Scheduler, Timers
from tests.semantics.helpers import until
from tests.subprocesses import run_python

MS = 1_000_000
PATIENCE_NS = 20_000 * MS
SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_double)


def native(function) -> cf.NativeFunction:
    kept = SIGNATURE(function)
    address = ctypes.cast(kept, ctypes.c_void_p).value
    assert address is not None
    return cf.NativeFunction(address, keep=kept)


# On a simulated clock


def test_native_jobs_stand_in_one_order_with_those_of_python(clock):
    seen: list[object] = []
    with Scheduler(clock=clock) as scheduler:
        scheduler.submit(native(lambda due, waited: seen.append(("native", due, waited))), deadline="5 ms")
        scheduler.submit(lambda: seen.append("python"), deadline="3 ms")
        scheduler.submit(lambda: clock.advance("2 ms"), deadline="1 ms")
        clock.advance(0)
    assert seen == ["python", ("native", 0, 2.0 * MS)]


def test_a_native_task_publishes_what_was_prepared(clock):
    with cf.Fabric("plant", clock=clock) as fabric, Scheduler(clock=clock) as scheduler:
        beats = fabric.subscribe("beat")
        task = scheduler.task(fabric.publisher("beat").prepare("alive"), period="10 ms", budget="1 ms", name="beat")
        plain = scheduler.task(fabric.publisher("tick"), period="20 ms", budget="1 ms")
        ticks = fabric.subscribe("tick")
        clock.advance("25 ms")
        assert beats.poll_batch(10).payloads == ("alive", "alive")
        assert ticks.receive(timeout=0).payload == {"due": 20 * MS, "lateness_ns": 0, "missed": 0}
        assert (task.report()["completed"], plain.report()["name"]) == (2, "Publisher")


@pytest.mark.parametrize("on_miss", ["run", "skip", "dead-letter"])
def test_a_native_job_that_is_late_is_treated_as_its_task_says(clock, on_miss):
    flag = cf.Flag()
    with Scheduler(clock=clock, tolerance=0) as scheduler:
        task = scheduler.task(flag, period="10 ms", budget="1 ms", kind="sporadic", on_miss=on_miss, name="flag")
        scheduler.submit(lambda: (task.release(), clock.advance("15 ms")), deadline=0)
        clock.advance("30 ms")
        report = task.report()
        assert (report["late_starts"], flag.count) == (1, on_miss == "run")
        assert (report["skipped"], report["dead_lettered"]) == (on_miss == "skip", on_miss == "dead-letter")
        late = [(missed.job.name, missed.late_ns) for missed in scheduler.dead_letters]
        assert late == ([("flag", 5 * MS)] if on_miss == "dead-letter" else [])


def test_a_native_job_cannot_be_asked_to_stop(clock):
    with Scheduler(clock=clock) as scheduler, pytest.raises(cf.ArgumentError, match="asked to stop") as caught:
        scheduler.task(cf.Flag(), period="10 ms", budget="1 ms", on_overrun="stop")
    assert caught.value.argument == "on_overrun"


@pytest.mark.parametrize("address", [0, -1, "x", 1.5, True, None, 2**64])
def test_what_is_no_address_is_no_native_function(address):
    with pytest.raises(cf.ArgumentError, match=r"^address is .*; it must be the address of a C function") as caught:
        cf.NativeFunction(address)
    assert caught.value.argument == "address"


# In the threads of the workers


@pytest.mark.parametrize("spin", [0, "1 ms"])
def test_native_jobs_come_however_long_their_worker_is_awake_before(spin):
    flag = cf.Flag()
    with Scheduler(spin=spin) as scheduler:
        task = scheduler.task(flag, period="2 ms", budget="500 us")
        until(lambda: flag.count >= 5)
        task.cancel()
        assert task.report()["started"] >= 5


def test_native_jobs_come_and_run_while_the_interpreter_is_kept_busy():
    flag = cf.Flag()
    with Scheduler() as scheduler:
        task = scheduler.task(flag, period="1 ms", budget="500 us")
        clock = cf.CounterClock()
        before = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            until_ns = clock.now() + PATIENCE_NS
            while (seen := flag.count) < 10 and clock.now() < until_ns:
                pass
        finally:
            sys.setswitchinterval(before)
    report = task.report()
    assert seen >= 10
    assert report["completed"] >= seen
    # One may have come at the very end.
    waiting = scheduler.report()["waiting"]
    assert report["released"] == report["completed"] + report["skipped"] + report["refused"] + waiting
    assert report["execution_ns"]["count"] == report["start_ns"]["count"] == report["completed"]


def test_every_kind_of_native_job_runs_in_a_worker():
    called = threading.Event()
    flag = cf.Flag()
    read, write = socket.socketpair()
    write.setblocking(False)
    with read, write, cf.Fabric("plant") as fabric, Scheduler() as scheduler:
        beats = fabric.subscribe("beat")
        scheduler.submit(native(lambda due, waited: called.set()), deadline="10 ms")
        scheduler.submit(flag, deadline="10 ms")
        scheduler.submit(write, deadline="10 ms")
        scheduler.submit(fabric.publisher("beat").prepare([1]), deadline="10 ms")
        assert called.wait(20)
        assert flag.wait("20 s")
        assert beats.receive(timeout="20 s").payload == [1]
        read.settimeout(20)
        assert int.from_bytes(read.recv(8), sys.byteorder) == 1
        until(lambda: scheduler.report()["once"]["completed"] == 4)


def test_a_sporadic_native_job_that_comes_too_soon_counts_as_coming_when_it_may():
    came: list[int] = []
    with Scheduler() as scheduler:
        task = scheduler.task(
            native(lambda due, waited: came.append(due)), period="20 ms", budget="1 ms", kind="sporadic"
        )
        task.release()
        task.release()
        until(lambda: len(came) == 2)
        assert came[1] - came[0] == 20 * MS
        task.cancel()
        with pytest.raises(cf.ClosedError):
            task.release()


def test_after_a_native_job_those_are_next_that_had_come_when_it_ended():
    ran: list[str] = []
    queue = core.DeadlineQueue()
    account = core.JobAccount(
        tolerance_ns=MS, budget_ns=MS, on_miss="run", demotes=False, guaranteed=True, feasible_first=False
    )
    hour_ns = 3_600_000 * MS
    with Timers() as timers:
        now_ns = timers.now()
        # The second comes in an hour, as one may while the next job is chosen: the third had come, and is less urgent.
        for name, comes_ns, deadline_ns in [("first", 0, MS), ("second", hour_ns, 2 * MS), ("third", 0, 3 * MS)]:
            act = native(lambda due, waited, name=name: ran.append(name))
            jobs = core.NativeTask(act, timers._core, queue, account, deadline_ns=deadline_ns - comes_ns, priority=0)
            jobs.release(now_ns + comes_ns)
        queue.push("last", now_ns + 4 * MS)
        assert queue.wait() == (now_ns + 4 * MS, "last")
        assert ran == ["first", "third"]
        # It is not forgotten, and where nothing else waits it is not waited for.
        assert queue.pop() is None
        assert ran == ["first", "third", "second"]


def test_misses_of_native_jobs_are_handed_to_python():
    told: list[cf.scheduler.MissedJob] = []
    flag, entered, leave = cf.Flag(), threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    with Scheduler(tolerance="1 ms") as scheduler:
        handled = scheduler.task(flag, period="5 ms", budget="1 ms", kind="sporadic", on_miss=told.append, name="a")
        lettered = scheduler.task(flag, period="5 ms", budget="1 ms", kind="sporadic", on_miss="dead-letter", name="b")
        scheduler.submit(hold, deadline="1 s")
        assert entered.wait(20)
        handled.release()
        lettered.release()
        threading.Event().wait(0.02)
        leave.set()
        until(lambda: told and scheduler.dead_letters)
        assert [missed.job.name for missed in (*told, *scheduler.dead_letters)] == ["a", "b"]
        assert all(missed.late_ns > MS for missed in (*told, *scheduler.dead_letters))
        assert (handled.report()["skipped"], lettered.report()["dead_lettered"], flag.count) == (1, 1, 0)


def test_a_native_task_that_takes_too_long_is_demoted():
    pause = native(lambda due, waited: threading.Event().wait(0.005))
    with Scheduler() as scheduler:
        task = scheduler.task(pause, period="20 ms", budget="1 ms", on_overrun="demote")
        assert task.guaranteed
        until(lambda: task.report()["overruns"])
        assert not task.guaranteed


def test_jobs_that_find_no_room_are_counted():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    flag = cf.Flag()
    with Scheduler(jobs_max=1) as scheduler:
        scheduler.submit(hold, deadline="1 s")
        assert entered.wait(20)
        task = scheduler.task(flag, period="1 ms", budget="100 us")
        python = scheduler.task(lambda: None, period="1 ms", budget="100 us", otherwise="best-effort")
        until(lambda: task.report()["refused"] > 2 and python.report()["refused"] > 2)
        leave.set()
        task.cancel()
        python.cancel()
        until(lambda: scheduler.report()["waiting"] == 0)
        outcomes = ("completed", "refused", "cancelled")
        for each in (task, python):
            until(lambda each=each: sum(each.report()[name] for name in outcomes) == each.report()["released"])
        assert (flag.count, "1 jobs" in (python.report()["error"] or "")) == (task.report()["completed"], True)


def test_a_native_job_that_waits_is_cancelled():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    flag = cf.Flag()
    with Scheduler() as scheduler:
        scheduler.submit(hold, deadline="1 s")
        assert entered.wait(20)
        job = scheduler.submit(flag, deadline="1 s")
        assert (job.cancel(), job.cancel()) == (True, False)
        leave.set()
    assert not flag.is_set()
    assert scheduler.report()["once"]["cancelled"] == 1


def test_closing_does_not_do_what_waits_and_says_how_much_that_was():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    flag = cf.Flag()
    scheduler = Scheduler()
    scheduler.start()
    scheduler.submit(hold, deadline="1 s")
    assert entered.wait(20)
    for _ in range(3):
        scheduler.submit(flag, deadline="1 s")
    threading.Timer(0.05, leave.set).start()
    assert scheduler.close() == 3
    assert not flag.is_set()


def test_a_native_function_is_kept_as_long_as_a_job_or_a_timer_may_call_it():
    class Kept:
        function: object

    def made():
        kept = Kept()
        action = native(lambda due, late: seen.set())
        kept.function = action.keep
        return cf.NativeFunction(action.address, keep=kept), weakref.ref(kept)

    seen = threading.Event()
    action, known = made()
    with Scheduler() as scheduler, cf.scheduler.Timers() as timers:
        timers.after("20 ms", action)
        scheduler.task(action, period="5 ms", budget="1 ms")
        del action
        gc.collect()
        assert known() is not None
        assert seen.wait(20)
        while len(timers):
            threading.Event().wait(0.001)
    del scheduler, timers
    gc.collect()
    cf.Flag()  # what was let go of without the interpreter is released with it
    assert known() is None


def test_a_native_function_whose_job_still_waits_when_its_scheduler_is_closed_is_let_go_of():
    class Kept:
        pass

    def made():
        kept = Kept()
        action = native(lambda due, late: None)
        kept.function = action.keep  # type: ignore[attr-defined]
        return cf.NativeFunction(action.address, keep=kept), weakref.ref(kept)

    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    action, known = made()
    scheduler = Scheduler()
    scheduler.start()
    scheduler.submit(hold, deadline="1 s")
    assert entered.wait(20)
    scheduler.submit(action, deadline="1 s")
    threading.Timer(0.05, leave.set).start()
    assert scheduler.close() == 1
    assert known() is not None
    del scheduler, action
    gc.collect()
    cf.Flag()  # what was let go of without the interpreter is released with it
    assert known() is None


def test_native_jobs_end_with_the_interpreter():
    code = """
        import chronofabric as cf
        fabric = cf.Fabric("plant").__enter__()
        scheduler = cf.scheduler.Scheduler(workers=2).__enter__()
        scheduler.task(fabric.publisher("a").prepare({"x": object()}), period="1 ms", budget="100 us")
        scheduler.task(cf.Flag(), period="1 ms", budget="100 us")
        subscription = fabric.subscribe("a")
        print(type(subscription.receive(timeout="20 s").payload["x"]).__name__)
    """
    assert run_python(code).stdout == "object\n"
