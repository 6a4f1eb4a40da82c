"""Layers upon layers, in one direction or both."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .common import Array, Cell, is_normalized
from .sequence import Stacked, Tape, backward, forward, together


def names_of(cell: Cell) -> dict[str, str]:
    """What the arguments of `forward` are called in a stack."""
    names = {"w_ih": "weight_ih", "b_ih": "bias_ih"}
    if cell.recurrent:
        names |= {"w_hh": "weight_hh", "b_hh": "bias_hh"}
    return names | ({"w_hr": "weight_hr"} if cell.states > 1 else {})


def own_names(cell: Cell) -> dict[str, int]:
    """What the weights that each unit has for itself are called in a stack, and how many rows each has."""
    names = {}
    if is_normalized(cell):
        names = {"gain_ih": cell.gates, "gain_hh": cell.recurrent}
        names |= {"gain_ch": 1, "bias_ch": 1} if cell.states > 1 else {}
    elif cell.units:
        names = {"weight_hh": cell.units}  # all that is recurrent
    return names | ({"weight_ch": cell.peepholes} if cell.peepholes else {})


def weights_of(cell: Cell, params: Mapping[str, Array], suffix: str) -> dict[str, Any]:
    """The weights of one layer and direction, "_l0" say, as `forward` takes them; None for absent ones."""
    found = {key: params.get(name + suffix) for key, name in names_of(cell).items()}
    if not cell.recurrent:
        w_ih = params["weight_ih" + suffix]
        found["w_hh"] = np.zeros((0, len(w_ih) // cell.gates), w_ih.dtype)
    units = len(params["weight_ih" + suffix]) // cell.gates
    parts = [
        params[name + suffix].reshape(rows, units) if name + suffix in params else np.zeros((rows, units))
        for name, rows in own_names(cell).items()
        if name != "weight_ch" or name + suffix in params
    ]
    return found | {"w_units": np.concatenate(parts) if parts else None}


class StackTape(NamedTuple):
    """What `stack_backward` needs from `stack_forward`."""

    layers: list[list[Tape]]  # one per layer and direction
    names: frozenset[str]  # of the parameters given
    dropout: Sequence[Array] | None


def stack_forward(
    cell: Cell,
    x: Array,
    state: Stacked | None,
    params: Mapping[str, Array],
    lengths: NDArray[np.integer[Any]] | None = None,
    reset: NDArray[np.bool_] | None = None,
    dropout: Sequence[Array] | None = None,
) -> tuple[Array, Stacked, StackTape]:
    """Run L layers in D directions.

    Parameters
    ----------
    cell : Cell
        One of the values of `cells`: G gates and S states.
    x : ndarray, shape (T, B, I)
        Input.
    state : ndarray, shape (S, L * D, B, H), or None
        Initial states, index ``layer * D + direction``. None means zeros. With projections, a tuple of h
        (L * D, B, P) and c (L * D, B, H).
    params : mapping of str to ndarray
        PyTorch's names and layouts: ``weight_ih_l0`` (G * H, I), ``weight_hh_l0`` (G * H, H; (1, H) for
        indrnn, none where gates see the input alone), ``bias_ih_l0`` and ``bias_hh_l0`` (G * H,), peepholes
        ``weight_ch_l0``, a projection ``weight_hr_l0`` (P, H), where ``weight_hh_l0`` is (G * H, P), then
        ``_l1``, ..., whose ``weight_ih`` is (G * H, D * H) or (G * H, D * P). L is the number of layers
        named; D is 2 if there are names with the suffix ``_reverse``, else 1. A bias that is not there is
        zero. Other keys are ignored.
    lengths, reset : ndarray or None
        As for `forward`.
    dropout : sequence of L - 1 ndarrays, each broadcastable to (T, B, D * H), or None
        What the output of each layer but the last is multiplied with before it enters the next: with inverted
        dropout at probability p, zeros and ``1 / (1 - p)``.

    Returns
    -------
    y : ndarray, shape (T, B, D * H)
        Output of the last layer, forward half first.
    final_state : ndarray, shape (S, L * D, B, H), or tuple
        Final states.
    tape : StackTape
        For `stack_backward`.
    """
    suffixes = ("", "_reverse") if "weight_ih_l0_reverse" in params else ("",)
    layers: list[list[Tape]] = []
    finals: list[Stacked] = []
    while f"weight_ih_l{len(layers)}" in params:
        if layers and dropout is not None:
            x = x * dropout[len(layers) - 1]
        outputs, tapes = [], []
        for suffix in suffixes:
            s = None if state is None else tuple(part[len(finals)] for part in state)
            y, final, tape = forward(
                cell,
                x,
                s,
                **weights_of(cell, params, f"_l{len(layers)}{suffix}"),
                lengths=lengths,
                reset=reset,
                reverse=suffix != "",
            )
            outputs.append(y)
            finals.append(final)
            tapes.append(tape)
        x = np.concatenate(outputs, axis=2)
        layers.append(tapes)
    return x, _over_slots(finals), StackTape(layers, frozenset(params), dropout)


def stack_backward(
    cell: Cell, tape: StackTape, dy: Array, dstate: Stacked | None = None
) -> tuple[Array, Stacked, dict[str, Array]]:
    """Gradients of ``(y * dy).sum() + (final_state * dstate).sum()``.

    Parameters
    ----------
    cell : Cell
        The cell given to `stack_forward`.
    tape : StackTape
        From `stack_forward`; not changed, so it may be used again.
    dy : ndarray, shape (T, B, D * H)
        Gradient of `y`.
    dstate : ndarray, shape (S, L * D, B, H), or tuple, or None
        Gradient of the final states. None means zeros.

    Returns
    -------
    dx : ndarray, shape (T, B, I)
        Gradient of the input.
    dstate : ndarray, shape (S, L * D, B, H), or tuple
        Gradient of the initial states.
    grads : dict of str to ndarray
        Gradients of the parameters, by name.
    """
    grads: dict[str, Array] = {}
    dstates: list[Stacked] = []
    for layer in reversed(range(len(tape.layers))):
        tapes = tape.layers[layer]
        D = len(tapes)
        if tape.dropout is not None and layer + 1 < len(tape.layers):
            dy = dy * tape.dropout[layer]
        results = []
        for direction, half in enumerate(np.split(dy, D, axis=2)):
            ds = None if dstate is None else tuple(part[layer * D + direction] for part in dstate)
            results.append(backward(cell, tapes[direction], half, ds))
            end = f"_l{layer}" + ("_reverse" if direction else "")
            keys = {f"d{key}": name + end for key, name in names_of(cell).items()}
            found = {name: results[-1][key] for key, name in keys.items() if key in results[-1]}
            start = 0
            for name, rows in own_names(cell).items():
                if name + end in tape.names:
                    part = results[-1]["dw_units"][start : start + rows]
                    found[name + end] = part if name.startswith("weight") else part.reshape(-1)
                start += rows
            grads |= {name: grad for name, grad in found.items() if name in tape.names}
        dy = sum((r["dx"] for r in results[1:]), start=results[0]["dx"])
        dstates[:0] = [r["dstate"] for r in results]
    return dy, _over_slots(dstates), grads


def _over_slots(states: Sequence[Stacked]) -> Stacked:
    """The states of every slot as those of the stack."""
    return together(tuple(np.stack(parts) for parts in zip(*states, strict=True)))
