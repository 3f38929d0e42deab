"""How comparisons are run: alternation, medians, noise, and the lines that are written."""

from __future__ import annotations

import json
import sys
import types
from itertools import count

import pytest

from benchmarks.peers import _rounds
from benchmarks.peers._rounds import Case
from chronofabric.apps.measuring import noise as _noise
from chronofabric.apps.measuring import rounds


def quiet_machine(*noisy_rounds: int):
    """Return a reader of a machine that is idle, but for the rounds named (the first, to warm up, is 0)."""
    readings = count()
    state = [0.0, 0.0]

    def read() -> _noise.Reading:
        index = next(readings)
        if index % 2 == 1:
            state[0] += 10.0
            state[1] += 5.0 if index // 2 in noisy_rounds else 0.0
        return _noise.Reading(total_seconds=state[0], steal_seconds=0.0, busy_seconds=state[1], own_seconds=0.0)

    return read


def case(ours=lambda: 2.0, peer=lambda: 1.0, **options) -> Case:
    return Case("a case", ours=ours, peer=peer, peer_name="a peer", unit="s", **options)


@pytest.fixture
def release(monkeypatch):
    core = types.SimpleNamespace(build_profile=lambda: "release")
    monkeypatch.setitem(sys.modules, "chronofabric", types.SimpleNamespace(_core=core))
    return core


def test_both_take_turns_in_going_first_and_nine_rounds_count_after_one_to_warm_up():
    order = []
    outcome = rounds.run(
        "c", case(ours=lambda: order.append("o") or 2.0, peer=lambda: order.append("p") or 1.0), read=quiet_machine()
    )
    assert "".join(order) == "op" + "oppo" * 4 + "op"
    assert outcome.line["rounds"] == 9
    assert outcome.noisy == 0


def test_a_line_has_exactly_the_agreed_keys():
    line = rounds.run("c", case(bar=0.4), read=quiet_machine()).line
    assert list(line) == ["concern", "case", "ours", "peer", "peer_name", "unit", "ratio", "bar", "rounds", "quick"]
    assert line["ratio"] == 0.5
    assert line["bar"] == 0.4
    assert line["quick"] is False


def test_figures_are_medians():
    figures = iter([100.0, 9, 1, 8, 2, 7, 3, 6, 4, 5])
    assert rounds.run("c", case(ours=lambda: next(figures)), read=quiet_machine()).line["ours"] == 5


def test_a_noisy_round_is_repeated_and_counted():
    figures = iter([0.0, 1000.0, 1000.0, *[2.0] * 9])
    outcome = rounds.run("c", case(ours=lambda: next(figures)), read=quiet_machine(1, 2))
    assert outcome.line["ours"] == 2.0
    assert outcome.line["rounds"] == 9
    assert outcome.noisy == 2


def test_on_a_machine_that_is_never_quiet_the_rounds_end_and_no_bar_is_met():
    outcome = rounds.run("c", case(bar=0.1), read=quiet_machine(*range(1000)))
    assert outcome.line["rounds"] == 0
    assert outcome.noisy == rounds.ROUNDS_MAX
    assert _rounds.verdict(outcome.line) == "too noisy"


@pytest.mark.parametrize(
    ("better", "ours", "peer", "ratio"), [("lower", 2.0, 1.0, 0.5), ("higher", 2.0, 1.0, 2.0), ("lower", 1.0, 4.0, 4.0)]
)
def test_the_ratio_says_how_many_times_better_we_are(better, ours, peer, ratio):
    assert case(better=better).ratio(ours, peer) == ratio


def test_a_limit_is_a_peer_with_bar_one():
    line = rounds.run("c", Case("p99", ours=lambda: 1.0, unit="ms", limit=2.0), read=quiet_machine()).line
    assert (line["peer_name"], line["peer"], line["ratio"], line["bar"]) == ("limit", 2.0, 2.0, 1.0)
    assert _rounds.verdict(line) == "met"


def test_a_limit_that_is_met_in_noise_is_met_and_one_that_is_not_says_nothing_there():
    def verdict(figure: float) -> str:
        limited = Case("p99", ours=lambda: figure, unit="ms", limit=2.0, rounds=1)
        return _rounds.verdict(rounds.run("c", limited, read=quiet_machine(*range(1000))).line)

    assert verdict(1.9) == "met"
    assert verdict(2.1) == "too noisy"


