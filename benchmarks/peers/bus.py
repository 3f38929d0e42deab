"""The bus beside other ways to carry items between the parts of a Python process.

Ours has a topic, a stamp and a pattern to route by in every case, and its books prove that every event was received.

`python -m benchmarks.peers.bus [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.peers import _bus_others as others
from benchmarks.peers import _bus_ours as ours
from benchmarks.peers._exchange import BATCH, BURST
from benchmarks.peers._rounds import Case, main

ROWS, COLUMNS = 10_000, 8
ROWS_A_SECOND = 1e9
SIMPLE_QUEUE = "queue.SimpleQueue"


def cases(quick: bool) -> list[Case]:
    """Make the cases."""
    count = 20_000 if quick else 200_000
    return [
        *between_threads(count),
        *libraries(count),
        *event_loops(count // 4),
        *one_thread(count),
        *tables(200 if quick else 2_000),
        *paced(100 if quick else 1_000),
    ]


def between_threads(count: int) -> list[Case]:
    """Single events and batches between two threads."""

    def case(name: str, function: Any, capacity: int | None, bar: float | None = None) -> Case:
        return Case(
            name,
            ours=partial(function, count, capacity),
            peer=partial(others.simple_queue, count),
            peer_name=SIMPLE_QUEUE,
            unit="ns/event",
            bar=bar,
        )

    return [
        case("two threads, single events, capacity 4096, block", ours.events, 4096, bar=0.4),
        case("two threads, single events, capacity 65536, block", ours.events, 65_536),
        case("two threads, single events, default capacity, block", ours.events, None),
        case("two threads, payloads only, capacity 4096, block", ours.payloads, 4096),
        case("two threads, payloads only, capacity 65536, block", ours.payloads, 65_536),
        case(f"two threads, batches of {BATCH}, capacity 4096, block", ours.batches, 4096),
    ]


def libraries(count: int) -> list[Case]:
    """Single events against other libraries, each in the shape that it has."""
    fewer = count // 4
    in_thread = "a call in the sending thread"
    peers = [
        (f"pyee, {in_thread}", others.pyee, "pyee"),
        (f"psygnal, {in_thread}", others.psygnal, "psygnal"),
        (f"blinker, {in_thread}", others.blinker, "blinker"),
        (f"reactivex, {in_thread}", others.reactivex, "reactivex"),
        ("pyzmq inproc PUSH/PULL", others.pyzmq, "zmq"),
        ("culsans", others.culsans, "culsans"),
        ("janus", others.janus, "janus"),
    ]
    return [
        Case(
            f"two threads, single events, capacity 4096, block, against {name}",
            ours=partial(ours.events, fewer, 4096),
            peer=partial(function, fewer),
            peer_name=module,
            unit="ns/event",
            needs=(module,),
        )
        for name, function, module in peers
    ]


def event_loops(count: int) -> list[Case]:
    """Where the receiver is a task."""
    return [
        Case(
            "task to task of one loop, single events, capacity 4096, block",
            ours=partial(ours.tasks, count, 4096),
            peer=partial(others.asyncio_queue, count, 4096),
            peer_name="asyncio.Queue(4096)",
            unit="ns/event",
        ),
        Case(
            "thread to task, single events, capacity 4096, block, against asyncio.Queue",
            ours=partial(ours.thread_to_task, count, 4096),
            peer=partial(others.asyncio_queue_from_thread, count),
            peer_name="asyncio.Queue by call_soon_threadsafe",
            unit="ns/event",
        ),
        Case(
            "thread to task, single events, capacity 4096, block, against janus",
            ours=partial(ours.thread_to_task, count, 4096),
            peer=partial(others.janus_from_thread, count, 4096),
            peer_name="janus",
            unit="ns/event",
            needs=("janus",),
        ),
    ]


def one_thread(count: int) -> list[Case]:
    """Without a change of threads: what publishing and receiving cost by themselves, and fan-out."""
    bursts = f"one thread, bursts of {BURST}, capacity 1024, drop-newest"
    fan_out = f"one thread, fan-out 1 to 10, bursts of {BURST}, capacity {BURST}, drop-newest"
    return [
        Case(
            f"{bursts}, single events",
            ours=partial(ours.one_thread, count, 1024),
            peer=partial(others.simple_queue_one_thread, count),
            peer_name=SIMPLE_QUEUE,
            unit="ns/event",
        ),
        Case(
            fan_out,
            ours=partial(ours.fan_out, count, 10),
            peer=partial(others.simple_queue_fan_out, count, 10),
            peer_name=f"10 {SIMPLE_QUEUE}",
            unit="ns/delivery",
        ),
        Case(
            f"{fan_out}, against reactivex",
            ours=partial(ours.fan_out, count, 10),
            peer=partial(others.reactivex, count, 10),
            peer_name="reactivex, calls in the sending thread",
            unit="ns/delivery",
            needs=("reactivex",),
        ),
        Case(
            "one thread, publish to one subscription beside 10 000 that do not match, drop-newest",
            ours=partial(ours.others_do_not_match, count, 10_000),
            peer=partial(ours.others_do_not_match, count, 0),
            peer_name="the same without them",
            unit="ns/event",
        ),
    ]


def tables(count: int) -> list[Case]:
    """Arrow: imported through its capsules at publishing, exported through them at receiving."""
    import numpy as np
    import pyarrow as pa

    values = np.random.default_rng(7).random(ROWS)
    table = pa.table({f"column_{number}": values for number in range(COLUMNS)})
    batch = table.to_batches()[0]

    def case(what: str, data: Any, consume: Callable[[Any], Any], **against: Any) -> Case:
        return Case(
            f"two threads, Arrow {what}, {ROWS} rows and {COLUMNS} columns, capacity 64, block",
            ours=partial(ours.table_rows, data, count, consume),
            unit="rows/s",
            better="higher",
            **against,
        )

    def capsules(payload: Any) -> Any:
        return payload.__arrow_c_array__()

    def stream(payload: Any) -> Any:
        return pa.RecordBatchReader.from_stream(payload).read_all()

    queue_name = f"{SIMPLE_QUEUE} of references, exported and imported once"
    return [
        case("batches, received as capsules", batch, capsules, limit=ROWS_A_SECOND),
        case("batches, received by pyarrow.record_batch", batch, pa.record_batch, limit=ROWS_A_SECOND),
        case(
            "batches, received by pyarrow.record_batch, against pyarrow alone",
            batch,
            pa.record_batch,
            peer=partial(others.pyarrow_rows, batch, count),
            peer_name="pyarrow's own export and import, one thread, no queue",
        ),
        case(
            "batches, received by pyarrow.record_batch, against SimpleQueue",
            batch,
            pa.record_batch,
            peer=partial(others.simple_queue_table_rows, batch, count, pa.record_batch),
            peer_name=queue_name,
        ),
        case("tables, received as capsules", table, capsules, limit=ROWS_A_SECOND),
        case(
            "tables, received by a stream reader of pyarrow, against SimpleQueue",
            table,
            stream,
            peer=partial(others.simple_queue_table_rows, table, count, stream),
            peer_name=queue_name,
        ),
    ]


def paced(count: int) -> list[Case]:
    """Waiting times at a load far below the limit."""
    return [
        Case(
            f"two threads, paced at 1 kHz, {name}, capacity 4096, block",
            ours=partial(ours.paced_us, count, 1000, share),
            peer=partial(others.simple_queue_paced_us, count, 1000, share),
            peer_name=SIMPLE_QUEUE,
            unit="us",
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


if __name__ == "__main__":
    sys.exit(main("bus", cases))
