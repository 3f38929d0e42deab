"""The shapes in which a benchmark exchanges items: between threads, between tasks, and at a steady rate."""

from __future__ import annotations

import asyncio  # noqa: TID253 - this module is imported where something is measured
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PAYLOAD = bytes(64)
BATCH = 256
BURST = 1000
ROWS, COLUMNS = 10_000, 8


def record_batch() -> Any:
    """Make a record batch of pyarrow."""
    import numpy as np
    import pyarrow as pa

    values = np.random.default_rng(7).random(ROWS)
    return pa.record_batch({f"column_{number}": values for number in range(COLUMNS)})


def capsules(payload: Any) -> Any:
    """Export a batch through its capsules."""
    return payload.__arrow_c_array__()


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def between_threads(send: Callable[[], object], receive: Callable[[], object]) -> float:
    """Return the nanoseconds from the start of sending, in this thread, to the end of receiving, in another."""
    ready = threading.Event()

    def started() -> None:
        ready.set()
        receive()

    with ThreadPoolExecutor(1, "receiver") as thread:
        receiver = thread.submit(started)
        ready.wait()
        started_ns = time.perf_counter_ns()
        send()
        receiver.result()
        return time.perf_counter_ns() - started_ns


def between_threads_of(sends: Sequence[Callable[[], object]], receive: Callable[[], object]) -> float:
    """Return the nanoseconds from the start of sending, in a thread each, to the end of receiving, in this one."""
    ready = threading.Barrier(len(sends) + 1)

    def started(send: Callable[[], object]) -> None:
        ready.wait()
        send()

    with ThreadPoolExecutor(len(sends), "sender") as threads:
        senders = [threads.submit(started, send) for send in sends]
        ready.wait()
        started_ns = time.perf_counter_ns()
        receive()
        ns = time.perf_counter_ns() - started_ns
        for sender in senders:
            sender.result()
    return ns


class BetweenTasks:
    """Two parties of which the receiver is a task of the running loop."""

    @staticmethod
    async def run(send: Callable[[], Awaitable[None]], receive: Callable[[], Awaitable[None]]) -> float:
        """Return the nanoseconds until a task has received what another sends."""
        started_ns = time.perf_counter_ns()
        await asyncio.gather(receive(), send())
        return time.perf_counter_ns() - started_ns

    @staticmethod
    async def run_from_thread(send: Callable[[], None], receive: Callable[[], Awaitable[None]]) -> float:
        """Return the nanoseconds until a task has received what a thread sends."""
        started_ns = time.perf_counter_ns()
        await asyncio.gather(receive(), asyncio.to_thread(send))
        return time.perf_counter_ns() - started_ns


def asked(ask: Callable[[], object], count: int) -> float:
    """Return the median of the microseconds that it takes to ask and have the answer."""
    took_ns = []
    now = time.perf_counter_ns
    for _ in range(count):
        started_ns = now()
        ask()
        took_ns.append(now() - started_ns)
    return statistics.median(took_ns) / 1e3


def paced(
    send: Callable[[Any], object], receive: Callable[[], Any], count: int, rate_hz: int, percentile: float
) -> float:
    """Return a percentile of the microseconds that items need which are sent at a steady rate.

    The receiver always waits when an item comes; its instant is taken in Python on both sides.
    """
    waits_ns: list[int] = []
    period_s = 1.0 / rate_hz

    def receive_all() -> None:
        now = time.perf_counter_ns
        for _ in range(count):
            sent_ns = receive()
            waits_ns.append(now() - sent_ns)

    def send_all() -> None:
        now = time.perf_counter_ns
        next_s = time.perf_counter()
        for _ in range(count):
            next_s += period_s
            time.sleep(max(0.0, next_s - time.perf_counter()))
            send(now())

    between_threads(send_all, receive_all)
    waits_ns.sort()
    return waits_ns[min(count - 1, int(count * percentile))] / 1e3
