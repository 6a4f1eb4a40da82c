"""The parameter store: writes are seen, reads cannot write, failures change nothing."""

import copy
import pickle

import numpy as np
import pytest

from pyrnn._parameters import Parameters

SHAPES = {"weight": (3, 5), "scale": (), "bias": (3,)}


@pytest.fixture(params=[np.float32, np.float64])
def params(request):
    params = Parameters(SHAPES, request.param)
    params.update({name: np.random.default_rng(1).standard_normal(shape) for name, shape in SHAPES.items()})
    return params


def snapshot(params):
    return params.version, params.flat.tobytes()


def test_starts_as_zeros_and_keeps_the_order():
    params = Parameters(SHAPES, np.float32)
    assert list(params) == list(SHAPES) and len(params) == 3
    assert all(not array.any() and array.shape == SHAPES[name] for name, array in params.items())
    assert params.size == 19 and params.dtype == np.float32 and params.version == 0


def test_every_array_starts_at_a_cache_line_and_the_gaps_are_zeros(params):
    assert all(array.ctypes.data % 64 == 0 for array in params.values())
    assert all(np.shares_memory(array, params.flat) for array in params.values())
    assert np.count_nonzero(params.flat) == params.size


def test_views_are_live(params):
    view = params["bias"]
    params["bias"] = [1, 2, 3]
    np.testing.assert_array_equal(view, [1, 2, 3])
    assert params["bias"] is view


@pytest.mark.parametrize("array", [lambda p: p["weight"], lambda p: p["weight"][1:, ::2], lambda p: p.flat])
def test_a_view_cannot_be_written_nor_made_writeable(params, array):
    view, before = array(params), snapshot(params)
    for attempt in (
        lambda: view.__setitem__(0, 1),
        lambda: view.__iadd__(1),
        lambda: view.fill(0),
        lambda: np.copyto(view, 0),
        lambda: view.setflags(write=True),
        lambda: setattr(view.flags, "writeable", True),
        lambda: view.view().setflags(write=True),
        lambda: np.asarray(view).setflags(write=True),
        lambda: view.base.setflags(write=True),
    ):
        with pytest.raises((ValueError, AttributeError)):
            attempt()
    assert snapshot(params) == before


def test_an_augmented_assignment_raises_instead_of_being_lost(params):
    before = snapshot(params)
    with pytest.raises(ValueError, match="read-only"):
        params["weight"] += 1
    assert snapshot(params) == before


def test_a_write_copies_in_and_is_counted(params):
    value, version = np.ones(3), params.version
    params["bias"] = value
    value[:] = 7
    assert params.version > version
    np.testing.assert_array_equal(params["bias"], 1)


@pytest.mark.parametrize(
    "value", [[1, 2, 3], np.arange(3, dtype=np.int8), np.ones(6)[::2], np.ones(3, ">f8")]
)
def test_a_write_casts_real_numbers(params, value):
    params["bias"] = value
    assert params["bias"].dtype == params.dtype
    np.testing.assert_array_equal(params["bias"], np.asarray(value, float))


def test_a_value_may_be_a_view_of_the_same_buffer():
    params = Parameters({"a": (2, 2), "b": (2, 2)}, np.float64)
    params.update({"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]})
    params.update({"a": params["b"], "b": params["a"].T})
    np.testing.assert_array_equal(params["a"], [[5, 6], [7, 8]])
    np.testing.assert_array_equal(params["b"], [[1, 3], [2, 4]])
    params["a"] = params["a"].T
    np.testing.assert_array_equal(params["a"], [[5, 7], [6, 8]])


class Hostile:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array today")


BAD_VALUES = [
    (np.ones(4), ValueError, r"bias must have shape \(3,\), got \(4,\)"),
    (1.0, ValueError, r"bias must have shape \(3,\), got \(\)"),
    (np.ones((3, 1)), ValueError, r"bias must have shape \(3,\), got \(3, 1\)"),
    ([[1, 2], [3]], ValueError, "bias must be array_like, got list"),
    (np.ones(3, complex), TypeError, "bias must hold real numbers, got dtype complex128"),
    (["a", "b", "c"], TypeError, "bias must hold real numbers, got dtype <U1"),
    ([None] * 3, TypeError, "bias must hold real numbers, got dtype object"),
    (np.zeros(3, "M8[s]"), TypeError, "bias must hold real numbers, got dtype datetime64"),
    (Hostile(), TypeError, "bias must be array_like, got Hostile: no array today"),
]


@pytest.mark.parametrize(("value", "error", "message"), BAD_VALUES)
def test_a_bad_value_is_named_and_changes_nothing(params, value, error, message):
    before = snapshot(params)
    with pytest.raises(error, match=message):
        params["bias"] = value
    with pytest.raises(error, match=message):
        params.update({"scale": 3, "bias": value})
    assert snapshot(params) == before


def test_an_unknown_name_is_an_error(params):
    before = snapshot(params)
    for attempt in (lambda: params["wait"], lambda: params.__setitem__("wait", 1)):
        with pytest.raises(KeyError, match="no parameter 'wait'; there are weight, scale, bias"):
            attempt()
    with pytest.raises(ValueError, match="unexpected 'wait'"):
        params.update({"scale": 3, "wait": 1})
    with pytest.raises(TypeError, match="values must be a mapping of names to arrays, got list"):
        params.update([("scale", 3)])
    assert "wait" not in params and params.get("wait") is None
    assert snapshot(params) == before


def test_update_lists_everything_that_is_wrong(params):
    with pytest.raises(ValueError, match=r"unexpected 'x'; weight must have shape .* bias must hold real"):
        params.update({"x": 1, "weight": 1, "bias": ["a"] * 3})


def test_the_writeable_buffer_counts_entry_and_exit(params):
    versions = [params.version]

    def interrupted():
        with params._write() as flat:
            versions.append(params.version)
            flat[:] = 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    versions.append(params.version)
    assert versions[0] < versions[1] < versions[2]
    np.testing.assert_array_equal(params["weight"], 2)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_clone_is_equal_and_independent(params, clone):
    other = clone(params)
    assert repr(other) == repr(params) and other.flat.tobytes() == params.flat.tobytes()
    assert all(array.ctypes.data % 64 == 0 for array in other.values())
    before = snapshot(params)
    other["bias"] = [9, 9, 9]
    with pytest.raises(ValueError):
        other["bias"].setflags(write=True)
    assert snapshot(params) == before


def test_copy_gives_writeable_arrays(params):
    before, arrays = snapshot(params), params.copy()
    for array in arrays.values():
        array[...] = 5
    assert list(arrays) == list(params) and snapshot(params) == before


def test_equality_is_identity(params):
    assert params == params and params != copy.copy(params) and len({params, params}) == 1


def test_repr_is_what_one_would_type(params):
    again = eval(repr(params), {"Parameters": Parameters})
    assert repr(again) == repr(params)


@pytest.mark.parametrize("shapes", [{}, {"a": (0, 3)}, {"a": (0,), "b": (1,)}])
def test_empty_arrays_are_legal(shapes):
    params = pickle.loads(pickle.dumps(Parameters(shapes, np.float32)))
    params.update(params.copy())
    assert {name: array.shape for name, array in params.items()} == shapes


@pytest.mark.parametrize(
    ("dtype", "error"),
    [
        (np.float16, ValueError),
        (int, ValueError),
        (">f4", ValueError),
        (None, TypeError),
        ("real", TypeError),
    ],
)
def test_only_native_float32_and_float64(dtype, error):
    with pytest.raises(error, match="dtype must be float32 or float64, got"):
        Parameters(SHAPES, dtype)
