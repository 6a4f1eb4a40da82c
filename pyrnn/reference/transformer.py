"""Vaswani et al. 2017: the block of an encoder, in NumPy. Without dropout; arrays (B, T, E)."""

import math

import numpy as np

from .attention import multi_head
from .common import Array
from .layers import layer_norm, layer_norm_backward


def gelu(x: Array) -> tuple[Array, Array]:
    """Hendrycks & Gimpel 2016: x Phi(x), and its slope."""
    below = np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2, otypes=[float])(x)
    return x * below, below + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def relu(x: Array) -> tuple[Array, Array]:
    return np.maximum(x, 0), (x > 0).astype(float)


def inside(params: dict[str, Array], part: str) -> dict[str, Array]:
    start = part + "."
    return {name.removeprefix(start): a for name, a in params.items() if name.startswith(start)}


def encoder_layer(
    x: Array, params: dict[str, Array], N: int, added: Array, activation: str, norm_first: bool, dy: Array
) -> tuple[Array, Array, dict[str, Array]]:
    """Output, and from the gradient dy of it those of x and of the parameters."""
    E = x.shape[-1]
    grads: dict[str, Array] = {}
    act = {"relu": relu, "gelu": gelu}[activation]

    def norm(name: str, x: Array) -> Array:
        return layer_norm(x, params[name + ".weight"], params[name + ".bias"], 1e-5)

    def norm_back(name: str, x: Array, dy: Array) -> Array:
        rows = x.reshape(-1, E), dy.reshape(-1, E)
        dx, dweight, dbias = layer_norm_backward(rows[0], params[name + ".weight"], 1e-5, rows[1])
        grads.update({name + ".weight": dweight, name + ".bias": dbias})
        return dx.reshape(x.shape)

    def attention(x: Array, dy: Array) -> tuple[Array, Array]:
        y, _, dx, own = multi_head([x, x, x], inside(params, "self_attn"), N, added, dy)
        grads.update({f"self_attn.{name}": a for name, a in own.items()})
        return y, dx[0] + dx[1] + dx[2]

    def network(x: Array, dy: Array) -> tuple[Array, Array]:
        W1, W2 = params["linear1.weight"], params["linear2.weight"]
        h, slope = act(x @ W1.T + params["linear1.bias"])
        dh = dy @ W2 * slope
        for name, d, a in (("linear2", dy, h), ("linear1", dh, x)):
            grads.update({name + ".weight": np.einsum("bto,bti->oi", d, a), name + ".bias": d.sum((0, 1))})
        return h @ W2.T + params["linear2.bias"], dh @ W1

    zero: Array = np.zeros_like(x)  # where only the output is wanted
    if norm_first:
        z = norm("norm1", x)
        middle: Array = x + attention(z, zero)[0]
        z2 = norm("norm2", middle)
        y = middle + network(z2, zero)[0]
        dmiddle = dy + norm_back("norm2", middle, network(z2, dy)[1])
        return y, dmiddle + norm_back("norm1", x, attention(z, dmiddle)[1]), grads
    sum1 = x + attention(x, zero)[0]
    middle = norm("norm1", sum1)
    sum2 = middle + network(middle, zero)[0]
    dsum2 = norm_back("norm2", sum2, dy)
    dsum1 = norm_back("norm1", sum1, dsum2 + network(middle, dsum2)[1])
    return norm("norm2", sum2), dsum1 + attention(x, dsum1)[1], grads
