"""The hybrid logical clock and its stamps."""

from __future__ import annotations

import copy
import pickle
import threading
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf

SECOND = 1_000_000_000
RESOLUTION_NS = 15_259
HERE, THERE = "0" * 31 + "1", "f" * 32


def clock_at(time_ns, node=HERE, **options):
    source = cf.SimulatedClock(start=time_ns)
    return source, cf.HybridLogicalClock(source, node=node, **options)


def stamp_at(time_ns, counter=0, node=THERE):
    """A stamp as it comes from elsewhere: units of 2^-16 s and the counter in one word, then the node."""
    units = time_ns * 128 // 1_953_125
    return cf.Stamp.decode(((units << 16) | counter).to_bytes(8, "big") + bytes.fromhex(node))


def test_stamps_within_one_unit_differ_by_the_counter():
    _, clock = clock_at(SECOND)
    stamps = [clock.now() for _ in range(3)]
    assert [(stamp.time, stamp.counter, stamp.node) for stamp in stamps] == [(SECOND, n, HERE) for n in range(3)]


def test_stamps_follow_their_source():
    source, clock = clock_at(SECOND)
    clock.now()
    source.advance("1 s")
    later = clock.now()
    assert (later.time, later.counter) == (2 * SECOND, 0)


def test_stamps_are_strictly_monotone_across_threads():
    clock = cf.HybridLogicalClock()
    each, threads_n = 2_000, 4
    taken: list[list[cf.Stamp]] = [[] for _ in range(threads_n)]
    start = threading.Barrier(threads_n)

    def take(mine):
        start.wait()
        for _ in range(each):
            mine.append(clock.now())

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(earlier < later for mine in taken for earlier, later in pairwise(mine))
    assert len({stamp for mine in taken for stamp in mine}) == each * threads_n
    assert clock.last == max(stamp for mine in taken for stamp in mine)


def test_more_stamps_than_the_counter_holds_carry_into_the_time():
    _, clock = clock_at(SECOND)
    stamps = [clock.now() for _ in range(65_537)]
    assert (stamps[65_535].time, stamps[65_535].counter) == (SECOND, 65_535)
    assert stamps[65_536].counter == 0
    assert SECOND < stamps[65_536].time <= SECOND + RESOLUTION_NS
    assert stamps[65_535] < stamps[65_536]


