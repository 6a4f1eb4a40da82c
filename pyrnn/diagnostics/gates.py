"""What the gates do, and how often they are stuck at one end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, reference
from .._call import State
from ..reference.sequence import together
from ..reference.stack import weights_of
from ._walk import Path, walk

Array = NDArray[Any]

# The names of what the reference's cells keep, in their order; "" for what is no gate.
SAVED = {
    "lstm": ("i", "f", "g", "o"),
    "lstm_coupled": ("i", "g", "o"),
    "gru": ("r", "z", "n", ""),
    "gru_before": ("r", "z", "n"),
    "mingru": ("z", "n"),
    "minlstm": ("", "", "f", "i", "n"),
    "rnn_tanh": (),
    "rnn_relu": (),
    "indrnn": (),
    "lstm_norm": ("", "", "i", "f", "g", "o", ""),
    "gru_norm": ("", "", "r", "z", "n", ""),
}
CANDIDATES = ("g", "n", "h")  # which have the layer's activation, the others its recurrent_activation
RANGES = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0)}


class Saturation(NamedTuple):
    """Shares of a gate's activations near the two ends of its range, each between 0 and 1."""

    low: float
    high: float


def gate_activations(
    layer: object,
    x: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
) -> dict[str, dict[str, Array]]:
    """Return the activations of the gates at every step, of every layer and direction.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, IndRNN, MinGRU, MinLSTM or Bidirectional
    x, state, lengths, reset
        As in a call of the layer.

    Returns
    -------
    dict of str to dict of str to ndarray, shape (T, B, H)
        Outer keys and axes as of `hidden_states`. Inner keys: i f g o of the LSTM (i g o where the gates are
        coupled), r z n of the GRU, z n of the MinGRU, f i n of the MinLSTM (f and i after they have been
        divided by their sum); h of an RNN and an IndRNN, which have none. g, n and h are candidates for the
        new state. NaN beyond a row's length.

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer, or it refuses one of the others.

    Notes
    -----
    By the formulas of `pyrnn.reference`, applied to the states that the layer's kernels went through.

    Examples
    --------
    >>> from pyrnn import LSTM
    >>> gates = gate_activations(LSTM(3, 5, rng=0), np.ones((7, 2, 3)))["l0"]
    >>> list(gates), gates["f"].shape
    (['i', 'f', 'g', 'o'], (7, 2, 5))
    """
    return {
        path.name: gates_of(path) for stack in walk(layer, x, state, lengths, reset) for path in stack.paths
    }


def gate_saturation(
    layer: object,
    x: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    low: float = 0.05,
    high: float = 0.95,
) -> dict[str, dict[str, Saturation]]:
    """Return which shares of the gates' activations are near the ends of their range.

    A gate that is stuck at an end passes hardly any gradient to its weights. For the forget gate of an LSTM
    (and z of a GRU) the upper end is also what carries a gradient far.

    Parameters
    ----------
    layer, x, state, lengths, reset
        As for `gate_activations`.
    low, high : float, default 0.05 and 0.95
        Where the ends begin, ``0 <= low <= high <= 1``, as parts of the range of the activation: of a tanh,
        from -1 to 1, they are -0.9 and 0.9.

    Returns
    -------
    dict of str to dict of str to Saturation
        ``found["l0"]["f"].high`` is a share of all units, steps and rows. Keys as of `gate_activations`,
        without what has no ends: relu, identity, and the candidates of MinGRU and MinLSTM. NaN if there are
        no steps.

    Raises
    ------
    TypeError, ValueError
        As `gate_activations`; `low` and `high` are not in order.

    References
    ----------
    Karpathy et al. 2015, arXiv:1506.02078, section 4.2.

    Examples
    --------
    >>> from pyrnn import LSTM
    >>> lstm = LSTM(3, 5, rng=0)
    >>> lstm.params["bias_ih_l0"] = np.repeat([0, 9, 0, 0], 5)  # forgets nothing
    >>> gate_saturation(lstm, np.ones((7, 2, 3)))["l0"]["f"]
    Saturation(low=0.0, high=1.0)
    """
    if _check.fraction(low, "low") > _check.fraction(high, "high"):
        raise ValueError(f"low must be at most high, got {low} and {high}")
    return {
        path.name: saturation_of(path, low, high)
        for stack in walk(layer, x, state, lengths, reset)
        for path in stack.paths
    }


def gates_of(path: Path) -> dict[str, Array]:
    """What `gate_activations` returns, of one path."""
    stack = path.walker.stack
    T, B, _ = path.x.shape
    names = SAVED[stack._cell.name]
    weights = weights_of(reference.cells[stack._cell.name], stack.params, path.walker.suffix)
    # No step waits for another once the states are known: all are rows of one.
    with np.errstate(over="ignore", invalid="ignore"):  # of a state that has exploded
        _, _, tape = reference.forward(
            reference.cells[stack._cell.name],
            path.x.reshape(1, T * B, path.x.shape[2]),
            together(tuple(part.reshape(T * B, part.shape[2]) for part in path.before)),
            **weights,
            activation=stack._extras.activation,
            recurrent_activation=stack._extras.recurrent_activation,
            cell_clip=stack._extras.cell_clip,
        )
    _, candidate, saved, _ = tape.steps[0]
    found = {name: array for name, array in zip(names, saved, strict=True) if name}
    outside = ~path.active[:, :, None]
    return {
        name: np.where(outside, array.dtype.type(np.nan), array.reshape(T, B, array.shape[1]))
        for name, array in (found or {"h": candidate[0]}).items()
    }


def saturation_of(path: Path, low: float, high: float) -> dict[str, Saturation]:
    """What `gate_saturation` returns, of one path."""
    stack = path.walker.stack
    cell, extras, found = reference.cells[stack._cell.name], stack._extras, {}
    for name, gate in gates_of(path).items():
        activation = extras.recurrent_activation or cell.recurrent_activation
        if name in CANDIDATES:
            activation = extras.activation or cell.activation
        if activation in RANGES:
            first, last = RANGES[activation]
            inside = (gate[path.active] - first) / (last - first)
            shares = [float(np.mean(end)) if end.size else np.nan for end in (inside < low, inside > high)]
            found[name] = Saturation(*shares)
    return found
