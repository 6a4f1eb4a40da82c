"""LSTM. Gates i f g o, states h c; saves the activated gates.

    i = sigmoid(W_i x + R_i h + b_i)    g = tanh(W_g x + R_g h + b_g)       c' = f * c + i * g
    f = sigmoid(W_f x + R_f h + b_f)    o = sigmoid(W_o x + R_o h + b_o)    h' = o * tanh(c')

Hochreiter & Schmidhuber, Neural Computation 9 (1997) 1735; forget gate: Gers et al., ibid. 12 (2000) 2451.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State, sigmoid

gates, states = 4, 2


def point(ax: Array, s: State, R: Recurrent) -> tuple[State, State]:
    h, c = s
    i, f, g, o = ax + R(h)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c1 = f * c + i * g
    return (o * np.tanh(c1), c1), (i, f, g, o)


def back(saved: State, s0: State, s1: State, ds: State, pull: Pull) -> tuple[Array, State]:
    (i, f, g, o), (h, c), (_, c1), (dh1, dc1) = saved, s0, s1, ds
    tc = np.tanh(c1)
    dc = dc1 + dh1 * o * (1 - tc * tc)
    di, df, dg, do = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh1 * tc * o * (1 - o)
    da = np.concatenate([di, df, dg, do], axis=1)
    return da, (pull(da, h), dc * f)
