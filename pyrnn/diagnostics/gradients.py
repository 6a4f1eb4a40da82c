"""How the gradient of a loss reaches the hidden states of every step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._call import State, of_slot
from ..layers import Bidirectional
from ._walk import Path, Stack, States, states_of, walk

Array = NDArray[Any]


def hidden_states(
    layer: object,
    x: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
) -> dict[str, Array]:
    """Return h after every step, of every layer and direction.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, IndRNN, MinGRU, MinLSTM or Bidirectional
    x, state, lengths, reset
        As in a call of the layer.

    Returns
    -------
    dict of str to ndarray, shape (T, B, H), or (T, B, P) where h is projected
        Keys ``"l0"``, ``"l0_reverse"``, ``"l1"``, ...: how the names of the weights end. Time comes first
        whatever `batch_first` says, a missing batch axis is there with B = 1, step t is that which read
        ``x[t]``, and what lies beyond a row's length is zero. Those of the last layer are its output.

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer, or it refuses one of the others.

    Examples
    --------
    >>> from pyrnn import GRU
    >>> states = hidden_states(GRU(3, 5, num_layers=2, rng=0), np.ones((7, 2, 3)))
    >>> {name: h.shape for name, h in states.items()}
    {'l0': (7, 2, 5), 'l1': (7, 2, 5)}
    """
    return {path.name: path.h for stack in walk(layer, x, state, lengths, reset) for path in stack.paths}


def hidden_gradients(
    layer: object,
    x: ArrayLike,
    dy: ArrayLike | None = None,
    dstate: State = None,
    *,
    state: State = None,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    part: str = "h",
) -> dict[str, Array]:
    """Return dL/dh_t for every step of every layer and direction, by back-propagation through time.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, IndRNN, MinGRU, MinLSTM or Bidirectional
        Nothing in it is changed.
    x, state, lengths, reset
        As in a call of the layer.
    dy, dstate : optional
        What `pull` of the layer's `vjp` takes: the gradients of the loss L with respect to the output and to
        the final state; None for zeros. Which steps dy touches is which steps L sees. If neither is given, L
        is the sum of the last layer's final h, over units, directions and rows: it sees the last step alone,
        so that all that arrives at an earlier one has come through time.
    part : {"h", "c"}, default "h"
        "c" for the cell state of an LSTM.

    Returns
    -------
    dict of str to ndarray, shape (T, B, H)
        Keys and axes as of `hidden_states`. The derivative is a total one: it holds what step t has in the
        loss by itself (through y or the layer above) and what comes back from all later steps. h and c of an
        LSTM count as two variables. Zero beyond a row's length.

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer, has no such part, or refuses one of the others.

    Notes
    -----
    Measured, not computed from products of Jacobians: the layer is cut into single steps, the `vjp` of each
    is kept, and they are pulled from the last to the first. What one step hands to the one before it is what
    `vjp` of the whole sequence hands on inside. Dropout is left out, and of zoneout the expectation is taken,
    as in a plain call.

    References
    ----------
    Bengio et al. 1994, doi:10.1109/72.279181; Pascanu et al. 2013, arXiv:1211.5063.

    Examples
    --------
    >>> from pyrnn import RNN
    >>> rnn = RNN(1, 1, nonlinearity="identity", bias=False, dtype=np.float64)
    >>> rnn.params["weight_hh_l0"] = [[0.5]]
    >>> hidden_gradients(rnn, np.ones((4, 1, 1)))["l0"].ravel()
    array([0.125, 0.25 , 0.5  , 1.   ])
    """
    stacks = walk(layer, x, state, lengths, reset)
    names = "hc"[: stacks[0].layer._cell.states]
    index = names.index(_check.choice(part, tuple(names), "part"))
    dys = _outputs(layer, stacks, dy)
    dstates = states_of(layer, dstate, "dstate")
    found: dict[str, Array] = {}
    for stack, own_dy, own_dstate in zip(stacks, dys, dstates, strict=True):
        last = dy is None and dstate is None
        arrays = _back(stack, own_dy, _finals(stack, own_dstate, last))
        found.update({name: array[index] for name, array in arrays.items()})
    return found


def gradient_norms(
    layer: object,
    x: ArrayLike,
    dy: ArrayLike | None = None,
    dstate: State = None,
    *,
    state: State = None,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    part: str = "h",
) -> dict[str, Array]:
    """Return the norm of dL/dh_t for every step of every layer and direction.

    Parameters
    ----------
    layer, x, dy, dstate, state, lengths, reset, part
        As for `hidden_gradients`; without `dy` and `dstate` the loss sees the last step alone.

    Returns
    -------
    dict of str to ndarray, shape (T,), float64
        The Euclidean norm over rows and units together. A constant slope in a plot with a logarithmic axis is
        a constant factor a step.

    Raises
    ------
    TypeError, ValueError
        As `hidden_gradients`.

    Examples
    --------
    >>> from pyrnn import LSTM
    >>> norms = gradient_norms(LSTM(3, 8, rng=0), np.ones((50, 2, 3)))
    >>> bool(norms["l0"][0] < norms["l0"][-1])
    True
    """
    arrays = hidden_gradients(layer, x, dy, dstate, state=state, lengths=lengths, reset=reset, part=part)
    return {name: np.sqrt(squares(array).sum(1)) for name, array in arrays.items()}


def squares(array: Array) -> Array:
    """Squared norms over the units, in float64."""
    wide = array.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        found: Array = np.einsum("...h,...h->...", wide, wide)
    return found


def _outputs(layer: object, stacks: list[Stack], dy: ArrayLike | None) -> list[Array | None]:
    """The gradient of the output of each stack, time-major and with a batch axis."""
    if dy is None:
        return [None] * len(stacks)
    parts = [dy]
    if isinstance(layer, Bidirectional):
        outputs = [stack.layer._return(stack.call, stack.paths[-1].h) for stack in stacks]
        factors = (outputs[0], outputs[1]) if layer.merge_mode == "mul" else None
        parts = list(layer._split(dy, outputs[0].shape, factors))
    return [stack.layer._gradient_in(stack.call, part) for stack, part in zip(stacks, parts, strict=True)]


def _finals(stack: Stack, dstate: State, last: bool) -> list[States]:
    """The gradients of the final states, one of each slot."""
    layer, (_, B, _) = stack.layer, stack.call.x.shape
    given = layer._state_in(dstate, "dstate", B, stack.call.batched)
    finals = []
    for number in range(len(stack.paths)):
        parts = of_slot(given, number) or (None,) * layer._cell.states
        arrays = [
            np.zeros((B, width), layer.dtype) if part is None else part
            for part, width in zip(parts, layer._widths, strict=True)
        ]
        if last and number >= len(stack.paths) - layer.directions:
            arrays[0] = np.ones_like(arrays[0])
        finals.append(tuple(arrays))
    return finals


def _back(stack: Stack, dy: Array | None, finals: list[States]) -> dict[str, States]:
    """The gradients of all states, S of (T, B, H) by the name of the slot."""
    found: dict[str, States] = {}
    D = stack.layer.directions
    for number, paths in reversed(list(enumerate(stack.layers()))):
        dxs = []
        for direction, path in enumerate(paths):
            slot = number * D + direction
            own = None if dy is None else stack.layer._part(dy, slot)
            found[path.name], dx = path.back(own, finals[slot])
            dxs.append(dx)
        dy = sum(dxs[1:], start=dxs[0])
    return {path.name: found[path.name] for path in stack.paths}


def own_gradients(path: Path) -> Array:
    """dL/dh_t (T, B, H) of a slot for itself: L is the sum of its own final h."""
    ends = [np.zeros(part.shape[1:], part.dtype) for part in path.before]
    ends[0] += 1
    gradients, _ = path.back(None, tuple(ends))
    return gradients[0]
