"""What Python cannot promise, said where it is asked for."""

from __future__ import annotations

import logging
import sys

__all__ = ["warn_below_switch_interval"]

_logger = logging.getLogger("chronofabric.scheduler")


def warn_below_switch_interval(who: str, asked_ns: int | None, interval_s: float | None = None) -> None:
    """Log a warning where Python is to be called sooner than a busy interpreter lets anybody have a turn.

    Parameters
    ----------
    who
        What is to be called.
    asked_ns
        How soon, in nanoseconds; None where nobody asked.
    interval_s
        The switch interval that will hold, in seconds, where that is another than at present.
    """
    interval_s = min(sys.getswitchinterval(), interval_s or 1.0)
    takes_turns = getattr(sys, "_is_gil_enabled", lambda: True)()
    if asked_ns is not None and asked_ns < round(interval_s * 1e9) and takes_turns:
        _logger.warning(
            "%s is to be called within %g ms, but beside a busy thread Python promises nothing below its switch "
            "interval of %g ms; use an action that needs no interpreter, or Fabric(switch_interval=...)",
            who,
            asked_ns / 1e6,
            interval_s * 1e3,
        )
