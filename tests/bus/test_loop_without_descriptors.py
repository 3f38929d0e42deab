"""An event loop that watches no descriptors, as the proactor loop of Windows, is woken through itself."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

import chronofabric as cf

COUNT = 500


class Blind(asyncio.SelectorEventLoop):
    """A loop that watches the sockets it needs itself, and none for others."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError


def run(main):
    with asyncio.Runner(loop_factory=Blind) as runner:
        return runner.run(asyncio.wait_for(main, 30))


def publishing(publish, values):
    thread = threading.Thread(target=lambda: [publish(value) for value in values])
    thread.start()
    return thread


def test_the_loop_refuses_to_watch():
    async def main():
        try:
            asyncio.get_running_loop().add_reader(0, print)
        except NotImplementedError:
            return True
        return False

    assert run(main())


def test_receive_async_is_woken_by_another_thread():
    async def main():
        async with cf.Fabric("plant") as fabric:
            subscription = fabric.subscribe("a")
            waiting = asyncio.create_task(subscription.receive_async())
            await asyncio.sleep(0)  # it waits before there is anything
            thread = publishing(fabric.publisher("a").publish, [1])
            event = await waiting
            thread.join()
            return event.payload

    assert run(main()) == 1


def test_iterating_gets_every_event_of_another_thread_in_order():
    async def main():
        async with cf.Fabric("plant") as fabric:
            subscription = fabric.subscribe("a", capacity=16, overflow="block", block_timeout="20 s")
            thread = publishing(fabric.publisher("a").publish, range(COUNT))
            seen = []
            async for event in subscription:
                seen.append(event.payload)
                if len(seen) == COUNT:
                    break
            thread.join()
            return seen

    assert run(main()) == list(range(COUNT))


def test_publish_async_waits_for_room_while_a_thread_makes_it():
    async def main():
        async with cf.Fabric("plant") as fabric:
            subscription = fabric.subscribe("a", capacity=2, overflow="block", block_timeout="20 s")
            seen = []

            def receive():
                for payload in subscription.payloads():
                    seen.append(payload)
                    if len(seen) == COUNT:
                        return

            thread = threading.Thread(target=receive)
            thread.start()
            publish = fabric.publisher("a").publish_async
            for number in range(COUNT):
                await publish(number)
            await asyncio.to_thread(thread.join)
            return seen

    assert run(main()) == list(range(COUNT))


def test_coroutine_handlers_get_every_event():
    seen = []

    async def main():
        async with cf.Fabric("plant") as fabric:

            @fabric.on("a")
            async def note(event):
                await asyncio.sleep(0)
                seen.append(event.payload)

            await asyncio.sleep(0)
            thread = publishing(fabric.publisher("a").publish, range(COUNT))
            await asyncio.to_thread(thread.join)

    run(main())
    assert seen == list(range(COUNT))


def test_coroutine_handlers_on_a_loop_of_the_node_get_every_event(monkeypatch):
    seen = []
    done = threading.Event()
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", Blind.add_reader)
    with cf.Fabric("plant") as fabric:

        @fabric.on("a")
        async def note(event):
            await asyncio.sleep(0)
            seen.append(event.payload)
            if len(seen) == COUNT:
                done.set()

        fabric.publish_many("a", range(COUNT))
        assert done.wait(30)
    assert seen == list(range(COUNT))


@pytest.mark.parametrize("function_first", [True, False])
def test_functions_that_share_the_loop_of_the_node_with_coroutines_get_every_event(monkeypatch, function_first):
    seen: dict[str, list[tuple[str, int]]] = {"function": [], "coroutine": []}
    done = {name: threading.Event() for name in seen}
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", Blind.add_reader)

    def note(name, event):
        seen[name].append((threading.current_thread().name, event.payload))
        if len(seen[name]) == 2 * COUNT:
            done[name].set()

    def function(event):
        note("function", event)

    async def coroutine(event):
        await asyncio.sleep(0)
        note("coroutine", event)

    with cf.Fabric("plant") as fabric:
        first, second = (function, coroutine) if function_first else (coroutine, function)
        fabric.on("a", capacity=4 * COUNT)(first)
        fabric.publish_many("a", range(COUNT))  # some before the other is there, and the loop with it
        fabric.on("a", capacity=4 * COUNT)(second)
        thread = publishing(fabric.publisher("a").publish, range(COUNT, 3 * COUNT))
        thread.join()
        assert all(each.wait(30) for each in done.values())
    for name, least in ((first.__name__, 3 * COUNT), (second.__name__, 2 * COUNT)):
        assert [payload for _, payload in seen[name]] == list(range(3 * COUNT - least, 3 * COUNT))
    assert {thread for each in seen.values() for thread, _ in each} == {"chronofabric-handlers-plant"}


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_handler_on_a_loop_of_the_node_is_woken_after_a_pause(monkeypatch, asynchronous):
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", Blind.add_reader)
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()
    with cf.Fabric("plant") as fabric:

        @fabric.on("starts/the/loop")
        async def nothing(event):
            pass

        if asynchronous:

            @fabric.on("a")
            async def note_soon(event):
                seen.put(event.payload)

        else:
            fabric.on("a")(lambda event: seen.put(event.payload))
        for number in range(COUNT):  # each waits until the loop has nothing left to do
            fabric.publish("a", number)
            assert seen.get(timeout=30) == number


def test_a_loop_that_was_closed_is_not_woken_and_nobody_is_told():
    fabric = cf.Fabric("plant")
    subscription = fabric.subscribe("a")

    async def main():
        try:
            await subscription.receive_async(timeout="1 ms")
        except cf.ReceiveTimeout:
            return True
        return False

    with fabric:
        assert run(main())
        fabric.publish("a", 1)  # an error in the wake-up would be an unraisable exception, which fails the test
        assert subscription.receive(timeout="1 s").payload == 1
