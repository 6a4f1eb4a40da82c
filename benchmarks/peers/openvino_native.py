"""OpenVINO: its recurrent operators, whole sequences in their layout (B, T, I), cells for single steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..problem import Array, Problem
from ..shapes import Mode, Shape
from .base import Arrays, Peer, Run, step_run


class _Operator(NamedTuple):
    """The stem of a name; where the gates, f i c o and z r h, are among ours; the operator's options."""

    stem: str
    order: tuple[int, ...]
    states: str = "h"
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)


_OPERATORS = {
    "lstm": _Operator("lstm", (1, 0, 2, 3), states="hc"),
    "gru": _Operator("gru", (1, 0, 2), options={"linear_before_reset": True}),
    "gru_before": _Operator("gru", (1, 0, 2), options={"linear_before_reset": False}),
    "rnn_tanh": _Operator("rnn", (0,), options={"activations": ["tanh"]}),
    "rnn_relu": _Operator("rnn", (0,), options={"activations": ["relu"]}),
}


class OpenVino(Peer):
    name = "openvino"
    modes: ClassVar[tuple[Mode, ...]] = ("inference", "step")

    def __init__(self) -> None:
        import openvino
        import openvino.opset14

        self.ov: Any = openvino
        self.ops: Any = openvino.opset14
        self.core = openvino.Core()
        self.version = f"openvino {openvino.__version__.partition('-')[0]}"
        self._threads = 1

    def set_threads(self, n: int) -> None:
        self._threads = n  # a model is compiled with its threads

    def has(self, cell: str, shape: Shape) -> bool:
        return cell in _OPERATORS

    def _compile(self, outputs: list[Any], inputs: list[Any]) -> Any:
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,  # pinned, it loses where another process shares its core
        }
        return self.core.compile_model(self.ov.Model(outputs, inputs, "problem"), "CPU", options)

    def inference(self, problem: Problem) -> Run:
        ops, shape, operator = self.ops, problem.shape, _OPERATORS[problem.cell]
        T, B, H, D = shape.T, shape.B, shape.H, shape.directions
        inputs = [ops.parameter([B, T, shape.I], np.float32)]
        if problem.lengths is None:
            lengths = ops.constant(np.full(B, T, np.int32))
        else:
            lengths = ops.parameter([B], np.int32)
            inputs.append(lengths)
        sequence, x, last = getattr(ops, f"{operator.stem}_sequence"), inputs[0], []
        zero = [ops.constant(np.zeros((B, D, H), np.float32)) for _ in operator.states]
        way = "bidirectional" if D == 2 else "forward"
        options = dict(operator.options)
        if "activations" in options:
            options["activations"] = options["activations"] * D
        for layer in range(shape.layers):
            weights = [ops.constant(a) for a in _weights(problem, layer)]
            y = sequence(x, *zero, lengths, *weights, H, way, **options)  # (B, D, T, H), the states (B, D, H)
            last += [y.output(1 + n) for n in range(len(zero))]
            if D == 1:
                x = ops.squeeze(y.output(0), np.array([1])).output(0)
            else:
                turned = ops.transpose(y.output(0), np.array([0, 2, 1, 3]))
                x = ops.reshape(turned, np.array([B, T, D * H]), False).output(0)
        request = self._compile([x, *last], inputs).create_infer_request()
        fed: list[Any] = [np.ascontiguousarray(problem.x.swapaxes(0, 1))]
        if problem.lengths is not None:
            fed.append(problem.lengths.astype(np.int32))
        for n, a in enumerate(fed):
            request.set_input_tensor(n, self._tensor(a))

        def call(_alive: Any = fed) -> Any:  # a tensor does not keep its array alive
            return request.infer(share_outputs=True)

        def result() -> Arrays:
            call()
            y, *flat = (request.get_output_tensor(n).data.copy() for n in range(1 + len(last)))
            states = {
                s: np.concatenate([a.swapaxes(0, 1) for a in flat[n :: len(zero)]])
                for n, s in enumerate(operator.states)
            }
            return {"y": y.swapaxes(0, 1), **states}

        return Run(call, result)

    def step(self, problem: Problem) -> Run:
        """Two requests in turn, each writing the state where the other reads it: nothing is copied."""
        ops, shape, operator = self.ops, problem.shape, _OPERATORS[problem.cell]
        inputs = [ops.parameter([1, n], np.float32) for n in (shape.I, *(shape.H for _ in operator.states))]
        cell = getattr(ops, f"{operator.stem}_cell")
        options = dict(operator.options)
        if "activations" in options:
            options |= {"activations_alpha": [], "activations_beta": []}  # which have no default in a cell
        weights = [ops.constant(a[0]) for a in _weights(problem, 0)]
        new = cell(*inputs, *weights, shape.H, **options)
        model = self._compile([new.output(n) for n in range(len(operator.states))], inputs)

        def fresh() -> Callable[[Array], Any]:
            x = np.zeros((1, shape.I), np.float32)
            even, odd = (tuple(np.zeros((1, shape.H), np.float32) for _ in operator.states) for _ in "eo")
            turns = cycle([self._request(model, x, even, odd), self._request(model, x, odd, even)])

            def step(x_t: Array) -> Any:
                x[...] = x_t
                infer, state = next(turns)
                infer(share_outputs=True)
                return state[0]

            return step

        return step_run(fresh, list(problem.x))

    def _request(
        self, model: Any, x: Array, old: tuple[Array, ...], new: tuple[Array, ...]
    ) -> tuple[Callable[..., Any], tuple[Array, ...]]:
        """A request from x and the state `old` to the state `new`, all in these very arrays; and `new`."""
        request = model.create_infer_request()
        for n, a in enumerate((x, *old)):
            request.set_input_tensor(n, self._tensor(a))
        for n, a in enumerate(new):
            request.set_output_tensor(n, self._tensor(a))
        return request.infer, new

    def _tensor(self, a: Any) -> Any:
        return self.ov.Tensor(a, shared_memory=True)


def _weights(problem: Problem, layer: int) -> tuple[Array, Array, Array]:
    """W (D, G * H, I), R (D, G * H, H) and B (D, G * H) of a layer, gates in the order of the operators.

    B is the sum of both biases, but where a GRU's reset multiplies the recurrent product: there the last gate
    has its two biases one after the other, and B is (D, 4 * H).
    """
    operator, H = _OPERATORS[problem.cell], problem.shape.H
    order = list(operator.order)

    def turned(name: str) -> Array:
        a = problem.params[name]
        return a.reshape(len(order), H, -1)[order].reshape(a.shape)

    ends = [f"_l{layer}{suffix}" for suffix in ("", "_reverse")[: problem.shape.directions]]
    both = [(turned("bias_ih" + end), turned("bias_hh" + end)) for end in ends]
    if operator.options.get("linear_before_reset"):
        biases = [np.concatenate([(a + b)[: 2 * H], a[2 * H :], b[2 * H :]]) for a, b in both]
    else:
        biases = [a + b for a, b in both]
    w, r = (np.stack([turned(name + end) for end in ends]) for name in ("weight_ih", "weight_hh"))
    return w, r, np.stack(biases)
