"""The command line, run as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronofabric import __version__

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COMMAND = [sys.executable, "-m", "chronofabric"]
LIVE = '[[source]]\nkind = "host"\n[[sink]]\nkind = "terminal"\ntopics = ["host/cpu"]\n'


def chronofabric(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **options
    )


@pytest.fixture
def write(tmp_path):
    def written(text: str, name: str = "run.toml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return written


def test_help_names_the_commands_and_the_exit_codes():
    whole, of_run = chronofabric("--help"), chronofabric("run", "--help")
    assert whole.returncode == of_run.returncode == 0
    for word in ("run", "demo", "doctor", "bench", "--version", "--install-completion", "Exit codes", "130"):
        assert word in whole.stdout
    for word in ("--for", "--set", "--json", "--quiet", "Exit codes"):
        assert word in of_run.stdout


def test_the_version_is_that_of_the_package():
    assert chronofabric("--version").stdout == f"chronofabric {__version__}\n"


@pytest.mark.parametrize("arguments", [["rn"], ["run"], ["run", "a.toml", "--colour"], ["run", "a.toml", "--for"]])
def test_a_wrong_command_line_is_a_usage_error(arguments):
    finished = chronofabric(*arguments)
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    assert finished.stderr


@pytest.mark.parametrize("duration", ["0 s", "5 sec", "-1 s", "soon"])
def test_a_duration_that_is_none_is_a_usage_error(write, duration):
    finished = chronofabric("run", write(LIVE), f"--for={duration}")
    assert finished.returncode == 2
    assert "--for" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_wrong_run_file_is_named_with_all_its_problems_and_nothing_starts(write):
    file = write(LIVE.replace("topics", "topcs") + '[[guard]]\nname = "g"\n')
    finished = chronofabric("run", file)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert f"{file}:5:1: unknown key 'topcs'" in finished.stderr
    assert "the guard has neither 'on' nor 'signals'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_recording_is_replayed_and_its_excursion_found():
    finished = chronofabric("run", EXAMPLES / "replay_csv.toml", "--json")
    assert finished.returncode == 0
    (line,) = finished.stdout.splitlines()
    report = json.loads(line)
    (guard,) = report["guards"]
    assert (guard["name"], guard["evaluated"], guard["fired"]) == ("overheat", 500, 1)
    assert report["sources"][0]["published"] == 500
    assert report["exit_code"] == 0
    for subscription in report["subscriptions"]:
        lost = sum(subscription["dropped"].values()) + sum(subscription["dead_lettered"].values())
        taken = subscription["delivered"] + subscription["filtered"] + subscription["pending"]
        assert subscription["offered"] + subscription["replayed"] == taken + lost


def test_a_run_for_a_time_prints_a_report_and_a_quiet_one_nothing(write):
    file = write('[[source]]\nkind = "host"\n')
    finished = chronofabric("run", file, "--for", "200 ms", "--set", "node.name=named-here")
    assert finished.returncode == 0
    assert "Report of node 'named-here'" in finished.stdout
    quiet = chronofabric("run", file, "--for", "200 ms", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_source_that_breaks_while_running_is_named_and_is_a_failure(write):
    write("time,x\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z\n2026-01-01T00:00:02Z,3\n", "data.csv")
    file = write('[[source]]\nkind = "file"\npath = "data.csv"\ntopic = "a"\ntime = "time"\nspeed = "max"\n')
    finished = chronofabric("run", file)
    assert finished.returncode == 1
    assert "data.csv, line 3" in finished.stdout
    report = json.loads(chronofabric("run", file, "--json").stdout)
    assert report["exit_code"] == 1
    assert report["sources"][0]["published"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a console signal reaches the parent there as well")
@pytest.mark.parametrize(
    ("number", "arguments", "exit_code"),
    [
        (signal.SIGINT, [], 0),
        (signal.SIGTERM, [], 0),
        (signal.SIGINT, ["--for", "10 min"], 130),
        (signal.SIGTERM, ["--for", "10 min"], 143),
    ],
)
def test_a_signal_ends_a_run_in_order(write, number, arguments, exit_code):
    process = subprocess.Popen(
        [*COMMAND, "run", str(write(LIVE)), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        assert "host/cpu" in process.stderr.readline()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert "Report of node" in output
    assert "Traceback" not in errors


def test_the_run_file_of_the_demonstration_can_be_printed():
    finished = chronofabric("demo", "--print-file")
    assert finished.returncode == 0
    assert finished.stdout == (EXAMPLES / "host_guard.toml").read_text(encoding="utf-8")


def test_output_that_nobody_reads_any_more_is_no_traceback(write):
    read, write_end = os.pipe()
    os.close(read)
    with os.fdopen(write_end, "w") as gone:
        finished = subprocess.run(
            [*COMMAND, "run", str(EXAMPLES / "replay_csv.toml")],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert "Traceback" not in finished.stderr
    assert finished.returncode == 141


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("words", "completed"), [("chronofabric do", "doctor"), ("chronofabric run --se", "--set")])
def test_the_completion_of_bash_completes_commands_and_options(tmp_path, words, completed):
    command = tmp_path / "chronofabric"
    command.write_text(f"#!{sys.executable}\nfrom chronofabric.apps.cli import main\n\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment["_CHRONOFABRIC_COMPLETE"] = "source_bash"
    script = subprocess.run([command], capture_output=True, text=True, timeout=60, check=True, env=environment).stdout
    del environment["_CHRONOFABRIC_COMPLETE"]
    asked = (
        script
        + f"""
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{words}'; COMP_POINT=${{#COMP_LINE}}
_chronofabric_completion chronofabric
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    )
    finished = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert finished.stderr == ""
    assert completed in finished.stdout.split()


