"""Packed weights: never stale, never packed twice, however the parameters are written."""

import copy
import pickle
import types

import numpy as np
import pytest

import pyrnn
from pyrnn import _core, functional

from .cells import SINGLE, cell_of, layer_of

X = np.random.default_rng(1).standard_normal((4, 3, 5)).astype(np.float32)


@pytest.fixture
def packs(monkeypatch):
    """The uses for which weights have been packed, in order."""
    used, pack = [], functional.pack

    def counted(cell, use, *weights):
        used.append(use)
        return pack(cell, use, *weights)

    monkeypatch.setattr(functional, "pack", counted)
    return used


def stacked(cell="lstm"):
    return layer_of(cell)(5, 7, 2, bidirectional=True, rng=0)


def single(cell="lstm"):
    return cell_of(cell)(5, 7, rng=0)


def fresh(layer, x):
    """What a layer with the same parameters that has never been called says."""
    other = eval(repr(layer), {"np": np, **vars(pyrnn)})
    other.params.update(layer.state_dict())
    return outputs(other, x)


def outputs(layer, x):
    """Everything that forward and backward depend on packed weights for."""
    found, pull = layer.vjp(x)
    plain = layer(x)
    rest = pull(*(np.ones_like(a) for a in [leaves(found)[0]])) if "Cell" not in repr(layer) else pull(found)
    return [*leaves(plain), *leaves(found), *leaves(rest)]


def leaves(value):
    if isinstance(value, dict):
        value = tuple(value.values())
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, tuple) else [value]


def assert_fresh(layer, x):
    for found, expected in zip(outputs(layer, x), fresh(layer, x), strict=True):
        np.testing.assert_array_equal(found, expected)


# ---- not twice ----


def test_an_unchanged_layer_packs_nothing_again(cell, packs):
    layer = stacked(cell)
    layer(X)
    assert packs == [_core.FORWARD] * 4
    for x in (X, X[:2], X.swapaxes(0, 1), X.astype(np.float64), X[:, 0]):
        layer(x)
    assert len(packs) == 4
    layer.vjp(X)
    assert packs[4:] == [_core.BACKWARD] * 4
    layer.vjp(X[:1])[1](np.ones((1, 3, 14)))
    layer.state_dict(), layer.params["weight_ih_l0"], repr(layer)
    layer.vjp(X)
    layer(X)
    assert len(packs) == 8


def test_a_stream_packs_what_the_layer_has_not(cell, packs):
    layer = layer_of(cell)(5, 7, 2, rng=0)
    stream = layer.stream(3)
    layer.stream(1)
    layer(X)
    for x_t in X:
        stream(x_t)
    assert packs == [_core.FORWARD] * 2


@pytest.mark.parametrize("cell", SINGLE)
def test_an_unchanged_cell_packs_nothing_again(cell, packs):
    single_step = single(cell)
    for x in (X[0], X[1], X[0, :1], X[0].astype(np.float64), X[0, 0]):
        single_step(x)
    assert packs == [_core.FORWARD]
    single_step.vjp(X[0])
    single_step.vjp(X[0])
    assert packs == [_core.FORWARD, _core.BACKWARD]


def test_a_failed_write_packs_nothing_again(packs):
    layer = stacked()
    layer(X)
    for write in (
        lambda: layer.load_state_dict({}),
        lambda: layer.params.update({"weight_hh_l0": 1}),
        lambda: layer.params["weight_hh_l0"].__setitem__(0, 1),
    ):
        with pytest.raises(ValueError):
            write()
    layer(X)
    assert len(packs) == 4


# ---- never stale ----


def by_item(layer):
    name = next(iter(layer.params))
    layer.params[name] = layer.params[name] * 2


def by_update(layer):
    layer.params.update({name: array + 0.25 for name, array in layer.params.items()})


def by_update_of_one_bias(layer):
    name = list(layer.params)[-1]
    layer.params.update({name: layer.params[name] + 1})


def by_loading(layer):
    layer.load_state_dict({name: array / 2 for name, array in layer.state_dict().items()})


def by_adam(layer):
    optimizer = pyrnn.Adam(layer, lr=0.1)
    optimizer.step({name: np.ones_like(array) for name, array in layer.params.items()})


