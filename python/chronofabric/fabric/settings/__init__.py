"""Run files: a node described in TOML, checked as a whole, and built.

Everything that is wrong in a file is named at once, each problem with file, line, column and what to write instead: the
text is read in Rust with the place of every key and value, the tables are checked by pydantic, and the parts (files,
formulas, functions) by the classes that will use them.

This package imports pydantic: import it where a run file is loaded, not before.
"""

from __future__ import annotations

from chronofabric.fabric.settings.assembly import build
from chronofabric.fabric.settings.loading import RunSettings, load

__all__ = ["RunSettings", "build", "load"]
