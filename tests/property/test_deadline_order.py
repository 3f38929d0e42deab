"""Order by deadline, and late events, beside a sorted list; in any order of steps, on simulated time."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

import chronofabric as cf

MS = 1_000_000


class Waiting(NamedTuple):
    """An event as a list sorts it."""

    open: bool
    deadline: int
    rank: int
    number: int

    def late_ns(self, now: int) -> int:
        return 0 if self.open else max(0, now - self.deadline)


publishes = st.tuples(st.just("publish"), st.none() | st.integers(0, 9), st.integers(0, 3))
batches = st.tuples(st.just("batch"), st.none() | st.integers(0, 9), st.integers(0, 3))
takes = st.tuples(st.just("take"), st.integers(1, 4), st.booleans())
advances = st.tuples(st.just("advance"), st.integers(1, 5), st.none())
steps = st.lists(publishes | batches | takes | advances, max_size=60)


@given(steps, st.integers(1, 8), st.sampled_from(["deliver", "mark", "dead-letter"]), st.booleans())
def test_what_is_received_is_a_sorted_list(steps: list[Any], capacity: int, late: str, paused: bool) -> None:
    clock = cf.SimulatedClock()
    with cf.Fabric("deadlines", clock=clock) as fabric:
        subscription = fabric.subscribe("a", order="deadline", capacity=capacity, late=late, dead_letters_max=3)
        waiting: list[Waiting] = []
        dead: list[tuple[int, int]] = []
        numbers = dropped = missed = 0
        for kind, first, second in steps:
            now = clock.now()
            if kind == "advance":
                clock.advance(f"{first} ms")
            elif kind in ("publish", "batch"):
                deadline = None if first is None else f"{first} ms"
                payloads = list(range(numbers, numbers + (1 if kind == "publish" else 3)))
                numbers += len(payloads)
                fabric.publish_many("a", payloads, deadline=deadline, priority=second)
                for number in payloads:
                    new = Waiting(first is None, 0 if first is None else now + first * MS, 3 - second, number)
                    waiting.append(new)
                    if len(waiting) > capacity:
                        least = max(each[:3] for each in waiting)
                        waiting.remove(min(each for each in waiting if each[:3] == least))
                        dropped += 1
                waiting.sort()
            else:
                if paused:
                    subscription.pause()
                    assert subscription.poll() is None
                    subscription.resume()
                expected: list[tuple[int, int | None]] = []
                while waiting and len(expected) < first:
                    head = waiting.pop(0)
                    late_ns = head.late_ns(now) if late != "deliver" else 0
                    missed += late_ns > 0
                    if late == "dead-letter" and late_ns:
                        if len(dead) < 3:
                            dead.append((head.number, late_ns))
                        continue
                    expected.append((head.number, late_ns or None))
                if second:
                    received = list(subscription.poll_batch(first))
                else:
                    received = [event for _ in expected if (event := subscription.poll()) is not None]
                    if len(expected) < first:
                        assert subscription.poll() is None
                assert [(event.payload, event.late_ns) for event in received] == expected
            assert [(letter.event.payload, letter.late_ns) for letter in subscription.dead_letters] == dead
            books = subscription.books()
            assert (books.balanced, books.offered, books.pending) == (True, numbers, len(waiting))
            assert (subscription.late, books.dropped.get("overflow", 0)) == (missed, dropped)
        subscription.close()
        assert subscription.books().dropped.get("unsubscribed", 0) == len(waiting)
        assert subscription.books().balanced
