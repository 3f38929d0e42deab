"""Subscriptions and the filters of what they get."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from chronofabric.bus import Subscription
from chronofabric.duration import bucket, nanoseconds
from chronofabric.errors import ArgumentError
from chronofabric.fabric.checks import checked_text, only
from chronofabric.fabric.counts import checked_count

if TYPE_CHECKING:
    from chronofabric._core import bus as _bus
    from chronofabric.bus import Event, Pattern
    from chronofabric.duration import Duration, Rate
    from chronofabric.logic import Formula

__all__ = ["FILTERS", "Subscribing"]

FILTERS = frozenset({"where", "sample", "rate_limit", "throttle", "debounce"})
"""The options of a subscription that are filters."""


class Subscribing:
    """The part of a fabric that subscribes."""

    _core: _bus.Bus
    _subscription_type: type[Subscription] = Subscription

    def subscribe(
        self,
        pattern: str | Pattern | Iterable[str | Pattern],
        *,
        name: str = "",
        capacity: int = 1024,
        capacity_bytes: int | None = None,
        overflow: str = "drop-oldest",
        block_timeout: Duration = "1 s",
        dead_letters_max: int = 1024,
        order: str = "publisher",
        history: int = 1,
        group: str | None = None,
        late: str = "deliver",
        scope: str = "local",
        where: str | Formula | Callable[[Event], object] | None = None,
        sample: int | None = None,
        rate_limit: Rate | None = None,
        throttle: Duration | None = None,
        debounce: Duration | None = None,
    ) -> Subscription:
        """Receive the events of a set of topics.

        Filters choose among these, each among what those before it let pass. They judge each topic by itself, by the
        time of its events; what they turn away takes no room and is counted as filtered.

        Parameters
        ----------
        pattern
            Topics; ``*`` is exactly one segment, ``**`` zero or more; `regex` for anything else; several in a list.
        name
            Its name in reports; by default the pattern.
        capacity
            How many events may wait, for each priority; with ``order="deadline"`` over all priorities.
        capacity_bytes
            How many bytes of payload may wait, over all priorities.
        overflow
            What happens when it is full: ``"drop-oldest"``, ``"drop-newest"``, ``"dead-letter"`` or ``"block"``.
        block_timeout
            How long a publisher waits under ``"block"``.
        dead_letters_max
            How many dead letters are kept.
        order
            ``"publisher"``: order holds per publisher and priority, and the most urgent comes first. ``"causal"``: no
            event comes before one that could have caused it, whatever their topics and priorities. ``"deadline"``: the
            earliest deadline first, then the most urgent priority, then the oldest; what has no deadline comes last.
            Other orders are not in this version.
        history
            How many of the events that a topic keeps it gets first, of each topic: the last value by default; 0 for
            none.
        group
            Share one subscription, and its events, with all others of this name: each event goes to one of them. They
            give the same pattern and options.
        late
            What becomes of an event whose deadline has passed when its turn comes. ``"deliver"``: nobody looks.
            ``"mark"``: it is received, and its ``late_ns`` says how late. ``"dead-letter"``: it goes to the dead
            letters, with the reason ``late``. Events without a deadline are never late.
        scope
            ``"local"``: this process. Other scopes are not in this version.
        where
            A formula over the fields of the payload, such as ``"value > 50 and unit_ok == 1"``; of a `Table` it keeps
            the rows at which it holds. An event that has not the fields does not match, and is counted in
            ``filter_errors``. Or a callable of one event, which is called last of all, by the receiver.
        sample
            Of each topic only the first event and each so many after it.
        rate_limit
            At most so many events of a topic, such as ``"10/s"``: a bucket holds as many (here 10), and fills so fast.
        throttle
            After an event of a topic none for so long.
        debounce
            Only the last event of a topic, when there was no other for so long.

        Raises
        ------
        PatternError
            The pattern is none; the message has a caret under the place.
        FormulaError
            The formula is none, or looks into the past, as only guards can.
        ArgumentError
            Another argument has a value that cannot be used.
        UnsupportedError
            The order or scope is not in this version.
        """
        only("order", order, ("publisher", "causal", "deadline"), ("total",))
        only("late", late, ("deliver", "mark", "dead-letter"), ())
        only("scope", scope, ("local",), ("host", "network", "global"))
        checked_text("name", name, empty=True)
        if group is not None:
            checked_text("group", group, empty=False)
        if isinstance(pattern, Iterable) and not isinstance(pattern, (str, list, tuple)):
            pattern = list(pattern)
        return self._subscription_type(
            self._core,
            pattern,
            name=name,
            capacity=checked_count("capacity", capacity, 1),
            capacity_bytes=None if capacity_bytes is None else checked_count("capacity_bytes", capacity_bytes, 1),
            overflow=overflow,
            block_timeout_ns=nanoseconds(block_timeout, argument="block_timeout"),
            dead_letters_max=checked_count("dead_letters_max", dead_letters_max, 1),
            order=order,
            history=checked_count("history", history, 0),
            group=group,
            late=late,
            **_filters(order, where, sample, rate_limit, throttle, debounce),
        )


def _filters(
    order: str,
    where: str | Formula | Callable[[Event], object] | None,
    sample: int | None,
    rate_limit: Rate | None,
    throttle: Duration | None,
    debounce: Duration | None,
) -> dict[str, Any]:
    """The filters of a subscription as the bus takes them."""
    if debounce is not None and order == "causal":
        hint = "leave out one of the two, or use throttle"
        text = f"debounce keeps events back, which order='causal' does not allow; {hint}"
        raise ArgumentError(text, argument="debounce", value=debounce, hint=hint)
    return {
        "condition": where,
        "sample": None if sample is None else checked_count("sample", sample, 1),
        "rate_limit": None if rate_limit is None else bucket(rate_limit, argument="rate_limit"),
        "throttle_ns": None if throttle is None else nanoseconds(throttle, argument="throttle", positive=True),
        "debounce_ns": None if debounce is None else nanoseconds(debounce, argument="debounce", positive=True),
    }
