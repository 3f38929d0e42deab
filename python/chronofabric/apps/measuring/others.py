"""One round each of carrying the same through another library, in nanoseconds an item."""

from __future__ import annotations

import asyncio  # noqa: TID253 - this module is imported where something is measured
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chronofabric.apps.measuring.exchange import BURST, PAYLOAD, BetweenTasks, asked, between_threads, paced, seconds

_Put = Callable[[bytes], object]
_Get = Callable[[], object]


def simple_queue(count: int) -> float:
    """`queue.SimpleQueue` between two threads."""
    items: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    return _two_threads(count, items.put, items.get)


def simple_queue_one_thread(count: int) -> float:
    """`queue.SimpleQueue` in one thread, burst by burst."""
    items: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    return simple_queues_fan_out(count, [items])


def simple_queue_fan_out(count: int, receivers: int) -> float:
    """Several `queue.SimpleQueue`, each given every item."""
    return simple_queues_fan_out(count, [queue.SimpleQueue() for _ in range(receivers)])


def simple_queues_fan_out(count: int, queues: list[queue.SimpleQueue[bytes]]) -> float:
    """One thread: a burst into every queue, then each drained in turn."""
    bursts = range(max(1, count // (BURST * len(queues))))
    burst = range(BURST)
    puts = [each.put for each in queues]
    gets = [each.get for each in queues]

    def exchange() -> None:
        for _ in bursts:
            for _ in burst:
                for put in puts:
                    put(PAYLOAD)
            for get in gets:
                for _ in burst:
                    get()

    return seconds(exchange) * 1e9 / (len(bursts) * BURST * len(queues))


def simple_queue_table_rows(table: Any, count: int, consume: Callable[[Any], Any]) -> float:
    """Arrow by reference through `queue.SimpleQueue`, exported once, by what `consume` does; rows a second."""
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    rows = 0

    def send() -> None:
        for _ in range(count):
            items.put(table)

    def receive() -> None:
        nonlocal rows
        for _ in range(count):
            item = items.get()
            consume(item)
            rows += len(item)

    ns = between_threads(send, receive)
    return rows / ns * 1e9


def pyarrow_rows(batch: Any, count: int) -> float:
    """One thread: pyarrow exports a record batch and imports it again, with nothing between; rows a second."""
    import pyarrow as pa

    def exchange() -> None:
        for _ in range(count):
            pa.record_batch(batch)

    return float(count * batch.num_rows / seconds(exchange))


def simple_queue_pair_us(count: int) -> float:
    """Two threads and two queues: microseconds from an item in the one to its answer from the other."""
    questions: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def answer() -> None:
        while (item := questions.get()) is not None:
            replies.put(item)

    def ask() -> bytes:
        questions.put(PAYLOAD)
        return replies.get()

    with ThreadPoolExecutor(1, "answerer") as thread:
        answering = thread.submit(answer)
        us = asked(ask, count)
        questions.put(None)
        answering.result()
    return us


def simple_queue_paced_us(count: int, rate_hz: int, percentile: float) -> float:
    """`queue.SimpleQueue` between two threads at a steady rate, in microseconds."""
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    return paced(items.put, items.get, count, rate_hz, percentile)


def pyee(count: int) -> float:
    """`pyee.EventEmitter`, which calls its listener in the emitting thread."""
    from pyee.base import EventEmitter

    received, receiver = _counter()
    emitter = EventEmitter()
    emitter.on("temperature", receiver)
    return _calls(count, received, lambda item: emitter.emit("temperature", item))


def blinker(count: int) -> float:
    """`blinker.Signal`, which calls its receiver in the sending thread."""
    from blinker import Signal

    received, receiver = _counter()
    signal = Signal()
    signal.connect(receiver)
    return _calls(count, received, signal.send)


def psygnal(count: int) -> float:
    """`psygnal.Signal`, which calls its callback in the emitting thread."""
    from psygnal import Signal

    class Sensor:
        temperature = Signal(bytes)

    received, receiver = _counter()
    sensor = Sensor()
    sensor.temperature.connect(receiver)
    return _calls(count, received, sensor.temperature.emit)


def reactivex(count: int, receivers: int = 1) -> float:
    """`reactivex.Subject`, which calls its observers in the sending thread."""
    from reactivex import Subject

    received, receiver = _counter()
    subject: Any = Subject()
    for _ in range(receivers):
        subject.subscribe(receiver)
    return _calls(count // receivers, received, subject.on_next, receivers)


def aiopubsub(count: int) -> float:
    """`aiopubsub` with a pattern of keys and a synchronous listener, which it calls in the publishing thread."""
    from aiopubsub import Hub, Key, Publisher, Subscriber

    received, receiver = _counter()

    def listener(_: object, item: object) -> None:
        receiver(item)

    async def exchange() -> float:  # a subscriber needs a running loop from the start
        hub = Hub()
        Subscriber(hub, "receiver").add_sync_listener(Key("plant", "*", "temperature"), listener)
        publish, key = Publisher(hub, "plant").publish, Key("7", "temperature")
        return _calls(count, received, lambda item: publish(key, item))

    return asyncio.run(exchange())


def pyzmq(count: int, capacity: int) -> float:
    """`zmq` PUSH and PULL over inproc, between two threads."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.PUSH) as push, context.socket(zmq.PULL) as pull:
        push.set_hwm(capacity)
        pull.set_hwm(capacity)
        pull.bind("inproc://temperature")
        push.connect("inproc://temperature")
        return _two_threads(count, push.send, pull.recv)


def culsans(count: int, capacity: int) -> float:
    """`culsans.Queue` between two threads."""
    from culsans import Queue

    items: Any = Queue(capacity)
    ns = _two_threads(count, items.sync_q.put, items.sync_q.get)
    items.shutdown()
    return ns


def janus(count: int, capacity: int) -> float:
    """`janus.Queue` between two threads."""
    from janus import Queue

    async def exchange() -> float:
        items: Any = Queue(capacity)
        ns = await asyncio.to_thread(_two_threads, count, items.sync_q.put, items.sync_q.get)
        await items.aclose()
        return ns

    return asyncio.run(exchange())


def asyncio_queue(count: int, capacity: int) -> float:
    """`asyncio.Queue` between two tasks."""

    async def exchange() -> float:
        items: asyncio.Queue[bytes] = asyncio.Queue(capacity)

        async def send() -> None:
            for _ in range(count):
                await items.put(PAYLOAD)

        return await BetweenTasks.run(send, lambda: _take(items.get, count)) / count

    return asyncio.run(exchange())


def janus_between_tasks(count: int, capacity: int) -> float:
    """`janus.Queue` between two tasks."""
    from janus import Queue

    async def exchange() -> float:
        items: Any = Queue(capacity)

        async def send() -> None:
            for _ in range(count):
                await items.async_q.put(PAYLOAD)

        ns = await BetweenTasks.run(send, lambda: _take(items.async_q.get, count)) / count
        await items.aclose()
        return ns

    return asyncio.run(exchange())


def asyncio_queue_from_thread(count: int) -> float:
    """`asyncio.Queue`, filled by `call_soon_threadsafe` from a thread."""

    async def exchange() -> float:
        items: asyncio.Queue[bytes] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def send() -> None:
            for _ in range(count):
                loop.call_soon_threadsafe(items.put_nowait, PAYLOAD)

        return await BetweenTasks.run_from_thread(send, lambda: _take(items.get, count)) / count

    return asyncio.run(exchange())


def janus_from_thread(count: int, capacity: int) -> float:
    """`janus.Queue` from a thread to a task."""
    from janus import Queue

    async def exchange() -> float:
        items: Any = Queue(capacity)

        def send() -> None:
            for _ in range(count):
                items.sync_q.put(PAYLOAD)

        ns = await BetweenTasks.run_from_thread(send, lambda: _take(items.async_q.get, count)) / count
        await items.aclose()
        return ns

    return asyncio.run(exchange())


async def _take(get: Callable[[], Any], count: int) -> None:
    for _ in range(count):
        await get()


def _two_threads(count: int, put: _Put, get: _Get) -> float:
    def send() -> None:
        for _ in range(count):
            put(PAYLOAD)

    def receive() -> None:
        for _ in range(count):
            get()

    return between_threads(send, receive) / count


def _counter() -> tuple[Callable[[], int], Callable[[object], None]]:
    received = 0

    def receiver(_: object) -> None:
        nonlocal received
        received += 1

    return (lambda: received), receiver


def _calls(count: int, received: Callable[[], int], send: Callable[[bytes], object], receivers: int = 1) -> float:
    def exchange() -> None:
        for _ in range(count):
            send(PAYLOAD)

    ns = seconds(exchange) * 1e9 / (count * receivers)
    if received() != count * receivers:
        raise AssertionError(f"{received()} calls arrived of {count * receivers}")
    return ns
