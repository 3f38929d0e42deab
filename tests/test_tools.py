"""The project's own commands: what they say when something is missing, and when they do nothing again."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools import checks, environment, faults, python_problem, toolchain
from tools.environment import Environment
from tools.steps import Refusal

PROJECT = Path(__file__).resolve().parent.parent
SUFFIXES = 'case "$*" in *EXTENSION_SUFFIXES*) echo .cpython-311.so .abi3.so .so;; esac'

posix = pytest.mark.skipif(os.name == "nt", reason="the programs put on PATH here are shell scripts")


def program(folder: Path, name: str, *lines: str) -> None:
    """Write an executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def rust(folder: Path, version: str, *, links: bool = True) -> None:
    program(folder, "cargo", f"echo cargo {version}")
    compile_it = "exit 0" if links else "echo 'error: linker `cc` not found' >&2; exit 1"
    program(
        folder, "rustc", f'[ "$1" = --version ] && echo "rustc {version} (0123456 2026-01-01)" && exit 0', compile_it
    )


def command(*words: str, path: Path, project: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run `python -m tools.dev` with nothing but one folder on PATH."""
    variables = {**os.environ, "PATH": str(path)}
    return subprocess.run(
        [sys.executable, "-m", "tools.dev", *words],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def one_sentence(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Return a small copy of what the set-up reads."""
    for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    source = tmp_path / "rust" / "clock" / "src"
    source.mkdir(parents=True)
    (source / "lib.rs").write_text("//! A clock.\n", encoding="utf-8")
    (source.parent / "Cargo.toml").write_text("[package]\n", encoding="utf-8")
    (tmp_path / "python" / "chronofabric").mkdir(parents=True)
    return tmp_path


# What is missing ------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name", ["demo", "test", "lint", "coverage", "docs", "wheel", "bench", "compare", "setup"])
def test_without_cargo_every_command_says_in_one_sentence_what_to_install(tmp_path, name):
    finished = command(name, path=tmp_path)
    assert finished.returncode == 1
    said = one_sentence(finished.stderr)
    assert said.startswith(f"{name}: cargo was not found")
    assert "https://rustup.rs" in said


@posix
def test_an_old_rust_is_refused_with_both_versions(tmp_path):
    rust(tmp_path, "1.60.0")
    finished = command("test", path=tmp_path)
    assert finished.returncode == 1
    said = one_sentence(finished.stderr)
    assert "Rust 1.60.0 is too old" in said
    assert ".".join(map(str, toolchain.rust_version_required())) in said
    assert "rustup update" in said


@posix
def test_a_rust_that_does_not_answer_is_refused_with_what_it_said(tmp_path, monkeypatch):
    program(tmp_path, "cargo", "exit 0")
    program(tmp_path, "rustc", "echo 'no default toolchain configured' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="no default toolchain configured"):
        toolchain.require_rust()


@posix
def test_the_version_that_is_asked_for_is_new_enough(tmp_path, monkeypatch):
    required = ".".join(map(str, toolchain.rust_version_required()))
    rust(tmp_path, f"{required}.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.require_rust() == f"{required}.0"


@posix
def test_without_a_compiler_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    rust(tmp_path, "1.95.0", links=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal) as refused:
        toolchain.require_linker()
    assert "no working C compiler and linker were found (linker `cc` not found)" in str(refused.value)
    assert "install" in str(refused.value)
    assert refused.value.code == 1


def test_the_compiler_of_this_machine_is_accepted():
    toolchain.require_linker()


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 8, 10), (3, 10, 99)])
def test_an_old_python_is_named_with_what_is_needed(version):
    problem = python_problem(version)
    assert problem is not None
    assert "{}.{} is too old".format(*version) in problem
    assert "3.11" in problem


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 1), (4, 0, 0)])
def test_a_new_python_is_accepted(version):
    assert python_problem(version) is None


def test_an_old_python_ends_the_command_with_one_sentence():
    old = "import sys; sys.version_info = (3, 9, 2, 'final', 0)"
    code = f"{old}; import runpy; runpy.run_module('tools.dev', run_name='__main__')"
    finished = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "Python 3.9 is too old" in one_sentence(finished.stderr)


