"""Every logger of the package is in the documented list, and the list names no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "python" / "chronofabric"
ROOT = "chronofabric"


def loggers() -> set[str]:
    """Return the names that the package gives to getLogger; each must be written out where it is used."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "getLogger":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{file}:{node.lineno} names a logger by an expression"
                assert isinstance(name.value, str)
                found.add(name.value)
    return found


def documented() -> set[str]:
    text = (PROJECT / "docs" / "logging.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(chronofabric[\w.]*)` \|", text, flags=re.MULTILINE))


def test_every_logger_is_documented_and_every_documented_one_is_used():
    assert loggers() == documented()
    assert len(documented()) > 3


def test_all_loggers_are_of_one_tree():
    assert all(name == ROOT or name.startswith(f"{ROOT}.") for name in loggers())


def test_only_apps_and_the_terminal_sink_print():
    printing = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {"apps"}
