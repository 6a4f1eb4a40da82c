"""What counts in a loss, and how much."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._parameters import as_array, as_real

Array = NDArray[Any]


def weights(
    mask: ArrayLike | None,
    sample_weight: ArrayLike | None,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    numbers: bool,
) -> Array | None:
    """Read `mask` and `sample_weight` as weights of 0 to 1; None where all count alike.

    Parameters
    ----------
    mask, sample_weight : array_like or None
        See the package.
    shape : tuple of int
        That of the predictions, at least one axis.
    dtype : dtype
        Of the weights.
    numbers : bool
        Whether each number may have a weight of its own, and not only each position.

    Returns
    -------
    ndarray or None
        Broadcastable to `shape`; its last axis is 1 where positions are weighed.

    Raises
    ------
    TypeError
        `mask` is not bool, or `sample_weight` not real.
    ValueError
        A shape does not fit, or a weight is negative or not finite.
    """
    counts = None if mask is None else as_mask(mask, shape, numbers=numbers)
    if sample_weight is None:
        return None if counts is None else counts.astype(dtype)
    found = as_real(sample_weight, np.dtype(np.float64), "sample_weight")
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError("sample_weight must hold finite numbers of at least 0, got others")
    each = _broadcast(found, shape, numbers)
    if counts is not None:
        each = each * counts
    top = each.max(initial=0.0)  # by which they are divided, so that none is lost or infinite in float32
    return (each / top if top > 0 else each).astype(dtype)


def total(weight: Array | None, shape: tuple[int, ...]) -> float:
    """The sum of the weights of all numbers, or of 1 if it is 0: what the weighted sum is divided by."""
    if weight is None:
        found = float(np.prod(shape))
    else:
        found = float(np.broadcast_to(weight, shape).sum(dtype=np.float64))
    return found or 1.0


def as_mask(mask: ArrayLike, shape: tuple[int, ...], *, numbers: bool) -> NDArray[np.bool_]:
    """Read `mask` as booleans of as many axes as `shape`.

    Raises
    ------
    TypeError
        `mask` is not bool.
    ValueError
        It has another shape than the positions, or, with `numbers`, the predictions.
    """
    counts = as_array(mask, "mask")
    if counts.dtype != np.bool_:
        raise TypeError(f"mask must be an array of bool, got dtype {counts.dtype}")
    if counts.shape == shape[:-1]:
        return counts[..., None]
    if numbers and counts.shape == shape:
        return counts
    raise ValueError(f"mask must have shape {_either(shape, numbers)}, got {counts.shape}")


def _broadcast(weight: Array, shape: tuple[int, ...], numbers: bool) -> Array:
    of_numbers = numbers and weight.ndim == len(shape)
    wanted = shape if of_numbers else shape[:-1]
    try:
        each = np.broadcast_to(weight, wanted)
    except ValueError:
        raise ValueError(
            f"sample_weight must be broadcastable to shape {_either(shape, numbers)}, got {weight.shape}"
        ) from None
    return each if of_numbers else each[..., None]


def _either(shape: tuple[int, ...], numbers: bool) -> str:
    return f"{shape[:-1]} or {shape}" if numbers else str(shape[:-1])
