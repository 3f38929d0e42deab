"""Sinks in a running node: everything accepted is written, or its loss is counted and said."""

from __future__ import annotations

import json
import sys
import threading

import pytest

import chronofabric as cf
from chronofabric.fabric.sinks import PARTIAL_SUFFIX, ColumnsSink, NdjsonSink, PythonSink, TerminalSink
from chronofabric.fabric.sources import FileSource, PythonSource
from tests.fabric.waiting import eventually, in_threads, joined
from tests.subprocesses import run_python

FILES = {"ndjson": NdjsonSink, "parquet": ColumnsSink, "arrow": ColumnsSink}


def file_sink(folder, suffix, **options):
    return FILES[suffix](folder / f"events.{suffix}", **options)


def read_back(path):
    return list(FileSource(path, layout="events").rows())


def sink_report(fabric, name):
    return next(each for each in fabric.report().sinks if each["name"] == name)


def books(fabric, name):
    return next(each for each in fabric.report().subscriptions if each["name"] == f"sink {name}")


class Held:
    """A sink that writes nothing until it is let go."""

    name = "held"
    topics = ("**",)

    def __init__(self, go_on):
        self.go_on = go_on
        self.taken = threading.Event()
        self.payloads = []
        self.closed = 0

    def open(self, node):
        pass

    def write(self, events):
        self.taken.set()
        assert self.go_on.wait(30)
        self.payloads += [event.payload for event in events]

    def close(self):
        self.closed += 1


class TestFiles:
    @pytest.mark.parametrize("suffix", sorted(FILES))
    def test_a_file_has_every_event_of_many_publishers_in_their_order(self, tmp_path, suffix):
        sink = file_sink(tmp_path, suffix)
        with cf.Fabric("plant") as fabric:
            fabric.add_sink(sink)
            assert not sink.path.exists()

            def publish(number):
                probe = fabric.publisher(f"plant/{number}")
                for count in range(500):
                    probe.publish({"number": number, "count": count})

            in_threads(4, publish)
        rows = read_back(sink.path)
        assert len(rows) == 2_000
        for number in range(4):
            mine = [payload for _, topic, payload in rows if topic == f"plant/{number}"]
            assert mine == [{"number": number, "count": count} for count in range(500)]
        report = sink_report(fabric, sink.name)
        assert (report["written"], report["skipped"], report["lost"], report["errors"]) == (2_000, 0, 0, 0)
        assert report["dropped"] == 0
        assert [path.name for path in tmp_path.iterdir()] == [sink.path.name]

    @pytest.mark.parametrize("suffix", sorted(FILES))
    def test_a_file_has_only_its_topics_with_guards_and_recorded_times(self, tmp_path, suffix):
        sink = file_sink(tmp_path, suffix, topics=["plant/*", "guard/**"])
        with cf.Fabric("plant", clock=cf.SimulatedClock(start=1_000)) as fabric:
            fabric.guard("hot", on="plant/t", when="value > 80")
            fabric.add_sink(sink)
            fabric.publish("plant/t", {"value": 81.0}, time=77)
            fabric.publish("elsewhere", 1)
        firing = {"guard": "hot", "topic": "plant/t", "robustness": 1.0, "time": 77}
        assert read_back(sink.path) == [(77, "plant/t", {"value": 81.0}), (77, "guard/hot", firing)]

    @pytest.mark.parametrize("suffix", ["parquet", "arrow"])
    def test_tables_are_written_row_by_row(self, tmp_path, suffix):
        numpy = pytest.importorskip("numpy")
        sink = file_sink(tmp_path, suffix)
        with cf.Fabric("plant") as fabric:
            fabric.add_sink(sink)
            fabric.publish("t", cf.Table.from_numpy({"x": numpy.arange(3.0)}))
        assert [payload for _, _, payload in read_back(sink.path)] == [{"x": 0.0}, {"x": 1.0}, {"x": 2.0}]

    @pytest.mark.parametrize("suffix", sorted(FILES))
    def test_what_a_file_cannot_hold_is_skipped_and_counted(self, tmp_path, suffix):
        sink = file_sink(tmp_path, suffix)
        with cf.Fabric("plant") as fabric:
            fabric.add_sink(sink)
            fabric.publish_many("a", [{"x": 1}, {"x": object()}, {"x": 2}])
        report = sink_report(fabric, sink.name)
        assert (report["written"], report["skipped"], report["lost"], report["errors"]) == (2, 1, 0, 0)
        assert [payload for _, _, payload in read_back(sink.path)] == [{"x": 1}, {"x": 2}]

    @pytest.mark.parametrize("suffix", sorted(FILES))
    def test_a_node_without_events_leaves_a_file_that_can_be_read(self, tmp_path, suffix):
        sink = file_sink(tmp_path, suffix)
        with cf.Fabric("plant") as fabric:
            fabric.add_sink(sink)
        assert read_back(sink.path) == []

    @pytest.mark.parametrize("suffix", sorted(FILES))
    def test_an_existing_file_is_refused_on_entering_and_stays(self, tmp_path, suffix):
        taken, other = file_sink(tmp_path, suffix), NdjsonSink(tmp_path / "other.ndjson")
        taken.path.write_text("kept")
        fabric = cf.Fabric("plant")
        fabric.add_sink(other)
        fabric.add_sink(taken)
        with pytest.raises(cf.SinkError, match="exists"):
            fabric.__enter__()
        fabric.close()
        assert taken.path.read_text() == "kept"
        # The one that was open already is finished, and nothing half is left.
        eventually(other.path.exists)
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(PARTIAL_SUFFIX)]

    def test_a_recording_replayed_is_the_recording(self, tmp_path):
        first, second = NdjsonSink(tmp_path / "first.ndjson"), NdjsonSink(tmp_path / "second.ndjson")
        with cf.Fabric("plant") as fabric:
            fabric.add_sink(first)
            for number in range(100):
                fabric.publish(f"plant/{number % 3}", {"n": number})
        source = FileSource(first.path, layout="events", speed="max")
        with cf.Fabric("again", clock=cf.SimulatedClock(start=source.first_time_ns())) as fabric:
            fabric.add_sink(second)
            fabric.add_source(source)
            fabric.run()
        assert read_back(second.path) == read_back(first.path)


