"""Guards: when they fire, what they read, and what they do."""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
import threading
from functools import partial
from itertools import pairwise
from typing import ClassVar

import pytest

import chronofabric as cf
from tests.fabric.waiting import eventually, in_threads

SECOND = 1_000_000_000
Callback = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_double)


@pytest.fixture
def clock():
    return cf.SimulatedClock(start=SECOND)


@pytest.fixture
def fabric(clock):
    with cf.Fabric("plant", clock=clock) as fabric:
        yield fabric


def native_function(function):
    """What a guard calls, from a function of ctypes."""
    return cf.NativeFunction(ctypes.cast(function, ctypes.c_void_p).value or 0, keep=function)


def figures(fabric, name):
    return next(each for each in fabric.report().guards if each["name"] == name)


def received(subscription):
    """All that waits."""
    return [event.payload for event in subscription.poll_batch(100_000)]


def every_second(fabric, clock, topic, values):
    for value in values:
        fabric.publish(topic, value)
        clock.advance("1 s")


class TestFiring:
    def test_it_fires_once_while_its_verdict_stays(self, fabric):
        guard = fabric.guard("hot", on="t", when="value > 80")
        fabric.publish_many("t", [79, 81, 99, 81])
        assert guard.fired == 1

    def test_it_is_armed_again_when_the_verdict_turns_back(self, fabric):
        guard = fabric.guard("hot", on="t", when="value > 80")
        fabric.publish_many("t", [81, 80, 81, 79, 90])
        assert guard.fired == 3

    def test_with_must_it_fires_on_a_violation(self, fabric):
        guard = fabric.guard("cool", on="t", must="value <= 80")
        fabric.publish_many("t", [79, 81, 99, 80, 81])
        assert guard.fired == 2

    def test_it_fires_at_the_first_sample_too(self, fabric):
        guard = fabric.guard("hot", on="t", when="value > 80")
        fabric.publish("t", 81)
        assert guard.fired == 1

    def test_with_hysteresis_the_verdict_must_turn_back_so_far(self, fabric):
        guard = fabric.guard("hot", on="t", when="value > 80", hysteresis=5)
        fabric.publish_many("t", [81, 79, 81, 76, 81])
        assert guard.fired == 1
        fabric.publish_many("t", [75, 81])
        assert guard.fired == 2

    def test_hysteresis_holds_for_must_as_well(self, fabric):
        guard = fabric.guard("cool", on="t", must="value < 80", hysteresis=5)
        fabric.publish_many("t", [81, 76, 81])
        assert guard.fired == 1
        fabric.publish_many("t", [75, 81])
        assert guard.fired == 2

    def test_a_verdict_at_zero_arms_a_guard_without_hysteresis(self, fabric):
        guard = fabric.guard("hot", on="t", when="value > 80")
        fabric.publish_many("t", [81, 80, 81])
        assert guard.fired == 2

    def test_each_concrete_topic_is_judged_by_itself(self, fabric):
        guard = fabric.guard("hot", on="plant/*/temperature", when="value > 80")
        events = fabric.subscribe("guard/hot")
        for unit in (7, 8, 7, 8):
            fabric.publish(f"plant/{unit}/temperature", 81 + unit)
        fabric.publish("plant/7/pressure", 99)
        assert guard.fired == 2
        assert [payload["topic"] for payload in received(events)] == ["plant/7/temperature", "plant/8/temperature"]

    @pytest.mark.parametrize("on", [cf.regex("t[0-9]"), ["t1", "t2"], "*"])
    def test_it_watches_any_pattern(self, fabric, on):
        guard = fabric.guard("hot", on=on, when="value > 80")
        fabric.publish("t1", 81)
        fabric.publish("t2", 81)
        assert guard.fired == 2

    def test_a_window_that_is_not_yet_covered_gives_no_verdict(self, fabric, clock):
        guard = fabric.guard("hot", on="t", when="historically[0, 2 s](value > 80)", robustness=True)
        margins = fabric.subscribe("guard/hot/robustness")
        every_second(fabric, clock, "t", [90, 91])
        assert (guard.fired, margins.pending) == (0, 0)
        assert figures(fabric, "hot")["last_robustness"] is None
        every_second(fabric, clock, "t", [92])
        assert guard.fired == 1
        assert [payload["value"] for payload in received(margins)] == [10]

    def test_must_does_not_fire_before_its_window_is_covered(self, fabric, clock):
        guard = fabric.guard("low", on="t", must="once[0, 2 s](value > 80)")
        every_second(fabric, clock, "t", [0, 0])
        assert guard.fired == 0
        every_second(fabric, clock, "t", [0])
        assert guard.fired == 1

    def test_windows_go_by_the_time_of_the_events(self, fabric):
        guard = fabric.guard("hot", on="t", when="historically[0, 2 s](value > 80)")
        for second in range(3):
            fabric.publish("t", 90, time=second * SECOND)
        assert guard.fired == 1

    def test_what_was_published_before_it_was_there_does_not_count(self, fabric):
        fabric.publish("t", 99)
        guard = fabric.guard("hot", on="t", when="value > 80")
        assert (guard.fired, figures(fabric, "hot")["evaluated"]) == (0, 0)

    def test_guards_fire_before_a_node_is_entered(self, clock):
        fabric = cf.Fabric("plant", clock=clock)
        guard = fabric.guard("hot", on="t", when="value > 80")
        fabric.publish("t", 81)
        assert guard.fired == 1
        fabric.close()

    def test_a_formula_can_be_given_ready_made(self, fabric):
        guard = fabric.guard("hot", on="t", when=cf.logic.Formula("value > 80"))
        fabric.publish("t", 81)
        assert guard.fired == 1
        assert figures(fabric, "hot")["formula"] == "value > 80"


