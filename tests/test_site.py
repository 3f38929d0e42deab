"""The documentation as a site: built without a warning, complete, and nothing in it loads from elsewhere."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("furo", reason="the extra docs is not installed")
pytest.importorskip("myst_parser", reason="the extra docs is not installed")

from tests.test_public_names import PUBLIC_MODULES

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((PROJECT / "docs" / "notebooks").glob("*.ipynb"))
REFERENCE = PROJECT / "docs" / "reference"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site in a process of its own, as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    words = [
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(folder / "kept"),
        str(PROJECT / "docs"),
        str(folder / "html"),
    ]
    finished = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert finished.returncode == 0, finished.stderr
    return folder / "html"


class Loads(HTMLParser):
    """Collects the addresses that a browser asks for by itself, and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        self.anchors.add(values.get("id", ""))
        if tag != "a":
            kept = ("canonical", "next", "prev", "index", "search", "genindex")
            if tag == "link" and values.get("rel") in kept:
                return
            self.addresses += [values[name] for name in ("src", "href", "srcset", "poster", "data") if name in values]
        self.addresses += re.findall(r"url\(([^)]+)\)", values.get("style", ""))


def test_nothing_on_a_page_is_loaded_from_outside_the_machine(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    outside = [
        f"{page.relative_to(site)}: {address}"
        for page in pages
        for address in Loads(page.read_text(encoding="utf-8")).addresses
        if re.match(r"\s*(https?:)?//", address)
    ]
    assert outside == []


def test_no_style_or_script_loads_from_outside_the_machine(site):
    outside = []
    for file in [*site.rglob("*.css"), *site.rglob("*.js")]:
        text = file.read_text(encoding="utf-8")
        asked = r"""(?:url\(|@import|import\(|fetch\(|importScripts\(|\.src\s*=)\s*['"]?(?:https?:)?//[\w.]+"""
        outside += [f"{file.relative_to(site)}: {found}" for found in re.findall(asked, text)]
    assert outside == []


def test_every_public_name_has_its_entry_with_its_methods(site):
    anchors = {
        anchor
        for page in (site / "reference").glob("*.html")
        for anchor in Loads(page.read_text(encoding="utf-8")).anchors
    }
    for page in REFERENCE.glob("chronofabric*.md"):
        module = importlib.import_module(page.stem)
        names = {name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)}
        missing = {name for name in names if not {f"{page.stem}.{name}", f"chronofabric.{name}"} & anchors}
        assert missing == set()
    assert {"chronofabric.Event.topic", "chronofabric.Subscription.receive", "chronofabric.Table.from_numpy"} <= anchors


def test_what_is_written_in_rust_is_described_by_its_stub(site):
    text = (site / "reference" / "chronofabric.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", text)
    assert "It never goes back on a topic: what is older than the event before it has the time of that." in text
    assert "How long to wait" in text


def test_every_public_module_with_names_of_its_own_has_a_page():
    import chronofabric

    pages = {page.stem for page in REFERENCE.glob("chronofabric*.md")}
    own = {name for name in PUBLIC_MODULES if set(importlib.import_module(name).__all__) - set(chronofabric.__all__)}
    assert own - pages == set()


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_gives_what_it_was_saved_with(file, tmp_path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    copy = shutil.copy(file, tmp_path)
    command = [sys.executable, str(PROJECT / "docs" / "_site" / "notebook.py"), str(copy)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    given, saved = outputs_of(copy), outputs_of(file)
    assert given == saved
    shown = sum("text/html" in output.get("data", {}) for outputs in saved for output in outputs)
    assert shown >= {"quickstart": 6, "deadlines": 1}[file.stem]


def outputs_of(file) -> list[list[dict]]:
    """Return what each cell of a notebook gave; of those tagged as timings, only what kinds of output."""
    cells = json.loads(Path(file).read_text(encoding="utf-8"))["cells"]
    return [
        [_without_figures(output) for output in cell.get("outputs", [])]
        if "timings" in cell["metadata"].get("tags", ())
        else cell.get("outputs", [])
        for cell in cells
    ]


def _without_figures(output: dict) -> dict:
    return {"output_type": output["output_type"], "name": output.get("name"), "data": sorted(output.get("data", {}))}


def test_a_notebook_is_shown_with_its_tables(site):
    text = (site / "notebooks" / "quickstart.html").read_text(encoding="utf-8")
    assert "<caption>Batch(3 events)</caption>" in text
    assert "Flag(count=1)" in text
