"""Every public exception of chronofabric.

All of them derive from `ChronofabricError`, and each carries what it talks about as attributes, not only in its text.
The text names the thing, its value, the limit, and the way out. The first argument is always the whole message;
attributes are keyword-only and have defaults, so that every error can be pickled and copied.

This module imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = [
    "AdmissionError",
    "AnswerError",
    "ArgumentError",
    "ChronofabricError",
    "ClockError",
    "ClosedError",
    "ConfigurationError",
    "DriftError",
    "ForkedError",
    "FormulaError",
    "GuardError",
    "JobLimitError",
    "NoAnswerer",
    "PatternError",
    "PayloadError",
    "Problem",
    "PublishTimeout",
    "ReceiveTimeout",
    "RequestTimeout",
    "SimulationError",
    "SinkError",
    "SourceError",
    "TimerLimitError",
    "TopicError",
    "TopicLimitError",
    "UnsupportedError",
    "WouldDeadlock",
]


class ChronofabricError(Exception):
    """Base of every error that chronofabric raises on purpose.

    Examples
    --------
    >>> try:
    ...     raise TopicLimitError("65536 topics exist already", topic="a/b", limit=65536)
    ... except ChronofabricError as error:
    ...     print(error)
    65536 topics exist already
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        """The whole message, as given."""
        return str(self.args[0]) if self.args else ""


