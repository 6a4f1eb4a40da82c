"""Random problems for one layer in one direction, their truth, and how near to it a kernel must come.

A problem is a dict: the arguments of `functional.forward`, and those of the `pull` that `vjp` returns. A
result is a dict of arrays.
"""

import math
import os
import re

import numpy as np
from hypothesis import HealthCheck, settings

from pyrnn import _registry, functional, reference

OPTIONS = ("lengths", "reset", "reverse")
WEIGHTS = ("w_ih", "w_hh", "b_ih", "b_hh")

at_random = settings(
    max_examples=int(os.environ.get("PYRNN_TEST_EXAMPLES", "500")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def own_weights(cell, rng, H, peepholes=False):
    """Weights that each unit has for itself, of a cell of the registry or of the reference."""
    return rng.uniform(-1, 1, (cell.units + peepholes * cell.peepholes, H))


def problem(cell, dtype, T, B, I, H, *, P=0, seed=0, bias=True, state=True, **options):
    """Random, hence asymmetric: with constant weights a permuted gate would go unseen.

    Recurrent weights are below 1/sqrt(H), so that nothing grows from step to step, errors included. With P, h
    is projected to so many numbers.
    """
    rng = np.random.default_rng([seed, T, B, I, H])
    entry = _registry.REGISTRY[cell]
    rows, rows_hh = entry.gates * H, entry.recurrent * H

    def normal(*shape, scale=1.0):
        return (rng.standard_normal(shape) * scale).astype(dtype)

    def states():
        return (normal(B, P), normal(B, H)) if P else normal(entry.states, B, H)

    arguments = {
        "x": normal(T, B, I),
        "state": states(),
        "w_ih": normal(rows, I, scale=I**-0.5),
        "w_hh": (rng.uniform(-1, 1, (rows_hh, P or H)) * H**-0.5).astype(dtype),
        "b_ih": normal(rows),
        "b_hh": normal(rows_hh),
        "dy": normal(T, B, P or H),
        "dstate": states(),
    }
    if P:
        arguments["w_hr"] = (rng.uniform(-1, 1, (P, H)) * H**-0.5).astype(dtype)
    if entry.units:
        arguments["w_units"] = own_weights(entry, rng, H).astype(dtype)
    absent = ([] if bias else ["b_ih", "b_hh"]) + ([] if state else ["state", "dstate"])
    return {"cell": cell, **arguments, **dict.fromkeys(absent), **options}


def ragged(T, B, seed=0):
    """Lengths that are not sorted and hold 0 and T, and resets at, beside and beyond everything."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, T + 1, B)
    lengths[: min(B, 3)] = [T // 2, 0, T][: min(B, 3)]
    return {"lengths": lengths, "reset": rng.random((T, B)) < 0.25}


def eighths(rng, *shape):
    """Numbers that the narrowest dtype holds."""
    return rng.integers(-8, 9, shape) / 8


def wide(cell, dtype):
    """Units such that 512 pairs fill half of a level-2 cache of 2 MB, and so a block of backward."""
    return 2048 // (_registry.REGISTRY[cell].gates * dtype.itemsize)


def split(given):
    """The arguments of forward, and those of pull."""
    back = {name: given[name] for name in ("dy", "dstate")}
    return {name: value for name, value in given.items() if name not in back}, back


def apart(results):
    """Arrays alone: states that are not in one array by their numbers."""
    found = {}
    for name, value in results.items():
        found |= (
            {f"{name}[{q}]": a for q, a in enumerate(value)} if isinstance(value, tuple) else {name: value}
        )
    return found


def run(given):
    """What the kernels make of a problem: outputs and every gradient."""
    arguments, back = split(given)
    (y, state), pull = functional.vjp(**arguments)
    return apart({"y": y, "state": state} | {f"grad {name}": array for name, array in pull(**back).items()})


def infer(given):
    y, state = functional.forward(**split(given)[0])
    return apart({"y": y, "state": state})


def truth(given):
    """What the reference makes of it, in float64 on the inputs as they are, already rounded."""

    def wide(value):
        if isinstance(value, tuple):
            return tuple(wide(part) for part in value)
        return value.astype(np.float64) if isinstance(value, np.ndarray) else value

    arguments, back = split({name: a if name in OPTIONS else wide(a) for name, a in given.items()})
    cell = reference.cells[arguments.pop("cell")]
    y, state, tape = reference.forward(cell, **arguments)
    grads = reference.backward(cell, tape, **back)
    return apart({"y": y, "state": state} | {f"grad {name}": array for name, array in grads.items()})


def tolerance(dtype, terms):
    """What rounding does to a sum of so many terms of order one that nothing amplifies."""
    return 4 * np.finfo(dtype).eps * max(1, math.ceil(math.log2(max(terms, 2))))


def assert_near(actual, desired, bound):
    """Equal within `bound` of the largest element, which is at least of order one; NaN where NaN is due."""
    assert actual.shape == desired.shape
    scale = max(1.0, np.abs(desired, where=np.isfinite(desired), out=np.zeros(desired.shape)).max(initial=0))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=bound * scale)


def assert_true(given, actual, expected=None):
    """`actual`, a result, is near the truth; gradients, which add twice as much, at twice the distance."""
    desired = truth(given) if expected is None else expected
    (T, B, I), H = given["x"].shape, given.get("w_hr", given["w_hh"]).shape[1]
    dtype = given["w_ih"].dtype
    for name, array in actual.items():
        assert array.dtype == dtype, name
        bound = tolerance(dtype, (I + H) * T)
        if name.startswith("grad"):
            bound = 2 * tolerance(dtype, (I + H) * T * max(B, 1))
        assert_near(array, desired[name], min(bound, 1e-12) if dtype == np.float64 else bound)


def assert_same(actual, desired):
    """Two results have the same names and the same bits, but for the sign of zeros and the kind of NaN."""
    assert actual.keys() == desired.keys()
    for name, array in desired.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name, strict=True)


def assert_names(error, names):
    """The message of what `pytest.raises` caught names one of them."""
    assert re.search(rf"\b({'|'.join(names)})\b", str(error.value)), error.value
