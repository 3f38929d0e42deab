"""The border between Python and Rust: signals, forks, the end of the interpreter, and objects dropped in any order.

Each case runs in a process of its own, because what is at stake is that process.
"""

from __future__ import annotations

import os

import pytest

from tests.bus.scripts import delay_ms, run_script

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals to a process and forks are POSIX")

INTERRUPTED = {
    "receive": "fabric.subscribe('a').receive()",
    "receive with a timeout": "fabric.subscribe('a').receive(timeout='1 h')",
    "iteration": "for event in fabric.subscribe('a'): pass",
    "payloads": "for payload in fabric.subscribe('a').payloads(): pass",
    "batches": "for batch in fabric.subscribe('a').batches(100): pass",
    "blocked publish": """
full = fabric.subscribe('a', capacity=1, overflow='block', block_timeout='1 h')
fabric.publish('a', 1)
fabric.publish('a', 2)
""",
    "blocked publish_many": """
full = fabric.subscribe('a', capacity=3, overflow='block', block_timeout='1 h')
fabric.publish_many('a', range(10))
""",
}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_control_c_ends_a_wait_of_the_main_thread(name, record_property):
    waiting = INTERRUPTED[name].strip().replace("\n", "\n    ")
    finished = run_script(f"""
fabric = cf.Fabric("border")
interrupt_when_waiting()
try:
    {waiting}
except KeyboardInterrupt:
    tell_delay()
for each in fabric.core.subscriptions():
    out = each["delivered"] + sum(each["dropped"].values()) + each["pending"]
    assert each["offered"] == out, each
fabric.close()
""")
    measured = delay_ms(finished)
    record_property("delay_ms", measured)
    print(f"{name}: {measured} ms from the signal to the end of the wait")
    assert measured < 1000


def test_control_c_ends_a_wait_on_simulated_time_that_nobody_advances():
    finished = run_script("""
fabric = cf.Fabric("border", clock=cf.SimulatedClock())
interrupt_when_waiting()
try:
    fabric.subscribe("a").receive(timeout="1 s")
except KeyboardInterrupt:
    tell_delay()
""")
    assert delay_ms(finished) < 1000


@pytest.mark.parametrize("duration", ["", "'1 h'"])
def test_control_c_ends_run_without_an_exception(duration):
    finished = run_script(f"""
with cf.Fabric("border") as fabric:
    interrupt_when(lambda: True)
    fabric.run({duration})
    tell_delay()
""")
    assert delay_ms(finished) < 1000


def test_control_c_ends_a_publish_of_endless_payloads_and_the_books_balance():
    finished = run_script("""
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a", capacity=4)
interrupt_when(lambda: fabric.core.topics() and fabric.core.topics()[0][1] > 0)
try:
    fabric.publish_many("a", itertools.repeat(1))
except KeyboardInterrupt:
    tell_delay()
books = subscription.books()
assert books.balanced and books.offered == fabric.topics()["a"], books
""")
    assert delay_ms(finished) < 1000


def test_control_c_ends_an_asynchronous_iteration():
    finished = run_script("""
import asyncio
async def main():
    async with cf.Fabric("border") as fabric:
        interrupt_when(lambda: True)
        async for event in fabric.subscribe("a"):
            pass
try:
    asyncio.run(main())
except KeyboardInterrupt:
    tell_delay()
""")
    assert delay_ms(finished) < 1000


def test_an_interrupt_that_nobody_catches_ends_the_process_as_python_does():
    finished = run_script(
        """
interrupt_when_waiting()
with cf.Fabric("border") as fabric:
    fabric.subscribe("a").receive()
""",
        code=-2,
        errors=None,
    )
    assert finished.errors.rstrip().endswith("KeyboardInterrupt")


