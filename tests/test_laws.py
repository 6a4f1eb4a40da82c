"""What holds bit for bit, whatever the numbers are: `==` throughout, with NaN where NaN is due."""

import numpy as np
import pytest

import pyrnn
from pyrnn import _registry, functional

from .problems import WEIGHTS, assert_same, infer, problem, ragged, run, split, wide

T, B, N_IN = 9, 7, 3

both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
kinds = pytest.mark.parametrize("kind", ["plain", "lengths", "reset", "both"])


@pytest.fixture
def units(lanes):
    return 2 * lanes + 1


def options_of(kind, T=T, B=B):
    chosen = {"plain": (), "lengths": ("lengths",), "reset": ("reset",), "both": ("lengths", "reset")}[kind]
    return {name: value for name, value in ragged(T, B).items() if name in chosen}


def steps_of(given, steps):
    """The problem of those steps alone; its initial state remains to be set."""
    part = {name: given[name][steps] for name in ("x", "dy")}
    if given.get("reset") is not None:
        part["reset"] = given["reset"][steps]
    if given.get("lengths") is not None:
        start, stop, _ = steps.indices(len(given["x"]))
        part["lengths"] = np.clip(given["lengths"], start, stop) - start
    return given | part


def rows_of(given, rows):
    """The problem of those rows alone."""
    part = {name: given[name][:, rows] for name in ("x", "dy")}
    for name in ("state", "dstate"):
        states = given[name]
        part[name] = tuple(a[rows] for a in states) if isinstance(states, tuple) else states[:, rows]
    part |= {"reset": given["reset"][:, rows]} if given.get("reset") is not None else {}
    part |= {"lengths": given["lengths"][rows]} if given.get("lengths") is not None else {}
    return given | part


# ---- forward ----


@kinds
@both_directions
def test_two_halves_make_the_whole(cell, dtype, isa, units, kind, reverse):
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse, **options_of(kind))
    whole = infer(given)
    for cut in (0, 1, 4, T):
        halves = [slice(0, cut), slice(cut, T)]
        state, y = given["state"], np.empty_like(whole["y"])
        for half in halves[::-1] if reverse else halves:
            if reverse and half is halves[0] and "reset" in given and cut < T:
                # The gap between the halves is the reset of a step that the first half does not have.
                crossed = given["reset"][cut] & (given.get("lengths", np.full(B, T)) > cut)
                state = np.where(crossed[:, None], 0, state).astype(dtype)
            part = infer(steps_of(given, half) | {"state": state})
            y[half], state = part["y"], part["state"]
        assert_same({"y": y, "state": state}, whole)


@pytest.mark.parametrize("few", [2, 4])
@pytest.mark.parametrize("panels", [0, 1, 2, 3, 5])
def test_a_row_alone_where_gates_share_vectors(cell, dtype, isa, lanes, panels, few):
    given = problem(cell, dtype, T, B, N_IN, panels * lanes + max(lanes // few, 1))
    batch = run(given)
    for b in range(B):
        row = slice(b, b + 1)
        alone = infer(rows_of(given, row))
        assert_same(alone, {"y": batch["y"][:, row], "state": batch["state"][:, row]})


@kinds
@both_directions
def test_a_row_alone_is_the_row_in_its_batch(cell, dtype, isa, units, kind, reverse):
    given = problem(cell, dtype, T, 13, N_IN, units, reverse=reverse, **options_of(kind, B=13))
    batch = infer(given)
    for rows in (slice(b, b + n) for n in (1, 2, 6) for b in range(0, 13, n)):
        alone = infer(rows_of(given, rows))
        assert_same(alone, {"y": batch["y"][:, rows], "state": batch["state"][:, rows]})


@both_directions
def test_a_row_is_itself_whatever_its_padding(cell, dtype, isa, units, reverse):
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse, **options_of("both"))
    batch = infer(given)
    for b, length in enumerate(given["lengths"]):
        row = rows_of(steps_of(given, slice(0, length)), slice(b, b + 1)) | {"lengths": None}
        alone = infer(row)
        assert_same(alone, {"y": batch["y"][:length, b : b + 1], "state": batch["state"][:, b : b + 1]})
        assert not batch["y"][length:, b].any()


@both_directions
def test_nor_does_it_matter_how_a_long_batch_is_cut_into_blocks(cell, dtype, isa, reverse):
    given = problem(cell, dtype, 60, 13, N_IN, wide(cell, dtype), reverse=reverse, **ragged(60, 13))
    batch = infer(given)
    for rows in (slice(0, 1), slice(3, 5), slice(2, 13)):
        alone = infer(rows_of(given, rows))
        assert_same(alone, {"y": batch["y"][:, rows], "state": batch["state"][:, rows]})


@both_directions
def test_episodes_can_be_run_one_by_one(cell, dtype, isa, units, reverse):
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse)
    reset = np.zeros((T, B), bool)
    reset[[2, 3, 7]] = True
    results = run(given | {"reset": reset})
    episodes = [slice(0, 2), slice(2, 3), slice(3, 7), slice(7, T)]
    first, last = (3, 0) if reverse else (0, 3)  # as they are processed
    for number, steps in enumerate(episodes):
        part = steps_of(given, steps)
        part |= {} if number == first else {"state": None}
        part |= {} if number == last else {"dstate": None}
        alone = run(part)
        assert_same({"": alone["y"]}, {"": results["y"][steps]})
        assert_same({"": alone["grad dx"]}, {"": results["grad dx"][steps]})
        if number == first:
            assert_same({"": alone["grad dstate"]}, {"": results["grad dstate"]})
        if number == last:
            assert_same({"": alone["state"]}, {"": results["state"]})


