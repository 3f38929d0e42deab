"""What topics keep for subscribers to come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chronofabric.fabric.counts import checked_count

if TYPE_CHECKING:
    from chronofabric._core import bus as _bus
    from chronofabric.bus import Pattern

__all__ = ["Retention", "listed"]


class Retention:
    """The part of a fabric that says what topics keep."""

    _core: _bus.Bus

    def retain(
        self,
        pattern: str | Pattern | Iterable[str | Pattern],
        *,
        last: int = 1,
        capacity_bytes: int | None = None,
    ) -> None:
        """Have each topic of a set keep its last events, for subscriptions with ``history=``.

        It holds from now on, for topics that exist and those to come. Of several rules that match a topic, the last
        one given holds. Requests are not kept.

        Parameters
        ----------
        pattern
            As for `subscribe`.
        last
            How many events each topic keeps, whether they are published with ``retain=True`` or not; 0 for none at all.
        capacity_bytes
            How many bytes one topic may keep: of payload, and 64 for each event. Older events go first.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant") as fabric:
        ...     fabric.retain("plant/**", last=3)
        ...     fabric.publish_many("plant/7/temperature", [20.0, 20.5, 21.0, 21.5])
        ...     fabric.subscribe("plant/*/temperature", history=2).poll_batch(10).payloads
        4
        (21.0, 21.5)
        """
        if capacity_bytes is not None:
            checked_count("capacity_bytes", capacity_bytes, 1)
        self._core.set_retention(listed(pattern), checked_count("last", last, 0), capacity_bytes)

    def forget(self, pattern: str | Pattern | Iterable[str | Pattern]) -> int:
        """Give up what the topics of a set keep; return how many events that were.

        Parameters
        ----------
        pattern
            As for `subscribe`; one topic is a pattern too.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.Fabric("plant") as fabric:
        ...     fabric.publish("plant/7/state", "running", retain=True)
        ...     fabric.forget("plant/7/state"), fabric.subscribe("plant/**").poll()
        (1, None)
        """
        return self._core.forget(listed(pattern))


def listed(pattern: str | Pattern | Iterable[str | Pattern]) -> str | Pattern | list[str | Pattern]:
    """Return a pattern, or several of them, as the core takes them."""
    from chronofabric.bus import Pattern

    return pattern if isinstance(pattern, (str, Pattern)) or not isinstance(pattern, Iterable) else list(pattern)
