"""What ONNX says of an operator: its inputs, outputs, attributes and types, from the package onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._tensors import TYPE_NAMES, dtype_of

if TYPE_CHECKING:
    from ._read import Node

DTYPES: dict[str, np.dtype[Any]] = {name: dtype for dtype, name in TYPE_NAMES.items()}

FLOAT: np.dtype[Any] = np.dtype(np.float32)
INT: np.dtype[Any] = np.dtype(np.int64)
KINDS = {"value_float": FLOAT, "value_floats": FLOAT, "value_int": INT, "value_ints": INT}


def full_name(domain: str, op: str) -> str:
    """Return the name of an operator with its domain, unless that is ONNX's own."""
    return op if domain in ("", "ai.onnx") else f"{domain}.{op}"


def is_known(domain: str, op: str) -> bool:
    """Whether an operator is supported."""
    from ._operators import OPERATORS

    return domain in ("", "ai.onnx") and op in OPERATORS


def check(
    onnx: Any,
    op: str,
    opset: int,
    label: str,
    inputs: list[str],
    outputs: list[str],
    given: dict[str, tuple[int, Any]],
) -> tuple[int, dict[str, Any]]:
    """Check a node's inputs, outputs and attributes.

    Returns
    -------
    version : int
        The opset that the operator was last changed in.
    attributes : dict
        Values of all attributes that are given or have a default.

    Raises
    ------
    ValueError
        The operator is not in this opset, or the node does not fit it.
    """
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        raise ValueError(f"{label}: opset {opset} has no operator {op}") from None
    if schema.deprecated:
        raise ValueError(f"{label}: opset {opset} has no operator {op} any more")
    for kind, names, least, most in (
        ("inputs", inputs, schema.min_input, schema.max_input),
        ("outputs", outputs, schema.min_output, schema.max_output),
    ):
        if not least <= len(names) <= most:
            raise ValueError(f"{label} must have {least} to {most} {kind}, got {len(names)}")
    for i, name in enumerate(inputs):
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        if not name and formal.option != onnx.defs.OpSchema.FormalParameterOption.Optional:
            raise ValueError(f"{label} has no input {formal.name}")
    attributes = {}
    for name, (number, value) in given.items():
        if name not in schema.attributes:
            raise ValueError(f"{label}: in opset {opset} there is no attribute {name!r}")
        if number != int(schema.attributes[name].type):
            raise ValueError(f"{label}: attribute {name!r} has the wrong type")
        attributes[name] = value
    for name, attribute in schema.attributes.items():
        if name in given:
            continue
        if attribute.required:
            raise ValueError(f"{label} has no attribute {name!r}")
        default = attribute.default_value
        if default.name and name != "activations":  # whose default has two, whatever the direction
            value = onnx.helper.get_attribute_value(default)
            attributes[name] = value.decode() if isinstance(value, bytes) else value
    return int(schema.since_version), attributes


def output_dtypes(onnx: Any, node: Node) -> list[np.dtype[Any] | None]:
    """Check the dtypes of a node's inputs and return those of its outputs.

    Raises
    ------
    ValueError
        An input has a dtype that the operator does not take, or not that of another.
    """
    schema = onnx.defs.get_schema(node.op, node.version, "")
    bound: dict[str, np.dtype[Any]] = {}
    for i, dtype in enumerate(node.dtypes):
        if dtype is None:
            continue
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        if TYPE_NAMES[dtype] not in formal.types:
            raise ValueError(f"{node.label}: input {formal.name} cannot have the dtype {dtype}")
        if bound.setdefault(formal.type_str, dtype) != dtype:
            wanted = bound[formal.type_str]
            raise ValueError(f"{node.label}: input {formal.name} must be {wanted} as others, got {dtype}")
    told = _told(node)
    found: list[np.dtype[Any] | None] = []
    for i, name in enumerate(node.outputs):
        formal = schema.outputs[min(i, len(schema.outputs) - 1)]
        if not name:
            found.append(None)
        elif told is not None and not (node.op == "LayerNormalization" and i == 0):
            found.append(told)
        elif formal.type_str in bound:
            found.append(bound[formal.type_str])
        else:
            (type_name,) = formal.types  # Shape's int64, Equal's bool
            found.append(DTYPES[str(type_name)])
    return found


def _told(node: Node) -> np.dtype[Any] | None:
    """The dtype of outputs that an attribute decides."""
    attributes: dict[str, Any] = node.attributes
    if node.op == "Cast":
        return dtype_of(attributes["to"], f"{node.label}: attribute 'to'")
    if node.op == "LayerNormalization":
        return dtype_of(attributes["stash_type"], f"{node.label}: attribute 'stash_type'")
    if node.op == "ConstantOfShape":
        value = attributes.get("value")
        return np.dtype(np.float32 if value is None else value.dtype)
    if node.op != "Constant":
        return None
    if len(attributes) != 1:
        raise ValueError(f"{node.label} must have one attribute, got {', '.join(attributes) or 'none'}")
    ((name, value),) = attributes.items()
    if name == "value":
        dtype: np.dtype[Any] = value.dtype
        return dtype
    if name not in KINDS:
        raise ValueError(f"{node.label}: attribute {name!r} is not supported")
    return KINDS[name]
