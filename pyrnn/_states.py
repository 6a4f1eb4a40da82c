"""States as callers give and take them, and the projection that makes h narrower than the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check
from ._call import kind_of
from ._parameters import as_real
from ._registry import Cell

Array = NDArray[Any]
States = tuple[Array, ...]
Stacked = Any  # states in one array (S, B, H), or as States where h is projected


def together(states: States) -> Stacked:
    """States as callers take and give them: one array, where they are of one width."""
    return np.stack(states) if len({part.shape for part in states}) == 1 else states


def apart(
    state: Stacked | None, dtype: np.dtype[Any], name: str, B: int, sizes: tuple[int, ...]
) -> States | None:
    """The way back, checked."""
    if state is None:
        return None
    if len(set(sizes)) == 1:
        return tuple(_check.contiguous(state, dtype, name, (len(sizes), B, sizes[0])))
    if not isinstance(state, (tuple, list)) or len(state) != len(sizes):
        raise TypeError(f"{name} must be a tuple of {len(sizes)} arrays (h, c), got {kind_of(state)}")
    return tuple(
        _check.contiguous(part, dtype, f"{name}[{q}]", (B, size))
        for q, (part, size) in enumerate(zip(state, sizes, strict=True))
    )


def read_projection(entry: Cell, w_hr: ArrayLike, dtype: np.dtype[Any], outputs: int) -> Array:
    """Check `w_hr` (P, H) of a cell whose w_hh has `outputs` columns, P."""
    if entry.states == 1:
        raise ValueError(f"w_hr must be None for {entry.name}, which has no cell state")
    array = as_real(w_hr, dtype, "w_hr")
    if array.ndim != 2 or len(array) != outputs or outputs >= array.shape[1]:
        raise ValueError(f"w_hr must have shape ({outputs}, H) with H above {outputs}, got {array.shape}")
    return _check.contiguous(array, dtype, "w_hr", array.shape)
