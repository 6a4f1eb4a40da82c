"""GRU, reset after the product (PyTorch, cuDNN). Gates r z n, state h; saves r z n and R_n h + b_Rn.

    r = gate(W_r x + R_r h + b_r)    n = act(W_n x + b_Wn + r * (R_n h + b_Rn))
    z = gate(W_z x + R_z h + b_z)    h' = (1 - z) * n + z * h

Cho et al., "Learning phrase representations using RNN encoder-decoder", arXiv:1406.1078v1 (2014).
"""

import numpy as np

from .common import Array, Pull, Recurrent, State
from .options import Options

gates, states, recurrent, units, peepholes = 3, 1, 3, 0, 0
activation, recurrent_activation = "tanh", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    (h,), (xr, xz, xn) = s, ax
    hr, hz, hn = R(h)
    r, z = o.gate.value(xr + hr), o.gate.value(xz + hz)
    n = o.act.value(xn + r * hn)
    return ((1 - z) * n + z * h,), (r, z, n, hn)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (r, z, n, hn), (h,), (dh1,) = saved, s0, ds
    dn = dh1 * (1 - z) * o.act.slope(n)
    dz = dh1 * (h - n) * o.gate.slope(z)
    dr = dn * hn * o.gate.slope(r)
    dh = pull(np.concatenate([dr, dz, dn * r], axis=1), h)
    return np.concatenate([dr, dz, dn], axis=1), (dh + dh1 * z,), []
