"""The operators that move numbers and do not compute: shapes, slices, constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._room import check_room
from ._tensors import DTYPES

if TYPE_CHECKING:
    from ._read import Node

Array = NDArray[Any]
Function = Callable[..., "tuple[Array | None, ...]"]


def axis_of(axis: int, ndim: int) -> int:
    """Return an axis counted from the front.

    Raises
    ------
    ValueError
        There is no such axis.
    """
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis must lie between {-ndim} and {ndim - 1}, got {axis}")
    return axis % ndim


def axes_of(axes: list[int], ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front, each once.

    Raises
    ------
    ValueError
        There is no such axis, or one comes twice.
    """
    found = tuple(axis_of(axis, ndim) for axis in axes)
    if len(set(found)) < len(found):
        raise ValueError(f"axes must be distinct, got {axes}")
    return found


def numbers(array: Array, name: str) -> list[int]:
    """Read an input that is a list of integers.

    Raises
    ------
    ValueError
        It has more axes than one.
    """
    if array.ndim > 1:
        raise ValueError(f"{name} must have one axis, got the shape {array.shape}")
    return [int(n) for n in array.reshape(-1)]


def _gather(node: Node) -> Function:
    axis = node.attributes["axis"]

    def run(data: Array, indices: Array) -> tuple[Array]:
        at = axis_of(axis, data.ndim)
        size = data.shape[at]
        check_room((*data.shape[:at], *indices.shape, *data.shape[at + 1 :]))
        if indices.size and not -size <= indices.min() <= indices.max() < size:
            raise ValueError(f"indices must lie between {-size} and {size - 1}")
        return (np.asarray(data.take(indices, at)),)

    return run


def _transpose(node: Node) -> Function:
    perm = node.attributes.get("perm")

    def run(x: Array) -> tuple[Array]:
        if perm is not None and sorted(perm) != list(range(x.ndim)):
            raise ValueError(f"perm must name the {x.ndim} axes, got {perm}")
        return (x.transpose(perm),)

    return run


def _squeeze(node: Node) -> Function:
    told = node.attributes.get("axes")

    def run(x: Array, axes: Array | None = None) -> tuple[Array]:
        found = told if axes is None else numbers(axes, "axes")
        return (x.squeeze(None if found is None else axes_of(found, x.ndim)),)

    return run


def _unsqueeze(node: Node) -> Function:
    told = node.attributes.get("axes")

    def run(x: Array, axes: Array | None = None) -> tuple[Array]:
        found: list[int] = list(told or ()) if axes is None else numbers(axes, "axes")
        return (np.expand_dims(x, axes_of(found, x.ndim + len(found))),)

    return run


def _reshape(node: Node) -> Function:
    literal = node.attributes.get("allowzero", 0)

    def run(x: Array, shape: Array) -> tuple[Array]:
        sides = numbers(shape, "shape")
        if not literal:
            if any(n == 0 and i >= x.ndim for i, n in enumerate(sides)):
                raise ValueError(f"shape {sides} keeps a side that {x.shape} does not have")
            sides = [x.shape[i] if n == 0 else n for i, n in enumerate(sides)]
        if any(n < -1 for n in sides):
            raise ValueError(f"shape must hold sizes, 0 or -1, got {sides}")
        return (x.reshape(sides),)

    return run


def _concat(node: Node) -> Function:
    axis = node.attributes["axis"]

    def run(*arrays: Array) -> tuple[Array]:
        at = axis_of(axis, arrays[0].ndim)
        check_room((sum(a.size for a in arrays),))
        return (np.concatenate(arrays, at),)

    return run


def _slice(node: Node) -> Function:
    """Starts, ends and axes are attributes before opset 10, and steps are 1."""
    given = [node.attributes.get(name) for name in ("starts", "ends", "axes")]

    def run(x: Array, *inputs: Array | None) -> tuple[Array]:
        found: list[list[int] | None] = list(given)
        if node.version >= 10:
            names = ("starts", "ends", "axes", "steps")
            found = [None if a is None else numbers(a, n) for n, a in zip(names, inputs, strict=False)]
        starts, ends, axes, steps = found + [None] * (4 - len(found))
        assert starts is not None and ends is not None
        axes = list(range(len(starts))) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        if not len(starts) == len(ends) == len(axes) == len(steps):
            raise ValueError("starts, ends, axes and steps must have one length")
        index = [slice(None)] * x.ndim
        for at, *bounds in zip(axes_of(axes, x.ndim), starts, ends, steps, strict=True):
            index[at] = slice(*bounds)
        return (x[tuple(index)],)

    return run


def _split(node: Node) -> Function:
    """Sizes are an attribute before opset 13, their number one from 18 on."""
    axis, count = node.attributes["axis"], node.attributes.get("num_outputs", len(node.outputs))
    told = node.attributes.get("split")

    def run(x: Array, split: Array | None = None) -> tuple[Array, ...]:
        at = axis_of(axis, x.ndim)
        sizes = told if split is None else numbers(split, "split")
        if sizes is None:
            if count < 1 or (node.version < 18 and x.shape[at] % count):
                raise ValueError(f"axis {axis} of {x.shape} cannot be split into {count} equal parts")
            part = -(-x.shape[at] // count)
            sizes = [max(min(part, x.shape[at] - i * part), 0) for i in range(count)]
        if len(sizes) != len(node.outputs) or any(n < 0 for n in sizes) or sum(sizes) != x.shape[at]:
            raise ValueError(f"axis {axis} of {x.shape} cannot be split into {sizes}")
        return tuple(np.split(x, np.cumsum(sizes)[:-1], at))

    return run


def _expand(node: Node) -> Function:
    def run(x: Array, shape: Array) -> tuple[Array]:
        found = np.broadcast_shapes(x.shape, tuple(numbers(shape, "shape")))
        check_room(found)
        return (np.broadcast_to(x, found),)

    return run


def _shape(node: Node) -> Function:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return lambda x: (np.array(x.shape[start:end], np.int64),)


def _constant(node: Node) -> Function:
    ((name, value),) = node.attributes.items()
    array = value if name == "value" else np.array(value, np.float32 if "float" in name else np.int64)
    return lambda: (array,)


def _constant_of_shape(node: Node) -> Function:
    value = node.attributes.get("value")
    if value is None:
        value = np.zeros(1, np.float32)
    if value.size != 1:
        raise ValueError(f"value must be one number, got the shape {value.shape}")

    def run(shape: Array) -> tuple[Array]:
        sides = numbers(shape, "input")
        if any(n < 0 for n in sides):
            raise ValueError(f"a shape must hold sizes, got {sides}")
        check_room(tuple(sides))
        return (np.full(sides, value.reshape(()), value.dtype),)

    return run


def _identity(node: Node) -> Function:
    return lambda x: (x,)


OPERATORS: dict[str, Callable[[Node], Function]] = {
    "Gather": _gather,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Expand": _expand,
    "Shape": _shape,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": _identity,
}

__all__ = ["DTYPES", "OPERATORS", "axes_of", "axis_of", "numbers"]
