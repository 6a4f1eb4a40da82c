"""Pictures hold what they were given, say what it is, and leave pyplot alone."""

import io
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import pyrnn
from pyrnn import diagnostics, plot

from .processes import python

PNG = b"\x89PNG\r\n\x1a\n"


def saved(axes):
    """The picture as a file: everything is drawn, and nothing warns."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(PNG)
    return axes


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_hidden_states_are_a_symmetric_heat_map(rng):
    h = rng.standard_normal((9, 2, 4))
    axes = saved(plot.hidden_states(h, row=1))
    (image,) = axes.get_images()
    np.testing.assert_array_equal(image.get_array(), h[:, 1].T)
    limit = np.abs(h[:, 1]).max()
    assert image.get_clim() == (-limit, limit)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step t", "unit")
    assert axes.figure.axes[1].get_ylabel() == "h"
    saved(plot.hidden_states(np.zeros((3, 4))))


def test_gradient_flow_is_logarithmic_and_leaves_out_what_has_no_logarithm():
    axes = saved(plot.gradient_flow({"RNN": [0.0, 1e-30, 1.0], "LSTM": [np.inf, 0.5, 1.0]}))
    assert axes.get_yscale() == "log" and labels(axes) == ["RNN", "LSTM"]
    first, second = (line.get_ydata() for line in axes.get_lines())
    np.testing.assert_array_equal(first, [np.nan, 1e-30, 1])
    np.testing.assert_array_equal(second, [np.nan, 0.5, 1])
    assert axes.get_xlabel() == "step t" and "partial L" in axes.get_ylabel()
    saved(plot.gradient_flow({"dead": np.zeros(5)}))


def test_lines_differ_in_colour_or_style():
    axes = plot.gradient_flow({str(n): [1.0, 2.0] for n in range(20)})
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}) == 20


def test_gates_show_mean_and_spread_without_what_lies_beyond_the_end(rng):
    lengths = [6, 4]
    x = rng.standard_normal((8, 2, 3))
    found = diagnostics.gate_activations(pyrnn.LSTM(3, 5, rng=0), x, lengths=lengths)["l0"]
    axes = saved(plot.gates(found))
    assert labels(axes) == ["i", "f", "g", "o"] and len(axes.collections) == 4
    line = axes.get_lines()[1]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(6))
    wide = found["f"].astype(np.float64)
    np.testing.assert_allclose(line.get_ydata()[4:], wide[4:6, 0].mean(1), rtol=1e-12)
    alone = saved(plot.gates(found, row=1)).get_lines()[0]
    np.testing.assert_allclose(alone.get_ydata(), found["i"][:4, 1].astype(float).mean(1), rtol=1e-12)
    saved(plot.gates({"f": np.full((3, 2), np.nan)}))


def test_attention_labels_every_token():
    weights = np.eye(3)[::-1]
    axes = saved(plot.attention(weights, ["c", "b", "<end>"], "abc"))
    assert ticks(axes.yaxis) == ["c", "b", "<end>"] and ticks(axes.xaxis) == list("abc")
    (image,) = axes.get_images()
    np.testing.assert_array_equal(image.get_array(), weights)
    assert axes.figure.axes[1].get_ylabel() == "weight"
    long = saved(plot.attention(weights, keys=["eins", "zwei", "drei"]))
    assert {text.get_rotation() for text in long.get_xticklabels()} == {90}
    saved(plot.attention(np.zeros((2, 40))))


def test_history_draws_training_and_validation():
    found = {"loss": [3.0, 2.0], "val_loss": [4.0, 2.5], "accuracy": [0.5, 0.75]}
    axes = saved(plot.history(found))
    assert labels(axes) == ["training", "validation"] and axes.get_xlabel() == "epoch"
    for line, name in zip(axes.get_lines(), ("loss", "val_loss"), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([[1, 2], found[name]], 1))
    accuracy = saved(plot.history(found, metric="accuracy"))
    assert labels(accuracy) == ["training"] and accuracy.get_ylabel() == "accuracy"
    saved(plot.history({"loss": np.arange(100.0)}))


def test_forecast_begins_where_it_is_told_and_may_go_on():
    truth = np.arange(6.0)
    aligned = saved(plot.forecast(truth, [5.0, 6.0]))
    np.testing.assert_array_equal(aligned.get_lines()[1].get_xydata(), [[4, 5], [5, 6]])
    assert labels(aligned) == ["truth", "forecast (RMSE 1)"]
    on = saved(plot.forecast(truth, [5.0, 9.0, 9.0], start=5, time=2 * truth))
    np.testing.assert_array_equal(on.get_lines()[1].get_xdata(), [10, 12, 14])
    assert labels(on)[1] == "forecast (RMSE 0)" and on.get_xlabel() == "time"
    future = saved(plot.forecast(truth, [6.0], start=6))
    assert labels(future) == ["truth", "forecast"]
    assert labels(saved(plot.forecast(truth, truth)))[1] == "forecast (RMSE 0)"


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plot.hidden_states(np.ones((2, 3)), ax),
        lambda ax: plot.gradient_flow({"a": [1.0]}, ax),
        lambda ax: plot.gates({"f": np.ones((2, 3))}, ax),
        lambda ax: plot.attention(np.eye(2), ax=ax),
        lambda ax: plot.history({"loss": [1.0]}, ax),
        lambda ax: plot.forecast([1.0, 2.0], [2.0], ax),
    ],
)
def test_every_function_draws_into_given_axes(draw):
    other, mine = Figure(layout="constrained").subplots(1, 2)
    assert draw(mine) is mine and mine.has_data() and not other.has_data()
    saved(mine)


def test_pyplot_is_left_alone():
    python(
        "import sys, pyrnn; assert 'matplotlib' not in sys.modules;"
        "pyrnn.plot.attention([[1.0]]).figure.canvas; pyrnn.plot.history({'loss': [1.0]});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "pyrnn\[plot\]"'):
        plot.history({"loss": [1.0]})


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: plot.hidden_states(np.ones(3)), ValueError, r"h must have shape \(T, H\) or \(T, B, H\)"),
        (lambda: plot.hidden_states(np.ones((2, 3, 4)), row=3), ValueError, "row must lie between 0 and 2"),
        (lambda: plot.hidden_states([["a"]]), TypeError, "h must hold real numbers"),
        (lambda: plot.gradient_flow([1.0]), TypeError, "norms must be a mapping"),
        (lambda: plot.gradient_flow({}), ValueError, "norms must not be empty"),
        (lambda: plot.gradient_flow({"a": [[1.0]]}), ValueError, r"norms\['a'\] must have one axis"),
        (lambda: plot.gates({"f": np.ones(3)}), ValueError, r"activations\['f'\] must have shape \(T, H\)"),
        (lambda: plot.attention(np.ones(3)), ValueError, r"weights must have shape \(Tq, T\), got \(3,\)"),
        (lambda: plot.attention(np.eye(2), "abc"), ValueError, "queries must be 2 labels, got 3"),
        (lambda: plot.attention(np.eye(2), keys="a"), ValueError, "keys must be 2 labels, got 1"),
        (lambda: plot.history({"a": [1.0]}), ValueError, "metric must be one of a, got 'loss'"),
        (lambda: plot.forecast([1.0], [1.0, 2.0]), ValueError, "prediction must have at most 1 elements"),
        (lambda: plot.forecast([1.0], [1.0], start=2), ValueError, "start must lie between 0 and 1, got 2"),
        (lambda: plot.forecast([1.0], [1.0], time=[1, 2]), ValueError, r"time must have shape \(1,\)"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
