"""How late timers are, beside the system's own measure and Python's schedulers, and what arming one costs.

`python -m benchmarks.peers.scheduler [--quick] [--json FILE] [--case TEXT]`

Lateness is from the instant of a timer to the first instruction of its action, of one timer every 5 ms for 5 s. Native
timers stand beside `cyclictest`, or, where that is not installed, a loop of `time.sleep` to absolute instants: both in
the usual class without a hold on the processors' latency (`--laptop`), and, where that is permitted and `cyclictest` is
installed, both in the class `fifo` with processors kept awake. The Rust side by itself is measured by `cargo bench
-p chronofabric-scheduler`, beside tokio's `DelayQueue` and a heap.

Jobs by deadline are held against the same jobs without noise: see `_admitted.py`. They run in the best class that is
permitted, which their cases name; what else decides such figures is printed with them.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import re
import sched
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import chronofabric as cf
from benchmarks.peers._admitted import COMPILER, REALTIME, TASKS, UTILISATION, Admitted, best_class, refused
from benchmarks.peers._rounds import Case, main
from chronofabric.scheduler import Realtime, Timers

PERIOD_S = 0.005
# What admitted sets get, but for memory, which `cyclictest` does not lock either.
AWAKE = replace(REALTIME, lock_memory=False)
SUBMISSION_NS_MAX = 250.0
FAR_S = 3_600.0

# A peer of Python's schedulers fires a function at instants of `time.monotonic` and returns when all were fired.
Peer = Callable[[list[float], Callable[[float], None]], None]
# What adds a job that is due at an instant, what takes the most urgent one, and what waits for it.
Jobs = tuple[Callable[[int], object], Callable[[], object], Callable[[], object]]


def cases(quick: bool) -> list[Case]:
    """Make the cases."""
    timers = 100 if quick else 1_000
    arms = 20_000 if quick else 200_000
    found = [
        Case(
            "arm again for another instant, one timer held, one thread, from Python",
            ours=partial(rearm_ns, arms, 0),
            limit=SUBMISSION_NS_MAX,
            unit="ns/call",
        ),
        Case(
            "arm again for another instant, 10 000 timers held, one thread, from Python",
            ours=partial(rearm_ns, arms, 10_000),
            limit=SUBMISSION_NS_MAX,
            unit="ns/call",
        ),
    ]
    found += native(timers)
    for percent, bar in [(50, 1 / 0.3), (99, 1 / 0.7)]:
        for called, needs, fire in [
            ("asyncio", (), with_asyncio),
            ("uvloop", ("uvloop",), with_uvloop),
            ("threading.Timer", (), with_threads),
            ("sched", (), with_sched),
            ("APScheduler", ("apscheduler",), with_apscheduler),
        ]:
            found.append(
                Case(
                    f"lateness p{percent} of Python callbacks, usual class, idle, against {called}",
                    ours=partial(python_us, timers, percent),
                    peer=partial(peer_us, fire, timers, percent),
                    peer_name=called,
                    unit="us",
                    bar=bar,
                    needs=needs,
                )
            )
    pairs = 5_000 if quick else 50_000
    for name, run in [
        ("push and pop at depth 256, one thread", pairs_ns),
        ("push from two threads, wait in a third", from_two_threads_ns),
    ]:
        found.append(
            Case(
                f"jobs by deadline, {name}, from Python",
                ours=partial(run, with_deadline_queue, pairs),
                peer=partial(run, with_priority_queue, pairs),
                peer_name="queue.PriorityQueue",
                unit="ns/job",
            )
        )
    held = 20_000 if quick else 100_000
    for do, ours in [("a flag", HOLD_FLAG), ("a Python callback", HOLD_CALLBACK)]:
        found.append(
            Case(
                f"memory of a timer held with its Python handle, for {do}",
                ours=partial(held_bytes, ours, held),
                peer=partial(held_bytes, HOLD_ASYNCIO, held),
                peer_name="asyncio.TimerHandle",
                unit="bytes",
                rounds=1,
            )
        )
    return [*found, *admitted(*((10, 1.0) if quick else (100, 3.0)))]


def native(timers: int) -> list[Case]:
    """Make the cases of native timers: in the usual class, and in the best one, where that is permitted."""
    peers: list[tuple[str, Realtime | None, str, Callable[..., float]]]
    if shutil.which("cyclictest") is None:
        peers = [("usual class", None, "time.sleep", partial(sleep_us, timers))]
    else:
        peers = [("usual class", None, "cyclictest --laptop", partial(cyclictest_us, timers, "--laptop"))]
        if not refused(AWAKE):
            option = f"-p{AWAKE.priority}"
            name = "class fifo, processors kept awake"
            peers.append((name, AWAKE, f"cyclictest {option}", partial(cyclictest_us, timers, option)))
    return [
        Case(
            f"lateness p99 of native timers, {name}, {load}",
            ours=partial(native_us, timers, realtime, around),
            peer=partial(peer, around),
            peer_name=peer_name,
            unit="us",
            bar=bar,
        )
        for name, realtime, peer_name, peer in peers
        for load, bar, around in [("idle", 1.0, idle), ("a busy Python thread", 1 / 1.2, busy)]
    ]


def admitted(sets: int, seconds: float) -> list[Case]:
    """Make the cases of admitted sets, which are looked at twice and run for the first."""
    run = Admitted(sets, seconds)
    load = f"{sets} sets of {TASKS} native tasks admitted at {UTILISATION:.0%} for {seconds:.0f} s, {best_class()}"
    name = "starts later than without noise by more than"
    limited = partial(Case, unit="%", rounds=1, programs=(COMPILER,))
    return [
        limited(f"{name} 1 ms, {load}", ours=partial(run.run_and_share, 1_000_000), limit=0.1),
        limited(f"{name} 100 us, {load}", ours=partial(run.share, 100_000), limit=5.0),
    ]


HOLD_FLAG = """
from chronofabric.scheduler import Timers
import chronofabric as cf
timers, flag = Timers(), cf.Flag()
def hold(number): return timers.after(3600 + number, flag)
"""
HOLD_CALLBACK = """
from chronofabric.scheduler import Timers
timers = Timers()
def hold(number): return timers.after(3600 + number, lambda: number)
"""
HOLD_ASYNCIO = """
import asyncio
loop = asyncio.new_event_loop()
def hold(number): return loop.call_later(3600 + number, lambda: number)
"""


def held_bytes(code: str, count: int) -> float:
    """Return by how much the memory of a process of its own grows for each timer that it holds."""
    measure = f"""
