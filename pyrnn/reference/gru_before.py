"""GRU, reset before the product (as published). Gates r z n, state h; saves the activated gates.

    r = sigmoid(W_r x + R_r h + b_r)    n = tanh(W_n x + b_Wn + R_n (r * h) + b_Rn)
    z = sigmoid(W_z x + R_z h + b_z)    h' = (1 - z) * n + z * h

Cho et al., "Learning phrase representations using RNN encoder-decoder", arXiv:1406.1078v3 (2014), eq. 5-8.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State, sigmoid

gates, states = 3, 1


def point(ax: Array, s: State, R: Recurrent) -> tuple[State, State]:
    (h,) = s
    r, z = sigmoid(ax[:2] + R(h, 0, 2))
    n = np.tanh(ax[2] + R(r * h, 2, 3)[0])
    return ((1 - z) * n + z * h,), (r, z, n)


def back(saved: State, s0: State, s1: State, ds: State, pull: Pull) -> tuple[Array, State]:
    (r, z, n), (h,), (dh1,) = saved, s0, ds
    dn = dh1 * (1 - z) * (1 - n * n)
    dz = dh1 * (h - n) * z * (1 - z)
    drh = pull(dn, r * h, 2, 3)
    dr = drh * h * r * (1 - r)
    dh = pull(np.concatenate([dr, dz], axis=1), h, 0, 2)
    return np.concatenate([dr, dz, dn], axis=1), (dh + drh * r + dh1 * z,)