class TestFields:
    def test_a_bare_number_is_the_field_value(self, fabric):
        import numpy as np

        guard = fabric.guard("any", on="t/*", when="value > 0")
        for index, number in enumerate((1, 1.5, True, np.float32(1), np.int8(1), math.inf)):
            fabric.publish(f"t/{index}", number)
        assert guard.fired == 6

    def test_fields_are_those_of_a_mapping_nested_ones_too(self, fabric):
        from types import MappingProxyType

        guard = fabric.guard("deep", on="t/*", when="a.b > 1 and c > 2")
        fabric.publish("t/1", {"a": {"b": 5}, "c": 5})
        fabric.publish("t/2", {"a.b": 5, "c": 5})
        fabric.publish("t/3", MappingProxyType({"a": MappingProxyType({"b": 5}), "c": 5}))
        assert (guard.fired, figures(fabric, "deep")["errors"]) == (3, 0)

    @pytest.mark.parametrize(
        ("payload", "what"),
        [
            ({"other": 1}, "no field 'load'"),
            ({"load": math.nan}, "NaN"),
            ({"load": "heavy"}, "not a number"),
            ({"load": None}, "not a number"),
            ({}, "no field 'load'"),
            (5.0, "no field 'load'"),
            ("heavy", "no field 'load'"),
            (b"heavy", "no field 'load'"),
            (None, "no field 'load'"),
            (cf.Table.from_numpy({"load": __import__("numpy").arange(3.0)}), "it is a table"),
        ],
    )
    def test_what_cannot_be_judged_is_counted_and_reported_and_delivered(self, fabric, payload, what):
        guard = fabric.guard("busy", on="host/*", when="load > 50")
        events = fabric.subscribe("host/**")
        fabric.publish("host/cpu", {"load": 40})
        fabric.publish("host/cpu", payload)
        fabric.publish("host/cpu", {"load": 60})
        report = figures(fabric, "busy")
        assert (report["errors"], report["evaluated"], guard.fired) == (1, 2, 1)
        assert "host/cpu" in report["error"]
        assert what in report["error"]
        delivered = received(events)
        assert len(delivered) == 3
        assert delivered[1] is payload or isinstance(payload, cf.Table)
        assert events.books().balanced

    def test_what_a_mapping_raises_is_counted_too(self, fabric):
        class Broken(dict):
            def __getitem__(self, key):
                raise RuntimeError("broken")

        fabric.guard("busy", on="t", when="load > 50")
        events = fabric.subscribe("t")
        fabric.publish("t", Broken())
        assert figures(fabric, "busy")["errors"] == 1
        assert events.pending == 1

    def test_a_field_may_publish_while_it_is_read(self, fabric):
        class Telling(dict):
            def __getitem__(self, key):
                fabric.publish("t", {"load": 1})
                return 60

        guard = fabric.guard("busy", on="t", when="load > 50")
        events = fabric.subscribe("t")
        fabric.publish("t", Telling())
        assert guard.fired == 1
        assert events.pending == 2

    def test_arithmetic_without_a_value_is_counted(self, fabric):
        fabric.guard("ratio", on="t", when="a / b > 1")
        fabric.publish("t", {"a": 1, "b": 0})
        fabric.publish("t", {"a": 4, "b": 2})
        report = figures(fabric, "ratio")
        assert (report["errors"], report["fired"]) == (1, 1)

    def test_more_samples_than_it_may_hold_are_counted(self, fabric):
        fabric.guard("rise", on="t", when="historically[0, 1 h](value > 0)", max_samples=4)
        events = fabric.subscribe("t")
        fabric.publish_many("t", range(1, 8))
        report = figures(fabric, "rise")
        assert report["errors"] == 3
        assert "4 samples" in report["error"]
        assert events.pending == 7


