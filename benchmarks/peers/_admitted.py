"""Admitted sets of tasks on real time, held against the same jobs without any noise.

Sets are drawn by UUniFast (Bini and Buttazzo, *Measuring the performance of schedulability tests*, 2005) until the
scheduler admits them. Their jobs are C functions that spin, so that no interpreter takes part, in workers of the best
class that is permitted. What a start is held against is the earliest deadline first, one job at a time, in whole
numbers: jobs come at the same instants, take their budgets, and nothing else takes time. So a job spins to the end of
its budget, which contains what it takes to choose and call it, up to 20 us: it begins with the end of the job before,
or where there was none with the instant of the job.

As jobs are not interrupted, a small delay can become a long one: where a job ends 50 us late and a more urgent one
comes meanwhile, that one goes first, and the other begins later by all of it. How many of the late starts would be late
with nothing else than what the machine did is printed too: the same without noise, but with jobs that take as long as
they really did and a worker that wakes up from a sleep as late as it really did. Jobs spin until an instant, so they
take longer only where their processor stood still, or was taken from them, across it.

Each set is a timing round: one during which the host took more than 0.5 % of the machine, or others used more than 5 %
of it, is run again, and counted. What the host takes it reports in ticks of 10 ms, too coarse for a round of some
seconds; a job that spins sees it itself, as a stretch between two looks at the clock that is longer than an interrupt
takes, without having been switched out. More than 0.5 % of the time of its processor is too much, too. Of rounds that
were all noisy the least noisy one counts. What the first rounds gave, noisy or not, is printed beside.
"""

from __future__ import annotations

import ctypes
import heapq
import random
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import chronofabric as cf
from chronofabric.apps.measuring import noise
from chronofabric.scheduler import Realtime, Scheduler

COMPILER = "cc"
TASKS = 10
UTILISATION = 0.9
SHORTEST_PERIOD_NS = 10_000_000
# What a budget contains for choosing a job and calling it.
MARGIN_NS = 20_000
LEAST_BUDGET_NS = 2 * MARGIN_NS
JOBS_MAX = 4_096
# How often a set is run at most, where the machine is not quiet.
ROUNDS_MAX = 5
# No interrupt takes as long, unless the host takes the processor too.
STANDSTILL_NS = 50_000
REALTIME = Realtime(scheduling="fifo", priority=50, lock_memory=True, awake_processors=True)
SOURCE = """
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

typedef struct { int64_t due_ns; double waited_ns; int64_t over_ns, woken_ns; } job;

int64_t budget_ns[TASKS];
int64_t ended_ns;
int64_t stolen_ns;
int64_t counts[TASKS];
job jobs[TASKS][JOBS_MAX];

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static long switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

/* The budget of a job begins at its instant, or when the job before it has ended: what it takes to choose and call the
   job is part of it, up to the margin. */
static void spin(int task, int64_t due_ns, double waited_ns) {
    int64_t began_ns = now_ns(), came_ns = began_ns - (int64_t)waited_ns, from_ns = came_ns;
    if (from_ns < ended_ns) from_ns = ended_ns;
    if (from_ns < began_ns - MARGIN_NS) from_ns = began_ns - MARGIN_NS;
    int64_t woken_ns = came_ns > ended_ns ? from_ns - came_ns : 0;
    long switched = switches();
    int64_t looked_ns = began_ns;
    do {
        ended_ns = now_ns();
        if (ended_ns - looked_ns > STANDSTILL_NS) {
            long before = switched;
            if ((switched = switches()) == before) stolen_ns += ended_ns - looked_ns;
        }
        looked_ns = ended_ns;
    } while (ended_ns < from_ns + budget_ns[task]);
    if (counts[task] < JOBS_MAX) {
        jobs[task][counts[task]++] = (job){due_ns, waited_ns, ended_ns - from_ns - budget_ns[task], woken_ns};
    }
}

/* A function a task: a native action is told when its job came, and not whose it is. */
#define TASK(task) void task_##task(int64_t due_ns, double waited_ns) { spin(task, due_ns, waited_ns); }
TASK(0) TASK(1) TASK(2) TASK(3) TASK(4) TASK(5) TASK(6) TASK(7) TASK(8) TASK(9)
"""


class Times(NamedTuple):
    """A task: how often its jobs come, which is also by when they have to be done, and how long they may take."""

    period_ns: int
    budget_ns: int


class Late(NamedTuple):
    """By how much a job began later than without noise, and would have with no other noise than the machine's."""

    ns: float
    by_machine_ns: float


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
        self._first: list[Late] = []

    def run_and_share(self, tolerance_ns: int) -> float:
        """Run them, and return the percentage of starts that were late by more than a tolerance."""
        drawn, refused = draw(self._sets, self._seed)
        with tempfile.TemporaryDirectory(prefix="chronofabric-") as folder:
            spinning = compiled(Path(folder))
            rounds = [quietly(spinning, tasks, self._seconds) for tasks in drawn]
        counted = [min(each, key=lambda round_: round_.noise_level) for each in rounds]
        self._late = [late for each in counted for late in each.late]
        self._first = [late for each in rounds for late in each[0].late]
        again = sum(len(each) - 1 for each in rounds)
        noisy = sum(each.noise_level > 1.0 for each in counted)
        print(f"{self._sets} sets admitted, {refused} refused; {len(self._late)} starts; {environment()}", flush=True)
        print(f"{again} rounds repeated for noise, {noisy} sets noisy in each of {ROUNDS_MAX} rounds", flush=True)
        return self.share(tolerance_ns)

    def share(self, tolerance_ns: int) -> float:
        """Return the same percentage of the last run for another tolerance."""
        if not self._late:
            return self.run_and_share(tolerance_ns)
        late = sum(each.ns > tolerance_ns for each in self._late)
        first = sum(each.ns > tolerance_ns for each in self._first)
        besides = sum(each.ns > tolerance_ns >= each.by_machine_ns for each in self._late)
        print(
            f"{late} of {len(self._late)} starts late by more than {tolerance_ns // 1000} us, all but {besides} "
            "by nothing else than how much longer than they spin jobs took and how late sleeps ended; "
            f"{100.0 * first / len(self._first):.3f} % in first rounds, however noisy",
            flush=True,
        )
        return 100.0 * late / len(self._late)


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
    sizes = [
        f"-DTASKS={TASKS}",
        f"-DJOBS_MAX={JOBS_MAX}",
        f"-DMARGIN_NS={MARGIN_NS}",
        f"-DSTANDSTILL_NS={STANDSTILL_NS}",
    ]
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", *sizes, "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


