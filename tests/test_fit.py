"""fit, predict and evaluate: the hand-written loop, data in all its forms, and what is refused."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn import GRU, LSTM, Adam, Linear, Sequential, clip_grad_norm, evaluate, fit, losses, predict

from .models import Descent, Scale, classifier, ragged, reader, same, sequences, tagger
from .problems import at_random

EPS = float(np.finfo(np.float32).eps)

# ---- The loop ----


def by_hand(model, x, y, epochs, batch_size, clip=None, **options):
    adam, means = Adam(model), []
    for _ in range(epochs):
        total = 0.0
        for at in range(0, x.shape[1], batch_size):
            rows = slice(at, at + batch_size)
            given = {name: value[rows] for name, value in options.items()}
            out, pull = model.vjp(x[:, rows], **given)
            loss, dloss = losses.cross_entropy.vjp(out, y[..., rows])
            grads = pull(dloss())[1]
            if clip:
                clip_grad_norm(grads, clip)
            adam.step(grads)
            total += loss * len(range(*rows.indices(x.shape[1])))
        means.append(total / x.shape[1])
    return means


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("make", [classifier, tagger])
def test_it_is_the_hand_written_loop(make, clip):
    (x, y), first, second = sequences(), make(), make()
    if make is tagger:
        y = (x[..., 1] > 0).astype(int)
    means = by_hand(first, x, y, 3, 8, clip)
    history = fit(second, x, y, loss="cross_entropy", epochs=3, batch_size=8, shuffle=False, clip_norm=clip)
    assert same(second.params, first.params)
    np.testing.assert_allclose(history["loss"], means, rtol=0, atol=8 * EPS)
    assert history.stopped == "epochs" and history.epochs == 3 and history.best_epoch == 2


def test_a_seed_makes_the_run():
    x, y = sequences()
    runs = []
    for rng in (0, 0, 1, np.random.default_rng(0)):
        model = classifier(p=0.5)
        history = model.fit(x, y, loss="cross_entropy", epochs=2, batch_size=8, rng=rng)
        runs.append((history, model.state_dict()))
    for i, (history, state) in enumerate(runs):
        assert (history == runs[0][0]) == same(state, runs[0][1]) == (i != 2)


def test_every_epoch_has_every_sequence_once_in_another_order():
    model, x = Scale(), np.arange(10.0)
    fit(model, x, x, loss="mse", optimizer=Descent(model, 0), epochs=3, batch_size=4, rng=0)
    epochs = np.concatenate(model.seen).reshape(3, 10)
    assert [len(batch) for batch in model.seen] == [4, 4, 2] * 3
    np.testing.assert_array_equal(np.sort(epochs), [np.arange(10)] * 3)
    assert len({tuple(epoch) for epoch in epochs.tolist()} | {tuple(range(10))}) == 4


def test_buckets_hold_sequences_of_like_lengths():
    seen = []

    class Recorder(Scale):
        def __call__(self, x, lengths=None):
            return super().__call__(x)

        def vjp(self, x, lengths=None):
            assert len(x) == max(lengths)
            seen.append(lengths.tolist())
            return super().vjp(x)

    x = [np.full(length, 1.0) for length in np.random.default_rng(0).integers(1, 100, 60)]
    waste = {}
    for bucket in (False, True):
        seen.clear()
        model = Recorder()
        options = {"loss": "mse", "optimizer": Descent(model), "batch_size": 8, "rng": 3}
        fit(model, x, x, **options, bucket=bucket)
        assert sorted(itertools.chain(*seen)) == sorted(map(len, x))
        waste[bucket] = sum(max(batch) - length for batch in seen for length in batch)
    assert waste[True] < waste[False] / 5
    spans = sorted((min(batch), max(batch)) for batch in seen)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)) and seen[0] != min(seen)


# ---- Data ----


def test_a_list_is_its_padded_array():
    (x, y), results = ragged(), []
    lengths = np.array([len(part) for part in x])
    padded, tags = np.full((9, 20, 3), np.nan, np.float32), np.full((9, 20), 77)
    for i, (part, targets) in enumerate(zip(x, y, strict=True)):
        padded[: len(part), i], tags[: len(part), i] = part, targets
    for data, options in [((x, y), {}), ((padded, tags), {"lengths": lengths})]:
        for bucket in (False, True):
            model = tagger()
            history = model.fit(
                *data, loss="cross_entropy", epochs=2, batch_size=6, rng=0, bucket=bucket, **options
            )
            numbers = model.evaluate(*data, loss="cross_entropy", metrics=["accuracy"], **options)
            results.append((bucket, model.state_dict(), history, numbers))
    for bucket, state, history, numbers in results[2:]:
        other = next(found for found in results if found[0] == bucket)
        assert same(state, other[1]) and history == other[2] and numbers == other[3]


def test_a_ragged_loss_is_the_mean_over_the_steps_that_are_there():
    x, y = ragged()
    model = tagger()
    parts = [(losses.cross_entropy(model(a[:, None])[:, 0], b), len(b)) for a, b in zip(x, y, strict=True)]
    truth = sum(loss * n for loss, n in parts) / sum(n for _, n in parts)
    for size in (1, 7, 20):
        found = evaluate(model, x, y, loss="cross_entropy", batch_size=size)["loss"]
        assert found == pytest.approx(truth, rel=0, abs=16 * EPS)


def test_batch_first_or_not():
    x, y = sequences()
    tags = (x[..., 1] > 0).astype(int)
    for make, targets in ((classifier, (y, y)), (tagger, (tags, tags.T))):
        numbers = []
        for batch_first in (False, True):
            model = make(batch_first=batch_first)
            given = x.swapaxes(0, 1) if batch_first else x
            model.fit(given, targets[batch_first], loss="cross_entropy", batch_size=8, rng=0)
            found = model.predict(given, batch_size=8)
            numbers.append(found.swapaxes(0, 1) if batch_first and found.ndim == 3 else found)
        np.testing.assert_allclose(numbers[0], numbers[1], rtol=0, atol=64 * EPS)


def test_a_model_without_a_time_axis_takes_rows():
    x = np.random.default_rng(0).standard_normal((50, 2))
    y = x @ [[1.0], [-2.0]] + 3
    model = Sequential(Linear(2, 1, dtype=np.float64, rng=0))
    history = model.fit(x, y, loss="mse", optimizer=Adam(model, lr=0.1), epochs=60, rng=0)
    assert history["loss"][-1] < 1e-3 * history["loss"][0]
    assert model.predict(x).shape == (50, 1)


def test_tokens_and_next_tokens():
    tokens = np.random.default_rng(0).integers(0, 7, (12, 5))
    model = reader()
    first = model.evaluate(tokens[:-1], tokens[1:], loss="cross_entropy")["loss"]
    model.fit(tokens[:-1], tokens[1:], loss="cross_entropy", optimizer=Adam(model, lr=0.03), epochs=60, rng=0)
    assert model.evaluate(tokens[:-1], tokens[1:], loss="cross_entropy")["loss"] < 0.5 * first


def test_the_axes_may_be_said():
    """Where x is square, (N, N) targets may be of steps or of sequences."""
    x = np.random.default_rng(0).standard_normal((4, 4, 4))
    y = np.arange(16.0).reshape(4, 4)
    seen = []

    class Both(Scale):
        def vjp(self, x):
            seen.append(x)
            return x[:, :, 0], lambda dy: {"w": np.zeros(1)}

    def targets(**options):
        model = Both()
        kept = []
        metric = lambda predictions, targets: kept.append(targets) or 0.0  # noqa: E731
        fit(
            model,
            x,
            y,
            loss="mse",
            optimizer=Descent(model),
            batch_size=4,
            shuffle=False,
            metrics=[metric],
            **options,
        )
        return kept[0], seen[-1]

    np.testing.assert_array_equal(targets()[0], y)
    np.testing.assert_array_equal(targets(batch_axis=1)[1], x)
    for axis, rows in ((0, 0), (1, 1), ((1, 0), 0), ((0, 0), 0)):
        model, kept = Scale(), []
        loss = losses.Loss(lambda p, t, kept=kept: (kept.append(t) or 0.0, lambda: np.zeros_like(p)))
        options = {"optimizer": Descent(model), "batch_size": 1, "shuffle": False}
        fit(model, x, y, loss=loss, batch_axis=axis, **options)
        np.testing.assert_array_equal(kept[1], y[1:2] if rows == 0 else y[:, 1:2])


@pytest.mark.parametrize("per_step", [False, True])
def test_a_weight_of_zero_leaves_a_sequence_out(per_step):
    x, y = sequences(8)
    make, y = (tagger, (x[..., 1] > 0).astype(int)) if per_step else (classifier, y)
    weights, kept = np.array([1, 0, 2, 1, 0, 1, 1, 2.0]), np.array([0, 2, 2, 3, 5, 6, 7, 7])
    options = {"loss": "cross_entropy", "metrics": ["accuracy"], "batch_size": 3}
    numbers = evaluate(make(), x, y, sample_weight=weights, **options)
    again = evaluate(make(), x[:, kept], y[..., kept], **options)
    for name, value in numbers.items():
        assert value == pytest.approx(again[name], rel=0, abs=16 * EPS)
    if per_step:
        whole = np.broadcast_to(weights, (6, 8))
        assert evaluate(make(), x, y, sample_weight=whole, **options) == numbers
        parts = [x[:, i] for i in range(8)], [y[:, i] for i in range(8)]
        assert evaluate(make(), *parts, sample_weight=weights, **options) == numbers


# ---- Validation ----


def test_the_last_or_random_sequences_are_validated_with():
    x, splits = np.arange(20.0), []
    for options in ({"shuffle": False}, {"rng": 0}, {"rng": 0}, {"rng": 1}):
        model = Scale()
        fit(model, x, x, loss="mse", optimizer=Descent(model, 0), validation_split=0.25, epochs=2, **options)
        trained = sorted(np.concatenate(model.seen[: len(model.seen) // 2]).tolist())
        assert sorted(np.concatenate(model.seen).tolist()) == sorted(trained * 2) and len(trained) == 15
        splits.append(trained)
    assert splits[0] == list(range(15)) and splits[1] == splits[2] != splits[3] and splits[1] != splits[0]


@pytest.mark.parametrize("form", ["arrays", "lists", "lengths"])
def test_validation_is_evaluate(form):
    x, y = ragged(12) if form == "lists" else sequences(12)
    model = tagger() if form == "lists" else classifier()
    other = (
        ragged(5, seed=1)
        if form == "lists"
        else (*sequences(5, seed=1), *[[2, 6, 0, 1, 6]] * (form == "lengths"))
    )
    options = {"loss": "cross_entropy", "metrics": {"hits": "accuracy", "nats": losses.cross_entropy}}
    history = fit(model, x, y, **options, validation_data=other, epochs=2, rng=0, restore_best=False)
    found = evaluate(model, *other[:2], **options, lengths=other[2] if form == "lengths" else None)
    assert list(history) == ["loss", "hits", "nats", "val_loss", "val_hits", "val_nats"]
    assert {
        name.removeprefix("val_"): history[name][1] for name in history if name.startswith("val_")
    } == found
    assert found["nats"] == found["loss"]


# ---- Losses and metrics ----


def test_losses_and_their_options():
    x, y = sequences()
    y = y.copy()
    y[:7] = -1
    loss = functools.partial(losses.cross_entropy, ignore_index=-1)
    found = evaluate(classifier(), x, y, loss=loss, batch_size=6)["loss"]
    kept = evaluate(classifier(), x[:, 7:], y[7:], loss=losses.cross_entropy)["loss"]
    assert found == pytest.approx(kept, rel=0, abs=8 * EPS)
    targets = np.stack([y, 1 - y], -1)
    assert evaluate(classifier(), x, targets, loss="mse", metrics=["mse"])["loss"] == losses.mse(
        classifier()(x), targets
    )


def test_metrics_are_means_over_what_counts():
    x, y = ragged()
    model = tagger()

    def share_of_ones(predictions, targets, mask=None):
        return float(targets[mask].mean() if mask is not None else targets.mean())

    numbers = evaluate(model, x, y, loss="cross_entropy", metrics=[share_of_ones, "accuracy"], batch_size=3)
    assert numbers["share_of_ones"] == pytest.approx(np.concatenate(y).mean(), abs=1e-15)
    hits = [found.argmax(-1) == targets for found, targets in zip(predict(model, x), y, strict=True)]
    assert numbers["accuracy"] == pytest.approx(np.concatenate(hits).mean(), abs=1e-15)


# ---- predict ----


@at_random
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=9), st.integers(1, 9), st.booleans(), st.integers(0, 9)
)
def test_predictions_of_lists_are_those_of_each_sequence_alone(lengths, size, batch_first, seed):
    layer, rng = GRU(2, 3, batch_first=batch_first, rng=0), np.random.default_rng(seed)
    x = [rng.standard_normal((length, 2)).astype(np.float32) for length in lengths]
    for part, y in zip(x, predict(layer, x, batch_size=size), strict=True):
        np.testing.assert_array_equal(y, layer(part)[0])


@pytest.mark.parametrize("size", [1, 3, 20, 50])
def test_predictions_of_arrays_have_the_axes_of_the_call(size):
    x, _ = sequences(20, 6)
    lengths = np.random.default_rng(0).integers(0, 5, 20)
    lstm = LSTM(3, 4, rng=0)
    np.testing.assert_array_equal(predict(lstm, x, batch_size=size), lstm(x)[0])
    np.testing.assert_array_equal(
        predict(lstm, x, batch_size=size, lengths=lengths), lstm(x, lengths=lengths)[0]
    )
    model = classifier()
    np.testing.assert_allclose(model.predict(x, batch_size=size), model(x), rtol=0, atol=8 * EPS)
    assert predict(Scale(), np.arange(4.0), batch_size=size).tolist() == [0, 1, 2, 3]
