"""Gradient checkpointing over time: the same outputs and gradients, with less memory in between."""

import math
import tracemalloc

import numpy as np
import pytest

import pyrnn
from pyrnn import GRU, LSTM, RNN, Checkpointed, IndRNN, Linear, MinGRU, Sequential

from .problems import eighths, tolerance
from .slopes import TOLERANCE, central_difference

T, B, I, H = 23, 5, 3, 7
LAYERS = {
    "lstm": lambda **o: LSTM(I, H, **o),
    "lstm of two layers": lambda **o: LSTM(I, H, 2, peepholes=True, **o),
    "gru": lambda **o: GRU(I, H, **o),
    "gru, reset before": lambda **o: GRU(I, H, reset_after=False, **o),
    "rnn": lambda **o: RNN(I, H, nonlinearity="relu", **o),
    "indrnn": lambda **o: IndRNN(I, H, **o),
    "mingru": lambda **o: MinGRU(I, H, **o),
}
LENGTHS = np.array([23, 0, 9, 1, 17])


@pytest.fixture(params=LAYERS.values(), ids=LAYERS.keys())
def make(request):
    return request.param


def problem(layer, batch_first=False, **options):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    if batch_first:
        x, dy = x.swapaxes(0, 1), dy.swapaxes(0, 1)
    _, state = layer(x)
    draw = lambda part: rng.standard_normal(part.shape).astype(layer.dtype)  # noqa: E731
    state, dstate = (tuple(map(draw, s)) if isinstance(s, tuple) else draw(s) for s in (state, state))
    return (x, state), options, (dy, dstate)


def run(layer, given):
    arguments, options, back = given
    (y, state), pull = layer.vjp(*arguments, **options)
    dx, dstate0, grads = pull(*back)
    named = {"y": y, "dx": dx}
    for name, parts in (("state", state), ("dstate0", dstate0)):
        named |= {f"{name}{i}": part for i, part in enumerate(parts if isinstance(parts, tuple) else [parts])}
    return named, grads


