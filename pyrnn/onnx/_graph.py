"""A graph of ONNX in the making."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._tensors import DTYPES

Array = NDArray[Any]
Shape = tuple["int | str", ...]

OPSET, IR_VERSION = 17, 8  # the first opset with LayerNormalization, and the format's version of its time
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


class Tensor(NamedTuple):
    """What a node computes, or an input: sides that may vary have names."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape


class Writer:
    """Collects nodes, constants, inputs and outputs, and makes a model of them.

    Attributes
    ----------
    lengths : Tensor or None
        The input that says how many steps each sequence has.
    """

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.lengths: Tensor | None = None
        self.uses_lengths = False

    def input(self, name: str, dtype: Any, shape: Shape) -> Tensor:
        """Add an input."""
        tensor = Tensor(name, np.dtype(dtype), shape)
        self.inputs.append(self._info(tensor))
        return tensor

    def output(self, tensor: Tensor, name: str) -> None:
        """Add an output."""
        self.nodes.append(self._onnx.helper.make_node("Identity", [tensor.name], [name]))
        self.outputs.append(self._info(tensor._replace(name=name)))

    def constant(self, value: Any, dtype: Any = None) -> Tensor:
        """Add a constant."""
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        name = f"c{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return Tensor(name, array.dtype, array.shape)

    def node(
        self, op: str, inputs: list[Tensor | None], shape: Shape, dtype: Any = None, **given: Any
    ) -> Tensor:
        """Add a node of one output that has the dtype of the first input, or another that is told."""
        first = inputs[0]
        assert first is not None
        return self.nodes_of(op, inputs, [shape], first.dtype if dtype is None else dtype, **given)[0]

    def nodes_of(
        self, op: str, inputs: list[Tensor | None], shapes: list[Shape], dtype: Any, **given: Any
    ) -> list[Tensor]:
        """Add a node of several outputs of one dtype."""
        number = len(self.nodes)
        found = [Tensor(f"{op}_{number}_{i}", np.dtype(dtype), shape) for i, shape in enumerate(shapes)]
        names = ["" if tensor is None else tensor.name for tensor in inputs]
        while names and not names[-1]:
            names.pop()
        self.nodes.append(self._onnx.helper.make_node(op, names, [tensor.name for tensor in found], **given))
        return found

    def told_lengths(self) -> Tensor:
        """Return `lengths` for a layer that reads them."""
        assert self.lengths is not None
        self.uses_lengths = True
        return self.lengths

    # ---- what the layers write in many places ----

    def cast(self, x: Tensor, dtype: Any) -> Tensor:
        """Another dtype."""
        if x.dtype == np.dtype(dtype):
            return x
        return self.node("Cast", [x], x.shape, dtype, to=NUMBERS[np.dtype(dtype)])

    def transpose(self, x: Tensor, *axes: int) -> Tensor:
        """Axes in another order."""
        return self.node("Transpose", [x], tuple(x.shape[axis] for axis in axes), perm=list(axes))

    def reshape(self, x: Tensor, shape: Shape, told: list[int]) -> Tensor:
        """Another shape, told as Reshape is told: 0 keeps a side, -1 is what remains."""
        return self.node("Reshape", [x, self.constant(told, np.int64)], shape)

    def affine(self, x: Tensor, weight: Array, bias: Array | None) -> Tensor:
        """Write ``x @ weight.T + bias``."""
        shape = (*x.shape[:-1], len(weight))
        y = self.node("MatMul", [x, self.constant(weight.T)], shape)
        return y if bias is None else self.node("Add", [y, self.constant(bias)], shape)

    def side(self, x: Tensor, axis: int) -> Tensor:
        """How long an axis is: a number."""
        (size,) = self.nodes_of("Shape", [x], [(1,)], np.int64, start=axis, end=axis + 1)
        return self.node("Squeeze", [size, self.constant([0], np.int64)], ())

    def count(self, x: Tensor, axis: int) -> Tensor:
        """0, 1, 2 and so on along an axis."""
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        return self.node("Range", [zero, self.side(x, axis), one], (x.shape[axis],))

    def unsqueeze(self, x: Tensor, *axes: int) -> Tensor:
        """New axes of one, each counted in the result."""
        shape = list(x.shape)
        for axis in axes:
            shape.insert(axis, 1)
        return self.node("Unsqueeze", [x, self.constant(axes, np.int64)], tuple(shape))

    def model(self) -> Any:
        """Return the onnx.ModelProto, which onnx.checker has looked at."""
        from .. import __version__

        helper = self._onnx.helper
        graph = helper.make_graph(self.nodes, "pyrnn", self.inputs, self.outputs, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="pyrnn",
            producer_version=__version__,
        )
        self._onnx.checker.check_model(model, full_check=True)
        return model

    def _info(self, tensor: Tensor) -> Any:
        number = NUMBERS[tensor.dtype]
        return self._onnx.helper.make_tensor_value_info(tensor.name, number, list(tensor.shape))
