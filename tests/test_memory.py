"""What the kernels touch and allocate.

Values cannot see an over-read: here every array ends, or begins, at a page that cannot be touched.
"""

import itertools
import tracemalloc

import numpy as np
import pytest

import pyrnn
from pyrnn import _core, _registry, functional

from .cells import SINGLE, as_array, as_state, cell_of, layer_of
from .disguises import backwards, every_other, field, misaligned, swapped
from .problems import WEIGHTS, apart, assert_same, problem, ragged, run

MB = 1 << 20

edges = pytest.mark.parametrize("start", [False, True], ids=["ends", "begins"])


def shapes(L):
    """T, B, I, H at and around vectors and tiles."""
    units = sorted({1, max(L - 1, 1), L, L + 1, 2 * L + 1, 4 * L + 1})
    rows = itertools.cycle((1, 2, 5, 7, 9, 13))
    return [(2, B, I, H) for (I, H), B in zip(itertools.product((1, L, L + 1), units), rows, strict=False)]


def named_states(name, state):
    """As `problems.run` names them."""
    return apart({name: np.stack(state) if len({part.shape for part in state}) == 1 else state})


class Bare:
    """A problem run by the binding alone, every array where `place` puts it; outputs are NaN before."""

    def __init__(self, given, place, major=(0, 1, 2)):
        self.given, self.place = given, place
        self.entry = _registry.REGISTRY[given["cell"]]
        self.major = major
        self.x, self.dy = (self.transposed(given[name]) for name in ("x", "dy"))
        self.state, self.dstate = (place(self.states(given[name])) for name in ("state", "dstate"))
        self.lengths, self.reset = place(given.get("lengths")), place(given.get("reset"))
        self.names = [name for name in (*WEIGHTS, "w_units", "w_hr") if name in given]
        self.weights = {name: place(given[name]) for name in self.names}
        self.mask = place(given.get("mask"))
        self.options = _registry.PLAIN._replace(
            masked=self.mask is not None, projection=len(given.get("w_hr", ()))
        )
        self.units = given.get("w_hr", given["w_hh"]).shape[1]

    def transposed(self, array):
        return self.place(np.ascontiguousarray(array.transpose(self.major))).transpose(self.major)

    def states(self, array):
        return None if array is None else tuple(array)

    def empty(self, *shape):
        return np.full(shape, np.nan, self.given["x"].dtype)

    def gathered(self, arrays):
        """As functional.Weights."""
        named = {
            name.removeprefix("w_") if name in ("w_units", "w_hr") else name: a for name, a in arrays.items()
        }
        return functional.Weights(**{"b_ih": None, "b_hh": None} | named)

    def packed(self, use):
        packed = functional.pack(self.entry, use, self.gathered(self.weights), self.options)
        return self.place(packed, alignment=64)

    def outputs(self):
        """All that is given to `_core.forward` and what it writes to."""
        (T, B, I), H, entry = self.x.shape, self.units, self.entry
        widths = _registry.widths(entry, H, self.options)
        y = self.transposed(self.empty(T, B, widths[0]))
        state = self.place(tuple(self.empty(B, width) for width in widths))
        size = _core.saved_size(entry.number, self.x.dtype, I, H, T, B, self.options)
        return y, state, self.place(self.empty(size))

    def sequence(self):
        return self.x, self.state, self.lengths, self.reset, self.given.get("reverse", False), self.mask, 0

    def infer(self):
        y, state, _ = self.outputs()
        _core.forward([(self.packed(_core.FORWARD), *self.sequence(), y, state, None)], 1)
        return {"y": y, **named_states("state", state)}

    def run(self, wanted=True):
        y, state, saved = self.outputs()
        _core.forward([(self.packed(_core.FORWARD), *self.sequence(), y, state, saved)], 1)
        dx = self.transposed(self.empty(*self.x.shape)) if wanted else None
        dstate0 = self.place(tuple(self.empty(*part.shape) for part in state)) if wanted else None
        weights = {name: self.place(self.empty(*a.shape)) for name, a in self.weights.items()}
        if not wanted:
            weights = {name: a for name, a in weights.items() if name in ("w_ih", "w_hh", "w_hr")}
        grads = self.gathered(weights)
        packed = self.packed(_core.BACKWARD)
        _core.backward([(packed, *self.sequence(), saved, self.dy, self.dstate, dx, dstate0, *grads)], 1)
        results = {"y": y, **named_states("state", state)}
        if wanted:
            results |= {"grad dx": dx, **named_states("grad dstate", dstate0)}
        return results | {f"grad d{name}": a for name, a in weights.items()}


