"""Docstrings of everything public: a summary, each parameter, and an example that runs (the other tests run them)."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator

import pytest

from chronofabric.errors import ChronofabricError
from tests.test_public_names import PROJECT, PUBLIC_MODULES
from tests.test_stub_examples import DOCUMENTED

MODULES = sorted({*PUBLIC_MODULES, *(page.stem for page in (PROJECT / "docs" / "reference").glob("chronofabric*.md"))})
"""The rooms a user may enter, and those below them that have a page in the reference."""

# Every source and sink has these; the protocol that they follow explains them.
OF_A_PROTOCOL = {"chronofabric.fabric.sources": ("run", "rows"), "chronofabric.fabric.sinks": ("open", "write")}

WITHOUT_EXAMPLE = {
    "chronofabric.clock.CausalBooks": "made by a causal buffer, whose example shows it",
    "chronofabric.clock.Gap": "made by a causal buffer, whose example shows it",
    "chronofabric.scheduler.MissedJob": "handed to whom a task names for it",
    "chronofabric.scheduler.QueuedJob": "made by a deadline queue, whose example cancels one",
    "chronofabric.testing.Failure": "handed out by take_failures, whose example shows one",
    "chronofabric.fabric.settings.RunSettings": "made by load, whose example shows it",
    "chronofabric.clock.TimeSource": "a name for any of the three clocks, which have examples",
    "chronofabric.fabric.sources.StdinSource": "it reads the standard input of whoever runs the example",
}


def public() -> dict[str, object]:
    """Return every public class and function once, by a name that it is exported by."""
    found: dict[int, tuple[str, object]] = {}
    for module in MODULES:
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            value = getattr(loaded, name)
            ours = getattr(value, "__module__", "").startswith("chronofabric")
            if ours and (inspect.isclass(value) or inspect.isroutine(value)):
                found.setdefault(id(value), (f"{module}.{name}", value))
    return dict(found.values())


def members(owner: type) -> Iterator[tuple[str, object]]:
    for name, value in vars(owner).items():
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            yield name, value


def docstring(value: object, owner: object = None, name: str = "") -> str:
    """Return the docstring of the stub where there is one."""
    where = owner if owner is not None else value
    full = f"{getattr(where, '__module__', '')}.{getattr(where, '__qualname__', '')}" + (f".{name}" if name else "")
    if full in DOCUMENTED:
        return ast.get_docstring(DOCUMENTED[full][1]) or ""
    return inspect.getdoc(value) or ""


PUBLIC = public()


def all_text(value: object) -> str:
    texts = [docstring(value)]
    if inspect.isclass(value):
        texts += [docstring(member, value, name) for name, member in members(value)]
    return "\n".join(texts)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_summary_of_one_line(name):
    lines = docstring(PUBLIC[name]).splitlines()
    assert lines
    assert lines[0].endswith(".")
    assert len(lines) == 1 or not lines[1].strip()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example(name):
    value = PUBLIC[name]
    if inspect.isclass(value) and (issubclass(value, BaseException) or getattr(value, "_is_protocol", False)):
        return
    if name in WITHOUT_EXAMPLE:
        assert ">>>" not in all_text(value), "it has one: take it off the list"
        return
    assert ">>>" in all_text(value)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_explained(name):
    value = PUBLIC[name]
    if inspect.isclass(value) and issubclass(value, ChronofabricError):
        return
    explained_above = () if getattr(value, "_is_protocol", False) else OF_A_PROTOCOL.get(name.rpartition(".")[0], ())
    missing = [
        f"{member or name}: {parameter}"
        for member, text, parameters in explained(value)
        for parameter in parameters
        if member not in explained_above and not re.search(rf"(?<!\w){re.escape(parameter)}(?!\w)", text)
    ]
    assert missing == []


def explained(value: object) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the functions and methods of a name, with their docstring and the names of their parameters."""
    if inspect.isclass(value):
        for name, member in members(value):
            function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            if callable(function):
                # What overrides a method need not repeat what that one says.
                texts = [docstring(vars(each)[name], each, name) for each in value.__mro__ if name in vars(each)]
                yield name, "\n".join(texts), names_of(function)
    else:
        yield "", docstring(value), names_of(value)


def names_of(function: object) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    return [name for name, each in parameters.items() if name not in ("self", "cls") and each.kind != each.VAR_KEYWORD]
