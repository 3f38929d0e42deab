"""Telling whether the machine was quiet while something was measured.

A stretch of time is noisy when the hypervisor took more than 0.5 % of it (steal), or when processes other than this one
and its descendants used more than 5 % of the whole machine. Systems that do not count steal have none here.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import psutil  # noqa: TID253 - this module is imported where something is measured

STEAL_SHARE_MAX = 0.005
OTHERS_SHARE_MAX = 0.05
# Processor time is counted in ticks of 10 ms; a difference of two of them is rounding.
ROUNDING_SECONDS = 0.02


class Reading(NamedTuple):
    """Processor seconds since the machine started: all, stolen, in use, and used by our own processes."""

    total_seconds: float
    steal_seconds: float
    busy_seconds: float
    own_seconds: float


class Noise(NamedTuple):
    """Shares of the machine between two readings."""

    steal_share: float
    others_share: float
    rounding_share: float

    @property
    def noisy(self) -> bool:
        """Whether a figure measured meanwhile is not to be trusted."""
        return (
            self.steal_share > STEAL_SHARE_MAX + self.rounding_share
            or self.others_share > OTHERS_SHARE_MAX + self.rounding_share
        )

    @property
    def level(self) -> float:
        """How noisy, for choosing the quieter of two; 1.0 is the limit."""
        return max(self.steal_share / STEAL_SHARE_MAX, self.others_share / OTHERS_SHARE_MAX)


def read() -> Reading:
    """Take a reading now."""
    times = psutil.cpu_times()
    # On Linux, the time of guests is part of user time.
    counted = {name: value for name, value in times._asdict().items() if name not in ("guest", "guest_nice")}
    total = sum(counted.values())
    steal = counted.get("steal", 0.0)
    idle = counted.get("idle", 0.0) + counted.get("iowait", 0.0)
    return Reading(total, steal, total - idle - steal, _own_seconds())


def between(before: Reading, after: Reading) -> Noise:
    """Return the noise between two readings.

    Examples
    --------
    >>> between(Reading(0.0, 0.0, 0.0, 0.0), Reading(10.0, 0.0, 6.0, 5.9)).noisy
    False
    >>> between(Reading(0.0, 0.0, 0.0, 0.0), Reading(10.0, 0.0, 6.0, 5.0)).noisy
    True
    """
    total = after.total_seconds - before.total_seconds
    if total <= 0.0:
        return Noise(0.0, 0.0, 0.0)
    others = (after.busy_seconds - before.busy_seconds) - (after.own_seconds - before.own_seconds)
    return Noise(
        (after.steal_seconds - before.steal_seconds) / total, max(0.0, others / total), ROUNDING_SECONDS / total
    )


def _own_seconds() -> float:
    mine = os.times()
    seconds = mine.user + mine.system + mine.children_user + mine.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it ended meanwhile: its time is now in its parent's
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds
