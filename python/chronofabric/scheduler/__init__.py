"""Timers that fire on time, also behind a busy interpreter, and execution by deadline.

A Rust thread fires. What needs no interpreter (raising a `Flag`, publishing, calling a C function, writing to a
descriptor) is done there and then. Functions and coroutines of Python are called as soon as the interpreter can be had;
both starts are counted, each by itself.

A `Scheduler` takes the job with the earliest deadline first, and admits a task only if every deadline can be kept.

Examples
--------
>>> import chronofabric as cf
>>> clock = cf.SimulatedClock()
>>> ticks = []
>>> with cf.scheduler.Timers(clock=clock) as timers:
...     timer = timers.every("10 ms", lambda: ticks.append(clock.now() // 1_000_000))
...     _ = clock.advance("35 ms")
>>> ticks
[10, 20, 30]
"""

from __future__ import annotations

from chronofabric._core.scheduler import DeadlineQueue, QueuedJob, Timer
from chronofabric.scheduler.admission import Admission
from chronofabric.scheduler.execution import Scheduler
from chronofabric.scheduler.jobs import Job, MissedJob, Task, current_job
from chronofabric.scheduler.realtime import Realtime, Refused
from chronofabric.scheduler.timers import Timers

__all__ = [
    "Admission",
    "DeadlineQueue",
    "Job",
    "MissedJob",
    "QueuedJob",
    "Realtime",
    "Refused",
    "Scheduler",
    "Task",
    "Timer",
    "Timers",
    "current_job",
]
