"""Every statement of docs/semantics.md, by its number."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import chronofabric as cf
from chronofabric._core.bus import waiting
from tests.bus.scripts import run_script

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "semantics.md"
START_NS = 1_000_000_000_000
WAIT = "20 s"


@pytest.fixture
def clock():
    return cf.SimulatedClock(start=START_NS)


@pytest.fixture
def fabric(clock):
    with cf.Fabric("semantics", clock=clock) as made:
        yield made


def payloads(subscription):
    """Take everything that waits."""
    return subscription.poll_batch(100_000).payloads


def in_thread(body):
    """Run a body in a thread of its own to its end; raise what it raised."""
    raised = []

    def run():
        try:
            body()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


def until(condition):
    """Wait for other threads, without a verdict in how long it takes."""
    came = threading.Event()
    for _ in range(20_000):
        if condition():
            return
        came.wait(0.001)
    pytest.fail("it did not come true")


@contextmanager
def advancing(clock, duration):
    """Advance a clock by a duration as soon as somebody waits."""

    def advance():
        until(lambda: waiting() > 0)
        clock.advance(duration)

    thread = threading.Thread(target=advance)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


def test_every_statement_has_a_test_and_every_test_a_statement():
    document = DOCUMENT.read_text(encoding="utf-8")
    stated = [int(number) for number in re.findall(r"^- \*\*S(\d+)\*\* ", document, re.MULTILINE)]
    assert stated == list(range(1, len(stated) + 1)), "statements are numbered without gaps"
    tested = {int(number) for name in globals() if name.startswith("test_s") for number in re.findall(r"s(\d+)_", name)}
    assert tested == set(stated)


# Topics and patterns


@pytest.mark.parametrize("text", ["", "/a", "a/", "a//b", "a/*", "**", "a#b", "a\nb", "a\x00"])
def test_s1_a_topic_is_non_empty_segments(fabric, text):
    with pytest.raises(cf.TopicError):
        fabric.publish(text, 1)
    fabric.publish("a/b c/ü", 1)


def test_s2_a_star_is_one_segment_and_two_are_any_number():
    assert cf.Pattern("plant/**").matches("plant")
    assert cf.Pattern("plant/**").matches("plant/7/temperature")
    assert not cf.Pattern("plant/*").matches("plant")
    assert cf.Pattern("plant/*").matches("plant/7")
    assert not cf.Pattern("plant/*").matches("plant/7/temperature")


def test_s3_a_regular_expression_matches_a_whole_topic(fabric):
    numbers = fabric.subscribe(cf.regex(r"plant/\d+"))
    for topic in ("plant/7", "plant/7/temperature", "a/plant/7", "plant/x"):
        fabric.publish(topic, topic)
    assert payloads(numbers) == ["plant/7"]


def test_s4_several_patterns_are_one_subscription(fabric):
    several = fabric.subscribe(["plant/*", "plant/7", cf.regex("other")])
    fabric.publish("plant/7", 1)
    fabric.publish("other", 2)
    fabric.publish("third", 3)
    assert payloads(several) == [1, 2]


def test_s5_a_bad_pattern_has_a_caret_under_the_place(fabric):
    with pytest.raises(cf.PatternError) as raised:
        fabric.subscribe("plant/**x/temp")
    _, text, caret = str(raised.value).splitlines()
    assert text[caret.index("^") :].startswith("**x")
    assert raised.value.span == (6, 9)


def test_s6_topics_are_bounded(clock):
    with cf.Fabric("bounded", clock=clock, topics_max=3) as fabric:
        everything = fabric.subscribe("**")
        for number in range(3):
            fabric.publish(f"topic/{number}", number)
        with pytest.raises(cf.TopicLimitError) as raised:
            fabric.publish("topic/3", 3)
        assert raised.value.limit == 3
        fabric.publish("topic/0", 4)
        assert payloads(everything) == [0, 1, 2, 4]
    with cf.Fabric("default", clock=clock) as fabric:
        for number in range(65_536):
            fabric.publisher(f"{number}")
        with pytest.raises(cf.TopicLimitError, match="65536"):
            fabric.publisher("one-more")


def test_s7_a_subscription_gets_what_is_published_after_it(fabric):
    fabric.publish("a", "before")
    all_of_it = fabric.subscribe("**")
    fabric.publish("a", "after")
    fabric.publish("appears/later", "new")
    assert payloads(all_of_it) == ["after", "new"]


@pytest.mark.parametrize(
    "options",
    [{"priority": "hgih"}, {"priority": 4}, {"headers": 3}, {"headers": {1: 2}}, {"deadline": "soon"}, {"time": "now"}],
    ids=str,
)
def test_s8_what_is_refused_changes_nothing(fabric, options):
    everything = fabric.subscribe("**")
    with pytest.raises(cf.ArgumentError):
        fabric.publish("a", 1, **options)
    assert fabric.topics() == {}
    assert everything.books().offered == 0


# Events


def test_s9_an_event_has_its_envelope(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish("a", "payload", priority="high", deadline="1 s", headers={"unit": "C"})
    event = subscription.poll()
    assert (event.topic, event.payload, event.priority, dict(event.headers)) == ("a", "payload", 2, {"unit": "C"})
    assert event.node == fabric.stamps.node == event.stamp.node
    assert event.deadline == START_NS + 1_000_000_000
    fabric.publish("a", 1)
    bare = subscription.poll()
    assert (bare.deadline, dict(bare.headers)) == (None, {})


def test_s10_the_time_is_taken_from_the_nodes_time_source(fabric, clock):
    subscription = fabric.subscribe("a")
    fabric.publish("a", 1)
    clock.advance("5 ns")
    fabric.publish("a", 2)
    assert [event.time for event in subscription.poll_batch(9)] == [START_NS, START_NS + 5]


def test_s11_a_recorded_time_takes_its_place(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish("a", 1, time=17)
    event = subscription.poll()
    assert event.time == 17
    assert event.stamp.time >= START_NS - 2**16


def test_s12_the_time_never_decreases_on_a_topic(fabric):
    both = fabric.subscribe("*")
    for time in (50, 40, 60):
        fabric.publish("a", time, time=time)
    fabric.publish("b", 1, time=3)
    assert [event.time for event in both.poll_batch(9)] == [50, 50, 60, 3]


def test_s13_several_events_at_one_instant_stay_in_order(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", range(100))
    batch = subscription.poll_batch(100)
    assert batch.payloads == list(range(100))
    assert {event.time for event in batch} == {START_NS}


def test_s14_stamps_rise_strictly(fabric):
    subscription = fabric.subscribe("**", capacity=5000)
    for number in range(5000):
        fabric.publish(f"topic/{number % 3}", number)
    stamps = [event.stamp for event in subscription.poll_batch(5000)]
    assert all(one < other for one, other in itertools.pairwise(stamps))


def test_s15_headers_are_copied_and_read_only(fabric):
    subscription = fabric.subscribe("a")
    headers = {"unit": "C"}
    fabric.publish("a", 1, headers=headers)
    headers["unit"] = "F"
    event = subscription.poll()
    assert event.headers["unit"] == "C"
    with pytest.raises(TypeError):
        event.headers["unit"] = "K"


def test_s16_a_deadline_is_a_duration_an_instant_or_a_stamp(fabric):
    subscription = fabric.subscribe("a")
    stamp = fabric.stamps.now()
    for deadline in ("1 ms", timedelta(milliseconds=1), 0.001, datetime(2001, 1, 1, tzinfo=UTC), stamp):
        fabric.publish("a", 1, deadline=deadline)
    soon = START_NS + 1_000_000
    expected = [soon, soon, soon, 978_307_200_000_000_000, stamp.time]
    assert [event.deadline for event in subscription.poll_batch(9)] == expected
    with pytest.raises(cf.ArgumentError):
        fabric.publish("a", 1, deadline=datetime(2001, 1, 1))  # noqa: DTZ001 - this is what is refused


def test_s17_a_payload_is_carried_by_reference(fabric):
    one, other = fabric.subscribe("a"), fabric.subscribe("a")
    payload = object()
    fabric.publish("a", payload)
    assert one.poll().payload is payload
    assert next(other.payloads()) is payload


def test_s18_arrow_arrives_as_a_table_and_a_one_shot_stream_is_refused(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish("a", pa.table({"x": [1, 2]}))
    table = subscription.poll().payload
    assert isinstance(table, cf.Table)
    assert pa.table(table).to_pydict() == {"x": [1, 2]}
    reader = pa.table({"x": [1]}).to_reader()
    with pytest.raises(cf.PayloadError):
        fabric.publish("a", reader)
    fabric.publish("a", cf.Table(reader))
    assert subscription.books().offered == 2


def test_s19_a_schema_refuses_what_is_not_arrow(fabric):
    subscription = fabric.subscribe("a")
    publisher = fabric.publisher("a", schema="arrow")
    with pytest.raises(cf.PayloadError) as raised:
        publisher.publish({"x": 1})
    assert raised.value.topic == "a"
    publisher.publish(pa.table({"x": [1]}))
    assert subscription.books().offered == 1


# Defaults and bounds


def test_s20_the_capacity_is_1024_and_the_oldest_goes(fabric):
    subscription = fabric.subscribe("a")
    assert subscription.capacity == 1024
    fabric.publish_many("a", range(1030))
    fabric.publish_many("a", [b"x" * 1_000_000] * 5, priority="low")
    assert subscription.books().dropped == {"overflow": 6}
    assert payloads(subscription)[0] == 6


def test_s21_a_block_waits_1_s_and_1024_dead_letters_are_kept(fabric, clock):
    full = fabric.subscribe("block", capacity=1, overflow="block")
    fabric.publish("block", 1)
    with advancing(clock, "1 s"), pytest.raises(cf.PublishTimeout) as raised:
        fabric.publish("block", 2)
    assert raised.value.timeout_ns == 1_000_000_000
    assert full.books().dropped == {"timeout": 1}
    letters = fabric.subscribe("dead", capacity=1, overflow="dead-letter")
    fabric.publish_many("dead", range(1026))
    assert len(letters.dead_letters) == 1024
    assert letters.books().dropped == {"dead-letters-full": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"capacity": -1},
        {"capacity": 2.5},
        {"capacity": True},
        {"capacity": 2**70},
        {"capacity_bytes": 0},
        {"capacity_bytes": 2**70},
        {"dead_letters_max": 0},
        {"dead_letters_max": 2**70},
        {"block_timeout": -1},
        {"block_timeout": "soon"},
        {"overflow": "drop"},
        {"overflow": None},
        {"name": 5},
    ],
    ids=str,
)
def test_s22_a_bound_that_cannot_be_is_refused(fabric, options):
    with pytest.raises(cf.ArgumentError) as raised:
        fabric.subscribe("a", **options)
    assert raised.value.argument == next(iter(options))
    assert fabric.core.subscriptions() == []


def test_s23_priorities_have_four_names_and_four_numbers(fabric):
    subscription = fabric.subscribe("a")
    for priority in ("low", "normal", "high", "urgent", 0, 1, 2, 3, None):
        fabric.publish("a", priority, priority=priority)
    found = {event.payload: event.priority for event in subscription.poll_batch(9)}
    assert found == {"low": 0, "normal": 1, "high": 2, "urgent": 3, 0: 0, 1: 1, 2: 2, 3: 3, None: 1}


@pytest.mark.parametrize("duration", ["1500 us", "1.5 ms", timedelta(microseconds=1500), 0.0015])
def test_s24_a_duration_is_a_text_a_timedelta_or_seconds(fabric, clock, duration):
    subscription = fabric.subscribe("a")
    with advancing(clock, duration), pytest.raises(cf.ReceiveTimeout) as raised:
        subscription.receive(timeout=duration)
    assert raised.value.timeout_ns == 1_500_000


@pytest.mark.parametrize(
    "options", [{"order": "causal"}, {"order": "total"}, {"order": "deadline"}, {"scope": "host"}], ids=str
)
def test_s25_what_later_versions_build_is_refused(fabric, options):
    with pytest.raises(cf.UnsupportedError):
        fabric.subscribe("a", **options)
    fabric.subscribe("a", order="publisher", scope="local")


# Order


def test_s26_order_holds_for_each_publisher_and_priority(fabric):
    subscription = fabric.subscribe("**", capacity=20_000)

    def publish(name):
        publisher = fabric.publisher(f"from/{name}")
        for number in range(2000):
            publisher.publish((name, number % 2, number), priority=number % 2)

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = payloads(subscription)
    assert len(seen) == 6000
    for name in range(3):
        for priority in range(2):
            numbers = [number for who, level, number in seen if (who, level) == (name, priority)]
            assert numbers == sorted(numbers)
            assert len(numbers) == 1000


def test_s27_the_most_urgent_comes_first(fabric):
    subscription = fabric.subscribe("a")
    for priority in ("low", "urgent", "normal", "high", "urgent"):
        fabric.publish("a", priority, priority=priority)
    assert payloads(subscription) == ["urgent", "urgent", "high", "normal", "low"]


def test_s28_the_capacity_counts_for_each_priority(fabric):
    subscription = fabric.subscribe("a", capacity=2)
    blocking = fabric.subscribe("a", capacity=2, overflow="block", block_timeout="1 h")
    fabric.publish_many("a", range(2), priority="low")
    fabric.publish_many("a", range(2), priority="urgent")
    assert subscription.books().dropped == {}
    assert subscription.pending == blocking.pending == 4


# Overflow


def test_s29_drop_oldest(fabric):
    subscription = fabric.subscribe("a", capacity=3, overflow="drop-oldest")
    fabric.publish("a", "urgent", priority="urgent")
    fabric.publish_many("a", range(5))
    assert payloads(subscription) == ["urgent", 2, 3, 4]
    assert subscription.books().dropped == {"overflow": 2}


def test_s30_drop_newest(fabric):
    subscription = fabric.subscribe("a", capacity=3, overflow="drop-newest")
    fabric.publish_many("a", range(5))
    assert payloads(subscription) == [0, 1, 2]
    assert subscription.books().dropped == {"overflow": 2}


def test_s31_dead_letter(fabric):
    subscription = fabric.subscribe("a", capacity=3, overflow="dead-letter")
    fabric.publish_many("a", range(5))
    assert payloads(subscription) == [0, 1, 2]
    assert [letter.event.payload for letter in subscription.dead_letters] == [3, 4]
    assert subscription.books().dead_lettered == {"overflow": 2}


def test_s32_block_waits_for_room(fabric):
    subscription = fabric.subscribe("a", capacity=2, overflow="block", block_timeout="1 h")
    publisher = threading.Thread(target=fabric.publish_many, args=("a", range(50)))
    publisher.start()
    assert [subscription.receive().payload for _ in range(50)] == list(range(50))
    publisher.join(20)
    assert not publisher.is_alive()
    assert subscription.books().dropped == {}


def test_s33_a_publisher_that_waited_too_long_is_told_who_was_full(fabric, clock):
    before = fabric.subscribe("a", name="before")
    full = fabric.subscribe("a", name="full", capacity=1, overflow="block", block_timeout="10 ms")
    fuller = fabric.subscribe("a", name="fuller", capacity=1, overflow="block", block_timeout="20 ms")
    after = fabric.subscribe("a", name="after")
    fabric.publish("a", 1)
    with advancing(clock, "1 s"), pytest.raises(cf.PublishTimeout) as raised:
        fabric.publish("a", 2)
    assert set(raised.value.subscriptions) == {"full", "fuller"}
    assert raised.value.topic == "a"
    assert payloads(before) == payloads(after) == [1, 2]
    assert full.books().dropped == fuller.books().dropped == {"timeout": 1}


def test_s34_a_thread_does_not_wait_for_itself(fabric):
    subscription = fabric.subscribe("a", name="mine", capacity=1, overflow="block", block_timeout="1 h")
    other = fabric.subscribe("a")
    subscription.poll()
    fabric.publish("a", 1)
    with pytest.raises(cf.WouldDeadlock) as raised:
        fabric.publish("a", 2)
    assert raised.value.subscriptions == ("mine",)
    assert subscription.books().dropped == {"would-deadlock": 1}
    assert payloads(other) == [1, 2]


def test_s35_a_task_of_this_threads_loop_counts_as_this_thread(fabric):
    subscription = fabric.subscribe("a", capacity=1, overflow="block", block_timeout="1 h")

    async def main():
        receiver = asyncio.create_task(subscription.receive_async())
        await asyncio.sleep(0)
        fabric.publish("a", 1)
        assert (await receiver).payload == 1
        fabric.publish("a", 2)
        with pytest.raises(cf.WouldDeadlock):
            fabric.publish("a", 3)

    asyncio.run(main())


@pytest.mark.parametrize("received", ["by another thread", "by a thread that has ended", "by nobody"])
def test_s36_otherwise_it_waits_also_beside_a_running_loop(fabric, received):
    subscription = fabric.subscribe("a", capacity=1, overflow="block", block_timeout="1 h")
    if received != "by nobody":
        in_thread(subscription.poll)
    ready = threading.Event()

    def make_room():
        ready.wait(20)
        until(lambda: subscription.pending == 1)
        subscription.receive()

    async def cell():
        fabric.publish("a", 1)
        ready.set()
        fabric.publish("a", 2)

    def publish():
        receiver = threading.Thread(target=make_room)
        receiver.start()
        asyncio.run(cell())
        receiver.join(20)

    in_thread(publish)
    assert payloads(subscription) == [2]
    assert subscription.books().dropped == {}


def test_s37_a_publisher_that_is_cancelled_counts_a_drop(fabric):
    subscription = fabric.subscribe("a", capacity=1, overflow="block", block_timeout="1 h")

    async def main():
        fabric.publish("a", 1)
        publisher = asyncio.create_task(fabric.publish_async("a", 2))
        await asyncio.sleep(0)
        publisher.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publisher

    asyncio.run(main())
    assert subscription.books().dropped == {"cancelled": 1}
    assert payloads(subscription) == [1]


def test_s38_bytes_are_bounded_over_all_priorities(fabric):
    subscription = fabric.subscribe("a", capacity_bytes=10)
    fabric.publish("a", b"aaaa", priority="urgent")
    fabric.publish("a", b"bbbb", priority="low")
    fabric.publish("a", b"cccc", priority="normal")
    assert payloads(subscription) == [b"aaaa", b"cccc"]
    fabric.publish("a", b"x" * 10)
    newest = fabric.subscribe("a", capacity_bytes=10, overflow="drop-newest")
    fabric.publish_many("a", [b"123456", b"12345", b"1234"])
    assert payloads(newest) == [b"123456", b"1234"]
    assert newest.books().dropped == {"overflow": 1}


def test_s39_a_payload_too_large_by_itself_is_turned_away(fabric):
    oldest = fabric.subscribe("a", capacity_bytes=10)
    letters = fabric.subscribe("a", capacity_bytes=10, overflow="dead-letter")
    blocking = fabric.subscribe("a", capacity_bytes=10, overflow="block", block_timeout="1 h")
    fabric.publish("a", b"x" * 5)
    fabric.publish("a", b"x" * 11)
    assert oldest.books().dropped == blocking.books().dropped == {"too-large": 1}
    assert letters.books().dead_lettered == {"too-large": 1}
    assert payloads(oldest) == payloads(blocking) == payloads(letters) == [b"x" * 5]


# Dead letters


@pytest.fixture
def letters(fabric):
    subscription = fabric.subscribe("a", capacity=2, overflow="dead-letter", dead_letters_max=3)
    fabric.publish_many("a", range(5))
    return subscription


def test_s40_dead_letters_can_be_looked_at(letters):
    for _ in range(2):
        assert [(letter.event.payload, letter.reason) for letter in letters.dead_letters] == [
            (2, "overflow"),
            (3, "overflow"),
            (4, "overflow"),
        ]


def test_s41_taken_dead_letters_stay_in_the_books(letters):
    assert [letter.event.payload for letter in letters.take_dead_letters(2)] == [2, 3]
    assert [letter.event.payload for letter in letters.take_dead_letters()] == [4]
    assert letters.dead_letters == []
    assert letters.books().dead_lettered == {"overflow": 3}


def test_s42_replaying_offers_them_again_while_there_is_room(letters):
    assert letters.replay_dead_letters() == 0
    assert letters.receive().payload == 0
    assert letters.replay_dead_letters() == 1
    assert payloads(letters) == [1, 2]
    assert letters.replay_dead_letters(1) == 1
    books = letters.books()
    assert (books.replayed, books.dead_lettered, books.pending) == (2, {"overflow": 3}, 1)
    assert [letter.event.payload for letter in letters.dead_letters] == [4]


def test_s43_full_dead_letters_drop_the_newest(fabric, letters):
    fabric.publish("a", 5)
    assert [letter.event.payload for letter in letters.dead_letters] == [2, 3, 4]
    assert letters.books().dropped == {"dead-letters-full": 1}


# Books


@pytest.mark.parametrize("overflow", ["drop-oldest", "drop-newest", "dead-letter", "block"])
def test_s44_s45_the_books_balance_exactly(clock, overflow):
    fabric = cf.Fabric("books", clock=clock)
    subscription = fabric.subscribe("a", capacity=3, overflow=overflow, dead_letters_max=2, block_timeout=0)
    for number in range(20):
        try:
            fabric.publish("a", number)
        except (cf.PublishTimeout, cf.WouldDeadlock):
            assert overflow == "block"
        if number % 4 == 0:
            subscription.poll()
        if number % 7 == 0:
            subscription.replay_dead_letters(1)
        books = subscription.books()
        assert books.balanced
        assert (books.offered, books.pending) == (number + 1, subscription.pending)
    fabric.close()
    books = subscription.books()
    assert books.balanced
    assert (books.offered, books.pending) == (20, 0)


def test_s46_nothing_is_filtered(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", range(3))
    assert subscription.books().filtered == 0


# Receiving


def test_s47_receive_waits_and_poll_does_not(fabric):
    subscription = fabric.subscribe("a")
    assert subscription.poll() is None
    publisher = threading.Thread(target=lambda: (until(lambda: waiting() > 0), fabric.publish("a", 1)))
    publisher.start()
    assert subscription.receive().payload == 1
    publisher.join(20)


def test_s48_a_timeout_passes_on_the_nodes_own_time(fabric, clock):
    subscription = fabric.subscribe("a", name="quiet")
    with advancing(clock, "1 h"), pytest.raises(cf.ReceiveTimeout) as raised:
        subscription.receive(timeout="1 h")
    assert (raised.value.subscription, raised.value.timeout_ns) == ("quiet", 3_600_000_000_000)
    assert isinstance(raised.value, TimeoutError)


def test_s49_batches_do_not_wait_to_fill(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", range(5))
    batches = subscription.batches(3)
    assert [next(batches).payloads, next(batches).payloads] == [[0, 1, 2], [3, 4]]


def test_s50_bare_payloads(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", "xyz")
    bare = subscription.payloads()
    assert [next(bare) for _ in range(3)] == ["x", "y", "z"]


def test_s51_each_event_goes_to_one_of_several_receivers():
    fabric = cf.Fabric("several")
    subscription = fabric.subscribe("a", capacity=10_000)
    seen: list[list[int]] = [[], [], []]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(subscription.payloads())) for mine in seen]
    for thread in threads:
        thread.start()
    fabric.publish_many("a", range(5000))
    until(lambda: subscription.pending == 0)
    fabric.close()
    for thread in threads:
        thread.join(20)
    assert sorted(number for mine in seen for number in mine) == list(range(5000))
    assert all(mine == sorted(mine) for mine in seen)


def test_s52_a_paused_subscription_buffers_under_its_policy(fabric):
    subscription = fabric.subscribe("a", capacity=3)
    fabric.publish("a", 0)
    subscription.pause()
    assert subscription.poll() is None
    fabric.publish_many("a", range(1, 5))
    assert (subscription.pending, subscription.paused) == (3, True)
    subscription.resume()
    assert payloads(subscription) == [2, 3, 4]
    assert subscription.books().dropped == {"overflow": 2}


@pytest.mark.parametrize("closes", ["subscription", "fabric"])
def test_s53_iterating_ends_when_it_closes(clock, closes):
    fabric = cf.Fabric("ends", clock=clock)
    subscription = fabric.subscribe("a")
    seen: list[int] = []
    receiver = threading.Thread(target=lambda: seen.extend(subscription.payloads()))
    receiver.start()
    fabric.publish_many("a", range(3))
    until(lambda: len(seen) == 3)
    (subscription if closes == "subscription" else fabric).close()
    receiver.join(20)
    assert not receiver.is_alive()
    assert seen == [0, 1, 2]
    fabric.close()


# Closing


def test_s54_leaving_counts_what_waits_as_unsubscribed(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", range(3))
    subscription.close()
    fabric.publish("a", 4)
    assert subscription.books().dropped == {"unsubscribed": 3}
    assert subscription.books().offered == 3


def test_s55_s56_closing_drains_and_says_what_was_left(clock):
    fabric = cf.Fabric("closing", clock=clock)
    handled = []
    fabric.on("a", name="handler")(lambda event: handled.append(event.payload))
    nobody = fabric.subscribe("a", name="nobody")
    with fabric:
        fabric.publish_many("a", range(500))
    assert handled == list(range(500))
    assert nobody.books().dropped == {"closed": 500}
    assert fabric.close() == {"nobody": 500}
    assert fabric.close() == {"nobody": 500}
    assert nobody.books().balanced
    assert cf.Fabric.close.__defaults__ == (5.0,)


def test_s57_after_closing_everything_raises_closed_error(clock):
    fabric = cf.Fabric("closed", clock=clock)
    subscription, publisher = fabric.subscribe("a"), fabric.publisher("a")
    fabric.close()
    calls: list[Callable[[], object]] = [
        lambda: fabric.publish("a", 1),
        lambda: fabric.publish_many("a", [1]),
        lambda: publisher.publish(1),
        lambda: publisher.publish_many([1]),
        lambda: fabric.publisher("b"),
        lambda: fabric.subscribe("a"),
        lambda: fabric.guard("g", on="a", when="value > 1"),
        fabric.start,
        subscription.receive,
        subscription.poll,
        lambda: asyncio.run(subscription.receive_async()),
        lambda: asyncio.run(publisher.publish_async(1)),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(cf.ClosedError):
            pytest.fail(f"call {number} gave {call()}")
    assert list(subscription) == []


def test_s58_closing_wakes_everybody_who_waits(clock):
    fabric = cf.Fabric("wakes", clock=clock)
    subscription = fabric.subscribe("a")
    full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="1 h")
    fabric.publish("full", 1)
    ends = []

    def ending(wait):
        try:
            ends.append(wait())
        except cf.ClosedError:
            ends.append("closed")

    waits = [subscription.receive, lambda: fabric.publish("full", 2), lambda: list(subscription.batches(2))]
    threads = [threading.Thread(target=ending, args=(wait,)) for wait in waits]
    for thread in threads:
        thread.start()
    until(lambda: waiting() >= len(waits))
    fabric.close(drain=0)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(map(str, ends)) == ["[]", "closed", "closed"]
    assert full.books().dropped == {"closed": 2}


def test_s59_a_subscription_that_nobody_refers_to_is_closed(fabric):
    subscription = fabric.subscribe("a", name="forgotten")
    iterator = iter(subscription)
    del subscription
    assert [each["name"] for each in fabric.core.subscriptions()] == ["forgotten"]
    del iterator
    assert fabric.core.subscriptions() == []


# Threads


def test_s60_handlers_run_one_at_a_time_in_one_thread(clock):
    fabric = cf.Fabric("handlers", clock=clock)
    threads, running, overlaps = set(), [], []

    def handler(event):
        running.append(event)
        threads.add(threading.get_ident())
        if len(running) > 1:
            overlaps.append(event)
        running.pop()

    fabric.on("a")(handler)
    fabric.on("b")(handler)
    fabric.publish("a", 1)
    assert threads == set()
    with fabric:
        fabric.publish_many("a", range(200))
        fabric.publish_many("b", range(200))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert overlaps == []
    assert [each["calls"] for each in fabric.report().handlers] == [201, 200]


def test_s61_a_handler_that_raises_is_counted_and_goes_on(clock, caplog):
    fabric = cf.Fabric("raises", clock=clock)
    stopped = []

    @fabric.on("a")
    def raises(event):
        raise ValueError(event.payload)

    @fabric.on("b", on_error="stop")
    def stops(event):
        raise ValueError("last")

    with fabric:
        fabric.publish_many("a", range(3))
        fabric.publish("b", 1)
        fabric.run("1 h")
        stopped.append(True)
    assert stopped
    first, second = fabric.report().handlers
    assert (first["calls"], first["errors"], first["error"]) == (3, 3, "ValueError: 2")
    assert (second["errors"], second["error"]) == (1, "ValueError: last")
    assert len([record for record in caplog.records if record.exc_info]) == 4


@pytest.mark.parametrize("entered", ["with", "async with"])
def test_s62_coroutine_handlers_run_on_the_loop_that_entered(clock, entered):
    fabric = cf.Fabric("coroutines", clock=clock)
    seen: list[int] = []
    threads: dict[str, int] = {}
    fabric.on("a")(lambda event: threads.setdefault("function", threading.get_ident()))

    @fabric.on("a")
    async def handler(event):
        await asyncio.sleep(0)
        threads["coroutine"] = threading.get_ident()
        seen.append(event.payload)

    async def main():
        async with fabric:
            fabric.publish_many("a", range(100))

    if entered == "with":
        with fabric:
            fabric.publish_many("a", range(100))
        assert threads["coroutine"] == threads["function"] != threading.get_ident()
    else:
        asyncio.run(main())
        assert threads["coroutine"] == threading.get_ident() != threads["function"]
    assert seen == list(range(100))


def test_s63_s64_guards_and_their_native_actions_run_in_the_publishing_thread(fabric):
    flag = cf.Flag()
    fired = fabric.subscribe("fired")
    guarded = fabric.subscribe("a")
    fabric.guard("g", on="a", when="value > 1", do=flag, publish="fired")
    fabric.publish("a", 2)
    # Nothing else had time to run: all of it was done when publish returned.
    assert flag.is_set()
    assert fired.poll().payload["guard"] == "g"
    assert guarded.poll().payload == 2


def test_s65_python_actions_run_in_the_handler_thread(clock):
    threads = []
    with cf.Fabric("action", clock=clock) as fabric:
        fabric.on("a")(lambda event: threads.append(threading.get_ident()))
        fabric.guard("g", on="a", when="value > 1", do=lambda event: threads.append(threading.get_ident()))
        fabric.publish("a", 2)
    assert len(threads) == 2
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_s66_a_forked_child_gets_forked_error():
    run_script("""
