"""What clipping does: the same network, trained with and without it.

    python examples/exploding_gradient.py

A relu RNN learns to add up its inputs, by plain gradient descent. Its recurrent matrix begins with a spectral
radius of 1.5; relu shuts some of the units, so that a gradient grows by a few per cent a step at first. Where
training takes that to 1.2, it is a factor of 50,000 over 60 steps, and one step of descent throws the weights
to infinity. Clipping by the global norm (Pascanu et al. 2013) keeps the direction of such a step and bounds
its length. Picture: OUT/clipping.png, losses and norms of the gradients.
"""

import math

import _common
import numpy as np

import pyrnn
from pyrnn import diagnostics, plot


class Network:
    """RNN -> Linear, a prediction a step."""

    def __init__(self, given):
        rng = np.random.default_rng(given.seed)
        self.rnn = pyrnn.RNN(1, given.hidden, nonlinearity="relu", rng=rng)
        rotation = np.linalg.qr(rng.standard_normal((given.hidden, given.hidden)))[0]
        self.rnn.params["weight_hh_l0"] = given.radius * rotation
        self.linear = pyrnn.Linear(given.hidden, 1, rng=rng)

    def gradients(self, x, target):
        """Mean squared error, and the gradients of both layers."""
        with np.errstate(over="ignore", invalid="ignore"):  # as it will be, without clipping
            (y, _), pull_rnn = self.rnn.vjp(x)
            found, pull_linear = self.linear.vjp(y)
            error = found - target
            loss = float(np.mean(error * error))
            dy, grads = pull_linear(2 * error / error.size)
            return loss, [pull_rnn(dy)[2], grads]

    def descend(self, grads, lr):
        for layer, own in zip((self.rnn, self.linear), grads, strict=True):
            layer.params.update({name: layer.params[name] - lr * g for name, g in own.items()})


def batch(given, rng):
    x = rng.standard_normal((given.length, given.batch, 1), dtype=np.float32)
    return x, np.cumsum(x, axis=0) / math.sqrt(given.length)


def train(given, clip):
    """Losses and norms of the gradients, until the steps are over or the loss is not finite, and the network.

    As it was before the steepest of the steps.
    """
    network, rng = Network(given), np.random.default_rng(given.seed + 1)
    losses, norms, steepest = [], [], network.rnn.state_dict()
    label = f"clip {clip:g}" if clip < math.inf else "no clipping"
    with _common.training(given.steps, label) as bar:
        for _ in range(given.steps):
            loss, grads = network.gradients(*batch(given, rng))
            losses.append(loss)
            if not math.isfinite(loss):
                bar.write(f"{label}: the loss is {loss} after {len(losses)} steps")
                break
            # clip_grad_norm would zero gradients that are not finite, and so clip in the end.
            norms.append(pyrnn.clip_grad_norm(grads, clip) if clip < math.inf else global_norm(grads))
            if norms[-1] == max(norms):
                steepest = network.rnn.state_dict()
            network.descend(grads, given.lr)
            bar.set_postfix_str(f"loss {loss:.3g}, norm of the gradient {norms[-1]:.2g}", refresh=False)
            bar.update()
    network.rnn.load_state_dict(steepest)
    return losses, norms, network.rnn


def global_norm(grads):
    """What clip_grad_norm returns, but gradients that are not finite stay what they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(
            sum(float(np.sum(np.square(g, dtype=np.float64))) for own in grads for g in own.values())
        )


def draw(runs, lr):
    figure = _common.Figure(figsize=(8, 6.5), layout="constrained")
    axes = loss_axes, norm_axes = figure.subplots(2, 1, sharex=True)
    plot.gradient_flow({name: smooth(losses) for name, (losses, _, _) in runs.items()}, loss_axes)
    plot.gradient_flow({name: norms for name, (_, norms, _) in runs.items()}, norm_axes)
    for number, (name, (losses, _, _)) in enumerate(runs.items()):
        if not math.isfinite(losses[-1]):
            for ax in axes:
                ax.axvline(len(losses) - 1, color="black", linestyle=":", linewidth=1)
            text = f"{name}: {losses[-1]} after {len(losses)} steps"
            place = len(losses), 0.95 - 0.07 * number
            loss_axes.annotate(f"  {text}", place, xycoords=("data", "axes fraction"), va="top", fontsize=9)
    loss_axes.set_ylim(None, 1e2)  # the rest of the way to infinity would leave no room for the others
    norm_axes.set_ylim(None, 1e6)
    loss_axes.set(
        xlabel="", ylabel="mean squared error", title=f"Clipping by the global norm, SGD, lr {lr:g}"
    )
    norm_axes.set(xlabel="step of the training", ylabel="norm of the gradient before clipping")
    return figure


def smooth(losses, width=10):
    """Medians over the last few steps: a batch is easier than another."""
    padded = np.concatenate([np.full(width - 1, np.nan), losses])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.array([np.median(w[~np.isnan(w)]) if np.isfinite(w[-1]) else np.nan for w in windows])


def main(argv=None):
    parser = _common.options(__doc__, "exploding_gradient")
    count, number = _common.positive(int), _common.positive(float)
    parser.add_argument("--steps", type=count, default=1000, help="of gradient descent (default: 1000)")
    parser.add_argument("--clip", type=number, nargs="+", default=[1.0, 0.3], help="default: 1 0.3")
    parser.add_argument("--lr", type=number, default=0.1, help="learning rate (default: 0.1)")
    parser.add_argument("--radius", type=number, default=1.5, help="of the recurrent matrix (default: 1.5)")
    parser.add_argument("--hidden", type=count, default=32, help="units (default: 32)")
    parser.add_argument("--length", type=count, default=60, help="of the sequences (default: 60)")
    parser.add_argument("--batch", type=count, default=32, help="sequences a step (default: 32)")
    given = parser.parse_args(argv)
    if given.length < 2:
        parser.error("--length must be at least 2")
    rng = _common.start(given)
    x, _ = batch(given, rng)
    print("before training:", diagnostics.report(Network(given).rnn, x))
    runs = {"no clipping": train(given, math.inf)}
    runs |= {f"clipped at {clip:g}": train(given, clip) for clip in given.clip}
    runs = {name: run for name, run in runs.items() if run[0]}  # but those that Ctrl-C ended at once
    for name, (losses, norms, rnn) in runs.items():
        last = np.mean(losses[-50:]) if math.isfinite(losses[-1]) else losses[-1]
        flow = diagnostics.report(rnn, x).slots["l0"]
        print(
            f"{name}: loss {losses[0]:.3f} at first, {last:.3f} after {len(losses)} steps; largest norm of a"
            f" gradient {max(norms):.2g}, where dL/dh changed by {flow.factor:.2f} a step ({flow.verdict})"
        )
    if runs:
        _common.save(draw(runs, given.lr), given.out / "clipping.png")
    return runs


if __name__ == "__main__":
    main()
