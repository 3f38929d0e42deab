"""Recordings played back at every speed, and merged by time."""

from __future__ import annotations

import heapq
import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric.errors import ArgumentError, ClosedError, PublishTimeout, SourceError
from chronofabric.fabric.sources import FileSource, ReplaySource
from chronofabric.fabric.stopping import StopToken
from tests.fabric.recording import FastTime, RecordingNode, SimulatedTime, SteppingTime

SECOND = 1_000_000_000


def recording(folder, name, rows, **options):
    path = folder / f"{name}.csv"
    path.write_text("t,value\n" + "".join(f"{time},{value}\n" for time, value in rows))
    return FileSource(path, topic=name, time="t", time_format="s", **options)


def has_published(node, count):
    return len(node.events) == count


def played(source, clock):
    node = RecordingNode(clock)
    source.run(node, StopToken(node.clock))
    return node


@pytest.mark.parametrize("name", ["ambient_temperature", "ec2_request_latency", "machine_temperature"])
def test_a_recorded_stream_gives_the_same_times_and_payloads_at_every_speed(data, name):
    path = data / "nab" / f"{name}_system_failure.csv"

    def sequence(speed, clock):
        source = FileSource(path, topic="nab", time="timestamp", speed=speed, on_error="skip")
        events = played(source, clock).events
        assert source.published == len(events)
        return events

    at_once = sequence("max", SimulatedTime(0))
    assert len(at_once) > 4_000
    assert [time_ns for time_ns, _, _ in at_once] == sorted(time_ns for time_ns, _, _ in at_once)
    for speed in ("recorded", 4.0, 0.5, 1e6):
        assert sequence(speed, FastTime()) == at_once


def test_at_max_the_clock_stands_at_the_time_of_each_row_when_it_is_published(tmp_path):
    source = recording(tmp_path, "a", [(1, 10), (1, 11), (5, 12)], speed="max")
    node = played(source, SimulatedTime(SECOND))
    assert node.clock_times == [time_ns for time_ns, _, _ in node.events] == [SECOND, SECOND, 5 * SECOND]


def test_max_needs_a_clock_that_can_be_set(tmp_path):
    source = recording(tmp_path, "a", [(1, 10)], speed="max")
    with pytest.raises(SourceError, match="simulated time"):
        played(source, SteppingTime())


def test_at_max_a_clock_past_the_first_row_is_an_error_that_says_both_times(tmp_path):
    source = recording(tmp_path, "a", [(1, 10)], speed="max")
    with pytest.raises(SourceError, match=r"a row at 1000000000 ns.* is at 2000000000 ns"):
        played(source, SimulatedTime(2 * SECOND))


@pytest.mark.parametrize(("speed", "due"), [("recorded", [0, 2, 6]), (2.0, [0, 1, 3]), (0.5, [0, 4, 12])])
def test_a_row_is_due_when_as_much_time_has_passed_as_was_recorded_over_the_speed(tmp_path, speed, due):
    origin = 1_000 * SECOND
    clock = SimulatedTime(origin)
    node = RecordingNode(clock)
    stop = StopToken(clock)
    published = threading.Condition()

    def announce(topic, payload):
        with published:
            published.notify_all()

    node.watch = announce
    source = recording(tmp_path, "a", [(7, 1), (9, 2), (13, 3)], speed=speed)
    running = threading.Thread(target=source.run, args=(node, stop))
    running.start()
    for count, seconds in enumerate(due, start=1):
        if seconds:
            clock.set(origin + seconds * SECOND - 1)
            with published:
                assert len(node.events) == count - 1
        clock.set(origin + seconds * SECOND)
        with published:
            assert published.wait_for(partial(has_published, node, count), 30)
    running.join(30)
    assert node.clock_times == [origin + seconds * SECOND for seconds in due]


