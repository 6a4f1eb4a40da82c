"""A forecaster of time series from windows of their past."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_is_fitted

from .. import _check
from .._layer import as_size
from ._base import SequenceEstimator
from ._reading import is_list, read_sequences
from ._regressor import LOSSES

Array = NDArray[Any]


class SequenceForecaster(SequenceEstimator):
    """A recurrent network that reads the last steps of a time series and foretells the next.

    Parameters
    ----------
    look_back : int, default 10
        How many steps it reads.
    horizon : int, default 1
        How many steps it foretells.
    strategy : {"recursive", "direct"}, default "recursive"
        "recursive": the network foretells one step, which is then read as if it had been seen, and so on.
        "direct": it foretells all steps of the horizon at once.
    standardize : bool, default True
        Whether the network sees the series with mean 0 and variance 1, by those of what it was fitted to;
        forecasts are in the units of the series.
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
    mean_, scale_ : ndarray, shape (F,)
        What the series are standardized by.
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
    Rows of a series are time steps, so ``TimeSeriesSplit`` cuts it as it should be cut, and `score` works in
    ``GridSearchCV``.

    Pickles and copies hold the weights, not what is computed from them, nor the state of the optimizer: a
    `partial_fit` after unpickling starts with a fresh one.

    Examples
    --------
    >>> series = np.sin(np.arange(200) / 5)
    >>> forecaster = SequenceForecaster(look_back=12, horizon=3, max_iter=40, random_state=0).fit(series[:-3])
    >>> forecast = forecaster.predict()  # of the steps after those that it was fitted to
    >>> forecast.shape, bool(np.abs(forecast - series[-3:]).max() < 0.1)
    ((3,), True)
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
        look_back: int = 10,
        horizon: int = 1,
        strategy: str = "recursive",
        standardize: bool = True,
        loss: str = "mse",
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
        self.look_back = look_back
        self.horizon = horizon
        self.strategy = strategy
        self.standardize = standardize
        self.loss = loss
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.dtype = dtype

    def fit(self, X: Any, y: Any = None) -> SequenceForecaster:
        """Train a new network on every window of the series.

        Parameters
        ----------
        X : array_like, shape (T,) or (T, F), or (N, T, F); or list of N arrays (T_i, F)
            One series, or N of the same kind.
        y : None
            The targets are in X.

        Returns
        -------
        SequenceForecaster
            Itself.
        """
        return self._fit(X, y, new=True)

    def partial_fit(self, X: Any, y: Any = None) -> SequenceForecaster:
        """Go through the windows of more series once, from the weights that there are.

        Parameters
        ----------
        X, y
            As for `fit`. Mean and variance stay those of the first call.

        Returns
        -------
        SequenceForecaster
            Itself.
        """
        return self._fit(X, y, new=False)

    def predict(self, X: Any = None) -> Array:
        """Foretell the steps that follow the end of X.

        Parameters
        ----------
        X : array_like, as for `fit`, optional
            Series of `look_back` steps at least; None: those that the forecaster was trained on last.

        Returns
        -------
        ndarray, shape (horizon,) or (horizon, F), or (N, horizon, F)
            In the form of X.
        """
        check_is_fitted(self)
        if X is None:
            windows, form = self._last, self._form
        else:
            series, form = self._read(X, reset=False)
            windows = self._ends(series)
        found = self._forecast(windows)
        return found if form == 3 else found[0] if form == 2 else found[0, :, 0]

    def score(self, X: Any, y: Any = None) -> float:
        """R² of the forecasts from every window of X, all steps of the horizon together.

        Parameters
        ----------
        X, y
            As for `fit`.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        series, _ = self._read(X, reset=False)
        windows, truth = self._windows(series, self.horizon)
        found = self._forecast(windows)
        features = truth.shape[-1]
        return float(r2_score(truth.reshape(-1, features), found.reshape(-1, features)))

    def _fit(self, X: Any, y: Any, *, new: bool) -> SequenceForecaster:
        _none(y)
        _check.choice(self.loss, LOSSES, "loss")
        direct = _check.choice(self.strategy, ("recursive", "direct"), "strategy") == "direct"
        ahead = as_size(self.horizon, "horizon") if direct else 1
        first = new or not self.__sklearn_is_fitted__()
        series, form = self._read(X, reset=first)
        windows, targets = self._windows(series, ahead)
        if first:
            self._form = form
            self._measure(series)
            self._n_outputs = ahead * self._features
            self._begin(ahead * self._features)
        elif (ahead * self._features) != self._n_outputs:
            raise ValueError("horizon and strategy must be those of the first call of partial_fit")
        scaled = self._scaled(targets).reshape(len(targets), -1)
        self._last = self._ends(series)
        self._train(self._scaled(windows), scaled, self.loss, None, None if new else 1)
        return self

    def _read(self, X: Any, *, reset: bool) -> tuple[list[Array], int]:
        """The series as a list of (T, F), and the number of axes of their form."""
        if is_list(X):
            found = read_sequences(self, X, reset=reset)
            return list(found), 3
        X = check_array(X, allow_nd=True, ensure_2d=False, dtype=None, estimator=self, input_name="X")
        if X.ndim not in (1, 2, 3):
            raise ValueError(f"X must have shape (T,), (T, F) or (N, T, F), got {X.shape}")
        whole = X if X.ndim == 3 else X[np.newaxis] if X.ndim == 2 else X[np.newaxis, :, np.newaxis]
        return list(read_sequences(self, whole, reset=reset)), X.ndim

    def _measure(self, series: list[Array]) -> None:
        every = np.concatenate(series).astype(np.float64)
        plain = not _check.flag(self.standardize, "standardize")
        self.mean_ = np.zeros(every.shape[1]) if plain else every.mean(axis=0)
        scale = np.ones(every.shape[1]) if plain else every.std(axis=0)
        self.scale_ = np.where(scale > 0, scale, 1.0)

    def _scaled(self, values: Array) -> Array:
        return ((values - self.mean_) / self.scale_).astype(self.dtype)

    def _windows(self, series: list[Array], ahead: int) -> tuple[Array, Array]:
        """All windows of the series, and the steps that follow each."""
        look_back = as_size(self.look_back, "look_back")
        size = look_back + ahead
        long = [part for part in series if len(part) >= size]
        if not long:
            raise ValueError(
                f"X must have at least look_back + horizon = {size} steps, got {max(map(len, series))}"
            )
        views = [np.lib.stride_tricks.sliding_window_view(part, size, axis=0) for part in long]
        cuts = np.concatenate(views).swapaxes(1, 2)
        return cuts[:, :look_back], cuts[:, look_back:]

    def _ends(self, series: list[Array]) -> Array:
        """The last window of every series."""
        look_back = as_size(self.look_back, "look_back")
        short = min(map(len, series))
        if short < look_back:
            raise ValueError(f"X must have at least look_back = {look_back} steps, got {short}")
        return np.stack([part[-look_back:] for part in series])

    def _forecast(self, windows: Array) -> Array:
        """The steps that follow the windows, (N, horizon, F)."""
        features, horizon = self._features, as_size(self.horizon, "horizon")
        seen = self._scaled(windows)
        if self.strategy == "direct":
            steps = np.asarray(self._outputs(seen)).reshape(len(seen), -1, features)
            if steps.shape[1] != horizon:
                raise ValueError(f"horizon must be that of fit, {steps.shape[1]}, with strategy='direct'")
        else:
            found = []
            for _ in range(horizon):
                found.append(np.asarray(self._outputs(seen))[:, np.newaxis])
                seen = np.concatenate([seen[:, 1:], found[-1]], axis=1)
            steps = np.concatenate(found, axis=1)
        return (steps * self.scale_ + self.mean_).astype(self.dtype)


def _none(y: Any) -> None:
    if y is not None:
        raise ValueError("y must be None: a forecaster foretells the series X itself")
