"""Layers of a stack side by side, each some steps behind: the same bits as one after the other."""

import numpy as np
import pytest

from pyrnn import _core, _registry

from .cells import layer_of
from .problems import assert_same
from .processes import python

FLOPS = 7e6  # of each layer, forward: worth a thread even where half of the steps are beyond a length


ALONE = [range(1), range(1, 2)]


def stack(cell, B, H, layers, dtype=np.float32, T=None):
    """A stack and its x, long enough to be chained unless T says else."""
    entry = _registry.REGISTRY[cell]
    T = T if T is not None else 5 + int(FLOPS / (2 * (entry.gates + entry.recurrent) * H * H * B))
    layer = layer_of(cell)(H, H, layers, dtype=dtype, rng=0)
    return layer, np.random.default_rng(1).standard_normal((T, B, H)).astype(dtype)


def options_of(kind, layer, x):
    T, B, _ = x.shape
    rng = np.random.default_rng(2)
    if kind == "ragged":
        return {"lengths": np.resize([max(T - 3, 0), 0, T // 2, T], B)}
    if kind == "nearly empty":
        return {"lengths": np.resize([0, min(T, 1), 0], B)}
    if kind == "reset and state":
        shape = (layer.num_layers, B, layer.hidden_size)
        states = [
            rng.standard_normal(shape).astype(x.dtype)
            for _ in range(_registry.REGISTRY[layer._cell.name].states)
        ]
        return {"reset": rng.random((T, B)) < 0.1, "state": tuple(states) if len(states) > 1 else states[0]}
    return {}


def results(layer, x, options):
    rng = np.random.default_rng(3)
    (y, state), pull = layer.vjp(x, **options)
    states = state if isinstance(state, tuple) else (state,)
    dy = rng.standard_normal(y.shape).astype(y.dtype)
    dlast = tuple(rng.standard_normal(s.shape).astype(s.dtype) for s in states)
    dx, dstate, grads = pull(dy, dlast if len(dlast) > 1 else dlast[0])
    dstates = dstate if isinstance(dstate, tuple) else (dstate,)
    inferred, _ = layer(x, **options)
    return (
        {"y": y, "inferred": inferred, "dx": dx}
        | {f"state{q}": array for q, array in enumerate(states)}
        | {f"dstate{q}": array for q, array in enumerate(dstates)}
        | grads
    )


def assert_threads_do_not_matter(threads, layer, x, options):
    threads(1)
    alone = results(layer, x, options)
    np.testing.assert_array_equal(alone["y"], alone["inferred"])
    for number in (2, 3):
        threads(number)
        assert_same(results(layer, x, options), alone)


def always(packs, use, x, lengths, threads):
    """Groups of eight at most, as many as a chain runs at once."""
    return [range(i, min(i + 8, len(packs))) for i in range(0, len(packs), 8)]


@pytest.fixture
def chains(monkeypatch):
    """Every stack is a chain, however small: the lengths of calls at once, 1 for a layer alone."""
    seen = []

    def spy(run):
        def call(calls, threads, chain=False):
            seen.append(len(calls) if chain else 1)
            run(calls, threads, chain)

        return call

    def alone(run):
        return lambda *call: seen.append(1) or run(*call)

    monkeypatch.setattr(_core, "chained", always)
    monkeypatch.setattr(_core, "run", alone(_core.run))
    monkeypatch.setattr(_core, "pull", alone(_core.pull))
    monkeypatch.setattr(_core, "forward", spy(_core.forward))
    monkeypatch.setattr(_core, "backward", spy(_core.backward))
    return seen


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("B", [1, 2, 3])
@pytest.mark.parametrize("kind", ["plain", "ragged", "reset and state"])
def test_a_stack_has_the_same_bits_for_any_number_of_threads(cell, dtype, isa, threads, layers, B, kind):
    layer, x = stack(cell, B, 33, layers, dtype)
    options = options_of(kind, layer, x)
    if _core.threads_possible():
        for use in (_core.FORWARD, _core.BACKWARD):
            assert len(_core.chained(layer._packs(use), use, x, options.get("lengths"), 2)) == layers - 1
    assert_threads_do_not_matter(threads, layer, x, options)


@pytest.mark.parametrize("T", [0, 1, 2, 7, 8, 9, 31, 301])
@pytest.mark.parametrize("kind", ["plain", "ragged", "nearly empty", "reset and state"])
def test_any_number_of_steps_makes_a_chain(cell, threads, chains, T, kind):
    """Below, at and past a reader's distance and a block, though it would not pay."""
    for B, H, layers in ((1, 5, 2), (3, 20, 3), (9, 7, 9)):
        layer, x = stack(cell, B, H, layers, T=T)
        assert_threads_do_not_matter(threads, layer, x, options_of(kind, layer, x))
    assert max(chains) == 8


def test_a_batch_first_stack_and_a_part_of_an_array(cell, threads, chains):
    """Strides of x and y are the caller's."""
    layer = layer_of(cell)(6, 9, 3, batch_first=True, rng=0)
    x = np.random.default_rng(0).standard_normal((2, 90, 12)).astype(np.float32)[:, ::2, 3:9]
    assert_threads_do_not_matter(threads, layer, x, {})
    assert set(chains) == {3}


def test_a_batch_that_is_cut_into_strips(cell, threads, chains):
    """More rows than a block has pairs: a reader waits for the last strip."""
    layer, x = stack(cell, 700, 40, 2, T=3)
    options = {"lengths": np.random.default_rng(0).integers(0, 4, 700)}
    for given in ({}, options):
        assert_threads_do_not_matter(threads, layer, x, given)
    assert 2 in chains


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"dropout": 0.5}, {"num_layers": 1}])
def test_what_cannot_be_chained_is_not(threads, chains, options):
    layer = layer_of("gru")(5, 6, **({"num_layers": 2} | options), rng=0)
    threads(2)
    (y, _), pull = layer.vjp(np.zeros((50, 1, 5)), rng=0)
    pull(np.ones_like(y))
    assert set(chains) == {1}


