"""Recorded times, read exactly into integer nanoseconds since the Unix epoch. A time without a zone is UTC."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from chronofabric.duration import LONGEST_NS, scaled_decimal
from chronofabric.errors import ArgumentError

__all__ = ["time_reader"]

_SCALES = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Python keeps microseconds; the digits after them are read apart.
_BELOW_MICROSECONDS = re.compile(r"([.,][0-9]{6})([0-9]+)", re.ASCII)


def time_reader(time_format: str) -> Callable[[object], int]:
    """What turns a recorded time into nanoseconds; it raises `ValueError` for one that is not written so.

    Parameters
    ----------
    time_format
        ``"iso"`` (ISO 8601), ``"s"``, ``"ms"``, ``"us"``, ``"ns"`` (numbers since the epoch), or a text with ``%`` as
        `datetime.datetime.strptime` takes it.

    Raises
    ------
    ArgumentError
        If it is none of these.

    Examples
    --------
    >>> time_reader("iso")("2013-12-02 21:15:00")
    1386018900000000000
    >>> time_reader("iso")("2013-12-02T22:15:00.123456789+01:00")
    1386018900123456789
    >>> time_reader("ms")(1386018900123)
    1386018900123000000
    >>> time_reader("%d.%m.%Y")("02.12.2013")
    1385942400000000000
    """
    if time_format == "iso":
        return _iso
    if time_format in _SCALES:
        scale = _SCALES[time_format]
        return lambda value: _scaled(value, scale)
    if "%" in time_format:
        return lambda value: _within(_since_epoch(_parsed(value, time_format)), value)
    hint = "use 'iso', 's', 'ms', 'us', 'ns', or a format with % as strptime takes it"
    raise ArgumentError(f"time_format is {time_format!r}; {hint}", argument="time_format", value=time_format, hint=hint)


def _iso(value: object) -> int:
    text = _text(value)
    rest_ns = 0
    match = _BELOW_MICROSECONDS.search(text)
    if match is not None:
        rest_ns = int(match[2][:3].ljust(3, "0"))
        text = text[: match.end(1)] + text[match.end() :]
    return _within(_since_epoch(datetime.fromisoformat(text.strip())) + rest_ns, value)


def _parsed(value: object, time_format: str) -> datetime:
    return datetime.strptime(_text(value), time_format)  # noqa: DTZ007 - one without a zone is made UTC after


def _scaled(value: object, scale: int) -> int:
    if isinstance(value, str):
        exact = scaled_decimal(value, scale)
        if exact is None:
            raise ValueError(f"{value!r} is not a number")
        return _within(exact, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a number")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError(f"{value!r} is not a time")
    return _within(value * scale if isinstance(value, int) else round(value * scale), value)


def _since_epoch(instant: datetime) -> int:
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    elapsed = instant - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000_000 + elapsed.microseconds * 1_000


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not a text")


def _within(time_ns: int, value: object) -> int:
    if not -LONGEST_NS <= time_ns <= LONGEST_NS:
        raise ValueError(f"{value!r} lies beyond the years 1677 to 2262")
    return time_ns
