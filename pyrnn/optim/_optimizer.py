"""What all optimizers share: all but their formulas."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .._joined import JoinedParameters
from .._layer import Layer
from .._parameters import NamedArrays, Parameters
from .._threads import get_num_threads
from ._read import Grads, mappings, matched, names_match, number, parameters, step_count

Rate = float | Callable[[int], float]

SLOTS = ("m", "v", "velocity")  # what a rule may keep for each parameter, in the order of pyrnn_parameter


class Rule(NamedTuple):
    """What a step multiplies by, in the order of `_core.update`."""

    step: int
    lr: float
    weight_decay: float
    momentum: float = 0.0
    eps: float = 0.0
    decay: tuple[float, float] = (0.0, 0.0)
    nesterov: bool = False
    decoupled: bool = False


class Optimizer(ABC):
    """Base class of the optimizers: moves the parameters of layers, in place, step by step.

    Not made itself, but `SGD`, `RMSprop`, `Adam` or `AdamW`; it is here to type against.
    """

    _kind: ClassVar[int]

    def __init__(self, layers: Layer | Sequence[Layer], lr: Rate, slots: Sequence[str]) -> None:
        self._single = isinstance(layers, Layer)
        self._params = parameters(layers)
        self._state = {slot: [_zeros_like(params) for params in self._params] for slot in slots}
        self._steps = 0
        self.lr = lr

    @property
    def lr(self) -> float:
        """Learning rate of the next step; may be set at any time, to a number or a schedule."""
        return self._rate(self._lr)

    @lr.setter
    def lr(self, value: Rate) -> None:
        rate = self._rate(value)
        self._lr = value if callable(value) else rate

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return self._steps

    def step(self, grads: Grads | Sequence[Grads]) -> None:
        """Move every parameter by one step.

        Parameters
        ----------
        grads : mapping of str to ndarray, or sequence of them
            The gradients that `pull` returned: one mapping for one layer, a sequence in the order of
            the layers for several. Not written to.

        Raises
        ------
        TypeError
            `grads` is of another type, or a gradient is not an array of real numbers.
        ValueError
            Mappings or keys are missing or unexpected, or a shape is wrong; or a schedule's learning rate is
            not finite and at least 0. Nothing has been changed.
        """
        checked = self._check(grads)
        rule = self._rule(self._steps + 1, self.lr)
        with ExitStack() as writing:
            for arrays in self._arrays(checked, writing):
                _core.update(self._kind, rule, arrays, get_num_threads())
        self._steps += 1

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that a continued training needs, as a flat dict of arrays.

        Keys are `steps`, `lr` unless it is a schedule, the optimizer's other numbers by their names, and for
        each array that it keeps for a parameter of layer k ``"k.<array>.<parameter>"``: `m`, a running mean
        of the gradient, `v` of its square, `velocity`. numpy.savez and safetensors store such a dict as it
        is.
        """
        return {key: value.copy() for key, value in self._described().items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Continue from what `state_dict` returned, for layers with the same parameters.

        A schedule is not in it: give the optimizer the one that it had.

        Raises
        ------
        TypeError
            `state_dict` is no mapping, or a value is not real.
        ValueError
            A key is missing or unexpected, a shape is wrong, or a number out of range; or only one of this
            optimizer and the saved one has a schedule. Nothing has been changed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict must be a mapping, got {type(state_dict).__name__}")
        like = self._described()
        if "lr" in state_dict and "lr" not in like:
            raise ValueError("state_dict has an 'lr': saved without a schedule, it needs an lr without one")
        if "lr" in like and "lr" not in state_dict and "steps" in state_dict:
            raise ValueError("state_dict lacks 'lr': saved with a schedule, it needs the same one as lr")
        names_match(state_dict, like, "state_dict")
        steps = step_count(state_dict["steps"], "state_dict['steps']")
        new = matched(state_dict, like, "state_dict")
        lr: Rate = float(new["lr"]) if "lr" in new else self._lr
        self._rate(lr)
        self._set(**{name: new[name].tolist() for name in self._options()})
        self._lr, self._steps = lr, steps
        for slot, kept in self._state.items():
            for k, arrays in enumerate(kept):
                arrays.update({name: new[f"{k}.{slot}.{name}"] for name in arrays})

    # ---- what a subclass defines ----

    @abstractmethod
    def _options(self) -> dict[str, Any]:
        """The numbers besides `lr`, by the names of the constructor's arguments."""

    @abstractmethod
    def _set(self, *args: Any, **kwargs: Any) -> None:
        """Set all that `_options` returns, or raise and set none."""

    @abstractmethod
    def _rule(self, step: int, lr: float) -> Rule:
        """What the step multiplies by."""

    # ---- what the methods above are made of ----

    def _rate(self, lr: Rate) -> float:
        if callable(lr):
            return number(lr(self._steps), f"lr({self._steps})", 0.0, math.inf)
        return number(lr, "lr", 0.0, math.inf)

    def _described(self) -> dict[str, NDArray[Any]]:
        """What state_dict returns, not copied."""
        told = {"steps": self._steps} | ({} if callable(self._lr) else {"lr": self._lr}) | self._options()
        state = {name: np.array(value) for name, value in told.items()}
        for slot, kept in self._state.items():
            for k, arrays in enumerate(kept):
                state |= {f"{k}.{slot}.{name}": array for name, array in arrays.items()}
        return state

    def _check(self, grads: Grads | Sequence[Grads]) -> list[dict[str, NDArray[Any]]]:
        """Return the gradients of every layer, dense and in its dtype."""
        found = mappings(grads)
        if len(found) != len(self._params):
            raise ValueError(f"grads must be {len(self._params)} mappings, one a layer, got {len(found)}")
        checked = []
        for k, (params, own) in enumerate(zip(self._params, found, strict=True)):
            arrays = matched(own, params, "grads" if self._single else f"grads[{k}]")
            checked.append({name: _dense(array) for name, array in arrays.items()})
        return checked

    def _arrays(
        self, grads: list[dict[str, NDArray[Any]]], writing: ExitStack
    ) -> list[list[tuple[Any, ...]]]:
        """Each gradient with where its parameter and what is kept for it begin; a list for every dtype."""
        found: dict[np.dtype[Any], list[tuple[Any, ...]]] = {}
        for k, (params, own) in enumerate(zip(self._params, grads, strict=True)):
            kept = [self._state[slot][k]._leaves() if slot in self._state else None for slot in SLOTS]
            for i, (pattern, leaf) in enumerate(params._leaves()):
                p = writing.enter_context(leaf._write())
                state = [None if leaves is None else leaves[i][1]._flat for leaves in kept]
                entries = found.setdefault(leaf.dtype, [])
                for name, span in leaf._spans.items():
                    entries.append((span.start, own[pattern.format(name)], p, *state))
        return [entries for entries in found.values() if entries]

    def __repr__(self) -> str:
        size = sum(params.size for params in self._params)
        numbers = " ".join(f"{name}={value}" for name, value in ({"lr": self._lr} | self._options()).items())
        return f"<{type(self).__name__} {numbers}: {size} parameters, {self._steps} steps>"


def _zeros_like(params: NamedArrays) -> JoinedParameters:
    """Zeros with the names of `params`, in Parameters as those that its arrays live in."""
    return JoinedParameters(
        [
            (pattern, Parameters({name: array.shape for name, array in leaf.items()}, leaf.dtype))
            for pattern, leaf in params._leaves()
        ]
    )


def _dense(gradient: NDArray[Any]) -> NDArray[Any]:
    """One number after the other. What is read-only may be a view of parameters that are about to change."""
    flags = gradient.flags
    return gradient if flags.writeable and flags.c_contiguous and flags.aligned else gradient.copy("C")
