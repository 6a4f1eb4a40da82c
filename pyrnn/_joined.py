"""The parameters of several layers as one mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._parameters import NamedArrays, Parameters


class JoinedParameters(NamedArrays):
    """Parameters of several layers under new names.

    The arrays stay in the layers: a write through this mapping is one through the layer's own, which counts
    it. So weights that a layer has packed are known to be stale, whoever wrote to them.

    Parameters
    ----------
    parts : sequence of (str, NamedArrays)
        What is joined, each with a pattern of the new names that has braces in the place of the old one:
        ``("0.{}", layer.params)``. The names that result must differ, and no parameters come twice.
    """

    def __init__(self, parts: Sequence[tuple[str, NamedArrays]]) -> None:
        self._parts = [
            (pattern.format(inner), leaf) for pattern, part in parts for inner, leaf in part._leaves()
        ]
        self._homes = {pattern.format(name): (leaf, name) for pattern, leaf in self._parts for name in leaf}

    @property
    def version(self) -> int:
        """A number that grows with every write to any of the layers."""
        return sum(leaf.version for _, leaf in self._parts)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The widest dtype of the arrays."""
        return np.result_type(*(leaf.dtype for _, leaf in self._parts))

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            leaf, inner = self._homes[name]
        except KeyError:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self._homes) or 'none'}") from None
        return leaf[inner]

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __repr__(self) -> str:
        return f"JoinedParameters({ {name: array.shape for name, array in self.items()} })"

    def _convert(self, name: str, value: ArrayLike, label: str) -> NDArray[Any]:
        leaf, inner = self._homes[name]
        array = leaf._convert(inner, value, label)
        shared = any(np.may_share_memory(array, other.flat) for _, other in self._parts)
        return array.copy() if shared else array

    def _store(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for pattern, leaf in self._parts:
            own = {name: arrays[new] for name in leaf if (new := pattern.format(name)) in arrays}
            if own:
                leaf._store(own)

    def _leaves(self) -> list[tuple[str, Parameters]]:
        return self._parts
