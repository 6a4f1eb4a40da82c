"""Checkpoints: a run in a file, which is the file of its best model, too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _files
from .._layer import Layer
from ..saving import RUN, describe

if TYPE_CHECKING:
    from ._run import Run

Array = NDArray[Any]
Path = str | os.PathLike[str]

CLIPS = ("clip_norm", "clip_value", "clip_adaptive")
NOW, OPTIMIZER = f"{RUN}now/", f"{RUN}optimizer/"


class Saved(NamedTuple):
    """What a checkpoint holds."""

    path: Path
    best: dict[str, Array]  # weights
    now: dict[str, Array]
    optimizer: dict[str, Array]
    run: dict[str, Any]


def write(path: Path, run: Run) -> None:
    """Write down a run between two epochs."""
    arrays: dict[str, Any] = dict(run.best.weights.arrays)
    arrays |= {NOW + name: array for name, array in run.model.params.items()}
    arrays |= {OPTIMIZER + name: array for name, array in run.optimizer.state_dict().items()}
    told = {
        "seed": run.seed,
        "same": _same(run),
        "history": run.history,
        "best": [run.best.value, run.best.epoch, run.best.waited],
    }
    _files.write(path, arrays, {"model": _described(run.model.model), "run": told})


def read(path: Path) -> Saved | None:
    """Read a checkpoint, None if there is none.

    Raises
    ------
    ValueError
        The file is damaged, or holds no run.
    """
    if not os.path.exists(path):
        return None
    arrays, document = _files.read(path)
    if "run" not in document:
        raise ValueError(f"checkpoint must be a file of fit, which {path} is not")
    now, optimizer = (
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in (NOW, OPTIMIZER)
    )
    best = {name: array for name, array in arrays.items() if not name.startswith(RUN)}
    return Saved(path, best, now, optimizer, document["run"])


def restore(saved: Saved, run: Run) -> None:
    """Take a run to where it was when it was written down.

    Raises
    ------
    ValueError
        The run is another one: its data, its model or its batches have changed.
    """
    for name, value in _same(run).items():
        if saved.run["same"].get(name) != value:
            before = saved.run["same"].get(name)
            raise ValueError(f"the run in {saved.path} had {name} {before!r}, this one has {value!r}")
    _check(saved.now, run.model.params, f"the model of {saved.path}")
    run.model.load(saved.now)
    run.optimizer.load_state_dict(saved.optimizer)
    for name, array in saved.best.items():
        np.copyto(run.best.weights.arrays[name], array)
    run.best.value, run.best.epoch, run.best.waited = saved.run["best"]
    run.history.update(saved.run["history"])
    run.history.best_epoch = run.best.epoch


def _same(run: Run) -> dict[str, Any]:
    """What makes the steps of a run, besides its model and optimizer, and must not change."""
    plan, data = run.plan, run.data
    return {
        "sequences": data.count,
        "steps": int(data.lengths.sum()),
        "batch_size": plan.batch_size,
        "shuffle": plan.shuffle,
        "bucket": plan.bucket,
        "tbptt": plan.tbptt,
        **{name: plan.clips[name][1] if name in plan.clips else None for name in CLIPS},
        "monitor": plan.monitor,
    }


def _described(model: Any) -> Any:
    """The architecture, if a file can say it."""
    if not isinstance(model, Layer):
        return None
    try:
        return describe(model)
    except (TypeError, ValueError):
        return None


def _check(found: Mapping[str, Array], like: Mapping[str, Array], what: str) -> None:
    shapes = {name: array.shape for name, array in found.items()}
    wanted = {name: np.shape(array) for name, array in like.items()}
    if shapes != wanted:
        raise ValueError(f"{what} has parameters {shapes}, this one has {wanted}")
