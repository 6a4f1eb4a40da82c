"""Metrics: numbers to watch that are not minimised themselves. The losses are metrics, too."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._parameters import as_array, as_real

__all__ = ["accuracy"]


def accuracy(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Share of the positions whose predicted class is the target.

    Parameters
    ----------
    predictions : array_like, shape (..., C), or that of `targets`
        Scores of C classes, of which the largest is the prediction; or, with the shape of `targets`, the
        logits of two classes, of which 1 is predicted where the logit is above 0.
    targets : array_like of int or bool, shape (...)
        The classes.
    mask : array_like of bool, broadcastable to the shape of `targets`, optional
        Positions where it is False do not count.
    sample_weight : array_like, broadcastable to the shape of `targets`, optional
        How much each position counts.

    Returns
    -------
    float
        Between 0 and 1; 0.0 if no position counts.

    Raises
    ------
    TypeError, ValueError
        The arguments are of wrong types, or their shapes disagree.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [1, 0, 0]).__round__(3)
    0.667
    >>> accuracy([2.0, -1.0], [1, 1])
    0.5
    """
    scores = as_array(predictions, "predictions")
    classes = as_array(targets, "targets")
    if classes.dtype.kind not in "iub":
        raise TypeError(f"targets must be an array of integers, got dtype {classes.dtype}")
    if scores.shape == classes.shape:
        found = scores > 0
    elif scores.shape[:-1] == classes.shape and scores.shape[-1]:
        found = scores.argmax(-1)
    else:
        raise ValueError(
            f"targets must have the shape of predictions, with or without its last axis, got {classes.shape} "
            f"for {scores.shape}"
        )
    weights = np.ones(classes.shape)
    if sample_weight is not None:
        weights = weights * as_real(sample_weight, np.dtype(np.float64), "sample_weight")
    if mask is not None:
        weights = np.where(as_array(mask, "mask"), weights, 0.0)
    if weights.shape != classes.shape:
        raise ValueError(f"mask and sample_weight must broadcast to {classes.shape}, got {weights.shape}")
    total = weights.sum()
    return float(weights[found == classes].sum() / total) if total else 0.0
