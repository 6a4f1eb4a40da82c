"""Optimizers, and the clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check
from ._joined import JoinedParameters
from ._layer import Layer
from ._parameters import NamedArrays, Parameters, as_real

__all__ = ["Adam", "clip_grad_norm"]

Grads = Mapping[str, NDArray[Any]]

# Adam makes 13 passes over its arrays; in blocks of this many numbers they stay in the cache in between.
BLOCK = 32768


class Adam:
    """Adam, in the form and with the defaults of PyTorch.

    ::

        m = beta1 * m + (1 - beta1) * g          v = beta2 * v + (1 - beta2) * g**2
        p = p - lr / (1 - beta1**t) * m / (sqrt(v / (1 - beta2**t)) + eps)

    Parameters
    ----------
    layers : Layer or sequence of Layer
        What to train, a `Sequential` among them. The layers are updated in place.
    lr : float, default 1e-3
        Step size; the attribute `lr` may be set at any time, e.g. by a schedule.
    betas : (float, float), default (0.9, 0.999)
        Decay of the running means of the gradient and of its square, in [0, 1).
    eps : float, default 1e-8
        Added to the root, greater than 0.

    Raises
    ------
    TypeError
        `layers` is no layer or sequence of layers.
    ValueError
        A layer comes twice, or a number is out of range.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv:1412.6980.
    """

    def __init__(
        self,
        layers: Layer | Sequence[Layer],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self._single = isinstance(layers, Layer)
        self._params = _parameters(layers)
        self._m = [_zeros_like(params) for params in self._params]
        self._v = [_zeros_like(params) for params in self._params]
        dtypes = {leaf.dtype for params in self._params for _, leaf in params._leaves()}
        self._scratch = {dtype: np.empty((2, BLOCK), dtype) for dtype in dtypes}
        self._steps = 0
        self._set(lr, betas, eps)

    @property
    def lr(self) -> float:
        """Step size."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _number(value, "lr", 0.0, math.inf)

    @property
    def betas(self) -> tuple[float, float]:
        """Decay of the running means of the gradient and of its square."""
        return self._betas

    @property
    def eps(self) -> float:
        """The number added to the root."""
        return self._eps

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return self._steps

    def step(self, grads: Grads | Sequence[Grads]) -> None:
        """Move every parameter by one step.

        Parameters
        ----------
        grads : mapping of str to ndarray, or sequence of them
            The gradients that `pull` returned: one mapping for one layer, a sequence in the order of
            the layers for several. Not written to.

        Raises
        ------
        TypeError
            `grads` is of another type, or a gradient is not an array of real numbers.
        ValueError
            Mappings or keys are missing or unexpected, or a shape is wrong. Nothing has been changed.
        """
        checked = self._check(grads)
        self._steps += 1
        for params, m, v, arrays in zip(self._params, self._m, self._v, checked, strict=True):
            leaves = zip(params._leaves(), m._leaves(), v._leaves(), strict=True)
            for (pattern, p_leaf), (_, m_leaf), (_, v_leaf) in leaves:
                own = {name: arrays[pattern.format(name)] for name in p_leaf}
                self._step(p_leaf, m_leaf, v_leaf, own)

    def _step(self, params: Parameters, m: Parameters, v: Parameters, grads: Grads) -> None:
        with params._write() as p, m._write() as m_flat, v._write() as v_flat:
            for name, g in grads.items():
                start = params._spans[name].start
                for at in range(0, g.size, BLOCK):
                    block = slice(start + at, start + min(at + BLOCK, g.size))
                    self._update(p[block], m_flat[block], v_flat[block], g[at : at + BLOCK])

    def _update(self, p: NDArray[Any], m: NDArray[Any], v: NDArray[Any], g: NDArray[Any]) -> None:
        """One block of the formula, all in place."""
        a, b = self._scratch[p.dtype][:, : p.size]
        beta1, beta2 = self._betas
        m *= beta1
        np.multiply(g, 1 - beta1, out=a)
        m += a
        v *= beta2
        np.multiply(g, g, out=a)
        a *= 1 - beta2
        v += a
        np.sqrt(v, out=a)
        a /= math.sqrt(1 - beta2**self._steps)
        a += self._eps
        np.divide(m, a, out=b)
        b *= self._lr / (1 - beta1**self._steps)
        p -= b

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that a continued training needs, as a flat dict of arrays.

        Keys are `steps`, `lr`, `betas`, `eps`, and for layer k ``"k.m.<parameter>"``, ``"k.v.<parameter>"``;
        numpy.savez and safetensors store such a dict as it is.
        """
        state: dict[str, NDArray[Any]] = {
            "steps": np.array(self._steps),
            "lr": np.array(self._lr),
            "betas": np.array(self._betas),
            "eps": np.array(self._eps),
        }
        for k, (m, v) in enumerate(zip(self._m, self._v, strict=True)):
            state |= {f"{k}.m.{name}": array for name, array in m.copy().items()}
            state |= {f"{k}.v.{name}": array for name, array in v.copy().items()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Continue from what `state_dict` returned, for layers with the same parameters.

        Raises
        ------
        TypeError
            `state_dict` is no mapping, or a value is not real.
        ValueError
            A key is missing or unexpected, a shape is wrong, or a number out of range. Nothing has been
            changed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict must be a mapping, got {type(state_dict).__name__}")
        new = _matched(state_dict, self.state_dict(), "state_dict")
        if new["steps"] < 0 or np.asarray(state_dict["steps"]).dtype.kind not in "iu":
            got = state_dict["steps"]
            raise ValueError(f"state_dict['steps'] must be an integer of at least 0, got {got!r}")
        self._set(float(new["lr"]), (float(new["betas"][0]), float(new["betas"][1])), float(new["eps"]))
        self._steps = int(new["steps"])
        for k, (m, v) in enumerate(zip(self._m, self._v, strict=True)):
            m.update({name: new[f"{k}.m.{name}"] for name in m})
            v.update({name: new[f"{k}.v.{name}"] for name in v})

    def _set(self, lr: float, betas: tuple[float, float], eps: float) -> None:
        """Set the three numbers, or none of them."""
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ValueError(f"betas must be two numbers, got {betas!r}")
        below_one = math.nextafter(1.0, 0.0)
        checked = (
            _number(lr, "lr", 0.0, math.inf),
            (_number(betas[0], "betas[0]", 0.0, below_one), _number(betas[1], "betas[1]", 0.0, below_one)),
            _number(eps, "eps", math.nextafter(0.0, 1.0), math.inf),
        )
        self._lr, self._betas, self._eps = checked

    def _check(self, grads: Grads | Sequence[Grads]) -> list[dict[str, NDArray[Any]]]:
        """Return the gradients of every layer, flat and in its dtype."""
        dicts = _dicts(grads)
        if len(dicts) != len(self._params):
            raise ValueError(f"grads must be {len(self._params)} mappings, one a layer, got {len(dicts)}")
        checked = []
        for k, (params, found) in enumerate(zip(self._params, dicts, strict=True)):
            arrays = _matched(found, params, "grads" if self._single else f"grads[{k}]")
            checked.append({name: array.reshape(-1) for name, array in arrays.items()})
        return checked

    def __repr__(self) -> str:
        size = sum(params.size for params in self._params)
        numbers = f"lr={self._lr} betas={self._betas} eps={self._eps}"
        return f"<Adam {numbers}: {size} parameters, {self._steps} steps>"


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
    if not _number(max_norm, "max_norm", 0.0, math.inf, finite=False) > 0:
        raise ValueError(f"max_norm must be greater than 0, got {max_norm!r}")
    arrays = []
    for found in _dicts(grads):
        for name, g in found.items():
            if not isinstance(g, np.ndarray) or g.dtype not in (np.float32, np.float64):
                got = g.dtype if isinstance(g, np.ndarray) else type(g).__name__
                raise TypeError(f"the gradient of {name!r} must be a float32 or float64 array, got {got}")
            if not g.flags.writeable:
                raise ValueError(f"the gradient of {name!r} must be writeable, got a read-only array")
            arrays.append(g)
    norm = _norm(arrays)
    if not math.isfinite(norm):
        for g in arrays:
            g.fill(0)
    elif norm > max_norm:
        for g in arrays:
            g *= max_norm / norm
    return norm


def _norm(arrays: list[NDArray[Any]]) -> float:
    """Euclidean norm of all numbers together."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(float(np.dot(part, part)) for part in _float64_blocks(arrays))
        if math.isfinite(total) and total > 1e-280:
            return math.sqrt(total)
        # Squares have left the range of float64: scale by the largest number, unless that is 0 or not finite.
        peak = max((float(np.abs(part).max()) for part in _float64_blocks(arrays)), default=0.0)
        if peak == 0 or not math.isfinite(peak):
            return peak
        scaled = (part / peak for part in _float64_blocks(arrays))
        return peak * math.sqrt(sum(float(np.dot(part, part)) for part in scaled))


