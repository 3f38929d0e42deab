"""The project's own environment: `.venv`, the packages in it, and the extension module built into it.

Whether something must be done again is decided by hashes of contents (of requirements, of Rust sources), kept in
`.venv/chronofabric.json`. Times of files do not matter: a fresh clone or a switched branch changes them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools import steps, toolchain
from tools.steps import PROJECT, Refusal, say

PACKAGE = Path("python", "chronofabric")


class Environment:
    """The virtual environment of one checkout and what was put into it."""

    def __init__(self, project: Path = PROJECT) -> None:
        self.project = project
        self.folder = project / ".venv"
        self.scripts = self.folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.scripts / ("python.exe" if os.name == "nt" else "python")
        self._stamp_file = self.folder / "chronofabric.json"

    # Set-up -------------------------------------------------------------------------------------------------------

    def prepare(self, *extras: str, optional: Iterable[str] = ()) -> None:
        """Bring the environment up to date: packages of the named extras, and the extension in its release build.

        What cannot be installed of the `optional` extras is named and left out.
        """
        rust = toolchain.require_rust(self.project)
        self._make()
        say(f"set-up: Rust {rust}, .venv has Python {self._python_version()}")
        self._install(["build", "runtime", *extras])
        for extra in optional:
            self._install_each(extra)
        self._build(rust)

    def run(self, what: str, *words: str | Path) -> None:
        """Run a command with this environment's Python: `run("tests", "-m", "pytest")`."""
        steps.run(what, [self.python, *words], environment=self.variables())

    def script(self, name: str) -> Path:
        """Return the path of a console script of this environment."""
        return self.scripts / (f"{name}.exe" if os.name == "nt" else name)

    def variables(self, target: str | None = None, **changes: str) -> dict[str, str]:
        """Return the variables for a command; with `target`, those that cargo needs for that folder."""
        variables = dict(os.environ)
        variables.pop("PYTHONHOME", None)
        variables["VIRTUAL_ENV"] = str(self.folder)
        variables["PATH"] = f"{self.scripts}{os.pathsep}{variables.get('PATH', '')}"
        variables["PYO3_PYTHON"] = str(self.python)
        if target is not None:
            variables["CARGO_TARGET_DIR"] = str(target_folder(target, self.project))
        variables.update(changes)
        return variables

    # The virtual environment --------------------------------------------------------------------------------------

    def _make(self) -> None:
        if steps.output([self.python, "-m", "pip", "--version"]) is not None:
            return
        say("making .venv")
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(self.folder)], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise Refusal(
                f"{sys.executable} could not make a virtual environment: install its venv module "
                "(Debian and Ubuntu: apt-get install python3-venv)"
            )

    def _python_version(self) -> str:
        printed = steps.output([self.python, "-c", "import platform; print(platform.python_version())"])
        return printed.strip() if printed else "of an unknown version"

    # Packages -----------------------------------------------------------------------------------------------------

    def _install(self, groups: Iterable[str]) -> None:
        wanted = {group: requirements(group, self.project) for group in groups}
        stamp = self._read_stamp()
        installed = stamp.setdefault("packages", {})
        missing = [group for group, lines in wanted.items() if installed.get(group) != digest_of_lines(lines)]
        if not missing:
            return
        lines = [line for group in missing for line in wanted[group]]
        if self._pip(f"installing the packages of: {', '.join(missing)}", lines) != 0:
            raise Refusal("pip could not install the packages above: is the package index reachable?")
        installed.update({group: digest_of_lines(wanted[group]) for group in missing})
        self._write_stamp(stamp)

    def _install_each(self, extra: str) -> None:
        """Install an extra as a whole, or, where that fails, what can be installed of it."""
        lines = requirements(extra, self.project)
        stamp = self._read_stamp()
        installed = stamp.setdefault("packages", {})
        if installed.get(extra) == digest_of_lines(lines):
            return
        if self._pip(f"installing the packages of: {extra} (optional)", lines) != 0:
            absent = [line for line in lines if self._pip(f"installing {line} (optional)", [line]) != 0]
            say(f"not installable here, what needs them is skipped: {', '.join(absent) or 'none'}")
        installed[extra] = digest_of_lines(lines)
        self._write_stamp(stamp)

    def _pip(self, what: str, lines: list[str]) -> int:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *lines]
        return steps.run(what, command, environment=self.variables(), may_fail=True, show=False)

    # The extension module -----------------------------------------------------------------------------------------

    def _build(self, rust: str) -> None:
        sources = digest_of_files(rust_sources(self.project), self.project, rust, str(self.python))
        stamp = self._read_stamp()
        built = self._extension_file()
        if built is not None and stamp.get("extension") == {"sources": sources, "file": _digest(built.read_bytes())}:
            return
        toolchain.require_linker()
        steps.run(
            "building the extension, release profile (minutes the first time)",
            [self.python, "-m", "maturin", "develop", "--release", "--locked"],
            environment=self.variables("maturin", PIP_QUIET="1"),
        )
        built = self._extension_file()
        if built is None:
            raise Refusal(f"maturin ended well but left no extension module in {PACKAGE}")
        stamp["extension"] = {"sources": sources, "file": _digest(built.read_bytes())}
        self._write_stamp(stamp)

    def _extension_file(self) -> Path | None:
        """Return the file that this environment's interpreter would import, if there is one.

        Others may lie beside it: one for the stable ABI, and one for each free-threaded version that was built for.
        """
        printed = steps.output([self.python, "-c", "import importlib.machinery as m; print(*m.EXTENSION_SUFFIXES)"])
        files = (self.project / PACKAGE / f"_core{suffix}" for suffix in (printed or "").split())
        return next((file for file in files if file.is_file()), None)

    # The stamp ----------------------------------------------------------------------------------------------------

    def _read_stamp(self) -> dict[str, dict[str, str]]:
        try:
            stamp = json.loads(self._stamp_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def _write_stamp(self, stamp: dict[str, dict[str, str]]) -> None:
        self._stamp_file.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def requirements(group: str, project: Path = PROJECT) -> list[str]:
    """Return the requirement lines of `build`, `runtime` or an extra, as pyproject.toml has them."""
    configuration = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    if group == "build":
        return list(configuration["build-system"]["requires"])
    if group == "runtime":
        return list(configuration["project"]["dependencies"])
    return list(configuration["project"]["optional-dependencies"][group])


def rust_sources(project: Path = PROJECT) -> Iterator[Path]:
    """Yield every file that the extension module is built from, in a fixed order."""
    yield from (project / name for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml"))
    for crate in sorted((project / "rust").iterdir()):
        for file in (crate / "Cargo.toml", crate / "build.rs"):
            if file.is_file():
                yield file
        yield from sorted(file for file in (crate / "src").rglob("*") if file.is_file())


def digest_of_files(files: Iterable[Path], project: Path, *also: str) -> str:
    """Return one digest over the names and contents of files; of pyproject.toml only what a build reads counts."""
    digest = hashlib.sha256()
    for word in also:
        digest.update(word.encode() + b"\0")
    for file in files:
        content = file.read_bytes()
        if file.name == "pyproject.toml":
            content = _build_part(content)
        digest.update(file.relative_to(project).as_posix().encode() + b"\0")
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def digest_of_lines(lines: Iterable[str]) -> str:
    """Return a digest of requirement lines, whatever their order."""
    return _digest("\n".join(sorted(lines)).encode())


def extension_files(project: Path = PROJECT) -> list[Path]:
    """Return the extension modules that were built, whatever for."""
    return [file for pattern in ("_core*.so", "_core*.pyd") for file in (project / PACKAGE).glob(pattern)]


def target_folder(name: str, project: Path = PROJECT) -> Path:
    """Return cargo's target folder for one purpose; apart from one another, so that none undoes another's work."""
    chosen = os.environ.get("CARGO_TARGET_DIR")
    if chosen:
        return Path(chosen).resolve() / name
    cache = user_cache_folder()
    root = cache / "chronofabric" / "target" if cache is not None else project / "target"
    return root / name


def user_cache_folder() -> Path | None:
    """Return the folder where this platform keeps caches, if it exists."""
    if os.name == "nt":
        named = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        named = str(Path.home() / "Library" / "Caches")
    else:
        named = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named and Path(named).is_dir() else None


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders that exist, naming each."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            say(f"removing {path}")
            shutil.rmtree(path)
        elif path.exists():
            say(f"removing {path}")
            path.unlink()


def _build_part(pyproject: bytes) -> bytes:
    configuration = tomllib.loads(pyproject.decode())
    project = {key: value for key, value in configuration.get("project", {}).items() if key != "optional-dependencies"}
    read = {
        "build-system": configuration.get("build-system"),
        "project": project,
        "maturin": configuration.get("tool", {}).get("maturin"),
    }
    return json.dumps(read, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
