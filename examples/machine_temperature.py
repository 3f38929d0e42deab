"""Makes machine_temperature.csv, the recording that replay_csv.toml plays back. It is synthetic.

A machine's temperature, a sample a minute over eight hours and twenty minutes: 71 degrees, a slow swing of 4 degrees
with a period of four hours, noise, and one excursion: from the 310th minute on it heats up by 16 degrees within ten
minutes, stays there for a quarter of an hour, and cools down again. Random numbers are seeded, so every run makes the
same file:

    python examples/machine_temperature.py > examples/machine_temperature.csv
"""

from __future__ import annotations

import csv
import math
import random
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TextIO

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
ROWS = 500
EXCURSION = ((310, 0.0), (320, 16.0), (335, 16.0), (355, 0.0))
"""Minutes and degrees between which the excursion is linear."""


def excursion(minute: int) -> float:
    """The degrees that the excursion adds in a minute."""
    for (start, low), (end, high) in pairwise(EXCURSION):
        if start <= minute < end:
            return low + (high - low) * (minute - start) / (end - start)
    return 0.0


def write(output: TextIO) -> None:
    """Write the recording."""
    seeded = random.Random(7)  # noqa: S311 - nothing secret
    rows = csv.writer(output, lineterminator="\n")
    rows.writerow(["time", "temperature", "load"])
    for minute in range(ROWS):
        noise = sum(seeded.random() for _ in range(12)) - 6.0  # nearly normal, of variance one
        temperature = 71.0 + 4.0 * math.sin(2.0 * math.pi * minute / 240.0) + 0.5 * noise + excursion(minute)
        load = 0.6 + 0.05 * (seeded.random() - 0.5) + excursion(minute) / 80.0
        time = START + timedelta(minutes=minute)
        rows.writerow([time.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{temperature:.2f}", f"{load:.3f}"])


if __name__ == "__main__":
    write(sys.stdout)
