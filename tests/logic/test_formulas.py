"""Formulas, as Python sees them; their grammar is tested with the Rust crate."""

from __future__ import annotations

import copy
import pickle

import pytest

import chronofabric as cf
from chronofabric.logic import Formula, Monitor, Verdict

SECOND = 1_000_000_000


def test_signals_come_in_the_order_in_which_they_appear():
    assert Formula("b > 1 and once[0, 1 s](a.deep < b)").signals == ["b", "a.deep"]


def test_the_horizon_adds_up_where_windows_are_nested():
    assert Formula("x > 1").horizon_ns == 0
    assert Formula("historically[0, 2 s](x > 1)").horizon_ns == 2 * SECOND
    assert Formula("once[0, 2 s](historically[1 s, 3 s](x > 1))").horizon_ns == 5 * SECOND


def test_a_formula_prints_in_one_spelling_that_reads_back_as_the_same():
    written = Formula("historically[0,2000ms] (x>1 -> ((y) <= 2))")
    assert str(written) == "historically[0, 2 s](x > 1 implies y <= 2)"
    assert Formula(str(written)) == written
    assert written != Formula("x > 1")
    assert hash(Formula(str(written))) == hash(written)
    assert repr(Formula("x>1")) == 'Formula("x > 1")'


def test_a_formula_is_pickled_and_copied():
    formula = Formula("p > 0 since[0, 1 s] q > 0")
    assert pickle.loads(pickle.dumps(formula)) == formula
    assert copy.deepcopy(formula) == formula


@pytest.mark.parametrize(
    ("text", "span", "hint"),
    [
        ("histrically[0, 2 s](value > 80)", (0, 11), "did you mean 'historically'"),
        ("0 < x < 10", (6, 7), "comparisons do not chain"),
        ("load and discord > 3", (0, 4), "is a number, not a condition"),
        ("once[2 s](value > 80)", (8, 9), "an interval has two bounds"),
        ("once[0, 5 sec](value > 80)", (10, 13), "did you mean 's'"),
        ("always[0, 5 s](pressure > 8)", (0, 6), "not in this version"),
        ("x > 1 and ü > 2", (10, 11), ""),
    ],
)
def test_an_error_has_a_caret_under_the_place_and_the_way_out(text, span, hint):
    with pytest.raises(cf.FormulaError) as caught:
        Formula(text)
    error = caught.value
    assert isinstance(error, (cf.ArgumentError, ValueError))
    assert (error.text, error.span) == (text, span)
    assert hint in str(error)
    _, shown, carets = str(error).splitlines()[:3]
    assert shown == f"  {text}"
    assert carets.startswith(" " * (2 + span[0]) + "^" * (span[1] - span[0]))


