"""One round each of carrying events through a node, in nanoseconds an event; its books prove that nothing was lost."""

from __future__ import annotations

import asyncio  # noqa: TID253 - this module is imported where something is measured
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import chronofabric as cf
from chronofabric.apps.measuring.exchange import (
    BATCH,
    BURST,
    PAYLOAD,
    BetweenTasks,
    asked,
    between_threads,
    paced,
    seconds,
)

if TYPE_CHECKING:
    from chronofabric import Subscription

TOPIC = "plant/7/temperature"
PATTERN = "plant/*/temperature"
TABLES = 64


def events(count: int, capacity: int | None) -> float:
    """Two threads, one event at a time."""
    with cf.Fabric("benchmark") as fabric:
        subscription = _subscription(fabric, capacity)
        publish = fabric.publisher(TOPIC).publish

        def send() -> None:
            for _ in range(count):
                publish(PAYLOAD)
            _end(subscription)

        def receive() -> None:
            for _ in subscription:
                pass

        ns = between_threads(send, receive) / count
        _check(subscription, count)
    return ns


def payloads(count: int, capacity: int | None) -> float:
    """Two threads, one bare payload at a time."""
    with cf.Fabric("benchmark") as fabric:
        subscription = _subscription(fabric, capacity)
        publish = fabric.publisher(TOPIC).publish

        def send() -> None:
            for _ in range(count):
                publish(PAYLOAD)
            _end(subscription)

        def receive() -> None:
            for _ in subscription.payloads():
                pass

        ns = between_threads(send, receive) / count
        _check(subscription, count)
    return ns


def batches(count: int, capacity: int | None) -> float:
    """Two threads, batches both ways; the receiver lists the payloads."""
    rounds = count // BATCH
    batch = [PAYLOAD] * BATCH
    with cf.Fabric("benchmark") as fabric:
        subscription = _subscription(fabric, capacity)
        publish_many = fabric.publisher(TOPIC).publish_many

        def send() -> None:
            for _ in range(rounds):
                publish_many(batch)
            _end(subscription)

        received = 0

        def receive() -> None:
            nonlocal received
            for received_batch in subscription.batches(BATCH):
                received += len(received_batch.payloads)

        ns = between_threads(send, receive) / (rounds * BATCH)
        _check(subscription, rounds * BATCH)
    if received != rounds * BATCH:
        raise AssertionError(f"{received} payloads were looked at of {rounds * BATCH}")
    return ns


