"""LayerNorm: the reference against finite differences, the kernels against the reference, and their laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn import LayerNorm, _core, reference

from .disguises import MEMORY
from .problems import at_random
from .slopes import assert_slope

WIDTHS = [1, 2, 3, 7, 8, 9, 16, 17, 33, 64, 65, 130]  # at and around vectors, and four of them


def problem(dtype, rows=5, width=17, seed=0):
    rng = np.random.default_rng(seed)
    layer = LayerNorm(width, dtype=dtype)
    layer.params.update({name: rng.standard_normal(width) for name in layer.params})
    x, dy = (rng.standard_normal((rows, width)).astype(dtype) for _ in range(2))
    return layer, 3 * x + 2, dy


def everything(layer, x, dy):
    """y, dx, dweight, dbias."""
    y, pull = layer.vjp(x)
    dx, grads = pull(dy)
    np.testing.assert_array_equal(layer(x), y)
    return [y, dx, *grads.values()]


def truths(layer, x, dy):
    weight, bias = (layer.params[name].astype(np.float64) for name in ("weight", "bias"))
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    y = reference.layers.layer_norm(x, weight, bias, layer.eps)
    return [y, *reference.layers.layer_norm_backward(x, weight, layer.eps, dy)]


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_reference_is_proved_by_central_differences():
    rng = np.random.default_rng(0)
    arguments = [rng.standard_normal((3, 5)), rng.standard_normal(5), rng.standard_normal(5)]
    dy, eps = rng.standard_normal((3, 5)), 0.1
    grads = reference.layers.layer_norm_backward(*arguments[:2], eps, dy)
    for i, (array, grad) in enumerate(zip(arguments, grads, strict=True)):

        def loss(new, i=i):
            return (reference.layers.layer_norm(*arguments[:i], new, *arguments[i + 1 :], eps) * dy).sum()

        assert_slope(grad, loss, array)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [0, 1, 33, 70])
def test_kernels_follow_the_reference(isa, dtype, rows, width):
    layer, x, dy = problem(dtype, rows, width)
    for actual, truth in zip(everything(layer, x, dy), truths(layer, x, dy), strict=True):
        assert actual.dtype == dtype and actual.shape == truth.shape
        # Sums over a row and over the rows; 1/deviation, which scales errors, is large where numbers are few.
        worst = 1 / math.sqrt(layer.eps) if width <= 2 else 8
        tolerance = 16 * np.finfo(dtype).eps * math.ceil(math.log2(2 + max(rows, width))) * worst
        np.testing.assert_allclose(actual, truth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", [512, 520])  # whole lines of the cache, and not
def test_what_goes_past_the_caches_is_what_goes_through_them(isa, dtype, width):
    """80 MB are written: more than a level-3 cache of 64 MB holds beside as much that is read."""
    few, many = 64, (80 << 20) // (64 * width * np.dtype(dtype).itemsize)
    layer, x, dy = problem(dtype, few, width)
    y, dx, dweight, dbias = everything(layer, x, dy)
    all_y, all_dx, *grads = everything(layer, np.tile(x, (many, 1)), np.tile(dy, (many, 1)))
    for actual, rows in ((all_y, y), (all_dx, dx)):
        assert (actual.reshape(many, few, width) == rows).all()
    tolerance = 64 * np.finfo(dtype).eps * many * few
    for actual, one in zip(grads, (dweight, dbias), strict=True):
        np.testing.assert_allclose(actual, many * one, rtol=0, atol=tolerance)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 100])
def test_a_row_alone_is_the_row_among_others(isa, dtype, width):
    layer, x, dy = problem(dtype, 70, width)
    y, dx, *_ = everything(layer, x, dy)
    for r in (0, 31, 32, 69):
        assert_same(everything(layer, x[r], dy[r])[:2], [y[r], dx[r]])


@pytest.mark.parametrize(("rows", "width"), [(3000, 301), (7, 200_003), (130, 20_000)])
def test_any_number_of_threads_gives_the_same_bits(isa, dtype, threads, rows, width):
    layer, x, dy = problem(dtype, rows, width)
    threads(1)
    alone = everything(layer, x, dy)
    for n in (2, 3, 64):
        threads(n)
        assert_same(everything(layer, x, dy), alone)


def test_long_sums_are_exact_enough(isa):
    """A large mean, and many rows: float32 is as near to the truth as its operands let it be."""
    layer, x, dy = problem(np.float32, 20_000, 24)
    x += 1000  # is rounded to 1000 eps, and so is what is left of it without its mean
    eps, rows = 1000 * np.finfo(np.float32).eps, 20_000
    tolerances = 8 * eps, 8 * eps, math.sqrt(rows) * eps, 8 * eps
    for actual, truth, tolerance in zip(
        everything(layer, x, dy), truths(layer, x, dy), tolerances, strict=True
    ):
        np.testing.assert_allclose(actual, truth, rtol=0, atol=tolerance)


@pytest.mark.parametrize("start", [False, True], ids=["ends", "begins"])
@pytest.mark.parametrize("width", [1, 3, 8, 17, 70])
def test_nothing_is_touched_beyond_the_arrays(isa, dtype, at_edge, start, width):
    layer, x, dy = problem(dtype, 3, width)
    expected = everything(layer, x, dy)

    def place(array):
        return at_edge(array, start=start)

    def empty(*shape):
        return place(np.full(shape, np.nan, dtype))

    x, dy, gain, shift = map(place, (x, dy, layer.params["weight"], layer.params["bias"]))
    y, stats, dx, dgain, dshift = empty(3, width), empty(3, 2), empty(3, width), empty(width), empty(width)
    _core.norm_forward(x, gain, shift, layer.eps, y, stats, 1)
    _core.norm_backward(x, gain, stats, dy, dx, dgain, dshift, 1)
    assert_same([y, dx, dgain, dshift], expected)


@pytest.mark.parametrize("clothes", MEMORY)
def test_memory_does_not_matter(dtype, clothes):
    layer, x, dy = problem(dtype, 6)
    x, dy = x.reshape(2, 3, 17), dy.reshape(2, 3, 17)
    expected = everything(layer, x, dy)
    before = x.copy()
    assert_same(everything(layer, clothes(x), clothes(dy)), expected)
    np.testing.assert_array_equal(x, before)


def test_half_of_a_wider_array_is_not_copied(dtype):
    layer, x, dy = problem(dtype, 6)
    wide = np.concatenate([x, x], 1).reshape(2, 3, 34)
    half = wide[..., 17:]
    assert np.shares_memory(layer._rows(half, "x"), half)
    assert_same(everything(layer, half, dy.reshape(half.shape)), [
        array.reshape(half.shape) if array.ndim == 2 else array for array in everything(layer, x, dy)
    ])  # fmt: skip


def test_rows_may_lie_anywhere(isa, dtype):
    layer, x, dy = problem(dtype, 6)
    y, dx, *_ = everything(layer, x, dy)
    assert_same(everything(layer, x[::-1], dy[::-1])[:2], [y[::-1], dx[::-1]])
    assert_same(everything(layer, x[1::2], dy[1::2])[:2], [y[1::2], dx[1::2]])
    one = np.broadcast_to(x[0], x.shape)
    assert_same(everything(layer, one, np.broadcast_to(dy[0], dy.shape))[:2], [[y[0]] * 6, [dx[0]] * 6])


def test_nan_stays_in_its_row(isa, dtype):
    layer, x, dy = problem(dtype)
    x[2, 16], x[3, 0] = np.nan, np.inf
    y, dx, *_ = everything(layer, x, dy)
    for array in (y, dx):
        assert np.isnan(array).all(1).tolist() == np.isnan(array).any(1).tolist() == [0, 0, 1, 1, 0]


def test_constant_rows_are_zeros(isa, dtype):
    layer = LayerNorm(20, dtype=dtype)
    y, pull = layer.vjp(np.full((2, 20), 0.5))
    assert not y.any()
    dx, _ = pull(np.ones((2, 20)))
    np.testing.assert_allclose(dx, 0, rtol=0, atol=8 * np.finfo(dtype).eps / math.sqrt(layer.eps))


@at_random
@given(
    st.integers(1, 40), st.integers(0, 5), st.floats(-3, 3), st.floats(0.1, 10), st.sampled_from(["f4", "f8"])
)
def test_shift_and_scale_of_a_row_are_forgotten(width, rows, shift, scale, dtype):
    layer, x, _ = problem(dtype, rows, width)
    y = layer(x)
    z = (y - layer.params["bias"]) / layer.params["weight"]
    np.testing.assert_allclose(z.mean(-1), 0, atol=1e-4)
    assert (z.var(-1) <= 1 + 1e-4).all()
    if width > 2:
        np.testing.assert_allclose(layer(x * scale + shift), y, atol=0.05, rtol=0.05)


def test_without_parameters():
    x = np.random.default_rng(0).standard_normal((4, 9))
    plain = LayerNorm(9, elementwise_affine=False, dtype=np.float64)
    affine, no_bias = LayerNorm(9, dtype=np.float64), LayerNorm(9, bias=False, dtype=np.float64)
    assert (
        [*plain.params] == [] and [*no_bias.params] == ["weight"] and [*affine.params] == ["weight", "bias"]
    )
    assert_same([plain(x), no_bias(x)], [affine(x)] * 2)
    for layer in (plain, no_bias):
        (dx, grads), (truth, all_grads) = (each.vjp(x)[1](x) for each in (layer, affine))
        assert list(grads) == list(layer.params)
        assert_same([dx, *grads.values()], [truth, *(all_grads[name] for name in grads)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LayerNorm(0), ValueError, "features must be at least 1, got 0"),
        (lambda: LayerNorm((3,)), TypeError, r"features must be an integer, got \(3,\)"),
        (lambda: LayerNorm(3, eps=-1), ValueError, "eps must be finite and at least 0, got -1"),
        (lambda: LayerNorm(3, eps=math.nan), ValueError, "eps must be finite and at least 0, got nan"),
        (lambda: LayerNorm(3, eps="1"), TypeError, "eps must be a number, got '1'"),
        (lambda: LayerNorm(3, elementwise_affine=1), TypeError, "elementwise_affine must be True or False"),
        (lambda: LayerNorm(3, bias=None), TypeError, "bias must be True or False, got None"),
        (lambda: LayerNorm(3, dtype="f2"), ValueError, "dtype must be float32 or float64, got float16"),
        (lambda: LayerNorm(3)(np.ones((3, 2))), ValueError, r"x must have shape \(\.\.\., 3\), got \(3, 2\)"),
        (lambda: LayerNorm(3)(1.0), ValueError, r"x must have shape \(\.\.\., 3\), got \(\)"),
        (lambda: LayerNorm(3).vjp(["a"] * 3), TypeError, "x must hold real numbers, got dtype <U1"),
        (lambda: LayerNorm(3).vjp(np.ones(3))[1](np.ones((1, 3))), ValueError, r"dy must have shape \(3,\)"),
        (lambda: LayerNorm(3).vjp(np.ones(3))[1]("a"), TypeError, "dy must hold real numbers"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
