"""How far the functions of csrc/vec_math.h are from the truth, on every instruction set that this CPU has."""

import sys
from pathlib import Path

import pytest

from pyrnn import _config

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture(scope="module")
def rows():
    """A sample; all of float32 takes minutes (tools/measure_ulp.py --exhaustive)."""
    sys.path.append(str(TOOLS))
    try:
        import measure_ulp
    finally:
        sys.path.remove(str(TOOLS))
    return measure_ulp.measure(step32=8191, points64=400_000)


@pytest.mark.parametrize("function", ["exp", "sigmoid", "tanh"])
def test_errors_are_below_two_and_a_half_units_in_the_last_place(rows, dtype, function):
    errors = [row.ulp for row in rows if (row.function, row.dtype) == (function, str(dtype))]
    assert len(errors) == sum(_config.isas().values())
    assert all(0.5 <= error <= 2.5 for error in errors)
