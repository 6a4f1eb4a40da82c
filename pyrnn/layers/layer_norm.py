"""Layer normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check, _core
from .._layer import Gradients, Layer, as_size
from .._threads import get_num_threads


class LayerNorm(Layer):
    """Normalization of the last axis to mean 0 and variance 1, then a gain and a shift of each feature.

    ::

        y = (x - mean) / sqrt(variance + eps) * weight + bias

    Parameters
    ----------
    features : int
        Size of the last axis, at least 1.
    eps : float, default 1e-5
        Added to the variance (that of the population: divided by `features`), at least 0.
    elementwise_affine : bool, default True
        Whether there are parameters at all; without them y is (x - mean) / sqrt(variance + eps).
    bias : bool, default True
        Whether there is a shift; without `elementwise_affine` there is none.
    dtype : float32 or float64, default float32
        The dtype of parameters and outputs; inputs are cast to it.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters: `weight` (features,), ones at first, and `bias` (features,), zeros.

    The result of a row, and the gradient with respect to it, are the same, bit for bit, whatever other rows
    there are and for any number of threads; the gradients of the parameters for any number of threads.

    References
    ----------
    Ba, Kiros & Hinton 2016, arXiv:1607.06450.

    Examples
    --------
    >>> LayerNorm(2, eps=0.0)([[1, 3], [30, 10]])
    array([[-1.,  1.],
           [ 1., -1.]], dtype=float32)
    """

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.features = as_size(features, "features")
        self.eps = _check.at_least_zero(eps, "eps")
        names = ["weight"] if _check.flag(elementwise_affine, "elementwise_affine") else []
        if _check.flag(bias, "bias") and names:
            names.append("bias")
        super().__init__(dict.fromkeys(names, (self.features,)), dtype)
        if names:
            self.params["weight"] = np.ones(self.features)

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Normalize the last axis of `x`, shape (..., features).

        Raises
        ------
        TypeError, ValueError
            `x` is not real, or its last axis has another size.
        """
        x = self._input(x)
        return self._forward(self._rows(x, "x"), self._gain(), None).reshape(x.shape)

    def vjp(self, x: ArrayLike) -> tuple[NDArray[Any], Callable[[ArrayLike], tuple[NDArray[Any], Gradients]]]:
        """Normalize the last axis of `x` and return the way back.

        Parameters
        ----------
        x : array_like, shape (..., features)
            Not copied if it has the layer's dtype: leave it unchanged until `pull`.

        Returns
        -------
        y : ndarray, shape of `x`
        pull : callable
            ``pull(dy) -> dx, grads`` with the shapes of `y`, `x` and `params`.

        Raises
        ------
        TypeError, ValueError
            `x` (or `dy`, from `pull`) is not real or has the wrong shape.
        """
        x = self._input(x)
        rows, gain = self._rows(x, "x"), self._gain().copy()  # an optimizer may step before pull
        stats = np.empty((len(rows), 2), self.dtype)
        y = self._forward(rows, gain, stats).reshape(x.shape)
        shape, names = x.shape, list(self.params)

        def pull(dy: ArrayLike) -> tuple[NDArray[Any], Gradients]:
            dy = _check.shaped(dy, self.dtype, "dy", shape)
            dx = _core.empty(rows.shape, self.dtype)
            dgain, dshift = np.empty_like(gain), np.empty_like(gain)
            _core.norm_backward(rows, gain, stats, self._rows(dy, "dy"), dx, dgain, dshift, get_num_threads())
            grads = dict(zip(names, (dgain, dshift), strict=False))
            return dx.reshape(shape), grads

        return y, pull

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        return _check.features(x, self.dtype, "x", self.features)

    def _rows(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """Two axes, copied only where one stride cannot lead from row to row."""
        rows = array.reshape(-1, self.features)
        return _check.strided(rows, self.dtype, name, rows.shape)

    def _gain(self) -> NDArray[Any]:
        return self.params["weight"] if "weight" in self.params else np.ones(self.features, self.dtype)

    def _forward(self, rows: NDArray[Any], gain: NDArray[Any], stats: NDArray[Any] | None) -> NDArray[Any]:
        y = _core.empty(rows.shape, self.dtype)
        shift = self.params["bias"] if "bias" in self.params else np.zeros(self.features, self.dtype)
        _core.norm_forward(rows, gain, shift, self.eps, y, stats, get_num_threads())
        return y

    def __repr__(self) -> str:
        eps = "" if self.eps == 1e-5 else f", eps={self.eps}"
        names = {"": ", elementwise_affine=False", "weight": ", bias=False", "weight bias": ""}
        dtype = "" if self.dtype == np.float32 else f", dtype=np.{self.dtype}"
        return f"LayerNorm({self.features}{eps}{names[' '.join(self.params)]}{dtype})"
