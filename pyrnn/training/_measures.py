"""The loss and the metrics of a run, and their means over batches."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import losses, metrics
from ._data import Batch

Array = NDArray[Any]
Metric = Callable[..., float]


class Measures:
    """What is measured of predictions.

    Parameters
    ----------
    loss : str, Loss or functools.partial of one
        What is minimised.
    watched : sequence of (str or callable), or mapping of str to them
        What is only watched.
    """

    def __init__(self, loss: Any, watched: Sequence[Any] | Mapping[str, Any]) -> None:
        self.vjp, self._ignored = _read_loss(loss)
        self.metrics = _read_metrics(watched)

    def loss(self, y: Array, batch: Batch) -> tuple[float, Callable[[], Array]]:
        """The loss of predictions, and the way back to them."""
        value, pull = self.vjp(y, batch.y, **_options(batch))
        return float(value), pull

    def watch(self, y: Array, batch: Batch) -> dict[str, float]:
        """The metrics of predictions."""
        options = _options(batch)
        return {name: float(metric(y, batch.y, **options)) for name, metric in self.metrics.items()}

    def weight(self, batch: Batch, per_step: bool) -> float:
        """How much a batch counts in a mean over batches: its targets, by their weights."""
        assert batch.y is not None
        counted: Any = 1.0
        if batch.mask is not None:
            counted = batch.mask
        if self._ignored is not None:
            counted = counted * (batch.y != self._ignored)
        if batch.sample_weight is not None:
            counted = counted * batch.sample_weight
        positions = batch.y.shape[:2] if per_step else batch.y.shape[:1]
        if isinstance(counted, float):
            return float(np.prod(positions))
        return float(np.broadcast_to(counted, np.broadcast_shapes(positions, counted.shape)).sum())


class Means:
    """Weighted means of numbers that come batch by batch."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.weight = 0.0

    def add(self, values: Mapping[str, float], weight: float) -> None:
        """Count the values of a batch."""
        self.weight += weight
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) + weight * value

    def means(self) -> dict[str, float]:
        """What they are so far; 0.0 if nothing has counted, as the losses have it."""
        return {name: total / (self.weight or 1.0) for name, total in self.totals.items()}


def _options(batch: Batch) -> dict[str, Any]:
    given = {"mask": batch.mask, "sample_weight": batch.sample_weight}
    return {name: value for name, value in given.items() if value is not None}


def _read_loss(loss: Any) -> tuple[Callable[..., tuple[float, Callable[[], Array]]], int | None]:
    """The vjp of a loss, and the target that it ignores."""
    options: dict[str, Any] = {}
    if isinstance(loss, functools.partial) and not loss.args:
        loss, options = loss.func, dict(loss.keywords)
    if isinstance(loss, str):
        if loss not in (named := _named_losses()):
            raise ValueError(f"loss must be one of {', '.join(named)}, or a Loss, got {loss!r}")
        loss = named[loss]
    if not hasattr(loss, "vjp"):
        raise TypeError(
            f"loss must be a name, a pyrnn.losses.Loss or a functools.partial of one, got {loss!r}"
        )
    return functools.partial(loss.vjp, **options), options.get("ignore_index")


def _named_losses() -> dict[str, Any]:
    public = {name: getattr(losses, name) for name in losses.__all__}
    return {name: found for name, found in public.items() if isinstance(found, losses.Loss)}


def _read_metrics(watched: Any) -> dict[str, Metric]:
    if isinstance(watched, str) or callable(watched):
        watched = [watched]
    if not isinstance(watched, (Mapping, Sequence)):
        raise TypeError(f"metrics must be names or functions, got {watched!r}")
    items = watched.items() if isinstance(watched, Mapping) else [(None, metric) for metric in watched]
    found: dict[str, Metric] = {}
    for given, metric in items:
        name, function = _read_metric(metric)
        name = given or name
        if name in found or name == "loss":
            raise ValueError(f"metrics must have names that differ and are not 'loss', got {name!r}")
        found[name] = function
    return found


def _read_metric(metric: Any) -> tuple[str, Metric]:
    known = {name: getattr(metrics, name) for name in metrics.__all__} | _named_losses()
    if isinstance(metric, str):
        if metric not in known:
            raise ValueError(f"metrics must be of {', '.join(known)}, or functions, got {metric!r}")
        return metric, known[metric]
    if not callable(metric) or inspect.isclass(metric):
        raise TypeError(f"metrics must be names or functions, got {metric!r}")
    inner = metric.func if isinstance(metric, functools.partial) else metric
    return getattr(inner, "__name__", type(inner).__name__), metric
