"""Every kernel against the reference, forward and all gradients, where tiles and vectors end."""

import functools
import itertools

import numpy as np
import pytest

from pyrnn import functional

from .problems import (
    NORMALIZED,
    assert_near,
    assert_same,
    assert_true,
    infer,
    problem,
    ragged,
    run,
    truth,
    wide,
)

STEPS = (0, 1, 2, 17)
ROWS = (1, 5, 6, 7, 8, 9, 13)  # below, at and past every tile height
UNITS = {  # below, at and past every vector and group of vectors
    "1": lambda L: 1,
    "L-1": lambda L: max(L - 1, 1),
    "L": lambda L: L,
    "L+1": lambda L: L + 1,
    "2L+1": lambda L: 2 * L + 1,
    "4L+1": lambda L: 4 * L + 1,
    "L/2": lambda L: L // 2,  # below, at and past what lets gates share vectors
    "2L+L/2": lambda L: 2 * L + L // 2,
    "2L+L/2+1": lambda L: 2 * L + L // 2 + 1,
    "3L+L/4": lambda L: 3 * L + L // 4,
}


def inputs(L):
    return (1, 3, L, 2 * L + 1)


@functools.cache
def known(cell, dtype, T, B, I, H, raggedness=False, **options):
    """A problem and its truth, which does not depend on the instruction set."""
    given = problem(cell, dtype, T, B, I, H, **options, **(ragged(T, B) if raggedness else {}))
    return given, truth(given)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_every_shape(cell, dtype, isa, lanes, units):
    for number, (T, B) in enumerate(itertools.product(STEPS, ROWS)):
        I = inputs(lanes)[number % 4]
        given, expected = known(cell, dtype, T, B, I, units(lanes))
        assert_true(given, run(given), expected)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_ragged_batches_with_resets(cell, dtype, isa, lanes, units, reverse):
    for I, (T, B) in zip(inputs(lanes), ((1, 5), (2, 9), (17, 13), (17, 1)), strict=True):
        given, expected = known(cell, dtype, T, B, I, units(lanes), raggedness=True, reverse=reverse)
        assert_true(given, run(given), expected)


@pytest.mark.parametrize("option", ["lengths", "reset", "reverse"])
def test_each_option_alone(cell, dtype, isa, lanes, option):
    options = {"reverse": True, **ragged(6, 9)}
    given = problem(cell, dtype, 6, 9, 3, lanes + 1, **{option: options[option]})
    assert_true(given, run(given))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("state", [True, False])
def test_what_may_be_left_out(cell, dtype, isa, lanes, bias, state):
    for reverse in (False, True):
        given, expected = known(cell, dtype, 5, 7, 3, 2 * lanes + 1, bias=bias, state=state, reverse=reverse)
        assert_true(given, run(given), expected)


@pytest.mark.parametrize("given_bias", ["b_ih", "b_hh"])
def test_one_bias_without_the_other(cell, dtype, isa, given_bias):
    given = problem(cell, dtype, 3, 2, 3, 5)
    given = given | dict.fromkeys({"b_ih", "b_hh"} - {given_bias})
    assert_true(given, run(given))


def test_inference_is_the_training_forward(cell, dtype, isa, lanes):
    for options in ({}, ragged(9, 8), ragged(9, 8) | {"reverse": True}):
        given = problem(cell, dtype, 9, 8, 3, 2 * lanes + 1, **options)
        results = run(given)
        assert_same(infer(given), {name: results[name] for name in ("y", "state")})


@pytest.mark.parametrize(
    "T, B, options",
    [
        (2, 600, {}),
        (300, 2, {}),
        (2, 600, {"raggedness": True}),
        (150, 9, {"raggedness": True, "reverse": True}),
    ],
    ids=["strips", "blocks", "ragged strips", "ragged blocks"],
)
def test_more_than_one_block(cell, dtype, isa, T, B, options):
    given, expected = known(cell, dtype, T, B, 3, wide(cell, dtype), **options)
    assert_true(given, run(given), expected)


@pytest.mark.parametrize("T, B, H", [(3, 700, 40), (600, 3, 33)])
def test_long_and_wide(cell, dtype, isa, T, B, H):
    given, expected = known(cell, dtype, T, B, 7, H, raggedness=True)
    assert_true(given, run(given), expected)


def strided(x):
    """The values of x behind strides of other sizes and signs."""
    T, B, I = x.shape
    wide = np.full((B + 1, T + 2, I + 3), np.nan, x.dtype)
    wide[1:, 1:-1, 2:-1] = x.swapaxes(0, 1)[::-1, ::-1]
    return wide[1:, 1:-1, 2:-1][::-1, ::-1].swapaxes(0, 1)


