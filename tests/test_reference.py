"""What the reference means, by laws: stacks, lengths, resets, direction, dtypes.

Its gradients are proved in test_reference_gradients.py. What is compared here with nothing but itself is
compared with other people's code in test_golden.py.
"""

import numpy as np
import pytest

from pyrnn import reference

from .problems import assert_near
from .reference_problems import (
    LENGTHS,
    RESET,
    B,
    H,
    T,
    both_directions,
    each_cell,
    gradients,
    problem,
    ragged,
    stacked,
)

# For two computations of one number that add its terms, fewer than 100 of order 1, in different orders.
SAME = 100 * np.finfo(np.float64).eps


@each_cell
def test_a_stack_is_made_of_single_layers(cell, rng):
    x, state, params, dropout, _, _ = stacked(cell, rng)

    def run(x, layer, direction):
        weights = reference.weights_of(cell, params, f"_l{layer}{'_reverse' * direction}")
        s = state[:, 2 * layer + direction]
        options = {"lengths": LENGTHS, "reset": RESET, "reverse": bool(direction)}
        return reference.forward(cell, x, s, **weights, **options)[:2]

    first = [run(x, 0, direction) for direction in (0, 1)]
    middle = np.concatenate([y for y, _ in first], axis=2) * dropout[0]
    second = [run(middle, 1, direction) for direction in (0, 1)]

    y, final, _ = reference.stack_forward(cell, x, state, params, LENGTHS, RESET, dropout)
    np.testing.assert_array_equal(y, np.concatenate([y for y, _ in second], axis=2))
    np.testing.assert_array_equal(final, np.stack([s for _, s in first + second], axis=1))


@each_cell
def test_a_stack_without_biases_or_state_has_zeros_for_them(cell, rng):
    x, state, params, _, dy, dstate = stacked(cell, rng)
    zeroed = {name: np.zeros_like(a) if "bias" in name else a for name, a in params.items()}
    without = {name: a for name, a in params.items() if "bias" not in name}
    y, final, tape = reference.stack_forward(cell, x, np.zeros_like(state), zeroed)
    y2, final2, tape2 = reference.stack_forward(cell, x, None, without)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(final, final2)
    dx, ds, grads = reference.stack_backward(cell, tape, dy, np.zeros_like(dstate))
    dx2, ds2, grads2 = reference.stack_backward(cell, tape2, dy)
    np.testing.assert_array_equal(dx, dx2)
    np.testing.assert_array_equal(ds, ds2)
    assert grads2.keys() == without.keys()
    for name in without:
        np.testing.assert_array_equal(grads[name], grads2[name])


@each_cell
@both_directions
def test_none_is_zeros(cell, reverse, rng):
    arguments, dy, dstate = problem(cell, rng)
    zeroed = arguments | {name: np.zeros_like(arguments[name]) for name in ("state", "b_ih", "b_hh")}
    without = arguments | dict.fromkeys(("state", "b_ih", "b_hh"))
    y, final, tape = reference.forward(cell, **zeroed, reverse=reverse)
    y2, final2, tape2 = reference.forward(cell, **without, reverse=reverse)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(final, final2)
    grads = reference.backward(cell, tape, dy, np.zeros_like(dstate))
    grads2 = reference.backward(cell, tape2, dy)
    assert grads.keys() == grads2.keys()
    for name in grads:
        np.testing.assert_array_equal(grads[name], grads2[name])


@each_cell
@both_directions
@ragged
def test_episodes_can_be_run_one_by_one(cell, reverse, lengths, reset, rng):
    """Lengths and resets say where to cut a row into episodes; each is then a call with neither."""
    arguments, dy, dstate = problem(cell, rng)
    parameters = {name: a for name, a in arguments.items() if name not in ("x", "state")}
    y, final = np.zeros((T, B, H)), np.zeros((cell.states, B, H))
    grads = {name: np.zeros_like(a) for name, a in arguments.items()}
    for b in range(B):
        row = slice(b, b + 1)
        length = T if lengths is None else lengths[b]
        starts = [0] + [t for t in range(1, length) if reset is not None and reset[t, b]]
        episodes = [slice(start, stop) for start, stop in zip(starts, [*starts[1:], length], strict=True)]
        if reverse:
            episodes.reverse()
        for episode in episodes:
            first, last = episode is episodes[0], episode is episodes[-1]
            carried = first and (reverse or reset is None or length == 0 or not reset[0, b])
            s = arguments["state"][:, row] if carried else None
            part = {"x": arguments["x"][episode, row], "state": s} | parameters
            y[episode, row], s1, tape = reference.forward(cell, **part, reverse=reverse)
            g = reference.backward(cell, tape, dy[episode, row], dstate[:, row] if last else None)
            grads["x"][episode, row] = g["dx"]
            if last:
                final[:, row] = s1
            if carried:
                grads["state"][:, row] = g["dstate"]
            for name in parameters:
                grads[name] += g["d" + name]

    options = {"lengths": lengths, "reset": reset, "reverse": reverse}
    y2, final2, _ = reference.forward(cell, **arguments, **options)
    assert_near(y2, y, SAME)
    assert_near(final2, final, SAME)
    for name, grad in gradients(cell, arguments, dy, dstate, **options).items():
        assert_near(grad, grads[name], SAME)


