"""What the tests of the statements share: threads that are waited for, and time that passes once somebody waits."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from chronofabric._core.bus import waiting

START_NS = 1_000_000_000_000


def payloads(subscription):
    """Take everything that waits."""
    return list(subscription.poll_batch(100_000).payloads)


def in_thread(body):
    """Run a body in a thread of its own to its end; raise what it raised."""
    raised = []

    def run():
        try:
            body()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


def until(condition):
    """Wait for other threads, without a verdict in how long it takes."""
    came = threading.Event()
    for _ in range(20_000):
        if condition():
            return
        came.wait(0.001)
    pytest.fail("it did not come true")


@contextmanager
def advancing(clock, duration):
    """Advance a clock by a duration as soon as somebody waits."""

    def advance():
        until(lambda: waiting() > 0)
        clock.advance(duration)

    thread = threading.Thread(target=advance)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()
