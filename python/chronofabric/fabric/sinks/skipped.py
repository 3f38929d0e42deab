"""Payloads that a sink cannot write: counted, and logged once per kind."""

from __future__ import annotations

__all__ = ["SkippedPayloads"]

KINDS_LOGGED_MAX = 16


class SkippedPayloads:
    """Counts what one sink left out.

    Attributes
    ----------
    count : int
        Events left out so far.
    """

    __slots__ = ("_kinds", "_name", "count")

    def __init__(self, name: str) -> None:
        self._name = name
        self._kinds: set[str] = set()
        self.count = 0

    def add(self, topic: str, what: object) -> None:
        """Count an event whose payload is or holds `what`."""
        self.count += 1
        kind = str(what)
        if kind not in self._kinds and len(self._kinds) < KINDS_LOGGED_MAX:
            import logging

            self._kinds.add(kind)
            logging.getLogger("chronofabric.sink").warning(
                "%s cannot write %s (first on '%s'); events with one are left out and counted", self._name, kind, topic
            )
