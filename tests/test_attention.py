"""MultiHeadAttention: PyTorch's numbers, gradients, laws, errors."""

import copy
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyrnn
from pyrnn import MultiHeadAttention
from pyrnn.reference import attention

from .disguises import FLAGS, RNGS, SIZES, wrong_kinds, wrong_lengths, wrong_shapes
from .problems import assert_names, assert_near, tolerance
from .slopes import assert_slope

with np.load(Path(__file__).parent / "golden" / "attention.npz") as file:
    GOLDEN = dict(file)
CASES = list(dict.fromkeys(name.split("/")[0] for name in GOLDEN))


def group(case, part):
    start = f"{case}/{part}/"
    return {name.removeprefix(start): array for name, array in GOLDEN.items() if name.startswith(start)}


def random_layer(dtype, bias=True, E=8, N=2, **options):
    """Every parameter random, biases too."""
    layer = MultiHeadAttention(E, N, bias=bias, dtype=dtype, rng=0, **options)
    rng = np.random.default_rng(1)
    layer.params.update({name: rng.standard_normal(a.shape) * E**-0.5 for name, a in layer.params.items()})
    return layer


def normal(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


# ---- values ----


@pytest.mark.parametrize("case", CASES)
def test_pytorch_agrees(case, dtype, isa):
    """A state_dict of theirs, loaded, computes what it did there."""
    inputs, params, out, grads = (group(case, part) for part in ("in", "params", "out", "grads"))
    layer = MultiHeadAttention(6, 2, bias="in_proj_bias" in params, dtype=dtype)
    assert list(layer.params) == list(params)
    layer.load_state_dict(params)
    x = [inputs[name] for name in ("query", "key", "value") if name in inputs]
    options = {"mask": inputs.get("attn_mask")}
    if "key_padding_mask" in inputs:
        options = {"lengths": (~inputs["key_padding_mask"]).sum(1)}
        padded = layer(*x, mask=inputs["key_padding_mask"][:, None, None])
        np.testing.assert_array_equal(padded, layer(*x, **options))
    y, weights = layer(*x, **options, need_weights=True, average_attn_weights=False)
    bound = 16 * tolerance(dtype, 100)
    assert_near(y, out["y"], bound)
    assert_near(weights, out["weights"], bound)
    y, pull = layer.vjp(*x, **options)
    assert_near(y, out["y"], bound)
    *dx, mine = pull(inputs["dy"])
    for name, d in zip(("query", "key", "value"), dx, strict=True):
        if name in inputs:
            assert_near(d, out[f"d{name}"], bound)
        else:
            assert d is None
    for name, d in mine.items():
        assert_near(d, grads[name], bound)
    if case == "causal":
        np.testing.assert_array_equal(layer(*x, causal=True), layer(*x, **options))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [None, [60, 0, 33]])
def test_is_the_reference(dtype, isa, batch_first, causal, lengths):
    layer = random_layer(dtype, E=24, N=3, batch_first=batch_first)
    x = [normal(dtype, 3, T, 24, seed=i) for i, T in enumerate((50, 65, 65))]
    dy = normal(dtype, 3, 50, 24, seed=3)
    params = {name: a.astype(float) for name, a in layer.params.items()}
    added = attention.hide(50, 65, causal, lengths)
    wide = [a.astype(float) for a in x]
    y, weights, dx, grads = attention.multi_head(wide, params, 3, added, dy.astype(float))

    def turned(array):
        return array if batch_first else array.swapaxes(0, 1)

    given = [turned(a) for a in x]
    actual, p = layer(*given, causal=causal, lengths=lengths, need_weights=True)
    bound = 16 * tolerance(dtype, 24 * 65)
    assert_near(turned(actual), y, bound)
    assert_near(p, weights.mean(1), bound)
    actual, pull = layer.vjp(*given, causal=causal, lengths=lengths)
    *slopes, mine = pull(turned(dy))
    assert_near(turned(actual), y, bound)
    for a, b in zip(slopes, dx, strict=True):
        assert_near(turned(a), b, bound)
    for name in grads:
        assert_near(mine[name], grads[name], bound)
        assert mine[name].dtype == dtype


