"""Everything that the bus does, at once and for as long as asked: a load that must leave no trace.

Run as `python -m tests.soak.load SECONDS`. It prints what it sees while it runs, and ends with a status of 1 where
memory, handles or threads grew, or the books are not exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import itertools
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

import chronofabric as cf

POLICIES = ("drop-oldest", "drop-newest", "dead-letter", "block")
TOPICS = tuple(f"plant/{number}" for number in range(16))
PUBLISHERS = 2
WARM_UP = 0.25
"""The part of the time after which everything has its size."""
MEMORY_GROWTH_MIB_MAX = 2.0
"""How much the memory may grow from then to the end: in a full run half a byte for every event, or some fifteen for
everything that comes and goes."""
HANDLES_CHANGE_MAX, THREADS_CHANGE_MAX = 20, 2
"""Nine receivers have an event loop now and then, which takes five handles; and short-lived threads come and go."""
REPORTS = 20


class Reading:
    """A payload whose end is counted."""

    made, gone = itertools.count(), itertools.count()

    def __init__(self, publisher: int, number: int) -> None:
        self.publisher = publisher
        self.number = number
        next(self.made)

    def __del__(self) -> None:
        next(self.gone)


@dataclass
class Sample:
    """What the process holds at one moment."""

    seconds: float
    memory_mib: float
    handles: int
    threads: int
    published: int


@dataclass
class Account:
    """A subscription that stays, and what its receivers say that they had from it."""

    real: cf.Subscription
    received: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    replayed: int = 0


class Load:
    """Publishers, receivers of every kind, and what comes and goes."""

    def __init__(self) -> None:
        self.fabric = cf.Fabric("soak")
        self.stop = threading.Event()
        self.published: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.came: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.handled: Counter[str] = Counter()
        self.accounts: dict[str, Account] = {}
        for policy in POLICIES:
            for size, capacity in (("small", 4), ("large", 512)):
                name = f"{policy}, {size}"
                options: dict[str, Any] = {
                    "overflow": policy,
                    "capacity": capacity,
                    "dead_letters_max": 64,
                    "block_timeout": "10 ms",
                }
                self.accounts[name] = Account(self.fabric.subscribe("plant/*", name=name, **options))
        bounded = self.fabric.subscribe("plant/*", name="bytes", capacity_bytes=4_000)
        self.accounts["bytes"] = Account(bounded)

        @self.fabric.on("plant/1", overflow="drop-newest", capacity=64)
        def function(event: cf.Event) -> None:
            self.handled["function"] += 1

        @self.fabric.on("plant/2", overflow="drop-oldest", capacity=64)
        async def coroutine(event: cf.Event) -> None:
            await asyncio.sleep(0)
            self.handled["coroutine"] += 1

    # What is done all the time, each in a thread of its own

    def publish(self, number: int) -> None:
        choice = random.Random(number)
        handles = [self.fabric.publisher(topic) for topic in TOPICS]
        for start in itertools.count(step=100):
            if self.stop.is_set():
                return
            readings = (Reading(number, start + offset) for offset in range(100))
            priority = choice.randrange(4)
            if start % 1000 == 0:
                options: dict[str, Any] = {"priority": priority, "headers": {"by": number}, "deadline": "1 s"}
                self.offer(number, lambda: self.fabric.publish("plant/0", Reading(number, start), **options))  # noqa: B023
            handle = choice.choice(handles)
            for reading in readings:
                self.offer(number, lambda: handle.publish(reading, priority=priority))  # noqa: B023

    def offer(self, number: int, publish: Callable[[], None]) -> None:
        self.published[number] += 1
        try:
            publish()
        except cf.PublishTimeout:
            self.refused[number] += 1

    def receive(self, name: str) -> None:
        account = self.accounts[name]
        choice = random.Random(name)
        forms = [self.one_by_one, self.in_batches, self.as_payloads, self.in_a_loop]
        while not self.ended(account):
            choice.choice(forms)(account, choice)

    def ended(self, account: Account) -> bool:
        return self.stop.is_set() and self.drained.is_set() and account.real.pending == 0

    def one_by_one(self, account: Account, choice: random.Random) -> None:
        for _ in range(choice.randrange(200)):
            try:
                account.real.receive(timeout="5 ms")
            except cf.ReceiveTimeout:
                return
            account.received["one by one"] += 1

    def in_batches(self, account: Account, choice: random.Random) -> None:
        for _ in range(choice.randrange(20)):
            account.real.wait_ready(5_000_000)
            account.received["in batches"] += len(account.real.poll_batch(choice.choice([1, 16, 256])))

    def as_payloads(self, account: Account, choice: random.Random) -> None:
        if account.real.pending:
            payloads = account.real.payloads()
            for _ in range(min(account.real.pending, 50)):
                next(payloads)
                account.received["payloads"] += 1

    def in_a_loop(self, account: Account, choice: random.Random) -> None:
        async def receive() -> None:
            for _ in range(choice.randrange(50)):
                with contextlib.suppress(cf.ReceiveTimeout):
                    await account.real.receive_async(timeout="2 ms")
                    account.received["in a task"] += 1
            # A task that is cancelled while it waits takes nothing with it.
            waiting = asyncio.create_task(self.wait(account))
            await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

        asyncio.run(receive())

    async def wait(self, account: Account) -> None:
        await account.real.receive_async()
        account.received["in a task"] += 1

    def see_to_dead_letters(self) -> None:
        choice = random.Random("dead letters")
        while not self.stop.wait(0.01):
            for account in self.accounts.values():
                account.replayed += account.real.replay_dead_letters(choice.randrange(40))
                account.taken += len(account.real.take_dead_letters(choice.randrange(40)))
                account.real.pause()
                assert account.real.books().balanced
                account.real.resume()

    def come_and_go(self) -> None:
        choice = random.Random("come and go")
        for turn in itertools.count():
            if self.stop.wait(0.002):
                return
            pattern: Any = choice.choice(["plant/*", "**", "plant/3", cf.regex(r"plant/\d")])
            passing = self.fabric.subscribe(pattern, capacity=8, overflow=choice.choice(POLICIES[:3]))
            passing.poll_batch(4)
            if turn % 2:
                passing.close()
                assert passing.books().balanced
            del passing
            self.came["subscriptions"] += 1
            if turn % 10 == 0:
                self.short_lived(turn)

    def short_lived(self, turn: int) -> None:
        """A guard, a handler, a thread that receives, a fabric of its own: each comes and goes."""
        with contextlib.closing(self.fabric.guard("passing", on="plant/4", when="number > 0", do=cf.Flag())):
            self.offer(-1, lambda: self.fabric.publish("plant/4", Reading(-1, turn)))
        thread = threading.Thread(target=self.glance)
        thread.start()
        thread.join()
        with cf.Fabric("passing") as passing:
            passing.on("a")(lambda event: None)
            passing.publish_many("a", range(10))
            passing.subscribe("a").wait_ready(1)
        self.came["guards, threads and fabrics"] += 1

    def glance(self) -> None:
        with self.fabric.subscribe("plant/*") as passing:
            asyncio.run(self.glance_in_a_loop(passing))

    async def glance_in_a_loop(self, passing: cf.Subscription) -> None:
        with contextlib.suppress(cf.ReceiveTimeout):
            await passing.receive_async(timeout="1 ms")

    # The run

    def run(self, seconds: float, tell: Callable[[str], None]) -> list[Sample]:
        """Have it all done for so long; return what was seen meanwhile."""
        self.drained = threading.Event()
        bodies: list[Callable[[], None]] = [
            *(lambda number=number: self.publish(number) for number in range(PUBLISHERS)),
            *(lambda name=name: self.receive(name) for name in self.accounts),
            self.see_to_dead_letters,
            self.come_and_go,
        ]
        threads = [threading.Thread(target=self.noting, args=(body,), daemon=True) for body in bodies]
        self.fabric.start()
        for thread in threads:
            thread.start()
        samples = self.watch(seconds, tell)
        self.stop.set()
        busy = [threads[number] for number in range(PUBLISHERS)] + threads[-2:]
        for thread in busy:
            thread.join(60)
        self.drained.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "threads do not end"
        return samples

    def noting(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as failure:
            self.failures.append(failure)
            self.stop.set()
            raise

    def watch(self, seconds: float, tell: Callable[[str], None]) -> list[Sample]:
        process = psutil.Process()
        started = time.monotonic()
        samples: list[Sample] = []
        told = 0
        while (passed := time.monotonic() - started) < seconds and not self.stop.wait(min(1.0, seconds / 50)):
            memory, handles = process.memory_info().rss / 2**20, process.num_fds()
            published = sum(self.published.values())
            samples.append(Sample(passed, memory, handles, process.num_threads(), published))
            if passed / seconds * REPORTS >= told:
                told += 1
                tell(
                    f"{passed:6.1f} s: {published:>11,} published, {memory:6.1f} MiB, {handles} handles, "
                    f"{samples[-1].threads} threads"
                )
        return samples

    def check_books(self) -> None:
        """Every event that was published is in the books of every subscription that stayed, with its fate."""
        published = sum(self.published.values())
        assert sum(self.fabric.topics()[topic] for topic in TOPICS) == published
        for name, account in self.accounts.items():
            books = account.real.books()
            assert books.balanced, (name, books)
            assert books.offered == published, (name, published, books)
            assert (books.delivered, books.pending) == (sum(account.received.values()), 0), (name, books, account)
            kept = len(account.real.dead_letters)
            assert books.replayed == account.replayed
            assert sum(books.dead_lettered.values()) == kept + account.taken + account.replayed, (name, books)
        refused = sum(
            self.accounts[f"block, {size}"].real.books().dropped.get("timeout", 0) for size in ("small", "large")
        )
        assert refused >= sum(self.refused.values()), (refused, self.refused)
        for handler in self.fabric.report().handlers:
            assert handler["errors"] == 0, handler


def flat(samples: list[Sample], seconds: float, tell: Callable[[str], None]) -> None:
    """Memory, handles and threads are at the end what they were after the warm-up."""
    after = [sample for sample in samples if sample.seconds >= WARM_UP * seconds]
    part = max(1, len(after) // 4)
    first, last = after[:part], after[-part:]

    def medians(of: Callable[[Sample], float]) -> tuple[float, float]:
        return statistics.median(map(of, first)), statistics.median(map(of, last))

    memory, handles, threads = (
        medians(lambda sample: sample.memory_mib),
        medians(lambda sample: sample.handles),
        medians(lambda sample: sample.threads),
    )
    tell(
        f"from {first[0].seconds:.0f} s to the end: memory {memory[0]:.1f} to {memory[1]:.1f} MiB, "
        f"handles {handles[0]:g} to {handles[1]:g}, threads {threads[0]:g} to {threads[1]:g}"
    )
    assert memory[1] - memory[0] <= MEMORY_GROWTH_MIB_MAX, "memory grows"
    assert abs(handles[1] - handles[0]) <= HANDLES_CHANGE_MAX, "handles grow"
    assert abs(threads[1] - threads[0]) <= THREADS_CHANGE_MAX, "threads grow"


def share_one_arena() -> None:
    """Have all threads allocate from one heap, before there are any.

    The allocator of glibc has eight heaps for each core, and gives each new thread another one. In the course of
    minutes each heap grows to what the greediest of its threads needed, so a process gets larger that holds no more.
    """
    if sys.platform == "linux":
        arena_max = -8
        with contextlib.suppress(AttributeError):  # another libc
            ctypes.CDLL(None).mallopt(arena_max, 1)


def main(seconds: float) -> None:
    share_one_arena()

    def tell(what: str) -> None:
        print(what, flush=True)

    asyncio.run(asyncio.sleep(0))
    process = psutil.Process()
    handles, threads = process.num_fds(), process.num_threads()
    load = Load()
    samples = load.run(seconds, tell)
    assert load.failures == [], load.failures
    load.fabric.close()
    load.check_books()
    for name, account in load.accounts.items():
        books = account.real.books()
        tell(
            f"{name}: {books.offered:,} offered, {books.replayed:,} replayed, {books.delivered:,} delivered, "
            f"dropped {dict(books.dropped)}, dead-lettered {dict(books.dead_lettered)}"
        )
    tell(f"came and went: {dict(load.came)}; handled: {dict(load.handled)}; refused: {sum(load.refused.values()):,}")
    flat(samples, seconds, tell)
    del load, account
    gc.collect()
    assert (process.num_fds(), process.num_threads()) == (handles, threads), "handles or threads are left"
    assert next(Reading.made) == next(Reading.gone), "payloads are left"
    tell("nothing is left")


if __name__ == "__main__":
    main(float(sys.argv[1]))
