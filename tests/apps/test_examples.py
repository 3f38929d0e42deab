"""The examples: every run file is right, and the recording is what its script makes."""

from __future__ import annotations

import io
import runpy
from pathlib import Path

import pytest

from chronofabric.fabric.settings import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.toml")), ids=lambda file: file.stem)
def test_every_run_file_can_be_loaded(file):
    assert load(file).sources


def test_the_recording_is_made_by_its_script():
    made = io.StringIO()
    runpy.run_path(str(EXAMPLES / "machine_temperature.py"))["write"](made)
    assert (EXAMPLES / "machine_temperature.csv").read_text(encoding="utf-8") == made.getvalue()
