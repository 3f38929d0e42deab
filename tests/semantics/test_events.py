"""Statements on topics, events, bounds, order, overflow and dead letters, by their numbers."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

import chronofabric as cf
from tests.semantics.helpers import START_NS, advancing, in_thread, payloads, until

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
    assert batch.payloads == tuple(range(100))
    assert {event.time for event in batch} == {START_NS}


def test_s13_a_batch_has_one_time_and_keeps_its_order_on_a_clock_that_moves():
    with cf.Fabric("moving") as fabric:
        one, other = fabric.subscribe("a"), fabric.subscribe("a")
        fabric.publish_many("a", list(range(100)))
        for subscription in (one, other):
            batch = subscription.poll_batch(100)
            assert batch.payloads == tuple(range(100))
            assert len({event.time for event in batch}) == 1


def test_s14_stamps_rise_strictly(fabric):
    subscription = fabric.subscribe("**", capacity=5000)
    for number in range(5000):
        fabric.publish(f"topic/{number % 3}", number)
    stamps = [event.stamp for event in subscription.poll_batch(5000)]
    assert all(one < other for one, other in itertools.pairwise(stamps))


def test_s14_the_stamps_of_a_batch_follow_one_another(fabric):
    subscription = fabric.subscribe("**")
    fabric.publish("b", 0)
    fabric.publish_many("a", list(range(100)))
    fabric.publish("b", 0)
    counters = [event.stamp.counter for event in subscription.poll_batch(102)]
    assert counters == list(range(counters[0], counters[0] + 102))


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


def test_s20_the_events_of_a_batch_are_counted_one_by_one(fabric):
    subscription = fabric.subscribe("a")
    fabric.publish_many("a", list(range(600)))
    fabric.publish_many("a", tuple(range(600, 1030)))
    assert (subscription.pending, subscription.books().dropped) == (1024, {"overflow": 6})
    assert payloads(subscription) == list(range(6, 1030))


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


@pytest.mark.parametrize("options", [{"order": "total"}, {"scope": "host"}], ids=str)
def test_s25_what_later_versions_build_is_refused(fabric, options):
    with pytest.raises(cf.UnsupportedError):
        fabric.subscribe("a", **options)
    fabric.subscribe("a", order="publisher", scope="local")
    fabric.subscribe("a", order="causal")
    fabric.subscribe("a", order="deadline")


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


def test_s33_each_event_of_a_batch_that_found_no_room_is_one_drop(fabric, clock):
    full = fabric.subscribe("a", capacity=2, overflow="block", block_timeout="10 ms")
    other = fabric.subscribe("a")
    with advancing(clock, "1 s"), pytest.raises(cf.PublishTimeout):
        fabric.publish_many("a", [1, 2, 3, 4, 5])
    assert full.books().dropped == {"timeout": 3}
    assert (payloads(full), payloads(other)) == ([1, 2], [1, 2, 3, 4, 5])


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
