"""Where random numbers come from: one reading of every `rng` argument."""

from __future__ import annotations

import numpy as np


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
