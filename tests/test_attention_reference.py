"""The reference of the attention layers, proved by central differences."""

import numpy as np
import pytest

from pyrnn.reference import attention

from .slopes import assert_slope

B, N, TQ, TK, E = 2, 2, 3, 4, 6


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 0]])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_multi_head(causal, lengths, dropout):
    x = [normal(B, T, E, seed=i) for i, T in enumerate((TQ, TK, TK))]
    params = {"in_proj_weight": normal(3 * E, E) / 2, "in_proj_bias": normal(3 * E)}
    params |= {"out_proj.weight": normal(E, E), "out_proj.bias": normal(E)}
    added, dy = attention.hide(TQ, TK, causal, lengths), normal(B, TQ, E)
    mask = attention.dropout(dropout, 7, B, N, TQ, TK)
    y, p, dx, grads = attention.multi_head(x, params, N, added, dy, mask)
    assert y.shape == dy.shape and p.shape == (B, N, TQ, TK)
    for i in range(3):

        def loss(new, i=i):
            return float(
                (attention.multi_head([*x[:i], new, *x[i + 1 :]], params, N, added, dy, mask)[0] * dy).sum()
            )

        assert_slope(dx[i], loss, x[i])
    for name, value in params.items():

        def loss(new, name=name):
            return float((attention.multi_head(x, params | {name: new}, N, added, dy, mask)[0] * dy).sum())

        assert_slope(grads[name], loss, value)


def test_dropout():
    mask = attention.dropout(0.25, 2**40 + 3, 3, 2, 20, 50)
    assert mask.shape == (3, 2, 20, 50) and set(np.unique(mask)) == {0, 1 / 0.75}
    # The share of 6000 draws: four standard deviations.
    assert abs((mask == 0).mean() - 0.25) < 4 * (0.25 * 0.75 / mask.size) ** 0.5
    for axis in range(4):  # no two batch rows, heads, queries or keys alike
        parts = np.moveaxis(mask, axis, 0)
        assert not (parts[0] == parts[1]).all()
    assert not (mask == attention.dropout(0.25, 3, 3, 2, 20, 50)).all()
    assert not attention.dropout(1.0, 0, 1, 1, 2, 3).any()


def test_softmax():
    s, dp = normal(3, 5), normal(3, 5)
    s[0, 2] = -np.inf
    p = attention.softmax(s)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=0, atol=4 * np.finfo(float).eps)
    assert p[0, 2] == 0
    finite = np.where(np.isinf(s), -1e3, s)
    assert_slope(
        attention.softmax_back(p, dp), lambda new: float((attention.softmax(new) * dp).sum()), finite
    )
    assert not attention.softmax(np.full((1, 3), -np.inf)).any()


def test_additive_scores():
    q, v, ds = normal(B, TQ, 3), normal(B, TK, 4), normal(B, TQ, TK)
    params = {
        "weight_query": normal(5, 3),
        "weight_value": normal(5, 4),
        "bias": normal(5),
        "score": normal(5),
    }
    dq, dv, grads = attention.additive_scores_back(q, v, params, ds)

    def loss(q=q, v=v, **new):
        return float((attention.additive_scores(q, v, params | new) * ds).sum())

    assert_slope(dq, lambda new: loss(q=new), q)
    assert_slope(dv, lambda new: loss(v=new), v)
    for name, value in params.items():
        assert_slope(grads[name], lambda new, name=name: loss(**{name: new}), value)


def test_general_scores():
    q, v, weight, ds = normal(B, TQ, 3), normal(B, TK, 4), normal(3, 4), normal(B, TQ, TK)
    slopes = attention.general_scores_back(q, v, weight, 0.5, ds)
    for i, value in enumerate((q, v, weight)):

        def loss(new, i=i):
            given = [q, v, weight]
            given[i] = new
            return float((attention.general_scores(*given, 0.5) * ds).sum())

        assert_slope(slopes[i], loss, value)