def test_an_interrupt_while_closing_still_closes():
    run_script("""
fabric = cf.Fabric("border")
release = threading.Event()
@fabric.on("a")
def slow(event):
    release.wait()
subscription = fabric.subscribe("b")
other = threading.Thread(target=lambda: list(subscription))
other.start()
fabric.start()
fabric.publish_many("a", range(3))
wait_for(lambda: core.waiting() > 0)
interrupt_when(lambda: True)
try:
    fabric.close(drain="1 h")
except KeyboardInterrupt:
    tell_delay()
else:
    raise SystemExit("close was not interrupted")
release.set()
other.join(5)
assert not other.is_alive(), "who waited was not woken"
assert fabric.closed
fabric.close()
""")


def test_closing_wakes_every_other_waiting_thread():
    run_script("""
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a")
full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="1 h")
fabric.publish("full", 0)
ends = []
def ending(wait):
    def body():
        try:
            wait()
            ends.append("end")
        except cf.ClosedError:
            ends.append("closed")
    return body
waits = [subscription.receive, lambda: subscription.receive(timeout="1 h"), lambda: list(subscription),
         lambda: list(subscription.payloads()), lambda: list(subscription.batches(3)),
         lambda: fabric.publish("full", 1), lambda: fabric.publish_many("full", range(5))]
threads = [threading.Thread(target=ending(wait)) for wait in waits]
for thread in threads:
    thread.start()
wait_for(lambda: core.waiting() == len(waits), "waiting")
started = time.monotonic()
fabric.close(drain=0)
for thread in threads:
    thread.join(5)
    assert not thread.is_alive()
assert sorted(ends) == ["closed"] * 4 + ["end"] * 3, ends
assert time.monotonic() - started < 2
for books in fabric.core.subscriptions():
    assert books["offered"] == sum(books["dropped"].values()) + books["delivered"], books
""")


FORKED = """
import asyncio
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a", overflow="dead-letter", capacity=2)
iterator, payloads, batches = iter(subscription), subscription.payloads(), subscription.batches(2)
publisher = fabric.publisher("a")
guard = fabric.guard("g", on="a", when="value > 100", action="log")
@fabric.on("b")
def handler(event): pass
fabric.start()
fabric.publish_many("a", range(5))
kept = subscription.poll()
ticker = core.Timer(fabric.core, "ticks", 1_000_000)
# Others wait at the moment of the fork, and hold what they hold.
waiting = threading.Thread(target=lambda: list(fabric.subscribe("nothing")), daemon=True)
waiting.start()
wait_for(lambda: core.waiting() > 0)

def in_child():
    async def run(coroutine): return await coroutine
    calls = {
        "publish": lambda: fabric.publish("a", 1), "publish_many": lambda: fabric.publish_many("a", [1]),
        "publish_async": lambda: asyncio.run(run(fabric.publish_async("a", 1))),
        "publisher": lambda: fabric.publisher("c"), "publisher.publish": lambda: publisher.publish(1),
        "publisher.publish_many": lambda: publisher.publish_many([1]),
        "publisher.publish_async": lambda: asyncio.run(run(publisher.publish_async(1))),
        "subscribe": lambda: fabric.subscribe("c"), "on": lambda: fabric.on("c")(print),
        "guard": lambda: fabric.guard("h", on="a", when="value > 1"),
        "receive": subscription.receive, "receive_async": lambda: asyncio.run(run(subscription.receive_async())),
        "poll": subscription.poll, "poll_batch": lambda: subscription.poll_batch(3),
        "wait_ready": subscription.wait_ready,
        "next": lambda: next(iterator), "next payload": lambda: next(payloads), "next batch": lambda: next(batches),
        "pause": subscription.pause, "resume": subscription.resume, "books": subscription.books,
        "dead_letters": lambda: subscription.dead_letters, "take": subscription.take_dead_letters,
        "replay": subscription.replay_dead_letters, "close subscription": subscription.close,
        "latency": subscription.latency, "guard.close": guard.close, "guard.report": guard.report,
        "report": fabric.report, "topics": fabric.topics, "start": fabric.start, "run": lambda: fabric.run(0),
        "add_sink": lambda: fabric.add_sink(None), "add_source": lambda: fabric.add_source(None),
        "stamps": fabric.stamps.now, "close": fabric.close,
    }
    wrong = {}
    started = time.monotonic()
    for name, call in calls.items():
        try:
            wrong[name] = repr(call())
        except cf.ForkedError as error:
            if name != "stamps" and (error.owner_pid != os.getppid() or error.name != "border"):
                wrong[name] = repr(vars(error))
        except BaseException as error:
            wrong[name] = repr(error)
    if time.monotonic() - started > 2:
        wrong["time"] = time.monotonic() - started
    # An event is data, and stays; so does what was made here.
    assert kept.payload == 0 and kept.topic == "a"
    with cf.Fabric("child") as mine:
        own = mine.subscribe("a")
        mine.publish("a", 7)
        assert own.receive(timeout="1 s").payload == 7
    return wrong
"""


