"""Looks at this machine: reads and tries what the checks judge."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import select
import signal
import sys
import sysconfig
import tempfile
import threading
import warnings
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from chronofabric.apps.doctor import clocks, interpreter, machine
from chronofabric.apps.doctor.finding import Finding, file_text
from chronofabric.scheduler import Realtime, Refused, Timers

READINGS, SLEEPS = 2_000, 21
SLEEP_NS = 1_000_000
CHILD_S_MAX = 10


def examine() -> list[Finding]:
    """Run every check; one that breaks is a finding too."""
    return [_found(name, check) for name, check in _checks().items()]


def _found(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - what cannot be looked at is said, and the others are looked at
        evidence = f"it could not be looked at: {type(error).__name__}: {error}"
        return Finding(name, "absent", evidence, "What it allows is not known; please report this line.")


def _checks() -> dict[str, Callable[[], Finding]]:
    system = platform.system()
    lock_in_use = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "platform": partial(machine.platform, system, platform.release(), platform.machine(), read=file_text),
        "python": partial(
            interpreter.python,
            platform.python_implementation(),
            platform.python_version(),
            free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            lock_in_use=lock_in_use,
        ),
        "switch interval": partial(interpreter.switch_interval, sys.getswitchinterval(), lock_in_use=lock_in_use),
        "extension": _extension,
        "bus": partial(interpreter.bus, _carry),
        "asyncio": _event_loop,
        "counter": partial(_counter, system),
        "clock synchronisation": partial(clocks.synchronisation, clocks.kernel_discipline, system=system),
        "timers": _wake_up,
        "cores": lambda: machine.cores(os.cpu_count(), len(_usable() or ()) or None, read=file_text),
        "real-time policy": lambda: machine.real_time(
            _try_real_time, limit=_limit("RLIMIT_RTPRIO")[0], system=system, read=file_text
        ),
        "deadline policy": partial(machine.deadline_policy, _try_deadline, system=system),
        "pinning": lambda: machine.pinning(_try_processor, _usable() or (), system=system),
        "locked memory": lambda: machine.locked_memory(
            _try_locked_memory, _number(_limit("RLIMIT_MEMLOCK")[0]), system=system, read=file_text
        ),
        "idle states": partial(machine.idle_states, _try_idle_states, system=system),
        "governor": partial(machine.governor, os.cpu_count() or 1, system=system, read=file_text),
        "shared memory": partial(machine.shared_memory, _shared_room, system=system),
        "open files": _open_files,
        "arrow: pyarrow": partial(interpreter.arrow, "pyarrow", _installed("pyarrow"), _by_pyarrow, needed=True),
        "arrow: numpy": partial(interpreter.arrow, "numpy", _installed("numpy"), _by_numpy, needed=True),
        "arrow: polars": partial(interpreter.arrow, "polars", _installed("polars"), _by_polars, needed=False),
        "extras": lambda: interpreter.extras(_requirements(), _installed),
    }


def _installed(name: str) -> str | None:
    """Return the version of a distribution, however its name is spelt; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extension() -> Finding:
    from chronofabric import _core

    return interpreter.extension(_core.__version__, _core.build_profile())


def _carry() -> float:
    """Carry an event from another thread to this one; return the seconds that it was on its way."""
    import chronofabric as cf

    with cf.Fabric("doctor") as fabric:
        subscription = fabric.subscribe("doctor/*")
        fabric.publish("doctor/first", 0)  # whatever is made once is made now
        subscription.receive(timeout="1 s")
        thread = threading.Thread(target=lambda: fabric.publish("doctor/second", fabric.clock.now()))
        thread.start()
        sent_ns = subscription.receive(timeout="1 s").payload
        took_ns = fabric.clock.now() - sent_ns
        thread.join()
    return float(took_ns) / 1e9


def _event_loop() -> Finding:
    import asyncio

    return interpreter.event_loop(asyncio.new_event_loop)


def _counter(system: str) -> Finding:
    from chronofabric.apps.measuring.costs import call_ns
    from chronofabric.clock import CounterClock, SystemClock

    clock, wall = CounterClock(), SystemClock()
    reading_ns = min(call_ns(clock.now, READINGS) for _ in range(5))
    offset_ns = min((clock.now() - wall.now() for _ in range(5)), key=abs)
    return clocks.counter(
        hardware=clock.hardware, reading_ns=reading_ns, offset_ns=offset_ns, system=system, read=file_text
    )


