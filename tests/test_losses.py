"""Losses: the value against the definition, the gradient against central differences."""

import copy
import math
import pickle

import numpy as np
import pytest

from pyrnn.losses import cross_entropy

EPS = float(np.finfo(np.float64).eps)
STEP = 2.0**-14  # of a central difference: near where its two errors, below, are as large as each other


def definition(logits, targets, counts):
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(p, targets[..., None], -1))[..., 0][counts].mean()


@pytest.fixture(params=[(7,), (2, 3), (2, 0, 3), ()], ids=str)
def problem(request):
    rng = np.random.default_rng(3)
    shape = request.param
    return 3 * rng.standard_normal((*shape, 5)), rng.integers(0, 5, shape), rng.random(shape) < 0.6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["all", "mask", "ignore_index", "both"])
def test_value_is_the_definition(problem, dtype, kind):
    logits, targets, mask = problem
    logits = logits.astype(dtype)
    options, counts = {}, np.ones(targets.shape, bool)
    if kind in ("mask", "both"):
        options["mask"], counts = mask, counts & mask
    if kind in ("ignore_index", "both"):
        options["ignore_index"], counts = 2, counts & (targets != 2)
    loss = cross_entropy(logits, targets, **options)
    assert type(loss) is float
    truth = definition(logits, targets, counts) if counts.any() else 0.0
    tolerance = 16 * float(np.finfo(dtype).eps)
    assert loss == pytest.approx(truth, rel=tolerance, abs=tolerance)
    again, pull = cross_entropy.vjp(logits, targets, **options)
    assert again == loss
    gradient = pull()
    assert gradient.shape == logits.shape and gradient.dtype == dtype
    assert not gradient[~counts].any()


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_is_the_central_difference(problem, masked):
    logits, targets, mask = problem
    options = {"mask": mask} if masked else {}
    loss, pull = cross_entropy.vjp(logits, targets, **options)
    gradient = pull()
    # Truncation: STEP**2 / 6 times the third derivative, p (1 - p) (1 - 2 p) < 0.1 for a probability p.
    # Rounding: each loss is off by 4 EPS of it, or of 1 if that is more, and 2 STEP divides their difference.
    error = STEP**2 / 60 + 4 * EPS * max(1, loss) / STEP
    for at in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[at] += STEP
        down[at] -= STEP
        change = cross_entropy(up, targets, **options) - cross_entropy(down, targets, **options)
        assert gradient[at] == pytest.approx(change / (up[at] - down[at]), rel=0, abs=error)


def test_pull_scales_and_can_be_called_again():
    logits, targets = np.random.default_rng(0).standard_normal((4, 6, 5)), np.zeros((4, 6), int)
    pull = cross_entropy.vjp(logits, targets)[1]
    first = pull()
    np.testing.assert_array_equal(pull(-0.5), -0.5 * first)  # a power of two scales without rounding
    first[:] = 0
    assert pull().any()


def test_known_values():
    assert cross_entropy(np.zeros((3, 8)), [0, 4, 7]) == pytest.approx(math.log(8), rel=1e-15)
    assert cross_entropy([[0.0, math.log(3)]], [1]) == pytest.approx(math.log(4 / 3), rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_do_not_overflow(dtype):
    huge = np.finfo(dtype).max / 4
    logits = np.array([[huge, 0, -huge], [1e3, 999, 998]], dtype)
    loss, pull = cross_entropy.vjp(logits, [0, 0])
    assert loss == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2)) / 2, rel=1e-6)
    assert np.isfinite(pull()).all()


def test_shifting_a_row_changes_nothing():
    logits, targets = np.random.default_rng(0).standard_normal((9, 5)), np.arange(9) % 5
    assert cross_entropy(logits + 64, targets) == pytest.approx(cross_entropy(logits, targets), rel=1e-13)


