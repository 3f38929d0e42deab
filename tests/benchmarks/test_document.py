"""What was measured is written into the page, and nothing else of it changes."""

from __future__ import annotations

import json

import pytest

from benchmarks import curve, document

CASE = {
    "concern": "bus",
    "case": "two threads",
    "ours": 40.0,
    "peer": 60.0,
    "peer_name": "queue.SimpleQueue",
    "unit": "ns/event",
    "ratio": 1.5,
    "bar": 1.0,
    "rounds": 9,
    "quick": False,
}


def test_the_page_has_a_place_for_all_that_is_measured():
    text = document.PAGE.read_text(encoding="utf-8")
    for mark in ["machine", "figures", *(each.name for each in curve.curves(quick=True))]:
        assert document.replaced(text, mark, "new") != text


def test_only_what_lies_between_the_marks_changes_and_a_second_time_nothing_does(tmp_path):
    lines = tmp_path / "lines"
    lines.write_text(json.dumps(CASE) + "\n")
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- begin: machine -->\n<!-- end: machine -->\nbetween\n"
        "<!-- begin: figures -->\nold\n<!-- end: figures -->\nafter\n"
    )
    assert document.main(["--lines", str(lines), "--page", str(page)]) == 0
    once = page.read_text()
    kept = [line for line in once.splitlines() if line in ("before", "between", "after", "old")]
    assert kept == ["before", "between", "after"]
    assert "| bus: two threads | 40 ns/event | 60 (queue.SimpleQueue) | 1.5 | ≥ 1 | met | 9 |" in once
    document.main(["--lines", str(lines), "--page", str(page)])
    assert page.read_text() == once


def test_a_page_without_a_place_is_refused():
    with pytest.raises(ValueError, match="no place for 'topics'"):
        document.replaced("<!-- begin: topics -->", "topics", "new")


def test_a_quick_run_is_not_written_down():
    with pytest.raises(ValueError, match="two threads"):
        document.sections([{**CASE, "quick": True}])
