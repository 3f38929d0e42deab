"""What is due when, and what runs then.

Everything that waits for an instant is a participant: the scripts, each source, the event loop of coroutine handlers.
Time is moved to the first instant at which one of them is due, that one takes a step, and then everything runs that it
has caused: handlers in the order in which they were added, node by node, until nothing waits any more; then the next.
Where several are due at once, the one that was there first goes first. All of it happens in the thread that advances
the simulation, so one test is one sequence of steps, the same in every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from chronofabric.errors import ArgumentError, ClockError, SimulationError
from chronofabric.testing.script import NEVER, Scripts
from chronofabric.testing.timeline import lines, seconds

if TYPE_CHECKING:
    from chronofabric.clock import SimulatedClock
    from chronofabric.testing.loop import SimulatedLoop
    from chronofabric.testing.node import SimulatedFabric

__all__ = ["Failure", "Participant", "Stepper"]

_STEPS_MAX = 1_000_000
"""How much may happen at one instant; more of it waits for something that takes time."""

_DRAIN_EVERY = 1_024
"""After how many steps the expectations take over what waits for them."""

_FAILURES_MAX = 100


class Participant(Protocol):
    """Something that is due at an instant."""

    @property
    def due_ns(self) -> int:
        """When it has something to do; `NEVER` where it has nothing."""
        ...

    def run(self, now_ns: int) -> int:
        """Do one thing that is due; return how many steps that was."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """What a handler, source or sink of a simulated node raised.

    Attributes
    ----------
    node
        The name of the node.
    part
        What raised it, such as ``handler show``.
    topic
        The topic of the event that it was called for; None for sources and sinks.
    time_ns
        When, in nanoseconds since the start of the simulation.
    error
        What it raised.
    """

    node: str
    part: str
    topic: str | None
    time_ns: int
    error: BaseException

    def __str__(self) -> str:
        on = "" if self.topic is None else f" on '{self.topic}'"
        return f"{self.part} of '{self.node}'{on} at {seconds(self.time_ns)}: {type(self.error).__name__}: {self.error}"


class Stepper:
    """The time of a simulation, and all that happens in it.

    Parameters
    ----------
    clock
        The time, which is moved by nobody else.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.start_ns = clock.now()
        self.scripts = Scripts()
        self.participants: list[Participant] = [self.scripts]
        self.nodes: list[SimulatedFabric] = []
        self.failures: list[Failure] = []
        self.advancing = False
        self._loop: SimulatedLoop | None = None
        self._thread = threading.get_ident()
        self._undrained = 0
        self._endless = False

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the one that moves the time."""
        return self._thread == threading.get_ident()

    # Time

    def advance(self, duration_ns: int | None, until: Callable[[], object] | None = None) -> bool:
        """Go on for a duration, or while something is due; say whether `until` became true before."""
        end_ns = NEVER if duration_ns is None else self.clock.now() + duration_ns
        if duration_ns is not None and end_ns >= NEVER:
            hint = "the last instant of simulated time is in the year 2262"
            text = f"duration is {seconds(duration_ns)}; {hint}"
            raise ArgumentError(text, argument="duration", value=duration_ns, hint=hint)
        self._begin()
        try:
            return self._run(end_ns, until)
        finally:
            self.advancing = False
            self._drain()

    def settle(self) -> None:
        """Run what can run now, for who closes a node or looks for failures; not where that has no end."""
        if self.advancing or self._endless or not self.is_here:
            return
        self._begin()
        try:
            self._settle(self.clock.now())
        finally:
            self.advancing = False
            self._drain()

    def _begin(self) -> None:
        if self.advancing:
            whose = "a handler, source or script of it" if self.is_here else "another thread"
            raise SimulationError(
                f"the simulation is being advanced, and {whose} asked it to advance; only the test moves the time: "
                "publish, script(), or await asyncio.sleep() in a coroutine handler",
                time_ns=self.clock.now(),
            )
        self.advancing, self._endless = True, False
        self._thread = threading.get_ident()

    def _run(self, end_ns: int, until: Callable[[], object] | None) -> bool:
        now_ns = self.clock.now()
        steps = self._settle(now_ns)
        while until is None or not until():
            first, due_ns = None, NEVER
            for participant in self.participants:
                if (its_ns := participant.due_ns) < due_ns:
                    first, due_ns = participant, its_ns
            if first is None or due_ns > end_ns:
                if end_ns < NEVER:
                    self._move(end_ns)
                return False
            if due_ns > now_ns:
                now_ns, steps = self._move(due_ns), 0
            steps += first.run(now_ns) + self._settle(now_ns)
            if steps > _STEPS_MAX:
                self._refuse_endless(now_ns)
        return True

    def _move(self, time_ns: int) -> int:
        """Set the clock, unless somebody has set it further meanwhile; return the time."""
        try:
            self.clock.set(time_ns)
        except ClockError:
            return self.clock.now()
        return time_ns

    def _settle(self, now_ns: int) -> int:
        """Run everything that can run without time passing; return how many steps that was."""
        steps = 0
        while True:
            count = 0
            for node in self.nodes:
                count += node._step()
            loop = self._loop
            if loop is not None and (loop.wanted or loop.has_input()):
                count += loop.run(now_ns)
                if loop.endless:
                    self._refuse_endless(now_ns)
            steps += count
            self._undrained += count + 1
            if self._undrained > _DRAIN_EVERY:
                self._drain()
            if not count:
                return steps
            if steps > _STEPS_MAX:
                self._refuse_endless(now_ns)

    def _refuse_endless(self, now_ns: int) -> NoReturn:
        self._endless = True
        raise SimulationError(
            f"what happens at {seconds(now_ns - self.start_ns)} has no end, and the time does not move: do handlers "
            f"publish in a circle, or has a script or coroutine no end at one instant?\n{self.carried()}",
            time_ns=now_ns,
        )

    def _drain(self) -> None:
        self._undrained = 0
        for node in self.nodes:
            node._drain_recordings()

    def carried(self) -> str:
        """Show what the nodes carried last."""
        return "\n".join(
            f"what '{node.name}' carried:\n{lines(node._recording.events, self.start_ns)}" for node in self.nodes
        )

    # What nodes ask for

    def loop(self) -> SimulatedLoop:
        """Return the event loop of coroutine handlers, made when it is first needed."""
        if self._loop is None:
            from chronofabric.testing.loop import SimulatedLoop

            self._loop = SimulatedLoop(self.clock)
            self.participants.append(self._loop)
        return self._loop

    def note_failure(self, node: str, part: str, topic: str | None, error: BaseException) -> None:
        """Remember what a part of a node raised; of more than 100, the first."""
        if len(self.failures) < _FAILURES_MAX:
            self.failures.append(Failure(node, part, topic, self.clock.now() - self.start_ns, error))

    def forget(self, node: SimulatedFabric, sources: list[Any]) -> None:
        """Take a node that is closed out, with what it has that is due."""
        self.scripts.remove(node)
        self.participants = [each for each in self.participants if each not in sources]
        self.nodes = [each for each in self.nodes if each is not node]

    def finish(self) -> None:
        """End the event loop, if there was one."""
        if self._loop is not None:
            self._loop.finish()
            self._loop = None
