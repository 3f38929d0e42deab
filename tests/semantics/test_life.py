"""Statements on books, receiving, closing, threads, asynchronous names and guards, by their numbers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

import pyarrow as pa
import pytest

import chronofabric as cf
from chronofabric._core.bus import waiting
from tests.bus.scripts import run_script
from tests.semantics.helpers import START_NS, advancing, payloads, until

# Books


@pytest.mark.parametrize("overflow", ["drop-oldest", "drop-newest", "dead-letter", "block"])
def test_s44_s45_the_books_balance_exactly(clock, overflow):
    fabric = cf.Fabric("books", clock=clock)
    subscription = fabric.subscribe("a", capacity=3, overflow=overflow, dead_letters_max=2, block_timeout=0)
    for number in range(20):
        try:
            fabric.publish("a", number)
        except (cf.PublishTimeout, cf.WouldDeadlock):
            assert overflow == "block"
        if number % 4 == 0:
            subscription.poll()
        if number % 7 == 0:
            subscription.replay_dead_letters(1)
        books = subscription.books()
        assert books.balanced
        assert (books.offered, books.pending) == (number + 1, subscription.pending)
    fabric.close()
    books = subscription.books()
    assert books.balanced
    assert (books.offered, books.pending) == (20, 0)


def test_s45_the_books_count_the_events_of_a_batch_one_by_one(fabric):
    subscription = fabric.subscribe("a", capacity=3, overflow="dead-letter", dead_letters_max=2)
    fabric.publish_many("a", list(range(7)))
    subscription.receive()
    books = subscription.books()
    assert (books.offered, books.delivered, books.pending) == (7, 1, 2)
    assert (books.dead_lettered, books.dropped) == ({"overflow": 2}, {"dead-letters-full": 2})
    assert books.balanced
    assert [letter.event.payload for letter in subscription.dead_letters] == [3, 4]


def test_s46_what_a_filter_turns_away_is_counted_as_filtered(fabric):
    subscription = fabric.subscribe("a", where="value > 0")
    fabric.publish_many("a", range(3))
    books = subscription.books()
    assert (books.offered, books.filtered, books.pending, books.dropped) == (3, 1, 2, {})
    assert books.balanced


# Receiving


def test_s47_receive_waits_and_poll_does_not(fabric):
    subscription = fabric.subscribe("a")
    assert subscription.poll() is None
    publisher = threading.Thread(target=lambda: (until(lambda: waiting() > 0), fabric.publish("a", 1)))
    publisher.start()
    assert subscription.receive().payload == 1
    publisher.join(20)


def test_s48_a_timeout_passes_on_the_nodes_own_time(fabric, clock):
    subscription = fabric.subscribe("a", name="quiet")
    with advancing(clock, "1 h"), pytest.raises(cf.ReceiveTimeout) as raised:
        subscription.receive(timeout="1 h")
    assert (raised.value.subscription, raised.value.timeout_ns) == ("quiet", 3_600_000_000_000)
    assert isinstance(raised.value, TimeoutError)


def test_s49_batches_do_not_wait_to_fill(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", [0, 1])
    fabric.publish_many("a", range(2, 5))
    batches = subscription.batches(3)
    assert [next(batches).payloads, next(batches).payloads] == [(0, 1, 2), (3, 4)]


def test_s50_bare_payloads(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", "xyz")
    bare = subscription.payloads()
    assert [next(bare) for _ in range(3)] == ["x", "y", "z"]


def test_s50_bare_payloads_of_a_batch(fabric):
    subscription, ordered = fabric.subscribe("a"), fabric.subscribe("a", order="causal")
    fabric.publish_many("a", [(1, 2), [3], None])
    for bare in (subscription.payloads(), ordered.payloads()):
        assert [next(bare) for _ in range(3)] == [(1, 2), [3], None]


def test_s51_each_event_goes_to_one_of_several_receivers():
    fabric = cf.Fabric("several")
    subscription = fabric.subscribe("a", capacity=10_000)
    seen: list[list[int]] = [[], [], []]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(subscription.payloads())) for mine in seen]
    for thread in threads:
        thread.start()
    fabric.publish_many("a", range(5000))
    until(lambda: subscription.pending == 0)
    fabric.close()
    for thread in threads:
        thread.join(20)
    assert sorted(number for mine in seen for number in mine) == list(range(5000))
    assert all(mine == sorted(mine) for mine in seen)


def test_s51_each_event_of_a_batch_goes_to_one_of_several_receivers(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", [0, 1, 2, 3])
    seen: list[int] = []
    for _ in range(4):
        thread = threading.Thread(target=lambda: seen.append(subscription.receive(timeout="20 s").payload))
        thread.start()
        thread.join(20)
    assert seen == [0, 1, 2, 3]
    assert subscription.books().delivered == 4


def test_s52_a_paused_subscription_buffers_under_its_policy(fabric):
    subscription = fabric.subscribe("a", capacity=3)
    fabric.publish("a", 0)
    subscription.pause()
    assert subscription.poll() is None
    fabric.publish_many("a", range(1, 5))
    assert (subscription.pending, subscription.paused) == (3, True)
    subscription.resume()
    assert payloads(subscription) == [2, 3, 4]
    assert subscription.books().dropped == {"overflow": 2}


@pytest.mark.parametrize("closes", ["subscription", "fabric"])
def test_s53_iterating_ends_when_it_closes(clock, closes):
    fabric = cf.Fabric("ends", clock=clock)
    subscription = fabric.subscribe("a")
    seen: list[int] = []
    receiver = threading.Thread(target=lambda: seen.extend(subscription.payloads()))
    receiver.start()
    fabric.publish_many("a", range(3))
    until(lambda: len(seen) == 3)
    (subscription if closes == "subscription" else fabric).close()
    receiver.join(20)
    assert not receiver.is_alive()
    assert seen == [0, 1, 2]
    fabric.close()


# Closing


def test_s54_leaving_counts_what_waits_as_unsubscribed(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", range(3))
    subscription.close()
    fabric.publish("a", 4)
    assert subscription.books().dropped == {"unsubscribed": 3}
    assert subscription.books().offered == 3


def test_s55_s56_closing_drains_and_says_what_was_left(clock):
    fabric = cf.Fabric("closing", clock=clock)
    handled = []
    fabric.on("a", name="handler")(lambda event: handled.append(event.payload))
    nobody = fabric.subscribe("a", name="nobody")
    with fabric:
        fabric.publish_many("a", range(500))
    assert handled == list(range(500))
    assert nobody.books().dropped == {"closed": 500}
    assert fabric.close() == {"nobody": 500}
    assert fabric.close() == {"nobody": 500}
    assert nobody.books().balanced
    assert cf.Fabric.close.__defaults__ == (5.0,)


def test_s57_after_closing_everything_raises_closed_error(clock):
    fabric = cf.Fabric("closed", clock=clock)
    subscription, publisher = fabric.subscribe("a"), fabric.publisher("a")
    fabric.close()
    calls: list[Callable[[], object]] = [
        lambda: fabric.publish("a", 1),
        lambda: fabric.publish_many("a", [1]),
        lambda: publisher.publish(1),
        lambda: publisher.publish_many([1]),
        lambda: fabric.publisher("b"),
        lambda: fabric.subscribe("a"),
        lambda: fabric.guard("g", on="a", when="value > 1"),
        fabric.start,
        subscription.receive,
        subscription.poll,
        lambda: asyncio.run(subscription.receive_async()),
        lambda: asyncio.run(publisher.publish_async(1)),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(cf.ClosedError):
            pytest.fail(f"call {number} gave {call()}")
    assert list(subscription) == []


def test_s58_closing_wakes_everybody_who_waits(clock):
    fabric = cf.Fabric("wakes", clock=clock)
    subscription = fabric.subscribe("a")
    full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="1 h")
    fabric.publish("full", 1)
    ends = []

    def ending(wait):
        try:
            ends.append(wait())
        except cf.ClosedError:
            ends.append("closed")

    waits = [subscription.receive, lambda: fabric.publish("full", 2), lambda: list(subscription.batches(2))]
    threads = [threading.Thread(target=ending, args=(wait,)) for wait in waits]
    for thread in threads:
        thread.start()
    until(lambda: waiting() >= len(waits))
    fabric.close(drain=0)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(map(str, ends)) == ["[]", "closed", "closed"]
    assert full.books().dropped == {"closed": 2}


def test_s59_a_subscription_that_nobody_refers_to_is_closed(fabric):
    subscription = fabric.subscribe("a", name="forgotten")
    iterator = iter(subscription)
    del subscription
    assert [each["name"] for each in fabric.core.subscriptions()] == ["forgotten"]
    del iterator
    assert fabric.core.subscriptions() == []


# Threads


def test_s60_handlers_run_one_at_a_time_in_one_thread(clock):
    fabric = cf.Fabric("handlers", clock=clock)
    threads, running, overlaps = set(), [], []

    def handler(event):
        running.append(event)
        threads.add(threading.get_ident())
        if len(running) > 1:
            overlaps.append(event)
        running.pop()

    fabric.on("a")(handler)
    fabric.on("b")(handler)
    fabric.publish("a", 1)
    assert threads == set()
    with fabric:
        fabric.publish_many("a", range(200))
        fabric.publish_many("b", range(200))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert overlaps == []
    assert [each["calls"] for each in fabric.report().handlers] == [201, 200]


def test_s61_a_handler_that_raises_is_counted_and_goes_on(clock, caplog):
    fabric = cf.Fabric("raises", clock=clock)
    stopped = []

    @fabric.on("a")
    def raises(event):
        raise ValueError(event.payload)

    @fabric.on("b", on_error="stop")
    def stops(event):
        raise ValueError("last")

    with fabric:
        fabric.publish_many("a", range(3))
        fabric.publish("b", 1)
        fabric.run("1 h")
        stopped.append(True)
    assert stopped
    first, second = fabric.report().handlers
    assert (first["calls"], first["errors"], first["error"]) == (3, 3, "ValueError: 2")
    assert (second["errors"], second["error"]) == (1, "ValueError: last")
    assert len([record for record in caplog.records if record.exc_info]) == 4


@pytest.mark.parametrize("entered", ["with", "async with"])
def test_s62_coroutine_handlers_run_on_the_loop_that_entered(clock, entered):
    fabric = cf.Fabric("coroutines", clock=clock)
    seen: list[int] = []
    threads: dict[str, int] = {}
    fabric.on("a")(lambda event: threads.setdefault("function", threading.get_ident()))

    @fabric.on("a")
    async def handler(event):
        await asyncio.sleep(0)
        threads["coroutine"] = threading.get_ident()
        seen.append(event.payload)

    async def main():
        async with fabric:
            fabric.publish_many("a", range(100))

    if entered == "with":
        with fabric:
            fabric.publish_many("a", range(100))
        assert threads["coroutine"] == threads["function"] != threading.get_ident()
    else:
        asyncio.run(main())
        assert threads["coroutine"] == threading.get_ident() != threads["function"]
    assert seen == list(range(100))


def test_s63_s64_guards_and_their_native_actions_run_in_the_publishing_thread(fabric):
    flag = cf.Flag()
    fired = fabric.subscribe("fired")
    guarded = fabric.subscribe("a")
    fabric.guard("g", on="a", when="value > 1", do=flag, publish="fired")
    fabric.publish("a", 2)
    # Nothing else had time to run: all of it was done when publish returned.
    assert flag.is_set()
    assert fired.poll().payload["guard"] == "g"
    assert guarded.poll().payload == 2


def test_s65_python_actions_run_in_the_handler_thread(clock):
    threads = []
    with cf.Fabric("action", clock=clock) as fabric:
        fabric.on("a")(lambda event: threads.append(threading.get_ident()))
        fabric.guard("g", on="a", when="value > 1", do=lambda event: threads.append(threading.get_ident()))
        fabric.publish("a", 2)
    assert len(threads) == 2
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_s66_a_forked_child_gets_forked_error():
    run_script("""
