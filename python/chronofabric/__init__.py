"""chronofabric: a real-time event fabric for Python with a Rust core.

Examples
--------
>>> import chronofabric as cf
>>> with cf.Fabric("plant") as fabric:
...     temperatures = fabric.subscribe("plant/*/temperature")
...     fabric.publish("plant/7/temperature", 21.5)
...     event = temperatures.receive(timeout="10 ms")
...     event.topic, event.payload
('plant/7/temperature', 21.5)
"""

# How the package is laid out, from the ground up; a module imports only what stands above it here:
#   errors.py    every public exception
#   duration.py  durations, rates and instants as people write them
#   _core        the Rust side: bus, clock, columns, logic, optimize, scheduler, settings
#   clock.py     time sources, stamps, the hybrid logical clock
#   bus.py       events, subscriptions, publishers, with their asynchronous forms
#   logic.py     formulas and monitors
#   optimize.py  orders of jobs against their due dates
#   scheduler/   timers, execution by deadline
#   fabric/      the node: handlers, guards, sources, sinks, run files, reports
#   testing/     what tests of a node need; imported by its users alone, as `cf.testing` when it is first looked at
#   apps/        what people run: the command line, its screen, the demonstration

from __future__ import annotations

import typing as _typing

from chronofabric import bus, clock, errors, fabric, logic, optimize, scheduler
from chronofabric._core import __version__
from chronofabric._core.columns import Table
from chronofabric.bus import (
    Batch,
    Books,
    DeadLetter,
    Event,
    Flag,
    NativeFunction,
    Pattern,
    PreparedPublish,
    Publisher,
    Subscription,
    regex,
)
from chronofabric.clock import CounterClock, HybridLogicalClock, SimulatedClock, Stamp, SystemClock
from chronofabric.errors import (
    AdmissionError,
    AnswerError,
    ArgumentError,
    ChronofabricError,
    ClockError,
    ClosedError,
    ConfigurationError,
    DriftError,
    ForkedError,
    FormulaError,
    GuardError,
    JobLimitError,
    NoAnswerer,
    PatternError,
    PayloadError,
    PublishTimeout,
    ReceiveTimeout,
    RequestTimeout,
    SimulationError,
    SinkError,
    SourceError,
    TimerLimitError,
    TopicError,
    TopicLimitError,
    UnsupportedError,
    WouldDeadlock,
)
from chronofabric.fabric import Fabric, Guard, Report

__all__ = [
    "AdmissionError",
    "AnswerError",
    "ArgumentError",
    "Batch",
    "Books",
    "ChronofabricError",
    "ClockError",
    "ClosedError",
    "ConfigurationError",
    "CounterClock",
    "DeadLetter",
    "DriftError",
    "Event",
    "Fabric",
    "Flag",
    "ForkedError",
    "FormulaError",
    "Guard",
    "GuardError",
    "HybridLogicalClock",
    "JobLimitError",
    "NativeFunction",
    "NoAnswerer",
    "Pattern",
    "PatternError",
    "PayloadError",
    "PreparedPublish",
    "PublishTimeout",
    "Publisher",
    "ReceiveTimeout",
    "Report",
    "RequestTimeout",
    "SimulatedClock",
    "SimulationError",
    "SinkError",
    "SourceError",
    "Stamp",
    "Subscription",
    "SystemClock",
    "Table",
    "TimerLimitError",
    "TopicError",
    "TopicLimitError",
    "UnsupportedError",
    "WouldDeadlock",
    "__version__",
    "bus",
    "clock",
    "errors",
    "fabric",
    "logic",
    "optimize",
    "regex",
    "scheduler",
]

if not _typing.TYPE_CHECKING:  # to a type checker, `import chronofabric.testing` is what makes it known

    def __getattr__(name: str) -> object:
        if name != "testing":
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        import importlib

        return importlib.import_module("chronofabric.testing")
