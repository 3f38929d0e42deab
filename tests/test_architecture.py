"""The directions of import, of Python modules and of crates, as ARCHITECTURE.md draws them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "python" / "chronofabric"

# A module may import modules of lower ranks and of its own package; two concerns of one rank do not know each other.
RANKS = {
    "errors": 0,
    "duration": 1,
    "_core": 2,
    **dict.fromkeys(("bus", "clock", "logic", "optimize", "scheduler"), 3),
    "fabric": 4,
    "testing": 5,
    "apps": 5,
}
# The façade shows what users need of these; `python -m chronofabric` is the command line. What users' tests need is
# loaded when it is first looked at, and nothing of ours imports it.
FACADES = {"chronofabric": range(5), "chronofabric.__main__": range(6)}

CRATES = {
    "clock": set(),
    "logic": set(),
    "optimize": set(),
    "bus": {"clock"},
    "scheduler": {"clock"},
    "python": {"bus", "clock", "logic", "optimize", "scheduler"},
    "sim": {"clock"},
}
# The simulated world that tests run in: any crate may know it for its tests, and none for its work.
ONLY_IN_TESTS = {"sim"}
ONLY_IN_PYTHON_CRATE = {"numpy", "pyo3", "pyo3-arrow", "pyo3-async-runtimes"}

HEAVY = {
    *("asyncio", "duckdb", "numpy", "pandas", "polars", "psutil", "pyarrow", "pydantic", "pydantic_settings", "rich"),
    "typer",
}
NOT_WITH_THE_PACKAGE = HEAVY
NOT_WITH_THE_HELP = {"duckdb", "numpy", "pandas", "polars", "psutil", "pyarrow", "pydantic", "pydantic_settings"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(file): file for file in MODULES}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every module of this package that a file imports, wherever it does."""
    package = name_of(file) if file.name == "__init__.py" else name_of(file).rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "chronofabric")
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*above, origin]).rstrip(".")
            if origin.split(".")[0] != "chronofabric":
                continue
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield node.lineno, inner if inner in NAMES or origin == "chronofabric" else origin


