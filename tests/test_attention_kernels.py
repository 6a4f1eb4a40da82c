"""The attention kernel: the reference's values and gradients, and the laws that hold bit for bit."""

import numpy as np
import pytest

from pyrnn import _core
from pyrnn.reference import attention

from .problems import assert_near, assert_same, tolerance

# B, N, Tq, Tk, D: around vectors, tiles, and the blocks of 48 queries, 64 and 256 keys
SHAPES = [
    (1, 1, 1, 1, 1),
    (2, 2, 5, 7, 3),
    (2, 3, 49, 65, 8),
    (1, 2, 48, 64, 16),
    (2, 1, 97, 257, 17),
    (1, 2, 100, 300, 64),
    (1, 1, 10, 20, 300),
    (1, 1, 3, 0, 4),
    (1, 1, 0, 5, 4),
    (0, 2, 3, 4, 5),
]


def problem(shape, dtype, causal=False, lengths=False, biased=False, dropout=0.0, seed=0):
    B, N, Tq, Tk, D = shape
    rng = np.random.default_rng([seed, *shape])

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    given = {"q": normal(B, N, Tq, D), "k": normal(B, N, Tk, D), "v": normal(B, N, Tk, D)}
    given |= {"scale": D**-0.5, "causal": causal, "lengths": None, "bias": None, "dout": normal(B, N, Tq, D)}
    given |= {"dropout": dropout, "seed": 2**40 + 3}
    if lengths:
        given["lengths"] = rng.integers(0, Tk + 1, B)
        given["lengths"][:1] = Tk // 2
    if biased:
        given["bias"] = np.where(rng.random((B, N, Tq, Tk)) < 0.3, -np.inf, normal(B, N, Tq, Tk)).astype(
            dtype
        )
    return given


def arguments(given):
    options = tuple(given[name] for name in ("scale", "lengths", "causal", "bias", "dropout", "seed"))
    return given["q"], given["k"], given["v"], options


def weights(given, stats, average, threads=1, like=np.empty_like):
    B, N, Tq, _ = given["q"].shape
    heads = () if average else (N,)
    p = like(np.empty((B, *heads, Tq, given["k"].shape[2]), given["q"].dtype))
    _core.attention_weights(*arguments(given), stats, p, threads)
    return p


def run(given, threads=1, like=np.empty_like):
    """Output, weights and gradients."""
    B, N, Tq, _ = given["q"].shape
    out = like(given["q"])
    stats = like(np.empty((B, N, Tq, 2), given["q"].dtype))
    _core.attention_forward(*arguments(given), out, stats, threads)
    slopes = [like(given[name]) for name in ("q", "k", "v")]
    _core.attention_backward(*arguments(given), out, stats, given["dout"], *slopes, threads)
    p, mean = (weights(given, stats, average, threads, like) for average in (False, True))
    return {"out": out, "p": p, "mean": mean} | dict(zip(("dq", "dk", "dv"), slopes, strict=True))


