"""From a layer to a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _check
from .._files import replace
from .._layer import Layer
from .._stack import Recurrent
from ..cells import _Cell
from ..layers import Bidirectional, Embedding, LayerNorm, Linear, MultiHeadAttention, Sequential
from ..layers import TransformerEncoderLayer as Transformer
from . import _layers
from ._graph import Shape, Tensor, Writer
from ._read import partner


def save(
    model: Layer,
    path: str | os.PathLike[str],
    *,
    lengths: bool = False,
    state: bool = False,
    input_shape: Sequence[int | str] | None = None,
) -> None:
    """Write a layer to a file in the ONNX format (opset 17), as it computes outside of training.

    Parameters
    ----------
    model : Layer
        LSTM, GRU, RNN, `Bidirectional`, `Embedding`, `Linear`, `LayerNorm`, `Dropout`, `LastStep`,
        `PositionalEncoding`, `MultiHeadAttention` (of a sequence to itself), `TransformerEncoderLayer`, or a
        `Sequential` of such.
    path : str or os.PathLike
        Where to. The file is written beside it and moved there when it is whole.
    lengths : bool, default False
        Whether there is an input "lengths", int32 of shape (B,): the steps of each sequence.
    state : bool, default False
        Whether there are inputs for the states before the first step: "h_0" and, for the LSTM, "c_0", with
        the shapes that the layer takes. Of a recurrent layer or a `Bidirectional` alone: the names of its
        backward half's end in ``_reverse``.
    input_shape : sequence of int and str, optional
        Shape of the input "x", a str for a side that may vary. By default ("T", "B", features), ("B", "T",
        features) where a layer has `batch_first`, or these without features, of the integers that an
        `Embedding` takes.

    Raises
    ------
    ImportError
        The package onnx is not installed.
    OSError
        The file cannot be written.
    TypeError
        `model` is no layer, or an argument is of the wrong type.
    ValueError
        ONNX cannot say what a layer computes, which the message names, nothing takes `lengths` or `state`, or
        `input_shape` does not fit.

    Notes
    -----
    The outputs are "y", or "y_forward" and "y_backward" of a `Bidirectional` that merges nothing, and, of a
    recurrent layer or a `Bidirectional` alone, the states after the last step: "h_n" and, for the LSTM,
    "c_n".

    What ONNX has no words for: `cell_clip`, `zoneout`, `proj_size`, the cells of `IndRNN`, `MinGRU` and
    `MinLSTM`, and `reset`. Dropout of all kinds is left out, as in a call. Its activations take numbers in
    float32, so that hard_sigmoid in float64 is exact to 1e-8 elsewhere than in `load`, which knows 1/6.

    References
    ----------
    ONNX operators, https://onnx.ai/onnx/operators/.

    Examples
    --------
    >>> import os, tempfile, pyrnn
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> layer = pyrnn.GRU(3, 4, rng=0)
    >>> save(layer, path, lengths=True)
    >>> model = pyrnn.onnx.load(path)
    >>> model
    Model(x: float32 (T, B, 3), lengths: int32 (B) -> y: float32 (T, B, 4), h_n: float32 (1, B, 4))
    >>> x = np.ones((5, 2, 3))
    >>> bool((model(x, [5, 2])["y"] == layer(x, lengths=[5, 2])[0]).all())
    True
    """
    onnx = partner()
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer, got {type(model).__name__}")
    if isinstance(model, _Cell):
        raise ValueError(
            f"{type(model).__name__} takes single steps, which is not supported; save a layer of its kind"
        )
    for layer in _chain(model):
        if type(layer) not in _layers.WRITERS:
            known = ", ".join(kind.__name__ for kind in _layers.WRITERS)
            raise ValueError(f"ONNX cannot express {type(layer).__name__}: it is none of {known}")
    writer = Writer(onnx)
    x = _input(writer, model, input_shape)
    sides = {"T": 0, "B": 1} if not _batch_first(model) else {"T": 1, "B": 0}
    if _check.flag(lengths, "lengths"):
        writer.lengths = writer.input(
            "lengths", np.int32, (x.shape[sides["B"]] if len(x.shape) > 1 else "B",)
        )
    try:
        if isinstance(model, (Recurrent, Bidirectional)):
            _layers.with_states(writer, model, x, _check.flag(state, "state"))
        else:
            if _check.flag(state, "state"):
                raise ValueError(f"state must be False for {type(model).__name__}")
            writer.output(_layers.write(writer, model, x), "y")
    except _layers.Inexpressible as error:
        raise ValueError(f"ONNX cannot express {error}") from None
    if writer.lengths is not None and not writer.uses_lengths:
        raise ValueError("lengths must be False: no layer takes them")
    replace(Path(path), writer.model().SerializeToString())


def _input(writer: Writer, model: Layer, given: Sequence[int | str] | None) -> Tensor:
    """The input "x", with a shape that is given or what the layers expect."""
    features, dtype, tokens = _features(model)
    if given is None:
        if features is None and not tokens:
            raise ValueError("input_shape must be given: no layer says how many features there are")
        axes: Shape = ("B", "T") if _batch_first(model) else ("T", "B")
        shape: Shape = axes if tokens or features is None else (*axes, features)
    else:
        shape = tuple(given)
        if not shape or any(isinstance(n, bool) or not isinstance(n, (int, str)) for n in shape):
            raise TypeError(f"input_shape must hold sizes and names, got {given!r}")
        if not tokens and (not isinstance(shape[-1], int) or shape[-1] != (features or shape[-1])):
            raise ValueError(f"input_shape must end in {features or 'a number of features'}, got {given!r}")
    return writer.input("x", np.int64 if tokens else dtype, shape)


def _chain(layer: Layer) -> list[Layer]:
    """A layer, or those of a Sequential."""
    return [leaf for part in layer for leaf in _chain(part)] if isinstance(layer, Sequential) else [layer]


def _features(model: Layer) -> tuple[int | None, Any, bool]:
    """Size of the last axis of the input, its dtype, and whether it holds integers."""
    for layer in _chain(model):
        if isinstance(layer, Embedding):
            return None, np.int64, True
        if isinstance(layer, Bidirectional):
            layer = layer.forward_layer
        for kind, name in (
            (Recurrent, "input_size"),
            (Linear, "in_features"),
            (LayerNorm, "features"),
            (MultiHeadAttention, "embed_dim"),
            (Transformer, "d_model"),
        ):
            if isinstance(layer, kind):
                return int(getattr(layer, name)), layer.dtype, False
    return None, np.dtype(np.float32), False


def _batch_first(model: Layer) -> bool:
    """What the first layer that has such an option says."""
    for layer in _chain(model):
        if isinstance(layer, Bidirectional):
            layer = layer.forward_layer
        if hasattr(layer, "batch_first"):
            return bool(layer.batch_first)
    return False