@pytest.mark.parametrize("text", ["", "(", "x >", "x > 1 and", "once[3 s, 1 s](x > 1)", "x ! 1", "1e999 > x", "\0"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(cf.FormulaError):
        Formula(text)


@pytest.mark.parametrize("given", [None, 5, b"x > 1"])
def test_a_formula_is_a_text(given):
    with pytest.raises(cf.ArgumentError, match="must be a text"):
        Formula(given)
    with pytest.raises(cf.ArgumentError, match="formula"):
        Monitor(given)


class TestMonitor:
    def test_it_answers_at_every_sample_once_its_window_is_covered(self):
        monitor = Monitor("historically[0, 2 s](value > 80)")
        verdicts = [monitor.update(second * SECOND, value=81.0 + second) for second in range(4)]
        assert [verdict.known for verdict in verdicts] == [False, False, True, True]
        assert [verdict.robustness for verdict in verdicts] == [None, None, 1.0, 2.0]
        assert [verdict.satisfied for verdict in verdicts] == [None, None, True, True]

    def test_it_takes_a_formula_or_its_text(self):
        formula = Formula("x > 1")
        assert Monitor(formula).update(0, x=3) == Monitor("x > 1").update(0, x=3)
        assert Monitor(formula).formula == formula

    def test_zero_is_told_apart_by_its_sign(self):
        assert Monitor("x > 5").update(0, x=5).satisfied is False
        assert Monitor("x >= 5").update(0, x=5).satisfied is True
        assert Monitor("x >= 5").update(0, x=5).robustness == 0.0

    def test_samples_of_one_instant_apply_in_the_order_of_arrival(self):
        monitor = Monitor("x > 0 since[0, 1 s] y > 0")
        monitor.update(0, x=-5, y=-5)
        assert monitor.update(SECOND, x=-1, y=4).robustness == 4
        assert monitor.update(SECOND, x=-2, y=-9).robustness == -2
        assert monitor.update(SECOND, x=3, y=-9).robustness == -2

    def test_the_left_of_since_is_read_after_the_sample_of_its_right(self):
        monitor = Monitor("p > 0 since[0, 1 s] q > 0")
        verdicts = [
            monitor.update(i * SECOND, p=p, q=q) for i, (p, q) in enumerate(zip((7, -1, 5), (-9, 5, -2), strict=True))
        ]
        assert [verdict.robustness for verdict in verdicts] == [None, 5, 5]

    def test_values_are_anything_that_is_a_number(self):
        import numpy as np

        monitor = Monitor("x > 1")
        for value in (3, 3.0, True + 2, np.float32(3), np.int64(3)):
            assert monitor.update(0, x=value).robustness == 2

    @pytest.mark.parametrize(
        ("values", "error"),
        [
            ({}, cf.ArgumentError),
            ({"x": 1}, cf.ArgumentError),
            ({"x": 1, "y": 1, "z": 1}, cf.ArgumentError),
            ({"x": 1, "z": 1}, cf.ArgumentError),
            ({"x": 1, "y": float("nan")}, cf.ArgumentError),
            ({"x": 1, "y": "warm"}, TypeError),
            ({"x": 1, "y": None}, TypeError),
        ],
    )
    def test_a_sample_that_is_refused_leaves_the_trace_as_it_was(self, values, error):
        monitor = Monitor("once[0, 1 s](x > 0 and y > 0)")
        monitor.update(0, x=5, y=5)
        with pytest.raises(error):
            monitor.update(SECOND, **values)
        assert monitor.update(SECOND, x=-1, y=-1).robustness == 5

    def test_a_sample_older_than_the_newest_is_refused(self):
        monitor = Monitor("x > 0")
        monitor.update(5, x=1)
        with pytest.raises(cf.ArgumentError):
            monitor.update(4, x=1)
        assert monitor.update(5, x=2).robustness == 2

    def test_arithmetic_without_a_value_is_refused(self):
        monitor = Monitor("x / y > 1")
        with pytest.raises(cf.ArgumentError):
            monitor.update(0, x=1, y=0)
        assert monitor.update(0, x=4, y=2).robustness == 1

    def test_what_it_holds_is_bounded(self):
        monitor = Monitor("historically[0, 3 ns](x > 0)", max_samples=3)
        for i in range(3):
            monitor.update(i, x=i)  # rising values: each may decide later
        with pytest.raises(cf.ArgumentError, match="3 samples"):
            monitor.update(3, x=3)
        assert monitor.update(4, x=4).robustness == 1  # the oldest has left the window

    @pytest.mark.parametrize("max_samples", [-1, 1.5, "many"])
    def test_a_bound_that_is_none_is_refused(self, max_samples):
        with pytest.raises((TypeError, OverflowError)):
            Monitor("x > 0", max_samples=max_samples)

    def test_it_can_start_anew(self):
        monitor = Monitor("once[0, 1 s](x > 0)")
        monitor.update(10 * SECOND, x=1)
        monitor.reset()
        assert monitor.update(0, x=1).known is False
        assert monitor.update(SECOND, x=-1).robustness == 1

    def test_a_verdict_shows_what_it_is(self):
        assert repr(Monitor("x > 1").update(0, x=3)) == "Verdict(satisfied=True, robustness=2.0)"
        assert repr(Monitor("once[0, 1 s](x > 1)").update(0, x=3)) == "Verdict(unknown)"
        assert isinstance(Monitor("x > 1").update(0, x=3), Verdict)
