"""Dates as people write them, turned into ISO dates by an encoder-decoder with Bahdanau's attention.

    python examples/attention.py                  # about a minute

"Saturday, March 12, 2004" -> "2004-03-12", character by character. A bidirectional GRU reads the date; at
each character that it writes, the decoder asks additive attention (Bahdanau et al. 2015, arXiv:1409.0473)
where to look, with the state that it had before. It is trained with the right characters as its inputs
(teacher forcing), and tested on days that it never saw with its own (greedy decoding). Pictures:
OUT/alignment.png, the weights of the attention for three new dates, and OUT/loss.png.
"""

import datetime
import math

import _common
import numpy as np

import pyrnn
from pyrnn import plot

FIRST, DAYS = datetime.date(1950, 1, 1), 36525
FORMATS = (
    "{d} {month} {y}", "{month} {d}, {y}", "{weekday}, {month} {d}, {y}", "{weekday} {d} {mon} {y}",
    "{d} {mon} {y}", "{mon} {d} {y}", "{d:02}.{m:02}.{y}", "{y}/{m}/{d}",
)  # fmt: skip
INPUTS = " ,./0123456789abcdefghijklmnopqrstuvwxyz"
OUTPUTS = "0123456789-"
START = len(OUTPUTS)  # what the decoder reads first
LENGTH = len("2004-03-12")


def written(day, style):
    """A day, counted from FIRST, as a person writes it, and as ISO 8601 has it."""
    date = FIRST + datetime.timedelta(days=int(day))
    month, weekday = date.strftime("%B").lower(), date.strftime("%A").lower()
    text = FORMATS[style].format(
        d=date.day, m=date.month, y=date.year, month=month, mon=month[:3], weekday=weekday
    )
    return text, date.isoformat()


def batch(days, rng):
    """Codes (T, B) of dates in random formats, their lengths, codes (10, B) of ISO dates, and the dates."""
    pairs = [
        written(day, style)
        for day, style in zip(days, rng.integers(len(FORMATS), size=len(days)), strict=True)
    ]
    source, lengths = pyrnn.text.pad_sequences([[INPUTS.index(c) for c in text] for text, _ in pairs])
    target = np.array([[OUTPUTS.index(c) for c in iso] for _, iso in pairs]).T
    return source, lengths, target, pairs


def add(total, grads):
    """Gradients of parameters that are used in several steps."""
    for name, g in grads.items():
        total[name] = total[name] + g if name in total else g


class Translator:
    """Embedding -> bidirectional GRU; attention -> GRU cell -> Linear, once a character."""

    def __init__(self, given, rng, dtype=np.float32):
        E, H, how = given.embedding, given.hidden, {"rng": rng, "dtype": dtype}
        self.source = pyrnn.Embedding(len(INPUTS), E, **how)
        self.target = pyrnn.Embedding(START + 1, E, **how)
        self.encoder = pyrnn.GRU(E, H, bidirectional=True, **how)
        self.attention = pyrnn.AdditiveAttention(H, 2 * H, H, **how)
        self.cell = pyrnn.GRUCell(E + 2 * H, H, **how)
        self.linear = pyrnn.Linear(3 * H, len(OUTPUTS), **how)
        self.layers = [self.source, self.target, self.encoder, self.attention, self.cell, self.linear]

    def start(self, rows):
        """The state of the decoder before its first step."""
        return np.zeros((rows, self.cell.hidden_size), self.cell.dtype)

    def gradients(self, source, lengths, target):
        """Mean cross entropy a character, and the gradients of all layers."""
        x, pull_source = self.source.vjp(source)
        (values, _), pull_encoder = self.encoder.vjp(x, lengths=lengths)
        before = np.concatenate([np.full((1, target.shape[1]), START), target[:-1]])  # teacher forcing
        inputs, pull_target = self.target.vjp(before)
        state, seen, pulls = self.start(target.shape[1]), [], []
        for t in range(len(target)):
            (context, _), pull_attention = self.attention.vjp(state, values, lengths=lengths)
            state, pull_cell = self.cell.vjp(np.concatenate([inputs[t], context], axis=1), state)
            seen.append(np.concatenate([state, context], axis=1))
            pulls.append((pull_attention, pull_cell))
        logits, pull_linear = self.linear.vjp(np.stack(seen))
        loss, pull_loss = pyrnn.cross_entropy.vjp(logits, target)

        dseen, linear_grads = pull_linear(pull_loss())
        H, E = state.shape[1], inputs.shape[2]
        dstate, dvalues, dinputs = np.zeros_like(state), np.zeros_like(values), np.zeros_like(inputs)
        attention_grads, cell_grads = {}, {}
        for t in reversed(range(len(target))):
            pull_attention, pull_cell = pulls[t]
            dx, dstate, grads = pull_cell(dstate + dseen[t, :, :H])
            add(cell_grads, grads)
            dinputs[t] = dx[:, :E]
            dquery, dv, grads = pull_attention(dx[:, E:] + dseen[t, :, H:])
            add(attention_grads, grads)
            dstate += dquery  # the query is the state before the step
            dvalues += dv
        dx, _, encoder_grads = pull_encoder(dvalues)
        grads = [pull_source(dx)[-1], pull_target(dinputs)[-1]]
        return loss, [*grads, encoder_grads, attention_grads, cell_grads, linear_grads]

    def translate(self, source, lengths):
        """Write with its own characters as inputs, the likeliest each time: codes and weights (B, 10, T)."""
        values, _ = self.encoder(self.source(source), lengths=lengths)
        state = self.start(len(lengths))
        last, codes, looked = np.full(len(lengths), START), [], []
        for _ in range(LENGTH):
            context, weights = self.attention(state, values, lengths=lengths)
            state = self.cell(np.concatenate([self.target(last), context], axis=1), state)
            last = self.linear(np.concatenate([state, context], axis=1)).argmax(1)
            codes.append(last)
            looked.append(weights)
        return np.stack(codes), np.stack(looked, axis=1)


