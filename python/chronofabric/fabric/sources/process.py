"""Readings of single processes and of the table of all of them."""

from __future__ import annotations

from typing import Any

from chronofabric.fabric.sources.sliding import SlidingDifference

__all__ = ["ProcessReadings", "ProcessTable"]

TOP_PROCESSES = 5


class ProcessReadings:
    """One chosen process.

    Parameters
    ----------
    psutil
        The module.
    pid
        The process.
    window_ns
        The time over which its processor time is differenced.
    slow_period_ns
        How often memory and threads are read anew.

    Attributes
    ----------
    has_ended : bool
        Whether the last reading found it gone: ended, or ended and not yet waited for, or its id given to another.
    """

    def __init__(self, psutil: Any, pid: int, window_ns: int, slow_period_ns: int) -> None:
        self.pid = pid
        self.has_ended = False
        self._psutil = psutil
        self._window = SlidingDifference(window_ns)
        self._slow_period_ns = slow_period_ns
        self._slow_due_ns: int | None = None
        self._rss_bytes = 0
        self._threads = 0
        try:
            self._process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._process = None

    def read(self, now_ns: int) -> dict[str, Any] | None:
        """Its fields; None until the window is covered; once, at its end, zeros.

        Raises
        ------
        psutil.AccessDenied
            If this user may not read it.
        """
        try:
            seconds = None if self._process is None else self._processor_seconds(now_ns)
        except self._psutil.NoSuchProcess:
            seconds = None
        if seconds is None:
            self.has_ended = True
            return {"percent": 0.0, "rss_bytes": 0, "threads": 0, "alive": 0}
        difference = self._window.add(now_ns, (seconds,))
        if difference is None:
            return None
        elapsed_ns, (busy_seconds,) = difference
        return {
            "percent": busy_seconds / elapsed_ns * 1e11,
            "rss_bytes": self._rss_bytes,
            "threads": self._threads,
            "alive": 1,
        }

    def _processor_seconds(self, now_ns: int) -> float | None:
        """User and system time, without that of children; None for a process that has ended."""
        with self._process.oneshot():
            if self._process.status() == self._psutil.STATUS_ZOMBIE:
                return None
            times = self._process.cpu_times()
            if self._slow_due_ns is None or now_ns >= self._slow_due_ns:
                self._slow_due_ns = now_ns + self._slow_period_ns
                if not self._process.is_running():
                    return None
                self._rss_bytes = self._process.memory_info().rss
                self._threads = self._process.num_threads()
        return float(times.user + times.system)


class ProcessTable:
    """All processes of the machine, compared from one look to the next."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._before: dict[tuple[int, float], float] = {}
        self._before_ns = 0

    def read(self, now_ns: int) -> dict[str, Any] | None:
        """Counts, and the processes that used most since the last look; None at the first."""
        seconds: dict[tuple[int, float], float] = {}
        names: dict[tuple[int, float], str] = {}
        running = 0
        for process in self._psutil.process_iter(("name", "status", "cpu_times", "create_time")):
            information = process.info
            running += information["status"] == self._psutil.STATUS_RUNNING
            if information["cpu_times"] is None:  # not ours to see
                continue
            key = (process.pid, information["create_time"])
            seconds[key] = information["cpu_times"].user + information["cpu_times"].system
            names[key] = information["name"] or ""
        before, before_ns = self._before, self._before_ns
        self._before, self._before_ns = seconds, now_ns
        if not before or now_ns <= before_ns:
            return None
        used = sorted(((amount - before[key], key) for key, amount in seconds.items() if key in before), reverse=True)[
            :TOP_PROCESSES
        ]
        top = [
            {"pid": key[0], "name": names[key], "percent": amount / (now_ns - before_ns) * 1e11} for amount, key in used
        ]
        fields: dict[str, Any] = {"total": len(seconds), "running": running, "top": top}
        if top:
            fields.update((f"busiest_{name}", value) for name, value in top[0].items())
        return fields
