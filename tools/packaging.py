"""The commands that make what others get: docs and wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools import steps
from tools.environment import Environment, remove
from tools.steps import PROJECT, Refusal, say

WHEEL_BYTES_MAX = 15_000_000
MARKS = ("chronofabric/py.typed", "chronofabric/_core/bus.pyi", "chronofabric/apps/host_guard.toml", "METADATA")
"""What a wheel must have beside modules: each is the end of a name in it."""
SOURCES = ("Cargo.lock", "pyproject.toml", "LICENSE-MIT", "LICENSE-APACHE", "rust/python/src/lib.rs", "README.md")
"""What a source distribution must have to be built."""


def docs(words: Sequence[str]) -> None:
    """Build the site of the documentation; words go to sphinx."""
    environment = Environment()
    environment.prepare("docs")
    site = PROJECT / "build" / "docs"
    environment.run("site", "-m", "sphinx", "-W", "--keep-going", "-q", PROJECT / "docs", site, *words)
    say(f"the site begins at {site / 'index.html'}")


def wheel(words: Sequence[str]) -> None:
    """Build wheel and source distribution; check them, install each into an empty environment, and run it there."""
    if words:
        raise Refusal(f"takes no options, got: {' '.join(words)}", 2)
    environment = Environment()
    environment.prepare("package")
    folder = PROJECT / "dist"
    remove([folder])
    build = environment.variables("maturin")
    maturin: list[str | Path] = [environment.python, "-m", "maturin"]
    steps.run("source distribution", [*maturin, "sdist", "--out", folder], environment=build)
    steps.run("wheel", [*maturin, "build", "--release", "--locked", "--out", folder], environment=build)
    built, source = next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))
    check_wheel(built)
    check_source(source)
    environment.run("metadata", "-m", "twine", "check", "--strict", built, source)
    environment.run("contents of the wheel", "-m", "check_wheel_contents", built)
    with tempfile.TemporaryDirectory(prefix="chronofabric-") as name:
        try_wheel(built, Path(name, "wheel"))
        try_source(source, Path(name, "sdist"), build)
    say(f"{built.name}: {built.stat().st_size / 1e6:.1f} MB; {source.name}: {source.stat().st_size / 1e6:.1f} MB")


def check_wheel(file: Path) -> None:
    """Refuse a wheel that is too large, misses something, or holds something strange."""
    size = file.stat().st_size
    if size >= WHEEL_BYTES_MAX:
        raise Refusal(f"{file.name} has {size:,} bytes; it must have less than {WHEEL_BYTES_MAX:,}")
    with zipfile.ZipFile(file) as archive:
        _check_names(file, archive.namelist(), MARKS)
        strange = [name for name in archive.namelist() if not name.startswith("chronofabric")]
    if strange:
        raise Refusal(f"{file.name} holds what is not of the package: {', '.join(strange)}")


def check_source(file: Path) -> None:
    """Refuse a source distribution that could not be built, or holds something strange."""
    with tarfile.open(file) as archive:
        _check_names(file, archive.getnames(), SOURCES)


def _check_names(file: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [each for each in wanted if not any(name.endswith(each) for name in names)]
    if missing:
        raise Refusal(f"{file.name} misses {', '.join(missing)}")
    strange = [name for name in names if "__pycache__" in name or name.endswith((".orig", ".rej", ".tmp", "~"))]
    if strange:
        raise Refusal(f"{file.name} holds leftovers: {', '.join(strange)}")


def try_wheel(file: Path, folder: Path) -> None:
    """Install a wheel where there is no Rust, and run the demonstration from there."""
    python = _empty_environment(folder)
    without_rust = {**_variables(), "PATH": os.pathsep.join(_folders_without("cargo", "rustc"))}
    steps.run("wheel, installed", [python, "-m", "pip", "install", "--quiet", file], environment=without_rust)
    command = python.parent / ("chronofabric.exe" if os.name == "nt" else "chronofabric")
    _outside("demo from the wheel", [command, "demo"], without_rust)


def try_source(file: Path, folder: Path, build: dict[str, str]) -> None:
    """Build a source distribution as pip does, and import it; cargo's folder is that of the wheel."""
    python = _empty_environment(folder)
    variables = {**_variables(), "CARGO_TARGET_DIR": build["CARGO_TARGET_DIR"]}
    steps.run("sdist, built", [python, "-m", "pip", "install", "--quiet", file], environment=variables)
    _outside("import from the sdist", [python, "-c", "import chronofabric; print(chronofabric.__file__)"], variables)


def _empty_environment(folder: Path) -> Path:
    steps.run("empty environment", [sys.executable, "-m", "venv", folder])
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _outside(what: str, command: Sequence[str | Path], variables: dict[str, str]) -> None:
    """Run a command in an empty folder, where nothing of this checkout can be imported."""
    say(what)
    with tempfile.TemporaryDirectory(prefix="chronofabric-") as folder:
        words = [str(word) for word in command]
        finished = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    print(finished.stdout, end="")
    if finished.returncode != 0:
        raise Refusal(f"{what}: exit status {finished.returncode}: {finished.stderr.strip()}")


def _variables() -> dict[str, str]:
    """Return the variables of this process without those that would show an environment or a package to another one."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYO3_PYTHON")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _folders_without(*programs: str) -> Iterator[str]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if not any(shutil.which(program, path=folder) for program in programs):
            yield folder
