"""Time sources, stamps, the hybrid logical clock, and causality.

Everything that waits or stamps takes its time from a time source: the system's clock, the processor's counter
disciplined to it, or a simulated clock that moves only when told. Times are integer nanoseconds since the Unix epoch.

Stamps come from a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", OPODIS 2014): they never repeat or
step back on a node, follow the receipt of a stamp from elsewhere, and stay close to physical time.

Vector clocks and dotted version vectors say which of two events could have caused the other; a causal buffer delivers
messages in that order.

Examples
--------
>>> from chronofabric.clock import HybridLogicalClock, SimulatedClock
>>> clock = HybridLogicalClock(SimulatedClock(start=1_000_000_000), node="00" * 16)
>>> first, second = clock.now(), clock.now()
>>> first < second, second.counter
(True, 1)
"""

from __future__ import annotations

from chronofabric._core.clock import (
    CausalBooks,
    CausalBuffer,
    CounterClock,
    DottedVersionVector,
    Gap,
    HybridLogicalClock,
    SimulatedClock,
    Stamp,
    SystemClock,
    TimeSource,
    VectorClock,
    register,
    source,
    sources,
    unregister,
)

__all__ = [
    "CausalBooks",
    "CausalBuffer",
    "CounterClock",
    "DottedVersionVector",
    "Gap",
    "HybridLogicalClock",
    "SimulatedClock",
    "Stamp",
    "SystemClock",
    "TimeSource",
    "VectorClock",
    "register",
    "source",
    "sources",
    "unregister",
]
