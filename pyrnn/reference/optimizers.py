"""One step of each optimizer: parameters p, the gradient g, and what the step before it left."""

from __future__ import annotations

import numpy as np

from .common import Array


def sgd(
    p: Array,
    g: Array,
    u: Array,
    lr: float,
    momentum: float = 0,
    nesterov: bool = False,
    weight_decay: float = 0,
) -> tuple[Array, Array]:
    g = g + weight_decay * p
    u = momentum * u + g
    return p - lr * (g + momentum * u if nesterov else u), u


def rmsprop(
    p: Array,
    g: Array,
    state: tuple[Array, Array, Array],
    lr: float,
    alpha: float,
    eps: float,
    momentum: float = 0,
    centered: bool = False,
    weight_decay: float = 0,
) -> tuple[Array, tuple[Array, Array, Array]]:
    m, v, u = state
    g = g + weight_decay * p
    m = alpha * m + (1 - alpha) * g
    v = alpha * v + (1 - alpha) * g**2
    u = momentum * u + g / (np.sqrt(v - m**2 if centered else v) + eps)
    return p - lr * u, (m, v, u)


def adam(
    p: Array,
    g: Array,
    state: tuple[Array, Array],
    t: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0,
    decoupled: bool = False,
) -> tuple[Array, tuple[Array, Array]]:
    """In the first step t is 1."""
    m, v = state
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v)