def test_any_stride_in_time_and_batch(cell, dtype, isa):
    for options in ({}, ragged(6, 5) | {"reverse": True}):
        given = problem(cell, dtype, 6, 5, 3, 9, **options)
        other = given | {name: strided(given[name]) for name in ("x", "dy")}
        assert other["x"].strides != given["x"].strides and min(other["x"].strides) < 0
        if options:
            other["reset"] = np.asfortranarray(given["reset"])[::-1][::-1]
        assert_same(run(other), run(given))


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (2,), (0, 1, 2)])
def test_broadcast_inputs(cell, dtype, isa, axes):
    given = problem(cell, dtype, 6, 5, 3, 9)
    for name in ("x", "dy"):
        thin = given[name][tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(3))]
        given[name] = np.broadcast_to(thin, given[name].shape)
    given["reset"] = np.broadcast_to(np.arange(6)[:, None] == 3, (6, 5))
    given["lengths"] = np.broadcast_to(4, 5)
    full = given | {name: given[name].copy() for name in ("x", "dy", "reset", "lengths")}
    assert_same(run(given), run(full))


@pytest.mark.parametrize("I", [1, 3])
def test_columns_and_slices_of_features(cell, dtype, isa, I):
    given = problem(cell, dtype, 4, 3, 2 * I, 5)
    given["w_ih"] = given["w_ih"][:, ::2]
    given["x"] = given["x"][:, :, ::2]
    compact = given | {name: np.ascontiguousarray(given[name]) for name in ("x", "w_ih")}
    assert_same(run(given), run(compact))


@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_to_do(cell, dtype, isa, reverse):
    """No step, no row, or rows without steps: zeros, and states that pass through."""
    for T, B, options in [(0, 3, {}), (4, 0, {}), (0, 0, {}), (4, 3, {"lengths": np.zeros(3, int)})]:
        given = problem(cell, dtype, T, B, 3, 5, reverse=reverse, **options)
        results = run(given)
        assert_same({"": results.pop("state")}, {"": given["state"]})
        assert_same({"": results.pop("grad dstate")}, {"": given["dstate"]})
        assert not any(array.any() for array in results.values())


def whole(rng, dtype, *shape):
    return rng.integers(-2, 3, shape).astype(dtype)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_integers_are_exact(dtype, isa, lanes, units):
    """A rectified network on small integers rounds nothing: packing, tiles and tails must be exact."""
    for I, (T, B) in itertools.product(inputs(lanes), ((1, 1), (2, 9), (3, 13))):
        H, rng = units(lanes), np.random.default_rng(I)
        given = problem("rnn_relu", dtype, T, B, I, H, **ragged(T, B))
        for name in set(given) - {"cell", "lengths", "reset"}:
            given[name] = whole(rng, dtype, *given[name].shape)
        expected = truth(given)
        assert all(np.abs(array).max(initial=0) < 2**23 for array in expected.values())
        for name, array in run(given).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_the_rectifier_is_flat_at_zero(dtype, isa):
    eye = np.eye(4, dtype=dtype)
    x = np.array([[[0, -0.0, -1, 2]]], dtype)
    (y, _), pull = functional.vjp("rnn_relu", x, None, eye, eye)
    np.testing.assert_array_equal(y, [[[0, 0, 0, 2]]])
    np.testing.assert_array_equal(pull(np.ones_like(y))["dx"], [[[0, 0, 0, 1]]])


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_saturated_gates_are_finite_and_right(cell, dtype, isa, size):
    if cell == "rnn_relu":
        size = 1e2  # it has no gates: what is large stays large
    if cell in NORMALIZED:
        size = min(size, 1e15)  # whose square is a float32
    given = problem(cell, dtype, 3, 4, 3, 9)
    given["x"] = given["x"] * dtype.type(size)
    results, expected = run(given), truth(given)
    for name in ("y", "state", "grad dx", "grad dstate", "grad db_ih"):
        bound = 64 * np.finfo(dtype).eps
        assert_near(results[name], expected[name], bound)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # in the reference
def test_an_infinite_gradient_is_not_a_nan(cell, dtype, isa):
    """The lanes beyond H hold zeros, and infinity times zero must not come back from there."""
    given = problem(cell, dtype, 4, 3, 1, 1)
    for name in ("x", "w_ih", "w_hh", "b_ih", "b_hh"):
        given[name] = np.abs(given[name]) / 8  # no rectifier is closed, nothing is saturated
    # Above the candidate of a GRU, below that of a minGRU: all terms have one sign, where they can.
    given["state"] = np.full_like(given["state"], -5 if cell == "mingru" else 5)
    given["dy"] = given["dy"].copy()
    given["dy"][-1, 1] = np.inf
    results = run(given)
    with np.errstate(invalid="ignore"):  # BLAS may multiply infinities by padding of its own
        expected = truth(given)
    for name in ("grad dx", "grad dstate"):
        assert np.isinf(expected[name]).any() or cell in ("minlstm", "lstm_coupled", *NORMALIZED)
        np.testing.assert_array_equal(np.isnan(results[name]), np.isnan(expected[name]))
        np.testing.assert_array_equal(np.isinf(results[name]), np.isinf(expected[name]))
