"""The timers of a node: where Python is called for them, what its report says, and how they end."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

import chronofabric as cf
from tests.fabric.waiting import eventually

MS = 1_000_000


def test_functions_of_timers_and_handlers_run_in_one_thread():
    threads, done = set(), threading.Event()
    fabric = cf.Fabric("plant")

    @fabric.on("a")
    def handle(event):
        threads.add(threading.current_thread().name)
        done.set()

    @fabric.every("1 ms")
    def tick():
        threads.add(threading.current_thread().name)
        fabric.publish("a", 1)

    with fabric:
        assert done.wait(20)
    assert threads == {"chronofabric-handlers-plant"}


def test_nothing_ticks_before_the_node_is_entered():
    clock = cf.SimulatedClock()
    seen: list[object] = []
    fabric = cf.Fabric("plant", clock=clock)
    fabric.every("10 ms", name="control")(lambda: seen.append(clock.now() // MS))
    fabric.after("1 ms", lambda: seen.append("once"))
    clock.advance("15 ms")
    assert seen == []
    with fabric:
        assert seen == ["once"]
        clock.advance("20 ms")
    assert seen == ["once", 25, 35]


def test_coroutines_run_on_the_loop_that_entered():
    async def main():
        loops, done = set(), asyncio.Event()
        fabric = cf.Fabric("plant")

        @fabric.every("1 ms")
        async def tick():
            loops.add(asyncio.get_running_loop())
            done.set()

        async with fabric:
            await asyncio.wait_for(done.wait(), 20)
        return loops == {asyncio.get_running_loop()}

    assert asyncio.run(main())


def test_coroutines_without_a_loop_run_on_one_in_the_handler_thread():
    threads, done = set(), threading.Event()
    fabric = cf.Fabric("plant")

    async def tick():
        await asyncio.sleep(0)
        threads.add(threading.current_thread().name)
        done.set()

    fabric.every("1 ms")(tick)
    with fabric:
        assert done.wait(20)
        done.clear()
        fabric.after("1 ms", tick)
        assert done.wait(20)
    assert threads == {"chronofabric-handlers-plant"}


def test_a_timer_that_is_added_to_a_running_node_starts_at_once():
    clock, seen = cf.SimulatedClock(), []
    with cf.Fabric("plant", clock=clock) as fabric:
        clock.advance("7 ms")
        fabric.every("10 ms")(lambda: seen.append(clock.now() // MS))
        clock.advance("20 ms")
    assert seen == [17, 27]


def test_the_report_has_a_row_for_each_periodic_timer():
    clock = cf.SimulatedClock()
    fabric = cf.Fabric("plant", clock=clock)

    @fabric.every("10 ms", budget="1 ms", tolerance="100 us")
    def control():
        raise ValueError("no")

    with fabric:
        fabric.timers.every("5 ms", cf.Flag(), name="beat")
        clock.advance("20 ms")
        report = fabric.report()
    control_row, beat = report.timers
    assert control_row["name"].endswith("control")
    assert (control_row["fired"], control_row["called"], control_row["errors"]) == (2, 2, 2)
    assert (control_row["period_ns"], control_row["budget_ns"]) == (10 * MS, MS)
    assert (beat["name"], beat["fired"], beat["late_starts"]) == ("beat", 4, 0)
    assert "timer beat: 4 ticks" in str(report)
    assert report.as_dict()["timers"][1]["name"] == "beat"


def test_closing_lets_calls_that_wait_finish_and_takes_back_the_rest():
    entered, leave, seen = threading.Event(), threading.Event(), []

    def hold():
        entered.set()
        leave.wait(20)

    with cf.Fabric("plant") as fabric:
        fabric.after(0, hold)
        assert entered.wait(20)
        fabric.after(0, lambda: seen.append("waited"))
        far = fabric.after("1 h", lambda: seen.append("never"))
        eventually(lambda: fabric.timers.report()["fired"] == 2)
        closing = threading.Thread(target=fabric.close)
        closing.start()
        eventually(lambda: fabric.timers.closed)
        leave.set()
        closing.join(20)
    assert seen == ["waited"]
    assert not far.armed
    with pytest.raises(cf.ClosedError):
        fabric.after(1, cf.Flag())


def test_a_call_that_never_returns_does_not_keep_the_node_from_closing():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        entered.set()
        leave.wait(20)

    fabric = cf.Fabric("plant")
    with fabric:
        fabric.after(0, hold)
        assert entered.wait(20)
        fabric.close(drain=0.01)
        assert fabric.closed
    leave.set()


def test_a_timer_may_close_its_own_node():
    fabric = cf.Fabric("plant")
    fabric.every("1 ms")(fabric.close)
    fabric.start()
    eventually(lambda: fabric.closed)


def test_the_switch_interval_is_the_shortest_that_is_asked_for_and_restored():
    before = sys.getswitchinterval()
    with cf.Fabric("a", switch_interval="0.5 ms"):
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        with cf.Fabric("b", switch_interval="0.2 ms"):
            assert sys.getswitchinterval() == pytest.approx(0.0002)
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize("interval", [0, -1, "2 s", "5", float("nan")])
def test_a_switch_interval_that_cannot_be_is_refused(interval):
    before = sys.getswitchinterval()
    with pytest.raises(cf.ArgumentError) as caught:
        cf.Fabric("plant", switch_interval=interval)
    assert caught.value.argument == "switch_interval"
    assert sys.getswitchinterval() == before
