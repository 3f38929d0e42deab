"""Guards as users declare them, turned into what the Rust side evaluates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from chronofabric._core import bus as _bus
from chronofabric.bus import Flag, NativeFunction
from chronofabric.errors import ArgumentError, GuardError

if TYPE_CHECKING:
    from chronofabric.bus import Event

__all__ = ["Do", "Guard", "GuardAction"]

Do: TypeAlias = "Flag | NativeFunction | Callable[[Event], object]"
"""What a guard does: set a flag or call a C function, at once and without Python; or call Python, in the handler thread."""

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


def make_guard(
    bus: _bus.Bus,
    name: str,
    *,
    on: object,
    signals: Mapping[str, str] | None,
    when: object,
    must: object,
    do: Do | None,
    publish: str | None,
    action: GuardAction | None,
    deadline_ns: int | None,
    hysteresis: float,
    robustness: bool,
    max_samples: int,
) -> tuple[Guard, Callable[[Event], object] | None]:
    """Make a guard; also return what the handler thread is to call when it fires."""
    if (when is None) == (must is None):
        hint = "give either when= (fires when it becomes true) or must= (fires when it becomes false)"
        raise ArgumentError(f"guard '{name}': {hint}", argument="when", value=when, hint=hint)
    if (on is None) == (signals is None):
        hint = "give either on=pattern or signals={name: 'topic#field'}"
        raise ArgumentError(f"guard '{name}': {hint}", argument="on", value=on, hint=hint)
    if not hysteresis >= 0 or hysteresis == float("inf"):
        hint = "it must be a number of at least 0"
        raise ArgumentError(f"hysteresis is {hysteresis!r}; {hint}", argument="hysteresis", value=hysteresis, hint=hint)
    if max_samples < 1:
        hint = "it must be at least 1"
        raise ArgumentError(f"max_samples is {max_samples}; {hint}", argument="max_samples", value=max_samples, hint=hint)
    native, call = _actions(name, do, publish, action)
    formula = when if when is not None else must
    guard = Guard(
        bus,
        name,
        on=on,
        signals=None if signals is None else [_signal(name, signal, place) for signal, place in signals.items()],
        formula=formula,
        fires_when=when is not None,
        hysteresis=float(hysteresis),
        max_samples=max_samples,
        deadline_ns=deadline_ns,
        robustness=robustness,
        **native,
    )
    return guard, call


def _signal(guard: str, signal: str, place: str) -> tuple[str, str, str]:
    """Split ``topic#field``; without a field it is the bare number."""
    topic, _, field = place.partition("#")
    if "*" in topic:
        text = f"guard '{guard}': signal '{signal}' is '{place}'; a signal comes from one topic, without wildcards"
        raise GuardError(text, guard=guard, topic=topic)
    return signal, topic, field or "value"


def _actions(
    name: str, do: Do | None, publish: str | None, action: GuardAction | None
) -> tuple[dict[str, Any], Callable[[Event], object] | None]:
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
