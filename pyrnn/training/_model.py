"""How training sees a model: anything that keeps the protocol of the layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._layer import Layer
from .._parameters import NamedArrays
from ._data import Batch

Array = NDArray[Any]


class Model:
    """A model that can be called, pulled from, and put back to weights it has had.

    Parameters
    ----------
    model : object
        With ``params``, a call and ``vjp``, as `fit` describes them.
    carries : bool, default False
        Whether its state goes from a call to the next.
    """

    def __init__(self, model: Any, *, carries: bool = False) -> None:
        self.model, self.carries = model, carries
        for name in ("__call__", "vjp", "params"):
            if not hasattr(model, name):
                raise TypeError(f"model must have {name!r}, as the layers have; got {model!r}")
        if not isinstance(model.params, Mapping):
            got = type(model.params).__name__
            raise TypeError(f"model.params must be a mapping of names to arrays, got {got}")
        self.draws = _takes(model.vjp, "rng")
        if carries and not _takes(model.vjp, "state"):
            raise TypeError(f"tbptt needs a model whose vjp takes and returns a state, got {model!r}")
        if carries and _reads_backwards(model):
            raise ValueError(f"tbptt must be None for a model that reads backwards from the end: {model!r}")
        self._returns = {"return_state": True} if carries and _takes(model.vjp, "return_state") else {}

    @property
    def params(self) -> Mapping[str, Array]:
        """The parameters, as they are now."""
        params: Mapping[str, Array] = self.model.params
        return params

    def call(self, batch: Batch, state: Any = None) -> tuple[Array, Any]:
        """The output of a plain call, and the state after it."""
        return self._split(self.model(batch.x, **self._options(batch, state)))

    def vjp(
        self, batch: Batch, state: Any, rng: np.random.Generator | None
    ) -> tuple[Array, Any, Callable[[Array], Any]]:
        """Output and state in training, and the way from the output's gradient to the parameters'."""
        options = self._options(batch, state)
        if rng is not None:
            options["rng"] = rng
        found, pull = self.model.vjp(batch.x, **options)

        def grads(dy: Array) -> Any:
            pulled = pull(dy)
            return pulled[-1] if isinstance(pulled, tuple) else pulled

        return (*self._split(found), grads)

    def _options(self, batch: Batch, state: Any) -> dict[str, Any]:
        given = {"lengths": batch.lengths, "state": state}
        return {name: value for name, value in given.items() if value is not None} | self._returns

    def _split(self, found: Any) -> tuple[Array, Any]:
        y, state = found[:2] if isinstance(found, tuple) and len(found) > 1 else (found, None)
        return np.asarray(y), state if self.carries else None

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


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _reads_backwards(model: Any) -> bool:
    """Whether a layer, or one of a Sequential, begins at the end."""
    parts = model if isinstance(model, Layer) and isinstance(model, Iterable) else ()
    return bool(getattr(model, "bidirectional", False)) or any(map(_reads_backwards, parts))
