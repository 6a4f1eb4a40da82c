"""Dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._layer import Gradients, Stateless
from .._parameters import as_floating
from .._random import as_generator, dropout_mask


class Dropout(Stateless):
    """Inverted dropout: in training, each number is zeroed with probability p or else scaled by 1 / (1 - p).

    Training is what calls `vjp`; a plain call is the identity.

    Parameters
    ----------
    p : float, default 0.5
        The probability of zeroing, 0 to 1.
    rng : None, int or numpy.random.Generator
        Source of the masks: None for fresh entropy, an int for a seed, a generator to draw from.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    There are no parameters, and the output has the dtype of the input. Layers with the same seed draw the
    same masks; so do deep copies and pickles, each with a generator of its own.

    References
    ----------
    Srivastava et al. 2014, JMLR 15:1929-1958; between recurrent layers: Zaremba et al. 2014, arXiv:1409.2329.

    Examples
    --------
    >>> layer = Dropout(0.5, rng=0)
    >>> y, pull = layer.vjp(np.ones(6))
    >>> y
    array([2., 2., 2., 0., 0., 0.])
    >>> pull(np.ones(6))
    (array([2., 2., 2., 0., 0., 0.]), {})
    >>> layer(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, rng: int | np.random.Generator | None = None) -> None:
        self.p = _check.fraction(p, "p")
        self._generator = as_generator(rng)
        super().__init__()

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Return `x`: the array itself if it is one in native byte order.

        Raises
        ------
        TypeError
            `x` is neither float32 nor float64.
        """
        return as_floating(x, "x")

    def vjp(
        self, x: ArrayLike, rng: int | np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Callable[[ArrayLike], tuple[NDArray[Any], Gradients]]]:
        """Drop some of the numbers and return the way back.

        Parameters
        ----------
        x : array_like, any shape, float32 or float64
        rng : None, int or numpy.random.Generator
            Source of the mask; None goes on with the generator that the layer was made with.

        Returns
        -------
        y : ndarray, shape and dtype of `x`
            A new array, whatever p is.
        pull : callable
            ``pull(dy) -> dx, {}``: dy where x was kept, scaled alike.

        Raises
        ------
        TypeError, ValueError
            `x` is neither float32 nor float64, `rng` is no source of numbers, or, from `pull`, `dy` is not
            real or has not the shape of `y`.
        """
        x = as_floating(x, "x")
        generator = self._generator if rng is None else as_generator(rng)
        mask = dropout_mask(self.p, x.shape, x.dtype, generator)

        def pull(dy: ArrayLike) -> tuple[NDArray[Any], Gradients]:
            dy = _check.shaped(dy, mask.dtype, "dy", mask.shape)
            return np.multiply(dy, mask, out=np.empty_like(mask)), {}

        return np.multiply(x, mask, out=np.empty_like(mask)), pull

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
