"""The pytest plugin: the fixture ``simulation``, and what a failed test shows of it.

It is loaded with pytest wherever chronofabric is installed, so it imports what it needs where it needs it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from chronofabric.testing.simulation import Simulation


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    """Nodes on a time that moves only when told.

    Its nodes are closed after the test. A handler, source or sink that raised fails the test, unless the test took the
    failure by `Simulation.take_failures`.
    """
    from chronofabric.testing.simulation import Simulation

    made = Simulation()
    yield made
    made.close()
    made.check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test, rather than what is torn down after it, where something in its simulation failed."""
    result = yield
    if (simulation := _simulation_of(item)) is not None:
        simulation.check()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the seed, the time, and what was carried last, where a test failed."""
    report = yield
    if report.when == "call" and report.failed and (simulation := _simulation_of(item)) is not None:
        unseen = [f"not looked at: {failure}" for failure in simulation.take_failures()]
        report.sections.append(("simulation", "\n".join([simulation.summary(), *unseen])))
    return report


def _simulation_of(item: pytest.Item) -> Simulation | None:
    """The simulation of a test, if it has one."""
    made = getattr(item, "funcargs", {}).get("simulation")
    if made is None:
        return None
    from chronofabric.testing.simulation import Simulation

    return made if isinstance(made, Simulation) else None
