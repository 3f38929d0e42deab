"""Python code run in a process of its own, for what cannot be tried in this one: kills, signals, limits."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

TIMEOUT_S = 60.0


def run_python(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run code to its end, which must be a good one unless ``check=False``."""
    given = {"capture_output": True, "text": True, "timeout": TIMEOUT_S, **options}
    good = given.pop("check", True)
    ended = subprocess.run(_command(code, arguments), **given)  # type: ignore[call-overload]
    assert not good or ended.returncode == 0, f"it ended with {ended.returncode}:\n{ended.stderr}"
    return ended


@contextmanager
def running_python(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run code beside this process; its lines are read with ``stdout.readline()``. It is killed at the end."""
    pipe = subprocess.PIPE
    with subprocess.Popen(_command(code, arguments), stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _command(code: str, arguments: Sequence[object]) -> list[str]:
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
