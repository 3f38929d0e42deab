"""Sources in a running node: what they publish, that it is the same at every speed, what happens when one fails."""

from __future__ import annotations

import asyncio
import csv
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import chronofabric as cf
from chronofabric.fabric.sinks import PythonSink
from chronofabric.fabric.sources import FileSource, HostSource, PythonSource, StdinSource, TimerSource
from chronofabric.scheduler import Realtime
from tests.fabric.waiting import eventually, joined

SECOND = 1_000_000_000
SPEEDS = ("recorded", 4.0, 0.5, "max")


def source_report(fabric, name):
    return next(each for each in fabric.report().sources if each["name"] == name)


def replayed(path, speed, guards, **options):
    """All that a node publishes while it replays a file: (topic, time, payload), in the order of a sink."""
    seen = []
    source = FileSource(path, topic="plant", time="timestamp", speed=speed, **options)
    clock = cf.SimulatedClock(start=source.first_time_ns() if speed == "max" else 0)
    with cf.Fabric("plant", clock=clock) as fabric:
        for name, formula in guards.items():
            fabric.guard(name, on="plant", when=formula, robustness=True)
        fabric.add_sink(PythonSink(lambda event: seen.append((event.topic, event.time, event.payload)), topics="**"))
        fabric.add_source(source)
        if speed != "max":
            eventually(lambda: source.published)
            clock.advance("10000 h")  # every further row is due
        fabric.run()
        assert source_report(fabric, source.name)["errors"] == 0
        figures = [(each["name"], each["fired"], each["evaluated"], each["errors"]) for each in fabric.report().guards]
    assert fabric.report().sinks[0]["written"] == len(seen) == sum(fabric.topics().values())
    return seen, figures


