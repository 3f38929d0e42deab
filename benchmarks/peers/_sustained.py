"""A million events a second for a while, from one thread to another, with the memory that the process has meanwhile."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Self

import psutil

import chronofabric as cf
from chronofabric.apps.measuring.exchange import PAYLOAD, between_threads

RATE_HZ = 1_000_000
# What the last burst may end late by: one turn of the interpreter in 60 s is less than a tenth of this.
RATE_HZ_MIN = 999_000
BURST_S = 0.001
CAPACITY = 65_536
# Until then the ring, the allocators and the threads have all that they need.
SETTLED_SHARE = 1 / 6
# What the pages of a process at work come and go by, the sampling thread's included.
GROWTH_MIB_MAX = 4


class Run(NamedTuple):
    """One run: the rate over its whole length, what did not arrive, and how much memory grew once settled."""

    events_per_second: float
    dropped: int
    growth_mib: float


class Sustained:
    """The same load, looked at in three ways; only the rate runs it again.

    Parameters
    ----------
    seconds
        How long to publish.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._runs: list[Run] = []

    def events_per_second(self) -> float:
        """Run, and return the rate at which events were published and received, at most the rate asked for."""
        self._runs.append(run(self._seconds))
        return self._runs[-1].events_per_second

    def dropped(self) -> float:
        """Return the events that were offered and not delivered, over all runs."""
        return float(sum(each.dropped for each in self._all()))

    def growth_mib(self) -> float:
        """Return what the resident memory grew by after it had settled, 0 within the tolerance."""
        worst = max(each.growth_mib for each in self._all())
        return worst if worst > GROWTH_MIB_MAX else 0.0

    def _all(self) -> list[Run]:
        if not self._runs:
            self.events_per_second()
        return self._runs


def run(seconds: float) -> Run:
    """Publish bursts of a millisecond's events, as soon as they are due, and receive them one by one."""
    burst = range(int(RATE_HZ * BURST_S))
    bursts = round(seconds / BURST_S)
    with cf.Fabric("benchmark") as fabric:
        subscription = fabric.subscribe(
            "plant/*/temperature", capacity=CAPACITY, overflow="block", block_timeout="60 s"
        )
        publish = fabric.publisher("plant/7/temperature").publish

        def send() -> None:
            now = time.perf_counter
            start_s = now()
            for number in range(bursts):
                early_s = start_s + number * BURST_S - now()
                if early_s > 0.0:
                    time.sleep(early_s)
                for _ in burst:
                    publish(PAYLOAD)
            while subscription.pending:
                time.sleep(0)
            subscription.close()

        def receive() -> None:
            for _ in subscription:
                pass

        with Memory() as memory:
            ns = between_threads(send, receive)
        books = subscription.books()
    sent = bursts * len(burst)
    if books.offered != sent or not books.balanced:
        raise AssertionError(f"{sent} events were published, and the books say {books}")
    return Run(sent / max(seconds, ns / 1e9), sent - books.delivered, memory.growth_mib(ns / 1e9))


class Memory:
    """The resident memory of this process, read ten times a second by a thread of its own while it is entered."""

    def __init__(self) -> None:
        self._readings: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="memory")

    def __enter__(self) -> Self:
        self._started_s = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def growth_mib(self, seconds: float) -> float:
        """Return how far the most of the last third lies above the most of the second sixth, of so many seconds."""
        settled_s, early_s, late_s = (
            seconds * share for share in (SETTLED_SHARE, 2 * SETTLED_SHARE, 4 * SETTLED_SHARE)
        )
        early = max(bytes_ for at_s, bytes_ in self._readings if settled_s <= at_s < early_s)
        late = max(bytes_ for at_s, bytes_ in self._readings if at_s >= late_s)
        return (late - early) / 2**20

    def _read(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.1):
            self._readings.append((time.perf_counter() - self._started_s, process.memory_info().rss))
