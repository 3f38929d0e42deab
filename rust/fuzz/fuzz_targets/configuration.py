"""Any bytes are a run file that can be used, or are refused with a `ConfigurationError` whose places lie in them.

An input is a file and, where it holds a zero byte (which no run file contains), a setting of the command line after it.
atheris traces the Python code; the extension module is traced where it was built for that.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import ModuleType

# The instrumented extension module looks for the functions that it reports to among what was loaded before it.
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)

import atheris  # noqa: E402 - loaded as said above
import atheris.core_with_libfuzzer  # noqa: E402 - where these functions are

with atheris.instrument_imports(include=["chronofabric"]):
    from chronofabric._core.settings import parse_toml
    from chronofabric.errors import ConfigurationError
    from chronofabric.fabric.settings import load
    from chronofabric.fabric.settings.places import OPTION

SEEDS = Path(__file__).resolve().parent.parent / "seeds" / "configuration"


def loaded_module(name: str) -> ModuleType:
    """Import nothing: what a run file names is code that its writer trusts, and not what is tested here."""
    if name not in sys.modules:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return sys.modules[name]


class Inputs:
    """Loads each input from one file, beside which there is a data file to name."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "run.toml"
        (folder / "data.csv").write_text("time,value\n2026-01-01T00:00:00Z,1.5\n", encoding="utf-8")

    def check(self, given: bytes) -> None:
        """Load an input; what comes of it must be as promised."""
        content, zero, setting = given.partition(b"\0")
        overrides = [setting.decode("utf-8", "surrogateescape")] if zero else []
        self.file.write_bytes(content)
        try:
            settings = load(self.file, overrides)
        except ConfigurationError as error:
            self.check_error(error, content, overrides)
        else:
            assert settings.sources
        check_places(content)

    def check_error(self, error: ConfigurationError, content: bytes, overrides: Sequence[str]) -> None:
        """Check that every problem is told, and lies within the file or the setting."""
        assert error.problems
        count = len(error.problems)
        assert str(error).startswith(f"{self.file}: {count} problem{'' if count == 1 else 's'}\n")
        lines = content.decode("utf-8-sig", "replace").split("\n")
        for problem in error.problems:
            assert problem.message, problem
            assert problem.message in str(error), problem
            assert problem.file in {str(self.file), OPTION}, problem
            within = lines if problem.file != OPTION else list(overrides)
            assert 0 <= problem.line <= len(within), problem
            assert 0 <= problem.column <= (len(within[problem.line - 1]) + 1 if problem.line else 0), problem


class Mutator:
    """Recombines the lines of the seeds, and the values in them: of texts that libFuzzer changes, few remain TOML."""

    def __init__(self, seeds: Sequence[bytes]) -> None:
        self._lines = sorted({line for seed in seeds for line in seed.split(b"\n")})
        self._values = sorted({line.partition(b" = ")[2] for line in self._lines if b" = " in line})

    def __call__(self, given: bytes, bytes_max: int, seed: int) -> bytes:
        """Return another input."""
        random = Random(seed)  # noqa: S311 - repeatable, not secret
        if random.random() < 0.3:
            return bytes(atheris.Mutate(given, bytes_max))
        lines = given.split(b"\n")
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(lines))
            key, sign, _ = lines[at].partition(b" = ")
            match random.randrange(6):
                case 0 | 1 if sign:
                    lines[at] = key + sign + random.choice(self._values)
                case 2 if len(lines) > 1:
                    del lines[at]
                case 3:
                    lines[at] = random.choice(self._lines)
                case 4:
                    lines.insert(at, random.choice(lines))
                case _:
                    lines.insert(at, random.choice(self._lines))
        return b"\n".join(lines)[:bytes_max]


def check_places(content: bytes) -> None:
    """Check that keys and values of a TOML text are where they are said to be."""
    try:
        text = content.decode("utf-8")
        _, values, keys = parse_toml(text, "run.toml")
    except (UnicodeDecodeError, ConfigurationError):
        return
    lines = text.split("\n")
    for path, (line, column, end) in [*values.items(), *keys.items()]:
        assert 1 <= line <= len(lines), path
        assert 1 <= column < end <= len(lines[line - 1]) + 2, path
    for path, (line, column, end) in keys.items():
        written = lines[line - 1][column - 1 : end - 1]
        assert written == path[-1] or written[:1] in {'"', "'"}, (path, written)


def main() -> None:
    """Fuzz with the options of libFuzzer."""
    with tempfile.TemporaryDirectory(prefix="chronofabric-fuzz-") as folder:
        inputs = Inputs(Path(folder))
        seeds = [seed.read_bytes() for seed in sorted(SEEDS.iterdir())]
        # Everything that is imported on first use is imported by these.
        for seed in seeds:
            inputs.check(seed)
        importlib.import_module = loaded_module
        atheris.Setup(sys.argv, inputs.check, custom_mutator=Mutator(seeds), internal_libfuzzer=True)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
