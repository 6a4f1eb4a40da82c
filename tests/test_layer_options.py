"""Layers with options: they are their cells with those options; the noise of training; errors."""

import copy
import pickle

import numpy as np
import pytest

import pyrnn
from pyrnn import functional
from pyrnn.reference.common import sigmoid

from .problems import assert_near
from .slopes import assert_slope

T, B, N_IN, H = 7, 4, 3, 5
ROUNDING = 1000 * np.finfo(np.float64).eps  # of sums of fewer than 100 terms, which normalization enlarges

LAYERS = {
    "relu lstm": (pyrnn.LSTM, {"activation": "relu"}),
    "peepholes": (pyrnn.LSTM, {"peepholes": True, "cell_clip": 0.75}),
    "coupled": (pyrnn.LSTM, {"coupled": True, "peepholes": True, "recurrent_activation": "hard_sigmoid"}),
    "projected": (pyrnn.LSTM, {"proj_size": 3, "peepholes": True}),
    "normalized lstm": (pyrnn.LSTM, {"layer_norm": True, "peepholes": True, "cell_clip": 0.75}),
    "normalized gru": (pyrnn.GRU, {"layer_norm": True, "activation": "softsign"}),
    "gru": (pyrnn.GRU, {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}),
    "rnn": (pyrnn.RNN, {"nonlinearity": "softsign"}),
    "indrnn": (pyrnn.IndRNN, {"activation": "tanh"}),
    "mingru": (pyrnn.MinGRU, {}),
    "minlstm": (pyrnn.MinLSTM, {}),
}
NOISES = {
    "zoneout": {"zoneout": 0.4},
    "input": {"input_dropout": 0.4},
    "recurrent": {"recurrent_dropout": 0.4},
    "weight": {"weight_dropout": 0.4},
}
WITHOUT_PRODUCT = (pyrnn.IndRNN, pyrnn.MinGRU, pyrnn.MinLSTM)
each_layer = pytest.mark.parametrize("kind", LAYERS.values(), ids=LAYERS)


def made(kind, **options):
    cls, own = kind
    return cls(N_IN, H, 2, bidirectional=True, dtype=np.float64, rng=0, **own, **options)


def drawn(layer):
    rng = np.random.default_rng(1)
    width = getattr(layer, "proj_size", 0) or H
    return rng.standard_normal((T, B, N_IN)), rng.standard_normal((T, B, 2 * width))


def normalized(a, gain, shift):
    """`a` (B, n) through a LayerNorm of its own."""
    norm = pyrnn.LayerNorm(a.shape[1], dtype=np.float64)
    norm.params.update({"weight": gain, "bias": shift})
    return norm(a)


def random_parameters(layer, seed=5):
    rng = np.random.default_rng(seed)
    layer.params.update({name: rng.uniform(-1, 1, array.shape) for name, array in layer.params.items()})
    return {name.removesuffix("_l0"): array for name, array in layer.params.items()}


