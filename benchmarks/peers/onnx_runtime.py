"""ONNX Runtime: a graph of LSTM, GRU or RNN nodes, run whole, by steps, or by steps with bound buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any, ClassVar

import numpy as np

from ..problem import Array, Problem
from ..shapes import Mode, Shape
from .base import Arrays, Peer, Run, step_run


@dataclass(frozen=True)
class _Node:
    """An operator of ONNX, and where its gates are among ours: it has i o f c, and z r h."""

    op: str
    order: tuple[int, ...]
    states: str = "h"
    linear_before_reset: int | None = None
    activation: str | None = None


_NODES = {
    "lstm": _Node("LSTM", (0, 3, 1, 2), states="hc"),
    "gru": _Node("GRU", (1, 0, 2), linear_before_reset=1),
    "gru_before": _Node("GRU", (1, 0, 2), linear_before_reset=0),
    "rnn_tanh": _Node("RNN", (0,), activation="Tanh"),
    "rnn_relu": _Node("RNN", (0,), activation="Relu"),
}


class OnnxRuntime(Peer):
    name = "onnxruntime"
    modes: ClassVar[tuple[Mode, ...]] = ("inference", "step")

    def __init__(self) -> None:
        import onnx
        import onnxruntime

        self.onnx: Any = onnx
        self.ort: Any = onnxruntime
        self.version = f"onnxruntime {onnxruntime.__version__}"
        self._threads = 1

    def set_threads(self, n: int) -> None:
        self._threads = n  # a session is made with its threads

    def has(self, cell: str, shape: Shape) -> bool:
        return cell in _NODES

    def session(self, model: Any) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return self.ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def inference(self, problem: Problem) -> Run:
        session = self.session(build(self.onnx, problem))
        feed: dict[str, Any] = {"x": problem.x}
        if problem.lengths is not None:
            feed["lengths"] = problem.lengths.astype(np.int32)

        def call() -> Any:
            return session.run(None, feed)

        def result() -> Arrays:
            named = dict(zip((o.name for o in session.get_outputs()), call(), strict=True))
            y = named["y"].swapaxes(1, 2)  # (T, D, B, H) to (T, B, D, H)
            layers = range(problem.shape.layers)
            states = {
                s: np.concatenate([named[f"{s}{n}"] for n in layers]) for s in _NODES[problem.cell].states
            }
            return {"y": y.reshape(*y.shape[:2], -1), **states}

        return Run(call, result)

    def step(self, problem: Problem) -> Run:
        session = self.session(build(self.onnx, problem, step=True))
        states, zero = _NODES[problem.cell].states, np.zeros((1, 1, problem.shape.H), np.float32)
        wanted = [f"{s}0" for s in states]

        def fresh() -> Callable[[Array], Any]:
            feed: dict[str, Any] = {f"{s}_in": zero for s in states}

            def step(x_t: Array) -> Any:
                feed["x"] = x_t
                state = session.run(wanted, feed)
                for name, value in zip(states, state, strict=True):
                    feed[f"{name}_in"] = value
                return state[0]

            return step

        return step_run(fresh, [x_t[None] for x_t in problem.x])


class OnnxRuntimeBound(OnnxRuntime):
    """The single step again, inputs and outputs bound to NumPy buffers that trade places after every step."""

    name = "onnxruntime-bound"
    modes: ClassVar[tuple[Mode, ...]] = ("step",)

    def step(self, problem: Problem) -> Run:
        session = self.session(build(self.onnx, problem, step=True))
        states, H = _NODES[problem.cell].states, problem.shape.H

        def fresh() -> Callable[[Array], Any]:
            x = np.zeros((1, 1, problem.shape.I), np.float32)
            even, odd = (tuple(np.zeros((1, 1, H), np.float32) for _ in states) for _ in range(2))
            turns = cycle([_bind(session, states, x, even, odd), _bind(session, states, x, odd, even)])

            def step(x_t: Array) -> Any:
                x[...] = x_t
                binding, state = next(turns)
                session.run_with_iobinding(binding)
                return state[0]

            return step

        return step_run(fresh, [x_t[None] for x_t in problem.x])


def _bind(
    session: Any, states: str, x: Array, old: tuple[Array, ...], new: tuple[Array, ...]
) -> tuple[Any, tuple[Array, ...]]:
    """A binding that computes the state `new` from x and `old`; and `new`: bindings keep no arrays alive."""
    binding = session.io_binding()
    place = ("cpu", 0, np.float32)
    binding.bind_input("x", *place, list(x.shape), x.ctypes.data)
    for name, a, b in zip(states, old, new, strict=True):
        binding.bind_input(f"{name}_in", *place, list(a.shape), a.ctypes.data)
        binding.bind_output(f"{name}0", *place, list(b.shape), b.ctypes.data)
    return binding, new


def build(onnx: Any, problem: Problem, step: bool = False) -> Any:
    """The model of a problem: inputs x, lengths if ragged, the state if for a step; outputs y and states."""
    helper, shape, node = onnx.helper, problem.shape, _NODES[problem.cell]
    real, D = onnx.TensorProto.FLOAT, shape.directions
    T = 1 if step else shape.T
    inputs = [helper.make_tensor_value_info("x", real, [T, shape.B, shape.I])]
    if problem.lengths is not None:
        inputs.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [shape.B]))
    if step:
        inputs += [helper.make_tensor_value_info(f"{s}_in", real, [1, shape.B, shape.H]) for s in node.states]
    outputs = [helper.make_tensor_value_info("y", real, [T, D, shape.B, shape.H])]
    nodes, weights, source = [], list(_weights(onnx, problem)), "x"
    for n in range(shape.layers):
        if n:  # (T, D, B, H) to (T, B, D * H)
            nodes.append(helper.make_node("Transpose", [f"y{n - 1}"], [f"turned{n}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"turned{n}", "flat"], [f"x{n}"]))
            source = f"x{n}"
        feeds = [source, f"W{n}", f"R{n}", f"B{n}", "" if problem.lengths is None else "lengths"]
        feeds += [f"{s}_in" for s in node.states] if step else []
        last = n == shape.layers - 1
        results = ["y" if last else f"y{n}", *(f"{s}{n}" for s in node.states)]
        nodes.append(helper.make_node(node.op, feeds, results, **_attributes(node, shape)))
        outputs += [
            helper.make_tensor_value_info(f"{s}{n}", real, [D, shape.B, shape.H]) for s in node.states
        ]
    graph = helper.make_graph(nodes, problem.cell, inputs, outputs, initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def _attributes(node: _Node, shape: Shape) -> dict[str, Any]:
    found: dict[str, Any] = {
        "hidden_size": shape.H,
        "direction": "bidirectional" if shape.directions == 2 else "forward",
    }
    if node.linear_before_reset is not None:
        found["linear_before_reset"] = node.linear_before_reset
    if node.activation is not None:
        found["activations"] = [node.activation] * shape.directions
    return found


def _weights(onnx: Any, problem: Problem) -> Iterator[Any]:
    """W (D, G * H, I), R (D, G * H, H) and B (D, 2 * G * H) of every layer, gates in the order of ONNX."""
    order, H = list(_NODES[problem.cell].order), problem.shape.H

    def turned(name: str) -> Array:
        a = problem.params[name]
        return a.reshape(len(order), H, -1)[order].reshape(a.shape)

    suffixes = ("", "_reverse")[: problem.shape.directions]
    for n in range(problem.shape.layers):
        ends = [f"_l{n}{suffix}" for suffix in suffixes]
        biases = [np.concatenate([turned("bias_ih" + end), turned("bias_hh" + end)]) for end in ends]
        yield onnx.numpy_helper.from_array(np.stack([turned("weight_ih" + end) for end in ends]), f"W{n}")
        yield onnx.numpy_helper.from_array(np.stack([turned("weight_hh" + end) for end in ends]), f"R{n}")
        yield onnx.numpy_helper.from_array(np.stack(biases), f"B{n}")
    if problem.shape.layers > 1:
        yield onnx.numpy_helper.from_array(np.array([0, 0, -1], np.int64), "flat")
