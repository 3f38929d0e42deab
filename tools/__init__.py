"""The project's own commands: `python -m tools.dev help`.

The version is looked at here, in words that Python 3.4 understands: an old Python gets a sentence and no traceback.
"""

import sys

PYTHON_MINIMUM = (3, 11)


def python_problem(version: "tuple[int | str, ...]" = sys.version_info) -> "str | None":
    """Return what is wrong with this Python version, or None."""
    if tuple(version[:2]) >= PYTHON_MINIMUM:
        return None
    sentence = (
        "Python {}.{} is too old: chronofabric needs Python {}.{} or newer; install one "
        "(https://www.python.org/downloads) and call it by name, for example: make PYTHON=python3.12 demo"
    )
    return sentence.format(*(tuple(version[:2]) + PYTHON_MINIMUM))


_PROBLEM = python_problem()
if _PROBLEM is not None:
    sys.stderr.write(_PROBLEM + "\n")
    sys.exit(1)
