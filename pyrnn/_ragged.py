"""Sequences of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._parameters import as_array

Array = NDArray[Any]


def as_sequences(value: Any, name: str, *, of_numbers: bool = False) -> Array | list[Array]:
    """An array, or the arrays of a list, of one dtype and alike but for their first axis.

    With `of_numbers`, a list of numbers is an array of them.
    """
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        value = list(value)
    if not isinstance(value, (list, tuple)):
        return as_array(value, name)
    parts = [as_array(part, f"{name}[{i}]") for i, part in enumerate(value)]
    if not parts:
        raise ValueError(f"{name} must hold one sequence at least, got none")
    if of_numbers and all(part.ndim == 0 for part in parts):
        return np.stack(parts)
    for i, part in enumerate(parts):
        if part.ndim == 0:
            raise ValueError(f"{name}[{i}] must be a sequence, got {part!r}")
        if part.shape[1:] != parts[0].shape[1:]:
            raise ValueError(
                f"{name}[{i}] must have features as {name}[0], of shape {parts[0].shape[1:]}, "
                f"got {part.shape[1:]}"
            )
    dtype = np.result_type(*(part.dtype for part in parts if part.size)) if any(map(np.size, parts)) else None
    return parts if dtype is None else [part.astype(dtype, copy=False) for part in parts]


def padded(parts: Sequence[Array], steps: int, like: Array, *, batch_first: bool, value: Any = 0) -> Array:
    """Sequences as one array, with `value` beyond their ends; features and dtype as those of `like`."""
    shape = (len(parts), steps) if batch_first else (steps, len(parts))
    array = np.full((*shape, *like.shape[1:]), value, like.dtype)
    for i, part in enumerate(parts):
        into = array[i] if batch_first else array[:, i]
        into[: len(part)] = part
    return array
