"""Durations and rates as people write them, kept as integer nanoseconds.

A duration is a text with a unit (``"5 ms"``), a `datetime.timedelta`, or a number of seconds. A rate is a text (``"50
Hz"``, ``"10/s"``) or a number in hertz. Texts are read exactly, without going through a float: ``"0.1 s"`` is 100 000
000 ns.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

from chronofabric.errors import ArgumentError

__all__ = [
    "Duration",
    "Rate",
    "bucket",
    "instant_ns",
    "nanoseconds",
    "period_ns",
    "rate_hz",
    "scaled_decimal",
    "to_datetime",
]

Duration: TypeAlias = str | int | float | timedelta
"""A text with a unit, a timedelta, or seconds."""

Rate: TypeAlias = str | int | float
"""A text such as ``"50 Hz"`` or ``"10/s"``, or a number in hertz."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_NS = 2**63 - 1
"""The longest duration: what a signed word of 64 bits holds, 292 years."""

_TOKENS_MAX = 2**31
"""The most tokens in a bucket."""

_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MEANT_UNIT = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "msec": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms",
    "usec": "us", "micros": "us", "microsecond": "us", "microseconds": "us",
    "nanos": "ns", "nanosecond": "ns", "nanoseconds": "ns",
    "mins": "min", "minute": "min", "minutes": "min",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
}  # fmt: skip
_HERTZ = {"Hz": 1, "kHz": 1_000, "MHz": 1_000_000}
_PER_SECONDS = {"/s": 1, "/min": 60, "/h": 3_600}
_QUANTITY = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*(\S*)\s*")


def nanoseconds(duration: Duration, *, argument: str = "duration", positive: bool = False) -> int:
    """Turn a duration into integer nanoseconds.

    Parameters
    ----------
    duration
        A text with one of the units ns, us, ms, s, min, h; a timedelta; or a number of seconds.
    argument
        What the caller names it, for the message of an error.
    positive
        Refuse zero too.

    Raises
    ------
    ArgumentError
        If it is not a duration, is negative, or exceeds 292 years.

    Examples
    --------
    >>> nanoseconds("5 ms"), nanoseconds("1.5 min"), nanoseconds(0.25)
    (5000000, 90000000000, 250000000)
    >>> nanoseconds("5 sec", argument="timeout")
    Traceback (most recent call last):
    chronofabric.errors.ArgumentError: timeout is '5 sec'; 'sec' is not a unit of time; write '5 s'
    """
    if isinstance(duration, str):
        value = _nanoseconds_of_text(duration, argument)
    elif isinstance(duration, timedelta):
        value = (duration.days * 86_400 + duration.seconds) * 1_000_000_000 + duration.microseconds * 1_000
    elif isinstance(duration, bool) or not isinstance(duration, (int, float)):
        hint = "write a text such as '5 ms', a timedelta, or a number of seconds"
        raise _refused(argument, duration, f"a {type(duration).__name__} is not a duration", hint)
    elif isinstance(duration, int):
        value = duration * 1_000_000_000
    else:
        value = _whole(duration * 1e9, argument, duration)
    if value < 0:
        raise _refused(argument, duration, "a duration is not negative", "give zero or more")
    if value > LONGEST_NS:
        raise _refused(argument, duration, "the longest duration is 292 years", "give a shorter one")
    if value == 0 and (positive or _is_nonzero(duration)):
        raise _refused(argument, duration, "it must be at least 1 ns", "give 1 ns or more")
    return value


def rate_hz(rate: Rate, *, argument: str = "rate") -> float:
    """Turn a rate into hertz.

    Parameters
    ----------
    rate
        A text such as ``"50 Hz"``, ``"2 kHz"``, ``"10/s"``, ``"6/min"``, or a number in hertz.
    argument
        What the caller names it, for the message of an error.

    Raises
    ------
    ArgumentError
        If it is not a rate, is not above zero, or exceeds 1 GHz.

    Examples
    --------
    >>> rate_hz("50 Hz"), rate_hz("6/min"), rate_hz(2)
    (50.0, 0.1, 2.0)
    """
    numerator, denominator = _ratio(rate, argument)
    return numerator / denominator


def period_ns(rate: Rate, *, argument: str = "rate") -> int:
    """The time from one event to the next at a rate, in nanoseconds, rounded to the nearest.

    Parameters
    ----------
    rate
        As for `rate_hz`.
    argument
        What the caller names it, for the message of an error.

    Raises
    ------
    ArgumentError
        If it is not a rate, is not above zero, exceeds 1 GHz, or is below one event in 292 years.

    Examples
    --------
    >>> period_ns("50 Hz"), period_ns("10/s"), period_ns(3)
    (20000000, 100000000, 333333333)
    """
    numerator, denominator = _ratio(rate, argument)
    period = _divided(1_000_000_000 * denominator, numerator)
    if period > LONGEST_NS:
        raise _refused(argument, rate, "the longest period is 292 years", "give a higher rate")
    return period


