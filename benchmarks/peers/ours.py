"""pyrnn itself, through its public names."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np

import pyrnn

from ..problem import Problem, named_state
from .base import Arrays, Peer, Run, step_run

# The cells that are an option of a class. Any other is the class of its own name: "foo_bar" is pyrnn.FooBar.
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gru_before": ("GRU", {"reset_after": False}),
    "lstm_coupled": ("LSTM", {"coupled": True}),
    "lstm_norm": ("LSTM", {"layer_norm": True}),
    "gru_norm": ("GRU", {"layer_norm": True}),
    "rnn_tanh": ("RNN", {"nonlinearity": "tanh"}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
}


def make_layer(problem: Problem) -> Any:
    """The layer for a problem, its weights loaded: the one place that goes from a cell's name to a class."""
    name, options = _OPTIONS.get(problem.cell, (problem.cell.replace("_", ""), {}))
    classes = {public.lower(): public for public in dir(pyrnn)}
    if name.lower() not in classes:
        raise LookupError(
            f"no class of pyrnn is called like the cell {problem.cell!r}, see _OPTIONS in {__file__}"
        )
    shape = problem.shape
    layer = getattr(pyrnn, classes[name.lower()])(
        shape.I,
        shape.H,
        num_layers=shape.layers,
        bidirectional=shape.directions == 2,
        dtype=np.float32,
        **options,
    )
    layer.load_state_dict(problem.params)
    return layer


class Pyrnn(Peer):
    name = "pyrnn"

    def __init__(self) -> None:
        self.version = f"pyrnn {pyrnn.__version__}"

    def set_threads(self, n: int) -> None:
        pyrnn.set_num_threads(n)

    def inference(self, problem: Problem) -> Run:
        layer, x, lengths = make_layer(problem), problem.x, problem.lengths

        def call() -> Any:
            return layer(x, lengths=lengths)

        def result() -> Arrays:
            y, state = call()
            return {"y": y, **named_state(state)}

        return Run(call, result)

    def training(self, problem: Problem) -> Run:
        layer, x, dy, lengths = make_layer(problem), problem.x, problem.dy, problem.lengths

        def call() -> Any:
            output, pull = layer.vjp(x, lengths=lengths)
            return output, pull(dy)

        def result() -> Arrays:
            (y, state), (dx, _, grads) = call()
            return {"y": y, **named_state(state), "dx": dx, **grads}

        # The weights change between two training steps, so packing them belongs to the time of a step.
        values = cycle([problem.params, {name: a * np.float32(1.001) for name, a in problem.params.items()}])
        return Run(call, result, before=lambda: layer.load_state_dict(next(values)))

    def step(self, problem: Problem) -> Run:
        layer = make_layer(problem)
        return step_run(lambda: layer.stream(batch_size=1), list(problem.x))
