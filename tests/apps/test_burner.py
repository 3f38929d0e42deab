"""The child process that burns a core for the demonstration."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from chronofabric.apps import burner
from chronofabric.apps.demo import burner as started_burner


def test_it_says_how_long_it_burnt_and_how_much_it_got():
    with started_burner() as child:
        child.start(0.3)
        burn = child.result()
    assert burn.wall_s >= 0.3
    assert 0 < burn.cpu_s <= burn.wall_s * 1.05
    assert burn.steady_s <= burn.wall_s


def test_it_ends_with_its_input():
    command = [sys.executable, "-I", burner.__file__]
    commands = "burn 0.05\nburn 0.05\n"
    finished = subprocess.run(command, input=commands, capture_output=True, text=True, timeout=60, check=True)
    assert [sorted(json.loads(line)) for line in finished.stdout.splitlines()] == [["cpu_s", "steady_s", "wall_s"]] * 2
    assert finished.stderr == ""


@pytest.mark.parametrize(("share", "steady_s"), [(1.0, 1.0), (0.5, 0.0)])
def test_a_steady_burn_is_one_that_got_nearly_all_of_a_core(monkeypatch, share, steady_s):
    wall = iter(tick * 0.001 for tick in range(1_000_000))
    now = 0.0

    def monotonic():
        nonlocal now
        now = next(wall)
        return now

    monkeypatch.setattr(time, "monotonic", monotonic)
    monkeypatch.setattr(time, "process_time", lambda: now * share)
    assert burner.burn(1.0)["steady_s"] == pytest.approx(steady_s, abs=0.01)
