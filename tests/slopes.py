"""Gradients of functions by differences."""

import numpy as np

# The two errors of a central difference are about STEP**2, times a third derivative, and eps / STEP.
STEP = 2.0**-17
TOLERANCE = 64 * (STEP**2 + 2.0**-52 / STEP)


def slope(f, array, step):
    """The gradient of f at `array`."""
    found = np.empty(array.shape)
    for at in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[at] += step
        down[at] -= step
        found[at] = (f(up) - f(down)) / (2 * step)
    return found


def central_difference(f, array):
    """The same with the step that balances both errors."""
    return slope(f, array, STEP)


def assert_slope(found, f, array):
    """Compare a gradient of f at `array` with central differences; large ones have larger errors."""
    truth = central_difference(f, array)
    np.testing.assert_allclose(found, truth, rtol=0, atol=TOLERANCE * max(1, np.abs(truth).max(initial=0)))
