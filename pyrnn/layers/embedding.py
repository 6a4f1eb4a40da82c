"""The look-up table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check
from .._layer import Gradients, Layer, as_size
from .._parameters import as_array
from .._random import as_generator


class Embedding(Layer):
    """Look-up table: ``y = weight[x]``.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Number and length of the vectors, at least 1.
    padding_idx : int, optional
        A row that starts as zeros and whose gradient is zero, so that training leaves it alone; negative
        counts from the end.
    dtype : float32 or float64, default float32
        The dtype of parameters and outputs.
    rng : None, int or numpy.random.Generator
        Source of the initial values: standard normal, as PyTorch draws them.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameter: `weight` (num_embeddings, embedding_dim).

    Examples
    --------
    >>> layer = Embedding(10, 4, rng=0)
    >>> layer([[1, 2, 3], [4, 5, 6]]).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.num_embeddings = as_size(num_embeddings, "num_embeddings")
        self.embedding_dim = as_size(embedding_dim, "embedding_dim")
        self.padding_idx = None if padding_idx is None else _row(padding_idx, self.num_embeddings)
        super().__init__({"weight": (self.num_embeddings, self.embedding_dim)}, dtype)
        weight = as_generator(rng).standard_normal((self.num_embeddings, self.embedding_dim))
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0
        self.params["weight"] = weight

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Look up `x`, integers of any shape; one more axis, the last, holds the vectors.

        Raises
        ------
        TypeError
            `x` is not an array of integers.
        ValueError
            An index is negative or not below num_embeddings.
        """
        return self.params["weight"].take(self._input(x), axis=0)

    def vjp(self, x: ArrayLike) -> tuple[NDArray[Any], Callable[[ArrayLike], tuple[None, Gradients]]]:
        """Look up `x` and return the way back.

        Parameters
        ----------
        x : array_like of int, any shape
            Not copied: leave it unchanged until `pull`.

        Returns
        -------
        y : ndarray, shape of `x` + (embedding_dim,)
        pull : callable
            ``pull(dy) -> None, grads``: indices have no gradient.

        Raises
        ------
        TypeError, ValueError
            As for a call; from `pull`, if `dy` is not real or has not the shape of `y`.
        """
        indices = self._input(x)
        shape = (*indices.shape, self.embedding_dim)

        def pull(dy: ArrayLike) -> tuple[None, Gradients]:
            dy = _check.shaped(dy, self.dtype, "dy", shape)
            weight = _scatter_add(indices.ravel(), dy.reshape(-1, self.embedding_dim), self.num_embeddings)
            if self.padding_idx is not None:
                weight[self.padding_idx] = 0
            return None, {"weight": weight}

        return self.params["weight"].take(indices, axis=0), pull

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        indices = as_array(x, "x")
        if indices.dtype.kind not in "iu":
            raise TypeError(f"x must be an array of integers, got dtype {indices.dtype}")
        if indices.size and not 0 <= indices.min() <= indices.max() < self.num_embeddings:
            raise ValueError(
                f"x must lie between 0 and {self.num_embeddings - 1}, got {indices.min()} to {indices.max()}"
            )
        return indices.astype(np.intp, copy=False)

    def __repr__(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        dtype = "" if self.dtype == np.float32 else f", dtype=np.{self.dtype}"
        return f"Embedding({self.num_embeddings}, {self.embedding_dim}{padding}{dtype})"


def _row(padding_idx: int, count: int) -> int:
    if isinstance(padding_idx, (bool, np.bool_)) or not isinstance(padding_idx, (int, np.integer)):
        raise TypeError(f"padding_idx must be None or an integer, got {padding_idx!r}")
    if not -count <= padding_idx < count:
        raise ValueError(f"padding_idx must lie between {-count} and {count - 1}, got {padding_idx}")
    return int(padding_idx) % count


def _scatter_add(indices: NDArray[Any], rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Sum the rows that share an index: ``out[indices[k]] += rows[k]``.

    Sorting brings the rows of an index together, to be summed as one block. That is several times as fast as
    np.add.at, as fast as a product with a one-hot matrix even for 65 indices, and, unlike the product, keeps
    NaN in its row.
    """
    out = np.zeros((count, rows.shape[1]), rows.dtype)
    if count <= 1 << 16:
        indices = indices.astype(np.uint16)  # which NumPy sorts by radix, eight times as fast
    order = indices.argsort(kind="stable")  # stable: the additions keep the order of the input
    ordered, rows = indices[order], rows[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    stops = np.append(starts[1:], len(ordered))
    single = stops - starts == 1
    out[ordered[starts[single]]] = rows[starts[single]]
    for start, stop in zip(starts[~single].tolist(), stops[~single].tolist(), strict=True):
        rows[start:stop].sum(0, out=out[ordered[start]])
    return out
