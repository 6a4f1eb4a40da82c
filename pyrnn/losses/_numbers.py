"""Losses of numbers: each prediction has a target of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._parameters import as_floating, as_real
from ._loss import Loss, Pull
from ._weights import total, weights

Array = NDArray[Any]


@Loss
def mse(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Pull]:
    """Mean squared error, the mean of ``(predictions - targets)**2``.

    Parameters
    ----------
    predictions : array_like, shape (..., features), float32 or float64
        Not written to.
    targets : array_like, shape of `predictions`
        Real numbers, cast to the dtype of `predictions`. Nothing is broadcast: (B,) and (B, 1) are an error.
    mask : array_like of bool, shape (...) or (..., features), optional
        Positions, or numbers, where it is False do not count; what predictions and targets hold there does
        not matter.
    sample_weight : array_like, optional
        Weights of at least 0, broadcast to the positions (...), e.g. (B,) for (T, B, features); or, with as
        many axes as `predictions`, to the numbers. The mean is ``sum(w * l) / sum(w)``.

    Returns
    -------
    float
        The mean over all numbers that count, 0.0 if there are none. ``mse.vjp(...)`` returns the mean and
        `pull`; ``pull(dloss=1.0)`` is the gradient with the shape and dtype of `predictions`, exactly zero
        where a number does not count.

    Raises
    ------
    TypeError
        `predictions` is not float32 or float64, `targets` or `sample_weight` not real, or `mask` not bool.
    ValueError
        Shapes disagree, or a weight is negative or not finite.

    Notes
    -----
    The mean is accumulated in float64.

    Examples
    --------
    >>> mse([[1.0], [5.0]], [[2.0], [2.0]])
    5.0
    >>> mse([[1.0], [5.0]], [[2.0], [2.0]], sample_weight=[3, 1])
    3.0
    >>> loss, pull = mse.vjp([[1.0], [5.0]], [[2.0], [2.0]])
    >>> pull()
    array([[-1.],
           [ 3.]])
    """
    return _of_errors(predictions, targets, mask, sample_weight, np.square, lambda error: 2 * error)


@Loss
def mae(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Pull]:
    """Mean absolute error, the mean of ``abs(predictions - targets)``.

    Parameters
    ----------
    predictions, targets, mask, sample_weight
        As for `mse`.

    Returns
    -------
    float
        As `mse` does. Where prediction and target are equal the gradient is 0.

    Raises
    ------
    TypeError, ValueError
        As for `mse`.

    Examples
    --------
    >>> mae([[1.0], [5.0]], [[2.0], [2.0]])
    2.0
    """
    return _of_errors(predictions, targets, mask, sample_weight, np.abs, np.sign)


@Loss
def huber(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    delta: float = 1.0,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Pull]:
    """Huber loss: half the squared error up to `delta`, beyond it linear, so that outliers pull less.

    ::

        e = predictions - targets
        l = e**2 / 2  where abs(e) <= delta,  else  delta * (abs(e) - delta / 2)

    Parameters
    ----------
    predictions, targets, mask, sample_weight
        As for `mse`.
    delta : float, default 1.0
        The error at which the parabola becomes a line, above 0.

    Returns
    -------
    float
        As `mse` does.

    Raises
    ------
    TypeError, ValueError
        As for `mse`, or `delta` is no number above 0.

    References
    ----------
    Huber, "Robust Estimation of a Location Parameter", 1964, doi:10.1214/aoms/1177703732.

    Examples
    --------
    >>> huber([[0.5], [3.0]], [[0.0], [0.0]])
    1.3125
    """
    limit = _check.positive(delta, "delta")

    def losses(error: Array) -> Array:
        size = np.abs(error)
        near = np.minimum(size, limit)  # l = near * (abs(e) - near / 2), on both sides of delta
        found: Array = near * (size - near / 2)
        return found

    return _of_errors(predictions, targets, mask, sample_weight, losses, lambda e: np.clip(e, -limit, limit))


@Loss
def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Pull]:
    """Mean cross entropy between the sigmoid of `logits` and probabilities, in nats.

    Each number is a yes or no for itself: one logit a position for two classes, or several that do not
    exclude each other, such as the notes of a chord.

    Parameters
    ----------
    logits : array_like, shape (..., features), float32 or float64
        Log-odds. Not written to.
    targets : array_like, shape of `logits`
        0 and 1, booleans, or probabilities between them.
    mask, sample_weight
        As for `mse`.

    Returns
    -------
    float
        As `mse` does: the mean over all numbers. (Of a chord, what literature calls the negative
        log-likelihood is the sum over its notes: the number of features times this mean.)

    Raises
    ------
    TypeError, ValueError
        As for `mse`, or a target that counts is not between 0 and 1.

    Notes
    -----
    ``max(x, 0) - x * t + log1p(exp(-abs(x)))``, so that nothing overflows; infinite logits are certain, and
    cost nothing where they are right.

    Examples
    --------
    >>> round(binary_cross_entropy([[0.0], [2.0]], [[1], [1]]), 4)
    0.41
    """
    x, t, weight = _read(logits, targets, mask, sample_weight, "logits")
    if weight is not None:
        x, t = np.where(weight > 0, x, 0), np.where(weight > 0, t, 0)
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"targets must lie between 0 and 1, got {t.min()} to {t.max()}")
    size = np.abs(x)
    wrong = np.where(x > 0, 1 - t, t)  # what the sign of x says and the target does not
    losses = np.multiply(wrong, size, where=wrong != 0, out=np.zeros_like(size))
    small = np.exp(-size)
    losses += np.log1p(small)
    error = np.where(x > 0, 1, small) / (1 + small) - t
    return _mean(losses, weight, x.shape, lambda: error)


def _of_errors(
    predictions: ArrayLike,
    targets: ArrayLike,
    mask: ArrayLike | None,
    sample_weight: ArrayLike | None,
    losses: Callable[[Array], Array],
    slopes: Callable[[Array], Array],
) -> tuple[float, Pull]:
    """A loss that depends on the difference alone, and its derivative."""
    y, t, weight = _read(predictions, targets, mask, sample_weight, "predictions")
    with np.errstate(invalid="ignore", over="ignore"):  # inf and NaN in, NaN out, no warning
        error = y - t
        if weight is not None:
            error = np.where(weight > 0, error, 0)
        return _mean(losses(error), weight, y.shape, lambda: slopes(error))


def _read(
    predictions: ArrayLike,
    targets: ArrayLike,
    mask: ArrayLike | None,
    sample_weight: ArrayLike | None,
    name: str,
) -> tuple[Array, Array, Array | None]:
    y = as_floating(predictions, name)
    if y.ndim == 0:
        raise ValueError(f"{name} must have shape (..., features), got ()")
    t = as_real(targets, y.dtype, "targets")
    if t.shape != y.shape:
        raise ValueError(f"targets must have shape {y.shape}, as {name}, got {t.shape}")
    return y, t, weights(mask, sample_weight, y.shape, y.dtype, numbers=True)


def _mean(
    losses: Array, weight: Array | None, shape: tuple[int, ...], slopes: Callable[[], Array]
) -> tuple[float, Pull]:
    whole = total(weight, shape)
    with np.errstate(invalid="ignore", over="ignore"):
        loss = float((losses if weight is None else losses * weight).sum(dtype=np.float64)) / whole

    def pull(dloss: float = 1.0) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            gradient: Array = slopes() * losses.dtype.type(float(dloss) / whole)
            if weight is not None:
                gradient *= weight
        return gradient

    return loss, pull
