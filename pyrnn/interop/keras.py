"""Layers and models of Keras 3, live or from its files, for which Keras need not be installed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import layers, recurrent
from .._layer import Layer
from .._stack import Recurrent
from ._keras_file import Weights, read_archive
from ._keras_layers import NAMES, Activation, HoldLast, MaskedSequential, MergeHalves

Array = NDArray[Any]
Fetch = Callable[[str], list[Array]]

# What decides nothing but training by Keras itself, or how it computes and not what.
QUIET = {"name", "trainable", "seed", "unroll", "implementation", "unit_forget_bias", "activity_regularizer"}
ENDINGS = ("_initializer", "_regularizer", "_constraint")
CELLS = {"LSTM": recurrent.LSTM, "GRU": recurrent.GRU, "SimpleRNN": recurrent.RNN}
KERNELS = {"linear": "identity"} | {n: n for n in ("tanh", "sigmoid", "relu", "hard_sigmoid", "softsign")}
MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "mul"}


def from_keras(source: Any) -> Any:
    """Make of a layer or model of Keras 3 what computes the same, with its weights.

    Parameters
    ----------
    source : keras layer or model, or path-like
        A built layer, a model, or a `.keras` file, which is read with h5py: Keras is not needed, and nothing
        of the file is run. Models are chains: Sequential, or functional with one layer after the other.

    Returns
    -------
    Layer
        One layer where one is enough, else a `Sequential`, batch first as Keras is. Where the model masks
        (``Embedding(mask_zero=True)``, ``Masking``) it finds the lengths in its input by itself; padding must
        be last.

    Raises
    ------
    ImportError
        `source` is a file, and h5py is not installed.
    OSError
        The file cannot be read.
    TypeError
        `source` is nothing of the kind.
    ValueError
        The file is damaged, or a layer or an option is one that pyrnn does not have; the message names it.

    Notes
    -----
    LSTM, GRU (`reset_after` either way), SimpleRNN, Bidirectional with any merge mode but None, Embedding,
    Dense, LayerNormalization, Dropout, Activation, Masking, and TimeDistributed around Dense. Beyond the end
    of a sequence the outputs are what Keras gives: the last one again, or zeros with
    ``zero_output_for_mask``. Dropout and recurrent dropout act in `vjp`. Initializers, regularizers,
    constraints and seeds are left behind.

    Examples
    --------
    >>> model = from_keras("model.keras")  # doctest: +SKIP
    """
    if isinstance(source, (str, os.PathLike)):
        if str(source).endswith(".h5"):
            raise ValueError(f"{source} has weights alone: load_keras_weights puts them into layers of yours")
        config, weights = read_archive(source)
        entries = _entries(config)
        fetches = _from_file(entries, weights)
    else:
        entries, fetches = _live(source)
    found, mask = _convert(entries, fetches)
    if mask is not None:
        return MaskedSequential(*found, mask_value=mask)
    return found[0] if len(found) == 1 else layers.Sequential(*found)


def load_keras_weights(model: Layer, path: str | os.PathLike[str]) -> None:
    """Put the weights of a `.weights.h5` or `.keras` file into layers of one's own.

    Parameters
    ----------
    model : Layer
        A layer or `Sequential` that was built like the model of Keras: the first LSTM gets the weights of the
        file's first LSTM, and so on for each kind. Several layers of a stack count as so many.
    path : path-like
        The file.

    Raises
    ------
    ImportError
        h5py is not installed.
    OSError
        The file cannot be read.
    TypeError
        `model` is no layer.
    ValueError
        The file is damaged, has weights for which there are no layers, or none for one, or of another shape.
        No parameter has been changed then.

    Notes
    -----
    The file does not know activations, or whether a GRU resets before or after; the layers do.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer, got {type(model).__name__}")
    weights = (
        read_archive(path)[1] if str(path).endswith(".keras") else Weights(Path(path).read_bytes(), str(path))
    )
    names = _Names()
    writes: list[tuple[Layer, dict[str, Array]]] = []
    for layer in _leaves(model):
        if isinstance(layer, (Recurrent, layers.Bidirectional)):
            writes.append((layer, _stack_weights(layer, names, weights.arrays)))
        elif kind := {layers.Linear: "dense", layers.Embedding: "embedding"}.get(type(layer)):
            arrays = weights.arrays(names.next(kind))
            writes.append((layer, _linear(arrays) if kind == "dense" else _embedding(arrays)))
        elif isinstance(layer, layers.LayerNorm):
            writes.append((layer, _norm(weights.arrays(names.next("layer_normalization")), layer)))
        elif len(layer.params):
            raise ValueError(f"{layer!r} has no weights in files of Keras")
    unused = [name for name in weights.names() if name not in names.used and _any(weights, name)]
    if unused:
        raise ValueError(f"{path} has weights for which there are no layers: {', '.join(unused)}")
    for layer, values in writes:
        _fits(layer, values, str(path))
    for layer, values in writes:
        layer.load_state_dict(values)


