"""Masks as PyTorch writes them, and a softmax that knows rows without any key."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._parameters import as_array


def additive(mask: ArrayLike | None, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Read a mask as what is added to the scores, a view of `shape` with a contiguous last axis.

    Parameters
    ----------
    mask : array_like or None
        Boolean, True where a query may not attend, or real, added to the scores; broadcast to `shape`.
    dtype : dtype
        Of the result.
    shape : tuple of int
        That of the scores.

    Raises
    ------
    TypeError
        `mask` is neither boolean nor floating-point.
    ValueError
        Its shape does not fit.
    """
    if mask is None:
        return None
    array = as_array(mask, "mask")
    if array.dtype != np.bool_ and array.dtype.kind != "f":
        raise TypeError(f"mask must hold booleans or floating-point numbers, got dtype {array.dtype}")
    if array.ndim > len(shape) or any(
        n not in (1, m) for n, m in zip(array.shape[::-1], shape[::-1], strict=False)
    ):
        raise ValueError(f"mask must have a shape that broadcasts to {shape}, got {array.shape}")
    if array.dtype == np.bool_:
        array = np.where(array, dtype.type(-np.inf), dtype.type(0))
    if array.ndim == 0 or array.shape[-1] != shape[-1]:
        array = np.broadcast_to(array, array.shape[:-1] + shape[-1:])
    return np.broadcast_to(np.ascontiguousarray(array, dtype), shape)


def beyond(lengths: NDArray[np.int64] | None, T: int) -> NDArray[np.bool_] | None:
    """Booleans (B, T), True from each length on; None where all have T steps."""
    return None if lengths is None else np.arange(T) >= lengths[:, None]


def softmax(scores: NDArray[Any]) -> NDArray[Any]:
    """Softmax of the last axis; zeros where every score is -inf, or where there is none."""
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    p: NDArray[Any] = np.exp(scores - np.where(top == -np.inf, scores.dtype.type(0), top))
    total = p.sum(-1, keepdims=True)
    p /= np.where(total == 0, scores.dtype.type(1), total)
    return p