def test_the_file_that_an_old_python_reads_has_no_syntax_newer_than_it():
    text = (PROJECT / "tools" / "__init__.py").read_text(encoding="utf-8")
    assert ast.parse(text, feature_version=(3, 4)).body


def test_an_unknown_command_names_those_there_are(tmp_path):
    finished = command("tset", path=tmp_path)
    assert finished.returncode == 2
    assert "demo, test, lint" in one_sentence(finished.stderr)


def test_the_help_names_every_command(tmp_path):
    finished = command("help", path=tmp_path)
    assert finished.returncode == 0
    for name in ("demo", "test", "bench", "compare", "proof", "fuzz", "sanitize", "lint", "coverage", "help"):
        assert f"\n  {name} " in finished.stdout


def test_a_proof_without_a_concern_names_those_there_are(tmp_path):
    finished = command("proof", "--concern=", path=tmp_path)
    assert finished.returncode == 2
    assert "bus, clock" in one_sentence(finished.stderr)
    assert {"bus", "clock", "logic"} <= set(checks.concerns())


@posix
def test_fuzzing_without_cargo_fuzz_says_what_to_install(tmp_path):
    rust(tmp_path, "1.95.0")
    finished = command("fuzz", "--target=topic", path=tmp_path)
    assert finished.returncode == faults.MISSING
    assert one_sentence(finished.stderr).startswith("fuzz: cargo-fuzz was not found: run cargo install cargo-fuzz")


@posix
def test_a_fuzz_target_is_run_for_its_seconds_with_its_seeds_and_its_dictionary(tmp_path, monkeypatch):
    log = tmp_path / "calls"
    rust(tmp_path, "1.95.0")
    program(tmp_path, "cargo", f'echo "$*" >> {log}')
    program(tmp_path, "cargo-fuzz")
    monkeypatch.setattr(faults, "FUZZ", tmp_path / "fuzz")
    (tmp_path / "fuzz" / "fuzz_targets").mkdir(parents=True)
    (tmp_path / "fuzz" / "fuzz_targets" / "topic.rs").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    faults.fuzz(["--target=topic", "--seconds=7"])
    spoken = log.read_text(encoding="utf-8")
    assert spoken.startswith("fuzz run ")
    for word in ("topic", "corpus/topic", "seeds/topic", "-max_total_time=7", "dictionaries/topic.dict"):
        assert word in spoken


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "configuration, expression, formula, pattern, topic"),
        (["--target=none"], "make fuzz TARGET=topic"),
        (["--target=topic", "--seconds=soon"], "a whole number, got: soon"),
        (["topic"], "takes --target=..., --seconds=..., got: topic"),
    ],
)
def test_a_fuzz_target_that_is_none_is_refused_with_those_there_are(words, said):
    with pytest.raises(Refusal, match=re.escape(said)) as refused:
        faults.fuzz(words)
    assert refused.value.code == 2


def test_every_fuzz_target_has_seeds_and_every_program_is_built():
    built = tomllib.loads((faults.FUZZ / "Cargo.toml").read_text(encoding="utf-8"))["bin"]
    assert {each["name"] for each in built} == {name for name, file in faults.targets().items() if file.suffix == ".rs"}
    for name in faults.targets():
        assert len(list((faults.FUZZ / "seeds" / name).iterdir())) >= 10


def test_the_workflow_runs_every_fuzz_target_and_every_sanitizer():
    workflow = (PROJECT / ".github" / "workflows" / "proof.yml").read_text(encoding="utf-8")
    listed = {name: set(values.split(", ")) for name, values in re.findall(r"(\w+): \[(.+)\]", workflow)}
    assert listed["target"] == set(faults.targets())
    assert listed["sanitizer"] == set(faults.SANITIZERS)