@given(st.lists(st.lists(st.integers(0, 50), max_size=20), min_size=1, max_size=4))
def test_merged_recordings_come_in_the_order_of_time_then_of_their_sources(tmp_path_factory, recordings):
    folder = tmp_path_factory.mktemp("merge")
    ordered = [sorted(times) for times in recordings]
    sources = [
        recording(folder, f"s{place}", [(time, place) for time in times], speed="max")
        for place, times in enumerate(ordered)
    ]
    node = played(ReplaySource(sources), SimulatedTime(0))
    expected = heapq.merge(*[[(time * SECOND, place) for time in times] for place, times in enumerate(ordered)])
    assert [(time_ns, payload["value"]) for time_ns, _, payload in node.events] == list(expected)
    assert node.clock_times == [time_ns for time_ns, _, _ in node.events]


def test_a_recording_that_breaks_ends_and_the_others_go_on(tmp_path):
    broken = recording(tmp_path, "broken", [(1, 1), ("x", 2), (9, 3)], speed="max")
    whole = recording(tmp_path, "whole", [(2, 1), (4, 2)], speed="max")
    replay = ReplaySource([broken, whole])
    node = RecordingNode(SimulatedTime(0))
    with pytest.raises(SourceError, match=r"broken\.csv, line 3"):
        replay.run(node, StopToken(node.clock))
    assert [topic for _, topic, _ in node.events] == ["broken", "whole", "whole"]
    assert replay.published == 3


def test_all_that_broke_is_named_at_the_end(tmp_path):
    sources = [recording(tmp_path, name, [("x", 2)], speed="max") for name in ("one", "two")]
    with pytest.raises(SourceError, match=r"2 of 2 sources broke: .*one\.csv, line 2.*two\.csv, line 2"):
        played(ReplaySource(sources), SimulatedTime(0))


def test_skipped_rows_and_the_first_time_are_those_of_all_sources(tmp_path):
    sources = [
        recording(tmp_path, "one", [(3, 1), ("x", 2)], speed="max", on_error="skip"),
        recording(tmp_path, "two", [(2, 1), ("x", 2)], speed="max", on_error="skip"),
    ]
    replay = ReplaySource(sources)
    assert replay.first_time_ns() == 2 * SECOND
    played(replay, SimulatedTime(2 * SECOND))
    assert replay.skipped == 2
    assert replay.name == "one.csv + two.csv"


def test_sources_of_different_speed_cannot_be_merged(tmp_path):
    sources = [recording(tmp_path, "one", [(1, 1)], speed="max"), recording(tmp_path, "two", [(1, 1)], speed=2.0)]
    with pytest.raises(ArgumentError, match=r"differ in speed \(2.0, max\)"):
        ReplaySource(sources)
    with pytest.raises(ArgumentError, match="sources is empty"):
        ReplaySource([])


def test_a_blocking_subscription_that_times_out_is_counted_and_ends_nothing(tmp_path):
    source = recording(tmp_path, "a", [(1, 1), (2, 2), (3, 3)], speed="max")
    node = RecordingNode(SimulatedTime(0))

    def refuse_second(topic, payload):
        if len(node.events) == 2:
            raise PublishTimeout("full", topic=topic, subscriptions=("slow",))

    node.watch = refuse_second
    source.run(node, StopToken(node.clock))
    assert (source.published, source.timed_out) == (3, 1)


def test_an_event_that_a_closed_node_refuses_is_not_counted_as_published(tmp_path):
    source = recording(tmp_path, "a", [(1, 1), (2, 2), (3, 3)], speed="max")
    node = RecordingNode(SimulatedTime(0))

    def close_at_second(topic, payload):
        if len(node.events) == 2:
            raise ClosedError("the node is closed", name="node")

    node.watch = close_at_second
    with pytest.raises(ClosedError):
        source.run(node, StopToken(node.clock))
    assert source.published == 1


def test_stop_ends_a_replay_at_max(tmp_path):
    source = recording(tmp_path, "a", [(time, 0) for time in range(100)], speed="max")
    node = RecordingNode(SimulatedTime(0), limit=10)
    node.stop = StopToken(node.clock)
    source.run(node, node.stop)
    assert len(node.events) == 10
