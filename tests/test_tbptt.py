"""Truncated back-propagation through time: the hand-written loop, ragged pieces, clipping, resuming."""

import numpy as np
import pytest

import pyrnn
from pyrnn import GRU, LSTM, Adam, Bidirectional, Linear, Sequential, evaluate, fit, losses

from .models import Descent, Scale, classifier, ragged, same, sequences, tagger

X, _ = sequences(10, 23)
Y = (np.cumsum(X[..., 0], 0) > 0).astype(int)
OPTIONS = {"loss": "cross_entropy", "batch_size": 4, "epochs": 2}
EPS = float(np.finfo(np.float32).eps)


def by_hand(layers, steps):
    lstm, linear = layers
    adam, total = Adam(layers), []
    for _ in range(OPTIONS["epochs"]):
        for at in range(0, 10, 4):
            state, rows = None, slice(at, at + 4)
            for t in range(0, 23, steps):
                x, y = X[t : t + steps, rows], Y[t : t + steps, rows]
                (h, state), pull = lstm.vjp(x, state)
                out, pull_linear = linear.vjp(h)
                loss, dloss = losses.cross_entropy.vjp(out, y)
                dh, grads = pull_linear(dloss())
                adam.step([pull(dh)[2], grads])
                total.append(loss * y.size)
    return np.sum(np.reshape(total, (2, -1)), 1) / Y.size


@pytest.mark.parametrize("steps", [1, 5, 23, 99])
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_hand_written_loop(steps, batch_first):
    first, second = tagger(), tagger(batch_first=batch_first)
    means = by_hand(list(first), steps)
    data = (X.swapaxes(0, 1), Y.T) if batch_first else (X, Y)
    history = fit(second, *data, **OPTIONS, shuffle=False, tbptt=steps)
    if not batch_first:
        assert same(second.params, first.params)
    for name, array in first.params.items():
        np.testing.assert_allclose(second.params[name], array, rtol=0, atol=2.0**-10)
    np.testing.assert_allclose(history["loss"], means, rtol=0, atol=2.0**-10 if batch_first else 32 * EPS)


def test_pieces_as_long_as_the_sequences_are_none():
    results = []
    for steps in (None, 23, 24):
        model = tagger()
        results.append((fit(model, X, Y, **OPTIONS, rng=0, tbptt=steps), model.state_dict()))
    assert results[0][0] == results[1][0] == results[2][0]
    assert same(results[0][1], results[1][1]) and same(results[0][1], results[2][1])


