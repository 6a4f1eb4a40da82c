"""Dropout and PositionalEncoding: the layers without parameters."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn import Dropout, PositionalEncoding, reference

from .disguises import MEMORY
from .problems import at_random
from .slopes import assert_slope

LAYERS = [Dropout(0.5, rng=0), PositionalEncoding()]


@pytest.fixture(params=LAYERS, ids=repr)
def layer(request):
    return request.param


def test_there_are_no_parameters_and_no_dtype(layer):
    assert not layer.params and not layer.state_dict() and not hasattr(layer, "dtype")
    layer.load_state_dict({})
    with pytest.raises(ValueError, match="unexpected 'weight'"):
        layer.load_state_dict({"weight": 1})


@pytest.mark.parametrize("clothes", MEMORY)
def test_memory_does_not_matter(layer, dtype, clothes):
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(dtype)
    other = clothes(x)
    np.testing.assert_array_equal(layer(other), layer(x))
    assert layer(other).dtype == layer.vjp(other)[0].dtype == dtype


@pytest.mark.parametrize("x", [1, [1, 2], np.ones(3, "f2"), np.ones((2, 3), complex), "text", None])
def test_x_must_be_floating(layer, x):
    for call in (layer, layer.vjp):
        with pytest.raises(TypeError, match="x must be"):
            call(x)


def test_dy_must_fit(layer):
    _, pull = layer.vjp(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 3\), got \(3, 2\)"):
        pull(np.ones((3, 2)))
    with pytest.raises(TypeError, match="dy must hold real numbers"):
        pull("text")


# ---- Dropout ----


def test_the_reference_of_dropout_is_its_own_derivative():
    rng = np.random.default_rng(0)
    x, dy, kept = rng.standard_normal(7), rng.standard_normal(7), rng.random(7) > 0.3
    dx = reference.layers.dropout(dy, kept, 0.3)
    assert_slope(dx, lambda new: (reference.layers.dropout(new, kept, 0.3) * dy).sum(), x)


@at_random
@given(st.floats(0, 1), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 9))
def test_dropout_forward_and_back_share_a_mask(p, shape, seed):
    rng = np.random.default_rng(seed)
    x, dy = rng.uniform(1, 2, shape), rng.uniform(1, 2, shape)
    y, pull = Dropout(p, rng=seed).vjp(x)
    dx, grads = pull(dy)
    kept = np.asarray(y) != 0
    assert grads == {} and isinstance(y, np.ndarray) and isinstance(dx, np.ndarray)
    np.testing.assert_allclose(y, reference.layers.dropout(x, kept, p), rtol=1e-15)
    np.testing.assert_allclose(dx, reference.layers.dropout(dy, kept, p), rtol=1e-15)
    assert (kept.all() or p > 0) and not (kept.any() and p == 1)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_part_and_keeps_the_mean(dtype, p):
    y, _ = Dropout(p, rng=0).vjp(np.ones((400, 500), dtype))
    assert (y == 0).mean() == pytest.approx(p, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.03)


def test_dropout_is_active_in_vjp_alone():
    x = np.ones((3, 4))
    assert Dropout(1.0)(x) is x


def test_dropout_is_reproducible():
    x = np.ones(100)
    first, second = Dropout(rng=3), Dropout(rng=3)
    draws = [first.vjp(x)[0] for _ in range(2)]
    assert (draws[0] != draws[1]).any()
    for draw in draws:
        np.testing.assert_array_equal(second.vjp(x)[0], draw)
    clones = [copy.deepcopy(first), pickle.loads(pickle.dumps(first))]
    for clone in clones:
        np.testing.assert_array_equal(clone.vjp(x)[0], second.vjp(x)[0])
        second = copy.deepcopy(first)
    np.testing.assert_array_equal(first.vjp(x, rng=5)[0], Dropout().vjp(x, np.random.default_rng(5))[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Dropout(1.5), ValueError, "p must lie between 0 and 1, got 1.5"),
        (lambda: Dropout(float("nan")), ValueError, "p must lie between 0 and 1, got nan"),
        (lambda: Dropout("1"), TypeError, "p must be a number, got '1'"),
        (lambda: Dropout(rng="x"), TypeError, "rng must be None"),
        (lambda: Dropout().vjp(np.ones(2), rng=-1), ValueError, "rng must be a non-negative seed"),
        (lambda: PositionalEncoding(1), TypeError, "batch_first must be True or False, got 1"),
        (lambda: PositionalEncoding()(np.ones(3)), ValueError, r"x must have shape \(T, B, E\) or \(T, E\)"),
        (
            lambda: PositionalEncoding(True)(np.ones((1, 2, 3, 4))),
            ValueError,
            r"shape \(B, T, E\) or \(T, E\)",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- PositionalEncoding ----


@pytest.mark.parametrize("E", [1, 2, 5, 8])
@pytest.mark.parametrize("T", [0, 1, 2, 17])
def test_positions_are_those_of_the_reference(dtype, T, E):
    x = np.random.default_rng(0).standard_normal((T, 3, E)).astype(dtype)
    truth = reference.layers.positional_encoding(T, E)
    y, tolerance = PositionalEncoding()(x), 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, x + truth[:, None], rtol=tolerance, atol=tolerance)
    turned = PositionalEncoding(batch_first=True)(x.swapaxes(0, 1))
    np.testing.assert_array_equal(turned.swapaxes(0, 1), y)
    np.testing.assert_array_equal(PositionalEncoding()(x[:, 1]), y[:, 1])


def test_positions_do_not_depend_on_what_was_computed_before():
    layer = PositionalEncoding()
    for T, E, dtype in [
        (3, 6, "f4"),
        (300, 6, "f4"),
        (5, 6, "f4"),
        (5, 7, "f4"),
        (5, 7, "f8"),
        (40, 6, "f8"),
    ]:
        x = np.zeros((T, 2, E), dtype)
        y = layer(x)
        y += 1  # the caller's own
        np.testing.assert_array_equal(layer(x), PositionalEncoding()(x))
        np.testing.assert_array_equal(layer(x), layer(np.zeros((1000, 2, E), dtype))[:T])


def test_gradients_pass_unchanged():
    dy = np.random.default_rng(0).standard_normal((3, 2, 4))
    dx, grads = PositionalEncoding().vjp(np.ones((3, 2, 4)))[1](dy)
    np.testing.assert_array_equal(dx, dy)
    assert grads == {} and not np.shares_memory(dx, dy)