class ArgumentError(ChronofabricError, ValueError):
    """An argument has a value that cannot be used.

    Attributes
    ----------
    argument : str or None
        The name of the argument, as the caller writes it.
    value : object
        The value that was given.
    hint : str or None
        What to write instead.

    Examples
    --------
    >>> error = ArgumentError("capacity is 0; it must be at least 1", argument="capacity", value=0)
    >>> error.argument, error.value
    ('capacity', 0)
    """

    def __init__(
        self, message: str = "", *, argument: str | None = None, value: object = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.argument = argument
        self.value = value
        self.hint = hint


class _TextError(ArgumentError):
    """An error at a place in a text that somebody wrote."""

    _argument = "text"

    def __init__(
        self,
        message: str = "",
        *,
        text: str | None = None,
        span: tuple[int, int] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, argument=self._argument, value=text, hint=hint)
        self.text = text
        self.span = span


class TopicError(_TextError):
    """A text is not a topic: non-empty segments joined by ``/``.

    Attributes
    ----------
    text : str or None
        The text that is not a topic.
    span : tuple of int or None
        First character that is wrong and the one after the last, counted from 0.
    hint : str or None
        What to write instead.
    """

    _argument = "topic"


class PatternError(_TextError):
    """A text is not a topic pattern; the message has a caret under the place.

    Attributes
    ----------
    text : str or None
        The text that is not a pattern.
    span : tuple of int or None
        First character that is wrong and the one after the last, counted from 0.
    hint : str or None
        What to write instead.
    """

    _argument = "pattern"


class FormulaError(_TextError):
    """A text is not a formula; the message has a caret under the place.

    Attributes
    ----------
    text : str or None
        The text that is not a formula.
    span : tuple of int or None
        First character that is wrong and the one after the last, counted from 0.
    hint : str or None
        What to write instead.
    """

    _argument = "formula"


class Problem(NamedTuple):
    """One thing that is wrong in a run file.

    Examples
    --------
    >>> print(Problem("plant.toml", 3, 1, "unknown key 'capcity'", "did you mean 'capacity'?"))
    plant.toml:3:1: unknown key 'capcity' (did you mean 'capacity'?)
    """

    file: str
    """The file as it was named."""
    line: int
    """The line, counted from 1; 0 where the whole file is meant."""
    column: int
    """The column, counted from 1; 0 where the whole line is meant."""
    message: str
    """What is wrong."""
    suggestion: str | None
    """What to do about it."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" + (f" ({self.suggestion})" if self.suggestion else "")


class ConfigurationError(ArgumentError):
    """A run file or a set of options cannot be used; it holds every problem found, not only the first.

    Attributes
    ----------
    problems : tuple of Problem
        Each with file, line, column, message and suggestion, in the order of the file.

    Examples
    --------
    >>> error = ConfigurationError(problems=[("plant.toml", 3, 1, "unknown key 'capcity'", None)])
    >>> print(error)
    1 problem in the configuration
      plant.toml:3:1: unknown key 'capcity'
    """

    def __init__(self, message: str = "", *, problems: Sequence[tuple[str, int, int, str, str | None]] = ()) -> None:
        self.problems = tuple(Problem(*problem) for problem in problems)
        if not message:
            count = len(self.problems)
            head = f"{count} problem{'' if count == 1 else 's'} in the configuration"
            message = "\n".join([head, *(f"  {problem}" for problem in self.problems)])
        super().__init__(message, argument="configuration")


class TopicLimitError(ChronofabricError):
    """The bus holds as many topics as it may.

    Attributes
    ----------
    topic : str or None
        The topic that was not made.
    limit : int or None
        How many topics the bus may hold.
    """

    def __init__(self, message: str = "", *, topic: str | None = None, limit: int | None = None) -> None:
        super().__init__(message)
        self.topic = topic
        self.limit = limit


class TimerLimitError(ChronofabricError):
    """As many timers are armed as may be.

    Attributes
    ----------
    limit : int or None
        How many that is.
    """

    def __init__(self, message: str = "", *, limit: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class JobLimitError(ChronofabricError):
    """As many jobs wait for a worker as may.

    Attributes
    ----------
    limit : int or None
        How many that is.
    """

    def __init__(self, message: str = "", *, limit: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class AdmissionError(ChronofabricError):
    """A task does not fit: with it, deadlines could be missed.

    Attributes
    ----------
    task : str or None
        The name of the task that was not admitted.
    answer : chronofabric.scheduler.Admission or None
        Why, and what would fit.
    """

    def __init__(self, message: str = "", *, task: str | None = None, answer: Any = None) -> None:
        super().__init__(message)
        self.task = task
        self.answer = answer


class ClosedError(ChronofabricError):
    """The object was closed and takes or gives nothing any more.

    Attributes
    ----------
    name : str or None
        The name of what is closed.
    """

    def __init__(self, message: str = "", *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class ForkedError(ChronofabricError):
    """The object belongs to the parent of a forked process and cannot be used in the child.

    Attributes
    ----------
    name : str or None
        The name of the object.
    owner_pid : int or None
        The process in which the object was made.
    """

    def __init__(self, message: str = "", *, name: str | None = None, owner_pid: int | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.owner_pid = owner_pid


class ReceiveTimeout(ChronofabricError, TimeoutError):
    """Nothing arrived within the timeout of a receive.

    Attributes
    ----------
    subscription : str or None
        The name of the subscription.
    timeout_ns : int or None
        The timeout in nanoseconds.

    Examples
    --------
    >>> isinstance(ReceiveTimeout("nothing within 10 ms"), TimeoutError)
    True
    """

    def __init__(self, message: str = "", *, subscription: str | None = None, timeout_ns: int | None = None) -> None:
        super().__init__(message)
        self.subscription = subscription
        self.timeout_ns = timeout_ns


class PublishTimeout(ChronofabricError, TimeoutError):
    """Full subscriptions with ``overflow="block"`` took no event within their timeout.

    Each of them counts one drop (``timeout``); every other subscription has the event.

    Attributes
    ----------
    topic : str or None
        The topic that was published.
    subscriptions : tuple of str
        The names of the subscriptions that did not get the event.
    timeout_ns : int or None
        The timeout in nanoseconds.
    """

    def __init__(
        self,
        message: str = "",
        *,
        topic: str | None = None,
        subscriptions: Sequence[str] = (),
        timeout_ns: int | None = None,
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.subscriptions = tuple(subscriptions)
        self.timeout_ns = timeout_ns


class NoAnswerer(ChronofabricError, LookupError):
    """Nobody can answer a request: no subscription matches its topic, or all who had it let go of it.

    Attributes
    ----------
    topic : str or None
        The topic of the request.
    """

    def __init__(self, message: str = "", *, topic: str | None = None) -> None:
        super().__init__(message)
        self.topic = topic


class RequestTimeout(ChronofabricError, TimeoutError):
    """A request was not answered within its timeout.

    Attributes
    ----------
    topic : str or None
        The topic of the request.
    timeout_ns : int or None
        The timeout in nanoseconds.
    """

    def __init__(self, message: str = "", *, topic: str | None = None, timeout_ns: int | None = None) -> None:
        super().__init__(message)
        self.topic = topic
        self.timeout_ns = timeout_ns


class AnswerError(ChronofabricError):
    """Who answered a request raised an exception, which is the ``__cause__``.

    Attributes
    ----------
    topic : str or None
        The topic of the request.
    traceback : str
        The traceback of the exception, as text.
    """

    def __init__(self, message: str = "", *, topic: str | None = None, traceback: str = "") -> None:
        super().__init__(message)
        self.topic = topic
        self.traceback = traceback


class WouldDeadlock(ChronofabricError, RuntimeError):
    """A publish or a request would wait for a subscription that only this same thread or event loop receives from.

    In a simulation also a receive that would wait in the thread that moves the time.

    Attributes
    ----------
    topic : str or None
        The topic that was published.
    subscriptions : tuple of str
        The names of the subscriptions that it would wait for.
    """

    def __init__(self, message: str = "", *, topic: str | None = None, subscriptions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.topic = topic
        self.subscriptions = tuple(subscriptions)


class PayloadError(ChronofabricError, TypeError):
    """A payload is not what its topic carries, or cannot be carried at all.

    Attributes
    ----------
    topic : str or None
        The topic that was published.
    kind : str or None
        The type of the payload.
    """

    def __init__(self, message: str = "", *, topic: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.topic = topic
        self.kind = kind


class ClockError(ChronofabricError):
    """A clock or time source cannot do what it was told.

    Attributes
    ----------
    clock : str or None
        The name of the time source.
    """

    def __init__(self, message: str = "", *, clock: str | None = None) -> None:
        super().__init__(message)
        self.clock = clock


class DriftError(ClockError):
    """A remote stamp lies further ahead of this node's clock than is accepted.

    Attributes
    ----------
    clock : str or None
        The name of the time source.
    drift_ns : int or None
        How far ahead the remote stamp lies, in nanoseconds.
    limit_ns : int or None
        How far it may, in nanoseconds.
    """

    def __init__(
        self,
        message: str = "",
        *,
        clock: str | None = None,
        drift_ns: int | None = None,
        limit_ns: int | None = None,
    ) -> None:
        super().__init__(message, clock=clock)
        self.drift_ns = drift_ns
        self.limit_ns = limit_ns


class SourceError(ChronofabricError):
    """A source cannot be opened, or broke while it ran.

    Attributes
    ----------
    source : str or None
        The name of the source.
    path : str or None
        The file it reads, if it reads one.
    line : int or None
        The line (row number in column formats) that broke, counted from 1.
    """

    def __init__(
        self, message: str = "", *, source: str | None = None, path: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.source = source
        self.path = path
        self.line = line


class SinkError(ChronofabricError):
    """A sink cannot be opened, or broke while it wrote.

    Attributes
    ----------
    sink : str or None
        The name of the sink.
    path : str or None
        The file it writes, if it writes one.
    """

    def __init__(self, message: str = "", *, sink: str | None = None, path: str | None = None) -> None:
        super().__init__(message)
        self.sink = sink
        self.path = path


class GuardError(ChronofabricError):
    """A guard cannot be made, or cannot judge what it is given.

    Attributes
    ----------
    guard : str or None
        The name of the guard.
    topic : str or None
        The topic whose event it could not judge.
    """

    def __init__(self, message: str = "", *, guard: str | None = None, topic: str | None = None) -> None:
        super().__init__(message)
        self.guard = guard
        self.topic = topic


class SimulationError(ChronofabricError, RuntimeError):
    """A simulation cannot go on as it was told to, or has not kept what it is asked for.

    Attributes
    ----------
    time_ns : int or None
        Where its time stands, in nanoseconds since the Unix epoch.
    """

    def __init__(self, message: str = "", *, time_ns: int | None = None) -> None:
        super().__init__(message)
        self.time_ns = time_ns


class UnsupportedError(ChronofabricError, NotImplementedError):
    """The option is known but does not work in this version or on this platform.

    Attributes
    ----------
    feature : str or None
        What was asked for.
    """

    def __init__(self, message: str = "", *, feature: str | None = None) -> None:
        super().__init__(message)
        self.feature = feature
