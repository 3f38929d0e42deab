"""Publishing on a topic by its name, as cheap as the interpreter lets a method written in Python be."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from chronofabric.fabric.node import Fabric

__all__ = ["declares", "publish"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def publish(self: Fabric, topic: str, payload: object, **options: Any) -> None:
    """Publish one event; `Fabric.publish` declares it."""
    # For each keyword-only parameter that a call leaves out, the interpreter looks its default up in a dictionary. For
    # five of them that takes longer than to find the topic; one dictionary of what is given takes less.
    self._core.publish(topic, payload, options)


def declares(call: Callable[..., None]) -> Callable[[_Function], _Function]:
    """Put a function in the place of the decorated one, with the name, signature and docstring of that one."""
    return lambda declared: wraps(declared)(call)  # type: ignore[return-value]
