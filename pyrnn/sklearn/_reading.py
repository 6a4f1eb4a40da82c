"""How the estimators read sequences and their targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import assert_all_finite, check_array, validate_data

from .._layer import as_size

Array = NDArray[Any]


def is_list(X: Any) -> bool:
    """Whether X is a list of sequences (T_i, F), and not an array or a nested list of numbers."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        return len(X) > 0 and np.ndim(X[0]) == 2
    if not isinstance(X, (list, tuple)) or not X:
        return False
    try:
        return np.ndim(X[0]) == 2
    except ValueError:  # a nested list of rows of unequal lengths
        return False


def read_sequences(estimator: Any, X: Any, *, reset: bool) -> Array | list[Array]:
    """Read X as (N, T, F) or as a list of (T_i, F); with `reset`, note how many features there are.

    Raises
    ------
    TypeError, ValueError
        X is no such thing, or has not the features that the estimator was fitted to.
    """
    dtype = np.dtype(estimator.dtype)
    if is_list(X):
        found = _read_list(X, dtype)
        _note(estimator, found[0].shape[1], reset)
        return found
    if len(getattr(X, "shape", ())) == 3:
        array: Array = check_array(X, dtype=dtype, allow_nd=True, estimator=estimator, input_name="X")
        if 0 in array.shape:
            raise ValueError(f"X must hold sequences with steps and features, got shape {array.shape}")
        _note(estimator, array.shape[2], reset)
        return array
    if not reset and not estimator._flat:
        ndim = len(getattr(X, "shape", np.shape(X)))
        if ndim == 2:
            raise ValueError(
                "X must have shape (N, T, F) or be a list of (T_i, F), as what the model was fitted to, "
                f"got shape {np.shape(X)}. Reshape your data"
            )
    flat = validate_data(estimator, X, reset=reset, dtype=dtype)
    if reset:
        estimator._flat, estimator._features = True, _features(estimator.n_steps, flat.shape[1])
    return flat.reshape(len(flat), -1, estimator._features)  # type: ignore[no-any-return]


def _features(n_steps: int | None, columns: int) -> int:
    if n_steps is None:
        return 1
    steps = as_size(n_steps, "n_steps")
    if columns % steps:
        raise ValueError(f"n_steps must divide the columns of X, {columns}, got {n_steps}")
    return columns // steps


def _read_list(X: Any, dtype: np.dtype[Any]) -> list[Array]:
    found: list[Array] = []
    for i, part in enumerate(X):
        array = np.asarray(part)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"X[{i}] must hold real numbers, got dtype {array.dtype}")
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"X[{i}] must have shape (T, F) with steps and features, got {array.shape}")
        if found and array.shape[1] != found[0].shape[1]:
            raise ValueError(f"X[{i}] must have {found[0].shape[1]} features, as X[0], got {array.shape[1]}")
        found.append(array.astype(dtype, copy=False))
    for array in found:
        assert_all_finite(array, input_name="X")
    return found


def _note(estimator: Any, features: int, reset: bool) -> None:
    if reset:
        estimator._flat, estimator._features, estimator.n_features_in_ = False, features, features
        estimator.__dict__.pop("feature_names_in_", None)  # of a fit before, to a table with names
    elif features != estimator._features:
        raise ValueError(
            f"X has {features} features, but {type(estimator).__name__} is expecting "
            f"{estimator._features} features as input"
        )


def check_steps(X: Array | list[Array], y: Any) -> list[Array] | Array:
    """Targets of every step: an array for an array X, a list for a list."""
    if len(y) != len(X):
        raise ValueError(f"y must hold targets of {len(X)} sequences, as X, got {len(y)}")
    if isinstance(X, np.ndarray):
        array = np.asarray(y)
        if array.shape[:2] != X.shape[:2]:
            raise ValueError(f"y must have a target for every step, {X.shape[:2]}, got shape {array.shape}")
        return array
    parts = [np.asarray(part) for part in y]
    for i, (part, x) in enumerate(zip(parts, X, strict=True)):
        if part.ndim == 0 or len(part) != len(x) or part.shape[1:] != parts[0].shape[1:]:
            raise ValueError(f"y[{i}] must have {len(x)} steps, as X[{i}], got shape {part.shape}")
    return parts


def by_parts(function: Any, values: Array | list[Array]) -> Any:
    """The function of an array, or of each array of a list."""
    return [function(part) for part in values] if isinstance(values, list) else function(values)


def joined(values: Array | list[Array]) -> Array:
    """All steps of all sequences along one axis."""
    if isinstance(values, list):
        return np.concatenate(values)
    return values.reshape(-1, *values.shape[2:])


def flat_weights(weights: ArrayLike | None, lengths: NDArray[np.int64]) -> Array | None:
    """Weights of sequences or of steps as weights of all steps along one axis."""
    if weights is None:
        return None
    array = np.asarray(weights)
    return array.reshape(-1) if array.ndim == 2 else np.repeat(array, lengths)


def lengths_of(values: Array | list[Array]) -> NDArray[np.int64]:
    return np.array([len(part) for part in values], np.int64)
