"""Adam against the formula written out, and the clipping of gradients."""

import math
import pickle

import numpy as np
import pytest

from pyrnn import optim
from pyrnn.layers import Embedding, Linear
from pyrnn.optim import Adam, clip_grad_norm


def random_grads(layer, rng, scale=1.0):
    return {name: scale * rng.standard_normal(array.shape) for name, array in layer.params.items()}


def formula(p, grads, lr, beta1, beta2, eps):
    """Algorithm 1 of Kingma and Ba (2015), line by line."""
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p


def snapshot(layer):
    return layer.params.version, layer.params.flat.tobytes()


@pytest.mark.parametrize("block", [7, optim.BLOCK])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-2}, {"betas": (0, 0)}])
def test_adam_follows_the_formula(monkeypatch, block, dtype, options):
    monkeypatch.setattr(optim, "BLOCK", block)
    rng, layers = (
        np.random.default_rng(0),
        [Linear(5, 3, dtype=dtype, rng=1), Embedding(6, 2, dtype=dtype, rng=2)],
    )
    adam, start = Adam(layers, **options), [layer.state_dict() for layer in layers]
    history = [[random_grads(layer, rng, 10.0**-t) for layer in layers] for t in range(6)]
    for grads in history:
        adam.step(grads)
    lr, (beta1, beta2), eps = adam.lr, adam.betas, adam.eps
    for k, layer in enumerate(layers):
        for name, value in layer.params.items():
            grads = [step[k][name] for step in history]
            truth = formula(start[k][name].astype(np.float64), grads, lr, beta1, beta2, eps)
            tolerance = 64 * np.finfo(dtype).eps * (1 + lr)
            np.testing.assert_allclose(value, truth, rtol=tolerance, atol=tolerance)
        assert np.count_nonzero(layer.params.flat) <= layer.params.size  # the gaps stay zero


# p = 1, gradient p (that of p**2 / 2), lr 0.1: the paper's algorithm in 50-digit decimal arithmetic.
GOLDEN = [0.900000001, 0.8004122297123374, 0.7015862745044142]


def test_golden_trajectory():
    layer = Linear(1, 1, bias=False, dtype=np.float64)
    layer.params["weight"] = [[1.0]]
    adam, path = Adam(layer, lr=0.1), []
    for _ in range(3):
        adam.step(layer.params.copy())
        path.append(layer.params["weight"].item())
    assert path == pytest.approx(GOLDEN, rel=1e-14)


def test_adam_minimises():
    layer = Linear(4, 4, dtype=np.float64, rng=0)
    adam = Adam(layer, lr=0.05)
    for k in range(800):
        adam.lr = 0.05 * (1 - k / 800)
        adam.step({name: array - 3 for name, array in layer.params.items()})
    np.testing.assert_allclose(layer.params["weight"], 3, atol=1e-3)


def test_every_step_is_a_new_version():
    layer = Linear(2, 2, rng=0)
    version, adam = layer.params.version, Adam(layer)
    adam.step(layer.params.copy())
    assert layer.params.version > version and adam.steps == 1


def test_one_layer_takes_a_dict_or_a_sequence_of_one():
    a, b = Linear(3, 2, rng=0), Linear(3, 2, rng=0)
    grads = random_grads(a, np.random.default_rng(0))
    Adam(a).step(grads)
    Adam([b]).step([grads])
    assert a.params.flat.tobytes() == b.params.flat.tobytes()


def test_gradients_are_not_written_to_and_may_be_strided():
    a, b = Linear(3, 2, rng=0), Linear(3, 2, rng=0)
    grads = random_grads(a, np.random.default_rng(0))
    before = {name: array.copy() for name, array in grads.items()}
    Adam(a).step(grads)
    Adam(b).step({name: np.asfortranarray(array) for name, array in grads.items()})
    assert all((grads[name] == before[name]).all() for name in grads)
    assert a.params.flat.tobytes() == b.params.flat.tobytes()


W, B = np.zeros((2, 3)), np.zeros(2)


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ({"weight": W}, ValueError, "grads lacks 'bias'"),
        ({"weight": W, "bias": B, "gain": B}, ValueError, "grads has unexpected 'gain'"),
        ({"weight": W.T, "bias": B}, ValueError, r"grads\['weight'\] must have shape \(2, 3\), got \(3, 2\)"),
        ({"weight": W, "bias": B * 1j}, TypeError, r"grads\['bias'\] must hold real numbers"),
        ({"weight": W, "bias": None}, TypeError, r"grads\['bias'\] must hold real numbers, got dtype object"),
        ([{"weight": W, "bias": B}] * 2, ValueError, "grads must be 1 mappings, one a layer, got 2"),
        ([W, B], TypeError, "grads must be a mapping or a sequence of mappings, got list"),
        (None, TypeError, "grads must be a mapping or a sequence of mappings, got NoneType"),
    ],
)
def test_bad_gradients_are_named_and_change_nothing(grads, error, message):
    layer = Linear(3, 2, rng=0)
    adam = Adam(layer)
    adam.step(layer.params.copy())
    before, state = snapshot(layer), adam.state_dict()
    with pytest.raises(error, match=message):
        adam.step(grads)
    assert snapshot(layer) == before
    assert all(np.array_equal(value, state[key]) for key, value in adam.state_dict().items())


