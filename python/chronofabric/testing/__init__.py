"""What tests of a node need: time that moves only when told, scripted events, and expectations of what is published.

A `Simulation` owns simulated time. Its nodes run their handlers, coroutines and sources in the thread that advances it,
one at a time and in a fixed order, so a test does the same in every run and never waits for the real clock. The pytest
plugin `chronofabric.testing.plugin` has the fixture ``simulation``; nothing here needs pytest.

Examples
--------
>>> import chronofabric as cf
>>> with cf.testing.Simulation() as simulation:
...     node = simulation.fabric()
...     alarms = node.expect("plant/alarm")
...     guard = node.guard("hot", on="plant/7/temperature", when="value > 80", publish="plant/alarm")
...     node.script("plant/7/temperature", [(0, 20), (1, 90), (3, 90)])
...     simulation.advance("4 s")
...     alarms.assert_count(1)
...     alarms.assert_within("5 ms", after="plant/7/temperature[1]")
"""

# How it is laid out, from the ground up:
#   timeline.py      events as they were recorded, and how a failure shows them
#   expectation.py   what a test expects of the events of a pattern
#   script.py        events published at given instants
#   loop.py          an event loop on simulated time
#   turns.py         handlers and sources that run only when they are given their turn
#   subscription.py  receiving, where nothing waits for what cannot come
#   node.py          the node that has all this
#   stepper.py       the time, what is due when, and what runs then
#   simulation.py    all of it as a test sees it

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chronofabric.testing.expectation import Expectation
    from chronofabric.testing.node import SimulatedFabric
    from chronofabric.testing.simulation import Simulation
    from chronofabric.testing.stepper import Failure

__all__ = ["Expectation", "Failure", "SimulatedFabric", "Simulation"]

_MODULES = {
    "Expectation": "expectation",
    "Failure": "stepper",
    "SimulatedFabric": "node",
    "Simulation": "simulation",
}


def __getattr__(name: str) -> object:
    # Loaded when they are first looked at: pytest loads the plugin in here whether a test needs it or not.
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
