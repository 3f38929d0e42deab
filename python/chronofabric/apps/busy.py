"""What a busy interpreter does to what is due: the demonstration's last phase.

Two native timers publish in turn, so that a guard over both fires at each tick of the first, and raises a flag: nothing
of this needs the interpreter. Beside them a function of Python is called, and a source of Python samples, as often.
First nothing else runs, then a thread of Python that never lets go of the interpreter by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chronofabric.apps.rendering import duration_text
from chronofabric.apps.running import carry_out

if TYPE_CHECKING:
    from chronofabric.apps.screen import Screen
    from chronofabric.fabric.sources.source import Node
    from chronofabric.fabric.stopping import StopToken

PERIOD_NS = 20_000_000

NATIVE, GUARD, CALL, SAMPLE = "native timer", "guard", "Python function", "Python source"
"""What is due: names in the report of the node, and keys of the facts."""

Lateness = Mapping[str, int]
"""How late something was, in nanoseconds: ``p50`` and ``max``, of ``count``."""


@dataclass(slots=True)
class Sampler:
    """A source that waits for its instants in Python, and notes how late it came to them."""

    name: str = SAMPLE
    finite: bool = False
    late_ns: list[int] = field(default_factory=list)

    @property
    def published(self) -> int:
        """How often it sampled."""
        return len(self.late_ns)

    def run(self, node: Node, stop: StopToken) -> None:
        """Sample until told to stop."""
        from chronofabric.fabric.sources.ticks import Ticks

        for due_ns in Ticks(node.clock, stop, PERIOD_NS):
            self.late_ns.append(node.clock.now() - due_ns)


def lateness(seconds: float, *, busy: bool, show: bool) -> dict[str, Lateness] | None:
    """Return how late each of them was while a node ran; None where it was interrupted."""
    import chronofabric as cf

    fabric = cf.Fabric("busy-interpreter" if busy else "idle-interpreter")
    fabric.guard(
        GUARD, signals={"up": "tick/up#due", "down": "tick/down#due"}, when="up > down", do=cf.Flag(), deadline="1 ms"
    )
    sampler = Sampler()
    fabric.add_source(sampler)

    @fabric.every(f"{PERIOD_NS} ns", name=CALL)
    def _called() -> None:
        pass

    def watching(screen: Screen | None, over: threading.Event) -> None:
        if screen:
            screen.say(f"Busy: for {seconds:.0f} s this thread of Python computes." if busy else "Nothing else runs.")
        timers = fabric.timers
        timers.every(f"{PERIOD_NS} ns", fabric.publisher("tick/up"), name=NATIVE)
        timers.every(f"{PERIOD_NS} ns", fabric.publisher("tick/down"), first=f"{PERIOD_NS // 2} ns", name="the other")
        until_ns = fabric.clock.now() + round(seconds * 1e9)
        while busy and not over.is_set() and fabric.clock.now() < until_ns:
            pass
        over.wait(max(0, until_ns - fabric.clock.now()) / 1e9)
        fabric.stop()

    outcome = carry_out(fabric, show=show, watching=watching)
    if outcome.exit_code:
        return None
    timers = {row["name"]: row for row in outcome.report["timers"]}
    return {
        NATIVE: _shown(timers[NATIVE]["native_start_ns"]),
        GUARD: _shown(outcome.report["guards"][0]["lateness_ns"]),
        CALL: _shown(timers[CALL]["python_start_ns"]),
        SAMPLE: _of(sampler.late_ns),
    }


def _shown(percentiles: Mapping[str, Any]) -> Lateness:
    return {name: int(percentiles[name]) for name in ("count", "p50", "max")}


def _of(late_ns: list[int]) -> Lateness:
    ordered = sorted(late_ns) or [0]
    return {"count": len(late_ns), "p50": ordered[len(ordered) // 2], "max": ordered[-1]}


def sentences(idle: Mapping[str, Lateness], busy: Mapping[str, Lateness]) -> list[str]:
    """Return what was seen, a sentence for each of them."""

    def late(of: Lateness) -> str:
        return f"{duration_text(of['p50'])} at p50 and {duration_text(of['max'])} at most"

    def both(name: str) -> str:
        return f"{late(busy[name])} beside a busy Python thread; without it {late(idle[name])}"

    return [
        f"A native timer published late by {both(NATIVE)}.",
        f"Its guard raised a flag after that by {both(GUARD)}. Neither needs the interpreter.",
        f"A function of Python was called late by {both(CALL)}.",
        f"A source of Python sampled late by {both(SAMPLE)}. What must be on time needs a native timer.",
    ]


def show_busy_interpreter(
    *, show: bool, tell: Callable[[str], None], idle_s: float, busy_s: float
) -> tuple[list[str], dict[str, object]] | None:
    """Run the phase; return its sentences and facts, or None where it was interrupted."""
    tell(
        f"Now for deadlines: native timers, a guard, a function and a source of Python, every {PERIOD_NS // 10**6} ms."
    )
    idle = lateness(idle_s, busy=False, show=show)
    busy = idle and lateness(busy_s, busy=True, show=show)
    if not idle or not busy:
        return None
    return sentences(idle, busy), {"idle": idle, "busy": busy}
