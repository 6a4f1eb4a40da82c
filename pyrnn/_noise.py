"""What a recurrent layer may be told besides its sizes, and the noise that regularizes it in training.

Everything random is drawn once a call of `vjp`, before the steps run, and used on the way back again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check, _registry
from ._random import dropout_mask

Array = NDArray[Any]


def own_or_none(value: str, name: str, own: str) -> str | None:
    """Read an activation; None for the cell's own, which the kernels are fastest with."""
    return None if _check.choice(value, _registry.ACTIVATIONS, name) == own else value


class Extras(NamedTuple):
    """A layer's options, as its class takes them; the defaults are no option."""

    activation: str | None = None
    recurrent_activation: str | None = None
    peepholes: bool = False
    cell_clip: float | None = None
    zoneout: float | tuple[float, float] = 0.0
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0
    proj_size: int = 0

    def read(self, cell: _registry.Cell, hidden_size: int) -> _registry.Options:
        """Check them and return what the kernels are told."""
        for name in ("input_dropout", "recurrent_dropout", "weight_dropout"):
            _check.fraction(getattr(self, name), name)
        if self.weight_dropout and not cell.recurrent:
            raise ValueError(f"weight_dropout must be 0 for {cell.name}, which has no recurrent matrix")
        return _registry.read_options(
            cell,
            self.activation,
            self.recurrent_activation,
            _check.flag(self.peepholes, "peepholes"),
            self.cell_clip,
            self.zoneout,
            self.recurrent_dropout > 0,
            _check.index(self.proj_size, hidden_size, "proj_size"),
        )


class Noise(NamedTuple):
    """What one direction of one layer draws for a call; None for nothing."""

    x: Array | None  # (B, I), what every step's input is multiplied with
    h: Array | None  # (B, P), likewise the state that products read
    w_hh: Array | None  # as the recurrent weights
    seed: int  # of zoneout


QUIET = Noise(None, None, None, 0)


def draw(
    extras: Extras,
    options: _registry.Options,
    x: tuple[int, int],
    h: tuple[int, int],
    w_hh: tuple[int, int],
    dtype: np.dtype[Any],
    generator: np.random.Generator,
) -> Noise:
    """Draw the noise of one call; the arguments but the last two are shapes."""

    def mask(p: float, shape: tuple[int, int]) -> Array | None:
        return dropout_mask(p, shape, dtype, generator) if p else None

    return Noise(
        mask(extras.input_dropout, x),
        mask(extras.recurrent_dropout, h),
        mask(extras.weight_dropout, w_hh),
        int(generator.integers(2**63)) if any(options.zoneout) else 0,
    )
