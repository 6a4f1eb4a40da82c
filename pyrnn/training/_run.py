"""A run: the loop over epochs and batches, and all that it remembers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _checkpoint
from ._data import Batch, Data
from ._history import DivergenceError, History
from ._measures import Means, Measures
from ._model import Model, Snapshot
from ._progress import Progress

Callback = Callable[[int, Mapping[str, float]], Any]

Clip = Callable[[Any, float], float]

SHUFFLE, NOISE = 0, 1  # what the random numbers of an epoch are for


@dataclass(frozen=True)
class Plan:
    """How a run is to go: the arguments of `fit`, read."""

    epochs: int
    batch_size: int
    shuffle: bool
    bucket: bool
    clips: Mapping[str, tuple[Clip, float]]
    tbptt: int | None
    monitor: str
    maximise: bool
    patience: int | None
    min_delta: float
    restore_best: bool
    callbacks: Sequence[Callback]
    progress: bool | None
    checkpoint: _checkpoint.Path | None


class Best:
    """The best epoch so far by one number, its weights, and how long ago it was.

    Parameters
    ----------
    plan : Plan
    model : Model
        Whose weights are kept.
    """

    def __init__(self, plan: Plan, model: Model) -> None:
        self._plan = plan
        self.value = math.inf  # of what is monitored, with its sign turned if it is to be large
        self.epoch: int | None = None
        self.waited = 0
        # Two of them, so that the one in use is whole whenever Ctrl-C comes.
        self.weights, self._spare = Snapshot(model), Snapshot(model)

    def update(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Compare an epoch with the best before it, and keep its weights if it is better."""
        value = numbers[self._plan.monitor]
        value = -value if self._plan.maximise else value
        if self.epoch is None or value < self.value - self._plan.min_delta:
            self._spare.take()
            self.weights, self._spare = self._spare, self.weights
            self.value, self.epoch, self.waited = value, epoch, 0
        else:
            self.waited += 1

    def is_over(self) -> bool:
        """Whether patience has run out."""
        return self._plan.patience is not None and self.waited >= max(1, self._plan.patience)


class Run:
    """The training of one model.

    All random numbers are drawn from generators that the seed, the epoch and the step make, so that an epoch
    is the same whether the run has come to it or has been resumed there.
    """

    def __init__(
        self,
        plan: Plan,
        model: Model,
        optimizer: Any,
        measures: Measures,
        data: Data,
        validation: Data | None,
        seed: int,
    ) -> None:
        self.plan, self.model, self.optimizer, self.measures = plan, model, optimizer, measures
        self.data, self.validation, self.seed = data, validation, seed
        self.history = History()
        self.best = Best(plan, model)
        self.good = Snapshot(model)  # the weights that the latest finite loss was computed with
        self._stepping = False

    @property
    def steps(self) -> int:
        """How many steps an epoch has, where all sequences are of one length; else, at most."""
        batches = -(-self.data.count // self.plan.batch_size)
        longest = int(self.data.lengths.max())
        return batches * (1 if self.plan.tbptt is None else max(1, -(-longest // self.plan.tbptt)))

    def run(self) -> History:
        """Train to the end, to a reason to stop, or to Ctrl-C."""
        bar = Progress(self.plan.progress, self.plan.epochs, self.history.epochs, self.steps)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite ends the run anyway
                self._epochs(bar)
        except KeyboardInterrupt:
            self.history.stopped = "interrupted"
            if self._stepping:  # some of the weights may have moved, and others not
                self.good.restore()
        finally:
            bar.close()
        if self.plan.restore_best and self.best.epoch is not None:
            self.best.weights.restore()
        return self.history

    def _epochs(self, bar: Progress) -> None:
        for epoch in range(self.history.epochs, self.plan.epochs):
            if self.best.is_over():
                self.history.stopped = "patience"
                return
            bar.epoch(epoch)
            numbers = self._train(epoch, bar)
            self.end_epoch(epoch, numbers)
            bar.ended(numbers)
            answers = [callback(epoch, dict(numbers)) for callback in self.plan.callbacks]
            if True in answers:
                self.history.stopped = "callback"
                return

    def end_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Write down what an epoch has come to."""
        self.best.update(epoch, numbers)
        self.history.add(dict(numbers))
        self.history.best_epoch = self.best.epoch
        if self.plan.checkpoint is not None:
            _checkpoint.write(self.plan.checkpoint, self)

    def _train(self, epoch: int, bar: Progress) -> dict[str, float]:
        """Train on every batch once, and validate."""
        means, step = Means(), 0
        for rows in self._order(epoch):
            state = None
            for piece in self.data.pieces(self.data.take(rows), self.plan.tbptt):
                loss, state = self._step(epoch, step, piece, state, means)
                bar.step(loss)
                step += 1
        if not self.model.is_finite():
            self._diverged("a weight is infinite or NaN", epoch, step - 1)
        numbers = means.means()
        if self.validation is not None:
            sizes = self.plan.batch_size, self.plan.tbptt
            found = measure(self.model, self.validation, self.measures, *sizes)
            numbers |= {f"val_{name}": value for name, value in found.items()}
            if not math.isfinite(found["loss"]):
                self._diverged(f"val_loss is {found['loss']}", epoch, step - 1)
        return numbers

    def _order(self, epoch: int) -> Iterator[NDArray[np.intp] | slice]:
        if not self.plan.shuffle and not self.plan.bucket:
            return self.data.batches(self.plan.batch_size)
        rng = np.random.default_rng([self.seed, SHUFFLE, epoch])
        return self.data.shuffled(self.plan.batch_size, rng, bucket=self.plan.bucket)

    def _step(self, epoch: int, step: int, batch: Batch, state: Any, means: Means) -> tuple[float, Any]:
        """Train on one batch or a piece of it: its loss, and the state after it."""
        rng = np.random.default_rng([self.seed, NOISE, epoch, step]) if self.model.draws else None
        y, state, pull = self.model.vjp(batch, state, rng)
        loss, dloss = self.measures.loss(y, batch)
        if not math.isfinite(loss):
            self._diverged(f"the loss is {loss}", epoch, step)
        numbers = {"loss": loss} | self.measures.watch(y, batch)
        means.add(numbers, self.measures.weight(batch, self.data.per_step))
        grads = pull(dloss())
        self.good.take()
        if not all(math.isfinite(clip(grads, limit)) for clip, limit in self.plan.clips.values()):
            self._diverged("the gradient is infinite or NaN", epoch, step)
        self._stepping = True
        self.optimizer.step(grads)
        self._stepping = False
        return loss, state

    def _diverged(self, what: str, epoch: int, step: int) -> None:
        self.good.restore()
        raise DivergenceError(
            f"{what} at epoch {epoch}, step {step} (counted from 0); the model has the weights of the last "
            "step whose loss was finite",
            epoch,
            step,
            self.history,
        )


def measure(
    model: Model, data: Data, measures: Measures, batch_size: int, tbptt: int | None = None
) -> dict[str, float]:
    """Loss and metrics of a model on data, without training."""
    means = Means()
    for rows in data.batches(batch_size):
        state = None
        for piece in data.pieces(data.take(rows), tbptt):
            y, state = model.call(piece, state)
            numbers = {"loss": measures.loss(y, piece)[0]} | measures.watch(y, piece)
            means.add(numbers, measures.weight(piece, data.per_step))
    return means.means()
