"""The estimators do what scikit-learn's do, on arrays, tables and lists of sequences."""

import concurrent.futures
import importlib
import pickle
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import pyrnn
from pyrnn.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor

SMALL = {"hidden_size": 8, "max_iter": 20, "learning_rate": 0.02, "random_state": 0}
ESTIMATORS = [SequenceClassifier, SequenceRegressor]
ROWS = "rows of X are the steps of one series, whose order is what is learned"


class ForecasterOfX(SequenceForecaster):
    """Without the y that the checks pass along, and that a forecaster refuses."""

    def fit(self, X, y=None):
        return super().fit(X)

    def partial_fit(self, X, y=None):
        return super().partial_fit(X)

    def score(self, X, y=None):
        return super().score(X)


def expected_failed(estimator):
    if not isinstance(estimator, SequenceForecaster):
        return {}
    return {
        "check_methods_sample_order_invariance": ROWS,
        "check_methods_subset_invariance": ROWS,
        "check_fit2d_1sample": "a row is a step: the message speaks of steps",
        "check_fit1d": "one axis is one series of one feature, and not an error",
        "check_fit2d_predict1d": "one axis is one series of one feature: it is refused for its features",
    }


@parametrize_with_checks(
    [
        SequenceClassifier(**SMALL, dtype="float64"),
        SequenceRegressor(**SMALL | {"max_iter": 60, "dtype": "float64"}),
        ForecasterOfX(**SMALL | {"max_iter": 2}, look_back=2),
    ],
    expected_failed_checks=expected_failed,
    xfail_strict=True,
)
def test_scikit_learns_own_checks(estimator, check):
    # That one skips itself unless SciPy was started with SCIPY_ARRAY_API=1; NumPy is what is taken.
    if check.func.__name__ != "check_array_api_input":
        check(estimator)


def sums(rng, lengths, F=2):
    """Sequences and whether the sum of their first feature is positive."""
    X = [rng.standard_normal((T, F)) for T in lengths]
    return X, np.array([part[:, 0].sum() > 0 for part in X])


def test_classifies_arrays_tables_and_lists_with_labels_of_any_type(rng):
    X, up = sums(rng, [6] * 80)
    y = np.where(up, "up", "down")
    model = SequenceClassifier(**SMALL).fit(np.stack(X), y)
    assert model.score(np.stack(X), y) > 0.9
    assert model.classes_.tolist() == ["down", "up"] and model.n_features_in_ == 2
    assert len(model.loss_curve_) == model.n_iter_ and model.history_["loss"] == model.loss_curve_
    p = model.predict_proba(np.stack(X))
    assert p.shape == (80, 2)
    assert np.abs(p.sum(1) - 1).max() <= 4 * np.finfo(p.dtype).eps
    np.testing.assert_array_equal(model.classes_[p.argmax(1)], model.predict(np.stack(X)))
    table = np.stack(X).reshape(80, 12)
    same = clone(model).set_params(n_steps=6).fit(table, y)
    assert same.n_features_in_ == 12
    np.testing.assert_array_equal(same.predict_proba(table), p)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X), p)  # a list of equal lengths


def test_ragged_sequences_are_read_to_their_ends(rng):
    X, y = sums(rng, rng.integers(1, 9, 60))
    for bidirectional in (False, True):
        model = SequenceClassifier(**SMALL, bidirectional=bidirectional).fit(X, y)
        p = model.predict_proba(X)
        alone = np.concatenate([model.predict_proba([part]) for part in X])
        rounding = 4 * np.finfo(p.dtype).eps * np.ceil(np.log2((2 + 8) * 8))  # of products of other sizes
        np.testing.assert_allclose(p, alone, rtol=0, atol=rounding)
        np.testing.assert_array_equal(model.predict_proba(np.array([*X, None], object)[:-1]), p)


@pytest.mark.parametrize("ragged", [False, True])
def test_tags_steps(rng, ragged):
    X, _ = sums(rng, rng.integers(2, 9, 60) if ragged else [7] * 60)
    y = [np.where(part[:, 0].cumsum() > 0, "up", "down") for part in X]
    if not ragged:
        X, y = np.stack(X), np.stack(y)
    model = SequenceClassifier(**SMALL, return_sequences=True, cell="gru").fit(X, y)
    found, p = model.predict(X), model.predict_proba(X)
    assert isinstance(found, list) == ragged
    assert all(a.shape == b.shape for a, b in zip(found, y, strict=True))
    assert p[0].shape == (*y[0].shape, 2) and model.score(X, y) > 0.8
    weights = np.zeros(len(X))
    weights[3] = 1
    assert model.score(X, y, sample_weight=weights) == np.mean(found[3] == y[3])


