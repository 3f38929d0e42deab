"""What a bus and its model are given: topics, payloads, bounds, filters; and these in the forms that the bus takes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import chronofabric as cf
from tests.property.model import ModelPattern, Reading, Regex
from tests.property.model_filters import UNFILTERED, Filters, Where

POLICIES = ("drop-oldest", "drop-newest", "dead-letter", "block")
TOPICS = ("a", "b", "a/b", "b/a")

texts = st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=3).map("/".join)
singles = st.one_of(
    st.sampled_from(["**", "a/**", "*", "guard/*"]),
    st.sampled_from(["**", "a"]),
    texts,
    st.sampled_from([r"a/.*", r"[ab]", r".*/a", r"a(/b)?", r"guard/\w+"]).map(Regex),
)
patterns = st.one_of(singles, st.lists(singles, min_size=1, max_size=3))
topics = st.sampled_from(("a", "a", *TOPICS))
priorities = st.integers(0, 3)
actors = st.sampled_from([0, 0, 1, 2])
limits = st.none() | st.integers(0, 4)
sizes = st.sampled_from([0, 5, 10, 21])
payloads = st.one_of(
    st.integers(-2, 4),
    sizes.map(bytes),
    st.sampled_from(["aaaaa", "üüüüü"]),
    st.builds(Reading, st.sampled_from([-1.0, 1.0, 3.0]), sizes),
)
accompaniments = st.fixed_dictionaries(
    {},
    optional={
        "priority": priorities,
        "deadline_ms": st.integers(0, 5),
        "headers": st.dictionaries(st.sampled_from(["unit", "by"]), st.integers(0, 1), max_size=2),
        "retain": st.booleans(),
    },
)
events = st.tuples(payloads, accompaniments)
bounds: dict[str, Any] = {
    "capacity": st.integers(1, 3) | st.integers(1, 8),
    "capacity_bytes": st.none() | st.sampled_from([10, 20, 40]),
    "overflow": st.sampled_from(POLICIES),
    "dead_letters_max": st.integers(1, 5),
    "order": st.sampled_from(["publisher", "deadline"]),
    "late": st.sampled_from(["deliver", "deliver", "mark", "dead-letter"]),
    "history": st.integers(0, 3),
    "grouped": st.booleans(),
}
differences = st.none() | st.sampled_from(
    [{"capacity": 9}, {"history": 9}, {"order": "causal"}, {"sample": 9}, {"pattern": "c"}]
)
"""What a member may ask for that no group has."""

conditions = [
    Where("value > 0", "value", lambda value: value > 0),
    Where("value >= 1 and not (value >= 3)", "value", lambda value: 1 <= value < 3),
    Where("robustness >= 1", "robustness", lambda value: value >= 1),
]


def is_small(event):
    """Whether an event carries little; what has no length and is no number cannot be judged."""
    return (event.payload if isinstance(event.payload, int) else len(event.payload)) < 3


def is_positive(event):
    """Whether an event carries a number above zero; texts and bytes cannot be compared."""
    return not isinstance(event.payload, dict) and event.payload > 0


durations = st.sampled_from([1, 2, 3])
"""Of the order of the times that pass, and of those that are recorded."""

filters = st.one_of(
    st.just(UNFILTERED),
    st.builds(
        Filters,
        where=st.none() | st.sampled_from(conditions),
        sample=st.none() | st.integers(1, 3),
        rate_limit=st.none() | st.tuples(durations, st.integers(1, 3)),
        throttle=st.none() | durations,
        debounce=st.none() | durations,
    ),
    st.builds(Filters, predicate=st.sampled_from([is_small, is_positive]), debounce=st.none() | durations),
    st.builds(Filters, debounce=durations),
)


def real_filters(filters: Filters) -> dict[str, Any]:
    """The same as options of a subscription."""
    given: dict[str, Any] = {"sample": filters.sample}
    given["where"] = filters.predicate if filters.where is None else filters.where.text
    given["throttle"] = None if filters.throttle is None else f"{filters.throttle} ns"
    given["debounce"] = None if filters.debounce is None else f"{filters.debounce} ns"
    return given


def real_pattern(pattern: ModelPattern) -> Any:
    if isinstance(pattern, list):
        return [real_pattern(each) for each in pattern]
    return cf.regex(pattern.text) if isinstance(pattern, Regex) else pattern
