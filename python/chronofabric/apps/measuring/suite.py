"""The figures of ``chronofabric bench``: what a user asks of a machine, each beside something known."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import chronofabric as cf
from chronofabric.apps.measuring import others, ours
from chronofabric.apps.measuring.costs import BARE, IMPORT, call_ns, process_ms, sample_ns
from chronofabric.apps.measuring.exchange import BATCH, record_batch
from chronofabric.apps.measuring.rounds import Case

CAPACITY = 65_536
PACED_HZ = 1000


def cases(quick: bool) -> list[Case]:
    """Make the cases; quick ones do a tenth of the work."""
    events = 100_000 if quick else 1_000_000
    return [
        *between_threads(events),
        *libraries(events // 50),
        *event_loops(events // 50),
        *latency(100 if quick else 300),
        *costs(events // 10),
        *tables(events // 2_000),
    ]


def between_threads(count: int) -> list[Case]:
    """Events between two threads, in three forms."""
    forms = [
        ("one by one", ours.events),
        ("bare payloads", ours.payloads),
        (f"batches of {BATCH}", ours.batches),
    ]
    return [
        Case(
            f"thread to thread, {name}",
            ours=_per_second(partial(function, count, CAPACITY)),
            peer=_per_second(partial(others.simple_queue, count)),
            peer_name="queue.SimpleQueue",
            unit="events/s",
            better="higher",
        )
        for name, function in forms
    ]


def libraries(count: int) -> list[Case]:
    """The same beside libraries that may be installed."""
    peers: list[tuple[str, Callable[[int, int], float]]] = [
        ("culsans", others.culsans),
        ("janus", others.janus),
        ("zmq", others.pyzmq),
    ]
    return [
        Case(
            f"thread to thread, one by one, beside {module}",
            ours=_per_second(partial(ours.events, count, CAPACITY)),
            peer=_per_second(partial(function, count, CAPACITY)),
            peer_name=module,
            unit="events/s",
            better="higher",
            needs=(module,),
        )
        for module, function in peers
    ]


def event_loops(count: int) -> list[Case]:
    """Where an asyncio task receives."""
    capacity = 4096

    def case(name: str, function: Callable[[], float], peer: Callable[[], float], peer_name: str) -> Case:
        return Case(
            name,
            ours=_per_second(function),
            peer=_per_second(peer),
            peer_name=peer_name,
            unit="events/s",
            better="higher",
            needs=("janus",) if peer_name == "janus" else (),
        )

    from_thread = partial(ours.thread_to_task, count, capacity)
    return [
        case("thread to task", from_thread, partial(others.asyncio_queue_from_thread, count), "asyncio.Queue"),
        case("thread to task, beside janus", from_thread, partial(others.janus_from_thread, count, capacity), "janus"),
        case(
            "task to task",
            partial(ours.tasks, count, capacity),
            partial(others.asyncio_queue, count, capacity),
            "asyncio.Queue",
        ),
    ]


def latency(count: int) -> list[Case]:
    """How long an event is on its way where the load is light."""
    return [
        Case(
            f"latency at {PACED_HZ} events/s, {name}",
            ours=partial(ours.paced_us, count, PACED_HZ, share),
            peer=partial(others.simple_queue_paced_us, count, PACED_HZ, share),
            peer_name="queue.SimpleQueue",
            unit="us",
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


def costs(count: int) -> list[Case]:
    """What one sample, one stamp and one start cost."""
    return [
        Case(
            "publish through a guard",
            ours=partial(sample_ns, count),
            peer=partial(sample_ns, count, guarded=False),
            peer_name="without a guard",
            unit="ns",
        ),
        Case(
            "a stamp",
            ours=partial(call_ns, cf.HybridLogicalClock(cf.CounterClock()).now, count),
            peer=partial(call_ns, time.time_ns, count),
            peer_name="time.time_ns",
            unit="ns",
        ),
        Case(
            "import chronofabric",
            ours=partial(process_ms, IMPORT),
            peer=partial(process_ms, BARE),
            peer_name="an empty process",
            unit="ms",
        ),
    ]


def tables(count: int) -> list[Case]:
    """Arrow data between two threads."""
    import pyarrow as pa

    batch = record_batch()
    return [
        Case(
            "thread to thread, Arrow batches",
            ours=partial(ours.table_rows, batch, count, pa.record_batch),
            peer=partial(others.pyarrow_rows, batch, count),
            peer_name="pyarrow alone",
            unit="rows/s",
            better="higher",
        )
    ]


def _per_second(ns_each: Callable[[], float]) -> Callable[[], float]:
    return lambda: 1e9 / ns_each()
