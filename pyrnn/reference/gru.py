"""GRU, reset after the product (PyTorch, cuDNN). Gates r z n, state h; saves r z n and R_n h + b_Rn.

    r = sigmoid(W_r x + R_r h + b_r)    n = tanh(W_n x + b_Wn + r * (R_n h + b_Rn))
    z = sigmoid(W_z x + R_z h + b_z)    h' = (1 - z) * n + z * h

Cho et al., "Learning phrase representations using RNN encoder-decoder", arXiv:1406.1078v1 (2014).
"""

import numpy as np

from .common import Array, Pull, Recurrent, State, sigmoid

gates, states = 3, 1


def point(ax: Array, s: State, R: Recurrent) -> tuple[State, State]:
    (h,), (xr, xz, xn) = s, ax
    hr, hz, hn = R(h)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    return ((1 - z) * n + z * h,), (r, z, n, hn)


def back(saved: State, s0: State, s1: State, ds: State, pull: Pull) -> tuple[Array, State]:
    (r, z, n, hn), (h,), (dh1,) = saved, s0, ds
    dn = dh1 * (1 - z) * (1 - n * n)
    dz = dh1 * (h - n) * z * (1 - z)
    dr = dn * hn * r * (1 - r)
    dh = pull(np.concatenate([dr, dz, dn * r], axis=1), h)
    return np.concatenate([dr, dz, dn], axis=1), (dh + dh1 * z,)
