"""Small random problems for the reference, of one layer and of a stack, and what its tests run over."""

import numpy as np
import pytest

from pyrnn import reference

from .problems import own_weights

T, B, N_IN, H = 5, 4, 2, 3

LENGTHS = np.array([3, 0, T, 1])
RESET = np.array(  # at the first step, in neighbouring steps, at a length and beyond one
    [[1, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]], bool
)

each_cell = pytest.mark.parametrize("cell", reference.cells.values(), ids=reference.cells.keys())
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
ragged = pytest.mark.parametrize(
    ("lengths", "reset"),
    [(None, None), (LENGTHS, None), (None, RESET), (LENGTHS, RESET)],
    ids=["whole", "lengths", "reset", "lengths-reset"],
)


def weights(rng, rows, columns):
    """Scaled, so that nothing grows from step to step or from layer to layer, errors included."""
    return rng.standard_normal((rows, columns)) / np.sqrt(columns)


def problem(cell, rng, T=T, B=B, P=0):
    """Arguments of `forward` by name, and gradients of its results; with P, h is projected."""
    G, S = cell.gates, cell.states

    def states():
        if P:
            return rng.standard_normal((B, P)), rng.standard_normal((B, H))
        return rng.standard_normal((S, B, H))

    arguments = {
        "x": rng.standard_normal((T, B, N_IN)),
        "state": states(),
        "w_ih": weights(rng, G * H, N_IN),
        "w_hh": weights(rng, cell.recurrent * H, P or H),
        "b_ih": rng.standard_normal(G * H),
        "b_hh": rng.standard_normal(cell.recurrent * H),
    }
    if cell.units:
        arguments["w_units"] = own_weights(cell, rng, H)
    if P:
        arguments["w_hr"] = weights(rng, P, H)
    return arguments, rng.standard_normal((T, B, P or H)), states()


def gradients(cell, arguments, dy, dstate, **options):
    """Gradients under the names of what they are gradients of."""
    grads = reference.backward(cell, reference.forward(cell, **arguments, **options)[2], dy, dstate)
    return {name.removeprefix("d"): grad for name, grad in grads.items()}


def stacked(cell, rng, layers=2, directions=2):
    """Arguments of `stack_forward`, and gradients of its results."""
    G, S, params = cell.gates, cell.states, {}
    for layer in range(layers):
        for suffix in ("", "_reverse")[:directions]:
            n_in = directions * H if layer else N_IN
            params[f"weight_ih_l{layer}{suffix}"] = weights(rng, G * H, n_in)
            params[f"bias_ih_l{layer}{suffix}"] = rng.standard_normal(G * H)
            if cell.recurrent:
                params[f"weight_hh_l{layer}{suffix}"] = weights(rng, G * H, H)
                params[f"bias_hh_l{layer}{suffix}"] = rng.standard_normal(G * H)
            elif cell.units:
                params[f"weight_hh_l{layer}{suffix}"] = rng.uniform(-1, 1, (cell.units, H))
    x, state = rng.standard_normal((T, B, N_IN)), rng.standard_normal((S, layers * directions, B, H))
    dy, dstate = rng.standard_normal((T, B, directions * H)), rng.standard_normal(state.shape)
    dropout = [(rng.random((T, B, directions * H)) > 0.3) / 0.7 for _ in range(layers - 1)]
    return x, state, params, dropout, dy, dstate