def assert_same(found, truth, layer):
    """All but the parameters' gradients has the same bits: they are sums in another order."""
    for name, array in truth[0].items():
        np.testing.assert_array_equal(found[0][name], array, err_msg=name, strict=True)
    assert list(found[1]) == list(truth[1])
    for name, array in truth[1].items():
        atol = tolerance(layer.dtype, T * B) * max(1, np.abs(array).max())
        np.testing.assert_allclose(found[1][name], array, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("segments", [None, 1, 4, 23, 99])
@pytest.mark.parametrize("form", ["plain", "ragged", "episodes", "batch first"])
def test_outputs_and_gradients_are_the_layers(make, dtype, segments, form):
    layer = make(dtype=dtype, rng=0, batch_first=form == "batch first")
    options = {"lengths": LENGTHS} if form in ("ragged", "batch first") else {}
    if form == "episodes":
        options["reset"] = np.random.default_rng(1).random((T, B)) < 0.2
    given = problem(layer, form == "batch first", **options)
    found = run(Checkpointed(layer, segments), given)
    assert_same(found, run(layer, given), layer)
    np.testing.assert_array_equal(Checkpointed(layer)(*given[0], **given[1])[0], found[0]["y"])


def test_gradients_are_slopes():
    layer = Checkpointed(GRU(2, 3, dtype=np.float64, rng=0), 3)
    rng = np.random.default_rng(0)
    x = eighths(rng, 7, 2, 2)
    (y, _), pull = layer.vjp(x, lengths=[7, 4])
    dy = eighths(rng, *y.shape)
    dx, _, grads = pull(dy)
    truth = central_difference(lambda new: float((layer(new, lengths=[7, 4])[0] * dy).sum()), x)
    np.testing.assert_allclose(dx, truth, rtol=0, atol=TOLERANCE)
    value = layer.params["weight_hh_l0"].copy()

    def loss(new):
        layer.params["weight_hh_l0"] = new
        return float((layer(x, lengths=[7, 4])[0] * dy).sum())

    np.testing.assert_allclose(grads["weight_hh_l0"], central_difference(loss, value), rtol=0, atol=TOLERANCE)


def test_one_segment_is_the_layer_itself():
    """Nothing is computed anew for the first way back, and a second one is the same."""
    layer = LSTM(I, H, 2, dtype=np.float64, rng=0)
    given = problem(layer)
    truth = run(layer, given)
    _, pull = Checkpointed(layer, 1).vjp(*given[0])
    for _ in range(2):
        dx, _, grads = pull(*given[2])
        np.testing.assert_array_equal(dx, truth[0]["dx"])
        for name, array in truth[1].items():
            np.testing.assert_array_equal(grads[name], array, err_msg=name)


def test_a_sequence_without_a_batch_axis_and_one_without_steps():
    layer = LSTM(I, H, dtype=np.float64, rng=0)
    for x in (np.random.default_rng(0).standard_normal((T, I)), np.ones((0, B, I)), np.ones((T, 0, I))):
        given = (x, None), {}, (np.ones((*x.shape[:-1], H)), None)
        assert_same(run(Checkpointed(layer, 4), given), run(layer, given), layer)


# ---- Memory ----


def peak(layer, steps):
    """What vjp and pull hold at once, without y and dx."""
    x, dy = np.ones((steps, 64, 2), np.float32), np.ones((steps, 64, 16), np.float32)
    layer.vjp(x[:50])[1](dy[:50])  # pack the weights
    pyrnn.empty_cache()
    tracemalloc.start()
    try:
        (y, _), pull = layer.vjp(x)
        dx, _, _ = pull(dy)
        return tracemalloc.get_traced_memory()[1] - y.nbytes - dx.nbytes
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_root_of_the_steps():
    """From 256 to 4096 steps by a factor of 4, where the layer's own grows with the steps, by 16."""
    plain = LSTM(2, 16, rng=0)
    (short, long), (least, less) = ([peak(f, n) for n in (256, 4096)] for f in (plain, Checkpointed(plain)))
    assert long > 8 * short and less < 4 * least and less < long / 8


# ---- Noise ----


@pytest.mark.parametrize(
    "noise",
    [
        {"dropout": 0.5},
        {"zoneout": 0.3},
        {"input_dropout": 0.5, "weight_dropout": 0.25},
        {"recurrent_dropout": 0.5},
    ],
    ids=str,
)
def test_noise_is_the_same_on_the_way_back(noise):
    """The gradient is the slope of the loss under the noise that was drawn."""
    inner = LSTM(2, 3, 2, dtype=np.float64, rng=0, **noise)
    layer = Checkpointed(inner, 4)
    x = eighths(np.random.default_rng(0), 9, 2, 2)
    (y, _), pull = layer.vjp(x, rng=5)
    assert (y != layer(x)[0]).any() and (layer.vjp(x, rng=6)[0][0] != y).any()
    (again, _), _ = layer.vjp(x, rng=5)
    np.testing.assert_array_equal(again, y)
    dy = eighths(np.random.default_rng(1), *y.shape)
    truth = central_difference(lambda new: float((layer.vjp(new, rng=5)[0][0] * dy).sum()), x)
    np.testing.assert_allclose(pull(dy)[0], truth, rtol=0, atol=TOLERANCE)


def test_noise_of_a_sequence_is_one_for_all_segments():
    inner = RNN(1, 64, dtype=np.float64, rng=0, input_dropout=0.5)
    inner.params.update({"weight_hh_l0": np.zeros((64, 64))})  # y depends on the step's input alone
    (y, _), _ = Checkpointed(inner, 4).vjp(np.ones((8, 30, 1)), rng=0)
    np.testing.assert_array_equal(y, np.broadcast_to(y[0], y.shape))
    assert len(np.unique(y[0], axis=0)) == 2  # an input is there, or not


def test_noise_of_steps_differs_between_segments():
    layer = Checkpointed(LSTM(2, 16, 2, dropout=0.5, rng=0), 4)
    (y, _), _ = layer.vjp(np.zeros((8, 30, 2)), rng=0)
    assert (y[0] != y[2]).any()
    own = Checkpointed(LSTM(2, 3, 2, dropout=0.5, rng=0), 2)
    first, second = (own.vjp(np.ones((4, 2, 2)))[0][0] for _ in range(2))
    assert (first != second).any()


# ---- In a house with the others ----


def test_pull_uses_the_weights_of_its_forward_pass():
    inner = GRU(I, H, dtype=np.float64, rng=0)
    given = problem(inner)
    layer, truth = Checkpointed(inner, 4), run(inner, given)
    (y, state), pull = layer.vjp(*given[0])
    before = inner.params.copy()
    inner.params.update({name: array + 1 for name, array in before.items()})
    dx, dstate0, grads = pull(*given[2])
    assert_same(({"y": y, "dx": dx, "state0": state, "dstate00": dstate0}, grads), truth, inner)
    again = pull(*given[2])
    np.testing.assert_array_equal(again[0], dx)
    assert all((again[2][name] == array).all() for name, array in grads.items())


def test_it_trains_in_a_sequential_and_goes_to_a_file(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 8, I)).astype(np.float32)
    y = (np.cumsum(x[..., 0], 0) > 0).astype(int)
    models = []
    for wrap in (lambda layer: layer, lambda layer: Checkpointed(layer, 5)):
        model = Sequential(wrap(GRU(I, H, rng=0)), Linear(H, 2, rng=1))
        history = model.fit(x, y, loss="cross_entropy", epochs=5, rng=0, lengths=[30, 3, 9, 30, 0, 8, 8, 2])
        models.append((model, history["loss"]))
    # The loss goes down by 2e-3 in all, and rounding parts the two by 3e-9.
    np.testing.assert_allclose(models[0][1], models[1][1], rtol=0, atol=2.0**-22)
    pyrnn.save(models[1][0], tmp_path / "model")
    again = pyrnn.load(tmp_path / "model")
    assert repr(again) == "Sequential(Checkpointed(GRU(3, 7), segments=5), Linear(7, 2))"
    np.testing.assert_array_equal(again(x), models[1][0](x))
    models[0][0].load_state_dict(again.state_dict())


