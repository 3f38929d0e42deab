"""The demonstration: this machine's telemetry, a child process that burns a core, and a guard that catches it.

Three phases: quiet, burn, quiet; then how late things are beside a busy interpreter (`busy.py`). The child says how
much of a core it got, so a machine whose quota keeps it from burning one is told apart from a guard that missed it:
only that is a failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

from chronofabric.apps.rendering import duration_text, wrapped
from chronofabric.apps.running import Outcome, carry_out
from chronofabric.errors import ChronofabricError, ReceiveTimeout

if TYPE_CHECKING:
    from chronofabric.apps.screen import Screen
    from chronofabric.bus import Event, Subscription
    from chronofabric.fabric.node import Fabric

QUIET_S = 3.0
BURN_S = 3.0
IDLE_S, BUSY_S = 1.0, 3.0
CALIBRATION_S = 0.5
SHARE_NEEDED = 0.8
"""What the guard's line asks for."""

STEADY_NEEDED_S = 0.8
"""A steady burn of this long must fire the guard: its window, the host's sliding share, and some samples."""

GUARD = "process-busy"
CORE_GUARD = "core-busy"


@dataclass(frozen=True, slots=True)
class Burn:
    """How much of a core the child got."""

    wall_s: float
    cpu_s: float
    steady_s: float

    @property
    def share(self) -> float:
        """Processor time over wall time."""
        return self.cpu_s / self.wall_s


@dataclass(slots=True)
class Watch:
    """What was seen while the node ran."""

    burn_started_ns: int | None = None
    burn: Burn | None = None
    fired_ns: dict[str, list[int]] = field(default_factory=dict)

    def fired_in_burn(self, guard: str) -> int | None:
        """Return how long after the start of the burn ``guard`` first fired, in nanoseconds."""
        if self.burn_started_ns is None or self.burn is None:
            return None
        # The host's share slides over 200 ms, so the sample that crosses the line may follow the burn by as much.
        until_ns = self.burn_started_ns + round((self.burn.wall_s + 0.5) * 1e9)
        times = [time for time in self.fired_ns.get(guard, ()) if self.burn_started_ns <= time <= until_ns]
        return min(times) - self.burn_started_ns if times else None


