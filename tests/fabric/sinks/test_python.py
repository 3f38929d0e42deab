"""Events given to a Python function."""

from __future__ import annotations

import pytest

from chronofabric.errors import ArgumentError, SinkError
from chronofabric.fabric.sinks import PythonSink
from tests.fabric.recording import StoredEvent

EVENTS = [StoredEvent("a", place) for place in range(3)]


class Collector:
    def __init__(self):
        self.seen = []
        self.closed = 0
        self.refuses = None

    def __call__(self, event):
        self.seen.append(event)

    def close(self):
        self.closed += 1
        assert self.closed != self.refuses


def test_each_event_is_given_to_the_function_and_the_end_to_its_close():
    collector = Collector()
    sink = PythonSink(collector)
    sink.open()
    sink.write(EVENTS)
    sink.close()
    sink.close()
    assert (collector.seen, collector.closed, sink.written) == (EVENTS, 1, 3)


def test_a_batch_is_given_as_a_whole():
    seen: list[object] = []
    sink = PythonSink(seen.append, batch=True)
    sink.write(EVENTS)
    assert (seen, sink.written) == ([EVENTS], 3)


def test_what_the_function_raises_ends_the_sink_with_its_cause():
    def refuse(event):
        if event.payload == 1:
            raise KeyError("no")

    sink = PythonSink(refuse)
    with pytest.raises(SinkError, match="raised KeyError") as caught:
        sink.write(EVENTS)
    assert isinstance(caught.value.__cause__, KeyError)
    assert sink.written == 1


def test_a_close_that_raises_is_a_sink_error():
    collector = Collector()
    collector.refuses = 1
    with pytest.raises(SinkError, match="AssertionError"):
        PythonSink(collector).close()


async def coroutine(event):
    pass


@pytest.mark.parametrize(
    ("target", "what"),
    [("math:pi", "cannot be called"), (5, "cannot be called"), (coroutine, "does not await"), ("math:x", "has no 'x'")],
)
def test_what_cannot_be_called_is_refused_at_once(target, what):
    with pytest.raises(ArgumentError, match=what):
        PythonSink(target)
