"""Where does the gradient go? dL/dh_t of RNN, LSTM and GRU, for recurrent weights of several scales.

    python examples/vanishing_gradient.py               # five seconds
    python examples/vanishing_gradient.py --steps 200   # longer sequences

L is the sum of the last hidden state: whatever arrives at an earlier step has come back through time. The
recurrent matrices are random rotations times a scale, so that the scale is the spectral radius. A straight
line is a constant factor a step. Pictures: OUT/gradient_flow.png, and OUT/jacobian.png with the spectral
radius of each step's Jacobian, which is that factor.
"""

import _common
import numpy as np

import pyrnn
from pyrnn import diagnostics, plot

# A forget gate is at 1/2 with a bias of 0, so that half of the cell is gone in each step, and at 0.73 with 1.
LAYERS = {
    "RNN": (pyrnn.RNN, None),
    "LSTM, forget bias 0": (pyrnn.LSTM, 0.0),
    "LSTM, forget bias 1": (pyrnn.LSTM, 1.0),
    "GRU": (pyrnn.GRU, None),
}


def make(name, inputs, units, scale, rng):
    kind, forget = LAYERS[name]
    layer = kind(inputs, units, dtype=np.float64, rng=rng)
    gates = len(layer.params["weight_ih_l0"]) // units
    rotations = [np.linalg.qr(rng.standard_normal((units, units)))[0] for _ in range(gates)]
    layer.params["weight_hh_l0"] = scale * np.concatenate(rotations)
    biases = np.zeros((gates, units))
    layer.params["bias_hh_l0"] = biases.ravel()
    if forget is not None:
        biases[1] = forget  # i f g o
    layer.params["bias_ih_l0"] = biases.ravel()
    return layer


def measure(given, rng):
    """Reports by scale and by name of the layer."""
    x = rng.standard_normal((given.steps, given.batch, given.inputs))
    found = {}
    for scale in given.scales:
        found[scale] = {}
        for name in LAYERS:
            layer = make(name, given.inputs, given.hidden, scale, rng)
            report = diagnostics.report(layer, x)
            radius = diagnostics.step_jacobian(layer, x)["l0"].spectral_radius
            found[scale][name] = report, diagnostics.gradient_norms(layer, x)["l0"], radius
    return found


def panels(found, draw, title):
    """A panel a scale, side by side on one axis."""
    figure = _common.Figure(figsize=(3.4 * len(found), 4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for ax, (scale, layers) in zip(axes, found.items(), strict=True):
        draw(ax, layers)
        ax.set_title(f"recurrent weights × {scale:g}", fontsize=10)
        if ax is not axes[0]:
            ax.get_legend().remove()
            ax.set_ylabel("")
    return figure


def draw_flow(ax, layers):
    plot.gradient_flow({name: norms / norms[-1] for name, (_, norms, _) in layers.items()}, ax)
    ax.axhspan(1e-3, 1e3, color="0.92", zorder=0)
    ax.set_ylabel("norm of dL/dh at t / at the last step\n(grey: healthy)")


def draw_radius(ax, layers):
    plot.gradient_flow({name: radius for name, (_, _, radius) in layers.items()}, ax)
    ax.axhline(1, color="black", linewidth=1)
    ax.set(ylabel="spectral radius of the step Jacobian", yscale="linear")


def main(argv=None):
    parser = _common.options(__doc__, "vanishing_gradient")
    count = _common.positive(int)
    parser.add_argument("--steps", type=count, default=30, help="length of the sequences (default: 30)")
    parser.add_argument("--hidden", type=count, default=64, help="units (default: 64)")
    parser.add_argument("--inputs", type=count, default=16, help="features of an input (default: 16)")
    parser.add_argument("--batch", type=count, default=8, help="sequences (default: 8)")
    parser.add_argument(
        "--scales", type=_common.positive(float), nargs="+", default=[0.5, 0.8, 1.0, 2.0, 3.0],
        help="spectral radii of the recurrent matrices (default: 0.5 0.8 1 2 3)",
    )  # fmt: skip
    given = parser.parse_args(argv)
    if given.steps < 2:
        parser.error("--steps must be at least 2")
    found = measure(given, _common.start(given))
    print(f"norm of dL/dh at the first of {given.steps} steps, as a part of that at the last:")
    for scale, layers in found.items():
        print(f"recurrent weights × {scale:g}")
        for name, (report, _, radius) in layers.items():
            slot = report.slots["l0"]
            print(
                f"    {name:20} {slot.flow[-1]:8.1e}  {slot.factor:.2f} a step,"
                f" spectral radius {np.median(radius):.2f}  {report.verdict}"
            )
    _common.save(panels(found, draw_flow, "Gradients on their way back"), given.out / "gradient_flow.png")
    _common.save(panels(found, draw_radius, "What one step does"), given.out / "jacobian.png")
    return {s: {n: entry[0] for n, entry in layers.items()} for s, layers in found.items()}


if __name__ == "__main__":
    main()