fabric = cf.Fabric("parent"); subscription = fabric.subscribe("a"); publisher = fabric.publisher("a")
child = os.fork()
if child == 0:
    for call in (lambda: fabric.publish("a", 1), subscription.receive, lambda: publisher.publish(1), subscription.books,
                 lambda: fabric.subscribe("b"), fabric.report, fabric.close):
        try: call()
        except cf.ForkedError: continue
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""")


# Asynchronous names


def test_s67_asynchronous_twins(clock):
    async def main():
        async with cf.Fabric("twins", clock=clock) as fabric:
            subscription = fabric.subscribe("a")
            await fabric.publish_async("a", 1)
            await fabric.publisher("a").publish_async(2)
            assert (await subscription.receive_async()).payload == 1
            async for event in subscription:
                assert event.payload == 2
                break
            await fabric.publish_async("a", 3)
            async for batch in subscription.batches_async(5):
                assert batch.payloads == (3,)
                break

    asyncio.run(main())


def test_s68_publish_async_waits_while_other_tasks_run(fabric):
    subscription = fabric.subscribe("a", capacity=1, overflow="block", block_timeout="1 h")
    order = []

    async def publish():
        for number in range(20):
            await fabric.publish_async("a", number)
        order.append("published")

    async def receive():
        seen = [(await subscription.receive_async()).payload for _ in range(20)]
        order.append("received")
        return seen

    async def main():
        _, seen = await asyncio.gather(publish(), receive())
        return seen

    assert asyncio.run(asyncio.wait_for(main(), 20)) == list(range(20))
    assert sorted(order) == ["published", "received"]


def test_s69_an_asynchronous_iteration_lets_others_run(fabric):
    subscription = fabric.subscribe("a", capacity=1000)
    fabric.publish_many("a", range(1000))

    async def main():
        handed_out, gaps, since = 0, [], 0

        async def other():
            nonlocal since
            while handed_out < 1000:
                gaps.append(since)
                since = 0
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async for _ in subscription:
            handed_out += 1
            since += 1
            if handed_out == 1000:
                break
        await task
        return gaps

    gaps = asyncio.run(main())
    assert max(gaps) <= 64
    assert len(gaps) >= 1000 // 64


def test_s70_one_wake_up_serves_a_batch(fabric):
    from chronofabric._core.bus import Wakeups

    subscription = fabric.subscribe("a")
    wakeups = Wakeups(fabric.core)
    wakeups.watch(subscription, 7)
    fabric.publish_many("a", range(500))
    assert wakeups.take() == [7]
    assert wakeups.take() == []
    assert len(subscription.poll_batch(500)) == 500
    wakeups.watch(subscription, 8)
    assert wakeups.take() == []
    fabric.publish("a", 1)
    assert wakeups.take() == [8]


# Guards


def test_s71_a_guard_takes_part_at_once(clock):
    fabric = cf.Fabric("not entered", clock=clock)
    guard = fabric.guard("g", on="a", when="value > 1")
    fabric.publish("a", 2)
    assert guard.fired == 1
    fabric.close()


@pytest.mark.parametrize(("option", "fires_at"), [("when", [2, 5]), ("must", [3])])
def test_s72_a_guard_fires_once_when_its_verdict_turns(fabric, option, fires_at):
    fired = fabric.subscribe("guard/g")
    fabric.guard("g", on="a", **{option: "value > 1"})
    for time, value in enumerate([0, 0, 2, 0, 0, 2, 2, 2] if option == "when" else [2, 2, 2, 0, 0, 0]):
        fabric.publish("a", value, time=time)
    assert [payload["time"] for payload in payloads(fired)] == fires_at


@pytest.mark.parametrize(("hysteresis", "fired"), [(None, 3), (1.5, 2)])
def test_s73_it_is_armed_again_past_the_hysteresis(fabric, hysteresis, fired):
    options = {} if hysteresis is None else {"hysteresis": hysteresis}
    guard = fabric.guard("g", on="a", when="value > 10", **options)
    fabric.publish_many("a", [11, 9.5, 11, 8, 11])
    assert guard.fired == fired


def test_s74_firings_and_margins_are_published(fabric):
    everything = fabric.subscribe("guard/**")
    fabric.guard("g", on="a", when="value > 1", robustness=True)
    fabric.publish_many("a", [0.0, 3.0])
    found = [(event.topic, event.payload) for event in everything.poll_batch(9)]
    assert [topic for topic, _ in found] == ["guard/g/robustness", "guard/g", "guard/g/robustness"]
    assert [payload["value"] for topic, payload in found if topic != "guard/g"] == [-1.0, 2.0]
    assert found[1][1] == {"guard": "g", "topic": "a", "robustness": 2.0, "time": START_NS}


def test_s75_a_window_not_yet_covered_gives_no_verdict(fabric):
    margins = fabric.subscribe("guard/g/robustness")
    fabric.guard("g", on="a", when="historically[0, 10 ns](value > 1)", robustness=True)
    for time in (0, 5, 9):
        fabric.publish("a", 5, time=time)
    assert payloads(margins) == []
    fabric.publish("a", 5, time=10)
    assert [payload["value"] for payload in payloads(margins)] == [4.0]


def test_s76_guards_answer_the_same_at_any_speed():
    def fired_at(step):
        clock = cf.SimulatedClock(start=0)
        with cf.Fabric("speed", clock=clock) as fabric:
            fired = fabric.subscribe("guard/g")
            fabric.guard("g", on="a", when="historically[0, 1 s](value > 1)")
            for number in range(100):
                fabric.publish("a", 0 if number % 30 == 0 else 2, time=number * 100_000_000)
                clock.advance(step)
            return [payload["time"] for payload in payloads(fired)]

    assert fired_at("100 ms") == fired_at("1 ns") == fired_at("1 h") == [1_100_000_000, 4_100_000_000, 7_100_000_000]


def test_s77_a_bare_number_is_the_field_value_and_what_lacks_a_field_is_counted(fabric):
    subscription = fabric.subscribe("a")
    guard = fabric.guard("g", on="a", when="value > 1")
    fabric.publish_many("a", [2, {"value": 0}, {"other": 5}, "text", pa.table({"value": [1]}), {"value": 2}])
    assert guard.fired == 2
    assert guard.report()["errors"] == 3
    assert subscription.books().offered == 6


def test_s78_each_topic_of_a_pattern_is_judged_by_itself(fabric):
    fired = fabric.subscribe("guard/g")
    fabric.guard("g", on="plant/*", when="value > 1")
    for number in range(3):
        fabric.publish(f"plant/{number}", 2)
        fabric.publish(f"plant/{number}", 3)
    assert [payload["topic"] for payload in payloads(fired)] == ["plant/0", "plant/1", "plant/2"]
