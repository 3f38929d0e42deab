"""Formulas of signal temporal logic and their monitors."""

from typing import ClassVar, SupportsFloat, SupportsIndex, final

__all__ = ["Formula", "Monitor", "Verdict", "check_condition"]

def check_condition(formula: str | Formula) -> None:
    """Refuse a formula that a filter cannot judge each event by.

    Parameters
    ----------
    formula
        A formula, or its text.

    Raises
    ------
    chronofabric.FormulaError
        The text is no formula, or it looks into the past.

    Examples
    --------
    >>> from chronofabric._core.logic import check_condition
    >>> check_condition("value > 50 and unit_ok == 1")
    """

@final
class Formula:
    """A formula of signal temporal logic over sampled signals, its past fragment.

    Formulas are immutable, may be shared between threads, and are equal if they mean the same written canonically.

    Parameters
    ----------
    text
        Such as ``"historically[0, 2 s](value > 80)"``: comparisons of signals, ``not``, ``and``, ``or``, ``implies``,
        and over bounded windows of the past ``once``, ``historically`` and ``since``.

    Raises
    ------
    chronofabric.FormulaError
        The text is not a formula; the message has a caret under the place.

    References
    ----------
    O. Maler and D. Nickovic, "Monitoring Temporal Properties of Continuous Signals", FORMATS 2004.

    Examples
    --------
    >>> from chronofabric.logic import Formula
    >>> formula = Formula("historically[0, 2 s](value>80) and not once[0,1 min] (ack == 1)")
    >>> print(formula)
    historically[0, 2 s](value > 80) and not once[0, 1 min](ack == 1)
    >>> formula.signals, formula.horizon_ns
    (['value', 'ack'], 60000000000)
    >>> Formula("value >")
    Traceback (most recent call last):
        ...
    chronofabric.errors.FormulaError: 'value >' is not a formula
      value >
             ^ the formula ends where a condition or a number is expected
    """

    def __new__(cls, text: str) -> Formula: ...
    @property
    def signals(self) -> list[str]:
        """The names it reads, in order of first appearance."""

    @property
    def horizon_ns(self) -> int:
        """How far into the past it looks, in nanoseconds: the sum of the windows along the deepest nesting."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[type[Formula], tuple[str]]: ...

@final
class Verdict:
    """What a formula says at a sample. Made by `Monitor.update`.

    Examples
    --------
    >>> from chronofabric.logic import Monitor
    >>> verdict = Monitor("value > 80").update(0, value=85.5)
    >>> verdict.known, verdict.satisfied, verdict.robustness
    (True, True, 5.5)
    """

    @property
    def known(self) -> bool:
        """Whether the samples reach back as far as the formula looks."""

    @property
    def satisfied(self) -> bool | None:
        """Whether the formula holds; None while that is not known."""

    @property
    def robustness(self) -> float | None:
        """How far the signals are from changing the verdict, in their units; None while that is not known."""

    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class Monitor:
    """A formula, evaluated as samples arrive, each in constant time on average.

    Parameters
    ----------
    formula
        A formula or its text.
    max_samples
        How many samples one window may hold. What exceeds that is refused, never forgotten silently.

    Raises
    ------
    chronofabric.FormulaError
        The text is not a formula; the message has a caret under the place.
    chronofabric.ArgumentError
        The formula is neither text nor a `Formula`.

    References
    ----------
    A. Donze and O. Maler, "Robust Satisfaction of Temporal Logic over Real-Valued Signals", FORMATS 2010.

    Examples
    --------
    >>> from chronofabric.logic import Monitor
    >>> monitor = Monitor("historically[0, 2 s](value > 80)")
    >>> for second, value in enumerate([85.0, 81.0, 90.0, 79.0]):
    ...     monitor.update(second * 1_000_000_000, value=value)
    Verdict(unknown)
    Verdict(unknown)
    Verdict(satisfied=True, robustness=1.0)
    Verdict(satisfied=False, robustness=-1.0)
    """

    def __new__(cls, formula: str | Formula, *, max_samples: int = 65_536) -> Monitor: ...
    def update(self, time: int, /, **values: SupportsFloat | SupportsIndex) -> Verdict:
        """Take one sample.

        Parameters
        ----------
        time
            Its time in nanoseconds, not before that of the sample before it. Samples of one instant apply in the order
            of their arrival.
        **values
            The value of each signal, by name: exactly those that the formula reads. Infinities are values, NaN is none.

        Returns
        -------
        Verdict
            What the formula says at this sample.

        Raises
        ------
        chronofabric.ArgumentError
            The names are not those of the formula, the sample is older than the newest, a value is NaN, or a window
            would hold more than `max_samples`. The monitor is as before.
        TypeError
            A value is not a number.
        """

    def reset(self) -> None:
        """Forget every sample."""

    @property
    def formula(self) -> Formula:
        """The formula."""
