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
from pyrnn.reference.common import is_normalized
from pyrnn.reference.options import EPS

OPTIONS = ("lengths", "reset", "reverse")
WEIGHTS = ("w_ih", "w_hh", "b_ih", "b_hh")
CHANGING = ("x", "state", *WEIGHTS, "w_units", "w_hr")

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


NORMALIZED = tuple(name for name, cell in reference.cells.items() if is_normalized(cell))
"""Cells with layer normalization, which enlarges differences of nearly equal numbers, errors included."""

UNBOUNDED = ("relu", "identity")  # activations with which states may grow from step to step, errors included

NUDGE = 2.0**-30


def may_enlarge(given):
    """Whether errors may come out larger than they go in."""
    chosen = {given.get("activation"), given.get("recurrent_activation")}
    return given["cell"] in NORMALIZED or not chosen.isdisjoint(UNBOUNDED)


def largest_scale(given):
    """What normalizations multiply roundings with; on the way back these may be all that is left."""
    if given["cell"] not in NORMALIZED:
        return 0.0
    arguments, _ = split(given)
    cell = reference.cells[arguments.pop("cell")]
    scales = [0.0]
    for _, s1, (ax, ah, *_), _ in reference.forward(cell, **arguments)[2].steps:
        groups = (slice(2), slice(2, 3)) if cell.states == 1 else (slice(4),)
        rows = [a[group] for a in (ax, ah) for group in groups] + [c[None] for c in s1[1:]]
        variances = np.concatenate([a.var((0, 2)) for a in rows])
        scales += list((variances[variances > 0] + EPS) ** -0.5)  # of equal numbers nothing is rounded
    return max(scales)


def nudged(array, rng):
    if isinstance(array, tuple):
        return tuple(nudged(part, rng) for part in array)
    return array * (1 + NUDGE * rng.choice([-1.0, 1.0], array.shape))


def growth(compute, arrays, expected):
    """How many times larger relative changes of `arrays` come out in each of ``compute(arrays)``.

    They are those of rounding, which may add up, and so does what the changes of each array alone come to.
    """
    grown = dict.fromkeys(expected, 0.0)
    for changing, array in arrays.items():
        largest = dict.fromkeys(expected, 0.0)
        for seed in range(8):
            changed = nudged(array, np.random.default_rng(seed))
            for name, found in compute({**arrays, changing: changed}).items():
                scale = max(1.0, np.abs(expected[name]).max(initial=0))
                change = np.abs(found - expected[name]).max(initial=0) / scale / NUDGE
                largest[name] = max(largest[name], change)
        grown = {name: total + largest[name] for name, total in grown.items()}
    return {name: max(1.0, total) for name, total in grown.items()}


def tolerance(dtype, terms):
    """What rounding does to a sum of so many terms of order one that nothing amplifies."""
    return 4 * np.finfo(dtype).eps * max(1, math.ceil(math.log2(max(terms, 2))))


def assert_near(actual, desired, bound):
    """Equal within `bound` of the largest element, which is at least of order one; NaN where NaN is due."""
    assert actual.shape == desired.shape
    scale = max(1.0, np.abs(desired, where=np.isfinite(desired), out=np.zeros(desired.shape)).max(initial=0))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=bound * scale)


def is_near(actual, desired, bound):
    try:
        assert_near(actual, desired, bound)
    except AssertionError:
        return False
    return True


def assert_true(given, actual, expected=None):
    """`actual`, a result, is near the truth; gradients, which add twice as much, at twice the distance."""
    desired = truth(given) if expected is None else expected
    (T, B, I), H = given["x"].shape, given.get("w_hr", given["w_hh"]).shape[1]
    dtype, grown = given["w_ih"].dtype, None
    for name, array in actual.items():
        assert array.dtype == dtype, name
        bound = tolerance(dtype, (I + H) * T)
        if name.startswith("grad"):
            bound = 2 * tolerance(dtype, (I + H) * T * max(B, 1))
        bound = min(bound, 1e-12) if dtype == np.float64 else bound
        if may_enlarge(given) and not is_near(array, desired[name], bound):
            changing = {n: given[n] for n in CHANGING if given.get(n) is not None}
            grown = grown or growth(lambda new: truth(given | new), changing, desired)
            bound *= grown[name] + largest_scale(given)
            bound *= 2 if dtype == np.float64 else 1  # the reference rounds as much
        assert_near(array, desired[name], bound)


def assert_same(actual, desired):
    """Two results have the same names and the same bits, but for the sign of zeros and the kind of NaN."""
    assert actual.keys() == desired.keys()
    for name, array in desired.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name, strict=True)


def assert_names(error, names):
    """The message of what `pytest.raises` caught names one of them."""
    assert re.search(rf"\b({'|'.join(names)})\b", str(error.value)), error.value
