"""Stacks of recurrent layers that own their weights: all of LSTM, GRU and RNN but their formulas' names."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _check, _core, _registry, functional
from ._arguments import Arguments
from ._call import Call, State, of_slot
from ._layer import Gradients, as_size
from ._noise import QUIET, Extras, Noise
from ._random import as_generator, dropout_mask
from ._states import States
from ._threads import get_num_threads
from .stream import Stream

Array = NDArray[Any]
Fields = tuple[Array, Any, Any, Any, bool, Any, int]  # of a functional.Sequence
NONE = Extras()

NOT_DRAWN = {"gain": 1.0, "bias_ch": 0.0}
"""Starts of names of parameters whose initial values are not random."""


class Tape(NamedTuple):
    """What the way back of a stack needs, outputs and parameters not among it."""

    call: Call
    kept: list[functional.Kept | None]  # a slot each
    masks: dict[int, Array]  # of dropout, by the layer whose output they multiplied
    noise: list[Noise]


class Recurrent(Arguments):
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
        self._slots = [range(i, i + self.directions) for i in range(0, self._slot_count, self.directions)]
        self._features = self.directions * self._widths[0]
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
        packed = self._packs(_core.FORWARD)
        if self._slot_count == 1:
            x, states, lengths, reset, _ = call
            # As _sequence does, but for the name of each: a tenth of a short call.
            seq = x, of_slot(states, 0), lengths, reset, self._backwards, None, 0
            y, state, _ = self._run_one(call, packed[0], seq, y, False)
            return self._return(call, y), self._state_out(call, [state])
        y, final = self._output(call) if y is None else y, []
        x = call.x
        for group in self._groups(call, packed, _core.FORWARD):
            layers, x = self._layers(call, group, x, y, packed)
            final += [ran.state for ran in functional.run(layers, len(group) > 1)]
        return self._return(call, y), self._state_out(call, final)

    def _train(
        self, call: Call, generator: np.random.Generator, y: Array | None = None
    ) -> tuple[Array, State, Tape]:
        x, noise = call.x, self._noise(call, generator)
        packed, back = self._noisy_packs(_core.FORWARD, noise), self._noisy_packs(_core.BACKWARD, noise)
        if self._slot_count == 1:
            seq = self._sequence(call, 0, x, noise[0])
            y, state, saved = self._run_one(call, packed[0], seq, y, True)
            tape = Tape(call, [functional.Kept(back[0], seq, saved)], {}, noise)
            return self._return(call, y), self._state_out(call, [state]), tape
        y, final, kept, masks = self._output(call) if y is None else y, [], [], {}
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
        if self._slot_count == 1:
            dx, dstate0, weights = self._pull_one(kept[0], dy, of_slot(given, 0), dx)
            grads = self._gradients(0, dx, weights, noise[0])
            return self._return(call, dx), self._state_out(call, [dstate0]), grads
        initial: list[tuple[Array, ...]] = [()] * self._slot_count
        grads = {}
        back = [one.back for one in reversed(kept) if one is not None]
        for group in self._groups(call, back, _core.BACKWARD, self._drops):
            layers = [self.num_layers - 1 - i for i in group]
            slots = [slot for layer in layers for slot in self._slots[layer]]
            parts: list[Array | None] = [self._part(dy, slot) for slot in slots]
            d_last = [of_slot(given, slot) for slot in slots]
            into = dx if layers[-1] == 0 and not self.bidirectional else None
            results = functional.pull([kept[slot] for slot in slots], parts, d_last, len(group) > 1, into)
            for slot, (dread, dstate0, weights) in zip(slots, results, strict=True):
                initial[slot] = dstate0
                grads.update(self._gradients(slot, dread, weights, noise[slot]))
            dy = results[-1][0]
            if self.bidirectional:
                dy = np.add(results[0][0], dy, out=dy)
            if (mask := masks.get(layers[-1] - 1)) is not None:
                dy *= mask
        grads = {name: grads[name] for name in self._params}
        return self._return(call, dy), self._state_out(call, initial), grads

    # One layer in one direction: no walk through a stack, which would be a tenth of a short call.

    def _run_one(
        self, call: Call, packed: Array, seq: Fields, y: Array | None, training: bool
    ) -> tuple[Array, States, Array]:
        """y, the state after it and, in training, what is kept for the way back."""
        if y is None and self.batch_first:
            y = self._output(call)
        return _core.run(packed, *seq, y, training, get_num_threads())

    def _pull_one(
        self,
        kept: functional.Kept | None,
        dy: Array,
        dstate: functional.Given | None,
        dx: Array | None = None,
    ) -> tuple[Array, States, functional.Weights]:
        """dx, dstate0 and the gradients of the weights as `functional.Weights` has them."""
        assert kept is not None  # it ran in training
        back, seq, saved = kept
        dx, dstate0, *weights = _core.pull(back, *seq, saved, dy, dstate, dx, get_num_threads())
        return dx, dstate0, functional.Weights(*weights)

    # ---- what the calls above are made of ----

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
            for i in self._slots[layer]:
                seq = self._sequence(call, i, x, QUIET if noise is None else noise[i])
                part = into if self.directions == 1 else self._part(into, i)
                layers.append(functional.Layer(packed[i], None if back is None else back[i], seq, part))
            x = into
        return layers, x

    def _sequence(self, call: Call, slot: int, x: Array, noise: Noise = QUIET) -> functional.Sequence:
        """What a slot works on: x but for what is dropped of it, and its part of the call."""
        _, states, lengths, reset, _ = call
        dropped, mask, _, seed = noise
        backwards = self._backwards != (slot % self.directions == 1)
        read = x if dropped is None else x * dropped
        return functional.Sequence(read, of_slot(states, slot), lengths, reset, backwards, mask, seed)

    def _between(self, call: Call) -> Array:
        return _core.empty((*call.x.shape[:2], self._features), self.dtype)

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
