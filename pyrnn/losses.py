"""Losses: a number to minimise, and the way back to the predictions.

A loss is written once, as a function that returns the number and `pull`; the decorator `Loss` gives it two
forms:

- ``loss(predictions, targets)`` is the number, a Python float;
- ``loss.vjp(predictions, targets)`` is the number and `pull`, and ``pull(dloss=1.0)`` the gradient with
  respect to the predictions, times `dloss`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._parameters import as_array, as_floating

__all__ = ["Loss", "cross_entropy"]

P = ParamSpec("P")


class Pull(Protocol):
    """The way back from a loss."""

    def __call__(self, dloss: float = 1.0) -> NDArray[Any]:
        """Return the gradient with respect to the predictions, a new array, times `dloss`."""


class Loss(Generic[P]):
    """A loss function with its `vjp`; see the module's docstring."""

    def __init__(self, vjp: Callable[P, tuple[float, Pull]]) -> None:
        functools.update_wrapper(self, vjp)
        self.vjp = vjp

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> float:
        """Return the loss."""
        return self.vjp(*args, **kwargs)[0]

    def __repr__(self) -> str:
        return f"<loss {self.__module__}.{self.__name__}>"  # type: ignore[attr-defined]

    def __reduce__(self) -> str:
        return self.__qualname__  # type: ignore[attr-defined,no-any-return]


@Loss
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
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

    Returns
    -------
    float
        The mean over the positions that count, 0.0 if there are none. ``cross_entropy.vjp(...)`` returns
        the mean and `pull`; ``pull(dloss=1.0)`` is the gradient with the shape and dtype of `logits`, exactly
        zero where a position does not count.

    Raises
    ------
    TypeError
        `logits` is not float32 or float64, `targets` or `ignore_index` not integer, or `mask` not bool.
    ValueError
        Shapes disagree, C is 0, or a target that counts is not a class.

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
    classes, counts = _classes(targets, shape, ignore_index, mask)
    n = len(classes) if counts is None else int(np.count_nonzero(counts))

    # `p` is the one array of this size: scores, then exp(scores - max), whose rows pull() normalises.
    p = scores.reshape(-1, shape[-1])
    rows = np.arange(len(p))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # inf and NaN in, NaN out, no warning
        p = p - p.max(axis=1, keepdims=True)
        losses = -p[rows, classes]
        np.exp(p, out=p)
        sums = p.sum(axis=1)
        losses += np.log(sums)
    if counts is not None:
        losses[~counts] = 0
        p[~counts] = 0
        sums[~counts] = 1
    loss = float(losses.sum(dtype=np.float64)) / max(n, 1)

    def pull(dloss: float = 1.0) -> NDArray[Any]:
        scale = float(dloss) / max(n, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            dlogits: NDArray[Any] = p * (scale / sums)[:, None]
        dlogits[rows, classes] -= scale if counts is None else counts * p.dtype.type(scale)
        return dlogits.reshape(shape)

    return loss, pull


def _classes(
    targets: ArrayLike, shape: tuple[int, ...], ignore_index: int | None, mask: ArrayLike | None
) -> tuple[NDArray[np.intp], NDArray[np.bool_] | None]:
    """Flat class of every position, 0 where it does not count, and which count (None: all)."""
    classes = as_array(targets, "targets")
    if classes.dtype.kind not in "iu":
        raise TypeError(f"targets must be an array of integers, got dtype {classes.dtype}")
    if classes.shape != shape[:-1]:
        raise ValueError(f"targets must have shape {shape[:-1]}, as logits without C, got {classes.shape}")
    counts: NDArray[np.bool_] | None = None
    if mask is not None:
        counts = as_array(mask, "mask")
        if counts.dtype != np.bool_:
            raise TypeError(f"mask must be an array of bool, got dtype {counts.dtype}")
        if counts.shape != shape[:-1]:
            raise ValueError(f"mask must have shape {shape[:-1]}, got {counts.shape}")
    if ignore_index is not None:
        if isinstance(ignore_index, (bool, np.bool_)) or not isinstance(ignore_index, (int, np.integer)):
            raise TypeError(f"ignore_index must be None or an integer, got {ignore_index!r}")
        kept = classes != ignore_index
        counts = kept if counts is None else kept & counts
    if counts is not None:
        classes = np.where(counts, classes, 0)
        counts = counts.reshape(-1)
    if classes.size and not 0 <= classes.min() <= classes.max() < shape[-1]:
        low, high = classes.min(), classes.max()
        raise ValueError(f"targets must lie between 0 and {shape[-1] - 1}, got {low} to {high}")
    return classes.reshape(-1).astype(np.intp, copy=False), counts
