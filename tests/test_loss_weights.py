"""Losses of numbers against their definitions, differences and PyTorch; masks and weights of every loss."""

import copy
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from pyrnn import losses
from pyrnn.losses import binary_cross_entropy, cross_entropy, huber, mae, mse

from .slopes import assert_slope

with np.load(Path(__file__).parent / "golden" / "training.npz") as file:
    GOLDEN = {key.removeprefix("losses/"): file[key] for key in file if key.startswith("losses/")}

SHAPES = [(7,), (3, 2), (2, 3, 5), (2, 0, 3)]
EVERY = {name: getattr(losses, name) for name in losses.__all__ if name != "Loss"}
OPTIONS = {"huber": {"delta": 0.7}}


def softplus(x):
    return np.logaddexp(0, x)


DEFINITIONS = {
    "mse": lambda y, t: (y - t) ** 2,
    "mae": lambda y, t: abs(y - t),
    "huber": lambda y, t: np.where(abs(y - t) <= 0.7, (y - t) ** 2 / 2, 0.7 * (abs(y - t) - 0.35)),
    "binary_cross_entropy": lambda y, t: t * softplus(-y) + (1 - t) * softplus(y),
}

each_number_loss = pytest.mark.parametrize("name", DEFINITIONS)
each_loss = pytest.mark.parametrize("name", EVERY)


def problem(name, shape, dtype=np.float64, seed=0):
    """Predictions, and targets of which none lies where a loss has a kink."""
    rng = np.random.default_rng([seed, *shape])
    y = 2 * rng.standard_normal(shape)
    if name == "cross_entropy":
        return y.astype(dtype), rng.integers(0, shape[-1], shape[:-1])
    if name == "binary_cross_entropy":
        return y.astype(dtype), rng.random(shape).astype(dtype)
    error = rng.choice([-1, 1], shape) * rng.choice([0.3, 0.6, 0.8, 2.0], shape)
    return y.astype(dtype), (y - error).astype(dtype)


def call(name, y, t, **options):
    """The loss and its gradient, once both forms of the loss agree."""
    options |= OPTIONS.get(name, {})
    loss, pull = EVERY[name].vjp(y, t, **options)
    assert type(loss) is float and np.array_equal(EVERY[name](y, t, **options), loss, equal_nan=True)
    return loss, pull()


