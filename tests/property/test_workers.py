"""The threads that other tests use hold on to nothing: these tests are about what is let go of, and when."""

from __future__ import annotations

import gc
import weakref

import pytest

from tests.property.workers import Worker


class Thing:
    """Something that can be referred to weakly."""


@pytest.fixture
def worker():
    worker = Worker("tested")
    gc.disable()
    yield worker
    gc.enable()
    worker.end()


def test_what_the_caller_of_a_call_that_fails_had_goes_without_the_collector(worker):
    def call():
        thing = Thing()
        with pytest.raises(ZeroDivisionError):
            worker.call(lambda: (thing, 1 // 0))
        return weakref.ref(thing)

    left = call()
    # The worker lets go of what it did last only after its caller went on.
    worker.call(int)
    assert left() is None


def test_what_a_call_returned_goes_without_the_collector(worker):
    left = weakref.ref(worker.call(Thing))
    worker.call(int)
    assert left() is None