def bucket(rate: Rate, *, argument: str = "rate") -> tuple[int, int]:
    """The token bucket of a rate: nanoseconds for one token, and how many it holds.

    It holds what the rate says of its own unit (10 for ``"10/s"``, 6 for ``"6/min"``), and at least one.

    Parameters
    ----------
    rate
        As for `rate_hz`.
    argument
        What the caller names it, for the message of an error.

    Raises
    ------
    ArgumentError
        As for `period_ns`.

    Examples
    --------
    >>> bucket("10/s"), bucket("6/min"), bucket(0.5)
    ((100000000, 10), (10000000000, 6), (2000000000, 1))
    """
    period = period_ns(rate, argument=argument)
    numerator, denominator = _ratio(rate, argument)
    match = _QUANTITY.fullmatch(rate) if isinstance(rate, str) else None
    seconds = 1 if match is None else _PER_SECONDS.get(match[2], 1)
    return period, min(max(1, numerator * seconds // denominator), _TOKENS_MAX)


def scaled_decimal(text: str, scale: int) -> int | None:
    """A decimal number in a text times `scale`, exact up to the rounding to an integer; None if it is no number.

    Examples
    --------
    >>> scaled_decimal("1386018900.123456789", 1_000_000_000)
    1386018900123456789
    """
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2]:
        return None
    numerator, denominator = _decimal(match[1])
    return _divided(numerator * scale, denominator)


@lru_cache(maxsize=256)
def _nanoseconds_of_text(text: str, argument: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise _refused(argument, text, "this is not a number with a unit of time", "write it like '5 ms' or '2 s'")
    number, unit = match.groups()
    if unit in _UNIT_NS:
        numerator, denominator = _decimal(number)
        return _divided(numerator * _UNIT_NS[unit], denominator)
    if not unit:
        raise _refused(argument, text, "the unit is missing", f"write '{number} s' or '{number} ms'")
    if unit in _HERTZ or unit in _PER_SECONDS:
        raise _refused(argument, text, "this is a rate, not a duration", "write it like '5 ms' or '2 s'")
    meant = _MEANT_UNIT.get(unit.lower())
    hint = f"write '{number} {meant}'" if meant else "use one of ns, us, ms, s, min, h"
    raise _refused(argument, text, f"'{unit}' is not a unit of time", hint)


def _ratio(rate: Rate, argument: str) -> tuple[int, int]:
    """The rate in hertz as numerator and denominator, both positive."""
    if isinstance(rate, str):
        numerator, denominator = _ratio_of_text(rate, argument)
    elif isinstance(rate, bool) or not isinstance(rate, (int, float)):
        hint = "write a text such as '50 Hz' or '10/s', or a number in hertz"
        raise _refused(argument, rate, f"a {type(rate).__name__} is not a rate", hint)
    else:
        if rate != rate or rate in (float("inf"), float("-inf")):
            raise _refused(argument, rate, "a rate is a finite number", "write it like '50 Hz'")
        numerator, denominator = rate.as_integer_ratio()
    if numerator <= 0:
        raise _refused(argument, rate, "a rate is above zero", "write it like '50 Hz' or '10/s'")
    if numerator > denominator * 1_000_000_000:
        raise _refused(argument, rate, "the highest rate is 1 GHz", "give a lower one")
    return numerator, denominator


def _ratio_of_text(text: str, argument: str) -> tuple[int, int]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise _refused(argument, text, "this is not a rate", "write it like '50 Hz' or '10/s'")
    number, unit = match.groups()
    numerator, denominator = _decimal(number)
    if unit in _HERTZ:
        return numerator * _HERTZ[unit], denominator
    if unit in _PER_SECONDS:
        return numerator, denominator * _PER_SECONDS[unit]
    known = {name.lower(): name for name in _HERTZ}
    hint = f"write '{number} {known[unit.lower()]}'" if unit.lower() in known else "use Hz, kHz, MHz, /s, /min or /h"
    raise _refused(argument, text, f"'{unit}' is not a unit of rate" if unit else "the unit is missing", hint)


def _decimal(number: str) -> tuple[int, int]:
    """A decimal literal as numerator and denominator."""
    mantissa, _, exponent_text = number.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(exponent_text or "0") - len(fraction)
    numerator = int(whole + fraction) if (whole + fraction).strip("+-") else 0
    return (numerator * 10**exponent, 1) if exponent >= 0 else (numerator, 10**-exponent)


def _divided(numerator: int, denominator: int) -> int:
    """The nearest integer to the quotient, half to even, without a float."""
    quotient, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient % 2):
        return quotient + 1
    return quotient


def _whole(value: float, argument: str, given: object) -> int:
    if value != value or value in (float("inf"), float("-inf")):
        raise _refused(argument, given, "a duration is a finite number", "write it like '5 ms' or '2 s'")
    return round(value)


def _is_nonzero(duration: Duration) -> bool:
    """Whether a duration that came out as 0 ns was not written as zero."""
    if isinstance(duration, str):
        return any(digit in duration.lower().partition("e")[0] for digit in "123456789")
    return bool(duration)


def _refused(argument: str, value: object, what: str, hint: str) -> ArgumentError:
    return ArgumentError(f"{argument} is {value!r}; {what}; {hint}", argument=argument, value=value, hint=hint)


def instant_ns(instant: datetime, *, argument: str = "time") -> int:
    """Turn a datetime with a time zone into integer nanoseconds since the Unix epoch.

    Parameters
    ----------
    instant
        A datetime that knows its time zone.
    argument
        What the caller names it, for the message of an error.

    Raises
    ------
    ArgumentError
        If it has no time zone.

    Examples
    --------
    >>> from datetime import UTC
    >>> instant_ns(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000000
    """
    if instant.utcoffset() is None:
        raise _refused(argument, instant, "it has no time zone", "write datetime(..., tzinfo=UTC) or datetime.now(UTC)")
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def to_datetime(time_ns: int) -> datetime:
    """Turn nanoseconds since the Unix epoch into a datetime in UTC, rounded down to microseconds.

    Parameters
    ----------
    time_ns
        Nanoseconds since the Unix epoch.

    Examples
    --------
    >>> to_datetime(1_500_000_000).isoformat()
    '1970-01-01T00:00:01.500000+00:00'
    """
    return _EPOCH + timedelta(microseconds=time_ns // 1_000)
