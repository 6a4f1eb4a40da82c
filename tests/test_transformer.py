"""TransformerEncoderLayer: PyTorch's numbers, the reference, gradients, dropout, errors."""

import copy
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from pyrnn import Adam, Sequential, TransformerEncoderLayer
from pyrnn.layers import _activations
from pyrnn.reference import attention, transformer

from .disguises import FLAGS, RNGS, SIZES, wrong_kinds, wrong_lengths, wrong_shapes
from .problems import assert_near, tolerance
from .slopes import assert_slope

with np.load(Path(__file__).parent / "golden" / "transformer.npz") as file:
    GOLDEN = dict(file)


def group(case, part):
    start = f"{case}/{part}/"
    return {name.removeprefix(start): array for name, array in GOLDEN.items() if name.startswith(start)}


def random_layer(dtype=np.float64, **options):
    """Every parameter random, biases too."""
    layer = TransformerEncoderLayer(8, 2, 6, **{"dropout": 0.0, "dtype": dtype, "rng": 0} | options)
    rng = np.random.default_rng(1)
    layer.params.update({name: rng.standard_normal(a.shape) / 2 for name, a in layer.params.items()})
    return layer


def normal(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


each_form = pytest.mark.parametrize("norm_first", [False, True])
each_activation = pytest.mark.parametrize("activation", ["relu", "gelu"])


# ---- activations ----


def test_gelu_is_the_formula(dtype):
    x = np.concatenate([np.linspace(-12, 12, 20_001), [0.0, -0.0, 1e-30, 39, -39, 1e30, -1e30]]).astype(dtype)
    y, slope = _activations.gelu(x)
    desired, slopes = transformer.gelu(np.clip(x.astype(float), -39, 39))
    desired[-2], desired[-1] = x[-2], 0
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, desired, rtol=8 * eps, atol=4 * eps)
    np.testing.assert_allclose(slope, slopes, rtol=8 * eps, atol=4 * eps)
    assert np.isnan(_activations.gelu(np.array([np.nan], dtype))[0]).all()
    y, slope = _activations.gelu(np.array([np.inf, -np.inf], dtype))
    assert y.tolist() == [np.inf, 0] and slope.tolist() == [1, 0]


def test_reference_slopes_are_central_differences():
    x = normal(float, 50)
    for activation in (transformer.gelu, transformer.relu):
        assert_slope(activation(x)[1], lambda new, f=activation: float(f(new)[0].sum()), x)
    assert transformer.gelu(np.array([1.0]))[0] == pytest.approx((1 + math.erf(0.5**0.5)) / 2)


# ---- values and gradients ----


@pytest.mark.parametrize("case", ["relu", "gelu-first"])
def test_pytorch_agrees(case, dtype, isa):
    inputs, params, out, grads = (group(case, part) for part in ("in", "params", "out", "grads"))
    activation, _, first = case.partition("-")
    layer = TransformerEncoderLayer(
        6, 2, 5, dropout=0, activation=activation, norm_first=bool(first), dtype=dtype
    )
    assert list(layer.params) == list(params)
    layer.load_state_dict(params)
    lengths = (~inputs["padding"]).sum(1) if "padding" in inputs else None
    y, pull = layer.vjp(inputs["src"], lengths=lengths)
    dx, mine = pull(inputs["dy"])
    bound = 64 * tolerance(dtype, 100)  # weights of order one amplify what was rounded
    assert_near(y, out["y"], bound)
    assert_near(layer(inputs["src"], lengths=lengths), out["y"], bound)
    assert_near(dx, out["dsrc"], bound)
    assert list(mine) == list(params)
    for name, d in mine.items():
        assert_near(d, grads[name], bound)


@each_form
@each_activation
@pytest.mark.parametrize("lengths", [None, [5, 0, 2]])
def test_is_the_reference(dtype, norm_first, activation, lengths):
    layer = random_layer(dtype, norm_first=norm_first, activation=activation, batch_first=True)
    x, dy = normal(dtype, 3, 5, 8), normal(dtype, 3, 5, 8, seed=1)
    params = {name: a.astype(float) for name, a in layer.params.items()}
    y, dx, grads = transformer.encoder_layer(
        x.astype(float),
        params,
        2,
        attention.hide(5, 5, True, lengths),
        activation,
        norm_first,
        dy.astype(float),
    )
    actual, pull = layer.vjp(x, causal=True, lengths=lengths)
    mine_dx, mine = pull(dy)
    bound = 64 * tolerance(dtype, 100)
    assert_near(actual, y, bound)
    assert_near(layer(x, causal=True, lengths=lengths), y, bound)
    assert_near(mine_dx, dx, bound)
    assert list(mine) == list(layer.params)
    for name, d in mine.items():
        assert d.dtype == dtype
        assert_near(d, grads[name], bound)


@each_form
@each_activation
def test_reference_gradients_are_central_differences(norm_first, activation):
    layer = random_layer()
    params = dict(layer.params)
    x, dy, added = normal(float, 2, 3, 8), normal(float, 2, 3, 8, seed=1), attention.hide(3, 3, True, None)

    def loss(x=x, **new):
        y = transformer.encoder_layer(x, params | new, 2, added, activation, norm_first, dy)[0]
        return float((y * dy).sum())

    _, dx, grads = transformer.encoder_layer(x, params, 2, added, activation, norm_first, dy)
    assert_slope(dx, lambda new: loss(x=new), x)
    for name, value in params.items():
        assert_slope(grads[name], lambda new, name=name: loss(**{name: new}), value)