def by_the_flat_buffer(layer):
    with layer.params._write() as flat:
        flat[...] *= 2


WRITES = [by_item, by_update, by_update_of_one_bias, by_loading, by_adam, by_the_flat_buffer]


@pytest.mark.parametrize("cell", SINGLE)
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("make", [stacked, single])
def test_every_way_of_writing_reaches_the_next_call(cell, make, write):
    layer = make(cell)
    x = X if make is stacked else X[0]
    before = outputs(layer, x)
    for _ in range(3):
        write(layer)
        assert_fresh(layer, x)
        assert (outputs(layer, x)[0] != before[0]).any()


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("make", [stacked, single])
def test_a_copy_has_weights_of_its_own(make, clone, write):
    layer, x = make(), X if make is stacked else X[0]
    before = outputs(layer, x)
    other = clone(layer)
    write(other)
    assert_fresh(other, x)
    for found, expected in zip(outputs(layer, x), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    write(layer)
    assert_fresh(layer, x)


def test_a_shallow_copy_shares_the_parameters_and_sees_every_write():
    layer = stacked()
    other = copy.copy(layer)
    layer(X), other(X)
    by_item(layer)
    by_update(other)
    assert_fresh(layer, X)
    assert_fresh(other, X)


def test_what_a_write_read_from_may_change_later():
    layer, values = stacked(), {name: array + 1 for name, array in stacked().params.items()}
    layer.params.update(values)
    before = outputs(layer, X)
    for array in values.values():
        array[...] = np.nan
    for array in layer.state_dict().values():
        array[...] = np.nan
    for found, expected in zip(outputs(layer, X), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "mutate",
    [
        lambda params, name: params[name].__setitem__(..., 0),
        lambda params, name: params[name].__imul__(2),
        lambda params, name: np.multiply(params[name], 2, out=params[name]),
        lambda params, name: params[name].sort(),
        lambda params, name: params[name].setflags(write=True),
        lambda params, name: params[name].view(np.uint8).setflags(write=True),
        lambda params, name: params.flat.__setitem__(0, 1),
        lambda params, name: np.copyto(params.flat, 0),
        lambda params, name: memoryview(params[name]).__setitem__((0, 0), 1.0),
        lambda params, name: params.pop(name),
        lambda params, name: params.__delitem__(name),
        lambda params, name: params.setdefault(name, 1).fill(2),
    ],
)
def test_mutation_in_place_is_refused(mutate):
    """Never ignored: what is not counted as a write does not happen."""
    layer = stacked()
    before = outputs(layer, X)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        mutate(layer.params, "weight_hh_l0")
    assert_fresh(layer, X)
    for found, expected in zip(outputs(layer, X), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_parameters_themselves_cannot_be_exchanged():
    layer, other = stacked(), stacked()
    with pytest.raises(AttributeError):
        layer.params = other.params
    with pytest.raises(AttributeError):
        layer.dtype = np.dtype(np.float64)


def test_a_stream_is_a_snapshot():
    layer = layer_of("gru")(5, 7, 2, rng=0)
    stream, twin = layer.stream(3), layer.stream(3)
    y = [twin(x_t) for x_t in X]
    by_update(layer)
    for x_t, y_t in zip(X, y, strict=True):
        np.testing.assert_array_equal(stream(x_t), y_t)
    assert (layer.stream(3)(X[0]) != y[0]).any()


# ---- checkpoints ----


class Tensor:
    """What a tensor of another library looks like to NumPy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


def test_checkpoints_of_other_libraries_load(cell):
    layer, source = stacked(cell), stacked(cell)
    by_update(source)
    for state in (
        {name: Tensor(array) for name, array in source.state_dict().items()},
        types.MappingProxyType({name: array.astype(">f8") for name, array in source.params.items()}),
        source.params,
        {name: array.tolist() for name, array in source.params.items()},
        dict(reversed(source.state_dict().items())),
    ):
        layer.load_state_dict({name: np.zeros_like(array) for name, array in source.params.items()})
        layer.load_state_dict(state)
        assert layer.params.flat.tobytes() == source.params.flat.tobytes()
        assert_fresh(layer, X)