@pytest.mark.parametrize(
    ("T", "B", "sizes"),
    [(1024, 64, {32}), (90, 210, {10}), (4096, 8, {256}), (1000, 8, {256, 232}), (0, 3, {0}), (5, 0, {5})],
)
def test_segments_are_of_the_root_of_the_steps(T, B, sizes):
    parts = pyrnn.layers.checkpointed._segments(T, B, None)
    assert {part.stop - part.start for part in parts} == sizes
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])] and parts[-1].stop == T
    assert len(parts) <= math.isqrt(T) + 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Checkpointed(Linear(2, 2)), TypeError, "layer must be a recurrent layer, got Linear"),
        (lambda: Checkpointed(pyrnn.GRUCell(2, 2)), TypeError, "layer must be a recurrent layer"),
        (lambda: Checkpointed(GRU(2, 2, bidirectional=True)), ValueError, "layer must read forwards"),
        (
            lambda: Checkpointed(pyrnn.Bidirectional(GRU(2, 2)).backward_layer),
            ValueError,
            "layer must read forwards",
        ),
        (lambda: Checkpointed(GRU(2, 2), 0), ValueError, "segments must be at least 1, got 0"),
        (
            lambda: Checkpointed(GRU(2, 2, zoneout=0.1, input_dropout=0.1)),
            ValueError,
            r"layer must have noise of steps \(dropout, zoneout\) or of sequences .*, not both",
        ),
        (
            lambda: Checkpointed(GRU(2, 2)).vjp(np.ones((5, 1, 3))),
            ValueError,
            r"x must have shape \(T, B, 2\) or \(T, 2\), got \(5, 1, 3\)",
        ),
        (
            lambda: Checkpointed(GRU(2, 2)).vjp(np.ones((5, 1, 2)))[1](np.ones((4, 1, 2))),
            ValueError,
            r"dy must have shape \(5, 1, 2\), got \(4, 1, 2\)",
        ),
        (
            lambda: Checkpointed(GRU(2, 2)).vjp(np.ones((5, 1, 2)), lengths=[6]),
            ValueError,
            "lengths must lie between 0 and 5, got 6 to 6",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
