"""What the doctor says of machines that it is shown, and of this one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from chronofabric.apps import doctor
from chronofabric.apps.doctor import clocks, here, interpreter, machine
from chronofabric.apps.doctor.finding import Finding
from chronofabric.scheduler import Refused
from tests.subprocesses import run_python, running_python

LINUX = "Linux"
OTHERS = ("Darwin", "Windows")


def reader(contents):
    return contents.get


def refused(*_):
    return Refused("class", "Operation not permitted", "other threads may run first")


def allowed(*_):
    return None


def not_to_be_called(*_):
    raise AssertionError("this is not looked at here")


# The interpreter ------------------------------------------------------------------------------------------------------


def test_an_interpreter_with_a_lock_is_as_usual_and_one_that_was_switched_back_to_it_is_named():
    assert interpreter.python("CPython", "3.11.7", free_threaded=False, lock_in_use=True).state == "ok"
    free = interpreter.python("CPython", "3.14.0", free_threaded=True, lock_in_use=False)
    assert (free.state, "free-threaded" in free.evidence) == ("ok", True)
    back = interpreter.python("CPython", "3.14.0", free_threaded=True, lock_in_use=True)
    assert back.state == "limited"
    assert "PYTHON_GIL" in (back.way or "")


@pytest.mark.parametrize(
    ("interval_s", "lock_in_use", "state"),
    [(0.005, True, "limited"), (0.001, True, "ok"), (0.0005, True, "ok"), (0.005, False, "ok")],
)
def test_the_switch_interval_is_a_limit_where_threads_take_long_turns(interval_s, lock_in_use, state):
    found = interpreter.switch_interval(interval_s, lock_in_use=lock_in_use)
    assert found.state == state
    assert (found.way is not None) == (state == "limited")


def test_the_switch_interval_is_said_as_the_time_that_a_python_action_can_keep():
    assert "5.00 ms late" in interpreter.switch_interval(0.005, lock_in_use=True).meaning


def test_a_debug_build_is_a_limit_with_a_way_out():
    assert interpreter.extension("0.1.0", "release").state == "ok"
    debug = interpreter.extension("0.1.0", "debug")
    assert debug.state == "limited"
    assert "make setup" in (debug.way or "")


def test_a_bus_that_does_not_carry_is_broken_and_nothing_else_of_the_report_is_lost():
    def fails():
        raise RuntimeError("no ring")

    broken = interpreter.bus(fails)
    assert broken.state == "broken"
    assert "no ring" in broken.evidence
    assert interpreter.bus(lambda: 0.000_1).evidence.endswith("in 100 us")
    assert doctor.exit_code([broken, Finding("x", "limited", "", "")]) == 1


class Proactor(asyncio.SelectorEventLoop):
    """A loop that watches no descriptors, as that of Windows."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError


def test_a_loop_that_watches_no_descriptors_is_a_limit_and_is_closed_again():
    loops = []

    def make():
        loops.append(Proactor())
        return loops[0]

    assert interpreter.event_loop(make).state == "limited"
    assert loops[0].is_closed()
    assert interpreter.event_loop(asyncio.SelectorEventLoop).state == "ok"


def test_a_package_is_judged_by_what_comes_back_from_it():
    def exchange(values):
        return list(values)

    def breaks(values):
        raise TypeError("no capsule")

    assert interpreter.arrow("polars", "1.0", exchange, needed=False).state == "ok"
    assert interpreter.arrow("polars", None, not_to_be_called, needed=False).state == "absent"
    assert interpreter.arrow("polars", "0.1", breaks, needed=False).state == "limited"
    assert interpreter.arrow("pyarrow", "15", lambda values: values[1:], needed=True).state == "broken"
    missing = interpreter.arrow("pyarrow", None, breaks, needed=True)
    assert missing.state == "broken"
    assert "not installed" in missing.evidence


def test_extras_are_counted_from_the_metadata():
    installed = {"janus": "2.0", "types-psutil": "6"}.get
    found = interpreter.extras(
        ["numpy>=1", "janus>=2; extra == 'peers'", "pyee; extra == 'peers'", 'types-psutil; extra == "lint"'], installed
    )
    assert found.evidence == "lint 1/1, peers 1/2"
    assert "peers: pyee" in found.meaning
    assert interpreter.extras(["numpy>=1"], installed).state == "absent"