def test_in_a_forked_child_every_object_raises_forked_error():
    run_script(
        FORKED
        + """
child = os.fork()
if child == 0:
    wrong = in_child()
    if wrong:
        print(wrong, file=sys.stderr, flush=True)
    os._exit(1 if wrong else 0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
# The parent goes on as if nothing had happened.
fabric.publish("a", 9)
assert subscription.books().balanced
ticker.stop()
fabric.close()
"""
    )


def test_a_forked_child_drops_every_object_and_exits_by_itself():
    finished = run_script(
        FORKED
        + """
child = os.fork()
if child == 0:
    started = time.monotonic()
    del iterator, payloads, batches, publisher, guard, subscription, handler, ticker, fabric, kept
    gc.collect()
    print(f"dropped_s={time.monotonic() - started:.3f}", flush=True)
    sys.exit(0)
started = time.monotonic()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert time.monotonic() - started < 0.9, f"the child took {time.monotonic() - started} s to leave"
ticker.stop()
fabric.close()
"""
    )
    assert "dropped_s=0." in finished.output


def test_a_child_forked_inside_a_with_block_leaves_it_without_closing_the_parents_node():
    run_script("""
with cf.Fabric("border") as fabric:
    subscription = fabric.subscribe("a")
    fabric.publish("a", 1)
    child = os.fork()
    if child == 0:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert subscription.receive(timeout="1 s").payload == 1
""")


def test_a_child_forked_from_a_thread_hears_control_c():
    finished = run_script(
        """
fabric = cf.Fabric("border")
codes = []
def fork():
    child = os.fork()
    if child == 0:
        mine = cf.Fabric("child")
        interrupt_when_waiting()
        try:
            mine.subscribe("a").receive()
        except KeyboardInterrupt:
            tell_delay()
        mine.close()
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert codes == [0], codes
""",
        timeout_s=10,
    )
    assert delay_ms(finished) < 1000


