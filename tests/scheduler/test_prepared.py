"""Payloads published without the interpreter, and threads woken without it."""

from __future__ import annotations

import gc
import math
import sys
import threading
import weakref

import pyarrow as pa
import pytest

import chronofabric as cf
from chronofabric.scheduler import Timers

MS = 1_000_000
PATIENCE_NS = 20_000 * MS


@pytest.fixture
def fabric(clock):
    with cf.Fabric("plant", clock=clock) as fabric:
        yield fabric


# Payloads


@pytest.mark.parametrize("payload", [None, 3, 2.5, "text", b"bytes", [1, [2]], {"a": {"b": 1}}, (), object()])
def test_every_event_carries_the_very_object(fabric, clock, payload):
    seen = fabric.subscribe("a")
    prepared = fabric.publisher("a").prepare(payload)
    fabric.timers.every("1 ms", prepared)
    fabric.after("1.5 ms", prepared)
    clock.advance("3 ms")
    events = seen.poll_batch(10)
    assert [event.payload is payload for event in events] == [True] * 4
    assert [event.time // 100_000 for event in events] == [10, 15, 20, 30]
    assert seen.books().balanced
    assert (prepared.topic, prepared.payload is payload) == ("a", True)
    assert repr(prepared) == f"PreparedPublish('a', {payload!r})"


def test_payloads_are_received_bare_in_batches_and_by_value(fabric, clock):
    bare, batch, kept = fabric.subscribe("a"), fabric.subscribe("a"), {"x": 1}
    fabric.timers.every("1 ms", fabric.publisher("a").prepare(kept))
    clock.advance("3 ms")
    payloads = bare.payloads()
    assert [next(payloads) is kept for _ in range(3)] == [True] * 3
    assert batch.poll_batch(10).payloads == (kept, kept, kept)


def test_what_a_publisher_gives_its_events_it_gives_these(fabric, clock):
    fabric.subscribe("a", history=0)
    publisher = fabric.publisher("a", priority="urgent", retain=True, deadline="5 ms")
    fabric.after("1 ms", publisher.prepare("kept"))
    fabric.after("1 ms", fabric.publisher("b", priority="low"))
    seen = fabric.subscribe("*")
    clock.advance("2 ms")
    first, second = seen.receive(timeout=0), seen.receive(timeout=0)
    assert (first.payload, first.priority, first.deadline) == ("kept", 3, 6 * MS)
    assert second.priority == 0
    assert fabric.subscribe("a", history=1).receive(timeout=0).payload == "kept"


def test_guards_and_filters_see_the_numbers_that_were_there_when_it_was_prepared(fabric, clock):
    hot, deep = cf.Flag(), cf.Flag()
    fabric.guard("hot", on="a", when="value > 80", do=hot)
    guard = fabric.guard("deep", on="b", when="pump.speed > 10", do=deep)
    matches = fabric.subscribe("b", where="pump.speed > 10")
    differs = fabric.subscribe("b", where="pump.speed > 20")
    payload = {"pump": {"speed": 12}, "name": "P7", 5: 1}
    fabric.after("1 ms", fabric.publisher("a").prepare(81.0))
    fabric.after("1 ms", fabric.publisher("b").prepare(payload))
    clock.advance("2 ms")
    assert (hot.count, deep.count) == (1, 1)
    assert matches.receive(timeout=0).payload is payload
    assert differs.books().filtered == 1
    fabric.after("1 ms", fabric.publisher("b").prepare("no number"))
    clock.advance("2 ms")
    assert guard.report()["errors"] == 1
    assert "there is no number" in guard.report()["error"]


def test_a_bound_in_bytes_counts_what_it_holds(fabric, clock):
    bounded = fabric.subscribe("a", capacity_bytes=2_500)
    fabric.timers.every("1 ms", fabric.publisher("a").prepare(b"x" * 1_000))
    clock.advance("4 ms")
    assert bounded.books().pending == 2
    assert bounded.books().dropped == {"overflow": 2}


def test_arrow_is_imported_once_and_what_can_be_read_once_is_refused(fabric, clock):
    seen = fabric.subscribe("a")
    prepared = fabric.publisher("a", schema="arrow").prepare(pa.table({"x": [1, 2]}))
    fabric.after("1 ms", prepared)
    clock.advance("1 ms")
    assert seen.receive(timeout=0).payload is prepared.payload
    assert isinstance(prepared.payload, cf.Table)
    reader = pa.table({"x": [1]}).to_reader()
    for publisher, payload in ((fabric.publisher("a"), reader), (fabric.publisher("a", schema="arrow"), 5)):
        with pytest.raises(cf.PayloadError) as caught:
            publisher.prepare(payload)
        assert caught.value.topic == "a"


def test_an_object_is_let_go_of_when_nobody_can_publish_or_receive_it_any_more(clock):
    class Held:
        pass

    held = Held()
    known = weakref.ref(held)
    with cf.Fabric("plant", clock=clock) as fabric:
        seen = fabric.subscribe("a", capacity=2)
        timer = fabric.timers.every("1 ms", fabric.publisher("a").prepare(held))
        del held
        clock.advance("10 ms")
        timer.cancel()
        del timer
        gc.collect()
        assert known() is not None, "two events wait"
        seen.poll_batch(10)
        fabric.timers.after("1 ms", cf.Flag())
    del fabric, seen
    gc.collect()
    assert known() is None


def test_a_payload_that_holds_its_own_publish_is_found_by_the_collector(fabric, clock):
    class Held:
        pass

    def hold(publisher):
        held = Held()
        held.prepared = publisher.prepare({"held": held})  # type: ignore[attr-defined]
        return held

    publisher = fabric.publisher("a")
    alone, armed = hold(publisher), hold(publisher)
    timer = fabric.after("1 ms", armed.prepared)
    known = [weakref.ref(each) for each in (alone, armed)]
    del alone, armed
    gc.collect()
    assert (known[0]() is None, known[1]() is None) == (True, False)
    seen = fabric.subscribe("a")
    clock.advance("1 ms")
    del timer
    gc.collect()
    assert known[1]() is not None, "an event carries it"
    assert seen.receive(timeout=0).payload["held"] is known[1]()
    gc.collect()
    assert known[1]() is None


def test_the_references_to_an_object_are_those_of_before():
    payload = object()
    before = sys.getrefcount(payload)
    with cf.Fabric("plant") as fabric:
        seen = fabric.subscribe("a", capacity=16)
        prepared = fabric.publisher("a").prepare(payload)
        timer = fabric.timers.every("100 us", prepared)
        for _ in range(200):
            assert seen.receive(timeout="20 s").payload is payload
        timer.cancel()
    del prepared, timer, seen, fabric
    gc.collect()
    cf.Flag()  # what was let go of without the interpreter is released with it
    assert sys.getrefcount(payload) == before


def test_payloads_are_published_while_the_interpreter_is_kept_busy():
    with cf.Fabric("plant") as fabric:
        seen = fabric.subscribe("a")
        fabric.timers.every("1 ms", fabric.publisher("a").prepare({"alive": True}))
        until_ns = fabric.clock.now() + PATIENCE_NS
        before = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            while (count := seen.books().offered) < 10 and fabric.clock.now() < until_ns:
                pass
        finally:
            sys.setswitchinterval(before)
        assert count >= 10


# Waiting


def test_a_thread_that_waits_for_a_flag_is_woken_by_a_timer():
    flag, woken = cf.Flag(), threading.Event()

    def wait():
        assert flag.wait()
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    with Timers() as timers:
        timers.after("20 ms", flag)
        assert woken.wait(20)
    thread.join(20)
    assert flag.wait(0)


def test_waiting_for_a_flag_ends_after_its_timeout():
    flag = cf.Flag()
    clock = cf.CounterClock()
    started_ns = clock.now()
    assert not flag.wait("10 ms")
    assert clock.now() - started_ns >= 10 * MS
    assert not flag.wait(0)
    flag.set()
    assert flag.wait(timeout="1 s")


@pytest.mark.parametrize("timeout", [-1, math.nan, "5", True])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(cf.ArgumentError) as caught:
        cf.Flag().wait(timeout)
    assert caught.value.argument == "timeout"


def test_sleeping_ends_at_the_instant_and_not_before():
    with Timers() as timers:
        for delay_ns in (-MS, 0, MS, 5 * MS):
            due_ns = timers.now() + delay_ns
            timers.sleep_until(due_ns)
            assert timers.now() >= due_ns
        assert len(timers) == 0


def test_sleeping_on_a_simulated_clock_ends_when_its_time_comes(clock):
    with Timers(clock=clock) as timers:
        slept: list[int] = []
        thread = threading.Thread(target=lambda: (timers.sleep_until(5 * MS), slept.append(clock.now())))
        thread.start()
        while not len(timers):
            threading.Event().wait(0.001)
        clock.advance("4 ms")
        assert slept == []
        clock.advance("1 ms")
        thread.join(20)
        assert slept == [5 * MS]


def test_closing_wakes_who_sleeps_with_an_error():
    errors: list[cf.ClosedError] = []
    timers = Timers()

    def sleep():
        try:
            timers.sleep_until(timers.now() + 3_600_000 * MS)
        except cf.ClosedError as error:
            errors.append(error)

    threads = [threading.Thread(target=sleep) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(timers) < 3:
        threading.Event().wait(0.001)
    assert timers.close() == 3
    for thread in threads:
        thread.join(20)
    assert len(errors) == 3
    with pytest.raises(cf.ClosedError):
        timers.sleep_until(0)
