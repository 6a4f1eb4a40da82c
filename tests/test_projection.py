"""An LSTM whose h is projected: the reference proved, kernels against it, the laws bit for bit."""

import itertools

import numpy as np
import pytest

from pyrnn import functional, reference

from .problems import assert_near, assert_same, assert_true, infer, own_weights, problem, ragged, run, wide
from .reference_problems import LENGTHS, RESET, both_directions
from .reference_problems import problem as small_problem
from .reference_problems import ragged as any_raggedness
from .test_laws import rows_of, steps_of
from .test_reference_gradients import TOLERANCE, central_difference

T, B, N_IN = 9, 13, 3

each_lstm = pytest.mark.parametrize("cell", ["lstm", "lstm_coupled"])
kinds = pytest.mark.parametrize(
    "kind", [{}, ragged(T, B), ragged(T, B) | {"reverse": True}], ids=["plain", "ragged", "reverse"]
)

SIZES = {  # H and P: below, at and past every vector and group of vectors
    "2, 1": lambda L: (2, 1),
    "L, L-1": lambda L: (L + 1, max(L - 1, 1)),
    "2L+1, L": lambda L: (2 * L + 1, L),
    "2L+1, L+1": lambda L: (2 * L + 1, L + 1),
    "2L+1, 2L": lambda L: (2 * L + 1, 2 * L),
    "8L+1, 4L+1": lambda L: (8 * L + 1, 4 * L + 1),
}


@pytest.fixture
def sizes(lanes):
    """H and P."""
    return 2 * lanes + 1, lanes + 1


# ---- the reference ----


def inner(a, b):
    """Of arrays or tuples of them."""
    return sum((x * y).sum() for x, y in zip(a, b, strict=True))


def check(cell, arguments, dy, dstate, **options):
    def loss():
        y, final, _ = reference.forward(cell, **arguments, **options)
        return (y * dy).sum() + inner(final, dstate)

    grads = reference.backward(cell, reference.forward(cell, **arguments, **options)[2], dy, dstate)
    assert grads.keys() == {f"d{name}" for name in arguments}
    for name, value in arguments.items():
        found = grads[f"d{name}"]
        both = zip(value, found, strict=True) if isinstance(value, tuple) else [(value, found)]
        for array, gradient in both:
            assert_near(gradient, central_difference(loss, array, cell), TOLERANCE)


@each_lstm
@both_directions
@any_raggedness
def test_gradients_of_the_reference(cell, reverse, lengths, reset, rng):
    kind = reference.cells[cell]
    arguments, dy, dstate = small_problem(kind, rng, P=1)
    check(kind, arguments, dy, dstate, lengths=lengths, reset=reset, reverse=reverse)