class TestSpeeds:
    GUARDS = {  # noqa: RUF012
        "hot": "historically[0, 10 s](value > 50)",
        "jump": "once[0, 2 s](value < 20) and value > 80",
        "since": "(value > 10) since[0, 30 s] (value > 95)",
    }

    @pytest.fixture
    def recording(self, tmp_path):
        import random

        random_source, time_s = random.Random(3), 1_386_018_900.0
        path = tmp_path / "plant.csv"
        with path.open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["timestamp", "value"])
            for _ in range(600):
                rows.writerow(
                    [datetime.fromtimestamp(time_s, UTC).isoformat(), round(random_source.uniform(0, 100), 2)]
                )
                time_s += random_source.choice([0, 0.25, 1, 1, 1, 7.5])
        return path

    def test_guards_and_windows_answer_the_same_at_every_speed(self, recording):
        (expected, figures), *others = [replayed(recording, speed, self.GUARDS) for speed in SPEEDS]
        assert sum(topic == "plant" for topic, _, _ in expected) == 600
        assert all(fired > 0 for _, fired, _, _ in figures)
        for seen, others_figures in others:
            assert seen == expected
            assert others_figures == figures

    def test_the_time_of_an_event_is_the_recorded_one_at_every_speed(self, recording):
        with recording.open() as stream:
            recorded = [datetime.fromisoformat(row["timestamp"]) for row in csv.DictReader(stream)]
        since_the_epoch = [time - datetime(1970, 1, 1, tzinfo=UTC) for time in recorded]
        wanted = [(s.days * 86_400 + s.seconds) * SECOND + s.microseconds * 1_000 for s in since_the_epoch]
        for speed in SPEEDS:
            assert [time for _, time, _ in replayed(recording, speed, {})[0]] == wanted

    def test_at_most_the_node_stands_at_the_last_recorded_time(self, recording):
        source = FileSource(recording, topic="plant", time="timestamp", speed="max")
        with cf.Fabric("plant", clock=cf.SimulatedClock(start=source.first_time_ns())) as fabric:
            events = fabric.subscribe("plant")
            fabric.add_source(source)
            fabric.run()
            assert fabric.clock.now() == list(events.poll_batch(1_000))[-1].time

    def test_paced_rows_wait_for_their_time(self, tmp_path):
        path = tmp_path / "plant.csv"
        path.write_text("timestamp,value\n1970-01-01 00:00:00,1\n1970-01-01 00:00:08,2\n")
        clock = cf.SimulatedClock(start=100 * SECOND)
        with cf.Fabric("plant", clock=clock) as fabric:
            events = fabric.subscribe("plant")
            fabric.add_source(FileSource(path, topic="plant", time="timestamp", speed=4.0))
            assert events.receive().time == 0
            clock.advance(1.999)
            assert events.poll() is None
            clock.advance("1 ms")
            assert events.receive().time == 8 * SECOND

    def test_speed_max_needs_a_simulated_clock(self, recording):
        with cf.Fabric("plant") as fabric, pytest.raises(cf.ArgumentError, match="SimulatedClock"):
            fabric.add_source(FileSource(recording, topic="plant", time="timestamp", speed="max"))

    def test_a_clock_that_has_passed_the_recording_is_a_reported_failure(self, recording):
        with cf.Fabric("plant", clock=cf.SimulatedClock(start=2_000_000_000 * SECOND)) as fabric:
            fabric.add_source(FileSource(recording, topic="plant", time="timestamp", speed="max"))
            fabric.run()
            report = source_report(fabric, "plant.csv")
        assert (report["errors"], report["published"]) == (1, 0)
        assert "simulated clock" in report["error"]

    def test_a_recorded_machine_failure_is_found_at_every_speed(self, data):
        path = data / "nab" / "machine_temperature_system_failure.csv"
        with path.open() as stream:
            written = [
                (datetime.fromisoformat(row["timestamp"]), float(row["value"])) for row in csv.DictReader(stream)
            ]
        # Where the clocks went back to winter time, eleven rows step back; they are skipped.
        rows: list[tuple[datetime, float]] = []
        for time, value in written:
            if not rows or time >= rows[-1][0]:
                rows.append((time, value))
        assert len(written) - len(rows) == 11
        # The same by hand: below 45 at every sample of the last two hours, both ends included.
        below, expected = 0, []
        for index, (time, _) in enumerate(rows):
            window = [
                value for at, value in rows[max(0, index - 60) : index + 1] if (time - at).total_seconds() <= 7200
            ]
            holds = (time - rows[0][0]).total_seconds() >= 7200 and max(window) < 45
            expected += [time] if holds and not below else []
            below = holds
        assert expected
        for speed in ("max", 3600.0):
            seen, figures = replayed(path, speed, {"cold": "historically[0, 2 h](value < 45)"}, on_error="skip")
            fired = [datetime.fromtimestamp(time / SECOND, UTC) for topic, time, _ in seen if topic == "guard/cold"]
            assert [time.replace(tzinfo=None) for time in fired] == expected
            assert figures == [("cold", len(expected), len(rows), 0)]


