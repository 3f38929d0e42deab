"""Python objects named by a text, ``"module:function"``, as run files name them."""

from __future__ import annotations

import importlib

from chronofabric.errors import ArgumentError

__all__ = ["name_of", "named_object"]


def named_object(name: str, *, argument: str = "target") -> object:
    """The object that a text names.

    Parameters
    ----------
    name
        ``"package.module:attribute"``; the attribute may be dotted. The module is imported.
    argument
        What the caller names it, for the message of an error.

    Raises
    ------
    ArgumentError
        If the text has another shape, the module does not exist or raises while it is imported, or it has no such
        attribute.

    Examples
    --------
    >>> named_object("math:floor")(2.5)
    2
    >>> named_object("math:flor")
    Traceback (most recent call last):
    chronofabric.errors.ArgumentError: target is 'math:flor'; module 'math' has no 'flor'; did you mean 'floor'?
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path or ":" in path:
        raise _refused(argument, name, "this does not name a Python object", "write it like 'module:function'")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            what = f"module '{module_name}' cannot be imported: it needs '{error.name}'"
            raise _refused(argument, name, what, "install that, or import it where it is used") from error
        hint = "install it, or start where Python finds it (its folder in PYTHONPATH)"
        raise _refused(argument, name, f"there is no module '{error.name}'", hint) from error
    except Exception as error:
        what = f"module '{module_name}' cannot be imported: {type(error).__name__}: {error}"
        raise _refused(argument, name, what, "repair the module") from error
    owner = f"module '{module_name}'"
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise _refused(argument, name, f"{owner} has no '{part}'", _nearest(part, found)) from error
        owner = f"'{part}'"
    return found


def name_of(target: object) -> str:
    """A short name for an object, for reports: ``module:function`` where it has one.

    Examples
    --------
    >>> from textwrap import dedent
    >>> name_of(dedent), name_of([1, 2])
    ('textwrap:dedent', 'list')
    """
    qualified = getattr(target, "__qualname__", None)
    if qualified is None:
        return type(target).__qualname__
    return f"{getattr(target, '__module__', '')}:{qualified}"


def _nearest(part: str, owner: object) -> str:
    import difflib

    near = difflib.get_close_matches(part, dir(owner), n=1)
    return f"did you mean '{near[0]}'?" if near else "name one that it has"


def _refused(argument: str, value: str, what: str, hint: str) -> ArgumentError:
    return ArgumentError(f"{argument} is {value!r}; {what}; {hint}", argument=argument, value=value, hint=hint)