def _float64_blocks(arrays: list[NDArray[Any]]) -> Iterator[NDArray[np.float64]]:
    """Yield the numbers of all arrays in float64, in small pieces that stay in the cache."""
    for array in arrays:
        flat = array.reshape(-1)
        for at in range(0, flat.size, BLOCK):
            yield flat[at : at + BLOCK].astype(np.float64, copy=False)


def _parameters(layers: Layer | Sequence[Layer]) -> list[NamedArrays]:
    found = [layers] if isinstance(layers, Layer) else layers
    if not isinstance(found, Sequence) or not all(isinstance(layer, Layer) for layer in found):
        raise TypeError(f"layers must be a layer or a sequence of layers, got {layers!r}")
    params = [layer.params for layer in found]
    leaves = [leaf for p in params for _, leaf in p._leaves()]
    if len({id(leaf) for leaf in leaves}) < len(leaves):
        raise ValueError(f"layers must be distinct, got {layers!r}")
    return params


def _zeros_like(params: NamedArrays) -> JoinedParameters:
    """Zeros with the names of `params`, in Parameters as those that its arrays live in."""
    return JoinedParameters(
        [
            (pattern, Parameters({name: array.shape for name, array in leaf.items()}, leaf.dtype))
            for pattern, leaf in params._leaves()
        ]
    )


