"""Bad arguments: each a typed error that changes nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

import chronofabric as cf


@pytest.fixture
def fabric():
    with cf.Fabric("arguments", clock=cf.SimulatedClock()) as made:
        yield made


@pytest.fixture
def subscription(fabric):
    made = fabric.subscribe("a", capacity=1, overflow="dead-letter")
    fabric.publish_many("a", [1, 2])
    return made


def state(fabric):
    """Return everything that a refused call could have changed."""
    guards = [guard["name"] for guard in fabric.report().guards]
    handlers = [handler["name"] for handler in fabric.report().handlers]
    return fabric.topics(), fabric.core.subscriptions(), guards, handlers


REFUSED = {
    "publish: topic": lambda fabric: fabric.publish(5, 1),
    "publish: no topic": lambda fabric: fabric.publish(None, 1),
    "publish: empty topic": lambda fabric: fabric.publish("", 1),
    "publish: wildcard": lambda fabric: fabric.publish("new/*", 1),
    "publish: surrogate": lambda fabric: fabric.publish("new/\ud800", 1),
    "publish: unhashable topic": lambda fabric: fabric.publish(["new"], 1),
    "publish: too long": lambda fabric: fabric.publish("n" * 1025, 1),
    "publish: priority name": lambda fabric: fabric.publish("new", 1, priority="hgih"),
    "publish: priority number": lambda fabric: fabric.publish("new", 1, priority=4),
    "publish: priority below": lambda fabric: fabric.publish("new", 1, priority=-1),
    "publish: priority bool": lambda fabric: fabric.publish("new", 1, priority=True),
    "publish: priority float": lambda fabric: fabric.publish("new", 1, priority=1.5),
    "publish: deadline": lambda fabric: fabric.publish("new", 1, deadline="soon"),
    "publish: negative deadline": lambda fabric: fabric.publish("new", 1, deadline=-1),
    "publish: deadline nan": lambda fabric: fabric.publish("new", 1, deadline=float("nan")),
    "publish: headers": lambda fabric: fabric.publish("new", 1, headers=5),
    "publish: header names": lambda fabric: fabric.publish("new", 1, headers={1: 2}),
    "publish: time": lambda fabric: fabric.publish("new", 1, time="now"),
    "publish: time beyond": lambda fabric: fabric.publish("new", 1, time=2**63),
    "publish: time bool": lambda fabric: fabric.publish("new", 1, time=True),
    "publish: reader": lambda fabric: fabric.publish("new", pa.table({"x": [1]}).to_reader()),
    "publish_many: payloads": lambda fabric: fabric.publish_many("new", 5),
    "publish_many: topic": lambda fabric: fabric.publish_many("new//x", [1]),
    "publisher: topic": lambda fabric: fabric.publisher("a//b"),
    "publisher: schema": lambda fabric: fabric.publisher("new", schema="json"),
    "publisher: priority": lambda fabric: fabric.publisher("new", priority="top"),
    "subscribe: pattern": lambda fabric: fabric.subscribe("a/**b"),
    "subscribe: number": lambda fabric: fabric.subscribe(5),
    "subscribe: none": lambda fabric: fabric.subscribe(None),
    "subscribe: nothing": lambda fabric: fabric.subscribe([]),
    "subscribe: one of several": lambda fabric: fabric.subscribe(["a", "b//c"]),
    "subscribe: name": lambda fabric: fabric.subscribe("a", name=5),
    "subscribe: capacity": lambda fabric: fabric.subscribe("a", capacity=0),
    "subscribe: huge capacity": lambda fabric: fabric.subscribe("a", capacity=2**40),
    "subscribe: capacity beyond": lambda fabric: fabric.subscribe("a", capacity=2**70),
    "subscribe: capacity text": lambda fabric: fabric.subscribe("a", capacity="10"),
    "subscribe: capacity_bytes": lambda fabric: fabric.subscribe("a", capacity_bytes=0),
    "subscribe: overflow": lambda fabric: fabric.subscribe("a", overflow="oldest"),
    "subscribe: block_timeout": lambda fabric: fabric.subscribe("a", block_timeout="1 sec"),
    "subscribe: dead_letters_max": lambda fabric: fabric.subscribe("a", dead_letters_max=0),
    "subscribe: order": lambda fabric: fabric.subscribe("a", order="random"),
    "subscribe: later order": lambda fabric: fabric.subscribe("a", order="total"),
    "subscribe: scope": lambda fabric: fabric.subscribe("a", scope="galaxy"),
    "on: pattern": lambda fabric: fabric.on("a//b")(print),
    "on: capacity": lambda fabric: fabric.on("a", capacity=0)(print),
    "on: on_error": lambda fabric: fabric.on("a", on_error="explode"),
    "on: deadline": lambda fabric: fabric.on("a", deadline="soon"),
    "guard: formula": lambda fabric: fabric.guard("g", on="a", when="value >"),
    "guard: two formulas": lambda fabric: fabric.guard("g", on="a", when="value > 1", must="value > 1"),
    "guard: no topics": lambda fabric: fabric.guard("g", when="value > 1"),
    "guard: pattern": lambda fabric: fabric.guard("g", on="a//b", when="value > 1"),
    "guard: hysteresis": lambda fabric: fabric.guard("g", on="a", when="value > 1", hysteresis=-1),
    "guard: max_samples": lambda fabric: fabric.guard("g", on="a", when="value > 1", max_samples=0),
    "guard: action": lambda fabric: fabric.guard("g", on="a", when="value > 1", action="explode"),
    "guard: do": lambda fabric: fabric.guard("g", on="a", when="value > 1", do=5),
    "guard: signals": lambda fabric: fabric.guard("g", signals={"x": "a"}, when="y > 1"),
    "regex: unbalanced": lambda fabric: cf.regex("("),
    "regex: number": lambda fabric: cf.regex(5),  # type: ignore[arg-type]
    "pattern: number": lambda fabric: cf.Pattern(5),  # type: ignore[arg-type]
    "run: duration": lambda fabric: fabric.run("soon"),
    "close: drain": lambda fabric: fabric.close("soon"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_fabric_refuses_changes_nothing(fabric, subscription, name):
    before = state(fabric)
    with pytest.raises(cf.ChronofabricError) as raised:
        REFUSED[name](fabric)
    assert str(raised.value)
    assert state(fabric) == before
    fabric.publish("b", 1)
    assert not fabric.closed


RECEIVING = {
    "receive: text": lambda subscription: subscription.receive(timeout="soon"),
    "receive: negative": lambda subscription: subscription.receive(timeout=-1),
    "receive: nan": lambda subscription: subscription.receive(timeout=float("nan")),
    "receive: bool": lambda subscription: subscription.receive(timeout=True),
    "batches: zero": lambda subscription: subscription.batches(0),
    "batches: negative": lambda subscription: subscription.batches(-1),
    "batches: text": lambda subscription: subscription.batches("3"),
    "batches: bool": lambda subscription: subscription.batches(True),
    "poll_batch: negative": lambda subscription: subscription.poll_batch(-1),
    "poll_batch: text": lambda subscription: subscription.poll_batch("3"),
    "take: negative": lambda subscription: subscription.take_dead_letters(-1),
    "replay: text": lambda subscription: subscription.replay_dead_letters("all"),
}


@pytest.mark.parametrize("name", RECEIVING)
def test_what_a_subscription_refuses_changes_nothing(fabric, subscription, name):
    before = state(fabric)
    with pytest.raises(cf.ArgumentError) as raised:
        RECEIVING[name](subscription)
    assert str(raised.value.argument) in str(raised.value)
    assert state(fabric) == before
    assert subscription.poll().payload == 1


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"name": 5}, {"topics_max": 0}, {"topics_max": 2**25}, {"clock": "sundial"}], ids=str
)
def test_what_a_fabric_is_not_made_of(options):
    with pytest.raises(cf.ChronofabricError):
        cf.Fabric(**options)


def test_a_payload_that_raises_when_it_is_asked_for_its_size_is_carried_all_the_same(fabric):
    class Odd:
        @property
        def nbytes(self):
            raise RuntimeError("no")

        def __sizeof__(self):
            raise RuntimeError("no")

    subscription = fabric.subscribe("odd", capacity_bytes=10)
    fabric.publish("odd", Odd())
    assert isinstance(subscription.poll().payload, Odd)
    assert subscription.books().balanced


def test_an_iterable_that_raises_leaves_what_came_before_it(fabric):
    subscription = fabric.subscribe("many")

    def payloads():
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fabric.publish_many("many", payloads())
    assert subscription.poll_batch(9).payloads == (1,)
    assert subscription.books().offered == 1


@pytest.mark.parametrize("name", ["plant\ud800", "\udfff"])
def test_a_name_that_cannot_be_written_down_is_refused(name):
    with pytest.raises(cf.ArgumentError, match="name is"):
        cf.Fabric(name)
    with cf.Fabric("plant") as fabric, pytest.raises(cf.ArgumentError, match="name is"):
        fabric.subscribe("a", name=name)


def test_an_unknown_clock_is_named_by_the_error():
    with pytest.raises(cf.ArgumentError) as raised:
        cf.Fabric("plant", clock="sundial")
    assert (raised.value.argument, raised.value.value) == ("clock", "sundial")


def test_a_one_shot_stream_is_refused_with_its_topic_and_the_way_out():
    table = pa.table({"x": [1, 2]})
    with cf.Fabric("plant") as fabric:
        rows = fabric.subscribe("rows")
        with pytest.raises(cf.PayloadError, match=r"cf\.Table\(reader\)") as raised:
            fabric.publisher("rows").publish(table.to_reader())
        assert raised.value.topic == "rows"
        assert (raised.value.kind or "").endswith("RecordBatchReader")
        assert rows.books().offered == 0
        fabric.publish("rows", cf.Table(table.to_reader()))
        assert rows.receive(timeout="1 s").payload.num_rows == 2
