"""Simulated time: what runs when, in which order, and what is refused."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf
from chronofabric.fabric.sinks import PythonSink
from chronofabric.fabric.sources import FileSource, PythonSource, StdinSource, TimerSource
from chronofabric.testing import Simulation


@pytest.fixture
def node(simulation):
    return simulation.fabric()


# Time moves only when told


def test_nothing_runs_before_the_time_is_moved(simulation, node):
    called: list[cf.Event] = []
    node.on("a")(called.append)
    node.script("a", [(0, "scripted")])
    node.add_source(PythonSource(["from the source"], topic="a"))
    node.publish("a", "published")
    assert (called, simulation.elapsed) == ([], 0.0)
    simulation.advance(0)
    assert [event.payload for event in called] == ["published", "scripted", "from the source"]
    assert simulation.elapsed == 0.0


def test_a_handler_sees_the_instant_of_its_event(simulation, node):
    seen = []
    node.on("a")(lambda event: seen.append((event.payload, event.time, simulation.clock.now())))
    node.script("a", [("1 ms", 1), (timedelta(seconds=1), 2), (2.5, 3), (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 4)])
    simulation.advance("1 h")
    assert seen == [
        (number, instant_ns, instant_ns)
        for number, instant_ns in ((1, 1_000_000), (2, 1_000_000_000), (3, 2_500_000_000), (4, 60_000_000_000))
    ]
    assert simulation.elapsed == 3600.0


def test_an_event_at_the_end_of_an_advance_belongs_to_it_and_one_after_it_does_not(simulation, node):
    readings = node.expect("a")
    node.script("a", [(1, 1), (1.000000001, 2)])
    simulation.advance(1)
    readings.assert_payloads([1])
    simulation.advance("1 ns")
    readings.assert_payloads([1, 2])


def test_a_simulation_may_start_at_any_instant():
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with Simulation(start=start) as simulation:
        node = simulation.fabric()
        readings = node.expect("a")
        node.script("a", [(start + timedelta(seconds=2), "absolute"), (3, "from now")])
        simulation.advance(3)
        readings.assert_between(2, 3)
        assert readings.events[0].time == int(start.timestamp()) * 1_000_000_000 + 2_000_000_000


def test_run_until_stops_at_the_event_that_fulfils_it(simulation, node):
    readings = node.expect("a")
    node.script("a", ((second, second) for second in count()))
    simulation.run_until(lambda: readings.count == 5, within="1 min")
    assert simulation.elapsed == 4.0
    with pytest.raises(AssertionError, match=r"<lambda> did not become true within 10 s\nsimulated time: 14 s"):
        simulation.run_until(lambda: False, within="10 s")


# Order


def test_each_scripted_event_is_handled_before_the_next_of_its_instant(simulation, node):
    log = []
    node.on("first")(lambda event: (log.append(event.payload), node.publish("second", event.payload)))
    node.on("second")(lambda event: log.append(-event.payload))
    node.script("first", [(0, 1), (0, 2)])
    node.script("first", [(0, 3)])
    simulation.advance(0)
    assert log == [1, -1, 2, -2, 3, -3]


def test_no_bounded_queue_overflows_because_a_script_is_quick(simulation, node):
    called: list[cf.Event] = []
    node.on("a", capacity=1, overflow="block")(called.append)
    node.script("a", [(0, number) for number in range(5_000)])
    simulation.advance(0)
    assert [event.payload for event in called] == list(range(5_000))


scripts = st.lists(st.lists(st.integers(0, 20), max_size=8).map(sorted), min_size=1, max_size=5)


@given(scripts=scripts, advances=st.lists(st.integers(0, 10), max_size=6))
def test_scripts_are_merged_by_time_and_then_by_age(scripts, advances):
    with Simulation() as simulation:
        node = simulation.fabric()
        handled = []
        node.on("*")(lambda event: handled.append((event.time, event.topic, event.payload, simulation.clock.now())))
        for index, instants in enumerate(scripts):
            node.script(f"script-{index}", [(instant, number) for number, instant in enumerate(instants)])
        for duration in [*advances, 20]:
            simulation.advance(duration)
        assert simulation.elapsed == sum(advances) + 20
    expected = sorted(
        (instant * 1_000_000_000, index, number)
        for index, instants in enumerate(scripts)
        for number, instant in enumerate(instants)
    )
    assert handled == [(at_ns, f"script-{index}", number, at_ns) for at_ns, index, number in expected]


def everything_at_once(seed):
    """Run handlers, coroutines, sources, guards and two nodes; return what happened, in order."""
    log: list[tuple] = []
    with Simulation(seed=seed) as simulation:
        first, second = simulation.fabric(), simulation.fabric()
        chance = simulation.random

        @first.on("reading")
        def relay(event):
            log.append(("relay", event.payload, simulation.elapsed))
            second.publish("relayed", event.payload, priority=chance.choice(["low", "normal", "urgent"]))

        @second.on("relayed")
        async def slow(event):
            log.append(("in", event.payload, simulation.elapsed))
            await asyncio.sleep(chance.random())
            log.append(("out", event.payload, simulation.elapsed))
            await first.publisher("done").publish_async(event.payload)

        @first.on("done")
        def done(event):
            log.append(("done", event.payload, simulation.elapsed))

        first.guard("high", on="reading", when="value > 0.5", do=lambda event: log.append(("high", simulation.elapsed)))
        first.script("reading", ((number / 7, chance.random()) for number in range(50)))
        first.add_source(PythonSource(chance.random, topic="reading", rate="3 Hz"))
        first.add_source(PythonSource((chance.random() for _ in count()), topic="reading", rate="5 Hz"))
        simulation.advance("10 s")
        carried = [(event.topic, event.time, event.payload, event.stamp.counter) for event in first._recording.events]
    return log, carried


def test_the_same_test_does_the_same_in_every_run():
    once = everything_at_once(seed=1)
    assert len(once[0]) > 200
    assert everything_at_once(seed=1) == once
    assert everything_at_once(seed=2) != once


def test_handlers_and_guard_actions_run_in_the_thread_that_advances(simulation, node):
    threads = set()
    note = lambda event: threads.add(threading.get_ident())  # noqa: E731 - one function, three ways to call it
    node.on("a")(note)
    node.guard("any", on="a", when="value > 0", do=note)

    @node.on("a")
    async def coroutine(event):
        note(event)

    node.script("a", [(0, 1)])
    simulation.advance(0)
    assert threads == {threading.get_ident()}
    assert [handler["calls"] for handler in node.report().handlers] == [1, 1, 1]


# Coroutines


def test_a_coroutine_handler_sleeps_on_simulated_time(simulation, node):
    log = []

    @node.on("a")
    async def slow(event):
        await asyncio.sleep(3600)
        log.append((event.payload, simulation.elapsed))

    node.script("a", [(0, 1), (1, 2)])
    started_s = time.monotonic()
    simulation.advance("3 h")
    assert log == [(1, 3600.0), (2, 7200.0)]
    assert time.monotonic() - started_s < 10


def test_a_coroutine_handler_may_wait_for_another_event_with_a_timeout(simulation, node):
    log = []
    replies = node.subscribe("reply")

    @node.on("request")
    async def ask(event):
        try:
            log.append(((await replies.receive_async(timeout="2 s")).payload, simulation.elapsed))
        except cf.ReceiveTimeout:
            log.append(("timeout", simulation.elapsed))

    node.script("request", [(0, None), (10, None)])
    node.script("reply", [(1.5, "in time")])
    simulation.advance("1 min")
    assert log == [("in time", 1.5), ("timeout", 12.0)]


def test_a_coroutine_that_never_ends_at_one_instant_is_an_error(simulation, node):
    @node.on("a")
    async def spin(event):
        for _ in count():
            await asyncio.sleep(0)

    node.publish("a", 1)
    with pytest.raises(cf.SimulationError, match="the time does not move") as raised:
        simulation.advance(0)
    assert raised.value.time_ns == 0


def test_coroutine_handlers_are_refused_inside_another_loop(simulation, node):
    @node.on("a")
    async def handle(event):
        pass

    async def main():
        simulation.advance(1)

    with pytest.raises(cf.SimulationError, match="not in a coroutine"):
        asyncio.run(main())
    simulation.advance(1)


def test_a_simulation_without_coroutine_handlers_may_be_advanced_by_a_coroutine(simulation, node):
    called: list[cf.Event] = []
    node.on("a")(called.append)
    node.script("a", [(1, 1)])

    async def main():
        simulation.advance(1)

    asyncio.run(main())
    assert len(called) == 1


# Sources and sinks


def test_a_source_runs_at_its_instants_in_turn(simulation, node):
    ticks = node.expect("tick")
    numbers = iter(range(100))
    node.add_source(PythonSource(lambda: next(numbers), topic="tick", rate="10 Hz"))
    simulation.advance(1)
    assert [(event.time, event.payload) for event in ticks.events] == [(n * 100_000_000, n) for n in range(11)]


def test_a_timer_ticks_as_it_does_in_real_time(simulation, node):
    ticks = node.expect("tick")
    node.add_source(TimerSource("tick", rate="10 Hz"))
    guard = node.guard("third", on="tick", when="tick >= 2")
    simulation.advance("350 ms")
    none = {"lateness_ns": 0, "missed": 0}
    ticks.assert_payloads([{"tick": number} | none for number in range(4)])
    assert (guard.fired, simulation.elapsed) == (1, 0.35)
    report = node.report().sources[0]
    assert (report["name"], report["published"], report["missed"]) == ("timer tick", 4, 0)


def test_a_timer_counts_the_ticks_that_it_missed(simulation, node):
    full = node.subscribe("tick", capacity=1, overflow="block", block_timeout="250 ms")
    node.add_source(TimerSource("tick", rate="10 Hz"))
    simulation.advance("150 ms")
    assert full.receive().payload["tick"] == 0
    simulation.advance("300 ms")
    assert full.receive().payload == {"tick": 1, "lateness_ns": 0, "missed": 0}
    simulation.advance("1 ms")
    assert full.receive().payload == {"tick": 3, "lateness_ns": 150_000_000, "missed": 1}
    assert node.report().sources[0]["missed"] == 1


async def numbers_of_a_coroutine():
    for number in range(5):
        yield number


def test_an_asynchronous_source_runs_at_its_instants_too(simulation, node):
    ticks = node.expect("tick")
    node.add_source(PythonSource(numbers_of_a_coroutine, topic="tick", rate="2 Hz"))
    simulation.advance(10)
    assert [(event.time, event.payload) for event in ticks.events] == [(n * 500_000_000, n) for n in range(5)]


def test_a_recording_is_replayed_as_it_was_recorded(simulation, node, tmp_path):
    file = tmp_path / "recorded.ndjson"
    file.write_text("".join(f'{{"at": {second}, "value": {second}}}\n' for second in (100, 103, 3700)), "utf-8")
    readings = node.expect("a")
    node.add_source(FileSource(file, topic="a", time="at", time_format="s"))
    instants = []
    node.on("a")(lambda event: instants.append(simulation.elapsed))
    node.run()
    assert instants == [0.0, 3.0, 3600.0]
    assert [event.time for event in readings.events] == [second * 1_000_000_000 for second in (100, 103, 3700)]


def test_a_source_that_raises_is_a_failure(simulation, node):
    def broken():
        yield 1
        raise LookupError("no more")

    node.add_source(PythonSource(broken, topic="a", name="broken"))
    simulation.advance(1)
    (failure,) = simulation.take_failures()
    assert str(failure) == "source broken of 'node' at 0 s: LookupError: no more"


@pytest.mark.parametrize(
    ("source", "way_out"),
    [
        (lambda folder: StdinSource("a"), "script"),
        (lambda folder: FileSource(folder / "a.csv", topic="a", time="t", speed="max"), "recorded"),
    ],
    ids=["outside", "drives the time"],
)
def test_sources_that_cannot_be_stepped_are_refused(node, tmp_path, source, way_out):
    (tmp_path / "a.csv").write_text("t,v\n2026-01-01T00:00:00,1\n", "utf-8")
    with pytest.raises(cf.UnsupportedError, match=way_out):
        node.add_source(source(tmp_path))
    assert node.report().sources == ()


def test_each_event_of_a_source_is_handled_before_the_next(simulation, node):
    called: list[cf.Event] = []
    node.on("a", capacity=1, overflow="block")(called.append)
    node.add_source(PythonSource(range(3_000), topic="a"))
    simulation.advance(0)
    assert [event.payload for event in called] == list(range(3_000))


def test_a_source_waits_for_room_on_simulated_time(simulation, node):
    full, others = node.subscribe("a", capacity=2, overflow="block", block_timeout="1 s"), node.expect("a")
    node.add_source(PythonSource(range(5), topic="a", name="numbers"))
    simulation.advance("1500 ms")
    others.assert_payloads([0, 1, 2, 3])
    assert full.receive().payload == 0
    simulation.advance("1 min")
    others.assert_payloads(range(5))
    report = node.report().sources[0]
    assert (report["published"], report["timed_out"], report["done"]) == (5, 2, True)
    assert [event.payload for event in full.poll_batch(9)] == [1, 3]


@pytest.mark.parametrize("numbers", [count(), iter(int, 1)], ids=["publishes", "for ever the same"])
def test_a_source_without_end_at_one_instant_is_an_error(simulation, node, monkeypatch, numbers):
    monkeypatch.setattr("chronofabric.testing.stepper._STEPS_MAX", 1_000)
    node.add_source(PythonSource(numbers, topic="a", name="endless"))
    with pytest.raises(cf.SimulationError, match="has no end"):
        simulation.advance(1)


def test_a_source_that_waits_for_something_else_is_told_to_stop(simulation, node, monkeypatch):
    monkeypatch.setattr("chronofabric.testing.turns.SOURCE_S", 0.2)
    go_on = threading.Event()

    def stuck():
        yield 1
        go_on.wait(20)
        yield 2

    node.add_source(PythonSource(stuck, topic="a", name="stuck"))
    with pytest.raises(cf.SimulationError, match="source 'stuck' ran for"):
        simulation.advance(1)
    go_on.set()
    simulation.advance(1)


def test_a_source_that_paces_itself_in_real_time_is_told_to_stop(simulation, node, monkeypatch):
    monkeypatch.setattr("chronofabric.testing.turns.SOURCE_S", 0.2)

    async def paced():
        while True:
            await asyncio.sleep(0.01)
            yield 1

    node.add_source(PythonSource(paced, topic="a", name="paced"))
    with pytest.raises(cf.SimulationError, match="source 'paced' ran for"):
        simulation.advance(1)
    simulation.advance(1)


def test_sinks_get_everything(simulation, node):
    written = []
    node.add_sink(PythonSink(lambda event: written.append(event.payload), topics=["a"]))
    node.script("a", [(number / 1000, number) for number in range(20_000)])
    simulation.advance("1 min")
    simulation.close()
    assert written == list(range(20_000))


# Bounds and bad use


@pytest.mark.parametrize("duration", [-1, "-5 ms", "5 sec", None, "300 h/s", float("nan"), object()], ids=str)
def test_what_is_no_duration_moves_nothing(simulation, node, duration):
    called: list[cf.Event] = []
    node.on("a")(called.append)
    node.publish("a", 1)
    with pytest.raises(cf.ArgumentError):
        simulation.advance(duration)
    assert (simulation.elapsed, called) == (0.0, [])


def test_time_ends_in_2262():
    with Simulation(start=2**63 - 1_000_000_000) as simulation:
        with pytest.raises(cf.ArgumentError, match="2262"):
            simulation.advance(1)
        simulation.advance(0.5)


def test_a_handler_cannot_move_the_time(simulation, node):
    @node.on("a")
    def impatient(event):
        simulation.advance(1)

    @node.on("a")
    async def impatient_too(event):
        simulation.run_until(lambda: True, within=1)

    node.publish("a", 1)
    simulation.advance(0)
    failures = simulation.take_failures()
    assert [type(failure.error) for failure in failures] == [cf.SimulationError] * 2
    assert all("only the test moves the time" in str(failure) for failure in failures)
    assert simulation.elapsed == 0.0


def test_one_thread_moves_the_time(simulation, node):
    entered, go_on = threading.Event(), threading.Event()
    node.on("a")(lambda event: (entered.set(), go_on.wait(20)))
    node.script("a", [(1, 1)])
    thread = threading.Thread(target=lambda: simulation.advance(2))
    thread.start()
    assert entered.wait(20)
    with pytest.raises(cf.SimulationError, match="another thread asked it to advance"):
        simulation.advance(1)
    go_on.set()
    thread.join(20)
    simulation.advance(1)
    assert simulation.elapsed == 3.0


def test_handlers_may_add_handlers_sources_and_nodes(simulation, node):
    log = []

    @node.on("grow")
    def grow(event):
        node.on("a", name="added")(lambda event: log.append(("added", event.payload)))
        node.add_source(PythonSource([1], topic="a"))
        other = simulation.fabric()
        other.on("b")(lambda event: log.append(("other", event.payload)))
        other.script("b", [(1, 2)])

    node.script("grow", [(1, None)])
    simulation.advance(5)
    assert log == [("added", 1), ("other", 2)]


def test_a_script_cannot_move_the_time_and_the_simulation_goes_on(simulation, node):
    readings = node.expect("a")

    def impatient():
        yield 0, 0
        simulation.advance(1)

    node.script("a", impatient())
    node.script("a", [(1, 1)])
    with pytest.raises(cf.SimulationError):
        simulation.advance(2)
    simulation.advance(2)
    readings.assert_payloads([0, 1])


@pytest.mark.parametrize(
    "wait",
    [
        lambda subscription: subscription.receive(),
        lambda subscription: subscription.receive(timeout="1 s"),
        lambda subscription: next(subscription),
        lambda subscription: next(iter(subscription)),
        lambda subscription: next(subscription.payloads()),
        lambda subscription: next(subscription.batches(10)),
        lambda subscription: subscription.wait_ready(),
    ],
    ids=["receive", "timeout", "next", "iter", "payloads", "batches", "wait_ready"],
)
def test_waiting_in_the_thread_of_the_test_is_refused_and_does_not_hang(simulation, node, wait):
    subscription = node.subscribe("a", name="waited for")
    with pytest.raises(cf.WouldDeadlock, match="'waited for' would wait") as raised:
        wait(subscription)
    assert raised.value.subscriptions == ("waited for",)

    @node.on("b")
    def handler(event):
        wait(subscription)

    node.publish("b", 1)
    simulation.advance(0)
    assert [type(failure.error) for failure in simulation.take_failures()] == [cf.WouldDeadlock]


def test_receiving_what_is_there_or_without_waiting_works(node):
    subscription = node.subscribe("a")
    with pytest.raises(cf.ReceiveTimeout):
        subscription.receive(timeout=0)
    node.publish_many("a", [1, 2, 3, 4, 5])
    assert subscription.receive().payload == 1
    assert subscription.receive(timeout="1 s").payload == 2
    assert next(subscription).payload == 3
    assert next(subscription.payloads()) == 4
    assert next(subscription.batches(10)).payloads == (5,)
    subscription.close()
    assert list(subscription) == list(subscription.batches(3)) == []


def test_publishing_to_a_full_subscription_does_not_hang(simulation, node):
    full = node.subscribe("a", capacity=1, overflow="block", block_timeout="1 h")
    node.publish("a", 1)
    with pytest.raises(cf.WouldDeadlock):
        node.publish("a", 2)
    node.script("a", [(1, 3)])
    with pytest.raises(cf.WouldDeadlock):
        simulation.advance(2)
    full.receive()
    simulation.advance(2)
    assert simulation.elapsed == 3.0


def test_another_thread_may_wait(simulation, node):
    subscription = node.subscribe("a")
    received = []
    thread = threading.Thread(target=lambda: received.append(subscription.receive().payload))
    thread.start()
    node.script("a", [(1, 1)])
    simulation.advance(1)
    thread.join(10)
    assert received == [1]


def test_ctrl_c_in_a_handler_ends_the_test(simulation, node):
    @node.on("a")
    def interrupted(event):
        raise KeyboardInterrupt

    node.publish("a", 1)
    with pytest.raises(KeyboardInterrupt):
        simulation.advance(1)
    simulation.advance(1)
    assert simulation.elapsed == 1.0


def test_handlers_that_publish_in_a_circle_are_an_error(simulation, node, monkeypatch):
    monkeypatch.setattr("chronofabric.testing.stepper._STEPS_MAX", 10_000)
    node.on("a")(lambda event: node.publish("b", event.payload))
    node.on("b")(lambda event: node.publish("a", event.payload))
    node.publish("a", 1)
    with pytest.raises(cf.SimulationError, match="do handlers publish in a circle") as raised:
        simulation.advance(1)
    assert "what 'node' carried" in str(raised.value)


def test_a_node_runs_as_its_program_would_run_it(simulation, node):
    node.on("a")(lambda event: event.payload == 3 and node.stop())
    node.script("a", ((second, second) for second in count()))
    node.run("1 h")
    assert simulation.elapsed == 3.0


def test_a_run_without_an_end_is_refused(node):
    with pytest.raises(cf.WouldDeadlock, match="would run for ever"):
        node.run()


def test_a_simulated_node_is_not_entered_asynchronously(node):
    async def main():
        async with node:
            pass

    with pytest.raises(cf.UnsupportedError, match="plain `with`"):
        asyncio.run(main())


def test_the_clock_of_a_node_is_not_chosen(simulation):
    with pytest.raises(cf.ArgumentError, match="its simulation's"):
        simulation.fabric(clock="system")
    assert simulation.fabric("plant", topics_max=5).name == "plant"


def test_simulations_are_independent_of_one_another(simulation, node):
    inner_elapsed = []

    @node.on("a")
    def nested(event):
        with Simulation() as inner:
            other = inner.fabric()
            other.script("b", [(5, 1)])
            inner.advance(event.payload)
            inner_elapsed.append(inner.elapsed)

    node.script("a", [(1, 10), (2, 20)])
    simulation.advance(3)
    assert (inner_elapsed, simulation.elapsed) == ([10.0, 20.0], 3.0)


# Failures and the end


def test_leaving_raises_what_handlers_raised(caplog):
    def leave():
        with Simulation() as simulation:
            node = simulation.fabric()
            node.on("a", name="divide")(lambda event: 1 / event.payload)
            node.publish("a", 0)  # handled when the simulation closes the node

    with pytest.raises(AssertionError, match="handler divide of 'node' on 'a' at 0 s: ZeroDivisionError") as raised:
        leave()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_an_error_of_the_test_keeps_its_place_and_gets_notes(caplog):
    def fail():
        with Simulation() as simulation:
            node = simulation.fabric()
            node.on("a", name="divide")(lambda event: 1 / event.payload)
            node.script("a", [(1, 0)])
            simulation.advance(2)
            simulation.random.random()
            raise LookupError

    with pytest.raises(LookupError) as raised:
        fail()
    notes = "\n".join(raised.value.__notes__)
    assert "simulated time: 2 s" in notes
    assert "CHRONOFABRIC_SEED=0 runs it again" in notes
    assert "handler divide of 'node' on 'a' at 1 s: ZeroDivisionError" in notes


def test_a_handler_that_stops_the_node_on_an_error_ends_a_run(simulation, node):
    node.on("a", on_error="stop")(lambda event: 1 / 0)
    node.script("a", [(1, 1)])
    node.run("1 h")
    assert simulation.elapsed == 1.0
    assert len(simulation.take_failures()) == 1


def test_closing_finishes_what_waits_and_cancels_what_takes_time(simulation):
    node = simulation.fabric()
    handled: list[cf.Event] = []
    cancelled: list[object] = []
    node.on("a")(handled.append)

    @node.on("b")
    async def sleeps(event):
        try:
            await asyncio.sleep(1)
        finally:
            cancelled.append(event.payload)

    node.publish("a", 1)
    node.publish("b", 2)
    started_s = time.monotonic()
    assert node.close() == {}
    simulation.advance(1)
    assert ([event.payload for event in handled], cancelled) == ([1], [2])
    assert time.monotonic() - started_s < 4


def test_a_closed_node_is_not_advanced_and_a_closed_simulation_refuses(simulation):
    first, second = simulation.fabric(), simulation.fabric()
    seen = second.expect("a")
    first.script("a", [(1, 1)])
    first.add_source(PythonSource(lambda: 1, topic="a", rate="1 Hz"))
    second.script("a", [(1, 1)])
    first.close()
    simulation.advance(1)
    seen.assert_count(1)
    simulation.close()
    simulation.close()
    for refused in (lambda: simulation.advance(1), simulation.fabric, lambda: second.script("a", [])):
        with pytest.raises(cf.ClosedError):
            refused()
    with pytest.raises(cf.ClosedError):
        second.expect("a")
    seen.assert_count(1)


def test_a_handler_may_close_its_node_but_not_the_simulation(simulation):
    first, second = simulation.fabric(), simulation.fabric()
    first.on("a")(lambda event: first.close())
    second.on("a")(lambda event: simulation.close())
    first.script("a", [(1, 1), (2, 2)])
    second.script("a", [(3, 3)])
    simulation.advance(4)
    assert first.closed
    assert [str(failure.error)[:20] for failure in simulation.take_failures()] == ["a handler, source or"]


def test_a_simulation_that_is_left_open_says_so():
    def leave_open():
        Simulation()
        gc.collect()

    with pytest.warns(ResourceWarning, match="left open"):
        leave_open()


def test_nothing_of_a_simulation_is_left_running(simulation, node):
    before = threading.active_count()
    node.on("a")(lambda event: None)
    node.add_source(PythonSource(lambda: 1, topic="a", rate="1 Hz"))
    simulation.advance(3)
    simulation.close()
    assert threading.active_count() == before


# Chance


def test_the_seed_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("CHRONOFABRIC_SEED", "7")
    with Simulation() as one, Simulation(seed=7) as other:
        assert one.seed == 7
        assert one.random.random() == other.random.random()
        assert "CHRONOFABRIC_SEED=7 runs it again" in one.summary()
    monkeypatch.setenv("CHRONOFABRIC_SEED", "seven")
    with pytest.raises(cf.ArgumentError, match="CHRONOFABRIC_SEED is 'seven'"):
        Simulation()


def test_it_is_looked_up_only_when_it_is_used():
    assert cf.testing.Simulation is Simulation
    with pytest.raises(AttributeError, match="has no attribute 'tasting'"):
        getattr(cf, "tasting")  # noqa: B009 - a name that a type checker would refuse