# ---- what the kernels touch ----


@edges
@pytest.mark.parametrize("major", [(0, 1, 2), (1, 0, 2)], ids=["time-major", "batch-major"])
@pytest.mark.parametrize("kind", ["plain", "ragged", "reverse", "masked"])
def test_nothing_outside_any_array_is_touched(cell, dtype, isa, lanes, at_edge, start, major, kind):
    for T, B, I, H in shapes(lanes):
        options = {"plain": {}, "ragged": ragged(T, B), "reverse": ragged(T, B) | {"reverse": True}}
        given = problem(cell, dtype, T, B, I, H, **options.get(kind, {}))
        if kind == "masked":
            given["mask"] = np.full((B, H), 2, dtype)
        bare = Bare(given, lambda a, alignment=1: at_edge(a, start, alignment), major)
        expected = run(given)
        if kind != "masked":  # the mask is for training alone
            assert_same(bare.infer(), {name: expected[name] for name in ("y", "state")})
        assert_same(bare.run(), expected)


@edges
@pytest.mark.parametrize("cell", ["lstm", "lstm_coupled"])
@pytest.mark.parametrize("kind", ["plain", "ragged", "masked"])
def test_nor_where_h_is_projected(cell, dtype, isa, lanes, at_edge, start, kind):
    for T, B, I, H in shapes(lanes):
        for P in {1, max(H // 2, 1), H - 1} - {0}:
            given = problem(
                cell, dtype, T, B, I, H + (P == H), P=P, **(ragged(T, B) if kind == "ragged" else {})
            )
            if kind == "masked":
                given["mask"] = np.full((B, P), 2, dtype)
            bare = Bare(given, lambda a, alignment=1: at_edge(a, start, alignment))
            expected = run(given)
            if kind != "masked":
                inferred = {name: a for name, a in expected.items() if not name.startswith("grad")}
                assert_same(bare.infer(), inferred)
            assert_same(bare.run(), expected)
            written = bare.run(wanted=False)
            assert_same(written, {name: expected[name] for name in written})


@edges
def test_the_edge_is_an_edge(at_edge, start):
    """Arrays lie right at a page that is not there: the guard itself is looked at, not trusted."""
    for shape in ((0,), (1,), (3, 5), (5000,)):
        array = at_edge(np.ones(shape, np.float32), start)
        beyond = array.ctypes.data + (-1 if start else array.nbytes)
        with open("/proc/self/maps") as maps:
            lines = [line.split()[:2] for line in maps]
        closed = [span.split("-") for span, rights in lines if rights.startswith("---")]
        assert any(int(low, 16) <= beyond < int(high, 16) for low, high in closed)
        np.testing.assert_array_equal(array, 1)


@pytest.mark.parametrize("clothes", [misaligned, field, swapped, backwards, every_other])
def test_what_reaches_the_binding_is_aligned_and_native(monkeypatch, clothes):
    """A misaligned read is undefined in C, whatever this CPU makes of it."""

    def checked(function):
        def call(*arguments):
            for part in arguments:
                for array in part if isinstance(part, tuple) else (part,):
                    if isinstance(array, np.ndarray):
                        assert array.flags.aligned and array.dtype.isnative
                        assert not any(step % array.itemsize for step in array.strides)
            return function(*arguments)

        return call

    for name in ("pack", "forward", "backward"):
        monkeypatch.setattr(_core, name, checked(getattr(_core, name)))
    given = problem("lstm", np.dtype(np.float32), 4, 3, 5, 6, **ragged(4, 3))
    dressed = {n: clothes(a) if isinstance(a, np.ndarray) else a for n, a in given.items()}
    assert_same(run(dressed), run(given))


def test_a_stream_reads_nothing_past_its_step(cell, dtype, isa, lanes, at_edge):
    layer = layer_of(cell)(3, lanes + 1, dtype=dtype, rng=0)
    x = np.random.default_rng(1).standard_normal((4, 5, 3)).astype(dtype)
    stream, y = layer.stream(5), layer(x)[0]
    for x_t, y_t in zip(x, y, strict=True):
        place = at_edge(np.full((5, lanes + 1), np.nan, dtype))
        np.testing.assert_array_equal(stream(at_edge(x_t), place), y_t)


@edges
@pytest.mark.parametrize("cell", SINGLE)
@pytest.mark.parametrize("B", [1, 5])
def test_a_cell_touches_nothing_beside_its_arrays(cell, dtype, isa, lanes, at_edge, start, B):
    for I, H in itertools.product((1, lanes + 1), (1, lanes - 1, lanes, lanes + 1, 4 * lanes + 1)):
        single, rng = cell_of(cell)(I, max(H, 1), dtype=dtype, rng=0), np.random.default_rng(I)
        x = rng.standard_normal((B, I)).astype(dtype)
        state = rng.standard_normal((single._cell.states, B, single.hidden_size)).astype(dtype)
        given, place = (tuple(at_edge(part, start) for part in state) for _ in range(2))
        expected = as_array(single(x, as_state(state)))
        single(at_edge(x, start), as_state(given), out=as_state(place))
        np.testing.assert_array_equal(np.stack(place), expected)
        single(at_edge(x, start), as_state(given), out=as_state(given))
        np.testing.assert_array_equal(np.stack(given), expected)


def test_gradients_that_are_not_wanted_change_nothing(cell, dtype, isa):
    given = problem(cell, dtype, 5, 7, 3, 9, **ragged(5, 7))
    results, expected = Bare(given, lambda a, alignment=1: a).run(wanted=False), run(given)
    assert_same(results, {name: expected[name] for name in results})


@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_between_strided_rows_is_written(cell, dtype, isa, lanes, reverse):
    """y and dx may be parts of wider arrays, as a bidirectional layer has them; the rest stays as it was."""
    T, B, I, H = 4, 7, lanes + 1, 2 * lanes + 1
    given = problem(cell, dtype, T, B, I, H, reverse=reverse, **ragged(T, B))
    wide = []

    def inside(array, alignment=1):
        if isinstance(array, np.ndarray) and array.ndim == 3 and array.dtype == dtype:
            wide.append(np.full((array.shape[0] + 1, array.shape[1] + 2, array.shape[2] + 5), 7, dtype))
            part = wide[-1][:-1, 1:-1, 2:-3]
            part[...] = array
            return part
        return array

    expected = run(given)
    assert_same(Bare(given, inside).run(), expected)
    for outer in wide:
        outer[:-1, 1:-1, 2:-3] = 7
        assert (outer == 7).all()


# ---- what a call allocates ----


def traced(call):
    """The result of a call, the bytes it holds, and the most that it held; no memory is kept from before."""
    pyrnn.empty_cache()
    tracemalloc.start()
    try:
        result = call()
        _, peak = tracemalloc.get_traced_memory()
        pyrnn.empty_cache()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, held, peak


def packed_bytes(layer):
    return sum(array.nbytes for packs in layer._packed[1].values() for array in packs)


@pytest.mark.parametrize("directions, batch_first", [(1, False), (2, True)])
@pytest.mark.parametrize("raggedness", [False, True])
def test_inference_allocates_output_packs_and_a_little(cell, directions, batch_first, raggedness, threads):
    """An additional array of the size of the output would be 16 MB or more."""
    threads(2)
    T, B, H = 2000, 32, 64
    layer = layer_of(cell)(1, H, bidirectional=directions == 2, batch_first=batch_first, rng=0)
    x = np.zeros((B, T, 1) if batch_first else (T, B, 1), np.float32)
    options = {"lengths": ragged(T, B)["lengths"]} if raggedness else {}
    (y, state), held, peak = traced(lambda: layer(x, **options))
    results = y.nbytes + sum(part.nbytes for part in (state if isinstance(state, tuple) else [state]))
    assert peak <= results + packed_bytes(layer) + 8 * MB + 64 * T * B
    assert held <= results + packed_bytes(layer) + MB / 8


@pytest.mark.parametrize("T, B", [(1, 100_000), (100_000, 1), (1 << 21, 0)])
def test_the_workspace_of_slim_batches(T, B):
    layer = pyrnn.RNN(1, 1, rng=0)
    x, lengths = np.zeros((T, B, 1), np.float32), np.full(B, T)
    (y, _), _, peak = traced(lambda: layer(x, lengths=lengths))
    assert peak <= 2 * y.nbytes + 8 * MB + 64 * T * B


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("directions", [1, 2])
def test_training_keeps_no_more_than_it_says(cell, dtype, layers, directions):
    T, B, H = 500, 4, 64
    layer = layer_of(cell)(3, H, layers, bidirectional=directions == 2, dtype=dtype, rng=0)
    x = np.zeros((T, B, 3), dtype)
    layer.vjp(x)  # packs
    ((y, _), _), held, _ = traced(lambda: layer.vjp(x))
    entry = _registry.REGISTRY[cell]
    numbers = (entry.states + entry.saves) * T * B * H * layers * directions
    assert held <= numbers * dtype.itemsize + layers * y.nbytes + MB / 8


def test_what_is_saved_is_freed_with_pull():
    layer = pyrnn.LSTM(3, 64, rng=0)
    x = np.zeros((500, 4, 3), np.float32)
    layer.vjp(x)
    _, held, peak = traced(lambda: layer.vjp(x)[0][1])
    assert held < MB / 8 < peak


# ---- memory that is kept from call to call ----

keeping = pytest.mark.skipif(_core.KEPT == 0, reason="a sanitizer build keeps nothing")


def kept_after(call):
    """The bytes that are kept after a call whose results are gone; then they are given back."""
    tracemalloc.start()
    try:
        pyrnn.empty_cache()
        call()
        kept, _ = tracemalloc.get_traced_memory()
        pyrnn.empty_cache()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return kept - left


def test_memory_in_use_is_never_given_twice():
    layer, x = (
        pyrnn.GRU(4, 64, rng=0),
        np.random.default_rng(0).standard_normal((300, 32, 4)).astype(np.float32),
    )
    first = layer(x)[0]
    assert first.nbytes >= MB
    expected, part = first.copy(), first[7, 3:9]
    del first  # a view keeps it alive
    (y, _), pull = layer.vjp(-x)
    np.testing.assert_array_equal(part, expected[7, 3:9])
    again = layer(x)[0]
    del y
    for _ in range(3):
        pull(np.ones_like(again))
        layer(-x)
    np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(part, expected[7, 3:9])


@keeping
def test_memory_is_used_again_and_given_back():
    layer, x = pyrnn.RNN(4, 64, rng=0), np.zeros((300, 32, 4), np.float32)
    pyrnn.empty_cache()
    y = layer(x)[0]
    address = y.ctypes.data
    del y
    y = layer(x)[0]
    assert y.ctypes.data == address
    assert kept_after(lambda: layer(x)) >= MB


@keeping
def test_no_more_than_the_limit_is_kept():
    """One size after another, each too large to serve the one before."""

    def calls():
        for factor in (1, 3, 9, 27, 60):
            pyrnn.RNN(1, 64, rng=0)(np.zeros((500 * factor, 32, 1), np.float32))

    assert 0 < kept_after(calls) <= _core.KEPT * MB
