"""What every wheel must do on its machine, with NumPy and pytest alone."""

import math

import numpy as np
import pytest

import pyrnn


def lstm_by_hand(layer, x):
    p = layer.params
    h = c = np.zeros((x.shape[1], p["weight_hh_l0"].shape[1]))
    y = []
    for x_t in x:
        a = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
        i, f, g, o = np.split(a, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        y.append(h)
    return np.stack(y), (h[None], c[None])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lstm_is_its_formula(dtype):
    T, B, I, H = 7, 3, 5, 19
    layer = pyrnn.LSTM(I, H, dtype=dtype, rng=0)
    x = np.random.default_rng(1).standard_normal((T, B, I)).astype(dtype)
    y, (h, c) = layer(x)
    truth, (h_truth, c_truth) = lstm_by_hand(layer, x.astype(np.float64))
    # Rounding in a sum of T (I + H) terms of order one, which weights below 1 / sqrt(H) do not amplify.
    error = 4 * np.finfo(dtype).eps * math.ceil(math.log2(T * (I + H)))
    for got, want in [(y, truth), (h, h_truth), (c, c_truth)]:
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=error)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_gradient_is_a_slope(name):
    layer = getattr(pyrnn, name)(3, 9, dtype=np.float64, rng=0)
    rng = np.random.default_rng(2)
    x, dy, step = (
        rng.standard_normal((6, 2, 3)),
        rng.standard_normal((6, 2, 9)),
        rng.standard_normal((6, 2, 3)),
    )
    (y, _), pull = layer.vjp(x)
    dx, _, grads = pull(dy)
    np.testing.assert_array_equal(y, layer(x)[0])
    assert grads.keys() == layer.params.keys()
    h = 1e-5
    slope = np.sum((layer(x + h * step)[0] - layer(x - h * step)[0]) * dy) / (2 * h)
    # Truncation: h**2 / 6 times the third derivative, below 6 here. Rounding: eps in each element of y.
    error = h**2 + np.finfo(np.float64).eps * np.abs(dy).sum() / h
    np.testing.assert_allclose(np.sum(dx * step), slope, rtol=0, atol=error)


def test_shows_its_configuration(capsys):
    pyrnn.show_config()
    assert pyrnn.__version__ in capsys.readouterr().out
