"""One step at a time: cells and streams are the layer over a sequence, bit for bit."""

import itertools

import numpy as np
import pytest

import pyrnn
from pyrnn import _registry, reference

from .cells import SINGLE, as_array, as_state, cell_of, layer_of
from .problems import assert_near, assert_same, tolerance

T, N_IN, H = 6, 3, 9

each_single = pytest.mark.parametrize("cell", SINGLE)
each_batch = pytest.mark.parametrize("B", [1, 2, 7])


def drawn(B, dtype=np.float32, steps=T, states=1):
    rng = np.random.default_rng(B)
    return [rng.standard_normal(s).astype(dtype) for s in ((steps, B, N_IN), (states, B, H))]


def states_of(cell):
    return _registry.REGISTRY[cell].states


# ---- cells ----


def paired(cell, dtype, **options):
    """A cell, and the layer of the same weights."""
    single, layer = (make(cell)(N_IN, H, dtype=dtype, rng=0, **options) for make in (cell_of, layer_of))
    layer.params.update({f"{name}_l0": array for name, array in single.params.items()})
    return single, layer


@each_single
@each_batch
@pytest.mark.parametrize("bias", [True, False])
def test_a_cell_is_a_layer_step_by_step(cell, dtype, isa, B, bias):
    single, layer = paired(cell, dtype, bias=bias)
    x, state = drawn(B, dtype, states=states_of(cell))
    y, final = layer(x, as_state(state[:, None]))
    given = as_state(state)
    for x_t, y_t in zip(x, y, strict=True):
        given = single(x_t, given)
        np.testing.assert_array_equal(as_array(given)[0], y_t)
    np.testing.assert_array_equal(as_array(given), as_array(final)[:, 0])


@each_single
@each_batch
def test_every_way_to_call_a_cell_is_the_same(cell, dtype, B):
    """Plain arrays go a short way to the kernels; everything else must arrive at the same place."""
    single, _ = paired(cell, dtype)
    (x, *_), state = drawn(B, dtype, states=states_of(cell))
    expected = as_array(single(x, as_state(state)))
    for other in (np.asfortranarray(x), x.astype(">f8"), x.tolist(), x[::-1][::-1], x.astype(np.longdouble)):
        np.testing.assert_array_equal(as_array(single(other, as_state(state))), expected)
    for other in (np.asfortranarray(state), state.astype(">f8"), np.repeat(state, 2, 2)[:, :, ::2]):
        np.testing.assert_array_equal(as_array(single(x, as_state(other))), expected)
    alone = np.stack([as_array(single(x[b], as_state(state[:, b]))) for b in range(B)], 1)
    np.testing.assert_array_equal(alone, expected)
    none, zeros = single(x), single(x, as_state(np.zeros_like(state)))
    np.testing.assert_array_equal(as_array(none), as_array(zeros))
    np.testing.assert_array_equal(as_array(single.vjp(x, as_state(state))[0]), expected)


@each_single
def test_a_cell_steps_through_batches_of_all_sizes(cell, threads):
    """The prepared call of one batch size is not used for another, nor for another number of threads."""
    single, layer = paired(cell, np.float32)
    for number, B in itertools.product((1, 2), (1, 7, 2, 0, 64, 1)):
        threads(number)
        x, state = drawn(B, steps=1, states=states_of(cell))
        found = as_array(single(x[0], as_state(state)))
        np.testing.assert_array_equal(found, as_array(layer(x, as_state(state[:, None]))[1])[:, 0])


@pytest.mark.parametrize("part", [0, 1])
def test_half_of_the_state_of_an_lstm_may_be_left_out(dtype, part):
    single, _ = paired("lstm", dtype)
    (x, *_), state = drawn(2, dtype, states=2)
    full = np.zeros_like(state)
    full[part] = state[part]
    half = tuple(state[q] if q == part else None for q in (0, 1))
    for x_given in (x, x.tolist()):
        np.testing.assert_array_equal(single(x_given, half), single(x, tuple(full)))
        np.testing.assert_array_equal(single(x_given, list(half)), single(x, tuple(full)))


