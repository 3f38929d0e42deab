"""Checks of arguments that several parts of the node share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chronofabric.errors import ArgumentError, UnsupportedError

if TYPE_CHECKING:
    from chronofabric.bus import Event
    from chronofabric.duration import Duration, Rate
    from chronofabric.logic import Formula

__all__ = ["FILTERS", "checked_text", "count", "duration_ns", "filter_options", "only"]

FILTERS = frozenset({"where", "sample", "rate_limit", "throttle", "debounce"})
"""The options of a subscription that are filters."""


def only(argument: str, value: str, here: tuple[str, ...], later: tuple[str, ...]) -> None:
    """Refuse what later versions build, apart from what nobody knows."""
    if value in here:
        return
    usable = " or ".join(f"'{known}'" for known in here)
    if value in later:
        text = f"{argument}='{value}' is not in this version; use {usable}"
        raise UnsupportedError(text, feature=f"{argument}={value}")
    hint = f"it must be {usable}"
    raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)


def checked_text(argument: str, value: object, *, empty: bool) -> None:
    """Refuse what is no text, or none that can be written down (a half of a surrogate pair)."""
    if (
        isinstance(value, str)
        and (value or empty)
        and not any("\ud800" <= character <= "\udfff" for character in value)
    ):
        return
    hint = "it must be a text" if empty else "it must be a text that is not empty"
    raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)


def count(argument: str, value: object) -> int:
    """A whole number of at least one, and not beyond what a machine can count."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63:
        return value
    hint = "it must be a whole number of at least 1, and less than 2^63"
    raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)


def duration_ns(duration: Duration, argument: str, *, positive: bool = False) -> int:
    """A duration in nanoseconds."""
    from chronofabric.duration import nanoseconds

    return nanoseconds(duration, argument=argument, positive=positive)


def bucket_of(rate: Rate) -> tuple[int, int]:
    """The bucket of a rate limit."""
    from chronofabric.duration import bucket

    return bucket(rate, argument="rate_limit")


def filter_options(
    order: str,
    where: str | Formula | Callable[[Event], object] | None,
    sample: int | None,
    rate_limit: Rate | None,
    throttle: Duration | None,
    debounce: Duration | None,
) -> dict[str, Any]:
    """Return the filters of a subscription as the bus takes them."""
    if debounce is not None and order == "causal":
        hint = "leave out one of the two, or use throttle"
        text = f"debounce keeps events back, which order='causal' does not allow; {hint}"
        raise ArgumentError(text, argument="debounce", value=debounce, hint=hint)
    return {
        "condition": where,
        "sample": None if sample is None else count("sample", sample),
        "rate_limit": None if rate_limit is None else bucket_of(rate_limit),
        "throttle_ns": None if throttle is None else duration_ns(throttle, "throttle", positive=True),
        "debounce_ns": None if debounce is None else duration_ns(debounce, "debounce", positive=True),
    }
