"""Telemetry of the machine it runs on, read with psutil.

Topics, below a prefix:

- ``cpu``, at the source's rate: ``percent``, ``busiest_core_percent``, ``core_0_percent`` and so on, ``cores``
- ``process/<pid>``, at the source's rate: ``percent`` of one core, ``rss_bytes``, ``threads``, ``alive``
- ``memory``, at most 5 Hz: ``percent``, ``total_bytes``, ``available_bytes``, ``used_bytes``, ``swap_percent``
- ``disk``, at most 5 Hz: ``read_bytes_per_s``, ``written_bytes_per_s``, ``reads_per_s``, ``writes_per_s``
- ``network``, at most 5 Hz: ``received_bytes_per_s``, ``sent_bytes_per_s``, and packets, errors and drops
- ``load``, at most 5 Hz: ``one_minute``, ``five_minutes``, ``fifteen_minutes``
- ``processes``, at most 1 Hz: ``total``, ``running``, ``top``, ``busiest_pid``, ``busiest_name``, ``busiest_percent``

Processor times are differenced over a sliding 200 ms. Kernels account in ticks, on Linux of 10 ms, so a percentage
moves in steps of 5 for one core however often it is read. At 50 Hz the source itself uses about 2 % of a core. Of a
process, ``rss_bytes`` and ``threads`` are read at most 5 times a second and repeated in between. What the platform
lacks is left out, with one line in the log.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from chronofabric.duration import Rate, period_ns
from chronofabric.errors import ArgumentError
from chronofabric.fabric.counts import checked_count
from chronofabric.fabric.sources.process import ProcessReadings, ProcessTable
from chronofabric.fabric.sources.sliding import SlidingDifference
from chronofabric.fabric.sources.source import Node, Output
from chronofabric.fabric.sources.ticks import Ticks
from chronofabric.fabric.stopping import StopToken

__all__ = ["HostSource"]

WINDOW_NS = 200_000_000
SLOW_PERIOD_NS = 200_000_000
TABLE_PERIOD_NS_MIN = 1_000_000_000
PERIOD_NS_MIN = 1_000_000
PROCESSES_MAX = 1_024

_logger = logging.getLogger("chronofabric.source")
_Reading = Callable[[int], "dict[str, Any] | None"]


class HostSource:
    """Publishes this machine's processor, memory, disk, network and load, and chosen processes.

    Parameters
    ----------
    prefix
        The topic under which its topics lie.
    rate
        How often processors and chosen processes are read, at most 1 kHz.
    processes
        The ids of chosen processes. When one ends, it publishes a last event with ``alive`` 0.
    process_table
        Whether to look at all processes, and how often: True for once a second, or a rate of at most 1 Hz. A look costs
        some 50 us for each process of the machine.
    name
        Its name in reports; by default the prefix.

    Raises
    ------
    ArgumentError
        If a rate is too high, or a process id is not a positive integer.

    Examples
    --------
    >>> import chronofabric as cf
    >>> from chronofabric.fabric.sources import HostSource
    >>> fabric = cf.Fabric("watch")
    >>> loads = fabric.subscribe("host/cpu")
    >>> source = fabric.add_source(HostSource(rate="100 Hz"))
    >>> with fabric:
    ...     loads.receive(timeout="10 s").topic
    'host/cpu'
    """

    finite = False

    def __init__(
        self,
        prefix: str = "host",
        *,
        rate: Rate = "50 Hz",
        processes: Sequence[int] = (),
        process_table: bool | Rate = False,
        name: str | None = None,
    ) -> None:
        self.prefix = prefix
        self.name = name or prefix
        self.processes = _checked_processes(processes)
        self._period_ns = period_ns(rate)
        if self._period_ns < PERIOD_NS_MIN:
            raise _refused("rate", rate, "the host is read at most 1000 times a second", "give '1 kHz' or less")
        self._table_period_ns = _checked_table(process_table)
        self._output: Output | None = None
        self._ticks: Ticks | None = None
        self._left_out: list[str] = []
        self._ended = 0

    def __repr__(self) -> str:
        return f"HostSource({self.prefix!r})"

    @property
    def published(self) -> int:
        """Events handed to the node so far."""
        return self._output.published if self._output else 0

    @property
    def timed_out(self) -> int:
        """How many of them a blocking subscription did not take in time."""
        return self._output.timed_out if self._output else 0

    @property
    def missed(self) -> int:
        """Readings left out because the one before took too long."""
        return self._ticks.missed if self._ticks else 0

    @property
    def ended(self) -> int:
        """How many of the chosen processes have ended."""
        return self._ended

    @property
    def left_out(self) -> tuple[str, ...]:
        """What this platform does not offer, with the reason."""
        return tuple(self._left_out)

    def run(self, node: Node, stop: StopToken) -> None:
        """Read and publish until told to stop."""
        import psutil

        output = self._output = Output(node)
        self._left_out = []
        self._ended = 0
        fast = self._available(psutil, {"cpu": _processor_reading(psutil)})
        slow = self._available(
            psutil,
            {
                "memory": _memory_reading(psutil),
                "disk": _rates_reading(psutil.disk_io_counters, _DISK),
                "network": _rates_reading(psutil.net_io_counters, _NETWORK),
                "load": _load_reading(),
            },
        )
        if self._left_out:
            _logger.info("%s: left out: %s", self.name, "; ".join(self._left_out))
        chosen = [ProcessReadings(psutil, pid, WINDOW_NS, SLOW_PERIOD_NS) for pid in self.processes]
        table = ProcessTable(psutil)
        slow_due = table_due = time.monotonic_ns()
        ticks = self._ticks = Ticks(node.clock, stop, self._period_ns)
        for _ in ticks:
            # The counters run in this machine's real time, whatever time source the node has.
            now_ns = time.monotonic_ns()
            for topic, read in fast:
                self._publish(output, topic, read(now_ns))
            for process in tuple(chosen):
                try:
                    fields = process.read(time.monotonic_ns())
                except psutil.AccessDenied:
                    chosen.remove(process)
                    self._left_out.append(f"process/{process.pid} (not ours to read)")
                    _logger.info("%s: left out: %s", self.name, self._left_out[-1])
                    continue
                self._publish(output, f"process/{process.pid}", fields)
                if process.has_ended:
                    chosen.remove(process)
                    self._ended += 1
                    _logger.info("%s: process %d has ended", self.name, process.pid)
            if now_ns >= slow_due:
                slow_due = _next_due(slow_due, SLOW_PERIOD_NS, now_ns)
                for topic, read in slow:
                    self._publish(output, topic, read(now_ns))
            if self._table_period_ns is not None and now_ns >= table_due:
                table_due = _next_due(table_due, self._table_period_ns, now_ns)
                self._publish(output, "processes", table.read(time.monotonic_ns()))

    def _publish(self, output: Output, topic: str, fields: dict[str, Any] | None) -> None:
        if fields is not None:
            output.publish(f"{self.prefix}/{topic}", fields)

    def _available(self, psutil: Any, readings: dict[str, _Reading | None]) -> list[tuple[str, _Reading]]:
        """Those that this platform has, each read once so that its window begins."""
        available = []
        for topic, read in readings.items():
            if read is None:
                self._left_out.append(f"{topic} (this platform has none)")
                continue
            try:
                read(time.monotonic_ns())
            except (psutil.Error, OSError, RuntimeError, AttributeError) as error:
                self._left_out.append(f"{topic} ({type(error).__name__}: {error})")
            else:
                available.append((topic, read))
        return available


_DISK = {
    "read_bytes": "read_bytes_per_s",
    "write_bytes": "written_bytes_per_s",
    "read_count": "reads_per_s",
    "write_count": "writes_per_s",
}
_NETWORK = {
    "bytes_recv": "received_bytes_per_s",
    "bytes_sent": "sent_bytes_per_s",
    "packets_recv": "received_packets_per_s",
    "packets_sent": "sent_packets_per_s",
    "errin": "receive_errors_per_s",
    "errout": "send_errors_per_s",
    "dropin": "receive_drops_per_s",
    "dropout": "send_drops_per_s",
}


def _processor_reading(psutil: Any) -> _Reading:
    """Busy time against all time, of each core and of all together."""
    window = SlidingDifference(WINDOW_NS)

    def read(now_ns: int) -> dict[str, Any] | None:
        counters: list[float] = []
        for times in psutil.cpu_times(percpu=True):
            # Guest time is part of user time already.
            whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
            counters += (whole - times.idle - getattr(times, "iowait", 0.0), whole)
        difference = window.add(now_ns, tuple(counters))
        if difference is None:
            return None
        busy, whole_time = difference[1][0::2], difference[1][1::2]
        cores = [_percent(core_busy, core_time) for core_busy, core_time in zip(busy, whole_time, strict=True)]
        fields: dict[str, Any] = {
            "percent": _percent(sum(busy), sum(whole_time)),
            "busiest_core_percent": max(cores),
            "cores": len(cores),
        }
        fields.update((f"core_{core}_percent", percent) for core, percent in enumerate(cores))
        return fields

    return read


def _memory_reading(psutil: Any) -> _Reading:
    def read(now_ns: int) -> dict[str, Any]:
        del now_ns
        memory = psutil.virtual_memory()
        return {
            "percent": memory.percent,
            "total_bytes": memory.total,
            "available_bytes": memory.available,
            "used_bytes": memory.used,
            **swap(),
        }

    def swap() -> dict[str, Any]:
        try:
            return {"swap_percent": psutil.swap_memory().percent}
        except (OSError, RuntimeError, RuntimeWarning):  # some containers hide it
            return {}

    return read


def _rates_reading(counters: Callable[[], Any], names: dict[str, str]) -> _Reading:
    """Counters of the whole machine as rates over at least the slow period."""
    window = SlidingDifference(SLOW_PERIOD_NS)

    def read(now_ns: int) -> dict[str, Any] | None:
        values = counters()
        if values is None:
            raise OSError("it has no such counters")
        present = [name for name in names if hasattr(values, name)]
        difference = window.add(now_ns, tuple(getattr(values, name) for name in present))
        if difference is None:
            return None
        seconds = difference[0] / 1e9
        return {names[name]: amount / seconds for name, amount in zip(present, difference[1], strict=True)}

    return read


def _load_reading() -> _Reading | None:
    average = getattr(os, "getloadavg", None)
    if average is None:
        return None
    return lambda now_ns: dict(zip(("one_minute", "five_minutes", "fifteen_minutes"), average(), strict=True))


def _next_due(due_ns: int, period_ns: int, now_ns: int) -> int:
    """The next instant on the grid of a period, or a period from now where that has passed already."""
    return due_ns + period_ns if due_ns + period_ns > now_ns else now_ns + period_ns


def _percent(busy: float, whole: float) -> float:
    """A share in percent; a counter that did not move counts as idle."""
    return min(100.0, 100.0 * busy / whole) if whole > 0 else 0.0


def _checked_processes(processes: object) -> tuple[int, ...]:
    if isinstance(processes, (str, bytes)) or not isinstance(processes, Sequence):
        raise _refused("processes", processes, "this is not a list of process ids", "write it like [1234]")
    pids = tuple(checked_count("processes", pid, 1) for pid in processes)
    if len(pids) > PROCESSES_MAX:
        raise _refused("processes", len(pids), f"at most {PROCESSES_MAX} can be chosen", "choose fewer")
    return tuple(dict.fromkeys(pids))


def _checked_table(process_table: bool | Rate) -> int | None:
    if process_table is False:
        return None
    if process_table is True:
        return TABLE_PERIOD_NS_MIN
    period = period_ns(process_table, argument="process_table")
    if period < TABLE_PERIOD_NS_MIN:
        raise _refused(
            "process_table", process_table, "all processes are looked at once a second at most", "give '1 Hz'"
        )
    return period


def _refused(argument: str, value: object, what: str, hint: str) -> ArgumentError:
    return ArgumentError(f"{argument} is {value!r}; {what}; {hint}", argument=argument, value=value, hint=hint)
