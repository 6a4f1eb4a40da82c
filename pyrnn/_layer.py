"""What every layer is: parameters, a call, and the way back."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._joined import JoinedParameters
from ._parameters import NamedArrays, Parameters

Gradients = dict[str, NDArray[Any]]


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """The same; of several calls, the outermost keeps its arguments: what it takes to make another layer."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        if self._made_with is None:
            with contextlib.suppress(TypeError):  # which init will raise
                bound = signature.bind(self, *args, **kwargs)
                bound.apply_defaults()
                _, *arguments = bound.arguments.items()
                self._made_with = {name: value for name, value in arguments if name != "rng"}
        init(self, *args, **kwargs)

    return recording


class Layer(ABC):
    """Base class of the layers: holds the parameters and nothing else.

    A subclass calls ``super().__init__`` with the names and shapes of its parameters, fills them, and defines
    two methods:

    - ``layer(x)`` computes the output;
    - ``layer.vjp(x)`` computes the same output and returns it with a function ``pull``, the vector-Jacobian
      product: ``pull(dy)`` takes the gradient of a scalar with respect to the output and returns those
      with respect to every input (None for one that has none, such as indices), and last a dict
      with the gradient of every parameter, with the keys of `params`.

    What `pull` needs is in its closure, and it works with the weights as they were in the forward pass: a
    layer can be called twice before the first `pull`, from two threads, or be updated in between. Inputs are
    not copied, so they must not be changed before `pull`. The arrays that `pull` returns are the caller's.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Names and shapes of the parameters.
    dtype : float32 or float64
        The dtype of parameters and outputs.
    """

    # What a subclass derives from the parameters at one version of them. Made anew in a copy, never pickled.
    _packed: Any = None

    # The arguments that the layer was made with, by name; None of one that was made without __init__.
    _made_with: dict[str, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    def _arguments(self) -> dict[str, Any]:
        """The arguments of the constructor, without `rng`, as they are now if they are attributes."""
        return {name: getattr(self, name, value) for name, value in (self._made_with or {}).items()}

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: DTypeLike) -> None:
        self._params = Parameters(shapes, dtype)

    @property
    def params(self) -> NamedArrays:
        """The parameters: a mapping of names to read-only live views, written by ``params[name] = value``."""
        return self._params

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters and outputs."""
        return self.params.dtype

    @abstractmethod
    def __call__(self, x: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        """Compute the output."""

    @abstractmethod
    def vjp(self, x: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        """Compute the output and the function that takes gradients back."""

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return a dict of writeable copies of the parameters, with PyTorch's names and layouts."""
        return self.params.copy()

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Set every parameter from a mapping such as `state_dict` returns; a PyTorch module's is one.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Exactly the keys of `params`; values (PyTorch tensors among them) of exactly the right shapes,
            real; they are cast to the dtype of the layer.

        Raises
        ------
        TypeError
            `state_dict` is no mapping, or holds something that is not an array of real numbers.
        ValueError
            Keys are missing or unexpected, or shapes are wrong. The message lists everything that is wrong,
            and no parameter has been changed.
        """
        self.params._assign(state_dict, "state_dict", complete=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


class Container(Layer):
    """Base class of the layers made of layers: their parameters are those of the parts, under new names.

    Parameters
    ----------
    parts : sequence of (str, Layer)
        The parts, each with a pattern of the new names that has braces in the place of the old one.
    """

    def __init__(self, parts: Sequence[tuple[str, Layer]]) -> None:
        self._layers = tuple(parts)
        self._joined = JoinedParameters([(pattern, layer.params) for pattern, layer in parts])

    @property
    def params(self) -> NamedArrays:
        """The parameters of all parts: a mapping as that of each, which it writes through."""
        return self._joined


class Stateless(Layer):
    """Base class of the layers without parameters; they keep the dtype of their input, float32 or float64."""

    def __init__(self) -> None:
        super().__init__({}, np.float32)

    @property
    def dtype(self) -> np.dtype[Any]:
        """There is none: AttributeError."""
        raise AttributeError(f"a layer {self!r} has no dtype of its own: it keeps that of its input")


def as_size(value: int, name: str) -> int:
    """Read a size: an integer of at least 1.

    Raises
    ------
    TypeError
        `value` is not an integer (bool included).
    ValueError
        It is below 1, or so large that no array could have it as a side.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    if value > sys.maxsize // 64:
        raise ValueError(f"{name} is too large: {value}")
    return int(value)
