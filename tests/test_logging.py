"""Every logger of the package is documented, and what it says is shown once, wherever a program sends its log."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.subprocesses import run_python

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


RAISES = """
import logging, sys
import chronofabric as cf

{configured}
with cf.Fabric("plant") as fabric:
    fabric.on("a", name="broken")(lambda event: 1 / 0)
    fabric.publish("a", 1)
print(fabric.report().handlers[0]["errors"])
"""
SAID = "handler broken failed on a"


def after(configured: str) -> tuple[str, str]:
    """Return what a program writes to its outputs in which one handler raises once."""
    ended = run_python(RAISES.format(configured=configured))
    assert ended.stdout.splitlines()[-1] == "1"
    return ended.stdout, ended.stderr


def test_without_logging_configured_a_handler_that_raises_is_shown_once_with_its_traceback():
    _, errors = after("")
    assert errors.count(SAID) == 1
    assert errors.count("ZeroDivisionError") == 1


@pytest.mark.parametrize(
    "configured",
    [
        'logging.basicConfig(stream=sys.stdout, format="mine %(name)s: %(message)s")',
        """
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("mine %(name)s: %(message)s"))
logging.getLogger("chronofabric").addHandler(handler)
""",
    ],
    ids=["the root logger", "the tree of the package"],
)
def test_with_logging_configured_it_is_shown_once_and_only_there(configured):
    output, errors = after(configured)
    assert output.count(f"mine chronofabric.handler: {SAID}") == output.count(SAID) == 1
    assert output.count("ZeroDivisionError") == 1
    assert errors == ""


def test_a_tree_that_is_silenced_as_documented_shows_nothing():
    assert after('logging.getLogger("chronofabric").setLevel(logging.CRITICAL)') == ("1\n", "")


def test_importing_the_package_configures_no_logging():
    run_python("""
        import logging
        import chronofabric
        assert logging.getLogger().handlers == []
        for name in ("chronofabric", "chronofabric.node", "chronofabric.handler"):
            logger = logging.getLogger(name)
            assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)
    """)
