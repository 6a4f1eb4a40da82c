"""Elman network. One gate, state h; saves nothing, since the derivative is a function of h'.

    h' = act(W x + R h + b)

Elman, "Finding structure in time", Cognitive Science 14 (1990) 179-211.
"""

from .common import Array, Pull, Recurrent, State
from .options import Options

gates, states, recurrent, units, peepholes = 1, 1, 1, 0, 0
activation, recurrent_activation = "tanh", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    return (o.act.value(ax + R(s[0]))[0],), ()


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    (h,), (h1,), (dh1,) = s0, s1, ds
    da = dh1 * o.act.slope(h1)
    return da, (pull(da, h),), []