class _Job(ctypes.Structure):
    _fields_ = [
        ("due_ns", ctypes.c_int64),
        ("waited_ns", ctypes.c_double),
        ("over_ns", ctypes.c_int64),
        ("woken_ns", ctypes.c_int64),
    ]


class Round(NamedTuple):
    """A set that was run once: how late its jobs began, and how noisy the machine was, 1.0 being the limit."""

    late: list[Late]
    noise_level: float


def quietly(spinning: ctypes.CDLL, tasks: Sequence[Times], seconds: float) -> list[Round]:
    """Run one set until the machine was quiet; return the rounds."""
    stolen_ns = ctypes.c_int64.in_dll(spinning, "stolen_ns")
    rounds: list[Round] = []
    while len(rounds) < ROUNDS_MAX and all(each.noise_level > 1.0 for each in rounds):
        stolen_ns.value = 0
        before = noise.read()
        late = run(spinning, tasks, seconds)
        seen = noise.between(before, noise.read())
        stolen_share = stolen_ns.value / (seconds * 1e9)
        rounds.append(Round(late, max(seen.level if seen.noisy else 0.0, stolen_share / noise.STEAL_SHARE_MAX)))
    return rounds


def run(spinning: ctypes.CDLL, tasks: Sequence[Times], seconds: float) -> list[Late]:
    """Run one set; return by how much each of its jobs began later than without noise.

    Jobs that had to be done before the end are judged; one of them that did not run at all is late for ever.
    """
    budget_ns = (ctypes.c_int64 * TASKS).in_dll(spinning, "budget_ns")
    counts = (ctypes.c_int64 * TASKS).in_dll(spinning, "counts")
    jobs = (_Job * JOBS_MAX * TASKS).in_dll(spinning, "jobs")
    scheduler = Scheduler("admitted", realtime=REALTIME)
    for number, task in enumerate(tasks):
        budget_ns[number], counts[number] = task.budget_ns, 0
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
    noise_ns = {
        (number, job.due_ns): (job.woken_ns, job.over_ns)
        for number, (taken, count) in enumerate(zip(jobs, counts, strict=True))
        for job in taken[:count]
    }
    without_noise = starts_without_noise(tasks, first_ns, ended_ns)
    by_machine = starts_without_noise(tasks, first_ns, ended_ns, noise_ns)
    late = []
    for (number, due_ns), start_ns in without_noise.items():
        if due_ns + tasks[number].period_ns <= ended_ns:
            began_ns = began[number].get(due_ns, float("inf"))
            late.append(Late(began_ns - start_ns, by_machine[number, due_ns] - start_ns))
    return late


def starts_without_noise(
    tasks: Sequence[Times],
    first_ns: Sequence[int],
    until_ns: int,
    noise_ns: Mapping[tuple[int, int], tuple[int, int]] = MappingProxyType({}),
) -> dict[tuple[int, int], int]:
    """Return when each job begins, by its task and the instant at which it came: earliest deadline first, to its end.

    Jobs take their budgets. Some begin later, if nothing ran before, and take longer, by as much as is said.

    Examples
    --------
    >>> starts_without_noise([Times(50_000, 10_000), Times(90_000, 40_000)], [0, 1_000], 100_000)
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
        if not waiting:
            now_ns = max(now_ns, arrivals[position][0])
        while position < len(arrivals) and arrivals[position][0] <= now_ns:
            due_ns, number = arrivals[position]
            heapq.heappush(waiting, (due_ns + tasks[number].period_ns, due_ns, number))
            position += 1
        _, due_ns, number = heapq.heappop(waiting)
        woken_ns, over_ns = noise_ns.get((number, due_ns), (0, 0))
        begins[number, due_ns] = now_ns = now_ns + woken_ns
        now_ns += tasks[number].budget_ns + over_ns
    return begins


# Where it runs


def best_class() -> str:
    """Return the class that workers get here, as a name of a case says it."""
    return "usual class" if "class" in refused(REALTIME) else "class fifo"


def refused(realtime: Realtime) -> set[str]:
    """Return which options workers do not get here."""
    with Scheduler("class", realtime=realtime) as scheduler:
        begun = threading.Event()
        scheduler.submit(begun.set, deadline=0)
        begun.wait()
        return {each.option for each in scheduler.refused}


def environment() -> str:
    """Return what decides such figures, in words."""
    governor = _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "no governor"
    machine = (
        "a virtual machine"
        if re.search(r"^flags.*\bhypervisor\b", _text("/proc/cpuinfo"), re.MULTILINE)
        else "no hypervisor seen"
    )
    sleeps = "processors may sleep" if "awake_processors" in refused(REALTIME) else "processors kept awake"
    return f"{best_class()}, timer slack 1 ns, {sleeps}, {governor}, {machine}"


def _text(file: str) -> str:
    return Path(file).read_text(encoding="utf-8").strip() if Path(file).is_file() else ""
