"""The clipping of gradients: by their norm, by their size, by the norms of the parameters."""

import math

import numpy as np
import pytest

from pyrnn import LSTM, Embedding, Linear, clip_grad_adaptive, clip_grad_norm, clip_grad_value
from pyrnn.optim import _clip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 100, _clip.BLOCK + 3])
def test_clipping_scales_to_the_norm_over_all_arrays(dtype, size):
    rng = np.random.default_rng(0)
    grads = [{"a": rng.standard_normal(size).astype(dtype)}, {"b": rng.standard_normal((3, 4)).astype(dtype)}]
    numbers = np.concatenate([g.ravel() for d in grads for g in d.values()]).astype(np.float64)
    norm = np.linalg.norm(numbers)
    assert clip_grad_norm(grads, 2 * norm) == pytest.approx(norm, rel=1e-13)
    np.testing.assert_array_equal(np.concatenate([g.ravel() for d in grads for g in d.values()]), numbers)
    assert clip_grad_norm(grads, 0.25) == pytest.approx(norm, rel=1e-13)
    assert clip_grad_norm(grads, math.inf) == pytest.approx(0.25, rel=8 * float(np.finfo(dtype).eps))
    np.testing.assert_allclose(
        grads[1]["b"].ravel(), numbers[size:] * (0.25 / norm), rtol=8 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 1e30), (np.float64, 1e200), (np.float64, 1e-200)])
def test_the_norm_neither_overflows_nor_underflows(dtype, value):
    grads = {"a": np.full(4, value, dtype)}
    assert clip_grad_norm(grads, math.inf) == pytest.approx(2 * value, rel=1e-6)
    assert clip_grad_norm(grads, value) == pytest.approx(2 * value, rel=1e-6)
    np.testing.assert_allclose(grads["a"], value / 2, rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_becomes_zero_and_shows_in_the_norm(bad):
    grads = [{"a": np.ones(3)}, {"b": np.array([1.0, bad], np.float32)}]
    assert not math.isfinite(clip_grad_norm(grads, 1.0))
    assert not grads[0]["a"].any() and not grads[1]["b"].any()


def test_clipping_nothing():
    assert clip_grad_norm({}, 1.0) == 0.0 and clip_grad_norm([], 1.0) == 0.0
    grads = {"a": np.zeros(3), "b": np.zeros((0, 2))}
    assert clip_grad_norm(grads, 1.0) == 0.0 and not grads["a"].any()


def test_clipping_reaches_strided_arrays():
    whole = np.ones((4, 4))
    clip_grad_norm({"a": whole[:, ::2]}, 1e-3)
    assert (whole[:, 1::2] == 1).all() and np.linalg.norm(whole[:, ::2]) == pytest.approx(1e-3)


def frozen(array):
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    ("grads", "max_norm", "error", "message"),
    [
        ({"a": np.ones(2)}, 0, ValueError, "max_norm must be greater than 0, got 0"),
        ({"a": np.ones(2)}, -1.0, ValueError, "max_norm must be .*got -1.0"),
        ({"a": np.ones(2)}, math.nan, ValueError, "max_norm must be .*got nan"),
        ({"a": np.ones(2)}, "1", TypeError, "max_norm must be a number, got '1'"),
        (
            {"a": np.ones(2, int)},
            1.0,
            TypeError,
            "gradient of 'a' must be a float32 or float64 array, got int64",
        ),
        ({"a": [1.0]}, 1.0, TypeError, "gradient of 'a' must be a float32 or float64 array, got list"),
        ({"a": frozen(np.ones(2))}, 1.0, ValueError, "gradient of 'a' must be writeable"),
        (np.ones(2), 1.0, TypeError, "grads must be a mapping or a sequence of mappings, got ndarray"),
    ],
)
def test_clipping_errors_name_the_argument(grads, max_norm, error, message):
    with pytest.raises(error, match=message):
        clip_grad_norm(grads, max_norm)


def test_clipping_by_value(dtype):
    rng = np.random.default_rng(0)
    grads = [
        {"a": rng.standard_normal((3, 4)).astype(dtype)},
        {"b": rng.standard_normal(50_000).astype(dtype)},
    ]
    truths = [np.clip(g, -0.5, 0.5) for d in grads for g in d.values()]
    peak = max(float(np.abs(g).max()) for d in grads for g in d.values())
    assert clip_grad_value(grads, math.inf) == peak == clip_grad_value(grads, 0.5)
    for d, truth in zip(grads, truths, strict=True):
        np.testing.assert_array_equal(*d.values(), truth, strict=True)
    assert clip_grad_value(grads, 0.5) == 0.5
    assert clip_grad_value({}, 1.0) == 0.0 == clip_grad_value([{"a": np.zeros((0, 2))}], 1.0)


