"""The kinds of value that a run file holds beside TOML's own: durations, rates, topics, patterns, formulas, functions.

Each is checked as it is read and kept as it was written, since that is what the node's own methods take. What cannot be
used is refused with an `ArgumentError`, whose hint becomes the suggestion.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import PlainValidator  # noqa: TID253 - only run files import this module, when one is loaded

from chronofabric.bus import Pattern, regex
from chronofabric.duration import nanoseconds, rate_hz
from chronofabric.errors import ArgumentError
from chronofabric.fabric.settings.wording import THIS, kind_of, nearest

__all__ = [
    "ConditionText",
    "Duration",
    "Factor",
    "FormulaText",
    "Patterns",
    "Rate",
    "Signals",
    "SwitchDuration",
    "TableRate",
    "Target",
    "Topic",
    "TopicPattern",
]


def _duration(value: object) -> str | float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(value, "a duration", "write it like '5 ms' or '2 s'")
    nanoseconds(value, argument=THIS, positive=True)
    return value


def _switch_interval(value: object) -> str | float:
    from chronofabric.fabric.scheduling import SwitchInterval

    duration = _duration(value)
    SwitchInterval(duration)
    return duration


def _rate(value: object) -> str | float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(value, "a rate", "write it like '50 Hz' or '10/s'")
    rate_hz(value, argument=THIS)
    return value


def _table_rate(value: object) -> bool | str | float:
    return value if isinstance(value, bool) else _rate(value)


def _speed(value: object) -> float | Literal["recorded", "max"]:
    if value == "recorded" or value == "max":
        return value
    if isinstance(value, str):
        raise ArgumentError(f"{value!r} is not a speed", hint=nearest(value, ("recorded", "max")) or _SPEED_HINT)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(value, "a speed", _SPEED_HINT)
    if not 0 < value < float("inf"):
        raise ArgumentError(f"{value!r} is not a speed", hint=_SPEED_HINT)
    return value


def _topic(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a topic", "write it like 'plant/7/temperature'")
    if "*" in value:
        raise ArgumentError(f"{value!r} is a pattern, where a single topic belongs", hint="leave '*' out")
    _checked_pattern(value)
    return value


def _pattern(value: object) -> str | Pattern:
    if isinstance(value, dict):
        expression = value.get("regex")
        if set(value) != {"regex"} or not isinstance(expression, str):
            raise ArgumentError("a table where a topic pattern belongs", hint="write { regex = \"...\" } or 'plant/**'")
        return regex(expression)
    if not isinstance(value, str):
        raise _wrong(value, "a topic pattern", "write it like 'plant/*/temperature' or 'plant/**'")
    _checked_pattern(value)
    return value


def _formula(value: object) -> str:
    from chronofabric.logic import Formula

    if not isinstance(value, str):
        raise _wrong(value, "a formula", "write it like 'historically[0, 2 s](value > 80)'")
    Formula(value)
    return value


def _condition(value: object) -> str:
    from chronofabric._core.logic import check_condition

    text = _formula(value)
    check_condition(text)
    return text


def _signal(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a signal", "write it like 'host/cpu#percent'")
    topic, _, _ = value.partition("#")
    _topic(topic)
    return value


def _target(value: object) -> str:
    from chronofabric.fabric.named import named_object

    if not isinstance(value, str):
        raise _wrong(value, "the name of a Python object", "write it like 'module:function'")
    named_object(value, argument=THIS)
    return value


Duration: TypeAlias = Annotated["str | float", PlainValidator(_duration)]
SwitchDuration: TypeAlias = Annotated["str | float", PlainValidator(_switch_interval)]
Rate: TypeAlias = Annotated["str | float", PlainValidator(_rate)]
TableRate: TypeAlias = Annotated["bool | str | float", PlainValidator(_table_rate)]
Factor: TypeAlias = Annotated['float | Literal["recorded", "max"]', PlainValidator(_speed)]
Topic: TypeAlias = Annotated[str, PlainValidator(_topic)]
TopicPattern: TypeAlias = Annotated[str | Pattern, PlainValidator(_pattern)]
Patterns: TypeAlias = list[TopicPattern]
FormulaText: TypeAlias = Annotated[str, PlainValidator(_formula)]
ConditionText: TypeAlias = Annotated[str, PlainValidator(_condition)]
Signals: TypeAlias = dict[str, Annotated[str, PlainValidator(_signal)]]
Target: TypeAlias = Annotated[str, PlainValidator(_target)]

_SPEED_HINT = "write 'recorded', 'max', or a factor such as 4.0"


def _checked_pattern(text: str) -> None:
    Pattern(text)


def _wrong(value: object, wanted: str, hint: str) -> ArgumentError:
    return ArgumentError(f"{kind_of(value)} ({value!r}) where {wanted} belongs", hint=hint)
