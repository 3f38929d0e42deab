"""Events from the standard input; the tests give it a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from chronofabric.errors import ArgumentError, SourceError
from chronofabric.fabric.sources import StdinSource
from chronofabric.fabric.stopping import StopToken
from tests.fabric.recording import RecordingNode

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes cannot be waited for on Windows")


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with suppress(OSError):
            os.close(end)


def run_on(pipe, data, **options):
    reading, writing = pipe
    node = RecordingNode()
    source = StdinSource("in", descriptor=reading, **options)
    writer = threading.Thread(target=lambda: (os.write(writing, data), os.close(writing)))
    writer.start()
    try:
        source.run(node, StopToken(node.clock))
    finally:
        writer.join(30)
    assert source.published == len(node.events)
    return node, source


@pytest.mark.parametrize(
    ("format", "data", "payloads"),
    [
        ("ndjson", b'{"x": 1}\n\n[2]\n"three"', [{"x": 1}, [2], "three"]),
        ("csv", b'a,b\n1,x\n2.5,"y, z"\n', [{"a": 1, "b": "x"}, {"a": 2.5, "b": "y, z"}]),
        ("lines", "é\r\n\nend".encode(), ["é", "", "end"]),
        ("ndjson", b"", []),
    ],
)
def test_each_line_is_an_event_until_the_input_ends(pipe, format, data, payloads):
    node, _ = run_on(pipe, data, format=format)
    assert node.events == [(None, "in", payload) for payload in payloads]


def test_a_line_that_comes_in_pieces_is_one_event(pipe):
    reading, writing = pipe
    node = RecordingNode()
    running = threading.Thread(target=StdinSource("in", descriptor=reading).run, args=(node, StopToken(node.clock)))
    running.start()
    for byte in '{"x": "é"}\n'.encode():
        os.write(writing, bytes([byte]))
    os.close(writing)
    running.join(30)
    assert node.payloads() == [{"x": "é"}]


@pytest.mark.parametrize(
    ("format", "data", "line", "what"),
    [
        ("ndjson", b'1\n{"x"\n2\n', 2, "it is not JSON"),
        ("csv", b"a,b\n1,2\n3\n4,5\n", 3, "it has 1 field, the header 2"),
        ("lines", b"a\n\xff\nb\n", 2, "is not UTF-8"),
    ],
)
def test_a_broken_line_ends_the_source_or_is_skipped_and_counted(pipe, format, data, line, what):
    with pytest.raises(SourceError) as caught:
        run_on(pipe, data, format=format)
    assert caught.value.line == line
    assert what in str(caught.value)
    again = os.pipe()
    node, source = run_on(again, data, format=format, on_error="skip")
    os.close(again[0])
    assert len(node.events) == 2
    assert source.skipped == 1


def test_a_csv_without_a_header_is_an_error(pipe):
    with pytest.raises(SourceError, match="there is no header"):
        run_on(pipe, b"", format="csv")


@pytest.mark.parametrize("format", ["ndjson", "csv", "lines"])
def test_stop_ends_the_source_though_the_input_is_silent(pipe, format):
    reading, writing = pipe
    os.write(writing, b"a,b\n1,2\nhalf" if format != "ndjson" else b'{"half":')
    node = RecordingNode()
    stop = StopToken(node.clock)
    failures = []

    def run():
        try:
            StdinSource("in", format=format, descriptor=reading).run(node, stop)
        except Exception as error:
            failures.append(error)

    running = threading.Thread(target=run)
    running.start()
    stop.set()
    running.join(30)
    assert not running.is_alive()
    assert failures == []


def test_without_options_it_reads_the_standard_input_of_the_process():
    code = (
        "from chronofabric.fabric.sources import StdinSource\n"
        "from chronofabric.fabric.stopping import StopToken\n"
        "from tests.fabric.recording import RecordingNode\n"
        "node = RecordingNode()\n"
        "StdinSource('in').run(node, StopToken(node.clock))\n"
        "print(node.payloads())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=b"1\n2\n", capture_output=True, check=True, env=environment()
    )
    assert ran.stdout.split() == [b"[1,", b"2]"]


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in [str(Path.cwd()), *sys.path] if path)}


@pytest.mark.parametrize(("option", "value"), [("format", "xml"), ("on_error", "ignore")])
def test_options_that_do_not_exist_are_refused_by_name(option, value):
    with pytest.raises(ArgumentError) as caught:
        StdinSource("in", **{option: value})
    assert caught.value.argument == option
