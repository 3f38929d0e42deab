"""Ticks at a fixed rate, published by a Rust thread that never waits for the interpreter."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from chronofabric._core import bus as _bus
from chronofabric.duration import Rate, period_ns
from chronofabric.scheduler.realtime import Refused

if TYPE_CHECKING:
    from chronofabric.fabric.stopping import StopToken

__all__ = ["TimerSource"]


class TimerSource:
    """Publishes a tick at a fixed rate, behind a busy interpreter too.

    Each event carries ``tick`` (its number), ``lateness_ns`` (how long after its time it was published) and ``missed``
    (how many ticks before it were skipped because their time had passed). The rate does not drift: every tick has its
    place counted from the start. The thread that ticks asks the system for what the ``realtime`` of its node says.

    Parameters
    ----------
    topic
        Where to publish.
    rate
        How often, such as ``"100 Hz"``.
    name
        Its name in reports.

    Raises
    ------
    ArgumentError
        If the rate is not one.

    Examples
    --------
    >>> import chronofabric as cf
    >>> from chronofabric.fabric.sources import TimerSource
    >>> fabric = cf.Fabric("plant")
    >>> ticks = fabric.subscribe("tick")
    >>> fabric.add_source(TimerSource("tick", rate="1 kHz"))
    >>> with fabric:
    ...     first, second = (ticks.receive(timeout="10 s").payload for _ in range(2))
    >>> second["tick"] - first["tick"] - second["missed"]
    1
    """

    finite = False

    def __init__(self, topic: str, *, rate: Rate, name: str | None = None) -> None:
        _bus.validate_topic(topic)
        self.topic = topic
        self.period_ns = period_ns(rate)
        self.name = name or f"timer {topic}"
        self._timer: _bus.Timer | None = None

    @property
    def published(self) -> int:
        """Ticks published so far."""
        return self._timer.published if self._timer else 0

    @property
    def missed(self) -> int:
        """Ticks skipped because their time had passed."""
        return self._timer.missed if self._timer else 0

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What its thread asked of the system and was refused; known once it runs. It is logged, too."""
        return tuple(Refused(*refused) for refused in self._timer.refused) if self._timer else ()

    def run(self, node: Any, stop: StopToken) -> None:
        """Tick until told to stop."""
        self._timer = _bus.Timer(node.core, self.topic, self.period_ns, node.realtime.options())
        for refused in self.refused:
            logging.getLogger("chronofabric.source").warning("%s: %s", self.name, refused)
        try:
            stop.wait()
        finally:
            self._timer.stop()
