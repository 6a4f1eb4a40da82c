"""The last valid step of every sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._layer import Gradients, Stateless
from .._parameters import as_floating

Array = NDArray[Any]


class LastStep(Stateless):
    """The last valid step of every sequence, for one output a sequence and not one a step.

    After a recurrent layer it is what Keras calls ``return_sequences=False``.

    Parameters
    ----------
    batch_first : bool, default False
        Whether inputs are (B, T, F) rather than (T, B, F).
    bidirectional : bool, default False
        Whether the second half of the features comes from a reverse direction, which ends at the first step:
        that half is taken there, where it has read the whole sequence.

    Raises
    ------
    TypeError
        An argument is no bool.

    Notes
    -----
    There are no parameters, and the output has the dtype of the input. A sequence without steps gives zeros.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(3, 2, 1)
    >>> LastStep()(x, lengths=[3, 2])
    array([[4.],
           [3.]])
    """

    def __init__(self, batch_first: bool = False, bidirectional: bool = False) -> None:
        self.batch_first = _check.flag(batch_first, "batch_first")
        self.bidirectional = _check.flag(bidirectional, "bidirectional")
        super().__init__()

    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Take the last valid step.

        Parameters
        ----------
        x : array_like, shape (T, B, F); (B, T, F) if `batch_first`; or (T, F); float32 or float64
        lengths : array_like of int, shape (B,), optional
            Steps of each sequence, 0 to T; what lies beyond them is not read. T by default.

        Returns
        -------
        ndarray, shape (B, F), or (F,); a new array

        Raises
        ------
        TypeError, ValueError
            `x` is neither float32 nor float64, has another number of axes, or an odd number of features with
            `bidirectional`; `lengths` are not B integers of 0 to T.
        """
        x, steps = self._read(x, lengths)
        y = np.zeros(x.shape[1:], x.dtype)
        for into, part, at, rows in self._parts(y, x, steps):
            into[rows] = part[at, rows]
        return y if steps is not None else y[0]

    def vjp(
        self, x: ArrayLike, *, lengths: ArrayLike | None = None
    ) -> tuple[Array, Callable[[ArrayLike], tuple[Array, Gradients]]]:
        """Take the last valid step and return the way back.

        Parameters
        ----------
        x, lengths
            As in a call.

        Returns
        -------
        y : ndarray, shape (B, F), or (F,)
        pull : callable
            ``pull(dy) -> dx, {}``: zeros but at the steps that were taken.

        Raises
        ------
        TypeError, ValueError
            As a call; from `pull`, if `dy` is not real or has not the shape of `y`.
        """
        y = self(x, lengths=lengths)
        array, steps = self._read(x, lengths)
        steps = None if steps is None else steps.copy()
        shape, dtype = array.shape, array.dtype

        def pull(dy: ArrayLike) -> tuple[Array, Gradients]:
            dy = _check.shaped(dy, dtype, "dy", y_shape)
            dx = np.zeros(shape, dtype)
            for outof, part, at, rows in self._parts(dy.reshape(shape[1:]), dx, steps):
                part[at, rows] = outof[rows]
            if steps is None:
                return dx[:, 0], {}
            return dx.swapaxes(0, 1) if self.batch_first else dx, {}

        y_shape = y.shape
        return y, pull

    def _read(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Array, NDArray[np.int64] | None]:
        """The input, time-major with a batch axis, and the steps of each sequence; None without that axis."""
        array = as_floating(x, "x")
        if array.ndim not in (2, 3):
            batch = "B, T" if self.batch_first else "T, B"
            raise ValueError(f"x must have shape ({batch}, F) or (T, F), got {array.shape}")
        if self.bidirectional and array.shape[-1] % 2:
            raise ValueError(f"x must have an even number of features, got shape {array.shape}")
        if array.ndim == 2:
            if lengths is not None:
                raise ValueError("lengths must be None for an x without a batch axis")
            return array[:, np.newaxis], None
        if self.batch_first:
            array = array.swapaxes(0, 1)
        T, B, _ = array.shape
        steps = _check.lengths(lengths, T, B)
        return array, np.full(B, T) if steps is None else steps

    def _parts(
        self, y: Array, x: Array, steps: NDArray[np.int64] | None
    ) -> list[tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]]:
        """Features of y and x, each with the steps that they are taken at and the rows that have steps."""
        if steps is None:
            steps = np.array([len(x)])
        rows = np.flatnonzero(steps)
        last = steps[rows] - 1
        if not self.bidirectional:
            return [(y, x, last, rows)]
        half = x.shape[-1] // 2
        return [
            (y[:, :half], x[..., :half], last, rows),
            (y[:, half:], x[..., half:], np.zeros_like(last), rows),
        ]

    def __repr__(self) -> str:
        shown = [f"{name}=True" for name in ("batch_first", "bidirectional") if getattr(self, name)]
        return f"LastStep({', '.join(shown)})"
