"""Ten minutes of everything at once, in a process of its own, which must be at the end what it was at the beginning."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS, SECONDS_IN_PROOF = 4.0, 600.0
FINISHING_S = 240.0
"""How long the process may take beyond its time before it is taken to hang."""


@pytest.mark.skipif(os.name != "posix", reason="handles are counted as POSIX has them")
def test_memory_handles_and_threads_stay_flat_and_the_books_exact(proof, capsys):
    """`CHRONOFABRIC_SOAK_SECONDS` says how long, other than ten minutes in a proof and a few seconds otherwise."""
    seconds = float(os.environ.get("CHRONOFABRIC_SOAK_SECONDS", SECONDS_IN_PROOF if proof else SECONDS))
    # The watchdog of single tests does not know how long this one is to take.
    faulthandler.cancel_dump_traceback_later()
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-m", "tests.soak.load", str(seconds)]
    project = Path(__file__).parent.parent.parent
    shown = capsys.disabled() if proof else contextlib.nullcontext()  # a proof shows its progress
    with shown, subprocess.Popen(command, cwd=project, stdout=None if proof else subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate(timeout=seconds + FINISHING_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler says where every thread stands
            pytest.fail(f"no end within {seconds + FINISHING_S:g} s")
    assert process.returncode == 0, output
