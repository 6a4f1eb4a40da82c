"""Random calls of layers, cells and streams, of what makes them and what they load."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyrnn
from pyrnn import functional, reference

from .cells import SINGLE, as_array, as_state, cell_of, layer_of
from .disguises import (
    DISGUISES,
    DTYPES,
    FLAGS,
    MEMORY,
    NUMBERS,
    RNGS,
    SIZES,
    wrong_kinds,
    wrong_lengths,
    wrong_resets,
    wrong_shapes,
)
from .problems import assert_names, assert_near, at_random, eighths

BOTH = (ValueError, TypeError)


@st.composite
def layers(draw, **fixed):
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "dtype": draw(st.sampled_from([np.float32, np.float64])),
        "rng": draw(st.integers(0, 2**32)),
    }
    cell = draw(st.sampled_from(functional.CELLS))
    return cell, layer_of(cell)(draw(st.integers(1, 6)), draw(st.integers(1, 18)), **options | fixed)


@st.composite
def calls(draw, layer):
    """Arguments of a layer's call, time-major; states as arrays (S, slots, B, H)."""
    T, B = draw(st.integers(0, 5)), draw(st.integers(0, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    slots = layer.num_layers * layer.directions
    call = {
        "x": eighths(rng, T, B, layer.input_size),
        "state": eighths(rng, layer._cell.states, slots, B, layer.hidden_size),
        "lengths": rng.integers(0, T + 1, B),
        "reset": rng.random((T, B)) < 0.3,
        "dy": eighths(rng, T, B, layer.directions * layer.hidden_size),
        "dstate": eighths(rng, layer._cell.states, slots, B, layer.hidden_size),
    }
    return call | dict.fromkeys(draw(st.sets(st.sampled_from(["state", "lengths", "reset", "dstate"]))))


def oriented(layer, call):
    """Batch first where the layer has it so."""
    if not layer.batch_first:
        return call
    swapped = ("x", "reset", "dy")
    return {n: a.swapaxes(0, 1) if n in swapped and a is not None else a for n, a in call.items()}


@st.composite
def dressed(draw, call):
    """The same values in other clothes; the parts of a state each in its own."""
    clothes = {}
    for name, array in call.items():
        choices = st.sampled_from(MEMORY if name == "reset" else DISGUISES)
        if array is not None:
            parts = array if name in ("state", "dstate") else [array]
            clothes[name] = as_state([draw(choices)(part) for part in parts])
    return call | clothes


def run(layer, call):
    forward = {name: call[name] for name in ("x", "state", "lengths", "reset")}
    (y, final), pull = layer.vjp(**forward)
    dx, dstate0, grads = pull(call["dy"], call["dstate"])
    alone, last = layer(**forward)
    np.testing.assert_array_equal(alone, y)
    np.testing.assert_array_equal(as_array(last), as_array(final))
    return {"y": y, "state": as_array(final), "dx": dx, "dstate": as_array(dstate0)} | grads


def truth(cell, layer, call):
    kind, params = reference.cells[cell], {n: a.astype(float) for n, a in layer.params.items()}
    options = {name: call[name] for name in ("lengths", "reset")}
    y, final, tape = reference.stack_forward(kind, call["x"], call["state"], params, **options)
    dx, dstate0, grads = reference.stack_backward(kind, tape, call["dy"], call["dstate"])
    return {"y": y, "state": final, "dx": dx, "dstate": dstate0} | grads


@at_random
@given(st.data())
def test_right_calls_of_layers_get_the_right_result(data):
    cell, layer = data.draw(layers())
    call = data.draw(calls(layer))
    found = run(layer, data.draw(dressed(oriented(layer, call))))
    found |= {n: found[n].swapaxes(0, 1) for n in ("y", "dx") if layer.batch_first}
    # What has been rounded is divided by a deviation, whose square has 1e-5 at least.
    amplified = 1e-5**-0.5 if cell.endswith("_norm") else 1
    for name, array in truth(cell, layer, call).items():
        assert_near(found[name], array, 256 * np.finfo(layer.dtype).eps * amplified)


def wrong_states(layer, right):
    """`right` is (S, slots, B, H); a part of a tuple is wrong, or the tuple."""
    parts = [*wrong_kinds(right[0]), *wrong_shapes(right[0], range(right.ndim - 1))]
    if len(right) == 1:
        return parts
    pairs = [(right[0], part) for part in parts]
    return [*pairs, right, right[0], (right[0],), (*right, right[0]), "hc"]


def wrong(layer, call):
    """What may be wrong with each argument of a call, in the layer's orientation."""
    (T, B, _), given = call["x"].shape, oriented(layer, call)
    slots = layer.num_layers * layer.directions
    right = np.ones((layer._cell.states, slots, B, layer.hidden_size))
    resets = [np.ones((3, 4, 5), bool), *wrong_resets(*given["x"].shape[:2])]
    return {
        "x": [*wrong_kinds(given["x"]), *wrong_shapes(given["x"], [2]), None, given["x"][..., :0]],
        "state": wrong_states(layer, right),
        "lengths": wrong_lengths(T, B),
        "reset": resets,
        "rng": RNGS,
        "dy": [*wrong_kinds(given["dy"]), *wrong_shapes(given["dy"], [0, 1, 2]), None],
        "dstate": wrong_states(layer, right),
    }


@at_random
@given(st.data())
def test_wrong_calls_of_layers_name_the_argument(data):
    _, layer = data.draw(layers())
    call = data.draw(calls(layer))
    spoils = wrong(layer, call)
    name = data.draw(st.sampled_from(sorted(spoils)))
    spoiled = data.draw(dressed(oriented(layer, call)))
    spoiled |= {name: data.draw(st.sampled_from(spoils[name]))}
    forward = {n: spoiled[n] for n in ("x", "state", "lengths", "reset", "rng") if n in spoiled}
    before = layer.params.version
    if name in ("dy", "dstate"):
        _, pull = layer.vjp(**forward)
        with pytest.raises(BOTH) as error:
            pull(spoiled["dy"], spoiled["dstate"])
    else:
        with pytest.raises(BOTH) as error:
            layer.vjp(**forward)
    assert_names(error, [name])
    if name in ("x", "state", "lengths", "reset"):
        with pytest.raises(type(error.value)):
            layer(**forward)
    assert layer.params.version == before


# ---- cells and streams ----


@st.composite
def singles(draw):
    cell = draw(st.sampled_from(SINGLE))
    dtype, B = draw(st.sampled_from([np.float32, np.float64])), draw(st.integers(0, 8))
    I, H = draw(st.integers(1, 6)), draw(st.integers(1, 18))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    single = cell_of(cell)(I, H, dtype=dtype, rng=rng, bias=draw(st.booleans()))
    return cell, single, eighths(rng, B, I), eighths(rng, single._cell.states, B, H)


@at_random
@given(st.data())
def test_random_calls_of_cells(data):
    cell, single, x, state = data.draw(singles())
    plain = [a.astype(single.dtype) for a in (x, *state)]
    params = {f"{n}_l0": a.astype(float) for n, a in single.params.items()}
    _, known, _ = reference.stack_forward(reference.cells[cell], x[None], state[:, None], params)
    clothed = [data.draw(st.sampled_from(DISGUISES))(a) for a in (x, *state)]
    for x_given, *states in (plain, clothed):
        found = as_array(single(x_given, as_state(states)))
        assert_near(found, known[:, 0], 256 * np.finfo(single.dtype).eps)
    spoils = {
        "x": [*wrong_kinds(x), *wrong_shapes(x, [1]), None, x[:, :0]],
        "state": wrong_states(single, state),
    }
    name = data.draw(st.sampled_from(sorted(spoils)))
    value = data.draw(st.sampled_from(spoils[name]))
    given = {"x": plain[0], "state": as_state(plain[1:])} | {name: value}
    for call in (single, single.vjp):
        with pytest.raises(BOTH) as error:
            call(**given)
        assert_names(error, [name])
    _, pull = single.vjp(plain[0], as_state(plain[1:]))
    with pytest.raises(BOTH) as error:
        pull(data.draw(st.sampled_from(wrong_states(single, state))))
    assert_names(error, ["dstate"])


@at_random
@given(st.data())
def test_random_calls_of_streams(data):
    """Whatever happens in between, a step goes on from the state that the stream says it has."""
    _, layer = data.draw(layers(bidirectional=False, batch_first=False))
    B = data.draw(st.integers(1, 5))
    rng, stream = np.random.default_rng(B), layer.stream(B)
    for _ in range(data.draw(st.integers(1, 6))):
        x = eighths(rng, B, layer.input_size)
        state = eighths(rng, layer._cell.states, layer.num_layers, B, layer.hidden_size)
        spoils = {
            "x": [*wrong_kinds(x), *wrong_shapes(x, [0, 1]), None],
            "state": [*wrong_states(layer, state), None],
            "rows": [*wrong_kinds(np.ones(B)), np.ones(B), np.ones(B + 1, bool), True],
        }
        name = data.draw(st.sampled_from(sorted(spoils)))
        value = data.draw(st.sampled_from(spoils[name]))
        act = {"x": stream, "state": functools.partial(setattr, stream, "state"), "rows": stream.reset}[name]
        before = stream.state
        if not (name == "rows" and value is None):
            with pytest.raises(BOTH) as error:
                act(value)
            assert_names(error, [name])
        expected, final = layer(x[None], before)
        np.testing.assert_array_equal(stream(data.draw(st.sampled_from(DISGUISES))(x)), expected[0])
        np.testing.assert_array_equal(as_array(stream.state), as_array(final))


# ---- making and loading ----


OPTIONS = {
    "input_size": SIZES,
    "hidden_size": SIZES,
    "num_layers": SIZES,
    "bias": FLAGS,
    "batch_first": FLAGS,
    "bidirectional": FLAGS,
    "reset_after": FLAGS,
    "nonlinearity": ["swish", "TANH", "", None, 3, ["tanh"]],
    "dropout": NUMBERS,
    "dtype": [*DTYPES, None],
    "rng": RNGS,
}
KINDS = {
    kind: options
    for kinds, options in {
        (pyrnn.LSTM,): set(OPTIONS) - {"reset_after", "nonlinearity"},
        (pyrnn.GRU,): set(OPTIONS) - {"nonlinearity"},
        (pyrnn.RNN,): set(OPTIONS) - {"reset_after"},
        (pyrnn.LSTMCell,): {"input_size", "hidden_size", "bias", "dtype", "rng"},
        (pyrnn.GRUCell,): {"input_size", "hidden_size", "bias", "dtype", "rng", "reset_after"},
        (pyrnn.RNNCell,): {"input_size", "hidden_size", "bias", "dtype", "rng", "nonlinearity"},
    }.items()
    for kind in kinds
}


@pytest.mark.parametrize("kind, name", [(k, n) for k, names in KINDS.items() for n in sorted(names)])
def test_wrong_options_are_named(kind, name):
    for value in OPTIONS[name]:
        with pytest.raises(BOTH) as error:
            kind(**{"input_size": 3, "hidden_size": 5, name: value})
        assert_names(error, [name])


def test_sizes_that_are_too_large_together_are_an_error():
    for sizes in ((2**40, 2**40), (2**31, 2**31), (1, 2**33)):
        with pytest.raises(BOTH, match="hidden_size"):
            pyrnn.LSTM(*sizes)
