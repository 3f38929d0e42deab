"""The live table on a terminal, and lines elsewhere."""

from __future__ import annotations

import io
import os
import re
import sys
import threading

import pytest

from chronofabric.apps import screen as screens
from chronofabric.apps.screen import Screen
from tests.apps.snapshots import snapshot

MARGINS = re.compile(r"\x1b\[1;(\d+)r")
WHOLE = "\x1b[r"


class Report:
    def __init__(self, values):
        self._values = values

    def as_dict(self):
        return self._values


class Node:
    """Reports what it is given, and says when it was asked often enough."""

    def __init__(self, asked: int, subscriptions: list[int] | None = None):
        self._left = asked
        self._subscriptions = subscriptions or [1]
        self.was_asked = threading.Event()

    def report(self):
        self._left -= 1
        if self._left <= 0:
            self.was_asked.set()
        count = self._subscriptions.pop(0) if len(self._subscriptions) > 1 else self._subscriptions[0]
        return Report(snapshot(subscriptions=count))


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(screens._Table, "period_s", 0.001)
    monkeypatch.setattr(screens._Lines, "period_s", 0.001)


@pytest.fixture
def terminal():
    """Give a terminal of 100 columns and 30 rows, and a function that closes it and returns what was written."""
    if sys.platform == "win32":
        pytest.skip("pseudo-terminals are a matter of POSIX")
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    received: list[bytes] = []

    def drain():
        try:
            while chunk := os.read(master, 65_536):
                received.append(chunk)
        except OSError:
            pass  # the other end is closed

    reader = threading.Thread(target=drain)
    reader.start()
    output = os.fdopen(slave, "w", encoding="utf-8")

    def finish() -> str:
        output.close()
        reader.join()
        return b"".join(received).decode()

    yield output, finish
    output.close()
    reader.join()
    os.close(master)


def test_the_table_keeps_the_lowest_rows_and_gives_them_back(hurry, terminal):
    output, finish = terminal
    node = Node(asked=3)
    with Screen(node, output) as screen:
        assert node.was_asked.wait(30)
        screen.say("something happened")
    text = finish()
    (rows,) = set(MARGINS.findall(text))
    assert 15 <= int(rows) < 30
    assert "something happened\r\n" in text
    assert f"\x1b[{int(rows) + 1};1H---" in text
    assert text.count(WHOLE) == 1
    assert text.index(WHOLE) > text.rindex("subscription-0")


def test_a_table_that_grows_takes_rows_and_never_more_than_half(hurry, terminal):
    output, finish = terminal
    node = Node(asked=4, subscriptions=[1, 3, 100, 1])
    with Screen(node, output):
        assert node.was_asked.wait(30)
    margins = [int(rows) for rows in MARGINS.findall(finish())]
    assert margins == sorted(margins, reverse=True)
    assert len(margins) == 3
    assert margins[-1] == 15


def test_a_frame_is_one_write(hurry, terminal, monkeypatch):
    output, finish = terminal
    written: list[str] = []
    monkeypatch.setattr(screens, "_write", lambda to, text: written.append(text))
    node = Node(asked=3)
    with Screen(node, output):
        assert node.was_asked.wait(30)
    frames = [text for text in written if "plant |" in text]
    assert len(frames) >= 2
    assert all(text.endswith("\x1b8") for text in frames)
    finish()


def test_without_a_terminal_it_prints_lines_without_escapes(hurry):
    output = io.StringIO()
    node = Node(asked=2)
    with Screen(node, output):
        assert node.was_asked.wait(30)
    lines = output.getvalue().splitlines()
    assert len(lines) >= 2
    assert "300 events" in lines[0]
    assert "\x1b" not in output.getvalue()


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb")])
def test_a_dumb_terminal_gets_lines(hurry, terminal, monkeypatch, variable, value):
    output, finish = terminal
    monkeypatch.setenv(variable, value)
    node = Node(asked=2)
    with Screen(node, output):
        assert node.was_asked.wait(30)
    assert "\x1b" not in finish()


def test_an_output_that_is_gone_does_not_end_the_run(hurry):
    output = io.StringIO()
    output.close()
    node = Node(asked=3)
    with Screen(node, output) as screen:
        assert node.was_asked.wait(30)
        screen.say("nobody reads this")
    assert screen.frames >= 2
