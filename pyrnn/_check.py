"""What a call accepts: every ValueError and TypeError about an argument names it and quotes what it got."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._parameters import as_array, as_real


def strided(value: ArrayLike, dtype: np.dtype[Any], name: str, shape: Sequence[int | None]) -> NDArray[Any]:
    """Read an array of `dtype` and `shape` (None: any size) whose last axis is contiguous.

    Copied only if the kernels could not walk over it: any stride in time and batch is kept.

    Raises
    ------
    TypeError
        `value` does not hold real numbers.
    ValueError
        It has another shape.
    """
    array = as_real(value, dtype, name)
    if array.shape != shape and (
        array.ndim != len(shape)
        or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True))
    ):
        wanted = ", ".join("*" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    return walkable(array)


def walkable(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a copy if the kernels could not walk over it: its last axis is to be contiguous."""
    if array.flags.carray:  # the common case
        return array
    if not array.flags.aligned or any(step % array.itemsize for step in array.strides):
        return array.copy()
    return (
        array if array.shape[-1] == 1 or array.strides[-1] == array.itemsize else np.ascontiguousarray(array)
    )


def shaped(value: ArrayLike, dtype: np.dtype[Any], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read an array of `dtype` and exactly `shape`, such as the gradient of an output; any strides.

    Raises
    ------
    TypeError
        `value` does not hold real numbers.
    ValueError
        It has another shape.
    """
    array = as_real(value, dtype, name)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def features(value: ArrayLike, dtype: np.dtype[Any], name: str, size: int) -> NDArray[Any]:
    """Read an array of `dtype` whose last axis has `size` elements, after any others.

    Raises
    ------
    TypeError
        `value` does not hold real numbers.
    ValueError
        It has no axis, or its last one another size.
    """
    array = as_real(value, dtype, name)
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(f"{name} must have shape (..., {size}), got {array.shape}")
    return array


def contiguous(
    value: ArrayLike, dtype: np.dtype[Any], name: str, shape: Sequence[int | None]
) -> NDArray[Any]:
    """`strided`, and C-contiguous."""
    return np.ascontiguousarray(strided(value, dtype, name, shape))


def lengths(value: ArrayLike | None, T: int, B: int) -> NDArray[np.int64] | None:
    """Read `lengths`: None, or B integers of 0 to T.

    Raises
    ------
    TypeError
        They are not integers.
    ValueError
        There are not B of them, or one is out of range.
    """
    if value is None:
        return None
    array = as_array(value, "lengths")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"lengths must be integers, got dtype {array.dtype}")
    if array.shape != (B,):
        raise ValueError(f"lengths must have shape ({B},), got {array.shape}")
    if B and (array.min() < 0 or array.max() > T):
        raise ValueError(f"lengths must lie between 0 and {T}, got {array.min()} to {array.max()}")
    return np.require(array, np.int64, ["C", "A"])


def reset(value: ArrayLike | None, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Read `reset`: None, or booleans of the given shape.

    Raises
    ------
    TypeError
        It is not an array of bool.
    ValueError
        It has another shape.
    """
    if value is None:
        return None
    array = as_array(value, "reset")
    if array.dtype != np.bool_:
        raise TypeError(f"reset must be an array of bool, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"reset must have shape {shape}, got {array.shape}")
    return array


def flag(value: object, name: str) -> bool:
    """Read a bool argument.

    Raises
    ------
    TypeError
        `value` is no bool: a truth value in disguise is most often an argument in the wrong place.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def fraction(value: object, name: str) -> float:
    """Read a number between 0 and 1.

    Raises
    ------
    TypeError
        `value` is not a real number.
    ValueError
        It is out of range or NaN.
    """
    if not 0 <= (found := number(value, name)) <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")
    return found


def number(value: object, name: str) -> float:
    """Read a number.

    Raises
    ------
    TypeError
        `value` is not a real number.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def at_least_zero(value: object, name: str) -> float:
    """Read a finite number of at least 0.

    Raises
    ------
    TypeError
        `value` is not a real number.
    ValueError
        It is negative, infinite or NaN.
    """
    if not 0 <= (found := number(value, name)) < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {value}")
    return found


def positive(value: object, name: str) -> float:
    """Read a finite number above 0.

    Raises
    ------
    TypeError
        `value` is not a real number.
    ValueError
        It is not above 0, infinite or NaN.
    """
    if not 0 < (found := number(value, name)) < math.inf:
        raise ValueError(f"{name} must be finite and above 0, got {value}")
    return found


def seed(value: object, name: str) -> int:
    """Read a seed: an integer of 0 to 2**64 - 1.

    Raises
    ------
    TypeError
        `value` is not an integer.
    ValueError
        It is out of range.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not 0 <= value < 2**64:
        raise ValueError(f"{name} must lie between 0 and 2**64 - 1, got {value}")
    return int(value)


def index(value: object, size: int, name: str) -> int:
    """Read an index: an integer of 0 to size - 1.

    Raises
    ------
    TypeError
        `value` is not an integer.
    ValueError
        It is out of range.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not 0 <= value < size:
        raise ValueError(f"{name} must lie between 0 and {size - 1}, got {value}")
    return int(value)


def choice(value: object, choices: Sequence[str], name: str) -> str:
    """Read one of several names.

    Raises
    ------
    TypeError
        `value` is no str.
    ValueError
        It is none of `choices`.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def out(value: object, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> None:
    """Refuse anything but an array that a result can be written to as it is.

    Raises
    ------
    TypeError
        `value` is no ndarray of `dtype`.
    ValueError
        It has another shape, or is not C-contiguous, aligned and writeable.
    """
    if type(value) is not np.ndarray:
        raise TypeError(f"{name} must be an ndarray, got {type(value).__name__}")
    if value.dtype.num != dtype.num or not value.dtype.isnative:
        raise TypeError(f"{name} must have dtype {dtype}, got {value.dtype}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
    for flag in ("c_contiguous", "aligned", "writeable"):
        if not getattr(value.flags, flag):
            raise ValueError(f"{name} must be {flag.replace('c_', 'C-')}")
