"""What nobody should do and somebody will: publishing and closing from places where nobody expects it.

Each case runs in a process of its own and is held to the same end: it comes, the books of every fabric balance, and
neither threads, nor handles, nor payloads are left. Handlers and guards that publish are in `test_objects.py`.
"""

from __future__ import annotations

import os
import textwrap

import pytest

from tests import settable_clock
from tests.bus.scripts import Finished, run_script

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals to a process and forks are POSIX")

BEFORE = '''
import asyncio, contextlib, ctypes, psutil, random, weakref
process = psutil.Process()
made, gone = itertools.count(), itertools.count()
fabrics = []

class Payload:
    """A payload that does something when it goes."""
    def __init__(self, then=None):
        self.then = then
        next(made)
    def __del__(self):
        next(gone)
        if self.then is not None:
            with contextlib.suppress(cf.ChronofabricError):
                self.then()

def make(**options):
    fabrics.append(cf.Fabric("faults", **options))
    return fabrics[-1]

def balanced(books):
    out = books["delivered"] + books["filtered"] + sum(books["dropped"].values()) + sum(books["dead_lettered"].values())
    assert books["offered"] + books["replayed"] == out + books["pending"], books

def settled(condition):
    gc.collect()
    return condition()

def in_threads(count, body):
    failures = []
    def run(number):
        try: body(number)
        except BaseException as failure: failures.append(failure)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads: thread.start()
    return threads, failures
'''
AFTER = """
HANDLES, THREADS = process.num_fds(), process.num_threads()
case()
for fabric in fabrics:
    assert all(balanced(each) is None for each in fabric.core.subscriptions())
    fabric.close(drain=0.2)
    for each in fabric.core.subscriptions():
        balanced(each)
        assert each["pending"] == 0, each
    del fabric
fabrics.clear()
wait_for(lambda: settled(lambda: threading.active_count() == 1), "the end of Python's threads")
wait_for(lambda: settled(lambda: process.num_threads() == THREADS), "the end of threads")
wait_for(lambda: settled(lambda: process.num_fds() == HANDLES), "the end of handles")
assert (core.waiting(), core.calling()) == (0, 0)
assert next(made) == next(gone), "payloads are left"
"""


def run_case(body: str, *, timeout_s: float = 30.0, **options: object) -> Finished:
    """Run the body of a function, and hold it to a clean end."""
    case = "def case():\n" + textwrap.indent(body, "    ")
    return run_script(f"{BEFORE}\n{case}\n{AFTER}", timeout_s=timeout_s, **options)  # type: ignore[arg-type]


# What goes does something

THEN = {
    "publishes on its own topic": "fabric.publish('a', 0)",
    "publishes on a new topic": "fabric.publish('new', 0)",
    "closes its subscription": "subscription.close()",
    "closes the fabric": "fabric.close(drain=0)",
    "subscribes": "fabric.subscribe('a', name='another')",
    "pauses and replays": "(subscription.pause(), subscription.replay_dead_letters(), subscription.resume())",
    "receives": "(subscription.poll_batch(1), subscription.take_dead_letters(1))",
    "makes and removes a guard": "fabric.guard('late', on='a', when='value > 0').close()",
}


@pytest.mark.parametrize("then", THEN)
def test_a_payload_that_goes(then):
    """Evicted, refused, received, left, closed, taken; each with every policy, on a guarded topic too."""
    run_case(f"""
def one(overflow, capacity_bytes, guarded, end):
    done = []
    fabric = make()
    options = dict(capacity=2, capacity_bytes=capacity_bytes, dead_letters_max=2, block_timeout=0)
    subscription = fabric.subscribe("a", overflow=overflow, **options)
    if guarded:
        fabric.guard("g", on="a", when="value > 0")
    def then():
        done.append(1)
        {THEN[then]}
    def publish(count):
        for _ in range(count):
            with contextlib.suppress(cf.PublishTimeout, cf.WouldDeadlock, cf.ClosedError):
                fabric.publish("a", Payload(then))
    def several(count):
        with contextlib.suppress(cf.PublishTimeout, cf.WouldDeadlock, cf.ClosedError):
            fabric.publish_many("a", (Payload(then) for _ in range(count)))
    if end == "by another":
        publish(8)
    elif end == "among many":
        several(8)
    else:
        publish(2)
        with contextlib.suppress(cf.ClosedError):
            {{
                "received": subscription.poll,
                "received bare": lambda: subscription.pending and next(subscription.payloads(), None),
                "received in a batch": lambda: subscription.poll_batch(2),
                "left": subscription.close,
                "closed": lambda: fabric.close(drain=0),
                "polled after leaving": lambda: (subscription.close(), subscription.poll()),
            }}[end]()
    subscription.take_dead_letters()
    gc.collect()
    assert done, (overflow, end)

for overflow in ("drop-oldest", "drop-newest", "dead-letter", "block"):
    for capacity_bytes in (None, 100):
        for guarded in (False, True):
            for end in ("by another", "among many", "received", "received bare", "received in a batch", "left",
                        "closed", "polled after leaving"):
                one(overflow, capacity_bytes, guarded, end)
""")


