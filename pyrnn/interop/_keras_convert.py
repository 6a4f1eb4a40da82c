"""The layers of Keras as those of pyrnn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layers, recurrent
from .._layer import Layer
from .._stack import Recurrent
from ._keras_config import Entry, Fetch, Options, entry_of
from ._keras_layers import NAMES, Activation, HoldLast, MergeHalves

Array = NDArray[Any]

CELLS = {"LSTM": recurrent.LSTM, "GRU": recurrent.GRU, "SimpleRNN": recurrent.RNN}
MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "mul"}


def convert(entries: list[Entry], fetches: list[Fetch]) -> tuple[list[Layer], float | None]:
    """The layers, and what masks their input."""
    found: list[Layer] = []
    mask: float | None = None
    masked = False
    for entry, fetch in zip(entries, fetches, strict=True):
        if entry.kind == "TimeDistributed":
            inner = entry_of(entry.config.get("layer"))
            if inner.kind != "Dense":
                raise ValueError(f"{entry.label} around {inner.kind} is not supported")
            entry, fetch = inner, (lambda part, outer=fetch: outer("layer"))  # type: ignore[misc]
        options = Options(entry)
        masks = entry.kind == "Masking" or (
            entry.kind == "Embedding" and options.take("mask_zero", bool, False)
        )
        if masks:
            if found:
                raise ValueError(f"{entry.label} masks what layers before it compute, which is not supported")
            mask, masked = 0.0, True
        if entry.kind == "Masking":
            mask = float(options.take("mask_value", (int, float), 0.0))
            options.done()
            continue
        if entry.kind in CELLS:
            made, goes_on = _recurrent(entry, options, fetch, masked)
        elif entry.kind == "Bidirectional":
            made, goes_on = _bidirectional(entry, options, fetch, masked)
        elif entry.kind in OTHERS:
            made, goes_on = OTHERS[entry.kind](options, fetch), True
        else:
            raise ValueError(f"{entry.label} is not supported")
        options.done()
        found, masked = found + made, masked and goes_on
    if not found:
        raise ValueError("the model has no layers but masks")
    return found, mask


def _cell(entry: Entry, options: Options) -> tuple[dict[str, Any], bool, bool]:
    """The constructor's arguments, whether all outputs are returned, and whether they are zero at padding."""
    options.refuse(return_state=False, stateful=False)
    told: dict[str, Any] = {"dtype": options.dtype, "batch_first": True}
    told["bias"] = options.take("use_bias", bool, True)
    units = options.take("units", int)
    told["hidden_size"] = units
    told["input_dropout"] = float(options.take("dropout", (int, float), 0.0))
    told["recurrent_dropout"] = float(options.take("recurrent_dropout", (int, float), 0.0))
    name = "nonlinearity" if entry.kind == "SimpleRNN" else "activation"
    told[name] = options.kernel("activation", "tanh")
    if entry.kind != "SimpleRNN":
        told["recurrent_activation"] = options.kernel("recurrent_activation", "sigmoid")
    if entry.kind == "GRU":
        told["reset_after"] = options.take("reset_after", bool, True)
    sequences = options.take("return_sequences", bool, False)
    return told, sequences, options.take("zero_output_for_mask", bool, False)


def _ends(entry: Entry, sequences: bool, zeros: bool, masked: bool) -> None:
    """Refuse what Keras takes for the last output where that is padding."""
    if masked and zeros and not sequences:
        raise ValueError(
            f"{entry.label}: zero_output_for_mask=True without return_sequences is not supported"
        )


