"""Saying what is done while it is done: one line a step, with the seconds since the start."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

_STARTED = time.monotonic()


class Refusal(Exception):
    """Something outside the project is missing or failed; its text is the one sentence that is shown.

    `code` is the exit status of the whole command.
    """

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def say(what: str) -> None:
    """Print one step with the seconds since the command began."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {what}", flush=True)


def run(
    what: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    may_fail: bool = False,
    show: bool = True,
) -> int:
    """Announce and run a command in the project folder; its output is passed through.

    Raises `Refusal` with the command's own exit status when it fails and `may_fail` is not set.
    """
    words = [str(word) for word in command]
    say(f"{what}: {shlex.join(_short(word) for word in words)}" if show else what)
    try:
        code = subprocess.run(words, cwd=PROJECT, env=environment, check=False).returncode
    except OSError as error:
        raise Refusal(f"{words[0]} could not be started: {error.strerror or error}") from error
    if code != 0 and not may_fail:
        raise Refusal(f"{what}: failed with exit status {code}", code if 0 < code < 256 else 1)
    return code


def output(command: Sequence[str | Path]) -> str | None:
    """Return what a command prints, or None when it is absent or fails."""
    try:
        finished = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return finished.stdout if finished.returncode == 0 else None


def warn(what: str) -> None:
    """Print one line to standard error."""
    print(what, file=sys.stderr, flush=True)


def _short(word: str) -> str:
    """Show paths inside the project as a person would type them."""
    return word.replace(f"{PROJECT}/", "").replace(f"{PROJECT}\\", "")
