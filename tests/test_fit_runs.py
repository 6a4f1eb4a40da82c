"""Runs of fit: the best epoch, patience, Ctrl-C, divergence, progress, models of one's own."""

import pickle
import sys

import numpy as np
import pytest

import pyrnn
from pyrnn import Adam, DivergenceError, Linear, Sequential, fit, predict

from .models import Descent, Scale, classifier, same, sequences

X = np.ones(1)  # one sequence of one number: an epoch is a step


class Scripted(Descent):
    """An optimizer that moves the weight to one value after another."""

    def __init__(self, model, values):
        super().__init__(model)
        self.values = values

    def step(self, grads):
        self.model.params["w"][:] = self.values[self.steps]
        self.steps += 1


def scripted(*values, **options):
    """A run whose weight is `values` after the epochs, and whose validation loss is its distance to 0."""
    model = Scale(9.0)
    options = {"validation_data": (X, np.zeros(1)), "epochs": len(values)} | options
    history = fit(model, X, X, loss="mae", optimizer=Scripted(model, values), **options)
    return history, float(model.params["w"][0])


# ---- The best epoch ----


def test_the_best_epoch_is_kept_if_something_is_validated():
    history, w = scripted(5.0, 2.0, 3.0, 4.0)
    assert history["val_loss"] == [5, 2, 3, 4] and history.best_epoch == 1 and w == 2
    assert history["loss"] == [8, 4, 1, 2]  # of the weights before each step, and the target 1
    assert scripted(5.0, 2.0, 3.0, restore_best=False)[1] == 3
    assert scripted(5.0, 2.0, 3.0, validation_data=None)[1] == 3
    history, w = scripted(5.0, 2.0, 3.0, validation_data=None, restore_best=True)
    assert (history.best_epoch, w) == (2, 3) and history["loss"] == [8, 4, 1]


def test_what_is_best_may_be_told():
    assert scripted(5.0, 2.0, 3.0, mode="max")[1] == 5
    assert scripted(5.0, 2.0, 3.0, monitor="loss")[1] == 3
    accuracies = iter([0.5, 0.9, 0.9, 0.1])

    def accuracy(predictions, targets):
        return next(accuracies)

    history, w = scripted(5.0, 2.0, metrics=[accuracy], monitor="val_accuracy")
    assert history["accuracy"] == [0.5, 0.9] and history["val_accuracy"] == [0.9, 0.1] and w == 5


@pytest.mark.parametrize(
    ("patience", "min_delta", "epochs", "best"),
    [(None, 0, 8, 5), (2, 0, 8, 5), (1, 0, 3, 1), (0, 0, 3, 1), (3, 2, 5, 1)],
)
def test_patience_runs_out(patience, min_delta, epochs, best):
    values = (5.0, 2.0, 3.0, 1.5, 1.75, 0.5, 0.75, 0.625)  # 1.5 and 0.5 are not better than 2 by 2
    history, w = scripted(*values, patience=patience, min_delta=min_delta)
    assert history.epochs == epochs and history.best_epoch == best and w == values[best]
    assert history.stopped == ("epochs" if epochs == 8 else "patience")


def test_a_callback_sees_every_epoch_and_may_end_the_run():
    seen = []

    def callback(epoch, numbers):
        seen.append((epoch, numbers["val_loss"]))
        numbers.clear()  # is its own
        return epoch == 1

    history, _ = scripted(5.0, 2.0, 3.0, callbacks=[callback, lambda epoch, numbers: None])
    assert seen == [(0, 5.0), (1, 2.0)] and history.stopped == "callback" and history["val_loss"] == [5, 2]


# ---- Ctrl-C ----


class Interrupted(Adam):
    """Is hit by Ctrl-C in the middle of a step, when some of the weights have moved."""

    def step(self, grads):
        if self.steps == self.at:
            self.layer.params["3.bias"] = [7, 7]
            raise KeyboardInterrupt
        super().step(grads)


@pytest.mark.parametrize("at", [0, 1, 2, 7])
@pytest.mark.parametrize("validated", [False, True])
def test_ctrl_c_keeps_the_best_model_and_returns_the_history(at, validated):
    x, y = sequences(20)
    options = {"loss": "cross_entropy", "batch_size": 10, "rng": 0, "epochs": 5}
    options |= {"validation_data": sequences(5, seed=1)} if validated else {}
    model, truth = classifier(), classifier()
    optimizer = Interrupted(model)
    optimizer.at, optimizer.layer = at, model
    history = model.fit(x, y, optimizer=optimizer, **options)
    assert history.stopped == "interrupted" and history.epochs == at // 2
    if at % 2 == 0 or (validated and at > 2):  # the weights of an epoch's end
        if at >= 2:
            assert truth.fit(x, y, **options | {"epochs": at // 2}) == history
        assert same(model.params, truth.params)
    else:
        assert not (model.params["3.bias"] == 7).any()
    assert (history.best_epoch is None) == (at < 2)


def test_ctrl_c_in_a_callback():
    def callback(epoch, numbers):
        if epoch == 2:
            raise KeyboardInterrupt

    history, w = scripted(5.0, 2.0, 3.0, 1.0, callbacks=[callback])
    assert history.stopped == "interrupted" and history["val_loss"] == [5, 2, 3] and w == 2


# ---- Divergence ----


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e308])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_weights(bad):
    model, x = Scale(3.0), np.arange(1.0, 7.0)
    optimizer = Scripted(model, [5.0, 6.0, 7.0, 8.0, bad, 9.0])
    with pytest.raises(DivergenceError, match=r"the loss is (inf|nan) at epoch 1, step 2") as caught:
        fit(model, x, np.zeros(6), loss="mse", optimizer=optimizer, batch_size=2, epochs=5, shuffle=False)
    error = caught.value
    assert isinstance(error, FloatingPointError) and (error.epoch, error.step) == (1, 2)
    assert model.params["w"] == 8 and optimizer.steps == 5  # 8 has been the weight of the last finite loss
    assert error.history.epochs == 1
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.step, again.history) == (str(error), 2, error.history)


