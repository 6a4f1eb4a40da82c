"""Layers whose h is projected: stacked, in both directions, step by step, side by side; their parameters."""

import pickle

import numpy as np
import pytest

import pyrnn
from pyrnn import _core, reference

from .problems import assert_near, assert_same, ragged, tolerance
from .test_chain import always

T, B, N_IN, H, P = 7, 5, 3, 9, 4


def drawn(layer, rng, steps=T, batch=B):
    """x, state, dy, dstate of a layer, in its dtype."""
    slots, width = layer.num_layers * layer.directions, layer.proj_size * layer.directions

    def normal(*shape):
        return rng.standard_normal(shape).astype(layer.dtype)

    def states():
        return normal(slots, batch, layer.proj_size), normal(slots, batch, layer.hidden_size)

    return normal(steps, batch, layer.input_size), states(), normal(steps, batch, width), states()


def named(y, state, dx, dstate, grads):
    h, c = state
    return {"y": y, "h": h, "c": c, "dx": dx, "dh": dstate[0], "dc": dstate[1], **grads}


def results(layer, x, state, dy, dstate, **options):
    (y, final), pull = layer.vjp(x, state, **options)
    return named(y, final, *pull(dy, dstate))


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["plain", "ragged"])
def test_a_stack_is_that_of_the_reference(dtype, isa, rng, coupled, bidirectional, kind):
    layer = pyrnn.LSTM(
        N_IN, H, 3, proj_size=P, coupled=coupled, bidirectional=bidirectional, dtype=dtype, rng=0
    )
    x, state, dy, dstate = drawn(layer, rng)
    options = ragged(T, B) if kind == "ragged" else {}
    actual = results(layer, x, state, dy, dstate, **options)
    cell = reference.cells["lstm_coupled" if coupled else "lstm"]
    params = {name: a.astype(float) for name, a in layer.params.items()}
    states, dstates = ([a.astype(float) for a in s] for s in (state, dstate))
    y, final, tape = reference.stack_forward(cell, x.astype(float), states, params, **options)
    expected = named(y, final, *reference.stack_backward(cell, tape, dy.astype(float), dstates))
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert array.dtype == dtype
        assert_near(array, expected[name], 2 * tolerance(dtype, 3 * B * T * (N_IN + 2 * H)))
    assert_same({"y": layer(x, state, **options)[0]}, {"y": actual["y"]})


def test_parameters_are_those_of_pytorch():
    layer = pyrnn.LSTM(N_IN, H, 2, proj_size=P, bidirectional=True)
    expected = {}
    for number, inputs in ((0, N_IN), (1, 2 * P)):
        for end in (f"_l{number}", f"_l{number}_reverse"):
            expected |= {
                f"weight_ih{end}": (4 * H, inputs),
                f"weight_hh{end}": (4 * H, P),
                f"bias_ih{end}": (4 * H,),
                f"bias_hh{end}": (4 * H,),
                f"weight_hr{end}": (P, H),
            }
    assert {name: a.shape for name, a in layer.params.items()} == expected
    assert list(layer.params) == list(expected)
    for array in layer.params.values():
        assert 0 < abs(array).max() <= H**-0.5
    assert list(pyrnn.LSTM(N_IN, H, proj_size=P, bias=False, peepholes=True).params) == [
        "weight_ih_l0",
        "weight_hh_l0",
        "weight_hr_l0",
        "weight_ch_l0",
    ]
    assert "weight_hr_l0" not in pyrnn.LSTM(N_IN, H).params


def test_the_batch_may_come_first_or_be_left_out(dtype, rng):
    layer = pyrnn.LSTM(N_IN, H, 2, proj_size=P, bidirectional=True, dtype=dtype, rng=0)
    first = pyrnn.LSTM(N_IN, H, 2, proj_size=P, bidirectional=True, batch_first=True, dtype=dtype, rng=0)
    x, state, dy, dstate = drawn(layer, rng)
    expected = results(layer, x, state, dy, dstate)
    found = results(first, x.swapaxes(0, 1), state, dy.swapaxes(0, 1), dstate)
    assert_same(found | {n: found[n].swapaxes(0, 1) for n in ("y", "dx")}, expected)
    alone = results(layer, x[:, 2], tuple(a[:, 2] for a in state), dy[:, 2], tuple(a[:, 2] for a in dstate))
    for name in ("y", "h", "c", "dx", "dh", "dc"):
        assert_same({name: alone[name]}, {name: expected[name][:, 2]})


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_stream_is_the_layer_step_by_step(dtype, isa, rng, batch):
    layer = pyrnn.LSTM(N_IN, H, 3, proj_size=P, dtype=dtype, rng=0)
    x, state, _, _ = drawn(layer, rng, batch=batch)
    y, (h, c) = layer(x, state)
    stream = layer.stream(batch)
    assert (stream.batch, stream.inputs, stream.units) == (batch, N_IN, P)
    stream.state = state
    out = np.empty((batch, P), dtype)
    for x_t, y_t in zip(x, y, strict=True):
        assert stream(x_t, out=out) is out
        np.testing.assert_array_equal(out, y_t)
    np.testing.assert_array_equal(stream.state[0], h)
    np.testing.assert_array_equal(stream.state[1], c)
    rows = np.arange(batch) % 2 == 0
    stream.reset(rows)
    for part, before in zip(stream.state, (h, c), strict=True):
        np.testing.assert_array_equal(part, np.where(rows[:, None], 0, before))
    stream.reset()
    assert not any(part.any() for part in stream.state)
    np.testing.assert_array_equal(stream(x[0]), layer(x[:1])[0][0])
    with pytest.raises(ValueError, match=rf"out must have shape \({batch}, {P}\)"):
        stream(x[0], out=np.empty((batch, H), dtype))


