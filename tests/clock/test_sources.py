"""Time sources, as Python sees them."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

import chronofabric as cf
from chronofabric import clock

SECOND = 1_000_000_000
REAL = [cf.SystemClock, cf.CounterClock]


@pytest.mark.parametrize("source", REAL)
def test_a_real_source_reads_the_time_of_the_system(source):
    before = time.time_ns()
    read = source().now()
    after = time.time_ns()
    # The counter is disciplined to the system's clock, which it may trail or lead a little.
    assert before - SECOND // 10 <= read <= after + SECOND // 10


def test_the_counter_never_steps_back():
    source = cf.CounterClock()
    readings = [source.now() for _ in range(10_000)]
    assert readings == sorted(readings)
    assert readings[-1] > readings[0]


def test_the_counter_says_whether_the_processors_own_is_used():
    assert cf.CounterClock().hardware in (True, False)


@pytest.mark.parametrize(
    ("source", "kind", "shown"),
    [
        (cf.SystemClock(), "system", "SystemClock()"),
        (cf.CounterClock(), "counter", "CounterClock()"),
        (cf.SimulatedClock(start=5), "simulated", "SimulatedClock(start=5)"),
    ],
)
def test_a_source_says_what_it_is(source, kind, shown):
    assert isinstance(source, clock.TimeSource)
    assert source.kind == kind
    assert repr(source) == shown


def test_simulated_time_stands_still_until_it_is_told_to_move():
    source = cf.SimulatedClock(start=7)
    assert [source.now() for _ in range(3)] == [7, 7, 7]
    assert cf.SimulatedClock().now() == 0


@pytest.mark.parametrize(
    ("start", "time_ns"),
    [
        (-SECOND, -SECOND),
        (datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), 2 * SECOND),
        (datetime(2013, 12, 2, 21, 15, 0, 250_000, tzinfo=UTC), 1_386_018_900 * SECOND + SECOND // 4),
    ],
)
def test_simulated_time_starts_at_integer_nanoseconds_or_a_datetime(start, time_ns):
    assert cf.SimulatedClock(start=start).now() == time_ns


def test_simulated_time_starts_at_a_stamp():
    stamp = cf.HybridLogicalClock(cf.SimulatedClock(start=3 * SECOND)).now()
    assert cf.SimulatedClock(start=stamp).now() == 3 * SECOND


@pytest.mark.parametrize("start", [1.5, "5 ms", True, datetime(2013, 12, 2), 2**63])  # noqa: DTZ001 - has no zone on purpose
def test_simulated_time_starts_at_nothing_else(start):
    with pytest.raises(cf.ArgumentError):
        cf.SimulatedClock(start=start)


@pytest.mark.parametrize(
    ("duration", "by_ns"),
    [("5 ms", 5_000_000), (timedelta(microseconds=3), 3_000), (2, 2 * SECOND), (0.25, SECOND // 4), ("0 s", 0)],
)
def test_advancing_moves_by_a_duration_and_says_where_time_stands(duration, by_ns):
    source = cf.SimulatedClock(start=100)
    assert source.advance(duration) == 100 + by_ns
    assert source.now() == 100 + by_ns


@pytest.mark.parametrize("duration", [-1, "-1 s", timedelta(seconds=-1), "soon", None, True])
def test_what_is_no_duration_moves_nothing(duration):
    source = cf.SimulatedClock(start=100)
    with pytest.raises(cf.ArgumentError):
        source.advance(duration)
    assert source.now() == 100


def test_simulated_time_can_be_set_forward_and_never_back():
    source = cf.SimulatedClock(start=100)
    source.set(250)
    source.set(250)
    assert source.now() == 250
    with pytest.raises(cf.ClockError, match="249"):
        source.set(249)
    assert source.now() == 250
    source.set(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert source.now() == SECOND


def test_simulated_time_ends_where_64_bits_do():
    source = cf.SimulatedClock(start=2**63 - 1)
    with pytest.raises(cf.ClockError):
        source.advance("1 ns")
    assert source.now() == 2**63 - 1


def test_moves_from_many_threads_add_up():
    source = cf.SimulatedClock()

    def move():
        for _ in range(1_000):
            source.advance("1 us")

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.now() == 4_000_000


class TestRegistry:
    """The registry belongs to the process, so that each test takes back what it named."""

    def test_the_real_sources_are_always_there(self):
        assert {"system", "counter"} <= set(clock.sources())
        assert isinstance(clock.source("system"), cf.SystemClock)
        assert isinstance(clock.source("counter"), cf.CounterClock)

    def test_a_named_source_is_the_same_for_everybody(self):
        simulated = cf.SimulatedClock(start=1)
        clock.register("test/plant", simulated)
        try:
            assert "test/plant" in clock.sources()
            found = clock.source("test/plant")
            simulated.advance("1 s")
            assert (type(found), found.now()) == (cf.SimulatedClock, SECOND + 1)
        finally:
            clock.unregister("test/plant")
        assert "test/plant" not in clock.sources()

    def test_a_source_given_as_itself_is_found_as_itself(self):
        simulated = cf.SimulatedClock(start=1)
        found = clock.source(simulated)
        simulated.advance("1 s")
        assert found.now() == SECOND + 1

    @pytest.mark.parametrize("name", ["system", "counter"])
    def test_names_that_are_always_there_cannot_be_taken_nor_taken_away(self, name):
        with pytest.raises(cf.ClockError):
            clock.register(name, cf.SimulatedClock())
        with pytest.raises(cf.ClockError):
            clock.unregister(name)
        assert clock.source(name).kind == name

    def test_a_name_is_taken_once(self):
        clock.register("test/twice", cf.SimulatedClock(start=1))
        try:
            with pytest.raises(cf.ClockError, match="test/twice"):
                clock.register("test/twice", cf.SimulatedClock(start=2))
            assert clock.source("test/twice").now() == 1
        finally:
            clock.unregister("test/twice")

    def test_an_unknown_name_is_answered_with_the_known_ones(self):
        with pytest.raises(cf.ArgumentError, match=r"counter.*system"):
            clock.source("countr")
        with pytest.raises(cf.ArgumentError, match="countr"):
            clock.unregister("countr")

    @pytest.mark.parametrize("name", ["", " plant", "a\nb", "x" * 256])
    def test_what_is_no_name_is_refused(self, name):
        with pytest.raises(cf.ArgumentError):
            clock.register(name, cf.SimulatedClock())

    @pytest.mark.parametrize("given", [None, 5, object()])
    def test_what_is_neither_a_name_nor_a_source_is_refused(self, given):
        with pytest.raises(cf.ArgumentError, match="clock"):
            clock.source(given)


class TestNode:
    def test_a_node_takes_its_time_from_a_source_given_as_an_object(self):
        simulated = cf.SimulatedClock(start=SECOND)
        with cf.Fabric("plant", clock=simulated) as fabric:
            events = fabric.subscribe("a")
            fabric.publish("a", 1)
            simulated.advance("5 ms")
            fabric.publish("a", 2)
            assert [event.time for event in events.poll_batch(3)] == [SECOND, SECOND + 5_000_000]
            assert fabric.clock.now() == SECOND + 5_000_000
            assert fabric.report().uptime_ns == 5_000_000

    def test_a_node_takes_its_time_from_a_source_by_name(self):
        simulated = cf.SimulatedClock(start=SECOND)
        clock.register("test/node", simulated)
        try:
            with cf.Fabric("plant", clock="test/node") as fabric:
                simulated.advance("1 s")
                assert fabric.clock.now() == 2 * SECOND
                assert fabric.clock.kind == "simulated"
        finally:
            clock.unregister("test/node")

    @pytest.mark.parametrize("name", ["system", "counter"])
    def test_a_node_can_run_on_each_real_source(self, name):
        with cf.Fabric("plant", clock=name) as fabric:
            events = fabric.subscribe("a")
            before = fabric.clock.now()
            fabric.publish("a", 1)
            event = events.poll()
            assert event is not None
            assert before <= event.time <= fabric.clock.now()
            assert fabric.report().clock == name

    @pytest.mark.parametrize("given", ["sundial", None, 5])
    def test_a_node_refuses_what_is_no_source(self, given):
        with pytest.raises(cf.ArgumentError):
            cf.Fabric("plant", clock=given)

    def test_a_timeout_on_simulated_time_passes_when_somebody_advances_it(self):
        simulated = cf.SimulatedClock()
        with cf.Fabric("plant", clock=simulated) as fabric:
            events = fabric.subscribe("a")
            outcome = []

            def receive():
                try:
                    events.receive(timeout="1 h")
                except cf.ReceiveTimeout as error:
                    outcome.append((error.timeout_ns, simulated.now()))

            waiting = threading.Thread(target=receive)
            waiting.start()
            # Whenever the wait begins, an hour later it is over.
            while waiting.is_alive():
                simulated.advance("20 min")
                waiting.join(0.001)
            assert outcome[0][0] == 3600 * SECOND
            assert outcome[0][1] >= 3600 * SECOND

    def test_the_time_of_a_topic_never_steps_back_but_its_stamps_go_on(self):
        with cf.Fabric("plant", clock=cf.SimulatedClock(start=SECOND)) as fabric:
            events = fabric.subscribe("a")
            for recorded in (5, 3, None, 2 * SECOND, None):
                fabric.publish("a", recorded, time=recorded)
            seen = [events.poll() for _ in range(5)]
            assert [event.time for event in seen if event] == [5, 5, SECOND, 2 * SECOND, 2 * SECOND]
            stamps = [event.stamp for event in seen if event]
            assert all(earlier < later for earlier, later in pairwise(stamps))
