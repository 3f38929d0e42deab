"""The stubs of the Rust module are its documentation: they are complete, and their examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

STUBS = Path(__file__).resolve().parent.parent / "python" / "chronofabric" / "_core"
FILES = sorted(STUBS.glob("*.pyi"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# What a user reaches for first, and learns from an example.
SHOWN = {
    "bus": ["Batch", "DeadLetter", "Event", "Flag", "Pattern", "Publisher", "Subscription", "regex"],
    "clock": [
        *("CausalBuffer", "CounterClock", "DottedVersionVector", "HybridLogicalClock", "SimulatedClock", "Stamp"),
        *("SystemClock", "VectorClock", "register", "source"),
    ],
    "columns": ["Table"],
    "logic": ["Formula", "Monitor", "Verdict"],
    "optimize": ["JobOrder"],
    "settings": ["parse_toml"],
}

Documented: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def definitions(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, Documented]]:
    """Yield what can have a docstring, with its full name and from the outside in."""
    yield name, node
    for inner in node.body:
        if isinstance(inner, ast.ClassDef):
            yield from definitions(inner, f"{name}.{inner.name}")
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{inner.name}", inner


def module_of(file: Path) -> str:
    return "chronofabric._core" if file.stem == "__init__" else f"chronofabric._core.{file.stem}"


DOCUMENTED = {
    name: (file, node)
    for file in FILES
    for name, node in definitions(ast.parse(file.read_text(encoding="utf-8")), module_of(file))
}
EXAMPLES = {
    name: (file, node, text)
    for name, (file, node) in DOCUMENTED.items()
    if ">>>" in (text := ast.get_docstring(node) or "")
}


def is_public(name: str) -> bool:
    own = name.removeprefix("chronofabric._core").split(".")[1:]
    return not any(part.startswith("_") for part in own)


def test_every_module_of_the_rust_side_has_a_stub():
    core = importlib.import_module("chronofabric._core")
    modules = {name for name, value in vars(core).items() if inspect.ismodule(value)}
    assert modules == {file.stem for file in FILES} - {"__init__"}


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if is_public(name)])
def test_what_a_stub_names_in_public_is_documented(name):
    _, node = DOCUMENTED[name]
    text = ast.get_docstring(node)
    assert text
    assert text.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in SHOWN for name in SHOWN[module]])
def test_what_users_reach_for_has_an_example(module, name):
    assert f"chronofabric._core.{module}.{name}" in EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_stubs_do_what_they_show(name):
    file, node, text = EXAMPLES[name]
    line = 0 if isinstance(node, ast.Module) else node.lineno
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, name, str(file), line)
    assert test.examples
    said: list[str] = []
    results = doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=said.append)
    assert results.failed == 0, "".join(said)
