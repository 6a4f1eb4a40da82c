"""What a loss is: a function that returns a number and the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol

from numpy.typing import NDArray

P = ParamSpec("P")


class Pull(Protocol):
    """The way back from a loss."""

    def __call__(self, dloss: float = 1.0) -> NDArray[Any]:
        """Return the gradient with respect to the predictions, a new array, times `dloss`."""


class Loss(Generic[P]):
    """A loss function with its `vjp`: ``loss(...)`` is the number, ``loss.vjp(...)`` the number and `pull`.

    Made by decorating a function that returns both.
    """

    def __init__(self, vjp: Callable[P, tuple[float, Pull]]) -> None:
        functools.update_wrapper(self, vjp)
        self.vjp = vjp

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> float:
        """Return the loss."""
        return self.vjp(*args, **kwargs)[0]

    def __repr__(self) -> str:
        return f"<loss {self.__module__}.{self.__name__}>"  # type: ignore[attr-defined]

    def __reduce__(self) -> str:
        return self.__qualname__  # type: ignore[attr-defined,no-any-return]