@pytest.mark.parametrize("outputs", [(), (1,), (5,)])
@pytest.mark.parametrize("ragged", [False, True])
def test_regresses_sequences(rng, outputs, ragged):
    """Five steps and five outputs, too: targets of sequences are not taken for those of steps."""
    X, _ = sums(rng, [5, 4] * 20 if ragged else [5] * 40)
    y = np.array([np.full(outputs, part[:, 0].sum()) for part in X])
    X = X if ragged else np.stack(X)
    model = SequenceRegressor(**SMALL | {"max_iter": 60}).fit(X, y, sample_weight=np.ones(40))
    assert model.predict(X).shape == y.shape and model.score(X, y) > 0.8


@pytest.mark.parametrize("outputs", [(), (2,)])
@pytest.mark.parametrize("ragged", [False, True])
def test_regresses_steps(rng, outputs, ragged):
    X, _ = sums(rng, rng.integers(2, 9, 40) if ragged else [7] * 40)
    y = [np.stack([part[:, 0]] * 2, 1) if outputs else part[:, 0] for part in X]
    if not ragged:
        X, y = np.stack(X), np.stack(y)
    model = SequenceRegressor(**SMALL, return_sequences=True).fit(X, y)
    assert all(a.shape == b.shape for a, b in zip(model.predict(X), y, strict=True))
    assert model.score(X, y) > 0.8


def test_weights_of_zero_leave_sequences_out(rng):
    X, y = sums(rng, [4] * 40)
    X, weights = np.stack(X), np.repeat([1.0, 0.0], 20)
    spoiled = np.concatenate([y[:20], ~y[20:]])
    options = SMALL | {"batch_size": 40}
    found = [
        SequenceClassifier(**options).fit(X, labels, weights).predict_proba(X) for labels in (y, spoiled)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_same_seed_gives_the_same_bits(rng, kind):
    X, y = sums(rng, [4] * 40)
    runs = [kind(**SMALL, dropout=0.2, n_jobs=n).fit(np.stack(X), y) for n in (1, 2)]
    for name, array in runs[0].model_.params.items():
        np.testing.assert_array_equal(array, runs[1].model_.params[name])
    other = kind(**SMALL | {"random_state": 1}).fit(np.stack(X), y)
    assert other.loss_curve_ != runs[0].loss_curve_


def test_n_jobs_is_for_the_call_alone(rng, monkeypatch, threads):
    threads(2)
    X, y = sums(rng, [4] * 40)
    seen = {1: set(), 3: set(), None: set()}
    step = pyrnn.Adam.step

    def stepping(self, grads):
        seen[self.asked].add(pyrnn.get_num_threads())
        return step(self, grads)

    monkeypatch.setattr(pyrnn.Adam, "step", stepping)
    monkeypatch.setattr(pyrnn.Adam, "asked", None, raising=False)

    def train(n):
        model = SequenceClassifier(**SMALL, n_jobs=n).partial_fit(X, y, classes=[False, True])
        model._optimizer.asked = n
        for _ in range(5):
            model.partial_fit(X, y)
        return pyrnn.get_num_threads()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(train, [1, 3])) == [2, 2]
    assert seen[1] == {1} and seen[3] == {3} and pyrnn.get_num_threads() == 2


def test_partial_fit_goes_on(rng):
    X, y = sums(rng, [4] * 60)
    model = SequenceClassifier(**SMALL)
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(X, y)
    for _ in range(20):
        model.partial_fit(X, y, classes=[False, True])
    assert model.n_iter_ == 20 and model.score(X, y) > 0.9
    pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        model.partial_fit(X, y, classes=[0, 5])
    with pytest.raises(ValueError, match="y must hold labels of classes"):
        model.partial_fit(X, np.full(60, 7))


def test_early_stopping_keeps_the_best_epoch(rng):
    X, y = sums(rng, [4] * 60)
    noise = rng.permutation(y)
    model = SequenceClassifier(**SMALL | {"max_iter": 200}, early_stopping=True, n_iter_no_change=3)
    model.fit(X, noise)
    assert model.n_iter_ < 200 and model.history_.stopped == "patience"
    assert model.history_.best_epoch == int(np.argmin(model.history_["val_loss"]))