def _wake_up() -> Finding:
    from chronofabric.clock import CounterClock

    now, never = CounterClock().now, threading.Event()
    late_ns = []
    for _ in range(SLEEPS):
        due_ns = now() + SLEEP_NS
        never.wait(SLEEP_NS / 1e9)
        late_ns.append(max(0, now() - due_ns))
    return machine.wake_up(late_ns, slack=file_text("/proc/self/timerslack_ns"))


def _usable() -> set[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _limit(name: str) -> tuple[int, int]:
    """Return the soft and the hard limit of a resource, -1 for none; zeros where the system has no such limit."""
    try:
        import resource

        limits: tuple[int, int] = resource.getrlimit(getattr(resource, name))
    except (ImportError, AttributeError):  # Windows, macOS
        return 0, 0
    return limits


def _number(limit: int) -> float:
    return float("inf") if limit < 0 else float(limit)


def _ask(realtime: Realtime, option: str) -> Refused | None:
    """Have a thread that fires timers ask for something, and end: what was granted ends with it."""
    with Timers("doctor", realtime=realtime) as timers:
        timers.sleep_until(timers.now())
        return next((refused for refused in timers.refused if refused.option == option), None)


def _try_real_time(priority: int) -> Refused | None:
    return _ask(Realtime(scheduling="fifo", priority=priority), "class")


def _try_deadline() -> Refused | None:
    return _ask(Realtime(scheduling="deadline"), "class")


def _try_processor(number: int) -> Refused | None:
    return _ask(Realtime(processor=number), "processor")


def _try_idle_states() -> Refused | None:
    return _ask(Realtime(awake_processors=True), "awake_processors")


def _try_locked_memory() -> Refused | None:
    """Ask in a forked child, because memory is locked for a whole process; a new program could have other rights.

    Raises
    ------
    OSError
        The child gave no answer.
    """
    answer, given = os.pipe()
    with warnings.catch_warnings():
        # Of threads in the parent. The child of this system calls nothing but what is asked for, and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            os.write(given, json.dumps(_ask(Realtime(lock_memory=True), "lock_memory")).encode())
        finally:
            os._exit(0)
    os.close(given)
    try:
        ready, _, _ = select.select([answer], [], [], CHILD_S_MAX)
        text = os.read(answer, 4096) if ready else b""
    finally:
        os.close(answer)
        os.kill(child, signal.SIGKILL)  # it has written all it has, or never will
        os.waitpid(child, 0)
    if not text:
        raise OSError("the process that was to lock its memory did not answer")
    refused = json.loads(text)
    return refused and Refused(*refused)


def _shared_room() -> tuple[int, int]:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.write(b"0")
        file.flush()
        room = os.fstatvfs(file.fileno())
    return room.f_frsize * room.f_blocks, room.f_frsize * room.f_bavail


def _open_files() -> Finding:
    if os.name == "nt":
        return Finding("open files", "absent", "not looked at on Windows", "Windows bounds handles by memory alone.")
    soft, hard = _limit("RLIMIT_NOFILE")
    open_now = None
    with suppress(OSError):
        open_now = sum(1 for _ in Path("/dev/fd").iterdir()) - 1  # the listing has one open itself
    return machine.open_files(_number(soft), _number(hard), open_now)


# pyarrow's own ways in and out (pa.array, pa.table, to_numpy) import pandas where it is installed, which takes longer
# than all other checks together.


def _by_pyarrow(values: list[float]) -> list[float]:
    import pyarrow as pa

    from chronofabric import Table

    column = pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(array("d", values))])
    table = pa.RecordBatchReader.from_stream(Table(pa.table([column], ["value"]))).read_all()
    back: list[float] = table.column("value").to_pylist()
    return back


def _by_numpy(values: list[float]) -> list[float]:
    import numpy as np
    import pyarrow as pa

    from chronofabric import Table

    table = pa.RecordBatchReader.from_stream(Table.from_numpy({"value": np.array(values)})).read_all()
    back: list[float] = np.frombuffer(table.column("value").chunk(0).buffers()[1], np.float64, len(values)).tolist()
    return back


def _by_polars(values: list[float]) -> list[float]:
    import polars as pl

    from chronofabric import Table

    back: list[float] = pl.DataFrame(Table(pl.DataFrame({"value": values})))["value"].to_list()
    return back


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("chronofabric") or []
    except importlib.metadata.PackageNotFoundError:
        return []
