"""What one call of a stack of layers works on, once its arguments have been checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
State = Any  # an array, or a tuple (h, c)


class Call(NamedTuple):
    """The checked arguments of one call, time-major and batched."""

    x: Array  # (T, B, I)
    states: tuple[Array | None, ...] | None  # S arrays (slots, B, H), None for zeros
    lengths: NDArray[np.int64] | None
    reset: NDArray[np.bool_] | None
    batched: bool


def of_slot(states: tuple[Array | None, ...] | None, slot: int) -> tuple[Array | None, ...] | None:
    """The states of one direction of one layer, (B, H) each; None for zeros."""
    return None if states is None else tuple(part if part is None else part[slot] for part in states)


def kind_of(value: object) -> str:
    """What a message calls a state of the wrong kind."""
    return f"{len(value)} of them" if isinstance(value, (tuple, list)) else type(value).__name__