def test_what_is_not_given_shares_the_gradient(dtype):
    layer, x, m = random_layer(dtype), normal(dtype, 5, 2, 8), normal(dtype, 4, 2, 8, seed=1)
    dy, bound = normal(dtype, 5, 2, 8, seed=2), 16 * tolerance(dtype, 100)
    for short, whole, owner in (
        ((x,), (x, x, x), [0, 0, 0]),
        ((x, m), (x, m, m), [0, 1, 1]),
        ((x, None, x), (x, x, x), [0, 0, 2]),
    ):
        (y, pull), (y_whole, pull_whole) = layer.vjp(*short), layer.vjp(*whole)
        np.testing.assert_array_equal(y, y_whole)
        (*dx, grads), (*parts, grads_whole) = pull(dy), pull_whole(dy)
        for name in grads:
            np.testing.assert_array_equal(grads[name], grads_whole[name])
        for i in range(3):
            shares = [part for part, of in zip(parts, owner, strict=True) if of == i]
            assert (dx[i] is None) == (not shares)
            if shares:
                assert_near(dx[i], sum(shares), bound)
        equal = layer.vjp(*(a.copy() for a in whole))[1](dy)  # equal inputs, but not the same
        for part, other in zip(parts, equal, strict=False):
            assert_near(other, part, bound)


def test_a_query_without_keys_gives_the_bias(dtype):
    layer, x = random_layer(dtype), normal(dtype, 5, 2, 8)
    y, pull = layer.vjp(x, lengths=[0, 5])
    np.testing.assert_array_equal(y[:, 0], np.broadcast_to(layer.params["out_proj.bias"], (5, 8)))
    dx, _, _, grads = pull(np.ones_like(y))
    assert not dx[:, 0].any() and dx[:, 1].any()
    assert all(np.isfinite(a).all() for a in grads.values())
    _, weights = layer(x, lengths=[0, 5], need_weights=True)
    assert not weights[0].any()
    np.testing.assert_allclose(weights[1].sum(-1), 1, rtol=0, atol=8 * np.finfo(dtype).eps)
    y = layer(x, mask=np.ones((5, 5), bool))
    np.testing.assert_array_equal(y, np.broadcast_to(layer.params["out_proj.bias"], y.shape))


@pytest.mark.parametrize("sizes", [(0, 3, 2), (3, 0, 2), (3, 4, 0), (0, 0, 0)])
def test_empty_inputs_are_legal(sizes):
    Tq, Tk, B = sizes
    layer, query, key = random_layer(np.float32), np.ones((Tq, B, 8)), np.ones((Tk, B, 8))
    y, pull = layer.vjp(query, key)
    assert y.shape == (Tq, B, 8)
    dq, dk, dv, grads = pull(y)
    assert (dq.shape, dk.shape, dv) == (query.shape, key.shape, None)
    assert {name: a.shape for name, a in grads.items()} == {name: a.shape for name, a in layer.params.items()}


# ---- laws ----


def test_threads_change_nothing(threads, dtype):
    layer, x = random_layer(dtype, E=64, N=4), normal(dtype, 130, 3, 64)
    results = []
    for n in (1, 2, 5):
        threads(n)
        y, pull = layer.vjp(x, causal=True)
        dx, _, _, grads = pull(np.ones_like(y))
        results.append((y, layer(x, causal=True), dx, *grads.values()))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_nan_beyond_a_length_changes_nothing(dtype):
    layer, query = random_layer(dtype), normal(dtype, 5, 2, 8)
    key, value = normal(dtype, 70, 2, 8, seed=1), normal(dtype, 70, 2, 8, seed=2)
    before = layer(query, key, value, lengths=[65, 3])
    for b, n in enumerate([65, 3]):
        key[n:, b] = value[n:, b] = np.nan
    np.testing.assert_array_equal(layer(query, key, value, lengths=[65, 3]), before)


def test_inputs_are_not_written_to(dtype):
    layer = random_layer(dtype)
    x = [normal(dtype, T, 2, 8, seed=T) for T in (5, 6, 6)]
    mask, dy = normal(dtype, 5, 6), np.ones((5, 2, 8), dtype)
    arrays = [*x, mask, dy]
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.setflags(write=False)
    layer(*x, mask=mask, need_weights=True)
    layer.vjp(*x, mask=mask)[1](dy)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pull_uses_the_weights_of_its_forward_pass(dtype):
    layer, x = random_layer(dtype), normal(dtype, 5, 2, 8)
    y, pull = layer.vjp(x)
    dx, _, _, grads = pull(y)
    y_before = y.copy()
    layer.params.update({name: a + 1 for name, a in layer.params.items()})
    layer(x)
    again, _, _, others = pull(y_before)
    np.testing.assert_array_equal(dx, again)
    for name, array in grads.items():
        np.testing.assert_array_equal(others[name], array)
        array[:] = 0  # the caller's
    np.testing.assert_array_equal(pull(y_before)[3]["in_proj_weight"], others["in_proj_weight"])


