"""The interpreter, the extension module and the packages beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from chronofabric.apps.doctor.finding import Finding
from chronofabric.apps.rendering import duration_text

if TYPE_CHECKING:
    import asyncio

SWITCH_INTERVAL_S_MAX = 0.001
"""A longer one is called a limit: native actions are a thousand times quicker."""

ARROW_VALUES = [21.5, 21.75, 22.0]


def python(implementation: str, version: str, *, free_threaded: bool, lock_in_use: bool) -> Finding:
    """Say which interpreter runs, and whether its threads take turns."""
    evidence = f"{implementation} {version}"
    if not lock_in_use:
        return Finding("python", "ok", f"{evidence}, free-threaded", "Threads run Python at the same time.")
    if free_threaded:
        return Finding(
            "python",
            "limited",
            f"{evidence}, a free-threaded build whose lock was switched on",
            "Threads take turns all the same: a module that was imported asked for the lock, or PYTHON_GIL=1 did.",
            "Find the module with `python -X gil=0 -W error`, or unset PYTHON_GIL.",
        )
    return Finding(
        "python",
        "ok",
        f"{evidence}, with one lock for all threads",
        "One thread runs Python at a time; the bus, guards and native actions work without it.",
    )


def switch_interval(interval_s: float, *, lock_in_use: bool) -> Finding:
    """Say what a Python handler or action can keep beside a busy thread."""
    text = duration_text(interval_s * 1e9)
    evidence = f"{text} (sys.getswitchinterval)"
    if not lock_in_use:
        return Finding("switch interval", "ok", evidence, "It does not matter: no thread waits for another's turn.")
    meaning = (
        f"A Python handler or action may begin {text} late for each Python thread that is busy meanwhile; flags, C "
        "functions and further topics of guards never wait for a turn."
    )
    if interval_s <= SWITCH_INTERVAL_S_MAX:
        return Finding("switch interval", "ok", evidence, meaning)
    way = (
        f"Leave deadlines below {text} to native actions, or shorten it while a node is open: "
        "Fabric(switch_interval='0.5 ms')."
    )
    return Finding("switch interval", "limited", evidence, meaning, way)


def extension(version: str, profile: str) -> Finding:
    """Say how the extension module was compiled."""
    evidence = f"chronofabric {version}, {profile} build"
    if profile == "release":
        return Finding("extension", "ok", evidence, "Figures measured with it are true.")
    return Finding(
        "extension",
        "limited",
        evidence,
        "It is many times slower than it should be, and `chronofabric bench` refuses it.",
        "In a clone, `make setup`; otherwise `pip install --force-reinstall chronofabric`.",
    )


def bus(carry: Callable[[], float]) -> Finding:
    """Say whether an event gets from one thread to another; `carry` returns the seconds that it took."""
    meaning = "Publishing, routing and receiving work."
    try:
        took_s = carry()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return Finding(
            "bus",
            "broken",
            f"an event could not be carried: {type(error).__name__}: {error}",
            "Nothing else of chronofabric will work either.",
            "Install it again; if that does not help, report this line with the others.",
        )
    return Finding("bus", "ok", f"an event went from thread to thread in {duration_text(took_s * 1e9)}", meaning)


def event_loop(make: Callable[[], asyncio.AbstractEventLoop]) -> Finding:
    """Say how an event loop is woken, by asking one to watch a socket."""
    import socket

    loop = make()
    name = f"{type(loop).__module__}.{type(loop).__qualname__}"
    ours, theirs = socket.socketpair()
    try:
        loop.add_reader(ours.fileno(), lambda: None)
        loop.remove_reader(ours.fileno())
    except NotImplementedError:
        return Finding(
            "asyncio",
            "limited",
            f"{name} watches no descriptors (add_reader)",
            "A publishing thread wakes the loop by call_soon_threadsafe, which costs it some microseconds more.",
            "On Windows, asyncio.SelectorEventLoop watches sockets; it starts no subprocesses, though.",
        )
    finally:
        ours.close()
        theirs.close()
        loop.close()
    return Finding("asyncio", "ok", f"{name} watches descriptors (add_reader)", "Many events wake a loop once.")


def arrow(name: str, version: str | None, exchange: Callable[[list[float]], list[float]], *, needed: bool) -> Finding:
    """Say whether columns get to a package and back; `exchange` sends values both ways."""
    title = f"arrow: {name}"
    if version is None and not needed:
        meaning = f"Tables do not need it; with it, events of columns become {name} frames without a copy."
        return Finding(title, "absent", "not installed", meaning, f"pip install {name}")
    try:
        back = exchange(ARROW_VALUES)
        if back != ARROW_VALUES:
            raise ValueError(f"{ARROW_VALUES} came back as {back}")  # noqa: TRY301 - both are the same finding
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return Finding(
            title,
            "broken" if needed else "limited",
            f"{version or 'not installed'}: {type(error).__name__}: {error}",
            f"Columns cannot be exchanged with {name}.",
            f"pip install --upgrade {name}",
        )
    return Finding(title, "ok", f"{version}, columns went there and back", f"{name} and events share buffers.")


def extras(requirements: Iterable[str], versions: Callable[[str], str | None]) -> Finding:
    """Say which optional packages are there; `requirements` are those of the installed metadata.

    Examples
    --------
    >>> found = extras(["numpy>=1", 'janus>=2; extra == "peers"'], {"janus": "2.0"}.get)
    >>> found.state, found.evidence
    ('ok', 'peers 1/1')
    """
    wanted: dict[str, set[str]] = {}
    for requirement in requirements:
        package = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ["']([\w-]+)["']""", requirement)
        if package and extra:
            wanted.setdefault(extra[1], set()).add(package[0])
    if not wanted:
        return Finding(
            "extras",
            "absent",
            "the metadata of the installed package names none",
            "Which optional packages belong to chronofabric is not known.",
            "pip install chronofabric",
        )
    missing = {extra: sorted(name for name in names if versions(name) is None) for extra, names in wanted.items()}
    counts = ", ".join(
        f"{extra} {len(names) - len(missing[extra])}/{len(names)}" for extra, names in sorted(wanted.items())
    )
    absent = [f"{extra}: {', '.join(names)}" for extra, names in sorted(missing.items()) if names]
    meaning = "Nothing optional is missing."
    if absent:
        meaning = f"None is needed for the main work. Missing: {'; '.join(absent)}."
    complete = any(not names for names in missing.values())
    way = "pip install 'chronofabric[peers]', or another extra" if absent else None
    return Finding("extras", "ok" if complete else "absent", counts, meaning, way)