def _made(entry: Entry, told: dict[str, Any], parts: list[list[Array]], **more: Any) -> Any:
    """A recurrent layer with weights; its directions are `parts`."""
    wanted = 3 if told["bias"] else 2
    for arrays in parts:
        if len(arrays) != wanted or arrays[0].ndim != 2:
            raise ValueError(
                f"{entry.label} must have {wanted} arrays, got {[a.shape for a in arrays]}; is it built?"
            )
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[entry.kind]
    if parts[0][0].shape[0] < 1 or parts[0][0].shape[1] != gates * told["hidden_size"]:
        raise ValueError(f"{entry.label} has {told['hidden_size']} units, but a kernel {parts[0][0].shape}")
    layer = CELLS[entry.kind](parts[0][0].shape[0], **told, **more)
    values: dict[str, Array] = {}
    for arrays, suffix in zip(parts, ("_l0", "_l0_reverse"), strict=False):
        values |= {name + suffix: array for name, array in arranged(layer, arrays).items()}
    fits(layer, values, entry.label)
    layer.load_state_dict(values)
    return layer


def arranged(layer: Recurrent, arrays: list[Array]) -> dict[str, Array]:
    """Keras' arrays of one direction with pyrnn's names, layouts and order of gates."""
    H = layer.hidden_size
    order = [1, 0, 2] if layer._cell.name.startswith("gru") else list(range(layer._cell.gates))

    def rows(array: Array) -> Array:
        if array.shape[-1] != len(order) * H:
            raise ValueError(
                f"{layer!r} takes arrays of {len(order) * H} columns, got the shape {array.shape}"
            )
        return np.concatenate([array[..., g * H : (g + 1) * H] for g in order], -1).T

    found = {"weight_ih": rows(arrays[0]), "weight_hh": rows(arrays[1])}
    if len(arrays) > 2:
        bias = arrays[2] if arrays[2].ndim == 2 else np.stack([arrays[2], np.zeros_like(arrays[2])])
        if len(bias) != 2:
            raise ValueError(f"{layer!r} takes one bias or two, got the shape {bias.shape}")
        found |= {"bias_ih": rows(bias[0]), "bias_hh": rows(bias[1])}
    return found


def _recurrent(entry: Entry, options: Options, fetch: Fetch, masked: bool) -> tuple[list[Layer], bool]:
    options.refuse(go_backwards=False)
    told, sequences, zeros = _cell(entry, options)
    _ends(entry, sequences, zeros, masked)
    layer = _made(entry, told, [fetch("cell")])
    if not sequences:
        return [layer, layers.LastStep(batch_first=True)], False
    return [layer, HoldLast()] if masked and not zeros else [layer], True


def _bidirectional(entry: Entry, options: Options, fetch: Fetch, masked: bool) -> tuple[list[Layer], bool]:
    """Its halves give zeros at padding, as pyrnn does."""
    mode = options.take("merge_mode", str, "concat")
    halves = [entry_of(options.take(name, dict)) for name in ("layer", "backward_layer")]
    kinds = [half.kind for half in halves]
    if kinds[0] not in CELLS or kinds[0] != kinds[1] or mode not in MERGES:
        raise ValueError(
            f"{entry.label} around {' and '.join(kinds)} with merge_mode={mode!r} is not supported"
        )
    found = []
    for half, backwards in zip(halves, (False, True), strict=True):
        inner = Options(half)
        inner.refuse(go_backwards=backwards)
        found.append(_cell(half, inner))
        inner.done()
    if found[0] != found[1]:
        raise ValueError(f"{entry.label} must have two layers with the same options")
    told, sequences, zeros = found[0]
    _ends(entry, sequences, zeros, masked)
    parts = [fetch(f"{name}_layer/cell") for name in ("forward", "backward")]
    merge = MERGES[mode]
    if merge == "concat" or not sequences:
        made: list[Layer] = [_made(halves[0], told, parts, bidirectional=True)]
        if not sequences:
            made.append(layers.LastStep(batch_first=True, bidirectional=True))
            made += [] if merge == "concat" else [MergeHalves(merge)]
        return made, sequences
    layer = layers.Bidirectional(_made(halves[0], told, parts[:1]), merge)
    layer.load_state_dict(dict(_made(halves[0], told, parts, bidirectional=True).params))
    return [layer], True


def _with_activation(layer: Layer | None, options: Options) -> list[Layer]:
    name = options.activation("activation")
    made = [] if layer is None else [layer]
    if name == "linear":
        return made
    if name not in NAMES:
        raise ValueError(
            f"{options.label}: activation={name!r} is not supported; there are {', '.join(NAMES)}"
        )
    return [*made, Activation(name)]


