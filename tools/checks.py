"""The commands that judge: test, lint, coverage, proof."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tools import steps
from tools.environment import Environment
from tools.steps import PROJECT, Refusal, say

COVERAGE_PERCENT_MIN = 85
PROOF_CASES = 20_000
PROOF_TEST_S_MAX = 1_800
"""How long one Python test may take at full counts before it is taken to hang."""
BINDING_CRATE = "chronofabric-python"
WORKSPACE = ("--workspace", "--exclude", BINDING_CRATE, "--locked")


def test(words: Sequence[str]) -> None:
    """Run the Rust tests (of every crate but the binding, whose tests are in Python), then pytest with `words`."""
    environment = _ready("test", optional=["oracles", "docs"])
    cargo = environment.variables("tests")
    if shutil.which("cargo-nextest"):
        steps.run("Rust tests", ["cargo", "nextest", "run", *WORKSPACE, "--no-tests=pass"], environment=cargo)
        steps.run("Rust examples in documentation", ["cargo", "test", *WORKSPACE, "--doc"], environment=cargo)
    else:
        steps.run("Rust tests", ["cargo", "test", *WORKSPACE], environment=cargo)
    environment.run("Python tests", "-m", "pytest", *words)


def lint(words: Sequence[str]) -> None:
    """Check style, types, stubs and documentation; every check runs, and all that failed are named at the end."""
    if words:
        raise Refusal(f"takes no options, got: {' '.join(words)}", 2)
    environment = _ready("test", "lint")
    python, cargo = environment.variables(), environment.variables("tests")
    documentation = environment.variables("tests", RUSTDOCFLAGS="-D warnings")
    module: list[str | Path] = [environment.python, "-m"]
    every: list[tuple[str, list[str | Path], dict[str, str]]] = [
        ("ruff", [*module, "ruff", "check", "."], python),
        ("ruff format", [*module, "ruff", "format", "--check", "."], python),
        ("mypy", [*module, "mypy"], python),
        ("stubtest", [*module, "mypy.stubtest", "chronofabric._core", *_stubtest_options()], python),
        ("cargo fmt", ["cargo", "fmt", "--all", "--check"], cargo),
        ("clippy", ["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], cargo),
        ("cargo doc", ["cargo", "doc", *WORKSPACE, "--no-deps", "--document-private-items"], documentation),
    ]
    failed = [name for name, command, use in every if steps.run(name, command, environment=use, may_fail=True) != 0]
    if failed:
        raise Refusal(f"these checks failed: {', '.join(failed)}")


def coverage(words: Sequence[str]) -> None:
    """Measure line coverage: coverage.py for Python, cargo-llvm-cov for Rust where it is installed."""
    environment = _ready("test", "coverage", optional=["oracles"])
    environment.run("coverage, old data", "-m", "coverage", "erase")
    environment.run("Python tests under coverage", "-m", "coverage", "run", "-m", "pytest", *words)
    environment.run("coverage, putting processes together", "-m", "coverage", "combine", "--quiet")
    _rust_coverage(environment)
    environment.run("Python line coverage", "-m", "coverage", "report", f"--fail-under={COVERAGE_PERCENT_MIN}")


def proof(words: Sequence[str]) -> None:
    """Run everything that concerns one crate and package at full counts: properties, schedules, loom models."""
    concern = next((word.removeprefix("--concern=") for word in words), os.environ.get("CONCERN", ""))
    known = concerns()
    if concern not in known:
        raise Refusal(
            f"name one concern, for example: make proof CONCERN={known[0]} (there are: {', '.join(known)})", 2
        )
    environment = _ready("test", optional=["oracles"])
    _rust_proof(environment, concern)
    tests = _python_tests(concern)
    if not tests:
        say(f"no Python tests are of {concern}")
        return
    full = environment.variables(CHRONOFABRIC_PROOF="1")
    pytest: list[str | Path] = [environment.python, "-m", "pytest", "-o", f"faulthandler_timeout={PROOF_TEST_S_MAX}"]
    steps.run(f"Python proofs of {concern}", [*pytest, *tests], environment=full)


def concerns(project: Path = PROJECT) -> list[str]:
    """Return what `proof` knows: every crate, and every part of the Python package that has tests."""
    crates = {manifest.parent.name for manifest in (project / "rust").glob("*/Cargo.toml")} - {"python", "fuzz"}
    tests = {folder.name for folder in (project / "tests").glob("*/")}
    packages = {path.stem for path in (project / "python" / "chronofabric").iterdir()}
    return sorted(crates | (tests & packages))


def _ready(*extras: str, optional: Sequence[str] = ()) -> Environment:
    environment = Environment()
    environment.prepare(*extras, optional=optional)
    return environment


def _stubtest_options() -> list[str | Path]:
    options: list[str | Path] = ["--mypy-config-file", "pyproject.toml"]
    allowed = PROJECT / "tests" / "stubtest_allowed.txt"
    return [*options, "--allowlist", allowed] if allowed.is_file() else options


def _rust_coverage(environment: Environment) -> None:
    if shutil.which("cargo-llvm-cov") is None:
        say("Rust line coverage: not measured, cargo-llvm-cov is not installed (cargo install cargo-llvm-cov)")
        return
    command = ["cargo", "llvm-cov", *WORKSPACE, "--summary-only"]
    steps.run("Rust line coverage", command, environment=environment.variables("coverage"))


def _rust_proof(environment: Environment, concern: str) -> None:
    crate = PROJECT / "rust" / concern
    if not (crate / "Cargo.toml").is_file():
        say(f"no crate is called {concern}: only its Python tests are run")
        return
    package = f"chronofabric-{concern}"
    full = environment.variables("tests", CHRONOFABRIC_PROOF="1", PROPTEST_CASES=str(PROOF_CASES))
    steps.run(
        f"Rust proofs of {concern}",
        ["cargo", "test", "--release", "--locked", "-p", package, "--tests", "--", "--include-ignored"],
        environment=full,
    )
    if not _has_loom(crate):
        say(f"{package} has no loom models")
        return
    flags = f"{os.environ.get('RUSTFLAGS', '')} --cfg loom".strip()
    models = environment.variables("loom", RUSTFLAGS=flags, CHRONOFABRIC_PROOF="1")
    command = ["cargo", "test", "--release", "--locked", "-p", package]
    files = sorted(crate.glob("tests/loom*.rs"))
    for file in files:
        steps.run(f"loom models in {file.name}", [*command, "--test", file.stem], environment=models)
    if not files:
        steps.run("loom models", [*command, "--lib", "loom"], environment=models)


def _has_loom(crate: Path) -> bool:
    manifest = tomllib.loads((crate / "Cargo.toml").read_text(encoding="utf-8"))
    tables = [manifest, *manifest.get("target", {}).values()]
    return any("loom" in table.get(kind, {}) for table in tables for kind in ("dependencies", "dev-dependencies"))


def _python_tests(concern: str) -> list[Path]:
    tests = PROJECT / "tests"
    folder = [tests / concern] if (tests / concern).is_dir() else []
    files = [*tests.glob(f"test_{concern}*.py"), *tests.glob(f"*/test_{concern}*.py")]
    return folder + sorted(file for file in files if file.parent.name != concern)
