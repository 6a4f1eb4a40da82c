"""Initial values: their laws, and that they arrive where they belong."""

import math

import numpy as np
import pytest

from pyrnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    GRUCell,
    IndRNN,
    Linear,
    LSTMCell,
    MinGRU,
    MinLSTM,
    Sequential,
    TransformerEncoderLayer,
    init,
)

SIGMOID_1 = 1 / (1 + math.exp(-1))
N = 200  # inputs, and half the outputs: a mean square of 80,000 numbers errs by 0.5 %


@pytest.mark.parametrize(
    ("draw", "square"),
    [
        (init.glorot_uniform, 2 / (N + 2 * N)),
        (init.glorot_normal, 2 / (N + 2 * N)),
        (init.he_uniform, 2 / N),
        (init.he_normal, 2 / N),
        (init.uniform, 0.05**2 / 3),
        (init.normal, 0.05**2),
    ],
)
def test_random_arrays(dtype, draw, square):
    found = draw((2 * N, N), 3, dtype)
    assert found.dtype == dtype and found.shape == (2 * N, N)
    assert abs(found.mean()) < 6 * math.sqrt(square / found.size)
    assert np.square(found, dtype=np.float64).mean() == pytest.approx(square, rel=0.04)
    np.testing.assert_array_equal(draw((2 * N, N), np.random.default_rng(3), dtype), found)
    if "uniform" in draw.__name__:
        limit = math.sqrt(3 * square)
        assert 0.999 * limit < np.abs(found).max() <= limit * (1 + np.finfo(dtype).eps)
    else:
        assert 3 * math.sqrt(square) < np.abs(found).max() < 7 * math.sqrt(square)
    if "gain" in draw.__kwdefaults__:
        np.testing.assert_array_equal(draw((2 * N, N), 3, dtype, gain=0.5), found / 2)


def test_fans_of_more_axes():
    """(out, in, 5): five times as many numbers make an output."""
    bound = math.sqrt(6 / (5 * (30 + 40)))
    assert 0.99 * bound < init.glorot_uniform((30, 40, 5), 0).max() <= bound
    bound = math.sqrt(6 / (5 * 40))
    assert 0.99 * bound < init.he_uniform((30, 40, 5), 0).max() <= bound


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal(dtype, shape):
    q = init.orthogonal(shape, 0, dtype, gain=2).astype(np.float64).reshape(shape[0], -1)
    assert q.shape[0] == shape[0]
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), rtol=0, atol=64 * np.finfo(dtype).eps)


def test_orthogonal_matrices_have_no_preferred_sign():
    """Of a QR as LAPACK leaves it, every diagonal element would be negative."""
    diagonals = [np.diagonal(init.orthogonal((3, 3), seed)) for seed in range(200)]
    share = (np.array(diagonals) > 0).mean(0)
    assert (np.abs(share - 0.5) < 6 * math.sqrt(0.25 / 200)).all()
    assert {np.sign(init.orthogonal((1, 1), seed)).item() for seed in range(20)} == {-1, 1}


def test_plain_arrays(dtype):
    for found, truth in [
        (init.zeros((2, 3), None, dtype), np.zeros((2, 3))),
        (init.zeros(4, None, dtype), np.zeros(4)),
        (init.constant((2,), None, dtype, value=0.5), [0.5, 0.5]),
        (init.identity((2, 3), None, dtype, gain=2), [[2, 0, 0], [0, 2, 0]]),
        (init.uniform((3,), 0, dtype, low=2, high=2), [2, 2, 2]),
    ]:
        np.testing.assert_array_equal(found, np.asarray(truth, dtype), strict=True)


# ---- layers ----


def blocks(array, H):
    return array.reshape(-1, H, *array.shape[1:])


def test_recurrent_matrices_are_drawn_gate_by_gate():
    gru = GRU(3, 5, num_layers=2, bidirectional=True, dtype=np.float64, rng=0)
    before = gru.params.copy()
    init.fill(gru, "weight_hh*", init.orthogonal, rng=1, gain=3)
    for name, array in gru.params.items():
        if not name.startswith("weight_hh"):
            np.testing.assert_array_equal(array, before[name])
            continue
        gates = blocks(array, 5)
        assert len(gates) == 3 and len({gate.tobytes() for gate in gates}) == 3
        for gate in gates:
            np.testing.assert_allclose(gate @ gate.T, 9 * np.eye(5), rtol=0, atol=1e-13)
    init.fill(gru, "weight_ih_l0", init.glorot_uniform, rng=1)
    bound = math.sqrt(6 / (3 + 5))
    assert 0.8 * bound < np.abs(gru.params["weight_ih_l0"]).max() <= bound


