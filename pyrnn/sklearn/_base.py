"""What the estimators share: their network, its training, and its outputs."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import _check, optim
from .._layer import as_size
from .._threads import at_most
from ..layers import Dropout, LastStep, Linear, Sequential
from ..recurrent import GRU, LSTM, RNN
from ..training import History, fit
from ..training._data import Data

Array = NDArray[Any]

CELLS: dict[str, Any] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
OPTIMIZERS: dict[str, Any] = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "sgd": optim.SGD,
}


class SequenceEstimator(BaseEstimator):
    """A recurrent network with a linear layer on its last step, or on every step."""

    return_sequences = False  # of estimators that have no such parameter

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """All but the optimizer, which for Adam is twice the size of the weights."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_optimizer"}

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of every epoch."""
        check_is_fitted(self)
        return self.history_["loss"]

    @property
    def n_iter_(self) -> int:
        """How many epochs it was trained for."""
        check_is_fitted(self)
        return self.history_.epochs

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _begin(self, outputs: int) -> None:
        """Make the network anew."""
        self._seed, self._calls = int(check_random_state(self.random_state).randint(2**31 - 1)), 0
        cell = CELLS[_check.choice(self.cell, list(CELLS), "cell")]
        dropout = _check.fraction(self.dropout, "dropout")
        dtype, rng = np.dtype(self.dtype), np.random.default_rng([self._seed, 0])
        recurrent = cell(
            self._features,
            self.hidden_size,
            self.num_layers,
            batch_first=True,
            bidirectional=self.bidirectional,
            dropout=dropout if self.num_layers != 1 else 0.0,
            dtype=dtype,
            rng=rng,
        )
        layers: list[Any] = [recurrent]
        if not self.return_sequences:
            layers.append(LastStep(batch_first=True, bidirectional=self.bidirectional))
        if dropout:
            layers.append(Dropout(dropout, rng=rng))
        width = recurrent.directions * recurrent.hidden_size
        self.model_ = Sequential(*layers, Linear(width, outputs, dtype=dtype, rng=rng))
        self.history_ = History()
        self.__dict__.pop("_optimizer", None)

    def _train(self, X: Any, y: Any, loss: str, sample_weight: ArrayLike | None, epochs: int | None) -> None:
        """Train; `epochs` None: until it gets no better, at most `max_iter`."""
        if sample_weight is not None and not np.asarray(sample_weight).any():
            raise ValueError("sample_weight must not be zero for all")
        if not hasattr(self, "_optimizer"):
            kind = OPTIMIZERS[_check.choice(self.optimizer, list(OPTIMIZERS), "optimizer")]
            self._optimizer = kind(self.model_, lr=_check.positive(self.learning_rate, "learning_rate"))
        self._calls += 1
        stopping = {}
        early = _check.flag(self.early_stopping, "early_stopping")
        if epochs is None:
            stopping = {
                "monitor": "val_loss" if early else "loss",
                "validation_split": self.validation_fraction if early else 0.0,
                "patience": self.n_iter_no_change,
                "min_delta": self.tol,
                "restore_best": early,
            }
        with self._threads():
            history = fit(
                self.model_,
                X,
                y,
                loss=loss,
                optimizer=self._optimizer,
                epochs=as_size(self.max_iter, "max_iter") if epochs is None else epochs,
                batch_size=self.batch_size,
                sample_weight=sample_weight,
                batch_axis=0,
                clip_norm=self.clip_norm,
                rng=np.random.default_rng([self._seed, self._calls]),
                progress=bool(self.verbose),
                **stopping,
            )
        self._remember(history)

    def _remember(self, history: History) -> None:
        """The numbers of these epochs, after those of earlier calls of partial_fit."""
        before = self.history_.epochs
        for epoch in range(history.epochs):
            self.history_.add({name: values[epoch] for name, values in history.items()})
        self.history_.best_epoch = None if history.best_epoch is None else before + history.best_epoch
        self.history_.stopped = history.stopped

    def _threads(self) -> Any:
        """Calls in this with block use `n_jobs` threads; those of other threads of the program do not."""
        if self.n_jobs is None:
            return contextlib.nullcontext()
        return at_most(int(effective_n_jobs(self.n_jobs)))

    def _outputs(self, X: Array | list[Array]) -> Array | list[Array]:
        """The outputs of the network: of every sequence, or of every step in the form of X."""
        data = Data(X, None, None, None, (0, 0))
        found: list[Array] = []
        with self._threads():
            for rows in data.batches(as_size(self.batch_size, "batch_size")):
                batch = data.take(rows)
                given: dict[str, Any] = {} if batch.lengths is None else {"lengths": batch.lengths}
                found.append(self.model_(batch.x, **given))
        if not self.return_sequences or isinstance(X, np.ndarray):
            return np.concatenate(found)
        parts = [row for batch_y in found for row in batch_y]
        return [part[: len(x)] for part, x in zip(parts, X, strict=True)]
