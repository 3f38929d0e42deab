"""How a figure is put beside its peer's: alternating rounds under equal settings, medians, and one line a case.

Each callable of a case performs one round and returns its figure. Rounds of both alternate, which of them goes first
alternating too. A noisy round is repeated, until three times as many rounds were run as are wanted; when quiet ones
stay too few, the quietest of the noisy ones stand in, and `rounds` counts the quiet ones only.
"""

from __future__ import annotations

import gc
import importlib.util
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from chronofabric.apps.measuring import noise

LIMIT = "limit"
ROUNDS = 9
REPEATS = 3
ROUNDS_MAX = REPEATS * ROUNDS
KEYS = ("concern", "case", "ours", "peer", "peer_name", "unit", "ratio", "bar", "rounds", "quick")


@dataclass(frozen=True)
class Case:
    """One claim.

    Parameters
    ----------
    name
        What is measured, with load, capacity, policy, scheduling class and access pattern where they matter.
    ours, peer
        Each performs one round and returns its figure, in `unit`.
    peer_name
        Who the peer is; `"limit"` when there is a stated limit instead.
    unit
        Of both figures.
    better
        Whether the lower or the higher figure is better.
    bar
        The smallest ratio that meets the claim, or None where nothing is claimed.
    limit
        Instead of a peer: the stated limit; its bar is 1.0. With a limit of 0, any figure above is a failure.
    needs, programs
        Modules that the peer needs, and programs that either needs; the case is skipped, and they are named, when one
        is not installed.
    rounds
        How many quiet rounds are wanted; fewer only where a round is so long that it is an average in itself, which
        then is not warmed up for either.
    """

    name: str
    ours: Callable[[], float]
    unit: str
    peer: Callable[[], float] | None = None
    peer_name: str = LIMIT
    better: Literal["lower", "higher"] = "lower"
    bar: float | None = None
    limit: float | None = None
    needs: tuple[str, ...] = ()
    rounds: int = ROUNDS
    programs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a case that has neither or both of a peer and a limit."""
        if (self.peer is None) == (self.limit is None):
            raise ValueError(f"case {self.name!r} needs either a peer or a limit")
        if self.peer is not None and self.peer_name == LIMIT:
            raise ValueError(f"case {self.name!r} has a peer without a name")

    def absent(self) -> list[str]:
        """Return what the case needs and is not installed."""
        modules = [module for module in self.needs if importlib.util.find_spec(module) is None]
        return [*modules, *(program for program in self.programs if shutil.which(program) is None)]

    def ratio(self, ours: float, peer: float) -> float:
        """Return how many times better `ours` is.

        Examples
        --------
        >>> Case("time", ours=float, peer=float, peer_name="x", unit="s").ratio(2.0, 1.0)
        0.5
        >>> Case("rate", ours=float, peer=float, peer_name="x", unit="1/s", better="higher").ratio(2.0, 1.0)
        2.0
        >>> Case("lost", ours=float, limit=0.0, unit="events").ratio(0.0, 0.0)
        1.0
        """
        if self.limit == 0:
            return 1.0 if ours == 0 else 0.0
        better, worse = (peer, ours) if self.better == "lower" else (ours, peer)
        return better / worse if worse else float("inf")


class Round(NamedTuple):
    """One round of both: the two figures and the noise meanwhile."""

    ours: float
    peer: float
    noise: noise.Noise


class Outcome(NamedTuple):
    """What became of a case: its line for `--json`, and how many rounds were noisy."""

    line: dict[str, Any]
    noisy: int


def run(concern: str, case: Case, *, quick: bool = False, read: Callable[[], noise.Reading] = noise.read) -> Outcome:
    """Run one case and return its outcome; `read` is where the state of the machine is read."""
    if quick:
        rounds = [_round(case, ours_first=True, read=read)]
    else:
        if case.rounds == ROUNDS:
            _round(case, ours_first=True, read=read)  # warms caches and allocators; not counted
        rounds = []
        while sum(not each.noise.noisy for each in rounds) < case.rounds and len(rounds) < REPEATS * case.rounds:
            rounds.append(_round(case, ours_first=len(rounds) % 2 == 0, read=read))
    quiet = sum(not each.noise.noisy for each in rounds)
    counted = sorted(rounds, key=lambda each: each.noise.level if each.noise.noisy else 0.0)[
        : 1 if quick else case.rounds
    ]
    ours = _typical(case, [each.ours for each in counted])
    peer = statistics.median(each.peer for each in counted)
    bar = 1.0 if case.limit is not None else case.bar
    values = (concern, case.name, ours, peer, case.peer_name, case.unit, case.ratio(ours, peer), bar, quiet, quick)
    return Outcome(dict(zip(KEYS, values, strict=True)), len(rounds) - quiet)


def figure(value: float) -> str:
    """Return a figure as it is printed: whole numbers from a thousand, otherwise three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def debug_refusal() -> str | None:
    """Return why nothing may be measured, or None: a debug build's figures are false."""
    from chronofabric import _core

    profile: str = _core.build_profile()
    if profile == "release":
        return None
    return f"the extension is a {profile} build, whose figures are false: run make setup, or maturin develop --release"


def _round(case: Case, *, ours_first: bool, read: Callable[[], noise.Reading]) -> Round:
    gc.collect()
    before = read()
    if case.peer is None:
        ours, peer = case.ours(), float(case.limit or 0.0)
    elif ours_first:
        ours = case.ours()
        peer = case.peer()
    else:
        peer = case.peer()
        ours = case.ours()
    return Round(float(ours), float(peer), noise.between(before, read()))


def _typical(case: Case, figures: list[float]) -> float:
    # Where nothing is tolerated, one failure among many rounds is a failure.
    return max(figures) if case.limit == 0 else statistics.median(figures)
