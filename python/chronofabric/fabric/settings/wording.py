"""How problems of a run file are put into words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chronofabric.errors import ArgumentError

TYPE_NAMES = {
    bool: "true or false",
    dict: "a table",
    float: "a number",
    int: "a whole number",
    list: "an array",
    str: "text",
}

THIS = "this"
"""The name of an argument that needs none, because the message points at it."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return "did you mean ...?" for the known name closest to ``name``, or ``None``.

    Examples
    --------
    >>> nearest("rte", ["rate", "prefix"])
    "did you mean 'rate'?"
    """
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else None


def choice(name: str, known: Iterable[str]) -> str:
    """Return what could stand for ``name``: the closest known one, or all of them."""
    names = list(known)
    return nearest(name, names) or f"write {alternatives(names)}"


def alternatives(names: Iterable[str]) -> str:
    """Return "'a', 'b' or 'c'"."""
    *first, last = [f"'{name}'" for name in names]
    return f"{', '.join(first)} or {last}" if first else last


def kind_of(value: object) -> str:
    """Return what a TOML value is, in words."""
    return TYPE_NAMES.get(type(value), "an instant")


def without_hint(error: ArgumentError) -> tuple[str, str | None]:
    """Return what an error says is wrong, in its first line, and what it says to do about it."""
    message, *below = error.message.splitlines() or ["cannot be used"]
    if below and "^" in below[-1]:
        # A caret under the place, and beside it what is wrong there.
        return message, below[-1].rpartition("^")[2].strip() or error.hint
    if error.hint:
        message = message.removesuffix(error.hint).rstrip("; ")
    if message.startswith(f"{THIS} is "):
        message = message.removeprefix(f"{THIS} is ").replace("; ", ": ", 1)
    return message, error.hint


def validation_words(error: Mapping[str, object], known: Iterable[str]) -> tuple[str, str | None]:
    """Return what is wrong, and what to do, for one error of pydantic; ``known`` are the keys that the table has."""
    kind, value = str(error["type"]), error["input"]
    context = error.get("ctx")
    details: Mapping[str, object] = context if isinstance(context, dict) else {}
    location = error["loc"]
    name = str(location[-1]) if isinstance(location, tuple) and location else ""
    if kind == "extra_forbidden":
        return f"unknown key '{name}'", choice(name, known)
    if kind == "missing":
        return f"the key '{name}' is missing", None
    if kind == "literal_error":
        wanted = str(details["expected"])
        choices = [part.strip("' ") for part in wanted.replace(" or ", ", ").split(",")]
        return f"{value!r} is not possible here", choice(str(value), choices)
    if kind == "value_error":
        cause = details.get("error")
        return without_hint(cause) if isinstance(cause, ArgumentError) else (str(cause), None)
    for ending, wanted in _WANTED.items():
        if kind == ending:
            return f"{kind_of(value)} ({value!r}) where {wanted} belongs", None
    for limit, words in _LIMITS.items():
        if limit in details:
            return f"{value!r} is out of range", f"give a number {words} {details[limit]:g}"
    if kind == "finite_number":
        return f"{value!r} is out of range", "give a finite number"
    if kind in {"string_too_short", "too_short"}:
        return f"{value!r} is too short", f"give at least {details['min_length']}"
    return str(error["msg"]), None


_WANTED = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "an array",
    "model_type": "a table",
    "string_type": "text",
}
_LIMITS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
