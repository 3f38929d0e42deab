"""Reports as text."""

from __future__ import annotations

import json
import threading

import pytest

import chronofabric as cf
from chronofabric.apps.rendering import (
    Rates,
    count_text,
    duration_text,
    failed,
    failure_lines,
    frame,
    progress_line,
    rate_text,
    report_lines,
)
from tests.apps.snapshots import percentiles, snapshot, timer


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 us"),
        (9_996, "10.0 us"),
        (99_960, "100 us"),
        (999_900, "1.00 ms"),
        (1_234_567_890, "1.23 s"),
        (None, "-"),
    ],
)
def test_durations_have_three_digits(nanoseconds, text):
    assert duration_text(nanoseconds) == text


def test_large_numbers_are_grouped():
    assert (count_text(12_345_678), rate_text(99.94), rate_text(100), rate_text(12_345.6)) == (
        "12 345 678",
        "99.9",
        "100",
        "12 346",
    )


def test_rates_are_those_since_the_snapshot_before():
    rates = Rates()
    rates.take(snapshot(1.0, 300))
    rates.take(snapshot(3.0, 800))
    assert rates.of("topics", "published") == 250.0
    assert rates.of("source", "host") == 250.0
    assert rates.of("subscription", "subscription-0") == 250.0
    assert rates.of("source", "unknown") == 0.0


def test_a_frame_keeps_within_its_width_and_height_and_says_what_it_leaves_out():
    rates = Rates()
    taken = snapshot(subscriptions=40)
    rates.take(taken)
    lines = frame(taken, rates, width=60, height=12)
    assert len(lines) == 12
    assert all(len(line) <= 60 for line in lines)
    assert lines[-1] == "... 36 more lines; the report at the end has them all"[:60]


def test_a_frame_shows_rate_queue_latency_and_guard():
    rates = Rates()
    rates.take(snapshot(1.0, 300))
    taken = snapshot(2.0, 600)
    rates.take(taken)
    text = "\n".join(frame(taken, rates, width=120, height=40))
    for part in ("plant", "2.0 s", "300/s", "1/1024", "31.0 us", "250 us", "1.90 ms", "hot", "-3.25"):
        assert part in text


def test_timers_are_shown_with_hits_misses_and_lateness_while_they_run_and_at_the_end():
    taken = {**snapshot(), "timers": [timer(python=False), timer(python=True, overruns=2)]}
    rates = Rates()
    rates.take(taken)
    live = [line.split() for line in frame(taken, rates, width=120, height=40)[-3:]]
    assert live[0][:4] == ["timer", "hits", "misses", "errors"]
    # The one that is native by its start: 9 of 10 in time. The one in Python by its end, and by when Python began.
    assert " ".join(live[1]) == "Flag 9 2 0 2.00 us 250 us 1.90 ms"
    assert " ".join(live[2]) == "control 5 4 0 31.0 us 250 us 1.90 ms"
    report = report_lines(taken)
    assert " ".join(report[-3].split()) == "Flag 9 2 1 0 2.00 us 250 us 1.90 ms"
    assert report[-2].split()[:5] == ["control", "5", "4", "1", "2"]
    assert report[-1].strip() == "a call took 31.0 us (p50), 250 us (p99), 1.90 ms (max), 2 over 2.00 ms"
    assert progress_line(taken, rates).endswith("  deadlines missed 6, p99 250 us late")


def test_handlers_and_guards_with_a_deadline_are_shown_with_what_they_kept_of_it_while_they_run():
    taken = snapshot()
    rates = Rates()
    rates.take(taken)
    assert "with a deadline" not in "\n".join(frame(taken, rates, width=120, height=40))
    assert "deadlines" not in progress_line(taken, rates)
    taken["handlers"][0] |= {"calls": 5_010, "deadline_ns": 5_000_000, "late": 12}
    taken["guards"][0] |= {"fired": 3, "deadline_ns": 1_000_000, "late": 1}
    taken["guards"][0]["lateness_ns"] = {**percentiles(), "p99": 1_250_000}
    taken["handlers"].append({**taken["handlers"][0], "name": "free", "deadline_ns": None})
    head, *rows = frame(taken, rates, width=120, height=40)[-3:]
    assert head.split() == ["with", "a", "deadline", "met", "missed", "within", "p50", "p99", "max"]
    assert [" ".join(row.split()) for row in rows] == [
        "alert 4 998 12 5.00 ms 31.0 us 250 us 1.90 ms",
        "hot 2 1 1.00 ms 31.0 us 1.25 ms 1.90 ms",
    ]
    assert {len(line) for line in (head, *rows)} == {83}  # as wide as the other tables
    assert progress_line(taken, rates).endswith("  deadlines missed 13, p99 1.25 ms late")
    assert any(" ".join(line.split()) == "alert 5 010 0 12 31.0 us 250 us 1.90 ms" for line in report_lines(taken))