def units(p, g, clipping, eps):
    """Equation 3 of Brock et al., unit by unit."""
    found = np.empty_like(g)
    for i in np.ndindex(p.shape[:1] if p.ndim > 1 else ()):
        own, bound = np.linalg.norm(g[i]), clipping * max(np.linalg.norm(p[i]), eps)
        found[i] = g[i] * (bound / own) if own > bound else g[i]
    return found


@pytest.mark.parametrize(
    "make", [lambda d: LSTM(3, 4, peepholes=True, dtype=d), lambda d: Embedding(9, 3, dtype=d)]
)
@pytest.mark.parametrize("scale", [1e-3, 0.03, 10])
def test_adaptive_clipping_follows_the_equation(dtype, make, scale):
    layer, rng = make(dtype), np.random.default_rng(0)
    grads = {name: (scale * rng.standard_normal(p.shape)).astype(dtype) for name, p in layer.params.items()}
    for g in grads.values():
        g[0] = 0
    wide = {name: g.astype(np.float64) for name, g in grads.items()}
    truths = {name: units(layer.params[name].astype(np.float64), g, 0.05, 1e-2) for name, g in wide.items()}
    measured = dict(grads)
    worst = clip_grad_adaptive(layer, grads, clipping=1e30)
    assert all(np.array_equal(grads[name], wide[name]) for name in grads)
    assert clip_grad_adaptive([layer.params], [measured], 0.05, 1e-2) <= worst
    for name, truth in truths.items():
        np.testing.assert_allclose(grads[name], truth, rtol=4 * np.finfo(dtype).eps, atol=0)


def test_units_are_rows_and_whole_vectors():
    layer = Linear(3, 2, rng=0)
    layer.params.update({"weight": [[3, 0, 4], [0, 0, 0]], "bias": [0, 2]})
    grads = {"weight": np.ones((2, 3)), "bias": np.array([3.0, 4.0])}
    assert clip_grad_adaptive(layer, grads, clipping=0.1, eps=0.5) == pytest.approx(math.sqrt(3) / 0.5)
    norms = np.linalg.norm(grads["weight"], axis=1)
    np.testing.assert_allclose(norms, [0.5, 0.05])
    np.testing.assert_allclose(grads["bias"], [0.12, 0.16])


@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_adaptive_clipping_neither_overflows_nor_underflows(value):
    params, grads = {"a": np.full((2, 4), value)}, {"a": np.full((2, 4), value)}
    assert clip_grad_adaptive(params, grads, 0.5, eps=1e-300) == pytest.approx(1.0)
    np.testing.assert_allclose(grads["a"], value / 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_every_clipping_zeroes_gradients_that_are_not_finite(bad):
    params = {"a": np.ones(3), "b": np.ones(2)}
    for clip in (lambda g: clip_grad_value(g, 1.0), lambda g: clip_grad_adaptive(params, g)):
        grads = {"a": np.ones(3), "b": np.array([1.0, bad])}
        assert not math.isfinite(clip(grads))
        assert not grads["a"].any() and not grads["b"].any()


A = {"a": np.ones(2)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: clip_grad_value(A, 0), ValueError, "limit must be greater than 0, got 0"),
        (lambda: clip_grad_value(A, math.nan), ValueError, "limit must be .*got nan"),
        (lambda: clip_grad_value({"a": [1.0]}, 1), TypeError, "gradient of 'a' must be a float32 or float64"),
        (lambda: clip_grad_adaptive(A, A, 0), ValueError, "clipping must be greater than 0, got 0"),
        (
            lambda: clip_grad_adaptive(A, A, eps=-1),
            ValueError,
            "eps must be finite and between 0 and inf, got -1",
        ),
        (
            lambda: clip_grad_adaptive(None, A),
            TypeError,
            "layers must be layers or mappings of parameters, got N",
        ),
        (lambda: clip_grad_adaptive(A, None), TypeError, "grads must be a mapping or a sequence of mappings"),
        (lambda: clip_grad_adaptive(A, [A, A]), ValueError, "grads must be 1 mappings, one a layer, got 2"),
        (lambda: clip_grad_adaptive(A, {"b": np.ones(2)}), ValueError, "grads lacks 'a'"),
        (lambda: clip_grad_adaptive([A], [{}]), ValueError, r"grads\[0\] lacks 'a'"),
        (
            lambda: clip_grad_adaptive(A, {"a": np.ones(3)}),
            ValueError,
            r"grads\['a'\] must have shape \(2,\)",
        ),
        (
            lambda: clip_grad_adaptive(A, {"a": frozen(np.ones(2))}),
            ValueError,
            "gradient of 'a' must be writeable",
        ),
    ],
)
def test_errors_of_the_others_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert (A["a"] == 1).all()