def test_a_stream_that_is_worth_threads(threads, rng):
    layer = pyrnn.LSTM(N_IN, 400, proj_size=300, rng=0)
    x, state, _, _ = drawn(layer, rng, steps=3, batch=40)
    y, _ = layer(x, state)
    for number in (1, 2):
        threads(number)
        stream = layer.stream(40)
        stream.state = state
        for x_t, y_t in zip(x, y, strict=True):
            np.testing.assert_array_equal(stream(x_t), y_t)


@pytest.mark.parametrize("always_chained", [False, True])
@pytest.mark.parametrize("kind", ["plain", "ragged"])
def test_layers_run_side_by_side(dtype, threads, monkeypatch, rng, always_chained, kind):
    """As a chain, in which each reads the projected h of the one before."""
    if always_chained:
        monkeypatch.setattr(_core, "chained", always)
    for steps, batch, units, width in ((301, 1, 40, 24), (31, 3, 20, 19), (8, 9, 7, 1)):
        layer = pyrnn.LSTM(width, units, 3, proj_size=width, dtype=dtype, rng=0)
        problem = drawn(layer, rng, steps, batch)
        options = ragged(steps, batch) if kind == "ragged" else {}
        threads(1)
        alone = results(layer, *problem, **options)
        for number in (2, 3):
            threads(number)
            assert_same(results(layer, *problem, **options), alone)
            assert_same({"y": layer(*problem[:2], **options)[0]}, {"y": alone["y"]})


def test_a_long_stack_of_projections_is_chained(rng):
    if not _core.threads_possible():
        pytest.skip("built without threads")
    layer = pyrnn.LSTM(24, 40, 2, proj_size=24, rng=0)
    x = rng.standard_normal((1000, 1, 24)).astype(np.float32)
    for use in (_core.FORWARD, _core.BACKWARD):
        assert _core.chained(layer._packs(use), use, x, None, 2) == [range(2)]


def test_copies_are_the_same_layer(rng):
    layer = pyrnn.LSTM(N_IN, H, 2, proj_size=P, dropout=0.5, zoneout=0.1, recurrent_dropout=0.2, rng=0)
    x, *_ = drawn(layer, rng)
    twin = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(twin(x)[0], layer(x)[0])
    np.testing.assert_array_equal(twin.vjp(x, rng=5)[0][0], layer.vjp(x, rng=5)[0][0])


def test_recurrent_dropout_is_of_the_projected_h():
    """Its mask is as wide, and multiplies what the recurrent products read alone."""
    layer = pyrnn.LSTM(1, 64, proj_size=40, recurrent_dropout=0.5, dtype=np.float64, rng=0)
    layer.params.update({n: np.zeros(a.shape) for n, a in layer.params.items()})
    layer.params["weight_hh_l0"] = np.pad(1e-6 * np.eye(40), ((0, 256 - 40), (0, 0)))  # i sees h
    layer.params["bias_ih_l0"] = np.repeat([0.0, 0, 100, 0], 64)  # g is 1
    h = np.ones((1, 1, 40))
    (_, (_, c)), _ = layer.vjp(np.zeros((1, 1, 1)), (h, np.zeros((1, 1, 64))), rng=0)
    # sigmoid(2e-6) and sigmoid(0): one step of i for a unit that was kept, doubled
    seen = np.unique(((c[0, 0, :40] - 0.5) / 0.25e-6).round(6))
    np.testing.assert_array_equal(seen, [0, 2])
    np.testing.assert_array_equal(c[0, 0, 40:], 0.5)


@pytest.mark.parametrize("name", ["state", "dstate"])
def test_errors_name_the_part_of_the_state(rng, name):
    layer = pyrnn.LSTM(N_IN, H, proj_size=P, rng=0)
    x, (h, c), dy, _ = drawn(layer, rng)

    def call(value):
        return layer(x, value) if name == "state" else layer.vjp(x)[1](dy, value)

    for wrong, message in [
        ((c, c), rf"{name}\[0\] must have shape \(1, {B}, {P}\)"),
        ((h, h), rf"{name}\[1\] must have shape \(1, {B}, {H}\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            call(wrong)
    with pytest.raises(TypeError, match=rf"{name} must be a tuple of 2 arrays"):
        call(h)
    with pytest.raises(ValueError, match=rf"dy must have shape \({T}, {B}, {P}\)"):
        layer.vjp(x)[1](np.ones((T, B, H)))
