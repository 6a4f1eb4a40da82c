"""Random recurrent nodes of ONNX as models of one node, and what its definition makes of them."""

from typing import Any, NamedTuple

import numpy as np
from onnx import helper

from pyrnn.onnx import _activations, _recurrence, _recurrent

COUNT = {"RNN": 1, "LSTM": 3, "GRU": 2}
OPSETS = (7, 8, 13, 14, 17, 21, 22)  # recurrent nodes were changed in 7, 14 and 22
# Activations of one number each, and of two.
ONE, TWO = ("leakyrelu", "thresholdedrelu", "elu"), ("affine", "scaledtanh", "hardsigmoid")
SPELLED = {
    "relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softsign": "Softsign",
    "softplus": "Softplus",
    "leakyrelu": "LeakyRelu",
    "thresholdedrelu": "ThresholdedRelu",
    "elu": "Elu",
    "affine": "Affine",
    "scaledtanh": "ScaledTanh",
    "hardsigmoid": "HardSigmoid",
}


class Problem(NamedTuple):
    """One node: its attributes, and the arrays of its inputs by ONNX's names."""

    op: str
    opset: int
    attributes: dict[str, Any]
    inputs: dict[str, np.ndarray]
    fixed: bool  # whether the weights are constants of the model, and not inputs


def random_problem(rng, dtype=np.float32, layouts=(0,), shortest=0) -> Problem:
    """A node whose numbers stay small, and away from the step of ThresholdedRelu.

    Elsewhere no two programs agree: gates without bound make states grow by powers, and on a step the last
    bit decides.
    """
    while True:
        problem = _drawn(rng, dtype, layouts, shortest)
        a = problem.attributes
        found = reference(problem)
        if max(np.abs(part).max() for part in found) > 4:
            continue
        if "ThresholdedRelu" not in a.get("activations", ()):
            return problem
        for nudge in (-1e-4, 1e-4):
            alphas = [alpha + nudge for alpha in a["activation_alpha"]]
            moved = reference(problem._replace(attributes=a | {"activation_alpha": alphas}))
            if max(np.abs(a - b).max() for a, b in zip(found, moved, strict=True)) > 1e-2:
                break
        else:
            return problem


def _drawn(rng, dtype, layouts, shortest) -> Problem:
    op = str(rng.choice(list(COUNT)))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    D, G = 1 + (direction == "bidirectional"), _recurrent.GATES[op]
    T, B, I, H = (int(n) for n in rng.integers([1, 1, 1, 1], [9, 6, 8, 20]))
    attributes = {"direction": direction, "hidden_size": H}
    opset = int(rng.choice(OPSETS))
    layout = int(rng.choice(layouts)) if opset >= 14 else 0
    if layout or (opset >= 14 and rng.random() < 0.5):
        attributes["layout"] = layout
    if rng.random() < 0.6:
        attributes |= random_activations(rng, op, D)
    if rng.random() < 0.3:
        attributes["clip"] = float(np.float32(rng.uniform(0.1, 2)))
    flag = {"LSTM": "input_forget", "GRU": "linear_before_reset"}.get(op)
    if flag and rng.random() < 0.6:
        attributes[flag] = int(rng.integers(2))

    def draw(*shape, scale=1.0):
        return (scale * rng.uniform(-1, 1, shape)).astype(dtype)

    inputs = {
        "X": draw(T, B, I),
        "W": draw(D, G * H, I, scale=I**-0.5),
        "R": draw(D, G * H, H, scale=H**-0.5),
    }
    if rng.random() < 0.7:
        inputs["B"] = draw(D, 2 * G * H)
    if rng.random() < 0.5:
        inputs["sequence_lens"] = rng.integers(shortest, T + 1, B).astype(np.int32)
    if rng.random() < 0.5:
        inputs["initial_h"] = draw(D, B, H)
    if op == "LSTM" and rng.random() < 0.5:
        inputs["initial_c"] = draw(D, B, H)
    if op == "LSTM" and rng.random() < 0.5:
        inputs["P"] = draw(D, 3 * H)
    if layout:
        for name in {"X", "initial_h", "initial_c"} & set(inputs):
            inputs[name] = inputs[name].swapaxes(0, 1).copy()
    return Problem(op, opset, attributes, inputs, bool(rng.random() < 0.8))