class TestSignals:
    SIGNALS: ClassVar = {"discord": "analysis/discord", "load": "host/cpu#percent"}

    def test_signals_of_several_topics_are_judged_together(self, fabric):
        guard = fabric.guard("odd", signals=self.SIGNALS, when="discord > 3 and load > 50")
        fabric.publish("analysis/discord", 5)
        assert guard.fired == 0  # nothing is known of the load yet
        fabric.publish("host/cpu", {"percent": 40})
        assert guard.fired == 0
        fabric.publish("host/cpu", {"percent": 60})
        assert guard.fired == 1
        fabric.publish("analysis/discord", 6)
        assert guard.fired == 1

    def test_the_newest_value_of_each_holds_until_the_next(self, fabric, clock):
        guard = fabric.guard("odd", signals=self.SIGNALS, when="historically[0, 3 s](discord > 3 and load > 50)")
        events = fabric.subscribe("guard/odd")
        fabric.publish("analysis/discord", 5)  # one in three seconds
        for second in range(7):
            fabric.publish("host/cpu", {"percent": 60 if second != 1 else 20})
            if second == 4:
                fabric.publish("analysis/discord", 4)
            clock.advance("1 s")
        # Known from three seconds after the first sample of both; the dip at 1 s leaves the window at 5 s.
        assert guard.fired == 1
        assert [payload["time"] for payload in received(events)] == [SECOND + 5 * SECOND]

    def test_samples_of_one_instant_apply_in_order(self, fabric):
        guard = fabric.guard("both", signals={"a": "a", "b": "b"}, when="a > 0 and b > 0", robustness=True)
        margins = fabric.subscribe("guard/both/robustness")
        for a, b in ((1, -1), (-2, 3), (4, 5)):
            fabric.publish("a", a)
            fabric.publish("b", b)
        # (1,-1), then (-2,-1), (-2,3), (4,3), (4,5): all at one instant.
        assert [payload["value"] for payload in received(margins)] == [-1, -2, -2, 3, 4]
        assert guard.fired == 1

    def test_one_topic_may_feed_several_signals(self, fabric):
        guard = fabric.guard("gap", signals={"inlet": "p#in", "outlet": "p#out.deep"}, when="inlet - outlet > 5")
        fabric.publish("p", {"in": 9, "out": {"deep": 1}})
        assert guard.fired == 1

    def test_two_signals_may_come_from_one_field(self, fabric):
        guard = fabric.guard("same", signals={"a": "p#x", "b": "p#x"}, when="a > 1 and b > 2")
        fabric.publish("p", {"x": 3})
        assert guard.fired == 1

    def test_a_topic_that_is_behind_in_time_is_taken_at_the_newest_time(self, fabric):
        guard = fabric.guard("odd", signals={"a": "a", "b": "b"}, when="historically[0, 1 s](a > 0 and b > 0)")
        fabric.publish("a", 1, time=0)
        fabric.publish("b", 1, time=0)
        fabric.publish("a", 1, time=2 * SECOND)
        fabric.publish("b", 1, time=SECOND)
        assert (guard.fired, figures(fabric, "odd")["errors"]) == (1, 0)

    def test_an_event_that_cannot_be_read_leaves_the_others_as_they_were(self, fabric):
        guard = fabric.guard("odd", signals=self.SIGNALS, when="discord > 3 and load > 50")
        fabric.publish("analysis/discord", 5)
        fabric.publish("host/cpu", {"idle": 60})
        fabric.publish("host/cpu", {"percent": 60})
        assert (guard.fired, figures(fabric, "odd")["errors"]) == (1, 1)

    def test_topics_are_judged_together_from_many_threads(self, fabric):
        guard = fabric.guard("sum", signals={"a": "a", "b": "b"}, when="a + b > 1e9")
        in_threads(4, lambda number: fabric.publish_many("ab"[number % 2], range(500)))
        report = figures(fabric, "sum")
        assert guard.fired == 0
        assert report["errors"] == 0
        # Every event but those before the other topic's first.
        assert 1000 <= report["evaluated"] <= 2000