def test_any_stride(dtype):
    layer, x = random_layer(dtype), normal(dtype, 5, 2, 8)
    for same in (np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2], x[::-1].copy()[::-1], x.tolist()):
        np.testing.assert_array_equal(layer(same), layer(x))
    mask = normal(dtype, 5, 5)
    np.testing.assert_array_equal(layer(x, mask=np.asfortranarray(mask)), layer(x, mask=mask))


def test_memory_grows_with_the_steps_and_not_with_their_square():
    layer, peaks = random_layer(np.float32), []
    for T in (2000, 4000):
        x = normal(np.float32, T, 1, 8)
        pyrnn.empty_cache()
        tracemalloc.start()
        layer(x)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0] and peaks[1] < 4000 * 4000


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_pickle_and_copy(clone):
    layer = random_layer(np.float32, bias=False, batch_first=True, dropout=0.1)
    x, other = normal(np.float32, 5, 2, 8), clone(layer)
    expected = "MultiHeadAttention(8, 2, dropout=0.1, bias=False, batch_first=True)"
    assert repr(other) == repr(layer) == expected
    np.testing.assert_array_equal(other(x), layer(x))


def test_starts_as_pytorch_does():
    params = MultiHeadAttention(128, 4, rng=0).params
    for name, bound in (("in_proj_weight", (6 / 512) ** 0.5), ("out_proj.weight", 128**-0.5)):
        assert np.abs(params[name]).max() <= bound
        assert params[name].std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not params["in_proj_bias"].any() and not params["out_proj.bias"].any()


# ---- dropout ----


def test_gradients_with_dropout_are_central_differences():
    layer, dy = random_layer(np.float64, dropout=0.3), normal(float, 5, 2, 8, seed=1)
    x = [normal(float, T, 2, 8, seed=T) for T in (5, 6)]
    y, pull = layer.vjp(*x, rng=5)
    assert (y != layer(*x)).any()
    dquery, dkey, _, grads = pull(dy)

    def loss(*x):
        return float((layer.vjp(*x, rng=5)[0] * dy).sum())

    assert_slope(dquery, lambda new: loss(new, x[1]), x[0])
    assert_slope(dkey, lambda new: loss(x[0], new), x[1])
    for name, array in grads.items():
        value = layer.params[name].copy()

        def moved(new, name=name):
            layer.params[name] = new
            return loss(*x)

        assert_slope(array, moved, value)
        layer.params[name] = value


def test_dropout_is_for_training_and_follows_its_source():
    layer, x = random_layer(np.float32, dropout=0.5), normal(np.float32, 5, 2, 8)
    np.testing.assert_array_equal(layer(x), random_layer(np.float32)(x))
    first, again = layer.vjp(x, rng=1)[0], layer.vjp(x, rng=1)[0]
    np.testing.assert_array_equal(first, again)
    assert (first != layer.vjp(x, rng=2)[0]).any()
    assert (layer.vjp(x)[0] != layer.vjp(x)[0]).any()  # goes on with the layer's own
    all_dropped = random_layer(np.float32, dropout=1.0)
    y, pull = all_dropped.vjp(x)
    np.testing.assert_array_equal(y, np.broadcast_to(all_dropped.params["out_proj.bias"], y.shape))
    assert not pull(y)[0].any()


# ---- errors ----


def test_errors_name_the_argument():
    layer, x = random_layer(np.float32), np.ones((5, 2, 8))
    with pytest.raises(ValueError, match="num_heads must divide embed_dim 8, got 3"):
        MultiHeadAttention(8, 3)
    for size in SIZES:
        for make in (lambda n: MultiHeadAttention(n, 1), lambda n: MultiHeadAttention(8, n)):
            with pytest.raises((TypeError, ValueError)) as error:
                make(size)
            assert_names(error, ["embed_dim", "num_heads"])
    for rng in RNGS:
        with pytest.raises((TypeError, ValueError), match="rng"):
            MultiHeadAttention(8, 2, rng=rng)
        with pytest.raises((TypeError, ValueError), match="rng"):
            layer.vjp(x, rng=rng)
    for dropout in (-0.1, 1.5, np.nan, "x", True):
        with pytest.raises((TypeError, ValueError), match="dropout"):
            MultiHeadAttention(8, 2, dropout)
    for flag in FLAGS:
        for name in ("bias", "batch_first"):
            with pytest.raises(TypeError, match=name):
                MultiHeadAttention(8, 2, **{name: flag})
        for name in ("causal", "need_weights", "average_attn_weights"):
            with pytest.raises(TypeError, match=name):
                layer(x, **{name: flag})
    for wrong in wrong_lengths(5, 2):
        with pytest.raises((TypeError, ValueError), match="lengths"):
            layer(x, lengths=wrong)


