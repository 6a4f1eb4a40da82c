"""The arguments of a stack's calls, checked, and its results as the caller expects them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check, _core, functional
from ._call import Call, State, kind_of
from ._parameters import as_real
from ._slots import Slots

Array = NDArray[Any]


class Arguments(Slots):
    """What a stack reads and returns: time-major and batched within, whatever the caller's order of axes."""

    batch_first: bool

    def _read(self, x: ArrayLike, state: State, lengths: ArrayLike | None, reset: ArrayLike | None) -> Call:
        dtype = self._params.dtype
        simple = state is None and lengths is None and reset is None and not self.batch_first
        if simple and _core.is_plain(x, dtype, self.input_size):  # the common case: a third of a short call
            return Call(cast(Array, x), None, None, None, True)
        array = as_real(x, dtype, "x")
        shape = array.shape
        batched = len(shape) == 3
        if not 2 <= len(shape) <= 3 or shape[-1] != self.input_size:
            batch = "B, T" if self.batch_first else "T, B"
            raise ValueError(
                f"x must have shape ({batch}, {self.input_size}) or (T, {self.input_size}), got {shape}"
            )
        if not batched and lengths is not None:
            raise ValueError("lengths must be None for an x without a batch axis")
        array = _check.walkable(array)
        episodes = _check.reset(reset, shape[:-1])
        if not batched:
            array, episodes = array[:, None], None if episodes is None else episodes[:, None]
        elif self.batch_first:
            array, episodes = array.swapaxes(0, 1), None if episodes is None else episodes.T
        T, B, _ = array.shape
        widest = max(self.input_size, self._features)
        functional.check_size(self._cell, dtype, (T, B, widest), self.hidden_size, "x")
        states = self._state_in(state, "state", B, batched)
        return Call(array, states, _check.lengths(lengths, T, B), episodes, batched)

    def _state_in(self, state: State, name: str, B: int, batched: bool) -> tuple[Array | None, ...] | None:
        """S arrays (slots, B, H), h (slots, B, P), from what the caller calls a state."""
        if state is None:
            return None
        S = self._cell.states
        if S > 1 and (not isinstance(state, (tuple, list)) or len(state) != S):
            raise TypeError(f"{name} must be a tuple of {S} arrays (h, c), got {kind_of(state)}")
        shape = (self._slot_count, *([B] if batched else []))
        parts = []
        for i, part in enumerate(state if S > 1 else [state]):
            read = (
                None
                if part is None
                else _check.contiguous(
                    part, self.dtype, f"{name}[{i}]" if S > 1 else name, (*shape, self._widths[i])
                )
            )
            parts.append(read[:, None] if read is not None and not batched else read)
        return tuple(parts)

    def _state_out(self, call: Call, final: list[tuple[Array, ...]]) -> State:
        if len(final) == 1:  # np.stack takes longer than a small layer's whole call
            parts = [part[None] for part in final[0]]
        else:
            parts = [np.stack(part) for part in zip(*final, strict=True)]
        if not call.batched:
            parts = [part[:, 0] for part in parts]
        return tuple(parts) if len(parts) > 1 else parts[0]

    def _output(self, call: Call, features: int | None = None) -> Array:
        """The array of y, or of so many features, seen time-major."""
        T, B, _ = call.x.shape
        features = self._features if features is None else features
        if self.batch_first and call.batched:
            return _core.empty((B, T, features), self.dtype).swapaxes(0, 1)
        return _core.empty((T, B, features), self.dtype)

    def _return(self, call: Call, array: Array) -> Array:
        """A time-major array as the caller of this layer expects it."""
        if not call.batched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    def _gradient_in(self, call: Call, dy: ArrayLike) -> Array:
        T, B, _ = call.x.shape
        features = self._features
        if not call.batched:
            return _check.strided(dy, self.dtype, "dy", (T, features))[:, None]
        shape = (B, T, features) if self.batch_first else (T, B, features)
        array = _check.strided(dy, self.dtype, "dy", shape)
        return array.swapaxes(0, 1) if self.batch_first else array
