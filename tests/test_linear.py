"""Linear: the formula, and the laws that hold bit for bit."""

import copy
import pickle

import numpy as np
import pytest

import pyrnn
from pyrnn import Linear, _config

from .conftest import ISAS
from .problems import assert_same, eighths


def rows(shape, dtype=np.float32):
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4), (2, 3, 4), (2, 1, 3, 4), (0, 4), (2, 0, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_is_the_formula(isa, dtype, shape, bias):
    layer, rng = Linear(4, 3, bias, dtype, rng=0), np.random.default_rng(1)
    layer.params.update({name: eighths(rng, *array.shape) for name, array in layer.params.items()})
    x = eighths(rng, *shape)  # sums of products of eighths are exact, in whatever order they are added
    weight = layer.params["weight"]
    truth = np.einsum("...i,oi->...o", x, weight) + layer.params.get("bias", 0)
    y, pull = layer.vjp(x)
    np.testing.assert_array_equal(layer(x), truth)
    np.testing.assert_array_equal(y, truth)
    dy = eighths(rng, *truth.shape)
    dx, grads = pull(dy)
    np.testing.assert_array_equal(dx, dy @ weight)
    np.testing.assert_array_equal(
        grads["weight"], np.einsum("ri,ro->oi", x.reshape(-1, 4), dy.reshape(-1, 3))
    )
    if bias:
        np.testing.assert_array_equal(grads["bias"], dy.reshape(-1, 3).sum(0))


def test_starts_uniform_within_its_bound():
    layer = Linear(400, 300, rng=0)
    for array in layer.params.values():
        assert np.abs(array).max() <= 0.05 and abs(array.mean()) < 0.005
        assert array.std() == pytest.approx(0.05 / 3**0.5, rel=0.1)


def test_nan_stays_in_its_row():
    layer, x = Linear(4, 3, rng=0), rows((2, 5, 4))
    x[0, 2, 1] = np.nan
    assert np.isnan(layer(x)).all(-1).sum() == np.isnan(layer(x)).any(-1).sum() == 1


def test_a_row_alone_is_the_row_among_others(dtype):
    layer, x = Linear(300, 70, dtype=dtype, rng=0), rows((9, 31, 300), dtype)
    whole = layer(x)
    np.testing.assert_array_equal(layer(x[4, 7]), whole[4, 7])
    np.testing.assert_array_equal(layer(x[:, 3:9]), whole[:, 3:9])
    np.testing.assert_array_equal(layer.vjp(x)[0], whole)


def test_any_strides():
    layer, x = Linear(6, 5, rng=0), rows((4, 7, 12))
    dy = rows((4, 7, 5))
    for strange in (x[..., ::2], x[..., 3:9], x[::-1, :, :6], x[..., 5::-1], x.T.copy().T[..., :6]):
        y, pull = layer.vjp(strange)
        expected, back = layer.vjp(strange.copy())
        np.testing.assert_array_equal(y, expected)
        desired = back(dy)
        for given in (dy.T.copy().T, np.asfortranarray(dy)):
            dx, grads = pull(given)
            np.testing.assert_array_equal(dx, desired[0])
            assert_same(grads, desired[1])
    one = np.broadcast_to(np.float32(1), dy.shape)
    assert_same(layer.vjp(x[..., :6])[1](one)[1], layer.vjp(x[..., :6])[1](one.copy())[1])


def test_threads_change_nothing():
    layer, x = Linear(256, 200, rng=0), rows((600, 256))
    dy, before, found = rows((600, 200)), pyrnn.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            pyrnn.set_num_threads(threads)
            y, pull = layer.vjp(x)
            dx, grads = pull(dy)
            found.append({"y": y, "called": layer(x), "dx": dx, **grads})
    finally:
        pyrnn.set_num_threads(before)
    for other in found[1:]:
        assert_same(other, found[0])


def test_a_call_follows_every_change_of_the_weight():
    layer, x = Linear(4, 3, rng=0), rows((5, 4))
    layer(x)
    for change in (
        lambda: layer.params.update({"weight": np.ones((3, 4))}),
        lambda: layer.load_state_dict(Linear(4, 3, rng=5).state_dict()),
        lambda: pyrnn.SGD(layer, lr=0.5).step({name: np.ones_like(p) for name, p in layer.params.items()}),
    ):
        before = layer(x)
        change()
        y = layer(x)
        assert (y != before).any()
        np.testing.assert_array_equal(y, layer.vjp(x)[0])


def test_copies_and_pickles_do_not_share_what_is_packed():
    layer, x = Linear(4, 3, rng=0), rows((5, 4))
    y = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._packed is None
        np.testing.assert_array_equal(other(x), y)
        other.params["weight"] = np.zeros((3, 4))
        np.testing.assert_array_equal(layer(x), y)


def test_a_pack_is_read_as_it_was_made(isa):
    """By the instruction set that made it, whichever is selected since."""
    layer, x = Linear(40, 30, rng=0), rows((5, 40))
    y = layer(x)
    for other in ISAS:
        _config.select_isa(other)
        np.testing.assert_array_equal(layer(x), y)