def one_thread(count: int, capacity: int) -> float:
    """One thread that publishes a burst and receives it, again and again."""
    burst = range(min(BURST, capacity))
    bursts = range(count // len(burst))
    with cf.Fabric("benchmark") as fabric:
        subscription = fabric.subscribe(PATTERN, capacity=capacity, overflow="drop-newest")
        publish = fabric.publisher(TOPIC).publish

        def exchange() -> None:
            for _ in bursts:
                for _ in burst:
                    publish(PAYLOAD)
                for _ in islice(subscription, len(burst)):
                    pass

        sent = len(bursts) * len(burst)
        ns = seconds(exchange) * 1e9 / sent
        _check(subscription, sent)
    return ns


def fan_out(count: int, receivers: int) -> float:
    """One thread: bursts to several subscriptions, each drained in turn; a delivery is one event in one of them."""
    burst = range(BURST)
    bursts = range(max(1, count // (BURST * receivers)))
    with cf.Fabric("benchmark") as fabric:
        subscriptions = [fabric.subscribe(PATTERN, capacity=BURST, overflow="drop-newest") for _ in range(receivers)]
        publish = fabric.publisher(TOPIC).publish

        def exchange() -> None:
            for _ in bursts:
                for _ in burst:
                    publish(PAYLOAD)
                for subscription in subscriptions:
                    for _ in islice(subscription, BURST):
                        pass

        sent = len(bursts) * BURST
        ns = seconds(exchange) * 1e9 / (sent * receivers)
        for subscription in subscriptions:
            _check(subscription, sent)
    return ns


def others_do_not_match(count: int, others: int) -> float:
    """Publishing in one thread on a topic with one subscription, while others do not match; receiving is not timed."""
    burst = range(BURST)
    bursts = count // BURST
    with cf.Fabric("benchmark") as fabric:
        elsewhere = [fabric.subscribe(f"elsewhere/{number}/*") for number in range(others)]
        subscription = fabric.subscribe(PATTERN, capacity=BURST, overflow="drop-newest")
        publish = fabric.publisher(TOPIC).publish

        def send() -> None:
            for _ in burst:
                publish(PAYLOAD)

        publishing_s = 0.0
        for _ in range(bursts):
            publishing_s += seconds(send)
            for _ in islice(subscription, BURST):
                pass
        _check(subscription, bursts * BURST)
        if any(each.books().offered for each in elsewhere):
            raise AssertionError("a subscription that does not match was offered an event")
    return publishing_s * 1e9 / (bursts * BURST)


def tasks(count: int, capacity: int) -> float:
    """Two tasks of one event loop."""

    async def exchange() -> float:
        async with cf.Fabric("benchmark") as fabric:
            subscription = _subscription(fabric, capacity)
            publish = fabric.publisher(TOPIC).publish_async

            async def send() -> None:
                for _ in range(count):
                    await publish(PAYLOAD)
                while subscription.pending:  # noqa: ASYNC110 (there is no event to wait for)
                    await asyncio.sleep(0)
                subscription.close()

            async def receive() -> None:
                async for _ in subscription:
                    pass

            ns = await BetweenTasks.run(send, receive) / count
            _check(subscription, count)
        return ns

    return asyncio.run(exchange())


def thread_to_task(count: int, capacity: int) -> float:
    """A thread that publishes, a task that receives."""

    async def exchange() -> float:
        async with cf.Fabric("benchmark") as fabric:
            subscription = _subscription(fabric, capacity)
            publish = fabric.publisher(TOPIC).publish

            def send() -> None:
                for _ in range(count):
                    publish(PAYLOAD)
                _end(subscription)

            async def receive() -> None:
                async for _ in subscription:
                    pass

            ns = await BetweenTasks.run_from_thread(send, receive) / count
            _check(subscription, count)
        return ns

    return asyncio.run(exchange())


def table_rows(table: Any, count: int, consume: Callable[[Any], Any]) -> float:
    """Two threads, Arrow; rows a second, import at publishing and what `consume` does at receiving included."""
    with cf.Fabric("benchmark") as fabric:
        subscription = fabric.subscribe(PATTERN, capacity=TABLES, overflow="block", block_timeout="60 s")
        publish = fabric.publisher(TOPIC, schema="arrow").publish
        rows = 0

        def send() -> None:
            for _ in range(count):
                publish(table)

        def receive() -> None:
            nonlocal rows
            for payload in islice(subscription.payloads(), count):
                consume(payload)
                rows += len(payload)

        ns = between_threads(send, receive)
        _check(subscription, count)
    if rows != count * table.num_rows:
        raise AssertionError(f"{rows} rows arrived of {count * table.num_rows}")
    return rows / ns * 1e9


def table_rows_one_thread(table: Any, count: int, consume: Callable[[Any], Any]) -> float:
    """One thread, Arrow, bursts of a ring: rows a second without a change of threads between import and export."""
    with cf.Fabric("benchmark") as fabric:
        subscription = fabric.subscribe(PATTERN, capacity=TABLES, overflow="drop-newest")
        publish = fabric.publisher(TOPIC, schema="arrow").publish
        bursts = count // TABLES
        rows = 0

        def exchange() -> None:
            nonlocal rows
            for _ in range(bursts):
                for _ in range(TABLES):
                    publish(table)
                for payload in islice(subscription.payloads(), TABLES):
                    consume(payload)
                    rows += len(payload)

        s = seconds(exchange)
        _check(subscription, bursts * TABLES)
    if rows != bursts * TABLES * table.num_rows:
        raise AssertionError(f"{rows} rows arrived of {bursts * TABLES * table.num_rows}")
    return rows / s


def paced_us(count: int, rate_hz: int, percentile: float) -> float:
    """Two threads at a steady rate: microseconds from before the publish until the receiver has the event."""
    with cf.Fabric("benchmark") as fabric:
        subscription = _subscription(fabric, 4096)
        publish = fabric.publisher(TOPIC).publish
        payloads = subscription.payloads()
        receive: Callable[[], Any] = payloads.__next__
        us = paced(publish, receive, count, rate_hz, percentile)
        _check(subscription, count)
    return us


def request_us(count: int) -> float:
    """Two threads: microseconds from a request to its reply; the other iterates over a subscription."""
    with cf.Fabric("benchmark") as fabric:
        subscription = fabric.subscribe(PATTERN)
        publisher = fabric.publisher(TOPIC)

        def answer() -> None:
            for event in subscription:
                event.reply(event.payload)

        with ThreadPoolExecutor(1, "answerer") as thread:
            answering = thread.submit(answer)
            us = asked(lambda: publisher.request(PAYLOAD, timeout=60), count)
            subscription.close()
            answering.result()
        _check_answered(fabric, count)
    return us


def request_to_function_us(count: int) -> float:
    """The same, by topic, to a function that answers in the thread of the node."""
    fabric = cf.Fabric("benchmark")
    fabric.answers(PATTERN)(lambda event: event.payload)
    with fabric:
        us = asked(lambda: fabric.request(TOPIC, PAYLOAD, timeout=60), count)
        _check_answered(fabric, count)
    return us


def retained_ms(topics: int) -> float:
    """One thread: milliseconds until a new subscription to a pattern has the last values of all its topics."""
    with cf.Fabric("benchmark") as fabric:
        for number in range(topics):
            fabric.publish(f"plant/{number}/temperature", PAYLOAD, retain=True)
        received = 0

        def subscribe() -> None:
            nonlocal received
            subscription = fabric.subscribe(PATTERN, capacity=topics)
            received = sum(event.retained for event in islice(subscription, topics))

        ms = seconds(subscribe) * 1e3
    if received != topics:
        raise AssertionError(f"{received} values arrived of {topics}")
    return ms


def _check_answered(fabric: cf.Fabric, count: int) -> None:
    counts = fabric.report().requests
    if counts["answered"] != count or counts["asked"] != count:
        raise AssertionError(f"of {count} requests not all were answered: {counts}")


def _subscription(fabric: cf.Fabric, capacity: int | None) -> Subscription:
    options: dict[str, Any] = {} if capacity is None else {"capacity": capacity}
    return fabric.subscribe(PATTERN, overflow="block", block_timeout="60 s", **options)


def _end(subscription: Subscription) -> None:
    """End the receiver's iteration when it has received everything."""
    while subscription.pending:
        time.sleep(0)
    subscription.close()


def _check(subscription: Subscription, count: int) -> None:
    books = subscription.books()
    if books.delivered != count or books.offered != count or not books.balanced:
        raise AssertionError(f"of {count} events not all arrived: {books}")
