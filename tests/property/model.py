"""A plain model of one subscription: what it hands out and what its books say."""

from __future__ import annotations

from collections import Counter, deque

PRIORITIES = 4


class ModelTimeout(Exception):
    """The event found no room within the timeout, which is zero here."""


class ModelDeadlock(Exception):
    """The publisher would wait for itself."""


class ModelSubscription:
    """What the documentation says of a subscription, in lists and counters."""

    def __init__(self, capacity: int, overflow: str, dead_letters_max: int) -> None:
        self.capacity = capacity
        self.overflow = overflow
        self.dead_letters_max = dead_letters_max
        self.waiting: list[deque[object]] = [deque() for _ in range(PRIORITIES)]
        self.dead: deque[tuple[object, int]] = deque()
        self.offered = self.replayed = self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.dead_lettered: Counter[str] = Counter()
        self.paused = self.closed = self.received = False

    @property
    def pending(self) -> int:
        """How many events wait."""
        return sum(map(len, self.waiting))

    def publish(self, value: object, priority: int) -> None:
        """Offer an event."""
        self.offered += 1
        line = self.waiting[priority]
        if len(line) < self.capacity:
            line.append(value)
        elif self.overflow == "drop-oldest":
            line.popleft()
            line.append(value)
            self.dropped["overflow"] += 1
        elif self.overflow == "drop-newest":
            self.dropped["overflow"] += 1
        elif self.overflow == "dead-letter":
            if len(self.dead) < self.dead_letters_max:
                self.dead.append((value, priority))
                self.dead_lettered["overflow"] += 1
            else:
                self.dropped["dead-letters-full"] += 1
        elif self.received:
            self.dropped["would-deadlock"] += 1
            raise ModelDeadlock
        else:
            self.dropped["timeout"] += 1
            raise ModelTimeout

    def take(self, limit: int) -> list[object]:
        """Take up to so many events, the most urgent first."""
        self.received = self.received or limit > 0
        taken: list[object] = []
        while not self.paused and len(taken) < limit and self.pending:
            line = next(line for line in reversed(self.waiting) if line)
            taken.append(line.popleft())
        self.delivered += len(taken)
        return taken

    def replay(self, limit: int) -> int:
        """Offer dead letters again as long as there is room."""
        count = 0
        while self.dead and count < limit and not self.closed:
            value, priority = self.dead[0]
            if len(self.waiting[priority]) >= self.capacity:
                break
            self.dead.popleft()
            self.waiting[priority].append(value)
            count += 1
        self.replayed += count
        return count

    def close(self, reason: str) -> None:
        """Drop what waits."""
        if self.closed:
            return
        self.closed = True
        if self.pending:
            self.dropped[reason] += self.pending
        for line in self.waiting:
            line.clear()

    def books(self) -> dict[str, object]:
        """Return the books as `Subscription.books_dict` has them."""
        return {
            "offered": self.offered,
            "replayed": self.replayed,
            "delivered": self.delivered,
            "filtered": 0,
            "dropped": dict(self.dropped),
            "dead_lettered": dict(self.dead_lettered),
            "pending": self.pending,
        }
