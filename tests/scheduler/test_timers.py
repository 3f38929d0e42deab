"""Timers: when they fire, what they do, what they refuse, and what becomes of them at the end."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import math
import os
import random
import socket
import sys
import threading
import weakref
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

import chronofabric as cf
from chronofabric.scheduler import Realtime, Timers
from chronofabric.scheduler import timers as timers_module
from chronofabric.testing import Simulation
from tests import settable_clock
from tests.subprocesses import run_python

MS = 1_000_000


@pytest.fixture
def timers(clock):
    with Timers(clock=clock) as timers:
        yield timers


# When


def test_timers_for_one_instant_are_called_in_the_order_of_arming_and_at_their_instant(clock, timers):
    seen = []
    for number, delay in enumerate(["3 ms", "1 ms", "3 ms", "2 ms"]):
        timers.after(delay, lambda number=number: seen.append((number, clock.now())))
    clock.advance("10 ms")
    assert seen == [(1, MS), (3, 2 * MS), (0, 3 * MS), (2, 3 * MS)]


def test_an_instant_is_a_datetime_a_stamp_or_nanoseconds(timers):
    stamp = cf.HybridLogicalClock(cf.SimulatedClock(start=5_000_000_000)).now()
    when = datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)
    due = [timers.at(instant, cf.Flag()).due_ns for instant in (when, 9, stamp)]
    assert due[:2] == [7_000_000_000, 9]
    assert abs(due[2] - 5_000_000_000) < 20_000


def test_an_instant_that_has_passed_fires_at_once(clock, timers):
    clock.advance("1 s")
    flag = cf.Flag()
    timers.at(1, flag)
    assert not flag.is_set()
    clock.advance(0)
    assert flag.is_set()


def test_what_a_call_arms_fires_on_the_same_way_forward(clock, timers):
    seen = []

    def again():
        seen.append(clock.now() // MS)
        if len(seen) < 3:
            timers.after("2 ms", again)

    timers.after("1 ms", again)
    clock.advance("10 ms")
    assert seen == [1, 3, 5]


@pytest.mark.parametrize(("missed", "expected"), [("skip", [10, 20, 30]), ("delay", [10, 20, 30])])
def test_a_period_stays_on_its_grid(clock, timers, missed, expected):
    seen = []
    timers.every("10 ms", lambda: seen.append(clock.now() // MS), missed=missed)
    for _ in range(7):
        clock.advance("5 ms")
    assert seen == expected


def test_the_first_tick_is_where_it_is_wanted(clock, timers):
    seen = []
    timers.every("10 ms", lambda: seen.append(clock.now() // MS), first="3 ms")
    clock.advance("25 ms")
    assert seen == [3, 13, 23]


def test_a_timer_is_cancelled_and_armed_again(clock, timers):
    flag = cf.Flag()
    timer = timers.after("1 ms", flag)
    assert timer.armed
    assert timer.cancel()
    assert not timer.cancel()
    clock.advance("5 ms")
    assert not flag.is_set()
    timer.rearm(timedelta(milliseconds=2))
    assert timer.due_ns == 7 * MS
    timer.rearm_at(20 * MS)
    clock.advance("20 ms")
    assert flag.count == 1
    assert timer.due_ns is None


def test_a_periodic_timer_that_is_cancelled_by_what_it_calls_fires_no_more(clock, timers):
    seen = []

    def once():
        seen.append(clock.now())
        timer.cancel()

    timer = timers.every("1 ms", once)
    clock.advance("10 ms")
    assert seen == [MS]


def test_dropping_a_handle_leaves_the_timer_as_it_is(clock, timers):
    flag = cf.Flag()
    timer = timers.after("1 ms", flag)
    del timer
    gc.collect()
    clock.advance("1 ms")
    assert flag.is_set()


# What


def test_a_publisher_publishes_when_it_was_due_and_how_late(clock):
    with cf.Fabric("plant", clock=clock) as fabric:
        ticks = fabric.subscribe("tick")
        fabric.timers.every("10 ms", fabric.publisher("tick"))
        clock.advance("20 ms")
        assert [event.payload for event in ticks.poll_batch(10)] == [
            {"due": 10 * MS, "lateness_ns": 0, "missed": 0},
            {"due": 20 * MS, "lateness_ns": 0, "missed": 0},
        ]


def test_a_c_function_is_called_with_its_instant_and_lateness(clock, timers):
    called = []
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_double)(lambda due, late: called.append((due, late)))
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    timers.after("5 ms", cf.NativeFunction(address, keep=function))
    clock.advance("5 ms")
    assert called == [(5 * MS, 0.0)]


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are of Unix")
def test_a_descriptor_is_written_to_and_one_that_blocks_is_refused(clock, timers):
    read, write = socket.socketpair()
    with read, write:
        with pytest.raises(cf.ArgumentError, match="set_blocking"):
            timers.after("1 ms", write)
        write.setblocking(False)
        timers.after("1 ms", write)
        clock.advance("1 ms")
        assert int.from_bytes(read.recv(8), sys.byteorder) == 1


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="eventfd is of Linux")
def test_an_eventfd_counts_the_firings(clock, timers):
    class Counter:
        def fileno(self):
            return counter

    counter = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        timers.every("1 ms", Counter())
        clock.advance("3 ms")
        assert os.eventfd_read(counter) == 3
    finally:
        os.close(counter)


def test_timers_are_armed_and_cancelled_by_several_threads_while_they_fire():
    flags = [cf.Flag() for _ in range(16)]
    with Timers() as timers:
        held = [timers.after("1 h", flag) for flag in flags]

        def work(seed):
            choose = random.Random(seed)
            for _ in range(500):
                timer = choose.choice(held)
                if choose.random() < 0.3:
                    timer.cancel()
                else:
                    timer.rearm(choose.random() / 10_000)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        while len(timers):
            threading.Event().wait(0.001)
        last = cf.Flag()
        timers.after(0, last)
        assert last.wait("20 s")
        before = [flag.count for flag in flags]
        for timer in held:
            timer.rearm(0)
        assert all(flag.wait("20 s") for flag in flags)
        while [flag.count for flag in flags] != [count + 1 for count in before]:
            threading.Event().wait(0.001)


def closed_socket():
    closed, other = socket.socketpair()
    closed.close()
    other.close()
    return closed


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are of Unix")
@pytest.mark.parametrize("do", [io.StringIO(), closed_socket()])
def test_what_has_no_open_descriptor_is_refused(timers, do):
    with pytest.raises(cf.ArgumentError, match="open") as refused:
        timers.after("1 ms", do)
    assert refused.value.argument == "do"


def test_python_is_called_on_a_real_clock_and_its_starts_are_counted_apart():
    done = threading.Event()
    with Timers() as timers:
        timer = timers.every("1 ms", done.set)
        assert done.wait(20)
        timer.cancel()
        thread = {each.name for each in threading.enumerate()}
        report = timer.report()
    assert "chronofabric-timers" in thread
    assert report["fired"] >= report["called"] >= 1
    assert report["native_start_ns"]["count"] == report["fired"]
    assert report["python_start_ns"]["count"] == report["called"]


def test_native_actions_go_on_while_the_interpreter_is_kept_busy():
    flag = cf.Flag()
    with Timers() as timers:
        timers.every("1 ms", flag)
        until = timers.now() + 50 * MS
        before = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            while timers.now() < until:
                pass
        finally:
            sys.setswitchinterval(before)
        assert flag.count > 0


def test_coroutines_run_on_the_loop_that_entered():
    async def main():
        seen = []
        done = asyncio.Event()

        async def tick():
            seen.append(asyncio.get_running_loop())
            await asyncio.sleep(0)
            done.set()

        async with Timers() as timers:
            timers.every("1 ms", tick)
            await asyncio.wait_for(done.wait(), 20)
        return set(seen) == {asyncio.get_running_loop()}

    assert asyncio.run(main())


def test_a_coroutine_without_a_loop_is_refused(timers):
    async def tick():
        pass

    with pytest.raises(cf.ArgumentError, match="async with"):
        timers.after("1 ms", tick)


# Busy interpreters


@pytest.mark.parametrize(("busy", "calls", "coalesced"), [("coalesce", 1, 4), ("queue", 3, 2)])
def test_ticks_that_find_the_interpreter_busy_join_or_wait_and_are_counted(busy, calls, coalesced):
    entered, leave, seen = threading.Event(), threading.Event(), []

    def hold():
        entered.set()
        leave.wait(20)

    with Timers() as timers:
        timers.after(0, hold)
        assert entered.wait(20)
        timer = timers.every("1 ms", lambda: seen.append(1), busy=busy, waiting_max=3, missed="catch-up")
        while timer.report()["fired"] < 5:
            threading.Event().wait(0.001)
        timer.rearm("1 h")
        fired = timer.report()["fired"]
        leave.set()
        while not timers.idle:
            threading.Event().wait(0.001)
        report = timer.report()
    assert len(seen) == report["called"] == calls
    assert report["coalesced"] == coalesced + fired - 5
    assert report["called"] + report["coalesced"] == report["fired"]


def test_calls_of_a_coroutine_do_not_overlap():
    async def main():
        running, most, done = 0, 0, asyncio.Event()

        async def slow():
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            if timer.report()["called"] >= 3:
                done.set()

        async with Timers() as timers:
            timer = timers.every("1 ms", slow)
            await asyncio.wait_for(done.wait(), 20)
            timer.cancel()
        return most, timer.report()

    most, report = asyncio.run(main())
    assert most == 1
    assert report["coalesced"] > 0
    assert report["called"] + report["coalesced"] + report["discarded"] == report["fired"]


def test_what_waits_for_a_coroutine_that_runs_is_called_after_it_on_simulated_time_too():
    async def slow():
        seen.append(node.clock.now() // MS)
        await asyncio.sleep(0.025)

    seen: list[int] = []
    with Simulation() as simulation:
        node = simulation.fabric()
        node.every("10 ms", busy="coalesce")(slow)
        simulation.advance("100 ms")
    assert seen == [10, 35, 60, 85]


def hold_timers(timers):
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    timers.after(0, hold)
    assert entered.wait(20)
    return leave


@pytest.mark.parametrize("end", [lambda timers, timer: timer.cancel(), lambda timers, timer: timers.close()])
def test_calls_that_wait_when_a_timer_ends_are_not_made_and_are_counted(monkeypatch, end):
    monkeypatch.setattr(timers_module, "_FINISH_S", 0.05)
    with Timers() as timers:
        leave, seen = hold_timers(timers), []
        timer = timers.every("1 ms", lambda: seen.append(1), busy="queue", missed="catch-up")
        while timer.report()["fired"] < 5:
            threading.Event().wait(0.001)
        end(timers, timer)
        leave.set()
        while not timers.idle:
            threading.Event().wait(0.001)
    report = timer.report()
    assert (seen, report["called"], report["coalesced"]) == ([], 0, 0)
    assert report["discarded"] == report["fired"] >= 5


def test_cancelling_takes_back_a_call_that_waits(timers):
    with Timers() as timers:
        leave, seen = hold_timers(timers), []
        timer = timers.after(0, lambda: seen.append(1))
        while timers.report()["fired"] < 2:
            threading.Event().wait(0.001)
        assert (timer.cancel(), timer.cancel()) == (True, False)
        assert timers._core.waiting == 0
        done = threading.Event()
        timers.after(0, done.set)
        leave.set()
        assert done.wait(20)
    assert seen == []


@pytest.mark.parametrize("error", [SystemExit("no"), asyncio.CancelledError("no")])
def test_a_coroutine_that_raises_is_counted_and_ends_nothing_else(error, caplog):
    seen = threading.Event()

    async def broken():
        raise error

    with cf.Fabric("exits") as fabric:
        fabric.every("1 ms", name="broken")(broken)
        fabric.on("a")(lambda event: seen.set())
        while fabric.report().timers[0]["errors"] < 2:
            threading.Event().wait(0.001)
        fabric.publish("a", 1)
        assert seen.wait(20)
    assert "timer broken failed" in caplog.text


def test_a_coroutine_whose_instant_comes_before_its_loop_waits_for_it():
    entered, leave, called = threading.Event(), threading.Event(), threading.Event()

    async def coroutine():
        called.set()

    with cf.Fabric("plant") as fabric:
        fabric.on("hold")(lambda event: (entered.set(), leave.wait(20)))
        fabric.publish("hold", 1)
        assert entered.wait(20)
        timer = fabric.timers.every("1 ms", coroutine)
        while timer.report()["fired"] == 0:
            threading.Event().wait(0.001)
        # As the thread of the node does, where it was called for its timers before it is told to run a loop.
        fabric.timers.serve()
        assert timer.report()["called"] == 0
        leave.set()
        assert called.wait(20)


def test_a_function_that_raises_is_counted_and_reported_and_the_timer_goes_on(clock, timers, caplog):
    def broken():
        raise SystemExit("no")

    timer = timers.every("1 ms", broken)
    clock.advance("3 ms")
    assert timer.report()["errors"] == 3
    [row] = timers.report()["periodic"]
    assert row["error"] == "SystemExit: no"
    assert "failed" in caplog.text


def test_calls_beyond_their_budget_are_counted(clock, timers, caplog):
    timers.every("10 ms", lambda: clock.advance("2 ms"), budget="1 ms", tolerance="1 ms")
    clock.advance("25 ms")
    [row] = timers.report()["periodic"]
    assert (row["fired"], row["overruns"], row["late_starts"], row["late_ends"]) == (2, 2, 0, 2)
    assert "budget" in caplog.text


def test_how_long_calls_take_is_learnt_where_it_is_reported(clock, timers):
    timers.every("10 ms", lambda: clock.advance("2 ms"))
    timers.every("10 ms", cf.Flag())
    clock.advance("100 ms")
    called, native = (row["execution_ns"] for row in timers.report()["periodic"])
    assert (called["count"], called["p50"], called["max"], native) == (10, 2 * MS, 2 * MS, None)


# What Python cannot promise


def test_a_period_below_the_switch_interval_is_warned_of_where_python_is_called(caplog, clock):
    with Timers() as timers, Timers(clock=clock) as simulated:
        timers.every("1 h", print)
        timers.every("1 ms", cf.Flag())
        simulated.every("1 ms", print)
        assert not caplog.records
        timers.every("1 ms", print, name="control")
    [record] = caplog.records
    assert "timer control is to be called within 1 ms" in record.getMessage()
    assert "switch interval of 5 ms" in record.getMessage()


def test_a_deadline_of_a_handler_below_the_switch_interval_is_warned_of(caplog):
    for node in (cf.Fabric("plant"), cf.Fabric("prompt", switch_interval="0.5 ms")):
        node.on("a", deadline="2 ms", name="react")(print)
        node.every("2 ms", name="control")(print)
        node.close()
    assert [record.getMessage().partition(" is")[0] for record in caplog.records] == ["handler react", "timer control"]


# What is refused


@pytest.mark.parametrize(("needs", "do"), [(1, lambda event: None), (2, lambda event, *, why: None)])
def test_a_function_that_needs_arguments_is_refused(timers, needs, do):
    with pytest.raises(cf.ArgumentError, match=f"of which it needs {needs};"):
        timers.after("1 ms", do)


def test_functions_that_need_no_arguments_are_taken(clock, timers):
    class Bound:
        def method(self, how="well"):
            seen.append(how)

    seen: list[str] = []
    for do in (Bound().method, partial(Bound.method, Bound(), "partly"), lambda *all: seen.append("starred")):
        timers.after("1 ms", do)
    clock.advance("1 ms")
    assert seen == ["well", "partly", "starred"]


@pytest.mark.parametrize("instant", [2**63, datetime(9999, 1, 1, tzinfo=UTC)])
def test_an_instant_beyond_the_clock_is_refused_by_name(timers, instant):
    timer = timers.after("1 s", cf.Flag())
    for arm in (lambda: timers.at(instant, cf.Flag()), lambda: timer.rearm_at(instant)):
        with pytest.raises(cf.ArgumentError, match="2262") as refused:
            arm()
        assert refused.value.argument == "instant"
    assert timer.due_ns == 1_000_000_000


@pytest.mark.parametrize("decorate", [cf.Fabric.on, cf.Fabric.every])
def test_a_decorator_without_its_parentheses_is_refused(decorate):
    with cf.Fabric("plant") as fabric, pytest.raises(cf.ArgumentError):
        decorate(fabric, lambda: None)


def test_a_margin_beyond_its_bound_is_refused_as_it_was_written():
    with pytest.raises(cf.ArgumentError, match="spin is '2 s'"):
        Timers(spin="2 s")


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "-1 ms", "5", True, None])
def test_a_delay_that_is_none_is_refused_and_changes_nothing(timers, delay):
    timer = timers.after("1 s", cf.Flag())
    with pytest.raises(cf.ArgumentError):
        timers.after(delay, cf.Flag())
    with pytest.raises(cf.ArgumentError):
        timer.rearm(delay)
    assert (len(timers), timer.due_ns) == (1, 1_000_000_000)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"period": 0}, "period"),
        ({"period": "-1 s"}, "period"),
        ({"budget": "11 ms"}, "budget"),
        ({"budget": 0}, "budget"),
        ({"missed": "ignore"}, "missed"),
        ({"busy": "drop"}, "busy"),
        ({"busy": "queue", "waiting_max": 0}, "waiting_max"),
        ({"do": 5}, "do"),
        ({"tolerance": -1}, "tolerance"),
        ({"first": math.nan}, "first"),
    ],
)
def test_what_cannot_be_is_refused_by_name(timers, options, named):
    with pytest.raises(cf.ArgumentError) as caught:
        timers.every(**({"period": "10 ms", "do": cf.Flag()} | options))
    assert caught.value.argument == named
    assert len(timers) == 0


@pytest.mark.parametrize(
    "options", [{"timers_max": 0}, {"timers_max": True}, {"spin": "2 s"}, {"spin": -1}, {"name": ""}, {"clock": "none"}]
)
def test_timers_with_impossible_options_are_not_made(options):
    with pytest.raises(cf.ChronofabricError):
        Timers(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"scheduling": "idle"},
        {"scheduling": "fifo", "priority": 0},
        {"scheduling": "deadline", "processor": 0},
        {"scheduling": "deadline", "runtime": "2 ms"},
        {"processor": -1},
    ],
)
def test_impossible_wishes_are_refused(options):
    with pytest.raises(cf.ArgumentError):
        Realtime(**options)


def test_the_limit_is_named_and_room_comes_back(clock):
    with Timers(clock=clock, timers_max=2) as timers:
        first = timers.after("1 s", cf.Flag())
        timers.after("1 s", cf.Flag())
        with pytest.raises(cf.TimerLimitError, match="2 timers") as caught:
            timers.after("1 s", cf.Flag())
        assert caught.value.limit == 2
        first.cancel()
        timers.after("1 s", cf.Flag())


def test_what_the_system_refuses_is_named_with_its_cost():
    done = threading.Event()
    with Timers(realtime=Realtime(processor=9_999)) as timers:
        timers.after(0, done.set)
        assert done.wait(20)
        [refused] = timers.refused
    assert refused.option == "processor"
    assert refused.cost in str(refused)


# The end


def test_closing_takes_everything_back_and_refuses_what_comes_after(clock):
    timers = Timers(clock=clock)
    flag = cf.Flag()
    timer = timers.after("1 s", flag)
    assert timers.close() == 1
    assert timers.close() == 0
    clock.advance("2 s")
    assert not flag.is_set()
    for refused in (lambda: timers.after(1, flag), lambda: timer.rearm(1), timers.__enter__):
        with pytest.raises(cf.ClosedError):
            refused()


def test_closing_from_a_call_does_not_wait_for_itself():
    done = threading.Event()
    timers = Timers()

    def close():
        timers.close()
        done.set()

    timers.after(0, close)
    assert done.wait(20)


def test_closing_while_timers_fire_ends_it_and_nothing_acts_afterwards():
    for _ in range(30):
        flag = cf.Flag()
        called: list[int] = []
        timers = Timers()
        for number in range(200):
            timers.every("100 us", flag, first=f"{number} us")
        timers.every("100 us", partial(called.append, 1))
        while flag.count < 500 or not called:
            threading.Event().wait(0.0001)
        closers = [threading.Thread(target=timers.close) for _ in range(3)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(20)
            assert not closer.is_alive()
        seen = flag.count, len(called)
        assert timers.closed
        threading.Event().wait(0.002)
        assert (flag.count, len(called)) == seen


def test_closing_waits_for_the_call_that_runs():
    entered, leave, ended = threading.Event(), threading.Event(), threading.Event()

    def call():
        entered.set()
        leave.wait(20)
        ended.set()

    timers = Timers()
    timers.after(0, call)
    assert entered.wait(20)
    threading.Timer(0.05, leave.set).start()
    timers.close()
    assert ended.is_set()


@settable_clock.needed
def test_timers_follow_a_system_clock_that_is_set(tmp_path, monkeypatch):
    library = settable_clock.library(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    code = """
        import ctypes, sys, threading
        import chronofabric as cf
        set_ahead = ctypes.CDLL(sys.argv[1]).set_ahead
        set_ahead.argtypes = [ctypes.c_longlong]
        HOUR = 3_600_000_000_000
        def wait_for(flag, count=1):
            for _ in range(2_000):
                if flag.count >= count:
                    return True
                threading.Event().wait(0.005)
            return False
        with cf.scheduler.Timers(clock="system") as timers:
            ticks, hour = cf.Flag(), cf.Flag()
            ticking = timers.every("10 ms", ticks)
            timers.after("1 h", hour)
            print(wait_for(ticks), hour.is_set())
            set_ahead(2 * HOUR)
            forward = wait_for(hour), wait_for(ticks, ticks.count + 3)
            print("forward", *forward, ticking.report()["missed_ticks"] > 700_000)
            set_ahead(0)
            soon = cf.Flag()
            timers.after("10 ms", soon)
            seen = ticks.count
            print("back", wait_for(soon), ticks.count - seen <= 1, ticking.due_ns - timers.now() > HOUR)
            ticking.rearm("10 ms")
            print("again", wait_for(ticks, ticks.count + 3))
    """
    finished = run_python(code, library)
    assert finished.stdout == "True False\nforward True True True\nback True True True\nagain True\n"


def test_timers_that_nobody_refers_to_let_go_of_everything(clock):
    class Held:
        pass

    held = Held()
    known = weakref.ref(held)
    timers = Timers(clock=clock)

    def use(held=held):
        return held

    timers.after("1 s", use)
    del held, use, timers
    gc.collect()
    assert known() is None
    clock.advance("2 s")


def test_many_timers_for_one_instant_all_fire(clock):
    with Timers(clock=clock) as timers:
        flag = cf.Flag()
        for _ in range(10_000):
            timers.after("1 s", flag)
        clock.advance("1 s")
        assert flag.count == 10_000


def test_timers_end_with_the_interpreter():
    code = """
        import chronofabric as cf
        timers = cf.scheduler.Timers()
        timers.every("1 ms", lambda: None)
        timers.every("1 ms", cf.Flag())
        fabric = cf.Fabric("plant").__enter__()
        fabric.timers.every("1 ms", lambda: None)
        print("end")
    """
    assert run_python(code).stdout == "end\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_is_told_whose_timers_they_are():
    code = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import chronofabric as cf
        timers = cf.scheduler.Timers()
        timer = timers.every("1 ms", cf.Flag())
        if (child := os.fork()) == 0:
            told = 0
            for use in (timer.cancel, lambda: timer.rearm(1), lambda: timers.after(1, cf.Flag()), lambda: len(timers)):
                try:
                    use()
                except cf.ForkedError as error:
                    told += error.owner_pid == os.getppid()
            timers.close()
            del timer, timers
            os._exit(told)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run_python(code).stdout == "4\n"