def test_one_long_quiet_round_is_enough_for_a_verdict_on_a_limit():
    def verdict(figure: float) -> str:
        limited = Case("rate", ours=lambda: figure, unit="1/s", better="higher", limit=2.0, rounds=1)
        return _rounds.verdict(rounds.run("c", limited, read=quiet_machine()).line)

    assert verdict(2.1) == "met"
    assert verdict(1.9) == "MISSED"


def test_where_nothing_is_tolerated_one_failure_in_any_round_fails():
    failures = iter([0.0] * 5 + [1.0] + [0.0] * 10)
    line = rounds.run(
        "c", Case("lost", ours=lambda: next(failures), unit="events", limit=0.0), read=quiet_machine()
    ).line
    assert line["ratio"] == 0.0
    assert _rounds.verdict(line) == "MISSED"


def test_a_case_of_long_rounds_is_not_warmed_up_and_repeats_the_noisy_ones():
    figures = iter([1000.0, 2.0, 3.0])
    long = case(ours=lambda: next(figures), bar=0.4, rounds=1)
    outcome = rounds.run("c", long, read=quiet_machine(0))
    assert (outcome.line["ours"], outcome.line["rounds"], outcome.noisy) == (2.0, 1, 1)


def test_on_a_machine_that_is_never_quiet_a_case_of_long_rounds_ends_too():
    runs = []
    rounds.run("c", case(ours=lambda: runs.append(1) or 1.0, rounds=2), read=quiet_machine(*range(1000)))
    assert len(runs) == 6


def test_a_quick_run_is_one_round_and_meets_no_bar():
    ran: list[int] = []
    line = rounds.run("c", case(ours=lambda: ran.append(1) or 1.0, bar=0.1), quick=True, read=quiet_machine()).line
    assert len(ran) == 1
    assert line["quick"] is True
    assert _rounds.verdict(line) == "quick"


@pytest.mark.parametrize("options", [{}, {"peer": float, "peer_name": "x", "limit": 1.0}, {"peer": float}])
def test_a_case_without_a_clear_opponent_is_refused(options):
    with pytest.raises(ValueError, match="case 'x'"):
        Case("x", ours=float, unit="s", **options)


def test_an_absent_peer_is_named_skipped_and_not_counted(release, tmp_path, capsys):
    file = tmp_path / "lines"
    cases = [case(needs=("no_such_module_here",), programs=("no-such-program-here",))]
    assert _rounds.main("c", cases, ["--quick", "--json", str(file)]) == 0
    assert "c: a case: skipped, not installed: no_such_module_here, no-such-program-here" in capsys.readouterr().out
    assert file.read_text() == ""


def test_main_writes_one_line_a_case_and_a_table(release, tmp_path, capsys):
    file = tmp_path / "lines"
    assert (
        _rounds.main(
            "c", lambda quick: [case(), case(ours=lambda: 1.0 if quick else 9.0)], ["--quick", "--json", str(file)]
        )
        == 0
    )
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["ours"] for line in lines] == [2.0, 1.0]
    assert capsys.readouterr().out.count("c: a case  ") == 2


def test_a_case_that_breaks_is_reported_and_the_others_go_on(release, capsys):
    def broken() -> float:
        raise RuntimeError("no such luck")

    assert _rounds.main("c", [case(ours=broken), case()], ["--quick"]) == 1
    captured = capsys.readouterr()
    assert "no such luck" in captured.err
    assert "ratio 0.5" in captured.out


def test_a_debug_build_is_refused(release, capsys):
    release.build_profile = lambda: "debug"
    assert _rounds.main("c", [case(ours=pytest.fail)], ["--quick"]) == 2
    assert "debug build" in capsys.readouterr().err


def test_steal_and_the_work_of_others_are_noise_and_our_own_work_is_not():
    def noise(**used: float) -> bool:
        zero = {"total_seconds": 0.0, "steal_seconds": 0.0, "busy_seconds": 0.0, "own_seconds": 0.0}
        return _noise.between(_noise.Reading(**zero), _noise.Reading(**{**zero, "total_seconds": 100.0, **used})).noisy

    assert not noise()
    assert not noise(busy_seconds=90.0, own_seconds=89.0)
    assert noise(busy_seconds=90.0, own_seconds=80.0)
    assert noise(steal_seconds=1.0)
    assert not noise(steal_seconds=0.4)


def test_a_reading_counts_the_work_of_this_process():
    before = _noise.read()
    sum(number * number for number in range(3_000_000))
    after = _noise.read()
    assert after.own_seconds - before.own_seconds > 0.05
    assert after.total_seconds > before.total_seconds
