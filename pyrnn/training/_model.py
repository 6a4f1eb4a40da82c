"""How training sees a model: anything that keeps the protocol of the layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._parameters import NamedArrays
from ._data import Batch

Array = NDArray[Any]


class Model:
    """A model that can be called, pulled from, and put back to weights it has had.

    Parameters
    ----------
    model : object
        With ``params``, a call and ``vjp``, as `fit` describes them.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        for name in ("__call__", "vjp", "params"):
            if not hasattr(model, name):
                raise TypeError(f"model must have {name!r}, as the layers have; got {model!r}")
        if not isinstance(model.params, Mapping):
            got = type(model.params).__name__
            raise TypeError(f"model.params must be a mapping of names to arrays, got {got}")
        self.draws = _takes(model.vjp, "rng")

    @property
    def params(self) -> Mapping[str, Array]:
        """The parameters, as they are now."""
        params: Mapping[str, Array] = self.model.params
        return params

    def predict(self, batch: Batch) -> Array:
        """The output of a plain call, without a state."""
        return _output(self.model(batch.x, **_options(batch)))

    def vjp(self, batch: Batch, rng: np.random.Generator | None) -> tuple[Array, Callable[[Array], Any]]:
        """The output in training, without a state, and the way from its gradient to the parameters'."""
        options = _options(batch)
        if rng is not None:
            options["rng"] = rng
        found, pull = self.model.vjp(batch.x, **options)

        def grads(dy: Array) -> Any:
            pulled = pull(dy)
            return pulled[-1] if isinstance(pulled, tuple) else pulled

        return _output(found), grads

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Set the parameters, in place where they are the user's own arrays."""
        params = self.params
        if isinstance(params, NamedArrays):
            params.update(arrays)
            return
        for name, array in arrays.items():
            np.copyto(params[name], array)

    def is_finite(self) -> bool:
        """Whether no weight is infinite or NaN."""
        return all(bool(np.isfinite(array).all()) for array in self.params.values())


class Snapshot:
    """A copy of a model's weights, to go back to."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.arrays = {name: np.array(array) for name, array in model.params.items()}

    def take(self) -> None:
        """Copy the weights as they are now."""
        for name, array in self.model.params.items():
            np.copyto(self.arrays[name], array)

    def restore(self) -> None:
        """Put the weights back."""
        self.model.load(self.arrays)


def _output(found: Any) -> Array:
    return np.asarray(found[0] if isinstance(found, tuple) else found)


def _options(batch: Batch) -> dict[str, Any]:
    return {} if batch.lengths is None else {"lengths": batch.lengths}


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
