"""Every comparison, each concern in a process of its own, and one table.

`python -m benchmarks.peers [--quick] [--json FILE] [CONCERN ...]`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers._rounds import table


def concerns() -> list[str]:
    """Return the concerns that have a comparison."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.name.startswith("_"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparisons; return 1 when one broke, 2 when a concern is not known."""
    known = concerns()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("concern", nargs="*", help=f"of: {', '.join(known)}; without any, all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one line a case to FILE")
    parser.add_argument("--quick", action="store_true", help="one round on fewer inputs; meets no bar")
    chosen = parser.parse_args(argv)
    unknown = sorted(set(chosen.concern) - set(known))
    if unknown:
        parser.error(f"no comparison is called {', '.join(unknown)}; there are: {', '.join(known)}")
    lines: list[dict[str, Any]] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="chronofabric-") as folder:
        for concern in chosen.concern or known:
            file = Path(folder, f"{concern}.json")
            command = [sys.executable, "-m", f"benchmarks.peers.{concern}", "--json", str(file)]
            finished = subprocess.run([*command, "--quick"] if chosen.quick else command, check=False)
            if finished.returncode != 0:
                broken.append(concern)
            if file.is_file():
                lines += [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if chosen.json is not None:
        chosen.json.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"\nAll comparisons\n{table(lines)}")
    if broken:
        print(f"broke: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
