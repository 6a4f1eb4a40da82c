"""LSTM, GRU and RNN of any number of layers and directions as nodes of ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._noise import Extras
from .._stack import Recurrent
from ._graph import Tensor, Writer

Array = NDArray[Any]

OPS = {
    "lstm": "LSTM",
    "lstm_coupled": "LSTM",
    "gru": "GRU",
    "gru_before": "GRU",
    "rnn_tanh": "RNN",
    "rnn_relu": "RNN",
}
# ONNX's gates i o f c, z r h among the kernels' i f g o, r z n; coupled i g o lend i to f, which is not read.
ORDERS = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}
COUPLED = [0, 2, 0, 1]
# Options that change nothing outside of training, and those that nodes have words for.
EXPRESSED = {"activation", "recurrent_activation", "peepholes"}
TRAINING = {"input_dropout", "recurrent_dropout", "weight_dropout"}
# Name, alpha, beta.
ACTIVATIONS = {
    "tanh": ("Tanh",),
    "sigmoid": ("Sigmoid",),
    "relu": ("Relu",),
    "softsign": ("Softsign",),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "identity": ("Affine", 1.0, 0.0),
}


class Inexpressible(Exception):
    """What ONNX has no words for."""


def check(layer: Recurrent) -> None:
    """Refuse what nodes of ONNX cannot be told.

    Raises
    ------
    Inexpressible
        The cell or an option is such.
    """
    kind = type(layer).__name__
    if layer._cell.name not in OPS:
        raise Inexpressible(f"{kind}: its nodes have no cell {layer._cell.name}")
    for name, value in layer._extras._asdict().items():
        default = Extras._field_defaults[name]
        if name not in EXPRESSED | TRAINING and value not in (default, (default, default)):
            raise Inexpressible(f"{kind} with {name}={value!r}: its nodes have no such attribute")
    known = {name + layer._suffix(slot) for slot in range(layer._slot_count) for name in _parameters(layer)}
    if unknown := [name for name in layer.params if name not in known]:
        raise Inexpressible(f"{kind} with the parameters {', '.join(unknown)}: its nodes have none such")


def _parameters(layer: Recurrent) -> list[str]:
    return [
        "weight_ih",
        "weight_hh",
        "bias_ih",
        "bias_hh",
        *(["weight_ch"] if layer._extras.peepholes else []),
    ]


def initial_states(writer: Writer, layer: Recurrent, x: Tensor, suffix: str) -> list[Tensor]:
    """Inputs for the states of all layers and directions, (L*D, B, H) each."""
    check(layer)
    _features(layer, x)
    shape = (layer._slot_count, x.shape[0 if layer.batch_first else 1], layer.hidden_size)
    names = ["h_0", "c_0"][: layer._cell.states]
    return [writer.input(name + suffix, layer.dtype, shape) for name in names]


def stack(
    writer: Writer, layer: Recurrent, x: Tensor, initial: list[Tensor] | None
) -> tuple[Tensor, list[Tensor]]:
    """Write all layers: the output with the axes of x, and the final states."""
    check(layer)
    _features(layer, x)
    if layer.batch_first:
        x = writer.transpose(x, 1, 0, 2)
    D, final = layer.directions, []
    for number in range(layer.num_layers):
        states: list[Tensor | None] = [None] * layer._cell.states
        if initial is not None:
            bounds = [writer.constant([n], np.int64) for n in (number * D, (number + 1) * D, 0)]
            shape = (D, *initial[0].shape[1:])
            if layer.num_layers == 1:
                states = list(initial)
            else:
                states = [writer.node("Slice", [state, *bounds], shape) for state in initial]
        x, *last = _node(writer, layer, number, x, states)
        final.append(last)
    y = writer.transpose(x, 1, 0, 2) if layer.batch_first else x
    if len(final) == 1:
        return y, final[0]
    shape = (layer._slot_count, *final[0][0].shape[1:])
    return y, [writer.node("Concat", list(parts), shape, axis=0) for parts in zip(*final, strict=True)]


def _features(layer: Recurrent, x: Tensor) -> None:
    if len(x.shape) != 3 or x.shape[2] != layer.input_size:
        size = layer.input_size
        raise ValueError(
            f"{layer!r} takes three axes, {size} features last, but is given the shape {x.shape}"
        )


def _node(
    writer: Writer, layer: Recurrent, number: int, x: Tensor, states: list[Tensor | None]
) -> list[Tensor]:
    """Write one layer: Y as (T, B, D*H), Y_h and, of the LSTM, Y_c."""
    op, D, H = OPS[layer._cell.name], layer.directions, layer.hidden_size
    parts = [_weights(layer, slot) for slot in layer._slots[number]]
    W, R, B, P = (
        None if found[0] is None else writer.constant(np.stack(found)) for found in zip(*parts, strict=True)
    )
    lengths = None if writer.lengths is None else writer.told_lengths()
    inputs = [x, W, R, B, lengths, *states, *([P] if op == "LSTM" else [])]
    T, rows, _ = x.shape
    shapes = [(T, D, rows, H), *[(D, rows, H)] * len(states)]
    attributes = _attributes(layer, op)
    Y, *last = writer.nodes_of(op, inputs, shapes, layer.dtype, **attributes)
    if D == 1:
        y = writer.node("Squeeze", [Y, writer.constant([1], np.int64)], (T, rows, H))
    else:
        y = writer.reshape(writer.transpose(Y, 0, 2, 1, 3), (T, rows, D * H), [0, 0, D * H])
    return [y, *last]


def _attributes(layer: Recurrent, op: str) -> dict[str, Any]:
    cell, extras = layer._cell.name, layer._extras
    direction = "bidirectional" if layer.bidirectional else "reverse" if layer._backwards else "forward"
    found: dict[str, Any] = {"hidden_size": layer.hidden_size, "direction": direction}
    if cell == "lstm_coupled":
        found["input_forget"] = 1
    if op == "GRU":
        found["linear_before_reset"] = int(cell == "gru")
    own = "relu" if cell == "rnn_relu" else "tanh"
    act = ACTIVATIONS[extras.activation or own]
    gate = ACTIVATIONS[extras.recurrent_activation or "sigmoid"]
    told = {"RNN": [act], "GRU": [gate, act], "LSTM": [gate, act, act]}[op] * layer.directions
    if extras.activation or extras.recurrent_activation or cell == "rnn_relu":
        found["activations"] = [activation[0] for activation in told]
        if numbers := [activation[1:] for activation in told if len(activation) > 1]:
            found["activation_alpha"], found["activation_beta"] = map(list, zip(*numbers, strict=True))
    return found


def _weights(layer: Recurrent, slot: int) -> tuple[Array, Array, Array | None, Array | None]:
    """W, R, B and P of one direction of one layer."""
    op, H = OPS[layer._cell.name], layer.hidden_size
    coupled = layer._cell.name == "lstm_coupled"
    order = COUPLED if coupled else ORDERS[op]

    def blocks(name: str) -> Array:
        array = layer.params[name + layer._suffix(slot)]
        return np.concatenate([array[g * H : (g + 1) * H] for g in order])

    B = np.concatenate([blocks("bias_ih"), blocks("bias_hh")]) if layer.bias else None
    P = None
    if layer._extras.peepholes:
        found = layer.params["weight_ch" + layer._suffix(slot)]  # i f o, or i o
        P = np.concatenate([found[0], found[-1], np.zeros(H, layer.dtype) if coupled else found[1]])
    return blocks("weight_ih"), blocks("weight_hh"), B, P