class Burner:
    """The child process, seen from its parent."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def start(self, seconds: float) -> None:
        """Tell the child to burn."""
        try:
            _pipe(self._process.stdin).write(f"burn {seconds}\n")
            _pipe(self._process.stdin).flush()
        except OSError:
            self._gone()

    def result(self) -> Burn:
        """Wait until the child has burnt and return what it got."""
        answer = _pipe(self._process.stdout).readline()
        return Burn(**json.loads(answer)) if answer else self._gone()

    def _gone(self) -> NoReturn:
        raise ChronofabricError(f"the child that should burn a core ended, with exit code {self._process.wait()}")


def run_file() -> Path:
    """Return the run file of the demonstration, which is part of the package."""
    return Path(__file__).with_name("host_guard.toml")


@contextmanager
def burner() -> Iterator[Burner]:
    """Start the child, and end it with the body."""
    command = [sys.executable, "-I", str(Path(__file__).with_name("burner.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Burner(process)
        finally:
            process.kill()


def demonstrate(
    *,
    show: bool = True,
    quiet_s: float = QUIET_S,
    burn_s: float = BURN_S,
    idle_s: float = IDLE_S,
    busy_s: float = BUSY_S,
) -> Outcome:
    """Run the demonstration and judge it.

    Parameters
    ----------
    show
        Tell what happens while it happens.
    quiet_s
        How long nothing burns, before and after.
    burn_s
        How long the child burns.
    idle_s, busy_s
        How long is looked at what is late, without and beside a busy thread of Python.
    """
    from chronofabric.apps.busy import show_busy_interpreter
    from chronofabric.fabric.settings import build, load

    def tell(line: str) -> None:
        if show:
            print(wrapped(line), flush=True)

    with burner() as child:
        tell(f"A child process (pid {child.pid}) will burn a core. First, how much of one does it get on this machine?")
        child.start(CALIBRATION_S)
        calibration = child.result()
        tell(_calibration_sentence(calibration))
        fabric = build(load(run_file(), [f"source.host.processes=[{child.pid}]", "sink=[]"]))
        watch = Watch()
        narrator = _Narrator(fabric, child, watch, quiet_s=quiet_s, burn_s=burn_s)
        outcome = carry_out(fabric, show=show, watching=narrator)
    outcome = _judged(outcome, calibration, watch)
    if watch.burn is None:
        return outcome
    seen = show_busy_interpreter(show=show, tell=tell, idle_s=idle_s, busy_s=busy_s)
    return _with_busy_interpreter(outcome, seen)


class _Narrator:
    """Leads through the phases, watches the guards meanwhile, and stops the node after the last phase."""

    def __init__(self, fabric: Fabric, child: Burner, watch: Watch, *, quiet_s: float, burn_s: float) -> None:
        self._fabric = fabric
        self._child = child
        self._watch = watch
        self._quiet_s = quiet_s
        self._burn_s = burn_s
        self._screen: Screen | None = None

    def __call__(self, screen: Screen | None, over: threading.Event) -> None:
        self._screen = screen
        try:
            with self._fabric.subscribe("guard/*", name="demo") as firings:
                self._lead(firings, over)
        finally:
            self._fabric.stop()

    def _say(self, line: str) -> None:
        if self._screen:
            self._screen.say(line)

    def _lead(self, firings: Subscription, over: threading.Event) -> None:
        self._say(f"Quiet: for {self._quiet_s:.0f} s the child sleeps.")
        self._watch_for(self._quiet_s, firings, over)
        self._say(f"Burn: for {self._burn_s:.0f} s the child uses all it gets of a core.")
        self._watch.burn_started_ns = self._fabric.clock.now()
        self._child.start(self._burn_s)
        self._watch_for(self._burn_s, firings, over)
        if over.is_set():
            return
        self._watch.burn = self._child.result()
        self._say(f"The child had {self._watch.burn.share:.0%} of a core.")
        self._say(f"Quiet: for {self._quiet_s:.0f} s the child sleeps again.")
        self._watch_for(self._quiet_s, firings, over)

    def _watch_for(self, seconds: float, firings: Subscription, over: threading.Event) -> None:
        until_ns = self._fabric.clock.now() + round(seconds * 1e9)
        while not over.is_set() and (left_ns := until_ns - self._fabric.clock.now()) > 0:
            try:
                event = firings.receive(timeout=min(left_ns / 1e9, 0.1))
            except ReceiveTimeout:
                continue
            self._note(event)

    def _note(self, event: Event) -> None:
        guard = event.topic.removeprefix("guard/")
        self._watch.fired_ns.setdefault(guard, []).append(event.time)
        since = self._watch.burn_started_ns
        when = f" {duration_text(event.time - since)} after the burn began" if since is not None else ""
        self._say(f"  >> guard '{guard}' fired{when}")


def _judged(outcome: Outcome, calibration: Burn, watch: Watch) -> Outcome:
    """Add to the outcome whether the guard did what it is for."""
    fired_ns = watch.fired_in_burn(GUARD)
    burnt = watch.burn is not None and watch.burn.steady_s >= STEADY_NEEDED_S
    guards = {guard["name"]: guard for guard in outcome.report["guards"]}
    facts: dict[str, object] = {
        "demo": {
            "calibration_share": calibration.share,
            "burn_share": watch.burn.share if watch.burn else None,
            "burn_steady_s": watch.burn.steady_s if watch.burn else None,
            "fired_after_burn_began_ns": {name: watch.fired_in_burn(name) for name in (GUARD, CORE_GUARD)},
            "sample_to_action_ns": {name: guards[name]["lateness_ns"]["max"] for name in (GUARD, CORE_GUARD)},
        }
    }
    if watch.burn is None:
        findings = ["The demonstration was interrupted before its burn was over, so it shows nothing."]
        return replace(outcome, findings=tuple(findings), facts=facts)
    findings = [_firing_sentence(name, watch, guards[name]) for name in (GUARD, CORE_GUARD)]
    exit_code = outcome.exit_code
    if fired_ns is None and burnt:
        findings.append(
            f"FAILED: the child held a core steadily for {watch.burn.steady_s:.1f} s and guard '{GUARD}' did not fire."
        )
        exit_code = 1
    elif fired_ns is None:
        findings.append(
            f"No verdict: the child got {watch.burn.share:.0%} of a core and never {SHARE_NEEDED:.0%} of it steadily; "
            "a quota or other load on this machine kept it from burning, so the guard had nothing to catch."
        )
    return replace(outcome, exit_code=exit_code, findings=tuple(findings), facts=facts)


def _with_busy_interpreter(outcome: Outcome, seen: tuple[list[str], dict[str, object]] | None) -> Outcome:
    """Add what was seen beside a busy interpreter; how late that is, is the machine's affair and no failure."""
    if seen is None:
        interrupted = "The demonstration was interrupted before it had seen what is late beside a busy interpreter."
        return replace(outcome, findings=(*outcome.findings, interrupted))
    sentences, facts = seen
    demo = {**cast("Mapping[str, object]", outcome.facts["demo"]), "busy_interpreter_late_ns": facts}
    return replace(outcome, findings=(*outcome.findings, *sentences), facts={"demo": demo})


def _firing_sentence(name: str, watch: Watch, guard: Mapping[str, Any]) -> str:
    fired_ns = watch.fired_in_burn(name)
    if fired_ns is None:
        return f"Guard '{name}' did not fire while the child burnt."
    return (
        f"Guard '{name}' fired {duration_text(fired_ns)} after the burn began (its formula asks for 500 ms of it), "
        f"and acted {duration_text(guard['lateness_ns']['max'])} after the sample that crossed the line."
    )


def _calibration_sentence(calibration: Burn) -> str:
    if calibration.share >= SHARE_NEEDED:
        return f"It gets {calibration.share:.0%} of a core: enough for the guard, whose line is {SHARE_NEEDED:.0%}."
    return (
        f"It gets {calibration.share:.0%} of a core, by a quota or other load on this machine: less than the "
        f"{SHARE_NEEDED:.0%} that the guard asks for, which may therefore stay silent."
    )


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise ChronofabricError("the child that should burn a core was started without pipes")
    return pipe