def train(model, days, given, rng):
    """Losses of the steps; the learning rate falls by half a cosine."""
    adam, losses = pyrnn.Adam(model.layers, lr=given.lr), []
    with _common.training(given.steps, "training") as bar:
        for step in range(given.steps):
            adam.lr = given.lr * (0.02 + 0.98 * (1 + math.cos(math.pi * step / given.steps)) / 2)
            source, lengths, target, _ = batch(rng.choice(days, given.batch), rng)
            loss, grads = model.gradients(source, lengths, target)
            pyrnn.clip_grad_norm(grads, 1.0)
            adam.step(grads)
            losses.append(loss)
            bar.set_postfix_str(f"loss {np.mean(losses[-20:]):.4f} nats a character", refresh=False)
            bar.update()
    return losses


def exact(model, days, rng):
    """Share of the dates that are right in all characters, and one of the wrong ones."""
    right, wrong = 0, None
    for part in np.array_split(days, -(-len(days) // 256)):
        source, lengths, target, pairs = batch(part, rng)
        codes, _ = model.translate(source, lengths)
        hits = (codes == target).all(0)
        right += hits.sum()
        for n in np.flatnonzero(~hits)[:1]:
            wrong = pairs[n][0], "".join(OUTPUTS[c] for c in codes[:, n])
    return right / len(days), wrong


def draw_alignments(model, days, rng):
    source, lengths, _, pairs = batch(days, rng)
    codes, weights = model.translate(source, lengths)
    figure = _common.Figure(figsize=(8, 4.2 * len(days)), layout="constrained")
    for n, axes in enumerate(figure.subplots(len(days), 1, squeeze=False)[:, 0]):
        output = "".join(OUTPUTS[c] for c in codes[:, n])
        plot.attention(weights[n, :, : lengths[n]], output, pairs[n][0].replace(" ", "␣"), axes)
        axes.set_title(f"{pairs[n][0]}  →  {output}")
    return figure


def draw_losses(losses):
    axes = plot.gradient_flow({"training": losses})
    axes.set(xlabel="step of the training", ylabel="cross entropy (nats a character)")
    return axes


def main(argv=None):
    parser = _common.options(__doc__, "attention")
    count, number = _common.positive(int), _common.positive(float)
    parser.add_argument("--hidden", type=count, default=64, help="units a direction (default: 64)")
    parser.add_argument("--embedding", type=count, default=24, help="numbers a character (default: 24)")
    parser.add_argument("--steps", type=count, default=400, help="of training (default: 400)")
    parser.add_argument("--batch", type=count, default=64, help="dates a step (default: 64)")
    parser.add_argument("--lr", type=number, default=5e-3, help="largest learning rate (default: 5e-3)")
    parser.add_argument("--held-out", type=count, default=2000, help="days to test with (default: 2000)")
    given = parser.parse_args(argv)
    if given.held_out >= DAYS:
        parser.error(f"--held-out must be below {DAYS}")
    rng = _common.start(given)
    held_out, days = np.split(rng.permutation(DAYS), [given.held_out])
    model = Translator(given, rng)
    print(
        f"{sum(layer.params.size for layer in model.layers):,} parameters, {len(days):,} days to learn from"
    )
    losses = train(model, days, given, rng)
    share, wrong = exact(model, held_out, rng)
    print(f"{share:.2%} of {len(held_out):,} days that it never saw are right in every character", end="")
    print(f"; not {wrong[0]!r}, for which it writes {wrong[1]}" if wrong else "")
    _common.save(draw_alignments(model, held_out[:3], rng), given.out / "alignment.png")
    if losses:
        _common.save(draw_losses(losses), given.out / "loss.png")
    return losses, share


if __name__ == "__main__":
    main()
