"""What a node did: books, rates, waiting times, guards, sources, sinks, handlers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chronofabric._core import html_table

__all__ = ["Report", "calls_python", "hits", "lateness", "misses"]


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A reading of a node, taken without stopping it.

    Printed, it shows the figures of all parts; `repr` only says whose report it is.

    Attributes
    ----------
    node
        The node's name.
    clock
        The kind of its time source.
    uptime_ns
        How long it has run, on its own time source.
    topics
        ``count`` and ``published``, how many events were published on all of them.
    subscriptions, handlers, guards, sources, sinks, timers
        One mapping each; durations are in nanoseconds and say so in their names.
    requests
        How many were ``asked``, and what became of them: ``answered``, ``failed`` (who answered raised),
        ``unanswered`` (nobody had them, or any more), ``timed_out``, ``cancelled`` (or closed meanwhile). Replies that
        nobody waited for: ``late``, and ``surplus`` after another reply.
    retained
        The ``events`` that topics keep, their ``bytes`` and ``bytes_max``, and how many were ``past_bound``: given up,
        or not kept, because the bytes did not suffice.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     numbers = fabric.subscribe("numbers")
    ...     count = fabric.publish_many("numbers", range(3))
    ...     report = fabric.report()
    >>> report.topics["published"], report.subscriptions[0]["pending"]
    (3, 3)
    """

    node: str
    clock: str
    uptime_ns: int
    topics: Mapping[str, int]
    subscriptions: tuple[Mapping[str, Any], ...]
    handlers: tuple[Mapping[str, Any], ...]
    guards: tuple[Mapping[str, Any], ...]
    sources: tuple[Mapping[str, Any], ...]
    sinks: tuple[Mapping[str, Any], ...]
    requests: Mapping[str, int]
    retained: Mapping[str, int]
    timers: tuple[Mapping[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON."""
        parts = ("subscriptions", "handlers", "guards", "sources", "sinks", "timers")
        head = {"node": self.node, "clock": self.clock, "uptime_ns": self.uptime_ns, "topics": dict(self.topics)}
        head |= {"requests": dict(self.requests), "retained": dict(self.retained)}
        return head | {part: [dict(each) for each in getattr(self, part)] for part in parts}

    def __repr__(self) -> str:
        events = self.topics["published"]
        return f"Report({self.node!r}, clock={self.clock!r}, uptime_ns={self.uptime_ns}, events={events})"

    def __str__(self) -> str:
        seconds = self.uptime_ns / 1e9
        lines = [
            (
                f"node '{self.node}', {seconds:.1f} s on the {self.clock} clock: "
                f"{self.topics['published']} events on {self.topics['count']} topics"
            )
        ]
        for each in self.subscriptions:
            lost = sum(each["dropped"].values()) + sum(each["dead_lettered"].values())
            p50, p99 = (each["latency_ns"][name] / 1e3 for name in ("p50", "p99"))
            late = f"{each['late']} late, " if each["late"] else ""
            lines.append(
                f"  {each['name']}: {each['offered']} offered, {each['delivered']} delivered, {lost} lost, {late}"
                f"{each['pending']} pending; p50 {p50:.1f} us, p99 {p99:.1f} us"
            )
        if self.requests["asked"]:
            lines.append(
                "  requests: " + ", ".join(f"{count} {name}" for name, count in self.requests.items() if count)
            )
        if self.retained["events"] or self.retained["past_bound"]:
            events, held, past = (self.retained[name] for name in ("events", "bytes", "past_bound"))
            lines.append(f"  retained: {events} events, {held} bytes, {past} past the bound")
        for each in self.guards:
            p99 = each["lateness_ns"]["p99"] / 1e3
            lines.append(f"  guard {each['name']}: fired {each['fired']} times, p99 {p99:.1f} us after the sample")
        for each in self.timers:
            late, p99 = each["late_starts"], lateness(each)["p99"] / 1e3
            lines.append(
                f"  timer {each['name']}: {each['fired']} ticks, {each['missed_ticks'] + each['coalesced']} left out, "
                f"{late} more than {each['tolerance_ns'] / 1e3:g} us late; p99 {p99:.1f} us"
            )
        for kind in ("sources", "sinks", "handlers", "timers"):
            lines += [
                f"  {kind[:-1]} {each['name']}: {each['errors']} errors ({each['error']})"
                for each in getattr(self, kind)
                if each["errors"]
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        columns = ("", "name", "events or hits", "lost or missed", "pending", "errors", "p50 us", "p99 us")
        rows = []
        for each in self.subscriptions:
            lost = sum(each["dropped"].values()) + sum(each["dead_lettered"].values())
            counts = (each["delivered"], lost, each["pending"], "")
            rows.append(["subscription", each["name"], *map(str, counts), *_waits(each["latency_ns"])])
        for each in self.guards:
            counts = (each["fired"], "", "", each["errors"])
            rows.append(["guard", each["name"], *map(str, counts), *_waits(each["lateness_ns"])])
        for each in self.timers:
            counts = (hits(each), misses(each), "", each["errors"])
            rows.append(["timer", each["name"], *map(str, counts), *_waits(lateness(each))])
        for kind in ("handlers", "sources", "sinks"):
            rows += [[kind[:-1], each["name"], "", "", "", str(each["errors"]), "", ""] for each in getattr(self, kind)]
        return html_table(str(self).partition("\n")[0], rows, columns)


def misses(timer: Mapping[str, Any]) -> int:
    """Return how many ticks came later than their tolerance or not at all; those that joined another are none of them.

    A call is judged by its end, which is late where its start was; what is native, by its start.
    """
    late = timer["late_ends"] if calls_python(timer) else timer["late_starts"]
    return int(late + timer["missed_ticks"])


def hits(timer: Mapping[str, Any]) -> int:
    """Return how many ticks were acted on in time."""
    done = timer["completion_ns"]["count"] if calls_python(timer) else timer["fired"]
    return int(done + timer["missed_ticks"] - misses(timer))


def calls_python(timer: Mapping[str, Any]) -> bool:
    """Whether a function or coroutine of Python is called for its ticks."""
    return timer["execution_ns"] is not None


def lateness(timer: Mapping[str, Any]) -> dict[str, int]:
    """Return how late its actions began: calls of Python by the interpreter, others by the thread that fires."""
    late: dict[str, int] = timer["python_start_ns" if calls_python(timer) else "native_start_ns"]
    return late


def _waits(durations_ns: Mapping[str, int]) -> list[str]:
    return [f"{durations_ns[name] / 1e3:.1f}" for name in ("p50", "p99")]