class TestFailures:
    def test_a_row_that_breaks_in_the_middle_ends_its_source_after_the_rows_before(self, tmp_path, caplog):
        path = tmp_path / "plant.csv"
        path.write_text(
            "time,value\n" + "".join(f"1970-01-01T00:00:0{n},{n}\n" for n in range(5)) + "1970-01-01T00,\x00"
        )
        with cf.Fabric("plant", clock=cf.SimulatedClock()) as fabric:
            events = fabric.subscribe("**")
            fabric.add_source(FileSource(path, topic="plant", time="time", speed="max"))
            fabric.add_source(PythonSource(range(3), topic="other", name="other"))
            fabric.run()
            reports = [source_report(fabric, name) for name in ("plant.csv", "other")]
            topics = [event.topic for event in events.poll_batch(100)]
        assert [(each["published"], each["errors"], each["done"]) for each in reports] == [(5, 1, True), (3, 0, True)]
        assert "line 7" in reports[0]["error"]
        assert reports[0]["error"].startswith("SourceError: ")
        assert sorted(topics) == ["other"] * 3 + ["plant"] * 5
        assert "Traceback" in caplog.text

    def test_rows_that_are_skipped_are_counted_in_the_report(self, tmp_path):
        path = tmp_path / "plant.csv"
        path.write_text("time,value\n1970-01-01,1\nsoon,2\n1970-01-02,3\n")
        with cf.Fabric("plant", clock=cf.SimulatedClock()) as fabric:
            fabric.add_source(FileSource(path, topic="plant", time="time", speed="max", on_error="skip"))
            fabric.run()
            report = source_report(fabric, "plant.csv")
        assert (report["published"], report["skipped"], report["errors"]) == (2, 1, 0)

    @pytest.mark.parametrize("error", [LookupError("no such valve"), SystemExit(3), KeyboardInterrupt()])
    def test_a_source_that_raises_is_counted_and_logged_and_the_others_go_on(self, caplog, error):
        def broken():
            yield 1
            raise error

        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("**")
            fabric.add_source(PythonSource(broken, topic="broken", name="broken"))
            fabric.add_source(PythonSource(range(5), topic="fine", name="fine"))
            fabric.run()
            reports = [source_report(fabric, name) for name in ("broken", "fine")]
            assert len(events.poll_batch(100)) == 6
        assert [(each["published"], each["errors"]) for each in reports] == [(1, 1), (5, 0)]
        assert reports[0]["error"] == f"{type(error).__name__}: {error}"
        assert "source broken failed" in caplog.text
        assert "Traceback" in caplog.text

    def test_what_the_node_refuses_is_the_failure_of_its_source(self):
        with cf.Fabric("plant") as fabric:
            fabric.add_source(PythonSource([("fine", 1), ("not//fine", 2)], name="pairs"))
            fabric.run()
            report = source_report(fabric, "pairs")
        assert (report["published"], report["errors"]) == (1, 1)
        assert report["error"].startswith("TopicError")

    def test_events_that_a_full_subscription_did_not_take_are_counted_and_the_source_goes_on(self):
        clock = cf.SimulatedClock()
        with cf.Fabric("plant", clock=clock) as fabric:
            full = fabric.subscribe("n", capacity=2, overflow="block", block_timeout="1 s")
            others = fabric.subscribe("n")
            fabric.add_source(PythonSource(range(4), topic="n", name="numbers"))
            while not source_report(fabric, "numbers")["done"]:
                clock.advance("1 s")
            report = source_report(fabric, "numbers")
            assert (report["published"], report["timed_out"], report["errors"]) == (4, 2, 0)
            assert full.books().dropped == {"timeout": 2}
            assert list(others.poll_batch(9).payloads) == [0, 1, 2, 3]


class TestEnd:
    def test_a_run_ends_with_the_last_of_its_finite_sources(self):
        go_on = threading.Event()

        def waits():
            go_on.wait(30)
            yield 1

        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("n")
            fabric.add_source(PythonSource([1, 2], topic="n", name="first"))
            eventually(lambda: source_report(fabric, "first")["done"])
            fabric.add_source(PythonSource(waits, topic="n", name="second"))
            running = threading.Thread(target=fabric.run)
            running.start()
            running.join(0.01)
            assert running.is_alive()
            go_on.set()
            joined(running)
            assert events.pending == 3

    def test_a_source_without_end_is_told_to_stop(self):
        def forever():
            number = 0
            while True:
                yield (number := number + 1)

        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("n", capacity=8)
            fabric.add_source(PythonSource(forever, topic="n", name="forever"))
            eventually(lambda: events.books().offered > 100)
        report = source_report(fabric, "forever")
        assert (report["done"], report["errors"]) == (True, 0)
        assert events.books().balanced

    def test_a_source_that_does_not_stop_is_left_behind_and_named(self, caplog):
        go_on = threading.Event()

        def stuck():
            go_on.wait(30)
            yield 1

        fabric = cf.Fabric("plant")
        fabric.add_source(PythonSource(stuck, topic="n", name="stuck"))
        fabric.start()
        fabric.close(drain="10 ms")
        assert "stuck did not stop" in caplog.text
        assert source_report(fabric, "stuck")["done"] is False
        go_on.set()
        eventually(lambda: source_report(fabric, "stuck")["done"])
        assert source_report(fabric, "stuck")["errors"] == 0  # the node was gone: its end, not its failure

    def test_a_source_added_while_the_node_runs_starts_at_once(self):
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("n")
            fabric.add_source(PythonSource(range(3), topic="n"))
            assert [events.receive(timeout="30 s").payload for _ in range(3)] == [0, 1, 2]

    def test_a_source_may_close_its_node(self):
        def closes():
            yield 1
            fabric.close(drain="1 h")
            yield 2

        fabric = cf.Fabric("plant")
        fabric.add_source(PythonSource(closes, topic="n", name="closes"))
        fabric.start()
        eventually(lambda: fabric.closed and source_report(fabric, "closes")["done"])
        assert source_report(fabric, "closes")["errors"] == 0

    def test_a_stop_that_was_asked_for_is_not_taken_back_by_a_source(self):
        with cf.Fabric("plant") as fabric:
            fabric.stop()
            fabric.add_source(PythonSource(lambda: None, topic="n", rate="10 Hz", name="never"))
            fabric.run()
            assert not fabric.closed

    def test_a_closed_node_takes_no_source(self):
        fabric = cf.Fabric("plant")
        fabric.close()
        with pytest.raises(cf.ClosedError):
            fabric.add_source(PythonSource([1], topic="n"))


