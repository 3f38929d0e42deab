"""Members of a group have one subscription together: what that means for the collector, and for who has left."""

from __future__ import annotations

import gc

import pytest

import chronofabric as cf


@pytest.fixture
def fabric():
    with cf.Fabric("groups", clock=cf.SimulatedClock()) as made:
        yield made


def two_members(fabric, **options):
    return [fabric.subscribe("jobs", group="workers", capacity=1, **options) for _ in range(2)]


def test_the_collector_leaves_a_payload_alone_that_members_in_cycles_hold_and_somebody_else_too(fabric):
    payload = ["kept"]
    members = two_members(fabric, overflow="dead-letter")
    fabric.publish_many("jobs", iter([0, payload]))
    for member in members:
        member.itself = member
    del members, member
    gc.collect()
    assert payload == ["kept"]
    assert fabric.report().subscriptions == ()


def test_the_collector_sees_what_the_last_member_holds(fabric):
    gone = []

    class Payload:
        subscription: cf.Subscription

        def __del__(self):
            gone.append("payload")

    first, second = two_members(fabric)
    payload = Payload()
    payload.subscription = first
    fabric.publish("jobs", payload)
    del payload, first
    gc.collect()
    assert gone == []  # the other member can still receive it
    del second
    gc.collect()
    assert gone == ["payload"]
    assert fabric.report().subscriptions == ()


@pytest.mark.parametrize("closing", ["fabric", "members"])
def test_a_member_that_goes_after_the_end_leaves_the_dead_letters_to_the_others(fabric, closing):
    first, second = two_members(fabric, overflow="dead-letter")
    fabric.publish_many("jobs", [1, 2])
    if closing == "fabric":
        fabric.close(drain=0)
    else:
        first.close()
        second.close()
    del first
    assert [letter.event.payload for letter in second.dead_letters] == [2]


def test_a_member_that_has_left_is_not_who_received_last(fabric):
    left, _staying = two_members(fabric, overflow="block", block_timeout=0)
    left.close()
    fabric.publish("jobs", 1)
    assert list(left.poll_batch(1)) == []
    assert list(left.batches(1)) == []
    with pytest.raises(cf.PublishTimeout):
        fabric.publish("jobs", 2)