def linear(arrays: list[Array]) -> dict[str, Array]:
    if not arrays or len(arrays) > 2 or arrays[0].ndim != 2:
        raise ValueError(
            f"a Dense layer must have a kernel and at most a bias, got {[a.shape for a in arrays]}"
        )
    return dict(zip(("weight", "bias"), (arrays[0].T, *arrays[1:]), strict=False))


def embedding(arrays: list[Array]) -> dict[str, Array]:
    if len(arrays) != 1 or arrays[0].ndim != 2 or not arrays[0].size:
        raise ValueError(f"an Embedding must have one table, got {[a.shape for a in arrays]}")
    return {"weight": arrays[0]}


def norm(arrays: list[Array], layer: layers.LayerNorm) -> dict[str, Array]:
    """Of a layer with gain and shift both."""
    return dict(zip(layer.params, arrays, strict=False))


def _sized(options: Options, values: dict[str, Array], shape: tuple[int, ...]) -> None:
    if values["weight"].shape[: len(shape)] != shape or not values["weight"].size:
        found = values["weight"].shape
        raise ValueError(f"{options.label} must have weights of the sizes {shape}, got {found}")


def _dense(options: Options, fetch: Fetch) -> list[Layer]:
    values, bias = linear(fetch("")), options.take("use_bias", bool, True)
    options.refuse(lora_rank=None, quantization_config=None)
    _sized(options, values, (options.take("units", int),))
    layer = layers.Linear(values["weight"].shape[1], len(values["weight"]), bias, dtype=options.dtype)
    fits(layer, values, options.label)
    layer.load_state_dict(values)
    return _with_activation(layer, options)


def _table(options: Options, fetch: Fetch) -> list[Layer]:
    values = embedding(fetch(""))
    options.refuse(lora_rank=None, quantization_config=None, sparse=False, input_length=None)
    _sized(options, values, (options.take("input_dim", int), options.take("output_dim", int)))
    layer = layers.Embedding(len(values["weight"]), values["weight"].shape[1], dtype=options.dtype)
    layer.load_state_dict(values)
    return [layer]


def _layer_norm(options: Options, fetch: Fetch) -> list[Layer]:
    axis = options.take("axis", (int, list), -1)
    if axis not in (-1, [-1]):
        raise ValueError(f"{options.label}: axis={axis} is not supported, but -1, the last")
    options.refuse(rms_scaling=False)
    scale, center = options.take("scale", bool, True), options.take("center", bool, True)
    eps = float(options.take("epsilon", (int, float), 1e-3))
    arrays = fetch("")
    if len(arrays) != scale + center or not arrays or any(a.ndim != 1 or not a.size for a in arrays):
        raise ValueError(
            f"{options.label} must have {scale + center} vectors, got {[a.shape for a in arrays]}"
        )
    layer = layers.LayerNorm(len(arrays[0]), eps, bias=center, dtype=options.dtype)
    gain = arrays[0] if scale else np.ones(len(arrays[0]))
    values = {"weight": gain} | ({"bias": arrays[-1]} if center else {})
    fits(layer, values, options.label)
    layer.load_state_dict(values)
    return [layer]


def _dropout(options: Options, fetch: Fetch) -> list[Layer]:
    options.refuse(noise_shape=None)
    return [layers.Dropout(float(options.take("rate", (int, float))))]


OTHERS: dict[str, Callable[[Options, Fetch], list[Layer]]] = {
    "Dense": _dense,
    "Embedding": _table,
    "LayerNormalization": _layer_norm,
    "Dropout": _dropout,
    "Activation": lambda options, fetch: _with_activation(None, options),
}


def fits(layer: Layer, values: dict[str, Array], where: str) -> None:
    shapes = {name: array.shape for name, array in layer.params.items()}
    found = {name: array.shape for name, array in values.items()}
    if shapes != found:
        raise ValueError(f"{where}: {layer!r} has the shapes {shapes}, the file {found}")
