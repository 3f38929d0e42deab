"""Pages that are plain Markdown on a code host, and part of a site here.

The table of contents is what `index.md` links to, section by section, so a page that is in its tables is in the
site. The changelog's page is the changelog. Links to files outside `docs` lead to the repository. A notebook is shown
with the outputs it was saved with.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PROJECT = Path(__file__).resolve().parent.parent.parent
REPOSITORY = "https://github.com/chronofabric/chronofabric/blob/main"
PAGE = re.compile(r"\]\(((?!\.\.)[\w./-]+)\.(?:md|ipynb)\)")
FENCE = "````"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", read, priority=400)
    return {"parallel_read_safe": True}


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn the text of a page into what the parser reads."""
    text = source[0]
    if name.startswith("notebooks/"):
        text = notebook(json.loads(text))
    elif name in ("index", "reference/index"):
        text = with_contents(text)
    elif name == "changelog":
        text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    source[0] = outward(text, depth=name.count("/") + 1).replace(".ipynb)", ")")


def with_contents(text: str) -> str:
    """Append what a page links to as tables of contents: one for each of its sections."""
    contents = ""
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        pages = list(dict.fromkeys(PAGE.findall(section)))
        title = section.partition("\n")[0].strip("# ")
        if pages:
            lines = [f"{FENCE}{{toctree}}", ":hidden:", f":caption: {title}", "", *pages, FENCE, ""]
            contents += "\n".join(["", *lines])
    return text + contents


def outward(text: str, depth: int) -> str:
    """Lead links to files above `docs` to the repository."""
    return text.replace(f"]({'../' * depth}", f"]({REPOSITORY}/")


def notebook(content: dict[str, Any]) -> str:
    """Return a notebook as Markdown: its texts, its code, and below each cell what it gave."""
    parts = []
    for cell in content["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"{FENCE}python\n{text}\n{FENCE}")
        parts += [shown(output) for output in cell.get("outputs", ())]
    return "\n\n".join(parts) + "\n"


def shown(output: dict[str, Any]) -> str:
    """Return one output: what it printed, its table, or its text."""
    if output["output_type"] == "stream":
        return f"{FENCE}output\n{''.join(output['text'])}{FENCE}"
    data = output["data"]
    if "text/html" in data:
        return f"{FENCE}{{raw}} html\n{''.join(data['text/html'])}\n{FENCE}"
    return f"{FENCE}output\n{''.join(data['text/plain'])}\n{FENCE}"
