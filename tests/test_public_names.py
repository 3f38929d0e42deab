"""Every public name is exported on purpose and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import chronofabric
from chronofabric import errors

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "python" / "chronofabric"

# The rooms a user may enter; apps are commands, and what begins with an underscore is ours.
PUBLIC_MODULES = [
    "chronofabric",
    *sorted(
        f"chronofabric.{path.stem}"
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_")
        and path.stem != "apps"
        and (path.suffix == ".py" or (path / "__init__.py").is_file())
    ),
]


def modules_with_all() -> list[str]:
    """Return every module below the public ones that says what it exports."""
    found = set(PUBLIC_MODULES)
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if any(part.startswith("_") for part in name.split(".")) or "apps" in parts:
            continue
        if "\n__all__ = " in file.read_text(encoding="utf-8"):
            found.add(name)
    return sorted(found)


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff holds too."""
    if name.isupper():
        return 0, name
    return (1, name) if name.lstrip("_")[:1].isupper() else (2, name)


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_a_public_module_says_what_it_exports_and_what_it_is_for(name):
    module = importlib.import_module(name)
    assert module.__all__
    assert inspect.getdoc(module)


@pytest.mark.parametrize("name", modules_with_all())
def test_exported_names_exist_once_and_in_order(name):
    module = importlib.import_module(name)
    exported = list(module.__all__)
    assert exported == sorted(set(exported), key=order)
    assert [each for each in exported if not hasattr(module, each)] == []
    assert [each for each in exported if each.startswith("_") and each != "__version__"] == []


@pytest.mark.parametrize("name", modules_with_all())
def test_exported_classes_functions_and_their_public_methods_are_documented(name):
    module = importlib.import_module(name)
    bare = []
    for each in module.__all__:
        value = getattr(module, each)
        if not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)):
            continue
        if not has_own_docstring(value):
            bare.append(each)
        if inspect.isclass(value) and value.__module__.startswith("chronofabric"):
            bare += [
                f"{each}.{member}"
                for member, method in vars(value).items()
                if not member.startswith("_") and is_documentable(method) and not inspect.getdoc(getattr(value, member))
            ]
    assert bare == []


def has_own_docstring(value: object) -> bool:
    return bool(vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value))


def is_documentable(method: object) -> bool:
    return inspect.isroutine(method) or isinstance(method, property | classmethod | staticmethod)


def test_every_error_is_exported_documented_and_reachable_from_the_package():
    defined = {
        name
        for name, value in vars(errors).items()
        if not name.startswith("_")
        and inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__ == errors.__name__
    }
    assert defined <= set(errors.__all__)
    assert defined <= set(chronofabric.__all__)
    assert all(issubclass(getattr(errors, name), errors.ChronofabricError) for name in defined)
    assert all(getattr(chronofabric, name) is getattr(errors, name) for name in defined)


def test_the_package_begins_with_its_layout_and_has_no_names_by_accident():
    text = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    assert text.lstrip().startswith(("#", '"""'))
    imported = {
        alias.asname or alias.name
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    public = {name for name in imported if not name.startswith("_")}
    assert public - set(chronofabric.__all__) == set()


def test_every_name_of_the_package_is_explained_in_the_documentation():
    pages = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    missing = [name for name in chronofabric.__all__ if name.strip("_") not in text]
    assert missing == []


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()
