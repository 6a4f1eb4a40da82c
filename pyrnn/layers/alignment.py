"""Attention of a decoder over the states of an encoder: additive (Bahdanau) and multiplicative (Luong)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check
from .._layer import Gradients, Layer, as_size
from .._parameters import as_array, as_real
from .._random import as_generator
from . import _mask

Array = NDArray[Any]
Pull = Callable[..., tuple[Array, Array, Gradients]]
# From the gradient of the scores to those of query, values and parameters.
ScorePull = Callable[[Array], tuple[Array, Array, Gradients]]


class _Alignment(Layer):
    """What both share: masks, softmax, the weighted sum of the values. A subclass defines the scores."""

    query_size: int
    value_size: int
    batch_first: bool

    @abstractmethod
    def _scores(self, query: Array, values: Array) -> tuple[Array, ScorePull]:
        """Scores (B, Tq, T) of query (B, Tq, query_size) and values (B, T, value_size), and the way back."""

    def __call__(
        self,
        query: ArrayLike,
        values: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """Attend.

        Parameters
        ----------
        query : array_like, shape (B, query_size) or (Tq, B, query_size)
            States of the decoder: one a batch row, or one a step. All shapes are those of
            ``batch_first=False``.
        values : array_like, shape (T, B, value_size)
            States of the encoder.
        lengths : array_like of int, shape (B,), optional
            How many values each batch row has. What lies beyond may be anything, NaN included.
        mask : array_like of bool, shape (B, T), optional
            True where a value is hidden, as in PyTorch; it may then be anything.

        Returns
        -------
        context : ndarray, shape (B, value_size) or (Tq, B, value_size)
            The weighted sum of the values; zeros where all of them are hidden.
        weights : ndarray, shape (B, T) or (B, Tq, T)

        Raises
        ------
        TypeError, ValueError
            An argument is of the wrong type or shape; the message names it.
        """
        return self.vjp(query, values, lengths=lengths, mask=mask)[0]

    def vjp(
        self,
        query: ArrayLike,
        values: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> tuple[tuple[Array, Array], Pull]:
        """Attend and return the way back.

        Parameters
        ----------
        query, values, lengths, mask
            As in a call. Leave the arrays unchanged until `pull`.

        Returns
        -------
        context, weights : tuple of ndarray
        pull : callable
            ``pull(dcontext, dweights=None) -> dquery, dvalues, grads`` with the shapes of the inputs and of
            `params`.

        Raises
        ------
        TypeError, ValueError
            An argument (or a gradient, from `pull`) is of the wrong type or shape; the message names it.
        """
        q, v, restore = self._inputs(query, values)
        hidden = self._hidden(lengths, mask, *v.shape[:2])
        if hidden is not None:  # 0 * NaN would be NaN
            v = np.where(hidden[..., None], v.dtype.type(0), v)
        scores, pull_scores = self._scores(q, v)
        if hidden is not None:
            scores[np.broadcast_to(hidden[:, None], scores.shape)] = -np.inf
        p = _mask.softmax(scores)
        context, weights = restore(p @ v), p[:, 0].copy() if np.ndim(query) == 2 else p.copy()
        shapes = context.shape, weights.shape

        def pull(dcontext: ArrayLike, dweights: ArrayLike | None = None) -> tuple[Array, Array, Gradients]:
            dc = _check.shaped(dcontext, self.dtype, "dcontext", shapes[0])
            dc = self._by_batch(dc)
            dp = dc @ v.swapaxes(1, 2)
            if dweights is not None:
                dw = _check.shaped(dweights, self.dtype, "dweights", shapes[1])
                dp = dp + dw.reshape(dp.shape)
            dscores = p * (dp - (p * dp).sum(-1, keepdims=True))
            dq, dv, grads = pull_scores(dscores)
            dv = dv + p.swapaxes(1, 2) @ dc
            if hidden is not None:
                dv[hidden] = 0
            return restore(dq), np.ascontiguousarray(dv if self.batch_first else dv.swapaxes(0, 1)), grads

        return (context, weights), pull

    def _by_batch(self, x: Array) -> Array:
        """A query, or what has its axes, as (B, Tq, ...)."""
        if x.ndim == 2:
            return x[:, None]
        return x if self.batch_first else x.swapaxes(0, 1)

    def _inputs(self, query: ArrayLike, values: ArrayLike) -> tuple[Array, Array, Callable[[Array], Array]]:
        """Both with the batch first, and the way from (B, Tq, ...) to the axes of `query`."""
        q, v = as_real(query, self.dtype, "query"), as_real(values, self.dtype, "values")
        if q.ndim not in (2, 3) or q.shape[-1] != self.query_size:
            size = self.query_size
            raise ValueError(f"query must have shape (*, {size}) or (*, *, {size}), got {q.shape}")
        if v.ndim != 3 or v.shape[-1] != self.value_size:
            raise ValueError(f"values must have shape (*, *, {self.value_size}), got {v.shape}")
        one, batch_first = q.ndim == 2, self.batch_first
        q, by_batch = self._by_batch(q), v if batch_first else v.swapaxes(0, 1)
        if by_batch.shape[0] != q.shape[0]:
            raise ValueError(f"values must have the batch size of query, {q.shape[0]}, got shape {v.shape}")

        def restore(x: Array) -> Array:
            if one:
                return np.ascontiguousarray(x[:, 0])
            return np.ascontiguousarray(x if batch_first else x.swapaxes(0, 1))

        return q, by_batch, restore

    def _hidden(
        self, lengths: ArrayLike | None, mask: ArrayLike | None, B: int, T: int
    ) -> NDArray[np.bool_] | None:
        """Where values are hidden, (B, T); None for nowhere."""
        hidden = _mask.beyond(_check.lengths(lengths, T, B), T)
        if mask is None:
            return hidden
        array = as_array(mask, "mask")
        if array.dtype != np.bool_:
            raise TypeError(f"mask must be an array of bool, got dtype {array.dtype}")
        if array.shape != (B, T):
            raise ValueError(f"mask must have shape ({B}, {T}), got {array.shape}")
        return array.copy() if hidden is None else hidden | array

    def _options(self) -> str:
        options = ", batch_first=True" if self.batch_first else ""
        return options + ("" if self.dtype == np.float32 else f", dtype=np.{self.dtype}")


class AdditiveAttention(_Alignment):
    """Attention by a small network: ``score @ tanh(weight_query @ q + weight_value @ v + bias)``.

    Parameters
    ----------
    query_size, value_size : int
        Sizes of the last axes of query and values, at least 1.
    attention_size : int
        Units of the network, at least 1.
    bias : bool, default True
        Whether it has a bias.
    batch_first : bool, default False
        Whether arrays of three axes are (B, T, size) rather than (T, B, size).
    dtype : float32 or float64, default float32
        The dtype of parameters and outputs; inputs are cast to it.
    rng : None, int or numpy.random.Generator
        Source of the initial values: uniform between ±1/sqrt(n) for a matrix or vector that sums over n
        inputs, the bias zero.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters: `weight_query` (attention_size, query_size), `weight_value` (attention_size, value_size),
    `bias` (attention_size,) and `score` (attention_size,). The activations take memory for B * Tq * T *
    attention_size numbers.

    References
    ----------
    Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate, 2015,
    arXiv:1409.0473.

    Examples
    --------
    >>> layer = AdditiveAttention(4, 6, 5, rng=0)
    >>> context, weights = layer(np.ones((2, 4)), np.ones((7, 2, 6)))
    >>> context.shape, weights.shape
    ((2, 6), (2, 7))
    """

    def __init__(
        self,
        query_size: int,
        value_size: int,
        attention_size: int,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.query_size = as_size(query_size, "query_size")
        self.value_size = as_size(value_size, "value_size")
        self.attention_size = A = as_size(attention_size, "attention_size")
        self.batch_first = _check.flag(batch_first, "batch_first")
        shapes: dict[str, tuple[int, ...]] = {
            "weight_query": (A, self.query_size),
            "weight_value": (A, self.value_size),
        }
        if _check.flag(bias, "bias"):
            shapes["bias"] = (A,)
        shapes["score"] = (A,)
        super().__init__(shapes, dtype)
        generator = as_generator(rng)
        for name in ("weight_query", "weight_value", "score"):
            bound = shapes[name][-1] ** -0.5
            self.params[name] = generator.uniform(-bound, bound, shapes[name])

    def _scores(self, query: Array, values: Array) -> tuple[Array, ScorePull]:
        params = self.params.copy()  # an optimizer may step before pull
        keys = values @ params["weight_value"].T
        if "bias" in params:
            keys += params["bias"]
        active = np.tanh((query @ params["weight_query"].T)[:, :, None] + keys[:, None])  # (B, Tq, T, A)

        def pull(d: Array) -> tuple[Array, Array, Gradients]:
            inner = d[..., None] * params["score"] * (1 - active * active)
            dq, dk = inner.sum(2), inner.sum(1)
            grads = {
                "weight_query": np.einsum("bia,biq->aq", dq, query),
                "weight_value": np.einsum("bja,bjv->av", dk, values),
                "bias": dk.sum((0, 1)),
                "score": np.einsum("bij,bija->a", d, active),
            }
            return (
                dq @ params["weight_query"],
                dk @ params["weight_value"],
                {name: grads[name] for name in params},
            )

        return active @ params["score"], pull

    def __repr__(self) -> str:
        sizes = f"{self.query_size}, {self.value_size}, {self.attention_size}"
        bias = "" if "bias" in self.params else ", bias=False"
        return f"AdditiveAttention({sizes}{bias}{self._options()})"


class DotAttention(_Alignment):
    """Attention whose scores are products: ``q @ v`` (dot) or ``q @ weight @ v`` (general).

    Parameters
    ----------
    query_size : int
        Size of the last axis of the query, at least 1.
    value_size : int or None, default None
        Size of the last axis of the values; None for `query_size`, which it must be without a matrix.
    general : bool, default False
        Whether a learned matrix stands between query and values.
    scaled : bool, default False
        Whether scores are divided by ``sqrt(value_size)``, as in Vaswani et al. 2017, arXiv:1706.03762.
    batch_first : bool, default False
        Whether arrays of three axes are (B, T, size) rather than (T, B, size).
    dtype : float32 or float64, default float32
        The dtype of parameters and outputs; inputs are cast to it.
    rng : None, int or numpy.random.Generator
        Source of the initial `weight`: uniform between ±1/sqrt(query_size).

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters: `weight` (query_size, value_size) if `general`, else none.

    References
    ----------
    Luong et al., Effective Approaches to Attention-based Neural Machine Translation, 2015, arXiv:1508.04025.

    Examples
    --------
    >>> layer = DotAttention(4, 6, general=True, rng=0)
    >>> context, weights = layer(np.ones((3, 2, 4)), np.ones((7, 2, 6)))
    >>> context.shape, weights.shape
    ((3, 2, 6), (2, 3, 7))
    """

    def __init__(
        self,
        query_size: int,
        value_size: int | None = None,
        general: bool = False,
        scaled: bool = False,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.query_size = as_size(query_size, "query_size")
        self.value_size = self.query_size if value_size is None else as_size(value_size, "value_size")
        self.general, self.scaled = _check.flag(general, "general"), _check.flag(scaled, "scaled")
        self.batch_first = _check.flag(batch_first, "batch_first")
        if not general and self.value_size != self.query_size:
            raise ValueError(
                f"value_size must be query_size, {self.query_size}, unless general=True; got {value_size}"
            )
        shape = self.query_size, self.value_size
        super().__init__({"weight": shape} if self.general else {}, dtype)
        generator, bound = as_generator(rng), self.query_size**-0.5
        if self.general:
            self.params["weight"] = generator.uniform(-bound, bound, shape)

    def _scores(self, query: Array, values: Array) -> tuple[Array, ScorePull]:
        weight = self.params["weight"].copy() if self.general else None  # an optimizer may step before pull
        scale = self.dtype.type(self.value_size**-0.5 if self.scaled else 1)
        mapped = (query if weight is None else query @ weight) * scale

        def pull(d: Array) -> tuple[Array, Array, Gradients]:
            dmapped, dv = (d @ values) * scale, d.swapaxes(1, 2) @ mapped
            if weight is None:
                return dmapped, dv, {}
            return dmapped @ weight.T, dv, {"weight": np.einsum("biq,biv->qv", query, dmapped)}

        return mapped @ values.swapaxes(1, 2), pull

    def __repr__(self) -> str:
        sizes = str(self.query_size) + (f", {self.value_size}" if self.value_size != self.query_size else "")
        options = (", general=True" if self.general else "") + (", scaled=True" if self.scaled else "")
        return f"DotAttention({sizes}{options}{self._options()})"
