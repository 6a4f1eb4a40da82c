"""The slots of a stack, each a direction of a layer: their names, packed weights and noise.

The weights are packed for the kernels on the first call and stay packed. A stale pack is impossible: `params`
hands out read-only views, every write goes through it and is counted, and a pack is used only for the count
it was made at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _registry, functional
from ._call import Call
from ._layer import Layer
from ._noise import QUIET, Extras, Noise, draw

Array = NDArray[Any]


class Slots(Layer):
    """What a stack knows of its slots; a slot's number is layer * directions + direction."""

    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    directions: int  # 2 for a bidirectional layer, else 1
    _slot_count: int
    _slot_names: list[list[str | None]]  # as `_names`, None for parameters that the layer does not have
    _cell: _registry.Cell
    _extras: Extras
    _told: _registry.Options
    _own: tuple[_registry.Own, ...]
    _widths: tuple[int, ...]  # of the states; the first is that of a direction's output
    _features: int  # of a layer's output
    _slots: list[range]  # of each layer

    @property
    def _drops(self) -> bool:
        """Whether training changes what a layer reads: then it cannot run beside the one that writes it."""
        return self.dropout > 0 or self._extras.input_dropout > 0

    def _names(self, slot: int) -> list[str | None]:
        """What a slot's parameters would be called with biases: those of functional.Weights but `units`."""
        suffix = self._suffix(slot)
        return [None if name is None else name + suffix for name in _registry.names(self._cell, self._told)]

    def _suffix(self, slot: int) -> str:
        return f"_l{slot // self.directions}" + ("_reverse" if slot % self.directions else "")

    def _units(self, slot: int) -> Array | None:
        """The weights that each unit has for itself, of which those that are not there are zeros."""
        parts = []
        for name, rows, _ in self._own:
            value = self.params.get(name + self._suffix(slot))
            shape = rows, self.hidden_size
            parts.append(np.zeros(shape, self.dtype) if value is None else value.reshape(shape))
        return np.concatenate(parts) if parts else None

    def _inputs(self, slot: int) -> int:
        """How many features a slot reads."""
        return self.input_size if slot < self.directions else self._features

    def _part(self, array: Array, slot: int) -> Array:
        """The features of a slot's direction."""
        if self.directions == 1:
            return array
        start = slot % self.directions * self._widths[0]
        return array[..., start : start + self._widths[0]]

    def _derived(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` derives from the parameters at their present version: made now, or before."""
        version = self.params.version
        cached = self._packed
        if cached is None or cached[0] != version:
            cached = self._packed = (version, {})
        value = cached[1].get(key)
        if value is None:
            value = cached[1][key] = make()
        return value

    def _packs(self, use: int) -> list[Array]:
        """The packed weights of every slot."""
        packs: list[Array] = self._derived(use, lambda: [self._pack(use, s) for s in range(self._slot_count)])
        return packs

    def _pack(self, use: int, slot: int, mask: Array | None = None) -> Array:
        """`mask` multiplies the recurrent weights."""
        params = self.params
        found = [None if name is None else params.get(name) for name in self._slot_names[slot]]
        w_ih, w_hh, b_ih, b_hh, w_hr = found
        assert w_ih is not None
        if w_hh is None:
            w_hh = np.empty((0, self.hidden_size), self.dtype)
        elif mask is not None:
            w_hh = w_hh * mask
        weights = functional.Weights(w_ih, w_hh, b_ih, b_hh, self._units(slot), w_hr)
        return functional.pack(self._cell, use, weights, self._told)

    def _gradients(
        self, slot: int, dx: Array, weights: functional.Weights, noise: Noise = QUIET
    ) -> dict[str, Array]:
        """The gradients of a slot's parameters by name, from those of functional.Weights.

        They and dx are of what came out of the noise; here they pass through it.
        """
        w_ih, w_hh, b_ih, b_hh, units, w_hr = weights
        if noise.w_hh is not None:
            w_hh *= noise.w_hh
        if noise.x is not None:
            dx *= noise.x
        named = zip(self._slot_names[slot], (w_ih, w_hh, b_ih, b_hh, w_hr), strict=True)
        found = {name: g for name, g in named if name is not None and g is not None}
        start = 0
        for own, rows, flat in self._own:
            assert units is not None
            if (name := own + self._suffix(slot)) in self.params:
                part = units[start : start + rows]
                found[name] = part.reshape(-1) if flat else part
            start += rows
        return found

    def _noisy_packs(self, use: int, noise: list[Noise]) -> list[Array]:
        """The same with the noise of one call, which are packs of its own only if it is in the weights."""
        if not self._extras.weight_dropout:
            return self._packs(use)
        return [self._pack(use, slot, noise[slot].w_hh) for slot in range(self._slot_count)]

    def _noise(self, call: Call, generator: np.random.Generator) -> list[Noise]:
        """What each slot draws for a call of `vjp`."""
        noisy = self._drops or self._extras.recurrent_dropout or self._extras.weight_dropout
        if not noisy and not any(self._told.zoneout):
            return [QUIET] * self._slot_count
        B, P, noise = call.x.shape[1], self._widths[0], []
        for slot in range(self._slot_count):
            inputs = self._inputs(slot)
            shapes = (B, inputs), (B, P), (self._cell.recurrent * self.hidden_size, P)
            noise.append(draw(self._extras, self._told, *shapes, self.dtype, generator))
        return noise
