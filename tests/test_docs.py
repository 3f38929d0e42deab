"""The documentation is true: code runs and prints what a page says, run files load, links and names lead somewhere.

A ``python`` block of a page is run after those above it, in one namespace. What it prints is what the ``output`` block
behind it shows; a block without one prints nothing. ``<!-- not run: reason -->`` above a block excuses it. A ``toml``
block with a source is a whole run file.
"""

from __future__ import annotations

import doctest
import logging
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from chronofabric import errors

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
INDEX = PROJECT / "docs" / "index.md"
REFERENCE = PROJECT / "docs" / "reference" / "index.md"
GUIDES = [README, *sorted((PROJECT / "docs").rglob("*.md"))]
PAGES = [*GUIDES, *(PROJECT / f"{name}.md" for name in ("ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY"))]

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"(```+) *(\S*)")
EXCUSE = re.compile(r"<!-- not run: (.+) -->")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block: where its text begins, its language, its text, and why it is not run."""

    line: int
    language: str
    text: str
    excuse: str | None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found, above, lines = [], "", enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        fence = FENCE.fullmatch(line.strip())
        if fence is None:
            above = line or above
            continue
        inside = []
        for _, text in lines:
            if text.strip() == fence[1]:
                break
            inside.append(text)
        excuse = EXCUSE.fullmatch(above.strip())
        found.append(Block(number + 1, fence[2], "\n".join(inside) + "\n", excuse[1] if excuse else None))
        above = ""
    return found


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


def with_blocks(language: str) -> list[Path]:
    return [page for page in GUIDES if any(block.language == language for block in blocks(page))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make an empty current folder that holds the recording of the examples, as pages name it."""
    (tmp_path / "examples").mkdir()
    recording = PROJECT / "examples" / "machine_temperature.csv"
    for place in (tmp_path, tmp_path / "examples"):
        shutil.copy(recording, place)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    # A page shows how to silence it.
    logging.getLogger("chronofabric").setLevel(logging.NOTSET)


@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page, folder, capsys):
    namespace: dict[str, object] = {"__name__": "__main__"}
    all_blocks = blocks(page)
    for block, after in zip(all_blocks, [*all_blocks[1:], None], strict=True):
        if block.language != "python" or block.excuse:
            continue
        # Empty lines before it, so that a traceback names the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        exec(code, namespace)
        shown = after.text if after is not None and after.language == "output" else ""
        printed = capsys.readouterr().out
        assert doctest.OutputChecker().check_output(shown, printed, FLAGS), (
            f"{name_of(page)}:{block.line} printed:\n{printed}"
        )


def test_output_is_shown_only_behind_the_code_that_prints_it():
    astray = [
        f"{name_of(page)}:{block.line}"
        for page in GUIDES
        for before, block in zip([None, *blocks(page)], blocks(page), strict=False)
        if block.language == "output" and (before is None or before.language != "python")
    ]
    assert astray == []


@pytest.mark.parametrize("page", with_blocks("toml"), ids=name_of)
def test_the_run_files_of_a_page_load(page, folder):
    from chronofabric.fabric.settings import load

    for block in blocks(page):
        if block.language != "toml" or block.excuse:
            continue
        tables = tomllib.loads(block.text)
        if "source" not in tables:  # some tables of a run file
            continue
        file = folder / "page.toml"
        file.write_text(block.text, encoding="utf-8")
        settings = load(file)
        assert len(settings.sources) == len(tables["source"])


def links(page: Path) -> list[str]:
    """Return where the links of a page lead; what is code is none."""
    return LINK.findall(CODE_SPAN.sub("code", prose(page)))


def anchors(page: Path) -> Iterator[str]:
    """Yield the anchors of a page's headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ +(.+)$", prose(page), flags=re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page):
    broken = []
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(PROJECT):
            broken.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link}: there is no such heading")
    assert broken == []


def test_every_page_can_be_reached_from_the_index_and_the_index_from_the_readme():
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in (INDEX, REFERENCE) for link in links(page)}
    notebooks = (PROJECT / "docs" / "notebooks").glob("*.ipynb")
    assert {page for page in (*GUIDES, *notebooks) if page not in (README, INDEX)} - linked == set()
    assert "docs/index.md" in links(README)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_commands_and_modules_that_a_page_names_exist(page):
    targets = re.findall(r"^([a-z ]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    commands = set(" ".join(targets).split())
    text = page.read_text(encoding="utf-8")
    missing = [
        span
        for span in CODE_SPAN.findall(prose(page))
        if re.fullmatch(r"(?:rust|python|tests|tools|benchmarks|docs|examples|\.github)/[\w./-]+", span)
        and not (PROJECT / span).exists()
    ]
    missing += [word for word in re.findall(r"^(?:.*`| *)make ([a-z]+)", text, re.MULTILINE) if word not in commands]
    missing += [word for word in re.findall(r"tools\.dev ([a-z]+)", text) if word not in commands]
    for name in re.findall(r"benchmarks\.peers\.([a-z]+)", text):
        if not (PROJECT / "benchmarks" / "peers" / f"{name}.py").is_file():
            missing.append(f"benchmarks.peers.{name}")
    assert missing == []


def test_the_page_on_errors_has_every_error_with_exactly_its_attributes():
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (PROJECT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE)
    shown = {name: set(CODE_SPAN.findall(cells.split(" | ")[-2])) for name, cells in rows}
    defined = {
        name: set(vars(value()))
        for name in errors.__all__
        if isinstance(value := getattr(errors, name), type) and issubclass(value, BaseException)
    }
    assert shown == defined


def test_every_package_and_crate_is_in_the_architecture():
    text = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    crates = {file.parent.name for file in (PROJECT / "rust").glob("*/Cargo.toml")}
    package = PROJECT / "python" / "chronofabric"
    rooms = {path.name for path in package.iterdir() if path.suffix in ("", ".py")} - {"__pycache__"}
    assert {name for name in crates | rooms if not re.search(rf"^ *{re.escape(name)}\b", text, re.MULTILINE)} == set()
