"""Where random numbers come from: one reading of every `rng` argument."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_generator(rng: int | np.random.Generator | None, name: str = "rng") -> np.random.Generator:
    """Turn an `rng` argument into a NumPy generator.

    Parameters
    ----------
    rng : None, int or numpy.random.Generator
        None takes fresh entropy from the operating system, a non-negative int is a seed,
        and a generator is returned as it is (so that several layers can draw from one stream).
    name : str, default "rng"
        The argument's name, for messages.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError
        `rng` is of another type (bool included).
    ValueError
        `rng` is a negative integer.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    if isinstance(rng, (bool, np.bool_)) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"{name} must be None, an integer seed or a numpy.random.Generator, got {rng!r}")
    if rng < 0:
        raise ValueError(f"{name} must be a non-negative seed, got {rng!r}")
    return np.random.default_rng(int(rng))


def dropout_mask(
    p: float, shape: tuple[int, ...], dtype: np.dtype[Any], generator: np.random.Generator
) -> NDArray[Any]:
    """What inverted dropout multiplies by, forward and back: 0 with probability `p`, else 1 / (1 - p)."""
    mask: NDArray[Any] = (generator.random(shape, np.float32) >= p).astype(dtype)
    if p < 1:
        mask /= dtype.type(1 - p)
    return mask