def with_command(folder):
    """Put the command on the path of an environment whose home is empty; return that environment."""
    command = folder / "bin" / "chronofabric"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom chronofabric.apps.cli import main\n\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ZDOTDIR"))}
    # Typer looks for the shell above it unless it is told to take the one that is named.
    return {**environment, "PATH": path, "HOME": str(home), "USERPROFILE": str(home)}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_completion_that_was_installed_works_in_the_next_interactive_bash(tmp_path):
    environment = with_command(tmp_path)
    # The command is not the last of its shell, which would let it take the place of the shell that it looks for.
    install = "chronofabric --install-completion; echo ended with $?"
    installed = subprocess.run(
        ["bash", "-c", install], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert installed.stderr == ""
    assert "ended with 0" in installed.stdout
    assert "bash completion installed" in installed.stdout
    asked = """
COMP_WORDS=(chronofabric do); COMP_CWORD=1
_chronofabric_completion chronofabric
printf '%s\\n' "${COMPREPLY[@]}"
complete -p chronofabric
"""
    shell = ["bash", "--rcfile", str(tmp_path / "home" / ".bashrc"), "-i", "-c", asked]
    # An interactive shell without a terminal complains on its standard error.
    finished = subprocess.run(
        shell, capture_output=True, text=True, timeout=60, check=False, env=environment, stdin=subprocess.DEVNULL
    )
    assert finished.stdout.split()[:1] == ["doctor"], finished.stderr
    assert "_chronofabric_completion" in finished.stdout


@pytest.mark.skipif(os.name == "nt", reason="the shell is found by its name on Unix")
@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("bash", "complete -o default -F _chronofabric_completion chronofabric"),
        ("zsh", "#compdef chronofabric"),
        ("fish", "complete --command chronofabric"),
    ],
)
def test_the_completion_that_is_shown_is_that_of_the_shell_above(tmp_path, shell, said):
    environment = with_command(tmp_path)
    # A process of that name, whatever is installed: what starts the command is what it finds above it.
    above = tmp_path / "bin" / shell
    above.symlink_to(shutil.which("bash") or "/bin/sh")
    finished = subprocess.run(
        [above, "-c", "chronofabric --show-completion; true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert said in finished.stdout
    assert list((tmp_path / "home").iterdir()) == []
