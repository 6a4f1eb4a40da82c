"""PyTorch: nn.LSTM, nn.GRU, nn.RNN in inference mode and with autograd, and the cells for single steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..problem import Problem
from ..shapes import Shape
from .base import Arrays, Peer, Run, step_run

_LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "rnn_tanh": ("RNN", {"nonlinearity": "tanh"}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
}


class PyTorch(Peer):
    name = "torch"

    def __init__(self) -> None:
        import torch

        self.torch: Any = torch
        self.version = f"torch {torch.__version__}"

    def set_threads(self, n: int) -> None:
        self.torch.set_num_threads(n)

    def has(self, cell: str, shape: Shape) -> bool:
        return cell in _LAYERS

    def _layer(self, problem: Problem) -> Any:
        name, options = _LAYERS[problem.cell]
        shape = problem.shape
        layer = getattr(self.torch.nn, name)(
            shape.I, shape.H, num_layers=shape.layers, bidirectional=shape.directions == 2, **options
        )
        layer.load_state_dict({key: self.torch.tensor(a) for key, a in problem.params.items()})
        return layer

    def _forward(self, problem: Problem, layer: Any, x: Any) -> Callable[[], tuple[Any, Any]]:
        if problem.lengths is None:
            return lambda: layer(x)
        utils, lengths, T = self.torch.nn.utils.rnn, self.torch.tensor(problem.lengths), problem.shape.T

        def ragged() -> tuple[Any, Any]:
            packed, state = layer(utils.pack_padded_sequence(x, lengths, enforce_sorted=False))
            return utils.pad_packed_sequence(packed, total_length=T)[0], state

        return ragged

    def inference(self, problem: Problem) -> Run:
        forward = self._forward(problem, self._layer(problem), self.torch.tensor(problem.x))
        inference_mode = self.torch.inference_mode

        def call() -> Any:
            with inference_mode():
                return forward()

        return Run(call, lambda: _outputs(*call()))

    def training(self, problem: Problem) -> Run:
        torch = self.torch
        layer, x, dy = (
            self._layer(problem),
            torch.tensor(problem.x, requires_grad=True),
            torch.tensor(problem.dy),
        )
        forward, wanted = self._forward(problem, layer, x), [x, *layer.parameters()]

        def call() -> Any:
            y, state = forward()
            return y, state, torch.autograd.grad(y, wanted, dy)

        def result() -> Arrays:
            y, state, grads = call()
            names = ["dx", *(name for name, _ in layer.named_parameters())]
            return _outputs(y, state) | {n: g.numpy() for n, g in zip(names, grads, strict=True)}

        return Run(call, result)

    def step(self, problem: Problem) -> Run:
        torch, shape = self.torch, problem.shape
        name, options = _LAYERS[problem.cell]
        cell = getattr(torch.nn, name + "Cell")(shape.I, shape.H, **options)
        cell.load_state_dict({key.removesuffix("_l0"): torch.tensor(a) for key, a in problem.params.items()})

        def fresh() -> Callable[[Any], Any]:
            state: Any = None

            def step(x_t: Any) -> Any:
                nonlocal state
                with torch.inference_mode():
                    state = cell(x_t, state)
                return state[0] if name == "LSTM" else state

            return step

        return step_run(fresh, [torch.tensor(x_t) for x_t in problem.x])


def _outputs(y: Any, state: Any) -> Arrays:
    states = state if isinstance(state, tuple) else (state,)
    return {n: np.asarray(a.detach()) for n, a in zip("yhc", (y, *states), strict=False)}