class TestLife:
    def test_what_was_published_before_the_node_was_entered_is_written(self):
        seen = []
        fabric = cf.Fabric("plant")
        fabric.add_sink(PythonSink(lambda event: seen.append(event.payload), topics="a"))
        fabric.publish_many("a", range(3))
        with fabric:
            fabric.publish("a", 3)
        assert seen == [0, 1, 2, 3]

    def test_a_sink_added_while_the_node_runs_gets_what_follows(self):
        seen = []
        with cf.Fabric("plant") as fabric:
            fabric.publish("a", 1)
            fabric.add_sink(PythonSink(lambda event: seen.append(event.payload), topics="a"))
            fabric.publish("a", 2)
        assert seen == [2]

    def test_a_sink_that_cannot_be_opened_while_the_node_runs_is_not_added(self, tmp_path):
        (tmp_path / "events.ndjson").write_text("kept")
        with cf.Fabric("plant") as fabric:
            with pytest.raises(cf.SinkError):
                fabric.add_sink(NdjsonSink(tmp_path / "events.ndjson"))
            assert fabric.report().sinks == ()
            fabric.publish_many("a", range(20_000))  # nothing blocks on it

    def test_a_closed_node_takes_no_sink(self):
        fabric = cf.Fabric("plant")
        fabric.close()
        with pytest.raises(cf.ClosedError):
            fabric.add_sink(PythonSink(print))

    def test_a_sink_may_close_its_node(self):
        fabric = cf.Fabric("plant")
        fabric.add_sink(PythonSink(lambda event: fabric.close(drain="1 h"), name="closes"))
        fabric.start()
        fabric.publish("a", 1)
        eventually(lambda: fabric.closed)
        assert sink_report(fabric, "closes")["errors"] == 0

    def test_the_terminal_shows_a_line_for_each_event(self, capsys):
        with cf.Fabric("plant") as fabric:
            fabric.add_sink(TerminalSink(topics="plant/**", stream="stdout"))
            fabric.publish("plant/7/temperature", 21.5)
            fabric.publish("elsewhere", 1)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1
        assert "plant/7/temperature" in lines[0]
        assert "21.5" in lines[0]


