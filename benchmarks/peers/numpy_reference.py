"""The NumPy reference in float32: the formulas as they are read, and all that they are needed for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyrnn import reference
from pyrnn.reference.common import is_normalized

from ..problem import Array, Problem, named_state
from .base import Arrays, Run, step_run
from .numpy_plain import NumPyThreads


class NumpyReference(NumPyThreads):
    name = "reference"

    def inference(self, problem: Problem) -> Run:
        def result() -> Arrays:
            y, state = _forward(problem)[:2]
            return {"y": y, **named_state(state)}

        return Run(lambda: _forward(problem)[:2], result)

    def training(self, problem: Problem) -> Run:
        def call() -> Any:
            y, state, tape = _forward(problem)
            return y, state, _backward(problem, tape)

        def result() -> Arrays:
            y, state, gradients = call()
            return {"y": y, **named_state(state), **gradients}

        return Run(call, result)

    def step(self, problem: Problem) -> Run:
        cell, H = problem.formula, problem.shape.H
        weights = reference.weights_of(cell, problem.params, "_l0")
        w_ih, w_hh = (np.ascontiguousarray(weights[key].T) for key in ("w_ih", "w_hh"))
        b_ih, b_hh = (weights.get(key, np.empty(0)) for key in ("b_ih", "b_hh"))
        w_units = weights["w_units"]
        if is_normalized(cell):  # its biases come behind the products
            w_units = np.concatenate([b_ih.reshape(-1, H), b_hh.reshape(-1, H), w_units])
            b_ih, b_hh = np.zeros_like(b_ih), np.zeros_like(b_hh)
        options = reference.options_of(cell, w_units)

        def recurrent(v: Array, first: int = 0, last: int | None = None) -> Array:
            rows = slice(first * H, (cell.gates if last is None else last) * H)
            return (v @ w_hh[:, rows] + b_hh[rows]).reshape(-1, 1, H)

        def fresh() -> Callable[[Array], Array]:
            state = (np.zeros((1, H), np.float32),) * cell.states

            def step(x_t: Array) -> Array:
                nonlocal state
                state, _ = cell.point((x_t @ w_ih + b_ih).reshape(-1, 1, H), state, recurrent, options)
                return state[0]

            return step

        return step_run(fresh, list(problem.x))


def _forward(problem: Problem) -> tuple[Array, Array, Any]:
    return reference.stack_forward(problem.formula, problem.x, None, problem.params, lengths=problem.lengths)


def _backward(problem: Problem, tape: Any) -> Arrays:
    dx, _, grads = reference.stack_backward(problem.formula, tape, problem.dy)
    return {"dx": dx, **grads}
