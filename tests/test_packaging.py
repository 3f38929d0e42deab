"""What a wheel and a source distribution must hold, and what must not be in them."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools import packaging
from tools.steps import Refusal

WHEEL = [*(name if name.startswith("chronofabric") else f"chronofabric-1.dist-info/{name}" for name in packaging.MARKS)]
SOURCE = [f"chronofabric-1/{name}" for name in packaging.SOURCES]


@pytest.fixture
def wheel(tmp_path):
    def make(names, size=10) -> Path:
        file = tmp_path / "chronofabric-1-cp311-abi3-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"x" * size)
        return file

    return make


@pytest.fixture
def source(tmp_path):
    def make(names) -> Path:
        file = tmp_path / "chronofabric-1.tar.gz"
        with tarfile.open(file, "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        return file

    return make


def test_what_is_complete_is_accepted(wheel, source):
    packaging.check_wheel(wheel(WHEEL))
    packaging.check_source(source(SOURCE))


@pytest.mark.parametrize("missing", packaging.MARKS)
def test_a_wheel_that_misses_something_is_refused(wheel, missing):
    with pytest.raises(Refusal, match=f"misses {missing}"):
        packaging.check_wheel(wheel([name for name in WHEEL if not name.endswith(missing)]))


@pytest.mark.parametrize("missing", packaging.SOURCES)
def test_a_source_distribution_that_misses_something_is_refused(source, missing):
    with pytest.raises(Refusal, match=f"misses {missing}"):
        packaging.check_source(source([name for name in SOURCE if not name.endswith(missing)]))


@pytest.mark.parametrize("stray", ["tests/test_bus.py", "rust/lib.rs"])
def test_a_wheel_holds_nothing_but_the_package(wheel, stray):
    with pytest.raises(Refusal, match=f"not of the package: {stray}"):
        packaging.check_wheel(wheel([*WHEEL, stray]))


@pytest.mark.parametrize("stray", ["chronofabric/__pycache__/bus.cpython-311.pyc", "chronofabric/bus.py.orig"])
def test_leftovers_are_refused(wheel, source, stray):
    for check, file in (
        (packaging.check_wheel, wheel([*WHEEL, stray])),
        (packaging.check_source, source([*SOURCE, stray])),
    ):
        with pytest.raises(Refusal, match="leftovers"):
            check(file)


def test_a_wheel_of_fifteen_megabytes_is_refused_with_the_limit(wheel):
    file = wheel(WHEEL, size=packaging.WHEEL_BYTES_MAX // len(WHEEL))
    with pytest.raises(Refusal, match="must have less than 15,000,000"):
        packaging.check_wheel(file)


def test_the_wheel_is_tried_without_rust_on_the_path(tmp_path, monkeypatch):
    with_rust, without = tmp_path / "with", tmp_path / "without"
    for folder, program in ((with_rust, "cargo"), (without, "git")):
        folder.mkdir()
        for suffix in ("", ".exe"):
            (folder / f"{program}{suffix}").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{with_rust}{os.pathsep}{without}")
    assert list(packaging._folders_without("cargo", "rustc")) == [str(without)]
