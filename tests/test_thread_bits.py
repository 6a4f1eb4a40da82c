"""Any number of threads gives the same bits, however they share a call."""

import numpy as np
import pytest

import pyrnn
from pyrnn import _registry, functional

from .problems import assert_same, infer, problem, ragged, run

# B, I, H: few rows share out their units, many the rows; one with few units runs ahead of its products.
SHAPES = {
    "one row": (1, 3, 400),
    "few rows": (3, 5, 400),
    "many rows": (40, 33, 80),
    "one slim row": (1, 20, 24),
}

each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def steps(cell, shape):
    """T such that a call does 60 million operations: worth five threads and more."""
    B, I, H = shape
    return 30_000_000 // (_registry.REGISTRY[cell].gates * B * H * (I + H))


@each_shape
@pytest.mark.parametrize("kind", ["plain", "ragged and reversed"])
def test_any_number_of_threads_gives_the_same_bits(cell, dtype, isa, threads, shape, kind):
    T = steps(cell, shape)
    options = {} if kind == "plain" else ragged(T, shape[0]) | {"reverse": True}
    given = problem(cell, dtype, T, *shape, **options)
    threads(1)
    alone = run(given)
    for number in (2, 3, 5):  # more, too, than there are cores
        threads(number)
        assert_same(run(given), alone)
        assert_same(infer(given), {name: alone[name] for name in ("y", "state")})


@pytest.mark.parametrize("kind", ["plain", "reversed", "with resets"])
@pytest.mark.parametrize("units", [96, 128, 136, 200, 256, 272])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_who_begins_a_step_with_his_own_units_adds_the_same_sums(cell, isa, threads, units, kind):
    shape = 1, 2, units
    T = steps(cell, shape)
    options = {"plain": {}, "reversed": {"reverse": True}, "with resets": {"reset": np.zeros((T, 1), bool)}}[
        kind
    ]
    if kind == "with resets":
        options["reset"][::7] = True
    given = problem(cell, np.float32, T, *shape, **options)
    threads(1)
    alone = run(given)
    for number in (2, 3):
        threads(number)
        assert_same(run(given), alone)
        assert_same(infer(given), {name: alone[name] for name in ("y", "state")})


@pytest.mark.parametrize("kind", ["plain", "ragged and reversed"])
def test_rows_that_are_shared_out_in_several_rounds_have_the_same_bits(cell, dtype, threads, kind):
    shape = B, I, H = 12, 70, 130
    rounds = 3 * 2 * 200_000_000  # a round takes 200 million operations a thread
    T = 20 + rounds // (2 * _registry.REGISTRY[cell].gates * B * H * I)
    options = {} if kind == "plain" else ragged(T, B) | {"reverse": True}
    given = problem(cell, dtype, T, *shape, **options)
    threads(1)
    alone = run(given)
    threads(2)
    assert_same(run(given), alone)
    assert_same(infer(given), {name: alone[name] for name in ("y", "state")})


@pytest.mark.parametrize(
    "options", [{"recurrent_dropout": 0.3}, {"zoneout": 0.2, "peepholes": True}, {"proj_size": 30}]
)
def test_options_go_on_from_round_to_round(threads, options):
    layer = pyrnn.LSTM(70, 130, rng=0, **options)
    x = np.random.default_rng(0).standard_normal((600, 12, 70), np.float32)
    found = {}
    for number in (1, 2):
        threads(number)
        (y, state), pull = layer.vjp(x, rng=1)
        dx, dstate, grads = pull(y)
        found[number] = {
            "y": y,
            "h": state[0],
            "c": state[1],
            "dx": dx,
            "dh": dstate[0],
            "dc": dstate[1],
        } | grads
    assert_same(found[2], found[1])


@pytest.mark.parametrize("number", [2, 3])
def test_a_row_alone_is_the_row_in_its_batch_however_it_is_shared_out(cell, dtype, threads, number):
    given = problem(cell, dtype, steps(cell, (13, 5, 400)), 13, 5, 400)
    threads(number)
    batch = infer(given)
    for rows in (slice(0, 1), slice(2, 5), slice(4, 13)):
        part = {name: given[name][:, rows] for name in ("x", "state", "dy", "dstate")}
        assert_same(infer(given | part), {name: array[:, rows] for name, array in batch.items()})


def test_pull_may_run_on_another_number_of_threads(cell, dtype, threads):
    given = problem(cell, dtype, steps(cell, SHAPES["few rows"]), *SHAPES["few rows"])
    threads(1)
    alone = run(given)
    arguments = {name: value for name, value in given.items() if name not in ("dy", "dstate")}
    threads(3)
    _, pull = functional.vjp(**arguments)
    threads(2)
    grads = pull(given["dy"], given["dstate"])
    assert_same(grads, {name: alone[f"grad {name}"] for name in grads})
