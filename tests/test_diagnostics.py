"""Gradients of hidden states, step Jacobians and gates are what differences, cuts and the reference say."""

import math

import numpy as np
import pytest

import pyrnn
from pyrnn import diagnostics, reference
from pyrnn.reference.stack import weights_of

from .cells import layer_of
from .problems import NORMALIZED
from .slopes import assert_slope, central_difference

T, B, I, H = 6, 3, 2, 4
EPS = np.finfo(np.float64).eps
# Sums of a dozen products each, T of them one after the other; numbers are of the order of 1.
CLOSE = {"rtol": 0, "atol": 32 * EPS * math.log2(4 * H * T)}

OPTIONS = {
    "plain": {},
    "zoneout": {"zoneout": 0.25},
    "peepholes": {"peepholes": True, "cell_clip": 0.5, "zoneout": (0.125, 0.375)},
    "activations": {"activation": "softsign", "recurrent_activation": "tanh"},
    "projected": {"proj_size": 3, "zoneout": (0.25, 0.5)},
    "dropout": {"input_dropout": 0.5, "recurrent_dropout": 0.5, "weight_dropout": 0.5},
}
CASES = [
    *[(cell, "plain") for cell in pyrnn.functional.CELLS],
    *[(cell, "zoneout") for cell in pyrnn.functional.CELLS],
    ("lstm", "peepholes"),
    ("lstm_coupled", "peepholes"),
    ("lstm", "activations"),
    ("gru", "activations"),
    ("lstm", "projected"),
    ("lstm_norm", "peepholes"),
    ("lstm_coupled", "projected"),
    ("gru_before", "dropout"),
    ("lstm", "dropout"),
]


def make(cell, options="plain", **more):
    return layer_of(cell)(I, H, dtype=np.float64, rng=1, **OPTIONS[options], **more)


@pytest.fixture
def x(rng):
    return rng.standard_normal((T, B, I))


def some_state(layer, rng, slots=1):
    return parted(layer, rng.uniform(-0.5, 0.5, (slots, B, sum(layer._widths))))


def parted(layer, whole):
    """A state as the layer takes it, from h and c side by side."""
    parts = np.split(whole, np.cumsum(layer._widths)[:-1], axis=-1)
    return tuple(parts) if len(parts) > 1 else parts[0]


def whole(state):
    """The way back."""
    return np.concatenate(state, axis=-1) if isinstance(state, tuple) else state


@pytest.mark.parametrize("cell, options", CASES)
def test_gradients_are_those_of_the_steps_that_follow(cell, options, rng, x):
    layer = make(cell, options)
    dy = rng.standard_normal((T, B, layer._widths[0]))
    state, dstate = some_state(layer, rng), some_state(layer, rng)
    found = [
        diagnostics.hidden_gradients(layer, x, dy, dstate, state=state, part=part)["l0"]
        for part in "hc"[: layer._cell.states]
    ]
    for t in range(T):

        def loss(s, t=t):
            y, last = layer(x[t + 1 :], parted(layer, s))
            now = (s[0, :, : dy.shape[2]] * dy[t]).sum()
            return (y * dy[t + 1 :]).sum() + now + (whole(last) * whole(dstate)).sum()

        after = whole(layer(x[: t + 1], state)[1])
        assert_slope(
            np.concatenate([part[t] for part in found], axis=-1)[None], loss, after, cell in NORMALIZED
        )


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_layer_below_gets_what_the_one_above_hands_down(bidirectional, batch_first, rng, x):
    options = {"bidirectional": bidirectional, "dtype": np.float64, "rng": 2}
    stack = pyrnn.LSTM(I, H, 2, dropout=0.5, batch_first=batch_first, **options)
    D = stack.directions
    below, above = pyrnn.LSTM(I, H, **options), pyrnn.LSTM(D * H, H, **options)
    below.params.update({name: array for name, array in stack.params.items() if "_l0" in name})
    above.params.update(
        {name.replace("_l1", "_l0"): array for name, array in stack.params.items() if "_l1" in name}
    )
    lengths, reset = np.array([T, 0, T - 2]), rng.random((T, B)) < 0.3
    dy, states = rng.standard_normal((T, B, D * H)), some_state(stack, rng, 2 * D)
    state_below, state_above = (tuple(part[half] for part in states) for half in (slice(D), slice(D, None)))
    given = {"lengths": lengths, "reset": reset}
    y, _ = below(x, state_below, **given)
    _, pull = above.vjp(y, state_above, **given)
    dx, _, _ = pull(dy)

    turn = (lambda a: a.swapaxes(0, 1)) if batch_first else lambda a: a
    found = diagnostics.hidden_gradients(
        stack, turn(x), turn(dy), state=states, lengths=lengths, reset=turn(reset)
    )
    lower = diagnostics.hidden_gradients(below, x, dx, state=state_below, **given)
    upper = diagnostics.hidden_gradients(above, y, dy, state=state_above, **given)
    assert list(found) == [f"l{k}{end}" for k in (0, 1) for end in ("", "_reverse")[:D]]
    for name, array in lower.items():
        np.testing.assert_allclose(found[name], array, **CLOSE)
        np.testing.assert_allclose(found[name.replace("0", "1")], upper[name], **CLOSE)
        assert found[name].any() and not found[name][:, 1].any() and not found[name][T - 2 :, 2].any()


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mean", "mul", None])
def test_bidirectional_is_its_two_halves(merge_mode, rng, x):
    layer = pyrnn.Bidirectional(pyrnn.GRU(I, H, dtype=np.float64, rng=3), merge_mode)
    y, _ = layer(x)
    dy = tuple(rng.standard_normal((2, T, B, H))) if merge_mode is None else rng.standard_normal(y.shape)
    found = diagnostics.hidden_gradients(layer, x, dy)
    forward, backward = layer.forward_layer, layer.backward_layer
    outputs = [forward(x)[0], backward(x)[0]]
    shares = {
        "concat": lambda: (dy[..., :H], dy[..., H:]),
        "sum": lambda: (dy, dy),
        "mean": lambda: (dy / 2, dy / 2),
        "mul": lambda: (dy * outputs[1], dy * outputs[0]),
        None: lambda: dy,
    }[merge_mode]()
    for half, share, name in zip((forward, backward), shares, ("l0", "l0_reverse"), strict=True):
        (own,) = diagnostics.hidden_gradients(half, x, share).values()
        np.testing.assert_array_equal(found[name], own)
    assert set(diagnostics.hidden_states(layer, x)) == {"l0", "l0_reverse"}


