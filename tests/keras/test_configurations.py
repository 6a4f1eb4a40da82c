"""Random layers and models of Keras itself, live and through its files: the same numbers, masks included."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # keras asks for it when it is imported

import warnings

import numpy as np
import pytest

import pyrnn
from pyrnn.interop import from_keras, load_keras_weights

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras

CONFIGURATIONS = 100
T, B, I = 7, 4, 3
RECURRENT = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "SimpleRNN": keras.layers.SimpleRNN}
ACTIVATIONS = ["tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "linear"]
pytestmark = pytest.mark.filterwarnings("ignore")


def random_layer(rng, units, sequences):
    kind = str(rng.choice(list(RECURRENT)))
    options = {"use_bias": bool(rng.random() < 0.8), "return_sequences": sequences}
    options |= {"bias_initializer": "random_normal", "dropout": 0.3, "recurrent_dropout": 0.2}
    if rng.random() < 0.5:
        options["activation"] = str(rng.choice(ACTIVATIONS))
    if kind != "SimpleRNN" and rng.random() < 0.5:
        options["recurrent_activation"] = str(rng.choice(ACTIVATIONS[:-1]))
    if kind == "GRU":
        options["reset_after"] = bool(rng.random() < 0.5)
    if sequences and rng.random() < 0.3:
        options["zero_output_for_mask"] = bool(rng.random() < 0.5)
    layer = RECURRENT[kind](units, **options)
    if rng.random() < 0.4:
        layer = keras.layers.Bidirectional(layer, merge_mode=str(rng.choice(["concat", "sum", "ave", "mul"])))
    return layer


def random_model(rng):
    """An input, perhaps masked; one to three recurrent layers; what Keras has between them."""
    tokens, masked = bool(rng.random() < 0.4), bool(rng.random() < 0.5)
    parts = [keras.Input((None,) if tokens else (None, I))]
    if tokens:
        parts.append(keras.layers.Embedding(9, 4, mask_zero=masked))
    elif masked:
        parts.append(keras.layers.Masking(mask_value=float(rng.choice([0.0, -2.0]))))
    count = int(rng.integers(1, 4))
    for k in range(count):
        sequences = k < count - 1 or bool(rng.random() < 0.5)
        parts.append(random_layer(rng, int(rng.integers(1, 9)), sequences))
        if rng.random() < 0.3:
            told = {"center": bool(rng.random() < 0.7), "scale": bool(rng.random() < 0.7)}
            told = told if any(told.values()) else {}
            parts.append(keras.layers.LayerNormalization(epsilon=0.01, **told))
        if rng.random() < 0.3:
            parts.append(keras.layers.Dropout(0.4))
    heads = rng.choice(["relu", "softmax", "gelu", None], int(rng.integers(0, 3)))
    parts += [keras.layers.Dense(int(rng.integers(1, 5)), activation=name) for name in heads]
    return keras.Sequential(parts), tokens, masked


def inputs(rng, model, tokens, masked):
    x = rng.integers(1, 9, (B, T)) if tokens else rng.standard_normal((B, T, I)).astype(np.float32)
    value = 0 if tokens or not masked else model.layers[0].mask_value
    if masked:
        for row, length in enumerate(rng.integers(1, T + 1, B)):
            x[row, length:] = value
    return x


def test_random_models_compute_the_same(tmp_path, capsys):
    rng, apart = np.random.default_rng(3), 0.0
    keras.utils.set_random_seed(3)
    for number in range(CONFIGURATIONS):
        model, tokens, masked = random_model(rng)
        for layer in model.layers:
            layer.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in layer.get_weights()])
        x = inputs(rng, model, tokens, masked)
        truth = np.asarray(model(x, training=False))
        found = from_keras(model)
        y = output(found(x))
        assert y.shape == truth.shape and y.dtype == np.float32
        error = float(np.abs(y - truth).max())
        apart = max(apart, error)
        assert error <= 1e-5, (number, found, error)
        assert output(found.vjp(x, rng=0)[0]).shape == truth.shape
        if number % 4 == 0:
            path = tmp_path / "model.keras"
            model.save(path)
            np.testing.assert_array_equal(output(from_keras(path)(x)), y)
            weights = tmp_path / "model.weights.h5"
            model.save_weights(weights)
            for file in (path, weights):
                other = from_keras(path)
                if any(len(part.params) != len(_weights(part)) for part in _leaves(other)):
                    continue
                for part in _leaves(other):
                    part.params.update({n: np.zeros(a.shape) for n, a in part.params.items()})
                load_keras_weights(other, file)
                np.testing.assert_array_equal(output(other(x)), y)
    with capsys.disabled():
        print(f"\n{CONFIGURATIONS} random models of Keras {keras.__version__}, largest error {apart:.1e}")


def output(found):
    """Of one layer alone: without its state."""
    return found[0] if isinstance(found, tuple) else found


def _leaves(model):
    return list(model) if isinstance(model, pyrnn.Sequential) else [model]


def _weights(part):
    """Those that Keras has: a LayerNorm without gain is one with ones here."""
    if type(part).__name__ == "LayerNorm":
        return (
            () if (np.array(part.params["weight"]) == 1).all() or "bias" not in part.params else part.params
        )
    return part.params


def test_single_layers_and_functional_models():
    x = np.random.default_rng(1).standard_normal((B, T, I)).astype(np.float32)
    layer = keras.layers.GRU(5, return_sequences=True)
    truth = np.asarray(layer(x))
    assert type(from_keras(layer)).__name__ == "GRU"
    np.testing.assert_allclose(from_keras(layer)(x)[0], truth, rtol=0, atol=1e-6)
    given = keras.Input((T, I))
    hidden = keras.layers.LSTM(4)(given)
    model = keras.Model(given, keras.layers.Dense(2)(hidden))
    np.testing.assert_allclose(from_keras(model)(x), np.asarray(model(x)), rtol=0, atol=1e-6)
    branched = keras.Model(given, keras.layers.Add()([hidden, keras.layers.LSTM(4)(given)]))
    with pytest.raises(ValueError, match="only chains of layers are known"):
        from_keras(branched)


def test_float64():
    layer = keras.layers.Dense(3, dtype="float64")
    layer.build((None, 2))
    assert from_keras(layer).dtype == np.float64


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: keras.layers.LSTM(3, stateful=True), "stateful=True is not supported"),
        (lambda: keras.layers.LSTM(3, return_state=True), "return_state=True is not supported"),
        (lambda: keras.layers.LSTM(3, go_backwards=True), "go_backwards=True is not supported"),
        (lambda: keras.layers.LSTM(3, activation="elu"), "activation='elu' is not supported"),
        (
            lambda: keras.layers.GRU(3, recurrent_activation="elu"),
            "recurrent_activation='elu' is not supported",
        ),
        (lambda: keras.layers.Dense(3, dtype="bfloat16"), "dtype must be float32 or float64, got bfloat16"),
        (lambda: keras.layers.Bidirectional(keras.layers.LSTM(3), merge_mode=None), "merge_mode is None"),
        (
            lambda: keras.layers.Bidirectional(
                keras.layers.LSTM(3),
                backward_layer=keras.layers.LSTM(3, activation="relu", go_backwards=True),
            ),
            "must have two layers with the same options",
        ),
        (lambda: keras.layers.LayerNormalization(axis=1), "axis="),
        (lambda: keras.layers.LayerNormalization(rms_scaling=True), "rms_scaling=True is not supported"),
        (lambda: keras.layers.Dense(3, activation="elu"), "activation='elu' is not supported"),
        (lambda: keras.layers.Dropout(0.5, noise_shape=(1, 1, 2)), "noise_shape"),
        (lambda: keras.layers.Conv1D(3, 2), "Conv1D 'conv1d.* is not supported"),
        (
            lambda: keras.layers.TimeDistributed(keras.layers.LayerNormalization()),
            "around LayerNormalization",
        ),
    ],
)
def test_what_pyrnn_does_not_have_is_refused(make, message):
    layer = make()
    if not getattr(layer, "return_state", False):
        layer.build((B, T, I))
    else:
        layer(np.zeros((B, T, I), np.float32))
    with pytest.raises(ValueError, match=message):
        from_keras(layer)


def test_padding_must_be_last():
    model = keras.Sequential(
        [keras.Input((None,)), keras.layers.Embedding(9, 4, mask_zero=True), keras.layers.GRU(3)]
    )
    with pytest.raises(ValueError, match=r"steps masked by 0.0 must be the last ones of a sequence"):
        from_keras(model)([[0, 1, 2]])


def test_a_layer_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="is it built"):
        from_keras(keras.layers.LSTM(3))
