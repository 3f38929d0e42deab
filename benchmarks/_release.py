"""A debug build is not measured."""

from __future__ import annotations

from chronofabric.apps.measuring.rounds import debug_refusal


def refuse_debug_build() -> None:
    """Skip a suite, in the way that asv understands, where the extension is not a release build."""
    refusal = debug_refusal()
    if refusal:
        raise NotImplementedError(refusal)
