"""Does a sentence praise or complain? Embedding -> GRU -> Linear on ragged batches.

    python examples/sentiment.py                                   # sentences of a small grammar, seconds
    python examples/sentiment.py --data movie-review-sentences.tsv # ten seconds

The file has a header, then in each line a label (0 or 1), a tab and a text; its last tenth is held out. The
built-in sentences turn round with "not" and "hardly", so that counting words is not enough. Dropout of the
words' vectors (one mask for all steps) and of the last state keeps the network from learning names by heart,
and the epoch that was the best on a tenth of the rest is kept. Pictures: OUT/history.png, and OUT/states.png
with the states of the GRU over a held-out sentence.
"""

import itertools
from pathlib import Path

import _common
import numpy as np

import pyrnn
from pyrnn import plot, text

NOUNS = "plot", "music", "acting", "ending", "dialogue", "camera work", "story", "humour"
PRAISE = "moving", "clever", "funny", "fresh", "brilliant", "gripping", "tender"
BLAME = "dull", "clumsy", "boring", "stale", "awful", "predictable", "cold"
FRAMES = (  # and whether they turn the word round
    ("the {noun} is {word} .", False),
    ("the {noun} is not {word} .", True),
    ("i found the {noun} {word} from start to end .", False),
    ("i hardly found the {noun} {word} , whatever the critics say .", True),
    ("what a {word} {noun} !", False),
    ("nobody could call the {noun} {word} .", True),
    ("for once the {noun} is {word} , and so is the rest .", False),
    ("they promised a {word} {noun} , and did not deliver .", True),
)


def compose(rng):
    """The sentences of the grammar and their labels, in random order."""
    found = []
    for (frame, turned), noun, (words, label) in itertools.product(FRAMES, NOUNS, ((PRAISE, 1), (BLAME, 0))):
        found += [(frame.format(noun=noun, word=word), label ^ turned) for word in words]
    return [found[i] for i in rng.permutation(len(found))]


def read(path):
    """Sentences and labels of a table."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        rows = [line.split("\t") for line in lines if line]
        return [(sentence, int(label)) for label, sentence in rows]
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot read --data {path}: {error}") from error


def make(given, words, rng):
    return pyrnn.Sequential(
        pyrnn.Embedding(words, given.embedding, rng=rng),
        pyrnn.GRU(given.embedding, given.hidden, input_dropout=given.input_dropout, rng=rng),
        pyrnn.LastStep(),
        pyrnn.Dropout(given.dropout, rng=rng),
        pyrnn.Linear(given.hidden, 2, rng=rng),
    )


def show_states(model, tokenizer, sentence, given):
    """The GRU's states over a sentence, and what the network says of it."""
    codes, tokens = tokenizer.encode(sentence), tokenizer.tokens(sentence)
    states, _ = model[1](model[0](codes))
    scores = model(codes)
    verdict = "praise" if scores[1] > scores[0] else "blame"
    ax = plot.hidden_states(states)
    ax.set_xticks(range(len(tokens)), tokens, rotation=60, ha="right")
    ax.set(title=f"read as {verdict}", xlabel="")
    _common.save(ax, given.out / "states.png")


def parse(arguments=None):
    parser = _common.options(__doc__, "sentiment")
    positive = _common.positive
    parser.add_argument("--data", type=Path, metavar="FILE", help="TSV, see above; default: a grammar")
    parser.add_argument("--words", type=positive(int), default=10_000, help="to know; default: 10000")
    parser.add_argument("--embedding", type=positive(int), default=64, help="default: 64")
    parser.add_argument("--hidden", type=positive(int), default=64, help="units; default: 64")
    parser.add_argument("--epochs", type=positive(int), help="default: 6, and 40 without --data")
    parser.add_argument("--batch", type=positive(int), default=32, help="sentences a step; default: 32")
    parser.add_argument("--lr", type=positive(float), default=0.002, help="step size; default: 0.002")
    parser.add_argument("--dropout", type=float, default=0.5, help="of the last state; default: 0.5")
    parser.add_argument("--input-dropout", type=float, default=0.3, help="of words' vectors; default: 0.3")
    given = parser.parse_args(arguments)
    if given.epochs is None:
        given.epochs = 40 if given.data is None else 6
    return given


def main(arguments=None):
    given = parse(arguments)
    rng = _common.start(given)
    rows = compose(rng) if given.data is None else read(given.data)
    held_out = len(rows) // 10
    sentences, labels = [sentence for sentence, _ in rows], np.array([label for _, label in rows])
    tokenizer = text.Tokenizer(max_tokens=given.words).fit(sentences[:-held_out])
    codes = tokenizer.encode(sentences)
    model = make(given, len(tokenizer), rng)
    history = pyrnn.fit(
        model,
        codes[:-held_out],
        labels[:-held_out],
        loss="cross_entropy",
        metrics=["accuracy"],
        optimizer=pyrnn.Adam(model, lr=given.lr),
        clip_norm=1.0,
        epochs=given.epochs,
        batch_size=given.batch,
        bucket=True,
        validation_split=0.1,
        monitor="val_accuracy",
        rng=rng,
    )
    found = pyrnn.evaluate(
        model, codes[-held_out:], labels[-held_out:], loss="cross_entropy", metrics=["accuracy"]
    )
    print(
        f"{len(rows) - held_out} sentences, {len(tokenizer)} words: held-out accuracy {found['accuracy']:.1%}"
    )
    _common.save(plot.history(history, metric="accuracy"), given.out / "history.png")
    show_states(model, tokenizer, sentences[-1], given)
    return found["accuracy"]


if __name__ == "__main__":
    main()
