"""A node's report as lines of text: the table drawn while it runs, and the report at its end.

Everything here is a function from one snapshot (``fabric.report().as_dict()``) to strings. A frame is a few dozen
formatted strings and costs the interpreter well under a millisecond, where a table of a layout library costs twenty:
the guards and sources of the same process should not notice that somebody is watching.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from chronofabric.fabric.report import calls_python, hits, lateness, misses

Snapshot = Mapping[str, Any]

_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))
_HEAD = f"{'p50':>9}{'p99':>9}{'max':>9}"


def duration_text(nanoseconds: float | None) -> str:
    """Return a duration to three digits in its natural unit, a dash for none.

    Examples
    --------
    >>> duration_text(35_400), duration_text(2_000_000_000), duration_text(None)
    ('35.4 us', '2.00 s', '-')
    """
    if nanoseconds is None:
        return "-"
    # 999.6 us would round to a fourth digit, so the next unit starts a little below its size.
    size, unit = next((step for step in _UNITS if abs(nanoseconds) >= step[0] * 0.9995), _UNITS[-1])
    value = nanoseconds / size
    if size == 1:
        return f"{value:.0f} {unit}"
    return f"{value:.2f} {unit}" if value < 9.995 else f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def count_text(count: float) -> str:
    """Return a whole number in groups of three digits.

    Examples
    --------
    >>> count_text(1234567)
    '1 234 567'
    """
    return f"{count:,.0f}".replace(",", " ")


def rate_text(rate: float) -> str:
    """Return a rate, with a decimal where it is small.

    Examples
    --------
    >>> rate_text(0.5), rate_text(1250.4)
    ('0.5', '1 250')
    """
    return f"{rate:.1f}" if rate < 100 else count_text(rate)


class Rates:
    """Rates of counters between one snapshot and the one before it."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._uptime_ns = 0
        self._elapsed_s = 0.0
        self._before: dict[tuple[str, str], int] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Make ``snapshot`` the newest one."""
        counts = {("topics", "published"): int(snapshot["topics"]["published"])}
        for subscription in snapshot["subscriptions"]:
            counts["subscription", subscription["name"]] = subscription["offered"] + subscription["replayed"]
        for source in snapshot["sources"]:
            counts["source", source["name"]] = source["published"]
        self._before, self._counts = self._counts, counts
        uptime_ns = int(snapshot["uptime_ns"])
        self._elapsed_s, self._uptime_ns = (uptime_ns - self._uptime_ns) / 1e9, uptime_ns

    def of(self, kind: str, name: str) -> float:
        """Return how many a second the counter ``name`` of ``kind`` gained."""
        gained = self._counts.get((kind, name), 0) - self._before.get((kind, name), 0)
        return gained / self._elapsed_s if self._elapsed_s > 0 else 0.0


def frame(snapshot: Snapshot, rates: Rates, *, width: int, height: int) -> list[str]:
    """Return the lines of the live table, none wider than ``width``, at most ``height`` of them."""
    topics = snapshot["topics"]
    head = (
        f"{snapshot['node']} | {snapshot['clock']} clock | {snapshot['uptime_ns'] / 1e9:.1f} s | "
        f"{count_text(topics['count'])} topics | {count_text(topics['published'])} events | "
        f"{rate_text(rates.of('topics', 'published'))}/s"
    )
    lines = ["-" * min(width, 100), head]
    if snapshot["sources"]:
        lines.append(f"{'source':<24}{'events/s':>10}{'published':>14}{'errors':>8}")
        lines.extend(
            f"{_short(source['name'], 23):<24}{rate_text(rates.of('source', source['name'])):>10}"
            f"{count_text(source['published']):>14}{source['errors']:>8}{_failure(source)}"
            for source in snapshot["sources"]
        )
    if snapshot["subscriptions"]:
        lines.append(f"{'subscription':<24}{'events/s':>10}{'waiting':>14}{'lost':>8}{_HEAD}")
        lines.extend(_subscription_line(subscription, rates) for subscription in snapshot["subscriptions"])
    if snapshot["guards"]:
        lines.append(f"{'guard':<24}{'margin':>10}{'evaluated':>14}{'fired':>8}{_HEAD}")
        lines.extend(_guard_line(guard) for guard in snapshot["guards"])
    if snapshot["timers"]:
        lines.append(f"{'timer':<24}{'hits':>10}{'misses':>14}{'errors':>8}{_HEAD}")
        lines.extend(_timer_line(timer) for timer in snapshot["timers"])
    if held := _with_deadline(snapshot):
        lines.append(f"{'with a deadline':<24}{'met':>10}{'missed':>14}{'within':>8}{_HEAD}")
        lines.extend(_deadline_line(kind, part) for kind, part in held)
    if len(lines) > height:
        left_out = len(lines) - height + 1
        lines = [*lines[: height - 1], f"... {left_out} more lines; the report at the end has them all"]
    return [line[:width] for line in lines]


def progress_line(snapshot: Snapshot, rates: Rates) -> str:
    """Return one line on where a run stands, for an output that is no terminal."""
    pending = sum(subscription["pending"] for subscription in snapshot["subscriptions"])
    lost = sum(_lost(subscription) for subscription in snapshot["subscriptions"])
    fired = sum(guard["fired"] for guard in snapshot["guards"])
    held = _with_deadline(snapshot)
    missed = sum(misses(timer) for timer in snapshot["timers"]) + sum(part["late"] for _, part in held)
    times = [lateness(timer) for timer in snapshot["timers"]] + [part["lateness_ns"] for _, part in held]
    latest = max((each["p99"] for each in times if each["count"]), default=None)
    deadlines = f"  deadlines missed {count_text(missed)}, p99 {duration_text(latest)} late" if times else ""
    slowest = max(
        (subscription["latency_ns"]["p99"] or 0 for subscription in snapshot["subscriptions"]),
        default=0,
    )
    return (
        f"{snapshot['uptime_ns'] / 1e9:8.1f} s  {count_text(snapshot['topics']['published'])} events"
        f"  {rate_text(rates.of('topics', 'published'))}/s  waiting {count_text(pending)}  lost {count_text(lost)}"
        f"  p99 {duration_text(slowest or None)}  guards fired {count_text(fired)}{deadlines}"
    )


def report_lines(snapshot: Snapshot) -> list[str]:
    """Return the report at the end of a run: books, percentiles, guards and what failed."""
    topics = snapshot["topics"]
    lines = [
        f"Report of node '{snapshot['node']}' after {snapshot['uptime_ns'] / 1e9:.1f} s ({snapshot['clock']} clock)",
        f"  {count_text(topics['published'])} events on {count_text(topics['count'])} topics",
    ]
    if snapshot["sources"]:
        lines += ["", f"  {'source':<26}{'published':>14}{'errors':>9}"]
        lines += [
            f"  {_short(source['name'], 25):<26}{count_text(source['published']):>14}{source['errors']:>9}"
            for source in snapshot["sources"]
        ]
    if snapshot["subscriptions"]:
        lines += [
            "",
            f"  {'subscription':<22}{'offered':>11}{'delivered':>11}{'dropped':>9}{'dead':>7}{'pending':>8}{_HEAD}",
        ]
        for subscription in snapshot["subscriptions"]:
            lines += _books_lines(subscription)
    if snapshot["sinks"]:
        lines += ["", f"  {'sink':<26}{'written':>14}{'errors':>9}"]
        lines += [
            f"  {_short(sink['name'], 25):<26}{count_text(sink['written']):>14}{sink['errors']:>9}"
            for sink in snapshot["sinks"]
        ]
    if snapshot["guards"]:
        lines += ["", "  guard                      (times: from the sample that crossed the line to the action)"]
        lines += [f"  {'':<26}{'evaluated':>14}{'fired':>8}{'errors':>8}{'late':>7}{_HEAD}"]
        lines += [
            f"  {_short(guard['name'], 25):<26}{count_text(guard['evaluated']):>14}{guard['fired']:>8}"
            f"{guard['errors']:>8}{guard['late']:>7}{_percentiles(guard['lateness_ns'])}"
            for guard in snapshot["guards"]
        ]
    if snapshot["handlers"]:
        lines += ["", "  handler                    (times: from the event to the call)"]
        lines += [f"  {'':<26}{'calls':>14}{'errors':>9}{'late':>7}{_HEAD}"]
        lines += [
            f"  {_short(handler['name'], 25):<26}{count_text(handler['calls']):>14}{handler['errors']:>9}"
            f"{handler['late']:>7}{_percentiles(handler['lateness_ns'])}"
            for handler in snapshot["handlers"]
        ]
    if snapshot["timers"]:
        lines += ["", "  timer                      (times: from the instant of a tick to its action)"]
        lines += [f"  {'':<26}{'hits':>14}{'misses':>9}{'left out':>9}{'joined':>8}{_HEAD}"]
        for timer in snapshot["timers"]:
            lines += _timer_lines(timer)
    failures = failure_lines(snapshot)
    return [*lines, "", *failures] if failures else lines


def failure_lines(snapshot: Snapshot) -> list[str]:
    """Return a sentence for each source and sink that failed, and each guard, handler and timer that had errors."""
    verdicts = {
        "source": "failed",
        "sink": "failed",
        "guard": "had errors, the last one",
        "handler": "had errors, the last one",
        "timer": "had errors, the last one",
    }
    return [
        f"{kind} '{part['name']}' {verdict}: {part['error']}"
        for kind, verdict in verdicts.items()
        for part in snapshot[f"{kind}s"]
        if part.get("error")
    ]


def terminal_width(most: int = 100) -> int:
    """Return how wide a text may be: what the terminal has, within bounds; `most` where there is no terminal."""
    return max(40, min(most, shutil.get_terminal_size((most, 24)).columns))


def colours_wanted(output: TextIO) -> bool:
    """Return whether an output shows colours and its user wants them (https://no-color.org)."""
    return output.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def wrapped(sentence: str) -> str:
    """Return a sentence in lines that fit most terminals."""
    return textwrap.fill(sentence, 96)


def failed(snapshot: Snapshot) -> bool:
    """Return whether a source or a sink of the run failed."""
    parts: Sequence[Snapshot] = [*snapshot["sources"], *snapshot["sinks"]]
    return any(part["error"] for part in parts)


def _subscription_line(subscription: Snapshot, rates: Rates) -> str:
    name = subscription["name"] or subscription["pattern"]
    waiting = f"{subscription['pending']}/{subscription['capacity']}"
    return (
        f"{_short(name, 23):<24}{rate_text(rates.of('subscription', subscription['name'])):>10}{waiting:>14}"
        f"{count_text(_lost(subscription)):>8}{_percentiles(subscription['latency_ns'])}"
    )


def _guard_line(guard: Snapshot) -> str:
    robustness = guard["last_robustness"]
    margin = "-" if robustness is None else f"{robustness:.4g}"
    return (
        f"{_short(guard['name'], 23):<24}{margin:>10}{count_text(guard['evaluated']):>14}{guard['fired']:>8}"
        f"{_percentiles(guard['lateness_ns'])}"
    )


def _timer_line(timer: Snapshot) -> str:
    return (
        f"{_short(timer['name'], 23):<24}{count_text(hits(timer)):>10}{count_text(misses(timer)):>14}"
        f"{timer['errors']:>8}{_percentiles(lateness(timer))}"
    )


def _with_deadline(snapshot: Snapshot) -> list[tuple[str, Snapshot]]:
    """Return the handlers and guards that have a deadline, each with what one of its actions is called."""
    kinds = (("handlers", "calls"), ("guards", "fired"))
    return [(acted, part) for kind, acted in kinds for part in snapshot[kind] if part["deadline_ns"] is not None]


def _deadline_line(acted: str, part: Snapshot) -> str:
    """Return the row of a handler or a guard; its times are those from the event to the action."""
    return (
        f"{_short(part['name'], 23):<24}{count_text(part[acted] - part['late']):>10}{count_text(part['late']):>14}"
        f"{duration_text(part['deadline_ns']):>8}{_percentiles(part['lateness_ns'])}"
    )


def _timer_lines(timer: Snapshot) -> Iterator[str]:
    yield (
        f"  {_short(timer['name'], 25):<26}{count_text(hits(timer)):>14}{count_text(misses(timer)):>9}"
        f"{count_text(timer['missed_ticks']):>9}{count_text(timer['coalesced']):>8}{_percentiles(lateness(timer))}"
    )
    if calls_python(timer) and timer["called"]:
        took = timer["execution_ns"]
        over = (
            f", {count_text(timer['overruns'])} over {duration_text(timer['budget_ns'])}" if timer["overruns"] else ""
        )
        times = ", ".join(f"{duration_text(took[name])} ({name})" for name in ("p50", "p99", "max"))
        yield f"    a call took {times}{over}"


def _books_lines(subscription: Snapshot) -> Iterator[str]:
    dropped, dead = subscription["dropped"], subscription["dead_lettered"]
    name = _short(subscription["name"] or subscription["pattern"], 21)
    yield (
        f"  {name:<22}{count_text(subscription['offered']):>11}{count_text(subscription['delivered']):>11}"
        f"{count_text(sum(dropped.values())):>9}{count_text(sum(dead.values())):>7}"
        f"{count_text(subscription['pending']):>8}{_percentiles(subscription['latency_ns'])}"
    )
    reasons = [f"{count_text(subscription[what])} {what}" for what in ("replayed", "filtered") if subscription[what]]
    reasons += [f"{count_text(count)} dropped ({reason})" for reason, count in dropped.items() if count]
    reasons += [f"{count_text(count)} dead-lettered ({reason})" for reason, count in dead.items() if count]
    if reasons:
        yield f"    {', '.join(reasons)}"


def _percentiles(latency: Snapshot) -> str:
    if not latency["count"]:
        return f"{'-':>9}{'-':>9}{'-':>9}"
    return "".join(f"{duration_text(latency[percentile]):>9}" for percentile in ("p50", "p99", "max"))


def _lost(subscription: Snapshot) -> int:
    return int(sum(subscription["dropped"].values()) + sum(subscription["dead_lettered"].values()))


def _failure(source: Snapshot) -> str:
    return f"  {source['error']}" if source["error"] else ""


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