@both_directions
def test_a_reset_at_the_first_step_drops_the_initial_state_going_forward_only(cell, dtype, isa, reverse):
    given = problem(cell, dtype, T, B, N_IN, 5, reverse=reverse)
    reset = np.zeros((T, B), bool)
    reset[0] = True
    results = run(given | {"reset": reset})
    expected = run(given if reverse else given | {"state": None})
    if not reverse:
        expected["grad dstate"] = np.zeros_like(given["state"])
    assert_same(results, expected)


# ---- forward and every gradient ----


def test_reverse_is_forward_on_flipped_input(cell, dtype, isa, units):
    given = problem(cell, dtype, T, B, N_IN, units)
    flipped = run(given | {"x": given["x"][::-1], "dy": given["dy"][::-1]})
    flipped |= {name: flipped[name][::-1] for name in ("y", "grad dx")}
    assert_same(run(given | {"reverse": True}), flipped)


@both_directions
def test_what_says_nothing_changes_nothing(cell, dtype, isa, units, reverse):
    """No bias is a bias of zeros, no state a state of zeros; lengths of T and resets nowhere are none."""
    given = problem(cell, dtype, T, B, N_IN, units, bias=False, state=False, reverse=reverse)
    states = _registry.REGISTRY[cell].states
    spelled = {
        "b_ih": np.zeros(len(given["w_ih"]), dtype),
        "b_hh": np.zeros(len(given["w_hh"]), dtype),
        "state": np.zeros((states, B, units), dtype),
        "dstate": np.zeros((states, B, units), dtype),
        "lengths": np.full(B, T),
        "reset": np.zeros((T, B), bool),
    }
    expected = run(given)
    for name, value in spelled.items():
        assert_same(run(given | {name: value}), expected)
    assert_same(run(given | spelled), expected)


@both_directions
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_lies_beyond_a_length_changes_nothing(cell, dtype, isa, units, reverse, poison):
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse, **ragged(T, B))
    beyond = np.arange(T)[:, None] >= given["lengths"]
    other = given | {name: given[name].copy() for name in ("x", "dy", "reset")}
    other["x"][beyond] = other["dy"][beyond] = poison
    other["reset"][beyond] ^= True
    results = run(other)
    assert_same(results, run(given))
    assert not results["y"][beyond].any() and not results["grad dx"][beyond].any()


@both_directions
def test_rows_without_steps_pass_their_states_through(cell, dtype, isa, units, reverse):
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse, **ragged(T, B))
    empty = given["lengths"] == 0
    assert empty.any()
    expected = run(given)
    for name in ("state", "dstate"):
        given[name] = given[name].copy()
        given[name][:, empty] = np.nan
        expected[{"state": "state", "dstate": "grad dstate"}[name]][:, empty] = np.nan
    assert_same(run(given), expected)