@pytest.mark.parametrize("role", [0, 1, 2])
def test_errors_name_the_input(role):
    layer, x = random_layer(np.float32), np.ones((5, 2, 8))
    name = ("query", "key", "value")[role]
    # The batch and the steps of one are judged by those of another.
    for wrong in [
        *wrong_kinds(x),
        *wrong_shapes(x, (2,)),
        np.ones((5, 3, 8)),
        *([np.ones((6, 2, 8))] * (role == 2)),
    ]:
        for call in (layer, layer.vjp):
            given = [x, x, x]
            given[role] = wrong
            with pytest.raises((TypeError, ValueError)) as error:
                call(*given)
            assert_names(error, [name] if role else ["query", "key"])


def test_errors_name_the_mask_and_the_gradient():
    layer, x = random_layer(np.float32), np.ones((5, 2, 8))
    for mask in (np.ones((5, 5), int), "text", np.ones((5, 5), complex), object(), [[1.0], [1.0, 2.0]]):
        with pytest.raises((TypeError, ValueError), match="mask"):
            layer(x, mask=mask)
    for shape in ((5, 4), (4, 5), (2, 5, 5), (3, 2, 5, 5), (1, 2, 2, 5, 5), (2,)):
        with pytest.raises(ValueError, match="mask"):
            layer(x, mask=np.zeros(shape))
    pull = layer.vjp(x)[1]
    for wrong in (*wrong_kinds(x), *wrong_shapes(x, (0, 1, 2))):
        with pytest.raises((TypeError, ValueError), match="doutput"):
            pull(wrong)


@st.composite
def calls(draw):
    heads, size = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    B, Tq, Tk = draw(st.integers(0, 3)), draw(st.integers(0, 60)), draw(st.integers(0, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = draw(
        st.sampled_from([None, (Tq, Tk), (B * heads, Tq, Tk), (B, 1, 1, Tk), (1, heads, Tq, 1), (Tk,)])
    )
    given = {
        "causal": draw(st.booleans()),
        "lengths": draw(st.sampled_from([None, rng.integers(0, Tk + 1, B)])),
    }
    if mask is not None:
        hidden = rng.random(mask) < 0.4
        given["mask"] = draw(st.sampled_from([hidden, np.where(hidden, -np.inf, rng.standard_normal(mask))]))
    return heads, size, rng, (B, Tq, Tk), given


@given(calls(), st.sampled_from([0.0, 0.3]), st.integers(0, 2**40))
def test_random_calls_are_the_reference(call, dropout, seed):
    N, D, rng, (B, Tq, Tk), options = call
    E = N * D
    layer = random_layer(np.float64, E=E, N=N, batch_first=True, dropout=dropout)
    x = [rng.standard_normal((B, T, E)) for T in (Tq, Tk, Tk)]
    added = attention.hide(Tq, Tk, options["causal"], options["lengths"])
    mask = options.get("mask")
    if mask is not None:
        mask = np.where(mask, -np.inf, 0) if mask.dtype == bool else mask
        added = added + (mask.reshape(B, N, Tq, Tk) if mask.ndim == 3 else mask)
    dy = rng.standard_normal((B, Tq, E))
    y, weights, dx, grads = attention.multi_head(x, dict(layer.params), N, added, dy)
    actual, p = layer(*x, **options, need_weights=True, average_attn_weights=False)
    assert_near(actual, y, 1e-12)
    assert_near(p, weights, 1e-12)
    drawn = int(np.random.default_rng(seed).integers(2**63))
    dropped = attention.dropout(dropout, drawn, B, N, Tq, Tk)
    y, weights, dx, grads = attention.multi_head(x, dict(layer.params), N, added, dy, dropped)
    actual, pull = layer.vjp(*x, **options, rng=seed)
    *slopes, mine = pull(dy)
    assert_near(actual, y, 1e-12)
    for a, b in zip([*slopes, *mine.values()], [*dx, *(grads[name] for name in mine)], strict=True):
        assert_near(a, b, 1e-11)