fabric = cf.Fabric("parent"); subscription = fabric.subscribe("a"); publisher = fabric.publisher("a")
child = os.fork()
if child == 0:
    for call in (lambda: fabric.publish("a", 1), subscription.receive, lambda: publisher.publish(1), subscription.books,
                 lambda: fabric.subscribe("b"), fabric.report, fabric.close):
        try: call()
        except cf.ForkedError: continue
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""")


# Asynchronous names


def test_s67_asynchronous_twins(clock):
    async def main():
        async with cf.Fabric("twins", clock=clock) as fabric:
            subscription = fabric.subscribe("a")
            await fabric.publish_async("a", 1)
            await fabric.publisher("a").publish_async(2)
            assert (await subscription.receive_async()).payload == 1
            async for event in subscription:
                assert event.payload == 2
                break
            await fabric.publish_async("a", 3)
            async for batch in subscription.batches_async(5):
                assert batch.payloads == [3]
                break

    asyncio.run(main())


def test_s68_publish_async_waits_while_other_tasks_run(fabric):
    subscription = fabric.subscribe("a", capacity=1, overflow="block", block_timeout="1 h")
    order = []

    async def publish():
        for number in range(20):
            await fabric.publish_async("a", number)
        order.append("published")

    async def receive():
        seen = [(await subscription.receive_async()).payload for _ in range(20)]
        order.append("received")
        return seen

    async def main():
        _, seen = await asyncio.gather(publish(), receive())
        return seen

    assert asyncio.run(asyncio.wait_for(main(), 20)) == list(range(20))
    assert sorted(order) == ["published", "received"]


def test_s69_an_asynchronous_iteration_lets_others_run(fabric):
    subscription = fabric.subscribe("a", capacity=1000)
    fabric.publish_many("a", range(1000))

    async def main():
        handed_out, gaps, since = 0, [], 0

        async def other():
            nonlocal since
            while handed_out < 1000:
                gaps.append(since)
                since = 0
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async for _ in subscription:
            handed_out += 1
            since += 1
            if handed_out == 1000:
                break
        await task
        return gaps

    gaps = asyncio.run(main())
    assert max(gaps) <= 64
    assert len(gaps) >= 1000 // 64


def test_s70_one_wake_up_serves_a_batch(fabric):
    from chronofabric._core.bus import Wakeups

    subscription = fabric.subscribe("a")
    wakeups = Wakeups(fabric.core)
    wakeups.watch(subscription, 7)
    fabric.publish_many("a", range(500))
    assert wakeups.take() == [7]
    assert wakeups.take() == []
    assert len(subscription.poll_batch(500)) == 500
    wakeups.watch(subscription, 8)
    assert wakeups.take() == []
    fabric.publish("a", 1)
    assert wakeups.take() == [8]


# Guards


def test_s71_a_guard_takes_part_at_once(clock):
    fabric = cf.Fabric("not entered", clock=clock)
    guard = fabric.guard("g", on="a", when="value > 1")
    fabric.publish("a", 2)
    assert guard.fired == 1
    fabric.close()


@pytest.mark.parametrize(("option", "fires_at"), [("when", [2, 5]), ("must", [3])])
def test_s72_a_guard_fires_once_when_its_verdict_turns(fabric, option, fires_at):
    fired = fabric.subscribe("guard/g")
    fabric.guard("g", on="a", **{option: "value > 1"})
    for time, value in enumerate([0, 0, 2, 0, 0, 2, 2, 2] if option == "when" else [2, 2, 2, 0, 0, 0]):
        fabric.publish("a", value, time=time)
    assert [payload["time"] for payload in payloads(fired)] == fires_at


@pytest.mark.parametrize(("hysteresis", "fired"), [(None, 3), (1.5, 2)])
def test_s73_it_is_armed_again_past_the_hysteresis(fabric, hysteresis, fired):
    options = {} if hysteresis is None else {"hysteresis": hysteresis}
    guard = fabric.guard("g", on="a", when="value > 10", **options)
    fabric.publish_many("a", [11, 9.5, 11, 8, 11])
    assert guard.fired == fired


def test_s74_firings_and_margins_are_published(fabric):
    everything = fabric.subscribe("guard/**")
    fabric.guard("g", on="a", when="value > 1", robustness=True)
    fabric.publish_many("a", [0.0, 3.0])
    found = [(event.topic, event.payload) for event in everything.poll_batch(9)]
    assert [topic for topic, _ in found] == ["guard/g/robustness", "guard/g", "guard/g/robustness"]
    assert [payload["value"] for topic, payload in found if topic != "guard/g"] == [-1.0, 2.0]
    assert found[1][1] == {"guard": "g", "topic": "a", "robustness": 2.0, "time": START_NS}


def test_s75_a_window_not_yet_covered_gives_no_verdict(fabric):
    margins = fabric.subscribe("guard/g/robustness")
    fabric.guard("g", on="a", when="historically[0, 10 ns](value > 1)", robustness=True)
    for time in (0, 5, 9):
        fabric.publish("a", 5, time=time)
    assert payloads(margins) == []
    fabric.publish("a", 5, time=10)
    assert [payload["value"] for payload in payloads(margins)] == [4.0]


def test_s76_guards_answer_the_same_at_any_speed():
    def fired_at(step):
        clock = cf.SimulatedClock(start=0)
        with cf.Fabric("speed", clock=clock) as fabric:
            fired = fabric.subscribe("guard/g")
            fabric.guard("g", on="a", when="historically[0, 1 s](value > 1)")
            for number in range(100):
                fabric.publish("a", 0 if number % 30 == 0 else 2, time=number * 100_000_000)
                clock.advance(step)
            return [payload["time"] for payload in payloads(fired)]

    assert fired_at("100 ms") == fired_at("1 ns") == fired_at("1 h") == [1_100_000_000, 4_100_000_000, 7_100_000_000]


def test_s77_a_bare_number_is_the_field_value_and_what_lacks_a_field_is_counted(fabric):
    subscription = fabric.subscribe("a")
    guard = fabric.guard("g", on="a", when="value > 1")
    fabric.publish_many("a", [2, {"value": 0}, {"other": 5}, "text", pa.table({"value": [1]}), {"value": 2}])
    assert guard.fired == 2
    assert guard.report()["errors"] == 3
    assert subscription.books().offered == 6


def test_s78_each_topic_of_a_pattern_is_judged_by_itself(fabric):
    fired = fabric.subscribe("guard/g")
    fabric.guard("g", on="plant/*", when="value > 1")
    for number in range(3):
        fabric.publish(f"plant/{number}", 2)
        fabric.publish(f"plant/{number}", 3)
    assert [payload["topic"] for payload in payloads(fired)] == ["plant/0", "plant/1", "plant/2"]
