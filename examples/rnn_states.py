"""What an RNN remembers, seen in its hidden states: three switches, set by pulses.

    python examples/rnn_states.py                 # about ten seconds

Three inputs are silent but for rare pulses, up or down; each of three outputs shall hold the direction of
its input's last pulse (Sussillo & Barak 2013, doi:10.1162/NECO_a_00409). An Elman RNN learns that, and has
nowhere but its hidden states to keep it. Picture: OUT/states.png, pulses and outputs of a new sequence above
the heat map of the hidden states, whose units are sorted by the switch that they go with.
"""

import _common
import numpy as np

import pyrnn
from pyrnn import plot

SWITCHES = 3


def sequences(steps, count, rng, rate=0.08):
    """Pulses (T, N, 3), and what the switches then are; 0 before the first pulse."""
    pulses = rng.choice([-1, 0, 1], (steps, count, SWITCHES), p=[rate / 2, 1 - rate, rate / 2])
    switches = np.zeros(pulses.shape, np.float32)
    held = np.zeros(pulses.shape[1:])
    for t in range(steps):
        held = np.where(pulses[t] == 0, held, pulses[t])
        switches[t] = held
    return pulses.astype(np.float32), switches


def agreement(found, switches):
    """Share of the switches that were set whose output has the right sign."""
    was_set = switches != 0
    return float(np.mean(np.sign(found)[was_set] == switches[was_set]))


def by_switch(h, switches):
    """The units in an order that puts those together which go with the same switch, with the same sign."""
    flat, targets = h.reshape(-1, h.shape[2]), switches.reshape(-1, SWITCHES)
    together = np.corrcoef(flat.T, targets.T)[: h.shape[2], h.shape[2] :]
    best = np.abs(together).argmax(1)
    return np.lexsort((together[np.arange(len(best)), best], best))


def draw(h, found, pulses, switches, order):
    """One sequence: a panel a switch, and the states below."""
    figure = _common.Figure(figsize=(9, 8), layout="constrained")
    *panels, states = figure.subplots(SWITCHES + 1, 1, sharex=True, height_ratios=[1] * SWITCHES + [4])
    for k, axes in enumerate(panels):
        axes.plot(switches[:, k], color="0.6", linewidth=4, label="switch")
        axes.plot(found[:, k], color=plot.COLOURS[0], linewidth=1.5, label="output of the network")
        at = np.flatnonzero(pulses[:, k])
        axes.vlines(at, 0, pulses[at, k], color=plot.COLOURS[1], linewidth=2, label="pulse")
        axes.set(ylabel=f"switch {k + 1}", ylim=(-1.4, 1.4))
        axes.grid(alpha=0.3)
    panels[0].legend(ncols=3, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    plot.hidden_states(h[:, order], states)
    states.set(ylabel="hidden unit, sorted by switch")
    return figure


def main(argv=None):
    parser = _common.options(__doc__, "rnn_states")
    count = _common.positive(int)
    parser.add_argument("--hidden", type=count, default=48, help="units (default: 48)")
    parser.add_argument("--steps", type=count, default=80, help="length of the sequences (default: 80)")
    parser.add_argument("--sequences", type=count, default=1024, help="to train on (default: 1024)")
    parser.add_argument("--epochs", type=count, default=60, help="default: 60")
    given = parser.parse_args(argv)
    rng = _common.start(given)
    rnn = pyrnn.RNN(SWITCHES, given.hidden, rng=rng)
    model = pyrnn.Sequential(rnn, pyrnn.Linear(given.hidden, SWITCHES, rng=rng))
    x, y = sequences(given.steps, given.sequences, rng)
    optimizer = pyrnn.Adam(model, lr=3e-3)
    history = pyrnn.fit(
        model,
        x,
        y,
        loss="mse",
        optimizer=optimizer,
        epochs=given.epochs,
        rng=rng,
        clip_norm=1.0,
        progress=True,
    )
    pulses, switches = sequences(given.steps, 256, rng)
    h, _ = rnn(pulses)
    found = model(pulses)
    share = agreement(found, switches)
    print(
        f"{history.epochs} epochs; on new sequences {share:.2%} of the outputs have the sign of their switch"
    )
    order = by_switch(h, switches)
    figure = draw(h[:, 0], found[:, 0], pulses[:, 0], switches[:, 0], order)
    _common.save(figure, given.out / "states.png")
    return history, share


if __name__ == "__main__":
    main()
