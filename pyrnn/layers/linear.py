"""The affine map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check, _core, _threads
from .._layer import Gradients, Layer, as_size
from .._random import as_generator


class Linear(Layer):
    """Affine map of the last axis: ``y = x @ weight.T + bias``.

    The other axes may be any, so that it maps every step of (T, B, in_features) as it maps the rows of (B,
    in_features): no wrapper such as TimeDistributed is needed.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of input and output, at least 1.
    bias : bool, default True
        Whether to add a bias.
    dtype : float32 or float64, default float32
        The dtype of parameters and outputs; inputs are cast to it.
    rng : None, int or numpy.random.Generator
        Source of the initial values: uniform between ±1/sqrt(in_features), as PyTorch draws them.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters: `weight` (out_features, in_features) and `bias` (out_features,). The result of a row does not
    depend, bit for bit, on the rows beside it, and neither results nor gradients on the number of threads,
    which `set_num_threads` sets.

    Examples
    --------
    >>> layer = Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 4, 3))).shape
    (5, 4, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.in_features = as_size(in_features, "in_features")
        self.out_features = as_size(out_features, "out_features")
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        if bias:
            shapes["bias"] = (self.out_features,)
        super().__init__(shapes, dtype)
        generator, bound = as_generator(rng), self.in_features**-0.5
        self.params.update({name: generator.uniform(-bound, bound, shape) for name, shape in shapes.items()})

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Map `x`, shape (..., in_features), to shape (..., out_features).

        Raises
        ------
        TypeError, ValueError
            `x` is not real, or its last axis has another size.
        """
        return self._forward(self._input(x), self.params["weight"], self._pack())

    def vjp(self, x: ArrayLike) -> tuple[NDArray[Any], Callable[[ArrayLike], tuple[NDArray[Any], Gradients]]]:
        """Map `x` and return the way back.

        Parameters
        ----------
        x : array_like, shape (..., in_features)
            Not copied if it has the layer's dtype: leave it unchanged until `pull`.

        Returns
        -------
        y : ndarray, shape (..., out_features)
        pull : callable
            ``pull(dy) -> dx, grads`` with the shapes of `y`, `x` and `params`.

        Raises
        ------
        TypeError, ValueError
            `x` (or `dy`, from `pull`) is not real or has the wrong shape.
        """
        x = self._input(x)
        weight = self.params["weight"].copy()  # an optimizer may step before pull
        y = self._forward(x, weight, None)
        y_shape, names, threads = y.shape, list(self.params), _threads.get_num_threads()

        def pull(dy: ArrayLike) -> tuple[NDArray[Any], Gradients]:
            d = _rows(_check.shaped(dy, self.dtype, "dy", y_shape))
            dx = _core.empty((len(d), self.in_features), self.dtype)
            grads = {name: np.empty_like(self.params[name]) for name in names}
            _core.linear_backward(_rows(x), weight, d, dx, grads["weight"], grads.get("bias"), threads)
            return dx.reshape(x.shape), grads

        return y, pull

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return _check.features(x, self.dtype, "x", self.in_features)

    def _pack(self) -> NDArray[Any]:
        """The weight as the kernel reads it, made anew when it has changed."""
        version, kept = self.params.version, self._packed
        if kept is None or kept[0] != version:
            kept = self._packed = (version, _core.linear_pack(self.params["weight"]))
        packed: NDArray[Any] = kept[1]
        return packed

    def _forward(self, x: NDArray[Any], weight: NDArray[Any], packed: NDArray[Any] | None) -> NDArray[Any]:
        rows = _rows(x)
        y = _core.empty((len(rows), self.out_features), self.dtype)
        bias, threads = self.params.get("bias"), _threads.get_num_threads()
        _core.linear_forward(rows, weight, bias, y, threads, packed)
        return y.reshape(*x.shape[:-1], self.out_features)

    def __repr__(self) -> str:
        bias = "" if "bias" in self.params else ", bias=False"
        dtype = "" if self.dtype == np.float32 else f", dtype=np.{self.dtype}"
        return f"Linear({self.in_features}, {self.out_features}{bias}{dtype})"


def _rows(array: NDArray[Any]) -> NDArray[Any]:
    """All axes but the last as one, which the kernels can walk over."""
    return _check.walkable(array.reshape(-1, array.shape[-1]))
