"""What all tests share: how thorough hypothesis is, the folder of recorded data, and what is not installed here."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROOF = os.environ.get("CHRONOFABRIC_PROOF") == "1"
OPTIONAL = ("duckdb", "pandas", "polars", "rtamt")

# The same examples in every run, so that a failure is one for everybody; `make proof` looks for new ones, and longer.
settings.register_profile("ci", derandomize=True, max_examples=100, deadline=None, database=None)
settings.register_profile(
    "proof", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("proof" if PROOF else "ci")

# Shells have what they start in the background ignore Ctrl-C. Children inherit that, also those that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    absent = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
    thoroughness = "full counts" if PROOF else "reduced counts (make proof CONCERN=... runs the full ones)"
    return f"chronofabric: {thoroughness}; not installed, what needs it is skipped: {', '.join(absent) or 'nothing'}"


@pytest.fixture(scope="session")
def proof() -> bool:
    """Whether this is a run at full counts."""
    return PROOF


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of recorded data, which is not part of the repository."""
    named = os.environ.get("CHRONOFABRIC_TEST_DATA")
    if not named:
        pytest.skip("needs recorded data: set CHRONOFABRIC_TEST_DATA to its folder")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"CHRONOFABRIC_TEST_DATA is {named}, which is not a folder")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Have the plugin of the package, where the package was not installed and so could not announce it."""
    if not config.pluginmanager.has_plugin("chronofabric"):
        from chronofabric.testing import plugin

        config.pluginmanager.register(plugin, "chronofabric")
