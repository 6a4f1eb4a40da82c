"""What optimizers and clipping are given: layers, gradients, numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._layer import Layer
from .._parameters import NamedArrays, as_real

Grads = Mapping[str, NDArray[Any]]

BELOW_ONE = math.nextafter(1.0, 0.0)
ABOVE_ZERO = math.nextafter(0.0, 1.0)


def parameters(layers: Layer | Sequence[Layer]) -> list[NamedArrays]:
    """Return the parameters of one layer or of several; all must be distinct."""
    found = [layers] if isinstance(layers, Layer) else layers
    if not isinstance(found, Sequence) or not all(isinstance(layer, Layer) for layer in found):
        raise TypeError(f"layers must be a layer or a sequence of layers, got {layers!r}")
    params = [layer.params for layer in found]
    leaves = [leaf for p in params for _, leaf in p._leaves()]
    if len({id(leaf) for leaf in leaves}) < len(leaves):
        raise ValueError(f"layers must be distinct, got {layers!r}")
    return params


def mappings(grads: Grads | Sequence[Grads]) -> Sequence[Grads]:
    """Return a sequence of mappings, whatever of the two was given."""
    found = [grads] if isinstance(grads, Mapping) else grads
    if not isinstance(found, Sequence) or not all(isinstance(mapping, Mapping) for mapping in found):
        raise TypeError(f"grads must be a mapping or a sequence of mappings, got {type(grads).__name__}")
    return found


def names_match(found: Mapping[str, Any], like: Mapping[str, Any], name: str) -> None:
    """Raise ValueError unless both have the same keys."""
    if missing := [key for key in like if key not in found]:
        raise ValueError(f"{name} lacks {', '.join(map(repr, missing))}")
    if unexpected := [key for key in found if key not in like]:
        raise ValueError(f"{name} has unexpected {', '.join(map(repr, unexpected))}")


def matched(
    found: Mapping[str, ArrayLike], like: Mapping[str, NDArray[Any]], name: str
) -> dict[str, NDArray[Any]]:
    """Return the arrays of `found`, which must have the keys and shapes of `like`, in its dtypes."""
    names_match(found, like, name)
    return {
        key: _check.shaped(found[key], array.dtype, f"{name}[{key!r}]", array.shape)
        for key, array in like.items()
    }


def number(value: float, name: str, low: float, high: float, *, finite: bool = True) -> float:
    """Read a number between `low` and `high`."""
    found = _check.number(value, name)
    if not low <= found <= high or (finite and math.isinf(found)):
        raise ValueError(f"{name} must be finite and between {low:g} and {high:g}, got {value!r}")
    return found


def step_count(value: ArrayLike, name: str) -> int:
    """Read a number of steps."""
    array = as_real(value, np.asarray(value).dtype, name)
    if array.shape != () or array.dtype.kind not in "iu" or array < 0:
        raise ValueError(f"{name} must be an integer of at least 0, got {value!r}")
    return int(array)
