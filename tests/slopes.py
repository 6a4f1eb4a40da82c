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


def central_difference(f, array, curved=False):
    """The same with the step that balances both errors.

    Of a `curved` function, with large third derivatives, a second difference cancels the errors by those.
    """
    found = slope(f, array, STEP)
    return found + (found - slope(f, array, 2 * STEP)) / 3 if curved else found


def assert_slope(found, f, array, curved=False):
    """Compare a gradient of f at `array` with central differences; large ones have larger errors."""
    truth = central_difference(f, array, curved)
    np.testing.assert_allclose(found, truth, rtol=0, atol=TOLERANCE * max(1, np.abs(truth).max(initial=0)))
