"""The fused steps of the optimizers: the kernels against the reference, and their laws."""

import numpy as np
import pytest

from pyrnn import _core, reference
from pyrnn.optim._optimizer import Rule

STEP = 3
SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 8191, 8192, 8193, 20_000]  # at and around vectors and blocks
STATES = ("m", "v", "u")
# By name: the kernel, its numbers, and which of m, v and u it has.
RULES = {
    "sgd": (_core.SGD, Rule(STEP, 0.1, 0.0), ""),
    "sgd decay": (_core.SGD, Rule(STEP, 0.1, 0.2), ""),
    "momentum": (_core.SGD, Rule(STEP, 0.1, 0.2, 0.9), "u"),
    "nesterov": (_core.SGD, Rule(STEP, 0.1, 0.2, 0.9, nesterov=True), "u"),
    "rmsprop": (_core.RMSPROP, Rule(STEP, 0.1, 0.2, 0.0, 1e-3, (0.9, 0.9)), "v"),
    "rmsprop momentum": (_core.RMSPROP, Rule(STEP, 0.1, 0.0, 0.7, 1e-3, (0.9, 0.9)), "vu"),
    "rmsprop centered": (_core.RMSPROP, Rule(STEP, 0.1, 0.0, 0.7, 1e-3, (0.9, 0.9)), "mvu"),
    "adam": (_core.ADAM, Rule(STEP, 0.1, 0.0, 0.0, 1e-3, (0.9, 0.99)), "mv"),
    "adam decay": (_core.ADAM, Rule(STEP, 0.1, 0.2, 0.0, 1e-3, (0.9, 0.99)), "mv"),
    "adamw": (_core.ADAM, Rule(STEP, 0.1, 0.2, 0.0, 1e-3, (0.9, 0.99), decoupled=True), "mv"),
}

each_rule = pytest.mark.parametrize("name", RULES)


def problem(name, dtype, size, seed=0):
    """A step in the middle of a training; no variance is near zero, where a root would amplify errors."""
    rng = np.random.default_rng([seed, size])
    has = RULES[name][2]
    arrays = {"g": rng.standard_normal(size), "p": rng.standard_normal(size)}
    arrays |= {
        "m": rng.uniform(-0.5, 0.5, size),
        "v": rng.uniform(0.5, 2, size),
        "u": rng.standard_normal(size),
    }
    return {key: a.astype(dtype) if key in "gp" or key in has else None for key, a in arrays.items()}


def run(name, arrays, threads=1, start=0, size=None):
    """The step in place; of `size` numbers from `start` on."""
    g = arrays["g"][start:] if size is None else arrays["g"][start : start + size]
    entry = (start, g, arrays["p"], *(arrays[key] for key in STATES))
    _core.update(RULES[name][0], RULES[name][1], [entry], threads)


def copies(arrays):
    return {key: None if a is None else a.copy() for key, a in arrays.items()}


def truth(name, arrays):
    """The reference on numbers as they are, in float64."""
    kind, rule, has = RULES[name]
    wide = {key: None if a is None else a.astype(np.float64) for key, a in arrays.items()}
    zero = np.zeros(len(wide["p"]))
    m, v, u = (zero if wide[key] is None else wide[key] for key in STATES)
    p, g, lr, decay = wide["p"], wide["g"], rule.lr, rule.weight_decay
    if kind == _core.SGD:
        p, u = reference.optimizers.sgd(p, g, u, lr, rule.momentum, rule.nesterov, decay)
    elif kind == _core.RMSPROP:
        p, (m, v, u) = reference.optimizers.rmsprop(
            p, g, (m, v, u), lr, rule.decay[0], rule.eps, rule.momentum, "m" in has, decay
        )
    else:
        p, (m, v) = reference.optimizers.adam(
            p, g, (m, v), rule.step, lr, rule.decay, rule.eps, decay, rule.decoupled
        )
    return {"p": p, "m": m, "v": v, "u": u}


def assert_same(actual, expected):
    for key, array in expected.items():
        if array is not None:
            np.testing.assert_array_equal(actual[key], array, err_msg=key, strict=True)


