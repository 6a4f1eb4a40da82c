"""The operators: for every name a function that makes, of a node, the function of its arrays.

A version is the opset that an operator was last changed in: what was an attribute may have become an input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._threads import get_num_threads
from ..layers._activations import erf
from . import _recurrent, _shaping
from ._room import check_room

if TYPE_CHECKING:
    from ._read import Node

Array = NDArray[Any]
Function = Callable[..., "tuple[Array | None, ...]"]


def _unary(function: Callable[[Array], Array]) -> Callable[[Node], Function]:
    return lambda node: lambda x: (np.asarray(function(x)),)


def _binary(function: Callable[[Array, Array], Array]) -> Callable[[Node], Function]:
    def run(a: Array, b: Array) -> tuple[Array]:
        check_room(np.broadcast_shapes(a.shape, b.shape))
        return (np.asarray(function(a, b)),)

    return lambda node: run


def _div(a: Array, b: Array) -> Array:
    """Integers are cut off towards zero."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if not b.all():
        raise ValueError("an integer is divided by zero")
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype)


def _sigmoid(x: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-x))
    return found


def matmul(a: Array, b: Array) -> Array:
    """The product of matrices, or of stacks of them; a stack times one matrix is one product."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"a product needs axes, got the shapes {a.shape} and {b.shape}")
    if a.ndim > 2 and b.ndim == 2:
        rows = matmul(a.reshape(-1, a.shape[-1]), b)
        return rows.reshape(*a.shape[:-1], b.shape[1])
    if a.ndim > 1 and b.ndim > 1:
        check_room((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))
    return np.asarray(a @ b)


def _matmul(node: Node) -> Function:
    return lambda a, b: (matmul(a, b),)


def _gemm(node: Node) -> Function:
    alpha, beta = node.attributes["alpha"], node.attributes["beta"]
    turn_a, turn_b = node.attributes["transA"], node.attributes["transB"]

    def run(a: Array, b: Array, c: Array | None = None) -> tuple[Array]:
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError(f"A and B must be matrices, got the shapes {a.shape} and {b.shape}")
        y = matmul(a.T if turn_a else a, b.T if turn_b else b)
        if alpha != 1:
            y = (y * alpha).astype(a.dtype, copy=False)
        if c is not None:
            part = np.broadcast_to(c, y.shape)
            y = y + (part if beta == 1 else (part * beta).astype(a.dtype, copy=False))
        return (y,)

    return run


def _softmax(log: bool) -> Callable[[Node], Function]:
    """Of one axis; before opset 13, of that axis and all that follow."""

    def build(node: Node) -> Function:
        axis, joins = node.attributes["axis"], node.version < 13

        def run(x: Array) -> tuple[Array]:
            at = _shaping.axis_of(axis, x.ndim)
            rows = x.reshape(*x.shape[:at], -1) if joins and x.size else x
            y = rows - rows.max(-1 if joins else at, keepdims=True, initial=-np.inf)
            e = np.exp(y)
            total = e.sum(-1 if joins else at, keepdims=True)
            return ((y - np.log(total) if log else e / total).reshape(x.shape),)

        return run

    return build


def _dropout(node: Node) -> Function:
    """In inference, where it is the identity.

    The mask says since opset 12 that all is kept; before, it was left open, and ONNX Runtime gives zeros.
    """

    def run(x: Array, ratio: Array | None = None, training: Array | None = None) -> tuple[Array, ...]:
        if training is not None and training.any():
            raise ValueError("training_mode must be False: only inference is supported")
        if len(node.outputs) < 2:
            return (x,)
        return x, np.full(x.shape, node.version >= 12, x.dtype if node.version < 10 else np.bool_)

    fixed = node.constants[2] if len(node.constants) > 2 else None
    if fixed is not None and fixed.any():
        raise ValueError("training_mode must be False: only inference is supported")
    return run


def _layer_normalization(node: Node) -> Function:
    """In the kernel, whose sums are those of the dtype of X, whatever stash_type asks."""
    # The shortest decimal that is this float32: what was meant, which in float64 makes a difference.
    eps, axis = float(str(np.float32(node.attributes["epsilon"]))), node.attributes["axis"]
    stash, more = (
        np.dtype(np.float32 if node.attributes["stash_type"] == 1 else np.float64),
        len(node.outputs) > 1,
    )

    def run(x: Array, scale: Array, shift: Array | None = None) -> tuple[Array | None, ...]:
        at = _shaping.axis_of(axis, x.ndim)
        normal = x.shape[at:]
        width = int(np.prod(normal))
        if width < 1:
            raise ValueError(f"X must have features to normalize, got the shape {x.shape}")
        rows = np.ascontiguousarray(x.reshape(-1, width))
        gain, bias = (
            np.ascontiguousarray(np.broadcast_to(part, normal)).reshape(-1)
            for part in (scale, np.zeros((), x.dtype) if shift is None else shift)
        )
        y = _core.empty(rows.shape, x.dtype)
        _core.norm_forward(rows, gain, bias, eps, y, None, get_num_threads())
        if not more:
            return (y.reshape(x.shape),)
        shape = (*x.shape[:at], *[1] * len(normal))
        mean = rows.mean(1)
        inverse = 1 / np.sqrt(((rows - mean[:, np.newaxis]) ** 2).mean(1) + x.dtype.type(eps))
        return y.reshape(x.shape), mean.reshape(shape).astype(stash), inverse.reshape(shape).astype(stash)

    return run


def _reduce(function: Callable[..., Any]) -> Callable[[Node], Function]:
    """Over axes that are an attribute, or from opset 18 on an input; by default over all."""

    def build(node: Node) -> Function:
        keep, idle = node.attributes["keepdims"], node.attributes.get("noop_with_empty_axes", 0)
        told = node.attributes.get("axes")

        def run(x: Array, axes: Array | None = None) -> tuple[Array]:
            found = told if axes is None else _shaping.numbers(axes, "axes")
            if not found:
                if idle:
                    return (x,)
                found = list(range(x.ndim))
            over = _shaping.axes_of(found, x.ndim)
            return (np.asarray(function(x, over, bool(keep)), x.dtype),)

        return run

    return build


def _mean(x: Array, axes: tuple[int, ...], keep: bool) -> Any:
    count = int(np.prod([x.shape[axis] for axis in axes]))
    total = x.sum(axes, keepdims=keep)
    return total / x.dtype.type(count) if x.dtype.kind == "f" else _div(total, np.array(count))


def _max(x: Array, axes: tuple[int, ...], keep: bool) -> Any:
    """Of nothing it is the lowest number of the dtype."""
    lowest = -np.inf if x.dtype.kind == "f" else x.dtype.kind == "i" and np.iinfo(x.dtype).min
    return x.max(axes, keepdims=keep, initial=lowest)


def _where(node: Node) -> Function:
    def run(condition: Array, x: Array, y: Array) -> tuple[Array]:
        check_room(np.broadcast_shapes(condition.shape, x.shape, y.shape))
        return (np.where(condition, x, y),)

    return run


def _cast(node: Node) -> Function:
    (dtype,) = (_shaping.DTYPES[node.attributes["to"]],)
    return lambda x: (x.astype(dtype, copy=False),)


def _range(node: Node) -> Function:
    def run(start: Array, limit: Array, delta: Array) -> tuple[Array]:
        if start.ndim or limit.ndim or delta.ndim or not delta:
            raise ValueError(
                f"start, limit and delta must be numbers, delta not 0, got {start}, {limit}, {delta}"
            )
        count = np.ceil((float(limit) - float(start)) / float(delta))
        if not np.isfinite(count):
            raise ValueError(f"start, limit and delta must be finite, got {start}, {limit}, {delta}")
        check_room((max(int(count), 0),))
        return ((start + np.arange(max(int(count), 0), dtype=start.dtype) * delta).astype(start.dtype),)

    return run


OPERATORS: dict[str, Callable[[Node], Function]] = {
    "RNN": _recurrent.build,
    "LSTM": _recurrent.build,
    "GRU": _recurrent.build,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _binary(np.add),
    "Mul": _binary(np.multiply),
    "Sub": _binary(np.subtract),
    "Div": _binary(_div),
    "Equal": _binary(np.equal),
    "Less": _binary(np.less),
    "Pow": _binary(lambda a, b: np.power(a, b).astype(a.dtype, copy=False)),
    "Sqrt": _unary(np.sqrt),
    "Relu": _unary(lambda x: np.maximum(x, x.dtype.type(0))),
    "Tanh": _unary(np.tanh),
    "Sigmoid": _unary(_sigmoid),
    "Sin": _unary(np.sin),
    "Erf": _unary(erf),
    "Softmax": _softmax(log=False),
    "LogSoftmax": _softmax(log=True),
    "LayerNormalization": _layer_normalization,
    "ReduceMean": _reduce(_mean),
    "ReduceMax": _reduce(_max),
    "Dropout": _dropout,
    "Where": _where,
    "Cast": _cast,
    "Range": _range,
    **_shaping.OPERATORS,
}
"""All that `load` accepts: those of exported sequence models, with Pow and Sqrt, of which layer norms are
made before opset 17, and Erf, Less, Range and Sin, which `save` writes."""

VIEWS = {"Cast", "Dropout", "Expand", "Identity", "ReduceMax", "ReduceMean", "Reshape", "Slice", "Split"}
VIEWS |= {"Squeeze", "Transpose", "Unsqueeze"}
"""Those whose outputs may lie in the memory of an input."""
