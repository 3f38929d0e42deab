"""What is asserted of events, and what a failure says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf
from chronofabric.testing import Simulation


@pytest.fixture
def node(simulation):
    return simulation.fabric()


@pytest.fixture
def alarmed(simulation, node):
    """A node that published an alarm at 1 s, at the second of its three temperatures, with what was expected of it."""
    alarms = node.expect("plant/alarm")
    node.guard("hot", on="plant/7/temperature", when="value > 80", publish="plant/alarm")
    node.script("plant/7/temperature", [(0, 20), (1, 90), (3, 90)])
    simulation.advance("4 s")
    return alarms


def test_a_guard_fires_once_and_at_once(alarmed):
    alarmed.assert_count(1)
    alarmed.assert_count(at_least=1, at_most=1)
    alarmed.assert_within("5 ms", after="plant/7/temperature[-1]")
    alarmed.assert_within(0, after="plant/7/temperature[1]")
    alarmed.assert_between("1 s", "1 s")
    alarmed.assert_order("plant/*")


def test_an_index_from_the_end_counts_back_from_each_event(simulation, node):
    readings, doubled = node.expect("reading"), node.expect("doubled")
    node.on("reading")(lambda event: node.publish("doubled", 2 * event.payload))
    node.script("reading", [(0, 1), (1, 2), (5, 3)])
    simulation.advance("10 s")
    doubled.assert_within(0, after="reading[-1]")
    with pytest.raises(AssertionError, match=r"'doubled' at 0 s came before there was a reading\[-2\]"):
        doubled.assert_within("4 s", after="reading[-2]")
    readings.assert_payloads([1, 2, 3])
    with pytest.raises(AssertionError, match=r"'reading' at 0 s came before there was a reading\[-1\]"):
        readings.assert_within("9 s", after="reading[-1]")


def test_an_alarm_that_comes_late_fails(simulation, node):
    alarms = node.expect("alarm")
    node.script("reading", [(0, 1), (2, 2)])
    node.script("alarm", [(2.5, "late")])
    simulation.advance("10 s")
    with pytest.raises(AssertionError) as raised:
        alarms.assert_within("5 ms", after="reading[-1]")
    assert str(raised.value) == (
        "'alarm' at 2.5 s came 0.5 s after reading[-1], which is 'reading' at 2 s; expected within 0.005 s\n"
        "what the node carried:\n"
        "      0 s  reading  1\n"
        "      2 s  reading  2\n"
        "  > 2.5 s  alarm    'late'"
    )


def test_every_event_of_another_expectation_is_to_be_followed(simulation, node):
    requests, replies = node.expect("request"), node.expect("reply")
    node.script("request", [(0, 1), (10, 2), (20, 3)])
    node.script("reply", [(1, 1), (12, 2)])
    simulation.advance("11 s")
    with pytest.raises(AssertionError, match="within 5 s after 'request' at 10 s, and none came"):
        replies.assert_within("5 s", after=requests)
    simulation.advance("4 s")
    replies.assert_within("2 s", after=requests)
    replies.assert_within("1 s", after=requests.events[0])
    with pytest.raises(AssertionError, match="it came 2 s after it"):
        replies.assert_within("1 s", after=requests)
    simulation.advance("10 s")
    with pytest.raises(AssertionError, match="'request' at 20 s, and none came"):
        replies.assert_within("5 s", after="request[2]")


instants = st.lists(st.integers(0, 30), max_size=8).map(sorted)


@given(causes=instants, effects=instants, limit=st.integers(0, 10))
def test_what_is_within_is_what_a_plain_reading_of_the_instants_says(causes, effects, limit):
    with Simulation() as simulation:
        node = simulation.fabric()
        caused, followed = node.expect("cause"), node.expect("effect")
        node.script("cause", [(instant, None) for instant in causes])
        node.script("effect", [(instant, None) for instant in effects])
        simulation.advance(30)
        # Of one instant, the script that was made first goes first: a cause comes before its effect.
        followed_soon = bool(causes) and all(
            any(cause <= effect <= cause + limit for effect in effects) for cause in causes
        )
        recent = bool(effects) and all(any(effect - limit <= cause <= effect for cause in causes) for effect in effects)
        assert holds(lambda: followed.assert_within(limit, after=caused)) == followed_soon
        if causes:
            assert holds(lambda: followed.assert_within(limit, after="cause[-1]")) == recent
            first = any(causes[0] <= effect <= causes[0] + limit for effect in effects)
            assert holds(lambda: followed.assert_within(limit, after="cause[0]")) == first


def holds(assertion):
    try:
        assertion()
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("assertion", "said"),
    [
        (lambda seen: seen.assert_count(1), "expected 1 event on '[ab]', and there were 3"),
        (lambda seen: seen.assert_count(at_least=4), "expected at least 4 events on '[ab]', and there were 3"),
        (lambda seen: seen.assert_count(at_most=1), "expected at most 1 event on '[ab]', and there were 3"),
        (lambda seen: seen.assert_none(), "expected 0 events on '[ab]', and there were 3"),
        (lambda seen: seen.assert_payloads([1, 3, 3]), "payload 1 on '[ab]' is 2; expected 3"),
        (lambda seen: seen.assert_payloads([1]), "expected 1 payloads on '[ab]', and there were 3"),
        (lambda seen: seen.assert_order("b", "a"), "expected an order of 2 events on '[ab]'; 'a' did not come behind"),
        (lambda seen: seen.assert_order("c"), "expected an order of 1 events on '[ab]'; 'c' did not come at all"),
        (
            lambda seen: seen.assert_between(0, 1.5),
            "expected events on '[ab]' between 0 s and 1.5 s, and one was 'b' a",
        ),
        (lambda seen: seen.assert_within(1, after="a[5]"), "expected events on '[ab]' after a[5], and 'a' had only 2"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_failure_says_what_was_expected_and_what_came(simulation, node, assertion, said):
    seen = node.expect(cf.regex("[ab]"))
    node.script("a", [(0, 1), (1, 2)])
    node.script("b", [(2, 3)])
    simulation.advance("3 s")
    with pytest.raises(AssertionError, match=re.escape(said)) as raised:
        assertion(seen)
    assert "  > 0 s  a  1\n  > 1 s  a  2\n  > 2 s  b  3" in str(raised.value)


def test_an_assertion_about_events_does_not_pass_because_there_are_none(simulation, node):
    seen, none = node.expect("a"), node.expect("b")
    node.publish("a", 1)
    for assertion in (
        lambda: none.assert_within(1, after="a[-1]"),
        lambda: none.assert_within(1, after="a[0]"),
        lambda: seen.assert_within(1, after=none),
        lambda: none.assert_between(0, 10),
        lambda: none.assert_order("b"),
    ):
        with pytest.raises(AssertionError):
            assertion()
    none.assert_none()
    none.assert_payloads([])


def test_an_order_is_of_topics_patterns_and_functions_with_others_between(simulation, node):
    seen = node.expect("**")
    node.script("plant/a", [(0, 1), (2, 5)])
    node.script("plant/b", [(1, 2), (3, 9)])
    simulation.advance("5 s")
    seen.assert_order("plant/a", "plant/b", "plant/*", lambda event: event.payload == 9)
    with pytest.raises(AssertionError, match="<lambda> did not come behind the 1 before it"):
        seen.assert_order("plant/b", lambda event: event.payload == 1)


def test_events_are_in_the_order_of_publishing_whatever_their_priority(simulation, node):
    seen = node.expect("a")
    node.script("a", [(0, 1), (0, 2)], priority="low", headers={"from": "script"})
    node.script("a", [(0, 3)], priority="urgent")
    simulation.advance(0)
    seen.assert_payloads([1, 2, 3])
    assert [event.headers.get("from") for event in seen.events] == ["script", "script", None]


def test_an_expectation_begins_when_it_is_made(simulation, node):
    node.publish("a", 1)
    seen = node.expect("a")
    node.publish("a", 2)
    seen.assert_payloads([2])
    assert repr(seen) == "Expectation('a', count=1)"


def test_what_is_kept_is_bounded_and_the_count_is_exact(simulation, node):
    few, many = node.expect("a", events_max=2_000), node.expect("a")
    node.script("a", ((number / 1000, number) for number in range(10_000)))
    simulation.advance("10 s")
    few.assert_count(10_000)
    assert 2_000 <= len(few.events) < 2_000 + 1_024
    assert few.payloads == list(range(10_000))[-len(few.events) :]
    with pytest.raises(cf.SimulationError, match=r"expect\('a'\) has only \d+ of 10000 events left"):
        few.assert_payloads(range(10_000))
    many.assert_payloads(range(10_000))


def test_more_events_in_one_step_than_are_kept_are_counted(simulation, node):
    seen = node.expect("a")
    node.publish_many("a", list(range(70_000)))
    seen.assert_count(70_000)
    assert seen.payloads[-1] == 69_999
    with pytest.raises(cf.SimulationError, match="has only 65536 of 70000 events left"):
        seen.assert_between(0, 1)


def test_a_reference_to_what_the_node_has_forgotten_is_an_error(simulation):
    node = simulation.fabric(events_max=1_000)
    seen = node.expect("b")
    node.script("a", [(number / 1000, number) for number in range(5_000)])
    node.script("b", [(5, 1)])
    simulation.advance("10 s")
    seen.assert_within("1 ms", after="a[-1]")
    for reference in ("a[0]", "gone[-1]", "a[-4500]"):
        with pytest.raises(cf.SimulationError, match="larger events_max="):
            seen.assert_within("1 ms", after=reference)


def test_closing_at_once_loses_nothing_that_was_published(simulation, node):
    seen = node.expect("a")
    handled: list[cf.Event] = []
    node.on("a", name="handler")(handled.append)
    node.publish_many("a", [1, 2])
    assert (node.close(drain=0), handled) == ({"handler": 2}, [])
    seen.assert_payloads([1, 2])


def test_an_expectation_can_be_asked_after_its_node_was_closed(simulation, node):
    seen = node.expect("a")
    node.on("b")(lambda event: node.publish("a", event.payload))
    node.publish("b", 1)
    node.close()
    seen.assert_payloads([1])
    seen.assert_within(0, after="b[0]")


@pytest.mark.parametrize(
    ("misuse", "said"),
    [
        (lambda seen: seen.assert_count(), "give either a count"),
        (lambda seen: seen.assert_count(1, at_least=1), "give either a count"),
        (lambda seen: seen.assert_count(-1), "count is -1"),
        (lambda seen: seen.assert_count(at_most=2.5), "at_most is 2.5"),
        (lambda seen: seen.assert_order(), "no step"),
        (lambda seen: seen.assert_order(5), "step is 5"),
        (lambda seen: seen.assert_order("a//b"), "a//b"),
        (lambda seen: seen.assert_within(1, after="plant/7/temprature[0]"), "did you mean 'plant/7/temperature'?"),
        (lambda seen: seen.assert_within(1, after="x[0]"), "it carried events on plant/7/temperature"),
        (lambda seen: seen.assert_within(1, after="plant/*/temperature[0]"), "is not a topic"),
        (lambda seen: seen.assert_within(1, after="plant/7/temperature"), "give 'topic[index]'"),
        (lambda seen: seen.assert_within(1, after="plant/7/temperature[one]"), "give 'topic[index]'"),
        (lambda seen: seen.assert_within(1, after=5), "after is 5"),
        (lambda seen: seen.assert_within(-1, after="plant/7/temperature[0]"), "not negative"),
        (lambda seen: seen.assert_between("1 s", "soon"), "latest is 'soon'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_misuse_is_refused_with_the_way_out(node, misuse, said):
    seen = node.expect("**")
    node.publish("plant/7/temperature", 1)
    with pytest.raises(cf.ArgumentError, match=re.escape(said)):
        misuse(seen)


@pytest.mark.parametrize("events_max", [0, -1, 2.5, None])
def test_bounds_are_whole_numbers(simulation, node, events_max):
    with pytest.raises(cf.ArgumentError):
        node.expect("a", events_max=events_max)
    with pytest.raises(cf.ArgumentError):
        simulation.fabric(events_max=events_max)
