"""What the layers without a recurrence compute, and the derivatives."""

from __future__ import annotations

import numpy as np

from .common import Array


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return _normalized(x, eps) * weight + bias


def layer_norm_backward(x: Array, weight: Array, eps: float, dy: Array) -> tuple[Array, Array, Array]:
    """From x (B, F), weight (F,) and the gradient of y: those of x, weight and bias."""
    z, dz = _normalized(x, eps), dy * weight
    deviation = np.sqrt(x.var(-1, keepdims=True) + eps)
    dx = (dz - dz.mean(-1, keepdims=True) - z * (dz * z).mean(-1, keepdims=True)) / deviation
    return dx, (dy * z).sum(0), dy.sum(0)


def _normalized(x: Array, eps: float) -> Array:
    z: Array = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return z


def dropout(x: Array, kept: Array, p: float) -> Array:
    """`kept` says with ones and zeros what is not dropped; the gradient of x is ``dropout(dy, kept, p)``."""
    y: Array = np.where(kept, x / (1 - p), 0.0) if p < 1 else np.zeros_like(x)
    return y


def positional_encoding(T: int, E: int) -> Array:
    """(T, E), added to every sequence: sines in the even features, cosines in the odd ones."""
    table = np.empty((T, E))
    for t in range(T):
        for e in range(E):
            angle = t / 10000 ** ((e - e % 2) / E)
            table[t, e] = np.cos(angle) if e % 2 else np.sin(angle)
    return table


def merge(forward: Array, backward: Array, mode: str) -> Array:
    """The outputs (T, B, H) of two directions as one."""
    if mode == "concat":
        return np.concatenate([forward, backward], -1)
    if mode == "mul":
        return forward * backward
    y: Array = (forward + backward) / {"sum": 1, "mean": 2}[mode]
    return y


def merge_backward(forward: Array, backward: Array, mode: str, dy: Array) -> tuple[Array, Array]:
    if mode == "concat":
        return dy[..., : forward.shape[-1]], dy[..., forward.shape[-1] :]
    if mode == "mul":
        return dy * backward, dy * forward
    half: Array = dy / {"sum": 1, "mean": 2}[mode]
    return half, half


def last_step(x: Array, lengths: list[int], bidirectional: bool) -> Array:
    """From x (T, B, F) one step a sequence; the second half of F ends at the first step if bidirectional."""
    y = np.zeros(x.shape[1:])
    for b, length in enumerate(lengths):
        for f in range(x.shape[2]):
            backwards = bidirectional and f >= x.shape[2] // 2
            if length:
                y[b, f] = x[0 if backwards else length - 1, b, f]
    return y
