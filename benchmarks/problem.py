"""A problem: a cell, a shape, the numbers every peer is given; its float64 solution; what equal means."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrnn import reference
from pyrnn.reference.common import is_normalized

from .shapes import Mode, Shape, flops

Array = NDArray[np.floating[Any]]

TOLERANCE = 1e-4


class Problem:
    """Float32 inputs and weights (PyTorch's names, layouts and uniform initialisation), always the same.

    Attributes
    ----------
    x : (T, B, I), normal; `dy` : (T, B, D * H), normal, zero beyond each length.
    lengths : (B,) of int64, or None.
    params : weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ... uniform within 1 / sqrt(H).
    """

    def __init__(self, cell: str, shape: Shape) -> None:
        rng = np.random.default_rng(0)
        self.cell, self.shape, self.lengths = cell, shape, shape.lengths
        self.formula = reference.cells[cell]
        T, B, H, D = shape.T, shape.B, shape.H, shape.directions
        self.x: NDArray[np.float32] = rng.standard_normal((T, B, shape.I), np.float32)
        self.dy: NDArray[np.float32] = rng.standard_normal((T, B, D * H), np.float32)
        if self.lengths is not None:
            self.dy[np.arange(T)[:, None] >= self.lengths] = 0
        self.params: dict[str, NDArray[np.float32]] = {}
        formula, names = self.formula, reference.names_of(self.formula)
        for index, width in enumerate(shape.passes()):
            suffix = f"_l{index // D}" + ("_reverse" if index % D else "")
            rows, rows_hh = formula.gates * H, formula.recurrent * H
            sizes = {
                "w_ih": (rows, width),
                "w_hh": (rows_hh, H),
                "b_ih": (rows,),
                "b_hh": (rows_hh,),
            }
            named = {names[key]: size for key, size in sizes.items() if key in names}
            if formula.units:  # peepholes no benchmark has
                flat = is_normalized(formula)  # gains are vectors, as biases are
                own = reference.own_names(formula).items()
                named |= {name: (k * H,) if flat else (k, H) for name, k in own if name != "weight_ch"}
            for name, size in named.items():
                numbers = (2 * rng.random(size) - 1) / np.sqrt(H)
                self.params[name + suffix] = numbers.astype(np.float32)

    def __str__(self) -> str:
        return f"{self.cell} {self.shape.name}"

    @property
    def single(self) -> bool:
        """One layer in one direction."""
        return self.shape.layers == self.shape.directions == 1

    def flops(self, mode: Mode) -> float:
        return flops(self.shape, self.formula.gates, self.formula.recurrent, mode)

    @cached_property
    def truth(self) -> dict[str, Array]:
        """Outputs, final state and gradients by the reference in float64 from the same float32 numbers."""
        params = {name: a.astype(np.float64) for name, a in self.params.items()}
        y, state, tape = reference.stack_forward(
            self.formula, self.x.astype(np.float64), None, params, lengths=self.lengths
        )
        dx, _, grads = reference.stack_backward(self.formula, tape, self.dy.astype(np.float64))
        return {"y": y, **named_state(state), "dx": dx, **grads}


def named_state(state: Any) -> dict[str, Array]:
    """(h, c) or h, each (L * D, B, H), or both stacked, as {"h": ..., "c": ...}."""
    if isinstance(state, np.ndarray) and state.ndim == 3:
        state = (state,)
    return dict(zip("hc", state, strict=False))


def assert_equal(problem: Problem, who: str, got: Mapping[str, Array]) -> None:
    """Raise AssertionError unless what a peer computed is the truth.

    Outputs and states are compared in the worst element, relative to the largest. Gradients are compared in
    the mean, relative to the mean: a rectifier whose input is within rounding of zero has a slope of 0 or 1
    by chance, and that one unit would decide the worst element. A weight in the wrong place misses either
    test by orders of magnitude.
    """
    for name, value in got.items():
        want = problem.truth[name]
        assert value.shape == want.shape, (
            f"{who}: {name} of {problem} has shape {value.shape}, not {want.shape}"
        )
        gap, size = np.abs(value - want), np.abs(want)
        forward = name in ("y", "h", "c")
        error = gap.max() / size.max() if forward else gap.mean() / size.mean()
        assert error <= TOLERANCE, (
            f"{who}: {name} of {problem} is off by {error:.1e} ({TOLERANCE:.0e} allowed)"
        )
