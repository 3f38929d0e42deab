"""What can be told of a function without calling it, and without importing inspect or asyncio for it."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

__all__ = ["arguments_needed", "is_coroutine_function"]


def arguments_needed(function: Callable[..., Any]) -> int:
    """Return how many arguments a function cannot be called without; 0 where that does not show."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        return 0
    given = len(getattr(function, "__defaults__", None) or ()) + (getattr(function, "__self__", None) is not None)
    named = len(getattr(function, "__kwdefaults__", None) or ())
    return max(0, code.co_argcount - given) + max(0, code.co_kwonlyargcount - named)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    called = getattr(type(function), "__call__", None)  # noqa: B004 - its code is looked at
    for candidate in (function, getattr(function, "__func__", None), called):
        code = getattr(candidate, "__code__", None)
        if isinstance(code, types.CodeType) and code.co_flags & 0x80:  # inspect.CO_COROUTINE
            return True
    return False
