"""Bidirectional: for every cell two directions and their merging, by the reference; its laws; its errors."""

import copy
import pickle

import numpy as np
import pytest

import pyrnn
from pyrnn import Adam, Bidirectional, Linear, _registry, reference

from .cells import layer_of
from .problems import NORMALIZED
from .slopes import assert_slope

T, B, N_IN, H = 5, 3, 4, 3
MODES = ["concat", "sum", "mean", "mul", None]
RAGGED = {"lengths": np.array([3, 5, 0]), "reset": np.random.default_rng(5).random((T, B)) < 0.2}


@pytest.fixture(params=MODES, ids=str)
def mode(request):
    return request.param


def made(cell, mode="concat", dtype=np.float64, **options):
    layer = layer_of(cell)(N_IN, H, dtype=dtype, rng=0, **options)
    return Bidirectional(layer, mode), np.random.default_rng(1).standard_normal((T, B, N_IN)).astype(dtype)


def scalar(y, dy):
    pairs = zip(y, dy, strict=True) if isinstance(y, tuple) else [(y, dy)]
    return sum(float((a * b).sum()) for a, b in pairs)


def gradient_of(y, seed=3):
    rng = np.random.default_rng(seed)
    if isinstance(y, tuple):
        return tuple(rng.standard_normal(part.shape) for part in y)
    return rng.standard_normal(y.shape)


@pytest.mark.parametrize("mode", MODES[:-1])
def test_the_reference_of_merging_is_proved_by_central_differences(mode):
    halves = np.random.default_rng(0).standard_normal((2, 2, 1, 3))
    dy = gradient_of(reference.layers.merge(*halves, mode))
    merged_back = reference.layers.merge_backward(*halves, mode, dy)
    assert_slope(merged_back, lambda new: float((reference.layers.merge(*new, mode) * dy).sum()), halves)


