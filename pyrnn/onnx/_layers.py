"""What each layer is in the words of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._layer import Layer
from .._stack import Recurrent
from ..layers import (
    Bidirectional,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PositionalEncoding,
    Sequential,
    TransformerEncoderLayer,
)
from ..recurrent import GRU, LSTM, RNN
from . import _stacks
from ._graph import Tensor, Writer
from ._stacks import Inexpressible

Array = NDArray[Any]

__all__ = ["Inexpressible", "with_states", "write"]


def write(writer: Writer, layer: Layer, x: Tensor) -> Tensor:
    """Write a layer and return its output, of recurrent layers without their states.

    Raises
    ------
    Inexpressible
        ONNX has no words for it.
    ValueError
        The layer does not take an input of this shape.
    """
    return WRITERS[type(layer)](writer, layer, x)


def with_states(writer: Writer, layer: Any, x: Tensor, state: bool) -> None:
    """Write a recurrent layer or a Bidirectional alone, with its states as outputs and, if asked, inputs."""
    halves = [layer] if isinstance(layer, Recurrent) else [layer.forward_layer, layer.backward_layer]
    first = x if x.dtype == layer.dtype else writer.cast(x, layer.dtype)
    found = []
    for half, suffix in zip(halves, ("", "_reverse"), strict=False):
        initial = _stacks.initial_states(writer, half, first, suffix) if state else None
        found.append(_stacks.stack(writer, half, first, initial))
    if isinstance(layer, Recurrent):
        writer.output(found[0][0], "y")
    else:
        _merged(writer, layer, found[0][0], found[1][0])
    for (_, states), suffix in zip(found, ("", "_reverse"), strict=False):
        for tensor, name in zip(states, ("h_n", "c_n"), strict=False):
            writer.output(tensor, name + suffix)


def _merged(writer: Writer, layer: Bidirectional, forward: Tensor, backward: Tensor) -> None:
    if layer.merge_mode is None:
        writer.output(forward, "y_forward")
        writer.output(backward, "y_backward")
    else:
        writer.output(_merge(writer, layer.merge_mode, forward, backward), "y")


def _merge(writer: Writer, mode: str, forward: Tensor, backward: Tensor) -> Tensor:
    shape = forward.shape
    if mode == "concat":
        size = forward.shape[-1]
        assert isinstance(size, int)
        return writer.node("Concat", [forward, backward], (*shape[:-1], 2 * size), axis=-1)
    y = writer.node("Mul" if mode == "mul" else "Add", [forward, backward], shape)
    return writer.node("Mul", [y, writer.constant(0.5, y.dtype)], shape) if mode == "mean" else y


def _recurrent(writer: Writer, layer: Recurrent, x: Tensor) -> Tensor:
    return _stacks.stack(writer, layer, writer.cast(x, layer.dtype), None)[0]


def _bidirectional(writer: Writer, layer: Bidirectional, x: Tensor) -> Tensor:
    if layer.merge_mode is None:
        raise Inexpressible("Bidirectional with merge_mode=None among other layers: it has two outputs")
    halves = layer.forward_layer, layer.backward_layer
    return _merge(writer, layer.merge_mode, *(_recurrent(writer, half, x) for half in halves))


def _sequential(writer: Writer, layer: Sequential, x: Tensor) -> Tensor:
    for part in layer:
        x = write(writer, part, x)
    return x


def _features(layer: Layer, x: Tensor, size: int) -> None:
    if x.shape[-1:] != (size,):
        raise ValueError(f"{layer!r} takes {size} features, but is given the shape {x.shape}")


def _linear(writer: Writer, layer: Linear, x: Tensor) -> Tensor:
    _features(layer, x, layer.in_features)
    return writer.affine(writer.cast(x, layer.dtype), layer.params["weight"], layer.params.get("bias"))


def _embedding(writer: Writer, layer: Embedding, x: Tensor) -> Tensor:
    if x.dtype.kind != "i":
        raise ValueError(f"{layer!r} takes integers, but is given {x.dtype}")
    weight = writer.constant(layer.params["weight"])
    return writer.node("Gather", [weight, x], (*x.shape, layer.embedding_dim), axis=0)


def _layer_norm(writer: Writer, layer: LayerNorm, x: Tensor) -> Tensor:
    _features(layer, x, layer.features)
    gain = layer.params["weight"] if "weight" in layer.params else np.ones(layer.features, layer.dtype)
    parts = [writer.constant(a) for a in (gain, layer.params.get("bias")) if a is not None]
    # In float64 ONNX would have the mean in float32 unless it is told 11, double.
    stash = 11 if layer.dtype == np.float64 else 1
    told = {"axis": -1, "epsilon": layer.eps, "stash_type": stash}
    return writer.node("LayerNormalization", [writer.cast(x, layer.dtype), *parts], x.shape, **told)


def _dropout(writer: Writer, layer: Dropout, x: Tensor) -> Tensor:
    return x


def _last_step(writer: Writer, layer: LastStep, x: Tensor) -> Tensor:
    _steps(layer, x)
    if layer.batch_first:
        x = writer.transpose(x, 1, 0, 2)
    if not layer.bidirectional:
        return _step(writer, x, last=True)
    size = x.shape[2]
    if not isinstance(size, int) or size % 2:
        raise ValueError(f"{layer!r} takes an even number of features, but is given the shape {x.shape}")
    halves = writer.nodes_of("Split", [x], [(*x.shape[:2], size // 2)] * 2, x.dtype, axis=2)
    parts: list[Tensor | None] = [_step(writer, half, last=k == 0) for k, half in enumerate(halves)]
    return writer.node("Concat", parts, (x.shape[1], size), axis=1)


def _step(writer: Writer, x: Tensor, last: bool) -> Tensor:
    """The last valid step of (T, B, F), or the first; zeros of a sequence without steps."""
    shape = x.shape[1:]
    first = writer.constant(0, np.int64)
    if writer.lengths is None:
        return writer.node("Gather", [x, writer.constant(-1, np.int64) if last else first], shape, axis=0)
    lengths = writer.cast(writer.told_lengths(), np.int64)
    empty = writer.node("Equal", [lengths, first], lengths.shape, np.bool_)
    if last:
        # Row (length - 1) * B + b of the steps of all sequences; of one without steps, any.
        one = writer.constant(1, np.int64)
        steps = writer.node("Sub", [lengths, one], lengths.shape)
        at = writer.node("Where", [empty, first, steps], lengths.shape, np.int64)
        rows = writer.node("Mul", [at, writer.side(x, 1)], lengths.shape)
        rows = writer.node("Add", [rows, writer.count(x, 1)], lengths.shape)
        size = x.shape[2]
        assert isinstance(size, int)
        flat = writer.reshape(x, ("T*B", size), [-1, size])
        found = writer.node("Gather", [flat, rows], shape, axis=0)
    else:
        found = writer.node("Gather", [x, first], shape, axis=0)
    zero = writer.constant(0, x.dtype)
    return writer.node("Where", [writer.unsqueeze(empty, 1), zero, found], shape, x.dtype)


def _steps(layer: Layer, x: Tensor) -> None:
    if len(x.shape) != 3 or not isinstance(x.shape[2], int) or x.dtype.kind != "f":
        raise ValueError(f"{layer!r} takes sequences of features, but is given the shape {x.shape}")


def _positional_encoding(writer: Writer, layer: PositionalEncoding, x: Tensor) -> Tensor:
    """Sine of t / 10000^(2i / E), and cosine as the sine a quarter turn later; in float64, as the layer."""
    _steps(layer, x)
    size = x.shape[2]
    assert isinstance(size, int)
    even = np.arange(size) // 2 * 2
    steps = writer.cast(writer.count(x, 1 if layer.batch_first else 0), np.float64)
    shape = (steps.shape[0], size)
    angles = writer.node(
        "Div", [writer.unsqueeze(steps, 1), writer.constant(10000.0 ** (even / size))], shape
    )
    turned = writer.node("Add", [angles, writer.constant(np.arange(size) % 2 * (np.pi / 2))], shape)
    table = writer.cast(writer.node("Sin", [turned], shape), x.dtype)
    return writer.node("Add", [x, table if layer.batch_first else writer.unsqueeze(table, 1)], x.shape)


def _attention(writer: Writer, layer: MultiHeadAttention, x: Tensor) -> Tensor:
    """Self-attention; what lies beyond the lengths is not looked at."""
    _steps(layer, x)
    _features(layer, x, layer.embed_dim)
    params, heads, E = layer.params, layer.num_heads, layer.embed_dim
    x = writer.cast(x, layer.dtype)
    if not layer.batch_first:
        x = writer.transpose(x, 1, 0, 2)
    B, T, _ = x.shape
    joined = writer.affine(x, params["in_proj_weight"], params.get("in_proj_bias"))
    roles = writer.reshape(joined, (B, T, 3, heads, E // heads), [0, 0, 3, heads, E // heads])
    roles = writer.transpose(roles, 2, 0, 3, 1, 4)  # (3, B, heads, T, E / heads)
    parts = writer.nodes_of("Split", [roles], [(1, *roles.shape[1:])] * 3, x.dtype, axis=0)
    axis = writer.constant([0], np.int64)
    q, k, v = (writer.node("Squeeze", [part, axis], roles.shape[1:]) for part in parts)
    q = writer.node("Mul", [q, writer.constant((E // heads) ** -0.5, x.dtype)], q.shape)
    scores = writer.node("MatMul", [q, writer.transpose(k, 0, 1, 3, 2)], (B, heads, T, T))
    if writer.lengths is None:
        p = writer.node("Softmax", [scores], scores.shape, axis=-1)
    else:
        lengths = writer.cast(writer.told_lengths(), np.int64)
        valid = writer.node(
            "Less", [writer.unsqueeze(writer.count(x, 1), 0), writer.unsqueeze(lengths, 1)], (B, T), np.bool_
        )
        keys, zero = writer.unsqueeze(valid, 1, 2), writer.constant(0, x.dtype)
        lowest = writer.constant(-np.inf, x.dtype)
        scores = writer.node("Where", [keys, scores, lowest], scores.shape, x.dtype)
        p = writer.node("Softmax", [scores], scores.shape, axis=-1)
        p = writer.node("Where", [keys, p, zero], p.shape, x.dtype)  # NaN where there are no keys
        v = writer.node("Where", [writer.unsqueeze(valid, 1, 3), v, zero], v.shape, x.dtype)
    y = writer.transpose(writer.node("MatMul", [p, v], v.shape), 0, 2, 1, 3)
    y = writer.reshape(y, x.shape, [0, 0, E])
    y = writer.affine(y, params["out_proj.weight"], params.get("out_proj.bias"))
    return y if layer.batch_first else writer.transpose(y, 1, 0, 2)


def _transformer(writer: Writer, layer: TransformerEncoderLayer, x: Tensor) -> Tensor:
    x = writer.cast(x, layer.dtype)

    def add(a: Tensor, b: Tensor) -> Tensor:
        return writer.node("Add", [a, b], a.shape)

    def network(x: Tensor) -> Tensor:
        inner = _linear(writer, layer.linear1, x)
        if layer.activation == "relu":
            return _linear(writer, layer.linear2, writer.node("Relu", [inner], inner.shape))
        shape, half = inner.shape, writer.constant(0.5, inner.dtype)
        scaled = writer.node("Mul", [inner, writer.constant(0.5**0.5, inner.dtype)], shape)
        below = writer.node("Erf", [scaled], shape)
        below = writer.node("Add", [writer.node("Mul", [below, half], shape), half], shape)
        return _linear(writer, layer.linear2, writer.node("Mul", [inner, below], shape))

    if layer.norm_first:
        x = add(x, _attention(writer, layer.self_attn, _layer_norm(writer, layer.norm1, x)))
        return add(x, network(_layer_norm(writer, layer.norm2, x)))
    x = _layer_norm(writer, layer.norm1, add(x, _attention(writer, layer.self_attn, x)))
    return _layer_norm(writer, layer.norm2, add(x, network(x)))


WRITERS: dict[type[Layer], Callable[[Writer, Any, Tensor], Tensor]] = {
    LSTM: _recurrent,
    GRU: _recurrent,
    RNN: _recurrent,
    Bidirectional: _bidirectional,
    Sequential: _sequential,
    Linear: _linear,
    Embedding: _embedding,
    LayerNorm: _layer_norm,
    Dropout: _dropout,
    LastStep: _last_step,
    PositionalEncoding: _positional_encoding,
    MultiHeadAttention: _attention,
    TransformerEncoderLayer: _transformer,
}