def test_a_piece_goes_on_where_the_one_before_has_ended():
    """Without a step in between, the losses of the pieces make that of the whole."""
    x, y = ragged(15, 12)
    options = OPTIONS | {"epochs": 1, "metrics": ["accuracy"], "rng": 0, "restore_best": False}
    lengths = np.array([len(part) for part in x])
    weights = np.arange(15) % 3
    for given in ({}, {"sample_weight": weights}):
        model = tagger()
        frozen = Adam(model, lr=0)
        whole = evaluate(model, x, y, loss="cross_entropy", metrics=["accuracy"], **given)
        history = fit(model, x, y, optimizer=frozen, **options, **given, tbptt=5, validation_data=(x, y))
        for name, value in whole.items():
            assert history[name][0] == pytest.approx(value, rel=0, abs=32 * EPS)
        if not given:
            assert history["val_loss"][0] == pytest.approx(whole["loss"], rel=0, abs=32 * EPS)
    pieces = [-(-max(lengths[i] for i in rows) // 5) for rows in np.split(np.arange(15), [4, 8, 12])]
    again = Adam(model, lr=0)
    fit(model, x, y, optimizer=again, **options | {"shuffle": False}, tbptt=5)
    assert again.steps == sum(pieces)


def test_weights_of_steps_are_cut_with_them():
    weights, model = np.random.default_rng(0).integers(0, 3, (23, 10)), tagger()
    frozen = Adam(model, lr=0)
    history = fit(model, X, Y, optimizer=frozen, **OPTIONS, tbptt=6, sample_weight=weights)
    whole = evaluate(model, X, Y, loss="cross_entropy", sample_weight=weights)["loss"]
    assert history["loss"] == pytest.approx([whole, whole], rel=0, abs=32 * EPS)


def test_only_the_last_steps_matter_to_a_short_memory():
    """A task that needs four steps back: pieces of eight learn it, pieces of one do not."""
    rng, found = np.random.default_rng(0), {}
    x = rng.standard_normal((64, 16, 1)).astype(np.float32)
    y = np.roll(x, 4, axis=0)
    y[:4] = 0
    for steps in (1, 16):
        model = Sequential(GRU(1, 24, rng=0), Linear(24, 1, rng=1))
        history = fit(model, x, y, loss="mse", optimizer=Adam(model, lr=0.01), epochs=120, tbptt=steps, rng=0)
        found[steps] = history["loss"][-1]
    assert found[16] < 0.3 < 0.6 < found[1]


def test_tokens_and_a_model_of_ones_own():
    tokens = np.random.default_rng(0).integers(0, 7, (31, 3))

    class Own:
        def __init__(self):
            self.layers = pyrnn.Embedding(7, 4, rng=0), GRU(4, 5, rng=1), Linear(5, 7, rng=2)
            self.params = Sequential(*self.layers).params

        def __call__(self, x, state=None):
            h, state = self.layers[1](self.layers[0](x), state)
            return self.layers[2](h), state

        def vjp(self, x, state=None):
            x, pull_x = self.layers[0].vjp(x)
            (h, state), pull_h = self.layers[1].vjp(x, state)
            y, pull_y = self.layers[2].vjp(h)

            def pull(dy):
                dh, last = pull_y(dy)
                dx, _, middle = pull_h(dh)
                return [pull_x(dx)[1], middle, last]

            return (y, state), pull

    own, chain = Own(), Sequential(pyrnn.Embedding(7, 4, rng=0), GRU(4, 5, rng=1), Linear(5, 7, rng=2))
    options = {"loss": "cross_entropy", "tbptt": 10, "epochs": 3, "rng": 0, "validation_split": 0.34}
    first = fit(own, tokens[:-1], tokens[1:], optimizer=Adam(own.layers), **options)
    second = fit(chain, tokens[:-1], tokens[1:], **options)
    assert first == second and same(own.params, chain.params)


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value", "clip_adaptive"])
def test_gradients_are_clipped_as_told(clip):
    limit = 0.01
    model, other = tagger(), tagger()
    options = {"batch_size": 10, "shuffle": False, clip: limit}
    fit(model, X, Y, loss="cross_entropy", optimizer=pyrnn.SGD(model, 1.0), **options)
    y, pull = other.vjp(X)
    _, grads = pull(losses.cross_entropy.vjp(y, Y)[1]())
    {
        "clip_norm": lambda: pyrnn.clip_grad_norm(grads, limit),
        "clip_value": lambda: pyrnn.optim.clip_grad_value(grads, limit),
        "clip_adaptive": lambda: pyrnn.optim.clip_grad_adaptive(other, grads, limit),
    }[clip]()
    pyrnn.SGD(other, 1.0).step(grads)
    assert same(model.params, other.params) and not same(model.params, tagger().params)


def test_it_can_be_resumed(tmp_path):
    results = []
    for stops in ([6], [1, 4, 6]):
        for epochs in stops:
            model = Sequential(LSTM(3, 5, 2, dropout=0.5, rng=0), Linear(5, 2, rng=1))
            options = OPTIONS | {"epochs": epochs, "tbptt": 5, "rng": 0, "validation_split": 0.3}
            schedule = pyrnn.schedules.WarmUp(pyrnn.schedules.Cosine(0.05, 60), 10)
            options |= {"checkpoint": tmp_path / str(len(stops)), "resume": True}
            history = fit(model, X, Y, optimizer=Adam(model, schedule), **options)
        results.append((history, model.state_dict()))
    assert results[0][0] == results[1][0] and same(results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fit(tagger(), X, Y, **OPTIONS, tbptt=0), ValueError, "tbptt must be at least 1, got 0"),
        (lambda: fit(classifier(), X, Y[0], **OPTIONS, tbptt=3), ValueError, "tbptt must be None where"),
        (
            lambda: fit(tagger(bidirectional=True), X, Y, **OPTIONS, tbptt=3),
            ValueError,
            "tbptt must be None for a model that reads backwards",
        ),
        (
            lambda: fit(Sequential(Sequential(Bidirectional(GRU(3, 2)))), X, Y, **OPTIONS, tbptt=3),
            ValueError,
            "tbptt must be None for a model that reads backwards",
        ),
        (
            lambda: fit(Scale(), X, X, loss="mse", optimizer=Descent(Scale()), tbptt=3),
            TypeError,
            "tbptt needs a model whose vjp takes and returns a state",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_bar_counts_pieces(capsys):
    fit(tagger(), X, Y, **OPTIONS, tbptt=5, progress=True)
    assert "30/30" in capsys.readouterr().err
    x, y = ragged(9, 12)
    fit(tagger(), x, y, **OPTIONS, tbptt=5, progress=True)
    assert "18/18" in capsys.readouterr().err