def test_a_normalized_lstm_is_made_of_layer_norms():
    """Ba et al. 2016, equations 20-22, step by step: one normalization over all gates on each side."""
    layer = pyrnn.LSTM(N_IN, H, layer_norm=True, dtype=np.float64, rng=0)
    p, (x, _) = random_parameters(layer), drawn(layer)
    h, c = np.zeros((B, H)), np.zeros((B, H))
    for x_t, y_t in zip(x, layer(x)[0], strict=True):
        a = normalized(x_t @ p["weight_ih"].T, p["gain_ih"], p["bias_ih"])
        i, f, g, o = np.split(a + normalized(h @ p["weight_hh"].T, p["gain_hh"], p["bias_hh"]), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(normalized(c, p["gain_ch"], p["bias_ch"]))
        assert_near(y_t, h, ROUNDING)


def test_a_normalized_gru_is_made_of_layer_norms():
    """Equations 29-32: r and z share a normalization on each side, n has its own."""
    layer = pyrnn.GRU(N_IN, H, layer_norm=True, dtype=np.float64, rng=0)
    p, (x, _) = random_parameters(layer), drawn(layer)
    h, both, last = np.zeros((B, H)), slice(2 * H), slice(2 * H, None)

    def part(side, v, rows):
        gain, shift = p[f"gain_{side}"][rows], p[f"bias_{side}"][rows]
        return normalized(v @ p[f"weight_{side}"][rows].T, gain, shift)

    for x_t, y_t in zip(x, layer(x)[0], strict=True):
        r, z = np.split(sigmoid(part("ih", x_t, both) + part("hh", h, both)), 2, axis=1)
        n = np.tanh(part("ih", x_t, last) + r * part("hh", h, last))
        h = (1 - z) * n + z * h
        assert_near(y_t, h, ROUNDING)


def test_normalization_forgets_the_scale_of_weights():
    """But for 1e-5 beside the variance: what the normalization is there for."""
    layer = pyrnn.LSTM(N_IN, H, layer_norm=True, dtype=np.float64, rng=0)
    x, _ = drawn(layer)
    y, _ = layer(x)
    layer.params["weight_ih_l0"] = layer.params["weight_ih_l0"] * 1000
    larger, _ = layer(x)
    layer.params["weight_ih_l0"] = layer.params["weight_ih_l0"] * 1000
    again, _ = layer(x)
    assert np.abs(larger - y).max() < 1e-3 and np.abs(again - larger).max() < 1e-9


@each_layer
@pytest.mark.parametrize("noise", [{}, *NOISES.values()], ids=["quiet", *NOISES])
def test_gradients_are_central_differences(kind, noise):
    """With the same seed the same noise is drawn, forward and on the way back."""
    if set(noise) & {"weight_dropout", "recurrent_dropout"} and kind[0] in WITHOUT_PRODUCT:
        with pytest.raises(TypeError, match="dropout"):
            made(kind, **noise)
        return
    layer = made(kind, **noise)
    x, dy = drawn(layer)
    lengths = np.array([T, 3, 0, 5])

    def loss(new=x):
        return float((layer.vjp(new, lengths=lengths, rng=3)[0][0] * dy).sum())

    _, pull = layer.vjp(x, lengths=lengths, rng=3)
    dx, _, grads = pull(dy)
    curved = "layer_norm" in kind[1]
    assert_slope(dx, loss, x, curved)
    for name in [n for n in grads if n.endswith("_l1_reverse")]:
        value = layer.params[name].copy()

        def of_weight(new, name=name):
            layer.params[name] = new
            return loss()

        assert_slope(grads[name], of_weight, value, curved)
        layer.params[name] = value


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_noise_is_for_training_alone_and_comes_from_a_seed(noise):
    quiet, noisy = made((pyrnn.LSTM, {})), made((pyrnn.LSTM, noise))
    noisy.load_state_dict(quiet.state_dict())
    x, _ = drawn(noisy)
    if "zoneout" not in noise:  # whose expectation is taken
        np.testing.assert_array_equal(noisy(x)[0], quiet(x)[0])
    one, again, other = (noisy.vjp(x, rng=seed)[0][0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and (one != noisy(x)[0]).any()
    twin = pickle.loads(pickle.dumps(noisy))
    np.testing.assert_array_equal(twin.vjp(x)[0][0], copy.deepcopy(noisy).vjp(x)[0][0])


def test_input_dropout_is_one_mask_for_all_steps():
    layer = pyrnn.RNN(200, 3, input_dropout=0.5, dtype=np.float64, rng=0)
    layer.params["weight_hh_l0"] = np.zeros((3, 3))
    (y, _), _ = layer.vjp(np.ones((9, 6, 200)), rng=0)
    np.testing.assert_array_equal(y, np.broadcast_to(y[0], y.shape))
    assert len(np.unique(y[0, :, 0])) == 6  # each row has its own


def test_weight_dropout_is_dropconnect():
    """Half of R is gone, the rest twice as large, and gradients go where something is left."""
    layer = pyrnn.RNN(1, 40, weight_dropout=0.5, dtype=np.float64, rng=0)
    layer.params.update({n: np.zeros(a.shape) for n, a in layer.params.items() if n != "weight_hh_l0"})
    layer.params["weight_hh_l0"] = np.full((40, 40), 1e-6)
    state = np.eye(40)[None]
    (y, _), pull = layer.vjp(np.zeros((1, 40, 1)), state, rng=0)
    values = np.unique(y.round(12))
    np.testing.assert_allclose(values, [0, 2e-6], rtol=1e-9)
    _, _, grads = pull(np.ones_like(y))
    np.testing.assert_array_equal(grads["weight_hh_l0"].T != 0, y[0] > 1e-7)


@pytest.mark.parametrize("kind", LAYERS.values(), ids=LAYERS)
def test_a_stream_is_the_layer_step_by_step(kind):
    cls, own = kind
    layer = cls(N_IN, H, 2, rng=0, zoneout=0.25, **own)
    x = np.random.default_rng(0).standard_normal((T, B, N_IN)).astype(np.float32)
    stream, (y, _) = layer.stream(B), layer(x)
    for x_t, y_t in zip(x, y, strict=True):
        np.testing.assert_array_equal(stream(x_t), y_t)


def test_representations_say_what_was_asked_for():
    plain = "LSTM(3, 5, num_layers=2, bidirectional=True, dtype=np.float64)"
    assert repr(made((pyrnn.LSTM, {}))) == plain
    text = repr(pyrnn.LSTM(3, 5, activation="relu", coupled=True, zoneout=(0.1, 0.2), cell_clip=2.0))
    assert repr(pyrnn.LSTM(3, 5, proj_size=2)) == "LSTM(3, 5, proj_size=2)"
    for part in ("activation='relu'", "coupled=True", "zoneout=(0.1, 0.2)", "cell_clip=2.0"):
        assert part in text
    assert repr(pyrnn.LSTM(3, 5, layer_norm=True)) == "LSTM(3, 5, layer_norm=True)"
    assert repr(pyrnn.GRU(3, 5, layer_norm=True)) == "GRU(3, 5, layer_norm=True)"
    assert repr(pyrnn.RNN(3, 5, nonlinearity="softsign")) == "RNN(3, 5, nonlinearity='softsign')"


def test_a_relu_lstm_learns():
    """The mean of a sequence from its last state, to a tenth of the variance of what it predicts."""
    rng = np.random.default_rng(0)
    x = rng.random((10, 64, 1)).astype(np.float32)
    target = x.mean(0)
    model = pyrnn.Sequential(pyrnn.LSTM(1, 50, activation="relu", rng=0), pyrnn.Linear(50, 1, rng=1))
    optimizer = pyrnn.Adam(model, 3e-3)
    for _ in range(500):
        y, pull = model.vjp(x)
        dy = np.zeros_like(y)
        dy[-1] = 2 * (y[-1] - target) / target.size
        optimizer.step(pull(dy)[-1])
    assert ((model(x)[-1] - target) ** 2).mean() < 0.1 * target.var()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pyrnn.LSTM(3, 5, activation="swish"), "activation must be one of"),
        (lambda: pyrnn.GRU(3, 5, recurrent_activation="swish"), "recurrent_activation must be one of"),
        (lambda: pyrnn.LSTM(3, 5, zoneout=2), "zoneout must lie between 0 and 1"),
        (lambda: pyrnn.LSTM(3, 5, proj_size=-1), "proj_size must lie between 0 and 4, got -1"),
        (lambda: pyrnn.LSTM(3, 5, proj_size=5), "proj_size must lie between 0 and 4, got 5"),
        (lambda: pyrnn.LSTM(3, 5, cell_clip=-1), "cell_clip must be finite and above 0"),
        (lambda: pyrnn.LSTM(3, 5, input_dropout=-1), "input_dropout must lie between 0 and 1"),
        (lambda: pyrnn.GRU(3, 5, recurrent_dropout=1.5), "recurrent_dropout must lie between 0 and 1"),
        (lambda: pyrnn.RNN(3, 5, weight_dropout=1.5), "weight_dropout must lie between 0 and 1"),
        (lambda: pyrnn.IndRNN(3, 5, activation="swish"), "activation must be one of"),
        (lambda: pyrnn.LSTM(3, 5, layer_norm=True, coupled=True), "layer_norm must be False with coupled"),
        (
            lambda: pyrnn.GRU(3, 5, layer_norm=True, reset_after=False),
            "layer_norm must be False with reset_after",
        ),
    ],
)
def test_errors_name_the_option(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_projection_is_a_whole_number_of_an_lstm():
    for wrong in (2.0, True, "2", None):
        with pytest.raises(TypeError, match="proj_size must be an integer"):
            pyrnn.LSTM(3, 5, proj_size=wrong)
    for cls in (pyrnn.GRU, pyrnn.RNN, pyrnn.IndRNN):
        with pytest.raises(TypeError, match="proj_size"):
            cls(3, 5, proj_size=2)
    assert pyrnn.LSTM(3, 5, proj_size=np.int64(0)).proj_size == 0


def test_flags_are_flags():
    for make, name in ((pyrnn.LSTM, "peepholes"), (pyrnn.LSTM, "coupled"), (pyrnn.LSTM, "layer_norm")):
        with pytest.raises(TypeError, match=f"{name} must be True or False"):
            make(3, 5, **{name: 1})
    with pytest.raises(TypeError, match="layer_norm must be True or False"):
        pyrnn.GRU(3, 5, layer_norm=None)
    assert set(functional.ACTIVATIONS) >= {"tanh", "relu", "hard_sigmoid", "softsign", "identity", "sigmoid"}
