"""Events on a terminal."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric.errors import ArgumentError, SinkError
from chronofabric.fabric.sinks import TerminalSink
from tests.fabric.recording import StoredEvent

TIME = 1_386_018_900_123_000_000


class Seconds:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def printed(events, **options):
    stream = io.StringIO()
    sink = TerminalSink(stream=stream, **{"rate": None, **options})
    sink.open()
    sink.write(events)
    sink.close()
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"percent": 12.3456789, "cores": 2, "name": "a b"}, "percent=12.3457 cores=2 name='a b'"),
        (21.5, "21.5"),
        ("on", "on"),
        (None, "None"),
        ("\x1b[2Jhidden\n", "'\\x1b[2Jhidden\\n'"),
        ("\x1b[2J", "\\x1b[2J"),
        (pa.table({"x": [1, 2], "y": [3, 4]}), "table of 2 rows: x, y"),
    ],
    ids=str,
)
def test_a_line_has_time_topic_and_payload_and_steers_no_terminal(payload, text):
    assert printed([StoredEvent("host/cpu", payload, TIME)]) == [f"2013-12-02T21:15:00.123Z host/cpu {text}"]


def test_a_long_line_is_cut():
    (line,) = printed([StoredEvent("a", "x" * 500, TIME)], width=60)
    assert len(line) == 60
    assert line.endswith("x...")


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 50)), min_size=1, max_size=20), st.integers(1, 30))
def test_no_more_lines_than_the_rate_allows_and_every_event_is_printed_or_counted(steps, rate):
    seconds = Seconds()
    stream = io.StringIO()
    sink = TerminalSink(stream=stream, rate=rate, seconds=seconds)
    sink.open()
    elapsed, offered = 0.0, 0
    for wait, count in steps:
        seconds.now += wait
        elapsed += wait
        offered += count
        sink.write([StoredEvent("a", 1)] * count)
        assert sink.written <= rate * (1 + elapsed) + 1e-6
    sink.close()
    lines = stream.getvalue().splitlines()
    said = sum(int(line.split()[1]) for line in lines if line.startswith("..."))
    assert sink.written == sum(not line.startswith("...") for line in lines)
    assert said == sink.left_out
    assert sink.written + sink.left_out == offered


def test_a_stream_that_breaks_is_an_error():
    stream = io.StringIO()
    sink = TerminalSink(stream=stream)
    sink.open()
    stream.close()
    with pytest.raises(SinkError, match="cannot be written to"):
        sink.write([StoredEvent("a", 1)])
    sink.close()


def test_characters_that_the_stream_lacks_are_escaped():
    raw = io.BytesIO()
    sink = TerminalSink(stream=io.TextIOWrapper(raw, encoding="ascii"))
    sink.open()
    sink.write([StoredEvent("a", "é")])
    assert raw.getvalue().endswith(b"a \\xe9\n")


def test_the_named_stream_is_the_one_of_the_process(capsys):
    for name in ("stdout", "stderr"):
        sink = TerminalSink(stream=name)
        sink.open()
        sink.write([StoredEvent(name, 1)])
    out, err = capsys.readouterr()
    assert ("stdout 1" in out, "stderr 1" in err) == (True, True)


@pytest.mark.parametrize(("option", "value"), [("stream", "tty"), ("width", 5), ("rate", 0), ("topics", ())])
def test_options_out_of_bounds_are_refused_by_name(option, value):
    with pytest.raises(ArgumentError) as caught:
        TerminalSink(**{option: value})
    assert caught.value.argument == option
