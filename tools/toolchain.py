"""What must be on the machine before anything can be built: Rust new enough, and a linker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from tools.steps import PROJECT, Refusal

RUST_ADVICE = "install Rust from https://rustup.rs, or run: rustup update stable"


def rust_version_required(project: Path = PROJECT) -> tuple[int, ...]:
    """Return the `rust-version` that Cargo.toml states."""
    manifest = tomllib.loads((project / "Cargo.toml").read_text(encoding="utf-8"))
    return _numbers(manifest["workspace"]["package"]["rust-version"])


def rust_version_found() -> tuple[int, ...]:
    """Return the version of the rustc on PATH; refuse when cargo or rustc is missing."""
    for name in ("cargo", "rustc"):
        if shutil.which(name) is None:
            raise Refusal(f"{name} was not found: chronofabric is built with Rust; {RUST_ADVICE}")
    found = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"rustc (\d+(?:\.\d+)+)", found.stdout)
    if match is None:
        said = (found.stderr or found.stdout).strip().splitlines()
        raise Refusal(f"rustc --version did not answer ({said[0] if said else 'no output'}); {RUST_ADVICE}")
    return _numbers(match[1])


def require_rust(project: Path = PROJECT) -> str:
    """Return the Rust version as text; refuse one that is older than Cargo.toml states."""
    required, found = rust_version_required(project), rust_version_found()
    if found < required:
        raise Refusal(
            f"Rust {_dotted(found)} is too old: chronofabric needs {_dotted(required)} or newer; {RUST_ADVICE}"
        )
    return _dotted(found)


def require_linker() -> None:
    """Link an empty program; refuse with what to install when that does not work."""
    with tempfile.TemporaryDirectory(prefix="chronofabric-") as folder:
        source = Path(folder, "probe.rs")
        source.write_text("fn main() {}\n", encoding="utf-8")
        probe = subprocess.run(
            ["rustc", "--crate-name", "probe", "--out-dir", folder, str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
    if probe.returncode != 0:
        errors = [line for line in probe.stderr.splitlines() if line.startswith("error")]
        reason = errors[0].removeprefix("error: ") if errors else "rustc gave no reason"
        raise Refusal(f"no working C compiler and linker were found ({reason}): {_compiler_advice()}")


def _compiler_advice() -> str:
    if os.name == "nt":
        return "install the 'Desktop development with C++' workload of the Visual Studio Build Tools"
    if shutil.which("xcode-select"):
        return "run: xcode-select --install"
    return "install gcc or clang with the C library's headers (Debian and Ubuntu: apt-get install build-essential)"


def _numbers(dotted: str) -> tuple[int, ...]:
    return tuple(int(part) for part in dotted.split("."))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