@pytest.mark.parametrize(
    "cell, T, B, H, pays",
    [
        ("lstm", 1000, 1, 40, True),
        ("gru", 200, 1, 64, True),
        ("lstm", 10, 1, 40, False),  # too little work
        ("rnn_tanh", 20, 3, 200, False),  # too few steps
        ("lstm", 100, 40, 40, False),  # rows for every thread
        ("lstm", 100, 1, 700, False),  # weights for more than one cache
    ],
)
def test_where_a_chain_pays(cell, T, B, H, pays):
    if not _core.threads_possible():
        pytest.skip("built without threads")
    layer, x = stack(cell, B, H, 2, T=T)
    packs = layer._packs(_core.FORWARD)
    assert _core.chained(packs, _core.FORWARD, x, None, 2) == ([range(2)] if pays else ALONE)
    assert _core.chained(packs, _core.FORWARD, x, None, 1) == ALONE
    assert _core.chained(packs, _core.FORWARD, x, np.zeros(B, np.int64), 2) == ALONE


@pytest.mark.parametrize(
    "layers, threads, groups",
    [(1, 2, [1]), (3, 2, [2, 1]), (4, 2, [4]), (5, 2, [4, 1]), (5, 3, [5]), (7, 3, [6, 1]), (11, 4, [8, 3])],
)
def test_a_layer_that_would_be_alone_at_last_has_all_threads(layers, threads, groups):
    if not _core.threads_possible():
        pytest.skip("built without threads")
    layer, x = stack("lstm", 1, 40, layers, T=500)
    found = _core.chained(layer._packs(_core.FORWARD), _core.FORWARD, x, None, threads)
    assert [len(group) for group in found] == groups
    assert [i for group in found for i in group] == list(range(layers))


def test_one_core_and_a_forked_child_come_to_an_end():
    """Nobody waits for a layer that has no thread."""
    code = """
import os
import numpy as np
import pyrnn
layer, x = pyrnn.LSTM(40, 40, 3, rng=0), np.random.default_rng(0).standard_normal((600, 1, 40))
def results():
    (y, _), pull = layer.vjp(x)
    dx, _, grads = pull(np.ones_like(y))
    return [y, dx, layer(x)[0], *grads.values()]
pyrnn.set_num_threads(1)
expected = results()
def check():
    for number in (2, 3):
        pyrnn.set_num_threads(number)
        for _ in range(5):
            assert all((a == b).all() for a, b in zip(results(), expected))
check()
child = os.fork()
if child == 0:
    check()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
check()
"""
    assert python(code, timeout=60) == ""
