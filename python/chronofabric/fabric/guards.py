"""Guards as users declare them, turned into what the Rust side evaluates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from chronofabric._core import bus as _bus
from chronofabric._core import html_table
from chronofabric.bus import Flag, NativeFunction
from chronofabric.errors import ArgumentError, GuardError
from chronofabric.fabric.counts import checked_count

if TYPE_CHECKING:
    from chronofabric.bus import Event, Pattern
    from chronofabric.logic import Formula

__all__ = ["Do", "Guard", "GuardAction", "guard_actions", "make_guard"]

Do: TypeAlias = "Flag | NativeFunction | Callable[[Event], object]"
"""What a guard does: set a flag or call a C function, at once, without Python; or call Python in the handler thread."""

GuardAction: TypeAlias = "str | Mapping[str, Any]"
"""An action as run files write it: ``"log"`` or a mapping with ``kind`` and what belongs to it."""


class Guard(_bus.Guard):
    """A formula that watches topics and acts when it fires. Made by `Fabric.guard`.

    Examples
    --------
    >>> import chronofabric as cf
    >>> with cf.Fabric("plant") as fabric:
    ...     tripped = cf.Flag()
    ...     guard = fabric.guard("hot", on="plant/*/temperature", when="value > 80", do=tripped)
    ...     fabric.publish_many("plant/7/temperature", [79.0, 81.0, 82.0])
    ...     guard.fired, tripped.is_set()
    3
    (1, True)
    """

    closed = False
    """Whether it was taken away."""

    def close(self) -> None:
        """Take the guard away. Its figures stay in reports until another guard gets its name."""
        super().close()
        self.closed = True

    def _repr_html_(self) -> str:
        """Show its figures in a notebook."""
        figures = self.report()
        names = ("formula", "evaluated", "fired", "errors", "late", "last_robustness")
        return html_table(f"guard {self.name}", [[name.replace("_", " "), str(figures[name])] for name in names])


def make_guard(
    bus: _bus.Bus,
    name: str,
    *,
    on: str | Pattern | None,
    signals: Mapping[str, str] | None,
    when: str | Formula | None,
    must: str | Formula | None,
    native: Mapping[str, Any],
    keep: object,
    deadline_ns: int | None,
    hysteresis: float,
    robustness: bool,
    max_samples: int,
) -> Guard:
    """Make a guard with the actions that `guard_actions` told apart. It watches from here on."""
    if (when is None) == (must is None):
        hint = "give either when= (fires when it becomes true) or must= (fires when it becomes false)"
        raise ArgumentError(f"guard '{name}': {hint}", argument="when", value=when, hint=hint)
    if (on is None) == (signals is None):
        hint = "give either on=pattern or signals={name: 'topic#field'}"
        raise ArgumentError(f"guard '{name}': {hint}", argument="on", value=on, hint=hint)
    if not isinstance(name, str):
        hint = "it must be a text such as 'overheat'"
        raise ArgumentError(f"name is {name!r}; {hint}", argument="name", value=name, hint=hint)
    if not isinstance(hysteresis, (int, float)) or not 0 <= hysteresis < float("inf"):  # type: ignore[redundant-expr]
        hint = "it must be a number of at least 0"
        raise ArgumentError(f"hysteresis is {hysteresis!r}; {hint}", argument="hysteresis", value=hysteresis, hint=hint)
    max_samples = checked_count("max_samples", max_samples, 1)
    formula = when if when is not None else must
    assert formula is not None
    try:
        guard = Guard(
            bus,
            name,
            on=on,
            signals=None if signals is None else _places(name, signals),
            formula=formula,
            fires_when=when is not None,
            hysteresis=float(hysteresis),
            max_samples=max_samples,
            deadline_ns=deadline_ns,
            robustness=robustness,
            keep=keep,
            **native,
        )
    except GuardError as error:
        error.guard = error.guard or name
        raise
    return guard


def _places(guard: str, signals: Mapping[str, str]) -> list[tuple[str, str, str]]:
    if isinstance(signals, Mapping) and all(isinstance(text, str) for place in signals.items() for text in place):  # type: ignore[redundant-expr]
        return [_signal(guard, signal, place) for signal, place in signals.items()]
    hint = "give {name: 'topic#field'}"
    raise ArgumentError(f"signals is {signals!r}; {hint}", argument="signals", value=signals, hint=hint)


def _signal(guard: str, signal: str, place: str) -> tuple[str, str, str]:
    """Split ``topic#field``; without a field it is the bare number."""
    topic, _, field = place.partition("#")
    if "*" in topic:
        text = f"guard '{guard}': signal '{signal}' is '{place}'; a signal comes from one topic, without wildcards"
        raise GuardError(text, guard=guard, topic=topic)
    return signal, topic, field or "value"


def guard_actions(
    name: str, do: Do | None, publish: str | None, action: GuardAction | None
) -> tuple[dict[str, Any], Callable[[Event], object] | None]:
    """Tell native actions from what the handler thread is to call."""
    native: dict[str, Any] = {"publish": publish, "flag": None, "function": None, "log": False, "command": None}
    call: Callable[[Event], object] | None = None
    if isinstance(do, Flag):
        native["flag"] = do
    elif isinstance(do, NativeFunction):
        native["function"] = do.address
    elif callable(do):
        call = do
    elif do is not None:
        hint = "give a cf.Flag, a cf.NativeFunction or a callable"
        raise ArgumentError(f"do is {do!r}; {hint}", argument="do", value=do, hint=hint)
    match {"kind": action} if isinstance(action, str) else action:
        case None:
            pass
        case {"kind": "log", **rest} if not rest:
            native["log"] = True
        case {"kind": "publish", "topic": str(topic), **rest} if not rest and publish is None:
            native["publish"] = topic
        case {"kind": "command", "command": [*words], **rest} if words and not rest:
            native["command"] = [str(word) for word in words]
        case {"kind": "python", "target": target, **rest} if not rest and call is None:
            call = _target(target)
        case _:
            hint = (
                "give 'log', {'kind': 'publish', 'topic': ...}, {'kind': 'command', 'command': [...]} or "
                "{'kind': 'python', 'target': 'module:function'}, each action once"
            )
            text = f"guard '{name}': action is {action!r}; {hint}"
            raise ArgumentError(text, argument="action", value=action, hint=hint)
    return native, call


def _target(target: object) -> Callable[[Event], object]:
    if isinstance(target, str):
        from chronofabric.fabric.named import named_object

        target = named_object(target)
    if callable(target):
        return target
    hint = "name something that can be called with the guard's event"
    raise ArgumentError(f"target is {target!r}; {hint}", argument="target", value=target, hint=hint)
