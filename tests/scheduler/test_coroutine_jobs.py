"""Jobs that are coroutines: on the running loop, on one that is given, and on a simulated clock."""

from __future__ import annotations

import asyncio
import threading

import pytest

import chronofabric as cf
from chronofabric.scheduler import Scheduler, current_job
from tests.subprocesses import run_python

MS = 1_000_000


async def until(condition):
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.002)
    pytest.fail("it did not come true within 20 s")


def test_coroutines_run_on_the_loop_that_entered_and_know_their_job():
    async def main():
        seen: list[tuple[bool, str]] = []

        async def tick():
            await asyncio.sleep(0)
            job = current_job()
            assert job is not None
            seen.append((asyncio.get_running_loop() is loop, job.name))

        loop = asyncio.get_running_loop()
        async with Scheduler() as scheduler:
            task = scheduler.task(tick, period="2 ms", budget="1 ms", name="tick")
            await until(lambda: len(seen) >= 3)
        report = task.report()
        assert set(seen) == {(True, "tick")}
        assert report["completed"] == len(seen) == report["started"]
        assert current_job() is None

    asyncio.run(main())


def test_coroutines_run_on_the_loop_that_was_given():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    names: list[str] = []
    done = threading.Event()

    async def run():
        names.append(threading.current_thread().name)
        done.set()

    try:
        with Scheduler(loop=loop) as scheduler:
            scheduler.submit(run, deadline="1 s")
            assert done.wait(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
    assert names == [thread.name]


def test_a_worker_waits_for_the_end_of_a_coroutine_before_the_next_job():
    async def main():
        seen: list[str] = []

        async def long():
            seen.append("long begins")
            await asyncio.sleep(0.02)
            seen.append("long ends")

        async with Scheduler() as scheduler:
            scheduler.submit(long, deadline="1 ms")
            await until(lambda: seen)
            last = scheduler.submit(lambda: seen.append("function"), deadline=0)
            await until(lambda: len(seen) == 3)
            assert last.name.endswith("<lambda>")
        assert seen == ["long begins", "long ends", "function"]

    asyncio.run(main())


def test_a_coroutine_that_takes_too_long_is_cancelled_and_sees_its_flag():
    async def main():
        seen: list[str] = []

        async def long():
            job = current_job()
            assert job is not None
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append(f"asked: {job.stop.is_set()}")
                raise

        async with Scheduler() as scheduler:
            task = scheduler.task(long, period="1 s", budget="5 ms", kind="sporadic", on_overrun="stop")
            task.release()
            await until(lambda: task.report()["completed"])
            report = task.report()
        assert (seen, report["overruns"], report["errors"]) == (["asked: True"], 1, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("end", "errors"),
    [
        pytest.param(lambda scheduler, job: job.cancel(), 0, id="its job is cancelled"),
        pytest.param(lambda scheduler, job: scheduler.close(), 1, id="the scheduler is closed on the loop"),
    ],
)
def test_a_coroutine_that_runs_is_cancelled_where(end, errors):
    async def main():
        entered = asyncio.Event()

        async def run():
            entered.set()
            await asyncio.sleep(60)

        async with Scheduler() as scheduler:
            job = scheduler.submit(run, deadline="1 s")
            await entered.wait()
            assert not end(scheduler, job)
            await until(lambda: scheduler.report()["once"]["completed"])
        assert scheduler.report()["once"]["errors"] == errors

    asyncio.run(main())


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no")])
def test_a_coroutine_that_raises_is_counted_and_the_loop_goes_on(error, caplog):
    async def main():
        async def broken():
            raise error

        async with Scheduler() as scheduler:
            task = scheduler.task(broken, period="2 ms", budget="1 ms")
            await until(lambda: task.report()["errors"] >= 2)
            assert task.report()["error"] == f"{type(error).__name__}: no"

    asyncio.run(main())
    assert "failed" in caplog.text


def test_leaving_waits_for_the_coroutine_that_runs():
    async def main():
        seen: list[str] = []

        async def run():
            seen.append("begins")
            await asyncio.sleep(0.02)
            seen.append("ends")

        async with Scheduler() as scheduler:
            scheduler.submit(run, deadline="1 s")
            await until(lambda: seen)
        assert seen == ["begins", "ends"]
        assert scheduler.closed
        assert scheduler.report()["once"]["completed"] == 1

    asyncio.run(main())


def test_a_loop_that_ends_takes_its_jobs_along_and_the_worker_goes_on():
    scheduler = None
    entered = threading.Event()

    async def run():
        entered.set()
        await asyncio.sleep(60)

    async def main():
        nonlocal scheduler
        scheduler = Scheduler(loop=asyncio.get_running_loop())
        scheduler.start()
        scheduler.submit(run, deadline="1 s")
        await until(entered.is_set)

    asyncio.run(main())
    assert scheduler is not None
    done = threading.Event()
    scheduler.submit(done.set, deadline="1 s")
    assert done.wait(20)
    scheduler.submit(run, deadline="1 s")
    for _ in range(10_000):
        if scheduler.report()["once"]["errors"] == 2:
            break
        threading.Event().wait(0.002)
    assert scheduler.report()["once"]["errors"] == 2
    scheduler.close()


def test_a_coroutine_without_a_loop_is_refused():
    async def run():
        pass

    with Scheduler(clock=cf.SimulatedClock()) as scheduler:
        for add in (
            lambda: scheduler.task(run, period="10 ms", budget="1 ms"),
            lambda: scheduler.submit(run, deadline=1),
        ):
            with pytest.raises(cf.ArgumentError, match="async with") as caught:
                add()
            assert caught.value.argument == "function"
        assert scheduler.report()["tasks"] == ()


# On a simulated clock


def test_on_a_simulated_clock_who_moves_the_time_runs_the_loop():
    clock = cf.SimulatedClock()
    loop = asyncio.new_event_loop()
    seen: list[tuple[str, int]] = []

    async def run():
        await asyncio.sleep(0)
        clock.advance("2 ms")
        seen.append(("coroutine", clock.now() // MS))

    with Scheduler(clock=clock, loop=loop, tolerance=0) as scheduler:
        task = scheduler.task(run, period="10 ms", budget="2 ms")
        scheduler.submit(lambda: seen.append(("function", clock.now() // MS)), deadline="1 s")
        clock.advance("25 ms")
        report = task.report()
    loop.close()
    assert seen == [("function", 0), ("coroutine", 12), ("coroutine", 22)]
    assert (report["completed"], report["overruns"], report["late_ends"]) == (2, 0, 0)


def test_on_a_simulated_clock_moved_in_the_loop_the_next_job_waits_for_the_coroutine():
    async def main():
        clock = cf.SimulatedClock()
        seen: list[str] = []
        leave = asyncio.Event()

        async def run():
            seen.append("begins")
            await leave.wait()
            seen.append("ends")

        async with Scheduler(clock=clock) as scheduler:
            scheduler.submit(run, deadline="1 ms")
            scheduler.submit(lambda: seen.append("function"), deadline="2 ms")
            clock.advance("1 ms")
            await until(lambda: seen)
            clock.advance("1 ms")
            assert seen == ["begins"]
            leave.set()
            await until(lambda: len(seen) == 3)
        assert seen == ["begins", "ends", "function"]

    asyncio.run(main())


def test_schedulers_with_coroutines_end_with_the_interpreter():
    code = """
        import asyncio, chronofabric as cf

        async def forever():
            await asyncio.sleep(3_600)

        async def main():
            scheduler = cf.scheduler.Scheduler(loop=asyncio.get_running_loop())
            scheduler.start()
            scheduler.submit(forever, deadline="1 s")
            await asyncio.sleep(0.05)
            return scheduler

        kept = asyncio.run(main())
        print("end")
    """
    assert run_python(code).stdout == "end\n"
