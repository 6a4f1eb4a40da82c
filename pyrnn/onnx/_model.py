"""A graph, resolved once and then called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._layer import as_size
from .._parameters import as_array, as_real
from . import _room, _schema
from ._operators import OPERATORS, VIEWS
from ._read import Graph, Node, Value, partner, read

Array = NDArray[Any]

FOLDED = 1 << 24  # numbers that arrays made at load may have besides the file's; more are made in every call


class Step(NamedTuple):
    """A node in its turn; arrays are known by number, -1 for one that is not there."""

    label: str
    function: Callable[..., tuple[Array | None, ...]]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    drops: tuple[int, ...]  # what nobody reads after it


def load(path: Any, *, max_elements: int = _room.DEFAULT) -> Model:
    """Load a model in the ONNX format, to be called with NumPy arrays.

    Its RNN, LSTM and GRU nodes run in pyrnn's kernels where these have the activations that a node names, in
    NumPy otherwise; either way with all attributes: direction, activations, activation_alpha and
    activation_beta, clip, input_forget, linear_before_reset, layout, and all inputs.

    Parameters
    ----------
    path : str or os.PathLike
        The file, or an ``onnx.ModelProto``. Tensors may lie in other files of the same folder.
    max_elements : int, default 2**28
        How many numbers the arrays of a call may hold together: a small file can ask for any amount of
        memory.

    Returns
    -------
    Model

    Raises
    ------
    ImportError
        The package onnx is not installed.
    OSError
        The file cannot be read.
    TypeError
        `path` is neither a path nor a model, or `max_elements` no integer.
    ValueError
        The file holds no model, or one with an operator, opset (they are 7 to 22), dtype (float32, float64,
        int32, int64, bool) or attribute that is not supported, which the message names.

    Notes
    -----
    Operators: RNN, LSTM, GRU, Gemm, MatMul, Add, Mul, Sub, Div, Pow, Sqrt, Relu, Tanh, Sigmoid, Sin, Erf,
    Softmax, LogSoftmax, Gather, Transpose, Squeeze, Unsqueeze, Reshape, Concat, Slice, Split, Expand, Shape,
    Constant, ConstantOfShape, Cast, Identity, Dropout (in inference), LayerNormalization, ReduceMean,
    ReduceMax, Range, Where, Equal and Less.

    Where ONNX leaves something open: `clip` limits what the gates' activations are given, and not c, as in
    ONNX Runtime; a sequence of length 0 keeps its initial state.

    References
    ----------
    ONNX operators, https://onnx.ai/onnx/operators/.

    Examples
    --------
    >>> from onnx import TensorProto, helper
    >>> weights = [
    ...     helper.make_tensor("W", TensorProto.FLOAT, (1, 2, 3), np.full(6, 0.1)),
    ...     helper.make_tensor("R", TensorProto.FLOAT, (1, 2, 2), np.zeros(4)),
    ... ]
    >>> node = helper.make_node("RNN", ["x", "W", "R"], ["y", "h"], hidden_size=2)
    >>> x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("T", "B", 3))
    >>> h = helper.make_tensor_value_info("h", TensorProto.FLOAT, (1, "B", 2))
    >>> graph = helper.make_graph([node], "one layer", [x], [h], weights)
    >>> model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    >>> model(np.ones((5, 1, 3)))["h"].round(4)
    array([[[0.2913, 0.2913]]], dtype=float32)
    """
    return Model(read(path), as_size(max_elements, "max_elements"))


class Model:
    """A model in the ONNX format, as `load` returns it.

    Attributes
    ----------
    inputs, outputs : tuple of Value
        Their names, dtypes and shapes, in the order of the file.

    Notes
    -----
    Nodes are put in their order, constants computed and weights packed when the model is loaded. Calls keep
    nothing, and several threads may call at once.
    """

    def __init__(self, graph: Graph, max_elements: int) -> None:
        self._graph, self._max_elements = graph, max_elements
        self.inputs: tuple[Value, ...] = tuple(graph.inputs)
        with _room.limited(max_elements), np.errstate(all="ignore"):
            built = _Builder(graph)
        self._steps, self._constants, self._count = built.steps, built.constants, len(built.numbers)
        self._written = [(v.name, built.numbers[v.name], built.copies[v.name]) for v in graph.outputs]
        self.outputs: tuple[Value, ...] = tuple(
            Value(v.name, built.dtypes[v.name], v.shape) for v in graph.outputs
        )

    def __call__(self, *args: ArrayLike, **kwargs: ArrayLike) -> dict[str, Array]:
        """Run the model.

        Parameters
        ----------
        *args, **kwargs : array_like
            The inputs, in the order of `inputs` or by name. Real numbers are cast to a floating-point input's
            dtype; integers and booleans must be such.

        Returns
        -------
        dict of str to ndarray
            The outputs by name, in the order of `outputs`; the arrays are the caller's.

        Raises
        ------
        TypeError, ValueError
            An input is missing, unexpected, or of the wrong type or shape; or an operator refuses what it is
            given, which the message names.
        """
        arrays: list[Array | None] = [None] * self._count
        for number, array in self._constants:
            arrays[number] = array
        for number, array in enumerate(self._read(args, kwargs)):
            arrays[number] = array
        room, used = self._max_elements, 0
        with _room.limited(room), np.errstate(all="ignore"):
            for step in self._steps:
                found = _run(step, [None if i < 0 else arrays[i] for i in step.reads])
                for number, result in zip(step.writes, found, strict=False):
                    if number >= 0 and result is not None:
                        arrays[number] = result
                        used += result.size
                if used > room:
                    raise ValueError(f"{step.label}: the arrays hold more numbers than max_elements, {room}")
                for number in step.drops:
                    dropped = arrays[number]
                    used -= 0 if dropped is None else dropped.size
                    arrays[number] = None
        outputs = {}
        for name, number, copied in self._written:
            result = arrays[number]
            assert result is not None
            outputs[name] = result.copy() if copied else result
        return outputs

    def _read(self, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]) -> list[Array]:
        """The inputs, checked, in their order."""
        names = [value.name for value in self.inputs]
        if len(args) > len(names):
            raise TypeError(f"the model takes {len(names)} inputs, got {len(args)}")
        given = dict(zip(names, args, strict=False))
        if twice := [name for name in kwargs if name in given]:
            raise TypeError(f"inputs given twice: {', '.join(twice)}")
        given |= kwargs
        missing = [name for name in names if name not in given]
        unexpected = [name for name in given if name not in names]
        if missing or unexpected:
            raise TypeError(
                f"the inputs of the model are {_listed(names)}; missing: {_listed(missing)}; "
                f"unexpected: {_listed(unexpected)}"
            )
        return [_input(given[value.name], value) for value in self.inputs]

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self._graph, self._max_elements)

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(_shown, values)) for values in (self.inputs, self.outputs))
        return f"Model({inputs} -> {outputs})"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _shown(value: Value) -> str:
    shape = "..." if value.shape is None else ", ".join("?" if n is None else str(n) for n in value.shape)
    return f"{value.name}: {value.dtype} ({shape})"


def _input(given: ArrayLike, value: Value) -> Array:
    """Read one input."""
    if value.dtype.kind == "f":
        array = as_real(given, value.dtype, value.name)
    else:
        array = as_array(given, value.name)
        if array.dtype.kind not in ("b" if value.dtype.kind == "b" else "iu"):
            raise TypeError(f"{value.name} must have dtype {value.dtype}, got {array.dtype}")
        if array.size and value.dtype.kind == "i":
            limits = np.iinfo(value.dtype)
            if not limits.min <= array.min() <= array.max() <= limits.max:
                raise ValueError(
                    f"{value.name} must fit into {value.dtype}, got {array.min()} to {array.max()}"
                )
        array = array.astype(value.dtype, copy=False)
    shape = value.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(isinstance(n, int) and n != m for n, m in zip(shape, array.shape, strict=True))
    ):
        wanted = ", ".join("*" if n is None else str(n) for n in shape)
        raise ValueError(f"{value.name} must have shape ({wanted}), got {array.shape}")
    return array


def _run(step: Step, arrays: list[Array | None]) -> tuple[Array | None, ...]:
    try:
        return step.function(*arrays)
    except (ValueError, TypeError, IndexError, OverflowError, ArithmeticError) as error:
        raise ValueError(f"{step.label}: {error}") from error


class _Builder:
    """Puts the nodes in order, runs those that depend on constants alone, makes functions of the others."""

    def __init__(self, graph: Graph) -> None:
        self.known = dict(graph.constants)
        self.dtypes: dict[str, np.dtype[Any]] = {v.name: v.dtype for v in graph.inputs}
        self.dtypes |= {name: array.dtype for name, array in self.known.items()}
        self.numbers = {v.name: i for i, v in enumerate(graph.inputs)}
        self.room = FOLDED + 4 * sum(array.size for array in self.known.values())
        # Of every array: the one in whose memory it may lie.
        self.roots = {name: name for name in self.dtypes}
        wanted = [v.name for v in graph.outputs]
        live: list[tuple[Node, Callable[..., tuple[Array | None, ...]]]] = []
        for node in _in_order(graph, set(self.dtypes)):
            function = self._prepare(node)
            if function is not None:
                live.append((node, function))
        if missing := [name for name in wanted if name not in self.dtypes]:
            raise ValueError(f"nothing computes the outputs {', '.join(map(repr, missing))}")
        self.steps = self._steps(live, wanted)
        self.constants = [(i, self.known[name]) for name, i in self.numbers.items() if name in self.known]
        self.copies = self._copies(graph, wanted)

    def _prepare(self, node: Node) -> Callable[..., tuple[Array | None, ...]] | None:
        """The function of a node; None if it depends on constants alone and has been run."""
        node.dtypes = [self.dtypes[name] if name else None for name in node.inputs]
        node.constants = [self.known.get(name) for name in node.inputs]
        for name, dtype in zip(node.outputs, _schema.output_dtypes(partner(), node), strict=True):
            if dtype is not None:
                self.dtypes[name] = dtype
                self.roots[name] = name
        try:
            function = OPERATORS[node.op](node)
        except ValueError as error:
            raise ValueError(f"{node.label}: {error}") from error
        if node.op in VIEWS and node.inputs[0]:
            self.roots |= {name: self.roots[node.inputs[0]] for name in node.outputs if name}
        if any(name and name not in self.known for name in node.inputs):
            return function
        if sum(array.size for array in node.constants if array is not None) > self.room:
            return function
        with _room.limited(self.room):
            try:
                found = _run(Step(node.label, function, (), (), ()), list(node.constants))
            except ValueError:
                return function  # perhaps nothing needs it; or each call says what is wrong
        for name, array in zip(node.outputs, found, strict=False):
            if name and array is not None:
                if node.op not in VIEWS:
                    self.room -= array.size
                array.setflags(write=False)
                self.known[name] = array
        return None

    def _number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers)) if name else -1

    def _steps(self, live: list[tuple[Node, Any]], wanted: list[str]) -> list[Step]:
        """The nodes that an output needs, and what each is the last to read."""
        needed, chosen = set(wanted), []
        for node, function in reversed(live):
            if needed & set(node.outputs):
                needed |= {name for name in node.inputs if name}
                chosen.append((node, function))
        last: dict[str, int] = {}
        for i, (node, _) in enumerate(reversed(chosen)):
            last |= {name: i for name in (*node.inputs, *node.outputs) if name}
        given = set(self.numbers)
        steps = []
        for i, (node, function) in enumerate(reversed(chosen)):
            reads, writes = (tuple(map(self._number, names)) for names in (node.inputs, node.outputs))
            ended = {name for name in (*node.inputs, *node.outputs) if name and last[name] == i}
            ended -= {*wanted, *given, *self.known}
            steps.append(Step(node.label, function, reads, writes, tuple(sorted(map(self._number, ended)))))
        for name in wanted:
            self._number(name)
        return steps

    def _copies(self, graph: Graph, wanted: list[str]) -> dict[str, bool]:
        """Which outputs may lie in the memory of an input, of a constant or of another output."""
        outside = {v.name for v in graph.inputs} | set(self.known)
        taken: set[str] = set()
        expanded = {name for node in graph.nodes if node.op == "Expand" for name in node.outputs}
        copies = {}
        for name in wanted:
            root = self.roots[name]
            copies[name] = root in outside or root in taken or (bool(expanded) and root != name)
            taken.add(root)
        return {name: copies[name] or name in expanded for name in wanted}


def _in_order(graph: Graph, known: set[str]) -> list[Node]:
    """The nodes, each after those that compute its inputs."""
    makers: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name and (name in known or makers.setdefault(name, i) != i):
                raise ValueError(f"{node.label}: {name!r} has been computed or given before")
        if len({name for name in node.outputs if name}) < sum(1 for name in node.outputs if name):
            raise ValueError(f"{node.label}: its outputs must have names of their own")
    waits = [0] * len(graph.nodes)
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        for name in {name for name in node.inputs if name}:
            if name in known:
                continue
            if name not in makers:
                raise ValueError(f"{node.label}: nothing computes its input {name!r}")
            waits[i] += 1
            readers.setdefault(name, []).append(i)
    ready, order = [i for i, count in enumerate(waits) if not count][::-1], []
    while ready:
        node = graph.nodes[ready.pop()]
        order.append(node)
        for name in filter(None, node.outputs):
            for i in readers.get(name, ()):
                waits[i] -= 1
                if not waits[i]:
                    ready.append(i)
    if len(order) < len(graph.nodes):
        raise ValueError("the graph has a cycle")
    return order
