"""Admitted sets of tasks on real time, held against the same jobs without any noise.

Sets are drawn by UUniFast (Bini and Buttazzo, *Measuring the performance of schedulability tests*, 2005) until the
scheduler admits them. Their jobs are C functions that spin, so that no interpreter takes part. What a start is held
against is the earliest deadline first, one job at a time, in whole numbers: jobs come at the same instants, take what
they spin for, and nothing else takes time.

As jobs are not interrupted, a small delay can become a long one: where the worker is woken 50 us late and a more urgent
job comes meanwhile, that one goes first, and the other begins later by all of it. How many of the late starts
such delays explain is printed: those that are not late beside the latest of the runs with small delays.
"""

from __future__ import annotations

import ctypes
import heapq
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import chronofabric as cf
from chronofabric.scheduler import Realtime, Scheduler

COMPILER = "cc"
TASKS = 10
UTILISATION = 0.9
SHORTEST_PERIOD_NS = 10_000_000
# What a budget leaves beyond the spinning, for taking the job, calling the function and noting its end.
MARGIN_NS = 20_000
LEAST_BUDGET_NS = 2 * MARGIN_NS
JOBS_MAX = 4_096
# What is a small delay in what is printed: waking a worker that idles, and what a job takes beyond its spinning.
WAKING_NS = range(0, 100_001, 20_000)
BEYOND_NS = (0, 2_000, 5_000, 10_000, MARGIN_NS)
REALTIME = Realtime(scheduling="fifo", priority=50, lock_memory=True, awake_processors=True)
SOURCE = """
#include <stdint.h>
#include <time.h>

typedef struct { int64_t due_ns; double waited_ns; } job;

int64_t spin_ns[TASKS];
int64_t counts[TASKS];
job jobs[TASKS][JOBS_MAX];

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void spin(int task, int64_t due_ns, double waited_ns) {
    int64_t until_ns = now_ns() + spin_ns[task];
    if (counts[task] < JOBS_MAX) jobs[task][counts[task]++] = (job){due_ns, waited_ns};
    while (now_ns() < until_ns) {}
}

/* A function a task: a native action is told when its job came, and not whose it is. */
#define TASK(task) void task_##task(int64_t due_ns, double waited_ns) { spin(task, due_ns, waited_ns); }
TASK(0) TASK(1) TASK(2) TASK(3) TASK(4) TASK(5) TASK(6) TASK(7) TASK(8) TASK(9)
"""


class Times(NamedTuple):
    """A task: how often its jobs come, which is also by when they have to be done, and how long they may take."""

    period_ns: int
    budget_ns: int

    @property
    def spin_ns(self) -> int:
        """How long a job spins."""
        return self.budget_ns - MARGIN_NS


class Late(NamedTuple):
    """By how much a job began later than without noise, and than in the latest of the runs with small delays."""

    ns: float
    beyond_delays_ns: float


class Admitted:
    """Sets of tasks that were admitted, run one after the other; only the first look at them runs them again.

    Parameters
    ----------
    sets
        How many sets.
    seconds
        For how long each is run.
    seed
        Of the drawing: the same sets every time.
    """

    def __init__(self, sets: int, seconds: float, seed: int = 20_260_101) -> None:
        self._seconds = seconds
        self._sets = sets
        self._seed = seed
        self._late: list[Late] = []

    def run_and_share(self, tolerance_ns: int) -> float:
        """Run them, and return the percentage of starts that were late by more than a tolerance."""
        drawn, refused = draw(self._sets, self._seed)
        self._late = []
        with tempfile.TemporaryDirectory(prefix="chronofabric-") as folder:
            spinning = compiled(Path(folder))
            for tasks in drawn:
                self._late += run(spinning, tasks, self._seconds)
        print(f"{self._sets} sets admitted, {refused} refused; {len(self._late)} starts", flush=True)
        return self.share(tolerance_ns)

    def share(self, tolerance_ns: int) -> float:
        """Return the same percentage of the last run for another tolerance."""
        if not self._late:
            return self.run_and_share(tolerance_ns)
        late = [each for each in self._late if each.ns > tolerance_ns]
        explained = sum(each.beyond_delays_ns <= tolerance_ns for each in late)
        delays = f"{WAKING_NS[-1] // 1000} us to wake the worker and {MARGIN_NS // 1000} us a job explain {explained}"
        print(f"{len(late)} starts late by more than {tolerance_ns // 1000} us, of which {delays}", flush=True)
        return 100.0 * len(late) / len(self._late)


def uunifast(drawing: random.Random, count: int, utilisation: float) -> list[Times]:
    """Draw shares of a utilisation, each way of dividing it as likely as any other; periods are log-uniform."""
    left = utilisation
    tasks = []
    for index in range(count):
        rest = left * drawing.random() ** (1 / (count - index - 1)) if index + 1 < count else 0.0
        period_ns = int(SHORTEST_PERIOD_NS * 10 ** drawing.random())
        tasks.append(Times(period_ns, max(LEAST_BUDGET_NS, int((left - rest) * period_ns))))
        left = rest
    return tasks


