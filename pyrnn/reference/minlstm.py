"""minLSTM. Gates f i n, state h; saves f, i and n and the two quotients.

    f, i = sigmoid(W x + b)    n = g(W_n x + b_n)    f' = f / (f + i)    i' = i / (f + i)
    h' = f' * h + i' * n

with minGRU's g; the quotients as logistic functions of log f - log i, which is never 0 / 0.

Feng et al., "Were RNNs all we needed?", arXiv:2410.01201 (2024), section 3.2 and appendix B.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State, sigmoid
from .mingru import positive, positive_slope
from .options import Options

gates, states, recurrent, units, peepholes = 3, 1, 0, 0, 0
activation, recurrent_activation = "identity", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    af, ai, an = ax
    large = [np.clip(a, -1e30, 1e30) for a in (ai, af)]  # infinite gates are taken for very large ones
    with np.errstate(invalid="ignore"):  # which a NaN is for it
        difference = np.logaddexp(0, -large[0]) - np.logaddexp(0, -large[1])  # log f - log i
    f, i, n = sigmoid(difference), sigmoid(-difference), positive(an)
    return (f * s[0] + i * n,), (sigmoid(-af), sigmoid(-ai), f, i, n)


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (slope_f, slope_i, f, i, n), (h,), (dh1,) = saved, s0, ds
    d = dh1 * (h - n) * f * i
    return (
        np.concatenate([d * slope_f, -d * slope_i, dh1 * i * positive_slope(n)], axis=1),
        (dh1 * f,),
        [],
    )
