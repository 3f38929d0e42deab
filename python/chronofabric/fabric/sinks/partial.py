"""Files that are complete or absent, never half.

A file is written under another name in the same folder, ``<name>.<process id>[-<n>].partial``, flushed to the disk, and
then given its own name in one step. Whatever happens before that step leaves only the partial file.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from chronofabric.errors import SinkError

__all__ = ["PARTIAL_SUFFIX", "PartialFile"]

PARTIAL_SUFFIX = ".partial"
PARTIALS_MAX = 100_000


class PartialFile:
    """A file on its way to a name.

    Parameters
    ----------
    target
        The name it gets in the end.
    overwrite
        Whether it may replace a file of that name.
    sink
        Who writes it, for errors.

    Attributes
    ----------
    path : Path
        Where it is until then; the file exists and is empty.

    Raises
    ------
    SinkError
        If the target exists and may not be replaced, or the folder cannot be written to.
    """

    __slots__ = ("_overwrite", "_sink", "path", "target")

    def __init__(self, target: Path, *, overwrite: bool, sink: str) -> None:
        self.target = target
        self._overwrite = overwrite
        self._sink = sink
        if target.is_dir():
            raise self._error("it is a folder; give the name of a file")
        if target.exists() and not overwrite:
            raise self._exists()
        self.path = self._claimed()

    def commit(self) -> None:
        """Flush the file to the disk and give it its name.

        Raises
        ------
        SinkError
            If that fails, or the name was taken meanwhile; the partial file stays.
        """
        try:
            _flush(self.path, os.O_RDWR)
            if self._overwrite:
                self.path.replace(self.target)
            else:
                self._rename_unless_taken()
            with suppress(OSError):  # not every system can flush a folder
                _flush(self.target.parent, os.O_RDONLY)
        except FileExistsError as error:
            raise self._exists(f"; what was written is in {self.path}") from error
        except OSError as error:
            raise self._error(f"it cannot be finished: {error.strerror or error}; see {self.path}") from error

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            self.path.unlink()

    def _rename_unless_taken(self) -> None:
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            raise
        except (OSError, AttributeError, NotImplementedError):  # a file system without hard links
            if self.target.exists():
                raise FileExistsError(self.target) from None
            self.path.rename(self.target)
        else:
            self.path.unlink()

    def _claimed(self) -> Path:
        """A name that nobody else has, with an empty file."""
        for number in range(PARTIALS_MAX):
            middle = f"{os.getpid()}" if number == 0 else f"{os.getpid()}-{number}"
            path = self.target.with_name(f"{self.target.name}.{middle}{PARTIAL_SUFFIX}")
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                continue
            except FileNotFoundError as error:
                raise self._error(f"there is no folder {self.target.parent}; make it first") from error
            except OSError as error:
                raise self._error(f"its folder cannot be written to: {error.strerror or error}") from error
            return path
        raise self._error(f"{PARTIALS_MAX} partial files of it exist already; remove them")

    def _exists(self, more: str = "") -> SinkError:
        return self._error(f"it exists already; give another name, or overwrite=True{more}")

    def _error(self, what: str) -> SinkError:
        return SinkError(f"{self.target}: {what}", sink=self._sink, path=str(self.target))


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