def test_a_bad_second_layer_leaves_the_first_alone():
    layers = [Linear(3, 2, rng=0), Linear(3, 2, rng=1)]
    before = [snapshot(layer) for layer in layers]
    with pytest.raises(ValueError, match=r"grads\[1\] lacks 'bias'"):
        Adam(layers).step([layers[0].params.copy(), {"weight": W}])
    assert [snapshot(layer) for layer in layers] == before


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((None,), {}, TypeError, "layers must be a layer or a sequence of layers, got None"),
        (([Linear(1, 1), "x"],), {}, TypeError, "layers must be a layer or a sequence of layers"),
        (([Linear(1, 1, rng=0)] * 2,), {}, ValueError, "layers must be distinct"),
        ((Linear(1, 1), -1.0), {}, ValueError, "lr must be finite and between 0 and inf, got -1.0"),
        ((Linear(1, 1), math.nan), {}, ValueError, "lr must be finite.*got nan"),
        ((Linear(1, 1), math.inf), {}, ValueError, "lr must be finite.*got inf"),
        ((Linear(1, 1), "fast"), {}, TypeError, "lr must be a number, got 'fast'"),
        ((Linear(1, 1),), {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\] must be finite"),
        ((Linear(1, 1),), {"betas": (-0.1, 0.9)}, ValueError, r"betas\[0\] must be finite"),
        ((Linear(1, 1),), {"betas": 0.9}, ValueError, "betas must be two numbers, got 0.9"),
        ((Linear(1, 1),), {"eps": 0.0}, ValueError, "eps must be finite"),
    ],
)
def test_bad_settings_are_named(args, options, error, message):
    with pytest.raises(error, match=message):
        Adam(*args, **options)


def test_lr_can_be_set_and_is_checked():
    adam = Adam(Linear(1, 1))
    adam.lr = 0
    assert adam.lr == 0.0
    with pytest.raises(ValueError, match="lr must be finite"):
        adam.lr = -1


def test_a_continued_training_is_the_uninterrupted_one():
    layers = [Linear(3, 2, rng=0), Embedding(4, 2, rng=1)]
    rng = np.random.default_rng(0)
    adam = Adam(layers, lr=0.1, betas=(0.8, 0.9), eps=1e-6)
    history = [[random_grads(layer, rng) for layer in layers] for _ in range(6)]
    for grads in history[:3]:
        adam.step(grads)
    state, others = adam.state_dict(), pickle.loads(pickle.dumps(layers))
    for grads in history[3:]:
        adam.step(grads)
    resumed = Adam(others)
    resumed.load_state_dict(state)
    assert (resumed.lr, resumed.betas, resumed.eps, resumed.steps) == (0.1, (0.8, 0.9), 1e-6, 3)
    for grads in history[3:]:
        resumed.step(grads)
    for layer, other in zip(layers, others, strict=True):
        assert layer.params.flat.tobytes() == other.params.flat.tobytes()


def test_state_dict_survives_savez(tmp_path):
    layer = Linear(3, 2, rng=0)
    adam = Adam(layer)
    adam.step(layer.params.copy())
    np.savez(tmp_path / "adam.npz", **adam.state_dict())
    other = Adam(Linear(3, 2, rng=1))
    with np.load(tmp_path / "adam.npz") as saved:
        other.load_state_dict(saved)
    assert all(np.array_equal(value, other.state_dict()[key]) for key, value in adam.state_dict().items())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": None}, ValueError, "state_dict lacks 'lr'"),
        ({"0.m.gain": B}, ValueError, "state_dict has unexpected '0.m.gain'"),
        ({"0.m.weight": B}, ValueError, r"state_dict\['0.m.weight'\] must have shape \(2, 3\), got \(2,\)"),
        ({"0.v.bias": B * 1j}, TypeError, r"state_dict\['0.v.bias'\] must hold real numbers"),
        ({"steps": -1}, ValueError, r"state_dict\['steps'\] must be an integer of at least 0, got -1"),
        ({"steps": 1.5}, ValueError, r"state_dict\['steps'\] must be an integer of at least 0, got 1.5"),
        ({"betas": [0.9, 2.0]}, ValueError, r"betas\[1\] must be finite and between 0 and 1, got 2.0"),
    ],
)
def test_a_bad_state_dict_changes_nothing(change, error, message):
    layer = Linear(3, 2, rng=0)
    adam = Adam(layer)
    adam.step(layer.params.copy())
    before = adam.state_dict()
    state = {
        key: value for key, value in (before | {"0.m.bias": B + 9} | change).items() if value is not None
    }
    with pytest.raises(error, match=message):
        adam.load_state_dict(state)
    assert all(np.array_equal(value, before[key]) for key, value in adam.state_dict().items())
    with pytest.raises(TypeError, match="state_dict must be a mapping, got list"):
        adam.load_state_dict([])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 100, optim.BLOCK + 3])
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
