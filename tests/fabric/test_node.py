"""The node: its life, its publishers, the tables that it carries, and its report."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import textwrap
import threading
from datetime import UTC, datetime

import pytest

import chronofabric as cf
from chronofabric._core.bus import waiting
from tests.fabric.waiting import eventually, in_threads, joined
from tests.subprocesses import run_python

SECOND = 1_000_000_000


@pytest.fixture
def fabric():
    fabric = cf.Fabric("plant")
    yield fabric
    fabric.close()


class TestClosing:
    def test_closing_says_by_subscription_what_was_still_pending(self, fabric, caplog):
        caplog.set_level("INFO", "chronofabric.node")
        kept = [fabric.subscribe("a", name=name) for name in ("read", "unread")]
        fabric.publish_many("a", range(5))
        while kept[0].poll():
            pass
        assert fabric.close() == {"unread": 5}
        assert kept[1].books().dropped == {"closed": 5}
        assert "unread: 5" in caplog.text

    def test_closing_waits_for_a_thread_that_still_receives(self, fabric):
        events = fabric.subscribe("a", capacity=10_000)
        seen = []
        begun, go_on = threading.Event(), threading.Event()

        def read():
            for payload in events.payloads():
                seen.append(payload)
                begun.set()
                go_on.wait(30)

        reader = threading.Thread(target=read)
        reader.start()
        fabric.publish_many("a", range(5_000))
        begun.wait(30)
        closing = threading.Thread(target=fabric.close)
        closing.start()
        go_on.set()
        joined(closing, reader)
        assert seen == list(range(5_000))
        assert events.books().dropped == {}

    def test_closing_does_not_wait_for_what_nobody_receives(self, fabric):
        events = fabric.subscribe("a")
        fabric.publish_many("a", range(5))
        assert fabric.close(drain="1 h") == {"a": 5}
        assert events.closed

    def test_closing_does_not_wait_for_a_paused_subscription(self, fabric):
        events = fabric.subscribe("a", name="paused")
        reader = threading.Thread(target=lambda: list(events))
        reader.start()
        fabric.publish("a", 1)
        eventually(lambda: events.pending == 0)
        events.pause()
        fabric.publish("a", 2)
        assert fabric.close(drain="1 h") == {"paused": 1}
        joined(reader)

    def test_closing_again_does_nothing_more_and_says_the_same(self, fabric):
        events = fabric.subscribe("a")
        fabric.publish("a", 1)
        assert [fabric.close() for _ in range(3)] == [{"a": 1}] * 3
        assert events.books().dropped == {"closed": 1}

    def test_closing_from_many_threads_closes_once(self, fabric):
        fabric.on("a")(lambda event: None)
        fabric.start()
        fabric.publish_many("a", range(100))
        in_threads(8, lambda number: fabric.close())
        eventually(lambda: fabric.closed)
        assert fabric.report().handlers[0]["calls"] == 100

    def test_closing_wakes_everybody_who_waits(self, fabric):
        outcomes: list[object] = []

        def receive(events):
            try:
                events.receive()
            except cf.ClosedError as error:
                outcomes.append(error.name)

        def iterate(events):
            outcomes.append(list(events))

        def publish():
            try:
                fabric.publish("full", 2)
            except cf.ClosedError:
                outcomes.append("publish")

        subscriptions = [fabric.subscribe(topic) for topic in ("a", "b")]
        full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="1 h")
        fabric.publish("full", 1)
        threads = [
            threading.Thread(target=receive, args=(subscriptions[0],)),
            threading.Thread(target=iterate, args=(subscriptions[1],)),
            threading.Thread(target=publish),
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: waiting() == 3)
        fabric.close()
        joined(*threads)
        assert sorted(map(str, outcomes)) == ["[]", "a", "publish"]
        assert all(each.books().balanced for each in (*subscriptions, full))

    @pytest.mark.parametrize(
        "use",
        [
            lambda fabric: fabric.publish("a", 1),
            lambda fabric: fabric.publish_many("a", [1]),
            lambda fabric: fabric.publisher("a"),
            lambda fabric: fabric.subscribe("a"),
            lambda fabric: fabric.start(),
            lambda fabric: fabric.run("1 s"),
            lambda fabric: fabric.__enter__(),
            lambda fabric: asyncio.run(fabric.__aenter__()),
            lambda fabric: asyncio.run(fabric.publish_async("a", 1)),
        ],
    )
    def test_a_closed_node_refuses_what_needs_an_open_one(self, fabric, use):
        fabric.close()
        with pytest.raises(cf.ClosedError, match="plant"):
            use(fabric)

    def test_a_closed_node_cannot_be_entered_again(self, fabric):
        with fabric:
            pass
        with pytest.raises(cf.ClosedError), fabric:
            pass

    def test_a_publisher_and_a_subscription_of_a_closed_node_say_so(self, fabric):
        probe, events = fabric.publisher("a"), fabric.subscribe("a")
        probe.publish(1)
        fabric.close()
        with pytest.raises(cf.ClosedError):
            probe.publish(2)
        with pytest.raises(cf.ClosedError):
            events.receive(timeout="1 s")
        assert list(events) == []

    def test_an_error_inside_with_closes_the_node_and_goes_on(self, fabric):
        with pytest.raises(LookupError), fabric:
            raise LookupError
        assert fabric.closed

    @pytest.mark.parametrize("drain", [-1, "soon", None])
    def test_a_drain_that_is_no_duration_is_refused_and_closes_nothing(self, fabric, drain):
        with pytest.raises(cf.ArgumentError, match="drain"):
            fabric.close(drain=drain)
        assert not fabric.closed
        fabric.publish("a", 1)


class TestAsyncWith:
    def test_the_node_runs_inside_and_is_closed_after(self):
        async def main():
            async with cf.Fabric("plant") as fabric:
                events = fabric.subscribe("a")
                await fabric.publish_async("a", 1)
                assert (await events.receive_async(timeout="30 s")).payload == 1
            assert fabric.closed
            return [event async for event in events]

        assert asyncio.run(main()) == []

    def test_tasks_that_still_receive_finish_what_waits_for_them(self):
        async def main():
            seen = []
            async with cf.Fabric("plant") as fabric:
                events = fabric.subscribe("a", capacity=10_000)

                begun = asyncio.Event()

                async def read():
                    async for event in events:
                        begun.set()
                        seen.append(event.payload)

                reading = asyncio.create_task(read())
                fabric.publish("a", 0)
                await begun.wait()
                fabric.publish_many("a", range(1, 3_000))
            await asyncio.wait_for(reading, 30)
            return seen

        assert asyncio.run(main()) == list(range(3_000))

    def test_entering_a_node_that_runs_already_changes_nothing(self):
        async def main():
            with cf.Fabric("plant") as fabric:
                assert fabric.start() is None
                async with fabric:
                    fabric.publish("a", 1)
                assert fabric.closed

        asyncio.run(main())


class TestRunning:
    def test_it_runs_for_a_duration_of_its_own_clock(self):
        clock = cf.SimulatedClock()
        with cf.Fabric("plant", clock=clock) as fabric:
            running = threading.Thread(target=fabric.run, args=("10 s",))
            running.start()
            eventually(lambda: clock.advance("1 s") >= 5 * SECOND)
            while running.is_alive():
                clock.advance("1 s")
                running.join(0.001)
            assert clock.now() >= 10 * SECOND
            assert not fabric.closed  # it is closed by who entered it
            fabric.run(0)

    def test_it_runs_until_it_is_stopped_from_another_thread(self, fabric):
        seen = []

        @fabric.on("a")
        def handle(event):
            seen.append(event.payload)
            fabric.stop()

        with fabric:
            publishing = threading.Thread(target=fabric.publish, args=("a", 1))
            publishing.start()
            fabric.run()
            joined(publishing)
        assert seen == [1]

    def test_a_stop_before_the_run_is_not_lost(self, fabric):
        fabric.stop()
        fabric.run()
        assert not fabric.closed

    def test_run_starts_a_node_that_was_not_entered(self, fabric):
        seen = []
        fabric.on("a")(lambda event: (seen.append(event.payload), fabric.stop()))
        fabric.publish("a", 1)
        fabric.run()
        assert seen == [1]

    @pytest.mark.parametrize("duration", [-1, "soon", True])
    def test_a_duration_that_is_none_is_refused(self, fabric, duration):
        with pytest.raises(cf.ArgumentError, match="duration"):
            fabric.run(duration)

    @pytest.mark.skipif(sys.platform == "win32", reason="sends no SIGINT to one process")
    @pytest.mark.parametrize("how", ["fabric.run()", "fabric.run('1 h')"])
    def test_ctrl_c_ends_a_run_and_what_was_accepted_is_handled(self, how):
        waits = "frame.f_code.co_name == 'wait' and frame.f_back.f_code.co_name == 'run'"
        code = f"""
        fabric = cf.Fabric("plant")
        seen = []
        fabric.on("a")(lambda event: seen.append(event.payload))
        with fabric:
            fabric.publish_many("a", range(1000))
            {how}
            print("ended")
        print(len(seen))
        """
        assert run_python(interrupted_when(waits) + textwrap.dedent(code)).stdout == "ended\n1000\n"

    @pytest.mark.skipif(sys.platform == "win32", reason="sends no SIGINT to one process")
    def test_ctrl_c_in_a_wait_of_the_main_thread_is_a_keyboard_interrupt(self):
        code = """
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("a")
            try:
                events.receive()
            except KeyboardInterrupt:
                print("interrupted")
        """
        assert run_python(interrupted_when("bus.waiting() == 1") + textwrap.dedent(code)).stdout == "interrupted\n"


def interrupted_when(condition):
    """Code that interrupts itself once a condition holds for the main thread and one `frame` it is in.

    The system may give the signal of a process to any of its threads; here it gives it to another one than the main
    thread, whose system calls it therefore does not interrupt.
    """
    return textwrap.dedent(f"""
    import signal, sys, threading
    import chronofabric as cf
    from chronofabric._core import bus

    def frames(frame):
        while frame is not None:
            yield frame
            frame = frame.f_back

    def interrupt():
        pause, main = threading.Event(), threading.main_thread().ident
        while not any({condition} for frame in frames(sys._current_frames()[main])):
            pause.wait(0.001)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    """)


class TestEnvelope:
    def test_an_event_carries_what_it_was_published_with(self):
        clock = cf.SimulatedClock(start=SECOND)
        with cf.Fabric("plant", clock=clock) as fabric:
            events = fabric.subscribe("a")
            payload = object()
            fabric.publish("a", payload, priority="high", deadline="5 ms", headers={"unit": "C"}, time=7)
            event = events.poll()
            assert event is not None
            assert event.payload is payload
            assert (event.topic, event.priority, event.deadline, event.time) == ("a", 2, SECOND + 5_000_000, 7)
            assert dict(event.headers) == {"unit": "C"}
            assert event.node == fabric.stamps.node == event.stamp.node

    def test_without_them_it_has_the_defaults(self, fabric):
        events = fabric.subscribe("a")
        fabric.publish("a", None)
        event = events.poll()
        assert event is not None
        assert (event.payload, event.priority, event.deadline, dict(event.headers)) == (None, 1, None, {})

    @pytest.mark.parametrize(
        ("priority", "number"), [("low", 0), ("normal", 1), ("high", 2), ("urgent", 3), (0, 0), (3, 3)]
    )
    def test_priorities_have_names_and_numbers(self, fabric, priority, number):
        events = fabric.subscribe("a")
        fabric.publish("a", 1, priority=priority)
        fabric.publisher("a", priority=priority).publish(1)
        fabric.publish_many("a", [1], priority=priority)
        assert [event.priority for event in events.poll_batch(9)] == [number] * 3

    def test_deadlines_are_durations_datetimes_or_stamps(self):
        clock = cf.SimulatedClock(start=SECOND)
        with cf.Fabric("plant", clock=clock) as fabric:
            events = fabric.subscribe("a")
            for deadline in ("1 s", 1, datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)):
                fabric.publish("a", 1, deadline=deadline)
            fabric.publish("a", 1, deadline=cf.HybridLogicalClock(cf.SimulatedClock(start=2 * SECOND)).now())
            assert [event.deadline for event in events.poll_batch(9)] == [2 * SECOND] * 4

    @pytest.mark.parametrize(
        "options",
        [
            {"priority": "fast"},
            {"priority": 4},
            {"priority": -1},
            {"priority": True},
            {"deadline": "soon"},
            {"headers": 5},
            {"headers": {5: 1}},
        ],
    )
    def test_what_makes_no_sense_is_refused_and_nothing_is_published(self, fabric, options):
        events = fabric.subscribe("a")
        with pytest.raises(cf.ArgumentError, match=next(iter(options))):
            fabric.publish("a", 1, **options)
        assert (events.pending, fabric.topics().get("a", 0)) == (0, 0)

    @pytest.mark.parametrize(
        ("given", "named", "said"),
        [
            (("a",), {}, "payload"),
            (("a", 1, "high"), {}, "3 positional arguments"),
            (("a", 1), {"prio": "high"}, "unexpected keyword argument 'prio'"),
            (("a", 1), {"payload": 2}, "multiple values for argument 'payload'"),
        ],
    )
    def test_publishing_is_called_as_it_is_declared(self, fabric, given, named, said):
        events = fabric.subscribe("a")
        with pytest.raises(TypeError, match=said):
            fabric.publish(*given, **named)
        assert events.pending == 0
        fabric.publish(payload=1, topic="a", priority=None, retain=False)
        assert events.receive(timeout="1 s").payload == 1
        parameters = inspect.signature(fabric.publish).parameters.values()
        declared = [(each.name, each.default) for each in parameters if each.kind is each.KEYWORD_ONLY]
        assert declared == [*((name, None) for name in ("priority", "deadline", "headers", "time")), ("retain", False)]
        assert (cf.Fabric.publish.__doc__ or "").startswith("Publish one event.")

    @pytest.mark.parametrize("topic", ["", "/a", "a/", "a//b", "a/*", "a#b", "a\n"])
    def test_a_topic_that_is_none_is_refused_with_a_caret(self, fabric, topic):
        with pytest.raises(cf.TopicError, match=r"\^") as caught:
            fabric.publish(topic, 1)
        assert caught.value.text == topic
        assert fabric.topics() == {}

    @pytest.mark.parametrize("topic", [None, 5, b"a", ["a"]])
    def test_a_topic_is_a_text(self, fabric, topic):
        with pytest.raises(cf.ArgumentError, match="topic"):
            fabric.publish(topic, 1)

    def test_more_topics_than_it_may_have_are_refused(self):
        with cf.Fabric("plant", topics_max=2) as fabric:
            fabric.publish("a", 1)
            fabric.publish("b", 1)
            with pytest.raises(cf.TopicLimitError) as caught:
                fabric.publish("c", 1)
            assert (caught.value.topic, caught.value.limit) == ("c", 2)
            fabric.publish("a", 1)


class TestConstruction:
    @pytest.mark.parametrize(
        "options", [{"name": ""}, {"name": 5}, {"topics_max": 0}, {"topics_max": 1 << 30}, {"clock": 5}]
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(cf.ArgumentError):
            cf.Fabric(**options)

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"capacity": 0}, cf.ArgumentError),
            ({"capacity": 1.5}, cf.ArgumentError),
            ({"capacity_bytes": 0}, cf.ArgumentError),
            ({"dead_letters_max": 0}, cf.ArgumentError),
            ({"overflow": "spill"}, cf.ArgumentError),
            ({"block_timeout": "soon"}, cf.ArgumentError),
            ({"order": "alphabetical"}, cf.ArgumentError),
            ({"order": "total"}, cf.UnsupportedError),
            ({"scope": "network"}, cf.UnsupportedError),
        ],
    )
    def test_a_subscription_that_makes_no_sense_is_refused(self, fabric, options, error):
        with pytest.raises(error, match=next(iter(options))):
            fabric.subscribe("a", **options)
        assert fabric.report().subscriptions == ()

    def test_a_pattern_that_is_none_is_shown_with_a_caret(self, fabric):
        with pytest.raises(cf.PatternError) as caught:
            fabric.subscribe("plant/**x/temp")
        assert str(caught.value).splitlines()[:3] == [
            "'plant/**x/temp' is not a topic pattern",
            "  plant/**x/temp",
            "        ^^^ '**' must be a whole segment; write 'plant/**/x/temp' or use regex('...')",
        ]


def columns(**values):
    return cf.Table.from_numpy(values)


class TestTables:
    def test_what_exports_arrow_arrives_as_a_table_with_the_same_buffers(self, fabric):
        pa = pytest.importorskip("pyarrow")
        table = pa.table({"x": pa.array([1.0, 2.0, 3.0]), "name": ["a", "b", "c"]})
        events = fabric.subscribe("t")
        fabric.publish("t", table)
        payload = events.receive(timeout="1 s").payload
        assert isinstance(payload, cf.Table)
        back = pa.table(payload)
        assert back.equals(table)
        for before, after in zip(table.columns, back.columns, strict=True):
            sent = [buffer and buffer.address for chunk in before.chunks for buffer in chunk.buffers()]
            got = [buffer and buffer.address for chunk in after.chunks for buffer in chunk.buffers()]
            assert [address for address in got if address] == [address for address in sent if address]

    def test_every_receiver_has_the_same_one(self, fabric):
        numpy = pytest.importorskip("numpy")
        first, second = fabric.subscribe("t"), fabric.subscribe("t")
        fabric.publish("t", columns(x=numpy.arange(3)))
        assert first.poll().payload is second.poll().payload

    def test_a_record_batch_and_a_bare_array_arrive_as_tables(self, fabric):
        pa = pytest.importorskip("pyarrow")
        events = fabric.subscribe("t")
        fabric.publish("t", pa.record_batch({"x": [1, 2]}))
        fabric.publish("t", pa.array([1, 2, 3]))
        fabric.publish("t", pa.chunked_array([[1], [2, 3]]))
        batch, array, chunked = (pa.table(payload) for payload in events.poll_batch(3).payloads)
        assert batch.to_pydict() == {"x": [1, 2]}
        assert array.to_pydict() == chunked.to_pydict() == {"value": [1, 2, 3]}

    def test_polars_frames_keep_their_buffers(self, fabric):
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame({"x": [1.0, 2.0, 3.0], "n": [1, 2, 3]})
        events = fabric.subscribe("t")
        fabric.publish("t", frame)
        back = polars.DataFrame(events.poll().payload)
        assert back.equals(frame)
        for name in frame.columns:
            sent, got = (each[name].to_numpy(allow_copy=False).ctypes.data for each in (frame, back))
            assert got == sent

    def test_polars_series_are_the_one_column_value(self, fabric):
        polars = pytest.importorskip("polars")
        events = fabric.subscribe("t")
        fabric.publish("t", polars.Series("x", [1, 2, 3]))
        assert polars.DataFrame(events.poll().payload).to_dict(as_series=False) == {"value": [1, 2, 3]}

    def test_pandas_frames_arrive_as_tables(self, fabric):
        pandas = pytest.importorskip("pandas")
        pa = pytest.importorskip("pyarrow")
        events = fabric.subscribe("t")
        fabric.publish("t", pandas.DataFrame({"x": [1.5, 2.5], "name": ["a", "b"]}))
        payload = events.poll().payload
        assert isinstance(payload, cf.Table)
        assert pa.table(payload).to_pydict() == {"x": [1.5, 2.5], "name": ["a", "b"]}

    def test_results_of_duckdb_are_refused_as_streams_or_arrive_as_tables(self, fabric):
        duckdb = pytest.importorskip("duckdb")
        pa = pytest.importorskip("pyarrow")
        events = fabric.subscribe("t")
        fabric.publish("t", cf.Table(duckdb.sql("select * from range(3) t(x)")))
        assert pa.table(events.poll().payload).to_pydict() == {"x": [0, 1, 2]}

    def test_a_stream_that_can_be_read_once_is_refused_with_the_way_out(self, fabric):
        pa = pytest.importorskip("pyarrow")
        events = fabric.subscribe("t")
        reader = pa.table({"x": [1, 2]}).to_reader()
        with pytest.raises(cf.PayloadError, match=r"cf\.Table\(reader\)") as caught:
            fabric.publish("t", reader)
        assert "RecordBatchReader" in str(caught.value.kind)
        assert events.pending == 0
        fabric.publish("t", cf.Table(reader))  # it was not read by the refusal
        assert pa.table(events.poll().payload).to_pydict() == {"x": [1, 2]}

    def test_a_bare_capsule_of_a_stream_is_refused_too(self, fabric):
        pa = pytest.importorskip("pyarrow")

        class Once:
            def __init__(self):
                self.stream = pa.table({"x": [1]}).__arrow_c_stream__()

            def __arrow_c_stream__(self, requested_schema=None):
                stream, self.stream = self.stream, None
                if stream is None:
                    raise RuntimeError("read already")
                return stream

        events = fabric.subscribe("t")
        try:
            fabric.publish("t", Once())
        except cf.PayloadError:
            assert events.pending == 0
        else:  # taken over whole when it was published, so that every receiver can read it
            payload = events.poll().payload
            assert pa.table(payload).to_pydict() == pa.table(payload).to_pydict() == {"x": [1]}

    def test_an_export_that_raises_publishes_nothing(self, fabric):
        class Broken:
            def __arrow_c_stream__(self, requested_schema=None):
                raise LookupError("no such table")

        events = fabric.subscribe("t")
        with pytest.raises((LookupError, cf.PayloadError), match="no such table"):
            fabric.publish("t", Broken())
        assert (events.pending, fabric.topics().get("t", 0)) == (0, 0)

    def test_numpy_arrays_arrive_as_themselves(self, fabric):
        numpy = pytest.importorskip("numpy")
        array = numpy.arange(3)
        events = fabric.subscribe("t")
        fabric.publish("t", array)
        assert events.poll().payload is array


class TestSchema:
    def test_arrow_means_any_arrow_and_nothing_else(self, fabric):
        pa = pytest.importorskip("pyarrow")
        trades = fabric.publisher("trades", schema="arrow")
        events = fabric.subscribe("trades")
        trades.publish(pa.table({"x": [1]}))
        trades.publish(pa.table({"y": ["a"]}))
        for payload in (5, {"x": [1]}, None, b"x", [1, 2]):
            with pytest.raises(cf.PayloadError, match="trades") as caught:
                trades.publish(payload)
            assert caught.value.topic == "trades"
            assert type(payload).__name__ in str(caught.value.kind)
        assert len(events.poll_batch(9)) == 2

    def test_a_schema_means_this_one(self, fabric):
        pa = pytest.importorskip("pyarrow")
        schema = pa.schema([("x", pa.float64()), ("name", pa.string())])
        trades = fabric.publisher("trades", schema=schema)
        events = fabric.subscribe("trades")
        fits = pa.table({"x": [1.0], "name": ["a"]}, schema=schema)
        trades.publish(fits)
        trades.publish(cf.Table(fits))
        for other in (pa.table({"x": [1], "name": ["a"]}), pa.table({"x": [1.0]}), pa.table({})):
            with pytest.raises(cf.PayloadError, match="double"):
                trades.publish(other)
        with pytest.raises(cf.PayloadError):
            trades.publish_many([fits, 5])
        assert len(events.poll_batch(9)) == 3  # the first of the last two was published before

    def test_only_who_states_a_schema_keeps_it(self, fabric):
        fabric.publisher("trades", schema="arrow")
        events = fabric.subscribe("trades")
        fabric.publish("trades", 5)
        fabric.publisher("trades").publish(6)
        assert list(events.poll_batch(9).payloads) == [5, 6]

    @pytest.mark.parametrize("schema", ["parquet", 5, {"x": float}, ""])
    def test_what_is_no_schema_is_refused(self, fabric, schema):
        with pytest.raises(cf.ArgumentError, match="schema"):
            fabric.publisher("trades", schema=schema)

    @pytest.mark.parametrize("topic", ["a/*", "", None])
    def test_a_publisher_has_one_topic(self, fabric, topic):
        with pytest.raises(cf.ArgumentError):
            fabric.publisher(topic)


class TestReport:
    def test_it_has_figures_of_every_part(self):
        from chronofabric.fabric.sinks import PythonSink
        from chronofabric.fabric.sources import PythonSource

        clock = cf.SimulatedClock(start=SECOND)
        fabric = cf.Fabric("plant", clock=clock)
        events = fabric.subscribe("n", capacity=2, name="few")
        fabric.on("n", name="show")(lambda event: None)
        fabric.guard("big", on="n", when="value > 1")
        fabric.add_sink(PythonSink(lambda event: None, topics="n", name="out"))
        fabric.add_source(PythonSource(range(3), topic="n", name="in"))
        with fabric:
            fabric.run()
            clock.advance("2 s")
            report = fabric.report()
        assert (report.node, report.clock, report.uptime_ns) == ("plant", "simulated", 2 * SECOND)
        assert report.topics == {"count": 2, "published": 4}
        assert [each["name"] for each in report.subscriptions] == ["few", "show", "sink out"]
        few = report.subscriptions[0]
        assert (few["offered"], few["pending"], few["dropped"], few["capacity"]) == (3, 2, {"overflow": 1}, 2)
        assert report.guards[0]["fired"] == 1
        final = fabric.report()
        assert final.uptime_ns == 2 * SECOND
        assert final.handlers[0]["calls"] == 3
        source, sink = dict(final.sources[0]), dict(final.sinks[0])
        assert source | {"name": "in", "published": 3, "done": True, "errors": 0} == source
        assert sink | {"name": "out", "written": 3, "skipped": 0, "lost": 0, "dropped": 0, "errors": 0} == sink
        assert events.books().dropped == {"overflow": 1, "closed": 2}
        assert final.subscriptions[0]["dropped"] == {"overflow": 1, "closed": 2}

    def test_it_is_plain_values_and_reads_as_text_and_in_a_notebook(self, fabric):
        fabric.subscribe("<b>", name="<b>")
        kept = fabric.subscribe("n")
        fabric.on("n", name="broken")(lambda event: 1 / 0)
        fabric.guard("big", on="n", when="value > 1")
        with fabric:
            fabric.publish_many("n", [1, 2])
            eventually(lambda: fabric.report().handlers[0]["errors"] == 2)
            report = fabric.report()
        assert json.loads(json.dumps(report.as_dict())) == report.as_dict()
        text = str(report)
        assert repr(report) == f"Report('plant', clock='counter', uptime_ns={report.uptime_ns}, events=3)"
        assert text.startswith("node 'plant'")
        assert "guard big: fired 1" in text
        assert "handler broken: 2 errors (ZeroDivisionError: division by zero)" in text
        assert f"n: {kept.books().offered} offered" in text
        assert "<table>" in report._repr_html_()
        assert "<b>" not in report._repr_html_()

    def test_waiting_times_are_percentiles_of_the_nodes_own_clock(self):
        clock = cf.SimulatedClock()
        with cf.Fabric("plant", clock=clock) as fabric:
            events = fabric.subscribe("a")
            for wait in range(1, 101):
                fabric.publish("a", 1)
                clock.advance(f"{wait} ms")
                events.poll()
            latency = fabric.report().subscriptions[0]["latency_ns"]
        assert latency["count"] == 100
        for name, wait in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)):
            assert latency[name] == pytest.approx(wait * 1_000_000, rel=0.07)

    def test_topics_say_how_many_events_they_had(self, fabric):
        fabric.publish_many("a", range(3))
        fabric.publisher("b")
        assert fabric.topics() == {"a": 3, "b": 0}

    def test_a_node_shows_what_it_is(self):
        fabric = cf.Fabric("plant", clock=cf.SimulatedClock())
        assert repr(fabric) == "Fabric('plant', clock='simulated', topics=0, open)"
        with fabric:
            assert "running" in repr(fabric)
        assert "closed" in repr(fabric)
