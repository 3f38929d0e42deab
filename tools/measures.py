"""The commands that measure: bench (our own figures) and compare (ours beside the peers')."""

from __future__ import annotations

from collections.abc import Sequence

from tools import steps
from tools.environment import Environment
from tools.steps import PROJECT, Refusal, say


def bench(words: Sequence[str]) -> None:
    """Run every criterion bench and every asv suite once, quickly; nothing is recorded."""
    if words:
        raise Refusal(f"takes no options, got: {' '.join(words)}", 2)
    environment = Environment()
    environment.prepare("bench")
    _criterion(environment)
    _asv(environment)


def compare(words: Sequence[str]) -> None:
    """Run every comparison of `benchmarks/peers` and print one table; `--quick` for a look, or name the concerns."""
    environment = Environment()
    environment.prepare("bench", optional=["peers"])
    environment.run("comparisons", "-m", "benchmarks.peers", *words)


def _criterion(environment: Environment) -> None:
    benches = sorted(PROJECT.glob("rust/*/benches/*.rs"))
    if not benches:
        say("no criterion benches yet")
    for file in benches:
        crate = file.parent.parent.name
        command = ["cargo", "bench", "--locked", "-p", f"chronofabric-{crate}", "--bench", file.stem, "--", "--quick"]
        steps.run(f"criterion, {crate}", command, environment=environment.variables("tests"))


def _asv(environment: Environment) -> None:
    suites = sorted(PROJECT.glob("benchmarks/bench_*.py"))
    if not suites:
        say("no asv suites yet")
        return
    # asv asks about the machine the first time; --yes takes what it finds.
    steps.output([environment.python, "-m", "asv", "machine", "--yes"])
    existing = f"existing:{environment.python}"
    environment.run("asv", "-m", "asv", "run", "--quick", "--show-stderr", "--dry-run", "-E", existing)
