"""A model as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ._layer import Layer
from .layers.embedding import Embedding


def summary(
    model: Layer,
    input_shape: Sequence[int] | None = None,
    *,
    print_fn: Callable[[str], Any] = print,
) -> None:
    """Print a model as a table: its layers, the shapes of their outputs, and how many parameters they have.

    Parameters
    ----------
    model : Layer
    input_shape : sequence of int, optional
        Of an input, such as (T, B, features), or (T, B) of tokens. Without it, no shapes are shown.
    print_fn : callable, default print
        What the table is given to, as one str.

    Raises
    ------
    TypeError, ValueError
        `model` is no layer, or does not take an input of this shape.

    Examples
    --------
    >>> from pyrnn import GRU, LastStep, Linear, Sequential
    >>> model = Sequential(Embedding(50, 8), GRU(8, 16), LastStep(), Linear(16, 2))
    >>> summary(model, (20, 4))
    Layer                Output shape  Parameters
    ---------------------------------------------
    0  Embedding(50, 8)  (20, 4, 8)           400
    1  GRU(8, 16)        (20, 4, 16)        1,248
    2  LastStep()        (4, 16)                0
    3  Linear(16, 2)     (4, 2)                34
    ---------------------------------------------
    1,682 parameters, 6.73 kB
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer, got {model!r}")
    rows: Sequence[tuple[str, ...]] = _rows(model, "", _input(model, input_shape))
    columns = ["Layer", "Output shape", "Parameters"]
    if input_shape is None:
        rows = [(name, count) for name, _, count in rows]
        del columns[1]
    print_fn(_table(columns, rows, model))


def _input(model: Layer, shape: Sequence[int] | None) -> Any:
    """Zeros of a kind that the model takes."""
    if shape is None:
        return None
    first: Any = model
    while isinstance(first, Iterable):  # a Sequential
        first = next(iter(first))
    if not isinstance(shape, (tuple, list)) or not all(isinstance(n, (int, np.integer)) for n in shape):
        raise TypeError(f"input_shape must be a tuple of integers, got {shape!r}")
    return np.zeros(tuple(shape), np.int64 if isinstance(first, Embedding) else np.float32)


def _rows(layer: Layer, name: str, x: Any) -> list[tuple[str, str, str]]:
    """A row for every layer that is no Sequential."""
    rows: list[tuple[str, str, str]] = []
    if isinstance(layer, Iterable):
        for i, part in enumerate(layer):
            rows += _rows(part, f"{name}{i}.", x)
            x = None if x is None else _output(part, x)
        return rows
    shape = "" if x is None else str(np.shape(_output(layer, x)))
    label = f"{name.rstrip('.')}  {layer!r}" if name else repr(layer)
    return [(label, shape, f"{layer.params.size:,}")]


def _output(layer: Layer, x: Any) -> Any:
    found = layer(x)
    return found[0] if isinstance(found, tuple) else found


def _table(columns: list[str], rows: Sequence[tuple[str, ...]], model: Layer) -> str:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        *texts, number = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join([*texts, number.strip().rjust(widths[-1])])

    rule = "-" * len(line(columns))
    bytes_ = sum(array.nbytes for array in model.params.values())
    total = f"{model.params.size:,} parameters, {_size(bytes_)}"
    return "\n".join([line(columns), rule, *map(line, rows), rule, total])


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