def truth(given):
    q, k, v, dout = (given[name].astype(float) for name in ("q", "k", "v", "dout"))
    added = attention.hide(q.shape[2], k.shape[2], given["causal"], given["lengths"])
    if given["bias"] is not None:
        added = added + given["bias"]
    mask = attention.dropout(given["dropout"], given["seed"], *q.shape[:3], k.shape[2])
    out, p = attention.dot_product(q, k, v, added, given["scale"], mask)
    slopes = attention.dot_product_back(q, k, v, p, given["scale"], dout, mask)
    return {"out": out, "p": p, "mean": p.mean(1)} | dict(zip(("dq", "dk", "dv"), slopes, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_is_the_formula(isa, dtype, shape, causal, lengths, biased):
    given = problem(shape, dtype, causal, lengths, biased)
    desired = truth(given)
    # An error e in a score, a sum over D, is one of e relative to the exponential of it.
    bound = 4 * tolerance(dtype, shape[4] * (shape[2] + shape[3]))
    for name, array in run(given).items():
        assert array.dtype == dtype
        assert_near(array, desired[name], bound)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dropout", [0.1, 0.9, 1.0])
def test_drops_what_the_formula_drops(isa, dtype, shape, dropout):
    given = problem(shape, dtype, causal=True, lengths=True, biased=True, dropout=dropout)
    desired = truth(given)
    largest = 1 / (1 - dropout) if dropout < 1 else 0
    bound = 4 * tolerance(dtype, shape[4] * (shape[2] + shape[3])) * max(1, largest)
    actual = run(given)
    for name, array in actual.items():
        assert_near(array, desired[name], bound)
    if dropout == 1:
        assert not any(actual[name].any() for name in ("out", "dq", "dk", "dv"))


def test_the_seed_decides(isa, dtype):
    given = problem((1, 2, 50, 70, 8), dtype, dropout=0.5)
    first = run(given)["out"]
    np.testing.assert_array_equal(run(given)["out"], first)
    for seed in (given["seed"] + 1, given["seed"] + 2**32):
        assert not (run({**given, "seed": seed})["out"] == first).all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_large_and_small_scores(isa, dtype, scale):
    """Neither overflows: the maximum is subtracted first."""
    given = problem((1, 2, 50, 70, 8), dtype)
    given["scale"] = scale
    # Scores of some thousands are rounded to eps times that before the exponential.
    bound = 4 * tolerance(dtype, 8) * max(1, scale * 30)
    actual, desired = run(given), truth(given)
    assert_near(actual["out"], desired["out"], bound)
    assert_near(actual["dv"], desired["dv"], bound)
    assert all(np.isfinite(array).all() for array in actual.values())


@pytest.mark.parametrize("causal", [False, True])
def test_threads_change_nothing(isa, dtype, causal):
    given = problem((2, 3, 130, 270, 33), dtype, causal, lengths=True, biased=True, dropout=0.2)
    alone = run(given)
    for threads in (2, 3, 7):
        assert_same(run(given, threads), alone)


@pytest.mark.parametrize("causal", [False, True])
def test_a_row_alone_is_the_row_in_the_batch(isa, dtype, causal):
    given = problem((3, 2, 60, 270, 20), dtype, causal, lengths=True, biased=True)
    whole = run(given)
    for b in range(3):
        row = {name: a[b : b + 1] if isinstance(a, np.ndarray) else a for name, a in given.items()}
        assert_same(run(row), {name: array[b : b + 1] for name, array in whole.items()})


def test_a_query_alone_is_the_query_among_others(isa, dtype):
    given = problem((1, 2, 100, 270, 20), dtype, biased=True)
    whole = run(given)["out"]
    for first, last in ((0, 1), (7, 9), (48, 55), (3, 100)):
        part = {**given, **{name: given[name][:, :, first:last] for name in ("q", "dout", "bias")}}
        np.testing.assert_array_equal(run(part)["out"], whole[:, :, first:last])


@pytest.mark.parametrize("T", [65, 270])
def test_what_follows_changes_nothing_where_causal(isa, dtype, T):
    given = problem((1, 2, T, T, 20), dtype, causal=True)
    whole = run(given)["out"]
    for n in (1, 47, 50, T - 1):
        part = {**given, **{name: given[name][:, :, :n] for name in ("q", "k", "v", "dout")}}
        np.testing.assert_array_equal(run(part)["out"], whole[:, :, :n])


@pytest.mark.parametrize("causal", [False, True])
def test_what_lies_beyond_a_length_changes_nothing(isa, dtype, causal):
    given = problem((3, 2, 60, 270, 20), dtype, causal)
    given["lengths"] = np.array([100, 0, 269])
    before = run(given)
    for b, n in enumerate(given["lengths"]):
        for name in ("k", "v"):
            given[name][b, :, n:] = np.nan
        assert not before["dk"][b, :, n:].any() and not before["dv"][b, :, n:].any()
    assert_same(run(given), before)
    # and keys beyond a length are as good as none
    row = {name: a[:1] if isinstance(a, np.ndarray) else a for name, a in given.items()} | {"lengths": None}
    row |= {name: row[name][:, :, :100] for name in ("k", "v")}
    np.testing.assert_array_equal(run(row)["out"], before["out"][:1])


def test_a_query_without_keys_gives_zeros(isa, dtype):
    given = problem((2, 1, 60, 70, 5), dtype, biased=True)
    given["bias"][0, 0, 50] = given["bias"][1] = -np.inf
    result = run(given)
    assert not result["out"][0, 0, 50].any() and not result["dq"][0, 0, 50].any()
    assert result["out"][0, 0, 49].all()
    assert not any(array[1].any() for array in result.values())


def test_nan_stays_in_its_query(isa, dtype):
    given = problem((1, 2, 60, 70, 5), dtype)
    given["q"][0, 1, 50, 2] = np.nan
    out = run(given)["out"]
    expected = np.zeros(out.shape, bool)
    expected[0, 1, 50] = True
    np.testing.assert_array_equal(np.isnan(out), expected)


@pytest.mark.parametrize("shape", [(1, 2, 5, 7, 3), (2, 1, 50, 65, 17), (1, 1, 7, 70, 9)], ids=str)
@pytest.mark.parametrize("start", [False, True])
def test_reads_and_writes_nothing_outside(isa, dtype, at_edge, shape, start):
    given = problem(shape, dtype, causal=True, lengths=True, biased=True)
    edged = {
        name: at_edge(array, start=start) if isinstance(array, np.ndarray) else array
        for name, array in given.items()
    }
    assert_same(run(edged, like=lambda array: at_edge(np.zeros_like(array), start=start)), run(given))


def test_any_stride(isa, dtype):
    """Heads side by side in a row, time first or batch first, or backwards."""
    given = problem((2, 3, 50, 65, 8), dtype)
    expected = run(given)
    for axes in ((2, 0, 1, 3), (0, 2, 1, 3), (1, 2, 0, 3)):
        back = np.argsort(axes)

        def moved(array, axes=axes, back=back):
            return np.ascontiguousarray(array.transpose(axes)).transpose(back)

        def like(array, moved=moved):  # of a head's vectors
            return moved(np.empty_like(array)) if array.shape[-1] == 8 else np.empty_like(array)

        strided = {**given, **{name: moved(given[name]) for name in ("q", "k", "v", "dout")}}
        assert_same(run(strided, like=like), expected)
    turned = {**given, **{name: given[name][::-1, :, ::-1].copy()[::-1, :, ::-1] for name in ("q", "k", "v")}}
    assert_same(run(turned), expected)


def test_a_bias_may_be_broadcast(isa, dtype):
    given = problem((2, 3, 50, 65, 8), dtype, biased=True)
    for kept in ((1, 1, 50, 65), (2, 1, 1, 65), (1, 3, 50, 65)):
        small = np.ascontiguousarray(given["bias"][tuple(slice(n) for n in kept)])
        given["bias"] = np.broadcast_to(small, (2, 3, 50, 65))
        expected = run({**given, "bias": given["bias"].copy()})
        assert_same(run(given), expected)


def test_inputs_are_not_written_to(isa, dtype):
    given = problem((2, 2, 50, 65, 8), dtype, causal=True, lengths=True, biased=True)
    before = {name: a.copy() for name, a in given.items() if isinstance(a, np.ndarray)}
    run(given, 2)
    for name, array in before.items():
        np.testing.assert_array_equal(given[name], array)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"threads": 0}, "threads is below one"), ({"lengths": np.array([8])}, "length is negative or above")],
)
def test_the_library_judges(wrong, message):
    given = problem((1, 1, 5, 7, 4), np.float32) | wrong
    with pytest.raises(ValueError, match=message):
        run(given, wrong.get("threads", 1))
