"""The activations that a recurrent node of ONNX may name, and which of them the kernels have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Known(NamedTuple):
    """An activation: its function of x, alpha and beta, and their defaults, if it has them."""

    value: Callable[[Array, Any, Any], Array]
    parameters: int = 0  # 1 for alpha, 2 for beta too
    defaults: tuple[float, ...] = ()


KNOWN = {
    "relu": Known(lambda x, a, b: np.maximum(x, 0)),
    "tanh": Known(lambda x, a, b: np.tanh(x)),
    "sigmoid": Known(lambda x, a, b: 1 / (1 + np.exp(-x))),
    "softsign": Known(lambda x, a, b: x / (1 + np.abs(x))),
    "softplus": Known(lambda x, a, b: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
    "leakyrelu": Known(lambda x, a, b: np.where(x >= 0, x, a * x), 1, (0.01,)),
    "thresholdedrelu": Known(lambda x, a, b: np.where(x > a, x, x * 0), 1, (1.0,)),
    "elu": Known(lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))), 1, (1.0,)),
    "affine": Known(lambda x, a, b: a * x + b, 2),
    "scaledtanh": Known(lambda x, a, b: a * np.tanh(b * x), 2),
    "hardsigmoid": Known(lambda x, a, b: np.clip(a * x + b, 0, 1), 2, (0.2, 0.5)),
}
"""By name in small letters; ONNX's are read in either case."""


SIXTH = float(np.float32(1 / 6))  # what a file has for 1/6, the slope of most hard sigmoids


class Activation(NamedTuple):
    """An activation with its alpha and beta."""

    name: str  # a key of KNOWN
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        """Its values at x, in the dtype of x."""
        return KNOWN[self.name].value(x, x.dtype.type(self.alpha), x.dtype.type(self.beta))

    def in_kernels(self) -> Kernel | None:
        """How the kernels compute it, None if they do not."""
        if self.name in ("tanh", "sigmoid", "relu", "softsign"):
            return Kernel(self.name)
        if self.name == "scaledtanh" and self.alpha == 1:
            return Kernel("tanh", self.beta)
        if self.name == "affine":
            return Kernel("identity", self.alpha, self.beta)
        if self.name == "hardsigmoid":  # alpha x + beta = x' / 6 + 1/2
            return Kernel("hard_sigmoid", 6 * self.alpha, 6 * self.beta - 3)
        return None


class Kernel(NamedTuple):
    """One of pyrnn's activations, of ``scale * x + shift``: which weights and biases can take in."""

    name: str
    scale: float = 1.0
    shift: float = 0.0


def read(names: list[str], alphas: list[float], betas: list[float]) -> list[Activation]:
    """Give every activation its alpha and beta: those that take one, in their order, and then the defaults.

    Raises
    ------
    ValueError
        There is no such activation, a number is missing that has no default, or numbers are left over.
    """
    lists, found = (list(alphas), list(betas)), []
    for name in names:
        known = KNOWN.get(name.lower())
        if known is None:
            raise ValueError(f"activations must be {', '.join(KNOWN)}, got {name!r}")
        numbers = []
        for i, argument in enumerate(("activation_alpha", "activation_beta")[: known.parameters]):
            if lists[i]:
                number = lists[i].pop(0)
                numbers.append(1 / 6 if number == SIXTH else number)
            elif i < len(known.defaults):
                numbers.append(known.defaults[i])
            else:
                raise ValueError(f"{argument} has no number for {name}, which has no default")
        found.append(Activation(name.lower(), *numbers))
    if lists[0] or lists[1]:
        raise ValueError(
            f"the activations {', '.join(names)} do not take {len(alphas)} numbers as activation_alpha "
            f"and {len(betas)} as activation_beta"
        )
    return found
