"""Embedding, and what all layers inherit: values, gradients, loading, copying, errors."""

import copy
import pickle
import threading

import numpy as np
import pytest

import pyrnn
from pyrnn import GRU
from pyrnn._layer import Layer
from pyrnn._random import as_generator
from pyrnn.layers import Dropout, Embedding, LastStep, LayerNorm, Linear, PositionalEncoding, Sequential

from .problems import eighths
from .slopes import STEP, TOLERANCE, slope


def linear(dtype=np.float64, **options):
    return Linear(4, 3, dtype=dtype, rng=0, **options), np.random.default_rng(1).standard_normal((2, 5, 4))


def embedding(dtype=np.float64, **options):
    return Embedding(6, 3, dtype=dtype, rng=0, **options), np.array([[0, 5, 2], [2, 2, 1]])


def layer_norm(dtype=np.float64, **options):
    layer, x = LayerNorm(4, dtype=dtype, **options), np.random.default_rng(1).standard_normal((2, 5, 4))
    layer.params.update({name: array + x[0, 0] for name, array in layer.params.items()})
    return layer, x


def sequential(dtype=np.float64):
    parts = Linear(4, 5, dtype=dtype, rng=0), LayerNorm(5, dtype=dtype), GRU(5, 3, dtype=dtype, rng=1)
    return Sequential(parts[0], Sequential(*parts[1:]), Dropout(0.0)), linear()[1]


MAKERS = {
    "linear": linear,
    "linear without bias": lambda dtype=np.float64: linear(dtype, bias=False),
    "embedding": embedding,
    "embedding with padding": lambda dtype=np.float64: embedding(dtype, padding_idx=2),
    "layer norm": layer_norm,
    "positional encoding": lambda dtype=np.float64: (PositionalEncoding(), linear()[1].astype(dtype)),
    "positions, batch first": lambda dtype=np.float64: (
        PositionalEncoding(batch_first=True),
        linear()[1].astype(dtype),
    ),
    "last step": lambda dtype=np.float64: (LastStep(), linear()[1].astype(dtype)),
    "last step, batch first": lambda dtype=np.float64: (
        LastStep(batch_first=True, bidirectional=True),
        linear()[1].astype(dtype),
    ),
    "sequential": sequential,
    "dropout of nothing": lambda dtype=np.float64: (Dropout(0.0), linear()[1].astype(dtype)),
    "layer norm without bias": lambda dtype=np.float64: layer_norm(dtype, bias=False, eps=0.1),
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def make(request):
    return request.param


def snapshot(layer):
    return layer.params.version, [array.tobytes() for array in layer.params.values()]


# ---- every layer ----


def test_gradients_are_slopes(make):
    """Of a layer that is linear in each of its arrays any step will do.

    With a step of 1 from multiples of 1/8 nothing is rounded: the gradient must be the slope, exactly.
    """
    layer, x = make()
    exact = isinstance(layer, (Linear, Embedding, Dropout, LastStep))
    step, tolerance = (1, 0) if exact else (STEP, TOLERANCE)
    rng = np.random.default_rng(2)
    layer.params.update({name: eighths(rng, *array.shape) for name, array in layer.params.items()})
    if x.dtype.kind == "f":
        x = eighths(rng, *x.shape)
    y, pull = layer.vjp(x)
    np.testing.assert_array_equal(y, layer(x))
    dy = eighths(rng, *y.shape)
    dx, grads = pull(dy)
    assert list(grads) == list(layer.params)
    for name, value in layer.state_dict().items():

        def loss(new, name=name):
            layer.params[name] = new
            return float((layer(x) * dy).sum())

        expected = slope(loss, value, step)
        layer.params[name] = value
        if name == "weight" and getattr(layer, "padding_idx", None) is not None:
            expected[layer.padding_idx] = 0
        np.testing.assert_allclose(grads[name], expected, rtol=0, atol=tolerance)
    if dx is not None:
        expected = slope(lambda new: float((layer(new) * dy).sum()), x, step)
        np.testing.assert_allclose(dx, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_has_the_dtype_of_the_layer(make, dtype):
    layer, x = make(dtype)
    y, pull = layer.vjp(x)
    dx, grads = pull(np.ones(y.shape))
    assert {array.dtype for array in (y, layer(x), *grads.values(), *layer.params.values())} == {
        np.dtype(dtype)
    }
    assert dx is None or (dx.dtype == dtype and dx.shape == x.shape)
    assert not layer.params or layer.dtype == dtype


def test_pull_uses_the_weights_of_its_forward_pass(make):
    layer, x = make()
    y, pull = layer.vjp(x)
    dx, grads = pull(np.ones(y.shape))
    layer.vjp(x)
    layer.params.update({name: array + 1 for name, array in layer.params.items()})
    again, others = pull(np.ones(y.shape))
    np.testing.assert_array_equal(dx, again)
    assert all((grads[name] == others[name]).all() for name in grads)


def test_what_pull_returns_is_the_callers(make):
    layer, x = make()
    y, pull = layer.vjp(x)
    dx, grads = pull(np.ones(y.shape))
    kept = {name: array.copy() for name, array in grads.items()}
    for array in grads.values():
        array *= 0
    y[:] = 7
    if dx is not None:
        dx[:] = 7
    assert all((array == kept[name]).all() for name, array in pull(np.ones(y.shape))[1].items())


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 0)])
def test_empty_inputs_are_legal(shape):
    for layer, x in ((Linear(4, 3), np.zeros((*shape, 4))), (Embedding(4, 3), np.zeros(shape, int))):
        y, pull = layer.vjp(x)
        assert y.shape == (*shape, 3)
        dx, grads = pull(y)
        assert dx is None or dx.shape == x.shape
        assert not any(array.any() for array in grads.values())
        assert {name: array.shape for name, array in grads.items()} == {
            name: array.shape for name, array in layer.params.items()
        }


