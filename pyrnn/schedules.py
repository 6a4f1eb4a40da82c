"""Schedules of the learning rate: functions of the number of steps taken.

``schedule(k)`` is the rate of the step after k others, so ``schedule(0)`` that of the first. Give one to an
optimizer as its `lr`. A schedule keeps nothing between calls and is never changed: a training that is resumed
at step k goes on with the bits of the uninterrupted one. Any function with such an argument will do; these
can be compared, printed, pickled and put around each other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import _check

__all__ = ["Constant", "Cosine", "Schedule", "StepDecay", "WarmUp"]


class Schedule(ABC):
    """Base class of the schedules."""

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` steps, at least 0.

        Raises
        ------
        TypeError, ValueError
            `step` is not an integer, or negative.
        """
        return self._rate(_integer(step, "step", 0))

    @abstractmethod
    def _rate(self, step: int) -> float:
        """The rate, for a step that has been checked."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate in every step.

    Parameters
    ----------
    lr : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        `lr` is no number, negative or not finite.
    """

    lr: float

    def __post_init__(self) -> None:
        _check.at_least_zero(self.lr, "lr")

    def _rate(self, step: int) -> float:
        return float(self.lr)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """``lr * factor ** (step // every)``.

    Parameters
    ----------
    lr : float
        The first rate, at least 0.
    every : int
        After how many steps the rate changes, at least 1.
    factor : float
        By what, at least 0.

    Raises
    ------
    TypeError, ValueError
        An argument is no number, or out of range.

    Examples
    --------
    >>> schedule = StepDecay(0.8, every=10, factor=0.5)
    >>> [schedule(k) for k in (0, 9, 10, 25)]
    [0.8, 0.8, 0.4, 0.2]
    """

    lr: float
    every: int
    factor: float

    def __post_init__(self) -> None:
        _check.at_least_zero(self.lr, "lr")
        _integer(self.every, "every", 1)
        _check.at_least_zero(self.factor, "factor")

    def _rate(self, step: int) -> float:
        return float(self.lr * self.factor ** (step // self.every))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `lr` down to `final`, which it keeps from step `steps` on.

    Parameters
    ----------
    lr : float
        The first rate, at least 0.
    steps : int
        When it has become `final`, at least 1: as a rule, the steps of the whole training.
    final : float, default 0.0
        At least 0.

    Raises
    ------
    TypeError, ValueError
        An argument is no number, or out of range.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
    arXiv:1608.03983, without the restarts.

    Examples
    --------
    >>> schedule = Cosine(1.0, steps=4)
    >>> [round(schedule(k), 3) for k in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _check.at_least_zero(self.lr, "lr")
        _integer(self.steps, "steps", 1)
        _check.at_least_zero(self.final, "final")

    def _rate(self, step: int) -> float:
        share = (1 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2
        return float(self.final + (self.lr - self.final) * share)


@dataclass(frozen=True)
class WarmUp(Schedule):
    """The rate of another schedule, in the first steps times 1/steps, 2/steps and so on up to 1.

    The other schedule is not delayed: ``WarmUp(Cosine(lr, n), w)`` ends at step n as ``Cosine(lr, n)`` does.

    Parameters
    ----------
    schedule : callable
        A schedule. For a constant rate, ``Constant(lr)``.
    steps : int
        The steps that it takes; the last of them, step ``steps - 1``, has the full rate. At least 1.

    Raises
    ------
    TypeError
        `schedule` cannot be called, or `steps` is not an integer.
    ValueError
        `steps` is below 1.

    References
    ----------
    Goyal et al. 2017, arXiv:1706.02677.

    Examples
    --------
    >>> schedule = WarmUp(Constant(1.0), steps=4)
    >>> [schedule(k) for k in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    schedule: Callable[[int], float]
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            raise TypeError(f"schedule must be a function of the step, got {self.schedule!r}")
        _integer(self.steps, "steps", 1)

    def _rate(self, step: int) -> float:
        return float(self.schedule(step) * min(1.0, (step + 1) / self.steps))


def _integer(value: object, name: str, least: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)
