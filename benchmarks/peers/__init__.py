"""The peers, each optional. To add one: a file with a subclass of `Peer`, and a line in `_CLASSES`."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from .base import Peer, Run
from .jax_scan import Jax
from .numpy_plain import NumPy
from .numpy_reference import NumpyReference
from .onnx_runtime import OnnxRuntime, OnnxRuntimeBound
from .openvino_native import OpenVino
from .ours import Pyrnn
from .pytorch import PyTorch

__all__ = ["Peer", "Run", "available", "known"]

_CLASSES: list[type[Peer]] = [
    Pyrnn,
    NumpyReference,
    NumPy,
    PyTorch,
    OnnxRuntime,
    OnnxRuntimeBound,
    OpenVino,
    Jax,
]


def known() -> list[str]:
    return [kind.name for kind in _CLASSES]


def _present(kind: type[Peer]) -> list[Peer]:
    try:
        return [kind()]
    except ImportError:
        if kind is Pyrnn:
            raise
        return []


@cache
def _importable() -> tuple[Peer, ...]:
    return tuple(peer for kind in _CLASSES for peer in _present(kind))


def available(names: Collection[str] | None = None) -> list[Peer]:
    """pyrnn first, then the peers that can be imported, of those in `names` if it is given."""
    return [p for p in _importable() if names is None or p.name in names or isinstance(p, Pyrnn)]