def random_activations(rng, op, D):
    """Any of them, with numbers for all that take some, or for the first ones.

    The others are defaults that ONNX Runtime shares: for ThresholdedRelu, ONNX has 1, and it 0.
    """
    names = [str(name) for name in rng.choice(list(SPELLED), D * COUNT[op])]
    found = {"activations": [SPELLED[name] for name in names]}
    alphas = [float(np.float32(rng.uniform(0.1, 0.7))) for name in names if name in ONE + TWO]
    betas = [float(np.float32(rng.uniform(0.1, 0.7))) for name in names if name in TWO]
    if not {"affine", "scaledtanh", "thresholdedrelu"} & set(names) and rng.random() < 0.3:
        alphas, betas = alphas[: len(alphas) // 2], betas[: len(betas) // 2]
    if alphas:
        found["activation_alpha"] = alphas
    if betas:
        found["activation_beta"] = betas
    return found


def model_of(problem: Problem):
    """The node as a model; what is no constant is an input, in the order of ONNX's inputs."""
    order = [
        "X",
        "W",
        "R",
        "B",
        "sequence_lens",
        "initial_h",
        *(["initial_c", "P"] if problem.op == "LSTM" else []),
    ]
    names = [name if name in problem.inputs else "" for name in order]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", *(["Y_c"] if problem.op == "LSTM" else [])]
    node = helper.make_node(problem.op, names, outputs, **problem.attributes)
    dtype = helper.np_dtype_to_tensor_dtype(problem.inputs["X"].dtype)
    constants = ["W", "R", "B", "P"] if problem.fixed else []
    graph = helper.make_graph(
        [node],
        "node",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(problem.inputs[name].dtype), problem.inputs[name].shape
            )
            for name in names
            if name and name not in constants
        ],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [
            helper.make_tensor(
                name, dtype, problem.inputs[name].shape, problem.inputs[name].tobytes(), raw=True
            )
            for name in names
            if name in constants
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", problem.opset)], ir_version=8)


def feeds_of(problem: Problem) -> dict[str, np.ndarray]:
    constants = ["W", "R", "B", "P"] if problem.fixed else []
    return {name: array for name, array in problem.inputs.items() if name not in constants}


def reference(problem: Problem) -> list[np.ndarray]:
    """Y, Y_h and Y_c in float64, by NumPy alone."""
    a, inputs = problem.attributes, problem.inputs
    count = COUNT[problem.op]
    reverse = _recurrent.REVERSED[a["direction"]]
    names = a.get("activations", list(_recurrent.DEFAULT[problem.op]) * len(reverse))
    acts = _activations.read(names, a.get("activation_alpha", []), a.get("activation_beta", []))
    wide = {n: v.astype(np.float64) for n, v in inputs.items() if v.dtype.kind == "f"}
    layout = a.get("layout", 0)
    for name in {"X", "initial_h", "initial_c"} & set(wide):
        wide[name] = wide[name].swapaxes(0, 1) if layout else wide[name]
    B = wide["X"].shape[1]
    H, rows = a["hidden_size"], wide["W"].shape[1]
    lengths = None if "sequence_lens" not in inputs else inputs["sequence_lens"].astype(np.int64)
    ys, finals = [], []
    for d, backwards in enumerate(reverse):
        cell = _recurrence.Cell(
            problem.op,
            tuple(acts[d * count : (d + 1) * count]),
            a.get("clip"),
            bool(a.get("input_forget", 0)),
            bool(a.get("linear_before_reset", 0)),
        )
        bias = wide["B"][d] if "B" in wide else np.zeros(2 * rows)
        peepholes = wide["P"][d].reshape(3, H) if "P" in wide else np.zeros((3, H))
        weights = _recurrence.Weights(wide["W"][d], wide["R"][d], bias[:rows], bias[rows:], peepholes)
        zeros = np.zeros((len(reverse), B, H))
        named = ["initial_h", "initial_c"][: 2 if problem.op == "LSTM" else 1]
        states = tuple(wide.get(name, zeros)[d] for name in named)
        with np.errstate(over="ignore"):
            y, final = _recurrence.run(cell, weights, wide["X"], states, lengths, backwards)
        ys.append(y)
        finals.append(final)
    y, states = np.stack(ys, 1), [np.stack(parts) for parts in zip(*finals, strict=True)]
    return [y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in states)] if layout else [y, *states]
