"""Durations and rates as people write them."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric.duration import LONGEST_NS, nanoseconds, period_ns, rate_hz, scaled_decimal
from chronofabric.errors import ArgumentError

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


@given(
    st.decimals(min_value=0, max_value=10**6, allow_nan=False, places=6), st.sampled_from(sorted(UNITS)), st.booleans()
)
def test_a_text_is_read_exactly(number, unit, spaced):
    text = f"{number:f}{' ' if spaced else ''}{unit}"
    exact = Fraction(number) * UNITS[unit]
    if 0 < exact < Fraction(1, 2) or (exact and round(exact) == 0):
        with pytest.raises(ArgumentError, match="at least 1 ns"):
            nanoseconds(text)
    else:
        assert nanoseconds(text) == round(exact)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100_000)))
def test_a_timedelta_is_exact(duration):
    assert nanoseconds(duration) == duration // timedelta(microseconds=1) * 1000


@given(st.integers(min_value=0, max_value=LONGEST_NS // 10**9))
def test_a_whole_number_is_seconds(seconds):
    assert nanoseconds(seconds) == seconds * 10**9


@pytest.mark.parametrize(
    ("duration", "way_out"),
    [
        ("5 sec", "write '5 s'"),
        ("2 minutes", "write '2 min'"),
        ("5", "write '5 s' or '5 ms'"),
        ("5 Hz", "this is a rate"),
        ("soon", "write it like '5 ms'"),
        ("", "write it like '5 ms'"),
        ("5 parsecs", "use one of ns, us, ms, s, min, h"),
        ("-5 ms", "give zero or more"),
        (-1, "give zero or more"),
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (True, "a bool is not a duration"),
        (None, "a NoneType is not a duration"),
        ("1e300 s", "292 years"),
        (10**12, "292 years"),
        ("0.1 ns", "at least 1 ns"),
        (1e-12, "at least 1 ns"),
    ],
)
def test_what_is_no_duration_is_refused_with_value_and_way_out(duration, way_out):
    with pytest.raises(ArgumentError) as caught:
        nanoseconds(duration, argument="timeout")
    assert str(caught.value).startswith(f"timeout is {duration!r}; ")
    assert way_out in str(caught.value)
    assert caught.value.argument == "timeout"


def test_zero_is_a_duration_unless_a_positive_one_is_asked_for():
    assert nanoseconds("0 s") == nanoseconds(0) == nanoseconds(timedelta(0)) == 0
    with pytest.raises(ArgumentError, match="at least 1 ns"):
        nanoseconds("0 s", positive=True)


@given(st.integers(min_value=1, max_value=10**9))
def test_period_is_the_nearest_nanosecond_to_one_over_the_rate(rate):
    assert period_ns(rate) == period_ns(f"{rate} Hz") == period_ns(f"{rate}/s") == round(Fraction(10**9, rate))


def test_rates_have_units():
    assert rate_hz("2 kHz") == 2000
    assert rate_hz("6/min") == 0.1
    assert period_ns("1/h") == 3600 * 10**9
    assert period_ns(0.1) == 10 * 10**9


@pytest.mark.parametrize(
    "rate", ["5", "5 ms", "fast", "50 hz", 0, -1, "0 Hz", float("nan"), float("inf"), True, None, 10**10, "1e-300 Hz"]
)
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ArgumentError) as caught:
        period_ns(rate, argument="rate")
    assert str(caught.value).startswith(f"rate is {rate!r}; ")
    assert caught.value.hint


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_a_decimal_in_a_text_keeps_every_digit(value):
    whole, fraction = divmod(abs(value), 10**9)
    assert scaled_decimal(f"{'-' if value < 0 else ''}{whole}.{fraction:09}", 10**9) == value


@pytest.mark.parametrize("text", ["", "x", "1 s", "1,5", "0x10", "1_000"])
def test_a_text_that_is_no_decimal_gives_none(text):
    assert scaled_decimal(text, 1) is None