@posix
@pytest.mark.parametrize(
    ("programs", "missing"),
    [
        ({}, "rustup was not found"),
        (
            {"rustup": "exit 1"},
            "no toolchain, no miri, no rust-src of a nightly Rust; run: rustup toolchain install nightly",
        ),
        ({"rustup": '[ "$3" = rustc ] && echo /nowhere'}, "no miri, no rust-src of a nightly Rust"),
        ({"rustup": '[ "$3" = rustc ] && echo /nowhere || exit 0'}, "has no rust-src of a nightly Rust"),
    ],
)
def test_without_a_nightly_rust_the_sanitizers_say_what_is_missing(tmp_path, programs, missing):
    for name, line in programs.items():
        program(tmp_path, name, line)
    finished = command("sanitize", "--with=thread,miri", path=tmp_path)
    assert finished.returncode == faults.MISSING
    said = one_sentence(finished.stderr)
    assert missing in said


def test_an_unknown_sanitizer_is_refused_with_those_there_are():
    with pytest.raises(Refusal, match="miri, thread") as refused:
        faults.sanitize(["--with=address"])
    assert refused.value.code == 2


def test_the_workflow_checks_every_platform():
    workflow = (PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    added = re.search(r"rustup target add\s+((?:[\w-]+\n\s+)+)-", workflow)
    assert added
    assert tuple(added[1].split()) == faults.PLATFORMS


@posix
def test_platforms_that_rust_has_are_checked_and_the_others_named(tmp_path):
    rust(tmp_path, "1.95.0")
    first, *others = faults.PLATFORMS
    program(tmp_path, "rustup", f'[ "$*" = "target list --installed" ] && echo {first}')
    program(tmp_path, "cargo", 'echo "$PYO3_NO_PYTHON $*"')
    finished = command("platforms", path=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert f"skipped: {', '.join(others)}; run: rustup target add {' '.join(others)}" in finished.stdout
    assert f"1 clippy --workspace --locked --target {first} -- -D warnings" in finished.stdout
    assert not any(f"--target {other}" in finished.stdout for other in others)


@posix
def test_a_platform_that_fails_is_named_after_the_others_were_checked(tmp_path):
    rust(tmp_path, "1.95.0")
    first, second, *_ = faults.PLATFORMS
    program(tmp_path, "rustup", f"echo {first} {second}")
    program(tmp_path, "cargo", f'case "$*" in *{first}*) exit 101;; *) echo checked "$*";; esac')
    finished = command("platforms", path=tmp_path)
    assert finished.returncode == 1
    assert f"--target {second}" in finished.stdout
    assert one_sentence(finished.stderr) == f"platforms: these platforms failed: {first}"


@posix
def test_without_another_platform_it_is_said_how_to_add_them(tmp_path):
    rust(tmp_path, "1.95.0")
    finished = command("platforms", path=tmp_path)
    assert finished.returncode == faults.MISSING
    assert one_sentence(finished.stderr).endswith(f"run: rustup target add {' '.join(faults.PLATFORMS)}")


# When nothing is done again -------------------------------------------------------------------------------------------


def digest(checkout: Path, *also: str) -> str:
    return environment.digest_of_files(environment.rust_sources(checkout), checkout, *also)


def test_the_digest_of_sources_ignores_the_times_of_files(checkout):
    before = digest(checkout)
    for file in checkout.rglob("*"):
        os.utime(file, (1, 1))
    assert digest(checkout) == before


@pytest.mark.parametrize("name", ["Cargo.toml", "Cargo.lock", "rust/clock/src/lib.rs", "rust/clock/Cargo.toml"])
def test_the_digest_of_sources_changes_with_a_source(checkout, name):
    before = digest(checkout)
    with (checkout / name).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    assert digest(checkout) != before


def test_the_digest_of_sources_changes_with_a_new_file_and_with_the_compiler(checkout):
    before = digest(checkout, "1.95.0")
    assert digest(checkout, "1.96.0") != before
    (checkout / "rust" / "clock" / "src" / "new.rs").write_text("", encoding="utf-8")
    assert digest(checkout, "1.95.0") != before


def test_of_pyproject_only_what_a_build_reads_counts(checkout):
    file = checkout / "pyproject.toml"
    before, text = digest(checkout), file.read_text(encoding="utf-8")
    file.write_text(text.replace("line-length = 120", "line-length = 100"), encoding="utf-8")
    assert digest(checkout) == before
    file.write_text(text.replace("locked = true", "locked = false"), encoding="utf-8")
    assert digest(checkout) != before


def test_the_digest_of_requirements_ignores_their_order():
    assert environment.digest_of_lines(["a", "b"]) == environment.digest_of_lines(["b", "a"])
    assert environment.digest_of_lines(["a", "b"]) != environment.digest_of_lines(["a", "b>=2"])


def test_requirements_are_those_of_pyproject():
    assert any(line.startswith("maturin") for line in environment.requirements("build"))
    assert any(line.startswith("pyarrow") for line in environment.requirements("runtime"))
    assert any(line.startswith("pytest") for line in environment.requirements("test"))


@posix
def test_packages_and_extension_are_made_once_and_again_only_when_something_changed(
    checkout, tmp_path, monkeypatch, capfd
):
    tools = tmp_path / "tools-on-path"
    log = tmp_path / "calls"
    rust(tools, "1.95.0")
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    built = checkout / "python" / "chronofabric" / "_core.abi3.so"
    program(
        checkout / ".venv" / "bin",
        "python",
        f'echo "$*" >> {log}',
        f'[ "$2" = maturin ] && echo built > {built}',
        SUFFIXES,
        "exit 0",
    )

    def calls(*extras: str, optional: tuple[str, ...] = ()) -> list[str]:
        log.unlink(missing_ok=True)
        Environment(checkout).prepare(*extras, optional=optional)
        spoken = log.read_text(encoding="utf-8").splitlines()
        return [word for line in spoken for word in ("pip install", "maturin develop") if word in line]

    assert calls("test", optional=("oracles",)) == ["pip install", "pip install", "maturin develop"]
    assert calls("test", optional=("oracles",)) == []
    assert calls("lint") == ["pip install"]
    assert calls("test", "lint") == []

    (checkout / "rust" / "clock" / "src" / "lib.rs").write_text("//! Another clock.\n", encoding="utf-8")
    assert calls("test") == ["maturin develop"]
    assert calls("test") == []

    built.write_text("a debug build made by hand", encoding="utf-8")
    assert calls("test") == ["maturin develop"]

    beside = built.with_name("_core.cpython-314t-x86_64-linux-gnu.so")
    beside.write_text("for an interpreter of another environment", encoding="utf-8")
    assert calls("test") == []
    assert set(environment.extension_files(checkout)) == {built, beside}

    built.with_name("_core.cpython-311.so").write_text("comes before that of the stable ABI", encoding="utf-8")
    assert calls("test") == ["maturin develop"]
    assert "building the extension" in capfd.readouterr().out


@posix
def test_what_cannot_be_installed_of_an_optional_extra_is_named(checkout, tmp_path, monkeypatch, capfd):
    tools = tmp_path / "tools-on-path"
    rust(tools, "1.95.0")
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    built = checkout / "python" / "chronofabric" / "_core.abi3.so"
    program(
        checkout / ".venv" / "bin",
        "python",
        'case "$*" in *"pip install"*duckdb*) exit 1;; esac',
        f'[ "$2" = maturin ] && echo built > {built}',
        SUFFIXES,
        "exit 0",
    )
    Environment(checkout).prepare("test", optional=["oracles"])
    printed = capfd.readouterr().out
    absent = next(line for line in printed.splitlines() if "not installable here" in line)
    assert "duckdb" in absent
    assert "pandas" not in absent


def test_cargo_builds_for_different_purposes_in_different_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path))
    folders = {environment.target_folder(name) for name in ("maturin", "tests", "loom")}
    assert len(folders) == 3
    assert {folder.parent for folder in folders} == {tmp_path.resolve()}


@posix
def test_without_a_cache_folder_cargo_builds_in_the_project(tmp_path, monkeypatch):
    monkeypatch.delenv("CARGO_TARGET_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "absent"))
    monkeypatch.setenv("HOME", str(tmp_path / "absent"))
    assert environment.target_folder("tests", tmp_path) == tmp_path / "target" / "tests"


def test_cargo_is_told_which_python_to_use():
    variables = Environment().variables("tests")
    assert variables["PYO3_PYTHON"] == str(Environment().python)
    assert Path(variables["CARGO_TARGET_DIR"]).name == "tests"