def draw(sets: int, seed: int) -> tuple[list[list[Times]], int]:
    """Draw until so many sets were admitted; return them, and how many were refused."""
    drawing = random.Random(seed)
    admitted: list[list[Times]] = []
    refused = 0
    while len(admitted) < sets:
        tasks = uunifast(drawing, TASKS, UTILISATION)
        with Scheduler(clock=cf.SimulatedClock()) as scheduler:
            try:
                for task in tasks:
                    scheduler.task(cf.Flag(), period=f"{task.period_ns} ns", budget=f"{task.budget_ns} ns")
            except cf.AdmissionError:
                refused += 1
            else:
                admitted.append(tasks)
    return admitted, refused


def compiled(folder: Path) -> ctypes.CDLL:
    """Compile the functions that spin, and load them."""
    source, library = folder / "spin.c", folder / "spin.so"
    source.write_text(SOURCE, encoding="ascii")
    sizes = [f"-DTASKS={TASKS}", f"-DJOBS_MAX={JOBS_MAX}"]
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", *sizes, "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


class _Job(ctypes.Structure):
    _fields_ = [("due_ns", ctypes.c_int64), ("waited_ns", ctypes.c_double)]


def run(spinning: ctypes.CDLL, tasks: Sequence[Times], seconds: float) -> list[Late]:
    """Run one set; return by how much each of its jobs began later than without noise.

    Jobs that had to be done before the end are judged; one of them that did not run at all is late for ever.
    """
    spin_ns = (ctypes.c_int64 * TASKS).in_dll(spinning, "spin_ns")
    counts = (ctypes.c_int64 * TASKS).in_dll(spinning, "counts")
    jobs = (_Job * JOBS_MAX * TASKS).in_dll(spinning, "jobs")
    scheduler = Scheduler("admitted", realtime=REALTIME)
    for number, task in enumerate(tasks):
        spin_ns[number], counts[number] = task.spin_ns, 0
        address = ctypes.cast(spinning[f"task_{number}"], ctypes.c_void_p).value
        assert address is not None
        function = cf.NativeFunction(address, keep=spinning)
        scheduler.task(function, period=f"{task.period_ns} ns", budget=f"{task.budget_ns} ns", name=f"task {number}")
    with scheduler:
        time.sleep(seconds)
        ended_ns = cf.CounterClock().now()
    began = [
        {job.due_ns: job.due_ns + job.waited_ns for job in taken[:count]}
        for taken, count in zip(jobs, counts, strict=True)
    ]
    idle = [number for number in range(TASKS) if not began[number]]
    if idle:
        raise RuntimeError(f"tasks {idle} of {tasks} never ran within {seconds} s")
    first_ns = [min(starts) for starts in began]
    delays = [(waking_ns, beyond_ns) for waking_ns in WAKING_NS for beyond_ns in BEYOND_NS]
    runs = [starts_without_noise(tasks, first_ns, ended_ns, *each) for each in delays]
    late = []
    for (number, due_ns), start_ns in runs[0].items():
        if due_ns + tasks[number].period_ns <= ended_ns:
            began_ns = began[number].get(due_ns, float("inf"))
            late.append(Late(began_ns - start_ns, began_ns - max(each[number, due_ns] for each in runs)))
    return late


def starts_without_noise(
    tasks: Sequence[Times], first_ns: Sequence[int], until_ns: int, waking_ns: int = 0, beyond_ns: int = 0
) -> dict[tuple[int, int], int]:
    """Return when each job begins, by its task and the instant at which it came: earliest deadline first, to its end.

    Examples
    --------
    >>> starts_without_noise([Times(50_000, 30_000), Times(90_000, 60_000)], [0, 1_000], 100_000)
    {(0, 0): 0, (1, 1000): 10000, (0, 50000): 50000, (1, 91000): 91000}
    """
    arrivals = sorted(
        (due_ns, number)
        for number, task in enumerate(tasks)
        for due_ns in range(first_ns[number], until_ns, task.period_ns)
    )
    waiting: list[tuple[int, int, int]] = []
    begins: dict[tuple[int, int], int] = {}
    now_ns = -1
    position = 0
    while position < len(arrivals) or waiting:
        if not waiting and arrivals[position][0] > now_ns:
            now_ns = arrivals[position][0] + waking_ns
        while position < len(arrivals) and arrivals[position][0] <= now_ns:
            due_ns, number = arrivals[position]
            heapq.heappush(waiting, (due_ns + tasks[number].period_ns, due_ns, number))
            position += 1
        _, due_ns, number = heapq.heappop(waiting)
        begins[number, due_ns] = now_ns
        now_ns += tasks[number].spin_ns + beyond_ns
    return begins


# The class of the threads


def best_class() -> str:
    """Return the best class that threads may have here, as a name of a case says it."""
    if not hasattr(os, "sched_setscheduler") or not Path("/proc/self/task").exists():
        return "usual class"
    allowed: list[str] = []

    def try_it() -> None:  # in a thread of its own, because the class stays with it
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(WORKER_PRIORITY))
            allowed.append("class fifo")
        except OSError:
            allowed.append("usual class")

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return allowed[0]


def threads() -> set[int]:
    """Return the system's numbers of the threads of this process, where they can be given a class."""
    tasks = Path("/proc/self/task")
    return {int(each.name) for each in tasks.iterdir()} if tasks.exists() else set()


def put_first(started: set[int]) -> None:
    """Give the threads of a scheduler the best class: its worker, made by Python, and the firing thread before it."""
    if best_class() != "class fifo":
        return
    workers = {thread.native_id for thread in threading.enumerate()}
    for thread in started:
        priority = WORKER_PRIORITY if thread in workers else FIRING_PRIORITY
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