def _dicts(grads: Grads | Sequence[Grads]) -> Sequence[Grads]:
    found = [grads] if isinstance(grads, Mapping) else grads
    if not isinstance(found, Sequence) or not all(isinstance(mapping, Mapping) for mapping in found):
        raise TypeError(f"grads must be a mapping or a sequence of mappings, got {type(grads).__name__}")
    return found


def _matched(
    found: Mapping[str, ArrayLike], like: Mapping[str, NDArray[Any]], name: str
) -> dict[str, NDArray[Any]]:
    """Return the arrays of `found`, which must have the keys and shapes of `like`, in its dtypes."""
    if missing := [key for key in like if key not in found]:
        raise ValueError(f"{name} lacks {', '.join(map(repr, missing))}")
    if unexpected := [key for key in found if key not in like]:
        raise ValueError(f"{name} has unexpected {', '.join(map(repr, unexpected))}")
    arrays = {key: as_real(found[key], like[key].dtype, f"{name}[{key!r}]") for key in like}
    for key, array in arrays.items():
        if array.shape != like[key].shape:
            raise ValueError(f"{name}[{key!r}] must have shape {like[key].shape}, got {array.shape}")
    return arrays


def _number(value: float, name: str, low: float, high: float, *, finite: bool = True) -> float:
    number = _check.number(value, name)
    if not low <= number <= high or (finite and math.isinf(number)):
        raise ValueError(f"{name} must be finite and between {low:g} and {high:g}, got {value!r}")
    return number