def test_what_a_node_kept_of_its_deadlines_comes_from_its_own_report():
    clock = cf.SimulatedClock()
    entered, go = threading.Event(), threading.Event()
    fabric = cf.Fabric("plant", clock=clock)

    @fabric.on("block")
    def block(event):
        entered.set()
        go.wait(20)

    fabric.on("a", name="brake", deadline="5 ms")(lambda event: None)
    fabric.guard("high", on="a", when="value > 1", do=cf.Flag(), deadline="1 ms")
    with fabric:
        fabric.publish("block", 0)
        assert entered.wait(20)
        fabric.publish("a", 2)
        clock.advance("6 ms")
        fabric.publish("a", 3)
        go.set()
    taken = fabric.report().as_dict()
    rates = Rates()
    rates.take(taken)
    head, brake, high = frame(taken, rates, width=120, height=40)[-3:]
    assert head.startswith("with a deadline")
    assert brake.split()[:5] == ["brake", "1", "1", "5.00", "ms"]
    assert high.split()[:5] == ["high", "1", "0", "1.00", "ms"]
    assert "  deadlines missed 1, p99 " in progress_line(taken, rates)


def test_nothing_that_happened_yet_is_a_dash_in_the_line_of_deadlines():
    taken = snapshot()
    taken["handlers"][0] |= {"calls": 0, "deadline_ns": 5_000_000, "lateness_ns": percentiles(0)}
    rates = Rates()
    rates.take(taken)
    assert progress_line(taken, rates).endswith("  deadlines missed 0, p99 - late")


def test_a_timer_that_failed_is_named_with_its_error():
    taken = {**snapshot(), "timers": [timer(python=True, errors=1, error="ValueError: no")]}
    assert failure_lines(taken) == ["timer 'control' had errors, the last one: ValueError: no"]


def test_the_report_accounts_for_every_event_offered():
    text = "\n".join(report_lines(snapshot()))
    assert "4 dropped (oldest), 3 dead-lettered (newest)" in text
    row = next(line for line in text.splitlines() if "subscription-0" in line)
    offered, delivered, dropped, dead, pending = row.split()[1:6]
    assert int(offered) == int(delivered) + int(dropped) + int(dead) + int(pending)


def test_the_report_ends_with_what_failed():
    broken = snapshot()
    broken["sources"][0]["error"] = "data.csv, line 7: a quote is never closed"
    assert not failed(snapshot())
    assert failed(broken)
    assert report_lines(broken)[-1] == "source 'host' failed: data.csv, line 7: a quote is never closed"
    assert failure_lines(snapshot()) == []


def test_the_errors_of_a_guard_are_told_and_are_no_failure_of_the_run():
    wrong = snapshot()
    wrong["guards"][0] |= {"errors": 300, "error": "there is no field 'pressure'"}
    assert failure_lines(wrong) == ["guard 'hot' had errors, the last one: there is no field 'pressure'"]
    assert not failed(wrong)


def test_a_node_without_anything_can_be_shown():
    empty = {**snapshot(), "subscriptions": [], "sources": [], "sinks": [], "guards": [], "handlers": []}
    rates = Rates()
    rates.take(empty)
    assert frame(empty, rates, width=80, height=20)[1].startswith("plant | counter clock")
    assert "p99 -" in progress_line(empty, rates)
    assert report_lines(empty)[-1].endswith("topics")


def test_what_was_never_measured_is_a_dash():
    taken = snapshot()
    taken["guards"][0]["lateness_ns"] = {"p50": None, "p90": None, "p99": None, "max": None, "count": 0}
    taken["guards"][0]["last_robustness"] = None
    text = "\n".join(report_lines(json.loads(json.dumps(taken))))
    assert next(line for line in text.splitlines() if line.startswith("  hot ")).split()[-3:] == ["-", "-", "-"]
