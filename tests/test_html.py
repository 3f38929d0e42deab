"""What notebooks show: the figures, escaped whatever they hold, in well-formed tables of bounded size."""

from __future__ import annotations

from html.parser import HTMLParser

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf
from chronofabric._core import html_table

HOSTILE = "</td><script>alert('1')</script>&\"<img src=x onerror=alert(1)>"
ALLOWED = {"table", "caption", "tr", "th", "td"}
SIZE_MAX = 250_000


class Shown(HTMLParser):
    """Reads a table back: every tag is closed and one of ours, without attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.caption = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag in ALLOWED
        assert attributes == []
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == "caption":
            self.caption += data
        else:
            self.rows[-1][-1] += data

    @property
    def fields(self) -> dict[str, str]:
        return dict(self.rows)


def read(thing) -> Shown:
    text = thing._repr_html_()
    assert len(text) < SIZE_MAX
    return Shown(text)


@pytest.fixture
def fabric():
    with cf.Fabric(HOSTILE[:60], clock=cf.SimulatedClock()) as made:
        yield made


@pytest.fixture
def topic():
    return f"plant/{HOSTILE.replace('/', '')}"


def test_an_event_shows_what_it_carries(fabric, topic):
    readings = fabric.subscribe("plant/*")
    fabric.publish(topic, HOSTILE, priority="high", deadline="1 s", headers={HOSTILE: 1})
    shown = read(readings.receive())
    assert shown.caption == topic
    assert shown.fields == {
        "payload": repr(HOSTILE),
        "time": "0",
        "priority": "2",
        "deadline": "1000000000",
        "headers": repr({HOSTILE: 1}),
    }


def test_an_event_leaves_out_what_it_has_not(fabric):
    readings = fabric.subscribe("a")
    fabric.publish("a", None)
    assert set(read(readings.receive()).fields) == {"payload", "time", "priority"}


@pytest.mark.parametrize("payload", [b"x" * 10_000_000, "\ud800<" * 1_000, "ß\U0001f600" * 500, list(range(100_000))])
def test_a_long_payload_is_shortened_between_characters(fabric, payload):
    readings = fabric.subscribe("a")
    fabric.publish("a", payload)
    shown = read(readings.receive()).fields["payload"]
    assert shown == repr(payload)[:397] + "..."


def test_a_payload_that_cannot_be_shown_raises_its_own_error(fabric):
    class Broken:
        def __repr__(self):
            raise LookupError("no words")

    readings = fabric.subscribe("a")
    fabric.publish("a", Broken())
    event = readings.receive()
    with pytest.raises(LookupError, match="no words"):
        event._repr_html_()


def test_a_batch_shows_its_first_events_and_counts_the_others(fabric, topic):
    readings = fabric.subscribe("plant/*", capacity=100)
    fabric.publish_many(topic, [HOSTILE, *range(29)])
    fabric.publish(topic, "alone")
    shown = read(readings.poll_batch(100))
    assert shown.caption == "Batch(31 events)"
    assert shown.rows[0] == ["topic", "time", "payload"]
    assert shown.rows[1] == [topic, "0", repr(HOSTILE)]
    assert shown.rows[20] == [topic, "0", "18"]
    assert shown.rows[21:] == [["and 11 more"]]
    assert read(readings.poll_batch(1)).rows == [["topic", "time", "payload"]]


def test_a_subscription_and_its_books_show_every_figure(fabric):
    readings = fabric.subscribe("a", name=HOSTILE, capacity=1)
    fabric.publish_many("a", [1, 2, 3])
    shown = read(readings)
    assert shown.caption == HOSTILE
    assert shown.fields["offered"] == "3"
    assert shown.fields["dropped"] == "overflow 2"
    assert shown.fields["dead lettered"] == "0"
    assert read(readings.books()).rows == shown.rows
    readings.close()
    assert read(readings).fields["dropped"] == "overflow 2, unsubscribed 1"


def test_a_guard_shows_its_formula_and_what_it_did(fabric):
    guard = fabric.guard("hot", on="a", when="value > 80")
    fabric.publish_many("a", [79.0, 81.0])
    shown = read(guard)
    assert shown.caption == "guard hot"
    assert shown.fields["formula"] == "value > 80"
    assert (shown.fields["evaluated"], shown.fields["fired"]) == ("2", "1")
    guard.close()
    assert read(guard).rows == shown.rows


def test_a_report_shows_every_part_of_a_node(fabric):
    readings = fabric.subscribe("a", name=HOSTILE)
    fabric.guard("hot", on="a", when="value > 80")
    fabric.on("a", name="broken")(lambda event: None)
    fabric.publish_many("a", [79.0, 81.0])
    shown = read(fabric.report())
    assert fabric.name in shown.caption
    rows = {(row[0], row[1]): row[2:] for row in shown.rows[1:]}
    assert rows["subscription", readings.name][:3] == ["0", "0", "2"]
    assert rows["guard", "hot"][0] == "1"
    assert ("handler", "broken") in rows


def test_a_report_shows_hits_misses_and_lateness_of_timers():
    clock = cf.SimulatedClock()
    with cf.Fabric("plant", clock=clock) as fabric:
        fabric.every("10 ms", tolerance="1 ms", name="slow")(lambda: clock.advance("2 ms"))
        fabric.timers.every("10 ms", cf.Flag(), first="5 ms", name="native")
        clock.advance("35 ms")
        shown = read(fabric.report())
    assert shown.rows[0] == ["", "name", "events or hits", "lost or missed", "pending", "errors", "p50 us", "p99 us"]
    rows = {(row[0], row[1]): row[2:] for row in shown.rows[1:]}
    assert rows["timer", "slow"] == ["0", "3", "", "0", "0.0", "0.0"], "it starts in time and ends late"
    assert rows["timer", "native"] == ["4", "0", "", "0", "0.0", "0.0"]


def test_a_report_on_many_parts_is_bounded(fabric):
    kept = [fabric.subscribe("a", name=f"{number}{HOSTILE * 10}") for number in range(1_000)]
    shown = read(fabric.report())
    assert len(kept) == 1_000
    assert shown.rows[-1] == ["and 980 more"]


def test_a_table_shows_its_columns_and_counts_those_beyond_the_bound():
    shown = read(cf.Table(pa.table({f"{HOSTILE}{number}": [1] for number in range(1_000)})))
    assert shown.caption == "1 row"
    assert shown.rows[1] == [f"{HOSTILE}0", "Int64"]
    assert shown.rows[-1] == ["and 980 more"]


@given(st.text(), st.lists(st.lists(st.text(), min_size=1, max_size=3), max_size=30), st.lists(st.text(), max_size=3))
def test_any_text_comes_out_as_text(caption, rows, columns):
    shown = Shown(html_table(caption, rows, columns))
    assert len(shown.rows) == min(len(rows), 20) + bool(columns) + (len(rows) > 20)
