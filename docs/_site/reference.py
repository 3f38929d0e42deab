"""The reference: what each public module exports, with the docstrings of the stubs for what is written in Rust.

The page `reference/<module>.md` gets an entry for each name of the module's `__all__`. What `chronofabric` itself
exports is described there and nowhere else, because that is where users import it from.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

FOLDER = Path(__file__).resolve().parent.parent / "reference"
STUBS = FOLDER.parent.parent / "python" / "chronofabric" / "_core"
MODULES = sorted(page.stem for page in FOLDER.glob("chronofabric*.md"))

Definition = ast.ClassDef | ast.FunctionDef


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", with_entries)
    app.connect("autodoc-process-docstring", docstring_of_the_stub, priority=400)
    app.connect("autodoc-process-signature", signature_of_the_stub)
    app.connect("missing-reference", find_public)
    return {"parallel_read_safe": True}


def entries(module: str) -> dict[str, object]:
    """Return what is described on the page of a module: what it exports and the package above does not."""
    loaded = importlib.import_module(module)
    elsewhere = () if module == "chronofabric" else importlib.import_module("chronofabric").__all__
    return {
        name: value
        for name in loaded.__all__
        if name not in elsewhere and not isinstance(value := getattr(loaded, name), ModuleType)
    }


PUBLIC = {f"{module}.{name}": value for module in MODULES for name, value in entries(module).items()}
"""Everything public, by the name that users import it by."""

FOUND = {
    (value.__module__, value.__qualname__): name for name, value in PUBLIC.items() if hasattr(value, "__qualname__")
}
"""The public name of what lies elsewhere, by where it lies."""


def with_entries(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the entries of a module to its page."""
    module = page.removeprefix("reference/")
    if module not in MODULES:
        return
    for name, value in entries(module).items():
        kind = "autoclass" if inspect.isclass(value) else "autofunction" if inspect.isroutine(value) else "autodata"
        if inspect.isclass(value) and issubclass(value, BaseException):
            kind = "autoexception"
        source[0] += f"\n## {name}\n\n```{{eval-rst}}\n.. {kind}:: {module}.{name}\n```\n"


# What is written in Rust ----------------------------------------------------------------------------------------------


def definitions(node: ast.Module | ast.ClassDef, name: str) -> dict[str, Definition]:
    """Return the classes, functions and methods of a stub by their full names."""
    found: dict[str, Definition] = {}
    for inner in node.body:
        if isinstance(inner, ast.ClassDef):
            found |= {f"{name}.{inner.name}": inner} | definitions(inner, f"{name}.{inner.name}")
        elif isinstance(inner, ast.FunctionDef):
            found[f"{name}.{inner.name}"] = inner
    return found


STUB = {
    name: node
    for file in STUBS.glob("[a-z]*.pyi")
    for name, node in definitions(ast.parse(file.read_text("utf-8")), f"chronofabric._core.{file.stem}").items()
}


def stub_of(name: str, value: object) -> Definition | None:
    """Return the definition in a stub of what is called this in public, of a base class where it is inherited."""
    owner, _, member = name.rpartition(".")
    if name in PUBLIC:
        return STUB.get(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}")
    for base in getattr(PUBLIC.get(owner), "__mro__", ()):
        if member in vars(base):
            return STUB.get(f"{base.__module__}.{base.__qualname__}.{member}")
    return None


def docstring_of_the_stub(app: Sphinx, kind: str, name: str, value: Any, options: object, lines: list[str]) -> None:
    """Put the stub's docstring in place, and make references of the names in it that there are."""
    definition = stub_of(name, value)
    if definition is not None:
        lines[:] = (ast.get_docstring(definition) or "").splitlines()
    owner = next((public for public in PUBLIC if name == public or name.startswith(f"{public}.")), name)
    lines[:] = [re.sub(r"(?<![`\w:])`([\w.]+)`(?!`)", lambda match: reference(match[1], owner), line) for line in lines]


def reference(word: str, owner: str) -> str:
    """Return a link to what a docstring names, or the name as code where it is an argument or something inner."""
    for name in (f"{owner}.{word}", f"{owner.rpartition('.')[0]}.{word}", f"chronofabric.{word}", word):
        head, _, member = name.rpartition(".")
        if name in PUBLIC or (head in PUBLIC and member and hasattr(PUBLIC[head], member)):
            return f":py:obj:`{word} <{name}>`"
    return f"``{word}``"


def signature_of_the_stub(
    app: Sphinx, kind: str, name: str, value: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Return the signature that the stub states; none where a class is not made by its users."""
    definition = stub_of(name, value)
    if kind == "class" and "Made by `" in (value.__doc__ or ""):
        return None, None
    if isinstance(definition, ast.ClassDef):
        made = STUB.get(f"{value.__module__}.{value.__qualname__}.__new__")  # type: ignore[attr-defined]
        return (None, None) if made is None else (parameters(made, bound=True), None)
    if definition is None or not callable(value):
        return signature, returned
    static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in definition.decorator_list)
    bound = name not in PUBLIC and not static
    return parameters(definition, bound), ast.unparse(definition.returns) if definition.returns else None


def parameters(definition: Definition, bound: bool) -> str:
    """Return the parameters of a function without the object that it is called on."""
    assert isinstance(definition, ast.FunctionDef)
    arguments = ast.unparse(definition.args)
    if bound:
        arguments = re.sub(r"^\w+(?:, /)?(?:, |$)", "", arguments)
    return f"({arguments.removeprefix('/, ')})"


def find_public(app: Sphinx, env: BuildEnvironment, node: nodes.Element, inner: nodes.TextElement) -> object:
    """Resolve a reference to where something lies, or to its bare name, by the name that users import it by."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    module, _, name = target.rpartition(".")
    public = FOUND.get((module, name)) or next((each for each in PUBLIC if each.endswith(f".{target}")), None)
    if public is None or public == target:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], public, node, inner)