import psutil
process = psutil.Process()
first = [hold(number) for number in range(1_000)]
before = process.memory_info().rss
rest = [hold(number) for number in range({count})]
print((process.memory_info().rss - before) / {count})
"""
    ended = subprocess.run([sys.executable, "-c", code + measure], capture_output=True, text=True, check=True)
    return float(ended.stdout)


@contextmanager
def idle() -> Iterator[None]:
    """Have nothing else to do."""
    yield


@contextmanager
def busy() -> Iterator[None]:
    """Have a thread of Python that never lets go of the interpreter by itself."""
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=burn)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def rearm_ns(count: int, held: int) -> float:
    """Return the nanoseconds of arming a timer again, in the firing thread's absence."""
    with Timers(timers_max=held + 1) as timers:
        flag = cf.Flag()
        for number in range(held):
            timers.after(FAR_S + number / 1e3, flag)
        rearm = timers.after(FAR_S, flag).rearm
        started_ns = time.perf_counter_ns()
        for _ in range(count):
            rearm(FAR_S)
        return (time.perf_counter_ns() - started_ns) / count


def with_deadline_queue() -> Jobs:
    """Make a queue by deadline."""
    jobs = cf.scheduler.DeadlineQueue(1 << 20)
    return partial(jobs.push, object()), jobs.pop, jobs.wait


def with_priority_queue() -> Jobs:
    """Make one of the standard library; of two jobs with one deadline the older one comes first."""
    jobs: queue.PriorityQueue[tuple[int, int, object]] = queue.PriorityQueue()
    put, job, age = jobs.put, object(), itertools.count()
    return lambda deadline_ns: put((deadline_ns, next(age), job)), jobs.get_nowait, jobs.get


def deadlines(count: int) -> Iterator[int]:
    """Make instants in no order."""
    return (number * 7_919 % 256_000 for number in range(count))


def pairs_ns(make: Callable[[], Jobs], count: int) -> float:
    """Return the nanoseconds of adding a job and taking the most urgent one, with 256 that wait."""
    push, pop, _ = make()
    for deadline_ns in deadlines(256):
        push(deadline_ns)
    started_ns = time.perf_counter_ns()
    for deadline_ns in deadlines(count):
        push(deadline_ns)
        pop()
    return (time.perf_counter_ns() - started_ns) / count


def from_two_threads_ns(make: Callable[[], Jobs], count: int) -> float:
    """Return the nanoseconds for each job that one of two threads adds and a third one takes."""
    push, _, wait = make()

    def produce() -> None:
        for deadline_ns in deadlines(count):
            push(deadline_ns)

    producers = [threading.Thread(target=produce) for _ in range(2)]
    started_ns = time.perf_counter_ns()
    for producer in producers:
        producer.start()
    for _ in range(2 * count):
        wait()
    took_ns = time.perf_counter_ns() - started_ns
    for producer in producers:
        producer.join()
    return took_ns / (2 * count)