def test_one_stream_for_everything():
    a, b = (Sequential(LSTM(3, 4, rng=0), Linear(4, 2, rng=0)) for _ in range(2))
    rng = np.random.default_rng(5)
    init.fill(a, "*weight*", init.glorot_normal, rng=5)
    for name, count in [("0.weight_ih_l0", 4), ("0.weight_hh_l0", 4), ("1.weight", 1)]:
        rows, columns = b.params[name].shape
        drawn = [init.glorot_normal((rows // count, columns), rng) for _ in range(count)]
        b.params[name] = np.concatenate(drawn)
    assert all(np.array_equal(array, b.params[name]) for name, array in a.params.items())


def test_names_reach_into_every_layer_made_of_layers():
    transformer = TransformerEncoderLayer(4, 2, 6, rng=0)
    both = Bidirectional(MinGRU(4, 3, rng=0))
    model = Sequential(transformer, Sequential(both, Dropout(0.1), Linear(6, 2, rng=0)))
    version = model.params.version
    init.fill(model, "*weight*", init.constant, value=0.25)
    assert model.params.version > version
    for name, array in model.params.items():
        assert (array == 0.25).all() == ("weight" in name), name
    init.fill(LSTM(3, 4, peepholes=True), "weight_ch*", init.zeros)
    init.fill(IndRNN(3, 4), "weight_hh*", init.uniform, low=0, high=1)


def keeps(layer, H):
    """The share of its state that each unit keeps in a step of zeros, once nothing but biases is left."""
    init.fill(layer, "weight*", init.zeros)
    lstm, cell = isinstance(layer, (LSTM, LSTMCell)), isinstance(layer, (LSTMCell, GRUCell))
    x = np.zeros((1, layer.input_size)) if cell else np.zeros((1, 1, layer.input_size))

    def step(value):
        state = np.full((*x.shape[:-1], H), value)
        found = layer(x, (np.zeros_like(state), state) if lstm else state)
        state = found if cell else found[1]
        return (state[1] if lstm else state).ravel()

    return step(1.0) - step(0.0)


@pytest.mark.parametrize("make", [LSTM, LSTMCell, lambda *a, **k: LSTM(*a, coupled=True, **k)])
def test_forget_bias_is_what_the_gate_gets(make):
    layer = make(3, 4, dtype=np.float64, rng=0)
    before = layer.params.copy()
    init.forget_bias(layer)
    changed = sum(int((array != before[name]).sum()) for name, array in layer.params.items())
    assert changed == 2 * 4  # both biases of one gate
    np.testing.assert_allclose(keeps(layer, 4), SIGMOID_1, rtol=1e-14)


def test_forget_bias_in_all_layers_and_directions():
    model = Sequential(
        LSTM(3, 4, num_layers=2, bidirectional=True, rng=0),
        Bidirectional(LSTM(8, 4, rng=1)),
        GRU(8, 4, rng=2),
        MinLSTM(4, 5, rng=3),
        Linear(5, 1),
    )
    before = model.params.copy()
    init.forget_bias(model, 2)
    for name, array in model.params.items():
        truth = before[name]
        if name.startswith(("0.bias", "1.bias")):
            truth[4:8] = 2 if "bias_ih" in name else 0
        elif name == "3.bias_ih_l0":
            truth[:5] = 2
        np.testing.assert_array_equal(array, truth, err_msg=name)


CHRONO = {
    "lstm": LSTM,
    "lstm cell": LSTMCell,
    "coupled": lambda *a, **k: LSTM(*a, coupled=True, **k),
    "gru": GRU,
    "gru before": lambda *a, **k: GRU(*a, reset_after=False, **k),
    "gru cell": GRUCell,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
}


@pytest.mark.parametrize("name", CHRONO)
def test_chrono_is_a_memory_of_so_many_steps(name):
    layer = CHRONO[name](2, 2000, dtype=np.float64, rng=0)
    init.chrono(layer, 100, rng=3)
    share = keeps(layer, 2000)
    u = share / (1 - share)
    np.testing.assert_allclose(u, np.random.default_rng(3).uniform(1, 99, 2000), rtol=1e-11)


def test_chrono_sets_the_input_gate_and_leaves_the_others():
    lstm, gru = LSTM(3, 4, rng=0, dtype=np.float64), GRU(3, 4, rng=0, dtype=np.float64)
    before = [layer.params.copy() for layer in (lstm, gru)]
    init.chrono(Sequential(lstm, Dropout(0.5)), 20, rng=0)
    i, f, g, o = blocks(lstm.params["bias_ih_l0"], 4)
    assert (f > 0).all() and (i == -f).all() and len(set(f)) == 4
    np.testing.assert_array_equal([g, o], blocks(before[0]["bias_ih_l0"], 4)[2:])
    assert not lstm.params["bias_hh_l0"][:8].any() and lstm.params["bias_hh_l0"][8:].all()
    init.chrono(gru, 2, rng=0)  # u is 1 and its logarithm 0
    (r, z, n), was = blocks(gru.params["bias_ih_l0"], 4), blocks(before[1]["bias_ih_l0"], 4)
    assert not z.any()
    np.testing.assert_array_equal([r, n], was[[0, 2]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.glorot_uniform((3,)), ValueError, r"shape must have 2 axes or more.*got \(3,\)"),
        (lambda: init.orthogonal((3, 0)), ValueError, "shape must have 2 axes or more, each of 1 or more"),
        (lambda: init.zeros((2, 1.5)), TypeError, "shape must hold integers"),
        (lambda: init.identity((2, 2, 2)), ValueError, r"shape must have two axes, got \(2, 2, 2\)"),
        (lambda: init.he_normal((2, 2), gain=-1), ValueError, "gain must be finite and at least 0, got -1"),
        (lambda: init.glorot_normal((2, 2), dtype="f2"), ValueError, "dtype must be float32 or float64"),
        (lambda: init.normal((2,), -1), ValueError, "rng must be a non-negative seed, got -1"),
        (lambda: init.normal((2,), std=-1), ValueError, "std must be finite and at least 0, got -1"),
        (lambda: init.uniform((2,), low=1, high=0), ValueError, "low must be finite and at most high, got 1"),
        (lambda: init.constant((2,), value="1"), TypeError, "value must be a number, got '1'"),
        (lambda: init.fill(None, "*", init.zeros), TypeError, "layer must be a layer, got None"),
        (lambda: init.fill(RNN(2, 2), 3, init.zeros), TypeError, "names must be a str, got 3"),
        (lambda: init.fill(RNN(2, 2), "*", 3), TypeError, "initializer must be a function, got 3"),
        (
            lambda: init.fill(RNN(2, 2), "W*", init.zeros),
            ValueError,
            r"names must match a parameter, got 'W\*'",
        ),
        (lambda: init.forget_bias(GRU(2, 2)), ValueError, "layer must be or contain an LSTM, got GRU"),
        (lambda: init.forget_bias(LSTM(2, 2, bias=False)), ValueError, "layer must have biases, got LSTM"),
        (lambda: init.forget_bias(LSTM(2, 2), math.inf), ValueError, "value must be finite, got inf"),
        (lambda: init.forget_bias([LSTM(2, 2)]), TypeError, "layer must be a layer, got"),
        (lambda: init.chrono(RNN(2, 2), 5), ValueError, "layer must be or contain an LSTM or GRU, got RNN"),
        (lambda: init.chrono(GRU(2, 2), 1), ValueError, "t_max must be finite and at least 2, got 1"),
        (lambda: init.chrono(GRU(2, 2), "5"), TypeError, "t_max must be a number, got '5'"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_wrong_initializer_changes_nothing():
    gru = GRU(3, 4, rng=0)
    before = gru.params.copy()
    with pytest.raises(ValueError, match=r"initializer must return shape \(4, 4\), got \(2,\)"):
        init.fill(gru, "weight_hh*", lambda shape, rng, dtype: np.zeros(2))
    with pytest.raises(ValueError, match="shape must have 2 axes or more"):
        init.fill(gru, "*", init.orthogonal)
    with pytest.raises(ValueError, match="layer must have biases"):
        init.chrono(Sequential(gru, GRU(4, 4, bias=False)), 9)
    assert all(np.array_equal(array, before[name]) for name, array in gru.params.items())
