"""Waiting for what another thread does. How long it takes decides nothing; a failure is only that it never happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE_S = 30.0


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds."""
    until_s = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < until_s, f"did not come true within {PATIENCE_S:g} s: {what or condition}"
        pause.wait(0.001)


def joined(*threads: threading.Thread) -> None:
    """Wait for the end of threads."""
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), f"{thread.name} did not end within {PATIENCE_S:g} s"


def in_threads(count: int, body: Callable[[int], object]) -> None:
    """Call a function in threads that begin together, with the number of each; what one raises is raised here."""
    begin = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        begin.wait(PATIENCE_S)
        try:
            body(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    joined(*threads)
    if failures:
        raise failures[0]