def test_a_package_is_found_however_its_name_is_spelt():
    spelt = {here._installed(name) for name in ("typing-extensions", "Typing_Extensions", "typing.extensions")}
    assert len(spelt) == 1
    assert None not in spelt
    assert here._installed("no-such-package-anywhere") is None


def test_no_package_is_imported_that_the_report_has_no_line_for():
    loaded = run_python("""
        import sys
        from chronofabric.apps.doctor import here
        assert {finding.state for finding in here.examine()} <= {"ok", "limited", "absent"}
        print(*sorted({"pandas", "duckdb", "scipy", "matplotlib"} & set(sys.modules)))
    """).stdout.split()
    assert loaded == []


# Clocks ---------------------------------------------------------------------------------------------------------------


def counter(**options):
    given = {"hardware": True, "reading_ns": 45.0, "offset_ns": -80.0, "system": LINUX, "read": reader({})}
    return clocks.counter(**{**given, **options})


def test_a_machine_without_an_invariant_counter_is_told_what_stands_in():
    found = counter(hardware=False, read=reader({clocks.CLOCK_SOURCE: "hpet\n"}))
    assert found.state == "limited"
    assert "monotonic clock stands in" in found.evidence
    assert "the kernel reads hpet" in found.evidence
    assert counter().state == "ok"
    assert "80 ns from the system's clock" in counter().evidence


def test_a_clock_is_synchronised_if_the_kernel_says_so():
    assert clocks.synchronisation(lambda: clocks.Discipline(True, 1500, 200), system=LINUX).state == "ok"
    assert clocks.synchronisation(lambda: clocks.Discipline(False, 16_000_000, 0), system=LINUX).state == "limited"

    def refuses():
        raise OSError(1, "not permitted")

    assert clocks.synchronisation(refuses, system=LINUX).state == "absent"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux is asked")
def test_the_kernel_is_asked_without_changing_its_clock():
    try:
        found = clocks.kernel_discipline()
    except OSError as error:
        pytest.skip(f"this kernel does not say: {error}")
    assert found.error_max_us >= 0
    assert found.error_estimate_us >= 0


# The machine ----------------------------------------------------------------------------------------------------------


def platform_of(contents):
    return machine.platform(LINUX, "6.1", "x86_64", read=reader(contents))


def test_a_virtual_machine_is_known_by_what_it_says_of_itself():
    bare = platform_of({"/proc/cpuinfo": "flags\t\t: fpu tsc\n"})
    assert bare.state == "ok"
    guest = platform_of(
        {"/proc/cpuinfo": "flags\t\t: fpu hypervisor tsc\n", "/proc/stat": "cpu  10 0 10 70 0 0 0 10 0 0\n"}
    )
    assert guest.state == "limited"
    assert "10.00% of its time stolen" in guest.evidence
    assert "KVM" in platform_of({"/sys/class/dmi/id/product_name": "KVM Virtual Machine\n"}).evidence
    assert "xen" in platform_of({"/sys/hypervisor/type": "xen\n"}).evidence
    assert "/.dockerenv" in platform_of({"/.dockerenv": ""}).evidence


@pytest.mark.parametrize("text", ["", "cpu  1 2 3\n", "cpu  0 0 0 0 0 0 0 0\n", "intr 5\n"])
def test_a_steal_that_cannot_be_read_is_not_made_up(text):
    assert machine.stolen_share(text) is None


@pytest.mark.parametrize(
    ("count", "usable", "contents", "state", "said"),
    [
        (8, 8, {}, "ok", "no quota found"),
        (8, 1, {}, "limited", "1 usable"),
        (1, None, {}, "limited", "1 cores"),
        (8, 8, {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "150000 100000\n"}, "limited", "1.5 cores"),
        (8, 8, {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "max 100000\n"}, "ok", "no quota"),
        (None, None, {}, "limited", "an unknown number"),
    ],
)
def test_cores_are_those_of_machine_affinity_and_quota(count, usable, contents, state, said):
    found = machine.cores(count, usable, read=reader(contents))
    assert found.state == state
    assert said in found.evidence


