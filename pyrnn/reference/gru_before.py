"""GRU, reset before the product (as published). Gates r z n, state h; saves the activated gates.

    r = gate(W_r x + R_r h + b_r)    n = act(W_n x + b_Wn + R_n (r * h) + b_Rn)
    z = gate(W_z x + R_z h + b_z)    h' = (1 - z) * n + z * h

Cho et al., "Learning phrase representations using RNN encoder-decoder", arXiv:1406.1078v3 (2014), eq. 5-8.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State
from .options import Options

gates, states, recurrent, units, peepholes = 3, 1, 3, 0, 0
activation, recurrent_activation = "tanh", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    (h,) = s
    r, z = o.gate.value(ax[:2] + R(h, 0, 2))
    n = o.act.value(ax[2] + R(r * h, 2, 3)[0])
    return ((1 - z) * n + z * h,), (r, z, n)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (r, z, n), (h,), (dh1,) = saved, s0, ds
    dn = dh1 * (1 - z) * o.act.slope(n)
    dz = dh1 * (h - n) * o.gate.slope(z)
    drh = pull(dn, r * h, 2, 3)
    dr = drh * h * o.gate.slope(r)
    dh = pull(np.concatenate([dr, dz], axis=1), h, 0, 2)
    return np.concatenate([dr, dz, dn], axis=1), (dh + drh * r + dh1 * z,), []
