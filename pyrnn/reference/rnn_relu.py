"""Elman network, rectified. One gate, state h; saves nothing: the derivative is 1 where h' > 0, else 0.

    h' = max(0, W x + R h + b)

Le, Jaitly & Hinton, "A simple way to initialize recurrent networks of rectified linear units",
arXiv:1504.00941 (2015).
"""

import numpy as np

from .common import Array, Pull, Recurrent, State

gates, states = 1, 1


def point(ax: Array, s: State, R: Recurrent) -> tuple[State, State]:
    return (np.maximum(ax + R(s[0]), 0)[0],), ()  # maximum, unlike fmax, keeps NaN


def back(saved: State, s0: State, s1: State, ds: State, pull: Pull) -> tuple[Array, State]:
    (h,), (h1,), (dh1,) = s0, s1, ds
    da = dh1 * (h1 > 0)
    return da, (pull(da, h),)