def native_us(count: int, realtime: Realtime | None, around: Callable[[], object]) -> float:
    """Return the 99th percentile of how late a native timer fires."""
    with around(), Timers(realtime=realtime) as timers:  # type: ignore[attr-defined]
        timer = timers.every(PERIOD_S, cf.Flag())
        time.sleep(count * PERIOD_S)
        timer.cancel()
        return float(timer.report()["native_start_ns"]["p99"]) / 1e3


def cyclictest_us(count: int, option: str, around: Callable[[], object]) -> float:
    """Return the same of rt-tests' own measure."""
    command = ["cyclictest", "-q", "-t1", "-i", "5000", "-l", str(count), "-h", "20000", option]
    with around():  # type: ignore[attr-defined]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [(int(us), int(hits)) for us, hits in re.findall(r"^(\d+)\s+(\d+)$", text, re.MULTILINE)]
    wanted, seen = count * 99 / 100, 0
    for us, hits in rows:
        seen += hits
        if seen >= wanted:
            return float(us)
    return float(len(rows))  # at least: later ones have no row


def sleep_us(count: int, around: Callable[[], object]) -> float:
    """Return the same of a loop that sleeps to absolute instants."""
    late = []
    with around():  # type: ignore[attr-defined]
        due_s = time.monotonic()
        for _ in range(count):
            due_s += PERIOD_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            late.append(time.monotonic() - due_s)
    return percentile_us(late, 99)


def python_us(count: int, percent: int) -> float:
    """Return a percentile of how late a Python callback begins."""
    late: list[float] = []
    done = threading.Event()
    with Timers() as timers:
        first_ns = timers.now() + 20_000_000
        for number in range(count):
            due_ns = first_ns + number * round(PERIOD_S * 1e9)
            timers.at(due_ns, partial(note, timers, due_ns, late, count, done))
        done.wait()
    return percentile_us(late, percent)


def note(timers: Timers, due_ns: int, late: list[float], count: int, done: threading.Event) -> None:
    """Take note of a callback."""
    late.append((timers.now() - due_ns) / 1e9)
    if len(late) == count:
        done.set()


def peer_us(fire: Peer, count: int, percent: int) -> float:
    """Return the same of a scheduler of Python's; one that counts in milliseconds may fire early, which is as wrong."""
    late: list[float] = []
    first_s = time.monotonic() + 0.02
    due = [first_s + number * PERIOD_S for number in range(count)]
    fire(due, lambda due_s: late.append(abs(time.monotonic() - due_s)))
    return percentile_us(late, percent)


def percentile_us(late: list[float], percent: int) -> float:
    """Return a percentile in microseconds."""
    return statistics.quantiles(late, n=100)[percent - 1] * 1e6


async def _fire_on_loop(due: list[float], call: Callable[[float], None]) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    offset = loop.time() - time.monotonic()
    for due_s in due:
        loop.call_at(due_s + offset, call, due_s)
    loop.call_at(due[-1] + offset + PERIOD_S, done.set)
    await done.wait()


def with_asyncio(due: list[float], call: Callable[[float], None]) -> None:
    """Fire with asyncio's own loop."""
    asyncio.run(_fire_on_loop(due, call))


def with_uvloop(due: list[float], call: Callable[[float], None]) -> None:
    """Fire with uvloop."""
    import uvloop  # type: ignore[import-not-found,unused-ignore]

    uvloop.run(_fire_on_loop(due, call))


def with_threads(due: list[float], call: Callable[[float], None]) -> None:
    """Fire with a thread for each timer, 200 at a time: more would be late by their own starting."""
    for begin in range(0, len(due), 200):
        timers = []
        for due_s in due[begin : begin + 200]:
            timers.append(threading.Timer(max(0.0, due_s - time.monotonic()), call, (due_s,)))
            timers[-1].start()
        for timer in timers:
            timer.join()


def with_sched(due: list[float], call: Callable[[float], None]) -> None:
    """Fire with the standard library's event scheduler."""
    scheduler = sched.scheduler(time.monotonic, time.sleep)
    for due_s in due:
        scheduler.enterabs(due_s, 0, call, (due_s,))
    scheduler.run()


def with_apscheduler(due: list[float], call: Callable[[float], None]) -> None:
    """Fire with APScheduler, a job for each."""
    from datetime import UTC, datetime, timedelta

    from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-not-found,unused-ignore]

    scheduler = BackgroundScheduler(timezone=UTC)
    left, done = iter(range(len(due) - 1)), threading.Event()

    def run(due_s: float) -> None:
        call(due_s)
        if next(left, None) is None:
            done.set()

    for due_s in due:
        when = datetime.now(UTC) + timedelta(seconds=due_s - time.monotonic())
        scheduler.add_job(run, "date", run_date=when, args=(due_s,), misfire_grace_time=None)
    scheduler.start()
    done.wait()
    scheduler.shutdown()


if __name__ == "__main__":
    sys.exit(main("scheduler", cases))
