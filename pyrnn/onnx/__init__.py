"""Models in the ONNX format: `load` runs one in pyrnn's kernels, `save` writes a layer as one.

The package `onnx` reads and writes the format: ``pip install "pyrnn[onnx]"``.
"""

from ._model import Model, load
from ._read import Value
from ._save import save

__all__ = ["Model", "Value", "load", "save"]