def test_the_reverse_direction_is_the_forward_one_on_the_reversed_sequence(rng, x):
    both = pyrnn.LSTM(I, H, bidirectional=True, dtype=np.float64, rng=4)
    single = pyrnn.LSTM(I, H, dtype=np.float64)
    single.params.update({n: both.params[f"{n}_reverse"] for n in single.params})
    ours, theirs = (f(both, x)["l0_reverse"] for f in (diagnostics.gradient_norms, diagnostics.hidden_states))
    np.testing.assert_array_equal(ours, diagnostics.gradient_norms(single, x[::-1])["l0"][::-1])
    np.testing.assert_array_equal(theirs, diagnostics.hidden_states(single, x[::-1])["l0"][::-1])
    wrapped = pyrnn.Bidirectional(pyrnn.LSTM(I, H, dtype=np.float64))
    wrapped.params.update(both.params)
    gates = diagnostics.gate_activations(single, x[::-1])["l0"]
    for layer in (both, wrapped):
        for name, gate in diagnostics.gate_activations(layer, x)["l0_reverse"].items():
            np.testing.assert_allclose(gate, gates[name][::-1], **CLOSE)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_a_linear_rnn_go_by_the_radius_of_its_matrix(factor, dtype):
    rnn = linear(factor, dtype)
    norms = diagnostics.gradient_norms(rnn, np.ones((30, 1, 1)))["l0"]
    np.testing.assert_array_equal(norms, 2 * factor ** np.arange(29.0, -1, -1))  # 2: four units of 1
    jacobian = diagnostics.step_jacobian(rnn, np.ones((3, 1, 1)))["l0"]
    np.testing.assert_allclose(jacobian.spectral_radius, np.full(3, factor), **CLOSE)
    np.testing.assert_allclose(jacobian.singular_values, np.full((3, 4), factor), **CLOSE)


def linear(factor, dtype=np.float32):
    """A linear RNN whose recurrent matrix is a permutation, times a power of two: everything is exact."""
    rnn = pyrnn.RNN(1, 4, nonlinearity="identity", bias=False, dtype=dtype)
    rnn.params["weight_hh_l0"] = factor * np.eye(4)[[1, 2, 3, 0]]
    return rnn


def test_the_loss_sees_what_dy_and_dstate_touch(rng, x):
    rnn = make("rnn_tanh")
    last = np.zeros((T, B, H))
    last[-1] = 1
    by_dy, default = diagnostics.gradient_norms(rnn, x, last), diagnostics.gradient_norms(rnn, x)
    np.testing.assert_array_equal(by_dy["l0"], default["l0"])
    by_dstate = diagnostics.gradient_norms(rnn, x, dstate=np.ones((1, B, H)))
    np.testing.assert_array_equal(by_dstate["l0"], default["l0"])
    everywhere = diagnostics.gradient_norms(rnn, x, np.ones((T, B, H)))["l0"]
    assert everywhere[-1] == default["l0"][-1] and (everywhere[:-1] > default["l0"][:-1]).all()