@each_single
def test_a_cell_neither_writes_to_its_arguments_nor_returns_them(cell):
    single, _ = paired(cell, np.float32)
    (x, *_), state = drawn(2, states=states_of(cell))
    for array in (x, state):
        array.flags.writeable = False
    before = x.tobytes(), state.tobytes()
    after = as_array(single(x, as_state(state)))
    assert (x.tobytes(), state.tobytes()) == before
    first = single(x, as_state(state))
    second = single(x, as_state(state))
    assert not any(np.shares_memory(a, b) for a in as_array(first) for b in as_array(second))
    np.testing.assert_array_equal(as_array(first), after)
    assert all(a.flags.writeable for a in (first if isinstance(first, tuple) else (first,)))


@each_single
@each_batch
def test_a_cell_writes_its_state_where_it_is_told(cell, dtype, isa, B):
    single, _ = paired(cell, dtype)
    x, state = drawn(B, dtype, states=states_of(cell))
    expected = single(x[0], as_state(state))
    for given in (x[0], x[0].tolist()):
        place = as_state(np.full_like(state, np.nan))
        assert single(given, as_state(state), out=place) is place
        np.testing.assert_array_equal(place, expected)
    kept = as_state(state.copy())
    for x_t in x:  # in place
        after = single(x_t, kept)
        assert single(x_t, kept, kept) is kept
        np.testing.assert_array_equal(kept, after)
    alone = as_state(np.full_like(state[:, 0], np.nan))
    assert single(x[0, 0], as_state(state[:, 0]), out=alone) is alone
    np.testing.assert_array_equal(as_array(alone), as_array(expected)[:, 0])


@each_single
def test_the_state_of_a_large_cell_is_written_in_place(cell, threads):
    """Large enough for threads."""
    threads(2)
    single = cell_of(cell)(N_IN, 400, rng=0)
    x, state = np.ones((40, N_IN), np.float32), np.ones((states_of(cell), 40, 400), np.float32)
    expected, kept, place = single(x, as_state(state)), as_state(state.copy()), as_state(state * np.nan)
    assert single(x, kept, kept) is kept and single(x, as_state(state), place) is place
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(place, expected)


