"""Handwritten digits, read row by row: a recurrent network in a scikit-learn pipeline.

    python examples/sklearn_pipeline.py           # a quarter of a minute

The 1797 digits of 8 × 8 pixels that scikit-learn carries become sequences of 8 steps with 8 features. A grid
search over the cells, with cross-validation and scaling inside, chooses the network; a quarter of the digits,
which it never sees, says how good that one is. Picture: OUT/confusion.png.
"""

import _common
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from pyrnn.sklearn import SequenceClassifier


def draw(table, path):
    """Which digit was taken for which."""
    axes = _common.Figure(figsize=(4.8, 4.4), layout="constrained").add_subplot()
    axes.imshow(np.log1p(table), cmap="Blues")
    for (true, found), count in np.ndenumerate(table):
        if count:
            axes.text(found, true, count, ha="center", va="center", color="w" if true == found else "k")
    digits = range(len(table))
    axes.set(xlabel="predicted", ylabel="digit", xticks=digits, yticks=digits)
    _common.save(axes, path)


def main(argv=None):
    parser = _common.options(__doc__, "sklearn_pipeline")
    count = _common.positive(int)
    parser.add_argument("--hidden", type=count, default=48, help="units a direction (default: 48)")
    parser.add_argument("--epochs", type=count, default=40, help="default: 40")
    parser.add_argument("--digits", type=count, default=1797, help="how many to use (default: 1797, all)")
    parser.add_argument("--cells", nargs="+", default=["gru", "lstm"], choices=["gru", "lstm", "rnn"])
    parser.add_argument("--folds", type=count, default=3, help="of the cross-validation (default: 3)")
    parser.add_argument("--jobs", type=count, default=2, help="processes of the search (default: 2)")
    given = parser.parse_args(argv)
    if given.folds < 2:
        parser.error(f"argument --folds: must be at least 2, got {given.folds}")
    _common.start(given)
    images, digits = load_digits(return_X_y=True)
    train, test, train_y, test_y = train_test_split(
        images[: given.digits], digits[: given.digits], test_size=0.25, random_state=given.seed
    )
    network = SequenceClassifier(
        n_steps=8, hidden_size=given.hidden, bidirectional=True, dropout=0.2, learning_rate=0.005,
        max_iter=given.epochs, random_state=given.seed, n_jobs=1,
    )  # fmt: skip
    pipeline = make_pipeline(MinMaxScaler(), network)
    grid = {"sequenceclassifier__cell": given.cells}
    search = GridSearchCV(pipeline, grid, cv=given.folds, n_jobs=given.jobs).fit(train, train_y)
    results = search.cv_results_
    for cell, mean, std in zip(
        given.cells, results["mean_test_score"], results["std_test_score"], strict=True
    ):
        print(f"{cell}: {mean:.2%} ± {std:.2%} in cross-validation")
    reached = search.score(test, test_y)
    print(f"{search.best_params_['sequenceclassifier__cell']}: {reached:.2%} of {len(test)} new digits")
    draw(confusion_matrix(test_y, search.predict(test)), given.out / "confusion.png")
    return reached


if __name__ == "__main__":
    main()