def test_the_smallest_quota_of_all_groups_above_counts():
    contents = {
        "/proc/self/cgroup": "0::/kubepods/pod1/c1\n",
        "/sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "max 100000",
        "/sys/fs/cgroup/kubepods/pod1/cpu.max": "200000 100000",
        "/sys/fs/cgroup/kubepods/cpu.max": "400000 100000",
    }
    assert machine.cpu_quota(reader(contents)) == 2.0


def test_a_quota_of_the_first_version_of_control_groups_is_read():
    place = "/sys/fs/cgroup/cpu,cpuacct/docker/1"
    contents = {
        "/proc/self/cgroup": "4:cpu,cpuacct:/docker/1\n3:cpuset:/docker/1\n",
        f"{place}/cpu.cfs_period_us": "100000\n",
    }
    assert machine.cpu_quota(reader({**contents, f"{place}/cpu.cfs_quota_us": "50000\n"})) == 0.5
    assert machine.cpu_quota(reader({**contents, f"{place}/cpu.cfs_quota_us": "-1\n"})) is None


def test_a_real_time_policy_is_what_a_thread_got_when_it_asked():
    status = reader({"/proc/self/status": "Name:\tpython\nCapEff:\t0000000000800000\n"})
    assert machine.real_time(allowed, limit=0, system=LINUX, read=status).state == "ok"
    found = machine.real_time(refused, limit=0, system=LINUX, read=reader({}))
    assert found.state == "limited"
    assert "Operation not permitted" in found.evidence
    assert "CAP_SYS_NICE not held" in found.evidence
    assert found.meaning.startswith("Other threads may run first.")
    assert "CAP_SYS_NICE held" in machine.real_time(allowed, limit=0, system=LINUX, read=status).evidence


def test_a_limit_of_the_priority_is_named_where_only_those_below_it_are_permitted():
    def up_to_ten(priority):
        return refused() if priority > 10 else None

    found = machine.real_time(up_to_ten, limit=10, system=LINUX, read=reader({}))
    assert (found.state, "at priority 10 " in found.evidence) == ("ok", True)
    assert "a priority up to 10; a higher one is refused" in found.meaning
    assert "priority 99" in machine.real_time(allowed, limit=10, system=LINUX, read=reader({})).evidence
    assert machine.real_time(up_to_ten, limit=0, system=LINUX, read=reader({})).state == "limited"


def test_the_deadline_policy_is_what_the_thread_that_fires_got_when_it_asked():
    assert machine.deadline_policy(allowed, system=LINUX).state == "ok"
    found = machine.deadline_policy(refused, system=LINUX)
    assert (found.state, found.way is not None) == ("absent", True)
    assert "Operation not permitted" in found.evidence


def test_pinning_is_tried_for_each_processor_that_the_process_may_use():
    asked: list[int] = []
    found = machine.pinning(asked.append, {8, 1, 0, 2}, system=LINUX)
    assert (found.state, asked) == ("ok", [0, 1, 2, 8])
    assert "0-2,8" in found.evidence
    without = machine.pinning(refused, {0, 1}, system=LINUX)
    assert (without.state, without.way is not None) == ("absent", True)
    assert "pinned to 0-1 was refused: Operation not permitted" in without.evidence
    some = machine.pinning(lambda number: refused() if number == 1 else None, {0, 1, 2}, system=LINUX)
    assert (some.state, "pinned to 1 was refused" in some.evidence) == ("limited", True)
    assert "holds for 0,2 only" in some.meaning


@pytest.mark.parametrize(
    ("attempt", "swaps", "state"),
    [
        (allowed, "Filename\n/swap\n", "ok"),
        (refused, "Filename\n", "absent"),
        (refused, "Filename\n/swap partition\n", "limited"),
    ],
)
def test_memory_is_locked_if_a_process_got_that_when_it_asked(attempt, swaps, state):
    found = machine.locked_memory(attempt, 8 * 2**20, system=LINUX, read=reader({"/proc/swaps": swaps}))
    assert found.state == state
    assert "RLIMIT_MEMLOCK 8 MiB" in found.evidence
    assert ("CAP_IPC_LOCK" in (found.way or "")) is (state != "ok")
    assert ("Operation not permitted" in found.evidence) is (state != "ok")


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asked for on Linux only")

