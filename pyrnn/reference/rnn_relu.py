"""Elman network, rectified. One gate, state h; saves nothing: the derivative is 1 where h' > 0, else 0.

    h' = act(W x + R h + b)

Le, Jaitly & Hinton, "A simple way to initialize recurrent networks of rectified linear units",
arXiv:1504.00941 (2015).
"""

from .common import Array, Pull, Recurrent, State
from .options import Options

gates, states, recurrent, units, peepholes = 1, 1, 1, 0, 0
activation, recurrent_activation = "relu", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    return (o.act.value(ax + R(s[0]))[0],), ()


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (h,), (h1,), (dh1,) = s0, s1, ds
    da = dh1 * o.act.slope(h1)
    return da, (pull(da, h),), []
