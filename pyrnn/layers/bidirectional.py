"""Two directions of a recurrent layer, and how their outputs become one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._call import State
from .._layer import Container, Gradients
from .._random import as_generator
from .._stack import Recurrent
from ..cells import _Cell

Array = NDArray[Any]
MERGE_MODES = ("concat", "sum", "mean", "mul")


class Bidirectional(Container):
    """A recurrent layer and another of its kind that runs from the end to the beginning.

    Parameters
    ----------
    layer : LSTM, GRU or RNN
        The forward half, not bidirectional itself; it is not copied. The backward half has the same options,
        and weights of its own that are drawn from the generator of `layer`.
    merge_mode : {"concat", "sum", "mean", "mul"} or None, default "concat"
        How the outputs of the halves become one: side by side, forward first, or by their sum, mean or
        product. None returns both, as a tuple.

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer, or bidirectional; `merge_mode` is another.

    Notes
    -----
    With `lengths`, the backward half starts at the last valid step of each sequence; ``y[t]`` belongs to
    ``x[t]`` in both.

    Parameters: those of `layer`, and the backward half's with names that end in ``_reverse``. With one layer
    (num_layers=1) these are the names of ``LSTM(..., bidirectional=True)``, which computes what the merge
    mode "concat" does, and faster where a batch has few rows: its directions run side by side. With more, the
    halves are stacks that meet at the last layer alone, whereas there each layer reads both directions of the
    one before.

    References
    ----------
    Schuster & Paliwal 1997, doi:10.1109/78.650093; merge modes: Keras.

    Examples
    --------
    >>> import pyrnn
    >>> layer = Bidirectional(pyrnn.GRU(3, 5), merge_mode="sum")
    >>> y, (forward, backward) = layer(np.ones((7, 2, 3)))
    >>> y.shape, forward.shape, backward.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    """

    bidirectional = True

    def __init__(self, layer: Recurrent, merge_mode: str | None = "concat") -> None:
        if not isinstance(layer, Recurrent) or isinstance(layer, _Cell):
            raise TypeError(f"layer must be a recurrent layer, got {layer!r}")
        if layer.bidirectional:
            raise ValueError(f"layer must have one direction, got {layer!r}")
        self.merge_mode = None if merge_mode is None else _check.choice(merge_mode, MERGE_MODES, "merge_mode")
        self.forward_layer, self.backward_layer = layer, _mirrored(layer)
        super().__init__([("{}", self.forward_layer), ("{}_reverse", self.backward_layer)])

    def __call__(
        self,
        x: ArrayLike,
        state: State = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> tuple[Any, State]:
        """Run both halves over a batch of sequences; without dropout.

        Parameters
        ----------
        x, lengths, reset
            As for the layer.
        state : tuple of two, optional
            The states before the first step of the forward and of the backward half, each as the layer takes
            it or None; zeros by default.

        Returns
        -------
        y : ndarray, shape (T, B, 2*H) for "concat", else (T, B, H), or as x; a tuple of two for None
            The outputs, merged.
        state : tuple of two
            The final states of the halves, each as the layer returns it.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong type, shape or value; the message names it.
        """
        states = _pair(state, "state")
        halves = (self.forward_layer, self.backward_layer)
        (y0, state0), (y1, state1) = (
            half(x, part, lengths=lengths, reset=reset) for half, part in zip(halves, states, strict=True)
        )
        return self._merge(y0, y1), (state0, state1)

    def vjp(
        self,
        x: ArrayLike,
        state: State = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> tuple[tuple[Any, State], Callable[..., tuple[Array, State, Gradients]]]:
        """Run both halves, with dropout between their layers, and return the way back.

        Parameters
        ----------
        x, state, lengths, reset
            As in a call. Not copied where they fit as they are: leave them unchanged until `pull`.
        rng : None, int or numpy.random.Generator
            Source of the dropout masks; None goes on with the generator of the layer.

        Returns
        -------
        (y, state) : tuple
            As a call returns them.
        pull : callable
            ``pull(dy, dstate=None) -> dx, dstate0, grads``: dy is a tuple of two where y is one, and dstate,
            a tuple of two (None for zeros), is that of the final states.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong type, shape or value; the message names it.
        """
        states = _pair(state, "state")
        generator = None if rng is None else as_generator(rng)
        ((y0, state0), pull0), ((y1, state1), pull1) = (
            half.vjp(x, part, lengths=lengths, reset=reset, rng=generator)
            for half, part in zip((self.forward_layer, self.backward_layer), states, strict=True)
        )
        y = self._merge(y0, y1)
        shape = y0.shape
        factors = (
            (y0, y1) if self.merge_mode == "mul" else None
        )  # the others' need not be kept for the way back

        def pull(dy: Any, dstate: State = None) -> tuple[Array, State, Gradients]:
            dstates = _pair(dstate, "dstate")
            parts = self._split(dy, shape, factors)
            dx0, dstate0, grads0 = pull0(parts[0], dstates[0])
            dx1, dstate1, grads1 = pull1(parts[1], dstates[1])
            grads = grads0 | {f"{name}_reverse": array for name, array in grads1.items()}
            return np.add(dx0, dx1, out=dx0), (dstate0, dstate1), grads

        return (y, (state0, state1)), pull

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters and outputs."""
        return self.forward_layer.dtype

    @property
    def batch_first(self) -> bool:
        """Whether arrays have the batch as their first axis."""
        return self.forward_layer.batch_first

    def _merge(self, forward: Array, backward: Array) -> Any:
        if self.merge_mode is None:
            return forward, backward
        if self.merge_mode == "concat":
            return np.concatenate([forward, backward], axis=-1)
        if self.merge_mode == "mul":
            return forward * backward
        y = forward + backward
        if self.merge_mode == "mean":
            y *= 0.5
        return y

    def _split(self, dy: Any, shape: tuple[int, ...], factors: tuple[Array, Array] | None) -> tuple[Any, Any]:
        """The gradients of the halves' outputs, which have `shape`, from that of the merged one."""
        if self.merge_mode is None:
            if not isinstance(dy, (tuple, list)) or len(dy) != 2:
                raise TypeError(
                    f"dy must be a tuple of two arrays (forward, backward), got {type(dy).__name__}"
                )
            return dy[0], dy[1]
        units = shape[-1]
        if self.merge_mode == "concat":
            shape = (*shape[:-1], 2 * units)
        dy = _check.shaped(dy, self.dtype, "dy", shape)
        if self.merge_mode == "concat":
            return dy[..., :units], dy[..., units:]
        if factors is not None:
            return dy * factors[1], dy * factors[0]
        half = dy * self.dtype.type(0.5) if self.merge_mode == "mean" else dy
        return half, half

    def __repr__(self) -> str:
        mode = "" if self.merge_mode == "concat" else f", merge_mode={self.merge_mode!r}"
        return f"Bidirectional({self.forward_layer!r}{mode})"


def _mirrored(layer: Recurrent) -> Recurrent:
    """A layer of the same kind that runs the other way, with weights of its own."""
    other = copy.deepcopy(layer)
    other._generator = layer._generator
    other._backwards = not layer._backwards
    other._draw()
    return other


def _pair(state: State, name: str) -> tuple[State, State]:
    if state is None:
        return None, None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(
            f"{name} must be a tuple of two states (forward, backward), got {type(state).__name__}"
        )
    return state[0], state[1]
