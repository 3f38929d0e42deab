"""What an event costs as a load grows in one direction: topics, producers, bytes of payload, matching subscriptions.

`python -m benchmarks.curve [--quick] [--markdown] [--json FILE] [CURVE ...]`

A round of a curve measures each of its points once, so that a machine whose speed drifts drifts for all of them; a
figure is the median of the rounds. Rounds are repeated when they are noisy, as in the comparisons with peers. Except
where several threads publish, one thread publishes a burst and then receives it, and the two are timed apart.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import chronofabric as cf
from chronofabric.apps.measuring import noise as _noise
from chronofabric.apps.measuring.exchange import BURST, PAYLOAD, between_threads_of, seconds
from chronofabric.apps.measuring.rounds import REPEATS, ROUNDS, debug_refusal

PATTERN = "plant/*/temperature"
CAPACITY = 65_536
BYTES_MAX = 2**31
# Until then every topic has appeared, and every ring and histogram has its memory.
WARM_UP = 2_048


@dataclass(frozen=True)
class Curve:
    """One direction in which a load grows.

    Parameters
    ----------
    name
        What grows.
    points
        How far.
    forms
        What is measured at each point, in nanoseconds.
    measure
        Performs one round at a point and returns one figure a form.
    """

    name: str
    points: tuple[int, ...]
    forms: tuple[str, ...]
    measure: Callable[[int], tuple[float, ...]]


def curves(quick: bool) -> list[Curve]:
    """Make the curves."""
    count = 20_000 if quick else 200_000
    return [
        Curve(
            "topics",
            (1, 10, 100, 1_000, 10_000),
            ("publish, publisher held", "receive", "publish, by topic", "receive"),
            lambda topics: (*by_publisher(count, topics), *by_topic(count, topics)),
        ),
        Curve(
            "producer threads",
            (1, 2, 3, 4, 6, 8),
            ("publish and receive", "the same through queue.SimpleQueue"),
            lambda threads: (producers(5 * count, threads), simple_queue_producers(5 * count, threads)),
        ),
        Curve(
            "bytes of a payload",
            (16, 256, 4_096, 65_536, 1_048_576),
            ("publish", "receive", "publish, capacity_bytes set", "receive"),
            lambda size: (*payloads(count, size, None), *payloads(count, size, BYTES_MAX)),
        ),
        Curve(
            "matching subscriptions",
            (1, 10, 100, 1_000),
            ("publish, a delivery", "receive, a delivery", "publish, a delivery, capacity 1024", "receive, a delivery"),
            lambda matching: (*subscriptions(count, matching, 128), *subscriptions(count, matching, 1_024)),
        ),
    ]


def by_publisher(count: int, topics: int) -> tuple[float, float]:
    """Publish round robin by a held publisher of each topic."""
    with cf.Fabric("benchmark", topics_max=topics + 100) as fabric:
        subscription = fabric.subscribe(PATTERN, capacity=BURST, overflow="drop-newest")
        publishes = [fabric.publisher(f"plant/{number}/temperature").publish for number in range(topics)]

        def send(burst: list[Callable[[object], object]]) -> None:
            for publish in burst:
                publish(PAYLOAD)

        return in_bursts(count, _bursts(publishes), send, [subscription])


def by_topic(count: int, topics: int) -> tuple[float, float]:
    """Publish round robin by the name of each topic."""
    with cf.Fabric("benchmark", topics_max=topics + 100) as fabric:
        subscription = fabric.subscribe(PATTERN, capacity=BURST, overflow="drop-newest")
        publish = fabric.publish

        def send(burst: list[str]) -> None:
            for topic in burst:
                publish(topic, PAYLOAD)

        names = [f"plant/{number}/temperature" for number in range(topics)]
        return in_bursts(count, _bursts(names), send, [subscription])


def payloads(count: int, size: int, capacity_bytes: int | None) -> tuple[float, float]:
    """Publish bytes objects of one size, each another one than the one before."""
    items = [bytes(size) for _ in range(BURST)]
    with cf.Fabric("benchmark") as fabric:
        subscription = fabric.subscribe(PATTERN, capacity=BURST, capacity_bytes=capacity_bytes, overflow="drop-newest")
        publish = fabric.publisher("plant/7/temperature").publish

        def send(burst: list[bytes]) -> None:
            for item in burst:
                publish(item)

        return in_bursts(count, [items], send, [subscription])


def subscriptions(count: int, matching: int, capacity: int) -> tuple[float, float]:
    """Publish to many subscriptions; a figure is that of one event in one of them."""
    burst = [PAYLOAD] * 100
    with cf.Fabric("benchmark") as fabric:
        receivers = [fabric.subscribe(PATTERN, capacity=capacity, overflow="drop-newest") for _ in range(matching)]
        publish = fabric.publisher("plant/7/temperature").publish

        def send(burst: list[bytes]) -> None:
            for item in burst:
                publish(item)

        return in_bursts(max(count // matching, 2_000), [burst], send, receivers)


def in_bursts(
    count: int, bursts: Sequence[list[Any]], send: Callable[[list[Any]], None], receivers: list[Any]
) -> tuple[float, float]:
    """Send every burst at least once, each followed by its receipt; return the nanoseconds of both, of one delivery."""
    length = len(bursts[0])
    in_all = length * len(bursts)
    warm_up, rounds = -(-WARM_UP // in_all), max(1, -(-count // in_all))
    sending_s = receiving_s = 0.0

    def receive() -> None:
        for receiver in receivers:
            for _ in islice(receiver, length):
                pass

    for _ in range(warm_up):
        for burst in bursts:
            send(burst)
            receive()
    for _ in range(rounds):
        for burst in bursts:
            sending_s += seconds(partial(send, burst))
            receiving_s += seconds(receive)
    sent = (warm_up + rounds) * in_all
    for receiver in receivers:
        _check(receiver, sent)
    deliveries = rounds * in_all * len(receivers)
    return sending_s * 1e9 / deliveries, receiving_s * 1e9 / deliveries


def producers(count: int, threads: int) -> float:
    """Publish from several threads, each on a topic of its own, while one receives from a pattern."""
    each = count // threads
    with cf.Fabric("benchmark") as fabric:
        subscription = fabric.subscribe(PATTERN, capacity=CAPACITY, overflow="block", block_timeout="60 s")

        def sender(number: int) -> Callable[[], None]:
            publish = fabric.publisher(f"plant/{number}/temperature").publish

            def send() -> None:
                for _ in range(each):
                    publish(PAYLOAD)

            return send

        def receive() -> None:
            for _ in islice(subscription, threads * each):
                pass

        ns = between_threads_of([sender(number) for number in range(threads)], receive)
        _check(subscription, threads * each)
    return ns / (threads * each)


def simple_queue_producers(count: int, threads: int) -> float:
    """Put into a `queue.SimpleQueue` from several threads, while one gets."""
    import queue

    items: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    each = count // threads
    put, get = items.put, items.get

    def send() -> None:
        for _ in range(each):
            put(PAYLOAD)

    def receive() -> None:
        for _ in range(threads * each):
            get()

    return between_threads_of([send] * threads, receive) / (threads * each)


def run(curve: Curve, *, quick: bool = False, read: Callable[[], _noise.Reading] = _noise.read) -> dict[str, Any]:
    """Measure a curve; return its name, forms, points, figures (a list a point) and how many rounds were quiet."""
    wanted = 1 if quick else ROUNDS
    rounds: list[tuple[_noise.Noise, list[tuple[float, ...]]]] = []
    while sum(not noise.noisy for noise, _ in rounds) < wanted and len(rounds) < (1 if quick else REPEATS * wanted):
        gc.collect()
        before = read()
        figures = [curve.measure(point) for point in curve.points]
        rounds.append((_noise.between(before, read()), figures))
    counted = sorted(rounds, key=lambda each: each[0].level if each[0].noisy else 0.0)[:wanted]
    return {
        "curve": curve.name,
        "forms": curve.forms,
        "points": curve.points,
        "ns": [
            [statistics.median(column) for column in zip(*(figures[index] for _, figures in counted), strict=True)]
            for index in range(len(curve.points))
        ],
        "rounds": sum(not noise.noisy for noise, _ in rounds),
        "quick": quick,
    }


def table(line: dict[str, Any], *, markdown: bool = False) -> str:
    """Return one measured curve as a table."""
    heads = [line["curve"], *line["forms"]]
    rows = [
        [f"{point:,}".replace(",", " "), *(f"{ns:.0f}" if ns >= 99.5 else f"{ns:.1f}" for ns in figures)]
        for point, figures in zip(line["points"], line["ns"], strict=True)
    ]
    if markdown:
        return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---:"] * len(heads), *rows])
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [heads, *rows]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the curves and print them; return 2 when the extension is not a release build or a curve is unknown."""
    known = [curve.name for curve in curves(quick=True)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curve")
    parser.add_argument("curve", nargs="*", help=f"of: {', '.join(known)}; without any, all")
    parser.add_argument("--quick", action="store_true", help="one round on fewer events: a look, not a figure")
    parser.add_argument("--markdown", action="store_true", help="print tables of Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one line a curve to FILE")
    chosen = parser.parse_args(argv)
    unknown = sorted(set(chosen.curve) - set(known))
    if unknown:
        parser.error(f"no curve is called {', '.join(unknown)}; there are: {', '.join(known)}")
    refusal = debug_refusal()
    if refusal:
        print(refusal, file=sys.stderr)
        return 2
    lines = []
    for curve in curves(chosen.quick):
        if chosen.curve and curve.name not in chosen.curve:
            continue
        lines.append(run(curve, quick=chosen.quick))
        print(f"{table(lines[-1], markdown=chosen.markdown)}\n\n{lines[-1]['rounds']} quiet rounds\n", flush=True)
    if chosen.json is not None:
        chosen.json.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return 0


def _bursts(items: list[Any]) -> list[list[Any]]:
    if len(items) < BURST:
        return [items * (BURST // len(items))]
    return [items[start : start + BURST] for start in range(0, len(items), BURST)]


def _check(subscription: Any, count: int) -> None:
    books = subscription.books()
    if books.delivered != count or books.offered != count or not books.balanced:
        raise AssertionError(f"of {count} events not all arrived: {books}")


if __name__ == "__main__":
    sys.exit(main())
