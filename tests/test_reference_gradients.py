"""The reference proved: its gradients, of one layer and of a stack, are central differences."""

import functools

import numpy as np
import pytest

from pyrnn import reference
from pyrnn.reference.common import is_normalized

from .problems import assert_near
from .reference_problems import (
    LENGTHS,
    RESET,
    both_directions,
    each_cell,
    gradients,
    problem,
    ragged,
    stacked,
)

EPS = np.finfo(np.float64).eps

# The step that balances the two errors of a central difference: truncation, step**2 / 6 times a third
# derivative (of order 10), and rounding, EPS / step times the loss (of order 10). Both stay below 1e-9 of the
# largest element of a gradient, which a missing term changes by about its own size. Layer normalization of
# nearly equal numbers has larger third derivatives: a second difference, over twice the step, cancels them.
STEP = EPS ** (1 / 3)
TOLERANCE = 1e-8


def central_difference(loss, a, cell=None):
    """Gradient of a cell's loss() with respect to the array `a`, which is changed in place and restored."""

    def slope(k, step):
        middle = a[k]
        a[k] = middle + step
        above, high = loss(), a[k]
        a[k] = middle - step
        below, low = loss(), a[k]
        a[k] = middle
        return (above - below) / (high - low)

    gradient = np.empty_like(a)
    for k in np.ndindex(a.shape):
        gradient[k] = slope(k, STEP)
        if cell is not None and is_normalized(cell):
            gradient[k] += (gradient[k] - slope(k, 2 * STEP)) / 3
    return gradient


@each_cell
@both_directions
@ragged
def test_gradients_are_central_differences(cell, reverse, lengths, reset, rng):
    arguments, dy, dstate = problem(cell, rng)
    options = {"lengths": lengths, "reset": reset, "reverse": reverse}

    def loss():
        y, final, _ = reference.forward(cell, **arguments, **options)
        return (y * dy).sum() + (final * dstate).sum()

    actual = gradients(cell, arguments, dy, dstate, **options)
    assert actual.keys() == arguments.keys()
    for name, a in arguments.items():
        assert_near(actual[name], central_difference(loss, a, cell), TOLERANCE)


@each_cell
@pytest.mark.parametrize("directions", [1, 2])
def test_gradients_of_a_stack_are_central_differences(cell, directions, rng):
    x, state, params, dropout, dy, dstate = stacked(cell, rng, directions=directions)
    forward = functools.partial(
        reference.stack_forward, cell, x, state, params, lengths=LENGTHS, reset=RESET, dropout=dropout
    )

    def loss():
        y, final, _ = forward()
        return (y * dy).sum() + (final * dstate).sum()

    dx, dstate0, grads = reference.stack_backward(cell, forward()[2], dy, dstate)
    assert_near(dx, central_difference(loss, x, cell), TOLERANCE)
    assert_near(dstate0, central_difference(loss, state, cell), TOLERANCE)
    assert grads.keys() == params.keys()
    for name, a in params.items():
        assert_near(grads[name], central_difference(loss, a, cell), TOLERANCE)