@each_cell
@both_directions
def test_what_lies_beyond_a_length_changes_nothing(cell, reverse, rng):
    arguments, dy, dstate = problem(cell, rng)
    beyond = np.arange(T)[:, None] >= LENGTHS
    x, dy2, reset = arguments["x"].copy(), dy.copy(), RESET | beyond
    x[beyond] = dy2[beyond] = np.nan
    y, final, _ = reference.forward(cell, **arguments, lengths=LENGTHS, reset=RESET, reverse=reverse)
    options = {"lengths": LENGTHS, "reverse": reverse}
    y2, final2, _ = reference.forward(cell, **arguments | {"x": x}, reset=reset, **options)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(final, final2)
    assert not y[beyond].any()
    np.testing.assert_array_equal(final[:, LENGTHS == 0], arguments["state"][:, LENGTHS == 0])

    grads = gradients(cell, arguments, dy, dstate, reset=RESET, **options)
    grads2 = gradients(cell, arguments | {"x": x}, dy2, dstate, reset=reset, **options)
    for name in grads:
        np.testing.assert_array_equal(grads[name], grads2[name])
    assert not grads["x"][beyond].any()
    np.testing.assert_array_equal(grads["state"][:, LENGTHS == 0], dstate[:, LENGTHS == 0])


@each_cell
@both_directions
def test_the_state_of_a_row_without_steps_goes_nowhere_else(cell, reverse, rng):
    arguments, dy, dstate = problem(cell, rng)
    options = {"lengths": LENGTHS, "reset": RESET, "reverse": reverse}
    grads = gradients(cell, arguments, dy, dstate, **options)
    arguments["state"][:, LENGTHS == 0] = dstate[:, LENGTHS == 0] = np.nan
    grads2 = gradients(cell, arguments, dy, dstate, **options)
    grads["state"][:, LENGTHS == 0] = np.nan  # passed through from dstate
    for name in grads:
        np.testing.assert_array_equal(grads[name], grads2[name])


@each_cell
@both_directions
def test_nan_does_not_cross_a_reset(cell, reverse, rng):
    arguments, dy, dstate = problem(cell, rng)
    reset = np.zeros((T, B), bool)
    reset[2] = True
    lost, kept = (slice(2, T), slice(0, 2)) if reverse else (slice(0, 2), slice(2, T))
    arguments["x"][lost] = arguments["state"][:] = np.nan
    y, final, _ = reference.forward(cell, **arguments, reset=reset, reverse=reverse)
    assert np.isnan(y[lost]).all()
    assert np.isfinite(y[kept]).all()
    assert np.isfinite(final).all()
    # The way back crosses the same gap from the other side: poison what was processed last.
    arguments, _, _ = problem(cell, rng)
    dy[kept] = dstate[:] = np.nan
    tape = reference.forward(cell, **arguments, reset=reset, reverse=reverse)[2]
    grads = reference.backward(cell, tape, dy, dstate)
    assert np.isfinite(grads["dx"][lost]).all()
    assert np.isfinite(grads["dstate"]).all()


@each_cell
@both_directions
def test_a_reset_at_the_first_step_drops_the_initial_state_going_forward_only(cell, reverse, rng):
    arguments, dy, dstate = problem(cell, rng)
    reset = np.zeros((T, B), bool)
    reset[0] = True
    state = arguments["state"] if reverse else None
    y, final, _ = reference.forward(cell, **arguments | {"state": state}, reverse=reverse)
    y2, final2, _ = reference.forward(cell, **arguments, reset=reset, reverse=reverse)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(final, final2)
    assert gradients(cell, arguments, dy, dstate, reset=reset, reverse=reverse)["state"].any() == reverse


@each_cell
def test_reverse_is_forward_on_flipped_input(cell, rng):
    arguments, dy, dstate = problem(cell, rng)
    flipped = arguments | {"x": arguments["x"][::-1]}
    y, final, _ = reference.forward(cell, **arguments, reverse=True)
    y2, final2, _ = reference.forward(cell, **flipped)
    np.testing.assert_array_equal(y, y2[::-1])
    np.testing.assert_array_equal(final, final2)
    grads = gradients(cell, arguments, dy, dstate, reverse=True)
    grads2 = gradients(cell, flipped, dy[::-1], dstate)
    grads2["x"] = grads2["x"][::-1]
    for name in grads:
        assert_near(grads[name], grads2[name], SAME)


