"""The commands that look for faults which no test of this machine has a name for: fuzz, sanitize, platforms.

What they need beside the project is not on every machine; where it is missing they say what, and end with status 3.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tools import steps, toolchain
from tools.environment import PACKAGE, Environment, remove, target_folder
from tools.steps import PROJECT, Refusal

MISSING = 3
"""The exit status where a tool is missing."""

FUZZ = PROJECT / "rust" / "fuzz"
FUZZ_SECONDS = 600
INPUT_SECONDS_MAX = 60
"""Longer than a busy machine lets a process wait; an input that takes this long is a failure."""

UNSAFE_CRATES = ("bus", "clock", "scheduler")
"""The crates without Python that have unsafe code or atomics."""

MIRI_CASES = 4
"""Cases of each property under Miri."""

PLATFORMS = (
    "x86_64-pc-windows-msvc",
    "aarch64-apple-darwin",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
)
"""Where wheels run, by the names that Rust has for them; what they leave out differs in the processor alone."""

NIGHTLY_ADVICE = "rustup toolchain install nightly --profile minimal --component"


def targets() -> dict[str, Path]:
    """Return the fuzz targets by name: programs in Rust, and scripts in Python."""
    return {file.stem: file for file in sorted((FUZZ / "fuzz_targets").iterdir()) if file.suffix in {".rs", ".py"}}


def fuzz(words: Sequence[str]) -> None:
    """Run one fuzz target for a while; what it learns is kept in `rust/fuzz/corpus`, what fails in `artifacts`."""
    options = _options(words, {"target": "", "seconds": str(FUZZ_SECONDS)})
    target, known = options["target"], targets()
    if target not in known:
        raise Refusal(f"name one target, for example: make fuzz TARGET=topic (there are: {', '.join(known)})", 2)
    if not options["seconds"].isdecimal():
        raise Refusal(f"the seconds to run for are a whole number, got: {options['seconds']}", 2)
    corpus, artifacts = FUZZ / "corpus" / target, FUZZ / "artifacts" / target
    # What is new goes into the first folder.
    inputs = [corpus, FUZZ / "seeds" / target]
    is_script = known[target].suffix == ".py"
    command, variables = _script(known[target], inputs) if is_script else _program(target, inputs)
    for folder in (corpus, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={options['seconds']}", f"-timeout={INPUT_SECONDS_MAX}", "-print_final_stats=1"]
    limits.append(f"-artifact_prefix={artifacts}{os.sep}")
    steps.run(f"fuzzing {target}", [*command, *limits], environment=variables)


def _program(target: str, inputs: Sequence[Path]) -> tuple[list[str | Path], dict[str, str]]:
    """Return the command that builds and runs a program, and its variables."""
    toolchain.require_rust()
    if shutil.which("cargo-fuzz") is None:
        raise Refusal("cargo-fuzz was not found: run cargo install cargo-fuzz (it needs a C++ compiler too)", MISSING)
    # The parsers have no unsafe code for an address sanitizer to watch, and without one stable Rust is enough.
    command: list[str | Path] = ["cargo", "fuzz", "run", "--fuzz-dir", FUZZ, "--sanitizer", "none", target]
    words = FUZZ / "dictionaries" / f"{target}.dict"
    return [*command, *inputs, "--", f"-dict={words}"], {**os.environ, "CARGO_TARGET_DIR": str(target_folder("fuzz"))}


def _script(script: Path, inputs: Sequence[Path]) -> tuple[list[str | Path], dict[str, str]]:
    """Return the command that runs a script, and its variables."""
    environment = Environment()
    environment.prepare(optional=["fuzz"])
    if steps.output([environment.python, "-c", "import atheris"]) is None:
        raise Refusal(
            "atheris is not in .venv and could not be installed: it is made for Linux and CPython 3.11 to 3.13", MISSING
        )
    package = _instrumented_package(environment)
    return [environment.python, script, *inputs], environment.variables(PYTHONPATH=str(package))


def _instrumented_package(environment: Environment) -> Path:
    """Build the extension module so that it reports what it runs, and return the folder of a package that has it."""
    toolchain.require_linker()
    built = target_folder("fuzz-extension")
    passes = ["level=4", "inline-8bit-counters", "pc-table", "trace-compares"]
    flags = ["-Cpasses=sancov-module", *(f"-Cllvm-args=-sanitizer-coverage-{each}" for each in passes)]
    host = _host()
    # With a target named, what runs while building gets no counters.
    command = ["cargo", "build", "--release", "--locked", "--package", "chronofabric-python", "--target", host]
    steps.run(
        "building the extension module with counters",
        [*command, "--config", "profile.release.lto=false"],
        environment=environment.variables(
            CARGO_TARGET_DIR=str(built), RUSTFLAGS=" ".join([*flags, "-Cdebug-assertions", "-Ccodegen-units=1"])
        ),
    )
    folder = built / "package"
    remove([folder])
    copied = folder / PACKAGE.name
    shutil.copytree(PROJECT / PACKAGE, copied, ignore=shutil.ignore_patterns("_core*.so", "__pycache__"))
    shutil.copyfile(built / host / "release" / "lib_core.so", copied / "_core.abi3.so")
    return folder


def sanitize(words: Sequence[str]) -> None:
    """Run the tests of the crates with unsafe code under Miri, ThreadSanitizer, or both, by a nightly Rust."""
    chosen = _options(words, {"with": "miri,thread"})["with"].split(",")
    unknown = [name for name in chosen if name not in SANITIZERS]
    if unknown:
        raise Refusal(f"there is no sanitizer {unknown[0]!r}; there are: {', '.join(SANITIZERS)}", 2)
    _require_nightly(sorted({component for name in chosen for component in SANITIZERS[name][0]}))
    for name in chosen:
        _, run = SANITIZERS[name]
        run()


def _miri() -> None:
    """Interpret the tests, which shows undefined behaviour, races, weak memory and leaks; properties get few cases."""
    variables = {**os.environ, "CARGO_TARGET_DIR": str(target_folder("miri"))}
    # Tests read real clocks, and files.
    variables |= {"MIRIFLAGS": "-Zmiri-disable-isolation", "PROPTEST_CASES": str(MIRI_CASES)}
    command = ["cargo", "+nightly", "miri", "test", "--locked", *_packages(), "--lib"]
    steps.run("tests under Miri", command, environment=variables)


def _thread() -> None:
    """Watch every access of the tests, and of a standard library built for it, for data races."""
    variables = {**os.environ, "CARGO_TARGET_DIR": str(target_folder("thread-sanitizer"))}
    variables["RUSTFLAGS"] = "-Zsanitizer=thread"
    command = ["cargo", "+nightly", "test", "-Zbuild-std", "--target", _host(), "--locked", *_packages(), "--tests"]
    # One test at a time: a process that one of them starts holds the locks of files that others have open.
    steps.run("tests under ThreadSanitizer", [*command, "--", "--test-threads=1"], environment=variables)


SANITIZERS = {"miri": (("miri", "rust-src"), _miri), "thread": (("rust-src",), _thread)}
"""For each, the components of a nightly Rust that it needs, and what runs it."""


def platforms(words: Sequence[str]) -> None:
    """Have clippy check the Rust code as it is on other systems; every one that rustup has is looked at."""
    _options(words, {})
    toolchain.require_rust()
    installed = (steps.output(["rustup", "target", "list", "--installed"]) or "").split()
    missing = [name for name in PLATFORMS if name not in installed]
    advice = f"run: rustup target add {' '.join(missing)}"
    if len(missing) == len(PLATFORMS):
        raise Refusal(f"Rust has no other platform on this machine; {advice}", MISSING)
    if missing:
        steps.say(f"skipped: {', '.join(missing)}; {advice}")
    variables = {**os.environ, "CARGO_TARGET_DIR": str(target_folder("platforms"))}
    # No Python of those systems is here. The stable ABI needs none, and an extension module is not linked to it.
    variables |= {"PYO3_NO_PYTHON": "1", "PYO3_BUILD_EXTENSION_MODULE": "1"}
    command = ["cargo", "clippy", "--workspace", "--locked"]
    failed = [
        name
        for name in PLATFORMS
        if name not in missing
        and steps.run(
            f"clippy for {name}",
            [*command, "--target", name, "--", "-D", "warnings"],
            environment=variables,
            may_fail=True,
        )
    ]
    if failed:
        raise Refusal(f"these platforms failed: {', '.join(failed)}")


def _require_nightly(components: Sequence[str]) -> None:
    """Refuse, naming what is missing, unless there is a nightly Rust with these components."""
    if shutil.which("rustup") is None:
        raise Refusal(f"rustup was not found, through which a nightly Rust is chosen: {toolchain.RUST_ADVICE}", MISSING)
    root = steps.output(["rustup", "run", "nightly", "rustc", "--print", "sysroot"])
    if root is None:
        missing = ["toolchain", *components]
    else:
        sources = Path(root.strip(), "lib", "rustlib", "src", "rust", "library")
        there = {
            "miri": steps.output(["rustup", "run", "nightly", "cargo", "miri", "--version"]) is not None,
            "rust-src": sources.is_dir(),
        }
        missing = [component for component in components if not there[component]]
    if missing:
        advice = f"{NIGHTLY_ADVICE} {','.join(components)}"
        raise Refusal(f"this machine has no {', no '.join(missing)} of a nightly Rust; run: {advice}", MISSING)


def _packages() -> list[str]:
    return [word for crate in UNSAFE_CRATES for word in ("--package", f"chronofabric-{crate}")]


def _host() -> str:
    """Return the name that Rust has for this platform."""
    said = steps.output(["rustc", "-vV"]) or ""
    for line in said.splitlines():
        if line.startswith("host: "):
            return line.removeprefix("host: ")
    raise Refusal(f"rustc -vV did not name this platform; {toolchain.RUST_ADVICE}")


def _options(words: Sequence[str], defaults: dict[str, str]) -> dict[str, str]:
    """Return the options given as `--name=value`, those given without a value by their defaults."""
    options = dict(defaults)
    for word in words:
        name, sign, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not sign or name not in defaults:
            known = ", ".join(f"--{each}=..." for each in defaults) or "no options"
            raise Refusal(f"takes {known}, got: {word}", 2)
        options[name] = value or defaults[name]
    return options
