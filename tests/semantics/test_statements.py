"""Statements and tests of docs/semantics.md belong together."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs" / "semantics.md"


def test_every_statement_has_a_test_and_every_test_a_statement():
    document = DOCUMENT.read_text(encoding="utf-8")
    stated = [int(number) for number in re.findall(r"^- \*\*S(\d+)\*\* ", document, re.MULTILINE)]
    assert stated == list(range(1, len(stated) + 1)), "statements are numbered without gaps"
    tests = "".join(file.read_text(encoding="utf-8") for file in HERE.glob("test_*.py"))
    names = re.findall(r"^def test_((?:s\d+_)+)", tests, re.MULTILINE)
    tested = {int(number) for name in names for number in re.findall(r"s(\d+)_", name)}
    assert tested == set(stated)
