"""Numbers below the smallest normal one are zeros to the kernels, in every thread, however a sequence is cut.

That settings of the caller are put back is seen in C (tests/c/step.c).
"""

import numpy as np
import pytest

from pyrnn import functional

from .cells import SINGLE, as_array, as_state, cell_of, layer_of
from .problems import assert_same, infer, problem, run

# What multiplies a normal number to make it subnormal.
TINY = {"float32": 1e-41, "float64": 1e-311}


def tiny(array):
    found = array * array.dtype.type(TINY[str(array.dtype)])
    assert not array.size or 0 < np.abs(found).max() < np.finfo(array.dtype).tiny
    return found


@pytest.fixture(autouse=True)
def quiet():
    """NumPy need not tell that the tests' own numbers are small."""
    with np.errstate(under="ignore"):
        yield


@pytest.mark.parametrize("names", [("x",), ("state",), ("x", "state", "dy", "dstate")], ids="-".join)
@pytest.mark.parametrize("bias", [True, False])
def test_subnormal_numbers_are_zeros(cell, dtype, isa, names, bias):
    for B, H in ((1, 1), (1, 33), (7, 20)):
        given = problem(cell, dtype, 3, B, 4, H, bias=bias)
        small = given | {name: tiny(given[name]) for name in names}
        zeros = given | {name: np.zeros_like(given[name]) for name in names}
        assert_same(run(small), run(zeros))
        assert_same(infer(small), infer(zeros))


decays = pytest.mark.parametrize("cell", [c for c in functional.CELLS if c not in ("mingru", "minlstm")])


def decaying(cell, dtype, T, B, H):
    """States that leave the normal numbers and reach zero, each row at another step."""
    given = problem(cell, dtype, T, B, 3, H, bias=False)
    state = given["state"] * np.geomspace(1, np.finfo(dtype).tiny, B, dtype=dtype)[None, :, None]
    small = {name: given[name] * dtype.type(0.01) for name in ("w_hh", "w_units") if name in given}
    if cell == "lstm_norm":
        small["w_units"][9] = 0  # the shift of c, with which h decays no further
    return given | {"x": np.zeros_like(given["x"]), "state": state} | small


@decays
def test_a_decaying_state_is_the_same_however_it_is_cut(cell, dtype, isa):
    T, B, H = 40, 5, 20
    given = decaying(cell, dtype, T, B, H)
    whole = infer(given)
    y = np.abs(whole["y"][whole["y"] != 0])
    assert y.size and y.min() >= np.finfo(dtype).tiny and not whole["y"][-1, -1].any()
    first = infer(given | {"x": given["x"][:25]})
    second = infer(given | {"x": given["x"][25:], "state": first["state"]})
    assert_same({"y": np.concatenate([first["y"], second["y"]]), "state": second["state"]}, whole)
    for b in range(B):
        rows = {name: given[name][:, b : b + 1] for name in ("x", "state")}
        assert_same(infer(given | rows), {name: array[:, b : b + 1] for name, array in whole.items()})


@pytest.mark.parametrize("cell", SINGLE)
def test_steps_of_a_decaying_state_are_the_sequence(cell, dtype, isa):
    T, B, H = 40, 3, 20
    given = decaying(cell, dtype, T, B, H)
    layer, single = (make(cell)(3, H, dtype=dtype, bias=False) for make in (layer_of, cell_of))
    for one, suffix in ((layer, "_l0"), (single, "")):
        one.params.update({f"weight_ih{suffix}": given["w_ih"], f"weight_hh{suffix}": given["w_hh"]})
    whole = infer(given)
    stream, state = layer.stream(B), as_state(given["state"])
    stream.state = as_state(given["state"][:, None])
    for x_t, y_t in zip(given["x"], whole["y"], strict=True):
        state = single(x_t, state)
        np.testing.assert_array_equal(stream(x_t), y_t)
        np.testing.assert_array_equal(as_array(state)[0], y_t)
    np.testing.assert_array_equal(as_array(state), whole["state"])


@decays
@pytest.mark.parametrize("shape", [(60, 40, 8, 150), (60, 2, 8, 400)], ids=["rows", "units"])
def test_every_thread_takes_them_for_zeros(cell, dtype, threads, shape):
    T, B, I, H = shape
    given = problem(cell, dtype, T, B, I, H, bias=False)
    given |= {name: tiny(given[name]) for name in ("x", "state", "dy", "dstate")}
    if cell == "lstm_norm":
        given["w_units"][9] = 0  # the shift of c
    for number in (1, 2, 3):
        threads(number)
        for name, array in run(given).items():
            assert not array.any(), name


def test_what_passes_through_is_left_alone(cell, dtype):
    """No step, no arithmetic: a sequence without steps hands its state on as it is."""
    given = problem(cell, dtype, 0, 2, 3, 5)
    state = tiny(given["state"])
    np.testing.assert_array_equal(infer(given | {"state": state})["state"], state)


def test_the_caller_still_has_them(cell):
    layer = layer_of(cell)(3, 5, rng=0)
    layer(np.zeros((4, 2, 3)))
    layer.stream(2)(np.zeros((2, 3)))
    smallest = np.finfo(np.float32).smallest_subnormal
    assert np.float32(1e-38) * np.float32(0.5) != 0 and smallest + smallest == 2 * float(smallest)
