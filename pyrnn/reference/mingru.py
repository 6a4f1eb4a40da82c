"""minGRU. Gates z n, state h; saves the activated gates.

    z = gate(W_z x + b_z)    n = g(W_n x + b_n)    h' = (1 - z) * h + z * n
    g(x) = x + 1/2 from 0 on, else sigmoid(x)

Feng et al., "Were RNNs all we needed?", arXiv:2410.01201 (2024), section 3.1 and appendix B.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State, sigmoid
from .options import Options

gates, states, recurrent, units, peepholes = 2, 1, 0, 0, 0
activation, recurrent_activation = "identity", "sigmoid"


def positive(x: Array) -> Array:
    return np.where(x >= 0, x + 0.5, sigmoid(x)).astype(x.dtype)


def positive_slope(y: Array) -> Array:
    return np.where(y >= 0.5, 1, y * (1 - y)).astype(y.dtype)


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    z, n = o.gate.value(ax[0]), positive(ax[1])
    return ((1 - z) * s[0] + z * n,), (z, n)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (z, n), (h,), (dh1,) = saved, s0, ds
    da = np.concatenate([dh1 * (n - h) * o.gate.slope(z), dh1 * z * positive_slope(n)], axis=1)
    return da, (dh1 * (1 - z),), []