@each_rule
@pytest.mark.parametrize("size", SIZES)
def test_kernels_follow_the_reference(isa, dtype, name, size):
    arrays = problem(name, dtype, size)
    expected, gradient = truth(name, arrays), arrays["g"].copy()
    run(name, arrays)
    for key, array in expected.items():
        if arrays[key] is not None:
            # No sum is longer than three terms, but numbers, coefficients and quotients are rounded: 8 times.
            bound = 8 * np.finfo(dtype).eps * max(1, np.abs(array).max())
            np.testing.assert_allclose(arrays[key], array, rtol=0, atol=bound, err_msg=key)
    np.testing.assert_array_equal(arrays["g"], gradient)


@each_rule
@pytest.mark.parametrize("start", [False, True], ids=["ends", "begins"])
@pytest.mark.parametrize("size", [1, 3, 8, 17, 70])
def test_nothing_is_touched_beyond_the_arrays(isa, dtype, at_edge, name, start, size):
    arrays = problem(name, dtype, size)
    placed = {key: at_edge(array, start=start) for key, array in arrays.items()}
    run(name, arrays)
    run(name, placed)
    assert_same(placed, arrays)


@each_rule
def test_any_number_of_threads_gives_the_same_bits(isa, dtype, name):
    """Many arrays in one call, of all sizes."""
    sizes = [300_001, 3, 0, 100_000, 8192, 200_000]
    kind, rule, _ = RULES[name]
    given = [problem(name, dtype, size) for size in sizes]
    alone = [copies(arrays) for arrays in given]
    for arrays in alone:
        run(name, arrays)
    for threads in (1, 2, 3, 64):
        found = [copies(arrays) for arrays in given]
        entries = [(0, a["g"], a["p"], a["m"], a["v"], a["u"]) for a in found]
        _core.update(kind, rule, entries, threads)
        for arrays, truths in zip(found, alone, strict=True):
            assert_same(arrays, truths)


@each_rule
def test_a_number_does_not_depend_on_its_neighbours(isa, dtype, name):
    whole = problem(name, dtype, 100)
    pieces = copies(whole)
    run(name, whole)
    for start, end in [(0, 1), (1, 38), (38, 40), (40, 100)]:
        run(name, pieces, start=start, size=end - start)
    assert_same(pieces, whole)


@each_rule
def test_nan_stays_where_it_is(isa, dtype, name):
    arrays = problem(name, dtype, 40)
    arrays["g"][17] = np.nan
    run(name, arrays)
    for key in ("p", *STATES):
        if arrays[key] is not None:
            assert np.flatnonzero(np.isnan(arrays[key])).tolist() == [17]


def test_rounding_leaves_no_negative_variance(isa, dtype):
    """Of a gradient that never changes m**2 is v, but for rounding."""
    arrays = {"g": np.full(1000, 0.7, dtype), "p": np.zeros(1000, dtype), "u": None}
    arrays |= {"m": np.zeros(1000, dtype), "v": np.zeros(1000, dtype)}
    arrays["g"][:] *= np.linspace(0.5, 2, 1000)
    for _ in range(300):
        run("rmsprop centered", arrays)
    assert np.isfinite(arrays["p"]).all()


def test_what_is_too_small_becomes_zero(isa, dtype):
    """So that the means of a row that has no gradient any more do not slow a step down."""
    tiny = np.finfo(dtype).tiny
    arrays = {key: np.full(20, 1.05 * tiny, dtype) for key in "mv"}
    arrays |= {"g": np.zeros(20, dtype), "p": np.ones(20, dtype), "u": None}
    run("adam", arrays)
    run("adam", arrays)
    assert not arrays["m"].any()
    assert (arrays["p"] == 1).all()


@pytest.mark.parametrize(
    "change",
    [
        {"lr": -1.0},
        {"lr": np.nan},
        {"eps": -1.0},
        {"decay": (1.0, 0.5)},
        {"decay": (0.5, -0.1)},
        {"weight_decay": np.inf},
        {"momentum": np.nan},
        {"step": 0},
    ],
)
def test_the_library_refuses_numbers_out_of_range(dtype, change):
    arrays = problem("adam", dtype, 20)
    before = copies(arrays)
    entry = (0, arrays["g"], arrays["p"], arrays["m"], arrays["v"], None)
    with pytest.raises(ValueError, match="option"):
        _core.update(_core.ADAM, RULES["adam"][1]._replace(**change), [entry], 1)
    with pytest.raises(ValueError, match="pointer"):
        _core.update(
            _core.ADAM, RULES["adam"][1], [entry, (0, arrays["g"], arrays["p"], None, None, None)], 1
        )
    assert_same(arrays, before)
