"""What a scheduler asks of the system: granted to its workers while they need no interpreter, or refused by name."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import pytest

import chronofabric as cf
from chronofabric.scheduler import Realtime, Scheduler
from tests.semantics.helpers import until

SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_double)

on_linux = pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the class of a thread is asked of Linux")


def policy() -> int:
    """Return the scheduling class of the calling thread."""
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def native(function) -> cf.NativeFunction:
    kept = SIGNATURE(function)
    address = ctypes.cast(kept, ctypes.c_void_p).value
    assert address is not None
    return cf.NativeFunction(address, keep=kept)


@on_linux
@pytest.mark.parametrize("scheduling", ["usual", "fifo"])
def test_a_worker_has_its_class_for_native_jobs_and_lays_it_down_for_those_of_python(scheduling):
    natively: list[int] = []
    called: list[int] = []
    with Scheduler(realtime=Realtime(scheduling=scheduling, priority=1)) as scheduler:
        scheduler.task(native(lambda due, waited: natively.append(policy())), period="2 ms", budget="500 us")
        scheduler.task(lambda: called.append(policy()), period="3 ms", budget="500 us")
        until(lambda: len(natively) > 5 and len(called) > 5)
        granted = scheduling == "fifo" and not scheduler.refused
    assert {refused.option for refused in scheduler.refused} <= {"class"}
    assert set(natively) == {os.SCHED_FIFO if granted else os.SCHED_OTHER}
    assert set(called) == {os.SCHED_OTHER}
    assert policy() == os.SCHED_OTHER


@on_linux
def test_each_worker_has_a_processor_of_its_own():
    first = min(os.sched_getaffinity(0))
    seen: dict[str, set[int]] = {}
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    def run():
        seen[threading.current_thread().name] = os.sched_getaffinity(0)

    with Scheduler(workers=2, realtime=Realtime(processor=first)) as scheduler:
        scheduler.submit(hold, deadline="1 s")
        assert entered.wait(20)
        for _ in range(2):  # one waits behind the first, so that the other is given to the second worker
            scheduler.submit(run, deadline="1 s")
        until(lambda: len(seen) == 1)
        leave.set()
        until(lambda: len(seen) == 2)
        refused = {each.option for each in scheduler.refused}
    usual = os.sched_getaffinity(0)
    second = {first + 1} if first + 1 in usual else usual
    assert sorted(seen.values(), key=sorted) == sorted([{first}, second], key=sorted)
    assert refused == (set() if first + 1 in usual else {"processor"})


@on_linux
def test_processors_are_kept_awake_until_the_scheduler_is_closed():
    def held() -> int:
        return sum(file.resolve() == Path("/dev/cpu_dma_latency") for file in Path("/proc/self/fd").iterdir())

    flag = cf.Flag()
    scheduler = Scheduler(realtime=Realtime(awake_processors=True))
    with scheduler:
        scheduler.task(flag, period="1 ms", budget="100 us")
        assert flag.wait("20 s")
        during = held()
        refused = {each.option for each in scheduler.refused}
    assert (during > 0) == (refused == set())
    assert refused <= {"awake_processors"}
    assert held() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_system_refuses_is_named_once_with_its_cost_and_jobs_run_all_the_same(workers):
    flag, done = cf.Flag(), threading.Event()
    with Scheduler(workers=workers, realtime=Realtime(processor=9_999)) as scheduler:
        scheduler.task(flag, period="1 ms", budget="100 us")
        scheduler.submit(done.set, deadline="1 s")
        assert done.wait(20)
        assert flag.wait("20 s")
        until(lambda: scheduler.refused)
    [refused] = scheduler.refused
    assert refused.option == "processor"
    assert refused.cost in str(refused)


def test_on_a_simulated_clock_nothing_is_asked(clock):
    flag = cf.Flag()
    with Scheduler(clock=clock, realtime=Realtime(processor=9_999)) as scheduler:
        scheduler.task(flag, period="1 ms", budget="100 us")
        clock.advance("1 ms")
        assert (flag.count, scheduler.refused) == (1, ())
