"""What the demonstration concludes from what it saw, and its run file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from chronofabric.apps.busy import CALL, NATIVE, SAMPLE, show_busy_interpreter
from chronofabric.apps.busy import GUARD as TICK_GUARD
from chronofabric.apps.demo import (
    CORE_GUARD,
    GUARD,
    Burn,
    Watch,
    _judged,
    _with_busy_interpreter,
    demonstrate,
    run_file,
)
from chronofabric.apps.running import Outcome
from tests.apps.snapshots import percentiles, snapshot

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CALIBRATION = Burn(0.5, 0.5, 0.5)
START_NS = 1_000_000_000_000


def judged(watch: Watch, exit_code: int = 0) -> Outcome:
    guards = [{**snapshot()["guards"][0], "name": name, "lateness_ns": percentiles()} for name in (GUARD, CORE_GUARD)]
    return _judged(Outcome({**snapshot(), "guards": guards}, exit_code), CALIBRATION, watch)


def watched(burn: Burn | None, *fired_after_s: float) -> Watch:
    times = [START_NS + round(after * 1e9) for after in fired_after_s]
    return Watch(START_NS, burn, {GUARD: times} if times else {})


STEADY = Burn(3.0, 2.98, 2.9)
STARVED = Burn(3.0, 1.2, 0.1)


@pytest.mark.parametrize(
    ("watch", "exit_code", "words"),
    [
        (watched(STEADY, 0.72), 0, "fired 720 ms after the burn began"),
        (watched(STEADY), 1, "FAILED"),
        (watched(STEADY, -1.0), 1, "FAILED"),
        (watched(STEADY, 4.0), 1, "FAILED"),
        (watched(STARVED), 0, "No verdict"),
        (watched(STARVED, 0.9), 0, "fired 900 ms after the burn began"),
        (watched(None), 0, "interrupted"),
    ],
)
def test_only_a_guard_that_missed_a_steady_burn_is_a_failure(watch, exit_code, words):
    outcome = judged(watch)
    assert outcome.exit_code == exit_code
    assert words in "\n".join(outcome.findings)


def test_a_failure_of_the_run_itself_stays_one():
    assert judged(watched(STEADY, 0.7), exit_code=1).exit_code == 1


def test_the_facts_hold_the_time_from_the_sample_to_the_action():
    facts: Any = judged(watched(STEADY, 0.7)).document()["demo"]
    assert facts["sample_to_action_ns"][GUARD] == 1_900_000
    assert facts["fired_after_burn_began_ns"] == {GUARD: 700_000_000, CORE_GUARD: None}


def test_a_short_demonstration_watches_the_host_and_does_not_miss_a_burn():
    outcome = demonstrate(show=False, quiet_s=0.2, burn_s=1.5, idle_s=0.3, busy_s=0.6)
    assert outcome.exit_code == 0, "\n".join(outcome.findings)
    guards = {guard["name"]: guard for guard in outcome.report["guards"]}
    assert guards[GUARD]["evaluated"] > 10
    assert guards[GUARD]["errors"] == 0
    assert outcome.report["sources"][0]["error"] is None
    facts: Any = outcome.document()["demo"]
    assert facts["busy_interpreter_late_ns"]["busy"][TICK_GUARD]["count"] > 5


def test_what_is_late_beside_a_busy_interpreter_is_measured_and_said():
    seen = show_busy_interpreter(show=False, tell=lambda _: None, idle_s=0.4, busy_s=0.8)
    assert seen is not None
    sentences, facts = seen
    assert set(facts) == {"idle", "busy"}
    for late in cast("dict[str, dict[str, Any]]", facts).values():
        assert set(late) == {NATIVE, TICK_GUARD, CALL, SAMPLE}
        assert all(each["count"] >= 5 and 0 <= each["p50"] <= each["max"] for each in late.values()), late
    assert [name for name in ("native timer", "guard", "function", "source") if name not in " ".join(sentences)] == []


def test_a_phase_that_was_interrupted_is_said_to_show_nothing():
    outcome = _with_busy_interpreter(judged(watched(STEADY, 0.7)), None)
    assert "interrupted" in outcome.findings[-1]
    assert outcome.exit_code == 0


def test_the_example_is_the_file_that_the_demonstration_runs():
    assert (EXAMPLES / "host_guard.toml").read_bytes() == run_file().read_bytes()