@each_form
def test_gradients_with_dropout_are_central_differences(norm_first):
    """The same seed drops the same numbers."""
    layer = random_layer(dropout=0.3, norm_first=norm_first, activation="gelu")
    x, dy = normal(float, 3, 2, 8), normal(float, 3, 2, 8, seed=1)
    y, pull = layer.vjp(x, rng=5)
    assert (y != layer(x)).any()
    dx, grads = pull(dy)
    assert_slope(dx, lambda new: float((layer.vjp(new, rng=5)[0] * dy).sum()), x)
    for name in ("linear1.weight", "self_attn.out_proj.bias", "norm1.weight"):
        value = layer.params[name].copy()

        def loss(new, name=name):
            layer.params[name] = new
            return float((layer.vjp(x, rng=5)[0] * dy).sum())

        assert_slope(grads[name], loss, value)
        layer.params[name] = value


def test_dropout_goes_on_with_the_layers_generator():
    layer, x = random_layer(dropout=0.3), normal(float, 3, 2, 8)
    assert (layer.vjp(x)[0] != layer.vjp(x)[0]).any()
    np.testing.assert_array_equal(layer(x), random_layer()(x))


# ---- laws ----


def test_inputs_are_not_written_to_and_results_are_the_callers(dtype):
    layer, x = random_layer(dtype), normal(dtype, 5, 2, 8)
    before, dy = x.copy(), np.ones((5, 2, 8), dtype)
    x.setflags(write=False)
    dy.setflags(write=False)
    y, pull = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    dx, grads = pull(dy)
    kept = dx.copy(), grads["linear2.weight"].copy()
    for array in (y, dx, *grads.values()):
        array[:] = 0
    layer.params.update({name: a + 1 for name, a in layer.params.items()})
    dx, grads = pull(dy)
    np.testing.assert_array_equal(dx, kept[0])
    np.testing.assert_array_equal(grads["linear2.weight"], kept[1])
    np.testing.assert_array_equal(x, before)


def test_trains_as_part_of_a_sequence(dtype):
    model = Sequential(random_layer(dtype), random_layer(dtype, norm_first=True))
    x, adam, losses = normal(dtype, 5, 2, 8), Adam(model, lr=0.01), []
    for _ in range(30):
        y, pull = model.vjp(x, lengths=[5, 3])
        losses.append(float((y * y).mean()))
        adam.step(pull(2 * y / y.size)[1])
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_pickle_copy_and_repr(clone):
    layer, x = random_layer(norm_first=True, bias=False), normal(float, 5, 2, 8)
    other = clone(layer)
    np.testing.assert_array_equal(other(x), layer(x))
    expected = "TransformerEncoderLayer(8, 2, dim_feedforward=6, dropout=0.0, norm_first=True, bias=False, "
    assert repr(other) == repr(layer) == expected + "dtype=np.float64)"
    again = eval(repr(layer), {"TransformerEncoderLayer": TransformerEncoderLayer, "np": np})
    assert list(again.params) == list(layer.params) and not any("bias" in name for name in layer.params)
    other.params["linear1.weight"] = other.params["linear1.weight"] + 1
    assert (other.linear1.params["weight"] != layer.linear1.params["weight"]).all()


# ---- errors ----


def test_errors_name_the_argument():
    layer, x = random_layer(), np.ones((5, 2, 8))
    with pytest.raises(ValueError, match="nhead must divide d_model 8, got 3"):
        TransformerEncoderLayer(8, 3)
    for size in SIZES:
        for i, name in enumerate(("d_model", "nhead", "dim_feedforward")):
            sizes = [8, 2, 6]
            sizes[i] = size
            with pytest.raises((TypeError, ValueError), match=name):
                TransformerEncoderLayer(*sizes)
    for name in ("batch_first", "norm_first", "bias"):
        for flag in FLAGS:
            with pytest.raises(TypeError, match=name):
                TransformerEncoderLayer(8, 2, 6, **{name: flag})
    for rng in RNGS:
        with pytest.raises((TypeError, ValueError), match="rng"):
            TransformerEncoderLayer(8, 2, 6, rng=rng)
        with pytest.raises((TypeError, ValueError), match="rng"):
            layer.vjp(x, rng=rng)
    for name, value in (("dropout", 1.5), ("dropout", "x"), ("activation", "tanh"), ("activation", 1)):
        with pytest.raises((TypeError, ValueError), match=name):
            TransformerEncoderLayer(8, 2, 6, **{name: value})
    for name, value in (("layer_norm_eps", -1.0), ("dtype", np.float16)):
        with pytest.raises(ValueError, match=name):
            TransformerEncoderLayer(8, 2, 6, **{name: value})
    pull = layer.vjp(x)[1]
    for wrong in (*wrong_kinds(x), *wrong_shapes(x, (2,))):
        for call in (layer, layer.vjp):
            with pytest.raises((TypeError, ValueError), match="src"):
                call(wrong)
        with pytest.raises((TypeError, ValueError), match="dy"):
            pull(wrong)
    for wrong in wrong_lengths(5, 2):
        with pytest.raises((TypeError, ValueError), match="lengths"):
            layer(x, lengths=wrong)
    with pytest.raises(ValueError, match="mask"):
        layer(x, mask=np.zeros((4, 5)))
    with pytest.raises(TypeError, match="causal"):
        layer(x, causal=1)
