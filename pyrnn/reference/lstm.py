"""LSTM. Gates i f g o, states h c; saves the activated gates. p i f o are the peepholes, zeros without them.

    i = gate(W_i x + R_i h + b_i + p_i c)    g = act(W_g x + R_g h + b_g)              c' = f * c + i * g
    f = gate(W_f x + R_f h + b_f + p_f c)    o = gate(W_o x + R_o h + b_o + p_o c')    h' = o * act(c')

c' may be clipped; the gradient is zero where it is.

Hochreiter & Schmidhuber, Neural Computation 9 (1997) 1735; forget gate: Gers et al., ibid. 12 (2000) 2451;
peepholes: Gers & Schmidhuber, IJCNN 2000.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State
from .options import Options

gates, states, recurrent, units, peepholes = 4, 2, 4, 0, 3
activation, recurrent_activation = "tanh", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    h, c = s
    ai, af, ag, ao = ax + R(h)
    pi, pf, po = (0, 0, 0) if o.units is None else o.units
    i, f, g = o.gate.value(ai + pi * c), o.gate.value(af + pf * c), o.act.value(ag)
    c1 = f * c + i * g
    if o.clip is not None:
        c1 = np.clip(c1, -o.clip, o.clip)
    out = o.gate.value(ao + po * c1)
    return (out * o.act.value(c1), c1), (i, f, g, out)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (i, f, g, out), (h, c), (_, c1), (dh1, dc1) = saved, s0, s1, ds
    tc = o.act.value(c1)
    do = dh1 * tc * o.gate.slope(out)
    dc = dc1 + dh1 * out * o.act.slope(tc)
    if o.units is not None:
        dc = dc + do * o.units[2]
    if o.clip is not None:
        dc = np.where(abs(c1) < o.clip, dc, 0)
    di, df, dg = dc * g * o.gate.slope(i), dc * c * o.gate.slope(f), dc * i * o.act.slope(g)
    da, dc0 = np.concatenate([di, df, dg, do], axis=1), dc * f
    if o.units is None:
        return da, (pull(da, h), dc0), []
    dc0 = dc0 + di * o.units[0] + df * o.units[1]
    return da, (pull(da, h), dc0), [di * c, df * c, do * c1]
