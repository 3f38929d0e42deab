"""Runs a script in a process of its own and holds it to a clean end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass

GARBAGE = re.compile(
    r"Fatal Python error|fatal runtime error|panicked|Segmentation fault|Aborted|foreign exception|terminate called|"
    r"PanicException|Exception ignored|ResourceWarning"
)
"""What a border that does not hold leaves on standard error."""

PREAMBLE = '''
import gc, itertools, os, signal, sys, threading, time, warnings
import chronofabric as cf
from chronofabric._core import bus as core

# What CPython 3.12 and later say of every fork beside threads; that it goes well here is what is tested.
warnings.filterwarnings("ignore", message="This process .* is multi-threaded", category=DeprecationWarning)

sent = None

def interrupt_when(condition):
    """Send the signal of Ctrl-C once the condition holds, from a thread of its own."""
    def watch():
        global sent
        while not condition():
            time.sleep(0.001)
        time.sleep(0.03)
        sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=watch, daemon=True).start()

def interrupt_when_waiting():
    interrupt_when(lambda: core.waiting() > 0)

def tell_delay():
    print(f"delay_ms={(time.monotonic() - sent) * 1e3:.1f}", flush=True)

def wait_for(condition, what="it"):
    until = time.monotonic() + 10
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not come true")
        time.sleep(0.001)
'''


@dataclass(frozen=True)
class Finished:
    """What came of a script."""

    code: int
    output: str
    errors: str


def run_script(script: str, *, timeout_s: float = 30.0, code: int = 0, errors: str | None = "") -> Finished:
    """Run a script; assert its exit code and that nothing of a broken border is on standard error.

    `errors` is what standard error must be, or ``None`` where it is looked at by the caller.
    """
    environment = os.environ | {"PYTHONFAULTHANDLER": "1", "PYTHONWARNINGS": "default"}
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        output, error = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # The handler of faulthandler tells where every thread stands; children of the script go with it.
        os.killpg(process.pid, signal.SIGABRT)
        output, error = process.communicate()
        raise AssertionError(f"no end within {timeout_s} s\n{output}\n{error}") from None
    told = f"code {process.returncode}\n--- output\n{output}\n--- errors\n{error}"
    assert GARBAGE.search(error) is None, told
    assert process.returncode == code, told
    if errors is not None:
        assert error.strip() == errors, told
    return Finished(process.returncode, output, error)


def delay_ms(finished: Finished) -> float:
    """Read how long the script took from the signal to the end of its wait."""
    found = re.search(r"delay_ms=([0-9.]+)", finished.output)
    assert found is not None, finished
    return float(found.group(1))