def test_a_weight_that_is_not_finite_at_the_end_of_an_epoch():
    model = Scale(3.0)
    with pytest.raises(DivergenceError, match="a weight is infinite or NaN at epoch 1, step 0"):
        fit(model, X, X, loss="mse", optimizer=Scripted(model, [5.0, np.nan]), epochs=3)
    assert model.params["w"] == 5


def test_a_gradient_that_is_not_finite():
    model = Sequential(Linear(1, 1, dtype=np.float64, rng=0))
    loss = pyrnn.losses.Loss(
        lambda p, t: (1.0, lambda: np.full_like(p, np.nan if model.params["0.bias"] > 0 else -1))
    )
    model.params["0.bias"] = [-0.25]

    def slope(bias):
        return np.nan if bias > 0 else -1

    optimizer = Adam(model, lr=0.1)
    with pytest.raises(DivergenceError, match="the gradient is infinite or NaN at epoch 3, step 0"):
        fit(model, [[1.0]], [[1.0]], loss=loss, optimizer=optimizer, clip_norm=1.0, epochs=9)
    assert optimizer.steps == 3 and model.params["0.bias"] > 0


def test_a_validation_loss_that_is_not_finite():
    with pytest.raises(DivergenceError, match="val_loss is nan at epoch 0"):
        scripted(1.0, validation_data=(X, np.array([np.nan])))


# ---- Models of one's own ----


class Line:
    """y = a * x + b, with its parameters in a plain dict."""

    def __init__(self):
        self.params = {"a": np.zeros(1), "b": np.zeros(1)}

    def __call__(self, x):
        return self.params["a"] * x + self.params["b"]

    def vjp(self, x):
        return self(x), lambda dy: (None, {"a": (dy * x).sum(), "b": dy.sum()})


def test_a_model_and_an_optimizer_that_are_not_the_librarys():
    model, x = Line(), np.random.default_rng(0).standard_normal((40, 1))
    options = {"optimizer": Descent(model, 0.2), "epochs": 60, "validation_split": 0.2}
    history = fit(model, x, 3 * x - 2, loss="mse", batch_axis=0, rng=0, **options)
    np.testing.assert_allclose(predict(model, x, batch_axis=0), 3 * x - 2, rtol=0, atol=1e-4)
    assert history["val_loss"][-1] < 1e-8


class Pair:
    """A model of two layers, whose optimizer takes the gradients of both."""

    def __init__(self):
        self.layers = pyrnn.GRU(3, 4, rng=0), Linear(4, 2, rng=1)
        self.params = Sequential(*self.layers).params

    def __call__(self, x, lengths=None):
        return self.layers[1](self.layers[0](x, lengths=lengths)[0])

    def vjp(self, x, lengths=None, rng=None):
        self.drawn = rng.random()
        (h, _), pull_gru = self.layers[0].vjp(x, lengths=lengths)
        y, pull_linear = self.layers[1].vjp(h)

        def pull(dy):
            dh, linear = pull_linear(dy)
            dx, _, gru = pull_gru(dh)
            return dx, [gru, linear]

        return y, pull


def test_gradients_of_several_layers():
    x, _ = sequences()
    y, model, chain = (
        (x[..., 0] > 0).astype(int),
        Pair(),
        Sequential(pyrnn.GRU(3, 4, rng=0), Linear(4, 2, rng=1)),
    )
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 8, "rng": 0}
    first = fit(model, x, y, optimizer=Adam(model.layers), validation_split=0.2, **options)
    assert first == chain.fit(x, y, validation_split=0.2, **options) and same(model.params, chain.params)
    again = Pair()
    fit(again, x, y, optimizer=Adam(again.layers), validation_split=0.2, **options)
    assert again.drawn == model.drawn  # the generator is that of the seed and the step


# ---- Progress ----


def test_a_bar_shows_where_the_run_is(capsys):
    x, y = sequences()
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 8, "rng": 0}
    classifier().fit(x, y, **options, progress=True, validation_split=0.2)
    shown = capsys.readouterr().err
    for part in ("epoch 1/2", "epoch 2/2", "4/4", "step/s", "val_loss 0."):
        assert part in shown
    for quiet in (False, None):  # None: standard error is no terminal here
        classifier().fit(x, y, **options, progress=quiet)
        assert capsys.readouterr() == ("", "")


def test_the_bar_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    x, y = sequences()
    with pytest.raises(ImportError, match=r'progress=True needs tqdm; .*: pip install "pyrnn\[train\]"'):
        classifier().fit(x, y, loss="cross_entropy", progress=True)
    assert classifier().fit(x, y, loss="cross_entropy").epochs == 1