@pytest.mark.parametrize("options", [{}, RAGGED], ids=["whole", "ragged"])
def test_it_is_two_directions_and_their_merging(cell, dtype, mode, options):
    layer, x = made(cell, mode, dtype)
    formula, entry = reference.cells[cell], _registry.REGISTRY[cell]
    halves, params = [], {name: array.astype(np.float64) for name, array in layer.params.items()}
    for suffix in ("", "_reverse"):
        weights = reference.weights_of(formula, params, "_l0" + suffix)
        state = np.zeros((entry.states, B, H))
        halves.append(
            reference.forward(formula, x.astype(float), state, **weights, **options, reverse=bool(suffix))[0]
        )
    y, _ = layer(x, **options)
    tolerance = 64 * np.finfo(dtype).eps
    if mode is None:
        np.testing.assert_allclose(np.stack(y), np.stack(halves), rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_allclose(y, reference.layers.merge(*halves, mode), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", [{}, RAGGED], ids=["whole", "ragged"])
def test_concat_is_the_bidirectional_layer(cell, dtype, options):
    layer, x = made(cell, "concat", dtype)
    other = layer_of(cell)(N_IN, H, bidirectional=True, dtype=dtype)
    other.load_state_dict(layer.state_dict())
    (y, states), pull = layer.vjp(x, **options)
    (truth, state), truth_pull = other.vjp(x, **options)
    np.testing.assert_array_equal(y, truth)
    np.testing.assert_array_equal(np.concatenate(states, -3), np.asarray(state))
    dy = gradient_of(y)
    dx, _, grads = pull(dy)
    truth_dx, _, truth_grads = truth_pull(dy)
    np.testing.assert_array_equal(dx, truth_dx)
    assert list(grads) == list(truth_grads)
    for name, array in truth_grads.items():
        np.testing.assert_array_equal(grads[name], array)


def test_gradients_are_central_differences(cell, mode):
    layer, x = made(cell, mode, num_layers=2)
    _, end = layer(x)
    (y, state), pull = layer.vjp(x, end, **RAGGED)
    dy, dstate = gradient_of(y), copy.deepcopy(state)
    dx, dstate0, grads = pull(dy, dstate)
    assert list(grads) == list(layer.params)

    def loss(x=x, state=end):
        y, final = layer(x, state, **RAGGED)
        return scalar(y, dy) + sum(
            float((np.asarray(a) * np.asarray(b)).sum()) for a, b in zip(final, dstate, strict=True)
        )

    curved = cell in NORMALIZED
    assert_slope(dx, lambda new: loss(x=new), x, curved)
    for name in [name for name in ("weight_hh_l0", "bias_ih_l1_reverse") if name in layer.params]:
        value = layer.params[name].copy()

        def of_weight(new, name=name):
            layer.params[name] = new
            return loss()

        assert_slope(grads[name], of_weight, value, curved)
        layer.params[name] = value

    def of_state(new):
        parts = [tuple(part) if isinstance(state[0], tuple) else part for part in new]
        return loss(state=tuple(parts))

    assert_slope(np.asarray(dstate0), of_state, np.asarray(end), curved)


def test_batch_first_and_no_batch(cell, mode):
    layer, x = made(cell, mode)
    turned, _ = made(cell, mode, batch_first=True)
    turned.load_state_dict(layer.state_dict())
    truth = layer(x)[0]
    y = turned(x.swapaxes(0, 1))[0]
    alone = layer(x[:, 1])[0]
    for part, other, one in zip(*((a if mode is None else (a,)) for a in (truth, y, alone)), strict=True):
        np.testing.assert_array_equal(other.swapaxes(0, 1), part)
        np.testing.assert_array_equal(one, part[:, 1])


def test_what_lies_beyond_a_length_does_not_matter(cell, mode):
    layer, x = made(cell, mode)
    other = x.copy()
    for b, length in enumerate(RAGGED["lengths"]):
        other[length:, b] = np.nan
    for a, b in zip(layer(x, **RAGGED)[0], layer(other, **RAGGED)[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_is_reproducible():
    layer, x = made("lstm", num_layers=2, dropout=0.5)
    first, second = (layer.vjp(x, rng=3)[0][0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (layer.vjp(x)[0][0] != layer.vjp(x)[0][0]).any()


def test_the_halves_have_weights_of_their_own():
    layer, _ = made("gru")
    assert layer.forward_layer.params["weight_hh_l0"] is layer.params["weight_hh_l0"]
    assert (layer.params["weight_hh_l0"] != layer.params["weight_hh_l0_reverse"]).all()
    again, _ = made("gru")
    for name, array in layer.params.items():
        np.testing.assert_array_equal(again.params[name], array)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_pickle_and_copy(clone):
    layer, x = made("lstm", "sum")
    other = clone(layer)
    np.testing.assert_array_equal(other(x)[0], layer(x)[0])
    other.params["bias_ih_l0_reverse"] = other.params["bias_ih_l0_reverse"] + 1
    assert (other(x)[0] != layer(x)[0]).any()
    assert repr(eval(repr(layer), vars(pyrnn) | {"np": np})) == repr(layer)


def test_an_optimizer_steps_on_both_halves():
    layer, x = made("gru", "mean")
    before, y = layer.state_dict(), layer(x)[0]
    (_, _), pull = layer.vjp(x)
    Adam(layer).step(pull(np.ones_like(y))[2])
    assert all((layer.params[name] != array).any() for name, array in before.items())
    assert (layer(x)[0] != y).any()


def layer(mode="concat", kind=pyrnn.LSTM):
    return Bidirectional(kind(3, 2, rng=0), mode)


X = np.ones((4, 2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Bidirectional(Linear(3, 2)), TypeError, "layer must be a recurrent layer, got Linear"),
        (
            lambda: Bidirectional(pyrnn.LSTMCell(3, 2)),
            TypeError,
            "layer must be a recurrent layer, got LSTMC",
        ),
        (lambda: Bidirectional(None), TypeError, "layer must be a recurrent layer, got None"),
        (
            lambda: Bidirectional(pyrnn.GRU(3, 2, bidirectional=True)),
            ValueError,
            "layer must have one direction, got GRU",
        ),
        (lambda: layer("ave"), ValueError, "merge_mode must be one of concat, sum, mean, mul, got 'ave'"),
        (lambda: layer(1), TypeError, "merge_mode must be one of concat, sum, mean, mul, got 1"),
        (lambda: layer()(np.ones((4, 2, 2))), ValueError, r"x must have shape \(T, B, 3\)"),
        (lambda: layer()(X, lengths=[5, 1]), ValueError, "lengths must lie between 0 and 4, got 1 to 5"),
        (lambda: layer()(X, np.ones(2)), TypeError, "state must be a tuple of two states"),
        (lambda: layer().vjp(X, rng="x"), TypeError, "rng must be None"),
        (lambda: layer().vjp(X)[1](np.ones((4, 2, 2))), ValueError, r"dy must have shape \(4, 2, 4\)"),
        (lambda: layer("sum").vjp(X)[1](np.ones((4, 2, 4))), ValueError, r"dy must have shape \(4, 2, 2\)"),
        (lambda: layer("mul").vjp(X)[1]("a"), TypeError, "dy must hold real numbers"),
        (lambda: layer(None).vjp(X)[1](np.ones((4, 2, 2))), TypeError, "dy must be a tuple of two arrays"),
        (lambda: layer().vjp(X)[1](np.ones((4, 2, 4)), 1), TypeError, "dstate must be a tuple of two states"),
        (lambda: layer().backward_layer.stream(), ValueError, "cannot run step by step"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
