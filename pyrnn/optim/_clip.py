"""The clipping of gradients, in place: by their norm, by their size, by the norms of the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._layer import Layer
from ._read import Grads, mappings, names_match, number

# Numbers that are in work at once: they stay in the cache, and are too few for BLAS to share them out over
# threads of its own, which would go on spinning on the cores that the kernels' threads need.
BLOCK = 8192


def clip_grad_norm(grads: Grads | Sequence[Grads], max_norm: float) -> float:
    """Scale gradients so that their global norm is at most `max_norm`, in place.

    Parameters
    ----------
    grads : mapping of str to ndarray, or sequence of them
        The gradients that `pull` returned, of one layer or of several; float32 or float64, writeable. All are
        multiplied by ``max_norm / norm`` if the norm exceeds `max_norm`.
    max_norm : float
        Greater than 0; infinity only measures.

    Returns
    -------
    float
        The norm before clipping, over all arrays together, computed in float64.

        If a gradient is not finite, neither is this norm, and all gradients are set to zero: an optimizer
        step that follows does no harm (scaling by 0 or NaN would put NaN into the parameters), and the
        caller can see that it happened.

    Raises
    ------
    TypeError
        `grads` is of another type, or a gradient is not a float32 or float64 array.
    ValueError
        A gradient is read-only, or `max_norm` is not positive. Nothing has been changed.

    References
    ----------
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
    arXiv:1211.5063.
    """
    if not number(max_norm, "max_norm", 0.0, math.inf, finite=False) > 0:
        raise ValueError(f"max_norm must be greater than 0, got {max_norm!r}")
    arrays = _arrays(grads)
    norm = _norm(arrays)
    if not _harmless(arrays, norm) and norm > max_norm:
        for g in arrays:
            g *= max_norm / norm
    return norm


def clip_grad_value(grads: Grads | Sequence[Grads], limit: float) -> float:
    """Bring every number of the gradients between -limit and limit, in place.

    Parameters
    ----------
    grads : mapping of str to ndarray, or sequence of them
        As for `clip_grad_norm`.
    limit : float
        Greater than 0; infinity only measures.

    Returns
    -------
    float
        The largest absolute value before clipping, 0.0 if there is none. If a gradient is not finite, neither
        is this, and all gradients are set to zero, as by `clip_grad_norm`.

    Raises
    ------
    TypeError, ValueError
        As for `clip_grad_norm`.

    Notes
    -----
    It changes the gradient's direction, which `clip_grad_norm` keeps.

    Examples
    --------
    >>> grads = {"weight": np.array([3.0, -0.5, -2.0])}
    >>> clip_grad_value(grads, 1.0), grads["weight"]
    (3.0, array([ 1. , -0.5, -1. ]))
    """
    if not number(limit, "limit", 0.0, math.inf, finite=False) > 0:
        raise ValueError(f"limit must be greater than 0, got {limit!r}")
    arrays = _arrays(grads)
    peak = _peak(arrays)
    if not _harmless(arrays, peak) and peak > limit:
        for g in arrays:
            np.clip(g, -limit, limit, out=g)
    return peak


def clip_grad_adaptive(
    layers: Layer | Grads | Sequence[Layer | Grads],
    grads: Grads | Sequence[Grads],
    clipping: float = 0.01,
    eps: float = 1e-3,
) -> float:
    """Scale gradients, unit by unit, to at most `clipping` times the norm of the unit's parameters, in place.

    ::

        g = g * clipping * max(norm(p), eps) / norm(g)   where  norm(g) > clipping * max(norm(p), eps)

    Parameters
    ----------
    layers : Layer, mapping of str to ndarray, or sequence of them
        The layers, or their parameters, to which the gradients belong.
    grads : mapping of str to ndarray, or sequence of them
        As for `clip_grad_norm`, with the keys of the parameters.
    clipping : float, default 0.01
        The largest ratio of the norms, above 0.
    eps : float, default 1e-3
        What a smaller norm of parameters counts as, above 0: else what begins as zeros would remain so.

    Returns
    -------
    float
        The largest ratio ``norm(g) / max(norm(p), eps)`` before clipping, 0.0 if there is none. If a gradient
        is not finite, neither is this, and all gradients are set to zero, as by `clip_grad_norm`.

    Raises
    ------
    TypeError
        `layers` or `grads` is of another type, or a gradient is not a float32 or float64 array.
    ValueError
        Keys or shapes disagree, a gradient is read-only, or a number is not above 0. Nothing has been
        changed.

    Notes
    -----
    A unit is what one output is made of, the first axis of a matrix: in `Linear`'s `weight` (out, in), in the
    recurrent layers' ``weight_ih`` and ``weight_hh`` (gates*H, ...) and in attention's projections, a row; a
    gate of a hidden unit is a unit for itself. In `Embedding`'s `weight` a row is the vector of a symbol. In
    the weights that units have for themselves (peepholes, `IndRNN`'s recurrent ones) a row holds all of a
    gate's. Vectors, that is biases and gains, are one unit each. Brock et al. leave the last layer, `Linear`
    say, unclipped: give only the others.

    References
    ----------
    Brock, De, Smith and Simonyan, "High-Performance Large-Scale Image Recognition Without Normalization",
    ICML 2021, arXiv:2102.06171, equation 3.

    Examples
    --------
    >>> params = {"weight": np.array([[3.0, 4.0], [0.0, 0.0]])}
    >>> grads = {"weight": np.array([[0.03, 0.04], [0.6, 0.8]])}
    >>> clip_grad_adaptive(params, grads), grads["weight"]  # norms 5 and 0.05; 0 and 1
    (1000.0, array([[3.e-02, 4.e-02],
           [6.e-06, 8.e-06]]))
    """
    clipping, eps = number(clipping, "clipping", 0.0, math.inf), number(eps, "eps", 0.0, math.inf)
    for name, value in (("clipping", clipping), ("eps", eps)):
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value!r}")
    pairs = _pairs(layers, grads)
    arrays = _arrays(grads)
    found = [(_unit_norms(g), np.maximum(_unit_norms(p), eps)) for p, g in pairs]
    with np.errstate(over="ignore", invalid="ignore"):
        worst = max((float((g / p).max(initial=0.0)) for g, p in found), default=0.0)
    if not all(np.isfinite(g).all() for g, _ in found):
        worst = math.nan
    if not _harmless(arrays, worst) and worst > clipping:
        for (_, array), (g, p) in zip(pairs, found, strict=True):
            scale = np.where(g > clipping * p, clipping * p / np.where(g > 0, g, 1), 1)
            array *= scale.reshape(-1, *[1] * (array.ndim - 1)).astype(array.dtype)
    return worst


def _arrays(grads: Grads | Sequence[Grads]) -> list[NDArray[Any]]:
    """All gradients, which are to be written to."""
    arrays = []
    for found in mappings(grads):
        for name, g in found.items():
            if not isinstance(g, np.ndarray) or g.dtype not in (np.float32, np.float64):
                got = g.dtype if isinstance(g, np.ndarray) else type(g).__name__
                raise TypeError(f"the gradient of {name!r} must be a float32 or float64 array, got {got}")
            if not g.flags.writeable:
                raise ValueError(f"the gradient of {name!r} must be writeable, got a read-only array")
            arrays.append(g)
    return arrays


def _harmless(arrays: list[NDArray[Any]], size: float) -> bool:
    """Zero gradients whose size is not finite: True where that was so."""
    if math.isfinite(size):
        return False
    for g in arrays:
        g.fill(0)
    return True


def _pairs(
    layers: Layer | Grads | Sequence[Layer | Grads], grads: Grads | Sequence[Grads]
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Each parameter with its gradient."""
    found = layers if isinstance(layers, Sequence) else [layers]
    params = [layer.params if isinstance(layer, Layer) else layer for layer in found]
    if not all(isinstance(mapping, Mapping) for mapping in params):
        raise TypeError(f"layers must be layers or mappings of parameters, got {layers!r}")
    own = mappings(grads)
    if len(own) != len(params):
        raise ValueError(f"grads must be {len(params)} mappings, one a layer, got {len(own)}")
    pairs = []
    for k, (mapping, arrays) in enumerate(zip(params, own, strict=True)):
        label = "grads" if isinstance(grads, Mapping) else f"grads[{k}]"
        names_match(arrays, mapping, label)
        for name, p in mapping.items():
            g = arrays[name]
            if np.shape(g) != np.shape(p):
                raise ValueError(f"{label}[{name!r}] must have shape {np.shape(p)}, got {np.shape(g)}")
            pairs.append((np.asarray(p), g))
    return pairs


def _unit_norms(array: NDArray[Any]) -> NDArray[np.float64]:
    """The norm of every row, of a vector that of the whole; in float64."""
    rows = array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1)
    peak = float(np.abs(rows).max(initial=0.0))
    if not 1e-150 < peak < 1e150:  # squares would leave the range of float64, or it is 0 or not finite
        if peak == 0 or not math.isfinite(peak):
            return np.full(len(rows), peak)
        return peak * _unit_norms(rows / peak)
    norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return norms


def _norm(arrays: list[NDArray[Any]]) -> float:
    """Euclidean norm of all numbers together."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(float(np.dot(part, part)) for part in _float64_blocks(arrays))
        if math.isfinite(total) and total > 1e-280:
            return math.sqrt(total)
        # Squares have left the range of float64: scale by the largest number, unless that is 0 or not finite.
        peak = _peak(arrays)
        if peak == 0 or not math.isfinite(peak):
            return peak
        scaled = (part / peak for part in _float64_blocks(arrays))
        return peak * math.sqrt(sum(float(np.dot(part, part)) for part in scaled))


def _peak(arrays: list[NDArray[Any]]) -> float:
    """The largest absolute value, NaN if there is one."""
    peaks = [float(np.abs(part).max()) for part in _float64_blocks(arrays)]
    return math.nan if any(map(math.isnan, peaks)) else max(peaks, default=0.0)


def _float64_blocks(arrays: list[NDArray[Any]]) -> Iterator[NDArray[np.float64]]:
    """Yield the numbers of all arrays in float64, in small pieces that stay in the cache."""
    for array in arrays:
        flat = array.reshape(-1)
        for at in range(0, flat.size, BLOCK):
            yield flat[at : at + BLOCK].astype(np.float64, copy=False)
