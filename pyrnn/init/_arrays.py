"""Initializers: arrays of a shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _check
from .._parameters import as_float_dtype
from .._random import as_generator

Array = NDArray[Any]
Shape = int | tuple[int, ...]
Rng = int | np.random.Generator | None


def glorot_uniform(
    shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, gain: float = 1.0
) -> Array:
    """Uniform between ±gain * sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    shape : tuple of int
        Two axes at least: (out, in), as layers have them; further axes multiply both.
    rng : None, int or numpy.random.Generator
        Source of the numbers.
    dtype : float32 or float64, default float32
        Of the result.
    gain : float, default 1.0
        Scale, at least 0.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    References
    ----------
    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS.

    Examples
    --------
    >>> glorot_uniform((3, 2), rng=0).shape
    (3, 2)
    """
    fan_in, fan_out = _fans(_shape(shape, 2))
    return _uniform(shape, rng, dtype, gain, 6 / (fan_in + fan_out))


def glorot_normal(
    shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, gain: float = 1.0
) -> Array:
    """Normal with mean 0 and deviation gain * sqrt(2 / (fan_in + fan_out)); see `glorot_uniform`."""
    fan_in, fan_out = _fans(_shape(shape, 2))
    return _normal(shape, rng, dtype, gain, 2 / (fan_in + fan_out))


def he_uniform(shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, gain: float = 1.0) -> Array:
    """Uniform between ±gain * sqrt(6 / fan_in), for units with relu; arguments as for `glorot_uniform`.

    References
    ----------
    He et al. 2015, arXiv:1502.01852.
    """
    return _uniform(shape, rng, dtype, gain, 6 / _fans(_shape(shape, 2))[0])


def he_normal(shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, gain: float = 1.0) -> Array:
    """Normal with mean 0 and deviation gain * sqrt(2 / fan_in); see `he_uniform`."""
    return _normal(shape, rng, dtype, gain, 2 / _fans(_shape(shape, 2))[0])


def orthogonal(shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, gain: float = 1.0) -> Array:
    """Draw a random matrix with orthonormal rows or columns, whichever are fewer, times `gain`.

    All such matrices are equally likely. Arguments as for `glorot_uniform`; axes after the first count as
    one.

    References
    ----------
    Saxe, McClelland & Ganguli 2014, arXiv:1312.6120; Mezzadri 2007, arXiv:math-ph/0609050 (equally likely).

    Examples
    --------
    >>> q = orthogonal((4, 4), rng=0, dtype=np.float64)
    >>> np.allclose(q @ q.T, np.eye(4))
    True
    """
    sizes, kind = _shape(shape, 2), as_float_dtype(dtype)
    scale = _check.at_least_zero(gain, "gain")
    rows, columns = sizes[0], math.prod(sizes[1:])
    tall = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(as_generator(rng).standard_normal(tall))
    q *= np.where(np.diagonal(r) < 0, -1, 1) * scale  # QR's own signs would favour some matrices
    return np.ascontiguousarray(q if rows >= columns else q.T).reshape(sizes).astype(kind)


def identity(shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, gain: float = 1.0) -> Array:
    """Ones times `gain` on the diagonal of a matrix, zeros elsewhere; `rng` is not used.

    References
    ----------
    Le, Jaitly & Hinton 2015, arXiv:1504.00941: the recurrent weights of an RNN with relu.

    Examples
    --------
    >>> identity((2, 2), gain=0.5)
    array([[0.5, 0. ],
           [0. , 0.5]], dtype=float32)
    """
    sizes = _shape(shape, 2)
    if len(sizes) != 2:
        raise ValueError(f"shape must have two axes, got {shape}")
    found: Array = np.eye(*sizes, dtype=as_float_dtype(dtype))
    found *= _check.number(gain, "gain")
    return found


def uniform(
    shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, low: float = -0.05, high: float = 0.05
) -> Array:
    """Uniform between `low` and `high`, by default Keras' ±0.05; other arguments as for `glorot_uniform`.

    `shape` may have any number of axes.
    """
    bounds = _check.number(low, "low"), _check.number(high, "high")
    if not -math.inf < bounds[0] <= bounds[1] < math.inf:
        raise ValueError(f"low must be finite and at most high, got {low} and {high}")
    return as_generator(rng).uniform(*bounds, _shape(shape, 0)).astype(as_float_dtype(dtype))


def normal(shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, std: float = 0.05) -> Array:
    """Normal with mean 0 and deviation `std`, by default Keras' 0.05; `shape` may have any number of axes."""
    deviation = _check.at_least_zero(std, "std")
    return as_generator(rng).normal(0.0, deviation, _shape(shape, 0)).astype(as_float_dtype(dtype))


def constant(shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32, *, value: float = 0.0) -> Array:
    """Return `value` everywhere; `shape` may have any number of axes, and `rng` is not used."""
    return np.full(_shape(shape, 0), _check.number(value, "value"), as_float_dtype(dtype))


def zeros(shape: Shape, rng: Rng = None, dtype: DTypeLike = np.float32) -> Array:
    """Zeros; `shape` may have any number of axes, and `rng` is not used."""
    return constant(shape, rng, dtype)


def _uniform(shape: Shape, rng: Rng, dtype: DTypeLike, gain: float, square: float) -> Array:
    bound = _check.at_least_zero(gain, "gain") * math.sqrt(square)
    return uniform(shape, rng, dtype, low=-bound, high=bound)


def _normal(shape: Shape, rng: Rng, dtype: DTypeLike, gain: float, square: float) -> Array:
    return normal(shape, rng, dtype, std=_check.at_least_zero(gain, "gain") * math.sqrt(square))


def _shape(shape: Shape, axes: int) -> tuple[int, ...]:
    """Read a shape of `axes` axes at least."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    if any(isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)) for n in sizes):
        raise TypeError(f"shape must hold integers, got {shape!r}")
    if len(sizes) < axes or any(n < 1 for n in sizes):
        least = f"{axes} axes or more, " if axes else ""
        raise ValueError(f"shape must have {least}each of 1 or more, got {shape}")
    return tuple(int(n) for n in sizes)


def _fans(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Numbers that one output is made of, and that one input goes into."""
    field = math.prod(sizes[2:])
    return sizes[1] * field, sizes[0] * field
