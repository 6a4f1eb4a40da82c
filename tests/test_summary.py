"""The table of a model."""

import numpy as np
import pytest

import pyrnn
from pyrnn import GRU, LSTM, Dropout, Embedding, LastStep, LayerNorm, Linear, Sequential, summary

MODEL = Sequential(Embedding(50, 8), Sequential(GRU(8, 16), LayerNorm(16)), LastStep(), Linear(16, 2))


def table(*arguments):
    found = []
    summary(*arguments, print_fn=found.append)
    return found[0].split("\n")


def test_every_layer_has_its_row_with_the_shape_of_its_output():
    lines = table(MODEL, (20, 4))
    assert lines[0].split() == ["Layer", "Output", "shape", "Parameters"]
    assert [line.split("  ")[0] for line in lines[2:-2]] == ["0", "1.0", "1.1", "2", "3"]
    shapes = ["(20, 4, 8)", "(20, 4, 16)", "(20, 4, 16)", "(4, 16)", "(4, 2)"]
    assert all(shape in line for shape, line in zip(shapes, lines[2:-2], strict=True))
    counts = [int(line.split()[-1].replace(",", "")) for line in lines[2:-2]]
    assert counts == [400, 1248, 32, 0, 34] and sum(counts) == MODEL.params.size
    assert lines[-1] == "1,714 parameters, 6.86 kB"
    assert {len(line) for line in lines[:-1]} == {len(lines[0])} and set(lines[1]) == set(lines[-2]) == {"-"}


def test_it_prints(capsys):
    MODEL.summary()
    printed = capsys.readouterr().out
    assert "Linear(16, 2)" in printed and "Output shape" not in printed
    summary(LSTM(3, 4, dtype=np.float64), (5, 2, 3))
    assert "LSTM(3, 4, dtype=np.float64)  (5, 2, 4)" in capsys.readouterr().out


def test_sizes_are_those_of_the_dtypes():
    assert table(Linear(1000, 500, dtype=np.float64))[-1] == "500,500 parameters, 4 MB"
    assert table(Dropout())[-1] == "0 parameters, 0 bytes"
    rows = [line.split() for line in table(Sequential(Dropout(), LastStep()), (3, 2, 1))[2:4]]
    assert rows == [["0", "Dropout(0.5)", "(3,", "2,", "1)", "0"], ["1", "LastStep()", "(2,", "1)", "0"]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: summary(3), TypeError, "model must be a layer, got 3"),
        (lambda: summary(MODEL, 20), TypeError, "input_shape must be a tuple of integers, got 20"),
        (lambda: summary(MODEL, (20, 2.5)), TypeError, "input_shape must be a tuple of integers"),
        (lambda: summary(pyrnn.GRU(3, 2), (20, 4, 2)), ValueError, "x must have shape"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
