"""What content filters cost: an event that is turned away, with its publishing, and the rows of a table beside polars.

`python -m benchmarks.peers.filters [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import chronofabric as cf
from benchmarks.peers._rounds import Case, main

ONE_FIELD = "value >= 99"
TWO_FIELDS = "value >= 99 and unit_ok == 1"
TURNED_AWAY_NS_MAX = 150.0
PERCENT = 100


def cases(quick: bool) -> list[Case]:
    """Make the cases."""
    events = 50_000 if quick else 1_000_000
    rows = 100_000 if quick else 1_000_000
    return [
        *(
            Case(
                f"a filter that turns away 99 % of mappings, '{where}', {how}, publishing included",
                ours=partial(turned_away_ns, events, where, together),
                limit=TURNED_AWAY_NS_MAX,
                unit="ns/event",
            )
            for where in (ONE_FIELD, TWO_FIELDS)
            for how, together in (("one by one", False), ("in a list", True))
        ),
        *(
            Case(
                f"a filter over a table of {columns} columns, of whose rows {share:.0%} stay",
                ours=partial(table_ms, rows, columns, share),
                peer=partial(polars_ms, rows, columns, share),
                peer_name="polars",
                unit="ms",
                needs=("polars",),
                bar=0.5,
            )
            for columns in (1, 4)
            for share in (0.01, 0.5)
        ),
    ]


def turned_away_ns(count: int, where: str, together: bool) -> float:
    """Publish mappings, of which one in a hundred matches; nanoseconds an event."""
    events = [{"value": float(number % PERCENT), "unit_ok": 1} for number in range(count)]
    with cf.Fabric("filters") as fabric:
        subscription = fabric.subscribe("a", where=where, capacity=count // PERCENT + 1)
        publisher = fabric.publisher("a")
        publish = publisher.publish
        began_ns = time.perf_counter_ns()
        if together:
            publisher.publish_many(events)
        else:
            for event in events:
                publish(event)
        took_ns = time.perf_counter_ns() - began_ns
        books = subscription.books()
        if (books.offered, books.pending) != (count, count // PERCENT):
            raise AssertionError(books)
        subscription.poll_batch(count)
    return took_ns / count


def _columns(rows: int, columns: int) -> Any:
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(7)
    return pa.table({f"column_{number}": random.random(rows) for number in range(columns)})


def table_ms(rows: int, columns: int, share: float) -> float:
    """Publish a table and receive the rows that match."""
    table = cf.Table(_columns(rows, columns))
    with cf.Fabric("filters") as fabric:
        subscription = fabric.subscribe("a", where=f"column_0 < {share}")
        publisher = fabric.publisher("a")
        best_ns = 2**63
        for _ in range(10):
            began_ns = time.perf_counter_ns()
            publisher.publish(table)
            found = subscription.receive().payload
            best_ns = min(best_ns, time.perf_counter_ns() - began_ns)
            if abs(len(found) / rows - share) > 0.05:
                raise AssertionError(len(found))
    return best_ns / 1e6


def polars_ms(rows: int, columns: int, share: float) -> float:
    """Filter a frame over the same columns."""
    import polars as pl

    frame: Any = pl.from_arrow(_columns(rows, columns))
    condition = pl.col("column_0") < share
    best_ns = 2**63
    for _ in range(10):
        began_ns = time.perf_counter_ns()
        found = frame.filter(condition)
        best_ns = min(best_ns, time.perf_counter_ns() - began_ns)
        if abs(len(found) / rows - share) > 0.05:
            raise AssertionError(len(found))
    return best_ns / 1e6


if __name__ == "__main__":
    sys.exit(main("filters", cases))
