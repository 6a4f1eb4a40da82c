"""The parameters of a layer: one flat buffer, named read-only views, and a count of the writes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _core

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register

# How many numbers may still be allocated for parameters; None for any.
_left: ContextVar[int | None] = ContextVar("_left", default=None)


@contextmanager
def limited(count: int) -> Iterator[None]:
    """Within this context, parameters of `count` numbers in all may be made; more are a ValueError."""
    token = _left.set(count)
    try:
        yield
    finally:
        _left.reset(token)


def as_float_dtype(dtype: DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """Read a `dtype` argument: float32 or float64 in native byte order.

    Raises
    ------
    TypeError
        `dtype` is None or names no NumPy dtype.
    ValueError
        It names another dtype.
    """
    try:
        found = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        found = None
    if found is None:
        raise TypeError(f"{name} must be float32 or float64, got {dtype!r}")
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"{name} must be float32 or float64, got {found}")
    return found


def as_array(value: ArrayLike, name: str) -> NDArray[Any]:
    """Convert `value` to an array of whatever dtype it has, without a copy when it is one already.

    Raises
    ------
    TypeError
        `value` cannot be converted.
    ValueError
        `value` is a ragged nest of sequences.
    """
    try:
        return _seen_by_numpy(value)
    except ValueError as error:
        raise ValueError(f"{name} must be array_like, got {type(value).__name__}: {error}") from error
    except Exception as error:  # whatever a foreign __array__ raises, e.g. a tensor that requires grad
        raise TypeError(f"{name} must be array_like, got {type(value).__name__}: {error}") from error


def _seen_by_numpy(value: Any) -> NDArray[Any]:
    """The memory of whatever holds an array, or an array of what else there is."""
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    if type(value).__module__.partition(".")[0] == "pyarrow" and hasattr(value.type, "list_size"):
        shape = [len(value)]  # NumPy would make an array of arrays of it
        while hasattr(value.type, "list_size"):
            if value.null_count:
                raise ValueError(f"{value.null_count} of its lists are null")
            shape.append(value.type.list_size)
            value = value.flatten()
        flat: NDArray[Any] = value.to_numpy(zero_copy_only=True)
        return flat.reshape(shape)
    return np.asarray(value)


def as_real(value: ArrayLike, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Convert `value` to an array of `dtype`, without a copy when it is one already.

    Raises
    ------
    TypeError
        `value` is no array of real numbers: complex, object, string, date, ...
    ValueError
        `value` is a ragged nest of sequences.
    """
    if type(value) is np.ndarray and value.dtype is dtype:  # the common case, in a hurry
        return value
    array = as_array(value, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array.astype(dtype, copy=False)


def as_floating(value: ArrayLike, name: str) -> NDArray[Any]:
    """Convert `value` to an array of float32 or float64, whichever it has, in native byte order.

    Raises
    ------
    TypeError
        It has another dtype.
    ValueError
        `value` is a ragged nest of sequences.
    """
    array = as_array(value, name)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    return array


class NamedArrays(Mapping[str, NDArray[Any]]):
    """A mapping of names to arrays that can be written only through it: Parameters, or several joined.

    A subclass says how a value is checked (`_convert`), how checked ones are written (`_store`) and in which
    Parameters the arrays live (`_leaves`).
    """

    __slots__ = ()

    @property
    @abstractmethod
    def version(self) -> int:
        """A number that grows with every write."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """The dtype of every array."""

    @property
    def size(self) -> int:
        """How many numbers the arrays hold together, gaps not counted."""
        return sum(array.size for array in self.values())

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        self[name]  # KeyError for a name that is not there
        self._store({name: self._convert(name, value, name)})

    def __eq__(self, other: object) -> bool:  # Mapping's would compare arrays, which have no truth value
        return self is other

    __hash__ = object.__hash__

    def update(self, values: Mapping[str, ArrayLike]) -> None:
        """Write several parameters: all of them, or none if anything is wrong.

        Parameters
        ----------
        values : mapping of str to array_like
            Names that exist, each with a value of exactly its shape, real and castable to `dtype`.

        Raises
        ------
        TypeError
            `values` is no mapping, or holds something that is not an array of real numbers.
        ValueError
            A name is unknown or a shape is wrong. The message lists everything that is.
        """
        self._assign(values, "values", complete=False)

    def copy(self) -> dict[str, NDArray[Any]]:
        """Return a dict of independent, writeable copies of the arrays."""
        return {name: array.copy() for name, array in self.items()}

    def _assign(self, values: Mapping[str, ArrayLike], argument: str, *, complete: bool) -> None:
        """Write `values`, which `complete` obliges to name every parameter; or raise, and write nothing."""
        if not isinstance(values, Mapping):
            raise TypeError(f"{argument} must be a mapping of names to arrays, got {type(values).__name__}")
        errors: list[Exception] = []
        missing = [name for name in self if name not in values] if complete else []
        unexpected = [name for name in values if name not in self]
        if missing:
            errors.append(ValueError(f"missing {', '.join(map(repr, missing))}"))
        if unexpected:
            errors.append(ValueError(f"unexpected {', '.join(map(repr, unexpected))}"))
        arrays: dict[str, NDArray[Any]] = {}
        for name in self:
            if name in values:
                try:
                    arrays[name] = self._convert(name, values[name], name)
                except (TypeError, ValueError) as error:
                    errors.append(error)
        if errors:
            kind = TypeError if all(isinstance(error, TypeError) for error in errors) else ValueError
            raise kind(f"{argument} does not fit: " + "; ".join(map(str, errors)))
        self._store(arrays)

    @abstractmethod
    def _convert(self, name: str, value: ArrayLike, label: str) -> NDArray[Any]:
        """Return `value` as an array for `name` that shares no memory with any that is written; or raise."""

    @abstractmethod
    def _store(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write what `_convert` returned."""

    @abstractmethod
    def _leaves(self) -> list[tuple[str, Parameters]]:
        """Return the Parameters that hold the arrays, each with a pattern of its names here, "0.{}" say."""


class Parameters(NamedArrays):
    """Named arrays of one dtype in one flat buffer, which can be written only through this mapping.

    Layers keep their weights packed for the kernels. A pack is valid for one `version`, so
    every write has to be seen: ``params[name]`` is a live view that NumPy refuses to make writeable,
    ``params[name] = value`` and ``params.update(...)`` copy in and count the write.
    ``params[name] += 1`` and ``params[name][0] = 1`` therefore raise; write
    ``params[name] = params[name] + 1`` instead. Two objects are equal only if they are the same one.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Names and shapes, in the order of the buffer. May be empty.
    dtype : float32 or float64

    Raises
    ------
    TypeError, ValueError
        `dtype` is neither float32 nor float64.

    Notes
    -----
    Every array starts at a multiple of 64 bytes; the gaps are zeros. Pickling and copying keep the values
    and give an independent object.
    """

    __slots__ = ("_flat", "_frozen", "_names", "_shapes", "_spans", "_version")

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: DTypeLike) -> None:
        kind = as_float_dtype(dtype)
        line = ALIGNMENT // kind.itemsize
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._spans: dict[str, slice] = {}
        end = 0
        for name, shape in self._shapes.items():
            size = math.prod(shape)
            self._spans[name] = slice(end, end + size)
            end += -(-size // line) * line
        if (left := _left.get()) is not None:
            _left.set(left := left - sum(map(math.prod, self._shapes.values())))
            if left < 0:
                raise ValueError(f"parameters of shapes {list(self._shapes.values())} are more than expected")
        self._flat = _aligned_zeros(max(end, line), kind)  # a memoryview of nothing would be refused below
        # setflags(write=True) asks the memoryview in the end, and that stays read-only.
        self._frozen = np.frombuffer(self._flat.data.toreadonly(), kind)
        self._names = {n: self._frozen[span].reshape(self._shapes[n]) for n, span in self._spans.items()}
        self._version = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of every array."""
        return self._flat.dtype

    @property
    def version(self) -> int:
        """A number that grows with every write."""
        return self._version

    @property
    def flat(self) -> NDArray[Any]:
        """Read-only live view of the whole buffer: the arrays in order, with zeros in the gaps."""
        return self._frozen

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self._names[name]
        except KeyError:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self._names) or 'none'}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def get(self, name: str, default: Any = None) -> Any:
        return self._names.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Parameters({self._shapes}, {self.dtype.name!r})"

    def _convert(self, name: str, value: ArrayLike, label: str) -> NDArray[Any]:
        array = as_real(value, self.dtype, label)
        if array.shape != self._shapes[name]:
            raise ValueError(f"{label} must have shape {self._shapes[name]}, got {array.shape}")
        # Values may be views of this very buffer, e.g. when two parameters are swapped.
        return array.copy() if np.may_share_memory(array, self._flat) else array

    def _store(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        with self._write() as flat:
            for name, array in arrays.items():
                np.copyto(flat[self._spans[name]].reshape(array.shape), array)

    def _leaves(self) -> list[tuple[str, Parameters]]:
        return [("{}", self)]

    def _renew(self, arrays: list[NDArray[Any]]) -> None:
        """Write C-contiguous arrays, one for each parameter in order; nothing where not a bit has changed."""
        own = list(self._names.values())
        if _core.same(arrays, own):
            return
        self._version += 1  # as in _write, without what a generator costs
        try:
            _core.overwrite(own, arrays)
        finally:
            self._version += 1

    @contextmanager
    def _write(self) -> Iterator[NDArray[Any]]:
        """Yield the writeable flat buffer, for optimizers; not to be kept beyond the with block.

        The version grows on entry, so that a pack made before is stale while the block runs, and again on
        exit, so that one made meanwhile is stale afterwards.
        """
        self._version += 1
        try:
            yield self._flat
        finally:
            self._version += 1

    def __getstate__(self) -> tuple[dict[str, tuple[int, ...]], str, dict[str, NDArray[Any]]]:
        return self._shapes, self.dtype.name, self.copy()

    def __setstate__(self, state: tuple[dict[str, tuple[int, ...]], str, dict[str, NDArray[Any]]]) -> None:
        shapes, dtype, arrays = state
        Parameters.__init__(self, shapes, dtype)
        self._assign(arrays, "state", complete=True)


def _aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros whose first element lies at a multiple of ALIGNMENT bytes."""
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)
