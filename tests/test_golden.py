"""The reference and the kernels against numbers that PyTorch and ONNX Runtime computed."""

import numpy as np
import pytest

from pyrnn import reference

from .cells import as_state, layer_of
from .golden import load
from .problems import tolerance

CASES = load()
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def assert_near(actual, desired, bound):
    assert actual.shape == desired.shape
    np.testing.assert_allclose(actual, desired, rtol=0, atol=bound)


def assert_states_near(actual, desired, bound):
    for a, d in zip(actual, desired, strict=True):
        assert_near(a, d, bound)


def in_float64(inputs):
    """The inputs in float64, so that what was computed in float32 is the only side that rounds."""
    params = {name: a.astype(np.float64) for name, a in inputs["params"].items()}
    state = tuple(a.astype(float) for a in inputs["state"])
    return inputs | {"x": inputs["x"].astype(float), "state": state, "params": params}


NOWHERE_ELSE = {
    "lstm_coupled",
    "indrnn",
    "mingru",
    "minlstm",
    "lstm_norm",
    "gru_norm",
}  # PyTorch does not have them


def test_every_cell_has_golden_outputs_and_gradients():
    cells = set(reference.cells) - NOWHERE_ELSE
    assert {case.cell for case in CASES.values()} == cells
    assert {case.cell for case in CASES.values() if case.gradients} == cells


@each_case
def test_reference_agrees(case):
    cell, bound = reference.cells[case.cell], TOLERANCE[case.dtype]
    y, final, tape = reference.stack_forward(cell, **in_float64(case.inputs))
    assert_near(y, case.outputs["y"], bound)
    assert_states_near(final, case.outputs["final_state"], bound)
    if case.gradients:
        dx, dstate, grads = reference.stack_backward(cell, tape, case.dy, case.dstate)
        assert_near(dx, case.gradients["dx"], bound)
        assert_states_near(dstate, case.gradients["dstate"], bound)
        assert grads.keys() == case.gradients["grads"].keys()
        for name, grad in grads.items():
            assert_near(grad, case.gradients["grads"][name], bound)


def parts_of(state):
    """The states that a layer takes or returns, one by one."""
    return state if isinstance(state, tuple) else (state,)


def layer_for(case, dtype):
    """A layer with the case's parameters, under the names that they have there."""
    params, inputs = case.inputs["params"], case.inputs["x"].shape[2]
    projection = params.get("weight_hr_l0")
    layer = layer_of(case.cell)(
        inputs,
        params["weight_hh_l0" if projection is None else "weight_hr_l0"].shape[1],
        sum(name.startswith("weight_hh") and not name.endswith("_reverse") for name in params),
        bias="bias_ih_l0" in params,
        bidirectional="weight_hh_l0_reverse" in params,
        dtype=dtype,
        **({} if projection is None else {"proj_size": len(projection)}),
    )
    layer.load_state_dict(params)
    return layer


@each_case
def test_kernels_agree(case, dtype, isa):
    """A checkpoint of theirs, loaded, computes what it did there."""
    layer, given = layer_for(case, dtype), case.inputs
    # Weights are of order one and not 1/sqrt(H): each of the few steps and layers amplifies what was rounded.
    bound = max(TOLERANCE[case.dtype], 16 * tolerance(dtype, given["x"].size))
    (y, final), pull = layer.vjp(given["x"], as_state(given["state"]), lengths=given["lengths"])
    assert_near(y, case.outputs["y"], bound)
    assert_states_near(parts_of(final), case.outputs["final_state"], bound)
    if case.gradients:
        dx, dstate, grads = pull(case.dy, as_state(case.dstate))
        bound *= max(1, *(np.abs(grad).max() for grad in case.gradients["grads"].values()))
        assert_near(dx, case.gradients["dx"], bound)
        assert_states_near(parts_of(dstate), case.gradients["dstate"], bound)
        assert list(grads) == list(layer.params)
        for name, grad in grads.items():
            assert_near(grad, case.gradients["grads"][name], bound)
