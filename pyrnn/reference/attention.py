"""Attention in NumPy: scores, softmax, weighted sum, each with its derivative, and layers of them.

Scores that a query may not attend to are -inf; a query with no other gets zeros. Shapes: query (B, Tq, ...),
keys and values (B, Tk, ...), heads as a further axis after the batch.
"""

import numpy as np

from .common import Array
from .options import zoned


def softmax(s: Array) -> Array:
    top = s.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(np.isinf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    p: Array = e / np.where(total == 0, 1, total)
    return p


def softmax_back(p: Array, dp: Array) -> Array:
    ds: Array = p * (dp - (p * dp).sum(-1, keepdims=True))
    return ds


def hide(Tq: int, Tk: int, causal: bool, lengths: Array | None) -> Array:
    """What is added to the scores, (B or 1, 1, Tq, Tk): 0, or -inf where a query may not attend."""
    i, j = np.arange(Tq)[:, None], np.arange(Tk)
    hidden = np.broadcast_to(j > i if causal else False, (1, 1, Tq, Tk))
    if lengths is not None:
        hidden = hidden | (j >= np.asarray(lengths)[:, None, None, None])
    return np.where(hidden, -np.inf, 0.0)


def dropout(p: float, seed: int, B: int, N: int, Tq: int, Tk: int) -> Array:
    """What multiplies weights in training, (B, N, Tq, Tk): 0 with probability `p`, else 1 / (1 - p)."""
    dropped = [[zoned(p, seed, n, i, B, Tk) for i in range(Tq)] for n in range(N)]
    kept = np.moveaxis(~np.array(dropped, bool).reshape(N, Tq, B, Tk), 2, 0)
    return kept / (1 - float(np.float32(p))) if p < 1 else np.zeros(kept.shape)


def dot_product(
    q: Array, k: Array, v: Array, added: Array, scale: float, mask: Array | float = 1.0
) -> tuple[Array, Array]:
    """Output and weights of q (B, N, Tq, D), k and v (B, N, Tk, D); `mask` is of dropout."""
    p = softmax(scale * np.einsum("bnid,bnjd->bnij", q, k) + added)
    return np.einsum("bnij,bnjd->bnid", p * mask, v), p


def dot_product_back(
    q: Array, k: Array, v: Array, p: Array, scale: float, do: Array, mask: Array | float = 1.0
) -> tuple[Array, Array, Array]:
    """Gradients of q, k, v from that of the output."""
    ds = scale * softmax_back(p, np.einsum("bnid,bnjd->bnij", do, v) * mask)
    dq, dk = np.einsum("bnij,bnjd->bnid", ds, k), np.einsum("bnij,bnid->bnjd", ds, q)
    return dq, dk, np.einsum("bnij,bnid->bnjd", p * mask, do)


def split(x: Array, N: int) -> Array:
    """(B, T, N * D) to (B, N, T, D)."""
    return x.reshape(*x.shape[:2], N, x.shape[2] // N).swapaxes(1, 2)


def join(x: Array) -> Array:
    B, N, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, N * D)


def multi_head(
    x: list[Array],
    params: dict[str, Array],
    N: int,
    added: Array,
    dy: Array,
    mask: Array | float = 1.0,
) -> tuple[Array, Array, list[Array], dict[str, Array]]:
    """Vaswani et al. 2017: output, weights, gradients of query, key and value, x, and of the parameters."""
    E = dy.shape[-1]
    W, b = np.split(params["in_proj_weight"], 3), np.split(params["in_proj_bias"], 3)
    q, k, v = (split(x[i] @ W[i].T + b[i], N) for i in range(3))
    scale = (E // N) ** -0.5
    heads, p = dot_product(q, k, v, added, scale, mask)
    o = join(heads)
    y = o @ params["out_proj.weight"].T + params["out_proj.bias"]
    do = split(dy @ params["out_proj.weight"], N)
    d = [join(g) for g in dot_product_back(q, k, v, p, scale, do, mask)]
    grads = {
        "in_proj_weight": np.concatenate([np.einsum("bto,bti->oi", d[i], x[i]) for i in range(3)]),
        "in_proj_bias": np.concatenate([d[i].sum((0, 1)) for i in range(3)]),
        "out_proj.weight": np.einsum("bto,bti->oi", dy, o),
        "out_proj.bias": dy.sum((0, 1)),
    }
    return y, p, [d[i] @ W[i] for i in range(3)], grads


def additive_scores(q: Array, v: Array, params: dict[str, Array]) -> Array:
    """Bahdanau et al. 2015: q (B, Tq, Q), v (B, T, V) to (B, Tq, T)."""
    inner = (
        (q @ params["weight_query"].T)[:, :, None] + (v @ params["weight_value"].T)[:, None] + params["bias"]
    )
    s: Array = np.tanh(inner) @ params["score"]
    return s


def additive_scores_back(
    q: Array, v: Array, params: dict[str, Array], ds: Array
) -> tuple[Array, Array, dict[str, Array]]:
    inner = (
        (q @ params["weight_query"].T)[:, :, None] + (v @ params["weight_value"].T)[:, None] + params["bias"]
    )
    da = ds[..., None] * params["score"] / np.cosh(inner) ** 2
    grads = {
        "weight_query": np.einsum("bija,biq->aq", da, q),
        "weight_value": np.einsum("bija,bjv->av", da, v),
        "bias": da.sum((0, 1, 2)),
        "score": np.einsum("bij,bija->a", ds, np.tanh(inner)),
    }
    return (
        np.einsum("bija,aq->biq", da, params["weight_query"]),
        np.einsum("bija,av->bjv", da, params["weight_value"]),
        grads,
    )


def general_scores(q: Array, v: Array, weight: Array, scale: float) -> Array:
    """Luong et al. 2015: q weight v; the identity for the plain dot product."""
    s: Array = scale * np.einsum("biq,qv,bjv->bij", q, weight, v)
    return s


def general_scores_back(
    q: Array, v: Array, weight: Array, scale: float, ds: Array
) -> tuple[Array, Array, Array]:
    dq = scale * np.einsum("bij,qv,bjv->biq", ds, weight, v)
    dv = scale * np.einsum("bij,biq,qv->bjv", ds, q, weight)
    return dq, dv, scale * np.einsum("bij,biq,bjv->qv", ds, q, v)
