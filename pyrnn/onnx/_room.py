"""A limit to what a model may ask for, so that a small file cannot fill the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DEFAULT = 1 << 28  # numbers: 1 GB of float32

_limit: ContextVar[int] = ContextVar("limit", default=DEFAULT)


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Within the block, `check_room` allows `size` numbers."""
    token = _limit.set(size)
    try:
        yield
    finally:
        _limit.reset(token)


def check_room(shape: tuple[int, ...]) -> None:
    """Refuse a shape that is larger than the limit, before it is allocated.

    Raises
    ------
    ValueError
        It is.
    """
    if math.prod(shape) > _limit.get():
        raise ValueError(f"the result has the shape {shape}, more numbers than max_elements, {_limit.get()}")
