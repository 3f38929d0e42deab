"""By when the events of topics should have been acted on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chronofabric.duration import nanoseconds
from chronofabric.fabric.retention import listed

if TYPE_CHECKING:
    from chronofabric._core import bus as _bus
    from chronofabric.bus import Pattern
    from chronofabric.duration import Duration

__all__ = ["Deadlines"]


class Deadlines:
    """The part of a fabric that gives topics a deadline."""

    _core: _bus.Bus

    def deadline(self, pattern: str | Pattern | Iterable[str | Pattern], duration: Duration | None) -> None:
        """Give each event on a set of topics a deadline, unless it has one of its own.

        It holds from now on, for topics that exist and those to come, whoever publishes there and by whatever means: by
        name, by a handle that is older, many at a time, a guard, a timer or a source. The deadline of a publish, or of
        its publisher, is preferred. Of several rules that match a topic, the last one given holds.

        Parameters
        ----------
        pattern
            As for `subscribe`.
        duration
            How long after its publish an event should have been acted on; None for no deadline from now on.

        Raises
        ------
        ArgumentError
            It is no duration.
        PatternError
            The pattern cannot be used.
        ClosedError
            The fabric was closed.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant", clock=cf.SimulatedClock()) as fabric:
        ...     fabric.deadline("orders/*", "5 ms")
        ...     orders = fabric.subscribe("orders/*", order="deadline")
        ...     fabric.publish("orders/7", "pump")
        ...     fabric.publish("orders/8", "valve", deadline="1 ms")
        ...     [(event.payload, event.deadline - event.time) for event in orders.poll_batch(2)]
        [('valve', 1000000), ('pump', 5000000)]
        """
        deadline_ns = None if duration is None else nanoseconds(duration, argument="duration")
        self._core.set_deadline(listed(pattern), deadline_ns)
