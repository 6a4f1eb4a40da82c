"""Tensors of a file as arrays, none larger than what the file holds."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

# onnx.TensorProto's numbers of the types that are supported.
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    11: np.dtype(np.float64),
}
TYPE_NAMES: dict[np.dtype[Any], str] = {
    np.dtype(np.float32): "tensor(float)",
    np.dtype(np.float64): "tensor(double)",
    np.dtype(np.int32): "tensor(int32)",
    np.dtype(np.int64): "tensor(int64)",
    np.dtype(np.bool_): "tensor(bool)",
}


def dtype_of(number: int, where: str) -> np.dtype[Any]:
    """Return the dtype of a type's number.

    Raises
    ------
    ValueError
        It is none that is supported.
    """
    if number not in DTYPES:
        import onnx

        known = number in onnx.TensorProto.DataType.values()
        name = onnx.TensorProto.DataType.Name(number) if known else f"number {number}"
        raise ValueError(f"{where} must be float32, float64, int32, int64 or bool, got the type {name}")
    return DTYPES[number]


class External:
    """Where tensors may lie outside the model's file: in files of its own folder, and nowhere else."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def read(self, entries: dict[str, str], size: int, where: str) -> bytes:
        """Return `size` bytes from the file, offset and length that `entries` name.

        Raises
        ------
        ValueError
            They lie outside the folder, or the file does not hold them.
        """
        location = entries.get("location", "")
        if self.folder is None:
            raise ValueError(f"{where} lies in another file, {location!r}, but the model comes from no file")
        relative = PurePosixPath(location)
        unsafe = not location or relative.is_absolute() or ".." in relative.parts or "\\" in location
        root = self.folder.resolve()
        path = root / location if not unsafe and "\0" not in location else root
        if unsafe or path == root or not path.resolve().is_relative_to(root):
            raise ValueError(f"{where} must lie in the folder of the model, got {location!r}")
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(size)))
        except ValueError:
            raise ValueError(f"{where}: offset and length must be integers, got {entries}") from None
        if offset < 0 or length != size:
            raise ValueError(f"{where} has {size} bytes, but the file says offset {offset}, length {length}")
        if not path.is_file() or path.stat().st_size < offset + length:
            raise ValueError(f"{where}: {location!r} does not hold {length} bytes from {offset} on")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def as_array(onnx: Any, tensor: Any, where: str, external: External) -> NDArray[Any]:
    """Return a TensorProto as an array that nobody can write to.

    Raises
    ------
    ValueError
        Its type is not supported, or it does not hold as many numbers as its shape says.
    """
    dtype = dtype_of(tensor.data_type, where)
    shape = tuple(int(n) for n in tensor.dims)
    if any(n < 0 for n in shape):
        raise ValueError(f"{where} has the shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    if tensor.HasField("segment"):
        raise ValueError(f"{where} is stored in segments, which are not supported")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        array = _from_bytes(external.read(entries, size, where), dtype, shape, where)
    elif tensor.HasField("raw_data"):
        array = _from_bytes(tensor.raw_data, dtype, shape, where)
    else:
        numbers = {1: "float_data", 11: "double_data", 7: "int64_data"}.get(tensor.data_type, "int32_data")
        found = getattr(tensor, numbers)
        if len(found) != math.prod(shape):
            raise ValueError(f"{where} has the shape {shape}, but {len(found)} numbers")
        array = np.array(found, dtype).reshape(shape)
    array.setflags(write=False)
    return array


def _from_bytes(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> NDArray[Any]:
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{where} has the shape {shape} of {dtype}, but {len(data)} bytes")
    if dtype == np.bool_:  # any other byte would be a bool that is neither
        return np.frombuffer(data, np.uint8).astype(bool).reshape(shape)
    # A copy: bytes start anywhere, kernels read numbers where they are aligned.
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
