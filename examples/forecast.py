"""Forecast the next value of a series from those before it.

    python examples/forecast.py                    # a noisy sine, and two centuries of sunspots: ten seconds
    python examples/forecast.py --data FILE.csv    # the last column of a CSV file with a header, in its order

An LSTM with activation="relu" reads a window of the series and predicts the value that follows; a few of
them, from different initial weights, are averaged. The last part of the series is held out; of the rest, the
last sixth says which epoch was the best. Beside it: persistence (the next value is the last one) and a linear
autoregression, AR(9), fitted by least squares to the same part. The root mean squared error of each is
printed. Pictures: OUT/<series>.png.
"""

import csv
from pathlib import Path

import _common
import numpy as np

import pyrnn
from pyrnn import plot

HELD_OUT = {"sine": 1 / 3, "sunspots": 1 / 5}  # of the series; of one's own, as of the sunspots
ORDER = 9  # of the autoregression


def sine():
    """1000 points of sin(0.1 t), t from 0 to 100, with noise of standard deviation 0.1."""
    return np.sin(0.1 * np.linspace(0, 100, 1000)) + np.random.default_rng(0).normal(0, 0.1, 1000)


def sunspots():
    """Yearly numbers from 1700 to 2008, which statsmodels carries."""
    from statsmodels.datasets import sunspots

    return sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(float)


def read(path):
    """The last column of a CSV file with a header."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
        return np.array([float(row[-1]) for row in rows[1:]])
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise SystemExit(f"cannot read --data {path}: {error}") from error


def windows(series, size):
    """Windows (T, N, 1) of `size` values and the N values that follow them."""
    cut = np.lib.stride_tricks.sliding_window_view(series, size)[:-1]
    return cut.T[:, :, None].astype(np.float32), series[size:, None].astype(np.float32)


def rmse(prediction, truth):
    return float(np.sqrt(np.mean((prediction - truth) ** 2)))


def autoregression(series, first):
    """Forecasts from `first` on, with coefficients fitted to what comes before."""
    past = np.lib.stride_tricks.sliding_window_view(series, ORDER)[:-1]
    design, after = np.c_[np.ones(len(past)), past], series[ORDER:]
    weights = np.linalg.lstsq(design[: first - ORDER], after[: first - ORDER])[0]
    return design[first - ORDER :] @ weights


def train(x, y, given, rng):
    """A model of windows and what follows them, and its history."""
    fitted = x.shape[1] * 5 // 6
    model = pyrnn.Sequential(
        pyrnn.LSTM(1, given.hidden, activation="relu", rng=rng),
        pyrnn.LastStep(),
        pyrnn.Linear(given.hidden, 1, rng=rng),
    )
    steps = given.epochs * -(-fitted // given.batch)
    history = pyrnn.fit(
        model,
        x[:, :fitted],
        y[:fitted],
        loss="mse",
        optimizer=pyrnn.Adam(model, lr=pyrnn.schedules.Cosine(given.lr, steps)),
        clip_norm=1.0,
        epochs=given.epochs,
        batch_size=given.batch,
        validation_data=(x[:, fitted:], y[fitted:]),
        rng=rng,
    )
    return model, history


def forecast(name, series, given, rng):
    """Train on the first part of a series, print the errors on the rest, and draw it."""
    first = len(series) - round(len(series) * HELD_OUT.get(name, HELD_OUT["sunspots"]))
    if first < 4 * (given.look_back + ORDER):
        raise SystemExit(f"the series {name} is too short: {len(series)} values")
    mean, deviation = series[:first].mean(), series[:first].std()
    x, y = windows((series - mean) / deviation, given.look_back)
    known, predictions = first - given.look_back, []
    for _ in range(given.members):
        model, history = train(x[:, :known], y[:known], given, rng)
        predictions.append(pyrnn.predict(model, x[:, known:])[:, 0])
        if history.stopped == "interrupted":
            break
    predicted = np.mean(predictions, 0) * deviation + mean
    errors = {
        "LSTM": rmse(predicted, series[first:]),
        "persistence": rmse(series[first - 1 : -1], series[first:]),
        f"AR({ORDER})": rmse(autoregression(series, first), series[first:]),
    }
    shown = ", ".join(f"{who} {error:.4g}" for who, error in errors.items())
    print(f"{name}: root mean squared error over the last {len(series) - first}: {shown}", flush=True)
    ax = plot.forecast(series, predicted, start=first)
    ax.set_title(f"{name}: one step ahead, RMSE {errors['LSTM']:.3g}")
    _common.save(ax, given.out / f"{name}.png")
    return errors, history


def parse(arguments=None):
    parser = _common.options(__doc__, "forecast")
    positive = _common.positive
    parser.add_argument("--data", type=Path, metavar="FILE", help="CSV with a header; default: sunspots")
    parser.add_argument("--look-back", type=positive(int), default=10, help="values of a window; default: 10")
    parser.add_argument("--members", type=positive(int), default=3, help="LSTMs to average; default: 3")
    parser.add_argument("--hidden", type=positive(int), default=32, help="units; default: 32")
    parser.add_argument("--epochs", type=positive(int), default=100, help="default: 100")
    parser.add_argument("--batch", type=positive(int), default=32, help="windows a step; default: 32")
    parser.add_argument("--lr", type=positive(float), default=0.01, help="first step size; default: 0.01")
    return parser.parse_args(arguments)


def main(arguments=None):
    given = parse(arguments)
    rng = _common.start(given)
    series = {"sine": sine()}
    if given.data is None:
        series["sunspots"] = sunspots()
    else:
        series[given.data.stem] = read(given.data)
    errors = {}
    for name, values in series.items():
        errors[name], history = forecast(name, values, given, rng)
        if history.stopped == "interrupted":
            break
    return errors


if __name__ == "__main__":
    main()
