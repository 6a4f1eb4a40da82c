"""RNN, LSTM and GRU as ONNX defines them, in NumPy: what no kernel computes, and in float64 the reference.

Gates are in ONNX's order: i o f c for the LSTM, z r h for the GRU. A clip limits what the gates' activations
are given, and neither c nor what h reads of it, as ONNX Runtime computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._activations import Activation

Array = NDArray[Any]
States = tuple[Array, ...]


class Cell(NamedTuple):
    """The attributes of a node, for one direction."""

    op: str  # RNN, LSTM or GRU
    activations: tuple[Activation, ...]  # f; f g; f g h
    clip: float | None = None
    input_forget: bool = False
    linear_before_reset: bool = False


class Weights(NamedTuple):
    """The weights of one direction."""

    W: Array  # (G*H, I)
    R: Array  # (G*H, H)
    Wb: Array  # (G*H,)
    Rb: Array  # (G*H,)
    P: Array  # (3, H), i o f; zeros for none


def run(
    cell: Cell, weights: Weights, x: Array, states: States, lengths: NDArray[np.int64] | None, reverse: bool
) -> tuple[Array, States]:
    """Run one direction.

    Parameters
    ----------
    cell, weights
        What is run.
    x : ndarray, shape (T, B, I)
    states : tuple of ndarray, shape (B, H)
        h, and c of the LSTM, before the first step.
    lengths : ndarray of int64, shape (B,), or None
        Steps of each sequence; what lies beyond is not read.
    reverse : bool
        Whether each sequence runs from its last step back.

    Returns
    -------
    y : ndarray, shape (T, B, H)
        h after each step, zeros beyond the lengths.
    states : tuple of ndarray, shape (B, H)
        After the last step; the initial ones of a sequence without steps.
    """
    T, B, _ = x.shape
    H = weights.R.shape[1]
    active = None if lengths is None else np.arange(T)[:, None, None] < lengths[:, None]
    if active is not None:
        x = np.where(active, x, 0)
    ax = (x.reshape(T * B, x.shape[2]) @ weights.W.T + weights.Wb).reshape(T, B, len(weights.W) // H, H)
    y = np.zeros((T, B, H), x.dtype)
    point = POINTS[cell.op]
    for t in reversed(range(T)) if reverse else range(T):
        after = point(cell, weights, np.moveaxis(ax[t], 1, 0), states)
        if active is None:
            states = after
            y[t] = after[0]
        else:
            states = tuple(np.where(active[t], a, s) for a, s in zip(after, states, strict=True))
            y[t] = np.where(active[t], after[0], 0)
    return y, states


def _clipped(cell: Cell, a: Array) -> Array:
    return a if cell.clip is None else np.clip(a, -cell.clip, cell.clip).astype(a.dtype, copy=False)


def _recurrent(weights: Weights, h: Array) -> Array:
    """R h + b of every gate, (G, B, H)."""
    B, H = h.shape
    product: Array = (h @ weights.R.T + weights.Rb).reshape(B, len(weights.R) // H, H)
    return np.moveaxis(product, 1, 0)


def _rnn(cell: Cell, weights: Weights, ax: Array, states: States) -> States:
    """H_t = f(W X_t + R H_t-1 + Wb + Rb)."""
    return (cell.activations[0](_clipped(cell, ax + _recurrent(weights, states[0]))[0]),)


def _lstm(cell: Cell, weights: Weights, ax: Array, states: States) -> States:
    """C_t = f o C_t-1 + i o c; H_t = o o h(C_t)."""
    f, g, h = cell.activations
    H, C = states
    ai, ao, af, ac = ax + _recurrent(weights, H)
    pi, po, pf = weights.P
    i = f(_clipped(cell, ai + pi * C))
    forget = 1 - i if cell.input_forget else f(_clipped(cell, af + pf * C))
    C1 = forget * C + i * g(_clipped(cell, ac))
    return f(_clipped(cell, ao + po * C1)) * h(C1), C1


def _gru(cell: Cell, weights: Weights, ax: Array, states: States) -> States:
    """H_t = (1 - z) o h + z o H_t-1; the reset gate acts before the product with R or after it."""
    f, g = cell.activations
    (H,) = states
    az, ar, ah = _recurrent(weights, H)
    z, r = f(_clipped(cell, ax[0] + az)), f(_clipped(cell, ax[1] + ar))
    first = 2 * H.shape[1]  # row of the candidate
    after = r * ah if cell.linear_before_reset else (r * H) @ weights.R[first:].T + weights.Rb[first:]
    return ((1 - z) * g(_clipped(cell, ax[2] + after)) + z * H,)


POINTS: dict[str, Callable[[Cell, Weights, Array, States], States]] = {
    "RNN": _rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