def definition(name, y, t):
    """The loss of every number, or of every position, in float64."""
    y = y.astype(np.float64)
    if name == "cross_entropy":
        logs = y - np.logaddexp.reduce(y, -1, keepdims=True)
        return -np.take_along_axis(logs, t[..., None], -1)[..., 0]
    return DEFINITIONS[name](y, t.astype(np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_loss
def test_value_is_the_mean_of_the_definition(name, shape, dtype):
    y, t = problem(name, shape, dtype)
    each = definition(name, y, t)
    loss, gradient = call(name, y, t)
    # A target is rounded, and so is what is made of it: some eps of the largest of them.
    bound = 8 * float(np.finfo(dtype).eps) * max(1, float(np.abs(each).max(initial=0)))
    assert loss == pytest.approx(float(each.mean()) if each.size else 0.0, rel=0, abs=bound)
    assert gradient.shape == y.shape and gradient.dtype == dtype


KINDS = ["plain", "mask", "weights", "both", "numbers"]  # of which positions have no last


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n in EVERY for k in (KINDS if n in DEFINITIONS else KINDS[:-1])]
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_is_the_central_difference(name, kind, shape):
    rng, (y, t) = np.random.default_rng(1), problem(name, shape)
    where = shape if kind == "numbers" else shape[:-1]
    options = {}
    if kind != "plain" and kind != "weights":
        options["mask"] = rng.random(where) < 0.6
    if kind != "plain" and kind != "mask":
        options["sample_weight"] = rng.random(where)
    _, gradient = call(name, y, t, **options)
    assert_slope(gradient, lambda y: call(name, y, t, **options)[0], y)


@each_loss
def test_pytorch_agrees(name):
    y, t = GOLDEN["predictions"], GOLDEN[f"{name}/targets"]
    loss, gradient = call(name, y, t)
    bound = 8 * np.finfo(np.float64).eps * math.ceil(math.log2(y.size))
    assert loss == pytest.approx(GOLDEN[f"{name}/loss"].item(), rel=bound)
    np.testing.assert_allclose(gradient, GOLDEN[f"{name}/gradient"], rtol=0, atol=bound)


@each_loss
def test_a_weighted_mean_over_positions(name):
    y, t = problem(name, (4, 3, 5))
    each = definition(name, y, t)
    each = each if each.ndim == 2 else each.mean(-1)
    for weight in (np.arange(3), np.arange(4)[:, None], np.arange(12).reshape(4, 3), 2.0):
        truth = np.average(each, weights=np.broadcast_to(weight, (4, 3)))
        assert call(name, y, t, sample_weight=weight)[0] == pytest.approx(truth, rel=1e-14)


@each_number_loss
def test_a_weighted_mean_over_numbers(name):
    y, t = problem(name, (4, 3, 5))
    each = definition(name, y, t)
    for weight in (np.arange(60).reshape(4, 3, 5), np.arange(5)[None, None], np.arange(3)[None, :, None]):
        truth = np.average(each, weights=np.broadcast_to(weight, each.shape))
        assert call(name, y, t, sample_weight=weight)[0] == pytest.approx(truth, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_loss
def test_laws_of_weights(name, dtype):
    y, t = problem(name, (4, 3, 5), dtype)
    rng = np.random.default_rng(2)
    mask, weight = rng.random((4, 3)) < 0.5, rng.random((4, 3))
    by_mask = call(name, y, t, mask=mask)
    # Zero or one: a mask. The same for all: none. Both: their product. Any scale, out of float32's range too.
    for same, other in [
        (call(name, y, t, sample_weight=mask), by_mask),
        (call(name, y, t, sample_weight=7e-60 * mask), by_mask),
        (call(name, y, t, mask=np.ones((4, 3), bool)), call(name, y, t)),
        (call(name, y, t, sample_weight=np.full(3, 1e300)), call(name, y, t)),
        (call(name, y, t, mask=mask, sample_weight=weight), call(name, y, t, sample_weight=mask * weight)),
        (call(name, y, t, sample_weight=weight / 1024), call(name, y, t, sample_weight=weight)),
    ]:
        assert same[0] == other[0]
        np.testing.assert_array_equal(same[1], other[1])
    # A weight of two: the sample twice.
    twice = call(name, y, t, sample_weight=[1, 2, 1])[0]
    longer = call(name, np.insert(y, 1, y[:, 1], 1), np.insert(t, 1, t[:, 1], 1))[0]
    assert twice == pytest.approx(longer, rel=16 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@each_loss
def test_what_does_not_count_does_not_matter(name, bad):
    y, t = problem(name, (4, 3, 5))
    mask = np.random.default_rng(2).random((4, 3)) < 0.5
    clean = call(name, y, t, mask=mask)
    y[~mask] = bad
    t[~mask] = -77
    for options in ({"mask": mask}, {"sample_weight": mask}):
        loss, gradient = call(name, y, t, **options)
        assert loss == clean[0]
        np.testing.assert_array_equal(gradient, clean[1])
        assert not gradient[~mask].any()


@each_loss
def test_nothing_counts(name):
    y, t = problem(name, (4, 3, 5))
    for options in ({"mask": np.zeros((4, 3), bool)}, {"sample_weight": 0}):
        loss, gradient = call(name, y, t, **options)
        assert loss == 0.0 and not gradient.any()


def test_ignore_index_goes_with_weights():
    y, t = problem("cross_entropy", (6, 5))
    weight = np.arange(6.0)
    ignored = call("cross_entropy", y, t, sample_weight=weight, ignore_index=int(t[3]))
    masked = call("cross_entropy", y, t, sample_weight=weight, mask=t != t[3])
    assert ignored[0] == masked[0]
    np.testing.assert_array_equal(ignored[1], masked[1])


@each_number_loss
def test_a_mask_of_numbers(name):
    y, t = problem(name, (4, 3, 5))
    mask = np.random.default_rng(2).random(y.shape) < 0.5
    loss, gradient = call(name, y, t, mask=mask)
    assert loss == pytest.approx(definition(name, y, t)[mask].mean(), rel=1e-14)
    assert not gradient[~mask].any()


@each_loss
def test_pull_scales_and_inputs_may_change(name):
    y, t = problem(name, (4, 3, 5))
    pull = EVERY[name].vjp(y, t)[1]
    first = pull()
    y[:], t[:] = 0, 0
    np.testing.assert_array_equal(pull(-0.5), -0.5 * first)  # a power of two scales without rounding
    first[:] = 0
    assert pull().any()


def test_known_values():
    assert mae([3.0, -1.0], [1.0, -1.0]) == 1.0 and mae.vjp([3.0, -1.0], [1.0, -1.0])[1]().tolist() == [
        0.5,
        0,
    ]
    assert huber([3.0], [0.0], delta=2) == 4.0 and huber([3.0], [0.0], delta=8) == 4.5
    assert binary_cross_entropy([0.0], [True]) == pytest.approx(math.log(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_any_size(dtype):
    huge = float(np.finfo(dtype).max) / 2
    logits = np.array([huge, -huge, np.inf, -np.inf], dtype)
    loss, pull = binary_cross_entropy.vjp(logits, [1, 0, 1, 0])
    assert loss == 0 and not pull().any()
    loss, pull = binary_cross_entropy.vjp(logits[:2], [0, 1])
    assert loss == huge and pull().tolist() == [0.5, -0.5]
    assert binary_cross_entropy(logits, [1, 0, 0, 0]) == math.inf
    assert np.isnan(binary_cross_entropy(np.array([np.nan, 0], dtype), [0, 0]))


def test_a_nan_shows_and_stays_where_it_is():
    y, t = np.array([[np.nan], [1.0]]), np.zeros((2, 1))
    for loss in (mse, mae, huber):
        value, pull = loss.vjp(y, t)
        assert math.isnan(value) and np.isnan(pull()).ravel().tolist() == [True, False]


@each_loss
def test_pickle_and_documentation(name):
    loss = EVERY[name]
    assert pickle.loads(pickle.dumps(loss)) is loss and copy.deepcopy(loss) is loss
    assert "Examples" in loss.__doc__ and repr(loss) == f"<loss pyrnn.losses.{name}>"


Y = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((Y.astype(int), Y), {}, TypeError, "predictions must be float32 or float64, got int64"),
        ((1.0, 1.0), {}, ValueError, r"predictions must have shape \(\.\.\., features\), got \(\)"),
        ((Y, Y[0]), {}, ValueError, r"targets must have shape \(2, 3\), as predictions, got \(3,\)"),
        ((Y[:, :1], Y[:, 0]), {}, ValueError, r"targets must have shape \(2, 1\).*got \(2,\)"),
        ((Y, Y + 1j), {}, TypeError, "targets must hold real numbers, got dtype complex128"),
        ((Y, Y), {"mask": Y}, TypeError, "mask must be an array of bool, got dtype float64"),
        (
            (Y, Y),
            {"mask": np.ones(3, bool)},
            ValueError,
            r"mask must have shape \(2,\) or \(2, 3\), got \(3,\)",
        ),
        (
            (Y, Y),
            {"sample_weight": [1, -1]},
            ValueError,
            "sample_weight must hold finite numbers",
        ),
        ((Y, Y), {"sample_weight": [1, np.nan]}, ValueError, "sample_weight must hold finite numbers"),
        ((Y, Y), {"sample_weight": ["a", "b"]}, TypeError, "sample_weight must hold real numbers"),
        (
            (Y, Y),
            {"sample_weight": np.ones(3)},
            ValueError,
            r"sample_weight must be broadcastable to shape \(2,\) or \(2, 3\), got \(3,\)",
        ),
        (
            (Y, Y),
            {"sample_weight": np.ones((1, 2, 3))},
            ValueError,
            r"sample_weight must be broadcastable.*got \(1, 2, 3\)",
        ),
    ],
)
def test_errors_name_the_argument(args, options, error, message):
    for loss in (mse, mae, huber):
        with pytest.raises(error, match=message):
            loss(*args, **options)
    with pytest.raises(error, match=message.replace("predictions", "logits")):
        binary_cross_entropy(*args, **options)


def test_errors_of_one_loss():
    with pytest.raises(ValueError, match="delta must be finite and above 0, got 0"):
        huber(Y, Y, delta=0)
    with pytest.raises(ValueError, match=r"targets must lie between 0 and 1, got 0\.0 to 2\.0"):
        binary_cross_entropy(Y, Y + np.arange(3))
    with pytest.raises(ValueError, match=r"sample_weight must be broadcastable to shape \(2,\), got"):
        cross_entropy(Y, [0, 1], sample_weight=Y)
