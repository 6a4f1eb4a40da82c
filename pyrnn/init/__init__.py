"""Initial values: of arrays, of the parameters of a layer by name, and of the biases of gates.

An initializer is a function ``(shape, rng, dtype) -> ndarray``: `glorot_uniform`, `glorot_normal`,
`he_uniform`, `he_normal`, `orthogonal`, `identity`, `uniform`, `normal`, `constant`, `zeros`. `fill` applies
one to the parameters of a layer, or of a whole `Sequential`; `forget_bias` and `chrono` set what gates start
with. Layers come with PyTorch's initial values, uniform between ±1/sqrt(H); Keras' are::

    fill(model, "*weight_ih*", glorot_uniform, rng=0)
    fill(model, "*weight_hh*", orthogonal, rng=1)
    fill(model, "*bias_*h*", zeros)
    forget_bias(model)

but that Keras draws one orthogonal rectangle for all gates, and `fill` a square for each.
"""

from ._arrays import (
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    identity,
    normal,
    orthogonal,
    uniform,
    zeros,
)
from ._layers import chrono, fill, forget_bias

__all__ = [
    "chrono",
    "constant",
    "fill",
    "forget_bias",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "normal",
    "orthogonal",
    "uniform",
    "zeros",
]
