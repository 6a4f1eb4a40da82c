"""LSTM with coupled gates, f = 1 - i. Gates i g o, states h c; saves the activated gates. p: peepholes.

    i = gate(W_i x + R_i h + b_i + p_i c)     g = act(W_g x + R_g h + b_g)    c' = (1 - i) * c + i * g
    o = gate(W_o x + R_o h + b_o + p_o c')    h' = o * act(c')

c' may be clipped; the gradient is zero where it is.

Greff et al., "LSTM: a search space odyssey", IEEE TNNLS 28 (2017) 2222.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State
from .options import Options

gates, states, recurrent, units, peepholes = 3, 2, 3, 0, 2
activation, recurrent_activation = "tanh", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    h, c = s
    ai, ag, ao = ax + R(h)
    pi, po = (0, 0) if o.units is None else o.units
    i, g = o.gate.value(ai + pi * c), o.act.value(ag)
    c1 = (1 - i) * c + i * g
    if o.clip is not None:
        c1 = np.clip(c1, -o.clip, o.clip)
    out = o.gate.value(ao + po * c1)
    return (out * o.act.value(c1), c1), (i, g, out)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (i, g, out), (h, c), (_, c1), (dh1, dc1) = saved, s0, s1, ds
    tc = o.act.value(c1)
    do = dh1 * tc * o.gate.slope(out)
    dc = dc1 + dh1 * out * o.act.slope(tc)
    if o.units is not None:
        dc = dc + do * o.units[1]
    if o.clip is not None:
        dc = np.where(abs(c1) < o.clip, dc, 0)
    di, dg = dc * (g - c) * o.gate.slope(i), dc * i * o.act.slope(g)
    da, dc0 = np.concatenate([di, dg, do], axis=1), dc * (1 - i)
    if o.units is None:
        return da, (pull(da, h), dc0), []
    return da, (pull(da, h), dc0 + di * o.units[0]), [di * c, do * c1]