@pytest.mark.parametrize("cell, options", CASES)
def test_states_and_gates_make_the_output(cell, options, rng, x):
    layer = make(cell, options, num_layers=2)
    lengths, reset = np.array([T, 1, T - 2]), rng.random((T, B)) < 0.3
    y, _ = layer(x, lengths=lengths, reset=reset)
    states = diagnostics.hidden_states(layer, x, lengths=lengths, reset=reset)
    if options == "zoneout" or "zoneout" in OPTIONS[options]:  # the mean is rounded in another order
        np.testing.assert_allclose(states["l1"], y, **CLOSE)
    else:
        np.testing.assert_array_equal(states["l1"], y)
    gates = diagnostics.gate_activations(layer, x, lengths=lengths, reset=reset)
    entry, extras, below = reference.cells[cell], layer._extras, x
    for name in ("l0", "l1"):
        weights = weights_of(entry, layer.params, f"_{name}")
        below, _, tape = reference.forward(
            entry, below, None, **weights, lengths=lengths, reset=reset, training=False,
            activation=extras.activation, recurrent_activation=extras.recurrent_activation,
            cell_clip=extras.cell_clip, zoneout=extras.zoneout,
        )  # fmt: skip
        order = {
            "minlstm": (2, 3, 4), "gru": (0, 1, 2), "lstm_norm": (2, 3, 4, 5), "gru_norm": (2, 3, 4),
        }.get(cell, range(len(tape.steps[0][2])))  # fmt: skip
        saved = [np.stack([step[2][n] for step in tape.steps]) for n in order]
        truth = saved or [np.stack([step[1][0] for step in tape.steps])]
        inside = np.arange(T)[:, None] < lengths
        assert "".join(gates[name]) == {
            "lstm": "ifgo", "lstm_coupled": "igo", "gru": "rzn", "gru_before": "rzn", "mingru": "zn",
            "minlstm": "fin", "lstm_norm": "ifgo", "gru_norm": "rzn",
        }.get(cell, "h")  # fmt: skip
        for found, wanted in zip(gates[name].values(), truth, strict=True):
            np.testing.assert_allclose(found[inside], wanted[inside], **CLOSE)
            assert np.isnan(found[~inside]).all()


def test_zoneout_is_that_of_the_kernels(x):
    layer = pyrnn.LSTM(I, H, zoneout=(0.1, 0.4), dtype=np.float64, rng=1)  # 0.1 is another number in float32
    np.testing.assert_allclose(diagnostics.hidden_states(layer, x)["l0"], layer(x)[0], **CLOSE)


@pytest.mark.parametrize("cell, options", CASES)
def test_step_jacobians_by_differences(cell, options, rng, x):
    layer = make(cell, options)
    row, state = 1, some_state(layer, rng)
    found = diagnostics.step_jacobian(layer, x, state, row=row, steps=[0, 3])["l0"]
    N = sum(layer._widths)
    assert found.singular_values.shape == (2, N) and found.spectral_radius.shape == (2,)
    for k, t in enumerate((0, 3)):
        before = whole(state if t == 0 else layer(x[:t], state)[1])
        columns = []
        for unit in np.eye(N):

            def component(s, unit=unit, t=t):
                return whole(layer(x[t : t + 1, row : row + 1], parted(layer, s))[1]).ravel() @ unit

            columns.append(
                central_difference(component, before[:, row : row + 1], cell in NORMALIZED).ravel()
            )
        J = np.array(columns)
        # A singular value moves by no more than the norm of the error; the eigenvalues' power by as much.
        error = N * 2.0**-30
        values = np.linalg.svd(J, compute_uv=False)
        np.testing.assert_allclose(found.singular_values[k], values, rtol=0, atol=error)
        path = diagnostics._walk.walk(layer, x, state, None, None)[0].paths[0]
        np.testing.assert_allclose(diagnostics.jacobian.matrix(path, row, t), J, rtol=0, atol=error)
        assert found.spectral_radius[k] <= found.singular_values[k, 0] * (1 + N * EPS)