def test_inputs_are_not_written_to(make):
    layer, x = make()
    before = x.copy()
    x.setflags(write=False)
    y, pull = layer.vjp(x)
    dy = np.ones(y.shape)
    dy.setflags(write=False)
    pull(dy)
    np.testing.assert_array_equal(x, before)


def test_any_stride(make):
    layer, x = make()
    wide = np.repeat(x, 2, axis=-1)[..., ::2]
    np.testing.assert_array_equal(layer(wide), layer(x))
    np.testing.assert_array_equal(layer(np.asfortranarray(x)), layer(x))
    y, pull = layer.vjp(x)
    dy = np.random.default_rng(0).standard_normal(y.shape)
    for name, array in pull(np.asfortranarray(dy))[1].items():
        np.testing.assert_array_equal(array, pull(dy)[1][name])


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_pickle_and_copy(make, clone):
    layer, x = make()
    layer._packed = lambda: "cannot be pickled, and must not be"
    other = clone(layer)
    assert other._packed is None and repr(other) == repr(layer)
    del layer._packed
    np.testing.assert_array_equal(other(x), layer(x))
    if clone is copy.copy:
        return
    before = snapshot(layer)
    other.params.update({name: array + 1 for name, array in other.params.items()})
    assert snapshot(layer) == before


def test_state_dict_round_trip(make):
    layer, x = make()
    state, y = layer.state_dict(), layer(x)
    for array in state.values():
        array += 0.5
    np.testing.assert_array_equal(layer(x), y)
    layer.load_state_dict(state)
    assert (layer(x) != y).any() or not state
    layer.load_state_dict({name: array.tolist() for name, array in reversed(state.items())})
    assert all((layer.params[name] == array).all() for name, array in state.items())


def test_loading_is_strict_and_all_or_nothing():
    layer, _ = linear()
    before, state = snapshot(layer), layer.state_dict()
    bad = {"bias": state["bias"] + 1, "weights": state["weight"]}
    with pytest.raises(ValueError, match="state_dict does not fit: missing 'weight'; unexpected 'weights'"):
        layer.load_state_dict(bad)
    with pytest.raises(
        ValueError, match=r"weight must have shape \(3, 4\), got \(4, 3\); bias must hold real"
    ):
        layer.load_state_dict({"weight": state["weight"].T, "bias": ["a"] * 3})
    with pytest.raises(TypeError, match="bias must hold real numbers, got dtype complex128"):
        layer.load_state_dict(state | {"bias": np.ones(3, complex)})
    for not_a_mapping in (None, list(state.items()), "weight", state["weight"]):
        with pytest.raises(TypeError, match="state_dict must be a mapping of names to arrays, got"):
            layer.load_state_dict(not_a_mapping)
    assert snapshot(layer) == before


def test_repr_is_what_one_would_type(make):
    layer, _ = make()
    again = eval(repr(layer), vars(pyrnn) | {"np": np})
    assert repr(again) == repr(layer) and repr(again.params) == repr(layer.params)
    assert "dtype" not in repr(make(np.float32)[0])


def test_the_same_seed_draws_the_same_weights():
    for kind in (Linear, Embedding):
        first, second = kind(8, 5, rng=3), kind(8, 5, rng=np.random.default_rng(3))
        assert first.params.flat.tobytes() == second.params.flat.tobytes()
        assert first.params.flat.tobytes() != kind(8, 5, rng=4).params.flat.tobytes()
        assert kind(8, 5).params.flat.tobytes() != kind(8, 5).params.flat.tobytes()


def test_two_threads_share_a_layer(make):
    layer, x = make()
    truth, results = layer.vjp(x)[1](np.ones(layer(x).shape))[1], []

    def work():
        for _ in range(50):
            y, pull = layer.vjp(x)
            results.append(pull(np.ones(y.shape))[1])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 100
    assert all((grads[name] == truth[name]).all() for grads in results for name in truth)


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Layer({}, np.float32)


# ---- Embedding ----


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3)])
def test_embedding_is_indexing(shape, kind):
    layer, x = Embedding(6, 3, rng=0), np.random.default_rng(1).integers(0, 6, shape).astype(kind)
    y, pull = layer.vjp(x)
    np.testing.assert_array_equal(y, layer.params["weight"][x])
    truth = np.zeros((6, 3))
    np.add.at(truth, x, np.ones(y.shape))
    np.testing.assert_array_equal(pull(np.ones(y.shape))[1]["weight"], truth)


