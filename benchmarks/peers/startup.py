"""How long a process takes to start: the interpreter, the import, and the command line's help.

Compiled modules are cached, as they are after an installation, whatever the environment says of writing bytecode.

`python -m benchmarks.peers.startup [--quick] [--json FILE] [--case TEXT]`
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.peers._rounds import Case, main
from chronofabric.apps.measuring.costs import BARE, IMPORT, process_ms

IMPORT_MS_MAX = 60.0
HELP_MS_MAX = 250.0


def cases(quick: bool) -> list[Case]:  # noqa: ARG001 (one start is as quick as it gets)
    """Make the cases; a round is one process, from its start to its end."""
    return [
        Case(
            "wall time of a process that imports chronofabric",
            ours=partial(process_ms, IMPORT),
            limit=IMPORT_MS_MAX,
            unit="ms",
        ),
        Case(
            "wall time of `chronofabric --help`",
            ours=partial(process_ms, help_command()),
            limit=HELP_MS_MAX,
            unit="ms",
        ),
        Case(
            "wall time of a process that imports chronofabric, against one that does nothing",
            ours=partial(process_ms, IMPORT),
            peer=partial(process_ms, BARE),
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


if __name__ == "__main__":
    sys.exit(main("startup", cases))
