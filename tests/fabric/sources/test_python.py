"""Events made by Python code."""

from __future__ import annotations

import asyncio
import threading

import pytest

from chronofabric.errors import ArgumentError, SourceError
from chronofabric.fabric.sources import PythonSource
from chronofabric.fabric.stopping import StopToken
from tests.fabric.recording import RecordingNode, SteppingTime


def numbers():
    yield from (1, 2, 3)


async def async_numbers():
    for number in (1, 2, 3):
        await asyncio.sleep(0)
        yield number


def returns_list():
    return [1, 2, 3]


class Numbers:
    def __iter__(self):
        return iter((1, 2, 3))


class AsyncNumbers:
    def __aiter__(self):
        return async_numbers()


def run(source, limit=None, clock=None):
    node = RecordingNode(clock or SteppingTime(), limit=limit)
    node.stop = StopToken(node.clock)
    source.run(node, node.stop)
    assert source.published == len(node.events)
    return node


@pytest.mark.parametrize("rate", [None, "1 kHz"])
@pytest.mark.parametrize(
    "target",
    [
        [1, 2, 3],
        (1, 2, 3),
        range(1, 4),
        numbers,
        numbers(),
        Numbers,
        Numbers(),
        async_numbers,
        AsyncNumbers,
        AsyncNumbers(),
    ],
    ids=str,
)
def test_every_item_of_an_iterable_of_either_kind_is_an_event(target, rate):
    if rate is not None and target is not numbers and hasattr(target, "send"):
        target = numbers()
    assert run(PythonSource(target, topic="x", rate=rate)).events == [(None, "x", item) for item in (1, 2, 3)]


def test_a_function_without_a_rate_is_called_once_for_its_iterable():
    source = PythonSource(returns_list, topic="x")
    assert source.finite
    assert run(source).payloads() == [1, 2, 3]


def test_a_function_with_a_rate_is_called_until_stopped_and_none_is_no_event():
    values = iter((1, None, 3, 4))
    source = PythonSource(lambda: next(values), topic="x", rate="1 kHz")
    assert not source.finite
    assert run(source, limit=3).payloads() == [1, 3, 4]


def test_a_coroutine_function_with_a_rate_is_awaited_until_stopped():
    values = iter((1, None, 3, 4))

    async def read():
        await asyncio.sleep(0)
        return next(values)

    assert run(PythonSource(read, topic="x", rate="1 kHz"), limit=3).payloads() == [1, 3, 4]


def test_calls_come_at_the_rate_of_the_nodes_clock():
    clock = SteppingTime(step=1_000_000)
    times = []
    source = PythonSource(lambda: times.append(clock.now()) or 1, topic="x", rate="100 Hz")
    run(source, limit=10, clock=clock)
    assert times[-1] - times[0] == pytest.approx(9 * 10_000_000, abs=3_000_000)
    assert source.missed == 0


def test_without_a_topic_items_are_pairs_of_topic_and_payload():
    assert run(PythonSource([("a", 1), ("b", (2, 3))])).events == [(None, "a", 1), (None, "b", (2, 3))]
    assert run(PythonSource([("a", 1)], topic="x")).events == [(None, "x", ("a", 1))]


@pytest.mark.parametrize("item", [1, "ab", ("a",), (1, 2), ["a", 1]])
def test_without_a_topic_any_other_item_is_an_error(item):
    with pytest.raises(SourceError, match="not a pair of topic and payload"):
        run(PythonSource([item]))


@pytest.mark.parametrize("result", [1, "text", {"x": 1}, None])
def test_a_function_without_a_rate_that_returns_no_iterable_is_an_error_that_says_the_way_out(result):
    with pytest.raises(SourceError, match="give rate='10 Hz'"):
        run(PythonSource(lambda: result, topic="x"))


def test_a_coroutine_function_without_a_rate_is_an_error():
    async def read():
        return 1

    with pytest.raises(SourceError, match="returned a coroutine"):
        run(PythonSource(read, topic="x"))


def test_what_the_code_raises_comes_through_after_the_events_before():
    def breaks():
        yield 1
        raise KeyError("gone")

    node = RecordingNode(SteppingTime())
    with pytest.raises(KeyError, match="gone"):
        PythonSource(breaks, topic="x").run(node, StopToken(node.clock))
    assert node.payloads() == [1]


def test_stop_cancels_an_async_iterable_that_waits_and_lets_it_clean_up():
    waiting, cleaned = threading.Event(), threading.Event()

    async def forever():
        try:
            yield 1
            waiting.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    node = RecordingNode(SteppingTime())
    stop = StopToken(node.clock)
    running = threading.Thread(target=PythonSource(forever, topic="x").run, args=(node, stop))
    running.start()
    assert waiting.wait(30)
    stop.set()
    running.join(30)
    assert not running.is_alive()
    assert cleaned.is_set()
    assert node.payloads() == [1]


def test_stop_closes_a_generator():
    closed = []

    def forever():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    run(PythonSource(forever, topic="x"), limit=5)
    assert closed == [True]


def test_a_target_can_be_named():
    source = PythonSource("itertools:count", topic="x")
    assert source.name == "itertools:count"
    assert run(source, limit=3).payloads() == [0, 1, 2]


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("no_such_module_here:f", "there is no module"),
        ("math:pi", "a float gives no events"),
        (5, "a int gives no events"),
    ],
)
def test_a_target_that_gives_no_events_is_refused_at_once(target, what):
    with pytest.raises(ArgumentError, match=what):
        PythonSource(target, topic="x")
