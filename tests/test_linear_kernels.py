"""The kernel of affine maps: the formula, and the laws that hold bit for bit."""

import numpy as np
import pytest

from pyrnn import _core

from .problems import assert_near, assert_same, tolerance

# rows, inputs, outputs: around vectors, tiles, groups of 64 columns, blocks of 256 rows and 96 outputs
SHAPES = [
    (1, 1, 1),
    (5, 3, 7),
    (7, 16, 17),
    (257, 65, 100),
    (300, 64, 193),
    (2, 600, 3),
    (1000, 9, 5),
    (0, 4, 5),
]


def problem(shape, dtype):
    rows, inputs, outputs = shape
    rng = np.random.default_rng(list(shape))

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    given = {"x": normal(rows, inputs), "w": normal(outputs, inputs), "b": normal(outputs)}
    return given | {"dy": normal(rows, outputs)}


def run(given, threads=1, like=np.empty_like):
    x, w, b, dy = (given[name] for name in ("x", "w", "b", "dy"))
    results = {"y": like(dy), "dx": like(x), "dw": like(w), "db": like(w[:, 0])}
    _core.linear_forward(x, w, b, results["y"], threads)
    _core.linear_backward(x, w, dy, results["dx"], results["dw"], results["db"], threads)
    return results


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_formula(isa, dtype, shape):
    given = problem(shape, dtype)
    x, w, b, dy = (array.astype(float) for array in given.values())
    desired = {"y": x @ w.T + b, "dx": dy @ w, "dw": dy.T @ x, "db": dy.sum(0)}
    terms = {"y": shape[1], "dx": shape[2], "dw": shape[0], "db": shape[0]}
    for name, array in run(given).items():
        assert array.dtype == dtype
        assert_near(array, desired[name], tolerance(dtype, terms[name] + 1))


def test_exact_on_integers(isa, dtype):
    rng = np.random.default_rng(0)
    given = {
        name: rng.integers(-4, 5, array.shape).astype(dtype)
        for name, array in problem((300, 70, 200), dtype).items()
    }
    x, w, b, dy = given.values()
    desired = {"y": x @ w.T + b, "dx": dy @ w, "dw": dy.T @ x, "db": dy.sum(0)}
    assert_same(run(given), desired)


@pytest.mark.parametrize("shape", [(600, 130, 200), (3, 600, 600)], ids=str)
def test_threads_change_nothing(isa, dtype, shape):
    given = problem(shape, dtype)
    alone = run(given)
    for threads in (2, 3, 7):
        assert_same(run(given, threads), alone)


def test_a_row_alone_is_the_row_among_others(isa, dtype):
    given = problem((300, 300, 70), dtype)
    whole = run(given)
    for rows in (slice(0, 1), slice(7, 9), slice(255, 300)):
        part = run({**given, "x": given["x"][rows], "dy": given["dy"][rows]})
        for name in ("y", "dx"):
            np.testing.assert_array_equal(part[name], whole[name][rows])


def test_nan_stays_in_its_row(isa, dtype):
    given = problem((9, 20, 70), dtype)
    given["x"][4, 3] = given["dy"][5, 6] = np.nan
    result = run(given)
    for name, row in (("y", 4), ("dx", 5)):
        assert np.isnan(result[name][row]).all() and not np.isnan(np.delete(result[name], row, 0)).any()
    assert list(np.flatnonzero(np.isnan(result["db"]))) == [6]


@pytest.mark.parametrize("shape", [(5, 7, 3), (7, 65, 17), (70, 17, 130)], ids=str)
@pytest.mark.parametrize("start", [False, True])
def test_reads_and_writes_nothing_outside(isa, dtype, at_edge, shape, start):
    given = problem(shape, dtype)
    edged = {name: at_edge(array, start=start) for name, array in given.items()}
    assert_same(run(edged, like=lambda array: at_edge(np.zeros_like(array), start=start)), run(given))


def test_any_stride_between_rows(isa, dtype):
    given = problem((30, 20, 70), dtype)
    expected = run(given)

    def wide(array):
        room = np.full((len(array), array.shape[1] + 9), np.nan, array.dtype)
        room[:, 3 : array.shape[1] + 3] = array
        return room[:, 3 : array.shape[1] + 3]

    apart = {**given, "x": wide(given["x"]), "dy": wide(given["dy"])}
    like = {(30, 20): wide, (30, 70): wide}
    result = run(apart, like=lambda array: like.get(array.shape, np.copy)(np.zeros_like(array)))
    assert_same(result, expected)
    for name in ("y", "dx"):
        room = result[name].base
        assert np.isnan(room[:, :3]).all() and np.isnan(room[:, -6:]).all()


def test_what_is_not_wanted(isa, dtype):
    given = problem((30, 20, 70), dtype)
    x, w, b, dy = given.values()
    expected, y, dx = run({**given, "b": np.zeros_like(b)}), np.empty_like(dy), np.empty_like(x)
    dw, db = np.empty_like(w), np.empty_like(b)
    _core.linear_forward(x, w, None, y, 1)
    _core.linear_backward(None, w, dy, dx, None, None, 1)
    _core.linear_backward(x, w, dy, None, dw, None, 1)
    _core.linear_backward(None, w, dy, None, None, db, 1)
    assert_same({"y": y, "dx": dx, "dw": dw, "db": db}, expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (300, 70, 200)], ids=str)
def test_a_pack_changes_nothing(isa, dtype, shape):
    given = problem(shape, dtype)
    x, w, b, dy = given.values()
    packed, y = _core.linear_pack(w), np.empty_like(dy)
    _core.linear_forward(x, w, b, y, 2, packed)
    assert_same({"y": y}, {"y": run(given)["y"]})
    wrong = _core.linear_pack(problem((1, 3, 5), dtype)["w"])
    with pytest.raises(ValueError, match="packed weights were not written for this layer or map"):
        _core.linear_forward(x, w, b, y, 1, wrong)


def test_inputs_are_not_written_to(isa, dtype):
    given = problem((30, 20, 70), dtype)
    before = {name: array.copy() for name, array in given.items()}
    run(given, 2)
    assert_same(given, before)


def test_the_library_judges():
    given = problem((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="threads is below one"):
        run(given, 0)