class TestReceive:
    """Kulkarni et al., "Logical Physical Clocks", figure 5: the three cases of a receipt."""

    def test_a_stamp_from_the_future_is_followed(self):
        _, clock = clock_at(SECOND)
        remote = stamp_at(SECOND + 100_000_000, counter=9)
        received = clock.receive(remote)
        assert (received.time, received.counter, received.node) == (remote.time, 10, HERE)
        assert clock.now() > received

    def test_a_stamp_from_the_past_only_counts_on(self):
        _, clock = clock_at(SECOND)
        before = clock.now()
        received = clock.receive(stamp_at(SECOND // 2, counter=500))
        assert (received.time, received.counter) == (SECOND, before.counter + 1)

    def test_the_larger_counter_of_one_time_counts_on(self):
        _, clock = clock_at(SECOND)
        clock.now()
        assert clock.receive(stamp_at(SECOND, counter=40)).counter == 41
        assert clock.receive(stamp_at(SECOND, counter=3)).counter == 42

    def test_where_physical_time_has_passed_both_it_wins(self):
        source, clock = clock_at(SECOND)
        clock.now()
        source.advance("1 s")
        received = clock.receive(stamp_at(SECOND + SECOND // 2, counter=40))
        assert (received.time, received.counter) == (2 * SECOND, 0)

    def test_a_receipt_is_after_what_was_received_and_what_was_issued(self):
        _, clock = clock_at(SECOND)
        for remote in (stamp_at(SECOND), stamp_at(SECOND + 1_000_000), stamp_at(0), stamp_at(SECOND + 400_000_000, 7)):
            before = clock.now()
            received = clock.receive(remote)
            assert received > remote
            assert received > before

    def test_a_stamp_too_far_ahead_is_refused_and_changes_nothing(self):
        _, clock = clock_at(SECOND)
        before = clock.now()
        with pytest.raises(cf.DriftError) as caught:
            clock.receive(stamp_at(2 * SECOND))
        assert caught.value.limit_ns == clock.max_drift_ns == 500_000_000
        assert caught.value.drift_ns == pytest.approx(SECOND, abs=RESOLUTION_NS)
        assert isinstance(caught.value, cf.ClockError)
        assert clock.last == before

    def test_how_far_ahead_is_the_clocks_option(self):
        _, clock = clock_at(SECOND, max_drift="2 s")
        assert clock.receive(stamp_at(2 * SECOND)).time == 2 * SECOND
        _, strict = clock_at(SECOND, max_drift="1 ms")
        with pytest.raises(cf.DriftError):
            strict.receive(stamp_at(SECOND + 2_000_000))

    @pytest.mark.parametrize("drift", [-1, "-1 s", "far"])
    def test_a_drift_that_is_none_is_refused(self, drift):
        with pytest.raises(cf.ArgumentError):
            cf.HybridLogicalClock(cf.SimulatedClock(), max_drift=drift)

    def test_what_is_no_stamp_is_refused(self):
        _, clock = clock_at(SECOND)
        with pytest.raises(TypeError):
            clock.receive(SECOND)


class TestNodeId:
    def test_it_is_random_unless_given(self):
        nodes = {cf.HybridLogicalClock().node for _ in range(8)}
        assert len(nodes) == 8
        assert all(len(bytes.fromhex(node)) == 16 for node in nodes)

    def test_a_given_one_is_kept(self):
        assert cf.HybridLogicalClock(node="AB" * 16).node == "ab" * 16

    @pytest.mark.parametrize("node", ["", "00", "zz" * 16, "0" * 33])
    def test_what_is_none_is_refused(self, node):
        with pytest.raises(cf.ArgumentError):
            cf.HybridLogicalClock(node=node)


class TestStamp:
    def test_time_comes_before_counter_before_node(self):
        ordered = [
            stamp_at(SECOND, 5, HERE),
            stamp_at(SECOND, 5, THERE),
            stamp_at(SECOND, 6, HERE),
            stamp_at(2 * SECOND, 0, HERE),
        ]
        backwards = ordered[::-1]
        assert sorted(backwards) == ordered
        assert ordered[0] < ordered[1] <= ordered[2] != ordered[3]

    def test_equal_stamps_are_one_in_a_set(self):
        assert {stamp_at(SECOND, 5), stamp_at(SECOND, 5), stamp_at(SECOND, 6)} == {
            stamp_at(SECOND, 5),
            stamp_at(SECOND, 6),
        }
        assert hash(stamp_at(SECOND, 5)) == hash(stamp_at(SECOND, 5))
        assert stamp_at(SECOND, 5) != (SECOND, 5)

    def test_a_stamp_cannot_be_compared_with_a_number(self):
        with pytest.raises(TypeError):
            assert stamp_at(SECOND) < SECOND

    @given(st.binary(min_size=24, max_size=24))
    def test_what_is_decoded_is_encoded_again(self, data):
        assert cf.Stamp.decode(data).encode() == data

    @given(st.binary(min_size=24, max_size=24), st.binary(min_size=24, max_size=24))
    def test_encoded_stamps_sort_as_stamps_do(self, first, second):
        assert (cf.Stamp.decode(first) < cf.Stamp.decode(second)) == (first < second)

    @pytest.mark.parametrize("size", [0, 8, 23, 25])
    def test_what_has_another_length_is_no_stamp(self, size):
        with pytest.raises(cf.ArgumentError, match="24"):
            cf.Stamp.decode(bytes(size))

    @given(st.integers(0, 2**32 * SECOND))
    def test_its_time_is_that_of_its_source_to_one_unit(self, time_ns):
        _, clock = clock_at(time_ns)
        assert 0 <= time_ns - clock.now().time < RESOLUTION_NS

    def test_as_a_datetime_it_is_in_utc_to_the_microsecond(self):
        assert stamp_at(1_386_018_900 * SECOND).to_datetime() == datetime(2013, 12, 2, 21, 15, tzinfo=UTC)

    def test_it_is_pickled_and_copied(self):
        stamp = stamp_at(SECOND, 5)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(stamp, protocol)) == stamp
        assert copy.deepcopy(stamp) == stamp

    def test_it_shows_what_it_is(self):
        assert repr(stamp_at(SECOND, 5, HERE)) == f"Stamp(time={SECOND}, counter=5, node='{HERE}')"

    def test_it_cannot_be_changed(self):
        with pytest.raises(AttributeError):
            stamp_at(SECOND).counter = 7


def test_the_stamps_of_a_node_are_those_of_its_clock():
    with cf.Fabric("plant", clock=cf.SimulatedClock(start=SECOND)) as fabric:
        events = fabric.subscribe("a")
        fabric.publish("a", 1)
        issued = fabric.stamps.now()
        event = events.poll()
        assert event is not None
        assert event.stamp.node == event.node == fabric.stamps.node
        assert event.stamp < issued