# What refers to what it lies in


HOLDERS = {
    "the fabric": "fabric",
    "the subscription": "subscription",
    "an iterator": "iter(subscription)",
    "a batch iterator": "subscription.batches(2)",
    "an asynchronous iterator": "aiter(subscription)",
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("publish", ["each", "together", "headers", "measured", "causal"])
def test_what_waits_or_was_set_aside_and_refers_to_what_it_lies_in_goes_with_it(holder, publish):
    run_case(f"""
def one(capacity, overflow, closes):
    fabric = cf.Fabric("faults")
    options = dict(capacity=capacity, overflow=overflow, block_timeout=0)
    options |= {{"measured": {{"capacity_bytes": 10_000}}, "causal": {{"order": "causal"}}}}.get({publish!r}, {{}})
    subscription = fabric.subscribe("a", **options)
    kept = [{HOLDERS[holder]}, fabric, subscription]
    payloads = [Payload(lambda kept=kept: kept[1].closed) for _ in range(4)]
    with contextlib.suppress(cf.PublishTimeout, cf.WouldDeadlock):
        if {publish!r} == "together":
            fabric.publish_many("a", payloads)
        while payloads:
            if {publish!r} == "headers":
                fabric.publish("a", None, headers={{"payload": payloads.pop()}})
            else:
                fabric.publish("a", payloads.pop())
    # Somebody can receive it still, however often the collector looks.
    gc.collect()
    dead, waiting = len(subscription.dead_letters), subscription.pending
    assert waiting == capacity or waiting >= 4
    assert dead > 0 or waiting >= 4 or overflow != "dead-letter"
    received = [event.payload or event.headers["payload"] for event in subscription.poll_batch(1)]
    received += [letter.event.payload or letter.event.headers["payload"] for letter in subscription.dead_letters]
    assert all(payload.then() is False for payload in received)
    if closes:
        fabric.close(drain=0)
    return weakref.ref(subscription)

for capacity in (2, 1024):
    for overflow in ("dead-letter", "drop-oldest", "drop-newest", "block"):
        for closes in (False, True):
            subscription = one(capacity, overflow, closes)
            gc.collect()
            assert subscription() is None, (capacity, overflow, closes)
""")


def test_what_several_receivers_share_is_left_to_them_by_the_collector():
    run_case("""
fabric = make()
one, other = (fabric.subscribe("a", capacity=2, overflow="dead-letter", name=name) for name in "ab")
fabric.publish_many("a", [Payload() for _ in range(2)])
for _ in range(3): fabric.publish("a", Payload())
gc.collect()
assert [event.payload.then for event in one.poll_batch(9)] == [None] * 2
gc.collect()
assert [letter.event.payload.then for letter in other.take_dead_letters()] == [None] * 3
gc.collect()
assert [letter.event.payload.then for letter in one.dead_letters] == [None] * 3
assert [event.payload.then for event in other.poll_batch(9)] == [None] * 2
""")


def test_the_collector_leaves_what_waits_beside_events_of_a_native_source():
    run_case("""
fabric = make()
subscription = fabric.subscribe("**", capacity=64)
timer = core.Timer(fabric.core, "a", 20_000)
until = time.monotonic() + 0.5
while time.monotonic() < until:
    fabric.publish("b", Payload())
    gc.collect(0)
    subscription.poll_batch(8)
gc.collect()
timer.stop()
""")


def test_a_subscription_that_is_forgotten_in_the_del_of_what_it_holds():
    run_case("""
for _ in range(100):
    fabric = make()
    box = [fabric.subscribe("a", capacity=4)]
    for _ in range(6):
        fabric.publish("a", Payload(box.clear))
    box.clear()
    assert fabric.core.subscriptions() == []
""")


# Callbacks of Python


@pytest.mark.parametrize("how", ["weakref.ref(payload, told)", "weakref.finalize(payload, told, None)"])
def test_publishing_from_a_weakref_callback(how):
    run_case(f"""
fabric = make()
ghosts = fabric.subscribe("ghost", capacity=1000)
references = []
def told(_):
    fabric.publish("ghost", 1)
    fabric.publish("a", 2)
def publish(count):
    for _ in range(count):
        payload = Payload()
        references.append({how})
        fabric.publish("a", payload)
for overflow in ("drop-oldest", "drop-newest", "dead-letter"):
    subscription = fabric.subscribe("a", capacity=4, overflow=overflow, dead_letters_max=3)
    publish(20)
    subscription.poll()
    subscription.poll_batch(2)
    balanced(subscription.books_dict())
    subscription.close()
    del subscription
assert ghosts.books().offered == 60, ghosts.books()
""")


def test_publishing_from_callbacks_of_an_event_loop():
    run_case("""
async def main():
    async with make() as fabric:
        loop = asyncio.get_running_loop()
        subscription = fabric.subscribe("a", capacity=8, overflow="block", block_timeout="1 h")
        everything = fabric.subscribe("**", capacity=10_000)
        refused = []
        def publish(number):
            try: fabric.publish("a", number)
            except cf.WouldDeadlock: refused.append(number)
        async def receive(count):
            return [(await subscription.receive_async()).payload for _ in range(count)]
        receiver = asyncio.create_task(receive(300))
        await asyncio.sleep(0)
        for number in range(100):
            loop.call_soon(publish, number)
            loop.call_later(0.001 * (number % 7), publish, number)
            asyncio.create_task(asyncio.sleep(0)).add_done_callback(lambda _: publish(-1))
            await asyncio.sleep(0)
        while everything.books().offered < 300: await asyncio.sleep(0.001)
        receiver.cancel()
        with contextlib.suppress(asyncio.CancelledError): await receiver
        books = subscription.books()
        assert books.offered == 300 and books.dropped.get("would-deadlock", 0) == len(refused), (books, refused)
        subscription.close(); everything.close()
asyncio.run(main())
""")


def test_closing_and_leaving_from_callbacks_of_an_event_loop_while_its_tasks_wait():
    run_case("""
async def main(close):
    fabric = make()
    subscription = fabric.subscribe("a")
    full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="1 h")
    fabric.publish("full", 0)
    async def iterate(): return [event async for event in subscription]
    async def batches(): return [batch async for batch in subscription.batches_async(3)]
    async def publish(): await fabric.publish_async("full", 1)
    waits = [asyncio.create_task(each()) for each in (iterate, batches, subscription.receive_async, publish)]
    await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    if close == "fabric":
        loop.call_soon(lambda: fabric.close(drain=0))
    else:
        loop.call_soon(subscription.close)
        loop.call_soon(full.close)
    ends = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 10)
    assert ends[:2] == [[], []] and type(ends[2]) is cf.ClosedError, ends
    assert type(ends[3]) is cf.ClosedError if close == "fabric" else ends[3] is None, ends
for close in ("fabric", "subscriptions"):
    asyncio.run(main(close))
""")


@pytest.mark.parametrize(
    "act", ["fabric.close(drain=0)", "guards[0].close()", "subscription.close()", "fabric.publish('a', -1)"]
)
def test_the_python_action_of_a_guard(act):
    run_case(f"""
fabric = make()
subscription = fabric.subscribe("a", capacity=4)
acted = []
def action(event):
    acted.append(event)
    {act}
guards = [fabric.guard("g", on="a", when="value > 0", do=action)]
with contextlib.suppress(cf.ClosedError), fabric:
    fabric.publish("a", 1)
    wait_for(lambda: acted, "the action")
    for _ in range(100): fabric.publish("a", Payload())
""")


def test_a_handler_that_publishes_to_itself_for_ever_does_not_keep_closing_beyond_its_drain():
    run_case("""
fabric = make()
@fabric.on("a")
def again(event):
    with contextlib.suppress(cf.ClosedError):  # the last of them
        fabric.publish("a", event.payload + 1)
fabric.start()
fabric.publish("a", 0)
started = time.monotonic()
fabric.close(drain=0.2)
assert time.monotonic() - started < 5
assert fabric.core.subscriptions()[0]["delivered"] > 1
""")


# Generators and bodies of loops

GENERATORS = {
    "publishes on the same topic": "fabric.publish('a', 'between')",
    "publishes many on the same topic": "fabric.publish_many('a', [1, 2])",
    "closes the subscription": "subscription.close()",
    "closes the fabric": "fabric.close(drain=0)",
    "receives": "subscription.poll_batch(3)",
    "subscribes": "fabric.subscribe('a')",
    "makes and removes a guard": "fabric.guard(f'g{number}', on='a', when='value > 0').close()",
}


@pytest.mark.parametrize("how", GENERATORS)
def test_a_generator_given_to_publish_many_that(how):
    closes = how == "closes the fabric"
    run_case(f"""
for overflow in ("drop-oldest", "drop-newest", "dead-letter", "block"):
    fabric = make()
    subscription = fabric.subscribe("a", capacity=100, overflow=overflow, block_timeout=0)
    def several():
        for number in range(10):
            yield Payload()
            {GENERATORS[how]}
    try: count = fabric.publish_many("a", several())
    except cf.ClosedError: assert {closes} and subscription.books().offered == 1
    else: assert count == 10 and not {closes}
    balanced(subscription.books_dict())
""")


def test_a_generator_that_is_used_by_two_publishers_at_once_fails_in_one_of_them():
    run_case("""
fabric = make()
subscription = fabric.subscribe("a", capacity=100)
def several():
    yield Payload()
    with contextlib.suppress(ZeroDivisionError):
        fabric.publish_many("a", generator)
    yield Payload()
generator = several()
try: fabric.publish_many("a", generator)
except ValueError as error: assert "already executing" in str(error)
else: raise SystemExit("it was not noticed")
assert subscription.books().offered == 1
""")


@pytest.mark.parametrize("act", ["subscription.close()", "fabric.close(drain=0)"])
@pytest.mark.parametrize("over", ["subscription", "subscription.payloads()", "subscription.batches(2)"])
def test_a_loop_whose_body_closes_what_it_loops_over_ends(over, act):
    run_case(f"""
for overflow in ("drop-oldest", "block"):
    fabric = make()
    subscription = fabric.subscribe("a", capacity=100, overflow=overflow)
    fabric.publish_many("a", (Payload() for _ in range(10)))
    turns = 0
    for each in {over}:
        turns += 1
        if turns == 3: {act}
    assert turns == 3, turns
    assert subscription.books().delivered == (6 if "batches" in {over!r} else 3)
""")


@pytest.mark.parametrize("act", ["subscription.close()", "fabric.close(drain=0)"])
@pytest.mark.parametrize("over", ["subscription", "subscription.batches_async(2)"])
def test_an_asynchronous_loop_whose_body_closes_what_it_loops_over_ends(over, act):
    run_case(f"""
async def main():
    fabric = make()
    subscription = fabric.subscribe("a", capacity=100)
    fabric.publish_many("a", (Payload() for _ in range(10)))
    turns = 0
    async for each in {over}:
        turns += 1
        if turns == 3: {act}
    assert turns == 3, turns
asyncio.run(main())
""")


@pytest.mark.parametrize("act", ["subscription.close()", "fabric.close(drain=0)", "fabric.publish('a', 0)"])
@pytest.mark.parametrize("where", ["nbytes", "keys", "field"])
def test_python_code_of_a_payload_or_its_headers_that_runs_while_it_is_published(where, act):
    run_case(f"""
import collections.abc
class Telling(dict):
    told = 0
    def tell(self):
        Telling.told += 1
        if Telling.told % 3 == 1:
            {act}
    @property
    def nbytes(self):
        if {where == "nbytes"}: self.tell()
        return 10
    def __getitem__(self, key):
        if {where == "field"}: self.tell()
        return 1.0
class Headers(collections.abc.Mapping):
    def keys(self):
        if {where == "keys"}: Telling().tell()
        return ["x"]
    def __getitem__(self, key): return 1
    def __iter__(self): return iter(["x"])
    def __len__(self): return 1
for overflow in ("drop-oldest", "drop-newest", "dead-letter", "block"):
    fabric = make()
    subscription = fabric.subscribe("a", capacity=4, capacity_bytes=35, overflow=overflow, block_timeout=0)
    fabric.guard("g", on="a", when="value > 0")
    for _ in range(10):
        with contextlib.suppress(cf.ClosedError, cf.PublishTimeout):
            fabric.publish("a", Telling(value=1), headers=Headers())
assert Telling.told > 0
""")


# Signals

SIGNALLED = {
    "publishing one by one": "for _ in range(20_000): fabric.publish('a', Payload())",
    "publishing many": "fabric.publish_many('a', (Payload() for _ in range(20_000)))",
    "publishing on a guarded topic": """
guard = fabric.guard("g", on="a", when="value > 0")
for number in range(10_000): fabric.publish("a", number % 2)
guard.close()
""",
    "receiving": """
for _ in range(30): subscription.receive()
""",
    "iterating": """
for number, payload in enumerate(subscription.payloads()):
    if number == 30: break
""",
    "taking batches": """
taken = 0
for batch in subscription.batches(64):
    taken += len(batch)
    if taken >= 30: break
""",
    "waiting for room": """
full = fabric.subscribe("full", capacity=4, overflow="block", block_timeout="1 h")
seen = []
consumer, failures = in_threads(1, lambda _: seen.extend(full.payloads()))
fabric.publish_many("full", range(5_000))
wait_for(lambda: len(seen) == 5_000)
full.close(); consumer[0].join()
assert seen == list(range(5_000)) and not failures
""",
    "subscribing and leaving": """
for _ in range(2_000): fabric.subscribe("a", capacity=4).close()
""",
    "running an event loop": """
async def main():
    for _ in range(200): await subscription.receive_async()
asyncio.run(main())
""",
}


@pytest.mark.parametrize("what", SIGNALLED)
def test_publishing_from_a_signal_handler_while(what):
    run_case(f"""
fabric = make()
subscription = fabric.subscribe("a", capacity=8)
all_of_it = fabric.subscribe("a", capacity=4, overflow="dead-letter", dead_letters_max=4)
calls = []
def handler(*_):
    calls.append(1)
    fabric.publish("a", Payload())
    fabric.publish_many("a", [Payload(), Payload()])
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
try:
{textwrap.indent(SIGNALLED[what].strip(), "    ")}
    wait_for(lambda: calls, "a signal")
finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
published = fabric.topics()["a"]
assert subscription.books().offered == all_of_it.books().offered == published >= 3 * len(calls)
""")


@pytest.mark.parametrize("closes", ["subscription.close(); full.close()", "fabric.close(drain=0)"])
@pytest.mark.parametrize(
    "wait",
    ["subscription.receive()", "list(subscription)", "list(subscription.batches(2))", "fabric.publish('full', 1)"],
)
def test_closing_from_a_signal_handler_while_waiting(wait, closes):
    run_case(f"""
fabric = make()
subscription = fabric.subscribe("a")
full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="1 h")
fabric.publish("full", 0)
def handler(*_):
    {closes}
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.02)
with contextlib.suppress(cf.ClosedError):
    {wait}
assert subscription.closed
""")


# Many producers

PRODUCERS = """
threading.stack_size(128 * 1024)
fabric = make()
subscription = fabric.subscribe("a", capacity=2, overflow={overflow!r}, block_timeout="1 h", dead_letters_max=10)
received = []
consumer, failed = in_threads(1, lambda _: received.extend(subscription.payloads()))
published = 0
while published < {total}:
    wave = min({wave}, {total} - published)
    go = threading.Event()
    first = published
    def publish(number):
        go.wait()
        fabric.publish("a", first + number)
    threads, failures = in_threads(wave, publish)
    go.set()
    for thread in threads: thread.join()
    assert failures == [], failures[:3]
    published += wave
wait_for(lambda: subscription.pending == 0, "the consumer")
wait_for(lambda: len(received) == subscription.books().delivered, "what was delivered")
letters = [letter.event.payload for letter in subscription.dead_letters]
books = subscription.books()
assert books.offered == {total} == fabric.topics()["a"], books
assert len(received) == len(set(received)) and set(letters).isdisjoint(received)
assert not {overflow!r} == "block" or sorted(received) == list(range({total})), books
subscription.close()
consumer[0].join()
assert not failed, failed
print(f"{overflow}: {{books.delivered}} delivered, dropped {{dict(books.dropped)}}, "
      f"dead-lettered {{dict(books.dead_lettered)}}")
"""


@pytest.mark.parametrize("overflow", ["drop-oldest", "drop-newest", "dead-letter", "block"])
def test_65536_threads_publish_into_a_ring_of_two(overflow, proof):
    total, wave = (65_536, 2_000) if proof else (600, 200)
    finished = run_case(PRODUCERS.format(overflow=overflow, total=total, wave=wave), timeout_s=280)
    print(finished.output)


# Clocks


@settable_clock.needed
@pytest.mark.parametrize("source", ["system", "counter"])
def test_a_system_clock_that_is_set_back_takes_neither_stamps_nor_the_times_of_a_topic_back(
    source, tmp_path, monkeypatch
):
    library = settable_clock.library(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    run_case(f"""
set_ahead = ctypes.CDLL({str(library)!r}).set_ahead
set_ahead.argtypes = [ctypes.c_longlong]
fabric = make(clock={source!r})
before = fabric.clock.now()
set_ahead(-3_600_000_000_000)
assert {source!r} == "counter" or fabric.clock.now() < before, "the clock was not set back"
set_ahead(0)
both = fabric.subscribe("**", capacity=100_000)
full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="20 ms")
fabric.publish("full", 0)
stop = threading.Event()
def step(_):
    choice = random.Random(5)
    while not stop.is_set():
        set_ahead(choice.randrange(-10**13, 10**13))
        stop.wait(0.0005)
def publish(number):
    for _ in range(5_000): fabric.publish(f"topic/{{number % 2}}", number)
stepper, _ = in_threads(1, step)
publishers, failures = in_threads(3, publish)
for thread in publishers: thread.join()
stop.set()
stepper[0].join()
set_ahead(0)
assert failures == [], failures
events = list(both.poll_batch(100_000))
assert len(events) == 15_001
stamps = [event.stamp for event in events]
assert len(set(stamps)) == len(stamps), "a stamp was given twice"
for publisher in range(3):
    mine = [event for event in events if event.payload == publisher and event.topic != "full"]
    assert all(one.stamp < other.stamp and one.time <= other.time for one, other in itertools.pairwise(mine))
# Waiting goes on too, in either direction.
for ahead in (0, 50_000_000, 100_000_000):
    set_ahead(ahead)
    try: both.receive(timeout="5 ms")
    except cf.ReceiveTimeout: pass
    else: raise SystemExit("received what was not there")
    try: fabric.publish("full", 1)
    except cf.PublishTimeout: pass
    else: raise SystemExit("found room where there was none")
    both.poll()
""")


def test_a_source_that_is_swapped_while_nodes_run_stays_with_those_that_have_it():
    run_case("""
from chronofabric import clock
first, second = cf.SimulatedClock(start=10**12), cf.SimulatedClock(start=10**9)
clock.register("plant", first)
one = make(clock="plant")
seen = one.subscribe("a", capacity=100_000)
slow = one.subscribe("slow", capacity=1, overflow="block", block_timeout="1 s")
one.publish("slow", 0)
ends, stop = [], threading.Event()
def publish(_):
    while not stop.is_set(): one.publish("a", 1)
def receive(_):
    try: one.subscribe("quiet").receive(timeout="1 s")
    except cf.ReceiveTimeout: ends.append("receive")
def wait_for_room(_):
    try: one.publish("slow", 1)
    except cf.PublishTimeout: ends.append("publish")
def swap(_):
    for turn in range(300):
        clock.unregister("plant")
        clock.register("plant", (second, first)[turn % 2])
        fabric = cf.Fabric("new", clock="plant")
        assert fabric.clock.now() == (second, first)[turn % 2].now()
        fabric.close()
    clock.unregister("plant")
    clock.register("plant", second)
threads, failures = [], []
for body in (publish, receive, wait_for_room, swap):
    begun, failed = in_threads(1, body)
    threads += begun
    failures.append(failed)
threads[3].join()
two = make(clock="plant")
assert (one.core.now(), two.core.now()) == (10**12, 10**9)
wait_for(lambda: core.waiting() >= 2, "waiting")
second.advance("1 h")  # nobody waits on it
assert not ends
until = time.monotonic() + 20
while len(ends) < 2 and time.monotonic() < until:
    first.advance("100 ms")
    time.sleep(0.002)
stop.set()
for thread in threads: thread.join()
assert sorted(ends) == ["publish", "receive"] and not any(failures), (ends, failures)
events = list(seen.poll_batch(100_000))
assert all(10**12 <= event.time <= first.now() for event in events)
assert all(before.stamp < after.stamp and before.time <= after.time for before, after in itertools.pairwise(events))
clock.unregister("plant")
""")