ASKED = {
    "real-time policy": lambda: here._try_real_time(99),
    "deadline policy": here._try_deadline,
    "pinning": lambda: here._try_processor(min(os.sched_getaffinity(0))),
    "locked memory": here._try_locked_memory,
    "idle states": here._try_idle_states,
}


def locked_kibibytes():
    return re.findall(r"^VmLck:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)


@on_linux
@pytest.mark.parametrize("name", ASKED)
def test_asking_says_what_the_system_said_and_leaves_everything_as_it_was(name):
    def state():
        threads = {
            task.name: (os.sched_getscheduler(int(task.name)), os.sched_getaffinity(int(task.name)))
            for task in Path("/proc/self/task").iterdir()
        }
        return threads, set(Path("/proc/self/fd").iterdir()), locked_kibibytes()

    threads, files, locked = state()
    answer = ASKED[name]()
    assert answer is None or "os error" in answer.reason
    after, files_after, locked_after = state()
    assert after.items() <= threads.items()  # no thread is left, and those that were there are unchanged
    assert len(files_after) <= len(files)
    assert locked_after == locked


WITHOUT_RIGHTS = """
    import ctypes, json, resource
    from dataclasses import asdict
    from chronofabric.apps.doctor import here

    class Header(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("process", ctypes.c_int)]

    class Rights(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]

    checks = here._checks()
    names = ["real-time policy", "deadline policy", "pinning", "locked memory"]
    before = {name: checks[name]().state for name in names}
    for limit in ("RLIMIT_RTPRIO", "RLIMIT_MEMLOCK"):
        resource.setrlimit(getattr(resource, limit), (0, 0))
    header = Header(0x20080522, 0)
    assert ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(header), (Rights * 2)()) == 0
    print(json.dumps([before, {name: asdict(checks[name]()) for name in names}]))
"""


@on_linux
def test_what_is_permitted_and_what_is_refused_is_told_apart_by_asking():
    before, after = json.loads(run_python(WITHOUT_RIGHTS).stdout)
    assert set(before) == set(after)
    for name, option in (("real-time policy", "fifo"), ("deadline policy", "fifo"), ("locked memory", "lock_memory")):
        assert after[name]["state"] in ("limited", "absent")
        assert "was refused: " in after[name]["evidence"]
        assert "os error" in after[name]["evidence"]
        assert option in after[name]["meaning"]
        assert after[name]["way"]
    assert after["pinning"]["state"] == "ok"  # everybody may, within the process's own set
    if os.geteuid() != 0 or before["locked memory"] != "ok":
        pytest.skip(f"this process may not lock memory, so that it can is not seen: {before}")
    assert before["pinning"] == "ok"


def test_idle_states_and_the_governor_are_named_with_the_way_to_change_them():
    assert machine.idle_states(allowed, system=LINUX).state == "ok"
    assert "Operation not permitted" in machine.idle_states(refused, system=LINUX).evidence
    place = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"

    def governed(*names):
        contents = {place.format(number): f"{name}\n" for number, name in enumerate(names)}
        return machine.governor(2, system=LINUX, read=reader(contents))

    assert governed("performance", "performance").state == "ok"
    mixed = governed("performance", "powersave")
    assert mixed.state == "limited"
    assert mixed.evidence.startswith("performance, powersave")
    assert governed().state == "absent"


def test_late_timers_are_a_limit():
    prompt = machine.wake_up([50_000] * 20 + [9_000_000], slack="50000\n")
    assert prompt.state == "ok"
    assert "timer slack 50.0 us" in prompt.evidence
    assert machine.wake_up([1_000_000] * 21, slack=None).state == "limited"


def test_shared_memory_is_as_large_as_what_was_written_to():
    assert machine.shared_memory(lambda: (2**30, 2**29), system=LINUX).state == "ok"
    assert machine.shared_memory(lambda: (2**26, 2**26), system=LINUX).state == "limited"

    def read_only():
        raise OSError(30, "Read-only file system")

    found = machine.shared_memory(read_only, system=LINUX)
    assert found.state == "absent"
    assert "Read-only file system" in found.evidence


def test_few_open_files_are_a_limit():
    assert machine.open_files(256, float("inf"), 5).state == "limited"
    assert machine.open_files(1024, 4096, None).state == "ok"


@pytest.mark.parametrize("system", OTHERS)
def test_other_systems_are_not_looked_at_where_only_linux_answers(system):
    found = [
        machine.real_time(not_to_be_called, limit=None, system=system, read=not_to_be_called),
        machine.deadline_policy(not_to_be_called, system=system),
        machine.pinning(not_to_be_called, (), system=system),
        machine.locked_memory(not_to_be_called, 0.0, system=system, read=not_to_be_called),
        machine.idle_states(not_to_be_called, system=system),
        machine.governor(4, system=system, read=not_to_be_called),
        machine.shared_memory(not_to_be_called, system=system),
        clocks.synchronisation(not_to_be_called, system=system),
    ]
    assert {each.state for each in found} == {"absent"}
    assert all(system in each.evidence for each in found)
    assert machine.platform(system, "1", "arm64", read=not_to_be_called).state == "ok"


def test_a_limit_that_a_system_does_not_have_is_no_error(monkeypatch):
    assert here._limit("RLIMIT_OF_ANOTHER_SYSTEM") == (0, 0)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert here._limit("RLIMIT_NOFILE") == (0, 0)


# The report -----------------------------------------------------------------------------------------------------------


def test_a_check_that_breaks_is_a_finding_and_not_the_end():
    def breaks():
        raise PermissionError("not yours")

    found = here._found("cores", breaks)
    assert (found.name, found.state) == ("cores", "absent")
    assert "not yours" in found.evidence


FINDINGS = [
    Finding("cores", "ok", "8 cores", "All is well."),
    Finding("governor", "limited", "powersave", "It is slow at first. " * 5, "Ask for another one."),
]


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_line_of_the_report_is_wider_than_the_terminal(width):
    shown = list(doctor.lines(FINDINGS, width=width, coloured=False))
    assert max(map(len, shown)) <= width
    assert shown[0].startswith("ok")
    assert any(line.lstrip().startswith("-> Ask") for line in shown)
    assert "All that chronofabric needs works here." in " ".join(shown[-3:])


def test_only_states_are_coloured_and_only_where_it_is_wanted():
    plain = "\n".join(doctor.lines(FINDINGS, width=100, coloured=False))
    coloured = "\n".join(doctor.lines(FINDINGS, width=100, coloured=True))
    assert "\x1b" not in plain
    assert coloured.replace("\x1b[32m", "").replace("\x1b[33m", "").replace("\x1b[0m", "") == plain
    assert coloured.count("\x1b[0m") == len(FINDINGS)


def test_this_machine_is_examined_in_text_and_in_json():
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "chronofabric", "doctor"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    took_s = time.perf_counter() - started_s
    assert (text.returncode, text.stderr) == (0, "")
    document = json.loads(
        subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=True).stdout
    )
    assert document["version"] == 1
    assert document["exit_code"] == 0
    names = [finding["name"] for finding in document["findings"]]
    assert names == list(here._checks())
    for finding in document["findings"]:
        assert f"{finding['name']}:" in text.stdout
        assert finding["evidence"]
        assert finding["meaning"]
        assert "could not be looked at" not in finding["evidence"]
    assert took_s < 30  # half a second where nothing else runs


@pytest.mark.skipif(sys.platform == "win32", reason="a console signal reaches the parent there as well")
def test_an_interruption_ends_it_without_a_traceback():
    code = """
        import sys, threading
        from chronofabric.apps.cli import main
        from chronofabric.apps.doctor import here

        def looks_for_long():
            print("looking", flush=True)
            threading.Event().wait(60)

        here._wake_up = looks_for_long
        sys.argv[1:] = ["doctor"]
        main()
    """
    with running_python(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "looking\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (130, "", "")
