"""Filters at the border: what is refused, who waits for what is due, what they meet in threads and loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf
from tests.semantics.helpers import advancing, in_thread, payloads, until


@pytest.fixture
def clock():
    return cf.SimulatedClock()


@pytest.fixture
def fabric(clock):
    with cf.Fabric("filters", clock=clock) as made:
        yield made


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        ({"where": "value >"}, cf.FormulaError, "the formula ends"),
        ({"where": "value"}, cf.FormulaError, "number"),
        ({"where": 3}, cf.ArgumentError, "a formula such as"),
        ({"where": "x > 1 since y > 2"}, cf.FormulaError, "guard"),
        ({"sample": 0}, cf.ArgumentError, "at least 1"),
        ({"sample": 2.5}, cf.ArgumentError, "whole number"),
        ({"rate_limit": 0}, cf.ArgumentError, "above zero"),
        ({"rate_limit": "-1/s"}, cf.ArgumentError, "above zero"),
        ({"rate_limit": "10 s"}, cf.ArgumentError, "Hz"),
        ({"throttle": 0}, cf.ArgumentError, "1 ns"),
        ({"throttle": "-1 s"}, cf.ArgumentError, "negative"),
        ({"debounce": "0 s"}, cf.ArgumentError, "1 ns"),
        ({"debounce": "5/s"}, cf.ArgumentError, "rate"),
        ({"debounce": "1 s", "order": "causal"}, cf.ArgumentError, "causal"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(fabric, options, error, hint):
    with pytest.raises(error, match=hint):
        fabric.subscribe("a", **options)
    with pytest.raises(error, match=hint):
        fabric.on("a", **options)(print)
    assert fabric.report().subscriptions == ()
    assert fabric.report().handlers == ()


def test_a_compiled_formula_serves_as_well(fabric):
    subscription = fabric.subscribe("a", where=cf.logic.Formula("value > 1"))
    fabric.publish_many("a", range(4))
    assert payloads(subscription) == [2, 3]


class Fields(Mapping):
    """A mapping that is no dictionary."""

    def __init__(self, **fields):
        self.fields = fields

    def __getitem__(self, key):
        return self.fields[key]

    def __iter__(self):
        return iter(self.fields)

    def __len__(self):
        return len(self.fields)


values = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.0, float("inf"), float("nan"), 10**400]),
    st.booleans(),
    st.none(),
    st.text(max_size=1),
)


@given(st.lists(st.tuples(values, values), max_size=12), st.sampled_from([dict, Fields]), st.booleans())
def test_any_mapping_is_judged_as_its_fields_are(rows, kind, together):
    def holds(x, y):
        numbers = [float(each) for each in (x, y) if isinstance(each, (int, float)) and each != 10**400]
        return len(numbers) == 2 and numbers[0] > 0 and not numbers[1] >= 2 and numbers[1] == numbers[1]

    with cf.Fabric("judged") as fabric:
        subscription = fabric.subscribe("a", where="x > 0 and not (y >= 2)")
        events = [kind(x=x, y=y) for x, y in rows]
        fabric.publish_many("a", events if together else iter(events))
        expected = [event for event, (x, y) in zip(events, rows, strict=True) if holds(x, y)]
        received = payloads(subscription)
        assert len(received) == len(expected)
        assert all(one is other for one, other in zip(received, expected, strict=True))
        assert subscription.books().filtered == len(rows) - len(expected)


@given(
    st.lists(st.none() | st.sampled_from([-1.0, 0.0, 1.0, 2.0, float("nan")]), max_size=200),
    st.sampled_from(["float64", "float32", "int64", "int8", "uint16", "bool"]),
    st.integers(0, 70),
)
def test_rows_of_a_table_are_those_that_pyarrow_keeps(column, kind, offset):
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind in ("int64", "int8", "uint16", "bool"):
        column = [None if each is None or each != each else abs(each) for each in column]
        column = [bool(each) if kind == "bool" and each is not None else each for each in column]
    array = pa.array(column, pa.float64() if kind != "bool" else pa.bool_()).cast(pa.type_for_alias(kind))
    table = pa.table({"x": array, "row": pa.array(range(len(column)), pa.int64())})[offset:]
    with cf.Fabric("judged") as fabric:
        subscription = fabric.subscribe("a", where="x >= 1")
        fabric.publish("a", table)
        number = pc.cast(table["x"], pa.float64())
        expected = table.filter(pc.fill_null(pc.greater_equal(number, 1.0), False))
        event = subscription.poll()
        assert (event is None) == (expected.num_rows == 0 and table.num_rows >= 0)
        if event is not None:
            found = pa.table(event.payload)
            assert found.num_rows == expected.num_rows
            assert found["row"].to_pylist() == expected["row"].to_pylist()


def test_batches_of_a_table_are_filtered_each(fabric):
    import pyarrow as pa

    table = pa.Table.from_batches([pa.record_batch({"x": each}) for each in ([1, 2], [5, 6], [2, 7])])
    subscription = fabric.subscribe("a", where="x > 2")
    fabric.publish("a", table)
    assert pa.table(subscription.receive().payload)["x"].to_pylist() == [5, 6, 7]


def test_a_column_without_numbers_does_not_match_and_says_so(fabric):
    import pyarrow as pa

    subscription = fabric.subscribe("a", where="pressure > 2")
    fabric.publish("a", pa.table({"pressure": ["9"]}))
    assert "Utf8" in fabric.report().subscriptions[0]["filter_error"]
    fabric.publish("a", pa.table({"presure": [9]}))
    assert "did you mean" in fabric.report().subscriptions[0]["filter_error"]
    assert (subscription.pending, subscription.filter_errors) == (0, 2)


def test_tables_within_a_list_are_filtered_too(fabric):
    tables = [cf.Table.from_numpy({"x": np.array(each)}) for each in ([1.0, 3.0], [4.0], [0.0])]
    subscription, everything = fabric.subscribe("a", where="x > 2"), fabric.subscribe("a")
    fabric.publish_many("a", [*tables, {"x": 9}])
    some, whole = subscription.poll_batch(9), everything.poll_batch(9)
    assert [len(each) for each in some.payloads] == [1, 1, 1]
    assert some[1].payload is tables[1]
    assert [event.stamp for event in some] == [whole[place].stamp for place in (0, 1, 3)]


def test_a_receiver_that_waits_wakes_when_the_topic_is_quiet(fabric, clock):
    subscription = fabric.subscribe("a", debounce="10 ms")
    fabric.publish("a", 1)
    with advancing(clock, "10 ms"):
        assert subscription.receive().payload == 1


def test_a_receiver_that_waits_learns_of_what_is_kept_back_meanwhile():
    with cf.Fabric("filters") as fabric:
        subscription = fabric.subscribe("a", debounce="5 ms")
        received = []
        thread = threading.Thread(target=lambda: received.append(next(iter(subscription)).payload))
        thread.start()
        until(lambda: fabric.core.pending()[0]["receiver"] != 0)
        fabric.publish("a", 1)
        fabric.publish("a", 2)
        thread.join(20)
        assert received == [2]


def test_a_task_that_waits_wakes_when_the_topic_is_quiet():
    async def main():
        async with cf.Fabric("filters") as fabric:
            subscription = fabric.subscribe("a", debounce="5 ms")
            waiting = asyncio.create_task(subscription.receive_async(timeout="20 s"))
            await asyncio.sleep(0)
            fabric.publish("a", 1)
            first = await waiting
            fabric.publish("a", 2)
            async for event in subscription:
                return first.payload, event.payload
            return None

    assert asyncio.run(main()) == (1, 2)


@pytest.mark.parametrize("beside_a_coroutine", [False, True])
def test_a_handler_is_called_when_the_topic_is_quiet(beside_a_coroutine):
    called = threading.Event()
    seen = []
    fabric = cf.Fabric("filters")

    @fabric.on("a", debounce="5 ms")
    def handle(event):
        seen.append(event.payload)
        called.set()

    if beside_a_coroutine:

        @fabric.on("b")
        async def other(event):
            pass

    with fabric:
        for number in (1, 2):
            called.clear()
            fabric.publish("a", -number)
            fabric.publish("a", number)
            assert called.wait(20)
            assert seen[-1] == number


def test_what_is_kept_back_is_dropped_when_its_subscription_is_left(fabric):
    subscription = fabric.subscribe("*", debounce="1 s")
    fabric.publish("a", 1)
    fabric.publish("b", 1)
    subscription.close()
    assert subscription.books().dropped == {"unsubscribed": 2}
    assert subscription.books().balanced


def test_what_is_due_waits_for_room_where_the_policy_is_to_block(fabric, clock):
    subscription = fabric.subscribe("*", debounce="1 s", capacity=1, overflow="block", block_timeout=0)
    for topic in "abc":
        fabric.publish(topic, topic)
    clock.advance("1 s")
    assert payloads(subscription) == ["a"]
    assert payloads(subscription) == ["b"]
    in_thread(lambda: fabric.publish("c", "d"))
    assert payloads(subscription) == ["c"]
    assert subscription.pending == 1


def test_a_callable_may_publish_subscribe_and_receive(fabric):
    inner = fabric.subscribe("inner")

    def judge(event):
        fabric.publish("inner", event.payload)
        fabric.subscribe("inner").close()
        return inner.receive().payload > 1

    subscription = fabric.subscribe("a", where=judge)
    fabric.publish_many("a", range(4))
    assert payloads(subscription) == [2, 3]


def test_a_mapping_that_changes_the_routes_while_it_is_judged_is_published_all_the_same(fabric):
    class Odd(Fields):
        def __getitem__(self, key):
            others.append(fabric.subscribe("a"))
            return super().__getitem__(key)

    others: list[cf.Subscription] = []
    subscription = fabric.subscribe("a", where="value > 1")
    fabric.publish("a", Odd(value=2))
    assert len(payloads(subscription)) == 1
    assert [each.pending for each in others] == [0] * len(others)


def test_guards_and_filters_see_the_same_events(fabric):
    guard = fabric.guard("hot", on="a", when="value > 2")
    subscription = fabric.subscribe("a", where="value > 1")
    fabric.publish_many("a", range(4))
    assert payloads(subscription) == [2, 3]
    assert (guard.report()["evaluated"], guard.report()["fired"]) == (4, 1)


def test_payloads_that_nobody_wants_are_let_go_at_once(fabric):
    import weakref

    subscription = fabric.subscribe("a", where="value > 1")
    judged = fabric.subscribe("b", where=lambda event: False)
    for topic in ("a", "b"):
        payload = Fields(value=0)
        gone = weakref.ref(payload)
        fabric.publish(topic, payload)
        del payload
        assert (subscription if topic == "a" else judged).poll() is None
        assert gone() is None


def test_what_debounce_keeps_back_and_never_fits_is_turned_away_when_it_is_due(fabric, clock):
    subscription = fabric.subscribe("a", debounce="1 ms", capacity_bytes=10)
    fabric.publish("a", bytes(20))
    clock.advance("2 ms")
    with pytest.raises(cf.ReceiveTimeout):
        subscription.receive(timeout=0)
    assert (subscription.ready, subscription.pending) == (False, 0)
    assert subscription.books().dropped == {"too-large": 1}
    assert subscription.books().balanced
