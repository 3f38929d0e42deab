"""A node that keeps what is published, for tests of single sources and sinks; whole nodes have tests of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class SimulatedTime:
    """A time source that moves only when told."""

    def __init__(self, start: int = 0):
        self._now = start

    def now(self) -> int:
        return self._now

    def set(self, time_ns: int) -> None:
        assert time_ns >= self._now, "time never steps back"
        self._now = time_ns


class SteppingTime:
    """A time source on which every look takes a step, so that no wait lasts."""

    def __init__(self, start: int = 0, step: int = 1_000_000):
        self._now = start
        self._step = step
        self._lock = threading.Lock()

    def now(self) -> int:
        with self._lock:
            self._now += self._step
            return self._now


class FastTime:
    """A time source that runs to whatever is waited for: it jumps a day at every look."""

    def __init__(self):
        self._now = 0

    def now(self) -> int:
        self._now += 86_400_000_000_000
        return self._now


@dataclass
class RecordingNode:
    """Keeps (time, topic, payload) of what is published and shows it to `watch`; `stop` is set after `limit` events."""

    clock: Any = field(default_factory=SimulatedTime)
    limit: int | None = None
    stop: Any = None
    watch: Callable[[str, Any], object] | None = None
    events: list[tuple[int | None, str, Any]] = field(default_factory=list)
    clock_times: list[int] = field(default_factory=list)

    def publish(self, topic: str, payload: object, *, time: int | None = None) -> None:
        self.events.append((time, topic, payload))
        if isinstance(self.clock, SimulatedTime):
            self.clock_times.append(self.clock.now())
        if self.watch is not None:
            self.watch(topic, payload)
        if self.limit is not None and len(self.events) >= self.limit:
            self.stop.set()

    def payloads(self, topic: str | None = None) -> list[Any]:
        return [payload for _, at, payload in self.events if topic is None or at == topic]


@dataclass(frozen=True)
class StoredStamp:
    """A stamp as sinks see it."""

    word: int = 1

    def encode(self) -> bytes:
        return self.word.to_bytes(8, "big") + bytes(16)


@dataclass(frozen=True)
class StoredEvent:
    """An event as sinks see it."""

    topic: str
    payload: Any
    time: int = 0
    stamp: StoredStamp = StoredStamp(1)
    node: str = "00112233445566778899aabbccddeeff"
    priority: int = 1
    deadline: int | None = None
    headers: dict[str, Any] = field(default_factory=dict)