def test_the_product_of_jacobians_is_the_gradient(rng, x):
    lstm = pyrnn.LSTM(I, H, bidirectional=True, dtype=np.float64, rng=5)
    for path in diagnostics._walk.walk(lstm, x, None, None, None)[0].paths:
        through = np.concatenate([np.ones(H), np.zeros(H)])
        own = diagnostics.gradients.own_gradients(path)
        for t in reversed(path.order):
            np.testing.assert_allclose(own[t, 2], through[:H], **CLOSE)
            through = through @ diagnostics.jacobian.matrix(path, 2, t)


def test_jacobians_at_resets_and_beyond_the_length(x):
    reset = np.zeros((T, B), bool)
    reset[2, 1] = True
    layer = make("gru", bidirectional=True)
    found = diagnostics.step_jacobian(layer, x, lengths=[T, 4, T], reset=reset, row=1)
    for name, cut in (("l0", 2), ("l0_reverse", 1)):
        values, radius = found[name]
        assert not values[cut].any() and radius[cut] == 0
        assert np.isnan(values[4:]).all() and np.isnan(radius[4:]).all()
        assert (values[[t for t in range(4) if t != cut], 0] > 0).all()


def test_saturation_counts_the_ends(rng, x):
    lstm = make("lstm", num_layers=2)
    lengths = np.array([T, 0, T - 2])
    lstm.params["bias_ih_l1"] = np.repeat([-50, 50, 50, 0], H)
    found = diagnostics.gate_saturation(lstm, x, lengths=lengths)
    assert found["l1"]["i"] == (1, 0) and found["l1"]["f"] == (0, 1) and found["l1"]["g"] == (0, 1)
    gates = diagnostics.gate_activations(lstm, x, lengths=lengths)["l0"]
    narrow = diagnostics.gate_saturation(lstm, x, lengths=lengths, low=0.45, high=0.55)["l0"]
    inside = np.arange(T)[:, None] < lengths
    for name, gate in gates.items():
        units = gate[inside]
        low, high = (-0.1, 0.1) if name == "g" else (0.45, 0.55)
        # -0.1 is where (g + 1) / 2 is 0.45, but for rounding: no activation is that near
        assert narrow[name] == ((units < low).mean(), (units > high).mean())
        assert 0 < narrow[name].low < 1


def test_what_has_no_ends_has_no_saturation(x):
    assert diagnostics.gate_saturation(make("rnn_relu"), x) == {"l0": {}}
    assert list(diagnostics.gate_saturation(make("mingru"), x)["l0"]) == ["z"]
    relu = pyrnn.LSTM(I, H, activation="relu", recurrent_activation="hard_sigmoid", rng=0)
    assert list(diagnostics.gate_saturation(relu, 100 * x)["l0"]) == ["i", "f", "o"]
    assert all(math.isnan(v) for v in diagnostics.gate_saturation(relu, x[:0])["l0"]["i"])


@pytest.mark.parametrize(
    "factor, verdict, reach", [(0.5, "vanishes", 10), (1.0, "healthy", math.inf), (2.0, "explodes", math.inf)]
)
def test_report_of_a_linear_rnn(factor, verdict, reach):
    found = diagnostics.report(linear(factor), np.ones((15, 2, 1)))
    slot = found.slots["l0"]
    assert found.verdict == slot.verdict == verdict and slot.steps == 15
    np.testing.assert_array_equal(slot.flow, factor ** np.arange(15.0))
    assert slot.factor == pytest.approx(factor, rel=15 * EPS)
    assert slot.reach == (pytest.approx(reach, abs=0.1) if reach < math.inf else reach)
    text = str(found).splitlines()
    assert text[0].startswith(verdict) and text[1].startswith(f"l0: {verdict}: {factor**14:.1e} at the first")
    assert f"spectral radius {factor:.3g}, largest singular value {factor:.3g}" in text[2]
    lenient = diagnostics.report(linear(factor), np.ones((15, 2, 1)), vanish=1e-5, explode=1e5)
    assert lenient.verdict == "healthy"


def test_report_names_the_layer_that_is_to_blame(x):
    stack = pyrnn.RNN(1, 4, 2, nonlinearity="identity", bias=False)
    stack.params["weight_hh_l0"], stack.params["weight_hh_l1"] = np.eye(4), 0.25 * np.eye(4)
    found = diagnostics.report(stack, np.ones((20, 1, 1)))
    assert {name: slot.verdict for name, slot in found.slots.items()} == {"l0": "healthy", "l1": "vanishes"}
    assert found.verdict == "vanishes"
    stack.params["weight_hh_l0"] = 2 * np.eye(4)
    assert diagnostics.report(stack, np.ones((20, 1, 1))).verdict == "explodes"


