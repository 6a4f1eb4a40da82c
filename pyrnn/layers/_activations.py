"""relu and gelu, each with its slope, and the error function."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Chebyshev coefficients of (1 + 2x) exp(x^2) erfc(x) over x >= 0, printed by tools/fit_erfc.py. Those below
# the rounding of float32 are left out there.
ERFC = (
    1.1775789345674017,
    -0.004590054580646478,
    -0.08424913336651792,
    0.05920993999819189,
    -0.026658668435305753,
    0.009074997670705265,
    -0.002413163540417608,
    0.0004907758365258086,
    -6.916973302501207e-05,
    4.13902798607301e-06,
    7.74038306619849e-07,
    -2.1886401049234397e-07,
    1.076499946567091e-08,
    4.521959811218287e-09,
    -7.754400208831351e-10,
    -6.318088340886684e-11,
    2.86879501093067e-11,
    1.9455868545777347e-13,
    -9.65469674843344e-13,
    3.25254814814874e-14,
    3.3478119482868056e-14,
    -1.864562880419313e-15,
    -1.2507950530688648e-15,
    7.418235256624044e-17,
    5.068148904796111e-17,
)
FLOAT32_TERMS = 13


def _erfc(x: Array) -> Array:
    """Complementary error function of x >= 0; NumPy has none."""
    table = np.array(ERFC[: FLOAT32_TERMS if x.dtype == np.float32 else None], x.dtype)
    scaled = np.polynomial.chebyshev.chebval((x - 3.75) / (x + 3.75), table)
    found: Array = scaled / (1 + 2 * x) * np.exp(-x * x)
    return found


def erf(x: Array) -> Array:
    """Error function."""
    tail = _erfc(np.abs(np.clip(x, -40, 40)))
    found: Array = np.where(x < 0, tail - 1, 1 - tail)
    return found


def relu(x: Array) -> tuple[Array, Array]:
    """max(x, 0), and its slope: 0 at 0."""
    return np.maximum(x, x.dtype.type(0)), (x > 0).astype(x.dtype)


def gelu(x: Array) -> tuple[Array, Array]:
    """Multiply x by the share of a normal distribution that lies below x, and its slope.

    Hendrycks & Gimpel 2016, arXiv:1606.08415; exact, not by tanh. Piece by piece, so that the many steps of
    the polynomial stay in the cache.
    """
    y, slope = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    flat, piece = x.reshape(-1), 1 << 13
    for i in range(0, flat.size, piece):
        part = flat[i : i + piece]
        bounded = np.clip(part, -40, 40)  # beyond them nothing changes, and no square overflows
        tail = _erfc(np.abs(bounded) * x.dtype.type(0.5**0.5)) / 2
        below = np.where(bounded > 0, 1 - tail, tail)
        density = np.exp(-bounded * bounded / 2) * x.dtype.type((2 * np.pi) ** -0.5)
        y.reshape(-1)[i : i + piece] = np.maximum(part, -40) * below
        slope.reshape(-1)[i : i + piece] = below + bounded * density
    return y, slope


ACTIVATIONS = {"relu": relu, "gelu": gelu}