def test_pipelines_and_searches(rng):
    X, y = sums(rng, [5] * 60)
    table = np.stack(X).reshape(60, 10)
    pipeline = make_pipeline(StandardScaler(), SequenceClassifier(**SMALL, n_steps=5, n_jobs=1))
    grid = {"sequenceclassifier__cell": ["gru", "rnn"]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(table, y)
    assert search.best_score_ > 0.7 and search.predict_proba(table).shape == (60, 2)
    assert cross_val_score(SequenceClassifier(**SMALL), X, y, cv=2).min() > 0.7


def test_pickles_are_as_small_as_the_weights(rng):
    X, y = sums(rng, [5] * 20)
    model = SequenceClassifier(hidden_size=64, max_iter=2, random_state=0).fit(X, y)
    expected = model.predict_proba(X)
    content = pickle.dumps(model)
    assert len(content) < 4 * model.model_.params.size + 5000
    np.testing.assert_array_equal(pickle.loads(content).predict_proba(X), expected)


@pytest.mark.parametrize("strategy", ["recursive", "direct"])
def test_forecasts(strategy):
    t = np.arange(160)
    series = 50 + 10 * np.sin(t / 5)
    model = SequenceForecaster(
        **SMALL | {"max_iter": 40}, look_back=12, horizon=4, strategy=strategy, cell="gru"
    ).fit(series[:-4])
    assert model.predict().shape == (4,)
    assert np.abs(model.predict() - series[-4:]).max() < 2
    np.testing.assert_array_equal(model.predict(series[:-4]), model.predict())
    assert model.score(series) > 0.9
    two = np.stack([series, -series], 1)
    model.fit(two)
    assert model.predict(two).shape == (4, 2) and model.predict(np.stack([two] * 3)).shape == (3, 4, 2)
    assert model.predict([two[:30], two[:50]]).shape == (2, 4, 2)
    model.partial_fit(two)


def test_forecasters_are_searched_over_time():
    series = np.sin(np.arange(120) / 5)[:, None]
    model = SequenceForecaster(**SMALL | {"max_iter": 10})
    search = GridSearchCV(model, {"look_back": [4, 8]}, cv=TimeSeriesSplit(2)).fit(series)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_not_fitted():
    for kind in (*ESTIMATORS, SequenceForecaster):
        with pytest.raises(NotFittedError):
            kind().predict(np.zeros((2, 3, 4)))


X3 = np.zeros((4, 3, 2))


@pytest.mark.parametrize(
    "estimator, X, y, message",
    [
        (SequenceClassifier(cell="elman"), X3, [0, 1, 0, 1], "cell must be"),
        (SequenceClassifier(optimizer="newton"), X3, [0, 1, 0, 1], "optimizer must be"),
        (SequenceClassifier(n_steps=5), np.zeros((4, 6)), [0, 1, 0, 1], "n_steps must divide"),
        (SequenceClassifier(), [np.zeros((2, 2)), np.zeros((2, 3))], [0, 1], r"X\[1\] must have 2 features"),
        (SequenceClassifier(), [np.zeros((2, 2)), np.full((3, 2), np.nan)], [0, 1], "NaN"),
        (SequenceClassifier(), [np.zeros((0, 2)), np.zeros((2, 2))], [0, 1], r"X\[0\] must have shape"),
        (SequenceClassifier(), X3, [0, 1, 0], "y must have 4 labels"),
        (SequenceClassifier(return_sequences=True), X3, np.zeros((4, 2), int), "a target for every step"),
        (SequenceRegressor(loss="cross_entropy"), X3, np.zeros(4), "loss must be"),
        (SequenceRegressor(), X3, np.zeros((4, 3, 1)), "return_sequences"),
        (SequenceRegressor(), X3, np.zeros(3), "y must have 4 targets"),
        (SequenceForecaster(look_back=9), np.zeros(9), None, "at least look_back"),
        (SequenceForecaster(strategy="both"), np.zeros(90), None, "strategy must be"),
        (SequenceForecaster(), np.zeros(90), np.zeros(90), "y must be None"),
    ],
)
def test_what_cannot_be_is_refused(estimator, X, y, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y)


def test_an_absent_or_old_scikit_learn_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pyrnn.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", None)
    with pytest.raises(ImportError, match=r"pyrnn\[sklearn\]"):
        importlib.import_module("pyrnn.sklearn")