def test_places_of_a_state_may_overlap_what_is_read():
    """Whatever is written where, the result is that of arguments apart."""
    single = pyrnn.LSTMCell(H, H, rng=0)
    rng = np.random.default_rng(0)
    for which in itertools.product(range(4), repeat=5):
        memory = rng.standard_normal((6, 1, H)).astype(np.float32)
        x, h0, c0, h1, c1 = (memory[part] for part in which)
        if which[3] == which[4]:
            with pytest.raises(ValueError, match="out"):
                single(x, (h0, c0), out=(h1, c1))
            continue
        expected = single(x.copy(), (h0.copy(), c0.copy()))
        np.testing.assert_array_equal(single(x, (h0, c0), out=(h1, c1)), expected)
        shifted = memory.ravel()[H // 2 : H // 2 + H].reshape(1, H)  # half of two others
        apart = np.empty((1, H), np.float32)
        expected = single(x.copy(), (h0.copy(), c0.copy()))
        np.testing.assert_array_equal(single(x, (h0, c0), out=(shifted, apart)), expected)


def wrong_places(shape, dtype):
    """What no result can be written to as it is."""
    frozen = np.empty(shape, dtype)
    frozen.flags.writeable = False
    rows, columns = shape
    return [
        frozen,
        np.empty((rows + 1, columns), dtype),
        np.empty((rows, columns, 1), dtype),
        np.empty((rows, 2 * columns), dtype)[:, ::2],
        np.asfortranarray(np.empty((rows, columns), dtype)),
        np.empty(shape, np.dtype(dtype).newbyteorder()),
        np.empty(shape, np.float16),
        np.frombuffer(bytearray(frozen.nbytes + 1), np.uint8)[1:].view(dtype).reshape(shape),
        [[0.0] * columns] * rows,
        "out",
        0,
    ]


@each_single
def test_a_place_that_cannot_be_written_to_is_an_error(cell, dtype):
    single, layer = paired(cell, dtype)
    x, state = drawn(2, dtype, states=states_of(cell))
    stream = layer.stream(2)
    for wrong in wrong_places((2, H), dtype):
        right = [np.zeros((2, H), dtype) for _ in state]
        with pytest.raises((TypeError, ValueError), match=r"\bout\b"):
            stream(x[0], out=wrong)
        for q, x_t in itertools.product(range(len(right)), (x[0], x[0].tolist())):
            out = tuple(wrong if p == q else part for p, part in enumerate(right))
            with pytest.raises((TypeError, ValueError), match=r"\bout\b"):
                single(x_t, as_state(state), out if len(out) > 1 else out[0])
        assert not any(part.any() for part in right)
    for wrong in [right, (*right, None), (None, *right[1:])]:
        with pytest.raises((TypeError, ValueError), match=r"\bout\b"):
            single(x[0], as_state(state), wrong)
    assert not as_array(stream.state).any()


@each_single
@each_batch
@pytest.mark.parametrize("bias", [True, False])
def test_the_gradients_of_a_cell_are_those_of_the_reference(cell, dtype, isa, B, bias):
    single, _ = paired(cell, dtype, bias=bias)
    (x, *_), state = drawn(B, dtype, states=states_of(cell))
    dstate = np.random.default_rng(9).standard_normal(state.shape).astype(dtype)
    _, pull = single.vjp(x, as_state(state))
    dx, dstate0, grads = pull(as_state(dstate))
    wide = {name: array.astype(np.float64) for name, array in single.params.items()}
    weights = [wide.get(name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    kind = reference.cells[cell]
    y, _, tape = reference.forward(kind, x[None].astype(float), state.astype(float), *weights)
    known = reference.backward(kind, tape, np.zeros_like(y), dstate.astype(float))
    bound = 2 * tolerance(dtype, B * (N_IN + H))
    assert_near(dx, known["dx"][0], bound)
    assert_near(as_array(dstate0), known["dstate"], bound)
    assert list(grads) == list(single.params)
    short = {"weight": "w", "bias": "b"}
    for name, grad in grads.items():
        assert_near(grad, known["d" + "_".join([short[name.split("_")[0]], name.split("_")[1]])], bound)


@each_single
def test_a_cell_without_a_batch_axis_pulls_without_one(cell, dtype):
    single, _ = paired(cell, dtype)
    (x, *_), state = drawn(1, dtype, states=states_of(cell))
    dx, dstate0, grads = single.vjp(x[0], as_state(state[:, 0]))[1](as_state(state[:, 0]))
    dx1, dstate1, grads1 = single.vjp(x, as_state(state))[1](as_state(state))
    assert_same({"dx": dx, **grads}, {"dx": dx1[0], **grads1})
    np.testing.assert_array_equal(as_array(dstate0), as_array(dstate1)[:, 0])


# ---- streams ----


@each_batch
@pytest.mark.parametrize("layers", [1, 3])
def test_a_stream_is_the_layer_step_by_step(cell, dtype, isa, B, layers):
    layer = layer_of(cell)(N_IN, H, layers, dtype=dtype, rng=0)
    x, _ = drawn(B, dtype)
    y, final = layer(x)
    stream = layer.stream(B)
    for _ in range(2):
        for x_t, y_t in zip(x, y, strict=True):
            np.testing.assert_array_equal(stream(x_t), y_t)
        np.testing.assert_array_equal(as_array(stream.state), as_array(final))
        stream.reset()
    assert not as_array(stream.state).any()


@each_batch
@pytest.mark.parametrize("layers", [1, 3])
def test_a_stream_writes_where_it_is_told(cell, dtype, isa, B, layers):
    layer = layer_of(cell)(H, H, layers, dtype=dtype, rng=0)
    x = np.random.default_rng(1).standard_normal((T, B, H)).astype(dtype)
    stream, place, known = layer.stream(B), np.empty((B, H), dtype), layer(x)[0]
    for x_t, y_t in zip(x, known, strict=True):
        assert stream(x_t, place) is place
        np.testing.assert_array_equal(place, y_t)
    stream.reset()
    for x_t, y_t in zip(x, known, strict=True):  # over its input
        np.testing.assert_array_equal(stream(x_t, out=x_t), y_t)
        np.testing.assert_array_equal(x_t, y_t)


def test_a_large_stream_is_the_layer_step_by_step(cell, threads):
    """Large enough for threads."""
    threads(2)
    layer = layer_of(cell)(N_IN, 400, 2, rng=0)
    x, _ = drawn(40)
    y, _ = layer(x)
    stream = layer.stream(40)
    for x_t, y_t in zip(x, y, strict=True):
        np.testing.assert_array_equal(stream(x_t), y_t)
    stream.reset()
    place = np.empty((40, 400), np.float32)
    for x_t, y_t in zip(x, y, strict=True):
        np.testing.assert_array_equal(stream(x_t, place), y_t)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_state_can_be_taken_and_set(cell, layers):
    layer = layer_of(cell)(N_IN, H, layers, rng=0)
    x, _ = drawn(2)
    stream, other = layer.stream(2), layer.stream(2)
    for x_t in x[:3]:
        stream(x_t)
    taken = stream.state
    kept = as_array(taken).copy()
    other.state = taken
    for x_t in x[3:]:
        np.testing.assert_array_equal(stream(x_t), other(x_t))
    np.testing.assert_array_equal(as_array(taken), kept)  # a copy
    stream.state = as_state(kept.astype(">f8"))
    np.testing.assert_array_equal(as_array(stream.state), kept)
    expected = layer(x[3:], taken)[0]
    np.testing.assert_array_equal(np.stack([stream(x_t) for x_t in x[3:]]), expected)


def test_rows_can_be_reset(cell):
    layer = layer_of(cell)(N_IN, H, 2, rng=0)
    x, _ = drawn(3)
    done = np.zeros((T, 3), bool)
    done[[2, 4], [0, 1]] = True
    stream, expected = layer.stream(3), layer(x, reset=done)[0]
    for x_t, rows, y_t in zip(x, done, expected, strict=True):
        stream.reset(rows)
        np.testing.assert_array_equal(stream(x_t), y_t)
    stream.reset(np.ones(3, bool).tolist())
    assert not as_array(stream.state).any()


def test_a_stream_reads_whatever_can_be_converted(cell, dtype):
    layer = layer_of(cell)(N_IN, H, dtype=dtype, rng=0)
    x, _ = drawn(2)
    for convert in (np.asfortranarray, np.ndarray.tolist, lambda a: a.astype(">f8"), lambda a: a[::-1][::-1]):
        stream, expected = layer.stream(2), layer(x)[0]
        for x_t, y_t in zip(x, expected, strict=True):
            np.testing.assert_array_equal(stream(convert(x_t)), y_t)


def test_what_a_stream_returns_is_the_callers(cell):
    stream = layer_of(cell)(N_IN, H, 2, rng=0).stream(2)
    twin = layer_of(cell)(N_IN, H, 2, rng=0).stream(2)
    x, _ = drawn(2)
    x.flags.writeable = False
    for x_t in x:
        y = stream(x_t)
        np.testing.assert_array_equal(y, twin(x_t))
        y[...] = np.nan
        for part in stream.state if isinstance(stream.state, tuple) else (stream.state,):
            part[...] = np.nan


def test_an_error_leaves_a_stream_as_it_was(cell):
    stream = layer_of(cell)(N_IN, H, rng=0).stream(2)
    x, _ = drawn(2)
    stream(x[0])
    before = as_array(stream.state)
    for wrong in (x[0, :1], x[0].astype(complex), x, None, "x", [[1, 2, 3], [4, 5]]):
        with pytest.raises((TypeError, ValueError), match=r"\bx\b"):
            stream(wrong)
    shapes = as_state(before[:, :, :1]), before[0, 0], as_state(before.astype(complex))
    for wrong in (*shapes, None, "state", [[1], [2, 3]]):
        with pytest.raises((TypeError, ValueError), match=r"\bstate\b"):
            stream.state = wrong
    for wrong in (1, [True], [True] * 3, [1, 0], "rows", np.ones((2, 1), bool), [[True], [True, False]]):
        with pytest.raises((TypeError, ValueError), match=r"\brows\b"):
            stream.reset(wrong)
    np.testing.assert_array_equal(as_array(stream.state), before)


@pytest.mark.parametrize("size", [0, -1, 1.0, "1", True, None, 2**62, 10**30])
def test_a_batch_size_that_is_none_is_an_error(size):
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        pyrnn.LSTM(3, 5).stream(size)


def test_a_bidirectional_layer_has_no_stream():
    with pytest.raises(ValueError, match="bidirectional"):
        pyrnn.GRU(3, 5, bidirectional=True).stream()
