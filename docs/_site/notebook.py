"""Run a notebook in a kernel of its own: `python docs/_site/notebook.py FILE` saves it with what it gave."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def executed(file: Path) -> nbformat.NotebookNode:
    """Return a notebook as running it from top to bottom leaves it; an error of a cell is raised.

    Of what a kernel adds, only what differs from run to run (times, counts of cells) is left out.
    """
    content = nbformat.read(file, as_version=4)
    NotebookClient(content, timeout=120, record_timing=False).execute()
    content.metadata.pop("widgets", None)
    content.metadata["language_info"] = {"name": "python"}
    return content


if __name__ == "__main__":
    nbformat.write(executed(Path(sys.argv[1])), sys.argv[1])