class TestEvents:
    def test_each_firing_is_published_with_what_it_knows(self, fabric, clock):
        events = fabric.subscribe("guard/hot")
        fabric.guard("hot", on="plant/*/temperature", when="value > 80")
        clock.advance("1 s")
        fabric.publish("plant/7/temperature", 81.5)
        event = events.poll()
        assert event.payload == {
            "guard": "hot",
            "topic": "plant/7/temperature",
            "robustness": 1.5,
            "time": 2 * SECOND,
        }
        assert (event.topic, event.time) == ("guard/hot", 2 * SECOND)

    def test_the_cause_comes_before_its_firing(self, fabric):
        fabric.guard("hot", on="t", when="value > 80", publish="alarm")
        events = fabric.subscribe("**")
        fabric.publish("t", 81)
        batch = list(events.poll_batch(10))
        assert [event.topic for event in batch] == ["t", "guard/hot", "alarm"]
        assert batch[0].stamp < batch[1].stamp < batch[2].stamp

    def test_the_time_of_a_firing_is_that_of_its_cause(self, fabric):
        events = fabric.subscribe("guard/hot")
        fabric.guard("hot", on="t", when="value > 80")
        fabric.publish("t", 81, time=5)
        event = events.poll()
        assert (event.time, event.payload["time"]) == (5, 5)

    def test_margins_are_published_on_request_at_every_verdict(self, fabric):
        margins = fabric.subscribe("guard/hot/robustness")
        fabric.guard("hot", on="t", when="value > 80", robustness=True)
        fabric.publish_many("t", [79, 81, 85])
        assert received(margins) == [{"value": margin, "topic": "t"} for margin in (-1.0, 1.0, 5.0)]

    def test_margins_are_not_published_unasked(self, fabric):
        everything = fabric.subscribe("guard/**")
        fabric.guard("hot", on="t", when="value > 80")
        fabric.publish_many("t", [79, 81, 85])
        assert [event.topic for event in everything.poll_batch(10)] == ["guard/hot"]

    def test_a_guard_may_watch_the_events_of_another(self, fabric):
        first = fabric.guard("hot", on="t", when="value > 80", robustness=True)
        second = fabric.guard("very", on="guard/hot", when="robustness > 10")
        trend = fabric.guard("trend", on="guard/hot/robustness", when="value > 5")
        fabric.publish_many("t", [81, 0, 95])
        assert (first.fired, second.fired, trend.fired) == (2, 1, 1)

    def test_a_guard_does_not_watch_itself(self, fabric):
        guard = fabric.guard("all", on="**", when="value > 0", robustness=True, publish="alarm")
        fabric.publish("t", 1)
        assert (guard.fired, figures(fabric, "all")["evaluated"]) == (1, 1)


