"""LSTM with layer normalization. Gates i f g o, states h c; saves what it normalizes and the activated gates.

    a = gain_x * N(W x) + b_x + gain_h * N(R h) + b_h        over the 4H of all gates
    i = gate(a_i + p_i c)    g = act(a_g)                    c' = f * c + i * g
    f = gate(a_f + p_f c)    o = gate(a_o + p_o c')          h' = o * act(gain_c * N(c') + b_c)

N is `normal`; c' may be clipped, p are the peepholes. The units' own weights: b_x, b_h, gain_x, gain_h,
gain_c, b_c, p.

Ba, Kiros & Hinton, "Layer normalization", arXiv:1607.06450 (2016), equations 20-22.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State
from .options import Options, normal, normal_back

gates, states, recurrent, units, peepholes = 4, 2, 4, 10, 3
activation, recurrent_activation = "tanh", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    assert o.units is not None
    (h, c), (bx, bh, gx, gh), (gc, bc) = s, o.units[:16].reshape(4, 4, 1, -1), o.units[16:18]
    ah, (pi, pf, po) = R(h), o.units[18:] if len(o.units) > 18 else (0, 0, 0)
    ai, af, ag, ao = gx * normal(ax) + bx + gh * normal(ah) + bh
    i, f, g = o.gate.value(ai + pi * c), o.gate.value(af + pf * c), o.act.value(ag)
    c1 = f * c + i * g
    if o.clip is not None:
        c1 = np.clip(c1, -o.clip, o.clip)
    out = o.gate.value(ao + po * c1)
    return (out * o.act.value(gc * normal(c1[None])[0] + bc), c1), (ax, ah, i, f, g, out, c1)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    assert o.units is not None
    (ax, ah, i, f, g, out, c1), (h, c), (dh1, dc1) = saved, s0, ds
    (gx, gh), (gc, bc) = o.units[8:16].reshape(2, 4, 1, -1), o.units[16:18]
    zx, zh, (zc,) = normal(ax), normal(ah), normal(c1[None])
    tc = o.act.value(gc * zc + bc)
    do, dbc = dh1 * tc * o.gate.slope(out), dh1 * out * o.act.slope(tc)
    dc = dc1 + normal_back(c1[None], gc * dbc[None])[0]
    if len(o.units) > 18:
        dc = dc + do * o.units[20]
    if o.clip is not None:
        dc = np.where(abs(c1) < o.clip, dc, 0)
    di, df, dg = dc * g * o.gate.slope(i), dc * c * o.gate.slope(f), dc * i * o.act.slope(g)
    da, dc0, own = np.stack([di, df, dg, do]), dc * f, []
    if len(o.units) > 18:
        dc0, own = dc0 + di * o.units[18] + df * o.units[19], [di * c, df * c, do * c1]
    dax, dah = (np.concatenate(list(normal_back(a, k * da)), axis=1) for a, k in ((ax, gx), (ah, gh)))
    return dax, (pull(dah, h), dc0), [*da, *da, *(da * zx), *(da * zh), dbc * zc, dbc, *own]