@each_cell
@both_directions
def test_two_halves_make_the_whole(cell, reverse, rng):
    arguments, _, _ = problem(cell, rng)
    y, final, _ = reference.forward(cell, **arguments, reverse=reverse)
    halves = [slice(0, 2), slice(2, T)]
    s = arguments["state"]
    for half in halves[::-1] if reverse else halves:
        y2, s, _ = reference.forward(
            cell, **arguments | {"x": arguments["x"][half], "state": s}, reverse=reverse
        )
        assert_near(y2, y[half], SAME)
    assert_near(s, final, SAME)


@each_cell
@both_directions
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_do(cell, reverse, ragged, T, B, rng):
    arguments, dy, dstate = problem(cell, rng, T, B)
    options = {"lengths": np.zeros(B, int), "reset": np.ones((T, B), bool)} if ragged else {}
    y, final, tape = reference.forward(cell, **arguments, **options, reverse=reverse)
    assert y.shape == (T, B, H)
    np.testing.assert_array_equal(final, arguments["state"])
    assert not np.shares_memory(final, arguments["state"])
    grads = reference.backward(cell, tape, dy, dstate)
    np.testing.assert_array_equal(grads.pop("dstate"), dstate)
    for name, grad in grads.items():
        assert grad.shape == arguments[name.removeprefix("d")].shape
        assert not grad.any()


@each_cell
@both_directions
@ragged
def test_float32_stays_float32(cell, reverse, lengths, reset, rng):
    arguments, dy, dstate = problem(cell, rng)
    small = {name: a.astype(np.float32) for name, a in arguments.items()}
    rounded = {name: a.astype(np.float64) for name, a in small.items()}
    dy, dstate = dy.astype(np.float32), dstate.astype(np.float32)
    options = {"lengths": lengths, "reset": reset, "reverse": reverse}
    y, final, tape = reference.forward(cell, **small, **options)
    y2, final2, tape2 = reference.forward(cell, **rounded, **options)
    results = {"y": y, "final": final} | reference.backward(cell, tape, dy, dstate)
    truth = {"y": y2, "final": final2} | reference.backward(
        cell, tape2, dy.astype(float), dstate.astype(float)
    )
    for name, result in results.items():
        assert result.dtype == np.float32, name
        assert_near(result, truth[name], 100 * np.finfo(np.float32).eps)


@each_cell
@ragged
def test_inputs_are_not_written_to_and_a_tape_can_be_used_twice(cell, lengths, reset, rng):
    arguments, dy, dstate = problem(cell, rng)
    for a in (*arguments.values(), dy, dstate, LENGTHS, RESET):
        a.flags.writeable = False
    _, _, tape = reference.forward(cell, **arguments, lengths=lengths, reset=reset)
    once, twice = (reference.backward(cell, tape, dy, dstate) for _ in range(2))
    for name in once:
        np.testing.assert_array_equal(once[name], twice[name])


def test_the_rectifier_keeps_nan_and_is_flat_at_zero():
    cell = reference.cells["rnn_relu"]
    x = np.array([[[np.nan, 0.0, -1.0, 2.0]]])
    w = np.eye(4)
    y, _, tape = reference.forward(cell, np.nan_to_num(x), None, w, w)
    np.testing.assert_array_equal(y, [[[0, 0, 0, 2]]])
    np.testing.assert_array_equal(reference.backward(cell, tape, np.ones_like(y))["dx"], [[[0, 0, 0, 1]]])
    # A one-unit network: in a wider one the product spreads the NaN before the rectifier sees it.
    y, _, _ = reference.forward(cell, x[:, :, :1], None, w[:1, :1], w[:1, :1])
    assert np.isnan(y).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturated_gates_are_exact_and_silent(dtype):
    """exp overflows on the way to sigmoid(-1e4); the result does not, and warnings are errors here."""
    cell = reference.cells["gru"]
    x, one = np.full((1, 1, 1), 1e4, dtype), np.ones((3, 1), dtype)
    h = np.full((1, 1, 1), 0.25, dtype)
    y, _, _ = reference.forward(cell, x, h, one * [[1], [1], [1]], one)
    assert y == 0.25  # z = 1 holds the state
    y, _, _ = reference.forward(cell, x, h, one * [[1], [-1], [1]], one)
    assert y == 1  # z = 0 takes the candidate
