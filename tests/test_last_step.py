"""LastStep: the steps that it takes, the way back, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn import GRU, Bidirectional, LastStep, Linear, Sequential, reference

from .problems import at_random, eighths
from .slopes import slope

flags = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])


@st.composite
def problems(draw):
    T, B, half = draw(st.integers(0, 6)), draw(st.integers(0, 5)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    x, dy = eighths(rng, T, B, 2 * half).astype(dtype), eighths(rng, B, 2 * half).astype(dtype)
    return x, dy, rng.integers(0, T + 1, B)


@at_random
@given(problems(), st.booleans(), st.booleans(), st.booleans())
def test_it_is_the_reference(problem, batch_first, bidirectional, ragged):
    x, dy, lengths = problem
    truth = reference.layers.last_step(x, lengths if ragged else [len(x)] * x.shape[1], bidirectional)
    if ragged:
        x[np.arange(len(x))[:, None] >= lengths] = np.nan  # is not read
    layer = LastStep(batch_first, bidirectional)
    given = x.swapaxes(0, 1) if batch_first else x
    options = {"lengths": lengths} if ragged else {}
    y, pull = layer.vjp(given, **options)
    dx, grads = pull(dy)
    for found in (y, layer(given, **options)):
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, truth)
    assert not grads and dx.dtype == x.dtype and dx.shape == given.shape
    # The transpose of a map that picks numbers: <dy, layer(v)> == <pull(dy), v>, exactly, for numbers / 8.
    v = eighths(np.random.default_rng(1), *given.shape).astype(x.dtype)
    assert (layer(v, **options) * dy).sum() == (dx * v).sum()


@flags
def test_the_gradient_is_the_slope(bidirectional):
    layer, rng = LastStep(bidirectional=bidirectional), np.random.default_rng(0)
    x, lengths = eighths(rng, 4, 3, 4), np.array([2, 0, 4])
    y, pull = layer.vjp(x, lengths=lengths)
    dy = eighths(rng, *y.shape)
    truth = slope(lambda new: float((layer(new, lengths=lengths) * dy).sum()), x, 1)
    np.testing.assert_array_equal(pull(dy)[0], truth)


@flags
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_final_state_of_a_recurrent_layer(bidirectional, batch_first):
    gru = GRU(3, 5, bidirectional=bidirectional, batch_first=batch_first, rng=0)
    x, lengths = np.random.default_rng(0).standard_normal((4, 4, 3)), [4, 0, 2, 1]
    y, h = gru(x, lengths=lengths)
    last = LastStep(batch_first, bidirectional)
    np.testing.assert_array_equal(last(y, lengths=lengths), np.concatenate(list(h), -1))


def test_a_sequence_without_a_batch_axis():
    x = np.arange(8.0).reshape(2, 4)
    for layer, truth, back in (
        (LastStep(), [4, 5, 6, 7], [[0, 0, 0, 0], [4, 5, 6, 7]]),
        (LastStep(True, True), [4, 5, 2, 3], [[0, 0, 2, 3], [4, 5, 0, 0]]),
    ):
        y, pull = layer.vjp(x)
        np.testing.assert_array_equal(y, truth)
        np.testing.assert_array_equal(pull(y)[0], back)
    assert not LastStep()(x[:0]).any()


def test_in_a_sequential_it_gets_the_lengths():
    model = Sequential(Bidirectional(GRU(3, 2, rng=0)), LastStep(bidirectional=True), Linear(4, 1, rng=1))
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    alone = model(x[:3, 1:])
    assert model(x).shape == (2, 1)
    np.testing.assert_allclose(model(x, lengths=[5, 3])[1:], alone, rtol=0, atol=2**-20)
    (dx, _), (dx_alone, _) = model.vjp(x, lengths=[0, 3])[1]([[1], [1]]), model.vjp(x[:3, 1:])[1]([[1]])
    assert not dx[3:].any() and not dx[:, 0].any()
    np.testing.assert_allclose(dx[:3, 1:], dx_alone, rtol=0, atol=2**-20)


def test_pull_outlives_what_the_caller_does_to_the_lengths():
    x, lengths = np.ones((3, 2, 1)), np.array([3, 1])
    _, pull = LastStep().vjp(x, lengths=lengths)
    lengths[:] = 2
    np.testing.assert_array_equal(pull([[1], [2]])[0][:, :, 0], [[0, 2], [0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LastStep(batch_first=1), TypeError, "batch_first must be True or False, got 1"),
        (lambda: LastStep(bidirectional="yes"), TypeError, "bidirectional must be True or False"),
        (
            lambda: LastStep()(np.ones(3)),
            ValueError,
            r"x must have shape \(T, B, F\) or \(T, F\), got \(3,\)",
        ),
        (lambda: LastStep(True)(np.ones(3)), ValueError, r"x must have shape \(B, T, F\)"),
        (lambda: LastStep()(np.ones((2, 2), int)), TypeError, "x must be float32 or float64, got int64"),
        (lambda: LastStep(False, True)(np.ones((2, 2, 3))), ValueError, "x must have an even number of feat"),
        (
            lambda: LastStep()(np.ones((2, 3)), lengths=[1]),
            ValueError,
            "lengths must be None for an x without a batch axis",
        ),
        (
            lambda: LastStep()(np.ones((2, 3, 1)), lengths=[1, 2]),
            ValueError,
            r"lengths must have shape \(3,\)",
        ),
        (lambda: LastStep()(np.ones((2, 1, 1)), lengths=[3]), ValueError, "lengths must lie between 0 and 2"),
        (
            lambda: LastStep().vjp(np.ones((2, 1, 1)))[1](np.ones(2)),
            ValueError,
            r"dy must have shape \(1, 1\), got \(2,\)",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
