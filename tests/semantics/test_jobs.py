"""Statements about prepared payloads, native jobs and coroutines."""

from __future__ import annotations

import asyncio
import ctypes
import threading

import pytest

import chronofabric as cf
from chronofabric.scheduler import Scheduler, Timers

MS = 1_000_000


def test_s151_a_prepared_publish_carries_the_very_object(fabric, clock):
    payload = {"speed": 12}
    seen, fast = fabric.subscribe("a"), fabric.subscribe("a", where="speed > 10")
    flag = cf.Flag()
    fabric.guard("fast", on="a", when="speed > 10", do=flag)
    prepared = fabric.publisher("a", priority="high", deadline="5 ms", retain=True).prepare(payload)
    payload["speed"] = 1
    start_ns = clock.now()
    fabric.timers.every("1 ms", prepared)
    clock.advance("2 ms")
    events = seen.poll_batch(10)
    assert [event.payload is payload for event in events] == [True, True]
    assert [event.deadline - start_ns for event in events] == [6 * MS, 7 * MS]
    assert {event.priority for event in events} == {2}
    assert (fast.books().pending, flag.count) == (2, 1)
    assert fabric.subscribe("a").receive(timeout=0).payload is payload


def test_s152_native_jobs_functions_and_coroutines_stand_in_one_order(clock):
    seen = []
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_double)(lambda due, waited: seen.append("native"))
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    loop = asyncio.new_event_loop()

    async def coroutine():
        seen.append("coroutine")

    with Scheduler(clock=clock, loop=loop) as scheduler:
        scheduler.submit(lambda: seen.append("function"), deadline="2 ms")
        scheduler.submit(coroutine, deadline="3 ms")
        scheduler.submit(cf.NativeFunction(address, keep=function), deadline="1 ms")
        clock.advance(0)
    loop.close()
    assert seen == ["native", "function", "coroutine"]
    flag = cf.Flag()
    with Scheduler() as scheduler:
        task = scheduler.task(flag, period="1 ms", budget="100 us")
        assert flag.wait("20 s")
    assert task.report()["completed"] == flag.count


def test_s153_a_worker_begins_no_job_before_the_one_before_has_ended():
    async def main():
        seen: list[str] = []
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def long():
            seen.append("begins")
            scheduler.submit(lambda: (seen.append("next"), loop.call_soon_threadsafe(done.set)), deadline=0)
            await asyncio.sleep(0.01)
            seen.append("ends")

        async with Scheduler() as scheduler:
            scheduler.submit(long, deadline="1 s")
            await asyncio.wait_for(done.wait(), 20)
        return seen

    assert asyncio.run(main()) == ["begins", "ends", "next"]


@pytest.mark.parametrize("on_miss", ["run", "skip", "dead-letter"])
def test_s154_every_job_is_in_exactly_one_count(clock, on_miss):
    with Scheduler(clock=clock, tolerance=0, jobs_max=2) as scheduler:
        done: list[int] = []

        def work():
            clock.advance("25 ms")
            done.append(1)
            if len(done) == 5:  # there is more to do than time for it
                task.cancel()

        task = scheduler.task(work, period="10 ms", budget="9 ms", on_miss=on_miss, on_overrun="demote")
        jobs = [scheduler.submit(lambda: None, deadline="1 s") for _ in range(2)]
        assert jobs[0].cancel()
        clock.advance("1 s")
        waiting = scheduler.report()["waiting"]
        reports = [task.report(), scheduler.report()["once"]]
    names = ("completed", "skipped", "dead_lettered", "cancelled", "refused")
    assert sum(report["released"] for report in reports) == waiting + sum(
        report[name] for report in reports for name in names
    )
    assert reports[1]["cancelled"] == 1
    assert task._timer is not None
    ticks = task._timer.report()
    total = scheduler.report()["cancelled_tasks"]
    assert total == {"tasks": 1} | {name: reports[0][name] for name in total if name != "tasks"}
    assert waiting == 0
    assert reports[0]["released"] + reports[0]["missed_ticks"] == ticks["fired"] + ticks["missed_ticks"]


def test_s155_jobs_that_cannot_be_in_time_make_room_where_that_is_asked_for(clock):
    seen = []
    with Scheduler(clock=clock, tolerance=0, order="feasible-first") as scheduler:
        scan = scheduler.task(
            lambda: (clock.advance("8 ms"), seen.append("scan")), period="9 ms", budget="8 ms", kind="sporadic"
        )
        scheduler.submit(lambda: (clock.advance("8 ms"), seen.append("long")), deadline="1 s", name="long")
        clock.advance("1 s")
        scheduler.submit(lambda: clock.advance("5 ms"), deadline="6 ms")
        scheduler.submit(lambda: (clock.advance("8 ms"), seen.append("long")), deadline="10 ms", name="long")
        scheduler.submit(lambda: seen.append("short"), deadline="11 ms", name="short")
        clock.advance("1 s")
        assert seen == ["long", "short", "long"]
        scan.release()
        scheduler.submit(lambda: seen.append("short"), deadline="1 ms", name="short")
        clock.advance("1 s")
        assert seen[3:] == ["scan", "short"]


def test_s156_waiting_ends_with_the_flag_the_instant_the_timeout_or_the_timers():
    flag = cf.Flag()
    assert not flag.wait("1 ms")
    with Timers() as timers:
        timers.after("5 ms", flag)
        assert flag.wait()
        due_ns = timers.now() + 2 * MS
        timers.sleep_until(due_ns)
        assert timers.now() >= due_ns
        threading.Timer(0.02, timers.close).start()
        with pytest.raises(cf.ClosedError):
            timers.sleep_until(timers.now() + 3_600_000 * MS)
