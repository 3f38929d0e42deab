"""A process that burns a core when told to, and says how much of one it got. Started by the demonstration.

It reads commands from its input, a line each: ``burn SECONDS``. It answers each with a line of JSON: ``wall_s``,
``cpu_s``, and ``steady_s``, the longest stretch in which it had nearly all of a core. It ends with its input. Only the
standard library is used, so that it starts at once, whatever Python its parent runs in.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque

WINDOW_S = 0.2
"""The share of a core is taken over this long, as the host source does."""

STEADY_SHARE = 0.92
"""From this share on, the child counts as having a core; well above what a guard at 80 % needs, and its noise."""


CORES_TRIED, TRIAL_S = 4, 0.1


def burn(seconds: float) -> dict[str, float]:
    """Use the processor for so long and return what share of it there was."""
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    samples = deque([(started_s, started_cpu_s)])
    steady_s, steady_since_s = 0.0, started_s
    now_s, cpu_s = samples[0]
    while now_s < started_s + seconds:
        for _ in range(10_000):
            pass
        now_s, cpu_s = time.monotonic(), time.process_time()
        samples.append((now_s, cpu_s))
        while len(samples) > 2 and now_s - samples[1][0] >= WINDOW_S:
            samples.popleft()
        window_s, window_cpu_s = now_s - samples[0][0], cpu_s - samples[0][1]
        if window_cpu_s < STEADY_SHARE * window_s:
            steady_since_s = now_s
        steady_s = max(steady_s, now_s - steady_since_s)
    return {"wall_s": now_s - started_s, "cpu_s": cpu_s - started_cpu_s, "steady_s": steady_s}


def settle() -> None:
    """Stay on one core, so that the machine's busiest core shows the burn: the one of the last few that gives most."""
    if not hasattr(os, "sched_setaffinity"):
        return
    shares = {}
    for core in sorted(os.sched_getaffinity(0))[-CORES_TRIED:]:
        os.sched_setaffinity(0, {core})
        trial = burn(TRIAL_S)
        shares[core] = trial["cpu_s"] / trial["wall_s"]
    os.sched_setaffinity(0, {max(shares, key=lambda core: shares[core])})


def main() -> None:
    """Serve commands until the input ends."""
    settle()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's business, which then closes the input
    for line in sys.stdin:
        command, seconds = line.split()
        if command == "burn":
            print(json.dumps(burn(float(seconds))), flush=True)


if __name__ == "__main__":
    main()