class TestSlow:
    def test_a_slow_sink_holds_publishers_up_and_nothing_is_lost(self):
        # On simulated time, where no timeout passes.
        count, go_on = 12_000, threading.Event()
        with cf.Fabric("plant", clock=cf.SimulatedClock()) as fabric:
            held = Held(go_on)
            fabric.add_sink(held)
            fabric.add_source(PythonSource(range(count), topic="n", name="numbers"))
            held.taken.wait(30)
            eventually(lambda: books(fabric, "held")["pending"] >= 8192)
            assert fabric.report().sources[0]["done"] is False
            go_on.set()
            fabric.run()
        assert held.payloads == list(range(count))
        report = sink_report(fabric, "held")
        assert (report["written"], report["dropped"], held.closed) == (count, 0, 1)

    def test_closing_waits_for_what_a_sink_has_in_hand_and_what_waits_for_it(self):
        go_on = threading.Event()
        fabric = cf.Fabric("plant")
        held = Held(go_on)
        fabric.add_sink(held)
        fabric.start()
        fabric.publish_many("n", range(3_000))
        held.taken.wait(30)
        closing = threading.Thread(target=fabric.close)
        closing.start()
        go_on.set()
        joined(closing)
        assert held.payloads == list(range(3_000))

    def test_a_sink_that_does_not_finish_in_time_has_its_rest_counted(self):
        go_on = threading.Event()
        fabric = cf.Fabric("plant")
        held = Held(go_on)
        fabric.add_sink(held)
        fabric.start()
        fabric.publish("n", 0)
        held.taken.wait(30)
        fabric.publish_many("n", range(1, 10))
        threading.Timer(0.05, go_on.set).start()
        assert fabric.close(drain="10 ms") == {"sink held": 9}
        assert held.payloads == [0]
        assert (sink_report(fabric, "held")["written"], held.closed) == (1, 1)

    def test_a_publisher_whose_wait_expires_is_told_and_the_drop_is_counted(self):
        clock, go_on = cf.SimulatedClock(), threading.Event()
        outcome = []
        with cf.Fabric("plant", clock=clock) as fabric:
            held = Held(go_on)
            fabric.add_sink(held)
            accepted = 0

            def publish():
                nonlocal accepted
                try:
                    while True:
                        fabric.publish("n", accepted)
                        accepted += 1
                except cf.PublishTimeout as error:
                    outcome.append(error.subscriptions)

            publishing = threading.Thread(target=publish)
            publishing.start()
            while publishing.is_alive():
                clock.advance("100 ms")
                publishing.join(0.001)
            go_on.set()
        assert outcome == [("sink held",)]
        assert held.payloads == list(range(accepted))
        assert books(fabric, "held")["dropped"] == {"timeout": 1}


class Failing(Held):
    """A sink that fails at a payload, in its own way."""

    name = "failing"

    def __init__(self, error, at):
        super().__init__(threading.Event())
        self.error, self.at = error, at

    def write(self, events):
        for event in events:
            if event.payload == self.at:
                raise self.error
            self.payloads.append(event.payload)


