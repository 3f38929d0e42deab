"""Run files: TOML with the place of every key and value."""

from typing import TypeAlias

__all__ = ["parse_toml"]

__all__ = ["parse_toml"]

_Path: TypeAlias = tuple[str | int, ...]
_Position: TypeAlias = tuple[int, int, int]

def parse_toml(text: str, file: str) -> tuple[dict[str, object], dict[_Path, _Position], dict[_Path, _Position]]:
    r"""Read a TOML text into plain values and the places they stand at.

    Parameters
    ----------
    text
        The text of the file.
    file
        Its name, for the error.

    Returns
    -------
    tuple
        The tree of values; the positions of the values; the positions of the keys. A position is found under the keys
        and indices that lead to it, and is ``(line, column, end column)``, counted from one, in characters. What spans
        several lines ends with its first.

    Raises
    ------
    chronofabric.ConfigurationError
        The text is not TOML 1.1. Its one problem holds file, line, column and message.

    Examples
    --------
    >>> from chronofabric._core import settings
    >>> values, places, keys = settings.parse_toml('[node]\nname = "plant"', "plant.toml")
    >>> values
    {'node': {'name': 'plant'}}
    >>> places["node", "name"], keys["node", "name"]
    ((2, 8, 15), (2, 1, 5))
    """
