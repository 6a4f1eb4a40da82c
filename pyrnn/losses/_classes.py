"""Losses of classes: each position has one of several."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._parameters import as_array, as_floating
from ._loss import Loss, Pull
from ._weights import as_mask, total, weights


@Loss
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Pull]:
    """Mean cross entropy between the softmax of `logits` and integer classes, in nats.

    Parameters
    ----------
    logits : array_like, shape (..., C), float32 or float64
        Unnormalised log-probabilities. Not written to.
    targets : array_like of int, shape (...)
        The classes, 0 to C - 1. Of every rank: (T, B) for a sequence, (B,) for its last step.
    ignore_index : int, optional
        Positions with this target do not count.
    mask : array_like of bool, shape (...), optional
        Positions where it is False do not count; what targets and logits hold there does not matter.
    sample_weight : array_like, optional
        Weights of at least 0, broadcast to the shape of `targets`, e.g. (B,) for (T, B). The mean is
        ``sum(w * l) / sum(w)``.

    Returns
    -------
    float
        The mean over the positions that count, 0.0 if there are none. ``cross_entropy.vjp(...)`` returns
        the mean and `pull`; ``pull(dloss=1.0)`` is the gradient with the shape and dtype of `logits`, exactly
        zero where a position does not count.

    Raises
    ------
    TypeError
        `logits` is not float32 or float64, `targets` or `ignore_index` not integer, `mask` not bool, or
        `sample_weight` not real.
    ValueError
        Shapes disagree, C is 0, a target that counts is not a class, or a weight is negative or not finite.

    Notes
    -----
    ``logsumexp(logits) - logits[target]`` with the largest logit subtracted first, so that nothing overflows;
    the mean is accumulated in float64.

    Examples
    --------
    >>> round(cross_entropy(np.zeros((5, 4)), [0, 1, 2, 3, 3]), 4)  # log(4)
    1.3863
    >>> loss, pull = cross_entropy.vjp(np.zeros((1, 4)), [2])
    >>> pull()
    array([[ 0.25,  0.25, -0.75,  0.25]])
    """
    scores = as_floating(logits, "logits")
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(f"logits must have shape (..., C) with C at least 1, got {scores.shape}")
    shape = scores.shape
    classes = _classes(targets, shape)
    weight = weights(_kept(classes, ignore_index, mask), sample_weight, shape, scores.dtype, numbers=False)
    whole = total(weight, (*shape[:-1], 1))
    if weight is not None:
        classes = np.where(weight[..., 0] > 0, classes, 0)
    classes = _flat(classes, shape[-1])

    # `p` is the one array of this size: scores, then exp(scores - max), whose rows pull() normalises.
    p = scores.reshape(-1, shape[-1])
    rows = np.arange(len(p))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # inf and NaN in, NaN out, no warning
        p = p - p.max(axis=1, keepdims=True)
        losses = -p[rows, classes]
        np.exp(p, out=p)
        sums = p.sum(axis=1)
        losses += np.log(sums)
    if weight is not None:
        weight = weight.reshape(-1)
        out = weight == 0
        losses[out], p[out], sums[out] = 0, 0, 1
        losses *= weight
    loss = float(losses.sum(dtype=np.float64)) / whole

    def pull(dloss: float = 1.0) -> NDArray[Any]:
        scale = p.dtype.type(float(dloss) / whole)
        each = scale if weight is None else weight * scale
        with np.errstate(invalid="ignore", divide="ignore"):
            dlogits: NDArray[Any] = p * (each / sums)[:, None]
        dlogits[rows, classes] -= each
        return dlogits.reshape(shape)

    return loss, pull


def _classes(targets: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    classes = as_array(targets, "targets")
    if classes.dtype.kind not in "iu":
        raise TypeError(f"targets must be an array of integers, got dtype {classes.dtype}")
    if classes.shape != shape[:-1]:
        raise ValueError(f"targets must have shape {shape[:-1]}, as logits without C, got {classes.shape}")
    return classes


def _kept(classes: NDArray[Any], ignore_index: int | None, mask: ArrayLike | None) -> NDArray[Any] | None:
    """The mask, False too where a class is to be ignored."""
    counts = None if mask is None else as_mask(mask, (*classes.shape, 1), numbers=False)[..., 0]
    if ignore_index is None:
        return counts
    if isinstance(ignore_index, (bool, np.bool_)) or not isinstance(ignore_index, (int, np.integer)):
        raise TypeError(f"ignore_index must be None or an integer, got {ignore_index!r}")
    kept: NDArray[np.bool_] = classes != ignore_index
    return kept if counts is None else kept & counts


def _flat(classes: NDArray[Any], C: int) -> NDArray[np.intp]:
    """A copy in one axis, to index with."""
    if classes.size and not 0 <= classes.min() <= classes.max() < C:
        raise ValueError(f"targets must lie between 0 and {C - 1}, got {classes.min()} to {classes.max()}")
    return classes.reshape(-1).astype(np.intp)
