"""Guarding the topics of a fabric."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chronofabric.duration import nanoseconds
from chronofabric.errors import GuardError
from chronofabric.fabric.guards import Do, Guard, GuardAction, guard_actions, make_guard

if TYPE_CHECKING:
    from chronofabric._core import bus as _bus
    from chronofabric.bus import Pattern
    from chronofabric.duration import Duration
    from chronofabric.fabric.handlers import Handler, Handlers
    from chronofabric.logic import Formula

__all__ = ["Guarding"]


class Guarding:
    """The part of a fabric that watches topics by formulas."""

    _core: _bus.Bus
    _lock: threading.RLock
    _handlers: Handlers
    _handler: Callable[..., Handler]
    _guards: dict[str, Guard]
    _guard_handlers: dict[str, Handler]

    def guard(
        self,
        name: str,
        *,
        on: str | Pattern | None = None,
        signals: Mapping[str, str] | None = None,
        when: str | Formula | None = None,
        must: str | Formula | None = None,
        do: Do | None = None,
        publish: str | None = None,
        action: GuardAction | None = None,
        deadline: Duration | None = None,
        hysteresis: float = 0.0,
        robustness: bool = False,
        max_samples: int = 65_536,
    ) -> Guard:
        """Watch topics by a formula, and act when its verdict changes.

        Every event of a guarded topic is evaluated before it is enqueued. The guard fires once when its verdict becomes
        true (`when`) or false (`must`), and is armed again when the verdict turns back past the hysteresis. Each firing
        is published on ``guard/<name>``. A window that is not yet covered gives no verdict.

        Parameters
        ----------
        name
            Its name, unique in the node; that of a guard that was taken away is free again.
        on
            The topics it judges, each by itself. A bare number is the field ``value``.
        signals
            Instead of `on`: for each name in the formula the topic, or ``topic#field``, that it comes from.
        when, must
            The formula, of which one is given.
        do
            A `Flag` or a `NativeFunction`, set or called at once in the publishing thread; or a callable, which is
            called with the guard's event in the handler thread.
        publish
            A further topic on which to publish each firing, at once.
        action
            ``"log"``, or a mapping with ``kind`` ``log``, ``publish``, ``command`` or ``python``, as in run files.
        deadline
            Actions that begin later than this after the event entered the node are counted as late. Where a callable
            is to be called sooner than the switch interval, that is warned of in the log, as in `on`; a flag or a C
            function waits for nobody.
        hysteresis
            How far the verdict must turn back before the guard is armed again, in units of the formula's margin.
        robustness
            Publish the margin of every verdict on ``guard/<name>/robustness``.
        max_samples
            How many samples one window may hold.

        Raises
        ------
        FormulaError, PatternError
            With a caret under the place.
        GuardError
            The name is taken, or signals and formula do not agree.
        """
        deadline_ns = None if deadline is None else nanoseconds(deadline, argument="deadline")
        native, call = guard_actions(name, do, publish, action)
        self._core.check()
        with self._lock:
            if name in self._guards and not self._guards[name].closed:
                raise GuardError(f"there is a guard '{name}' already; give this one another name", guard=name)
            # Before the guard watches, so that the action misses no firing.
            handler = (
                None if call is None else self._handler(call, f"guard/{name}", f"guard {name}", deadline_ns, history=0)
            )
            try:
                guard = make_guard(
                    self._core,
                    name,
                    on=on,
                    signals=signals,
                    when=when,
                    must=must,
                    native=native,
                    keep=do,
                    deadline_ns=deadline_ns,
                    hysteresis=hysteresis,
                    robustness=robustness,
                    max_samples=max_samples,
                )
            except BaseException:
                if handler is not None:
                    handler.subscription.close()
                raise
            self._guards[name] = guard
            former = self._guard_handlers.pop(name, None)
            if former is not None:  # of a guard of this name that was taken away
                former.subscription.close()
            if handler is not None:
                self._guard_handlers[name] = handler
                self._handlers.add(handler)
        return guard
