"""How long a process takes to start: the interpreter, the import, and the command line's help.

Compiled modules are cached, as they are after an installation, whatever the environment says of writing bytecode.

`python -m benchmarks.peers.startup [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import cache, partial
from pathlib import Path

from benchmarks.peers._rounds import Case, main

IMPORT_MS_MAX = 60.0
HELP_MS_MAX = 250.0
BARE = (sys.executable, "-c", "pass")
IMPORT = (sys.executable, "-c", "import chronofabric")


def cases(quick: bool) -> list[Case]:  # noqa: ARG001 (one start is as quick as it gets)
    """Make the cases; a round is one process, from its start to its end."""
    return [
        Case(
            "wall time of a process that imports chronofabric",
            ours=partial(milliseconds, IMPORT),
            limit=IMPORT_MS_MAX,
            unit="ms",
        ),
        Case(
            "wall time of `chronofabric --help`",
            ours=partial(milliseconds, help_command()),
            limit=HELP_MS_MAX,
            unit="ms",
        ),
        Case(
            "wall time of a process that imports chronofabric, against one that does nothing",
            ours=partial(milliseconds, IMPORT),
            peer=partial(milliseconds, BARE),
            peer_name="the bare interpreter",
            unit="ms",
        ),
    ]


def help_command() -> tuple[str, ...]:
    """Return the installed command that shows the help, or the module where no command is installed."""
    for name in ("chronofabric", "chronofabric.exe"):
        installed = Path(sys.executable).with_name(name)
        if installed.is_file():
            return str(installed), "--help"
    return sys.executable, "-m", "chronofabric", "--help"


def milliseconds(command: tuple[str, ...]) -> float:
    """Return the wall time of a process."""
    _compile(command)
    started = time.perf_counter()
    _run(command)
    return (time.perf_counter() - started) * 1e3


@cache
def _compile(command: tuple[str, ...]) -> None:
    """Have the bytecode written, once."""
    _run(command)


def _run(command: tuple[str, ...]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main("startup", cases))
