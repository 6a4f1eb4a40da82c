"""The reference proved where cells have options: its gradients are central differences."""

import numpy as np
import pytest

from pyrnn import reference
from pyrnn.reference.options import activations, zoned

from .problems import assert_near, own_weights
from .reference_problems import LENGTHS, RESET, B, H, each_cell, gradients, problem
from .test_reference_gradients import TOLERANCE, central_difference

FIXED = (reference.cells["mingru"], reference.cells["minlstm"])  # have no activation to choose


def cases(cell, rng):
    """Options one by one, then together."""
    one_by_one = [{"zoneout": 0.5, "seed": 3}, {"mask": (rng.random((B, H)) < 0.7) / 0.7}]
    if cell not in FIXED:
        one_by_one += [{"activation": name} for name in activations]
        one_by_one += [{"recurrent_activation": name} for name in activations]
    if cell.states > 1:
        one_by_one += [{"cell_clip": 0.5}, {"zoneout": (0.2, 0.6)}]
    together = {"activation": "softsign"} if cell not in FIXED else {}
    for case in one_by_one[:2] + [{"cell_clip": 0.75}] * (cell.states > 1):
        together |= case
    return [*one_by_one, together]


def check(cell, arguments, dy, dstate, **options):
    def loss():
        y, final, _ = reference.forward(cell, **arguments, **options)
        return (y * dy).sum() + (final * dstate).sum()

    actual = gradients(cell, arguments, dy, dstate, **options)
    assert actual.keys() == arguments.keys()
    for name, a in arguments.items():
        assert_near(actual[name], central_difference(loss, a, cell), TOLERANCE)


@each_cell
@pytest.mark.parametrize("peepholes", [False, True])
def test_gradients_are_central_differences(cell, peepholes, rng):
    if peepholes and not cell.peepholes:
        return
    for case in cases(cell, rng):
        arguments, dy, dstate = problem(cell, rng)
        if peepholes:
            arguments["w_units"] = own_weights(cell, rng, H, peepholes=True)
        if {case.get("activation"), case.get("recurrent_activation")} & {"relu", "identity"}:
            for name in ("x", "state", "b_ih", "b_hh"):
                arguments[name] /= (
                    4  # or states, which nothing bounds, have third derivatives beyond TOLERANCE's
                )
        check(cell, arguments, dy, dstate, lengths=LENGTHS, reset=RESET, **case)


@pytest.mark.parametrize("name", activations)
def test_slopes_are_functions_of_values(name):
    x = np.linspace(-4, 4, 81) + 0.01  # beside every corner
    value, slope = activations[name]
    step = 1e-6  # truncation step**2 and rounding EPS / step are both below 1e-9
    np.testing.assert_allclose(
        slope(value(x)), (value(x + step) - value(x - step)) / (2 * step), rtol=0, atol=1e-9
    )


def test_activations_at_known_points():
    known = {
        "hard_sigmoid": ([-4, -3, 0, 1.5, 3, 4], [0, 0, 0.5, 0.75, 1, 1]),
        "softsign": ([-3, 0, 1], [-0.75, 0, 0.5]),
        "identity": ([-3, 0, 1], [-3, 0, 1]),
        "relu": ([-3, 0, 1], [0, 0, 1]),
    }
    for name, (x, y) in known.items():
        np.testing.assert_array_equal(activations[name].value(np.array(x, float)), y)


def test_zoneout_draws_every_unit_for_itself():
    """Neither rows nor times nor states nor seeds share their draws."""
    draws = [
        zoned(0.5, seed, state, t, 8, 64) for seed in (0, 1, 2**40) for state in (0, 1) for t in range(3)
    ]
    assert all((a != b).mean() > 0.3 for i, a in enumerate(draws) for b in draws[:i])
    assert all((a[i] != a[j]).mean() > 0.2 for a in draws for i in range(8) for j in range(i))
    assert zoned(1.0, 5, 0, 0, 3, 5).all()
    assert not zoned(0.0, 5, 0, 0, 3, 5).any()
