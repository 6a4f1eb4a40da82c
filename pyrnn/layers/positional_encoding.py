"""The sinusoidal positional encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._layer import Gradients, Stateless
from .._parameters import as_floating


class PositionalEncoding(Stateless):
    """Adds to each step a vector that says where in the sequence it is.

    ::

        y[t, ..., 2i]     = x[t, ..., 2i]     + sin(t / 10000 ** (2i / E))
        y[t, ..., 2i + 1] = x[t, ..., 2i + 1] + cos(t / 10000 ** (2i / E))

    Parameters
    ----------
    batch_first : bool, default False
        Whether x and y are (B, T, E) and not (T, B, E).

    Raises
    ------
    TypeError
        `batch_first` is no bool.

    Notes
    -----
    There are no parameters, the output has the dtype of the input, and the numbers of steps and features are
    not fixed: the encoding is computed in float64 when a sequence is longer than those before, and kept.

    References
    ----------
    Vaswani et al. 2017, arXiv:1706.03762, section 3.5.

    Examples
    --------
    >>> PositionalEncoding()(np.zeros((2, 1, 4))).round(3)
    array([[[0.   , 1.   , 0.   , 1.   ]],
    <BLANKLINE>
           [[0.841, 0.54 , 0.01 , 1.   ]]])
    """

    def __init__(self, batch_first: bool = False) -> None:
        self.batch_first = _check.flag(batch_first, "batch_first")
        super().__init__()

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Add the encoding to `x`.

        Parameters
        ----------
        x : array_like, shape (T, B, E); (B, T, E) if `batch_first`; or (T, E); float32 or float64

        Returns
        -------
        ndarray, shape and dtype of `x`

        Raises
        ------
        TypeError, ValueError
            `x` is neither float32 nor float64, or has another number of axes.
        """
        x = as_floating(x, "x")
        if x.ndim not in (2, 3):
            batch = "B, T" if self.batch_first else "T, B"
            raise ValueError(f"x must have shape ({batch}, E) or (T, E), got {x.shape}")
        table = self._table(x.shape[-2 if self.batch_first else 0], x.shape[-1], x.dtype)
        y: NDArray[Any] = x + (table if self.batch_first or x.ndim == 2 else table[:, np.newaxis])
        return y

    def vjp(self, x: ArrayLike) -> tuple[NDArray[Any], Callable[[ArrayLike], tuple[NDArray[Any], Gradients]]]:
        """Add the encoding to `x` and return the way back.

        Parameters
        ----------
        x : array_like
            As in a call.

        Returns
        -------
        y : ndarray, shape and dtype of `x`
        pull : callable
            ``pull(dy) -> dx, {}``: a copy of dy.

        Raises
        ------
        TypeError, ValueError
            As a call; from `pull`, if `dy` is not real or has not the shape of `y`.
        """
        y = self(x)
        shape, dtype = y.shape, y.dtype

        def pull(dy: ArrayLike) -> tuple[NDArray[Any], Gradients]:
            dy = _check.shaped(dy, dtype, "dy", shape)
            return dy.copy(), {}

        return y, pull

    def _table(self, T: int, E: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The first T rows of the encoding, from the latest table or from one of up to twice as many."""
        table: NDArray[Any] | None = self._packed  # read once: another thread may put one of its own there
        if table is None or table.shape[1] != E or table.dtype != dtype or len(table) < T:
            table = self._packed = _encoding(1 << (T - 1).bit_length() if T else 0, E).astype(dtype)
        return table[:T]

    def __repr__(self) -> str:
        return f"PositionalEncoding({'batch_first=True' if self.batch_first else ''})"


def _encoding(T: int, E: int) -> NDArray[np.float64]:
    angles = np.arange(T)[:, np.newaxis] / 10000.0 ** (np.arange(0, E, 2) / max(E, 1))
    table = np.empty((T, E))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles[:, : E // 2])
    return table
