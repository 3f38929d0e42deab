"""This machine's own telemetry, read for real; what is judged are fields and arithmetic, not how busy it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric.errors import ArgumentError
from chronofabric.fabric.sources import HostSource
from chronofabric.fabric.sources.process import ProcessReadings
from chronofabric.fabric.sources.sliding import SlidingDifference
from chronofabric.fabric.stopping import StopToken
from tests.fabric.recording import RecordingNode

MS = 1_000_000


class MachineTime:
    """The monotonic clock of this machine."""

    def now(self):
        return time.monotonic_ns()


def run_until(source, wanted, seconds=60):
    """Run until every wanted topic has come; the events by topic."""
    node = RecordingNode(MachineTime())
    stop = StopToken(node.clock)
    missing = set(wanted)

    def watch(topic, payload):
        missing.discard(topic)
        if not missing:
            stop.set()

    node.watch = watch
    running = threading.Thread(target=source.run, args=(node, stop))
    running.start()
    running.join(seconds)
    stop.set()
    running.join(30)
    assert not missing
    return node


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5)), min_size=1, max_size=60))
def test_a_difference_is_taken_against_the_newest_reading_that_is_a_window_old(steps):
    window = SlidingDifference(200)
    time, count, readings = 0, 0, []
    for elapsed, amount in steps:
        time, count = time + elapsed, count + amount
        readings.append((time, count))
        old = [reading for reading in readings if reading[0] <= time - 200]
        expected = (time - old[-1][0], (float(count - old[-1][1]),)) if old else None
        assert window.add(time, (count,)) == expected


def test_counters_that_step_back_count_as_still_and_another_number_of_them_starts_anew():
    window = SlidingDifference(10)
    window.add(0, (5.0, 1.0))
    assert window.add(10, (3.0, 2.0)) == (10, (0.0, 1.0))
    assert window.add(20, (9.0,)) is None
    assert window.add(30, (10.0,)) == (10, (1.0,))


def test_the_processor_has_a_percentage_for_the_machine_for_the_busiest_and_for_each_core():
    node = run_until(HostSource(rate="200 Hz"), {"host/cpu"})
    fields = node.payloads("host/cpu")[0]
    cores = [fields[f"core_{core}_percent"] for core in range(fields["cores"])]
    assert set(fields) == {
        "percent",
        "busiest_core_percent",
        "cores",
        *(f"core_{core}_percent" for core in range(len(cores))),
    }
    assert len(cores) == psutil.cpu_count()
    assert all(0 <= percent <= 100 for percent in cores)
    assert fields["busiest_core_percent"] == max(cores)
    assert min(cores) - 1e-9 <= fields["percent"] <= max(cores) + 1e-9
    assert all(time is None for time, _, _ in node.events)


def test_every_topic_is_published_or_named_as_left_out():
    source = HostSource("machine", rate="100 Hz", process_table=True, processes=[os.getpid()])
    expected = {f"machine/{name}" for name in ("cpu", "memory", "processes", f"process/{os.getpid()}")}
    node = run_until(source, expected)
    for name in ("cpu", "memory", "disk", "network", "load"):
        left_out = any(reason.startswith(f"{name} (") for reason in source.left_out)
        assert bool(node.payloads(f"machine/{name}")) != left_out
    assert source.published == len(node.events)
    for _, topic, fields in node.events:
        values = [value for name, value in fields.items() if name not in ("top", "busiest_name")]
        assert all(isinstance(value, (int, float)) and value >= 0 for value in values), topic
    table = node.payloads("machine/processes")[0]
    assert 0 <= table["running"] <= table["total"] + 1_000
    assert table["top"] == sorted(table["top"], key=lambda process: -process["percent"])
    assert table["busiest_pid"] == table["top"][0]["pid"]


def test_cheap_rates_are_lower_than_that_of_the_source():
    before = time.monotonic()
    node = run_until(HostSource(rate="200 Hz", process_table=True), {"host/cpu", "host/processes"})
    elapsed = time.monotonic() - before
    for topic in ("host/memory", "host/disk", "host/network", "host/load"):
        assert len(node.payloads(topic)) <= 5 * elapsed + 1
    assert len(node.payloads("host/processes")) == 1
    assert elapsed >= 1


@pytest.fixture
def child():
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys\nprint('ready', flush=True)\nsys.stdin.read(1)\nwhile True: pass"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"ready"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_chosen_process_is_read_at_the_rate_of_the_source(child):
    node = run_until(HostSource(rate="100 Hz", processes=[child.pid]), {f"host/process/{child.pid}"})
    fields = node.payloads(f"host/process/{child.pid}")[0]
    assert set(fields) == {"percent", "rss_bytes", "threads", "alive"}
    assert fields["alive"] == 1
    assert fields["threads"] == 1
    assert fields["rss_bytes"] > 1_000_000


def test_percent_of_a_process_is_its_processor_time_over_the_time_between_the_readings(child):
    readings = ProcessReadings(psutil, child.pid, 200 * MS, 200 * MS)
    assert readings.read(0) is None
    assert readings.read(100 * MS) is None
    process = psutil.Process(child.pid)

    def seconds():
        times = process.cpu_times()
        return times.user + times.system

    before = seconds()
    child.stdin.write(b"x")
    child.stdin.flush()
    while seconds() < before + 0.5:
        pass
    at_least = seconds() - before
    fields = readings.read(1_000 * MS)
    at_most = seconds() - before
    assert fields is not None
    # 900 ms lie between the two readings that are compared; the first was made a little before `before`.
    assert at_least / 0.9 * 100 - 0.01 <= fields["percent"] <= (at_most + 0.05) / 0.9 * 100


@pytest.mark.parametrize("waited_for", [True, False])
def test_a_chosen_process_that_ends_publishes_one_last_event_and_is_counted(child, waited_for):
    topic = f"host/process/{child.pid}"
    source = HostSource(rate="100 Hz", processes=[child.pid])
    node = RecordingNode(MachineTime())
    stop = StopToken(node.clock)
    cpu_after = []

    def watch(name, payload):
        if name == topic and payload["alive"] == 1 and child.poll() is None and not source.ended:
            child.kill()
            if waited_for:
                child.wait()
        elif name == "host/cpu" and source.ended:
            cpu_after.append(payload)
            if len(cpu_after) > 5:
                stop.set()

    node.watch = watch
    running = threading.Thread(target=source.run, args=(node, stop))
    running.start()
    running.join(60)
    stop.set()
    running.join(30)
    events = node.payloads(topic)
    assert [fields["alive"] for fields in events].count(0) == 1
    assert events[-1] == {"percent": 0.0, "rss_bytes": 0, "threads": 0, "alive": 0}
    assert source.ended == 1


def test_a_process_that_does_not_exist_publishes_that_and_the_others_go_on():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    source = HostSource(rate="100 Hz", processes=[gone.pid, os.getpid()])
    node = run_until(source, {f"host/process/{os.getpid()}"})
    assert [fields["alive"] for fields in node.payloads(f"host/process/{gone.pid}")] == [0]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"rate": "2 kHz"}, "rate"),
        ({"rate": 0}, "rate"),
        ({"processes": [0]}, "processes"),
        ({"processes": ["self"]}, "processes"),
        ({"processes": 12}, "processes"),
        ({"processes": range(1, 5_000)}, "processes"),
        ({"process_table": "2 Hz"}, "process_table"),
    ],
)
def test_options_out_of_bounds_are_refused_by_name(options, argument):
    with pytest.raises(ArgumentError) as caught:
        HostSource(**options)
    assert caught.value.argument == argument
    assert caught.value.hint
