"""GRU, reset after the product, with layer normalization. Gates r z n, state h; saves W x, R h, r z n and hn.

    r = gate(gain_x * N(W x)_r + b_x + gain_h * N(R h)_r + b_h)        over the 2H of r and z; z likewise
    n = act(gain_x * N(W_n x) + b_x + r * (gain_h * N(R_n h) + b_h))
    h' = (1 - z) * n + z * h

N is `normal`. The units' own weights: b_x, b_h, gain_x, gain_h, each r z n.

Ba, Kiros & Hinton, "Layer normalization", arXiv:1607.06450 (2016), equations 29-32.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State
from .options import Options, normal, normal_back

gates, states, recurrent, units, peepholes = 3, 1, 3, 6, 0
activation, recurrent_activation = "tanh", "sigmoid"


def normals(a: Array) -> Array:
    return np.concatenate([normal(a[:2]), normal(a[2:])])


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    assert o.units is not None
    (h,), (bx, bh, gx, gh) = s, o.units.reshape(4, 3, 1, -1)
    ah = R(h)
    (xr, xz, xn), (hr, hz, hn) = gx * normals(ax) + bx, gh * normals(ah) + bh
    r, z = o.gate.value(xr + hr), o.gate.value(xz + hz)
    n = o.act.value(xn + r * hn)
    return ((1 - z) * n + z * h,), (ax, ah, r, z, n, hn)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    assert o.units is not None
    (ax, ah, r, z, n, hn), (h,), (dh1,) = saved, s0, ds
    gx, gh = o.units[6:].reshape(2, 3, 1, -1)
    dn = dh1 * (1 - z) * o.act.slope(n)
    dz = dh1 * (h - n) * o.gate.slope(z)
    dr = dn * hn * o.gate.slope(r)
    dx, dh = np.stack([dr, dz, dn]), np.stack([dr, dz, dn * r])

    def pre(a: Array, d: Array) -> Array:
        return np.concatenate([*normal_back(a[:2], d[:2]), *normal_back(a[2:], d[2:])], axis=1)

    own = [*dx, *dh, *(dx * normals(ax)), *(dh * normals(ah))]
    return pre(ax, gx * dx), (pull(pre(ah, gh * dh), h) + dh1 * z,), own
