"""The layer of pyrnn behind a module of PyTorch: weights over, arrays in and out without a copy.

A module's weights may be written in ways that nobody counts (``p.data.copy_(...)``, another process). So its
layer holds a copy of them, the bytes of both are compared at every call, and packs are renewed where they
differ: less work than the products of one step, and a stale pack is impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _core, recurrent
from .._call import Call, of_slot
from .._stack import Recurrent, Tape
from ..functional import Given, Kept, Sequence

Array = NDArray[Any]

MAKERS: dict[str, Callable[..., Recurrent]] = {
    "LSTM": recurrent.LSTM,
    "GRU": recurrent.GRU,
    "RNN_TANH": recurrent.RNN,
    "RNN_RELU": partial(recurrent.RNN, nonlinearity="relu"),
}
NOTHING = np.empty(0)
DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class Engine(NamedTuple):
    """The layer that computes for a module, and what it was made for."""

    made_for: tuple[Any, ...]
    layer: Recurrent
    undropped: Recurrent  # of the same parameters, for gradients without dropout
    seen: Seen


class Seen:
    """Arrays over the memory of a module's weights, made once as long as the weights lie where they lay.

    An array keeps its memory alive and in its place, so that nothing else can come to lie there.
    """

    def __init__(self) -> None:
        self._weights: list[torch.Tensor] = []
        self._places: list[int] = []
        self._arrays: list[Array] = []

    def knows(self, weights: list[torch.Tensor], dtype: torch.dtype) -> bool:
        """Whether these very tensors were seen in these places, so that they are dense tensors of the CPU."""
        if len(weights) != len(self._weights):
            return False
        for weight, old, place in zip(weights, self._weights, self._places, strict=True):
            if weight is not old or weight.dtype is not dtype:
                return False
            if weight.data_ptr() != place or not weight.is_contiguous():
                return False
        return True

    def arrays(self, weights: list[torch.Tensor], known: bool) -> list[Array]:
        """The weights in C order; copies of those that are not."""
        if known:
            return self._arrays
        arrays = [np.ascontiguousarray(as_numpy(weight)) for weight in weights]
        if all(weight.is_contiguous() for weight in weights):
            self._weights, self._places = list(weights), [weight.data_ptr() for weight in weights]
            self._arrays = arrays
        return arrays


def as_numpy(tensor: torch.Tensor) -> Array:
    """The memory of a CPU tensor as an array."""
    array: Array = tensor.numpy(force=True)
    return array


def knows(module: torch.nn.RNNBase, weights: list[torch.Tensor], x: Any) -> bool:
    """Whether a module has seen these very weights before: plain tensors on the CPU, of x's dtype."""
    engine: Engine | None = module.__dict__.get("_engine")
    return engine is not None and engine.seen.knows(weights, getattr(x, "dtype", None))


def engine_of(module: torch.nn.RNNBase, known: bool) -> Engine:
    """What computes for a module, with the module's present weights; `known` is what `knows` said."""
    weights = module._flat_weights
    dtype = weights[0].dtype
    sizes = module.input_size, module.hidden_size, module.num_layers
    ways = module.bias, module.batch_first, module.dropout, module.bidirectional
    made_for = (module.mode, dtype, sizes, ways, module.proj_size)
    engine: Engine | None = module.__dict__.get("_engine")
    if engine is None or engine.made_for != made_for:
        options = dict(zip(("bias", "batch_first", "dropout", "bidirectional"), ways, strict=True))
        if module.proj_size:
            options["proj_size"] = module.proj_size
        make = partial(MAKERS[module.mode], *sizes, dtype=DTYPES[dtype], rng=0)
        layer = undropped = make(**options)
        if module.dropout:
            undropped = make(**options | {"dropout": 0.0})
            undropped._params = layer._params
        engine = module.__dict__["_engine"] = Engine(made_for, layer, undropped, Seen())
        known = False
    engine.layer._params._renew(engine.seen.arrays(weights, known))  # in the same order
    return engine


class Packing:
    """Where the steps of a PackedSequence lie in a padded array: (T, B, F), or (B, T, F)."""

    def __init__(self, batch_sizes: torch.Tensor, batch_first: bool) -> None:
        sizes = batch_sizes.numpy()
        there = np.arange(sizes[0]) < sizes[:, None]
        self.lengths = there.sum(0)
        T, B = there.shape
        self._shape = (B, T) if batch_first else (T, B)
        at = np.flatnonzero(there)
        self._at = at % B * T + at // B if batch_first else at

    def pad(self, data: Array) -> Array:
        """The padded array; what lies beyond a length is arbitrary."""
        features = data.shape[1]
        padded: Array = _core.empty((*self._shape, features), data.dtype)
        padded.reshape(-1, features)[self._at] = data
        return padded

    def pack(self, padded: Array) -> Array:
        """The steps that are there, in the order of a PackedSequence."""
        packed = _core.empty((len(self._at), padded.shape[2]), padded.dtype)
        return padded.reshape(-1, padded.shape[2]).take(self._at, axis=0, out=packed, mode="clip")


def put_by(tape: Tape, directions: int) -> tuple[Tape, list[Array]]:
    """A tape without its large arrays, and those."""
    call, kept = tape.call, [one for one in tape.kept if one is not None]
    inputs = (one.seq.x for one in kept[::directions])
    states = [part for part in call.states or () if part is not None]
    arrays = [*(one.saved for one in kept), *inputs, *states, *tape.masks.values()]
    bare: list[Kept | None] = [_with(one, NOTHING, NOTHING, None) for one in kept]
    nowhere = None if call.states is None else (NOTHING,) * len(states)
    return Tape(
        Call(NOTHING, nowhere, *call[2:]), bare, dict.fromkeys(tape.masks, NOTHING), tape.noise
    ), arrays


def put_back(tape: Tape, directions: int, arrays: list[Array]) -> Tape:
    """The other way round."""
    given, call, slots = iter(arrays), tape.call, range(len(tape.kept))
    saved, inputs = [next(given) for _ in slots], [next(given) for _ in slots[::directions]]
    states = None if call.states is None else tuple(next(given) for _ in call.states)
    masks = {layer: next(given) for layer in tape.masks}
    kept = [
        None if one is None else _with(one, saved[slot], inputs[slot // directions], of_slot(states, slot))
        for slot, one in enumerate(tape.kept)
    ]
    return Tape(Call(inputs[0], states, *call[2:]), kept, masks, tape.noise)


def _with(one: Kept, saved: Array, x: Array, state: Given | None) -> Kept:
    return Kept(one.back, Sequence(x, state, *one.seq[2:]), saved)  # _replace is slow
