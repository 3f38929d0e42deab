"""The pytest plugin, in runs of its own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PLUGIN = "chronofabric.testing.plugin"
pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run tests with the plugin and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text, *options):
        pytester.makepyfile(text)
        return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:cacheprovider", *options)

    return run


def test_a_test_has_a_simulation_and_its_nodes_are_closed(run):
    result = run(
        """
        nodes = []

        def test_guard_fires(simulation):
            node = simulation.fabric()
            nodes.append(node)
            seen = node.expect("plant/alarm")
            node.guard("hot", on="plant/7/temperature", when="value > 80", publish="plant/alarm")
            node.script("plant/7/temperature", [(0, 20), (1, 90), (3, 90)])
            simulation.advance("4 s")
            seen.assert_count(1)
            seen.assert_within("5 ms", after="plant/7/temperature[-1]")

        def test_each_test_has_its_own(simulation):
            assert nodes[0].closed
            assert simulation.elapsed == 0.0
        """
    )
    result.assert_outcomes(passed=2)


def test_a_handler_that_raised_fails_its_test_unless_it_was_expected(run):
    result = run(
        """
        import pytest

        @pytest.fixture
        def node(simulation):
            node = simulation.fabric()
            node.on("number", name="divide")(lambda event: 1 / event.payload)
            return node

        def test_unexpected(simulation, node):
            node.script("number", [(1, 0)])
            simulation.advance("2 s")

        def test_waiting_still(node):
            node.publish("number", 0)

        def test_expected(simulation, node):
            node.script("number", [(1, 0)])
            simulation.advance("2 s")
            (failure,) = simulation.take_failures()
            assert isinstance(failure.error, ZeroDivisionError)
        """
    )
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(["*handler divide of 'node' on 'number' at 1 s: ZeroDivisionError: division by zero*"])


def test_a_failed_test_shows_the_seed_the_time_and_what_was_carried(run, monkeypatch):
    monkeypatch.setenv("CHRONOFABRIC_SEED", "11")
    result = run(
        """
        def test_fails(simulation):
            node = simulation.fabric("plant")
            node.script("a", [(1, simulation.random.random())])
            simulation.advance("2 s")
            assert False
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*simulation*",
            "simulated time: 2 s",
            "seed: 11 (CHRONOFABRIC_SEED=11 runs it again)",
            "what 'plant' carried:",
            "*1 s  a  0.4523*",
        ]
    )


def test_what_fails_while_nodes_are_closed_is_an_error_of_the_test(run):
    result = run(
        """
        import pytest

        @pytest.fixture
        def node(simulation):
            node = simulation.fabric()
            node.on("number", name="divide")(lambda event: 1 / event.payload)
            yield node
            node.publish("number", 0)

        def test_passes(node):
            pass
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*handler divide of 'node' on 'number' at 0 s: ZeroDivisionError*"])


def test_a_fixture_of_the_users_own_of_this_name_is_left_alone(run):
    result = run(
        """
        import pytest

        @pytest.fixture
        def simulation():
            return "mine"

        def test_mine(simulation):
            assert simulation == "mine"

        def test_fails(simulation):
            assert simulation == "yours"
        """
    )
    result.assert_outcomes(passed=1, failed=1)


def test_the_package_announces_the_plugin():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"chronofabric": PLUGIN}


def test_it_works_without_pytest_and_loads_nothing_before_it_is_used():
    code = """
import sys, unittest
import chronofabric as cf
assert not [name for name in sys.modules if name.startswith("chronofabric.testing")]

class Guarded(unittest.TestCase):
    def setUp(self):
        self.simulation = self.enterContext(cf.testing.Simulation())

    def test_scripted(self):
        node = self.simulation.fabric()
        seen = node.expect("a")
        node.script("a", [(1, 1)])
        self.simulation.advance("1 s")
        seen.assert_payloads([1])

unittest.main(exit=False)
assert not {"pytest", "chronofabric.testing.loop"} & set(sys.modules)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "OK" in finished.stderr


def test_the_plugin_loads_nothing_but_itself_and_the_package():
    new = "print(*(set(sys.modules) - before))"
    code = f"import pytest, chronofabric, sys; before = set(sys.modules); import {PLUGIN}; {new}"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(finished.stdout.split()) == {"chronofabric.testing", PLUGIN}