@pytest.mark.parametrize("count", [1, 3, 300, 70_000])
def test_embedding_gradient_is_a_scatter_add(count):
    rng = np.random.default_rng(0)
    layer, x = Embedding(count, 4, rng=0), rng.integers(0, count, 500)
    dy, truth = rng.integers(-8, 8, (500, 4)), np.zeros((count, 4))
    np.add.at(truth, x, dy)
    np.testing.assert_array_equal(layer.vjp(x)[1](dy)[1]["weight"], truth)


def test_nan_stays_in_its_row_of_the_gradient():
    layer, x = embedding()
    dy = np.ones((*x.shape, 3))
    dy[0, 1] = np.nan  # index 5
    assert np.isnan(layer.vjp(x)[1](dy)[1]["weight"]).any(1).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("padding_idx", [2, -4])
def test_padding_starts_at_zero_and_has_no_gradient(padding_idx):
    layer = Embedding(6, 3, padding_idx=padding_idx, rng=0)
    assert layer.padding_idx == 2
    assert not layer([2, 2]).any() and layer([1, 3]).all()
    assert not layer.vjp([2, 1])[1](np.ones((2, 3)))[1]["weight"][2].any()


def test_embedding_starts_standard_normal():
    weight = Embedding(500, 100, rng=0).params["weight"]
    assert weight.mean() == pytest.approx(0, abs=0.02) and weight.std() == pytest.approx(1, rel=0.02)


# ---- errors ----


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Linear(0, 3), ValueError, "in_features must be at least 1, got 0"),
        (lambda: Linear(3, -1), ValueError, "out_features must be at least 1, got -1"),
        (lambda: Linear(3.0, 1), TypeError, "in_features must be an integer, got 3.0"),
        (lambda: Linear(3, True), TypeError, "out_features must be an integer, got True"),
        (lambda: Linear(3, 1, dtype=np.float16), ValueError, "dtype must be float32 or float64, got float16"),
        (lambda: Linear(3, 1, rng=-1), ValueError, "rng must be a non-negative seed, got -1"),
        (lambda: Linear(3, 1, rng="x"), TypeError, "rng must be None, an integer seed or a .*got 'x'"),
        (lambda: Embedding(0, 3), ValueError, "num_embeddings must be at least 1, got 0"),
        (lambda: Embedding(3, 0), ValueError, "embedding_dim must be at least 1, got 0"),
        (lambda: Embedding(3, 2, padding_idx=3), ValueError, "padding_idx must lie between -3 and 2, got 3"),
        (
            lambda: Embedding(3, 2, padding_idx=1.0),
            TypeError,
            "padding_idx must be None or an integer, got 1.0",
        ),
        (lambda: Linear(3, 1)(np.ones((3, 2))), ValueError, r"x must have shape \(\.\.\., 3\), got \(3, 2\)"),
        (lambda: Linear(3, 1)(1.0), ValueError, r"x must have shape \(\.\.\., 3\), got \(\)"),
        (
            lambda: Linear(3, 1).vjp(np.ones(3) * 1j),
            TypeError,
            "x must hold real numbers, got dtype complex128",
        ),
        (lambda: Linear(3, 1).vjp(["a"] * 3), TypeError, "x must hold real numbers, got dtype <U1"),
        (
            lambda: Linear(3, 1).vjp(np.ones(3))[1](np.ones(2)),
            ValueError,
            r"dy must have shape \(1,\), got \(2,\)",
        ),
        (lambda: Linear(3, 1).vjp(np.ones(3))[1]("a"), TypeError, "dy must hold real numbers"),
        (lambda: Embedding(3, 2)([0.0]), TypeError, "x must be an array of integers, got dtype float64"),
        (lambda: Embedding(3, 2)([True]), TypeError, "x must be an array of integers, got dtype bool"),
        (lambda: Embedding(3, 2)([[1], [1, 2]]), ValueError, "x must be array_like, got list"),
        (lambda: Embedding(3, 2)([0, 3]), ValueError, "x must lie between 0 and 2, got 0 to 3"),
        (lambda: Embedding(3, 2).vjp([-1, 2]), ValueError, "x must lie between 0 and 2, got -1 to 2"),
        (
            lambda: Embedding(3, 2).vjp([1])[1](np.ones(2)),
            ValueError,
            r"dy must have shape \(1, 2\), got \(2,\)",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_rng_arguments():
    generator = np.random.default_rng(5)
    assert as_generator(generator) is generator
    assert as_generator(np.int64(5)).random() == np.random.default_rng(5).random() == as_generator(5).random()
    assert as_generator(None).random() != as_generator(None).random()
    with pytest.raises(TypeError, match="seed must be None"):
        as_generator(np.random.RandomState(0), "seed")
    with pytest.raises(TypeError, match="rng must be None"):
        as_generator(True)
