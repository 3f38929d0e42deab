"""What a test expects of the events of a pattern.

Every assertion raises an `AssertionError` that says what was expected, what came, and what the node carried at that
time. None of them passes because nothing came, save those that expect nothing. pytest shows the line of the test, not
those in here, because of ``__tracebackhide__``.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from chronofabric._core import bus as _bus
from chronofabric.bus import Event, Pattern
from chronofabric.duration import nanoseconds
from chronofabric.errors import ArgumentError, SimulationError
from chronofabric.fabric.counts import checked_count
from chronofabric.testing.timeline import Recording, lines, seconds

if TYPE_CHECKING:
    from chronofabric.duration import Duration

__all__ = ["Expectation", "Reference"]

Reference: TypeAlias = "str | Event | Expectation"
"""One or several events: ``"topic[index]"``, an event, or all that another expectation saw."""

_REFERENCE = re.compile(r"(.+)\[(-?[0-9]{1,9})\]")


class Expectation:
    """The events of a pattern since it was made, and what is asserted of them. Made by `SimulatedFabric.expect`.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.testing.Simulation() as simulation:
    ...     node = simulation.fabric()
    ...     readings = node.expect("plant/**")
    ...     node.script("plant/7/temperature", [(0, 20.5), (1, 21.0)])
    ...     simulation.advance("2 s")
    ...     readings.assert_payloads([20.5, 21.0])
    ...     try:
    ...         readings.assert_count(3)
    ...     except AssertionError as failure:
    ...         print(failure)
    expected 3 events on 'plant/**', and there were 2
    what the node carried:
      > 0 s  plant/7/temperature  20.5
      > 1 s  plant/7/temperature  21.0
    """

    def __init__(self, recording: Recording, node: Recording, start_ns: int) -> None:
        self._recording = recording
        self._node = node
        self._start_ns = start_ns
        self._pattern = recording.pattern

    def __repr__(self) -> str:
        return f"Expectation('{self._pattern}', count={self.count})"

    # What was seen

    @property
    def count(self) -> int:
        """How many events there were."""
        return self._recording.count

    @property
    def events(self) -> list[Event]:
        """The events, in the order in which they were published; the newest where there were more than are kept."""
        return list(self._recording.events)

    @property
    def payloads(self) -> list[Any]:
        """Their payloads."""
        return [event.payload for event in self._recording.events]

    # What is asserted

    def assert_count(
        self, count: int | None = None, *, at_least: int | None = None, at_most: int | None = None
    ) -> None:
        """Assert how many events there were.

        Parameters
        ----------
        count
            So many.
        at_least, at_most
            Or not fewer, or not more, or both.
        """
        __tracebackhide__ = True
        bounds = {"count": count, "at_least": at_least, "at_most": at_most}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        if not given or (count is not None and len(given) > 1):
            hint = "give either a count, or at_least= or at_most= or both"
            raise ArgumentError(f"{given or 'nothing'} was given; {hint}", argument="count", value=count, hint=hint)
        for name, bound in given.items():
            checked_count(name, bound, 0)
        least, most = (count, count) if count is not None else (at_least, at_most)
        seen = self.count
        if (least is None or seen >= least) and (most is None or seen <= most):
            return
        words = " and ".join(f"{name.replace('_', ' ')} {bound}" for name, bound in given.items() if name != "count")
        noun = "event" if words.endswith(" 1") or count == 1 else "events"
        self._fail(f"expected {words or count} {noun} on '{self._pattern}', and there {_number(seen)}")

    def assert_none(self) -> None:
        """Assert that there was no event."""
        __tracebackhide__ = True
        self.assert_count(0)

    def assert_payloads(self, payloads: Iterable[object]) -> None:
        """Assert the payloads of all events, in the order in which they were published.

        Parameters
        ----------
        payloads
            What they are to be equal to.
        """
        __tracebackhide__ = True
        expected = list(payloads)
        seen = [event.payload for event in self._all()]
        for index, (one, other) in enumerate(zip(seen, expected, strict=False)):
            if one != other:
                self._fail(f"payload {index} on '{self._pattern}' is {one!r}; expected {other!r}")
        if len(seen) != len(expected):
            self._fail(f"expected {len(expected)} payloads on '{self._pattern}', and there {_number(len(seen))}")

    def assert_order(self, *steps: str | Callable[[Event], object]) -> None:
        """Assert that events came in an order; others may have come between them.

        Parameters
        ----------
        *steps
            A topic or pattern, or a function of an event that says whether it is the one.
        """
        __tracebackhide__ = True
        if not steps:
            hint = "give topics, patterns or functions of an event"
            raise ArgumentError(f"no step was given; {hint}", argument="steps", value=steps, hint=hint)
        tests = [_step(step) for step in steps]
        found, events = 0, iter(self._all())
        for event in events:
            if tests[found](event) and (found := found + 1) == len(tests):
                return
        missing = steps[found]
        what = f"'{missing}'" if isinstance(missing, str) else getattr(missing, "__qualname__", repr(missing))
        behind = f"behind the {found} before it" if found else "at all"
        self._fail(f"expected an order of {len(steps)} events on '{self._pattern}'; {what} did not come {behind}")

    def assert_within(self, duration: Duration, *, after: Reference) -> None:
        """Assert that events came soon enough after others.

        Parameters
        ----------
        duration
            How soon, such as ``"5 ms"``.
        after
            An event, ``"topic[2]"`` for the third event that the node carried on a topic, or another expectation: each
            of these must be followed by an event here, that soon. Or ``"topic[-1]"``: each event here must have come
            that soon after the last one on that topic before it; ``[-2]`` is the last but one.

        Raises
        ------
        ArgumentError
            The reference is none, or the node carried nothing on that topic.
        SimulationError
            The event it refers to is not kept any more.
        """
        __tracebackhide__ = True
        limit_ns = nanoseconds(duration)
        reference = _REFERENCE.fullmatch(after) if isinstance(after, str) else None
        if reference is not None and int(reference[2]) < 0:
            self._assert_recent(limit_ns, str(after), self._on_topic(reference[1], str(after)), int(reference[2]))
            return
        if reference is not None:
            causes = [self._at(reference[1], int(reference[2]), str(after))]
        elif isinstance(after, Expectation):
            causes = after._all()
        elif isinstance(after, Event):
            causes = [after]
        else:
            hint = "give 'topic[index]' such as 'plant/7/temperature[-1]', an event, or another expectation"
            raise ArgumentError(f"after is {after!r}; {hint}", argument="after", value=after, hint=hint)
        if not causes:
            self._fail(f"expected events on '{self._pattern}' after those of {after!r}, which saw none")
        events = self._all()
        stamps = [event.stamp for event in events]
        for cause in causes:
            place = bisect_right(stamps, cause.stamp)
            what = f"within {seconds(limit_ns)} after {self._named(cause)}"
            if place == len(events):
                self._fail(f"expected an event on '{self._pattern}' {what}, and none came")
            late_ns = events[place].time - cause.time
            if late_ns > limit_ns:
                self._fail(f"expected an event on '{self._pattern}' {what}, and it came {seconds(late_ns)} after it")

    def assert_between(self, earliest: Duration, latest: Duration) -> None:
        """Assert that there were events, and all of them between two instants.

        Parameters
        ----------
        earliest, latest
            Since the start of the simulation; an event at either is between them.
        """
        __tracebackhide__ = True
        from_ns, to_ns = (
            nanoseconds(bound, argument=name) for name, bound in (("earliest", earliest), ("latest", latest))
        )
        what = f"between {seconds(from_ns)} and {seconds(to_ns)}"
        events = self._all()
        if not events:
            self._fail(f"expected events on '{self._pattern}' {what}, and there were none")
        for event in events:
            if not from_ns <= event.time - self._start_ns <= to_ns:
                self._fail(f"expected events on '{self._pattern}' {what}, and one was {self._named(event)}")

    # How

    def _assert_recent(self, limit_ns: int, name: str, causes: list[Event], index: int) -> None:
        """Assert that each event came soon after the last one, or the last but one, of those that are before it."""
        __tracebackhide__ = True
        events = self._all()
        if not events:
            self._fail(f"expected events on '{self._pattern}' within {seconds(limit_ns)} after {name}; there were none")
        stamps = [cause.stamp for cause in causes]
        for event in events:
            place = bisect_left(stamps, event.stamp) + index
            if place < 0:
                self._refuse_forgotten(name)
                self._fail(f"{self._named(event)} came before there was a {name}")
            late_ns = event.time - causes[place].time
            if late_ns > limit_ns:
                text = (
                    f"{self._named(event)} came {seconds(late_ns)} after {name}, which is {self._named(causes[place])}"
                )
                self._fail(f"{text}; expected within {seconds(limit_ns)}")

    def _all(self) -> list[Event]:
        """The events, where all are kept."""
        events = self._recording.events
        if missing := self._recording.missing:
            raise SimulationError(
                f"expect('{self._pattern}') has only {len(events)} of {len(events) + missing} events left; "
                "give it a larger events_max=, or a narrower pattern"
            )
        return events

    def _on_topic(self, topic: str, name: str) -> list[Event]:
        """The events that the node carried on a topic, as far as they are kept."""
        _bus.validate_topic(topic)
        events = self._node.events
        found = [event for event in events if event.topic == topic]
        if not found:
            self._refuse_forgotten(name)
            topics = sorted({event.topic for event in events})
            near = difflib.get_close_matches(topic, topics, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it carried events on {', '.join(topics[:10]) or 'none'}"
            text = f"after is {name!r}, and the node carried no event on '{topic}'; {hint}"
            raise ArgumentError(text, argument="after", value=name, hint=hint)
        return found

    def _at(self, topic: str, index: int, name: str) -> Event:
        found = self._on_topic(topic, name)
        self._refuse_forgotten(name)
        if index >= len(found):
            self._fail(f"expected events on '{self._pattern}' after {name}, and '{topic}' had only {len(found)}")
        return found[index]

    def _refuse_forgotten(self, name: str) -> None:
        if missing := self._node.missing:
            raise SimulationError(
                f"{name} cannot be found: the node has forgotten {missing} of its events; give simulation.fabric() a "
                "larger events_max=, or refer to an event of an expectation"
            )

    def _named(self, event: Event) -> str:
        return f"'{event.topic}' at {seconds(event.time - self._start_ns)}"

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        seen = self._recording.events
        carried = self._node.events
        shown = lines(carried, self._start_ns, {event.stamp for event in seen})
        raise AssertionError(f"{what}\nwhat the node carried:\n{shown}")


def _number(count: int) -> str:
    return {0: "was none", 1: "was 1"}.get(count, f"were {count}")


def _step(step: object) -> Callable[[Event], object]:
    if isinstance(step, str):
        pattern = Pattern(step)
        return lambda event: pattern.matches(event.topic)
    if callable(step):
        return step
    hint = "give a topic, a pattern, or a function of an event"
    raise ArgumentError(f"step is {step!r}; {hint}", argument="steps", value=step, hint=hint)
