"""A classifier of sequences, or of their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d

from ._base import SequenceEstimator
from ._reading import by_parts, check_steps, flat_weights, joined, lengths_of, read_sequences

Array = NDArray[Any]


class SequenceClassifier(ClassifierMixin, SequenceEstimator):
    """A recurrent network that gives every sequence, or every step, one of several classes.

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
    classes_ : ndarray, shape (C,)
        The labels, sorted; of any type that NumPy sorts.
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
    Pickles and copies hold the weights, not what is computed from them, nor the state of the optimizer: a
    `partial_fit` after unpickling starts with a fresh one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((64, 10, 2))  # (N, T, features)
    >>> y = np.where(X[:, :, 0].sum(axis=1) > 0, "up", "down")
    >>> classifier = SequenceClassifier(cell="gru", hidden_size=8, max_iter=30, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9, classifier.predict_proba([X[0, :3], X[1]]).shape
    (True, (2, 2))
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
        self.return_sequences = return_sequences
        self.n_steps = n_steps
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.dtype = dtype

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> SequenceClassifier:
        """Train a new network.

        Parameters
        ----------
        X : array_like, shape (N, T, F); or list of N arrays (T_i, F); or array_like, shape (N, columns)
            Sequences, the batch first. Those of a list may be of any lengths. A table is read by `n_steps`.
        y : array_like, shape (N,)
            Labels of any type; with `return_sequences` (N, T), or a list of arrays (T_i,).
        sample_weight : array_like, shape (N,), or (N, T) with `return_sequences`, optional
            How much each counts.

        Returns
        -------
        SequenceClassifier
            Itself.
        """
        X = read_sequences(self, X, reset=True)
        y = self._read_labels(X, y)
        self.classes_ = np.unique(joined(y))
        self._begin(len(self.classes_))
        self._train(X, self._encoded(y), "cross_entropy", sample_weight, None)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> SequenceClassifier:
        """Go through the data once, from the weights that there are.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, shape (C,), optional
            All labels that will come; needed in the first call.

        Returns
        -------
        SequenceClassifier
            Itself.
        """
        first = not self.__sklearn_is_fitted__()
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit")
        X = read_sequences(self, X, reset=first)
        y = self._read_labels(X, y)
        if (
            classes is not None
            and not first
            and not np.array_equal(np.unique(np.asarray(classes)), self.classes_)
        ):
            raise ValueError(f"classes must be those of the first call, {self.classes_}, got {classes}")
        if first:
            self.classes_ = np.unique(np.asarray(classes))
            self._begin(len(self.classes_))
        self._train(X, self._encoded(y), "cross_entropy", sample_weight, 1)
        return self

    def predict(self, X: Any) -> Any:
        """Predict the most probable class.

        Parameters
        ----------
        X : array_like, shape (N, T, F) or (N, columns); or list of N arrays (T_i, F)
            Sequences, as for `fit`.

        Returns
        -------
        ndarray, shape (N,)
            With `return_sequences`, (N, T), or a list of arrays (T_i,) for a list.
        """
        return by_parts(lambda y: self.classes_[y.argmax(axis=-1)], self._logits(X))

    def predict_proba(self, X: Any) -> Any:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array_like, shape (N, T, F) or (N, columns); or list of N arrays (T_i, F)
            Sequences, as for `fit`.

        Returns
        -------
        ndarray, shape (N, C)
            In the order of `classes_`; with `return_sequences`, (N, T, C), or a list of arrays (T_i, C).
        """
        return by_parts(_softmax, self._logits(X))

    def predict_log_proba(self, X: Any) -> Any:
        """Predict the logarithms of the probabilities, in the forms of `predict_proba`."""
        return by_parts(_log_softmax, self._logits(X))

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Share of the sequences, or of all steps, whose class is right.

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
            return float(accuracy_score(y, found, sample_weight=sample_weight))
        y = check_steps(found, y)
        weights = flat_weights(sample_weight, lengths_of(found))
        return float(accuracy_score(joined(y), joined(found), sample_weight=weights))

    def _logits(self, X: Any) -> Array | list[Array]:
        check_is_fitted(self)
        return self._outputs(read_sequences(self, X, reset=False))

    def _read_labels(self, X: Array | list[Array], y: Any) -> Any:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        if self.return_sequences:
            labels = check_steps(X, y)
            for part in labels if isinstance(labels, list) else [labels[0]]:
                if part.ndim != (1 if isinstance(labels, list) else labels.ndim - 1) or part.ndim != 1:
                    raise ValueError(f"y must have one label a step, got shape {part.shape} for a sequence")
        else:
            labels = column_or_1d(y, warn=True)
            if len(labels) != len(X):
                raise ValueError(
                    f"y must have {len(X)} labels, one for each sequence of X, got {len(labels)}"
                )
        if (flat := joined(labels)).dtype.kind == "f":
            assert_all_finite(flat, input_name="y")
        check_classification_targets(flat)
        return labels

    def _encoded(self, y: Any) -> Any:
        unknown = np.setdiff1d(joined(y), self.classes_)
        if len(unknown):
            raise ValueError(f"y must hold labels of classes, {self.classes_}, got {unknown}")
        return by_parts(lambda labels: np.searchsorted(self.classes_, labels), y)


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def _softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: Array = e / e.sum(axis=-1, keepdims=True)
    return found
