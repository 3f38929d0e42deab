"""The bus used from several threads at once, in steps that begin at a barrier.

After each step all is quiet, so all must be accounted for exactly: every event once, in the order of its publisher and
priority, and every count of the books. A step that does not end is a failure that says where each thread stands.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import chronofabric as cf
from tests.property.model import ModelPattern, matches
from tests.property.workers import Worker, together

REASONS = {
    "drop-oldest": {"overflow", "too-large"},
    "drop-newest": {"overflow", "too-large"},
    "dead-letter": {"dead-letters-full"},
    "block": {"timeout", "would-deadlock", "too-large"},
}
TOPICS = ("a", "b", "a/b")
# None of them matches what guards publish.
PATTERNS: list[ModelPattern] = [["*", "a/b"], "a", "a/**", "*/b", ["b", "a/*"]]
WORKERS = 4
PLACES = 4
SWITCH_S = 1e-5
"""How long a thread keeps the interpreter here: so short that threads meet in the middle of things."""

policies = st.sampled_from(sorted(REASONS))
places = st.integers(0, PLACES - 1)
actions = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(TOPICS), st.integers(0, 3), st.integers(1, 20)),
    st.tuples(st.just("publish_many"), st.sampled_from(TOPICS), st.integers(0, 3), st.integers(1, 40)),
    st.tuples(st.sampled_from(["poll", "receive", "batch", "blink", "look"]), places, st.integers(1, 20)),
    st.tuples(st.sampled_from(["take_dead_letters", "replay_dead_letters"]), places, st.integers(1, 10)),
    st.tuples(st.just("come_and_go"), st.sampled_from(PATTERNS), st.integers(1, 8)),
    st.tuples(st.just("guard"), st.sampled_from(["a/**", "*"])),
)
programs = st.lists(st.lists(actions, min_size=1, max_size=5), min_size=2, max_size=WORKERS)

Key: TypeAlias = tuple[int, int]
"""Publishing thread and priority."""


class Payload(dict[str, int]):
    """What is published: its key, and its place in the order of that."""

    made, gone = itertools.count(), itertools.count()

    def __init__(self, key: Key, number: int) -> None:
        super().__init__(value=number)
        self.key = key
        self.number = number
        next(self.made)

    def __del__(self) -> None:
        next(self.gone)

    @property
    def nbytes(self) -> int:
        return self.number % 50


@dataclass
class Told:
    """What one thread has to tell of a step."""

    published: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    received: list[tuple[Account, list[tuple[Key, int]]]] = field(default_factory=list)
    taken: list[tuple[Account, list[tuple[Key, int]]]] = field(default_factory=list)
    replayed: list[tuple[Account, int]] = field(default_factory=list)
    closed: int = 0


class Account:
    """What is known of one subscription from the steps so far."""

    def __init__(self, real: cf.Subscription, pattern: ModelPattern, overflow: str) -> None:
        self.real = real
        self.pattern = pattern
        self.overflow = overflow
        self.refused: Counter[str] = Counter()
        self.seen: set[tuple[Key, int]] = set()
        self.newest: dict[Key, int] = {}
        self.offered = self.received = self.taken = self.replayed = 0

    def settle(self, step: list[Told], *, closing: bool) -> None:
        """Take a step into account."""
        for told in step:
            self.taken += sum(len(letters) for account, letters in told.taken if account is self)
            self.replayed += sum(count for account, count in told.replayed if account is self)
            for (name, reason), count in told.refused.items():
                self.refused[reason] += count if name == self.real.name else 0
        runs = [run for told in step for account, run in told.received if account is self]
        self.received += sum(map(len, runs))
        if self.replayed == 0:
            self.check_order(runs)
        runs += [letters for told in step for account, letters in told.taken if account is self]
        events = [event for run in runs for event in run]
        assert len(set(events)) == len(events), "one event was handed out twice in a step"
        assert self.seen.isdisjoint(events), "an event was handed out again"
        self.seen.update(events)
        matching = sum(
            count for told in step for topic, count in told.published.items() if matches(self.pattern, topic)
        )
        self.check_books(self.offered, self.offered + matching, closing=closing)

    def check_order(self, runs: list[list[tuple[Key, int]]]) -> None:
        """Order holds within what one receiver got in a row, and between steps."""
        newest = dict(self.newest)
        for run in runs:
            so_far = dict(self.newest)
            for key, number in run:
                assert number > so_far.get(key, -1), f"{key}: {number} came after {so_far[key]}"
                so_far[key] = number
                newest[key] = max(number, newest.get(key, -1))
        self.newest = newest

    def check_books(self, least: int, most: int, *, closing: bool) -> None:
        books = self.real.books()
        assert books.balanced, books
        # While a subscription closes, some of what is published reaches it.
        assert (least if closing else most) <= books.offered <= most, (books, least, most)
        self.offered = books.offered
        assert (books.delivered, books.replayed, books.filtered) == (self.received, self.replayed, 0), books
        kept = [(letter.event.payload.key, letter.event.payload.number) for letter in self.real.dead_letters]
        assert len(set(kept)) == len(kept)
        assert self.seen.isdisjoint(kept)
        assert sum(books.dead_lettered.values()) == len(kept) + self.taken + self.replayed, books
        assert set(books.dropped) <= REASONS[self.overflow] | ({"closed", "unsubscribed"} if closing else set()), books
        assert books.dropped.get("would-deadlock", 0) == self.refused["would-deadlock"], (books, self.refused)
        # Who would deadlock on one subscription is told of that alone, although another was full too.
        assert books.dropped.get("timeout", 0) >= self.refused["timeout"], (books, self.refused)
        assert books.pending == self.real.pending
        assert not closing or books.pending == 0


def noted(body):
    """Note how a step failed: hypothesis repeats it, and what depends on the schedule may then not fail again."""

    @functools.wraps(body)
    def noting(self, **drawn):
        try:
            body(self, **drawn)
        except BaseException:
            Threads.failures.append(f"{body.__name__} of {drawn}\n{traceback.format_exc()}")
            raise

    return noting


class Threads(RuleBasedStateMachine):
    """One fabric, used by several threads at once."""

    failures: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        # What hypothesis remembers of all examples is not looked through after each of them.
        gc.freeze()
        self.switch_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        Payload.made, Payload.gone = itertools.count(), itertools.count()
        self.fabric = cf.Fabric("threads")
        self.workers = [Worker(f"worker {number}") for number in range(WORKERS + 1)]
        self.numbers = {(who, priority): itertools.count() for who in range(WORKERS) for priority in range(4)}
        self.names = itertools.count()
        self.accounts: dict[int, Account] = {}

    # What a thread does

    def payloads(self, who: int, told: Told, topic: str, priority: int, count: int) -> Iterator[Payload]:
        for number in itertools.islice(self.numbers[who, priority], count):
            told.published[topic] += 1
            yield Payload((who, priority), number)

    def refusing(self, told: Told, body):
        """Publish, and note who had no room."""
        try:
            body()
        except (cf.WouldDeadlock, cf.PublishTimeout) as error:
            reason = "would-deadlock" if isinstance(error, cf.WouldDeadlock) else "timeout"
            told.refused.update((name, reason) for name in error.subscriptions)

    def publish(self, who, told, topic, priority, count):
        for payload in self.payloads(who, told, topic, priority, count):
            self.refusing(told, lambda: self.fabric.publish(topic, payload, priority=priority))  # noqa: B023

    def publish_many(self, who, told, topic, priority, count):
        payloads = self.payloads(who, told, topic, priority, count)
        self.refusing(told, lambda: self.fabric.publish_many(topic, payloads, priority=priority))

    def note(self, account: Account, told: Told, events: Iterable[cf.Event]):
        """Note what one receiver gets in a row, also where the last call raises."""
        run: list[tuple[Key, int]] = []
        told.received.append((account, run))
        for event in events:
            run.append((event.payload.key, event.payload.number))  # noqa: PERF401 - they stay where the next call raises

    def poll(self, who, told, account, count):
        self.note(account, told, filter(None, (account.real.poll() for _ in range(count))))

    def receive(self, who, told, account, count):
        with contextlib.suppress(cf.ReceiveTimeout):
            self.note(account, told, (account.real.receive(timeout=0) for _ in range(count)))

    def batch(self, who, told, account, count):
        self.note(account, told, account.real.poll_batch(count))

    def blink(self, who, told, account, count):
        for _ in range(count):
            account.real.pause()
            account.real.resume()

    def look(self, who, told, account, count):
        for _ in range(count):
            assert account.real.books().balanced
            assert 0 <= account.real.pending <= 4 * account.real.capacity
            assert all(letter.reason in ("overflow", "too-large") for letter in account.real.dead_letters)

    def take_dead_letters(self, who, told, account, count):
        letters = account.real.take_dead_letters(count)
        told.taken.append((account, [(each.event.payload.key, each.event.payload.number) for each in letters]))

    def replay_dead_letters(self, who, told, account, count):
        told.replayed.append((account, account.real.replay_dead_letters(count)))

    def come_and_go(self, who, told, pattern, count):
        with self.fabric.subscribe(pattern, capacity=count, overflow=("drop-oldest", "drop-newest")[count % 2]) as each:
            seen = [(payload.key, payload.number) for payload in each.poll_batch(count).payloads]
        assert len(set(seen)) == len(seen)
        books = each.books()
        assert books.balanced
        assert (books.delivered, books.pending) == (len(seen), 0)

    def guard(self, who, told, pattern):
        guard = self.fabric.guard(f"of {who}", on=pattern, when="value > 5")
        try:
            self.publish(who, told, "a", 1, 5)
            assert guard.report()["evaluated"] >= 5
        finally:
            guard.close()
        assert (guard.report()["errors"], guard.report()["error"]) == (0, None)

    def run(self, who: int, told: Told, program):
        """Do one thing after another; what needs a subscription is left out where there is none."""
        for name, *arguments in program:
            if isinstance(arguments[0], int):
                if arguments[0] not in self.accounts:
                    continue
                arguments[0] = self.accounts[arguments[0]]
            try:
                getattr(self, name)(who, told, *arguments)
            except cf.ClosedError:
                told.closed += 1

    # Steps

    def step(self, programs, *beside) -> list[Told]:
        """Run programs at once, each in a thread of its own, and something beside them."""
        step = [Told() for _ in programs]
        bodies = [
            lambda who=who, told=told, program=program: self.run(who, told, program)
            for who, (told, program) in enumerate(zip(step, programs, strict=True))
        ]
        together([*self.workers[: len(bodies)], self.workers[-1]], [*bodies, *beside])
        return step

    @initialize(overflow=policies, capacity=st.integers(1, 8))
    def subscribe_to_all(self, overflow, capacity):
        self.add(0, PATTERNS[0], overflow, capacity=capacity, block_timeout=0)

    @rule(
        place=places,
        pattern=st.sampled_from(PATTERNS),
        overflow=policies,
        capacity=st.integers(1, 8),
        capacity_bytes=st.none() | st.sampled_from([45, 300]),
        dead_letters_max=st.integers(1, 30),
        block_timeout=st.sampled_from(["0 s", "200 us"]),
    )
    def subscribe(self, place, pattern, overflow, **options):
        if place not in self.accounts:
            self.add(place, pattern, overflow, **options)

    def add(self, place, pattern, overflow, **options):
        real = self.fabric.subscribe(pattern, name=f"number {next(self.names)}", overflow=overflow, **options)
        self.accounts[place] = Account(real, pattern, overflow)

    @rule(programs=programs)
    @noted
    def work(self, programs):
        step = self.step(programs)
        assert all(told.closed == 0 for told in step)
        for account in self.accounts.values():
            account.settle(step, closing=False)

    @rule(programs=programs, place=places)
    @noted
    def work_while_one_is_left(self, programs, place):
        if place in self.accounts:
            step = self.step(programs, self.accounts[place].real.close)
            for each, account in self.accounts.items():
                account.settle(step, closing=each == place)
            del self.accounts[place]

    @rule(programs=programs)
    @noted
    def work_while_the_fabric_closes(self, programs):
        pending: dict[str, int] = {}
        step = self.step(programs, lambda: pending.update(self.fabric.close(drain=0)))
        for account in self.accounts.values():
            account.settle(step, closing=True)
            # What a publish under way put in meanwhile is in the books, not in what closing said.
            later = account.real.books().dropped.get("closed", 0) - pending.get(account.real.name, 0)
            assert 0 <= later <= len(programs)
        self.accounts.clear()
        self.fabric = cf.Fabric("the next")

    @invariant()
    def the_report_has_whom_we_know(self):
        names = [each["name"] for each in self.fabric.core.subscriptions()]
        assert sorted(names) == sorted(account.real.name for account in self.accounts.values())

    def teardown(self):
        sys.setswitchinterval(self.switch_s)
        self.fabric.close(drain=0)
        self.accounts.clear()
        del self.fabric
        for worker in self.workers:
            worker.end()
        gc.collect()
        gc.unfreeze()
        assert next(Payload.made) == next(Payload.gone), "payloads are kept alive"


# A step takes milliseconds, so there are fewer of them.
Threads.TestCase.settings = settings(stateful_step_count=12, max_examples=settings().max_examples // 2)


class TestThreads(Threads.TestCase):  # type: ignore[misc, valid-type]
    def runTest(self):  # noqa: N802 - the name is unittest's
        Threads.failures.clear()
        try:
            super().runTest()
        except BaseException as error:
            raise AssertionError("\n".join(Threads.failures[:1])) from error