INTERPRETER_ENDS = {
    "while threads wait": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a")
full = fabric.subscribe("full", capacity=1, overflow="block", block_timeout="1 h")
fabric.publish("full", 0)
def quiet(body):
    def run():
        try: body()
        except cf.ClosedError: pass
    return run
for wait in (subscription.receive, lambda: list(subscription), lambda: list(subscription.batches(2)),
             lambda: fabric.publish("full", 1)):
    threading.Thread(target=quiet(wait), daemon=True).start()
wait_for(lambda: core.waiting() == 4)
""",
    "while a thread waits on a fabric that nobody holds": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a")
del fabric
def quiet():
    try: subscription.receive()
    except cf.ClosedError: pass
threading.Thread(target=quiet, daemon=True).start()
wait_for(lambda: core.waiting() > 0)
""",
    "while daemon threads publish": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a", capacity=64)
blocking = fabric.subscribe("a", capacity=64, overflow="block", block_timeout="1 ms")
def publish(many):
    while True:
        try: fabric.publish_many("a", range(100)) if many else fabric.publish("a", object())
        except cf.PublishTimeout: pass
        except cf.ClosedError: return
for many in (False, True, False):
    threading.Thread(target=publish, args=(many,), daemon=True).start()
wait_for(lambda: fabric.report().topics["published"] > 1000)
""",
    "while a daemon thread publishes what Python makes": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a", capacity=8)
class Payload:
    def __del__(self): sum(range(50))
def make():
    while True: yield Payload()
def publish():
    try: fabric.publish_many("a", make())
    except cf.ClosedError: pass
threading.Thread(target=publish, daemon=True).start()
wait_for(lambda: fabric.report().topics["published"] > 1000)
""",
    "while a handler runs": """
fabric = cf.Fabric("border")
began = threading.Event()
@fabric.on("a")
def handler(event):
    began.set()
    for _ in range(10**9): pass
fabric.start()
fabric.publish_many("a", range(3))
began.wait()
""",
    "while a handler receives": """
fabric = cf.Fabric("border")
other = fabric.subscribe("never")
@fabric.on("a")
def handler(event):
    try: other.receive()
    except cf.ClosedError: pass
fabric.start()
fabric.publish("a", 1)
wait_for(lambda: core.waiting() > 0)
""",
    "with coroutine handlers": """
fabric = cf.Fabric("border")
seen = []
@fabric.on("a")
async def handler(event): seen.append(event.payload)
fabric.start()
fabric.publish_many("a", range(10))
wait_for(lambda: len(seen) == 10)
""",
    "with an unclosed fabric": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a")
fabric.publish_many("a", [object() for _ in range(10)])
""",
    "with a native timer": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("ticks", capacity=4)
ticker = core.Timer(fabric.core, "ticks", 100_000)
wait_for(lambda: ticker.published > 10)
""",
    "with a native timer that evicts Python objects": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("ticks", capacity=4)
ticker = core.Timer(fabric.core, "ticks", 10_000)
class Payload:
    def __del__(self): pass
for _ in range(10_000): fabric.publish("ticks", Payload())
""",
    "with a timer source": """
from chronofabric.fabric.sources import TimerSource
fabric = cf.Fabric("border")
fabric.add_source(TimerSource("ticks", rate="1 kHz"))
seen = fabric.subscribe("ticks")
fabric.start()
seen.receive(timeout="5 s")
""",
    "with a log and a command guard": """
fabric = cf.Fabric("border")
fabric.guard("logs", on="a", when="value > 0", action="log")
fabric.guard("commands", on="a", when="value > 0", action={"kind": "command", "command": ["true"]})
fabric.publish_many("a", [1, -1] * 20)
""",
    "with a guard whose action is Python": """
fabric = cf.Fabric("border")
fabric.guard("calls", on="a", when="value > 0", do=lambda event: None)
fabric.start()
fabric.publish_many("a", [1, -1] * 20)
""",
    "with a running loop that was left": """
import asyncio
fabric = cf.Fabric("border")
async def main():
    waiting = asyncio.ensure_future(fabric.subscribe("a").receive_async())
    await asyncio.sleep(0)
    waiting.cancel()
asyncio.run(main())
""",
    "while many fabrics are open": """
fabrics = [cf.Fabric(f"border-{number}") for number in range(20)]
subscriptions = [fabric.subscribe("a") for fabric in fabrics]
for fabric in fabrics: fabric.start(); fabric.publish("a", fabric)
""",
    "and objects go at the very end": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a")
fabric.publish("a", 1)
sys.kept = (fabric, subscription, subscription.poll(), iter(subscription), fabric.publisher("a"))
""",
    "and an exit function still publishes": """
import atexit
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a")
def last():
    fabric.publish("a", 1)
    assert subscription.poll().payload == 1
atexit.register(last)
""",
}


@pytest.mark.parametrize("name", INTERPRETER_ENDS)
def test_the_interpreter_ends_cleanly(name):
    logs = name == "with a log and a command guard"
    finished = run_script(INTERPRETER_ENDS[name], errors=None if logs else "")
    if logs:
        assert finished.errors.count("guard 'logs' fired on a") == 20