def top_imports(nodes: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Yield line and first name of what is imported when a module is imported; blocks for type checkers are not."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, (node.module or "").split(".")[0]
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.dump(node.test):
                yield from top_imports(node.body)
            yield from top_imports(node.orelse)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from top_imports([*node.body, *handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from top_imports(node.body)


def room(module: str) -> str:
    """Return the part of the package a module belongs to: `fabric` of `chronofabric.fabric.sources.host`."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_module_imports_only_what_lies_below_it(file):
    module = name_of(file)
    wrong = []
    for line, imported in imports(file):
        if module in FACADES:
            allowed = room(imported) in RANKS and RANKS[room(imported)] in FACADES[module]
        else:
            assert room(module) in RANKS, f"{module} has no place in the architecture: give it a rank"
            same = room(imported) == room(module)
            allowed = same or (room(imported) in RANKS and RANKS[room(imported)] < RANKS[room(module)])
        # An app is a user: it may import the façade.
        if imported == "chronofabric" or room(imported) not in RANKS:
            allowed = room(module) == "apps"
        if not allowed:
            wrong.append(f"{file.relative_to(PROJECT)}:{line} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_errors_imports_nothing_of_the_package():
    assert list(imports(PACKAGE / "errors.py")) == []


def test_nothing_imports_what_users_tests_need():
    importing = {
        name
        for name, file in NAMES.items()
        if room(name) != "testing" and any(room(imported) == "testing" for _, imported in imports(file))
    }
    assert importing == set()


def test_the_modules_of_the_apps_import_one_another_in_one_direction():
    graph = {
        name_of(file): {imported for _, imported in imports(file) if room(imported) == "apps"} - {"chronofabric.apps"}
        for file in sorted((PACKAGE / "apps").rglob("*.py"))
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"apps import one another in a circle: {' <- '.join(error.args[1])}")
    assert "chronofabric.apps.cli" in order
    assert [name for name, imported in graph.items() if "chronofabric.apps.cli" in imported] == []


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_no_module_imports_a_heavy_package_when_it_is_imported(file):
    allowed = {"typer"} if room(name_of(file)) == "apps" else set()
    text = file.read_text(encoding="utf-8")
    # A module that is itself imported only where it is needed says so, with its reason, at the line.
    excused = {number for number, line in enumerate(text.splitlines(), 1) if "# noqa: TID253 - " in line}
    found = [
        f"line {line}: {name}"
        for line, name in top_imports(ast.parse(text).body)
        if name in HEAVY - allowed and line not in excused
    ]
    assert not found, f"import these in the function that needs them: {found}"


def modules_after(code: str, *arguments: str) -> set[str]:
    """Return the names of the modules that are loaded after running code in a fresh interpreter."""
    report = "\nimport sys, json; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "COV_"))}
    finished = subprocess.run(
        [sys.executable, "-c", code + report, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy():
    loaded = modules_after("import chronofabric")
    assert "chronofabric._core" in loaded
    assert loaded & NOT_WITH_THE_PACKAGE == set()


def test_the_help_of_the_command_line_loads_nothing_heavy():
    code = (
        "from chronofabric.apps.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    )
    loaded = modules_after(code, "--help")
    assert "chronofabric.apps.cli" in loaded
    assert loaded & NOT_WITH_THE_HELP == set()


# Crates ---------------------------------------------------------------------------------------------------------------


def manifest(crate: str) -> dict:
    return tomllib.loads((PROJECT / "rust" / crate / "Cargo.toml").read_text(encoding="utf-8"))


def dependencies(crate: str, *kinds: str) -> set[str]:
    """Return the real names of what a crate depends on, on any platform."""
    shared = tomllib.loads((PROJECT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["dependencies"]
    tables = [manifest(crate), *manifest(crate).get("target", {}).values()]
    found = set()
    for table in tables:
        for kind in kinds or ("dependencies", "dev-dependencies", "build-dependencies"):
            for name, value in table.get(kind, {}).items():
                entry = shared.get(name, value) if isinstance(value, dict) and value.get("workspace") else value
                found.add(entry.get("package", name) if isinstance(entry, dict) else name)
    return found


def test_every_crate_has_a_place_in_the_architecture():
    members = {path.parent.name for path in (PROJECT / "rust").glob("*/Cargo.toml")}
    assert members - {"fuzz"} == set(CRATES)


@pytest.mark.parametrize("crate", CRATES)
def test_a_crate_knows_only_the_crates_below_it(crate):
    def ours(*kinds: str) -> set[str]:
        known = dependencies(crate, *kinds)
        return {name.removeprefix("chronofabric-") for name in known if name.startswith("chronofabric-")}

    assert ours("dependencies", "build-dependencies") - CRATES[crate] == set()
    assert ours("dev-dependencies") - CRATES[crate] - ONLY_IN_TESTS == set()


@pytest.mark.parametrize("crate", sorted(set(CRATES) - {"python"}))
def test_python_and_arrow_are_known_to_the_binding_crate_alone(crate):
    known = dependencies(crate)
    assert known & ONLY_IN_PYTHON_CRATE == set()
    assert {name for name in known if name == "arrow" or name.startswith("arrow-")} == set()


def test_there_is_one_version_of_arrow():
    packages = tomllib.loads((PROJECT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    assert len([package["version"] for package in packages if package["name"] == "arrow-array"]) == 1


def test_every_crate_takes_the_shared_lints():
    assert [crate for crate in CRATES if manifest(crate).get("lints") != {"workspace": True}] == []


def test_only_crates_that_need_unsafe_code_allow_it():
    allowing = {
        crate
        for crate in CRATES
        if "#![forbid(unsafe_code)]" not in (PROJECT / "rust" / crate / "src" / "lib.rs").read_text(encoding="utf-8")
    }
    without_need = [
        crate
        for crate in allowing
        if not any("unsafe " in file.read_text(encoding="utf-8") for file in (PROJECT / "rust" / crate).rglob("*.rs"))
    ]
    assert without_need == []


# Texts ----------------------------------------------------------------------------------------------------------------


def texts() -> Iterator[Path]:
    """Yield the text files of the project: those under version control or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: which files belong to the project is not known")
    suffixes = {".py", ".pyi", ".rs", ".toml", ".md", ".yml", ".json", ".txt", ""}
    for name in filter(None, listed.stdout.split("\0")):
        file = PROJECT / name
        if file.suffix in suffixes and file.is_file():
            yield file


def test_no_file_names_a_place_of_one_machine():
    places = ["/" + "work/", "/" + "root/", "/home" + "/", "/" + "tmp/plan", "shared/" + "design"]
    found = [
        f"{file.relative_to(PROJECT)}: {place}"
        for file in texts()
        for place in places
        if place in file.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_workflows_name_actions_by_full_commit_hash():
    used = [
        (file.name, action)
        for file in (PROJECT / ".github" / "workflows").glob("*.yml")
        for action in re.findall(r"uses: *(\S+)", file.read_text(encoding="utf-8"))
    ]
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each[1])] == []


def test_no_source_file_is_longer_than_800_lines():
    long = [
        str(file.relative_to(PROJECT))
        for file in texts()
        # A stub is the documentation of one Rust module, whose own files are split.
        if file.suffix in {".py", ".rs"} and len(file.read_text(encoding="utf-8").splitlines()) > 800
    ]
    assert long == []
