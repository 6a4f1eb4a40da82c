"""Layers and models of Keras 3, live or from its files, for which Keras need not be installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import layers
from .._layer import Layer
from .._stack import Recurrent
from ._keras_config import Fetch, Names, entries_of, from_file, live
from ._keras_convert import arranged, convert, embedding, fits, linear, norm
from ._keras_file import Weights, read_archive
from ._keras_layers import MaskedSequential

Array = NDArray[Any]


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
    >>> from_keras("model.txt")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'model.txt'
    """
    if isinstance(source, (str, os.PathLike)):
        if str(source).endswith(".h5"):
            raise ValueError(f"{source} has weights alone: load_keras_weights puts them into layers of yours")
        config, weights = read_archive(source)
        entries = entries_of(config)
        fetches = from_file(entries, weights)
    else:
        entries, fetches = live(source)
    found, mask = convert(entries, fetches)
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
    names = Names()
    writes: list[tuple[Layer, dict[str, Array]]] = []
    for layer in _leaves(model):
        if isinstance(layer, (Recurrent, layers.Bidirectional)):
            writes.append((layer, _stack_weights(layer, names, weights.arrays)))
        elif kind := {layers.Linear: "dense", layers.Embedding: "embedding"}.get(type(layer)):
            arrays = weights.arrays(names.next(kind))
            writes.append((layer, linear(arrays) if kind == "dense" else embedding(arrays)))
        elif isinstance(layer, layers.LayerNorm):
            writes.append((layer, norm(weights.arrays(names.next("layer_normalization")), layer)))
        elif len(layer.params):
            raise ValueError(f"{layer!r} has no weights in files of Keras")
    unused = [name for name in weights.names() if name not in names.used and _any(weights, name)]
    if unused:
        raise ValueError(f"{path} has weights for which there are no layers: {', '.join(unused)}")
    for layer, values in writes:
        fits(layer, values, str(path))
    for layer, values in writes:
        layer.load_state_dict(values)


def _any(weights: Weights, name: str) -> bool:
    inner = ("", "/cell", "/forward_layer/cell", "/layer")
    return any(weights.arrays(name + part) for part in inner)


def _leaves(model: Layer) -> list[Layer]:
    return (
        [leaf for part in model for leaf in _leaves(part)]
        if isinstance(model, layers.Sequential)
        else [model]
    )


def _stack_weights(layer: Any, names: Names, arrays: Fetch) -> dict[str, Array]:
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
            values |= {f"{n}_l{number}{suffix}": a for n, a in arranged(cell, found).items()}
    return values
