"""Filters, statement by statement."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import chronofabric as cf
from tests.semantics.helpers import in_thread, payloads


def test_s124_filters_apply_in_their_order(fabric):
    seen = []
    options = {"where": "value >= 10", "sample": 2, "rate_limit": "2/s", "throttle": "1 ms"}
    subscription = fabric.subscribe("a", **options)
    publisher = fabric.publisher("a")
    for number in range(20):
        publisher.publish(number, time=number * 1_000_000)
    # 10 to 19 match; every other of them, 10, 12, ... passes the sample; the bucket holds two.
    assert payloads(subscription) == [10, 12]
    called = fabric.subscribe("b", sample=2, where=lambda event: seen.append(event.payload) or True)
    fabric.publish_many("b", range(4))
    assert payloads(called) == [0, 2]
    assert seen == [0, 2]


def test_s125_a_formula_reads_fields_as_guards_do(fabric):
    subscription = fabric.subscribe("**", where="value > 1 and inner.x == 2")
    numbers = fabric.subscribe("numbers", where="value > 1")
    fabric.publish("a", {"value": 2, "inner": {"x": 2}})
    fabric.publish("a", {"value": 2, "inner": {"x": 3}})
    fabric.publish("a", {"value": 2})
    fabric.publish("a", {"value": "2", "inner": {"x": 2}})
    fabric.publish_many("numbers", [1, 2, True, 10**400, None])
    assert [event.topic for event in subscription.poll_batch(9)] == ["a"]
    assert payloads(numbers) == [2]
    assert numbers.filter_errors == 2
    assert subscription.filter_errors == 2 + 5
    report = {each["name"]: each for each in fabric.report().subscriptions}
    assert report["numbers"]["filter_errors"] == 2
    assert "value" in report["numbers"]["filter_error"]


def test_s126_a_formula_that_looks_into_the_past_is_refused(fabric):
    with pytest.raises(cf.FormulaError, match=r"'once', which looks into the past.*guard"):
        fabric.subscribe("a", where="value > 1 and once[0, 1 s](value > 2)")
    assert fabric.report().subscriptions == ()


def test_s127_of_a_table_the_rows_that_match_are_kept(fabric):
    import pyarrow as pa

    subscription = fabric.subscribe("a", where="x > 2")
    whole = cf.Table.from_numpy({"x": np.array([3.0, 4.0])})
    fabric.publish("a", pa.table({"x": [1, None, 3, 5], "y": ["a", "b", "c", "d"]}))
    fabric.publish("a", pa.table({"x": [float("nan"), 1.0, 9.0]}))
    fabric.publish("a", whole)
    fabric.publish("a", pa.table({"x": [1, 2]}))
    fabric.publish("a", pa.table({"z": [3]}))
    first, second, third = payloads(subscription)
    assert pa.table(first).to_pydict() == {"x": [3, 5], "y": ["c", "d"]}
    assert pa.table(second).to_pydict() == {"x": [9.0]}
    assert third is whole
    assert (subscription.books().filtered, subscription.filter_errors) == (2, 1)


def test_s128_a_sample_is_the_first_and_every_nth_after_it(fabric):
    subscription = fabric.subscribe("*", sample=3)
    fabric.publish_many("a", range(8))
    fabric.publish_many("b", iter(range(2)))
    assert payloads(subscription) == [0, 3, 6, 0]


def test_s129_a_bucket_of_tokens_is_full_at_first_and_fills_at_the_rate(fabric, clock):
    subscription = fabric.subscribe("*", rate_limit="4/min")
    slow = fabric.subscribe("*", rate_limit="0.5/s")
    fabric.publish_many("a", range(6))
    fabric.publish("b", 0)
    assert payloads(subscription) == [0, 1, 2, 3, 0]
    assert payloads(slow) == [0, 0]
    clock.advance("14.9 s")
    fabric.publish("a", 6)
    clock.advance("0.1 s")
    fabric.publish_many("a", [7, 8])
    assert payloads(subscription) == [7]


def test_s130_a_throttle_opens_after_the_duration(fabric, clock):
    subscription = fabric.subscribe("*", throttle="10 ms")
    for number in range(9):
        fabric.publish("a", number)
        fabric.publish("b", -number)
        clock.advance("4 ms")
    assert payloads(subscription) == [0, 0, 3, -3, 6, -6]


def test_s131_the_last_event_passes_once_its_topic_is_quiet(fabric, clock):
    subscription = fabric.subscribe("*", debounce="10 ms", capacity=1, overflow="drop-newest")
    for number in range(3):
        fabric.publish("a", number)
        clock.advance("9 ms")
    assert (subscription.poll(), subscription.pending, subscription.ready) == (None, 1, False)
    clock.advance("1 ms")
    assert subscription.ready
    assert subscription.receive().payload == 2
    assert subscription.books().filtered == 2
    assert subscription.books().balanced


def test_s132_filters_judge_by_the_time_of_events(fabric):
    options: list[dict[str, Any]] = [{"sample": 2}, {"rate_limit": "2/s"}, {"throttle": "1 s"}, {"debounce": "1 s"}]
    subscriptions = [fabric.subscribe("a", **each) for each in options]
    for number, seconds in enumerate([0.0, 0.1, 0.2, 1.2, 1.3, 9.0]):
        fabric.publish("a", number, time=int(seconds * 1e9))
    assert [payloads(each) for each in subscriptions] == [[0, 2, 4], [0, 1, 3, 4, 5], [0, 3, 5], [2, 4]]


def test_s133_what_is_turned_away_displaces_nothing(fabric):
    subscription = fabric.subscribe("a", where="value > 0", capacity=1, overflow="block", block_timeout=0)
    fabric.publish("a", 1)
    fabric.publish_many("a", [0] * 5)
    assert payloads(subscription) == [1]
    assert subscription.books().dropped == {}


def test_s134_a_callable_is_called_by_the_receiver(fabric, caplog):
    threads = []

    def judge(event):
        threads.append(threading.get_ident())
        return 1 / event.payload > 0

    subscription = fabric.subscribe("a", where=judge, name="judged")
    in_thread(lambda: fabric.publish_many("a", [-1, 0, 2]))
    assert threads == []
    with caplog.at_level(logging.ERROR, "chronofabric.filter"):
        assert subscription.receive().payload == 2
    assert set(threads) == {threading.get_ident()}
    assert (subscription.books().filtered, subscription.filter_errors) == (2, 1)
    assert [record.getMessage() for record in caplog.records] == ["filter of judged failed on a"]
    assert caplog.records[0].exc_info


def test_s135_each_event_of_a_batch_is_judged_by_itself(fabric):
    subscription = fabric.subscribe("a", where="value >= 2 and value != 4")
    everything = fabric.subscribe("a")
    fabric.publish_many("a", list(range(7)))
    whole, some = everything.poll_batch(10), subscription.poll_batch(10)
    assert some.payloads == (2, 3, 5, 6)
    assert len({event.time for event in whole}) == 1
    assert [event.stamp for event in some] == [whole[place].stamp for place in (2, 3, 5, 6)]
    assert subscription.books().filtered == 3


def test_s136_in_causal_order_nothing_waits_for_what_was_filtered(fabric):
    subscription = fabric.subscribe("*", order="causal", where="value > 0", capacity=8)
    for number in range(-2, 3):
        fabric.publish("a", number, priority=abs(number))
    assert payloads(subscription) == [1, 2]
    with pytest.raises(cf.ArgumentError, match="causal"):
        fabric.subscribe("*", order="causal", debounce="1 s")


def test_s137_a_replayed_dead_letter_is_asked_of_a_callable_only(fabric):
    wanted = {"now": True}
    options = {"capacity": 1, "overflow": "dead-letter"}
    sampled = fabric.subscribe("a", sample=1, rate_limit="2/h", **options)
    judged = fabric.subscribe("a", where=lambda event: wanted["now"], **options)
    fabric.publish_many("a", [1, 2, 3])
    assert (payloads(sampled), payloads(judged)) == ([1], [1])
    assert sampled.replay_dead_letters() == judged.replay_dead_letters() == 1
    wanted["now"] = False
    assert (payloads(sampled), payloads(judged)) == ([2], [])
    assert judged.books().filtered == 1
    assert judged.books().balanced


def test_s138_what_is_kept_back_passes_when_the_fabric_closes(clock):
    seen = []
    fabric = cf.Fabric("closing", clock=clock)
    fabric.on("a", debounce="1 h")(lambda event: seen.append(event.payload))
    with fabric:
        fabric.publish_many("a", [1, 2])
    assert seen == [2]


class Fields(Mapping):
    """A mapping of one's own, which is read by running Python."""

    def __init__(self, fabric, **fields):
        self._fabric = fabric
        self._fields = fields

    def __getitem__(self, key):
        self._fabric.publish("read", key)  # nothing may be held meanwhile
        return self._fields[key]

    def __iter__(self):
        return iter(self._fields)

    def __len__(self):
        return len(self._fields)


