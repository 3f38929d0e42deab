"""Everything a developer types: `python -m tools.dev <command>`. The Makefile calls this and nothing else.

It needs nothing but Python's standard library; what a command needs besides is installed into `.venv` by the set-up
that most commands begin with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tools import checks, faults, measures, packaging, steps
from tools.environment import Environment, extension_files, remove, target_folder
from tools.steps import PROJECT, Refusal, say

CACHES = (".asv", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")
LEFTOVERS = ("target", "dist", "build", "coverage", *CACHES)
TARGETS = ("maturin", "tests", "loom", "coverage", "fuzz", "fuzz-extension", "miri", "thread-sanitizer", "platforms")


class Command(NamedTuple):
    """One command: what `help` says of it, and what it does with the words after its name."""

    summary: str
    call: Callable[[Sequence[str]], None]


def setup(words: Sequence[str]) -> None:
    """Bring `.venv` up to date with everything that developing needs."""
    _no_words(words)
    Environment().prepare("test", "lint", optional=["oracles"])


def demo(words: Sequence[str]) -> None:
    """Set up what running needs, then run the demo with the words given."""
    environment = Environment()
    environment.prepare()
    steps.run("demo", [environment.script("chronofabric"), "demo", *words], environment=environment.variables())


def clean(words: Sequence[str]) -> None:
    """Remove `.venv`, everything built and every cache of this project."""
    _no_words(words)
    remove(PROJECT / name for name in (".venv", *LEFTOVERS))
    remove(target_folder(name) for name in TARGETS)
    remove(PROJECT.glob(".coverage*"))
    remove(PROJECT / "rust" / "fuzz" / name for name in ("corpus", "coverage"))
    remove(extension_files())
    bytecode = [folder for top in ("python", "tools", "tests", "benchmarks") for folder in _bytecode(PROJECT / top)]
    remove(bytecode)


def print_help(words: Sequence[str]) -> None:
    """Print every command with its summary."""
    _no_words(words)
    print("make <command>, or without make: python -m tools.dev <command>\n")
    for name, command in COMMANDS.items():
        print(f"  {name:<9} {command.summary}")
    print("\nOptions of a command follow it; with make they are given as ARGS='...'.")


COMMANDS = {
    "demo": Command("build what is needed and watch this machine's telemetry pass through a node", demo),
    "test": Command("run the Rust tests, then the Python tests; words after it go to pytest", checks.test),
    "lint": Command("check style, types, stubs and documentation of both languages", checks.lint),
    "coverage": Command("measure line coverage of the tests; Python's must reach 85 %", checks.coverage),
    "proof": Command("run the tests of one concern at full counts: make proof CONCERN=clock", checks.proof),
    "fuzz": Command("run one fuzz target: make fuzz TARGET=topic SECONDS=600", faults.fuzz),
    "sanitize": Command("run Rust tests under Miri and ThreadSanitizer; WITH=miri for one", faults.sanitize),
    "platforms": Command("have clippy check the Rust code as it is on other systems", faults.platforms),
    "docs": Command("build the documentation as a site in build/docs; warnings are errors", packaging.docs),
    "wheel": Command("build wheel and sdist in dist, and run both from empty environments", packaging.wheel),
    "bench": Command("run our own benchmarks quickly: criterion and asv", measures.bench),
    "compare": Command("put our figures beside those of the peers, in one table; --quick for a look", measures.compare),
    "setup": Command("bring .venv up to date and build the extension, no more", setup),
    "clean": Command("remove .venv, everything built and every cache of this project", clean),
    "help": Command("show this", print_help),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    name, *words = arguments if arguments is not None else sys.argv[1:] or ["help"]
    name = "help" if name in ("-h", "--help") else name
    if name not in COMMANDS:
        steps.warn(f"there is no command {name!r}; there are: {', '.join(COMMANDS)}")
        return 2
    try:
        COMMANDS[name].call(words)
    except Refusal as refusal:
        steps.warn(f"{name}: {refusal}")
        return refusal.code
    except KeyboardInterrupt:
        steps.warn(f"{name}: interrupted")
        return 130
    if name != "help":
        say(f"{name}: done")
    return 0


def _no_words(words: Sequence[str]) -> None:
    if words:
        raise Refusal(f"takes no options, got: {' '.join(words)}", 2)


def _bytecode(folder: Path) -> list[Path]:
    return list(folder.rglob("__pycache__")) if folder.is_dir() else []


if __name__ == "__main__":
    sys.exit(main())
