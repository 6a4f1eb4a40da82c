"""Multi-head attention over a fused kernel that never stores the matrix of scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check, _core, _threads
from .._layer import Gradients, Layer, as_size
from .._parameters import as_array, as_real
from .._random import as_generator
from . import _mask

Array = NDArray[Any]
Pull = Callable[[ArrayLike], tuple[Array, "Array | None", "Array | None", Gradients]]


class MultiHeadAttention(Layer):
    """Scaled dot-product attention of several heads, with projections before and after.

    ``softmax(q @ k.T / sqrt(embed_dim / num_heads)) @ v`` in every head, where q, k and v are affine maps of
    query, key and value; one more affine map joins the heads.

    Parameters
    ----------
    embed_dim : int
        Size of the last axis of all inputs and of the output, at least 1.
    num_heads : int
        How many heads; `embed_dim` is a multiple of it.
    dropout : float, default 0.0
        The probability, 0 to 1, with which a weight of the attention is dropped in training, which is what
        calls `vjp`; the others are scaled by 1 / (1 - dropout).
    bias : bool, default True
        Whether the maps have biases.
    batch_first : bool, default False
        Whether arrays are (B, T, embed_dim) rather than (T, B, embed_dim).
    dtype : float32 or float64, default float32
        The dtype of parameters and outputs; inputs are cast to it.
    rng : None, int or numpy.random.Generator
        Source of the initial values, drawn as PyTorch draws them: `in_proj_weight` uniform between
        ±sqrt(1.5 / embed_dim), `out_proj.weight` between ±1/sqrt(embed_dim), biases zero; and then of
        dropout.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters, with the names and layouts of PyTorch's ``nn.MultiheadAttention``: `in_proj_weight`
    (3 * embed_dim, embed_dim) for q, k and v, `in_proj_bias` (3 * embed_dim,), `out_proj.weight`
    (embed_dim, embed_dim) and `out_proj.bias` (embed_dim,).

    Memory grows with the number of steps, not with its square: scores are computed block by block with a
    running softmax (Dao et al. 2022), and once more on the way back. A query that may attend to nothing,
    because of `mask` or of a length of zero, gets zeros from the heads, never NaN, so its output is
    ``out_proj.bias``.
    So is dropout: what it drops is a function of a seed, the batch row, the head, the query and the key.
    Results do not depend on the number of threads, nor those of a batch row on the other rows.

    References
    ----------
    Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762;
    Dao et al., FlashAttention, 2022, arXiv:2205.14135; dropout: Srivastava et al. 2014, JMLR 15:1929-1958.

    Examples
    --------
    >>> layer = MultiHeadAttention(8, 2, rng=0)
    >>> layer(np.ones((5, 3, 8)), causal=True).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.embed_dim = E = as_size(embed_dim, "embed_dim")
        self.num_heads = as_size(num_heads, "num_heads")
        if E % self.num_heads:
            raise ValueError(f"num_heads must divide embed_dim {E}, got {num_heads}")
        self.dropout = _check.fraction(dropout, "dropout")
        self.batch_first = _check.flag(batch_first, "batch_first")
        shapes: dict[str, tuple[int, ...]] = {"in_proj_weight": (3 * E, E)}
        if _check.flag(bias, "bias"):
            shapes["in_proj_bias"] = (3 * E,)
        shapes["out_proj.weight"] = (E, E)
        if bias:
            shapes["out_proj.bias"] = (E,)
        super().__init__(shapes, dtype)
        self._generator = generator = as_generator(rng)
        for name, bound in (("in_proj_weight", (1.5 / E) ** 0.5), ("out_proj.weight", E**-0.5)):
            self.params[name] = generator.uniform(-bound, bound, shapes[name])

    def __call__(
        self,
        query: ArrayLike,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        causal: bool = False,
        lengths: ArrayLike | None = None,
        need_weights: bool = False,
        average_attn_weights: bool = True,
    ) -> Any:
        """Attend.

        Parameters
        ----------
        query : array_like, shape (Tq, B, embed_dim)
            All shapes are those of ``batch_first=False``.
        key : array_like, shape (Tk, B, embed_dim), optional
            Default: `query`.
        value : array_like, shape (Tk, B, embed_dim), optional
            Default: `key`.
        mask : array_like, optional
            Boolean, True where a query may *not* attend to a key, as in PyTorch; or floating-point, added to
            the scores. Shape (Tq, Tk), (B * num_heads, Tq, Tk), or four axes that broadcast to (B,
            num_heads, Tq, Tk): PyTorch's `key_padding_mask` is ``mask=key_padding_mask[:, None, None]``.
        causal : bool, default False
            Query i attends to the keys j <= i only.
        lengths : array_like of int, shape (B,), optional
            How many keys each batch row has. What lies beyond is not looked at and may be anything, NaN
            included; keys that `mask` or `causal` hides must be finite.
        need_weights : bool, default False
            Whether to return the weights too. They take memory for B * num_heads * Tq * Tk numbers.
        average_attn_weights : bool, default True
            Whether they are averaged over the heads.

        Returns
        -------
        output : ndarray, shape (Tq, B, embed_dim)
        weights : ndarray, shape (B, Tq, Tk) or, not averaged, (B, num_heads, Tq, Tk)
            Only with `need_weights`.

        Raises
        ------
        TypeError, ValueError
            An argument is of the wrong type or shape; the message names it.
        """
        need_weights = _check.flag(need_weights, "need_weights")
        average = _check.flag(average_attn_weights, "average_attn_weights")
        call = _Call(self, (query, key, value), mask, causal, lengths, need_stats=need_weights)
        output = call.forward()
        return (output, call.weights(average)) if need_weights else output

    def vjp(
        self,
        query: ArrayLike,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        causal: bool = False,
        lengths: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> tuple[Array, Pull]:
        """Attend, with dropout, and return the way back.

        Parameters
        ----------
        query, key, value, mask, causal, lengths
            As in a call. Arrays of the layer's dtype are not copied: leave them unchanged until `pull`.
        rng : None, int or numpy.random.Generator
            Source of dropout's seed; None goes on with the generator that the layer was made with.

        Returns
        -------
        output : ndarray, shape (Tq, B, embed_dim)
        pull : callable
            ``pull(doutput) -> dquery, dkey, dvalue, grads`` with the shapes of the inputs and of `params`.
            Where key or value was not given its gradient is None, and part of that of the input that stood
            in for it. `mask` is a constant.

        Raises
        ------
        TypeError, ValueError
            An argument (or `doutput`, from `pull`) is of the wrong type or shape; the message names it.
        """
        generator = self._generator if rng is None else as_generator(rng)
        call = _Call(self, (query, key, value), mask, causal, lengths, need_stats=True)
        # An optimizer may step before pull.
        call.params = self.params.copy()
        if self.dropout > 0:
            call.dropout, call.seed = self.dropout, int(generator.integers(2**63))
        output = call.forward()
        shape = output.shape

        def pull(doutput: ArrayLike) -> tuple[Array, Array | None, Array | None, Gradients]:
            dy = _check.shaped(doutput, call.dtype, "doutput", shape)
            return call.backward(np.ascontiguousarray(dy).reshape(-1, shape[-1]))

        return output, pull

    def __repr__(self) -> str:
        options = f", dropout={self.dropout}" if self.dropout else ""
        options += "" if "in_proj_bias" in self.params else ", bias=False"
        options += ", batch_first=True" if self.batch_first else ""
        options += "" if self.dtype == np.float32 else f", dtype=np.{self.dtype}"
        return f"MultiHeadAttention({self.embed_dim}, {self.num_heads}{options})"


class _Call:
    """One call: its inputs, judged; the weights as they are now; and what the way back needs.

    The roles q, k and v (0, 1, 2) are projected together where they have the same input.
    """

    def __init__(
        self,
        layer: MultiHeadAttention,
        inputs: tuple[ArrayLike | None, ArrayLike | None, ArrayLike | None],
        mask: ArrayLike | None,
        causal: bool,
        lengths: ArrayLike | None,
        *,
        need_stats: bool,
    ) -> None:
        self.dtype, self.N, self.E = layer.dtype, layer.num_heads, layer.embed_dim
        self.need_stats, self.dropout, self.seed = need_stats, 0.0, 0
        self.params, self.threads = dict(layer.params), _threads.get_num_threads()
        self.axes = (0, 2, 1, 3) if layer.batch_first else (1, 2, 0, 3)  # of (.., .., N, D) as (B, N, T, D)
        self.owner = [0, 0 if inputs[1] is None else 1, 2]  # which input is each role's
        if inputs[2] is None:
            self.owner[2] = self.owner[1]
        self.x = self._read(inputs)
        batch, time = (0, 1) if layer.batch_first else (1, 0)
        self.B, self.Tq, self.Tk = self.x[0].shape[batch], self.x[0].shape[time], self.x[1].shape[time]
        for name, x in (("key", self.x[1]), ("value", self.x[2])):
            if x.shape[batch] != self.B:
                raise ValueError(f"{name} must have the batch size of query, {self.B}, got shape {x.shape}")
        if self.x[2].shape[time] != self.Tk:
            raise ValueError(f"value must have {self.Tk} steps, as key has, got shape {self.x[2].shape}")
        self.causal = _check.flag(causal, "causal")
        self.lengths = _check.lengths(lengths, self.Tk, self.B)
        self.bias = self._bias(mask)
        self.scale = (self.E // self.N) ** -0.5

    def _read(self, inputs: tuple[ArrayLike | None, ...]) -> list[Array]:
        """Read the input of each role; the same one is read once."""
        found: list[Array] = []
        for role, name in enumerate(("query", "key", "value")):
            owner = self.owner[role]
            same = [earlier for earlier in range(role) if inputs[self.owner[earlier]] is inputs[owner]]
            if same:
                found.append(found[same[0]])
                continue
            x = as_real(inputs[owner], self.dtype, name)  # type: ignore[arg-type]
            if x.ndim != 3 or x.shape[-1] != self.E:
                raise ValueError(f"{name} must have shape (*, *, {self.E}), got {x.shape}")
            found.append(np.ascontiguousarray(x))
        return found

    def _bias(self, mask: ArrayLike | None) -> Array | None:
        scores = (self.B, self.N, self.Tq, self.Tk)
        if mask is not None:
            mask = as_array(mask, "mask")
            if mask.ndim == 3:
                shape = self.B * self.N, self.Tq, self.Tk
                if mask.shape != shape:
                    raise ValueError(f"mask of three axes must have shape {shape}, got {mask.shape}")
                mask = mask.reshape(scores)
        return _mask.additive(mask, self.dtype, scores)

    def _groups(self) -> list[tuple[int, int]]:
        """Runs of roles with the same input: from, to."""
        runs: list[tuple[int, int]] = []
        for role in range(3):
            if runs and self.x[role] is self.x[runs[-1][0]]:
                runs[-1] = (runs[-1][0], role + 1)
            else:
                runs.append((role, role + 1))
        return runs

    def _heads(self, joined: Array, x: Array, roles: int) -> list[Array]:
        """Views (B, N, T, D) of the roles side by side in the rows of `joined`."""
        parts = joined.reshape(*x.shape[:2], roles, self.N, self.E // self.N)
        return [parts[:, :, role].transpose(self.axes) for role in range(roles)]

    def _options(self) -> tuple[Any, ...]:
        return self.scale, self.lengths, self.causal, self.bias, self.dropout, self.seed

    def forward(self) -> Array:
        """Compute the output; keep q, k, v, and what the way back or the weights need besides."""
        self.q_k_v: list[Array] = []
        weight, bias = self.params["in_proj_weight"], self.params.get("in_proj_bias")
        for first, last in self._groups():
            x = self.x[first]
            joined = _core.empty((x.shape[0] * x.shape[1], (last - first) * self.E), self.dtype)
            rows = slice(first * self.E, last * self.E)
            part = None if bias is None else bias[rows]
            _core.linear_forward(x.reshape(-1, self.E), weight[rows], part, joined, self.threads)
            self.q_k_v += self._heads(joined, x, last - first)
        shape = self.x[0].shape
        self.out = _core.empty((shape[0] * shape[1], self.E), self.dtype)
        self.stats = _core.empty((self.B, self.N, self.Tq, 2), self.dtype) if self.need_stats else None
        (out,) = self._heads(self.out, self.x[0], 1)
        q, k, v = self.q_k_v
        _core.attention_forward(q, k, v, self._options(), out, self.stats, self.threads)
        y = np.empty_like(self.out)
        weight, bias = self.params["out_proj.weight"], self.params.get("out_proj.bias")
        _core.linear_forward(self.out, weight, bias, y, self.threads)
        return y.reshape(shape)

    def backward(self, dy: Array) -> tuple[Array, Array | None, Array | None, Gradients]:
        """Gradients, from that of the output as rows."""
        E, weight = self.E, self.params["in_proj_weight"]
        grads = {name: np.empty_like(value) for name, value in self.params.items()}
        dout, bias = _core.empty(dy.shape, self.dtype), grads.get("out_proj.bias")
        out_weight, dweight = self.params["out_proj.weight"], grads["out_proj.weight"]
        _core.linear_backward(self.out, out_weight, dy, dout, dweight, bias, self.threads)
        bias = grads.get("in_proj_bias")
        dx: list[Array | None] = [None, None, None]
        for (first, last), d in zip(self._groups(), self._core_gradients(dout), strict=True):
            rows, x = slice(first * E, last * E), self.x[first]
            dw, db = grads["in_proj_weight"][rows], None if bias is None else bias[rows]
            owners = sorted(set(self.owner[first:last]))
            for owner in owners:
                mine = [role for role in range(first, last) if self.owner[role] == owner]
                a, b = mine[0] * E, (mine[-1] + 1) * E
                part = np.empty((len(d), E), self.dtype)
                own, whole = d[:, a - rows.start : b - rows.start], len(owners) == 1
                w, dw_own, db_own = weight[a:b], dw if whole else None, db if whole else None
                _core.linear_backward(x.reshape(-1, E), w, own, part, dw_own, db_own, self.threads)
                before, part = dx[owner], part.reshape(x.shape)
                dx[owner] = part if before is None else before + part
            if len(owners) > 1:
                _core.linear_backward(x.reshape(-1, E), weight[rows], d, None, dw, db, self.threads)
        assert dx[0] is not None
        return dx[0], dx[1], dx[2], grads

    def _core_gradients(self, dout: Array) -> list[Array]:
        """Gradients of the joined projections, a group of roles each."""
        joined, parts = [], []
        for first, last in self._groups():
            x = self.x[first]
            joined.append(_core.empty((x.shape[0] * x.shape[1], (last - first) * self.E), self.dtype))
            parts += self._heads(joined[-1], x, last - first)
        (out,), (dout,) = self._heads(self.out, self.x[0], 1), self._heads(dout, self.x[0], 1)
        assert self.stats is not None
        (q, k, v), (dq, dk, dv) = self.q_k_v, parts
        options, stats = self._options(), self.stats
        _core.attention_backward(q, k, v, options, out, stats, dout, dq, dk, dv, self.threads)
        return joined

    def weights(self, average: bool) -> Array:
        """The weights (B, N, Tq, Tk), or (B, Tq, Tk) averaged over the heads."""
        heads = () if average else (self.N,)
        weights = np.empty((self.B, *heads, self.Tq, self.Tk), self.dtype)
        assert self.stats is not None
        q, k, v = self.q_k_v
        _core.attention_weights(q, k, v, self._options(), self.stats, weights, self.threads)
        return weights
