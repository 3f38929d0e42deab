"""Formulas in signal temporal logic, and monitors that evaluate them while samples arrive.

A formula compares signals and looks back over bounded windows: ``once``, ``historically`` and ``since`` (Maler and
Nickovic, "Monitoring Temporal Properties of Continuous Signals", FORMATS 2004). Its robustness says how far the signals
are from changing the verdict (Donze and Maler, FORMATS 2010).

Examples
--------
>>> from chronofabric.logic import Monitor
>>> monitor = Monitor("historically[0, 2 s](value > 80)")
>>> [monitor.update(second * 1_000_000_000, value=90.0 + second).known for second in range(3)]
[False, False, True]
"""

from __future__ import annotations

from chronofabric._core.logic import Formula, Monitor, Verdict

__all__ = ["Formula", "Monitor", "Verdict"]
