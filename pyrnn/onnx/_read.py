"""From a file to a graph in plain Python: nodes whose attributes are read, tensors that are arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _schema
from ._tensors import External, as_array, dtype_of

Array = NDArray[Any]
Shape = tuple["int | str | None", ...]

OLDEST, NEWEST = 7, 22  # opsets


@dataclass(frozen=True)
class Value:
    """An input or output of a model.

    Attributes
    ----------
    name : str
    dtype : dtype
    shape : tuple of int, str or None, or None
        A number is a size, a str the name of one that may vary, None one without a name; None for any shape.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape | None


@dataclass
class Node:
    """An operator in its place; `version` is the opset that its operator was last changed in."""

    op: str
    label: str  # what messages call it
    version: int
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    # Filled in once the inputs are known: dtypes, and arrays where they are constant.
    dtypes: list[np.dtype[Any] | None] = field(default_factory=list)
    constants: list[Array | None] = field(default_factory=list)


@dataclass
class Graph:
    """A model as the file has it."""

    inputs: list[Value]
    outputs: list[Value]
    constants: dict[str, Array]
    nodes: list[Node]


def partner() -> Any:
    """Return the package onnx.

    Raises
    ------
    ImportError
        It is not installed; the message says what to install.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'pyrnn.onnx needs the package onnx; install it with: pip install "pyrnn[onnx]"'
        ) from error
    return onnx


def read(source: Any) -> Graph:
    """Read a file, or an onnx.ModelProto.

    Raises
    ------
    TypeError
        `source` is neither a path nor a model.
    ValueError
        It is no model, or one that cannot be represented.
    OSError
        The file cannot be read.
    """
    onnx = partner()
    if isinstance(source, onnx.ModelProto):
        return _read_model(onnx, source, None)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"path must be a path or an onnx.ModelProto, got {type(source).__name__}")
    path = Path(source)
    content = path.read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # of protobuf, whose errors have no common base with ours
        raise ValueError(f"{path} is no ONNX model: {error}") from None
    if not model.opset_import and not model.graph.node:
        raise ValueError(f"{path} is no ONNX model: it has neither operators nor an opset")
    try:
        return _read_model(onnx, model, path)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_model(onnx: Any, model: Any, path: Path | None) -> Graph:
    opset = _opset(model)
    if model.functions:
        raise ValueError(
            f"functions are not supported, and the model has {_quote(f.name for f in model.functions)}"
        )
    graph, external = model.graph, External(None if path is None else path.parent)
    if graph.sparse_initializer:
        raise ValueError("sparse initializers are not supported")
    constants: dict[str, Array] = {}
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in constants:
            raise ValueError(f"initializers must have names of their own, got {tensor.name!r}")
        constants[tensor.name] = as_array(onnx, tensor, f"initializer {tensor.name!r}", external)
    # Files of the first versions list every initializer among the inputs.
    inputs = [_value(v, "input") for v in graph.input if v.name not in constants]
    outputs = [_value(v, "output", known=False) for v in graph.output]
    for kind, values in (("inputs", inputs), ("outputs", outputs)):
        if len({v.name for v in values}) < len(values):
            raise ValueError(f"{kind} must have names of their own, got {_quote(v.name for v in values)}")
    if not outputs:
        raise ValueError("the graph has no outputs")
    found = [(n.domain, n.op_type) for n in graph.node]
    if unknown := sorted({_schema.full_name(*pair) for pair in found if not _schema.is_known(*pair)}):
        raise ValueError(f"operators that are not supported: {', '.join(unknown)}")
    nodes = [_node(onnx, proto, i, opset, external) for i, proto in enumerate(graph.node)]
    return Graph(inputs, outputs, constants, nodes)


def _opset(model: Any) -> int:
    versions = {}
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            versions[""] = entry.version
    if not versions:
        raise ValueError("the model names no opset of the domain ai.onnx")
    if not OLDEST <= versions[""] <= NEWEST:
        raise ValueError(f"opset must be {OLDEST} to {NEWEST}, got {versions['']}")
    return int(versions[""])


def _node(onnx: Any, proto: Any, number: int, opset: int, external: External) -> Node:
    label = f"node {proto.name!r} ({proto.op_type})" if proto.name else f"node {number} ({proto.op_type})"
    given = {}
    for attribute in proto.attribute:
        if attribute.name in given or attribute.ref_attr_name:
            raise ValueError(f"{label}: attribute {attribute.name!r} is given twice or by reference")
        given[attribute.name] = _attribute(onnx, attribute, label, external)
    version, attributes = _schema.check(
        onnx, proto.op_type, opset, label, list(proto.input), list(proto.output), given
    )
    return Node(proto.op_type, label, version, list(proto.input), list(proto.output), attributes)


def _attribute(onnx: Any, proto: Any, label: str, external: External) -> tuple[int, Any]:
    """The type of an attribute and its value."""
    kind = onnx.AttributeProto
    where = f"{label}: attribute {proto.name!r}"
    if proto.type == kind.FLOAT:
        return proto.type, float(proto.f)
    if proto.type == kind.INT:
        return proto.type, int(proto.i)
    if proto.type == kind.STRING:
        return proto.type, _text(proto.s, where)
    if proto.type == kind.FLOATS:
        return proto.type, [float(f) for f in proto.floats]
    if proto.type == kind.INTS:
        return proto.type, [int(i) for i in proto.ints]
    if proto.type == kind.STRINGS:
        return proto.type, [_text(s, where) for s in proto.strings]
    if proto.type == kind.TENSOR:
        return proto.type, as_array(onnx, proto.t, where, external)
    raise ValueError(f"{where} has a type that is not supported, number {proto.type}")


def _text(value: bytes, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{where} must be text, got {value[:40]!r}") from None


def _value(proto: Any, kind: str, known: bool = True) -> Value:
    """`known` asks for a type, which outputs may leave to what computes them."""
    if not proto.name:
        raise ValueError(f"an {kind} has no name")
    where = f"{kind} {proto.name!r}"
    if not proto.type.HasField("tensor_type"):
        if known or proto.type.WhichOneof("value") is not None:
            raise ValueError(f"{where} must be a tensor")
        return Value(proto.name, np.dtype(np.float32), None)
    tensor = proto.type.tensor_type
    if not tensor.HasField("shape"):
        return Value(proto.name, dtype_of(tensor.elem_type, where), None)
    shape: list[int | str | None] = []
    for dim in tensor.shape.dim:
        if dim.HasField("dim_value"):
            if dim.dim_value < 0:
                raise ValueError(f"{where} has a side of {dim.dim_value}")
            shape.append(int(dim.dim_value))
        else:
            shape.append(dim.dim_param or None)
    return Value(proto.name, dtype_of(tensor.elem_type, where), tuple(shape))


def _quote(names: Any) -> str:
    return ", ".join(map(repr, names))
