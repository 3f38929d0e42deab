"""Handlers: where they run, what happens when they raise, and when they end."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest

import chronofabric as cf
from tests.fabric.waiting import eventually, in_threads

THREAD = "chronofabric-handlers-plant"


@pytest.fixture
def fabric():
    fabric = cf.Fabric("plant")
    yield fabric
    fabric.close()


def handler(fabric, name):
    return next(each for each in fabric.report().handlers if each["name"] == name)


def here():
    return threading.current_thread().name


class TestFunctions:
    def test_a_function_is_called_for_each_event_in_order_in_the_thread_of_the_node(self, fabric):
        seen = []

        @fabric.on("plant/**")
        def show(event):
            seen.append((event.topic, event.payload, here()))

        with fabric:
            for number in range(200):
                fabric.publish(f"plant/{number % 3}", number)
            fabric.publish("elsewhere", 1)
        assert seen == [(f"plant/{number % 3}", number, THREAD) for number in range(200)]

    def test_what_was_published_before_the_node_was_entered_is_handled_then(self, fabric):
        seen = []
        fabric.on("a")(lambda event: seen.append(event.payload))
        fabric.publish_many("a", [1, 2])
        assert seen == []
        with fabric:
            fabric.publish("a", 3)
        assert seen == [1, 2, 3]

    def test_the_decorated_function_stays_what_it_was(self, fabric):
        def show(event):
            return "shown"

        assert fabric.on("a")(show) is show
        assert show(None) == "shown"

    def test_anything_that_can_be_called_is_a_handler(self, fabric):
        class Counter:
            count = 0

            def __call__(self, event):
                self.count += 1

            def method(self, event):
                self.count += 10

        counter, seen = Counter(), []
        fabric.on("a")(counter)
        fabric.on("a")(counter.method)
        fabric.on("a")(functools.partial(lambda more, event: seen.append(more), "more"))
        with fabric:
            fabric.publish("a", 1)
        assert (counter.count, seen) == (11, ["more"])

    def test_several_handlers_share_one_thread_and_none_starves(self, fabric):
        seen = []
        begun, go_on = threading.Event(), threading.Event()

        @fabric.on("a", capacity=10_000)
        def busy(event):
            begun.set()
            go_on.wait(30)
            seen.append("busy")

        @fabric.on("b")
        def quick(event):
            seen.append("quick")

        with fabric:
            fabric.publish_many("a", range(5_000))
            begun.wait(30)
            fabric.publish("b", 1)
            go_on.set()
        assert len(seen) == 5_001
        # It got its turn after one share of the other's events, not after all of them.
        assert seen.index("quick") <= 128

    def test_a_handler_takes_the_options_of_a_subscription(self, fabric):
        seen = []
        fabric.on(["a", "b"], capacity=2, overflow="drop-newest", name="few")(lambda event: seen.append(event.payload))
        fabric.publish_many("a", range(5))
        with fabric:
            pass
        assert seen == [0, 1]
        books = next(each for each in fabric.report().subscriptions if each["name"] == "few")
        assert books["dropped"] == {"overflow": 3}

    def test_a_handler_may_publish(self, fabric):
        seen = []

        @fabric.on("a")
        def forward(event):
            if event.payload < 10:
                fabric.publish("a", event.payload + 1)
            seen.append(event.payload)

        with fabric:
            fabric.publish("a", 0)
        assert seen == list(range(11))  # closing waits until nothing more comes

    def test_a_handler_added_while_the_node_runs_starts_at_once(self, fabric):
        seen = []
        with fabric:
            fabric.on("a")(lambda event: seen.append(("first", event.payload)))
            fabric.publish("a", 1)
            eventually(lambda: seen == [("first", 1)])
            fabric.on("a")(lambda event: seen.append(("second", event.payload)))
            fabric.publish("a", 2)
        assert sorted(seen) == [("first", 1), ("first", 2), ("second", 2)]

    def test_handlers_can_be_added_from_many_threads_and_from_a_handler(self, fabric):
        counts = [0] * 8

        def add(number):
            def count(event):
                counts[number] += 1

            fabric.on("a", name=str(number))(count)

        with fabric:
            in_threads(7, add)
            fabric.on("more")(lambda event: add(7))
            fabric.publish("more", 1)
            eventually(lambda: any(each["name"] == "7" for each in fabric.report().handlers))
            fabric.publish_many("a", range(10))
        assert counts == [10] * 8


class TestCoroutines:
    def test_inside_async_with_they_run_on_the_loop_that_entered_it(self):
        seen = []

        async def main():
            loop = asyncio.get_running_loop()
            async with cf.Fabric("plant") as fabric:

                @fabric.on("a")
                async def show(event):
                    await asyncio.sleep(0)
                    seen.append((event.payload, asyncio.get_running_loop() is loop))

                fabric.publish_many("a", range(100))
            # Closing has waited for them.
            assert seen == [(number, True) for number in range(100)]

        asyncio.run(main())
        assert len(seen) == 100

    def test_inside_async_with_functions_run_in_the_thread_of_the_node(self):
        seen = []

        async def main():
            fabric = cf.Fabric("plant")
            fabric.on("a")(lambda event: seen.append(here()))
            async with fabric:
                fabric.publish("a", 1)

        asyncio.run(main())
        assert seen == [THREAD]

    def test_outside_they_run_on_a_loop_in_the_thread_of_the_node(self, fabric):
        seen = []

        @fabric.on("a")
        async def show(event):
            await asyncio.sleep(0)
            seen.append((event.payload, here(), asyncio.current_task() is not None))

        with fabric:
            fabric.publish_many("a", range(100))
        assert seen == [(number, THREAD, True) for number in range(100)]

    def test_functions_and_coroutines_can_be_mixed(self, fabric):
        seen = []

        @fabric.on("a")
        def plain(event):
            seen.append(("plain", event.payload))

        @fabric.on("a")
        async def coroutine(event):
            await asyncio.sleep(0)
            seen.append(("coroutine", event.payload))

        with fabric:
            fabric.publish_many("a", range(300))
        assert [payload for kind, payload in seen if kind == "plain"] == list(range(300))
        assert [payload for kind, payload in seen if kind == "coroutine"] == list(range(300))

    def test_a_coroutine_added_while_functions_run_starts_at_once(self, fabric):
        seen = []
        fabric.on("a")(lambda event: seen.append("plain"))
        with fabric:
            fabric.publish("a", 1)
            eventually(lambda: seen == ["plain"])

            @fabric.on("b")
            async def coroutine(event):
                seen.append("coroutine")

            fabric.publish("b", 1)
            eventually(lambda: seen == ["plain", "coroutine"])
            # Those that were there go on, beside the loop now.
            fabric.publish("a", 1)
            fabric.on("c")(lambda event: seen.append("later"))
            fabric.publish("c", 1)
        assert sorted(seen) == ["coroutine", "later", "plain", "plain"]

    def test_one_coroutine_that_waits_holds_up_no_other(self, fabric):
        seen = []
        releases_made: list[asyncio.Event] = []
        made = threading.Event()

        @fabric.on("a")
        async def waits(event):
            release = asyncio.Event()
            releases_made.append(release)
            made.set()
            await release.wait()
            seen.append("waited")

        @fabric.on("b")
        async def releases(event):
            seen.append("released")
            releases_made[0].set()

        with fabric:
            fabric.publish("a", 1)
            made.wait(30)
            fabric.publish("b", 1)
        assert seen == ["released", "waited"]

    def test_closing_waits_for_a_coroutine_that_has_begun(self, fabric):
        seen = []

        @fabric.on("a")
        async def slow(event):
            for _ in range(500):
                await asyncio.sleep(0)
            seen.append(event.payload)

        with fabric:
            fabric.publish_many("a", range(3))
        assert seen == [0, 1, 2]

    def test_a_callable_object_or_bound_method_may_be_a_coroutine_function(self, fabric):
        class Handler:
            def __init__(self):
                self.seen = []

            async def __call__(self, event):
                self.seen.append("call")

            async def method(self, event):
                self.seen.append("method")

        target = Handler()
        fabric.on("a", name="call")(target)
        fabric.on("a", name="method")(target.method)
        with fabric:
            fabric.publish("a", 1)
        assert sorted(target.seen) == ["call", "method"]


def raising(*_):
    raise LookupError("no such valve")


async def raising_later(event):
    await asyncio.sleep(0)
    raise LookupError("no such valve")


class TestErrors:
    @pytest.mark.parametrize("function", [raising, raising_later])
    def test_a_handler_that_raises_is_counted_logged_with_its_traceback_and_goes_on(self, fabric, caplog, function):
        fabric.on("a", name="valve")(function)
        with fabric:
            fabric.publish_many("a", range(3))
        report = handler(fabric, "valve")
        assert (report["calls"], report["errors"]) == (3, 3)
        assert report["error"] == "LookupError: no such valve"
        records = [record for record in caplog.records if record.name == "chronofabric.handler"]
        assert [record.getMessage() for record in records] == ["handler valve failed on a"] * 3
        assert function.__name__ in caplog.text
        assert "Traceback" in caplog.text

    @pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt()])
    def test_what_is_no_exception_ends_neither_the_thread_nor_the_others(self, fabric, error):
        seen = []

        @fabric.on("a", name="exits")
        def exits(event):
            raise error

        fabric.on("a", name="goes on")(lambda event: seen.append(event.payload))
        with fabric:
            fabric.publish_many("a", range(3))
        assert handler(fabric, "exits")["errors"] == 3
        assert seen == [0, 1, 2]

    @pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
    def test_nor_does_it_in_a_coroutine(self, fabric, error):
        seen = []

        @fabric.on("a", name="exits")
        async def exits(event):
            raise error

        fabric.on("a", name="goes on")(lambda event: seen.append(event.payload))
        with fabric:
            fabric.publish_many("a", range(3))
        assert handler(fabric, "exits")["errors"] == 3
        assert seen == [0, 1, 2]

    @pytest.mark.parametrize("function", [raising, raising_later])
    def test_with_on_error_stop_the_node_stops(self, fabric, function):
        fabric.on("a", name="valve", on_error="stop")(function)
        with fabric:
            fabric.publish("a", 1)
            fabric.run("1 h")  # ends by the handler
        assert handler(fabric, "valve")["errors"] == 1

    @pytest.mark.parametrize(
        ("options", "what"),
        [
            ({"on_error": "explode"}, "on_error"),
            ({"deadline": "soon"}, "deadline"),
            ({"capacity": 0}, "capacity"),
            ({"overflow": "spill"}, "overflow"),
        ],
    )
    def test_options_that_make_no_sense_are_refused(self, fabric, options, what):
        with pytest.raises(cf.ArgumentError, match=what):
            fabric.on("a", **options)(print)
        assert fabric.report().handlers == fabric.report().subscriptions == ()

    @pytest.mark.parametrize("given", [None, 5, "print"])
    def test_what_cannot_be_called_is_no_handler(self, fabric, given):
        with pytest.raises(cf.ArgumentError, match="called"):
            fabric.on("a")(given)
        assert fabric.report().handlers == fabric.report().subscriptions == ()

    def test_a_pattern_that_is_none_is_refused(self, fabric):
        with pytest.raises(cf.PatternError):
            fabric.on("a//b")(print)

    def test_a_closed_node_takes_no_handler(self, fabric):
        fabric.close()
        with pytest.raises(cf.ClosedError):
            fabric.on("a")(print)


class TestDeadline:
    def test_calls_that_begin_too_long_after_the_event_are_counted(self):
        clock = cf.SimulatedClock(start=1_000_000_000)
        fabric = cf.Fabric("plant", clock=clock)
        fabric.on("a", name="late", deadline="5 ms")(lambda event: None)
        fabric.on("a", name="patient", deadline="1 min")(lambda event: None)
        fabric.on("a", name="whenever")(lambda event: None)
        fabric.publish_many("a", [1, 2])
        clock.advance("10 ms")
        fabric.publish("a", 3)
        with fabric:
            pass
        assert [handler(fabric, name)["late"] for name in ("late", "patient", "whenever")] == [2, 0, 0]
        assert handler(fabric, "late")["lateness_ns"]["count"] == 3
        assert handler(fabric, "late")["lateness_ns"]["max"] == pytest.approx(10_000_000, rel=0.05)

    def test_it_counts_for_coroutines_too(self):
        clock = cf.SimulatedClock(start=1_000_000_000)
        fabric = cf.Fabric("plant", clock=clock)

        @fabric.on("a", name="late", deadline="5 ms")
        async def late(event):
            pass

        fabric.publish("a", 1)
        clock.advance("10 ms")
        with fabric:
            pass
        assert handler(fabric, "late")["late"] == 1


class TestClosing:
    def test_closing_from_a_handler_ends_the_node_without_waiting_for_itself(self, fabric):
        closed = threading.Event()
        outcome = []

        @fabric.on("a", name="closes")
        def closes(event):
            outcome.append(fabric.close(drain="1 h"))
            closed.set()

        fabric.publish_many("a", range(100))
        fabric.start()
        assert closed.wait(30)
        assert fabric.closed
        # What still waited for that handler is said, and counted.
        assert outcome == [{"closes": 99}]
        assert fabric.report().subscriptions[0]["dropped"] == {"closed": 99}
        eventually(lambda: THREAD not in {thread.name for thread in threading.enumerate()})

    def test_closing_from_a_coroutine_on_the_programs_loop_does_not_wait_for_itself(self):
        async def main():
            closed = asyncio.Event()
            fabric = cf.Fabric("plant")

            @fabric.on("a")
            async def closes(event):
                await asyncio.sleep(0)
                fabric.close(drain="1 h")
                closed.set()

            async with fabric:
                fabric.publish("a", 1)
                await closed.wait()
            assert fabric.closed

        asyncio.run(main())

    def test_a_handler_that_does_not_return_is_left_behind_and_what_waited_for_it_is_said(self, fabric):
        begun, go_on = threading.Event(), threading.Event()

        @fabric.on("a", name="stuck")
        def stuck(event):
            begun.set()
            go_on.wait(30)

        fabric.start()
        fabric.publish_many("a", range(5))
        begun.wait(30)
        assert fabric.close(drain="10 ms") == {"stuck": 4}
        go_on.set()
        eventually(lambda: THREAD not in {thread.name for thread in threading.enumerate()})
        assert handler(fabric, "stuck")["calls"] == 1

    def test_no_thread_is_left_after_closing(self, fabric):
        before = set(threading.enumerate())
        fabric.on("a")(lambda event: None)
        with fabric:
            fabric.publish("a", 1)
            assert set(threading.enumerate()) - before
        assert set(threading.enumerate()) <= before

    def test_a_node_without_handlers_has_no_thread(self, fabric):
        before = set(threading.enumerate())
        with fabric:
            fabric.publish("a", 1)
            assert set(threading.enumerate()) <= before
