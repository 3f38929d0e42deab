"""Objects that go in any order, and events that are published from within others, each in a process of its own."""

from __future__ import annotations

import os
import sys

import pytest

from tests.bus.scripts import run_script

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals to a process and forks are POSIX")

DROPPED = {
    "events in the globals of a module, with the interpreter": """
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a"); measured = fabric.subscribe("a", capacity_bytes=100)
guard = fabric.guard("high", on="a", when="value > 0"); firings = fabric.subscribe("guard/high")
fabric.publish("a", 1, headers={"unit": "C"}); fabric.publish("a", 1, deadline="1 s"); fabric.publish_many("a", [1, 2])
kept = [subscription.receive(), subscription.receive(), subscription.poll_batch(9)]
kept += [measured.receive(), firings.receive(), iter(subscription), subscription.payloads()]
class Last:
    def __del__(self, event=kept[0], iterator=kept[-1], publisher=fabric.publisher("a")):
        event.topic, event.payload, event.headers, repr(event)
        for late in (lambda: publisher.publish(1, priority="high"), lambda: next(iterator)):
            try: late()
            except Exception: pass
sys.modules["last"] = Last()
""",
    "the payloads of a batch with the last of its events": """
import weakref
class Payload: pass
fabric = cf.Fabric("border"); subscription = fabric.subscribe("a"); events = iter(subscription)
payloads = [Payload() for _ in range(3)]; gone = [weakref.ref(payload) for payload in payloads]
fabric.publish_many("a", payloads); payloads.clear()
for _ in range(3): next(events)
assert [reference() for reference in gone] == [None] * 3
""",
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
assert next(iterators[0]).payload == 0 and next(iterators[1]) == 1 and next(iterators[2]).payloads == (2, 3)
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
assert batch.payloads == ([1], [2])
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
# A free-threaded interpreter leaves it to the thread that made the object to notice that it has gone.
wait_for(lambda: threads)
assert threads == [ident if getattr(sys, "_is_gil_enabled", lambda: True)() else threading.get_ident()]
assert ident != threading.get_ident()
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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="CPython counts every object before 3.12")
def test_what_lives_for_ever_is_not_counted():
    run_script("""
objects = [None, True, 5, "a", ()]
before = [sys.getrefcount(each) for each in objects]
fabric = cf.Fabric("border")
publisher, subscription = fabric.publisher("a"), fabric.subscribe("a")
for _ in range(20):
    for each in objects:
        for _ in range(300): publisher.publish(each)
        for _ in range(150): fabric.publish("a", each)
    publisher.publish_many(objects * 30)
    payloads = subscription.payloads()
    for _ in range(400): next(payloads)
    [event.payload for event in itertools.islice(subscription, 200)]
    subscription.poll_batch(9999).payloads
assert [sys.getrefcount(each) for each in objects] == before
""")


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
    try:
        fabric.publish_many("a", range(3))
    except cf.ClosedError:
        pass  # without the interpreter's lock, the handler closes in the middle of it
    wait_for(lambda: took)
assert took[0] < 4, took
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