def _any(weights: Weights, name: str) -> bool:
    inner = ("", "/cell", "/forward_layer/cell", "/layer")
    return any(weights.arrays(name + part) for part in inner)


def _fits(layer: Layer, values: dict[str, Array], where: str) -> None:
    shapes = {name: array.shape for name, array in layer.params.items()}
    found = {name: array.shape for name, array in values.items()}
    if shapes != found:
        raise ValueError(f"{where}: {layer!r} has the shapes {shapes}, the file {found}")


def _leaves(model: Layer) -> list[Layer]:
    return (
        [leaf for part in model for leaf in _leaves(part)]
        if isinstance(model, layers.Sequential)
        else [model]
    )


class _Names:
    """What Keras calls the layers of a file: by their kind, the second with ``_1`` and so on."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.used: set[str] = set()

    def next(self, kind: str) -> str:
        count = self.counts[kind] = self.counts.get(kind, -1) + 1
        name = f"{kind}_{count}" if count else kind
        self.used.add(name)
        return name


class Entry(NamedTuple):
    """A layer as the configuration has it."""

    kind: str
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.kind} {self.config.get('name', '')!r}"


def _entry(told: Any) -> Entry:
    if not isinstance(told, dict) or not isinstance(told.get("config"), dict):
        raise ValueError(f"a layer must have a class and a configuration, got {str(told)[:80]}")
    if told.get("registered_name") not in (None, told.get("class_name")):
        raise ValueError(f"{told.get('registered_name')} is a class of its own, and is not known")
    return Entry(str(told.get("class_name")), told["config"])


def _entries(told: Any) -> list[Entry]:
    """The layers of a model in their order."""
    model = _entry(told)
    parts = model.config.get("layers")
    if model.kind not in ("Sequential", "Functional", "Model") or not isinstance(parts, list):
        raise ValueError(f"{model.label} must be a Sequential or a functional model")
    found = []
    before: Any = None
    for part in parts:
        entry = _entry(part)
        if model.kind != "Sequential":
            _follows(part, before, entry)
            before = part.get("name")
        if entry.kind == "Sequential":
            found += _entries(part)
        elif entry.kind != "InputLayer":
            found.append(entry)
    if not found:
        raise ValueError(f"{model.label} has no layers")
    return found


def _follows(part: dict[str, Any], before: Any, entry: Entry) -> None:
    """Refuse a functional model that is no chain."""
    nodes = part.get("inbound_nodes")
    if before is None and nodes in ([], None):
        return
    try:
        (node,) = nodes  # type: ignore[misc]
        (tensor,) = node["args"]
        came, index, number = tensor["config"]["keras_history"]
        more = {name: value for name, value in node.get("kwargs", {}).items() if value not in (None, False)}
    except (TypeError, ValueError, KeyError):
        raise ValueError(f"{entry.label} must have one input: only chains of layers are known") from None
    if (came, index, number) != (before, 0, 0) or more:
        raise ValueError(f"{entry.label} must follow the layer before it: only chains of layers are known")


def _live(source: Any) -> tuple[list[Entry], list[Fetch]]:
    """The layers of a live layer or model, and their weights."""
    if not callable(getattr(source, "get_config", None)) or not hasattr(source, "weights"):
        raise TypeError(f"source must be a layer or model of Keras, or a path, got {type(source).__name__}")
    parts = _flattened(source)
    told = {"class_name": type(source).__name__, "config": source.get_config()}
    entries = _entries(told) if hasattr(source, "layers") else [_entry(told)]
    live = [part for part in parts if type(part).__name__ != "InputLayer"]
    return entries, [_fetch_live(part) for part in live]


def _flattened(source: Any) -> list[Any]:
    if not hasattr(source, "layers"):
        return [source]
    return [leaf for part in source.layers for leaf in _flattened(part)]


def _fetch_live(layer: Any) -> Fetch:
    def fetch(part: str) -> list[Array]:
        place = layer
        for name in part.split("/"):
            place = getattr(place, name) if name and name != "cell" else place
        return [np.asarray(weight) for weight in place.weights]

    return fetch


def _from_file(entries: list[Entry], weights: Weights) -> list[Fetch]:
    names = _Names()

    def fetch(name: str) -> Fetch:
        return lambda part: weights.arrays(f"{name}/{part}" if part else name)

    return [fetch(names.next(_snake(entry.kind))) for entry in entries]


def _snake(kind: str) -> str:
    kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()


class _Options:
    """The options of a layer: each is taken once, or known to decide nothing, or refused by name."""

    def __init__(self, entry: Entry) -> None:
        self.label, self._left = entry.label, dict(entry.config)
        self.dtype = self._dtype()

    def take(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        value = self._left.pop(name, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{self.label}: {name} is {value!r}, which is not known")
        return value

    def refuse(self, **defaults: Any) -> None:
        """Refuse options that are not these."""
        for name, default in defaults.items():
            value = self._left.pop(name, default)
            if value != default or isinstance(value, bool) != isinstance(default, bool):
                raise ValueError(f"{self.label}: {name}={value!r} is not supported")

    def activation(self, name: str, default: str = "linear") -> str:
        value = self._left.pop(name, default)
        if isinstance(value, dict) and value.get("class_name") == "function":
            value = value.get("config")
        if value is None:
            return "linear"
        if not isinstance(value, str):
            raise ValueError(f"{self.label}: {name}={str(value)[:80]} is not supported")
        return value

    def kernel(self, name: str, default: str) -> str:
        """An activation that the kernels have."""
        value = self.activation(name, default)
        if value not in KERNELS:
            raise ValueError(
                f"{self.label}: {name}={value!r} is not supported; there are {', '.join(KERNELS)}"
            )
        return KERNELS[value]

    def done(self) -> None:
        for name, value in self._left.items():
            if name not in QUIET and not name.endswith(ENDINGS) and value is not None:
                raise ValueError(f"{self.label}: {name}={str(value)[:80]} is not known")

    def _dtype(self) -> np.dtype[Any]:
        told = self._left.pop("dtype", "float32")
        if isinstance(told, dict):
            told = told.get("config", {}).get("name") if isinstance(told.get("config"), dict) else None
        if told not in ("float32", "float64"):
            raise ValueError(f"{self.label}: dtype must be float32 or float64, got {str(told)[:80]}")
        dtype: np.dtype[Any] = np.dtype(told)
        return dtype


def _convert(entries: list[Entry], fetches: list[Fetch]) -> tuple[list[Layer], float | None]:
    """The layers, and what masks their input."""
    found: list[Layer] = []
    mask: float | None = None
    masked = False
    for entry, fetch in zip(entries, fetches, strict=True):
        if entry.kind == "TimeDistributed":
            inner = _entry(entry.config.get("layer"))
            if inner.kind != "Dense":
                raise ValueError(f"{entry.label} around {inner.kind} is not supported")
            entry, fetch = inner, (lambda part, outer=fetch: outer("layer"))  # type: ignore[misc]
        options = _Options(entry)
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


def _cell(entry: Entry, options: _Options) -> tuple[dict[str, Any], bool, bool]:
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
        values |= {name + suffix: array for name, array in _arranged(layer, arrays).items()}
    _fits(layer, values, entry.label)
    layer.load_state_dict(values)
    return layer


def _arranged(layer: Recurrent, arrays: list[Array]) -> dict[str, Array]:
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


def _recurrent(entry: Entry, options: _Options, fetch: Fetch, masked: bool) -> tuple[list[Layer], bool]:
    options.refuse(go_backwards=False)
    told, sequences, zeros = _cell(entry, options)
    _ends(entry, sequences, zeros, masked)
    layer = _made(entry, told, [fetch("cell")])
    if not sequences:
        return [layer, layers.LastStep(batch_first=True)], False
    return [layer, HoldLast()] if masked and not zeros else [layer], True


def _bidirectional(entry: Entry, options: _Options, fetch: Fetch, masked: bool) -> tuple[list[Layer], bool]:
    """Its halves give zeros at padding, as pyrnn does."""
    mode = options.take("merge_mode", str, "concat")
    halves = [_entry(options.take(name, dict)) for name in ("layer", "backward_layer")]
    kinds = [half.kind for half in halves]
    if kinds[0] not in CELLS or kinds[0] != kinds[1] or mode not in MERGES:
        raise ValueError(
            f"{entry.label} around {' and '.join(kinds)} with merge_mode={mode!r} is not supported"
        )
    found = []
    for half, backwards in zip(halves, (False, True), strict=True):
        inner = _Options(half)
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


def _with_activation(layer: Layer | None, options: _Options) -> list[Layer]:
    name = options.activation("activation")
    made = [] if layer is None else [layer]
    if name == "linear":
        return made
    if name not in NAMES:
        raise ValueError(
            f"{options.label}: activation={name!r} is not supported; there are {', '.join(NAMES)}"
        )
    return [*made, Activation(name)]


def _linear(arrays: list[Array]) -> dict[str, Array]:
    if not arrays or len(arrays) > 2 or arrays[0].ndim != 2:
        raise ValueError(
            f"a Dense layer must have a kernel and at most a bias, got {[a.shape for a in arrays]}"
        )
    return dict(zip(("weight", "bias"), (arrays[0].T, *arrays[1:]), strict=False))


def _embedding(arrays: list[Array]) -> dict[str, Array]:
    if len(arrays) != 1 or arrays[0].ndim != 2 or not arrays[0].size:
        raise ValueError(f"an Embedding must have one table, got {[a.shape for a in arrays]}")
    return {"weight": arrays[0]}


def _norm(arrays: list[Array], layer: layers.LayerNorm) -> dict[str, Array]:
    """Of a layer with gain and shift both."""
    return dict(zip(layer.params, arrays, strict=False))


def _sized(options: _Options, values: dict[str, Array], shape: tuple[int, ...]) -> None:
    if values["weight"].shape[: len(shape)] != shape or not values["weight"].size:
        found = values["weight"].shape
        raise ValueError(f"{options.label} must have weights of the sizes {shape}, got {found}")


def _dense(options: _Options, fetch: Fetch) -> list[Layer]:
    values, bias = _linear(fetch("")), options.take("use_bias", bool, True)
    options.refuse(lora_rank=None, quantization_config=None)
    _sized(options, values, (options.take("units", int),))
    layer = layers.Linear(values["weight"].shape[1], len(values["weight"]), bias, dtype=options.dtype)
    _fits(layer, values, options.label)
    layer.load_state_dict(values)
    return _with_activation(layer, options)


def _table(options: _Options, fetch: Fetch) -> list[Layer]:
    values = _embedding(fetch(""))
    options.refuse(lora_rank=None, quantization_config=None, sparse=False, input_length=None)
    _sized(options, values, (options.take("input_dim", int), options.take("output_dim", int)))
    layer = layers.Embedding(len(values["weight"]), values["weight"].shape[1], dtype=options.dtype)
    layer.load_state_dict(values)
    return [layer]


def _layer_norm(options: _Options, fetch: Fetch) -> list[Layer]:
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
    _fits(layer, values, options.label)
    layer.load_state_dict(values)
    return [layer]


def _dropout(options: _Options, fetch: Fetch) -> list[Layer]:
    options.refuse(noise_shape=None)
    return [layers.Dropout(float(options.take("rate", (int, float))))]


OTHERS: dict[str, Callable[[_Options, Fetch], list[Layer]]] = {
    "Dense": _dense,
    "Embedding": _table,
    "LayerNormalization": _layer_norm,
    "Dropout": _dropout,
    "Activation": lambda options, fetch: _with_activation(None, options),
}


def _stack_weights(layer: Any, names: _Names, arrays: Fetch) -> dict[str, Array]:
    """The parameters of a recurrent layer of any number of layers, from as many of Keras."""
    merged = isinstance(layer, layers.Bidirectional)
    cell = layer.forward_layer if merged else layer
    kind = {
        "lstm": "lstm",
        "gru": "gru",
        "gru_before": "gru",
        "rnn_tanh": "simple_rnn",
        "rnn_relu": "simple_rnn",
    }
    if cell._cell.name not in kind or (merged and cell.num_layers > 1):
        raise ValueError(f"{layer!r} has no weights in files of Keras")
    both = merged or cell.bidirectional
    values: dict[str, Array] = {}
    for number in range(cell.num_layers):
        name = names.next("bidirectional" if both else kind[cell._cell.name])
        parts = (
            [f"{name}/{side}_layer/cell" for side in ("forward", "backward")] if both else [f"{name}/cell"]
        )
        for part, suffix in zip(parts, ("", "_reverse"), strict=False):
            found = arrays(part)
            if len(found) not in (2, 3):
                raise ValueError(f"the file has no weights of a recurrent layer at {part}")
            values |= {f"{n}_l{number}{suffix}": a for n, a in _arranged(cell, found).items()}
    return values
