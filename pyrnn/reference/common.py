"""What a cell file is made of: the types of its two functions, and the logistic function."""

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
State: TypeAlias = tuple[Array, ...]  # h, then c if the cell has one; each (B, H)


class Recurrent(Protocol):
    """``R(v)``: R v + b, the recurrent part of all gates, (G, B, H); ``R(v, j, k)``: of gates j to k - 1."""

    def __call__(self, v: Array, first: int = 0, last: int | None = None) -> Array: ...


class Pull(Protocol):
    """The way back through one ``R(v, j, k)``: from its gradient d (B, (k - j) * H) and v to that of v."""

    def __call__(self, d: Array, v: Array, first: int = 0, last: int | None = None) -> Array: ...


class Cell(Protocol):
    """A recurrence: one of the modules lstm, gru, ... is enough, or any object with these attributes."""

    gates: int
    states: int
    recurrent: int  # blocks of w_hh
    units: int  # weights that each unit has for itself
    peepholes: int  # and those that it has besides if there are peepholes
    activation: str  # by default
    recurrent_activation: str

    def point(self, ax: Array, s: State, R: Recurrent, o: Any) -> tuple[State, State]:
        """Input part of the gates (G, B, H) and state in; next state and what `back` needs of it out.

        o are the `Options`.
        """

    def back(
        self, saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Any
    ) -> tuple[Array, State, list[Array]]:
        """Gradient of the next state s1 in; of the input part, of s0 and of the units' own weights out.

        Of shapes (B, G * H), S of (B, H), and U of (B, H), which are to be summed over the rows.
        """


def is_normalized(cell: Cell) -> bool:
    """Whether biases are added behind a layer normalization, and `point` gets them before the units' weights.

    Of the cells with recurrent products these alone have weights that each unit has for itself: gains.
    """
    return cell.units > 0 and cell.recurrent > 0


def sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(-x) = inf gives the right limit, 0
        y: Array = 1 / (1 + np.exp(-x))
    return y
