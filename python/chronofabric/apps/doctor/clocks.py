"""The processor's counter and the system's clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from chronofabric.apps.doctor.finding import Finding, Read, not_looked_at
from chronofabric.apps.rendering import duration_text

CLOCK_SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"


def counter(*, hardware: bool, reading_ns: float, offset_ns: float, system: str, read: Read) -> Finding:
    """Say what the counter clock reads.

    Parameters
    ----------
    hardware
        Whether it is the processor's own counter.
    reading_ns
        What a reading costs from Python, measured.
    offset_ns
        How far it stands from the system's clock now, measured.
    system
        The name of the operating system.
    read
        Reads a file of the machine.
    """
    facts = [f"a reading takes {duration_text(reading_ns)} from Python"]
    facts.append(f"it stands {duration_text(abs(offset_ns))} from the system's clock")
    if system == "Linux":
        facts.append(f"the kernel reads {(read(CLOCK_SOURCE) or 'an unknown clock').strip()}")
    if hardware:
        evidence = f"invariant and calibrated; {', '.join(facts)}"
        return Finding("counter", "ok", evidence, 'Events are stamped by the processor\'s counter (clock="counter").')
    return Finding(
        "counter",
        "limited",
        f"no invariant counter, the system's monotonic clock stands in; {', '.join(facts)}",
        "Stamps are as right as otherwise, and cost more.",
        "In a virtual machine, have its host pass the invariant counter on; on Linux, boot with clocksource=tsc if the "
        "kernel turned away from it (`dmesg | grep -i tsc` says why).",
    )


class Discipline(NamedTuple):
    """What the kernel says of the system's clock."""

    synchronised: bool
    error_max_us: int
    error_estimate_us: int


def synchronisation(discipline: Callable[[], Discipline], *, system: str) -> Finding:
    """Say whether somebody keeps the system's clock right."""
    if system != "Linux":
        return not_looked_at("clock synchronisation", system)
    try:
        found = discipline()
    except (OSError, AttributeError, ValueError) as error:
        return Finding(
            "clock synchronisation",
            "absent",
            f"the kernel does not say ({error})",
            "Whether the times of events may be compared with those of other machines is not known.",
        )
    if found.synchronised:
        most = duration_text(found.error_max_us * 1e3)
        return Finding(
            "clock synchronisation",
            "ok",
            f"the kernel's clock is disciplined, wrong by {most} at most",
            "Times of events may be compared with those of other machines to within that.",
        )
    return Finding(
        "clock synchronisation",
        "limited",
        "the kernel's clock is not disciplined by anybody (adjtimex)",
        "Order within this machine is not affected; times of events may not be compared with those of other machines.",
        "Run chrony or systemd-timesyncd; in a container, do it on the host.",
    )


def kernel_discipline() -> Discipline:
    """Ask the Linux kernel how its clock is kept, without changing anything (adjtimex, modes 0).

    Raises
    ------
    OSError
        The kernel refuses.
    """
    import ctypes

    class Timex(ctypes.Structure):
        _fields_ = [
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_char * 512),
        ]

    unsynchronised, clock_error = 0x40, 5
    library = ctypes.CDLL(None, use_errno=True)
    timex = Timex()
    state = library.adjtimex(ctypes.byref(timex))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"adjtimex failed with error {number}")
    kept = state != clock_error and not timex.status & unsynchronised
    return Discipline(kept, timex.maxerror, timex.esterror)