@both_directions
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["x", "state", "dy", "dstate"])
def test_nan_stays_in_its_row(cell, dtype, isa, units, reverse, where, poison):
    given = problem(cell, dtype, T, 13, N_IN, units, reverse=reverse, **ragged(T, 13))
    bad = 4
    given["lengths"][bad], given["reset"][:, bad] = T - 1, False
    expected = run(given)
    given[where] = given[where].copy()
    given[where][4 if where in ("x", "dy") else 0, bad] = poison
    results, clean = run(given), np.arange(13) != bad
    for name in ("y", "state", "grad dx", "grad dstate"):
        assert_same({name: results[name][:, clean]}, {name: expected[name][:, clean]})
    touched = results["y"] if where in ("x", "state") else results["grad dx"]
    assert (touched[:, bad] != expected["y" if where in ("x", "state") else "grad dx"][:, bad]).any()


@both_directions
def test_nan_goes_no_way_but_forth_and_back(cell, dtype, isa, units, reverse):
    """No output before a NaN in x sees it, nor one behind a reset; no gradient past a NaN in dy does."""
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse)
    given["reset"] = np.zeros((T, B), bool)
    given["reset"][7 if not reverse else 2] = True
    expected = run(given)
    processed = np.arange(T)[::-1] if reverse else np.arange(T)
    cut = 7 if not reverse else T - 2  # steps processed before the reset
    for name, seen, unseen in [
        ("x", "y", processed[[*range(4), *range(cut, T)]]),
        ("dy", "grad dx", processed[5:]),
    ]:
        bad = given | {name: given[name].copy()}
        bad[name][processed[4]] = np.nan
        results = run(bad)
        assert_same({seen: results[seen][unseen]}, {seen: expected[seen][unseen]})
        assert np.isnan(results[seen][processed[4]]).any()
        if name == "x":
            assert_same({"": results["state"]}, {"": expected["state"]})


@both_directions
def test_permuting_the_batch_permutes_the_result(cell, dtype, isa, units, reverse):
    given = problem(cell, dtype, T, 13, N_IN, units, reverse=reverse, **ragged(T, 13))
    order = np.random.default_rng(1).permutation(13)
    results, expected = run(rows_of(given, order)), run(given)
    for name in ("y", "state", "grad dx", "grad dstate"):
        assert_same({name: results[name]}, {name: expected[name][:, order]})


# ---- who owns what ----


@both_directions
def test_inputs_are_never_written_to(cell, dtype, isa, units, reverse):
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse, **ragged(T, B))
    arrays = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    before = {name: array.tobytes() for name, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    run(given)
    infer(given)
    assert before == {name: array.tobytes() for name, array in arrays.items()}


@both_directions
def test_pull_depends_on_nothing_that_may_change(cell, dtype, isa, units, reverse):
    """Not on y, the final state, the weights, what another pull returned, or the instruction set."""
    given = problem(cell, dtype, T, B, N_IN, units, reverse=reverse, **ragged(T, B))
    expected = run(given)
    arguments, back = split(given | {name: given[name].copy() for name in WEIGHTS})
    (y, state), pull = functional.vjp(**arguments)
    first = pull(**back)
    for array in (y, state, *first.values(), *(arguments[name] for name in WEIGHTS)):
        array[...] = np.nan
    functional.vjp(**arguments)[1](**back)
    pyrnn._config.select_isa("base" if "base" in pyrnn._config.isas() else isa)
    again = pull(**back)
    assert_same(
        {f"grad {n}": a for n, a in again.items()}, {n: a for n, a in expected.items() if "grad" in n}
    )


def test_results_are_new_arrays_that_own_their_memory(cell, dtype, isa):
    given = problem(cell, dtype, T, B, N_IN, 5, **ragged(T, B))
    results = run(given)
    for name, array in results.items():
        assert array.flags.writeable and array.flags.c_contiguous, name
        assert not any(np.shares_memory(array, a) for a in given.values() if isinstance(a, np.ndarray)), name
