"""Optimizers against PyTorch's trajectories and the formulas, and what they share: steps, state, errors."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest

import pyrnn
from pyrnn import LSTM, Sequential
from pyrnn.layers import Embedding, Linear
from pyrnn.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from pyrnn.schedules import Cosine, WarmUp

with np.load(Path(__file__).parent / "golden" / "training.npz") as file:
    GOLDEN = {key.removeprefix("optimizers/"): file[key] for key in file if key.startswith("optimizers/")}

# The options with which the golden trajectories were made: golden/make_training.py.
OPTIONS = {
    "SGD/plain": {"lr": 0.1},
    "SGD/decay": {"lr": 0.1, "weight_decay": 0.3},
    "SGD/momentum": {"lr": 0.02, "momentum": 0.9},
    "SGD/nesterov": {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    "RMSprop/default": {},
    "RMSprop/decay": {"lr": 0.03, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.2},
    "RMSprop/momentum": {"lr": 0.003, "momentum": 0.9},
    "RMSprop/centered": {"lr": 0.003, "alpha": 0.9, "momentum": 0.5, "centered": True},
    "Adam/default": {},
    "Adam/options": {"lr": 0.05, "betas": (0.8, 0.99), "eps": 1e-4},
    "Adam/decay": {"lr": 0.05, "weight_decay": 0.1},
    "AdamW/default": {"lr": 0.02},
    "AdamW/decay": {"lr": 0.05, "betas": (0.5, 0.9), "weight_decay": 0.5},
}

each_case = pytest.mark.parametrize("case", OPTIONS)


def optimizer_of(case, layers):
    return getattr(pyrnn, case.split("/")[0])(layers, **OPTIONS[case])


def random_grads(layer, rng, scale=1.0):
    return {name: scale * rng.standard_normal(array.shape) for name, array in layer.params.items()}


def snapshot(layer):
    return layer.params.version, layer.params.flat.tobytes()


def trajectory(layer, optimizer):
    """The parameters after each step down the golden gradients."""
    start, path = GOLDEN["start"], []
    layer.params.update({"weight": start[:6].reshape(2, 3), "bias": start[6:]})
    for g in GOLDEN["grads"]:
        optimizer.step({"weight": g[:6].reshape(2, 3), "bias": g[6:]})
        path.append(np.concatenate([array.ravel() for array in layer.params.values()]))
    return np.stack(path)


def bound(dtype):
    """Twenty steps of parameters of order one, each with some roundings on either side; never above 1e-6."""
    return min(1e-6, 4 * len(GOLDEN["grads"]) * np.finfo(dtype).eps)


def test_every_golden_trajectory_is_compared():
    assert {key for key in GOLDEN if key.endswith("/float64")} == {
        f"{case}/float64" for case in [*OPTIONS, "scheduled"]
    }


@each_case
def test_pytorch_goes_the_same_way(isa, dtype, case):
    layer = Linear(3, 2, dtype=dtype)
    path = trajectory(layer, optimizer_of(case, layer))
    np.testing.assert_allclose(path, GOLDEN[f"{case}/{dtype}"], rtol=0, atol=bound(dtype))


def test_pytorch_goes_the_same_way_with_a_schedule(dtype):
    layer = Linear(3, 2, dtype=dtype)
    path = trajectory(layer, Adam(layer, Cosine(0.05, steps=20, final=0.01)))
    np.testing.assert_allclose(path, GOLDEN[f"scheduled/{dtype}"], rtol=0, atol=bound(dtype))


# p = 1, gradient p (that of p**2 / 2), lr 0.1: the paper's algorithm in 50-digit decimal arithmetic.
PAPER = [0.900000001, 0.8004122297123374, 0.7015862745044142]


def test_the_paper_goes_the_same_way():
    layer = Linear(1, 1, bias=False, dtype=np.float64)
    layer.params["weight"] = [[1.0]]
    adam, path = Adam(layer, lr=0.1), []
    for _ in range(3):
        adam.step(layer.params.copy())
        path.append(layer.params["weight"].item())
    assert path == pytest.approx(PAPER, rel=1e-14)


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
        ((Linear(1, 1),), {"weight_decay": -1}, ValueError, "weight_decay must be finite"),
        (
            (Linear(1, 1), lambda k: -1),
            {},
            ValueError,
            r"lr\(0\) must be finite.*got -1",
        ),
    ],
)
def test_bad_settings_are_named(args, options, error, message):
    for kind in (Adam, AdamW):
        with pytest.raises(error, match=message):
            kind(*args, **options)


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (SGD, {"momentum": 1.0}, ValueError, "momentum must be finite and between 0 and 1, got 1.0"),
        (SGD, {"nesterov": True}, ValueError, "nesterov needs a momentum above 0, got momentum 0.0"),
        (SGD, {"momentum": 0.9, "nesterov": 1}, TypeError, "nesterov must be True or False, got 1"),
        (SGD, {"weight_decay": math.nan}, ValueError, "weight_decay must be finite"),
        (RMSprop, {"alpha": 1.0}, ValueError, "alpha must be finite"),
        (RMSprop, {"eps": 0}, ValueError, "eps must be finite"),
        (RMSprop, {"momentum": -0.1}, ValueError, "momentum must be finite"),
        (RMSprop, {"centered": None}, TypeError, "centered must be True or False, got None"),
        (RMSprop, {"lr": "1"}, TypeError, "lr must be a number, got '1'"),
    ],
)
def test_bad_settings_of_the_others_are_named(kind, options, error, message):
    with pytest.raises(error, match=message):
        kind(Linear(1, 1), **options)


def test_lr_can_be_set_and_is_checked():
    adam = Adam(Linear(1, 1))
    adam.lr = 0
    assert adam.lr == 0.0
    with pytest.raises(ValueError, match="lr must be finite"):
        adam.lr = -1


@each_case
def test_a_continued_training_is_the_uninterrupted_one(case):
    layers = [Linear(3, 2, rng=0), Embedding(4, 2, rng=1), Linear(2, 1, dtype=np.float64, rng=2)]
    rng = np.random.default_rng(0)
    first = optimizer_of(case, layers)
    history = [[random_grads(layer, rng) for layer in layers] for _ in range(6)]
    for grads in history[:3]:
        first.step(grads)
    state, others = first.state_dict(), pickle.loads(pickle.dumps(layers))
    together, by_pickle = pickle.loads(pickle.dumps((layers, first)))
    resumed = optimizer_of(case, others)
    resumed.load_state_dict(state)
    for grads in history[3:]:
        for optimizer in (first, resumed, by_pickle):
            optimizer.step(grads)
    assert first.steps == resumed.steps == by_pickle.steps == 6
    for layer, *rest in zip(layers, others, together, strict=True):
        for other in rest:
            assert layer.params.flat.tobytes() == other.params.flat.tobytes()
    for key, value in first.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[key], value, strict=True)


def test_numbers_come_back_from_the_state():
    layer = Linear(3, 2, rng=0)
    for saved, other in [
        (Adam(layer, 0.1, (0.8, 0.9), 1e-6, 0.2), Adam(layer)),
        (AdamW(layer, 0.1, (0.8, 0.9), 1e-6, 0.2), AdamW(layer)),
        (SGD(layer, 0.1, 0.8, True, 0.2), SGD(layer, 0.5, 0.9)),
        (RMSprop(layer, 0.1, 0.8, 1e-6, 0.7, True, 0.2), RMSprop(layer, momentum=0.9, centered=True)),
    ]:
        other.load_state_dict(saved.state_dict())
        assert repr(other) == repr(saved)
        assert {type(value) for value in vars(other).values()} == {
            type(value) for value in vars(saved).values()
        }


def test_a_schedule_is_resumed_by_its_step():
    schedule = WarmUp(Cosine(0.1, 8), 3)
    layer, grads = Linear(3, 2, rng=0), random_grads(Linear(3, 2), np.random.default_rng(0))
    adam, rates = Adam(layer, schedule), []
    for _ in range(5):
        rates.append(adam.lr)
        adam.step(grads)
    assert rates == [schedule(k) for k in range(5)] and adam.lr == schedule(5)
    state, other = adam.state_dict(), pickle.loads(pickle.dumps(layer))
    assert "lr" not in state
    resumed = Adam(other, schedule)
    resumed.load_state_dict(state)
    assert resumed.lr == schedule(5)
    for optimizer in (adam, resumed):
        optimizer.step(grads)
    assert layer.params.flat.tobytes() == other.params.flat.tobytes()
    with pytest.raises(ValueError, match="state_dict lacks 'lr': saved with a schedule"):
        Adam(layer).load_state_dict(state)
    with pytest.raises(ValueError, match="state_dict has an 'lr': saved without a schedule"):
        adam.load_state_dict(Adam(layer).state_dict())


def test_a_schedule_that_fails_changes_nothing():
    layer = Linear(3, 2, rng=0)
    before, sgd = snapshot(layer), SGD(layer, lambda k: 0.1 if k == 0 else math.nan)
    sgd.step(layer.params.copy())
    after = snapshot(layer)
    assert after != before
    with pytest.raises(ValueError, match=r"lr\(1\) must be finite and between 0 and inf, got nan"):
        sgd.step(layer.params.copy())
    assert snapshot(layer) == after and sgd.steps == 1
    with pytest.raises(TypeError, match=r"lr\(1\) must be a number, got None"):
        sgd.lr = lambda k: None
    sgd.lr = 0.5
    assert sgd.lr == 0.5


def test_gradients_that_are_the_parameters_themselves():
    """They are views of what changes: every one is read as it was before the step."""
    a, b = (Sequential(Linear(4, 4, rng=0), Linear(4, 4, rng=1)) for _ in range(2))
    Adam(a).step(dict(a.params))
    Adam(b).step(b.params.copy())
    crossed = {f"{1 - int(name[0])}{name[1:]}": array for name, array in a.params.items()}
    copied = {name: array.copy() for name, array in crossed.items()}
    SGD(a, 0.5).step(crossed)
    SGD(b, 0.5).step(copied)
    assert all(np.array_equal(array, b.params[name]) for name, array in a.params.items())


def test_gaps_stay_zero():
    layer = LSTM(3, 5, rng=0)
    adam = AdamW(layer, lr=0.1)
    for _ in range(3):
        adam.step(random_grads(layer, np.random.default_rng(0)))
    assert np.count_nonzero(layer.params.flat) <= layer.params.size < layer.params.flat.size


def test_the_base_class_is_to_type_against():
    assert all(isinstance(optimizer_of(case, Linear(1, 1)), Optimizer) for case in OPTIONS)
    with pytest.raises(TypeError, match="abstract"):
        Optimizer(Linear(1, 1), 0.1, [])


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
