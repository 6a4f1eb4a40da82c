"""What a model is trained on: sequences and targets, taken batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._parameters import as_array, as_real
from .._ragged import as_sequences, padded

Array = NDArray[Any]
Axes = int | tuple[int, int] | None


class Batch(NamedTuple):
    """Some of the sequences, as a model and a loss take them."""

    x: Array
    y: Array | None
    lengths: NDArray[np.int64] | None
    mask: NDArray[np.bool_] | None  # the steps that count, where targets are given for every step
    sample_weight: Array | None  # as targets, broadcastable


class Data:
    """Sequences with their targets, lengths and weights.

    Parameters
    ----------
    x : array_like, or list of N arrays (T_i, ...)
        A list (or an array of objects) holds one sequence an element.
    y : array_like, list of N arrays or None
        Targets for every sequence or for every step of every sequence.
    lengths : array_like of int, shape (N,), optional
        Steps of each sequence; for a list they are those of its arrays.
    sample_weight : array_like, shape (N,) or that of the steps, optional
    axes : (int, int or None)
        The axis of the sequences in x, 0 or 1, and in y: None finds it.
    """

    def __init__(
        self, x: Any, y: Any, lengths: ArrayLike | None, sample_weight: ArrayLike | None, axes: Any
    ) -> None:
        self.axis, axis_y = axes
        self.x = as_sequences(x, "x")
        if isinstance(self.x, list):
            if lengths is not None:
                raise ValueError("lengths must be None for a list of sequences, which have their own")
            self.count, self.lengths = len(self.x), np.array([len(part) for part in self.x], np.int64)
            self.ragged = len(set(self.lengths.tolist())) > 1
        else:
            if self.x.ndim == 0:
                raise ValueError("x must be an array of sequences or a list of them, got a number")
            if self.x.ndim == 1:
                self.axis = 0
            self.count = self.x.shape[self.axis]
            if not self.count:
                raise ValueError(f"x must hold one sequence at least, got shape {self.x.shape}")
            self.ragged = lengths is not None
            steps = self.x.shape[1 - self.axis] if self.x.ndim > 1 else 1
            read = _check.lengths(lengths, steps, self.count)
            self.lengths = np.full(self.count, steps) if read is None else read
        self.axis_y, self.per_step, self.y = self._targets(y, axis_y)
        self.sample_weight = self._weights(sample_weight)

    def _targets(self, y: Any, axis: int | None) -> tuple[int, bool, Array | list[Array] | None]:
        """The axis of the sequences in y, whether there is a target for every step, and y."""
        if y is None:
            return 0, False, None
        if isinstance(self.x, list):
            return self._targets_of_lists(y)
        y = as_array(y, "y")
        if y.ndim == 0:
            raise ValueError(f"y must hold targets of {self.count} sequences, got a number")
        per_step = self.x.ndim > 1 and y.ndim > 1 and y.shape[:2] == self.x.shape[:2]
        if axis is not None:
            per_step = per_step and axis == self.axis
        if not per_step and (axis or 0) >= y.ndim:
            raise ValueError(f"batch_axis must be an axis of y, got {axis} for shape {y.shape}")
        axis = self.axis if per_step else axis or 0
        if y.shape[axis] != self.count:
            steps = f" or shape {self.x.shape[:2]} and more" if self.x.ndim > 1 else ""
            raise ValueError(
                f"y must have {self.count} rows, one for each sequence of x along its axis {self.axis}"
                f"{steps}, got shape {y.shape} for x of shape {self.x.shape}"
            )
        return axis, per_step, y

    def _targets_of_lists(self, y: Any) -> tuple[int, bool, Array | list[Array]]:
        found = as_sequences(y, "y", of_numbers=True)
        if len(found) != self.count:
            raise ValueError(f"y must hold targets of {self.count} sequences, as x, got {len(found)}")
        if isinstance(found, np.ndarray):
            return 0, False, found
        if all(len(part) == steps for part, steps in zip(found, self.lengths, strict=True)):
            return self.axis, True, found
        if len({part.shape for part in found}) == 1:
            return 0, False, np.stack(found)
        where = next(i for i, part in enumerate(found) if len(part) != self.lengths[i])
        raise ValueError(
            f"y[{where}] must have {self.lengths[where]} steps, as x[{where}], got shape {found[where].shape}"
        )

    def _weights(self, value: ArrayLike | None) -> Array | None:
        if value is None:
            return None
        weights = as_real(value, np.dtype(np.float64), "sample_weight")
        if weights.shape == (self.count,):
            return weights
        steps = (
            None
            if not self.per_step or isinstance(self.x, list) or isinstance(self.y, list)
            else self.x.shape[:2]
        )
        if weights.shape != steps:
            wanted = f"({self.count},)" + (f" or {steps}" if steps is not None else "")
            raise ValueError(f"sample_weight must have shape {wanted}, got {weights.shape}")
        return weights

    def take(self, rows: NDArray[np.intp] | slice) -> Batch:
        """The batch of some sequences; with lengths, as long as the longest of them."""
        lengths = self.lengths[rows]
        longest = int(lengths.max(initial=0)) if self.ragged else None
        x = self._part(self.x, rows, self.axis, longest)
        y = None if self.y is None else self._part(self.y, rows, self.axis_y, longest, self.per_step)
        mask = None
        if longest is not None and self.per_step and lengths.min(initial=longest) < longest:
            mask = np.arange(longest) < lengths[:, np.newaxis]
            mask = mask if self.axis == 0 else mask.T
        return Batch(x, y, lengths if self.ragged else None, mask, self._weights_of(rows, longest))

    def pieces(self, batch: Batch, steps: int | None) -> Iterator[Batch]:
        """A batch cut into pieces of so many steps, one after the other; None: the batch."""
        total = batch.x.shape[1 - self.axis] if batch.x.ndim > 1 else 1
        if steps is None or total <= steps:
            yield batch
            return
        for start in range(0, total, steps):
            yield self._piece(batch, slice(start, min(start + steps, total)))

    def _piece(self, batch: Batch, steps: slice) -> Batch:
        def cut(array: Array) -> Array:
            if array.shape[1 - self.axis] == 1:  # a weight for all steps
                return array
            return array[steps] if self.axis == 1 else array[:, steps]

        lengths, mask, weights = batch.lengths, batch.mask, batch.sample_weight
        return Batch(
            cut(batch.x),
            None if batch.y is None else cut(batch.y),
            None if lengths is None else np.clip(lengths, steps.start, steps.stop) - steps.start,
            None if mask is None else cut(mask),
            None if weights is None else cut(weights),
        )

    def _weights_of(self, rows: NDArray[np.intp] | slice, longest: int | None) -> Array | None:
        weights = self.sample_weight
        if weights is None or weights.ndim == 2:
            return None if weights is None else self._part(weights, rows, self.axis, longest)
        weights = weights[rows]
        if not self.per_step:
            return weights
        return weights[:, np.newaxis] if self.axis == 0 else weights[np.newaxis]

    def _part(
        self,
        values: Array | list[Array],
        rows: NDArray[np.intp] | slice,
        axis: int,
        longest: int | None,
        with_steps: bool = True,
    ) -> Array:
        if isinstance(values, list):
            chosen = values[rows] if isinstance(rows, slice) else [values[i] for i in rows]
            steps = len(chosen[0]) if longest is None else longest
            return padded(chosen, steps, values[0], batch_first=axis == 0)
        if longest is not None and with_steps:
            values = values[:, :longest] if axis == 0 else values[:longest]
        if isinstance(rows, slice):
            return values[rows] if axis == 0 else values[:, rows]
        return values.take(rows, axis=axis)

    def subset(self, rows: NDArray[np.intp]) -> Data:
        """Some of the sequences, as data of their own."""
        part = object.__new__(Data)
        part.__dict__.update(self.__dict__)
        part.count, part.lengths = len(rows), self.lengths[rows]

        def chosen(values: Any, axis: int) -> Any:
            if values is None or isinstance(values, np.ndarray):
                return None if values is None else values.take(rows, axis=axis)
            return [values[i] for i in rows]

        part.x, part.y = chosen(self.x, self.axis), chosen(self.y, self.axis_y)
        weights = self.sample_weight
        part.sample_weight = chosen(weights, self.axis if weights is not None and weights.ndim == 2 else 0)
        return part

    def batches(self, size: int) -> Iterator[NDArray[np.intp] | slice]:
        """All sequences in their order, `size` at a time."""
        return (slice(at, min(at + size, self.count)) for at in range(0, self.count, size))

    def shuffled(
        self, size: int, rng: np.random.Generator, *, bucket: bool
    ) -> Iterator[NDArray[np.intp] | slice]:
        """All sequences in random order; with `bucket`, those of a batch are of like lengths."""
        order = rng.permutation(self.count)
        if not bucket:
            return (order[at : at + size] for at in range(0, self.count, size))
        order = order[np.argsort(self.lengths[order], kind="stable")]  # ties stay in random order
        starts = rng.permutation(np.arange(0, self.count, size))
        return (order[at : at + size] for at in starts.tolist())


def read_axes(axes: Axes, model: Any) -> tuple[int, int | None]:
    """Read `batch_axis`: the axis of the sequences in x, and in y, None if that is to be found."""
    if axes is None:
        return (0 if getattr(model, "batch_first", False) else 1), None
    pair = axes if isinstance(axes, tuple) else (axes, None)
    if len(pair) != 2 or pair[0] not in (0, 1) or pair[1] not in (0, 1, None):
        raise ValueError(f"batch_axis must be 0, 1, or two of them for x and y, got {axes!r}")
    return int(pair[0]), pair[1]
