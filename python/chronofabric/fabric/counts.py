"""Options that are whole numbers, checked whatever they came as."""

from __future__ import annotations

from chronofabric.errors import ArgumentError

__all__ = ["checked_count"]


def checked_count(argument: str, value: object, minimum: int) -> int:
    """Return a whole number that is not below its minimum, nor beyond what a machine can count.

    Parameters
    ----------
    argument
        What the caller names it.
    value
        What was given.
    minimum
        The least that it may be.

    Raises
    ------
    ArgumentError
        If it is no whole number, below, or 2^63 or more.

    Examples
    --------
    >>> checked_count("capacity", 0, 1)
    Traceback (most recent call last):
    chronofabric.errors.ArgumentError: capacity is 0; give a whole number of at least 1, and less than 2^63
    """
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value < 2**63:
        return value
    hint = f"give a whole number of at least {minimum}, and less than 2^63"
    raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)
