"""The bus beside other ways to carry items between the parts of a Python process.

Ours has a topic, a stamp and a pattern to route by in every case, and its books prove that every event was received.

`python -m benchmarks.peers.bus [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.peers._rounds import Case, main
from benchmarks.peers._sustained import GROWTH_MIB_MAX, RATE_HZ_MIN, Sustained
from chronofabric.apps.measuring import others, ours
from chronofabric.apps.measuring.exchange import BATCH, BURST, COLUMNS, ROWS, capsules, record_batch

ROWS_A_SECOND = 1e9
CAPACITY = 65_536
SIMPLE_QUEUE = "queue.SimpleQueue"


def cases(quick: bool) -> list[Case]:
    """Make the cases."""
    count = 20_000 if quick else 200_000
    return [
        *between_threads(50_000 if quick else 1_000_000),
        *libraries(count),
        *event_loops(count // 4),
        *one_thread(count),
        *tables(200 if quick else 2_000),
        *paced(100 if quick else 1_000),
        *exchanges(500 if quick else 20_000, 1_000 if quick else 10_000),
        *sustained(3.0 if quick else 60.0),
    ]


def between_threads(count: int) -> list[Case]:
    """Single events and batches between two threads."""

    def case(name: str, function: Any, capacity: int | None, bar: float | None = None) -> Case:
        return Case(
            f"two threads, {name}, {'default capacity' if capacity is None else f'capacity {capacity}'}, block",
            ours=partial(function, count, capacity),
            peer=partial(others.simple_queue, count),
            peer_name=SIMPLE_QUEUE,
            unit="ns/event",
            bar=bar,
        )

    forms = [
        ("single events", ours.events, 1.0),
        ("payloads only", ours.payloads, 1.2),
        (f"batches of {BATCH}", ours.batches, 5.0),
    ]
    return [
        case(name, function, capacity, bar if capacity == CAPACITY else None)
        for name, function, bar in forms
        for capacity in (CAPACITY, 4096, None)
    ]


def libraries(count: int) -> list[Case]:
    """Single events against other libraries, each in the shape that it has."""
    in_thread = "a call in the sending thread"
    peers: list[tuple[str, Callable[[int], float], str]] = [
        (f"pyee, {in_thread}", others.pyee, "pyee"),
        (f"psygnal, {in_thread}", others.psygnal, "psygnal"),
        (f"blinker, {in_thread}", others.blinker, "blinker"),
        (f"reactivex, {in_thread}", others.reactivex, "reactivex"),
        (f"aiopubsub, {in_thread}", others.aiopubsub, "aiopubsub"),
        ("pyzmq inproc PUSH/PULL", partial(others.pyzmq, capacity=CAPACITY), "zmq"),
        ("culsans", partial(others.culsans, capacity=CAPACITY), "culsans"),
        ("janus", partial(others.janus, capacity=CAPACITY), "janus"),
    ]
    return [
        Case(
            f"two threads, single events, capacity {CAPACITY}, block, against {name}",
            ours=partial(ours.events, count, CAPACITY),
            peer=partial(function, count),
            peer_name=module,
            unit="ns/event",
            needs=(module,),
            bar=5.0,
        )
        for name, function, module in peers
    ]


def event_loops(count: int) -> list[Case]:
    """Where the receiver is a task."""
    capacity = 4096
    own: list[tuple[str, Any, float]] = [
        ("task to task of one loop", ours.tasks, 2.0),
        ("thread to task", ours.thread_to_task, 5.0),
    ]
    peers = [
        [
            ("asyncio.Queue", partial(others.asyncio_queue, count, capacity)),
            ("janus", partial(others.janus_between_tasks, count, capacity)),
        ],
        [
            ("asyncio.Queue by call_soon_threadsafe", partial(others.asyncio_queue_from_thread, count)),
            ("janus", partial(others.janus_from_thread, count, capacity)),
        ],
    ]
    return [
        Case(
            f"{name}, single events, capacity {capacity}, block, against {peer_name.partition(' ')[0]}",
            ours=partial(function, count, capacity),
            peer=peer,
            peer_name=peer_name,
            unit="ns/event",
            needs=("janus",) if peer_name == "janus" else (),
            bar=bar,
        )
        for (name, function, bar), theirs in zip(own, peers, strict=True)
        for peer_name, peer in theirs
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
            bar=1 / 1.1,
        ),
    ]


def tables(count: int) -> list[Case]:
    """Arrow: imported through its capsules at publishing, exported through them at receiving."""
    import pyarrow as pa

    batch = record_batch()
    table = pa.Table.from_batches([batch])

    def case(what: str, data: Any, consume: Callable[[Any], Any], **against: Any) -> Case:
        return Case(
            f"two threads, Arrow {what}, {ROWS} rows and {COLUMNS} columns, capacity 64, block",
            ours=partial(ours.table_rows, data, count, consume),
            unit="rows/s",
            better="higher",
            **against,
        )

    def stream(payload: Any) -> Any:
        return pa.RecordBatchReader.from_stream(payload).read_all()

    queue_name = f"{SIMPLE_QUEUE} of references, exported and imported once"
    return [
        case("batches, received as capsules", batch, capsules, limit=ROWS_A_SECOND),
        Case(
            f"one thread, Arrow batches, received as capsules, {ROWS} rows and {COLUMNS} columns, "
            "bursts of 64, drop-newest",
            ours=partial(ours.table_rows_one_thread, batch, count, capsules),
            unit="rows/s",
            better="higher",
            limit=ROWS_A_SECOND,
        ),
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
            bar=1.0,
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


def exchanges(count: int, topics: int) -> list[Case]:
    """Requests with their replies, and what a late subscriber gets first."""
    request = "request and reply, Python to Python, two threads, p50"
    return [
        Case(
            f"{request}, {answerer}",
            ours=partial(function, count),
            peer=partial(others.simple_queue_pair_us, count),
            peer_name=f"a pair of {SIMPLE_QUEUE}",
            unit="us",
            bar=1 / 1.5,
        )
        for answerer, function in (
            ("a thread that iterates", ours.request_us),
            ("a function that answers", ours.request_to_function_us),
        )
    ] + [
        Case(
            f"{topics} retained topics: a new pattern subscriber has them all",
            ours=partial(ours.retained_ms, topics),
            limit=20.0,
            unit="ms",
        )
    ]


def sustained(seconds: float) -> list[Case]:
    """A steady load for a while, in one round: the figures of its cases are those of the same runs."""
    load = Sustained(seconds)
    name = f"sustained {seconds:.0f} s at 1 M events/s, one thread to another, one pattern, capacity {CAPACITY}, block"
    return [
        Case(
            f"{name}, rate reached within 0.1 %",
            ours=load.events_per_second,
            limit=float(RATE_HZ_MIN),
            better="higher",
            unit="events/s",
            rounds=1,
        ),
        Case(f"{name}, events dropped", ours=load.dropped, limit=0.0, unit="events", rounds=1),
        Case(
            f"{name}, memory grown after the first sixth by more than {GROWTH_MIB_MAX} MiB",
            ours=load.growth_mib,
            limit=0.0,
            unit="MiB",
            rounds=1,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main("bus", cases))
