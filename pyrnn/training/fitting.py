"""`fit`, `predict` and `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._layer import as_size
from .._random import as_generator
from . import _checkpoint
from ._data import Axes, Data, read_axes
from ._history import History
from ._measures import Measures
from ._model import Model
from ._reading import as_clips, as_count, as_functions, as_optimizer, is_max, monitored, resumed, split_off
from ._run import Callback, Plan, Run, measure

Array = NDArray[Any]


def fit(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: Any,
    optimizer: Any = "adam",
    epochs: int = 1,
    batch_size: int = 32,
    lengths: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    batch_axis: Axes = None,
    validation_data: Sequence[Any] | None = None,
    validation_split: float = 0.0,
    shuffle: bool = True,
    bucket: bool = False,
    rng: int | np.random.Generator | None = None,
    metrics: Sequence[Any] | Mapping[str, Any] = (),
    clip_norm: float | None = None,
    clip_value: float | None = None,
    clip_adaptive: float | None = None,
    tbptt: int | None = None,
    monitor: str | None = None,
    mode: str | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    restore_best: bool | None = None,
    checkpoint: _checkpoint.Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> History:
    """Train a model on sequences.

    Parameters
    ----------
    model : Sequential, another layer, or a model of one's own
        What has ``params``, a mapping of names to arrays; a call ``model(x)``, or ``model(x,
        lengths=lengths)`` where lengths are given; and ``model.vjp(x)``, or with ``lengths=``, that returns
        the same output and ``pull``. ``pull(dy)`` returns the gradients that the optimizer takes, alone or
        last in a tuple. Of an output that is a tuple, as of a recurrent layer, only the first counts. If
        ``vjp`` takes ``rng``, it gets a generator for its dropout.
    x : array_like, shape (T, N, ...), or (N, T, ...); or list of N arrays (T_i, ...)
        N sequences. Of a list, those of a batch are padded with zeros to the longest, and unless all are
        of one length, the model is called with their `lengths`.
    y : array_like or list of N arrays
        Targets: for every sequence, (N, ...), or for every step, with the first two axes of `x` or as a
        list of arrays (T_i, ...).
    loss : str, Loss or functools.partial of one
        What is minimised: a name of `pyrnn.losses`, such as "cross_entropy", or what has its ``vjp``. For
        targets of every step it gets a `mask` of the steps that are there.
    optimizer : str or Optimizer, default "adam"
        What steps, such as ``Adam(model, lr=0.01)``; or the name of one, with its default step size.
    epochs : int, default 1
        How many times to go through the sequences. Of a run that is resumed: with those before.
    batch_size : int, default 32
        Sequences a step.
    lengths : array_like of int, shape (N,), optional
        Steps of each sequence of an array; what lies beyond them does not count.
    sample_weight : array_like, shape (N,), or (T, N) as the steps of `x`, optional
        How much each sequence or step counts.
    batch_axis : int or (int, int), optional
        The axis of the sequences in `x`, and in `y`. By default that of `x` is 0 for a model with
        ``batch_first``, a Sequential with such a layer, or one of layers that all know no time axis, and
        else 1, as the layers have it; that of `y` is the same where `y` has the first two axes of `x`, and
        else 0. For lists it says how the model wants their arrays.
    validation_data : tuple (x, y), (x, y, lengths) or (x, y, lengths, sample_weight), optional
        What is measured after every epoch, under names that begin with ``val_``.
    validation_split : float, default 0.0
        Share of the sequences that is validated with, and not trained on: drawn at random, or, without
        `shuffle`, the last ones.
    shuffle : bool, default True
        Whether every epoch has an order of its own.
    bucket : bool, default False
        Whether sequences of a batch are of like lengths, which saves steps that are only padding; the
        batches are in random order.
    rng : None, int or numpy.random.Generator
        Source of the orders, of the split and of dropout: None for fresh entropy, an int for a seed.
    metrics : sequence of (str or callable), or mapping of str to them
        What is watched: "accuracy", names of losses, or functions of predictions and targets that return a
        float, and take `mask` and `sample_weight` where there are such.
    clip_norm : float, optional
        The largest norm of the gradients; see `clip_grad_norm`.
    clip_value : float, optional
        The largest number in the gradients; see `clip_grad_value`.
    clip_adaptive : float, optional
        The largest ratio of a unit's gradient to its weights; see `clip_grad_adaptive`.
    tbptt : int, optional
        Truncated back-propagation through time: sequences are cut into pieces of so many steps, of which
        each makes a step of the optimizer, and goes on from the state that the one before it has left, but
        no gradient goes back to it. For targets of every step, and models whose ``vjp(x, state=state)``
        returns ``(y, state), pull``, as the recurrent layers and `Sequential` do. Memory grows with the steps
        of a piece, not of a sequence. Validation is cut alike, which changes nothing but its memory.
    monitor : str, optional
        The number that says which epoch is the best: ``val_loss`` if something is validated, else ``loss``.
    mode : {"min", "max"}, optional
        Which is better; "max" for accuracies, "min" for all else.
    patience : int, optional
        After how many epochs in a row that are no better than the best the run is stopped; None: never.
    min_delta : float, default 0.0
        How much better is better.
    restore_best : bool, optional
        Whether the model ends with the weights of the best epoch and not those of the last step; by default
        if something is validated, or `monitor` or `patience` is given.
    checkpoint : path-like, optional
        A file to which the run is written after every epoch, whole or not at all. `load` reads the best
        model from it.
    resume : bool, default False
        Whether to go on from `checkpoint` if it is there. The epochs before it are not run again, and the
        result has the same bits as if the run had never stopped, wherever that was. Model, optimizer, data
        and arguments must be those of the run; `epochs`, `patience`, `min_delta` and what else changes no
        step may differ.
    callbacks : sequence of callable, optional
        Called after every epoch with its number, from 0, and its numbers; one that returns True ends the run.
    progress : bool, optional
        Whether to show a bar; by default on a terminal if tqdm is installed.

    Returns
    -------
    History
        A dict of lists with the numbers of every epoch: "loss", the names of the metrics, and "val_loss" and
        so on. Those of training are means over the epoch, while the weights move. Ctrl-C ends the run as
        `patience` does, and what has been reached is returned.

    Raises
    ------
    DivergenceError
        A loss or a weight has become infinite or NaN. The model has the weights of the last step whose loss
        was finite.
    ImportError
        `progress` is True and tqdm is not installed, or `checkpoint` is given and safetensors is not.
    OSError
        The checkpoint cannot be written; what was there before is unchanged.
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Every epoch has random numbers of its own, made from the seed and its number, and so has every step.
    Nothing random is carried from one to the next, which is why a run that is resumed is the same run; but
    a model of one's own whose ``vjp`` takes no ``rng`` must do without noise for that, or draw it likewise.

    Examples
    --------
    >>> from pyrnn import GRU, LastStep, Linear, Sequential, fit
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((12, 64, 1)).astype(np.float32)  # (T, N, features)
    >>> y = (x.sum(axis=(0, 2)) > 0).astype(int)
    >>> model = Sequential(GRU(1, 8, rng=rng), LastStep(), Linear(8, 2, rng=rng))
    >>> history = fit(model, x, y, loss="cross_entropy", metrics=["accuracy"], epochs=20, rng=0)
    >>> history["loss"][-1] < history["loss"][0], len(history["accuracy"])
    (True, 20)
    """
    pieces = None if tbptt is None else as_size(tbptt, "tbptt")
    adapted, axes = Model(model, carries=pieces is not None), read_axes(batch_axis, model)
    data = Data(x, y, lengths, sample_weight, axes)
    if pieces is not None and not data.per_step:
        raise ValueError("tbptt must be None where targets are for sequences, not for their steps")
    saved = resumed(checkpoint, resume, optimizer)
    seed = int(as_generator(rng).integers(2**63)) if saved is None else saved.run["seed"]
    shuffled = _check.flag(shuffle, "shuffle")
    data, validation = split_off(data, validation_data, validation_split, axes, seed if shuffled else None)
    measures = Measures(loss, metrics)
    watched = monitored(monitor, measures, validation is not None)
    best = validation is not None or monitor is not None or patience is not None
    plan = Plan(
        epochs=as_size(epochs, "epochs"),
        batch_size=as_size(batch_size, "batch_size"),
        shuffle=shuffled,
        bucket=_check.flag(bucket, "bucket"),
        clips=as_clips(model, clip_norm=clip_norm, clip_value=clip_value, clip_adaptive=clip_adaptive),
        tbptt=pieces,
        monitor=watched,
        maximise="accuracy" in watched if mode is None else is_max(mode),
        patience=None if patience is None else as_count(patience, "patience"),
        min_delta=_check.at_least_zero(min_delta, "min_delta"),
        restore_best=best if restore_best is None else _check.flag(restore_best, "restore_best"),
        callbacks=as_functions(callbacks, "callbacks"),
        progress=None if progress is None else _check.flag(progress, "progress"),
        checkpoint=checkpoint,
    )
    run = Run(plan, adapted, as_optimizer(optimizer, model), measures, data, validation, seed)
    if saved is not None:
        _checkpoint.restore(saved, run)
    return run.run()


def evaluate(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: Any,
    metrics: Sequence[Any] | Mapping[str, Any] = (),
    batch_size: int = 32,
    lengths: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    batch_axis: Axes = None,
) -> dict[str, float]:
    """Measure a model on sequences.

    Parameters
    ----------
    model, x, y, loss, metrics, batch_size, lengths, sample_weight, batch_axis
        As for `fit`.

    Returns
    -------
    dict of str to float
        ``{"loss": ..., ...}`` with the metrics: means over all targets, by their weights.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Examples
    --------
    >>> from pyrnn import Linear, Sequential, evaluate
    >>> model = Sequential(Linear(1, 1, dtype=np.float64))
    >>> model.params.update({"0.weight": [[2]], "0.bias": [1]})
    >>> evaluate(model, [[0.0], [1.0]], [[1.0], [1.0]], loss="mse", metrics=["mae"], batch_axis=0)
    {'loss': 2.0, 'mae': 1.0}
    """
    data = Data(x, y, lengths, sample_weight, read_axes(batch_axis, model))
    return measure(Model(model), data, Measures(loss, metrics), as_size(batch_size, "batch_size"))


def predict(
    model: Any,
    x: Any,
    *,
    batch_size: int = 32,
    lengths: ArrayLike | None = None,
    batch_axis: Axes = None,
) -> Any:
    """Compute the outputs of a model for sequences, batch by batch.

    Parameters
    ----------
    model, x, batch_size, lengths, batch_axis
        As for `fit`.

    Returns
    -------
    ndarray or list of ndarray
        The outputs. If there is one a sequence, along the first axis, or that which `batch_axis` says. If
        there is one a step, with the first two axes of `x`, and zeros beyond the lengths; for a list `x`, a
        list of arrays of its lengths.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Examples
    --------
    >>> from pyrnn import GRU, predict
    >>> [y.shape for y in predict(GRU(1, 4), [np.ones((5, 1)), np.ones((2, 1))])]
    [(5, 4), (2, 4)]
    """
    axes = read_axes(batch_axis, model)
    data, adapted = Data(x, None, lengths, None, axes), Model(model)
    outputs, inputs = [], []
    for rows in data.batches(as_size(batch_size, "batch_size")):
        batch = data.take(rows)
        outputs.append(adapted.call(batch)[0])
        inputs.append(batch.x.shape)
    if not _per_step(outputs, inputs, data.axis, axes[1]):
        return np.concatenate(outputs, axis=axes[1] or 0)
    if isinstance(data.x, list):
        by_row = [part for y in outputs for part in (y if data.axis == 0 else y.swapaxes(0, 1))]
        return [part[:steps] for part, steps in zip(by_row, data.lengths, strict=True)]
    return _joined(outputs, data)


def _per_step(outputs: list[Array], inputs: list[tuple[int, ...]], axis: int, axis_y: int | None) -> bool:
    """Whether outputs are one a step."""
    if axis_y is not None and axis_y != axis:
        return False
    if any(len(x) < 2 or y.shape[:2] != x[:2] for y, x in zip(outputs, inputs, strict=True)):
        return False
    # (B, C) for (T, B, ...) with B = T = C is one a sequence: layers have an axis of features.
    return axis_y is not None or outputs[0].ndim > 2 or any(x[0] != x[1] for x in inputs)


def _joined(outputs: list[Array], data: Data) -> Array:
    """Outputs of every step as one array, each batch's padded to the steps of x."""
    assert isinstance(data.x, np.ndarray)
    joined = np.zeros((*data.x.shape[:2], *outputs[0].shape[2:]), outputs[0].dtype)
    row = 0
    for y in outputs:
        rows, steps = slice(row, row + y.shape[data.axis]), slice(y.shape[1 - data.axis])
        joined[(rows, steps) if data.axis == 0 else (steps, rows)] = y
        row = rows.stop
    return joined
