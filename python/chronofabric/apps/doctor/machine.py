"""The machine and what its system allows this process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TypeAlias

from chronofabric.apps.doctor.finding import Finding, Read, State, bytes_text, not_looked_at
from chronofabric.apps.rendering import duration_text
from chronofabric.scheduler import Refused

STEAL_SHARE_MAX = 0.005
LATE_NS_MAX = 200_000
"""A sleep that ends later than this is called a limit."""

SHARED_BYTES_MIN = 256 * 2**20
OPEN_FILES_MIN = 1024
CAP_SYS_NICE = 23
PRIORITY_MAX = 99


def platform(system: str, release: str, architecture: str, *, read: Read) -> Finding:
    """Say which system runs, and whether it is a guest of another."""
    evidence = f"{system} {release}, {architecture}"
    if system != "Linux":
        meaning = "chronofabric runs here; what only Linux lets a process ask for is not looked at below."
        return Finding("platform", "ok", evidence, meaning)
    container = next((mark for mark in ("/.dockerenv", "/run/.containerenv") if read(mark) is not None), None)
    if container:
        evidence += f", in a container ({container})"
    virtual = virtual_machine(read)
    steal = stolen_share(read("/proc/stat") or "")
    if virtual is None:
        return Finding("platform", "ok", f"{evidence}, no sign of a virtual machine", "Nobody takes its cores away.")
    evidence += f", a virtual machine ({virtual})"
    if steal is not None:
        evidence += f", {steal:.2%} of its time stolen by the host since it started"
    return Finding(
        "platform",
        "limited",
        evidence,
        "The host may stop it for milliseconds at a time, with whatever deadline is due then.",
        "For tight deadlines, take a machine of your own, or one whose cores the host shares with nobody.",
    )


def virtual_machine(read: Read) -> str | None:
    """Return what says that this is a virtual machine, or None where nothing does."""
    if re.search(r"^flags\s*:.*\bhypervisor\b", read("/proc/cpuinfo") or "", re.MULTILINE):
        return "the processor says so"
    product = (read("/sys/class/dmi/id/product_name") or "").strip()
    if re.search(r"virtual|kvm|qemu|vmware|hvm|bochs", product, re.IGNORECASE):
        return f"its product name is {product}"
    hypervisor = (read("/sys/hypervisor/type") or "").strip()
    return hypervisor or None


def stolen_share(statistics: str) -> float | None:
    """Return the share of processor time that the host took, from the text of ``/proc/stat``."""
    found = re.search(r"^cpu +(.+)$", statistics, re.MULTILINE)
    counted: list[int] = [int(number) for number in found[1].split()[:8]] if found else []
    total: int = sum(counted)
    return counted[7] / total if len(counted) == 8 and total else None


def cores(count: int | None, usable: int | None, *, read: Read) -> Finding:
    """Say how many cores this process may use: of the machine, by affinity, and by the quota of its control group."""
    quota = cpu_quota(read)
    evidence = [f"{count or 'an unknown number of'} cores"]
    if usable is not None:
        evidence.append(f"{usable} usable by this process")
    evidence.append("no quota found" if quota is None else f"a quota of {quota:g} cores")
    least = min(each for each in (float(count or 1), usable, quota) if each is not None)
    if least >= 2 and quota is None:
        return Finding("cores", "ok", ", ".join(evidence), "A publisher and a receiver run at the same time.")
    if quota is not None:
        meaning = "Once the quota of a period is used up, every thread stands still for the rest of it, up to 100 ms."
        way = "Raise the limit of the container or service (docker --cpus, CPUQuota=), or give it whole cores instead."
    else:
        meaning = "A publisher and a receiver share a core, so each hand-over waits for the other to stop."
        way = "Allow two cores (taskset, docker --cpuset-cpus)."
    return Finding("cores", "limited", ", ".join(evidence), meaning, way)


def cpu_quota(read: Read) -> float | None:
    """Return the smallest quota of the control groups that this process is in, in cores."""
    quotas: list[float] = []
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        for place in _upwards(group):
            if controllers == "":
                for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                    quotas += _ratio((read(f"{top}{place}/cpu.max") or "").split())
            elif "cpu" in controllers.split(","):
                for top in (f"/sys/fs/cgroup/{controllers}", "/sys/fs/cgroup/cpu"):
                    files = (f"{top}{place}/cpu.cfs_{what}_us" for what in ("quota", "period"))
                    quotas += _ratio([(read(file) or "").strip() for file in files])
    return min(quotas, default=None)


def _upwards(group: str) -> Iterable[str]:
    """Yield a control group and those above it, the topmost as an empty text."""
    path = PurePosixPath(group)
    for each in (path, *path.parents):
        yield "" if str(each) in ("/", ".") else str(each)


def _ratio(words: list[str]) -> list[float]:
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        return [int(words[0]) / int(words[1])]
    return []  # "max", or -1: no quota


Attempt: TypeAlias = Callable[[], Refused | None]
"""Asks the system for one option of `Realtime`, and returns what it refused; nothing is left of it."""


def real_time(attempt: Callable[[int], Refused | None], *, limit: int | None, system: str, read: Read) -> Finding:
    """Say whether the thread that fires timers may have a real-time class; `attempt` is given a priority."""
    name = "real-time policy"
    if system != "Linux":
        return not_looked_at(name, system)
    held = re.search(r"^CapEff:\s*([0-9a-f]+)$", read("/proc/self/status") or "", re.MULTILINE)
    capable = bool(held and int(held[1], 16) >> CAP_SYS_NICE & 1)
    rights = f"RLIMIT_RTPRIO {limit}, CAP_SYS_NICE {'held' if capable else 'not held'}"
    # Without the capability the limit is also the highest priority that is permitted.
    within = range(1, PRIORITY_MAX) if limit is None else range(1, min(limit + 1, PRIORITY_MAX))
    refused = None
    for priority in (PRIORITY_MAX, *within[-1:]):
        answer = attempt(priority)
        if answer is None:
            evidence = f"a thread that fires timers got SCHED_FIFO at priority {priority} ({rights})"
            meaning = "It can be put before all ordinary ones: Realtime(scheduling='fifo')."
            if refused is not None:
                meaning = f"{meaning[:-1]} with a priority up to {priority}; a higher one is refused."
            return Finding(name, "ok", evidence, meaning)
        refused = refused or answer
    assert refused is not None  # the first priority is always asked for
    return _refused(
        name,
        "limited",
        f"a thread that asked for SCHED_FIFO was refused: {refused.reason} ({rights})",
        refused,
        "Realtime(scheduling='fifo') changes nothing.",
        "Set `rtprio` in /etc/security/limits.conf, LimitRTPRIO= of the service, or docker --cap-add SYS_NICE "
        "--ulimit rtprio=99.",
    )


def deadline_policy(attempt: Attempt, *, system: str) -> Finding:
    """Say whether the thread that fires timers may have the deadline policy."""
    if system != "Linux":
        return not_looked_at("deadline policy", system)
    refused = attempt()
    if refused is None:
        evidence = "a thread that fires timers got SCHED_DEADLINE"
        meaning = "Realtime(scheduling='deadline') puts it before every thread, those of SCHED_FIFO included."
        return Finding("deadline policy", "ok", evidence, meaning)
    return _refused(
        "deadline policy",
        "absent",
        f"a thread that asked for SCHED_DEADLINE was refused: {refused.reason}",
        refused,
        "Nothing is lost where Realtime(scheduling='fifo') is granted and no other thread has a higher priority.",
        "Only root and CAP_SYS_NICE may have it (docker --cap-add SYS_NICE), and the process must not be bound to some "
        "of the processors (taskset, cpusets).",
    )


def pinning(attempt: Callable[[int], Refused | None], usable: Iterable[int], *, system: str) -> Finding:
    """Say to which processors a thread may be pinned; `attempt` is given each of those that this process may use."""
    if system != "Linux":
        return not_looked_at("pinning", system)
    granted: list[int] = []
    refused: Refused | None = None
    failed: list[int] = []
    for processor in sorted(usable):
        answer = attempt(processor)
        refused = answer or refused
        (granted if answer is None else failed).append(processor)
    if refused is None:
        evidence = f"a thread that fires timers was pinned to each that this process may use: {_ranges(granted)}"
        meaning = "Realtime(processor=...) keeps it there; others are refused."
        return Finding("pinning", "ok", evidence, meaning)
    return _refused(
        "pinning",
        "limited" if granted else "absent",
        f"a thread that asked to be pinned to {_ranges(failed)} was refused: {refused.reason}",
        refused,
        f"Realtime(processor=...) holds for {_ranges(granted)} only."
        if granted
        else "Realtime(processor=...) changes nothing.",
        "Allow sched_setaffinity (the seccomp profile of a container or a service), or start the whole program with "
        "taskset.",
    )


def _ranges(processors: list[int]) -> str:
    """Return numbers as the system writes them: 0-3,8."""
    parts: list[list[int]] = []
    for number in processors:
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def locked_memory(attempt: Attempt, limit_bytes: float, *, system: str, read: Read) -> Finding:
    """Say whether a program may keep its memory from being paged out."""
    if system != "Linux":
        return not_looked_at("locked memory", system)
    swaps = len((read("/proc/swaps") or "").splitlines()) > 1
    limit = "unlimited" if limit_bytes == float("inf") else bytes_text(limit_bytes)
    rights = f"RLIMIT_MEMLOCK {limit}, {'swap in use' if swaps else 'no swap'}"
    refused = attempt()
    if refused is None:
        evidence = f"a process like this one locked all its memory ({rights})"
        meaning = "Realtime(lock_memory=True) keeps what a program has touched in memory."
        return Finding("locked memory", "ok", evidence, meaning)
    return _refused(
        "locked memory",
        "limited" if swaps else "absent",
        f"a process like this one that asked to lock its memory was refused: {refused.reason} ({rights})",
        refused,
        "Realtime(lock_memory=True) changes nothing."
        if swaps
        else "Realtime(lock_memory=True) changes nothing; without swap only code and mapped files are read back.",
        "CAP_IPC_LOCK (docker --cap-add IPC_LOCK), or `memlock unlimited` in /etc/security/limits.conf, "
        "LimitMEMLOCK=infinity, docker --ulimit memlock=-1; with swap also: switch it off.",
    )


def idle_states(attempt: Attempt, *, system: str) -> Finding:
    """Say whether a program may keep cores from deep sleep."""
    if system != "Linux":
        return not_looked_at("idle states", system)
    refused = attempt()
    if refused is None:
        evidence = "/dev/cpu_dma_latency was held at zero for a moment"
        return Finding(
            "idle states", "ok", evidence, "Realtime(awake_processors=True) keeps cores from sleeping deeply."
        )
    return _refused(
        "idle states",
        "absent",
        f"/dev/cpu_dma_latency cannot be written to: {refused.reason}",
        refused,
        "It sleeps deeper the less there is to do; Realtime(awake_processors=True) changes nothing.",
        "Give your user the right by a udev rule, or pass the device to the container (docker --device).",
    )


def _refused(name: str, state: State, evidence: str, refused: Refused, meaning: str, way: str) -> Finding:
    """Return the finding about something that was refused: its cost, in the words of the scheduler, comes first."""
    cost = f"{refused.cost[0].upper()}{refused.cost[1:]}."
    return Finding(name, state, evidence, f"{cost} {meaning}", way)


def wake_up(late_ns: list[int], *, slack: str | None) -> Finding:
    """Say how late sleeps of a millisecond ended."""
    ordered = sorted(late_ns)
    median_ns, worst_ns = ordered[len(ordered) // 2], ordered[-1]
    evidence = (
        f"of {len(ordered)} sleeps of 1 ms, half ended {duration_text(median_ns)} late or more, "
        f"the worst {duration_text(worst_ns)}"
    )
    if slack is not None and slack.strip().isdigit():
        evidence += f"; timer slack {duration_text(int(slack))}, which the thread that fires timers does without"
    if median_ns <= LATE_NS_MAX:
        return Finding("timers", "ok", evidence, "Timers and timeouts are late by about that.")
    return Finding(
        "timers",
        "limited",
        evidence,
        "Timers and timeouts are late by that; receivers are woken by publishers and do not wait for timers.",
        "Look at what else runs on this machine, and at the governor below; Windows counts its timers in 1 to 15 ms.",
    )


def governor(count: int, *, system: str, read: Read) -> Finding:
    """Say who chooses the speed of the cores."""
    if system != "Linux":
        return not_looked_at("governor", system)
    place = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    found = sorted({text.strip() for number in range(count) if (text := read(place.format(number))) is not None})
    if not found:
        meaning = "The speed of the cores is not this system's to choose (a virtual machine, or fixed)."
        return Finding("governor", "absent", "the kernel has none for these cores", meaning)
    evidence = f"{', '.join(found)} (scaling_governor)"
    if found == ["performance"]:
        return Finding("governor", "ok", evidence, "Cores are always fast.")
    return Finding(
        "governor",
        "limited",
        evidence,
        "A core that had little to do is slow when an event arrives, so first events take longer than later ones.",
        "sudo cpupower frequency-set -g performance",
    )


def shared_memory(room: Callable[[], tuple[int, int]], *, system: str) -> Finding:
    """Say what /dev/shm holds; `room` writes to it and returns its size and what is free."""
    if system != "Linux":
        return not_looked_at("shared memory", system)
    place = "/dev/shm"  # noqa: S108 - this very folder is looked at
    try:
        size, free = room()
    except OSError as error:
        return Finding(
            "shared memory",
            "absent",
            f"{place} cannot be written to: {error.strerror or error}",
            "Nothing in chronofabric needs it; multiprocessing and libraries that share Arrow buffers do.",
            "Mount it: docker --shm-size 1g, or a tmpfs on /dev/shm.",
        )
    evidence = f"{place} is writable, {bytes_text(size)}, {bytes_text(free)} free"
    if size >= SHARED_BYTES_MIN:
        return Finding("shared memory", "ok", evidence, "Other processes can be given large buffers.")
    meaning = "Nothing in chronofabric needs it; multiprocessing and shared Arrow buffers may find it full."
    return Finding("shared memory", "limited", evidence, meaning, "docker --shm-size 1g, or remount it larger.")


def open_files(soft: float, hard: float, open_now: int | None) -> Finding:
    """Say how many files and sockets may be open."""
    evidence = f"at most {soft:g}, up to {hard:g} on request" + ("" if open_now is None else f", {open_now} open now")
    if soft >= OPEN_FILES_MIN:
        return Finding("open files", "ok", evidence, "Each sink and each event loop that waits needs one to three.")
    return Finding(
        "open files",
        "limited",
        evidence,
        "Each sink and each event loop that waits needs one to three; with too many, opening fails.",
        f"ulimit -n {OPEN_FILES_MIN}, or LimitNOFILE= of the service.",
    )
