"""Write expected.h: three small problems, their outputs and gradients in float64. Needs nothing but NumPy.

The gradients are complex-step derivatives of the forward pass: exact to rounding, with no backward formula.
"""

import textwrap
from pathlib import Path

import numpy as np

T, B, I, H = 4, 3, 3, 9
SMALL = 5  # P of the LSTM whose h is projected


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(ax, ah, s):
    i, f, g, o = (ax + ah).reshape(4, H)
    c = sigmoid(f) * s[1] + sigmoid(i) * np.tanh(g)
    return np.stack([sigmoid(o) * np.tanh(c), c])


def gru(ax, ah, s):
    (xr, xz, xn), (hr, hz, hn) = ax.reshape(3, H), ah.reshape(3, H)
    z = sigmoid(xz + hz)
    return ((1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * s[0])[None]


def forward(cell, p, reverse, lengths, reset):
    P = p["w_hh"].shape[1]
    y, state = np.zeros((T, B, P), complex), p["state0"].astype(complex)
    for b in range(B):
        for t in range(lengths[b])[:: -1 if reverse else 1]:
            if (t + 1 < lengths[b] and reset[t + 1, b]) if reverse else reset[t, b]:
                state[:, b] = 0
            ax, ah = p["w_ih"] @ p["x"][t, b] + p["b_ih"], p["w_hh"] @ state[0, b, :P] + p["b_hh"]
            state[:, b] = cell(ax, ah, state[:, b])
            if P < H:
                state[0, b, :P] = p["w_hr"] @ state[0, b]
            y[t, b] = state[0, b, :P]
    return y, state


def inner(state, d, P):
    return np.sum(state[0, :, :P] * d[0, :, :P]) + np.sum(state[1:] * d[1:])


def flat(name, v, P):
    """The numbers of an array; of states, h (B, P) and then the others."""
    if "state" not in name:
        return v.ravel().tolist()
    return [*v[0, :, :P].ravel().tolist(), *v[1:].ravel().tolist()]


def problem(cell, gates, states, reverse, lengths=None, reset=None, P=H):
    ragged = lengths is not None
    if not ragged:
        lengths, reset = [T] * B, np.zeros((T, B), int)
    rng, n = np.random.default_rng(gates), gates * H
    shapes = {"x": (T, B, I), "w_ih": (n, I), "w_hh": (n, P), "b_ih": n, "b_hh": n}
    shapes |= {"state0": (states, B, H), "dy": (T, B, P), "dstate": (states, B, H)}
    shapes |= {"w_hr": (P, H)} if P < H else {}
    p = {name: rng.integers(-32, 33, shape) / 64 for name, shape in shapes.items()}  # exact in float32 too
    y, state = forward(cell, p, reverse, lengths, reset)
    numbers = dict(p, y=y.real, state=state.real)
    for name in ["x", "w_ih", "w_hh", "b_ih", "b_hh", "state0", *(["w_hr"] if P < H else [])]:
        d = numbers["d" + name] = np.zeros(np.shape(p[name]))
        for k in np.ndindex(d.shape):
            q = dict(p, **{name: p[name].astype(complex)})
            q[name][k] += 1e-200j
            y, state = forward(cell, q, reverse, lengths, reset)
            d[k] = (np.sum(y * p["dy"]) + inner(state, p["dstate"], P)).imag / 1e-200
    head = f'.name = "{cell.__name__}", .cell = PYRNN_{cell.__name__}, .gates = {gates}, .states = {states},'
    lines = ["{", head, f".T = {T}, .B = {B}, .I = {I}, .H = {H}, .P = {P}, .reverse = {int(reverse)},"]
    if ragged:
        lines += [f".lengths = (const int64_t[]){{{', '.join(map(str, lengths))}}},"]
        lines += [f".reset = (const uint8_t[]){{{', '.join(map(str, reset.ravel()))}}},"]
    for name, v in numbers.items():
        text = f".{name} = (const double[]){{{', '.join(map(repr, flat(name, v, P)))}}},"
        lines += textwrap.wrap(text, 120)
    return "\n".join([*lines, "},"])


dense = problem(lstm, 4, 2, False)
ragged = problem(gru, 3, 1, True, [2, 4, 0], np.array([[0, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]))
both = [1, 4, 3], np.array([[0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]])
projected = problem(lstm, 4, 2, False, *both, P=SMALL)
head = "/* Written by make_expected.py */\n/* clang-format off */\nstatic const problem problems[] = {\n"
Path(__file__).with_name("expected.h").write_text(
    f"{head}{dense}\n{ragged}\n{projected}\n}};\n/* clang-format on */\n"
)
