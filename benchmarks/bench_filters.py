"""Our own figures of filters, from Python, followed from commit to commit."""

from __future__ import annotations

from benchmarks._release import refuse_debug_build
from benchmarks.peers.filters import ONE_FIELD, table_ms, turned_away_ns


class TurnedAway:
    """A filter that turns away 99 % of mappings; nanoseconds an event, published one by one or in a list."""

    params = (False, True)
    param_names = ("together",)
    unit = "ns"

    def setup(self, together: bool) -> None:
        refuse_debug_build()

    def track_event(self, together: bool) -> float:
        return turned_away_ns(200_000, ONE_FIELD, together)


class Rows:
    """A filter over a table of a million rows; milliseconds."""

    params = (0.01, 0.5)
    param_names = ("share",)
    unit = "ms"

    def setup(self, share: float) -> None:
        refuse_debug_build()

    def track_table(self, share: float) -> float:
        return table_ms(1_000_000, 1, share)
