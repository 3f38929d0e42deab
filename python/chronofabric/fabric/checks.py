"""Checks of arguments that several parts of the node share."""

from __future__ import annotations

from chronofabric.errors import ArgumentError, UnsupportedError

__all__ = ["checked_flag", "checked_text", "only"]


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


def checked_flag(argument: str, value: object) -> bool:
    """Refuse what is neither true nor false."""
    if isinstance(value, bool):
        return value
    hint = "it must be True or False"
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
