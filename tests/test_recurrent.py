"""The layers: stacks of the kernels against the reference's stacks, and the ways to call them."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import pyrnn
from pyrnn import _registry, functional, reference

from .cells import as_array, as_state, layer_of
from .problems import NORMALIZED, assert_near, assert_same, growth, is_near, ragged, tolerance

T, B, N_IN, H = 7, 5, 3, 9

stacks = pytest.mark.parametrize("layers, directions", [(1, 1), (2, 1), (1, 2), (3, 2)])


def made(cell, layers=1, directions=1, dtype=np.float32, **options):
    options = {"num_layers": layers, "bidirectional": directions == 2, "dtype": dtype, "rng": 0} | options
    return layer_of(cell)(N_IN, H, **options)


def drawn(layer, seed=1, T=T, B=B):
    """x, initial state, and the gradients dy and dstate, time-major; states as arrays (S, slots, B, H)."""
    rng = np.random.default_rng(seed)
    S, D, L = layer._cell.states, layer.directions, layer.num_layers
    shapes = (T, B, N_IN), (S, L * D, B, H), (T, B, D * H), (S, L * D, B, H)
    return [rng.standard_normal(shape).astype(layer.dtype) for shape in shapes]


def results(layer, x, state, dy, dstate, **options):
    """Outputs and every gradient by name."""
    rng = {"rng": options.pop("rng")} if "rng" in options else {}
    (y, final), pull = layer.vjp(x, state, **options, **rng)
    dx, dstate0, grads = pull(dy, dstate)
    assert list(grads) == list(layer.params)
    return {"y": y, "state": as_array(final), "dx": dx, "dstate": as_array(dstate0)} | grads


def truth(cell, layer, x, state, dy, dstate, dropout=None, params=None, **options):
    wide = [array.astype(np.float64) for array in (x, state, dy, dstate)]
    if params is None:
        params = {name: array.astype(np.float64) for name, array in layer.params.items()}
    kind = reference.cells[cell]
    y, final, tape = reference.stack_forward(kind, *wide[:2], params, **options, dropout=dropout)
    dx, dstate0, grads = reference.stack_backward(kind, tape, *wide[2:])
    return {"y": y, "state": final, "dx": dx, "dstate": dstate0} | grads


def assert_all_near(actual, desired, layer, compute=None):
    """`compute` gives `desired` from changed parameters, for cells that may enlarge errors."""
    assert actual.keys() == desired.keys()
    terms, grown = layer.num_layers * T * B * (N_IN + 2 * layer.directions * H), None
    for name, array in desired.items():
        assert actual[name].dtype == layer.dtype
        bound = 2 * tolerance(layer.dtype, terms)
        if layer._cell.name in NORMALIZED and compute is not None and not is_near(actual[name], array, bound):
            params = {n: a.astype(np.float64) for n, a in layer.params.items()}
            grown = grown or growth(compute, params, desired)
            bound *= 2 * grown[name]
        assert_near(actual[name], array, bound)


# ---- the numbers ----


@stacks
@pytest.mark.parametrize("kind", ["plain", "ragged"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_stack_is_that_of_the_reference(cell, dtype, layers, directions, kind, bias):
    layer = made(cell, layers, directions, dtype, bias=bias)
    x, state, dy, dstate = drawn(layer)
    options = ragged(T, B) if kind == "ragged" else {}
    found = results(layer, x, as_state(state), dy, as_state(dstate), **options)

    def compute(params=None):
        return truth(cell, layer, x, state, dy, dstate, params=params, **options)

    assert_all_near(found, compute(), layer, compute)


@stacks
def test_a_call_is_the_forward_of_vjp(cell, dtype, layers, directions):
    layer = made(cell, layers, directions, dtype, dropout=0)
    x, state, _, _ = drawn(layer)
    for options in ({}, ragged(T, B)):
        y, final = layer(x, as_state(state), **options)
        (y2, final2), _ = layer.vjp(x, as_state(state), **options)
        assert_same({"y": y, "state": as_array(final)}, {"y": y2, "state": as_array(final2)})


def test_directions_are_the_functions(cell, dtype):
    """Each half of a bidirectional layer is the stateless function, bit for bit."""
    layer = made(cell, 1, 2, dtype)
    x, state, _, _ = drawn(layer)
    y, final = layer(x, as_state(state), **ragged(T, B))
    for direction, suffix in enumerate(("", "_reverse")):
        weights = reference.weights_of(reference.cells[cell], layer.params, f"_l0{suffix}")
        options = {**weights, **ragged(T, B), "reverse": bool(direction)}
        alone, last = functional.forward(cell, x, state[:, direction], **options)
        np.testing.assert_array_equal(y[:, :, direction * H : (direction + 1) * H], alone)
        np.testing.assert_array_equal(as_array(final)[:, direction], last)


# ---- the ways to call ----


@stacks
@pytest.mark.parametrize("kind", ["plain", "ragged"])
def test_batch_first_is_time_major(cell, dtype, layers, directions, kind):
    major, first = (made(cell, layers, directions, dtype, batch_first=b, dropout=0.5) for b in (False, True))
    x, state, dy, dstate = drawn(major)
    options = ragged(T, B) if kind == "ragged" else {}
    states = as_state(state), as_state(dstate)
    expected = results(major, x, states[0], dy, states[1], **options, rng=3)
    if "reset" in options:
        options["reset"] = options["reset"].T
    found = results(first, x.swapaxes(0, 1), states[0], dy.swapaxes(0, 1), states[1], **options, rng=3)
    assert found["y"].shape == (B, T, directions * H) and found["y"].flags.c_contiguous
    assert_same(found | {name: found[name].swapaxes(0, 1) for name in ("y", "dx")}, expected)


@stacks
@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch_axis_is_a_batch_of_one(cell, layers, directions, batch_first):
    layer = made(cell, layers, directions, batch_first=batch_first)
    x, state, dy, dstate = drawn(layer, B=1)
    reset = np.arange(T) == 3
    one = results(layer, x[:, 0], as_state(state[:, :, 0]), dy[:, 0], as_state(dstate[:, :, 0]), reset=reset)
    axis = 0 if batch_first else 1
    batch = [np.moveaxis(array, 1, axis) for array in (x, dy)]
    mask = np.expand_dims(reset, axis)
    expected = results(layer, batch[0], as_state(state), batch[1], as_state(dstate), reset=mask)
    expected |= {name: np.moveaxis(expected[name], axis, 1)[:, 0] for name in ("y", "dx")}
    expected |= {name: expected[name][:, :, 0] for name in ("state", "dstate")}
    assert_same(one, expected)


def test_whatever_can_be_converted_is(cell):
    layer = made(cell)
    x = np.random.default_rng(1).integers(-2, 3, (T, B, N_IN))
    expected = layer(x.astype(np.float32))[0]
    for given in (x, x.tolist(), x.astype(">f8"), x.astype(np.float16), x.astype(np.longdouble)):
        np.testing.assert_array_equal(layer(given)[0], expected)
    np.testing.assert_array_equal(layer(x, lengths=[T] * B)[0], expected)
    np.testing.assert_array_equal(layer(x, reset=np.zeros((T, B), bool).tolist())[0], expected)


def test_parts_of_a_state_may_be_left_out():
    layer = made("lstm", 2, 2)
    x, state, dy, dstate = drawn(layer)
    zeros = np.zeros_like(state[0])
    none, both = (None, None), (zeros, zeros)
    assert_same(results(layer, x, none, dy, none), results(layer, x, both, dy, both))
    assert_same(results(layer, x, None, dy, None), results(layer, x, both, dy, both))
    for part in (0, 1):
        mixed = [tuple(a[q] if q == part else None for q in (0, 1)) for a in (state, dstate)]
        full = [tuple(zeros if a is None else a for a in pair) for pair in mixed]
        assert_same(results(layer, x, mixed[0], dy, mixed[1]), results(layer, x, full[0], dy, full[1]))


@pytest.mark.parametrize("layers", [1, 2])
def test_the_state_carries_on_from_call_to_call(cell, dtype, layers):
    layer = made(cell, layers, dtype=dtype)
    x, state, _, _ = drawn(layer)
    y, final = layer(x, as_state(state))
    for cut in range(T + 1):
        first, between = layer(x[:cut], as_state(state))
        second, last = layer(x[cut:], between)
        np.testing.assert_array_equal(np.concatenate([first, second]), y)
        np.testing.assert_array_equal(as_array(last), as_array(final))


@pytest.mark.parametrize("T, B", [(0, 3), (4, 0), (0, 0)])
@pytest.mark.parametrize("batch_first", [False, True])
def test_empty_batches(cell, T, B, batch_first):
    layer = made(cell, 2, 2, batch_first=batch_first)
    x, state, dy, dstate = drawn(layer, T=T, B=B)
    x, dy = (array.swapaxes(0, 1) if batch_first else array for array in (x, dy))
    found = results(layer, x, as_state(state), dy, as_state(dstate), lengths=np.zeros(B, int))
    np.testing.assert_array_equal(found.pop("state"), state)
    np.testing.assert_array_equal(found.pop("dstate"), dstate)
    assert found["y"].shape == dy.shape and found["dx"].shape == x.shape
    assert not any(array.any() for array in found.values())


# ---- closures ----


@stacks
def test_calls_and_pulls_may_come_in_any_order(cell, layers, directions):
    layer = made(cell, layers, directions, dropout=0.5)
    problems = [drawn(layer, seed) for seed in (1, 2)]
    expected = [
        results(layer, x, as_state(s), dy, as_state(ds), rng=n) for n, (x, s, dy, ds) in enumerate(problems)
    ]
    calls = [layer.vjp(x, as_state(s), rng=n) for n, (x, s, _, _) in enumerate(problems)]
    for turn in (1, 0, 1):
        _, _, dy, dstate = problems[turn]
        dx, dstate0, grads = calls[turn][1](dy, as_state(dstate))
        found = {"dx": dx, "dstate": as_array(dstate0)} | grads
        assert_same(found, {name: expected[turn][name] for name in found})


@stacks
def test_pull_depends_on_nothing_that_may_change(cell, layers, directions):
    """Not on y, the final state, the parameters, or what another pull returned."""
    layer = made(cell, layers, directions, dropout=0.5)
    x, state, dy, dstate = drawn(layer)
    expected = results(layer, x, as_state(state), dy, as_state(dstate), rng=0)
    (y, final), pull = layer.vjp(x, as_state(state), rng=0)
    first = pull(dy, as_state(dstate))
    for array in (y, first[0], *first[2].values(), *itertools.chain(as_array(final), as_array(first[1]))):
        array[...] = np.nan
    for part in (final, first[1]):
        for array in part if isinstance(part, tuple) else (part,):
            array[...] = np.nan
    layer.params.update({name: array + 1 for name, array in layer.params.items()})
    layer.vjp(x)
    dx, dstate0, grads = pull(dy, as_state(dstate))
    found = {"dx": dx, "dstate": as_array(dstate0)} | grads
    assert_same(found, {name: expected[name] for name in found})


@stacks
def test_inputs_are_never_written_to(cell, dtype, layers, directions):
    layer = made(cell, layers, directions, dtype, dropout=0.5)
    arrays = drawn(layer)
    options = ragged(T, B)
    before = [array.tobytes() for array in (*arrays, *options.values(), *layer.params.values())]
    for array in (*arrays, *options.values()):
        array.flags.writeable = False
    x, state, dy, dstate = arrays
    results(layer, x, as_state(state), dy, as_state(dstate), **options)
    layer(x, as_state(state), **options)
    assert before == [array.tobytes() for array in (*arrays, *options.values(), *layer.params.values())]


# ---- dropout ----


@pytest.mark.parametrize("layers, directions", [(2, 1), (3, 2)])
@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0])
def test_dropout_is_that_of_the_reference(cell, dtype, layers, directions, rate, monkeypatch):
    layer, masks = made(cell, layers, directions, dtype, dropout=rate), []
    drop = layer._drop
    monkeypatch.setattr(layer, "_drop", lambda *args: masks.append(drop(*args)) or masks[-1])
    x, state, dy, dstate = drawn(layer)
    found = results(layer, x, as_state(state), dy, as_state(dstate), **ragged(T, B))
    assert len(masks) == layers - 1
    for mask in masks:
        kept = [float(1 / dtype.type(1 - rate))] if rate < 1 else []
        assert np.unique(mask).tolist() == [0, *kept] and mask.shape == (T, B, directions * H)
        assert abs((mask == 0).mean() - rate) < 0.2
    expected = truth(cell, layer, x, state, dy, dstate, dropout=masks, **ragged(T, B))
    assert_all_near(found, expected, layer)


def test_dropout_is_between_layers_and_in_vjp_alone():
    x = np.ones((T, B, N_IN), np.float32)
    plain, dropping = (made("gru", 2, dropout=rate) for rate in (0, 0.5))
    np.testing.assert_array_equal(dropping(x)[0], plain(x)[0])
    assert (dropping.vjp(x)[0][0] != plain(x)[0]).any()
    single = made("gru", 1, dropout=0.5)
    np.testing.assert_array_equal(single.vjp(x)[0][0], single(x)[0])


def test_dropout_is_reproducible_from_a_seed():
    x = np.ones((T, B, N_IN), np.float32)

    def outputs(layer, *rngs):
        return [layer.vjp(x, rng=rng)[0][0] for rng in rngs]

    a, b = (made("rnn_tanh", 2, dropout=0.5) for _ in range(2))
    first, again, other = outputs(a, 5, 5, 6)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(outputs(a, np.random.default_rng(5))[0], first)
    own = outputs(a, None, None)
    assert (own[0] != own[1]).any()
    np.testing.assert_array_equal(own, outputs(b, None, None))


# ---- parameters ----


@stacks
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_have_the_names_and_layouts_of_pytorch(cell, layers, directions, bias):
    layer = made(cell, layers, directions, bias=bias)
    entry, expected = _registry.REGISTRY[cell], {}
    rows = entry.gates * H
    for number, suffix in itertools.product(range(layers), ("", "_reverse")[:directions]):
        inputs = directions * H if number else N_IN
        shapes = {"weight_ih": (rows, inputs)}
        if entry.recurrent:
            shapes["weight_hh"] = (rows, H)
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if entry.recurrent else {"bias_ih": (rows,)}
        if cell == "indrnn":
            shapes["weight_hh"] = (1, H)
        if "norm" in cell:
            shapes |= {"gain_ih": (rows,), "gain_hh": (rows,)}
        if cell == "lstm_norm":
            shapes |= {"gain_ch": (H,), "bias_ch": (H,)} if bias else {"gain_ch": (H,)}
        expected |= {f"{name}_l{number}{suffix}": shape for name, shape in shapes.items()}
    assert {name: array.shape for name, array in layer.params.items()} == expected
    assert list(layer.state_dict()) == list(expected)


def test_weights_start_uniform_within_their_bound():
    layer = pyrnn.LSTM(40, 100, 2, bidirectional=True, rng=0)
    for array in layer.params.values():
        assert np.abs(array).max() <= 0.1 and abs(array.mean()) < 0.01
        assert array.std() == pytest.approx(0.1 / 3**0.5, rel=0.1)


def test_layer_normalization_starts_without_gains_and_shifts():
    params = pyrnn.LSTM(3, 5, layer_norm=True, rng=0).params
    for name in ("gain_ih_l0", "gain_hh_l0", "gain_ch_l0"):
        np.testing.assert_array_equal(params[name], 1)
    np.testing.assert_array_equal(params["bias_ch_l0"], 0)
    plain = pyrnn.LSTM(3, 5, rng=0).params
    for name in plain:
        np.testing.assert_array_equal(params[name], plain[name])


def test_the_same_seed_draws_the_same_weights(cell):
    first, same, other = made(cell), made(cell, rng=np.random.default_rng(0)), made(cell, rng=1)
    assert first.params.flat.tobytes() == same.params.flat.tobytes() != other.params.flat.tobytes()
    assert made(cell, rng=None).params.flat.tobytes() != made(cell, rng=None).params.flat.tobytes()


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("called", [False, True])
def test_a_clone_computes_the_same(cell, clone, called):
    layer = made(cell, 2, 2, dropout=0.5, batch_first=True)
    x = np.ones((B, T, N_IN), np.float32)
    if called:
        layer.vjp(x)
    other = clone(layer)
    assert type(other) is type(layer) and repr(other) == repr(layer)
    np.testing.assert_array_equal(other(x)[0], layer(x)[0])
    if clone is not copy.copy:
        np.testing.assert_array_equal(other.vjp(x)[0][0], layer.vjp(x)[0][0])  # the masks too
        before = layer(x)[0]
        other.params["weight_ih_l0"] = other.params["weight_ih_l0"] * 2
        assert (other(x)[0] != before).any()
        np.testing.assert_array_equal(layer(x)[0], before)


REPRS = [
    "LSTM(3, 5)",
    "LSTM(3, 5, num_layers=2, bias=False, batch_first=True, dropout=0.25, bidirectional=True)",
    "GRU(3, 5, reset_after=False, dtype=np.float64)",
    "GRU(3, 5, num_layers=2)",
    "RNN(3, 5, nonlinearity='relu')",
    "LSTMCell(3, 5)",
    "GRUCell(3, 5, bias=False, reset_after=False)",
    "RNNCell(3, 5, nonlinearity='relu', dtype=np.float64)",
]


@pytest.mark.parametrize("text", REPRS)
def test_repr_is_what_one_would_type(text):
    layer = eval(text, {"np": np, **vars(pyrnn)})
    again = eval(repr(layer), {"np": np, **vars(pyrnn)})
    assert repr(layer) == text
    hidden = {"_params", "_generator", "_packed"}
    assert {n: v for n, v in vars(again).items() if n not in hidden} == {
        n: v for n, v in vars(layer).items() if n not in hidden
    }
    assert repr(again.params) == repr(layer.params)
