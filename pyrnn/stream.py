"""One step at a time: a layer's weights as a packed snapshot, with a state that advances."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check, _core
from ._parameters import as_array, as_real
from ._threads import get_num_threads


class Stream(_core.Stream):
    """A recurrent layer that is fed one step a call, ``y = stream(x)``; made by ``layer.stream(batch_size)``.

    The weights are a snapshot: later changes of the layer do not reach it. The results are those of the layer
    over the whole sequence, bit for bit. One stream serves one thread at a time.

    Parameters
    ----------
    x : array_like, shape (B, I)
        A call's input; fastest as a C-contiguous array of the layer's dtype.
    out : ndarray, shape (B, H), or (B, P) where h is projected, optional
        Where the result goes: C-contiguous, writeable, of the layer's dtype. A call then allocates nothing.

    Returns
    -------
    ndarray, shape (B, H)
        h of the last layer after the step: `out`, or a new array.

    Raises
    ------
    TypeError, ValueError
        `x` is not real or has another shape; `out` is not such an array.
    RuntimeError
        Another thread is in a call of this stream.

    Attributes
    ----------
    state : ndarray, shape (num_layers, B, H), or tuple of them
        The state after the last step, as the layer returns it: a copy. Assign to it to set it.
    """

    def __init__(
        self,
        packed: list[NDArray[Any]],
        inputs: int,
        widths: tuple[int, ...],
        batch: int,
        dtype: np.dtype[Any],
    ) -> None:
        self._dtype = dtype
        self._shape = (batch, inputs)
        self._state = [np.zeros((len(packed), batch, width), dtype) for width in widths]
        views = list(zip(*self._state, strict=True))  # a layer's, (B, width) each
        super().__init__(packed, inputs, widths[0], views, get_num_threads())

    @property
    def state(self) -> NDArray[Any] | tuple[NDArray[Any], ...]:
        """The state after the last step."""
        copies = tuple(part.copy() for part in self._state)
        return copies if len(copies) > 1 else copies[0]

    @state.setter
    def state(self, value: Any) -> None:
        parts = value if len(self._state) > 1 else (value,)
        if not isinstance(parts, (tuple, list)) or len(parts) != len(self._state):
            raise TypeError(f"state must be a tuple of {len(self._state)} arrays, got {type(value).__name__}")
        read = [
            _check.strided(part, self._dtype, f"state[{i}]", mine.shape)
            for i, (part, mine) in enumerate(zip(parts, self._state, strict=True))
        ]
        for mine, given in zip(self._state, read, strict=True):
            mine[...] = given

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set the state to zero.

        Parameters
        ----------
        rows : array_like of bool, shape (B,), optional
            Which rows of the batch; None for all.

        Raises
        ------
        TypeError, ValueError
            `rows` is not B booleans.
        """
        if rows is None:
            rows = np.ones(self._shape[0], bool)
        chosen = as_array(rows, "rows")
        if chosen.dtype != np.bool_:
            raise TypeError(f"rows must be an array of bool, got dtype {chosen.dtype}")
        if chosen.shape != self._shape[:1]:
            raise ValueError(f"rows must have shape {self._shape[:1]}, got {chosen.shape}")
        for part in self._state:
            part[:, chosen] = 0

    def _read(self, x: ArrayLike) -> NDArray[Any]:
        array = as_real(x, self._dtype, "x")
        if array.shape != self._shape:
            raise ValueError(f"x must have shape {self._shape}, got {array.shape}")
        return np.require(array, requirements=["C", "A"])

    def _refuse(self, out: object) -> NoReturn:
        _check.out(out, self._dtype, (self.batch, self.units), "out")
        raise AssertionError("an out that can be written to is refused")
