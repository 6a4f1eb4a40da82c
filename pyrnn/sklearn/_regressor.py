"""A regressor of sequences, or of their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_is_fitted

from .. import _check
from ._base import SequenceEstimator
from ._reading import by_parts, check_steps, flat_weights, joined, lengths_of, read_sequences

Array = NDArray[Any]

LOSSES = ("mse", "mae", "huber")


class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """A recurrent network that gives every sequence, or every step, one or several numbers.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        The recurrent layer: `LSTM`, `GRU` or `RNN`.
    hidden_size, num_layers : int, default 32 and 1
        Units of a layer and direction; layers on top of each other.
    bidirectional : bool, default False
        Whether sequences are read in both directions.
    dropout : float, default 0.0
        Share of the outputs of every recurrent layer that training drops.
    optimizer : {"adam", "adamw", "rmsprop", "sgd"}, default "adam"
        What steps.
    learning_rate : float, default 0.005
        Its step size.
    clip_norm : float, optional, default 1.0
        The largest norm of the gradients; None for no limit.
    batch_size : int, default 32
        Sequences a step, and at once in predictions.
    max_iter : int, default 100
        Epochs at most.
    tol, n_iter_no_change : float and int, default 1e-4 and 10
        Training ends when the loss has not become better by more than `tol` for so many epochs in a row.
    early_stopping : bool, default False
        Whether a part of the data is set aside, and the loss on it is what must become better; the weights
        of the best epoch are kept.
    validation_fraction : float, default 0.1
        That part, drawn at random.
    loss : {"mse", "mae", "huber"}, default "mse"
        What is minimised.
    return_sequences : bool, default False
        Whether there is a target for every step (many-to-many) and not one for every sequence.
    n_steps : int or None, default None
        How many steps a row of a table X has, one after the other, with equal numbers of features; None:
        every column is a step of one feature.
    random_state : int, RandomState or None, default None
        Source of the initial weights, of the orders of the data and of dropout: the same seed gives the same
        bits, for any number of threads.
    n_jobs : int or None, default None
        Threads of a call, -1 for all cores; None: as `set_num_threads` has it. It is for this estimator's
        calls alone, and what other threads of the program do has no part in it.
    verbose : bool, default False
        Whether to show a progress bar (needs tqdm).
    dtype : {"float32", "float64"}, default "float32"
        Of weights, computation and outputs.

    Attributes
    ----------
    model_ : Sequential
        The network, a model of pyrnn like any other: ``save(estimator.model_, path)``.
    history_ : History
        The numbers of every epoch; `loss_curve_` is its "loss", `n_iter_` their count.
    n_features_in_ : int
        F, or the columns of a table.

    Raises
    ------
    ValueError, TypeError
        From the methods, not the constructor: an argument is of the wrong type or out of range; the message
        names it.

    Notes
    -----
    Targets are taken as they are; those far from 0 ± 1 are better scaled, as by scikit-learn's
    ``TransformedTargetRegressor``.

    Pickles and copies hold the weights, not what is computed from them, nor the state of the optimizer: a
    `partial_fit` after unpickling starts with a fresh one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((64, 10, 1))  # (N, T, features)
    >>> regressor = SequenceRegressor(hidden_size=8, return_sequences=True, random_state=0)
    >>> regressor.fit(X, X.cumsum(axis=1)).score(X, X.cumsum(axis=1)) > 0.9
    True
    """

    def __init__(
        self,
        *,
        cell: str = "lstm",
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        optimizer: str = "adam",
        learning_rate: float = 0.005,
        clip_norm: float | None = 1.0,
        batch_size: int = 32,
        max_iter: int = 100,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        loss: str = "mse",
        return_sequences: bool = False,
        n_steps: int | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.loss = loss
        self.return_sequences = return_sequences
        self.n_steps = n_steps
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.dtype = dtype

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> SequenceRegressor:
        """Train a new network.

        Parameters
        ----------
        X : array_like, shape (N, T, F); or list of N arrays (T_i, F); or array_like, shape (N, columns)
            Sequences, the batch first. Those of a list may be of any lengths. A table is read by `n_steps`.
        y : array_like, shape (N,) or (N, K)
            Targets; with `return_sequences` (N, T) or (N, T, K), or a list of arrays (T_i,) or (T_i, K).
        sample_weight : array_like, shape (N,), or (N, T) with `return_sequences`, optional
            How much each counts.

        Returns
        -------
        SequenceRegressor
            Itself.
        """
        return self._fit(X, y, sample_weight, new=True)

    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> SequenceRegressor:
        """Go through the data once, from the weights that there are.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        SequenceRegressor
            Itself.
        """
        return self._fit(X, y, sample_weight, new=False)

    def _fit(self, X: Any, y: Any, sample_weight: ArrayLike | None, *, new: bool) -> SequenceRegressor:
        _check.choice(self.loss, LOSSES, "loss")
        first = new or not self.__sklearn_is_fitted__()
        X = read_sequences(self, X, reset=first)
        y, single = self._read_targets(X, y)
        outputs = y[0].shape[-1]
        if first:
            self._single, self._n_outputs = single, outputs
            self._begin(outputs)
        elif outputs != self._n_outputs:
            raise ValueError(f"y must have {self._n_outputs} outputs, as in the first call, got {outputs}")
        self._train(X, y, self.loss, sample_weight, None if new else 1)
        return self

    def predict(self, X: Any) -> Any:
        """Predict the targets.

        Parameters
        ----------
        X : array_like, shape (N, T, F) or (N, columns); or list of N arrays (T_i, F)
            Sequences, as for `fit`.

        Returns
        -------
        ndarray, shape (N,) or (N, K), as y was in `fit`
            With `return_sequences`, (N, T) or (N, T, K), or a list of arrays for a list.
        """
        check_is_fitted(self)
        y = self._outputs(read_sequences(self, X, reset=False))
        return by_parts(lambda part: part[..., 0], y) if self._single else y

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """R², the share of the variance that is predicted: over all sequences, or all steps of them.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        float
        """
        found = self.predict(X)
        if not self.return_sequences:
            return float(r2_score(y, found, sample_weight=sample_weight))
        y = check_steps(found, y)
        weights = flat_weights(sample_weight, lengths_of(found))
        return float(r2_score(joined(y), joined(found), sample_weight=weights))

    def _read_targets(self, X: Array | list[Array], y: Any) -> tuple[Any, bool]:
        """Targets with an axis of outputs, and whether they came without it."""
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        dtype = np.dtype(self.dtype)
        if self.return_sequences:
            targets: Any = by_parts(lambda part: part.astype(dtype), check_steps(X, y))
            flat = joined(targets)
        else:
            targets = flat = np.asarray(y)
        if flat.ndim not in (1, 2):
            wanted = "(N, T) or (N, T, K)" if self.return_sequences else "(N,) or (N, K)"
            raise ValueError(
                f"y must have shape {wanted}, got {flat.shape} in all; return_sequences says "
                "whether there is a target for every step"
            )
        checked = check_array(flat, dtype=dtype, ensure_2d=False, input_name="y", estimator=self)
        if not self.return_sequences:
            if len(checked) != len(X):
                raise ValueError(
                    f"y must have {len(X)} targets, one for each sequence of X, got {len(checked)}"
                )
            targets = checked
        single = flat.ndim == 1
        return (by_parts(lambda part: part[..., np.newaxis], targets) if single else targets), single