def test_s139_what_topics_keep_passes_the_filters_of_a_new_subscription(fabric):
    fabric.retain("**", last=10)
    fabric.publish_many("a", [{"value": number} for number in range(6)])
    fabric.publish("foreign", Fields(fabric, value=9))
    fabric.publish("foreign", Fields(fabric, value=1))
    subscription = fabric.subscribe(["a", "foreign"], where="value >= 4", history=10)
    assert [event.payload["value"] for event in subscription.poll_batch(9)] == [4, 5, 9]
    books = subscription.books()
    assert (books.replayed, books.filtered, books.offered, books.pending) == (8, 5, 0, 0)
    assert payloads(fabric.subscribe("a", sample=2, history=10)) == [{"value": number} for number in (0, 2, 4)]
    fabric.publish("table", cf.Table.from_numpy({"x": np.array([1.0, 2.0, 3.0])}))
    (kept,) = payloads(fabric.subscribe("table", where="x >= 2"))
    assert len(kept) == 2


def test_s140_members_of_a_group_agree_on_the_filters(fabric):
    def odd(event):
        return event.payload % 2 == 1

    first = fabric.subscribe("a", group="one", where="value > 1", sample=2)
    second = fabric.subscribe("a", group="one", where="value > 1", sample=2)
    for option, differing in (
        ("where", {"where": "value > 2", "sample": 2}),
        ("sample", {"where": "value > 1"}),
        ("throttle", {"where": "value > 1", "sample": 2, "throttle": "1 s"}),
        ("debounce", {"where": "value > 1", "sample": 2, "debounce": "1 s"}),
    ):
        with pytest.raises(cf.ArgumentError) as refused:
            fabric.subscribe("a", group="one", **differing)
        assert refused.value.argument == option
    members = [fabric.subscribe("b", group="two", where=odd) for _ in range(2)]
    with pytest.raises(cf.ArgumentError, match="where"):
        fabric.subscribe("b", group="two", where=lambda event: odd(event))
    assert len({id(member) for member in members}) == 2
    fabric.publish_many("a", range(6))
    assert payloads(first) + payloads(second) == [2, 4]


def test_s141_a_request_that_is_filtered_away_has_no_answerer(fabric):
    subscription = fabric.subscribe("a", where="value > 1")
    with pytest.raises(cf.NoAnswerer):
        fabric.request("a", 1, timeout="30 s")
    assert subscription.books().filtered == 1
