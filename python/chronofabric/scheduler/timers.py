"""Timers, and the thread in which Python is called for them."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeAlias
from weakref import WeakSet, finalize, ref

from chronofabric._core import bus as _bus
from chronofabric._core import clock as _clock
from chronofabric._core import scheduler as _scheduler
from chronofabric.duration import instant_ns, nanoseconds
from chronofabric.errors import ArgumentError, ClosedError
from chronofabric.scheduler.functions import arguments_needed, is_coroutine_function
from chronofabric.scheduler.promise import warn_below_switch_interval
from chronofabric.scheduler.realtime import Realtime, Refused, realtime_of

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime

    from chronofabric._core.scheduler import Timer
    from chronofabric.duration import Duration

__all__ = ["Action", "Instant", "Timers"]

Instant: TypeAlias = "datetime | _clock.Stamp | int"
"""A datetime with a time zone, a stamp, or integer nanoseconds since the Unix epoch."""

_STOP, _CALLS = 0, 1
_SERVED_AT_ONCE = 64
"""How many calls are made before others that share the thread get their turn."""

_ROWS_KEPT = 1024
"""How many periodic timers are reported, unless more are armed."""

_SPIN_NS_MAX = 1_000_000_000

_logger = logging.getLogger("chronofabric.timer")
_OPEN: WeakSet[Timers]


class _Native(Protocol):
    """What has the address of a C function, as `NativeFunction` does."""

    @property
    def address(self) -> int: ...


class _File(Protocol):
    """What has a file descriptor."""

    def fileno(self) -> int: ...


NativeAction: TypeAlias = "_bus.Flag | _bus.Publisher | _bus.PreparedPublish | _Native | _File"
"""What needs no interpreter: a flag to set, a publisher, one with a payload, a C function, a descriptor."""

Action: TypeAlias = "NativeAction | Callable[[], object]"
"""What a timer does. All but a callable needs no interpreter."""


def native(do: object) -> object | None:
    """Return what the Rust side does by itself, or None for what Python has to be called for."""
    if isinstance(do, (_bus.Flag, _bus.Publisher, _bus.PreparedPublish)):
        return do
    if type(getattr(do, "address", None)) is int:
        return do
    if callable(file := getattr(do, "fileno", None)):
        try:
            return (file(),)
        except (OSError, ValueError) as error:
            hint = "give an object with a file descriptor that is open"
            raise ArgumentError(f"do is {do!r}; {hint}", argument="do", value=do, hint=hint) from error
    return None


class Target:
    """What Python is called for: a function, its budget, and what became of its calls."""

    __slots__ = ("asynchronous", "budget_ns", "error", "function", "learnt", "name", "overruns")

    def __init__(self, function: Callable[..., Any], name: str, budget_ns: int | None) -> None:
        self.function = function
        self.name = name
        self.budget_ns = budget_ns
        self.asynchronous = is_coroutine_function(function)
        self.overruns = 0
        self.error: str | None = None
        self.learnt: _scheduler.ExecutionTime | None = None
        """How long its calls took, where that is reported."""


class Periodic(NamedTuple):
    """A timer that fires again and again, with what its row of a report shows."""

    timer: Timer
    name: str
    period_ns: int
    first_ns: int
    tolerance_ns: int
    target: Target | None

    def begin(self, now_ns: int) -> None:
        """Arm it for its first tick."""
        self.timer.rearm_at(min(now_ns + self.first_ns, 2**63 - 1))

    def report(self) -> dict[str, Any]:
        """Return its figures."""
        target = self.target
        head = {"name": self.name, "period_ns": self.period_ns, "tolerance_ns": self.tolerance_ns}
        budget: dict[str, Any] = {"budget_ns": None, "overruns": 0, "error": None, "execution_ns": None}
        if target is not None:
            learnt = None if target.learnt is None else target.learnt.report()
            budget = {
                "budget_ns": target.budget_ns,
                "overruns": target.overruns,
                "error": target.error,
                "execution_ns": learnt,
            }
        return head | budget | self.timer.report()


class Timers:
    """Timers over one time source, and the threads that fire them and call Python for them.

    Timers may be armed, cancelled and armed again from any thread. Entered with ``async with``, functions and
    coroutines are called on the running loop; otherwise functions are called in a thread of the timers. On a simulated
    clock there is no thread: what is due is done, in order, by whoever moves the time.

    Parameters
    ----------
    name
        Its name, in messages.
    clock
        Where the time comes from: the name of a registered time source or a time source.
    timers_max
        How many timers may be armed at a time.
    spin
        How long before an instant the firing thread is awake: ``"auto"`` for as long as its sleeps have lately ended
        late (10 to 200 us), or a duration; ``0`` sleeps to the end. The thread that calls Python is awake as early.
    realtime
        What the firing thread asks of the system.

    Raises
    ------
    ArgumentError
        An argument has a value that cannot be used.

    References
    ----------
    G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987.

    Examples
    --------
    >>> import chronofabric as cf
    >>> flag = cf.Flag()
    >>> clock = cf.SimulatedClock()
    >>> with cf.scheduler.Timers(clock=clock) as timers:
    ...     timer = timers.after("5 ms", flag)
    ...     _ = clock.advance("5 ms")
    ...     flag.is_set(), timer.armed
    (True, False)
    """

    def __init__(
        self,
        name: str = "timers",
        *,
        clock: str | _clock.TimeSource = "counter",
        timers_max: int = 1 << 20,
        spin: Duration = "auto",
        realtime: Realtime | None = None,
    ) -> None:
        self._wakeups = _bus.Wakeups()
        self._begin(name, clock, self._wakeups, _CALLS, timers_max=timers_max, spin=spin, realtime=realtime)

    def _begin(
        self,
        name: str,
        clock: str | _clock.TimeSource,
        wakeups: _bus.Wakeups,
        token: int,
        *,
        timers_max: int,
        spin: Duration,
        realtime: Realtime | None,
    ) -> None:
        if not isinstance(name, str) or not name:  # type: ignore[redundant-expr]
            hint = "it must be a text that is not empty"
            raise ArgumentError(f"name is {name!r}; {hint}", argument="name", value=name, hint=hint)
        checked_count("timers_max", timers_max)
        spin_ns = None if isinstance(spin, str) and spin == "auto" else nanoseconds(spin, argument="spin")
        if spin_ns is not None and spin_ns > _SPIN_NS_MAX:
            hint = "it must be 'auto', or at most 1 s"
            raise ArgumentError(f"spin is {spin!r}; {hint}", argument="spin", value=spin, hint=hint)
        asked = realtime_of(realtime).options()
        self._core = _scheduler.Timers(
            name, clock, wakeups, token, timers_max=timers_max, spin_ns=spin_ns, realtime=asked
        )
        self._name = name
        self._token = token
        self._shared = wakeups
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sleepers: set[_bus.Flag] = set()
        self._rows: list[Periodic] = []
        self.failed: Callable[[str, BaseException], object] | None = None
        self._running = 0
        self._closed = False
        known = ref(self)

        def serve() -> None:
            if (it := known()) is not None:
                it.serve()

        self._core.attend(serve)
        _OPEN.add(self)

    # Arming

    def at(self, instant: Instant, do: Action, *, tolerance: Duration = "1 ms", name: str | None = None) -> Timer:
        """Fire once, at an instant; one that has passed fires at once.

        Parameters
        ----------
        instant
            A datetime with a time zone, a stamp, or integer nanoseconds since the Unix epoch.
        do
            A `Flag` to raise, a `Publisher` to publish with, one with a payload (`Publisher.prepare`), a
            `NativeFunction` to call, or an object with a non-blocking file descriptor to write a one of eight bytes to:
            these need no interpreter. Or a function or coroutine function without arguments.
        tolerance
            A start or an end later than this counts as late.
        name
            The name of a function in messages; by default its own.

        Raises
        ------
        ArgumentError
            An argument has a value that cannot be used.
        TimerLimitError
            As many timers are armed as may be.
        ClosedError
            The timers are closed.

        Examples
        --------
        >>> import chronofabric as cf
        >>> from datetime import UTC, datetime
        >>> clock = cf.SimulatedClock()
        >>> with cf.scheduler.Timers(clock=clock) as timers:
        ...     _ = timers.at(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), lambda: print("one second past"))
        ...     _ = clock.advance("1 s")
        one second past
        """
        due_ns = instant if type(instant) is int else _instant_ns(instant)
        timer = self._timer(do, name, tolerance)
        timer.rearm_at(due_ns)
        return timer

    def after(self, delay: Duration, do: Action, *, tolerance: Duration = "1 ms", name: str | None = None) -> Timer:
        """Fire once, after a delay.

        Parameters
        ----------
        delay
            How long from now.
        do, tolerance, name
            As for `at`.

        Raises
        ------
        ArgumentError, TimerLimitError, ClosedError
            As for `at`.

        Examples
        --------
        >>> import chronofabric as cf
        >>> silent = cf.Flag()
        >>> with cf.scheduler.Timers() as timers:
        ...     watchdog = timers.after("1 s", silent)
        ...     watchdog.rearm("2 s")  # a sign of life
        ...     watchdog.cancel()
        True
        """
        due_ns = self._core.now() + nanoseconds(delay, argument="delay")
        timer = self._timer(do, name, tolerance)
        timer.rearm_at(min(due_ns, 2**63 - 1))
        return timer

    def every(
        self,
        period: Duration,
        do: Action,
        *,
        first: Duration | None = None,
        missed: str = "skip",
        busy: str = "coalesce",
        waiting_max: int = 1024,
        budget: Duration | None = None,
        tolerance: Duration = "1 ms",
        name: str | None = None,
    ) -> Timer:
        """Fire again and again, on a grid that does not drift.

        Parameters
        ----------
        period
            From one tick to the next. Where Python is to be called, and sooner than its switch interval (5 ms by
            default), that is warned of in the log: a busy thread may keep the interpreter as long.
        do, tolerance, name
            As for `at`.
        first
            When the first tick is, from now; by default one period.
        missed
            What becomes of ticks whose time has passed: ``"skip"`` leaves them out and counts them, ``"catch-up"``
            fires each of them, ``"delay"`` moves the grid so that the next tick is one period after this one.
        busy
            What becomes of a tick while the one before still waits for the interpreter, or for the end of the call
            before it: ``"coalesce"`` calls once for both, ``"queue"`` calls for each, as long as at most `waiting_max`
            wait. Calls of one timer never overlap, those of a coroutine function neither.
        budget
            How long one call may take; longer ones are counted and reported.

        Raises
        ------
        ArgumentError
            An argument has a value that cannot be used, such as a budget beyond the period.
        TimerLimitError, ClosedError
            As for `at`.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.scheduler.Timers(clock=clock) as timers:
        ...     timer = timers.every("10 ms", cf.Flag())
        ...     _ = clock.advance("35 ms")
        >>> timer.report()["fired"]
        3
        """
        row = self._periodic(
            period,
            do,
            first=first,
            missed=missed,
            busy=busy,
            waiting_max=waiting_max,
            budget=budget,
            tolerance=tolerance,
            name=name,
        )
        row.begin(self._core.now())
        return row.timer

    def sleep_until(self, instant: Instant) -> None:
        """Let the calling thread sleep until an instant; the firing thread wakes it, without the interpreter.

        Where the interpreter is busy, the thread still waits for its turn once it is awake. On a simulated clock
        another thread has to move the time.

        Parameters
        ----------
        instant
            As for `at`; one that has passed does not keep the thread.

        Raises
        ------
        ArgumentError
            It is no instant.
        ClosedError
            The timers are closed, or were closed meanwhile.

        Examples
        --------
        >>> import chronofabric as cf
        >>> with cf.scheduler.Timers() as timers:
        ...     due_ns = timers.now() + 1_000_000
        ...     timers.sleep_until(due_ns)
        ...     timers.now() >= due_ns
        True
        """
        due_ns = instant if type(instant) is int else _instant_ns(instant)
        awake = _bus.Flag()
        timer = self._timer(awake, None, 0)
        with self._lock:
            self._sleepers.add(awake)
        try:
            timer.rearm_at(due_ns)
            awake.wait()
        finally:
            with self._lock:
                self._sleepers.discard(awake)
            timer.cancel()
        if self._core.now() < due_ns:
            raise ClosedError(f"timers '{self._name}' were closed before the instant", name=self._name)

    def _take_back(self) -> int:
        """Take all timers back, and wake who sleeps for one."""
        armed = self._core.close()
        with self._lock:
            sleepers = list(self._sleepers)
        for sleeper in sleepers:
            sleeper.set()
        return armed

    def _periodic(
        self,
        period: Duration,
        do: Action,
        *,
        first: Duration | None = None,
        missed: str = "skip",
        busy: str = "coalesce",
        waiting_max: int = 1024,
        budget: Duration | None = None,
        tolerance: Duration = "1 ms",
        name: str | None = None,
    ) -> Periodic:
        """Make what `every` makes, without arming it."""
        period_ns = nanoseconds(period, argument="period", positive=True)
        first_ns = period_ns if first is None else nanoseconds(first, argument="first")
        one_of("missed", missed, ("skip", "catch-up", "delay"))
        one_of("busy", busy, ("coalesce", "queue"))
        checked_count("waiting_max", waiting_max)
        budget_ns = None if budget is None else nanoseconds(budget, argument="budget", positive=True)
        if budget_ns is not None and budget_ns > period_ns:
            hint = f"one call may take at most the period of {period_ns} ns; give less, or a longer period"
            raise ArgumentError(f"budget is {budget!r}; {hint}", argument="budget", value=budget, hint=hint)
        tolerance_ns = nanoseconds(tolerance, argument="tolerance")
        act = self._act(do, name, budget_ns)
        timer = self._core.timer(
            act,
            period_ns=period_ns,
            missed=missed,
            waiting_max=waiting_max if busy == "queue" else 1,
            tolerance_ns=tolerance_ns,
            measured=True,
        )
        target = act if isinstance(act, Target) else None
        if target is not None:
            target.learnt = _scheduler.ExecutionTime()
            if not self._core.simulated:
                warn_below_switch_interval(f"timer {target.name}", period_ns, self._switch_interval_s)
        called = target.name if target is not None else name or type(do).__name__
        row = Periodic(timer, called, period_ns, first_ns, tolerance_ns, target)
        with self._lock:
            if len(self._rows) >= _ROWS_KEPT:
                self._rows = [each for each in self._rows if each.timer.armed]
            self._rows.append(row)
        return row

    def _periodic_for(self, target: Target | _scheduler.NativeTask, period_ns: int, missed: str) -> Timer:
        """Make a timer that is not armed and calls for each of its ticks, for what is built on these."""
        if isinstance(target, Target):
            self._need_caller(target)
        return self._core.timer(target, period_ns=period_ns, missed=missed, waiting_max=1024, measured=True)

    def _once_for(self, target: Target | _scheduler.NativeTask) -> Timer:
        """Make a timer that is not armed and calls once, for what is built on these."""
        if isinstance(target, Target):
            self._need_caller(target)
        return self._core.timer(target)

    def _timer(self, do: Action, name: str | None, tolerance: Duration) -> Timer:
        tolerance_ns = nanoseconds(tolerance, argument="tolerance")
        return self._core.timer(self._act(do, name, None), tolerance_ns=tolerance_ns)

    def _act(self, do: Action, name: str | None, budget_ns: int | None) -> object:
        """Turn what a user gives into what the Rust side tells apart."""
        if (act := native(do)) is not None:
            return act
        if not callable(do):
            hint = "give a cf.Flag, a publisher, a cf.NativeFunction, an object with a file descriptor, or a callable"
            raise ArgumentError(f"do is {do!r}; {hint}", argument="do", value=do, hint=hint)
        called = name or getattr(do, "__qualname__", None) or repr(do)
        if (needed := arguments_needed(do)) > 0:
            hint = "give one without parameters, or functools.partial with what it needs"
            text = f"'{called}' cannot be called without arguments, of which it needs {needed}; {hint}"
            raise ArgumentError(text, argument="do", value=do, hint=hint)
        target = Target(do, called, budget_ns)
        self._need_caller(target)
        return target

    # Calling Python

    _switch_interval_s: float | None = None
    """The switch interval that holds while they are in use, where that is another than at present."""

    def _need_caller(self, target: Target) -> None:
        """See to it that somebody makes the calls that are handed over."""
        if self._loop is not None or self._closed:
            return
        if target.asynchronous:
            hint = "enter the timers with 'async with', so that there is a loop for coroutines"
            text = f"'{target.name}' is a coroutine function; {hint}"
            raise ArgumentError(text, argument="do", value=target.function, hint=hint)
        with self._lock:
            if self._thread is None and not self._core.simulated:
                known = ref(self)
                name = f"chronofabric-{self._name}"
                self._thread = threading.Thread(target=_run, args=(known, self._wakeups), name=name, daemon=True)
                self._thread.start()
                finalize(self, _end, self._wakeups, os.getpid()).atexit = False

    def serve(self) -> None:
        """Make the calls that wait, a fair share at a time."""
        for _ in range(_SERVED_AT_ONCE):
            call = self._core.take()
            if call is None:
                return
            self._call(call)
        if self._core.waiting:
            self._shared.wake_with(self._token)

    def _call(self, call: _scheduler.Call) -> None:
        target: Target = call.target
        if target.asynchronous:
            self._spawn(call, target)
            return
        self._running += 1
        started_ns = self._core.now()
        try:
            target.function()
        except BaseException as error:  # noqa: BLE001 - whatever a function raises, SystemExit too, the timers go on
            self._ended(call, target, started_ns, error)
        else:
            self._ended(call, target, started_ns, None)

    async def _await(self, call: _scheduler.Call, target: Target) -> None:
        import asyncio

        self._running += 1
        started_ns = self._core.now()
        try:
            await target.function()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self._ended(call, target, started_ns, None)  # closing, or the end of the loop: no failure of its own
                raise
            self._ended(call, target, started_ns, error)  # what it awaited was cancelled, not it
        except (KeyboardInterrupt, GeneratorExit) as error:
            self._ended(call, target, started_ns, error)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a coroutine raises, SystemExit too, the timers go on
            self._ended(call, target, started_ns, error)
        else:
            self._ended(call, target, started_ns, None)
        if self._core.simulated:
            self.serve()  # what waited for its end: nobody else is told

    def _spawn(self, call: _scheduler.Call, target: Target) -> None:
        """Start a coroutine on the loop, from whatever thread."""
        import asyncio

        loop = self._loop
        assert loop is not None

        def start() -> None:
            task = loop.create_task(self._await(call, target), name=f"timer {target.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        if asyncio._get_running_loop() is loop:
            start()
        else:
            loop.call_soon_threadsafe(start)

    def _ended(self, call: _scheduler.Call, target: Target, started_ns: int, error: BaseException | None) -> None:
        self._running -= 1
        call.completed(error is not None)
        took_ns = self._core.now() - started_ns
        if target.learnt is not None:
            target.learnt.observe(took_ns)
        if target.budget_ns is not None and took_ns > target.budget_ns:
            target.overruns += 1
            _logger.warning("timer %s took %d ns of its budget of %d ns", target.name, took_ns, target.budget_ns)
        if error is not None:
            target.error = f"{type(error).__name__}: {error}"
            _logger.error("timer %s failed", target.name, exc_info=error)
            if self.failed is not None:
                self.failed(target.name, error)

    # What it is and did

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def forked(self) -> bool:
        """Whether this is a forked child of the process that made it; it is of no use there."""
        return self._core.forked

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def now(self) -> int:
        """Return the time of its clock, in nanoseconds since the Unix epoch."""
        return self._core.now()

    @property
    def next_due_ns(self) -> int | None:
        """When the next timer is due, in nanoseconds since the Unix epoch."""
        return self._core.next_due_ns

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What was asked of the system and refused; known once the first timer was armed on a real clock."""
        return tuple(Refused(*refused) for refused in self._core.refused)

    def fire_due(self) -> None:
        """Fire what is due, in the calling thread: for who moves simulated time by other means than its clock."""
        self._core.fire_due()

    def report(self) -> dict[str, Any]:
        """Return the figures of all timers that fire once, and under ``periodic`` a row of each that fires again.

        ``native_start_ns`` is how long after its instant the firing thread came to a timer, ``python_start_ns`` when
        the interpreter did, ``completion_ns`` when a call of Python had ended.

        Examples
        --------
        >>> import chronofabric as cf
        >>> clock = cf.SimulatedClock()
        >>> with cf.scheduler.Timers(clock=clock) as timers:
        ...     _ = timers.after("1 s", cf.Flag())
        ...     _ = clock.advance("1 s")
        ...     report = timers.report()
        >>> report["fired"], report["late_starts"]
        (1, 0)
        """
        with self._lock:
            rows = list(self._rows)
        return self._core.report() | {"periodic": tuple(row.report() for row in rows)}

    @property
    def idle(self) -> bool:
        """Whether no call of Python waits or runs."""
        return self._running == 0 and self._core.waiting == 0

    def __len__(self) -> int:
        """How many timers are armed."""
        return len(self._core)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._core)} armed"
        return f"Timers('{self._name}', {state})"

    # Its life

    def close(self) -> int:
        """Take all timers back, and wait for the call that runs; return how many were armed.

        Calls of Python that wait are not made any more; reports count them as ``discarded``. A call or a native action
        that does not return within 5 s is left behind. Calling it again does nothing more.
        """
        if self._core.forked:
            return 0
        with self._lock:
            if self._closed:
                return 0
            self._closed = True
            thread = self._thread
        armed = self._take_back()
        self._core.discard()
        if thread is not None:
            self._wakeups.wake_with(_STOP)
            if thread is not threading.current_thread():
                thread.join(_FINISH_S)
        for task in list(self._tasks):
            task.cancel()
        return armed

    def __enter__(self) -> Self:
        if self._closed:
            raise ClosedError(f"timers '{self._name}' are closed", name=self._name)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        import asyncio

        self.__enter__()
        self._loop = asyncio.get_running_loop()
        known = ref(self)

        def serve() -> None:
            self._wakeups.take()
            if (it := known()) is not None:
                it.serve()

        try:
            self._loop.add_reader(self._wakeups.fileno(), serve)
        except (NotImplementedError, AttributeError):
            # The proactor loop of Windows watches no descriptors; it is woken through itself.
            loop = self._loop
            self._wakeups.call(lambda: not loop.is_closed() and loop.call_soon_threadsafe(serve))
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        tasks = list(self._tasks)
        self.close()
        # A loop that is woken through itself has nothing to remove.
        with contextlib.suppress(NotImplementedError, AttributeError, OSError):
            asyncio.get_running_loop().remove_reader(self._wakeups.fileno())
        await asyncio.gather(*tasks, return_exceptions=True)