class TestPython:
    def test_an_async_iterable_runs_on_a_loop_of_its_thread(self):
        async def numbers():
            for number in range(3):
                await asyncio.sleep(0)
                yield number

        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("n")
            fabric.add_source(PythonSource(numbers, topic="n"))
            fabric.run()
            assert list(events.poll_batch(9).payloads) == [0, 1, 2]

    def test_an_async_iterable_that_waits_is_cancelled_by_closing(self):
        ended = threading.Event()

        async def waits():
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                ended.set()

        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("n")
            fabric.add_source(PythonSource(waits, topic="n", name="waits"))
            events.receive(timeout="30 s")
        assert ended.wait(30)
        assert source_report(fabric, "waits")["errors"] == 0

    def test_a_callable_is_called_at_its_rate_on_the_nodes_clock(self):
        clock = cf.SimulatedClock(start=SECOND)
        with cf.Fabric("plant", clock=clock) as fabric:
            events = fabric.subscribe("n")
            fabric.add_source(PythonSource(clock.now, topic="n", rate="10 Hz", name="now"))
            seen = []
            for _ in range(5):
                seen.append(events.receive().payload)
                clock.advance("100 ms")
            assert seen == [SECOND + n * SECOND // 10 for n in range(5)]


class TestStdin:
    @pytest.mark.skipif(os.name == "nt", reason="waits for pipes by select")
    def test_lines_are_events_until_the_input_ends(self):
        reading, writing = os.pipe()
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("in")
            guard = fabric.guard("hot", on="in", when="value > 80")
            fabric.add_source(StdinSource("in", descriptor=reading))
            os.write(writing, b'{"value": 79}\n{"val')
            assert events.receive(timeout="30 s").payload == {"value": 79}
            os.write(writing, b'ue": 81}\n')
            os.close(writing)
            fabric.run()
            assert events.receive(timeout="30 s").payload == {"value": 81}
            assert guard.fired == 1
        os.close(reading)
        assert source_report(fabric, "stdin")["published"] == 2

    @pytest.mark.skipif(os.name == "nt", reason="waits for pipes by select")
    def test_a_silent_input_does_not_hold_up_closing(self):
        reading, writing = os.pipe()
        with cf.Fabric("plant") as fabric:
            fabric.add_source(StdinSource("in", descriptor=reading))
        assert source_report(fabric, "stdin")["done"]
        os.close(writing)
        os.close(reading)

    @pytest.mark.skipif(os.name == "nt", reason="waits for pipes by select")
    def test_a_line_that_cannot_be_read_is_a_reported_failure(self):
        reading, writing = os.pipe()
        os.write(writing, b"1\n{broken\n3\n")
        os.close(writing)
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("in")
            fabric.add_source(StdinSource("in", descriptor=reading))
            fabric.run()
            assert list(events.poll_batch(9).payloads) == [1]
            report = source_report(fabric, "stdin")
        os.close(reading)
        assert report["errors"] == 1
        assert "line 2" in report["error"]


class TestTimer:
    def test_it_ticks_when_its_nodes_time_comes(self):
        clock = cf.SimulatedClock(start=SECOND)
        with cf.Fabric("plant", clock=clock) as fabric:
            ticks = fabric.subscribe("tick")
            fabric.add_source(TimerSource("tick", rate="10 Hz"))
            seen = []
            for _ in range(4):
                event = ticks.receive()
                seen.append((event.time, event.payload))
                assert ticks.poll() is None
                clock.advance("100 ms")
        none = {"lateness_ns": 0, "missed": 0}
        assert seen == [(SECOND + n * SECOND // 10, {"tick": n} | none) for n in range(4)]

    def test_ticks_whose_time_has_passed_are_counted(self):
        clock = cf.SimulatedClock()
        with cf.Fabric("plant", clock=clock) as fabric:
            ticks = fabric.subscribe("tick")
            fabric.add_source(TimerSource("tick", rate="10 Hz"))
            ticks.receive()
            clock.advance("350 ms")
            late = ticks.receive().payload
            assert late == {"tick": 1, "lateness_ns": 250_000_000, "missed": 2}
            clock.advance("50 ms")
            assert ticks.receive().payload == {"tick": 4, "lateness_ns": 0, "missed": 0}
            assert source_report(fabric, "timer tick")["missed"] == 2

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the processors of a thread are asked of Linux")
    def test_its_thread_asks_the_system_for_what_its_node_says(self):
        def of_timers():
            threads = [task for task in Path("/proc/self/task").iterdir() if task.name not in before]
            return [task for task in threads if (task / "comm").read_text().startswith("chronofabric-ti")]

        first = min(os.sched_getaffinity(0))
        before = {task.name for task in Path("/proc/self/task").iterdir()}
        source = TimerSource("tick", rate="100 Hz")
        assert source.refused == ()
        with cf.Fabric("plant", realtime=Realtime(processor=first)) as fabric:
            ticks = fabric.subscribe("tick")
            fabric.add_source(source)
            ticks.receive(timeout="20 s")
            [thread] = of_timers()
            assert os.sched_getaffinity(int(thread.name)) == {first}
            assert source.refused == ()

    def test_what_the_system_refuses_is_named_and_logged_with_its_cost(self, caplog):
        source = TimerSource("tick", rate="100 Hz")
        with cf.Fabric("plant", realtime=Realtime(processor=9_999)) as fabric:
            ticks = fabric.subscribe("tick")
            fabric.add_source(source)
            ticks.receive(timeout="20 s")
        [refused] = source.refused
        assert refused.option == "processor"
        [record] = caplog.records
        assert (record.name, record.levelname) == ("chronofabric.source", "WARNING")
        assert record.getMessage() == f"timer tick: {refused}"

    def test_on_simulated_time_nothing_is_asked_for(self, caplog):
        source = TimerSource("tick", rate="10 Hz")
        with cf.Fabric("plant", clock=cf.SimulatedClock(), realtime=Realtime(processor=9_999)) as fabric:
            ticks = fabric.subscribe("tick")
            fabric.add_source(source)
            ticks.receive()
        assert (source.refused, caplog.records) == ((), [])

    def test_a_guard_on_a_timer_acts_without_the_interpreter(self):
        flag = cf.Flag()
        with cf.Fabric("plant") as fabric:
            guard = fabric.guard("third", on="tick", when="tick >= 2", do=flag, publish="alarm")
            alarms = fabric.subscribe("alarm")
            fabric.add_source(TimerSource("tick", rate="1 kHz"))
            assert alarms.receive(timeout="30 s").payload["guard"] == "third"
            assert (guard.fired, flag.count) == (1, 1)

    @pytest.mark.parametrize("rate", [0, -1, "fast"])
    def test_a_rate_that_is_none_is_refused(self, rate):
        with pytest.raises(cf.ArgumentError):
            TimerSource("tick", rate=rate)


class TestHost:
    def test_this_machine_and_this_process_are_seen_and_guarded(self):
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("host/**", capacity=10_000)
            alive = fabric.guard("alive", on=f"host/process/{os.getpid()}", when="alive == 1")
            fabric.add_source(HostSource("host", rate="50 Hz", processes=[os.getpid()]))
            wanted, seen = {"host/cpu", "host/memory", "host/load", f"host/process/{os.getpid()}"}, dict[str, Any]()
            while not wanted <= set(seen):
                event = events.receive(timeout="30 s")
                seen[event.topic] = event.payload
            assert alive.fired == 1
            report = source_report(fabric, "host")
        assert 0 <= seen["host/cpu"]["percent"] <= 100
        assert seen[f"host/process/{os.getpid()}"]["rss_bytes"] > 0
        assert report["published"] >= len(wanted)
        assert isinstance(report["left_out"], list)
        assert source_report(fabric, "host")["done"]