class TestFailures:
    @pytest.mark.parametrize("error", [OSError("no such printer"), SystemExit(3), KeyboardInterrupt()])
    def test_a_sink_that_raises_is_counted_closed_and_holds_nobody_up(self, caplog, error):
        failing, seen = Failing(error, 5), []
        with cf.Fabric("plant", clock=cf.SimulatedClock()) as fabric:
            fabric.add_sink(failing)
            fabric.add_sink(PythonSink(lambda event: seen.append(event.payload), name="fine"))
            fabric.publish_many("n", range(20_000))
        report = sink_report(fabric, "failing")
        assert report["errors"] == 1
        assert report["error"] == f"{type(error).__name__}: {error}"
        assert failing.closed == 1
        assert seen == list(range(20_000))
        assert "sink failing failed" in caplog.text
        assert "Traceback" in caplog.text

    @pytest.mark.parametrize("kind", ["own", "python"])
    def test_every_event_is_written_lost_or_dropped(self, kind):
        written = []

        def write(event):
            if event.payload == 700:
                raise OSError("no such printer")
            written.append(event.payload)

        sink = Failing(OSError("no such printer"), 700) if kind == "own" else PythonSink(write, name="failing")
        fabric = cf.Fabric("plant", clock=cf.SimulatedClock())
        fabric.add_sink(sink)
        fabric.publish_many("n", range(5_000))
        with fabric:
            eventually(lambda: sink_report(fabric, "failing")["errors"])
        report = sink_report(fabric, "failing")
        assert report["written"] + report["lost"] + report["dropped"] == 5_000
        assert report["lost"] > 0
        assert report["dropped"] > 0
        if kind == "python":
            assert report["written"] == len(written) == 700

    def test_a_sink_that_fails_at_its_end_is_counted(self, caplog):
        class Target:
            def __call__(self, event):
                pass

            def close(self):
                raise OSError("no such printer")

        with cf.Fabric("plant") as fabric:
            fabric.add_sink(PythonSink(Target(), name="target"))
            fabric.publish("a", 1)
        report = sink_report(fabric, "target")
        assert (report["written"], report["errors"]) == (1, 1)
        assert "no such printer" in report["error"]


FULL_DISK = """
import json, random, resource, sys
import chronofabric as cf
from chronofabric.fabric.sinks import ColumnsSink, NdjsonSink, PythonSink

path, kind, limit, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sink = {"ndjson": NdjsonSink, "parquet": ColumnsSink, "arrow": ColumnsSink}[kind](path, name="full")
fabric, seen, noise = cf.Fabric("plant", clock=cf.SimulatedClock()), [], random.Random(7)
fabric.add_sink(sink)
fabric.add_sink(PythonSink(lambda event: seen.append(event.payload["n"]), name="fine"))
for number in range(count):
    fabric.publish("a", {"n": number, "noise": noise.random()})
with fabric:
    pass
full, fine = fabric.report().sinks
print(json.dumps({"full": full, "fine": seen == list(range(count)) and fine["errors"] == 0}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
@pytest.mark.parametrize(("suffix", "limit"), [("ndjson", 400_000), ("parquet", 60_000), ("arrow", 60_000)])
def test_a_full_disk_ends_the_sink_and_not_the_node_and_every_event_is_accounted_for(tmp_path, suffix, limit):
    path, count = tmp_path / f"events.{suffix}", 8_000
    ended = run_python(FULL_DISK, path, suffix, limit, count)
    answer = json.loads(ended.stdout)
    report = answer["full"]
    assert report["errors"] == 1
    assert "cannot be written: " in report["error"]
    assert "File too large" in report["error"]
    assert "sink full failed" in ended.stderr
    assert answer["fine"] is True
    assert report["written"] + report["skipped"] + report["lost"] + report["dropped"] == count
    assert report["lost"] > 0
    assert not path.exists()  # complete or absent
    partials = list(tmp_path.iterdir())
    if suffix == "ndjson":
        # What was written until then is kept, in whole lines.
        lines = partials[0].read_bytes().splitlines(keepends=True)
        assert len(lines) == report["written"] > 0
        assert all(json.loads(line)["payload"]["n"] == number for number, line in enumerate(lines))
    else:
        assert partials == []
