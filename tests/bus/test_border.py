"""The border between Python and Rust: signals, forks, and the end of the interpreter.

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


def test_a_fork_comes_between_two_publishes_of_a_native_source():
    """The guard's function stands for any place in which such a publish can be: the child must not find it begun."""
    run_script("""
import ctypes
begun = ended = 0
@ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_double)
def act(time_ns, robustness):
    global begun, ended
    begun += 1
    time.sleep(0.01)
    ended += 1
fabric = cf.Fabric("border")
function = cf.NativeFunction(ctypes.cast(act, ctypes.c_void_p).value, keep=act)
ticker = core.Timer(fabric.core, "ticks", 1_000_000)
for turn in range(20):
    fabric.guard(f"g{turn}", on="ticks", when="tick >= 0", do=function)
    wait_for(lambda: begun > turn)
    child = os.fork()
    if child == 0:
        os._exit(begun - ended)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child found a publish begun"
ticker.stop()
fabric.close()
""")


def test_forks_while_native_sources_push_leave_children_that_work_and_end():
    run_script(
        """
import contextlib
class Payload:
    def __init__(self, holds): self.holds = holds
fabric = cf.Fabric("border")
policies = ("drop-oldest", "drop-newest", "dead-letter", "block")
subscriptions = [fabric.subscribe("**", overflow=policy, capacity=2, block_timeout="1 ms", dead_letters_max=4,
                                  order=order, name=f"{policy} {order}")
                 for policy in policies for order in ("publisher", "causal")]
tickers = [core.Timer(fabric.core, f"ticks/{number % 2}", 20_000) for number in range(4)]
for turn in range(60):
    for subscription in subscriptions:
        subscription.poll_batch(3)
    with contextlib.suppress(cf.PublishTimeout, cf.WouldDeadlock):
        fabric.publish("a", Payload(subscriptions))
    child = os.fork()
    if child == 0:
        wrong = 0
        calls = [lambda: fabric.publish("ticks/0", 1), subscriptions[-1].poll, subscriptions[0].close, fabric.close]
        for call in calls:
            try: call()
            except cf.ForkedError: pass
            else: wrong += 1
        for ticker in tickers: ticker.stop()
        with cf.Fabric("child") as mine:
            own = mine.subscribe("**", capacity=500)
            ticker = core.Timer(mine.core, "ticks", 20_000)
            mine.publish_many("a", range(300))
            wrong += own.receive(timeout="1 s").topic not in ("a", "ticks")
            ticker.stop()
        gc.collect()
        if turn % 2:
            del fabric, subscriptions, tickers, subscription, ticker, calls, call
            gc.collect()
            sys.exit(wrong)
        os._exit(wrong)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
for ticker in tickers: ticker.stop()
assert all(subscription.books().balanced for subscription in subscriptions)
fabric.close(drain=0)
""",
        timeout_s=60,
    )


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