def test_the_interpreter_ends_soon_while_a_thread_waits_on_a_fabric_that_nobody_holds():
    finished = run_script(
        INTERPRETER_ENDS["while a thread waits on a fabric that nobody holds"]
        + """
import atexit
ended = time.monotonic
sys.began = time.monotonic()
class Last:
    def __del__(self, now=time.monotonic, began=sys.began, write=os.write):
        write(1, f"delay_ms={(now() - began) * 1e3:.1f}".encode())
sys.last = Last()
"""
    )
    assert delay_ms(finished) < 500


DROPPED = {
    "the fabric before its subscription": """
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a"); publisher = fabric.publisher("a")
del fabric; gc.collect()
publisher.publish(1)
assert subscription.receive(timeout="1 s").payload == 1
del publisher
assert subscription.poll() is None
del subscription
""",
    "the subscription from another thread": """
fabric = cf.Fabric("border"); box = [fabric.subscribe("a")]
fabric.publish_many("a", [object() for _ in range(100)])
thread = threading.Thread(target=box.clear); thread.start(); thread.join()
assert fabric.core.subscriptions() == []
fabric.publish("a", 1)
""",
    "an iterator that outlives everything": """
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a")
iterators = [iter(subscription), subscription.payloads(), subscription.batches(2)]
fabric.publish_many("a", range(4))
del subscription; gc.collect()
assert next(iterators[0]).payload == 0 and next(iterators[1]) == 1 and next(iterators[2]).payloads == [2, 3]
fabric.close(); del fabric; gc.collect()
for iterator in iterators: assert list(iterator) == []
""",
    "an event that outlives its fabric": """
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a")
fabric.publish("a", {"x": 1}, headers={"k": "v"}, deadline="1 s"); event = subscription.receive()
batch_fabric = cf.Fabric("other"); other = batch_fabric.subscribe("a"); batch_fabric.publish_many("a", [[1], [2]])
batch = other.poll_batch(5)
fabric.close(); batch_fabric.close(); del fabric, subscription, batch_fabric, other; gc.collect()
assert event.payload == {"x": 1} and event.headers["k"] == "v" and event.topic == "a" and event.deadline
assert batch.payloads == [[1], [2]]
""",
    "a publisher that outlives its fabric": """
fabric = cf.Fabric("border"); publisher = fabric.publisher("a")
del fabric; gc.collect()
publisher.publish(1)
closed = cf.Fabric("closed"); late = closed.publisher("a"); closed.close(); del closed; gc.collect()
try: late.publish(1)
except cf.ClosedError: pass
else: raise SystemExit("a closed fabric took an event")
""",
    "a payload that publishes when it goes, as a victim of overflow": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a", capacity=2); ghosts = fabric.subscribe("ghost", capacity=100_000)
class Payload:
    def __del__(self): fabric.publish("ghost", 1); fabric.publish("a", "in its place")
for _ in range(1000): fabric.publish("a", Payload())
subscription.close()
gc.collect()
assert ghosts.books().offered == 1000, ghosts.books()
assert subscription.books().balanced
""",
    "a payload that publishes when it goes, with its subscription": """
fabric = cf.Fabric("border"); ghosts = fabric.subscribe("ghost")
class Payload:
    def __del__(self): fabric.publish("ghost", 1)
for end in ("close", "del", "fabric"):
    subscription = fabric.subscribe("a", capacity=8, overflow="dead-letter")
    for _ in range(10): fabric.publish("a", Payload())
    if end == "close": subscription.close()
    del subscription
    gc.collect()
assert ghosts.books().offered == 30, ghosts.books()
""",
    "a payload that publishes when its fabric closes": """
fabric = cf.Fabric("border"); refused = []
subscription = fabric.subscribe("a")
class Payload:
    def __del__(self):
        try: fabric.publish("a", 1)
        except cf.ClosedError as error: refused.append(error)
for _ in range(10): fabric.publish("a", Payload())
fabric.close()
assert len(refused) == 10
""",
    "a payload that nobody wants": """
fabric = cf.Fabric("border"); gone = []
class Payload:
    def __del__(self): gone.append(1); fabric.publish("other", 1)
fabric.publish("a", Payload())
assert gone == [1]
""",
    "a payload whose last reference is on another thread": """
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a"); threads = []
class Payload:
    def __del__(self): threads.append(threading.get_ident())
fabric.publish("a", Payload())
def take(): subscription.receive()
thread = threading.Thread(target=take); thread.start(); ident = thread.ident; thread.join()
assert threads == [ident] and ident != threading.get_ident()
""",
    "events from one thread, payloads in another": """
fabric = cf.Fabric("border"); one = fabric.subscribe("a", capacity=16); two = fabric.subscribe("a", capacity=16)
gone = itertools.count()
class Payload:
    def __del__(self): next(gone)
def receive(subscription):
    for event in subscription: kept.append(event); del kept[:-8]
kept = []
threads = [threading.Thread(target=receive, args=(each,)) for each in (one, two, one)]
for thread in threads: thread.start()
for _ in range(5000): fabric.publish("a", Payload())
fabric.close()
for thread in threads: thread.join()
kept.clear(); gc.collect()
assert next(gone) == 5000
""",
    "reference cycles through payloads": """
import weakref
class Node: pass
alive = weakref.WeakSet()
for _ in range(20):
    fabric = cf.Fabric("border"); subscription = fabric.subscribe("a")
    node = Node(); alive.add(node)
    event_holder = Node(); alive.add(event_holder)
    fabric.publish("a", event_holder); event_holder.event = subscription.receive()
    event_holder.event = None
    node.itself = node; fabric.publish("a", node)
    fabric.close()
    del fabric, subscription, node, event_holder
gc.collect()
assert len(alive) == 0, len(alive)
""",
    "an exception in __del__": """
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a", capacity=1); ignored = []
sys.unraisablehook = lambda told: ignored.append(told.exc_type)
class Payload:
    def __del__(self): raise ValueError("gone badly")
for _ in range(5): fabric.publish("a", Payload())
assert ignored == [ValueError] * 4
assert subscription.books().dropped == {"overflow": 4}
subscription.close()
assert len(ignored) == 5
""",
    "everything in every order": """
import random
random_ = random.Random(7)
for trial in range(300):
    fabric = cf.Fabric("border")
    policy = random_.choice(["drop-oldest", "drop-newest", "dead-letter"])
    subscription = fabric.subscribe("**", capacity=4, overflow=policy)
    things = {"publisher": fabric.publisher("a"), "iterator": iter(subscription), "payloads": subscription.payloads(),
              "batches": subscription.batches(2), "guard": fabric.guard("g", on="a", when="value > 1")}
    for number in range(6): things["publisher"].publish(number)
    things["event"] = subscription.poll(); things["batch"] = subscription.poll_batch(2)
    things["letters"] = subscription.dead_letters
    things["fabric"], things["subscription"] = fabric, subscription
    del fabric, subscription
    names = list(things); random_.shuffle(names)
    thread = None
    for name in names:
        if random_.random() < 0.3:
            box = [things.pop(name)]; thread = threading.Thread(target=box.clear); thread.start()
            if random_.random() < 0.5: thread.join()
        else: things.pop(name)
    if thread: thread.join()
gc.collect()
""",
}


@pytest.mark.parametrize("name", DROPPED)
def test_objects_may_go_in_any_order(name):
    run_script(DROPPED[name])


RECURSIVE = {
    "from its own handler": """
with cf.Fabric("border") as fabric:
    seen = []
    @fabric.on("a", capacity=16)
    def again(event):
        seen.append(event.payload)
        if event.payload < 2000: fabric.publish("a", event.payload + 1)
    fabric.publish("a", 0)
    wait_for(lambda: len(seen) == 2001)
assert seen == list(range(2001))
""",
    "from its own blocking handler, which would wait for itself": """
with cf.Fabric("border") as fabric:
    refused = []
    @fabric.on("a", capacity=1, overflow="block")
    def again(event):
        if event.payload == 0:
            fabric.publish("a", 1)
            try: fabric.publish("a", 2)
            except cf.WouldDeadlock as error: refused.append(error.subscriptions)
    fabric.publish("a", 0)
    wait_for(lambda: refused)
""",
    "from the Python action of a guard on the same topic": """
with cf.Fabric("border") as fabric:
    fired = []
    def act(event):
        fired.append(event.payload["robustness"])
        if len(fired) < 20: fabric.publish("a", 0); fabric.publish("a", 2)
    guard = fabric.guard("g", on="a", when="value > 1", do=act)
    fabric.publish("a", 2)
    wait_for(lambda: len(fired) == 20)
    assert guard.fired == 20
""",
    "by guards in a circle": """
with cf.Fabric("border") as fabric:
    one = fabric.guard("one", on=["a", "c"], when="value > 0 or robustness > 0", publish="b")
    two = fabric.guard("two", on="b", when="robustness > 0", publish="c")
    fabric.publish("a", {"value": 1, "robustness": 1})
    assert one.fired >= 1 and two.fired >= 1
""",
    "from the property of a payload that a guard reads": """
with cf.Fabric("border") as fabric:
    import collections.abc
    class Reading(collections.abc.Mapping):
        depth = 0
        def __getitem__(self, key):
            if key != "value": raise KeyError(key)
            if Reading.depth < 50:
                Reading.depth += 1
                fabric.publish("a", Reading())
            return 5.0
        def __iter__(self): return iter(["value"])
        def __len__(self): return 1
    guard = fabric.guard("g", on="a", when="value > 1")
    fabric.publish("a", Reading())
    report = guard.report()
    assert (report["errors"], report["evaluated"], report["fired"]) == (0, 51, 1), report
""",
    "from a payload that is asked for its size on a guarded topic": """
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a", capacity_bytes=1000)
class Sized(dict):
    @property
    def nbytes(self):
        if len(asked) < 5: asked.append(1); fabric.publish("a", Sized(value=1))
        return 10
asked = []
guard = fabric.guard("g", on="a", when="value > 0")
fabric.publish("a", Sized(value=1))
assert subscription.books().balanced
""",
    "by several threads whose payloads are asked for their size on a guarded topic": """
sys.setswitchinterval(1e-5)
fabric = cf.Fabric("border")
subscription = fabric.subscribe("a", capacity_bytes=1000)
class Sized(dict):
    @property
    def nbytes(self): return sum(range(200)) // 1990
guard = fabric.guard("g", on="a", when="value > 0")
def publish():
    for _ in range(2000): fabric.publish("a", Sized(value=1))
threads = [threading.Thread(target=publish) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert subscription.books().offered == 6000
""",
}


@pytest.mark.parametrize("name", RECURSIVE)
def test_publishing_from_within(name):
    run_script(RECURSIVE[name], timeout_s=15)


def test_a_keyboard_interrupt_in_the_middle_of_publish_many_leaves_the_books_balanced():
    run_script("""
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a", capacity=10)
def payloads():
    yield 1; yield 2
    raise KeyboardInterrupt
try: fabric.publish_many("a", payloads())
except KeyboardInterrupt: pass
assert [subscription.receive().payload for _ in range(2)] == [1, 2] and subscription.poll() is None
assert subscription.books().balanced and subscription.books().offered == 2
""")


def test_closing_from_a_handler_does_not_wait_for_itself():
    run_script("""
with cf.Fabric("border") as fabric:
    took = []
    @fabric.on("a")
    def last(event):
        started = time.monotonic(); fabric.close(); took.append(time.monotonic() - started)
    fabric.publish_many("a", range(3))
    wait_for(lambda: took)
assert took[0] < 1, took
""")


def test_a_handler_that_exits_is_counted_and_the_others_go_on():
    finished = run_script(
        """
with cf.Fabric("border") as fabric:
    seen = []
    @fabric.on("a", name="exits")
    def exits(event): sys.exit(3)
    @fabric.on("b")
    def goes_on(event): seen.append(event.payload)
    fabric.publish("a", 1); fabric.publish("b", 2)
    wait_for(lambda: seen)
    assert [each["errors"] for each in fabric.report().handlers] == [1, 0]
""",
        errors=None,
    )
    assert "SystemExit: 3" in finished.errors
