"""A simulation as tests see it: time that moves only when told, the nodes on it, and what failed in them."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from chronofabric.clock import SimulatedClock, Stamp
from chronofabric.duration import nanoseconds
from chronofabric.errors import ArgumentError, ClosedError, SimulationError
from chronofabric.testing.node import SimulatedFabric
from chronofabric.testing.stepper import Failure, Stepper
from chronofabric.testing.timeline import seconds

if TYPE_CHECKING:
    from chronofabric.duration import Duration

__all__ = ["Simulation"]

_SEED_VARIABLE = "CHRONOFABRIC_SEED"


class Simulation:
    """Nodes on a time that moves only when told.

    It belongs into a ``with`` statement, or comes as the fixture ``simulation`` of the pytest plugin. Leaving it closes
    its nodes, and raises an `AssertionError` where a handler, source or sink failed and nobody took the failure.

    Parameters
    ----------
    start
        Where its time starts: a datetime with a time zone, a stamp, or nanoseconds since the Unix epoch.
    seed
        The seed of `random`; by default that of the environment variable ``CHRONOFABRIC_SEED``, otherwise 0.

    Raises
    ------
    ArgumentError
        An argument, or the environment variable, has a value that cannot be used.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.testing.Simulation() as simulation:
    ...     node = simulation.fabric()
    ...     node.script("plant/7/temperature", [(0, 20.5), ("1 h", 21.0)])
    ...     readings = node.expect("plant/**")
    ...     simulation.advance("59 min")
    ...     readings.assert_payloads([20.5])
    ...     simulation.advance("1 min")
    ...     readings.assert_payloads([20.5, 21.0])
    """

    def __init__(self, *, start: int | datetime | Stamp = 0, seed: int | None = None) -> None:
        self.seed = _checked_seed(seed)
        self.clock = SimulatedClock(start=start)
        self._stepper = Stepper(self.clock)
        self._made = 0
        self._random: random.Random | None = None
        self._closed = False

    # What it is

    @property
    def elapsed(self) -> float:
        """Seconds of simulated time since its start."""
        return (self.clock.now() - self._stepper.start_ns) / 1e9

    @property
    def random(self) -> random.Random:
        """Chance that is the same in every run with one seed."""
        if self._random is None:
            self._random = random.Random(self.seed)  # noqa: S311 - for tests
        return self._random

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._stepper.nodes)} nodes"
        return f"Simulation(elapsed={self.elapsed}, seed={self.seed}, {state})"

    def fabric(self, name: str | None = None, **options: Any) -> SimulatedFabric:
        """Make a node on this time, which runs from now on and is closed with the simulation.

        Parameters
        ----------
        name
            Its name; by default ``node``, then ``node-2`` and so on.
        **options
            ``events_max``, how many events it keeps for references and for the text of failures (65 536); and those of
            `Fabric`, save the clock.

        Raises
        ------
        ArgumentError
            As for `Fabric`.
        ClosedError
            The simulation is closed.
        """
        self._refuse_when_closed()
        self._made += 1
        called = name if name is not None else "node" if self._made == 1 else f"node-{self._made}"
        node = SimulatedFabric(self._stepper, called, **options)
        self._stepper.nodes.append(node)
        node.start()
        return node

    # Its time

    def advance(self, duration: Duration) -> None:
        """Move the time, and do in order everything that becomes due up to and with its end.

        ``advance(0)`` moves no time: it runs the handlers of what was published since.

        Parameters
        ----------
        duration
            How far, such as ``"4 s"``.

        Raises
        ------
        ArgumentError
            It is not a duration; the time stands.
        SimulationError
            It was called by a handler, source or script of this simulation; or what happens at one instant has no end,
            or a source does not wait for time.
        ClosedError
            The simulation is closed.
        Exception
            Whatever publishing a script's event or drawing its next item raises; the time stands there, and advancing
            goes on after it.
        """
        self._refuse_when_closed()
        self._stepper.advance(nanoseconds(duration))

    def run_until(self, condition: Callable[[], object], *, within: Duration) -> None:
        """Advance from one event to the next until a condition is true.

        Parameters
        ----------
        condition
            Asked at once, and after everything that happened at an instant.
        within
            How far to go at most.

        Raises
        ------
        AssertionError
            It did not become true; the time stands at the end.
        SimulationError, ClosedError
            As for `advance`.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.testing.Simulation() as simulation:
        ...     node = simulation.fabric()
        ...     alarms = node.expect("alarm")
        ...     node.script("alarm", [("90 s", "fire")])
        ...     simulation.run_until(lambda: alarms.count, within="1 h")
        ...     simulation.elapsed
        90.0
        """
        if not callable(condition):
            hint = "give a function without arguments"
            text = f"condition is {condition!r}; {hint}"
            raise ArgumentError(text, argument="condition", value=condition, hint=hint)
        self._refuse_when_closed()
        within_ns = nanoseconds(within, argument="within")
        if not self._stepper.advance(within_ns, condition):
            name = getattr(condition, "__name__", repr(condition))
            raise AssertionError(f"{name} did not become true within {seconds(within_ns)}\n{self.summary()}")

    # What went wrong, and its end

    def take_failures(self) -> list[Failure]:
        """Return what handlers, sources and sinks raised, and forget it: who takes failures expected them.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.testing.Simulation() as simulation:
        ...     node = simulation.fabric()
        ...
        ...     @node.on("number")
        ...     def invert(event):
        ...         return 1 / event.payload
        ...
        ...     node.publish("number", 0)
        ...     simulation.advance(0)
        ...     for failure in simulation.take_failures():
        ...         print(failure)
        handler invert of 'node' on 'number' at 0 s: ZeroDivisionError: division by zero
        """
        failures, self._stepper.failures = self._stepper.failures, []
        return failures

    def check(self) -> None:
        """Let handlers finish what waits, and raise an `AssertionError` where something failed; leaving does this.

        What was taken by `take_failures` is not raised.
        """
        if not self._closed:
            self._stepper.settle()
        failures = self.take_failures()
        if failures:
            listed = "\n".join(f"  {failure}" for failure in failures)
            hint = "simulation.take_failures() takes those that a test expects"
            text = f"{len(failures)} failed in the simulation; {hint}\n{listed}\n{self.summary()}"
            raise AssertionError(text) from failures[0].error

    def summary(self) -> str:
        """Say where the time stands, which seed chance had, and what the nodes carried last."""
        return f"{self._state()}\n{self._stepper.carried()}"

    def _state(self) -> str:
        time = f"simulated time: {seconds(self.clock.now() - self._stepper.start_ns)}"
        if self._random is None:
            return time
        return f"{time}\nseed: {self.seed} ({_SEED_VARIABLE}={self.seed} runs it again)"

    def close(self) -> None:
        """Close its nodes, the last one first; handlers finish what waits. Calling it again does nothing more."""
        if self._closed:
            return
        if self._stepper.advancing:
            text = "a handler, source or script closes its own simulation; leave that to the test"
            raise SimulationError(text, time_ns=self.clock.now())
        try:
            for node in reversed(self._stepper.nodes):
                node.close()
        finally:
            self._closed = True
            self._stepper.finish()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ClosedError("the simulation is closed; make another one", name="simulation")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.close()
            self.check()
            return
        error.add_note(self._state())
        self.close()
        for failure in self.take_failures():
            error.add_note(f"in the simulation, {failure}")

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was left open; use it in a with statement", ResourceWarning, stacklevel=2)


def _checked_seed(seed: object) -> int:
    argument, value = "seed", seed
    if seed is None:
        argument, value = _SEED_VARIABLE, os.environ.get(_SEED_VARIABLE) or 0
        try:
            return int(value)
        except ValueError:
            pass
    elif isinstance(seed, int) and not isinstance(seed, bool):
        return seed
    hint = "it must be a whole number"
    raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)
