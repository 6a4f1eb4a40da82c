"""How the arguments of `fit` are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _check, _files, optim
from . import _checkpoint
from ._data import Data
from ._measures import Measures
from ._run import Callback, Clip


def split_off(
    data: Data, given: Sequence[Any] | None, split: float, axes: tuple[int, int | None], seed: int | None
) -> tuple[Data, Data | None]:
    """What is trained on, and what is validated with; the rows of a split are drawn if there is a seed."""
    share = _check.fraction(split, "validation_split")
    if given is not None:
        if share:
            raise ValueError(f"validation_split must be 0 if validation_data is given, got {split}")
        if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 4:
            raise TypeError("validation_data must be a tuple (x, y), (x, y, lengths) or with sample_weight")
        x, y, *more = given
        lengths, weights = [*more, None, None][:2]
        return data, Data(x, y, lengths, weights, axes)
    if not share:
        return data, None
    count = max(1, round(data.count * share))
    if count >= data.count:
        raise ValueError(f"validation_split must leave sequences to train on: {split} of {data.count}")
    order = np.arange(data.count) if seed is None else np.random.default_rng(seed).permutation(data.count)
    return data.subset(order[:-count]), data.subset(order[-count:])


def as_optimizer(optimizer: Any, model: Any) -> Any:
    if not isinstance(optimizer, str):
        if not hasattr(optimizer, "step"):
            raise TypeError(f"optimizer must be a name or have a method step, got {optimizer!r}")
        return optimizer
    kinds = [getattr(optim, name) for name in optim.__all__ if name != "Optimizer"]
    known = {kind.__name__.lower(): kind for kind in kinds if isinstance(kind, type)}
    if optimizer.lower() not in known:
        raise ValueError(f"optimizer must be one of {', '.join(sorted(known))}, got {optimizer!r}")
    return known[optimizer.lower()](model)


def as_clips(model: Any, **limits: float | None) -> dict[str, tuple[Clip, float]]:
    """What is to be done to the gradients, in that order."""

    def adaptive(grads: Any, limit: float) -> float:
        return optim.clip_grad_adaptive(model, grads, limit)

    known: dict[str, Clip] = {
        "clip_adaptive": adaptive,
        "clip_value": optim.clip_grad_value,
        "clip_norm": optim.clip_grad_norm,
    }
    given = {name: limits[name] for name in known if limits[name] is not None}
    return {name: (known[name], _check.positive(limit, name)) for name, limit in given.items()}


def monitored(monitor: str | None, measures: Measures, validated: bool) -> str:
    """Read `monitor`: which of the numbers of an epoch says how good it is."""
    names = ["loss", *measures.metrics]
    known = names + [f"val_{name}" for name in names] * validated
    return (
        known[len(names)]
        if monitor is None and validated
        else _check.choice(monitor or "loss", known, "monitor")
    )


def resumed(checkpoint: _checkpoint.Path | None, resume: bool, optimizer: Any) -> _checkpoint.Saved | None:
    """What is in the checkpoint, if there is one to go on from."""
    if checkpoint is None:
        if _check.flag(resume, "resume"):
            raise ValueError("checkpoint must say from which file to resume, got None")
        return None
    if not isinstance(optimizer, str) and not hasattr(optimizer, "load_state_dict"):
        raise TypeError(f"optimizer must have load_state_dict if there is a checkpoint, got {optimizer!r}")
    _files.safetensors()  # which is not to be missed after the first epoch, nor is the folder
    if not Path(checkpoint).parent.is_dir():
        raise FileNotFoundError(f"checkpoint must be in a folder that is there, got {checkpoint}")
    return _checkpoint.read(checkpoint) if _check.flag(resume, "resume") else None


def as_functions(value: Any, name: str) -> tuple[Callback, ...]:
    if not isinstance(value, Sequence) or not all(map(callable, value)):
        raise TypeError(f"{name} must be functions, got {value!r}")
    return tuple(value)


def is_max(mode: str) -> bool:
    return _check.choice(mode, ("min", "max"), "mode") == "max"


def as_count(value: object, name: str) -> int:
    number = _check.at_least_zero(value, name)
    if number != math.floor(number):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return int(number)