@each_lstm
@pytest.mark.parametrize(
    "chosen",
    [
        {"zoneout": (0.3, 0.6), "seed": 3},
        {"cell_clip": 0.5},
        {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
        {"mask": True},
        {"zoneout": 0.5, "cell_clip": 0.75, "activation": "softsign", "mask": True},
    ],
    ids=["zoneout", "clip", "activations", "mask", "together"],
)
def test_gradients_of_the_reference_with_options(cell, chosen, rng):
    kind = reference.cells[cell]
    arguments, dy, dstate = small_problem(kind, rng, P=1)
    arguments["w_units"] = own_weights(kind, rng, arguments["w_hr"].shape[1], peepholes=True)
    if "mask" in chosen:
        chosen = chosen | {"mask": (rng.random((dy.shape[1], 1)) < 0.7) / 0.7}
    check(kind, arguments, dy, dstate, lengths=LENGTHS, reset=RESET, **chosen)


@pytest.mark.parametrize("directions", [1, 2])
def test_gradients_of_a_stack_of_the_reference(directions, rng):
    kind, H, P, layers = reference.cells["lstm"], 3, 2, 2
    params = {}
    for layer, suffix in itertools.product(range(layers), ("", "_reverse")[:directions]):
        shapes = {
            "weight_ih": (4 * H, directions * P if layer else N_IN),
            "weight_hh": (4 * H, P),
            "bias_ih": (4 * H,),
            "bias_hh": (4 * H,),
            "weight_hr": (P, H),
        }
        params |= {f"{n}_l{layer}{suffix}": rng.standard_normal(s) / 2 for n, s in shapes.items()}
    slots = layers * directions
    x, dy = rng.standard_normal((5, 4, N_IN)), rng.standard_normal((5, 4, directions * P))
    state, dstate = ([rng.standard_normal((slots, 4, n)) for n in (P, H)] for _ in range(2))

    def forward():
        return reference.stack_forward(kind, x, state, params, lengths=LENGTHS, reset=RESET)

    def loss():
        y, final, _ = forward()
        return (y * dy).sum() + inner(final, dstate)

    dx, dstate0, grads = reference.stack_backward(kind, forward()[2], dy, dstate)
    assert grads.keys() == params.keys()
    pairs = [(x, dx), *zip(state, dstate0, strict=True), *((params[n], grads[n]) for n in params)]
    for array, gradient in pairs:
        assert_near(gradient, central_difference(loss, array), TOLERANCE)


# ---- kernels against the reference ----


@each_lstm
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_shape(cell, dtype, isa, lanes, sizes):
    H, P = sizes(lanes)
    rows = itertools.cycle((1, 5, 6, 7, 8, 9, 13))
    for steps, raggedness, reverse in itertools.product((0, 1, 2, 17), (False, True), (False, True)):
        batch, I = next(rows), (1, 3, lanes, 2 * lanes + 1)[steps % 4]
        chosen = ragged(steps, batch) if raggedness else {}
        given = problem(cell, dtype, steps, batch, I, H, P=P, reverse=reverse, **chosen)
        assert_true(given, run(given))


@pytest.mark.parametrize("T, B", [(2, 600), (300, 2), (150, 9)], ids=["strips", "blocks", "both"])
def test_more_than_one_block(dtype, isa, T, B):
    H = wide("lstm", dtype)
    given = problem("lstm", dtype, T, B, 3, H, P=H // 2 + 1, **ragged(T, B))
    assert_true(given, run(given))


@each_lstm
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("state", [True, False])
def test_what_may_be_left_out(cell, dtype, isa, sizes, bias, state):
    H, P = sizes
    given = problem(cell, dtype, 5, 7, 3, H, P=P, bias=bias, state=state)
    assert_true(given, run(given))


@each_lstm
@pytest.mark.parametrize(
    "chosen",
    [
        {"zoneout": (0.25, 0.75), "seed": 5},
        {"cell_clip": 0.25},
        {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
        {"w_units": True},
        {"mask": True},
    ],
    ids=["zoneout", "clip", "activations", "peepholes", "mask"],
)
def test_beside_each_other_option(cell, dtype, isa, sizes, rng, chosen):
    H, P = sizes
    given = problem(cell, dtype, 3, 7, 3, H, P=P, **ragged(3, 7)) | chosen
    if "w_units" in chosen:
        given["w_units"] = own_weights(reference.cells[cell], rng, H, peepholes=True).astype(dtype)
    if "mask" in chosen:
        given["mask"] = ((rng.random((7, P)) < 0.7) / 0.7).astype(dtype)
    assert_true(given, run(given))


@each_lstm
def test_zoneout_is_an_expectation_in_inference(cell, dtype, isa, sizes):
    H, P = sizes
    given = problem(cell, dtype, 5, 7, 3, H, P=P, zoneout=(0.25, 0.5))
    arguments = {n: a for n, a in given.items() if n not in ("cell", "dy", "dstate")}
    wide = {n: a.astype(float) for n, a in arguments.items() if isinstance(a, np.ndarray)}
    wide["state"] = tuple(a.astype(float) for a in given["state"])
    y, (h, c), _ = reference.forward(reference.cells[cell], **(arguments | wide), training=False)
    assert_true(given, infer(given), {"y": y, "state[0]": h, "state[1]": c})


# ---- what is exact ----


@each_lstm
@kinds
def test_inference_is_the_training_forward(cell, dtype, isa, sizes, kind):
    H, P = sizes
    given = problem(cell, dtype, T, B, N_IN, H, P=P, **kind)
    results = run(given)
    assert_same(infer(given), {name: a for name, a in results.items() if not name.startswith("grad")})


@each_lstm
@kinds
@pytest.mark.parametrize("number", [1, B])
def test_a_projection_that_picks_units_is_an_lstm_that_reads_those_alone(
    cell, dtype, isa, sizes, kind, number
):
    """The products then have the same terms in the same order, and some zeros."""
    H, P = sizes
    given = rows_of(problem(cell, dtype, T, B, N_IN, H, P=P, **kind), slice(0, number))
    given["w_hr"] = np.eye(P, H, dtype=dtype)
    results, plain = run(given), {n: a for n, a in given.items() if n != "w_hr"}

    def wider(array):
        return np.concatenate([array, np.zeros((*array.shape[:-1], H - P), dtype)], -1)

    for name in ("w_hh", "dy"):
        plain[name] = wider(given[name])
    for name in ("state", "dstate"):
        plain[name] = np.stack([wider(given[name][0]), given[name][1]])
    expected = run(plain)
    for name in ("y", "grad dw_hh"):
        expected[name] = expected[name][..., :P]
    for name in ("state", "grad dstate"):
        h, c = expected.pop(name)
        expected |= {f"{name}[0]": h[:, :P], f"{name}[1]": c}
    results.pop("grad dw_hr")
    assert_same(results, expected)


@each_lstm
@kinds
def test_a_row_alone_is_the_row_in_its_batch(cell, dtype, isa, sizes, kind):
    H, P = sizes
    given = problem(cell, dtype, T, B, N_IN, H, P=P, **kind)
    batch = run(given)
    for rows in (slice(b, b + n) for n in (1, 2, 6) for b in range(0, B, n)):
        part = rows_of(given, rows)
        expected = {"y": batch["y"][:, rows]} | {f"state[{q}]": batch[f"state[{q}]"][rows] for q in (0, 1)}
        assert_same(infer(part), expected)
        alone = run(part)
        assert_same({"": alone["grad dx"]}, {"": batch["grad dx"][:, rows]})
        for q in (0, 1):
            assert_same({"": alone[f"grad dstate[{q}]"]}, {"": batch[f"grad dstate[{q}]"][rows]})


@each_lstm
@both_directions
def test_two_halves_make_the_whole(cell, dtype, isa, sizes, reverse):
    H, P = sizes
    given = problem(cell, dtype, T, B, N_IN, H, P=P, reverse=reverse)
    whole = infer(given)
    for cut in (0, 1, 4, T):
        halves = [slice(0, cut), slice(cut, T)]
        state, y = given["state"], np.empty_like(whole["y"])
        for half in halves[::-1] if reverse else halves:
            part = infer(steps_of(given, half) | {"state": state})
            y[half], state = part["y"], (part["state[0]"], part["state[1]"])
        assert_same({"y": y, "state[0]": state[0], "state[1]": state[1]}, whole)


@each_lstm
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_results_do_not_depend_on_threads(cell, dtype, threads, reverse):
    """By units of few rows, by rows of many; with everything that runs beside a projection."""
    for rows, H, P in ((1, 264, 130), (3, 300, 17), (40, 72, 71)):
        steps = 90 if rows < 4 else 60
        chosen = {"zoneout": 0.2, "seed": 7, "mask": np.full((rows, P), 2, dtype), **ragged(steps, rows)}
        plain = problem(cell, dtype, steps, rows, 40, H, P=P, reverse=reverse)
        for given, compute in ((plain, infer), (plain, run), (plain | chosen, run)):
            results = []
            for number in (1, 2, 3):
                threads(number)
                results.append(compute(given))
            assert_same(results[1], results[0])
            assert_same(results[2], results[0])


@each_lstm
def test_reverse_is_forward_on_flipped_input(cell, dtype, isa, sizes):
    H, P = sizes
    given = problem(cell, dtype, T, B, N_IN, H, P=P)
    flipped = run(given | {"x": given["x"][::-1], "dy": given["dy"][::-1]})
    flipped |= {name: flipped[name][::-1] for name in ("y", "grad dx")}
    assert_same(run(given | {"reverse": True}), flipped)


@each_lstm
@both_directions
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_lies_beyond_a_length_changes_nothing(cell, dtype, isa, sizes, reverse, poison):
    H, P = sizes
    given = problem(cell, dtype, T, B, N_IN, H, P=P, reverse=reverse, **ragged(T, B))
    beyond = np.arange(T)[:, None] >= given["lengths"]
    other = given | {name: given[name].copy() for name in ("x", "dy", "reset")}
    other["x"][beyond] = other["dy"][beyond] = poison
    other["reset"][beyond] ^= True
    results = run(other)
    assert_same(results, run(given))
    assert not results["y"][beyond].any() and not results["grad dx"][beyond].any()


@each_lstm
def test_an_infinite_gradient_is_not_a_nan(cell, dtype, isa):
    """The lanes beyond H and P hold zeros, and infinity times zero must not come back from there."""
    given = problem(cell, dtype, 1, 3, 1, 2, P=1)
    for name in ("x", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr"):
        given[name] = np.abs(given[name])
    given["dy"][-1, 1] = np.inf
    results = run(given)
    clean = np.arange(3) != 1
    assert np.isfinite(results["grad dx"][:, clean]).all()
    assert np.isinf(results["grad dw_hr"]).all()


def test_inputs_are_never_written_to(dtype, isa, sizes):
    H, P = sizes
    given = problem("lstm", dtype, T, B, N_IN, H, P=P, **ragged(T, B))
    arrays = [a for v in given.values() for a in (v if isinstance(v, tuple) else (v,))]
    arrays = [a for a in arrays if isinstance(a, np.ndarray)]
    before = [array.tobytes() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    run(given)
    infer(given)
    assert before == [array.tobytes() for array in arrays]


def test_states_may_be_given_in_part(dtype, isa):
    given = problem("lstm", dtype, 3, 2, 4, 7, P=3)
    (h, c), names = given["state"], ("cell", "x", "state", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
    arguments = {name: given[name] for name in names}
    with pytest.raises(TypeError, match="state must be a tuple of 2 arrays"):
        functional.forward(**arguments | {"state": (h,)})
    with pytest.raises(ValueError, match=r"state\[1\] must have shape \(2, 7\)"):
        functional.forward(**arguments | {"state": (h, h)})
    y, state = functional.forward(**arguments | {"state": [h.tolist(), c.tolist()]})
    assert_same({"y": y}, {"y": infer(given)["y"]})
    assert isinstance(state, tuple)
