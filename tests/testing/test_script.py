"""Scripts: which items they take, and when they refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

import pytest

import chronofabric as cf


@pytest.fixture
def node(simulation):
    return simulation.fabric()


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([(1, 1), (0, 2)], "item 1 of the script of 'a' is at 0 s, before the item before it at 1 s"),
        ([(0, 1), 5], "item 1 of the script of 'a' is 5; give pairs"),
        ([(0, 1, 2)], "give pairs of time and payload"),
        ([(-1, 1)], "not negative"),
        ([("1 sec", 1)], "the time of item 0 of the script of 'a' is '1 sec'"),
        ([(float("nan"), 1)], "not|finite"),
        ([(datetime(1969, 12, 31, tzinfo=UTC), 1)], "before the simulation's time at 0 s"),
        ([(datetime(2026, 1, 1), 1)], "time zone"),  # noqa: DTZ001 - this is what is refused
        ([(True, 1)], "is not a duration"),
        ("text", "items is 'text'"),
        ({0: 1}, "give pairs"),
        (5, "items is 5"),
    ],
    ids=str,
)
def test_a_list_is_refused_as_a_whole_before_anything_is_published(simulation, node, items, said):
    seen = node.expect("**")
    with pytest.raises(cf.ArgumentError, match=said):
        node.script("a", items)
    simulation.advance("1 min")
    seen.assert_none()
    assert node.topics() == {}


def test_what_lies_before_the_time_of_the_simulation_is_past(simulation, node):
    simulation.advance("10 s")
    with pytest.raises(cf.ArgumentError, match="is at 5 s, before the simulation's time at 10 s"):
        node.script("a", [(datetime.fromtimestamp(5, tz=UTC), 1)])


def test_an_iterable_is_refused_where_it_is_wrong_and_the_simulation_goes_on(simulation, node):
    seen = node.expect("a")
    node.script("a", iter([(0, 1), (2, 2), (1, 3), (9, 4)]))
    node.script("a", [(5, 5)])
    with pytest.raises(cf.ArgumentError, match="item 2"):
        simulation.advance("10 s")
    assert simulation.elapsed == 2.0
    simulation.advance("8 s")
    seen.assert_payloads([1, 2, 5])


def test_what_an_iterable_raises_comes_out_of_advance(simulation, node):
    def broken():
        yield 0, 1
        raise LookupError("broken")

    seen = node.expect("a")
    node.script("a", broken())
    with pytest.raises(LookupError, match="broken"):
        simulation.advance(1)
    simulation.advance(1)
    seen.assert_payloads([1])


def test_one_item_is_drawn_ahead_and_no_more(simulation, node):
    drawn = []

    def items():
        for second in count():
            drawn.append(second)
            yield second, second

    node.script("a", items())
    assert drawn == [0]
    simulation.advance(3)
    assert drawn == [0, 1, 2, 3, 4]


def test_a_script_that_has_no_end_at_one_instant_is_an_error(simulation, node, monkeypatch):
    monkeypatch.setattr("chronofabric.testing.stepper._STEPS_MAX", 10_000)
    node.script("a", ((1, number) for number in count()))
    with pytest.raises(cf.SimulationError, match="what happens at 1 s has no end"):
        simulation.advance(2)


def test_a_topic_or_priority_that_is_none_is_refused_at_once(simulation, node):
    with pytest.raises(cf.TopicError):
        node.script("a/*", [(0, 1)])
    with pytest.raises(cf.ArgumentError, match="priority"):
        node.script("a", [(0, 1)], priority="highest")
    simulation.advance(1)


def test_an_empty_script_publishes_nothing(simulation, node):
    seen = node.expect("**")
    node.script("a", [])
    node.script("b", iter(()))
    simulation.advance(1)
    seen.assert_none()
