"""Curves: each point is measured once a round, figures are medians, and every event is accounted for."""

from __future__ import annotations

from itertools import count

import pytest

from benchmarks import curve
from chronofabric.apps.measuring import noise as _noise
from chronofabric.apps.measuring.exchange import BURST


def never_noisy() -> _noise.Reading:
    return _noise.Reading(total_seconds=0.0, steal_seconds=0.0, busy_seconds=0.0, own_seconds=0.0)


def test_figures_are_medians_over_rounds_that_measure_each_point_once():
    calls = []
    rounds = {point: count() for point in (1, 10)}

    def measure(point: int) -> tuple[float, ...]:
        calls.append(point)
        return point + [8, 0, 7, 1, 6, 2, 5, 3, 4][next(rounds[point])], -float(point)

    line = curve.run(curve.Curve("load", (1, 10), ("a", "b"), measure), read=never_noisy)
    assert calls == [1, 10] * 9
    assert line["ns"] == [[5.0, -1.0], [14.0, -10.0]]
    assert (line["rounds"], line["quick"]) == (9, False)


def test_a_table_has_a_row_a_point_and_a_column_a_form():
    line = {"curve": "load", "forms": ["a", "b"], "points": [1, 10_000], "ns": [[1.25, 120.4], [99.7, 2.0]]}
    assert curve.table(line, markdown=True).splitlines() == [
        "| load | a | b |",
        "| ---: | ---: | ---: |",
        "| 1 | 1.2 | 120 |",
        "| 10 000 | 100 | 2.0 |",
    ]


@pytest.mark.parametrize("each", curve.curves(quick=True), ids=lambda each: each.name)
def test_the_smallest_point_of_every_curve_can_be_measured(each):
    figures = each.measure(each.points[0])
    assert len(figures) == len(each.forms)
    assert min(figures) > 0.0


def test_bursts_go_round_all_items_and_are_of_one_length():
    few, many = curve._bursts(list(range(10))), curve._bursts(list(range(10_000)))
    assert [len(burst) for burst in [*few, *many]] == [BURST] * 11
    assert set(few[0]) == set(range(10))
    assert sorted(item for burst in many for item in burst) == list(range(10_000))
