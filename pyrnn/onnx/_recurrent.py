"""The recurrent nodes: RNN, LSTM and GRU, in pyrnn's kernels wherever these compute what a node asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core, _registry, functional
from . import _activations, _recurrence

if TYPE_CHECKING:
    from ._read import Node

Array = NDArray[Any]
Output = tuple["Array | None", ...]

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
DEFAULT = {"RNN": ("Tanh",), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}
REVERSED = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
# The kernels' gates i f g o, i g o (coupled) and r z n among ONNX's i o f c and z r h; peepholes likewise.
ORDERS = {"rnn_tanh": [0], "rnn_relu": [0], "lstm": [0, 2, 3, 1], "lstm_coupled": [0, 3, 1]}
ORDERS |= {"gru": [1, 0, 2], "gru_before": [1, 0, 2]}
PEEPHOLES = {"lstm": [0, 2, 1], "lstm_coupled": [0, 1]}


class Plan(NamedTuple):
    """The attributes of a node."""

    cells: tuple[_recurrence.Cell, ...]  # one a direction
    reverse: tuple[bool, ...]
    hidden_size: int | None
    layout: int

    @property
    def op(self) -> str:
        """RNN, LSTM or GRU."""
        return self.cells[0].op


class Side(NamedTuple):
    """One direction, ready to run: packed for the kernels, or as it is for NumPy."""

    reverse: bool
    cell: _recurrence.Cell
    weights: _recurrence.Weights
    kernel: _registry.Cell | None = None
    options: _registry.Options = _registry.PLAIN
    packed: Array | None = None


def build(node: Node) -> Callable[..., Output]:
    """Return the function of a node; constant weights are packed here."""
    plan = read(node)
    fixed = node.constants
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    weights = [1, 2, 3, 7] if plan.op == "LSTM" else [1, 2, 3]
    given = [i for i in weights if i < len(node.inputs) and node.inputs[i]]
    sides = None
    if all(fixed[i] is not None for i in given):
        sides = prepare(plan, {names[i]: fixed[i] for i in given})

    def run(*arrays: Array | None) -> Output:
        inputs = dict(zip(names, arrays, strict=False))
        ready = sides
        if ready is None:
            ready = prepare(plan, {names[i]: inputs[names[i]] for i in given})
        x = inputs["X"]
        assert x is not None
        states = [inputs.get(name) for name in ("initial_h", "initial_c")][: 2 if plan.op == "LSTM" else 1]
        return forward(plan, ready, x, inputs.get("sequence_lens"), states)

    return run


def read(node: Node) -> Plan:
    """Read a node's attributes.

    Raises
    ------
    ValueError
        One has a value that ONNX does not give it.
    """
    a, op = node.attributes, node.op
    if a["direction"] not in REVERSED:
        raise ValueError(f"direction must be {', '.join(REVERSED)}, got {a['direction']!r}")
    reverse, count = REVERSED[a["direction"]], len(DEFAULT[op])
    names = a.get("activations") or list(DEFAULT[op]) * len(reverse)
    if len(names) != count * len(reverse):
        raise ValueError(f"activations must be {count * len(reverse)}, got {len(names)}")
    found = _activations.read(names, a.get("activation_alpha", []), a.get("activation_beta", []))
    clip = a.get("clip")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0, got {clip}")
    for name in ("input_forget", "linear_before_reset", "layout"):
        if a.get(name, 0) not in (0, 1):
            raise ValueError(f"{name} must be 0 or 1, got {a[name]}")
    size = a.get("hidden_size")
    if size is not None and size < 1:
        raise ValueError(f"hidden_size must be at least 1, got {size}")
    told = clip, a.get("input_forget", 0) == 1, a.get("linear_before_reset", 0) == 1
    cells = tuple(
        _recurrence.Cell(op, tuple(found[d * count : (d + 1) * count]), *told) for d in range(len(reverse))
    )
    return Plan(cells, reverse, size, a.get("layout", 0))


def prepare(plan: Plan, arrays: Mapping[str, Array | None]) -> tuple[Side, ...]:
    """Check the weights of all directions, by ONNX's names, and pack them.

    Raises
    ------
    ValueError
        One has the wrong shape.
    """
    W, R, B, P = arrays["W"], arrays["R"], arrays.get("B"), arrays.get("P")
    assert W is not None and R is not None
    D, G = len(plan.reverse), GATES[plan.op]
    H = plan.hidden_size or R.shape[-1] if R.ndim == 3 else 0
    if H < 1 or R.shape != (D, G * H, H):
        raise ValueError(f"R must have shape ({D}, {G}*hidden_size, hidden_size), got {R.shape}")
    if W.ndim != 3 or W.shape[:2] != (D, G * H) or W.shape[2] < 1:
        raise ValueError(f"W must have shape ({D}, {G * H}, input_size), got {W.shape}")
    for name, array, size in (("B", B, 2 * G * H), ("P", P, 3 * H)):
        if array is not None and array.shape != (D, size):
            raise ValueError(f"{name} must have shape ({D}, {size}), got {array.shape}")
    sides = []
    for d, (cell, reverse) in enumerate(zip(plan.cells, plan.reverse, strict=True)):
        bias = np.zeros(2 * G * H, W.dtype) if B is None else B[d]
        peepholes = np.zeros((3, H), W.dtype) if P is None else P[d].reshape(3, H)
        weights = _recurrence.Weights(W[d], R[d], bias[: G * H], bias[G * H :], peepholes)
        sides.append(_packed(Side(reverse, cell, weights), P is not None))
    return tuple(sides)


def _packed(side: Side, peepholes: bool) -> Side:
    """The same, packed if the kernels compute it."""
    cell = side.cell
    inner = [activation.in_kernels() for activation in cell.activations]
    if cell.clip is not None or any(kernel is None for kernel in inner):
        return side
    known = [kernel for kernel in inner if kernel is not None]
    act = known[-1]
    if cell.op == "LSTM" and (known[1].name != act.name or act != _activations.Kernel(act.name)):
        return side  # the kernels have one activation for the candidate and the output
    name = {"LSTM": "lstm_coupled" if cell.input_forget else "lstm", "RNN": "rnn_tanh"}.get(cell.op)
    if name is None:
        name = "gru" if cell.linear_before_reset else "gru_before"
    gate = None if cell.op == "RNN" else known[0]
    if act.name == "relu" and cell.op == "RNN":
        name = "rnn_relu"
    kernel = _registry.REGISTRY[name]
    options = _registry.read_options(
        kernel,
        None if act.name == kernel_activation(name) else act.name,
        None if gate is None or gate.name == "sigmoid" else gate.name,
        peepholes,
        None,
        0.0,
    )
    order, candidate = ORDERS[name], {"LSTM": 3, "GRU": 2, "RNN": 0}[cell.op]
    inside = [known[min(1, len(known) - 1)] if g == candidate else known[0] for g in order]
    weights = _arranged(side.weights, order, inside, PEEPHOLES[name] if peepholes else None)
    packed = functional.pack(kernel, _core.FORWARD, weights, options)
    return side._replace(kernel=kernel, options=options, packed=packed)


def kernel_activation(name: str) -> str:
    """Return the activation that a cell of the kernels has by itself."""
    return "relu" if name == "rnn_relu" else "tanh"


def _arranged(
    weights: _recurrence.Weights,
    order: list[int],
    inside: list[_activations.Kernel],
    peepholes: list[int] | None,
) -> functional.Weights:
    """Weights in the kernels' order of gates, with the activations' scales and shifts in them."""
    H, dtype = weights.R.shape[1], weights.R.dtype
    scale = np.array([kernel.scale for kernel in inside])

    def blocks(array: Array, scales: Array, order: list[int]) -> Array:
        parts = array.reshape(-1, H, *array.shape[1:])[order]
        if not (scales == 1).all():
            parts = parts * scales.reshape(-1, *[1] * (parts.ndim - 1))
        return np.ascontiguousarray(parts.reshape(-1, *array.shape[1:]), dtype)

    b_ih = blocks(weights.Wb, scale, order)
    shift = np.repeat([kernel.shift for kernel in inside], H)
    if shift.any():
        b_ih = (b_ih + shift).astype(dtype)
    units = None
    if peepholes is not None:
        gates = np.array([inside[order.index(g)].scale for g in (0, 1, 2) if g in order])  # of i, o, f
        found = weights.P.astype(np.float64)
        found[: len(gates)] *= gates[:, np.newaxis]
        units = np.ascontiguousarray(found[peepholes], dtype)
    w_ih, w_hh = blocks(weights.W, scale, order), blocks(weights.R, scale, order)
    return functional.Weights(w_ih, w_hh, b_ih, blocks(weights.Rb, scale, order), units)


def forward(
    plan: Plan, sides: tuple[Side, ...], x: Array, sequence_lens: Array | None, initial: list[Array | None]
) -> Output:
    """Run a node on arrays whose dtypes fit: Y, Y_h and, of the LSTM, Y_c.

    Raises
    ------
    ValueError
        An array has the wrong shape, or `sequence_lens` a number that is no length.
    """
    inputs, H, D = sides[0].weights.W.shape[1], sides[0].weights.R.shape[1], len(sides)
    x = _check.strided(x, x.dtype, "X", (None, None, inputs))
    if plan.layout == 1:
        x = x.swapaxes(0, 1)
    T, B, _ = x.shape
    lengths = _check.lengths(sequence_lens, T, B)
    shape = (B, D, H) if plan.layout == 1 else (D, B, H)
    first = []
    for name, array in zip(("initial_h", "initial_c"), initial, strict=False):
        if array is None:
            first.append(np.zeros((D, B, H), x.dtype))
        elif array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
        else:
            first.append(np.ascontiguousarray(array.swapaxes(0, 1) if plan.layout == 1 else array))
    functional.check_size(_registry.REGISTRY["lstm"], x.dtype, (T, B, max(inputs, D * H)), H, "X")
    y = _core.empty((B, T, D, H) if plan.layout == 1 else (T, D, B, H), x.dtype)
    by_time = y.transpose(1, 2, 0, 3) if plan.layout == 1 else y  # (T, D, B, H)
    final = [np.empty((D, B, H), x.dtype) for _ in initial]
    for group in _groups(sides):
        _run_group(sides, group, x, lengths, first, by_time, final)
    return y, *(state.swapaxes(0, 1) if plan.layout == 1 else state for state in final)


def _groups(sides: tuple[Side, ...]) -> list[range]:
    """The directions that run side by side: those of one cell with one set of options."""
    if len(sides) == 2 and sides[0].kernel is not None and sides[0][3:5] == sides[1][3:5]:
        return [range(2)]
    return [range(d, d + 1) for d in range(len(sides))]


def _run_group(
    sides: tuple[Side, ...],
    group: range,
    x: Array,
    lengths: NDArray[np.int64] | None,
    first: list[Array],
    y: Array,
    final: list[Array],
) -> None:
    layers = []
    for d in group:
        side, states = sides[d], tuple(state[d] for state in first)
        if side.kernel is None or side.packed is None:
            y[:, d], last = _recurrence.run(side.cell, side.weights, x, states, lengths, side.reverse)
            for into, state in zip(final, last, strict=True):
                into[d] = state
            continue
        seq = functional.Sequence(x, states, lengths, None, side.reverse)
        layers.append(functional.Layer(side.packed, None, seq, y[:, d]))
    if layers:
        for d, ran in zip(group, functional.run(layers), strict=True):
            for into, state in zip(final, ran.state, strict=True):
                into[d] = state
