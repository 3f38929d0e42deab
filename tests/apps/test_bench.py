"""``chronofabric bench``: what is measured, shown, kept and compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from chronofabric.apps import bench
from chronofabric.apps.measuring import kept
from chronofabric.apps.measuring.kept import Figure, load, merged, save, state_folder
from chronofabric.apps.measuring.rounds import KEYS, Outcome
from chronofabric.apps.measuring.suite import cases
from tests.subprocesses import running_python

COMMAND = [sys.executable, "-m", "chronofabric", "bench"]
MACHINE = "a machine"


def line(case="a stamp", ours=50.0, unit="ns", **options):
    return {
        **dict.fromkeys(KEYS),
        "case": case,
        "ours": ours,
        "peer": 100.0,
        "peer_name": "time.time_ns",
        "unit": unit,
        "ratio": 2.0,
        "rounds": 9,
        "quick": False,
        **options,
    }


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "120"}


def run(*arguments, environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "platform", "folder"),
    [
        ({}, "linux", "/users/ada/.local/state/chronofabric"),
        ({"XDG_STATE_HOME": "relative"}, "linux", "/users/ada/.local/state/chronofabric"),
        ({"XDG_STATE_HOME": "/s"}, "linux", "/s/chronofabric"),
        ({"XDG_STATE_HOME": "/s"}, "darwin", "/users/ada/Library/Application Support/chronofabric"),
        ({}, "win32", "/users/ada/AppData/Local/chronofabric"),
        ({"LOCALAPPDATA": "/local"}, "win32", "/local/chronofabric"),
    ],
)
def test_each_system_has_its_place_for_state(environment, platform, folder):
    assert state_folder(environment, platform, Path("/users/ada")).as_posix() == folder


def test_what_was_kept_is_read_again_and_new_figures_take_the_place_of_old_ones(tmp_path):
    file = tmp_path / "new folder" / "bench.json"
    first = merged(kept.Kept().figures, [line("a", 1.0), line("b", 2.0)], time="then", version="1")
    assert save(file, MACHINE, first) is None
    again = load(file, MACHINE)
    assert (again.figures, again.remark, again.writable) == (first, None, True)
    second = merged(again.figures, [line("a", 3.0), line("a", 9.0, quick=True)], time="now", version="2")
    assert second["full"] == {"a": Figure(3.0, "ns", "now", "2"), "b": Figure(2.0, "ns", "then", "1")}
    assert second["quick"] == {"a": Figure(9.0, "ns", "now", "2")}
    assert again.figures["full"]["a"].ours == 1.0
    assert list(file.parent.iterdir()) == [file]


def test_there_is_nothing_to_say_before_the_first_run(tmp_path):
    assert load(tmp_path / "bench.json", MACHINE) == kept.Kept()


GOOD = {"format": kept.FORMAT, "version": 1, "machine": MACHINE, "figures": {"full": {}, "quick": {}}}
FIGURE = {"ours": 1.0, "unit": "ns", "time": "then", "chronofabric": "1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "[" * 100_000,
        b"\xff\xfe",
        " " * (kept.BYTES_MAX + 1),
        {},
        {**GOOD, "format": "another"},
        {**GOOD, "version": 0},
        {**GOOD, "version": "1"},
        {**GOOD, "machine": 7},
        {**GOOD, "figures": {}},
        {**GOOD, "figures": {"full": [], "quick": {}}},
        *({**GOOD, "figures": {"full": {"a": bad}, "quick": {}}} for bad in (7, None, {}, {"ours": 1.0})),
        *(
            {**GOOD, "figures": {"full": {"a": {**FIGURE, **bad}}, "quick": {}}}
            for bad in ({"ours": 0}, {"ours": -1.0}, {"ours": float("nan")}, {"ours": "1"}, {"unit": 7})
        ),
    ],
    ids=repr,
)
def test_a_damaged_file_is_named_nothing_is_compared_and_it_may_be_replaced(tmp_path, text):
    file = tmp_path / "bench.json"
    if isinstance(text, bytes):
        file.write_bytes(text)
    else:
        file.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    found = load(file, MACHINE)
    assert found.figures == {"full": {}, "quick": {}}
    assert str(file) in (found.remark or "")
    assert found.writable


def test_a_file_of_a_newer_version_is_named_and_left_alone(tmp_path):
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({**GOOD, "version": 2}))
    found = load(file, MACHINE)
    assert "version 2" in (found.remark or "")
    assert not found.writable


def test_figures_of_another_machine_are_not_compared(tmp_path):
    file = tmp_path / "bench.json"
    save(file, "another machine", merged(kept.Kept().figures, [line()], time="then", version="1"))
    found = load(file, MACHINE)
    assert found.figures["full"] == {}
    assert "another machine" in (found.remark or "")


def test_a_folder_that_cannot_be_made_is_said_and_no_error(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    said = save(in_the_way / "chronofabric" / "bench.json", MACHINE, kept.Kept().figures)
    assert said is not None
    assert "could not be kept" in said


# The table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "before", "ours", "said"),
    [
        ("ns", 100.0, 50.0, "100% better"),
        ("ns", 50.0, 100.0, "50% worse"),
        ("events/s", 100.0, 150.0, "50% better"),
        ("events/s", 100.0, 75.0, "25% worse"),
        ("ns", 100.0, 101.0, "same"),
        ("us", 100.0, 50.0, "-"),
    ],
)
def test_a_figure_is_compared_with_the_one_before_by_what_is_better(unit, before, ours, said):
    outcome = Outcome(line(ours=ours, unit=unit), 0)
    earlier = {"a stamp": Figure(before, "ns" if unit == "us" else unit, "then", "1")}
    row = bench.table([outcome], earlier, width=120)[-1]
    assert f"  {said}  " in row


@pytest.mark.parametrize("width", [40, 60, 79, 120])
def test_no_line_of_the_table_is_wider_than_the_terminal(width):
    outcomes = [Outcome(line(case.name, 1e7, case.unit, peer_name=case.peer_name), 0) for case in cases(quick=True)]
    shown = bench.table(outcomes, {}, width=width)
    assert max(map(len, shown)) <= width
    assert len(shown) >= len(outcomes)


def test_a_figure_of_noisy_rounds_is_marked():
    shown = bench.table([Outcome(line(rounds=2), 25), Outcome(line(rounds=9), 3)], {}, width=120)
    assert [row[0] for row in shown[2:]] == ["~", "a"]


def test_every_figure_has_a_name_of_its_own_and_the_known_peers():
    for quick in (True, False):
        names = [case.name for case in cases(quick)]
        assert len(set(names)) == len(names)
    peers = {case.peer_name for case in cases(quick=True)}
    assert {"queue.SimpleQueue", "asyncio.Queue", "culsans", "janus", "zmq"} <= peers


# The command ----------------------------------------------------------------------------------------------------------


def test_a_quick_run_is_shown_kept_and_compared_with_the_next(environment, tmp_path):
    file = tmp_path / "lines"
    first = run("--quick", "--case", "stamp", "--json", file, environment=environment)
    assert first.returncode == 0, first.stderr
    assert "time.time_ns" in first.stdout
    assert "1/1 a stamp" in first.stderr
    (written,) = [json.loads(each) for each in file.read_text().splitlines()]
    assert tuple(written) == KEYS
    assert (written["concern"], written["case"], written["quick"]) == ("bench", "a stamp", True)
    (state,) = (tmp_path / "state" / "chronofabric").iterdir()
    before = json.loads(state.read_text())
    assert before["figures"]["quick"]["a stamp"]["ours"] == written["ours"]
    state.write_text(state.read_text().replace(str(written["ours"]), str(written["ours"] * 1000)))
    second = run("--quick", "--case", "stamp", environment=environment)
    assert "% better" in second.stdout


def test_a_damaged_state_is_said_and_replaced(environment, tmp_path):
    state = tmp_path / "state" / "chronofabric" / "bench.json"
    state.parent.mkdir(parents=True)
    state.write_text("{")
    finished = run("--quick", "--case", "stamp", environment=environment)
    assert finished.returncode == 0
    assert "cannot be read" in finished.stdout
    assert json.loads(state.read_text())["version"] == 1


def test_a_text_that_no_figure_has_is_a_usage_error_that_names_them(environment):
    finished = run("--case", "teleport", environment=environment)
    assert finished.returncode == 2
    assert "thread to task" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(environment, tmp_path):
    finished = run("--quick", "--case", "stamp", "--json", tmp_path / "none" / "lines", environment=environment)
    assert finished.returncode == 1
    assert "1/1" not in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_debug_build_is_refused(monkeypatch, capsys):
    from chronofabric import _core

    monkeypatch.setattr(_core, "build_profile", lambda: "debug")
    assert bench.measure(quick=True, wanted="", lines_to=None) == 2
    assert "debug build" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="a console signal reaches the parent there as well")
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_its_round_and_keeps_what_is_done(environment, tmp_path, number, exit_code):
    with subprocess.Popen(
        [*COMMAND, "--quick"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("1/")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert "Interrupted: " in errors
    assert "Traceback" not in errors
    assert "thread to thread" in output
    figures = json.loads((tmp_path / "state" / "chronofabric" / "bench.json").read_text())["figures"]["quick"]
    assert "thread to thread, one by one" in figures


@pytest.mark.skipif(sys.platform == "win32", reason="a console signal reaches the parent there as well")
def test_a_second_signal_ends_a_round_whose_threads_would_be_waited_for_for_ever():
    code = """
        import sys, threading
        from concurrent.futures import ThreadPoolExecutor
        from chronofabric.apps.cli import main
        from chronofabric.apps.measuring import suite
        from chronofabric.apps.measuring.rounds import Case

        def never_over():
            with ThreadPoolExecutor(1) as thread:
                thread.submit(threading.Event().wait)
                print("begun", flush=True)

        suite.cases = lambda quick: [Case("stuck", ours=never_over, peer=float, peer_name="x", unit="ns")]
        sys.argv[1:] = ["bench"]
        main()
    """
    with running_python(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        for _ in range(600):  # two that come at the same time are one
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
                break
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted again" in errors
    assert "Traceback" not in errors


def test_a_figure_that_breaks_is_named_and_the_others_are_measured(monkeypatch, capsys, tmp_path):
    from chronofabric.apps.measuring import suite
    from chronofabric.apps.measuring.rounds import Case

    def breaks():
        raise RuntimeError("no such luck")

    def few(_):
        return [
            Case("first", ours=breaks, peer=float, peer_name="x", unit="ns"),
            Case("second", ours=lambda: 2.0, peer=lambda: 1.0, peer_name="x", unit="ns"),
            Case("third", ours=breaks, peer=breaks, peer_name="x", unit="ns", needs=("no_such_module_here",)),
        ]

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(suite, "cases", few)
    assert bench.measure(quick=True, wanted="", lines_to=None) == 1
    captured = capsys.readouterr()
    assert "no such luck" in captured.err
    assert "second" in captured.out
    assert "Broke, as shown above: first." in captured.out
    assert "no_such_module_here" in captured.out
