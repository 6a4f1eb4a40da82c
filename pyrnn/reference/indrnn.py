"""Independently recurrent network. One gate, state h; u, a recurrent weight a unit; saves nothing.

    h' = act(W x + u * h + b)

Li et al., "Independently recurrent neural network", arXiv:1803.04831 (2018).
"""

from .common import Array, Pull, Recurrent, State
from .options import Options

gates, states, recurrent, units, peepholes = 1, 1, 0, 1, 0
activation, recurrent_activation = "relu", "sigmoid"


def point(ax: Array, s: State, R: Recurrent, o: Options) -> tuple[State, State]:
    assert o.units is not None
    return (o.act.value(ax[0] + o.units[0] * s[0]),), ()


def back(
    saved: State, s0: State, s1: State, ds: State, pull: Pull, o: Options
) -> tuple[Array, State, list[Array]]:
    assert o.units is not None
    da = ds[0] * o.act.slope(s1[0])
    return da, (da * o.units[0],), [da * s0[0]]
