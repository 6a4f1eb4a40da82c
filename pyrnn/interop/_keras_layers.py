"""What Keras has between recurrent layers and pyrnn has not: activations, held outputs, masks from values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._layer import Gradients, Layer, Stateless
from .._parameters import as_array, as_floating
from ..layers import Sequential
from ..layers._activations import ACTIVATIONS as SLOPED

Array = NDArray[Any]
Pull = Callable[[ArrayLike], tuple[Array, Gradients]]


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        y: Array = 1 / (1 + np.exp(-x))
    return y


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True, initial=-np.inf))
    y: Array = e / e.sum(-1, keepdims=True)
    return y


# Each with the gradient of x, from that of y, and from y.
FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "tanh": (np.tanh, lambda dy, y: dy * (1 - y * y)),
    "sigmoid": (_sigmoid, lambda dy, y: dy * y * (1 - y)),
    "softmax": (_softmax, lambda dy, y: y * (dy - (dy * y).sum(-1, keepdims=True))),
    "softsign": (lambda x: x / (1 + abs(x)), lambda dy, y: dy * (1 - abs(y)) ** 2),
    "hard_sigmoid": (
        lambda x: np.clip(x / 6 + x.dtype.type(0.5), 0, 1),
        lambda dy, y: dy * ((y > 0) & (y < 1)) / 6,
    ),
}
NAMES = (*FUNCTIONS, *SLOPED)


class Activation(Stateless):
    """A function of every number, or the softmax of the last axis.

    Parameters
    ----------
    function : str
        "relu", "gelu" (exact), "tanh", "sigmoid", "softmax", "softsign" or "hard_sigmoid" (x/6 + 1/2 between
        0 and 1).

    Raises
    ------
    TypeError, ValueError
        It is another.

    Examples
    --------
    >>> Activation("relu")(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def __init__(self, function: str) -> None:
        self.function = _check.choice(function, NAMES, "function")
        super().__init__()

    def __call__(self, x: ArrayLike) -> Array:
        """Compute the function of `x`, float32 or float64, any shape."""
        x = as_floating(x, "x")
        return SLOPED[self.function](x)[0] if self.function in SLOPED else FUNCTIONS[self.function][0](x)

    def vjp(self, x: ArrayLike) -> tuple[Array, Pull]:
        """Compute the function of `x` and return the way back, ``pull(dy) -> dx, {}``."""
        x = as_floating(x, "x")
        kept: Array
        if self.function in SLOPED:
            y, kept = SLOPED[self.function](x)
            gradient: Callable[[Array, Array], Array] = np.multiply
        else:
            value, gradient = FUNCTIONS[self.function]
            y = value(x)
            kept = y.copy()  # y is the caller's
        shape, dtype = y.shape, y.dtype

        def pull(dy: ArrayLike) -> tuple[Array, Gradients]:
            return gradient(_check.shaped(dy, dtype, "dy", shape), kept).astype(dtype, copy=False), {}

        return y, pull

    def __repr__(self) -> str:
        return f"Activation({self.function!r})"


class HoldLast(Stateless):
    """Beyond the end of a sequence the last valid step again, as Keras has it, where pyrnn has zeros.

    Arrays are (B, T, F).

    Examples
    --------
    >>> HoldLast()(np.array([[[1.0], [2.0], [0.0]]]), lengths=[2])[0, :, 0]
    array([1., 2., 2.])
    """

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Hold the last of each row's `lengths` steps; of a row without steps, the first."""
        x, at = self._read(x, lengths)
        return x.copy() if at is None else np.take_along_axis(x, at, 1)

    def vjp(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> tuple[Array, Pull]:
        """Hold the last steps and return the way back, ``pull(dy) -> dx, {}``."""
        y = self(x, lengths=lengths)
        array, at = self._read(x, lengths)
        shape, dtype = array.shape, array.dtype

        def pull(dy: ArrayLike) -> tuple[Array, Gradients]:
            dy = _check.shaped(dy, dtype, "dy", shape)
            if at is None:
                return dy.copy(), {}
            dx = np.zeros(shape, dtype)
            np.add.at(dx, (np.arange(shape[0])[:, np.newaxis], at[..., 0]), dy)
            return dx, {}

        return y, pull

    def _read(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Array, Array | None]:
        array = as_floating(x, "x")
        if array.ndim != 3:
            raise ValueError(f"x must have shape (B, T, F), got {array.shape}")
        B, T, _ = array.shape
        steps = _check.lengths(lengths, T, B)
        if steps is None:
            return array, None
        return array, np.minimum(np.arange(T), np.maximum(steps - 1, 0)[:, np.newaxis])[..., np.newaxis]

    def __repr__(self) -> str:
        return "HoldLast()"


class MergeHalves(Stateless):
    """The sum, mean or product of the two halves of the last axis.

    Parameters
    ----------
    mode : {"sum", "mean", "mul"}

    Raises
    ------
    TypeError, ValueError
        It is another.

    Examples
    --------
    >>> MergeHalves("sum")(np.array([1.0, 2.0, 10.0, 20.0]))
    array([11., 22.])
    """

    def __init__(self, mode: str) -> None:
        self.mode = _check.choice(mode, ("sum", "mean", "mul"), "mode")
        super().__init__()

    def __call__(self, x: ArrayLike) -> Array:
        """Merge the halves of `x`, shape (..., 2 F)."""
        a, b = self._halves(x)
        return a * b if self.mode == "mul" else (a + b) * a.dtype.type(0.5 if self.mode == "mean" else 1)

    def vjp(self, x: ArrayLike) -> tuple[Array, Pull]:
        """Merge the halves and return the way back, ``pull(dy) -> dx, {}``."""
        y = self(x)
        a, b = self._halves(x)

        def pull(dy: ArrayLike) -> tuple[Array, Gradients]:
            dy = _check.shaped(dy, a.dtype, "dy", a.shape)
            if self.mode == "mul":
                return np.concatenate([dy * b, dy * a], -1), {}
            part = dy * dy.dtype.type(0.5 if self.mode == "mean" else 1)
            return np.concatenate([part, part], -1), {}

        return y, pull

    def _halves(self, x: ArrayLike) -> tuple[Array, Array]:
        x = as_floating(x, "x")
        if x.ndim == 0 or x.shape[-1] % 2:
            raise ValueError(f"x must have an even number of features, got shape {x.shape}")
        half = x.shape[-1] // 2
        return x[..., :half], x[..., half:]

    def __repr__(self) -> str:
        return f"MergeHalves({self.mode!r})"


class MaskedSequential(Sequential):
    """A `Sequential` that finds the lengths in its input: steps that hold one value alone are padding.

    Parameters
    ----------
    *layers : Layer
        As for `Sequential`, batch first.
    mask_value : float
        The value. Of numbers (B, T) it is one number of a step, of (B, T, F) all its features.

    Notes
    -----
    Padding is last: a masked step before one that is not is refused. Features of padding are set to zero.
    """

    def __init__(self, *layers: Layer, mask_value: float) -> None:
        super().__init__(*layers)
        self.mask_value = _check.number(mask_value, "mask_value")

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None, **options: Any) -> Any:
        """Compute the output of the last layer; `lengths` in the place of those that are found."""
        x, lengths = self._masked(x, lengths)
        return super().__call__(x, lengths=lengths, **options)

    def vjp(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None, **options: Any
    ) -> tuple[Any, Callable[..., Any]]:
        """Compute the output and return the way back; as `Sequential`."""
        x, lengths = self._masked(x, lengths)
        return super().vjp(x, lengths=lengths, **options)

    def _masked(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[ArrayLike, ArrayLike | None]:
        array = as_array(x, "x")
        if lengths is not None or array.ndim not in (2, 3):
            return x, lengths
        valid = array != self.mask_value
        if array.ndim == 3:
            valid = valid.any(-1)
        steps = valid.sum(1)
        if (valid != (np.arange(array.shape[1]) < steps[:, np.newaxis])).any():
            raise ValueError(f"steps masked by {self.mask_value} must be the last ones of a sequence")
        taken = any("lengths" in options for options in self._options)
        return np.where(
            valid[..., np.newaxis], array, 0
        ) if array.ndim == 3 else array, steps if taken else None

    def __repr__(self) -> str:
        return f"Masked{super().__repr__()[:-1]}, mask_value={self.mask_value})"
