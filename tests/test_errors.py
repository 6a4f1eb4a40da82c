"""Random calls of the functions: the right result, or a ValueError or TypeError that names the argument.

Together with test_layer_errors.py these are some thousands of calls.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn import _registry, functional

from .disguises import DISGUISES, FLAGS, MEMORY, wrong_kinds, wrong_lengths, wrong_resets, wrong_shapes
from .problems import assert_names, assert_near, at_random, eighths, truth

ARRAYS = ("x", "state", "w_ih", "w_hh", "b_ih", "b_hh", "lengths", "reset")


@st.composite
def calls(draw):
    """Arguments of `functional.vjp`, as plain as can be."""
    cell = draw(st.sampled_from(functional.CELLS))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    T, B, I, H = (draw(st.integers(low, high)) for low, high in ((0, 5), (0, 9), (1, 9), (1, 20)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    entry = _registry.REGISTRY[cell]
    rows, rows_hh = entry.gates * H, entry.recurrent * H
    call = {
        "cell": cell,
        "x": eighths(rng, T, B, I),
        "state": eighths(rng, entry.states, B, H),
        "w_ih": eighths(rng, rows, I).astype(dtype),
        "w_hh": eighths(rng, rows_hh, H).astype(dtype) / 8,
        "b_ih": eighths(rng, rows),
        "b_hh": eighths(rng, rows_hh),
        "lengths": rng.integers(0, T + 1, B),
        "reset": rng.random((T, B)) < 0.3,
        "reverse": draw(st.booleans()),
    }
    if entry.units:
        call["w_units"] = eighths(rng, entry.units, H)
    absent = draw(st.sets(st.sampled_from(["state", "b_ih", "b_hh", "lengths", "reset"])))
    call |= dict.fromkeys(absent)
    if T * B and draw(st.integers(0, 4)) == 0:
        call["x"][rng.integers(T), rng.integers(B)] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return call


@st.composite
def dressed(draw, call):
    """The same call with its arrays in other clothes. w_ih says by its dtype what to compute in."""
    clothes = {}
    for name in ARRAYS:
        if call[name] is not None:
            choices = MEMORY if name in ("w_ih", "reset") else DISGUISES
            clothes[name] = draw(st.sampled_from(choices))(call[name])
    return call | clothes


def wrong(call):
    """What may be wrong with each argument, and which arguments the message may then name."""
    (T, B, _), x_names = call["x"].shape, ["x", "w_ih"]
    every = [*ARRAYS]
    spoils = {
        "cell": [(value, ["cell"]) for value in ("LSTM", "", None, 3, [], b"lstm", ("lstm",))],
        "x": [(value, ["x"]) for value in (*wrong_kinds(call["x"]), None)]
        + [(value, x_names) for value in wrong_shapes(call["x"], [2])]
        + [(call["x"][:, :, :0], x_names)],
        "w_ih": [(value, ["w_ih"]) for value in (*wrong_kinds(call["w_ih"]), None, call["w_ih"].astype(int))]
        + [(value, every) for value in wrong_shapes(call["w_ih"], [0, 1])],
        "w_hh": [(value, ["w_hh"]) for value in (*wrong_kinds(call["w_hh"]), None)]
        + [(value, every) for value in wrong_shapes(call["w_hh"], [0, 1])]
        + [(call["w_hh"][:, :0], ["w_hh"])],
        "lengths": [(value, ["lengths"]) for value in wrong_lengths(T, B)],
        "reset": [(value, ["reset"]) for value in wrong_resets(T, B)],
        "reverse": [(value, ["reverse"]) for value in FLAGS],
    }
    for name, axes in (("state", [0, 1, 2]), ("b_ih", [0]), ("b_hh", [0])):
        shape = (_registry.REGISTRY[call["cell"]].states, B, call["w_hh"].shape[1])
        rows = len(call["w_ih" if name == "b_ih" else "w_hh"])
        right = np.ones(shape if name == "state" else rows)
        spoils[name] = [(value, [name]) for value in (*wrong_kinds(right), *wrong_shapes(right, axes))]
    return spoils


def assert_result(call, y, state, pull, rng):
    """It is that of the reference, gradients included unless NaN or infinity went in."""
    dtype = call["w_ih"].dtype
    back = {"dy": eighths(rng, *y.shape), "dstate": eighths(rng, *state.shape)}
    with np.errstate(all="ignore"):
        known = truth(call | back)
    found = {"y": y, "state": state} | {f"grad {name}": grad for name, grad in pull(**back).items()}
    finite = np.isfinite(call["x"]).all()
    for name, array in found.items():
        assert array.dtype == dtype and array.shape == known[name].shape
        if finite or not name.startswith("grad"):
            assert_near(array, known[name], 256 * np.finfo(dtype).eps)


@at_random
@given(st.data())
def test_right_calls_get_the_right_result(data):
    call = data.draw(calls())
    given = data.draw(dressed(call))
    (y, state), pull = functional.vjp(**given)
    assert_result(call, y, state, pull, np.random.default_rng(0))
    alone, last = functional.forward(**given)
    np.testing.assert_array_equal(alone, y)
    np.testing.assert_array_equal(last, state)


@at_random
@given(st.data())
def test_wrong_calls_get_an_error_that_names_the_argument(data):
    call = data.draw(calls())
    spoils = wrong(call)
    chosen = {
        name: data.draw(st.sampled_from(spoils[name]), label=name)
        for name in data.draw(st.sets(st.sampled_from(sorted(spoils)), min_size=1, max_size=2))
    }
    given = data.draw(dressed(call)) | {name: value for name, (value, _) in chosen.items()}
    for function in (functional.forward, functional.vjp):
        with pytest.raises((ValueError, TypeError)) as error:
            function(**given)
        assert_names(error, [name for _, names in chosen.values() for name in names])


@pytest.mark.parametrize("name", ["cell", *ARRAYS, "reverse"])
def test_each_wrong_value_alone(name):
    rng = np.random.default_rng(0)
    call = {
        "cell": "gru",
        "x": eighths(rng, 3, 2, 4),
        "state": eighths(rng, 1, 2, 5),
        "w_ih": eighths(rng, 15, 4),
        "w_hh": eighths(rng, 15, 5),
        "b_ih": eighths(rng, 15),
        "b_hh": eighths(rng, 15),
        "lengths": np.array([3, 1]),
        "reset": rng.random((3, 2)) < 0.5,
        "reverse": False,
    }
    for value, names in wrong(call)[name]:
        with pytest.raises((ValueError, TypeError)) as error:
            functional.forward(**call | {name: value})
        assert_names(error, names)


@at_random
@given(st.data())
def test_pull_reads_gradients_as_a_call_reads_its_arguments(data):
    call = data.draw(calls())
    (y, state), pull = functional.vjp(**call)
    rng = np.random.default_rng(0)
    back = {"dy": eighths(rng, *y.shape), "dstate": eighths(rng, *state.shape)}
    expected = pull(**back)
    clothed = {name: data.draw(st.sampled_from(DISGUISES), label=name)(a) for name, a in back.items()}
    for name, grad in pull(**clothed).items():
        np.testing.assert_array_equal(grad, expected[name])
    name = data.draw(st.sampled_from(["dy", "dstate"]))
    spoils = [*wrong_kinds(back[name]), *wrong_shapes(back[name], [0, 1, 2])] + [None] * (name == "dy")
    with pytest.raises((ValueError, TypeError)) as error:
        pull(**clothed | {name: data.draw(st.sampled_from(spoils))})
    assert_names(error, [name])


# ---- sizes ----

HUGE = [(2**40, 2**20, 1), (2**60, 1, 1), (1, 2**60, 1), (2**30, 2**30, 1), (2**60, 0, 1), (0, 2**60, 1)]


@pytest.mark.parametrize("shape", HUGE)
@pytest.mark.parametrize("function", [functional.forward, functional.vjp])
def test_sizes_that_overflow_are_an_error(function, shape):
    """A broadcast array takes no memory, but its output would."""
    x = np.broadcast_to(np.float32(0), shape)
    weights = np.zeros((4, 1), np.float32)
    with pytest.raises(ValueError, match=r"\bx\b"):
        function("lstm", x, None, weights, weights)


@pytest.mark.parametrize("function", [functional.forward, functional.vjp])
def test_weights_that_overflow_are_an_error(function):
    x, zero = np.zeros((1, 1, 3), np.float32), np.float32(0)
    with pytest.raises(ValueError, match=r"\b(x|w_hh)\b"):
        function("lstm", x, None, np.broadcast_to(zero, (2**31, 3)), np.broadcast_to(zero, (2**31, 2**29)))