_FINISH_S = 5.0
"""How long closing waits for a call of Python that runs; one that never returns is left behind."""


def _run(known: ref[Timers], wakeups: _bus.Wakeups) -> None:
    """Make the calls in a thread of their own, until it is told to stop or nobody refers to the timers any more."""
    while True:
        tokens = wakeups.wait()
        timers = known()
        if timers is None or _STOP in tokens:
            return
        timers.serve()
        del timers


def _end(wakeups: _bus.Wakeups, pid: int) -> None:
    """Have the thread of timers that nobody refers to any more end; a forked child has none."""
    if os.getpid() == pid:
        wakeups.wake_with(_STOP)


def checked_count(argument: str, value: object) -> None:
    """Refuse what is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        hint = "it must be a whole number of at least 1, and less than 2^31"
        raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)


def one_of(argument: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse what is not among the allowed texts."""
    if value not in allowed:
        hint = f"it must be {', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}"
        raise ArgumentError(f"{argument} is {value!r}; {hint}", argument=argument, value=value, hint=hint)


def _instant_ns(instant: Instant) -> int:
    from datetime import datetime

    if isinstance(instant, datetime):
        return instant_ns(instant, argument="instant")
    if isinstance(instant, _clock.Stamp):
        return instant.time
    hint = "it must be a datetime with a time zone, a stamp, or integer nanoseconds since the Unix epoch"
    raise ArgumentError(f"instant is {instant!r}; {hint}", argument="instant", value=instant, hint=hint)


_OPEN = WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is open before the interpreter ends."""
    for timers in list(_OPEN):
        timers.close()