@pytest.mark.parametrize("reverse", [False, True])
def test_report_follows_every_row_from_its_own_end(reverse):
    rnn = linear(0.5)
    layer = pyrnn.Bidirectional(rnn) if reverse else rnn
    if reverse:
        layer.backward_layer.params["weight_hh_l0"] = rnn.params["weight_hh_l0"]
    found = diagnostics.report(layer, np.ones((12, 3, 1)), lengths=[0, 12, 3])
    for slot in found.slots.values():
        np.testing.assert_array_equal(slot.flow, 0.5 ** np.arange(12.0))


def test_report_of_gradients_that_leave_the_range_of_numbers():
    tiny = diagnostics.report(linear(2.0**-40), np.ones((30, 1, 1))).slots["l0"]
    assert tiny.verdict == "vanishes" and tiny.flow[-1] == 0
    assert tiny.factor == pytest.approx(2.0**-40, rel=1e-12)
    huge = diagnostics.report(linear(2.0**40), np.ones((30, 1, 1)))
    assert huge.verdict == "explodes" and "not finite on the way" in str(huge)
    dead = pyrnn.RNN(1, 4, nonlinearity="relu", bias=False)
    dead.params["weight_ih_l0"] = -np.ones((4, 1))
    nothing = diagnostics.report(dead, np.ones((5, 1, 1))).slots["l0"]
    assert (nothing.verdict, nothing.factor, nothing.reach) == ("vanishes", 0, 1)


def test_nothing_in_the_layer_changes(x):
    layer = make("lstm", "dropout", num_layers=2, dropout=0.5)
    before = layer.state_dict()
    first = diagnostics.gradient_norms(layer, x)
    diagnostics.report(layer, x)
    assert all(np.array_equal(array, before[name]) for name, array in layer.params.items())
    assert layer.dropout == 0.5 and layer._extras.input_dropout == 0.5
    again = diagnostics.gradient_norms(layer, x)
    assert all(np.array_equal(norms, again[name]) for name, norms in first.items())
    layer.params["weight_hh_l0"] = 2 * before["weight_hh_l0"]  # no stale pack
    assert not np.array_equal(diagnostics.gradient_norms(layer, x)["l0"], first["l0"])


def test_a_sequence_without_a_batch_is_a_batch_of_one(x):
    lstm = make("lstm")
    alone, batched = (diagnostics.hidden_gradients(lstm, array)["l0"] for array in (x[:, 0], x[:, :1]))
    np.testing.assert_array_equal(alone, batched)
    assert alone.shape == (T, 1, H)


def test_bad_arguments_are_named(x):
    lstm = make("lstm")
    for wrong in (pyrnn.Linear(2, 3), pyrnn.LSTMCell(I, H), None):
        with pytest.raises(TypeError, match="layer must be a recurrent layer"):
            diagnostics.report(wrong, x)
    with pytest.raises(ValueError, match="part must be one of h, got 'c'"):
        diagnostics.hidden_gradients(make("gru"), x, part="c")
    with pytest.raises(ValueError, match=r"dy must have shape \(6, 3, 4\), got \(6, 3, 5\)"):
        diagnostics.gradient_norms(lstm, x, np.ones((T, B, 5)))
    with pytest.raises(TypeError, match="dstate must be a tuple of 2 arrays"):
        diagnostics.gradient_norms(lstm, x, dstate=np.ones((1, B, H)))
    with pytest.raises(TypeError, match="dstate must be a tuple of two states"):
        diagnostics.gradient_norms(pyrnn.Bidirectional(pyrnn.GRU(I, H)), x, dstate=np.ones((1, B, H)))
    with pytest.raises(ValueError, match="row must lie between 0 and 2, got 3"):
        diagnostics.step_jacobian(lstm, x, row=3)
    with pytest.raises(TypeError, match=r"steps\[1\] must be an integer, got 0.5"):
        diagnostics.step_jacobian(lstm, x, steps=[0, 0.5])
    with pytest.raises(ValueError, match=r"low must be at most high, got 0.9 and 0.1"):
        diagnostics.gate_saturation(lstm, x, low=0.9, high=0.1)
    with pytest.raises(ValueError, match="a row of at least two steps, got 1"):
        diagnostics.report(lstm, x, lengths=[1, 0, 1])
    with pytest.raises(ValueError, match="a row of at least two steps, got 0"):
        diagnostics.report(lstm, x[:, :0])
    with pytest.raises(ValueError, match="vanish must lie between 0 and 1, got 2"):
        diagnostics.report(lstm, x, vanish=2)
    with pytest.raises(ValueError, match="explode must be above 1, got nan"):
        diagnostics.report(lstm, x, explode=math.nan)
