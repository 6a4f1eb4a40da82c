"""What a cell may be told: its activations and limits, and the random numbers of zoneout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .common import Array, Cell, sigmoid


class Activation(NamedTuple):
    """A function and its slope where the value is y."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


activations = {
    "tanh": Activation(np.tanh, lambda y: 1 - y * y),
    "sigmoid": Activation(sigmoid, lambda y: y * (1 - y)),
    "relu": Activation(lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype)),
    "hard_sigmoid": Activation(
        lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda y: ((y > 0) & (y < 1)).astype(y.dtype) / 6
    ),
    "softsign": Activation(lambda x: x / (1 + abs(x)), lambda y: (1 - abs(y)) ** 2),
    "identity": Activation(lambda x: x, np.ones_like),
}


class Options(NamedTuple):
    """What a cell's formula depends on besides its inputs."""

    act: Activation  # of the candidate and the output
    gate: Activation
    units: Array | None = (
        None  # (U, H): weights that each unit has for itself; of a normalized cell after b_ih, b_hh
    )
    clip: float | None = None  # of the LSTM's c


EPS = 1e-5


def normal(a: Array) -> Array:
    """Each row of a (G, B, H) to mean 0 and variance 1 over its G * H numbers."""
    d = a - a.mean((0, 2), keepdims=True)
    z: Array = d / np.sqrt((d * d).mean((0, 2), keepdims=True) + EPS)
    return z


def normal_back(a: Array, dz: Array) -> Array:
    """The gradient of `a` from that of ``normal(a)``."""
    z = normal(a)
    scale = 1 / np.sqrt(a.var((0, 2), keepdims=True) + EPS)
    da: Array = scale * (dz - dz.mean((0, 2), keepdims=True) - z * (dz * z).mean((0, 2), keepdims=True))
    return da


def options_of(
    cell: Cell,
    units: Array | None = None,
    activation: str | None = None,
    recurrent_activation: str | None = None,
    clip: float | None = None,
) -> Options:
    """The options of a cell; None for an activation is the cell's own."""
    return Options(
        activations[activation or cell.activation],
        activations[recurrent_activation or cell.recurrent_activation],
        units,
        clip,
    )


def mixed(x: NDArray[Any]) -> NDArray[Any]:
    """Wellons' 32-bit mixer "lowbias32" ("Prospecting for hash functions", 2018)."""
    low: Any = np.uint64(0xFFFFFFFF)
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
    return np.asarray(x ^ (x >> np.uint64(16)))


def zoned(p: float, seed: int, state: int, t: int, B: int, H: int) -> NDArray[np.bool_]:
    """Which units (B, H) keep state number `state` at time t in training: each with probability `p`."""
    low: Any = np.uint64(0xFFFFFFFF)
    key = mixed(np.array([((seed >> 32) + state) & 0xFFFFFFFF], np.uint64))
    for number in (seed & 0xFFFFFFFF, t):
        key = mixed((key + np.full(1, number, np.uint64)) & low)
    rows = mixed((key + np.arange(B, dtype=np.uint64)) & low)[:, None]
    units = (np.arange(H, dtype=np.uint64) * np.uint64(0x9E3779B9)) & low
    return (mixed((units + rows) & low) >> np.uint64(8)) < np.uint64(int(np.float32(p) * 2.0**24))
