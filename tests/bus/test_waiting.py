"""Those who wait: blocked publishers, receivers beside a running loop, and what wakes them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import sys
import threading
import weakref
from typing import Any

import pytest

import chronofabric as cf
from chronofabric._core.bus import YIELD_EVERY, waiting


@pytest.fixture
def clock():
    return cf.SimulatedClock()


@pytest.fixture
def fabric(clock):
    with cf.Fabric("waiting", clock=clock) as made:
        yield made


def until(condition):
    """Wait for other threads, without a verdict in how long it takes."""
    came = threading.Event()
    for _ in range(20_000):
        if condition():
            return
        came.wait(0.001)
    pytest.fail("it did not come true")


def full(fabric, **options):
    """Make a subscription that has no room."""
    subscription = fabric.subscribe("a", capacity=1, overflow="block", **{"block_timeout": "1 h", **options})
    fabric.publish("a", "first")
    return subscription


class Caught:
    """A call in a thread of its own, and how it ended."""

    def __init__(self, call):
        self.error = self.result = None

        def run():
            try:
                self.result = call()
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def end(self):
        self.thread.join(20)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def test_a_blocked_publisher_goes_on_when_there_is_room(fabric):
    subscription = full(fabric)
    blocked = Caught(lambda: fabric.publish("a", "second"))
    until(lambda: waiting() > 0)
    assert subscription.receive().payload == "first"
    blocked.end()
    assert subscription.receive().payload == "second"


def test_a_blocked_publisher_ends_when_its_subscription_is_left(fabric):
    subscription = full(fabric)
    blocked = Caught(lambda: fabric.publish("a", "second"))
    until(lambda: waiting() > 0)
    subscription.close()
    blocked.end()
    assert subscription.books().dropped == {"unsubscribed": 2}


def test_a_blocked_publisher_ends_with_closed_error_when_the_fabric_closes(clock):
    fabric = cf.Fabric("closes", clock=clock)
    subscription = full(fabric)
    blocked = Caught(lambda: fabric.publish("a", "second"))
    until(lambda: waiting() > 0)
    fabric.close(drain=0)
    with pytest.raises(cf.ClosedError):
        blocked.end()
    assert subscription.books().dropped == {"closed": 2}


def test_the_timeouts_of_several_full_subscriptions_pass_together(fabric, clock):
    second = fabric.subscribe("a", name="two", capacity=1, overflow="block", block_timeout="10 ms")
    first = fabric.subscribe("a", name="one", capacity=1, overflow="block", block_timeout="10 ms")
    fabric.publish("a", 1)
    blocked = Caught(lambda: fabric.publish("a", 2))
    until(lambda: waiting() > 0)
    clock.advance("10 ms")
    with pytest.raises(cf.PublishTimeout) as raised:
        blocked.end()
    assert set(raised.value.subscriptions) == {"one", "two"}
    assert first.books().dropped == second.books().dropped == {"timeout": 1}


def test_a_thread_that_only_looked_while_it_was_paused_is_its_receiver_all_the_same(fabric):
    mine = full(fabric, name="mine")
    mine.pause()
    assert mine.poll() is None
    with pytest.raises(cf.WouldDeadlock) as raised:
        fabric.publish("a", 2)
    assert raised.value.subscriptions == ("mine",)
    assert raised.value.topic == "a"


def test_a_new_thread_is_not_taken_for_one_that_has_ended(fabric, clock):
    subscription = full(fabric, block_timeout="1 s")
    identifiers = []

    def note(call):
        identifiers.append(threading.get_ident())
        return call()

    Caught(lambda: note(subscription.poll)).end()
    fabric.publish("a", 1)
    blocked = Caught(lambda: note(lambda: fabric.publish("a", 2)))
    until(lambda: waiting() > 0 or not blocked.thread.is_alive())
    clock.advance("1 s")
    with pytest.raises(cf.PublishTimeout):
        blocked.end()


def test_bytes_make_room_for_a_blocked_publisher(fabric):
    subscription = fabric.subscribe("bytes", capacity_bytes=10, overflow="block", block_timeout="1 h")
    fabric.publish("bytes", b"123456")
    blocked = Caught(lambda: fabric.publish("bytes", b"abcdef"))
    until(lambda: waiting() > 0)
    assert subscription.receive().payload == b"123456"
    blocked.end()
    assert subscription.receive().payload == b"abcdef"


def test_publish_async_never_blocks_the_loop(fabric, clock):
    subscription = full(fabric, name="full", block_timeout="1 s")
    turns: list[int] = []

    async def others():
        while not turns or turns[-1] < 20:
            turns.append(len(turns))
            await asyncio.sleep(0)
        clock.advance("1 s")

    async def main():
        results = await asyncio.gather(fabric.publish_async("a", 2), others(), return_exceptions=True)
        return results[0]

    error = asyncio.run(asyncio.wait_for(main(), 20))
    assert isinstance(error, cf.PublishTimeout)
    assert (error.subscriptions, error.timeout_ns) == (("full",), 1_000_000_000)
    assert subscription.books().dropped == {"timeout": 1}
    assert len(turns) > 20


def test_publish_async_does_not_raise_would_deadlock_but_waits(fabric):
    subscription = full(fabric)

    async def main():
        assert (await subscription.receive_async()).payload == "first"
        await fabric.publish_async("a", 1)
        publisher = asyncio.create_task(fabric.publish_async("a", 2))
        await asyncio.sleep(0)
        assert not publisher.done()
        assert (await subscription.receive_async()).payload == 1
        await publisher
        return (await subscription.receive_async()).payload

    assert asyncio.run(asyncio.wait_for(main(), 20)) == 2


def test_closing_ends_a_waiting_publish_async(clock):
    async def main():
        fabric = cf.Fabric("closes", clock=clock)
        kept = full(fabric)
        publisher = asyncio.create_task(fabric.publish_async("a", 2))
        await asyncio.sleep(0)
        await asyncio.to_thread(fabric.close, 0)
        with pytest.raises(cf.ClosedError):
            await publisher
        return kept.books().dropped

    assert asyncio.run(asyncio.wait_for(main(), 20)) == {"closed": 2}


def test_a_cancelled_receive_takes_no_event(fabric):
    subscription = fabric.subscribe("a")

    async def main():
        receiver = asyncio.create_task(subscription.receive_async())
        await asyncio.sleep(0)
        receiver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiver
        fabric.publish("a", 1)
        return (await subscription.receive_async()).payload

    assert asyncio.run(main()) == 1
    assert subscription.books().delivered == 1


def test_an_asynchronous_timeout_passes_on_the_nodes_own_time(fabric, clock):
    subscription = fabric.subscribe("a")

    async def main():
        receiver = asyncio.create_task(subscription.receive_async(timeout="1 h"))
        await asyncio.sleep(0)
        clock.advance("1 h")
        with pytest.raises(cf.ReceiveTimeout) as raised:
            await receiver
        assert raised.value.timeout_ns == 3_600_000_000_000

    asyncio.run(asyncio.wait_for(main(), 20))


def test_several_tasks_share_a_subscription(fabric):
    subscription = fabric.subscribe("a")

    async def main():
        seen = []

        async def receive():
            seen.extend([(await subscription.receive_async()).payload for _ in range(10)])

        receivers = [asyncio.create_task(receive()) for _ in range(5)]
        for number in range(50):
            fabric.publish("a", number)
            if number % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*receivers)
        return seen

    assert sorted(asyncio.run(asyncio.wait_for(main(), 20))) == list(range(50))


def test_a_loop_is_woken_by_another_thread(fabric):
    subscription = fabric.subscribe("a")

    async def main():
        publisher = asyncio.to_thread(fabric.publish_many, "a", range(300))
        receiver = asyncio.create_task(anext(aiter(subscription)))
        await publisher
        first = await receiver
        batches = [batch.payloads async for batch in first_batches(subscription)]
        return [first.payload, *(payload for batch in batches for payload in batch)]

    async def first_batches(subscription):
        count = 1
        async for batch in subscription.batches_async(50):
            assert 1 <= len(batch) <= 50
            yield batch
            count += len(batch)
            if count == 300:
                return

    assert asyncio.run(asyncio.wait_for(main(), 20)) == list(range(300))


def test_asynchronous_iteration_ends_when_the_fabric_closes(clock):
    async def main():
        async with cf.Fabric("ends", clock=clock) as fabric:
            subscription = fabric.subscribe("a")
            seen = []

            async def receive():
                seen.extend([event.payload async for event in subscription])

            receiver = asyncio.create_task(receive())
            fabric.publish_many("a", range(YIELD_EVERY * 3))
            await asyncio.sleep(0)
        await receiver
        return seen

    seen = asyncio.run(asyncio.wait_for(main(), 20))
    assert seen == list(range(len(seen)))


def test_one_subscription_serves_one_loop_after_another(fabric):
    subscription = fabric.subscribe("a")

    async def one(number):
        receiver = asyncio.create_task(subscription.receive_async())
        await asyncio.sleep(0)
        fabric.publish("a", number)
        return (await receiver).payload

    assert [asyncio.run(one(number)) for number in range(20)] == list(range(20))


def test_a_loop_that_ended_is_not_kept(fabric):
    subscription = fabric.subscribe("a")
    loops = []

    async def main():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        fabric.publish("a", 1)
        await subscription.receive_async()
        receiver = asyncio.create_task(subscription.receive_async())
        await asyncio.sleep(0)
        fabric.publish("a", 2)
        await receiver

    asyncio.run(main())
    gc.collect()
    assert loops[0]() is None


def test_a_paused_receiver_is_woken_by_resuming(fabric):
    subscription = fabric.subscribe("a")
    subscription.pause()
    fabric.publish("a", 1)
    receiver = Caught(lambda: subscription.receive().payload)
    until(lambda: waiting() > 0)
    subscription.resume()
    assert receiver.end() == 1


def test_subscribing_and_leaving_while_it_runs_loses_and_doubles_nothing(fabric):
    stay = fabric.subscribe("a", capacity=100_000)
    publishers = [
        Caught(lambda mine=mine: [fabric.publish("a", (mine, number)) for number in range(5000)]) for mine in range(2)
    ]
    while any(publisher.thread.is_alive() for publisher in publishers):
        passing = fabric.subscribe("*", capacity=64)
        seen = passing.poll_batch(64).payloads
        passing.close()
        for mine in range(2):
            numbers = [number for who, number in seen if who == mine]
            # No gap after the first: a route is either there or not.
            assert len(numbers) < 2 or numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for publisher in publishers:
        publisher.end()
    everything = stay.poll_batch(100_000).payloads
    assert len(everything) == len(set(everything)) == 10_000
    for mine in range(2):
        assert [number for who, number in everything if who == mine] == list(range(5000))


def step_of(subscription):
    """Return the awaitable of the next event."""
    return anext(aiter(subscription))


def test_what_tasks_await_does_nothing_before_it_is_awaited(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish("a", 1)

    async def main():
        publish, receive = fabric.publisher("a").publish_async(2), step_of(subscription)
        assert subscription.pending == 1
        receive.close()
        assert await publish is None
        assert subscription.pending == 2

    asyncio.run(main())
    assert subscription.books().delivered == 0


def test_a_publish_that_nobody_awaits_is_warned_of(fabric):
    publisher = fabric.publisher("a")
    with pytest.warns(RuntimeWarning, match="publish_async' was never awaited"):
        publisher.publish_async(1)
    awaitable = publisher.publish_async(1)
    awaitable.close()
    with pytest.raises(RuntimeError, match="already awaited"):
        awaitable.send(None)


def test_tasks_are_made_of_what_is_awaited(fabric):
    subscription, publisher = fabric.subscribe("a"), fabric.publisher("a")
    made = publisher.publish_async(0)
    assert asyncio.iscoroutine(made)
    assert inspect.isawaitable(made)
    asyncio.run(made)

    async def main():
        task = asyncio.create_task(publisher.publish_async(1), name="publishes")
        assert "publish" in repr(task)
        await task
        await asyncio.gather(publisher.publish_async(2), publisher.publish_async(payload=3))
        await asyncio.wait_for(publisher.publish_async(4), 20)
        return [(await asyncio.wait_for(step_of(subscription), 20)).payload for _ in range(5)]

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_an_asynchronous_publish_takes_what_a_publish_takes(fabric):
    subscription, publisher = fabric.subscribe("a"), fabric.publisher("a")

    async def main():
        await publisher.publish_async("x", priority="urgent", headers={"by": "me"}, time=7)
        with pytest.raises(cf.ArgumentError):
            await publisher.publish_async("x", priority="none such")
        with pytest.raises(TypeError, match="unexpected keyword"):
            await publisher.publish_async("x", colour="red")
        return await step_of(subscription)

    event = asyncio.run(main())
    assert (event.payload, event.priority, dict(event.headers), event.time) == ("x", 3, {"by": "me"}, 7)
    with pytest.raises(TypeError, match="missing 1 required"):
        publisher.publish_async()
    with pytest.raises(TypeError, match="1 positional argument but 2"):
        publisher.publish_async(1, 2)
    with pytest.raises(TypeError, match="multiple values"):
        publisher.publish_async(1, payload=2)


def test_what_was_awaited_cannot_be_awaited_again(fabric):
    subscription = fabric.subscribe("a")

    async def main():
        publish, receive = fabric.publisher("a").publish_async(1), step_of(subscription)
        await publish
        await receive
        for over in (publish, receive):
            with pytest.raises(RuntimeError, match="already awaited"):
                await over

    asyncio.run(main())
    assert subscription.books().offered == 1


def test_an_event_that_comes_as_the_task_is_cancelled_stays(fabric):
    subscription = fabric.subscribe("a")

    async def main():
        receiver = asyncio.create_task(step_of(subscription))
        await asyncio.sleep(0)
        fabric.publish("a", 1)
        receiver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiver
        assert subscription.pending == 1
        return (await step_of(subscription)).payload

    assert asyncio.run(asyncio.wait_for(main(), 20)) == 1
    assert subscription.books().delivered == 1


@pytest.mark.parametrize("turns", [1, 3, 50])
def test_cancelling_at_any_moment_loses_and_doubles_nothing(fabric, turns):
    subscription = fabric.subscribe("a", capacity=64, overflow="block", block_timeout="60 s")
    publisher = Caught(lambda: [fabric.publish("a", number) for number in range(5000)])
    seen = []

    async def receive():
        async for event in subscription:
            seen.append(event.payload)  # noqa: PERF401 - a comprehension that is cancelled loses what it has

    async def main():
        while len(seen) < 5000:
            receiver = asyncio.create_task(receive())
            for _ in range(turns):
                await asyncio.sleep(0)
            receiver.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiver

    asyncio.run(asyncio.wait_for(main(), 60))
    publisher.end()
    assert seen == list(range(5000))


def test_a_publish_that_is_cancelled_while_it_waits_is_counted(fabric):
    subscription = full(fabric)

    async def main():
        publisher = asyncio.create_task(fabric.publisher("a").publish_async("second"))
        await asyncio.sleep(0)
        publisher.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publisher

    asyncio.run(asyncio.wait_for(main(), 20))
    gc.collect()
    assert subscription.books().dropped == {"cancelled": 1}
    assert subscription.poll().payload == "first"


def test_tasks_share_one_iteration(fabric):
    events = aiter(fabric.subscribe("a"))

    async def main():
        receivers = [asyncio.create_task(anext(events)) for _ in range(3 * YIELD_EVERY)]
        await asyncio.sleep(0)
        fabric.publish_many("a", range(3 * YIELD_EVERY))
        return sorted([event.payload for event in await asyncio.gather(*receivers)])

    assert asyncio.run(asyncio.wait_for(main(), 20)) == list(range(3 * YIELD_EVERY))


def test_loops_of_several_threads_share_a_subscription(fabric):
    subscription = fabric.subscribe("a", capacity=64, overflow="block", block_timeout="60 s")
    seen: list[list[int]] = [[] for _ in range(3)]

    async def receive(mine):
        async for event in subscription:
            mine.append(event.payload)

    receivers = [Caught(lambda mine=mine: asyncio.run(receive(mine))) for mine in seen]

    async def publish():
        publisher = fabric.publisher("a")
        for number in range(5000):
            await publisher.publish_async(number)
            if number % 500 == 0:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(publish(), 60))
    until(lambda: subscription.pending == 0)
    subscription.close()
    for receiver in receivers:
        receiver.end()
    assert sorted(number for mine in seen for number in mine) == list(range(5000))
    assert all(mine == sorted(mine) for mine in seen)


def test_an_asynchronous_iteration_ends_when_its_subscription_is_closed_beside_it(fabric):
    subscription = fabric.subscribe("a")

    async def main():
        receiver = asyncio.create_task(all_of(subscription))
        await asyncio.sleep(0)
        await asyncio.to_thread(subscription.close)
        return await receiver

    async def all_of(subscription):
        return [event.payload async for event in subscription]

    assert asyncio.run(asyncio.wait_for(main(), 20)) == []


def test_room_that_is_made_before_a_publish_begins_to_wait_is_enough(fabric):
    subscription = full(fabric)

    class Publisher(cf.Publisher):
        async def _wait_for_room(self, blocked):
            assert subscription.poll().payload == "first"
            assert blocked.retry()

    asyncio.run(Publisher(fabric.core, "a").publish_async("second"))
    assert subscription.poll().payload == "second"


def test_what_waits_can_be_driven_by_hand(fabric):
    subscription = fabric.subscribe("a")

    async def main():
        closed, thrown = step_of(subscription), step_of(subscription)
        for step in (closed, thrown):
            assert isinstance(step.send(None), asyncio.Future)
        closed.close()
        with pytest.raises(KeyError, match="thrown"):
            thrown.throw(KeyError("thrown"))
        fresh = step_of(subscription)
        with pytest.raises(LookupError):
            fresh.throw(LookupError)
        for over in (closed, thrown, fresh):
            with pytest.raises(RuntimeError, match="already awaited"):
                over.send(None)
        fabric.publish("a", 1)
        with pytest.raises(StopIteration) as stopped:
            step_of(subscription).send(None)
        return stopped.value.value.payload

    assert asyncio.run(asyncio.wait_for(main(), 20)) == 1


def test_the_collector_finds_cycles_through_what_is_awaited(fabric):
    class Payload:
        publishes: object = None

    payload = Payload()
    payload.publishes = fabric.publisher("a").publish_async(payload)
    gone = weakref.ref(payload)
    subscription = fabric.subscribe("a")
    subscription.itself = aiter(subscription), step_of(subscription)
    also_gone = weakref.ref(subscription)
    del payload, subscription
    with pytest.warns(RuntimeWarning, match="never awaited"):
        gc.collect()
    assert gone() is None
    assert also_gone() is None


def test_awaiting_keeps_no_references(fabric):
    subscription = fabric.subscribe("a", capacity=8, overflow="block", block_timeout="60 s")
    publisher, payload = fabric.publisher("a"), object()
    counted = (subscription, publisher, payload)

    async def publish():
        for _ in range(1000):
            await publisher.publish_async(payload)

    async def receive():
        count = 0
        async for _ in subscription:
            count += 1
            if count == 1000:
                return

    async def main():
        await asyncio.gather(publish(), receive())

    asyncio.run(asyncio.wait_for(main(), 60))
    gc.collect()
    before = [sys.getrefcount(each) for each in counted]
    for _ in range(3):
        asyncio.run(asyncio.wait_for(main(), 60))
    gc.collect()
    assert [sys.getrefcount(each) for each in counted] == before


@pytest.fixture
def one_core():
    """Keep this thread, and those that it starts, on one core, and let none be interrupted."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not keep a thread on a core")
    cores, interval = os.sched_getaffinity(0), sys.getswitchinterval()
    os.sched_setaffinity(0, {min(cores)})
    sys.setswitchinterval(60.0)
    yield
    sys.setswitchinterval(interval)
    os.sched_setaffinity(0, cores)


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no interpreter to hand over")
@pytest.mark.parametrize("form", ["publisher", "bus", "headers", "batch"])
def test_a_receiver_that_sleeps_has_its_turn_before_its_publisher_goes_on(one_core, form):
    received: list[int] = []
    with cf.Fabric("handing-over") as fabric:
        subscription, publisher = fabric.subscribe("a"), fabric.publisher("a")
        forms: dict[str, Any] = {
            "publisher": publisher.publish,
            "bus": lambda payload: fabric.publish("a", payload),
            "headers": lambda payload: publisher.publish(payload, headers={"unit": "K"}),
            "batch": lambda payload: publisher.publish_many([payload]),
        }
        publish = forms[form]
        # A list takes what an iterator yields one by one.
        receiver = threading.Thread(target=received.extend, args=(subscription.payloads(),))
        receiver.start()
        # Once is proof: nothing else interrupts this thread. Where others want the core, it may take some attempts.
        for number in range(2_000):
            until(lambda number=number: waiting() > 0 and len(received) == number)
            threading.Event().wait(0.001)
            publish(number)
            handed_over = len(received) > number
            if handed_over:
                break
        subscription.close()
        receiver.join()
    assert handed_over
