"""Stacks of recurrent layers that own their weights: all of LSTM, GRU and RNN but their formulas' names."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _check, _core, _registry, functional
from ._call import Call, kind_of, of_slot
from ._layer import Gradients, as_size
from ._noise import QUIET, Extras, Noise
from ._parameters import as_real
from ._random import as_generator, dropout_mask
from ._slots import Slots
from .stream import Stream

Array = NDArray[Any]
State = Any  # an array, or a tuple (h, c)
NONE = Extras()

NOT_DRAWN = {"gain": 1.0, "bias_ch": 0.0}
"""Starts of names of parameters whose initial values are not random."""


class Tape(NamedTuple):
    """What the way back of a stack needs, outputs and parameters not among it."""

    call: Call
    kept: list[functional.Kept | None]  # a slot each
    masks: dict[int, Array]  # of dropout, by the layer whose output they multiplied
    noise: list[Noise]


class Recurrent(Slots):
    """What LSTM, GRU and RNN share; see them."""

    _backwards = False  # whether what is otherwise the forward direction starts at the last valid step

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: DTypeLike,
        rng: int | np.random.Generator | None,
        extras: Extras = NONE,
    ) -> None:
        self._cell = _registry.REGISTRY[cell]
        self.input_size = as_size(input_size, "input_size")
        self.hidden_size = as_size(hidden_size, "hidden_size")
        self._extras, self._told = extras, extras.read(self._cell, self.hidden_size)
        self._own = _registry.own(self._cell, self._told)
        self._widths = _registry.widths(self._cell, self.hidden_size, self._told)
        self.num_layers = as_size(num_layers, "num_layers")
        self.bias = _check.flag(bias, "bias")
        self.batch_first = _check.flag(batch_first, "batch_first")
        self.bidirectional = _check.flag(bidirectional, "bidirectional")
        self.directions = 2 if self.bidirectional else 1
        self._slot_count = self.num_layers * self.directions
        self.dropout = _check.fraction(dropout, "dropout")
        self._generator = as_generator(rng)
        self._singly = [range(i, i + 1) for i in range(self.num_layers)]
        H, P = self.hidden_size, self._widths[0]
        shapes: dict[str, tuple[int, ...]] = {}
        rows, rows_hh = self._cell.gates * H, self._cell.recurrent * H
        self._slot_names = []
        for slot in range(self._slot_count):
            sizes = ((rows, self._inputs(slot)), (rows_hh, P), (rows,), (rows_hh,), (P, H))
            named = list(zip(self._names(slot), sizes, strict=True))
            named += [(n + self._suffix(slot), (k * H,) if flat else (k, H)) for n, k, flat in self._own]
            there = {n: s for n, s in named if n is not None and (bias or not n.startswith("bias"))}
            self._slot_names.append([name if name in there else None for name in self._names(slot)])
            shapes |= there
        if sum(math.prod(shape) for shape in shapes.values()) > sys.maxsize // 64:
            raise ValueError(f"input_size {input_size} and hidden_size {hidden_size} are too large together")
        super().__init__(shapes, dtype)
        self._draw()

    def _draw(self) -> None:
        """Initial weights."""
        bound, rng, drawn = self.hidden_size**-0.5, self._generator, {}
        for name, array in self.params.items():
            known = [value for start, value in NOT_DRAWN.items() if name.startswith(start)]
            drawn[name] = np.full(array.shape, known[0]) if known else rng.uniform(-bound, bound, array.shape)
        self.params.update(drawn)

    def __call__(
        self,
        x: ArrayLike,
        state: State = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> tuple[Array, State]:
        """Run the layer over a batch of sequences; without dropout.

        Parameters
        ----------
        x : array_like, shape (T, B, I); (B, T, I) if `batch_first`; or (T, I)
            Inputs, cast to the layer's dtype; any strides in time and batch.
        state : ndarray, shape (L*D, B, H), optional
            State before the first step, index layer*D + direction; zeros by default. For the LSTM, a tuple
            (h, c); h that is projected is (L*D, B, P).
        lengths : array_like of int, shape (B,), optional
            Steps of each sequence, 0 to T, in any order. Beyond them x is not read and y is zero; the reverse
            direction starts at the last valid step.
        reset : array_like of bool, shape (T, B); (B, T) if `batch_first`; or (T,), optional
            True at the first step of an episode: no state passes between it and the step before it, in either
            direction.

        Returns
        -------
        y : ndarray, shape (T, B, D*H), or as x; (T, B, D*P) where h is projected
            h of the last layer after each step; forward direction first.
        state : ndarray, shape (L*D, B, H), or tuple of two for the LSTM
            After the last step of each sequence; the initial one where there is none.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong type, shape or value; the message names it.
        """
        return self._infer(self._read(x, state, lengths, reset))

    def vjp(
        self,
        x: ArrayLike,
        state: State = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> tuple[tuple[Array, State], Callable[..., tuple[Array, State, Gradients]]]:
        """Run the layer, with dropout between its layers, and return the way back.

        Parameters
        ----------
        x, state, lengths, reset
            As in a call. Not copied where they fit as they are: leave them unchanged until `pull`.
        rng : None, int or numpy.random.Generator
            Source of the dropout masks; None goes on with the generator that the layer was made with.

        Returns
        -------
        (y, state) : tuple
            As a call returns them.
        pull : callable
            ``pull(dy, dstate=None) -> dx, dstate0, grads``: from the gradients of a scalar with respect to y
            and the final state (None, or a None in the LSTM's tuple, for zeros) to those with respect to x
            (zero beyond the lengths), the initial state, and the parameters, ``{name: array}`` with the keys
            of `params`.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong type, shape or value; the message names it.

        References
        ----------
        Werbos 1990 (back-propagation through time); Zaremba et al. 2014, arXiv:1409.2329 (dropout).
        """
        call = self._read(x, state, lengths, reset)
        y, final, tape = self._train(call, self._generator if rng is None else as_generator(rng))

        def pull_all(dy: ArrayLike, dstate: State = None) -> tuple[Array, State, Gradients]:
            return self._pull(tape, dy, dstate)

        return (y, final), pull_all

    def stream(self, batch_size: int = 1) -> Stream:
        """Return a snapshot of the layer that is fed one step a call, ``y_t = stream(x_t)``.

        Parameters
        ----------
        batch_size : int, default 1
            B of the steps' shapes (B, I) and (B, H).

        Raises
        ------
        TypeError, ValueError
            `batch_size` is no size, or the layer is bidirectional: its reverse direction begins at the end.
        """
        batch = as_size(batch_size, "batch_size")
        widest = max(self.input_size, self._widths[0])
        functional.check_size(self._cell, self.dtype, (1, batch, widest), self.hidden_size, "batch_size")
        if self.bidirectional or self._backwards:
            raise ValueError("a bidirectional layer cannot run step by step: one half begins at the end")
        packed = self._packs(_core.FORWARD)
        return Stream(packed, self.input_size, self._widths, batch, self.dtype)

    # y and dx, where given, are where the outputs go, time-major: the place of a segment in the whole.

    def _infer(self, call: Call, y: Array | None = None) -> tuple[Array, State]:
        y, final = self._output(call) if y is None else y, []
        x, packed = call.x, self._packs(_core.FORWARD)
        for group in self._groups(call, packed, _core.FORWARD):
            layers, x = self._layers(call, group, x, y, packed)
            final += [ran.state for ran in functional.run(layers, len(group) > 1)]
        return self._return(call, y), self._state_out(call, final)

    def _train(
        self, call: Call, generator: np.random.Generator, y: Array | None = None
    ) -> tuple[Array, State, Tape]:
        y, final, kept, masks = self._output(call) if y is None else y, [], [], {}
        x, noise = call.x, self._noise(call, generator)
        packed, back = (self._noisy_packs(use, noise) for use in (_core.FORWARD, _core.BACKWARD))
        for group in self._groups(call, packed, _core.FORWARD, self._drops):
            layers, x = self._layers(call, group, x, y, packed, back, noise)
            for ran in functional.run(layers, len(group) > 1):
                final.append(ran.state)
                kept.append(ran.kept)
            if x is not y and (mask := self._drop(x, generator)) is not None:
                masks[group[-1]] = mask
        return self._return(call, y), self._state_out(call, final), Tape(call, kept, masks, noise)

    def _pull(
        self, tape: Tape, dy: ArrayLike, dstate: State, dx: Array | None = None
    ) -> tuple[Array, State, Gradients]:
        call, kept, masks, noise = tape
        dy = self._gradient_in(call, dy)
        given = self._state_in(dstate, "dstate", call.x.shape[1], call.batched)
        initial: list[tuple[Array, ...]] = [()] * self._slot_count
        grads: Gradients = {}
        back = [one.layer.back for one in reversed(kept) if one is not None and one.layer.back is not None]
        for group in self._groups(call, back, _core.BACKWARD, self._drops):
            layers = [self.num_layers - 1 - i for i in group]
            slots = [slot for layer in layers for slot in self._slots(layer)]
            parts: list[Array | None] = [self._part(dy, slot) for slot in slots]
            d_last = [of_slot(given, slot) for slot in slots]
            into = dx if layers[-1] == 0 and not self.bidirectional else None
            results = functional.pull([kept[slot] for slot in slots], parts, d_last, len(group) > 1, into)
            for slot, (dread, dstate0, weights) in zip(slots, results, strict=True):
                initial[slot] = dstate0
                if (mask := noise[slot].w_hh) is not None:
                    weights.w_hh[...] *= mask
                if (mask := noise[slot].x) is not None:
                    dread *= mask
                grads.update(self._gradients(slot, weights))
            dy = results[-1][0]
            if self.bidirectional:
                dy = np.add(results[0][0], dy, out=dy)
            if (mask := masks.get(layers[-1] - 1)) is not None:
                dy *= mask
        return (
            self._return(call, dy),
            self._state_out(call, initial),
            grads if self._slot_count == 1 else {name: grads[name] for name in self._params},
        )

    # ---- what the calls above are made of ----

    def _read(self, x: ArrayLike, state: State, lengths: ArrayLike | None, reset: ArrayLike | None) -> Call:
        array = as_real(x, self.dtype, "x")
        batched = array.ndim == 3
        if array.ndim not in (2, 3) or array.shape[-1] != self.input_size:
            batch = "B, T" if self.batch_first else "T, B"
            raise ValueError(
                f"x must have shape ({batch}, {self.input_size}) or (T, {self.input_size}), got {array.shape}"
            )
        if not batched and lengths is not None:
            raise ValueError("lengths must be None for an x without a batch axis")
        array = _check.walkable(array)
        episodes = _check.reset(reset, array.shape[:-1])
        if not batched:
            array, episodes = array[:, None], None if episodes is None else episodes[:, None]
        elif self.batch_first:
            array, episodes = array.swapaxes(0, 1), None if episodes is None else episodes.T
        T, B, _ = array.shape
        widest = max(array.shape[2], self.directions * self._widths[0])
        functional.check_size(self._cell, self.dtype, (T, B, widest), self.hidden_size, "x")
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
            parts = [part[np.newaxis] for part in final[0]]
        else:
            parts = [np.stack(part) for part in zip(*final, strict=True)]
        if not call.batched:
            parts = [part[:, 0] for part in parts]
        return tuple(parts) if len(parts) > 1 else parts[0]

    def _groups(self, call: Call, packed: list[Array], use: int, dropping: bool = False) -> list[range]:
        """The layers, counted in the order of their packs, in groups to be run together."""
        if self.bidirectional or self._backwards or dropping or self.num_layers == 1:
            return self._singly
        return functional.chained(packed, use, call.x, call.lengths)

    def _layers(
        self,
        call: Call,
        group: range,
        x: Array,
        y: Array,
        packed: list[Array],
        back: list[Array] | None = None,
        noise: list[Noise] | None = None,
    ) -> tuple[list[functional.Layer], Array]:
        """The directions of a group's layers, and its output: y for the last group. `back` for training."""
        layers = []
        for layer in group:
            into = y if layer == self.num_layers - 1 else self._between(call)
            for i in self._slots(layer):
                state = None if call.states is None else of_slot(call.states, i)
                backwards = self._backwards != (i % self.directions == 1)
                drawn = QUIET if noise is None else noise[i]
                read = x if drawn.x is None else x * drawn.x
                seq = functional.Sequence(
                    read, state, call.lengths, call.reset, backwards, drawn.h, drawn.seed
                )
                sides = packed[i], None if back is None else back[i]
                part = self._part(into, i)
                layers.append(functional.Layer(self._cell, *sides, self.hidden_size, seq, part, self._told))
            x = into
        return layers, x

    def _between(self, call: Call) -> Array:
        return _core.empty((*call.x.shape[:2], self.directions * self._widths[0]), self.dtype)

    def _output(self, call: Call, features: int | None = None) -> Array:
        """The array of y, or of so many features, seen time-major."""
        T, B, _ = call.x.shape
        features = self.directions * self._widths[0] if features is None else features
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
        features = self.directions * self._widths[0]
        if not call.batched:
            return _check.strided(dy, self.dtype, "dy", (T, features))[:, None]
        shape = (B, T, features) if self.batch_first else (T, B, features)
        array = _check.strided(dy, self.dtype, "dy", shape)
        return array.swapaxes(0, 1) if self.batch_first else array

    def _drop(self, y: Array, generator: np.random.Generator) -> Array | None:
        """Inverted dropout in place; the mask, or None where nothing is dropped."""
        if self.dropout == 0:
            return None
        mask = dropout_mask(self.dropout, y.shape, self.dtype, generator)
        y *= mask
        return mask

    def _options(self) -> dict[str, Any]:
        """What repr shows: the options that are not the default."""
        shown = {
            "num_layers": self.num_layers != 1,
            "bias": not self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout != 0,
            "bidirectional": self.bidirectional,
        }
        told = {n: v for n, v in self._extras._asdict().items() if v != NONE._field_defaults[n]}
        return {name: getattr(self, name) for name, show in shown.items() if show} | told

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options().items())
        dtype = "" if self.dtype == np.float32 else f", dtype=np.{self.dtype}"
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{options}{dtype})"
