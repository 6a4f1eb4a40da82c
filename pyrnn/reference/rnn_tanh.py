"""Elman network. One gate, state h; saves nothing, since the derivative of tanh is a function of h'.

    h' = tanh(W x + R h + b)

Elman, "Finding structure in time", Cognitive Science 14 (1990) 179-211.
"""

import numpy as np

from .common import Array, Pull, Recurrent, State

gates, states = 1, 1


def point(ax: Array, s: State, R: Recurrent) -> tuple[State, State]:
    return (np.tanh(ax + R(s[0]))[0],), ()


def back(saved: State, s0: State, s1: State, ds: State, pull: Pull) -> tuple[Array, State]:
    (h,), (h1,), (dh1,) = s0, s1, ds
    da = dh1 * (1 - h1 * h1)
    return da, (pull(da, h),)
