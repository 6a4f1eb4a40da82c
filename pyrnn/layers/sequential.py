"""Layers one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._layer import Container, Gradients, Layer
from .._random import as_generator
from .._summary import summary
from ..cells import _Cell
from ..training import evaluate, fit, predict

OPTIONS = ("lengths", "reset", "rng")


class Sequential(Container):
    """Layers one after the other, each on the output of the one before.

    Parameters
    ----------
    *layers : Layer
        One at least, in the order of the data. The layers are not copied. A layer with parameters comes once;
        cells, which take single steps, are no such layers.

    Raises
    ------
    TypeError
        One of `layers` is no layer, or a cell.
    ValueError
        There are no layers, or two of them share parameters.

    Notes
    -----
    Of a layer that returns more than its output, as recurrent layers return ``y, state``, only the output
    goes on. So recurrent layers start from zeros in every call, and their final states are dropped, as in
    Keras, unless `state` is given and `return_state` asked for. The output is that of all steps.

    Parameters: those of the layers, with the number of the layer before the name, as in PyTorch:
    ``"0.weight_ih_l0"``. `params` writes through to the layers, so an optimizer steps either on them or on
    the whole, ``Adam(model)``.

    ``model[i]`` is a layer, ``model[i:j]`` a Sequential of the same layers; ``len(model)`` and iteration are
    those of the layers.

    Examples
    --------
    >>> from pyrnn import LSTM, Adam, Dropout, Embedding, Linear, cross_entropy
    >>> model = Sequential(Embedding(50, 8), LSTM(8, 16), Dropout(0.2), Linear(16, 50))
    >>> tokens = np.zeros((7, 2), int)
    >>> model(tokens, lengths=[7, 3]).shape
    (7, 2, 50)
    >>> adam = Adam(model)
    >>> logits, pull = model.vjp(tokens)
    >>> loss, dloss = cross_entropy.vjp(logits, tokens)
    >>> dtokens, grads = pull(dloss())
    >>> adam.step(grads)
    """

    def __init__(self, *layers: Layer) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer) or isinstance(layer, _Cell):
                raise TypeError(f"layers[{i}] must be a layer for whole sequences, got {layer!r}")
        if not layers:
            raise ValueError("layers must be one or more, got none")
        leaves = [leaf for layer in layers for _, leaf in layer.params._leaves() if leaf]
        if len({id(leaf) for leaf in leaves}) < len(leaves):
            raise ValueError("layers must be distinct, but two of them share parameters")
        self._chain = layers
        self._options = tuple(_options(layer) for layer in layers)
        self._carries = tuple("state" in inspect.signature(layer.vjp).parameters for layer in layers)
        super().__init__([(f"{i}.{{}}", layer) for i, layer in enumerate(layers)])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the output: of the last layer that has one. AttributeError if none has."""
        for layer in reversed(self._chain):
            if hasattr(layer, "dtype"):
                return layer.dtype
        raise AttributeError(f"a layer {self!r} has no dtype of its own: it keeps that of its input")

    @property
    def batch_first(self) -> bool:
        """Whether sequences lie along the first axis: as the first layer has it that knows a time axis.

        True if none does: then all axes but the last are alike.
        """
        return next((layer.batch_first for layer in self._chain if hasattr(layer, "batch_first")), True)

    fit = fit
    evaluate = evaluate
    predict = predict
    summary = summary

    def __call__(
        self,
        x: ArrayLike,
        *,
        state: Any = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        return_state: bool = False,
    ) -> Any:
        """Compute the output of the last layer.

        Parameters
        ----------
        x : array_like
            What the first layer takes.
        state : tuple, optional
            A state before the first step for every layer, None for one that has none, or for zeros: what an
            earlier call returned, to go on from there.
        lengths, reset : array_like, optional
            Passed on to every layer that takes them; see `LSTM`.
        return_state : bool, default False
            Whether to return the states after the last step, too.

        Returns
        -------
        ndarray, or tuple (ndarray, state)
            What the last layer returns, without its state; and with `return_state` a tuple of the states of
            all layers.

        Raises
        ------
        TypeError, ValueError
            A layer refuses its input or its state, or `lengths` or `reset` are given and no layer takes them.
        """
        given = self._given(lengths=lengths, reset=reset)
        after = []
        for i, part in enumerate(self._states(state)):
            found = self._chain[i](x, **self._told(i, given, part))
            x, kept = _split(found)
            after.append(kept if self._carries[i] else None)
        return (x, tuple(after)) if _check.flag(return_state, "return_state") else x

    def vjp(
        self,
        x: ArrayLike,
        *,
        state: Any = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
        return_state: bool = False,
    ) -> tuple[Any, Callable[..., Any]]:
        """Compute the output and return the way back.

        Parameters
        ----------
        x, state, lengths, reset, return_state
            As in a call. Not copied where they fit as they are: leave them unchanged until `pull`.
        rng : None, int or numpy.random.Generator
            Source of the dropout masks of all layers, one after the other; None: each has its own.

        Returns
        -------
        y : ndarray, or tuple (ndarray, state) with `return_state`
            What the `vjp` of the last layer returns, without its state, and the states of all.
        pull : callable
            ``pull(dy) -> dx, grads``: dx is None where the first layer's input has no gradient, such as
            indices. With `return_state`, ``pull(dy, dstate=None) -> dx, dstate0, grads``, as of a recurrent
            layer, with a tuple of all layers' states in the place of one's.

        Raises
        ------
        TypeError, ValueError
            As a call; from `pull`, as that of the last layer.
        """
        given = self._given(lengths=lengths, reset=reset)
        if rng is not None:
            given["rng"] = as_generator(rng)
        pulls, after = [], []
        for i, part in enumerate(self._states(state)):
            found, pull = self._chain[i].vjp(x, **self._told(i, given, part))
            x, kept = _split(found)
            after.append(kept if self._carries[i] else None)
            pulls.append(pull)

        def pull_all(dy: ArrayLike, dstate: Any = None) -> tuple[Any, tuple[Any, ...], Gradients]:
            dx: Any = dy
            before: list[Any] = []
            grads: Gradients = {}
            parts = self._states(dstate, "dstate")
            for i in reversed(range(len(pulls))):
                given = () if parts[i] is None else (parts[i],)
                dx, *more, own = pulls[i](dx, *given)
                before.insert(0, more[0] if self._carries[i] else None)
                grads.update({f"{i}.{name}": array for name, array in own.items()})
            return dx, tuple(before), {name: grads[name] for name in self.params}

        def pull_without_states(dy: ArrayLike) -> tuple[Any, Gradients]:
            dx, _, grads = pull_all(dy)
            return dx, grads

        if _check.flag(return_state, "return_state"):
            return (x, tuple(after)), pull_all
        return x, pull_without_states

    def _given(self, **options: ArrayLike | None) -> dict[str, Any]:
        """The options that are not None, each of which some layer must take."""
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            if name not in _options(self):
                raise ValueError(f"{name} must be None: no layer of {self!r} takes it")
        return given

    def _states(self, state: Any, name: str = "state") -> tuple[Any, ...]:
        """A state for every layer."""
        if state is None:
            return (None,) * len(self._chain)
        if not isinstance(state, (tuple, list)) or len(state) != len(self._chain):
            got = f"{len(state)}" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{name} must be a tuple of {len(self._chain)}, one a layer, got {got}")
        for i, part in enumerate(state):
            if part is not None and not self._carries[i]:
                raise ValueError(f"{name}[{i}] must be None: {self._chain[i]!r} has no state")
        return tuple(state)

    def _told(self, i: int, given: dict[str, Any], state: Any) -> dict[str, Any]:
        """What layer i is called with."""
        told = {name: given[name] for name in self._options[i] if name in given}
        if state is not None:
            told["state"] = state
        if isinstance(self._chain[i], Sequential):
            told["return_state"] = True
        return told

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer:
        return Sequential(*self._chain[index]) if isinstance(index, slice) else self._chain[index]

    def __len__(self) -> int:
        return len(self._chain)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._chain)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self._chain))})"


def _options(layer: Layer) -> frozenset[str]:
    """Those of OPTIONS that a layer, or a layer within it, takes; only its vjp has rng."""
    if isinstance(layer, Sequential):
        return frozenset().union(*layer._options)
    return frozenset(OPTIONS) & frozenset(inspect.signature(layer.vjp).parameters)


def _split(found: Any) -> tuple[Any, Any]:
    """Output and state of a layer, None if it returns none."""
    return (found[0], found[1]) if isinstance(found, tuple) else (found, None)
