"""Cells with options: kernels against the reference, with one of them and with all combinations; the laws.

test_reference_options.py proves the reference.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrnn import _config, functional

from .conftest import DTYPES, ISAS
from .options import SIZES, every_option, options, projections
from .problems import (
    UNBOUNDED,
    assert_same,
    assert_true,
    at_random,
    infer,
    problem,
    ragged,
    run,
    split,
    truth,
)


def grows(cell, chosen):
    """Whether a state may grow from step to step; bounds are for sums without that."""
    chosen_ones = (chosen.get("activation"), chosen.get("recurrent_activation"))
    return cell in ("rnn_relu", "indrnn") or any(name in UNBOUNDED for name in chosen_ones)


@settings(at_random, max_examples=2 * at_random.max_examples)
@given(st.data())
def test_all_combinations(data):
    cell = data.draw(st.sampled_from(functional.CELLS))
    dtype, isa = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(ISAS))
    T, B, I, H = data.draw(SIZES)
    P = data.draw(projections(cell, H))
    chosen = data.draw(options(cell, B, H, dtype, P))
    if grows(cell, chosen):
        T = min(T, 3)
    if data.draw(st.booleans()):
        chosen |= ragged(T, B, data.draw(st.integers(0, 99)))
    arguments = problem(cell, dtype, T, B, I, H, P=P, reverse=data.draw(st.booleans())) | chosen
    _config.select_isa(isa)
    try:
        assert_true(arguments, run(arguments))
    finally:
        _config.select_isa(ISAS[0])


@pytest.mark.parametrize(
    "option", ["activation", "recurrent_activation", "w_units", "cell_clip", "zoneout", "mask"]
)
def test_each_option_alone(cell, dtype, isa, lanes, option):
    T, B, I, H = 3, 7, 3, 2 * lanes + 1
    for chosen in every_option(cell, B, H, dtype, option):
        arguments = problem(cell, dtype, T, B, I, H) | chosen
        assert_true(arguments, run(arguments))


@pytest.mark.parametrize("option", ["activation", "recurrent_activation", "w_units", "cell_clip", "zoneout"])
def test_inference(cell, dtype, isa, lanes, option):
    """But for zoneout, which then is an expectation, it is the training forward."""
    T, B, I, H = 3, 7, 3, 2 * lanes + 1
    for chosen in every_option(cell, B, H, dtype, option):
        chosen.pop("seed", None)
        arguments = problem(cell, dtype, T, B, I, H) | chosen
        actual = infer(arguments)
        if option == "zoneout":
            expected = truth(arguments | {"training": False})
            assert_true(arguments, actual, expected)
        else:
            trained = run(arguments)
            assert_same(actual, {name: trained[name] for name in ("y", "state")})


def test_the_general_driver_computes_what_the_plain_one_does(cell, dtype, isa, lanes):
    """Bit for bit: an option that changes nothing runs the same operations in the same order."""
    B, H = 9, 4 * lanes + 3
    for T, number in ((6, B), (6, 1)):
        plain = problem(cell, dtype, T, number, 3, H, **ragged(T, number))
        general = plain | {"mask": np.ones((number, H), dtype)}
        assert_same(run(general), run(plain))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_results_do_not_depend_on_threads(cell, dtype, threads, reverse):
    """By units of few rows, by rows of many."""
    for B, H in ((1, 264), (40, 72)):
        T = 90 if B == 1 else 60
        chosen = {"zoneout": 0.2, "seed": 7, "mask": np.full((B, H), 2, dtype), **ragged(T, B)}
        arguments = problem(cell, dtype, T, B, 40, H, reverse=reverse) | chosen
        results = []
        for number in (1, 2, 3):
            threads(number)
            results.append(run(arguments))
        assert_same(results[1], results[0])
        assert_same(results[2], results[0])


def test_what_lies_beyond_a_length_changes_nothing(cell, dtype, isa):
    T, B, H = 6, 7, 5
    chosen = {"zoneout": 0.3, "seed": 3, "mask": np.full((B, H), 0.5, dtype), **ragged(T, B)}
    arguments = problem(cell, dtype, T, B, 3, H) | chosen
    poisoned = {name: arguments[name].copy() for name in ("x", "dy")}
    for b, length in enumerate(arguments["lengths"]):
        poisoned["x"][length:, b] = poisoned["dy"][length:, b] = np.nan
    assert_same(run(arguments | poisoned), run(arguments))


def test_zoneout_of_one_keeps_every_state(cell, dtype, isa, lanes):
    arguments = problem(cell, dtype, 5, 3, 2, lanes + 1) | {"zoneout": 1.0}
    (y, state), pull = functional.vjp(**split(arguments)[0])
    np.testing.assert_array_equal(y, np.broadcast_to(arguments["state"][0], y.shape))
    np.testing.assert_array_equal(state, arguments["state"])
    grads = pull(np.zeros_like(y), arguments["dstate"])
    np.testing.assert_array_equal(grads["dstate"], arguments["dstate"])
    assert not grads["dw_ih"].any()


def test_zoneout_keeps_as_many_units_as_it_says():
    """In each step, row and unit for itself: sums within five standard deviations of what is expected."""
    T, B, H, p = 40, 30, 50, 0.3
    zeros = np.zeros
    (y, _), _ = functional.vjp(
        "rnn_tanh",
        zeros((T, B, 1)),
        np.full((1, B, H), 0.5),
        zeros((H, 1)),
        zeros((H, H)),
        np.full(H, 1.0),
        zoneout=p,
        seed=2**40 + 5,
    )
    kept = y[0] == 0.5  # no unit has changed before
    assert abs(kept.mean() - p) < 5 * np.sqrt(p * (1 - p) / kept.size)
    for axis in (0, 1):
        spread = np.sqrt(p * (1 - p) / kept.shape[axis])
        assert abs(kept.mean(axis) - p).max() < 5 * spread
    survivors = (y == 0.5).mean((1, 2))  # p, p**2, ...: steps are independent of each other
    expected = p ** np.arange(1, T + 1)
    assert (abs(survivors - expected) <= 5 * np.sqrt(expected * (1 - expected) / (B * H))).all()


def test_seeds_and_states_draw_apart(isa):
    arguments = problem("lstm", np.dtype(np.float64), 4, 5, 3, 24) | {"zoneout": 0.5}
    one, again, other = (run(arguments | {"seed": seed}) for seed in (1, 1, 2**63 + 1))
    assert_same(one, again)
    assert (one["y"] != other["y"]).mean() > 0.4
    kept = [(one["state"][q] == infer(arguments)["state"][q]).mean() for q in (0, 1)]
    assert max(kept) < 0.1


@pytest.mark.parametrize(
    ("cell", "chosen", "error", "message"),
    [
        ("lstm", {"activation": "swish"}, ValueError, "activation must be one of tanh, .*got 'swish'"),
        ("lstm", {"recurrent_activation": 1}, TypeError, "recurrent_activation must be one of"),
        ("mingru", {"activation": "tanh"}, ValueError, "activation must be None for mingru"),
        ("gru", {"cell_clip": 1.0}, ValueError, "cell_clip must be None for gru"),
        ("lstm", {"cell_clip": 0}, ValueError, "cell_clip must be finite and above 0"),
        ("lstm", {"cell_clip": "1"}, TypeError, "cell_clip must be a number"),
        ("lstm", {"zoneout": 1.5}, ValueError, "zoneout must lie between 0 and 1"),
        ("lstm", {"zoneout": (0.1, -1)}, ValueError, r"zoneout\[1\] must lie between 0 and 1"),
        ("gru", {"zoneout": (0.1, 0.1)}, ValueError, "zoneout must be one number or 1 for gru, got 2"),
        ("lstm", {"mask": np.ones((2, 4))}, ValueError, r"mask must have shape \(2, 5\)"),
        ("lstm", {"seed": -1}, ValueError, "seed must lie between 0"),
        ("lstm", {"seed": 0.5}, TypeError, "seed must be an integer"),
        ("lstm", {"w_units": np.ones((2, 5))}, ValueError, r"w_units must have shape \(3, 5\)"),
        ("gru", {"w_units": np.ones((3, 5))}, ValueError, "w_units must be None for gru"),
        ("gru", {"w_hr": np.ones((5, 6))}, ValueError, "w_hr must be None for gru"),
        ("lstm", {"w_hr": np.ones((5, 5))}, ValueError, r"w_hr must have shape \(5, H\) with H above 5"),
        ("lstm", {"w_hr": np.ones((4, 6))}, ValueError, r"w_hr must have shape \(5, H\).*got \(4, 6\)"),
        ("lstm", {"w_hr": np.ones(6)}, ValueError, r"w_hr must have shape \(5, H\)"),
        ("lstm", {"w_hr": np.ones((5, 6))}, TypeError, r"state must be a tuple of 2 arrays \(h, c\), got nd"),
        ("lstm", {"w_hr": np.ones((5, 6)), "state": None}, ValueError, r"w_ih must have shape \(24, 4\)"),
        ("indrnn", {"w_units": None}, ValueError, r"w_units must have shape \(1, 5\), got None"),
    ],
)
def test_errors_name_the_argument(cell, chosen, error, message):
    arguments, _ = split(problem(cell, np.dtype(np.float64), 3, 2, 4, 5) | chosen)
    with pytest.raises(error, match=message):
        functional.vjp(**arguments)