def test_minus_infinity_forbids_a_class():
    loss, pull = cross_entropy.vjp(np.array([[0.0, -np.inf, 0.0]]), [2])
    assert loss == pytest.approx(math.log(2))
    np.testing.assert_allclose(pull(), [[0.5, 0, -0.5]])
    assert cross_entropy(np.array([[0.0, -np.inf]]), [1]) == np.inf


def test_nan_stays_in_its_row_and_what_does_not_count_does_not_matter():
    logits = np.zeros((3, 4))
    logits[1, 2] = np.nan
    loss, pull = cross_entropy.vjp(logits, [0, 1, 2])
    assert math.isnan(loss) and np.isnan(pull()).any(1).tolist() == [False, True, False]
    loss, pull = cross_entropy.vjp(logits, [0, -77, 2], mask=[True, False, True])
    assert loss == pytest.approx(math.log(4)) and not pull()[1].any()
    assert cross_entropy(logits, [0, -100, 2], ignore_index=-100) == pytest.approx(math.log(4))


def test_inputs_are_not_written_to():
    logits, targets, mask = np.random.default_rng(0).standard_normal((4, 5)), np.arange(4), np.arange(4) > 1
    before = logits.copy()
    for array in (logits, targets, mask):
        array.setflags(write=False)
    cross_entropy.vjp(logits, targets, mask=mask)[1](3.0)
    np.testing.assert_array_equal(logits, before)


def test_any_stride_and_byte_order():
    logits, targets = np.random.default_rng(0).standard_normal((4, 5)), np.arange(4)
    truth = cross_entropy(logits, targets)
    assert cross_entropy(np.asfortranarray(logits), targets.astype(np.uint8)) == pytest.approx(
        truth, rel=1e-15
    )
    assert cross_entropy(logits.astype(">f8"), targets[::-1].copy()[::-1]) == pytest.approx(truth, rel=1e-15)


GOOD = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((GOOD.astype(int), [0, 1]), {}, TypeError, "logits must be float32 or float64, got int64"),
        ((GOOD.astype(np.float16), [0, 1]), {}, TypeError, "logits must be float32 or float64, got float16"),
        ((1.0, 0), {}, ValueError, r"logits must have shape \(\.\.\., C\)"),
        ((np.zeros((2, 0)), [0, 1]), {}, ValueError, "logits must have shape"),
        (([[0.0], [0.0, 1.0]], [0, 1]), {}, ValueError, "logits must be array_like"),
        ((GOOD, [0.0, 1.0]), {}, TypeError, "targets must be an array of integers, got dtype float64"),
        ((GOOD, [True, False]), {}, TypeError, "targets must be an array of integers, got dtype bool"),
        ((GOOD, [0]), {}, ValueError, r"targets must have shape \(2,\).*got \(1,\)"),
        ((GOOD, [0, 3]), {}, ValueError, "targets must lie between 0 and 2, got 0 to 3"),
        ((GOOD, [0, -1]), {}, ValueError, "targets must lie between 0 and 2, got -1 to 0"),
        ((GOOD, [0, 1]), {"mask": [0, 1]}, TypeError, "mask must be an array of bool, got dtype int64"),
        ((GOOD, [0, 1]), {"mask": [True]}, ValueError, r"mask must have shape \(2,\), got \(1,\)"),
        (
            (GOOD, [0, 1]),
            {"ignore_index": 1.0},
            TypeError,
            "ignore_index must be None or an integer, got 1.0",
        ),
    ],
)
def test_errors_name_the_argument(args, options, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(*args, **options)
    with pytest.raises(error, match=message):
        cross_entropy.vjp(*args, **options)


def test_pickle_and_documentation():
    assert pickle.loads(pickle.dumps(cross_entropy)) is cross_entropy
    assert copy.deepcopy(cross_entropy) is cross_entropy
    assert "nats" in cross_entropy.__doc__ and repr(cross_entropy) == "<loss pyrnn.losses.cross_entropy>"