class TestActions:
    def test_a_flag_is_set_at_once(self, fabric):
        flag = cf.Flag()
        fabric.guard("hot", on="t", when="value > 80", do=flag)
        fabric.publish("t", 79)
        assert not flag.is_set()
        fabric.publish("t", 81)
        assert flag.is_set()
        fabric.publish_many("t", [0, 81])
        assert flag.count == 2
        flag.clear()
        assert not flag.is_set()

    def test_a_c_function_is_called_in_the_publishing_thread(self, fabric):
        calls = []
        function = Callback(lambda time_ns, robustness: calls.append((time_ns, robustness, threading.get_ident())))
        fabric.guard("hot", on="t", when="value > 80", do=native_function(function))
        fabric.publish("t", 81.5, time=7)
        assert calls == [(7, 1.5, threading.get_ident())]

    def test_what_keeps_a_c_function_alive_is_kept_with_its_guard(self, fabric):
        import gc
        import weakref

        calls = []
        function = Callback(lambda time_ns, robustness: calls.append(robustness))
        native = native_function(function)
        kept = weakref.ref(function)
        fabric.guard("hot", on="t", when="value > 80", do=native)
        del function, native
        gc.collect()
        assert kept() is not None
        fabric.publish("t", 81.5)
        assert calls == [1.5]

    def test_a_further_topic_gets_each_firing(self, fabric):
        alarms = fabric.subscribe("plant/alarm")
        fabric.guard("hot", on="t", when="value > 80", publish="plant/alarm")
        fabric.guard("cold", on="t", when="value < 0", action={"kind": "publish", "topic": "plant/alarm"})
        fabric.publish_many("t", [81, -1])
        assert [payload["guard"] for payload in received(alarms)] == ["hot", "cold"]

    def test_log_writes_a_line_to_standard_error(self, clock, capfd):
        with cf.Fabric("plant", clock=clock) as fabric:
            fabric.guard("hot", on="plant/7/temperature", when="value > 80", action="log")
            fabric.publish_many("plant/7/temperature", [79, 81.5, 82])
            clock.advance("1 ms")
            fabric.publish_many("plant/7/temperature", [0, 90])
        assert capfd.readouterr().err.splitlines() == [
            "1970-01-01T00:00:01.000Z guard 'hot' fired on plant/7/temperature, robustness 1.500000",
            "1970-01-01T00:00:01.001Z guard 'hot' fired on plant/7/temperature, robustness 10.000000",
        ]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
    def test_a_command_is_started_with_what_the_guard_knows_in_its_environment(self, fabric, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        code = (
            "import json, os, sys; known = {k: v for k, v in os.environ.items() if k.startswith('CHRONOFABRIC_')}; "
            "open(sys.argv[1], 'w').write(json.dumps([sys.argv[2], sys.stdin.read(), known]))"
        )
        command = [sys.executable, "-c", code, str(pipe), "word with spaces; $HOME"]
        fabric.guard("hot", on="t", when="value > 80", action={"kind": "command", "command": command})
        fabric.publish("t", 81.5)
        word, given, known = json.loads(pipe.read_text())  # waits for the command to write
        assert (word, given) == ("word with spaces; $HOME", "")
        wanted = {"GUARD": "hot", "TOPIC": "t", "ROBUSTNESS": "1.5", "TIME": str(SECOND)}
        assert {name: known[f"CHRONOFABRIC_{name}"] for name in wanted} == wanted
        eventually(lambda: figures(fabric, "hot")["handed_over_ns"]["count"] == 1)
        assert figures(fabric, "hot")["errors"] == 0

    @pytest.mark.parametrize(
        ("command", "what"),
        [
            ([sys.executable, "-c", "raise SystemExit(3)"], "exit status: 3"),
            (["/no/such/program"], "'/no/such/program' could not be started"),
        ],
    )
    def test_a_command_that_fails_is_counted_and_reported(self, fabric, command, what):
        fabric.guard("hot", on="t", when="value > 80", action={"kind": "command", "command": command})
        fabric.publish("t", 81)
        eventually(lambda: figures(fabric, "hot")["errors"] == 1)
        assert what in figures(fabric, "hot")["error"]

    @pytest.mark.parametrize("how", ["do", "action"])
    def test_python_runs_in_the_handler_thread_with_the_event_of_the_guard(self, clock, how):
        seen = []

        def act(event):
            seen.append((event.topic, event.payload["robustness"], threading.current_thread().name))

        option = {"do": act} if how == "do" else {"action": {"kind": "python", "target": act}}
        with cf.Fabric("plant", clock=clock) as fabric:
            fabric.guard("hot", on="t", when="value > 80", **option)
            fabric.publish_many("t", [81.5, 0, 82.5])
        thread = "chronofabric-handlers-plant"
        assert seen == [("guard/hot", 1.5, thread), ("guard/hot", 2.5, thread)]

    def test_python_can_be_named_as_module_and_function(self, fabric):
        with pytest.raises(cf.ArgumentError, match="no_such_function"):
            fabric.guard("hot", on="t", when="x > 1", action={"kind": "python", "target": "json:no_such_function"})
        fabric.guard("hot", on="t", when="x > 1", action={"kind": "python", "target": "builtins:repr"})

    def test_python_that_raises_is_counted_and_goes_on(self, clock, caplog):
        def act(event):
            raise LookupError("no such valve")

        with cf.Fabric("plant", clock=clock) as fabric:
            guard = fabric.guard("hot", on="t", when="value > 80", do=act)
            fabric.publish_many("t", [81, 0, 81])
        handler = fabric.report().handlers[0]
        assert (guard.fired, handler["calls"], handler["errors"]) == (2, 2, 2)
        assert handler["error"] == "LookupError: no such valve"
        assert caplog.text.count("Traceback") == 2

    def test_several_actions_happen_together(self, clock, capfd):
        flag, seen = cf.Flag(), list[cf.Event]()
        with cf.Fabric("plant", clock=clock) as fabric:
            alarms = fabric.subscribe("alarm")
            action = {"kind": "python", "target": seen.append}
            fabric.guard("hot", on="t", when="value > 80", do=flag, publish="alarm", action=action)
            fabric.guard("also", on="t", when="value > 80", do=seen.append, action="log")
            fabric.publish("t", 81)
            assert (flag.count, alarms.pending) == (1, 1)
        assert len(seen) == 2
        assert "guard 'also' fired" in capfd.readouterr().err

    def test_a_coroutine_function_can_be_an_action(self, clock):
        seen = []

        async def act(event):
            seen.append(event.payload["guard"])

        with cf.Fabric("plant", clock=clock) as fabric:
            fabric.guard("hot", on="t", when="value > 80", do=act)
            fabric.publish("t", 81)
        assert seen == ["hot"]


class TestDeadline:
    def slow_by(self, clock, duration):
        """A C function that lets time pass."""
        function = Callback(lambda time_ns, robustness: clock.advance(duration))
        return native_function(function)

    def test_native_actions_that_begin_late_are_counted(self, fabric, clock):
        fabric.guard("slow", on="t", when="value > 80", do=self.slow_by(clock, "6 ms"), deadline="5 ms")
        fabric.guard("after", on="t", when="value > 80", deadline="5 ms")
        fabric.guard("patient", on="t", when="value > 80", deadline="6 ms")
        fabric.publish("t", 81)
        assert {each["name"]: each["late"] for each in fabric.report().guards} == {"slow": 0, "after": 1, "patient": 0}

    def test_lateness_is_measured_from_the_entry_of_the_event(self, fabric, clock):
        fabric.guard("slow", on="t", when="value > 80", do=self.slow_by(clock, "6 ms"))
        fabric.guard("after", on="t", when="value > 80")
        clock.advance("1 s")
        fabric.publish("t", 81, time=5)  # recorded long ago
        lateness = figures(fabric, "after")["lateness_ns"]
        assert lateness["count"] == 1
        assert lateness["max"] == pytest.approx(6_000_000, rel=0.05)  # a bucket of the histogram
        assert figures(fabric, "slow")["lateness_ns"]["max"] < 1_000

    def test_python_actions_that_begin_late_are_counted(self, clock):
        begun = threading.Event()

        def act(event):
            begun.set()

        fabric = cf.Fabric("plant", clock=clock)
        fabric.guard("hot", on="t", when="value > 80", do=act, deadline="5 ms")
        fabric.publish("t", 81)
        clock.advance("20 ms")  # the node is entered only now
        with fabric:
            begun.wait(30)
        assert fabric.report().handlers[0]["late"] == 1


class TestLoops:
    def test_guards_that_feed_each_other_end_as_a_counted_failure(self, fabric):
        events = fabric.subscribe("t")
        fabric.guard("ping", on=["t", "guard/pong/robustness"], when="value > 0", robustness=True)
        fabric.guard("pong", on="guard/ping/robustness", when="value > 0", robustness=True)
        fabric.publish("t", 1)
        reports = [figures(fabric, name) for name in ("ping", "pong")]
        assert sum(report["errors"] for report in reports) == 1
        assert any("guard" in (report["error"] or "") for report in reports)
        assert events.pending == 1
        assert fabric.topics()["t"] == 1

    def test_a_chain_of_guards_is_no_loop(self, fabric):
        for number in range(8):
            fabric.guard(f"g{number}", on="t" if number == 0 else f"guard/g{number - 1}", when="robustness > 0")
        fabric.publish("t", {"robustness": 1})
        assert [each["fired"] for each in fabric.report().guards] == [1] * 8


class TestOrder:
    THREADS, EACH = 8, 400

    def test_subscribers_see_a_guarded_topic_in_the_order_of_evaluation(self):
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("t", capacity=self.THREADS * self.EACH)
            firings = fabric.subscribe("guard/odd", capacity=self.THREADS * self.EACH)
            guard = fabric.guard("odd", on="t", when="value > 0")

            def publish(number):
                probe = fabric.publisher("t")
                for count in range(self.EACH):
                    # Every value is another one, of either sign, so that each firing tells its cause.
                    sign = 1 if (count * 7 + number * 3) % 5 < 2 else -1
                    probe.publish(sign * (number * self.EACH + count + 1))

            in_threads(self.THREADS, publish)
            batch = list(events.poll_batch(self.THREADS * self.EACH))
            values = [event.payload for event in batch]
            assert len(values) == self.THREADS * self.EACH
            stamps = [event.stamp for event in batch]
            assert all(earlier < later for earlier, later in pairwise(stamps))
            times = [event.time for event in batch]
            assert times == sorted(times)
            # What fired is what turned positive in the order that the subscriber sees.
            crossings = [now for before, now in pairwise([-1, *values]) if before < 0 < now]
            assert guard.fired == len(crossings) > self.EACH // 10
            assert sorted(payload["robustness"] for payload in received(firings)) == sorted(crossings)

    def test_a_subscription_that_blocks_delays_a_guard_not_its_order(self):
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("t", capacity=2, overflow="block", block_timeout="30 s")
            guard = fabric.guard("hot", on="t", when="value > 80")
            seen: list[object] = []
            reader = threading.Thread(target=lambda: seen.extend(events.payloads()))
            reader.start()
            fabric.publish_many("t", [0, 81] * 50)
            eventually(lambda: len(seen) == 100)
            assert guard.fired == 50
        reader.join(30)
        assert seen == [0, 81] * 50


class TestRemoval:
    def test_a_removed_guard_judges_nothing_any_more(self, fabric):
        guard = fabric.guard("hot", on="t", when="value > 80")
        fabric.publish_many("t", [81, 0])
        guard.close()
        guard.close()
        fabric.publish_many("t", [81, 0])
        assert (guard.fired, guard.report()["evaluated"]) == (1, 2)

    def test_a_guard_can_be_removed_while_its_topic_is_published(self):
        with cf.Fabric("plant") as fabric:
            events = fabric.subscribe("t", capacity=100_000)
            stop = threading.Event()
            published = [0] * 3

            def publish(number):
                probe = fabric.publisher("t")
                while not stop.is_set():
                    probe.publish(published[number] % 2)
                    published[number] += 1

            def fires(guard):
                return guard.fired > 0

            threads = [threading.Thread(target=publish, args=(number,)) for number in range(3)]
            for thread in threads:
                thread.start()
            try:
                for number in range(50):
                    guard = fabric.guard(f"g{number}", on="t", when="value > 0", robustness=number % 2 == 0)
                    eventually(partial(fires, guard))
                    guard.close()
            finally:
                stop.set()
                for thread in threads:
                    thread.join(30)
            # Each is off its topic; a call in progress at its removal has ended with its thread.
            evaluated = [each["evaluated"] for each in fabric.report().guards]
            fabric.publish_many("t", [0, 1])
            assert [each["evaluated"] for each in fabric.report().guards] == evaluated
            books = events.books()
            assert books.offered == sum(published) + 2 == fabric.topics()["t"]
            assert books.balanced

    def test_the_name_of_a_removed_guard_is_free_again(self, simulation):
        fabric = simulation.fabric()
        seen = []
        first = fabric.guard("hot", on="t", when="value > 80", do=lambda event: seen.append("first"))
        fabric.publish("t", 81)
        simulation.advance(0)
        first.close()
        second = fabric.guard("hot", on="t", when="value > 50", do=lambda event: seen.append("second"))
        fabric.publish("t", 81)
        simulation.advance(0)
        assert seen == ["first", "second"]
        assert (first.fired, second.fired) == (1, 1)
        assert [each["formula"] for each in fabric.report().guards] == ["value > 50"]


class TestThreads:
    def test_of_guards_with_one_name_one_is_made(self, fabric):
        outcomes: list[str | None] = []

        def make(number):
            try:
                fabric.guard("hot", on="t", when=f"value > {number}")
                outcomes.append("made")
            except cf.GuardError as error:
                outcomes.append(error.guard)

        in_threads(8, make)
        assert sorted(map(str, outcomes)) == ["hot"] * 7 + ["made"]
        fabric.publish("t", 100)
        assert figures(fabric, "hot")["fired"] == 1

    def test_guards_made_in_many_threads_all_watch(self, fabric):
        def make(number):
            for count in range(10):
                fabric.guard(f"g{number}/{count}", on=["t", f"t{number}"], when="value > 0")

        in_threads(8, make)
        fabric.publish("t", 1)
        assert [each["fired"] for each in fabric.report().guards] == [1] * 80


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("options", "what"),
        [
            ({}, "when"),
            ({"when": "value > 1", "must": "value > 1"}, "when"),
            ({"when": "value > 1", "signals": {"value": "t"}}, "signals"),
            ({"when": "value > 1", "on": None}, "on"),
            ({"when": 5}, "formula"),
            ({"when": "value > 1", "hysteresis": -1}, "hysteresis"),
            ({"when": "value > 1", "hysteresis": math.nan}, "hysteresis"),
            ({"when": "value > 1", "hysteresis": math.inf}, "hysteresis"),
            ({"when": "value > 1", "hysteresis": "much"}, "hysteresis"),
            ({"when": "value > 1", "max_samples": 0}, "max_samples"),
            ({"when": "value > 1", "max_samples": 1.5}, "max_samples"),
            ({"when": "value > 1", "deadline": "soon"}, "deadline"),
            ({"when": "value > 1", "deadline": -1}, "deadline"),
            ({"when": "value > 1", "do": 5}, "do"),
            ({"when": "value > 1", "action": "sing"}, "action"),
            ({"when": "value > 1", "action": 5}, "action"),
            ({"when": "value > 1", "action": {"kind": "publish"}}, "action"),
            ({"when": "value > 1", "action": {"kind": "command", "command": []}}, "action"),
            ({"when": "value > 1", "action": {"kind": "log", "level": "high"}}, "action"),
            ({"when": "value > 1", "action": {"kind": "publish", "topic": "a"}, "publish": "b"}, "action"),
            ({"when": "value > 1", "action": {"kind": "python", "target": 5}}, "target"),
            ({"when": "value > 1", "on": 5}, "pattern"),
            ({"when": "value > 1", "on": 5, "do": print}, "pattern"),
            ({"when": "value > 1", "on": []}, "pattern"),
            ({"when": "value > 1", "on": None, "signals": {"value": 5}}, "signals"),
            ({"when": "value > 1", "on": None, "signals": "value"}, "signals"),
        ],
    )
    def test_each_is_refused_with_the_way_out(self, fabric, options, what):
        with pytest.raises(cf.ArgumentError, match=what):
            fabric.guard("hot", **{"on": "t", **options})
        assert fabric.report().guards == fabric.report().subscriptions == ()
        # The name is not taken by what was refused.
        fabric.guard("hot", on="t", when="value > 80")

    @pytest.mark.parametrize("name", ["", "a//b", "a*", "/a", "a#b", 5, None])
    def test_a_name_is_part_of_a_topic(self, fabric, name):
        with pytest.raises(cf.ArgumentError):
            fabric.guard(name, on="t", when="value > 80")
        assert fabric.report().guards == ()

    def test_a_formula_that_is_none_is_shown_with_a_caret(self, fabric):
        with pytest.raises(cf.FormulaError, match=r"\n +\^"):
            fabric.guard("hot", on="t", when="value >")

    @pytest.mark.parametrize("topic", ["a//b", "a/*", ""])
    def test_topics_that_are_none_are_refused(self, fabric, topic):
        with pytest.raises(cf.TopicError):
            fabric.guard("hot", on="t", when="value > 80", publish=topic)

    def test_a_pattern_that_is_none_is_refused(self, fabric):
        with pytest.raises(cf.PatternError, match="whole segment"):
            fabric.guard("hot", on="plant/**x", when="value > 80")

    @pytest.mark.parametrize(
        ("signals", "what"),
        [
            ({"a": "t"}, "'b'"),
            ({"a": "t", "b": "t", "c": "t"}, "'c'"),
            ({"a": "t", "b": "plant/*"}, "wildcard"),
            ({}, "'a'"),
        ],
    )
    def test_signals_and_formula_must_agree(self, fabric, signals, what):
        with pytest.raises(cf.GuardError, match=what) as caught:
            fabric.guard("odd", signals=signals, when="a > b")
        assert caught.value.guard == "odd"

    def test_a_signal_comes_from_a_topic(self, fabric):
        with pytest.raises(cf.TopicError):
            fabric.guard("odd", signals={"a": "t//u"}, when="a > 1")

    def test_a_name_is_taken_once(self, fabric):
        fabric.guard("hot", on="t", when="value > 80")
        with pytest.raises(cf.GuardError, match="hot") as caught:
            fabric.guard("hot", on="u", when="value > 90")
        assert caught.value.guard == "hot"

    def test_a_closed_node_takes_no_guard(self, clock):
        fabric = cf.Fabric("plant", clock=clock)
        fabric.close()
        with pytest.raises(cf.ClosedError):
            fabric.guard("hot", on="t", when="value > 80")
