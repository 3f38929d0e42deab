"""Monitors held against RTAMT's offline evaluator (Nickovic and Yamaguchi, "RTAMT", ATVA 2020) in its discrete mode.

Both read the left of a sampled ``since`` on the samples after that of its right. RTAMT clips windows at the start of a
trace, where we have no verdict yet; so the two are compared wherever ours is known.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronofabric.logic import Formula, Monitor

rtamt = pytest.importorskip("rtamt", reason="rtamt is not installed (extra 'oracles')", exc_type=ImportError)

PERIOD_NS = 1_000_000_000
SIGNALS = ("x", "y", "z")
LONGEST_WINDOW = 6

signals = st.sampled_from(SIGNALS)
constants = st.integers(-8, 8).map(lambda value: f"({value}.0)" if value < 0 else f"{value}.0")


def arithmetic(inner):
    binary = st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner)
    return binary | st.builds("abs({})".format, inner)


numbers = st.recursive(signals | constants, arithmetic, max_leaves=3)
comparisons = st.builds("({} {} {})".format, numbers, st.sampled_from(["<", "<=", ">", ">=", "=="]), numbers)
intervals = (
    st.tuples(st.integers(0, LONGEST_WINDOW), st.integers(0, LONGEST_WINDOW)).map(sorted).map("[{0[0]},{0[1]}]".format)
)


def composed(inner):
    return (
        st.builds("(not {})".format, inner)
        | st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "implies"]), inner)
        | st.builds("({}{} {})".format, st.sampled_from(["once", "historically"]), intervals, inner)
        | st.builds("({} since{} {})".format, inner, intervals, inner)
    )


formulas = st.recursive(comparisons, composed, max_leaves=6)
"""Texts that mean the same to both: a bound without a unit is in seconds, and the period is one second."""

samples = st.tuples(*(st.integers(-10, 10).map(float) for _ in SIGNALS))


def offline(text, trace):
    """RTAMT's robustness at every sample."""
    specification = rtamt.StlDiscreteTimeSpecification()
    for name in SIGNALS:
        specification.declare_var(name, "float")
    specification.spec = text
    specification.parse()
    columns = {name: [sample[i] for sample in trace] for i, name in enumerate(SIGNALS)}
    return [value for _, value in specification.evaluate({"time": list(range(len(trace))), **columns})]


def online(text, trace):
    """Our verdict at every sample."""
    monitor = Monitor(text)
    wanted = Formula(text).signals
    return [
        monitor.update(i * PERIOD_NS, **{name: sample[SIGNALS.index(name)] for name in wanted})
        for i, sample in enumerate(trace)
    ]


def assert_they_agree(text, trace):
    """Compare wherever ours is known, which is from the horizon on; returns how many samples that are."""
    horizon = Formula(text).horizon_ns // PERIOD_NS
    verdicts = online(text, trace)
    assert [verdict.known for verdict in verdicts] == [i >= horizon for i in range(len(trace))]
    expected = offline(text, trace)
    assert [verdict.robustness for verdict in verdicts[horizon:]] == expected[horizon:]
    return max(0, len(trace) - horizon)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(formulas, st.lists(samples, min_size=20, max_size=40))
def test_random_formulas_over_random_traces(text, trace):
    if any(name in text for name in SIGNALS):
        assert_they_agree(text, trace)


@pytest.mark.parametrize(
    "text",
    [
        "(x >= 0) since[0,1] (y >= 0)",
        "(x >= 0) since[1,3] (y >= 0)",
        "once[2,5](x > y)",
        "historically[0,3](x > 0 implies once[0,2](y > 0))",
        "not (historically[1,2](x < y)) or ((z > 0) since[0,4] (x > 3))",
        "once[0,2](historically[1,3]((x > 0) since[0,2] (z > 1)))",
    ],
)
def test_each_operator_over_a_long_trace(text):
    import random

    random_source = random.Random(7)
    trace = [tuple(float(random_source.randint(-10, 10)) for _ in SIGNALS) for _ in range(300)]
    assert assert_they_agree(text, trace) > 280


def test_the_left_of_since_is_read_after_the_sample_of_its_right():
    trace = [(7.0, -9.0, 0.0), (-1.0, 5.0, 0.0), (5.0, -2.0, 0.0)]
    text = "(x >= 0) since[0,1] (y >= 0)"
    assert offline(text, trace)[1:] == [5.0, 5.0]
    assert assert_they_agree(text, trace) == 2
