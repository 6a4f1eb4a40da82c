"""What fit refuses, naming the argument."""

import numpy as np
import pytest

from pyrnn import fit, losses

from .models import classifier, sequences


def run(x=None, y=None, model=None, **options):
    given_x, given_y = sequences(4)
    model = model or classifier()
    return fit(
        model, given_x if x is None else x, given_y if y is None else y, **{"loss": "cross_entropy"} | options
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: run(model=np.tanh), TypeError, "model must have 'vjp', as the layers have"),
        (
            lambda: run(model=type("M", (), {"params": 3, "vjp": 1, "__call__": 1})()),
            TypeError,
            "model.params must be a mapping of names to arrays, got int",
        ),
        (lambda: run(x=1.0), ValueError, "x must be an array of sequences or a list of them, got a number"),
        (lambda: run(x=[]), ValueError, "x must hold one sequence at least, got none"),
        (lambda: run(x=[np.ones((2, 3)), 1.0]), ValueError, r"x\[1\] must be a sequence, got"),
        (
            lambda: run(x=[np.ones((2, 3)), np.ones((2, 4))]),
            ValueError,
            r"x\[1\] must have features as x\[0\], of shape \(3,\), got \(4,\)",
        ),
        (lambda: run(x=np.ones((6, 0, 3)), y=[]), ValueError, "x must hold one sequence at least"),
        (lambda: run(x=[np.ones((2, 3))], y=[0], lengths=[2]), ValueError, "lengths must be None for a list"),
        (lambda: run(lengths=[7, 1, 1, 1]), ValueError, "lengths must lie between 0 and 6, got 1 to 7"),
        (lambda: run(y=3), ValueError, "y must hold targets of 4 sequences, got a number"),
        (lambda: run(y=np.ones(5, int)), ValueError, "y must have 4 rows, one for each sequence of x"),
        (lambda: run(x=[np.ones((2, 3))], y=[0, 1]), ValueError, "y must hold targets of 1 sequences, as x"),
        (
            lambda: run(x=[np.ones((2, 3)), np.ones((3, 3))], y=[[0, 1], [0, 1, 1, 1]]),
            ValueError,
            r"y\[1\] must have 3 steps, as x\[1\], got shape \(4,\)",
        ),
        (lambda: run(sample_weight=[1, 2]), ValueError, r"sample_weight must have shape \(4,\), got \(2,\)"),
        (lambda: run(sample_weight="a"), TypeError, "sample_weight must hold real numbers"),
        (lambda: run(batch_axis=2), ValueError, "batch_axis must be 0, 1, or two of them"),
        (lambda: run(batch_axis=(1, 1)), ValueError, "batch_axis must be an axis of y, got 1 for shape"),
        (
            lambda: run(loss="mean"),
            ValueError,
            "loss must be one of .*, or a Loss, got 'mean'",
        ),
        (lambda: run(loss=np.mean), TypeError, "loss must be a name, a pyrnn.losses.Loss or a"),
        (lambda: run(metrics=["recall"]), ValueError, "metrics must be of accuracy, .*got 'recall'"),
        (lambda: run(metrics=[3]), TypeError, "metrics must be names or functions, got 3"),
        (lambda: run(metrics=3), TypeError, "metrics must be names or functions, got 3"),
        (lambda: run(metrics=["mse", losses.mse]), ValueError, "metrics must have names that differ"),
        (lambda: run(optimizer="newton"), ValueError, "optimizer must be one of adam.*, got 'newton'"),
        (lambda: run(optimizer=3), TypeError, "optimizer must be a name or have a method step, got 3"),
        (lambda: run(epochs=0), ValueError, "epochs must be at least 1, got 0"),
        (lambda: run(batch_size=2.5), TypeError, "batch_size must be an integer, got 2.5"),
        (lambda: run(clip_norm=0), ValueError, "clip_norm must be finite and above 0, got 0"),
        (lambda: run(patience=1.5), TypeError, "patience must be an integer, got 1.5"),
        (lambda: run(patience=-1), ValueError, "patience must be finite and at least 0, got -1"),
        (lambda: run(min_delta=-1), ValueError, "min_delta must be finite and at least 0, got -1"),
        (lambda: run(monitor="val_loss"), ValueError, "monitor must be one of loss, got 'val_loss'"),
        (lambda: run(mode="best"), ValueError, "mode must be one of min, max, got 'best'"),
        (lambda: run(shuffle=1), TypeError, "shuffle must be True or False, got 1"),
        (lambda: run(rng=-1), ValueError, "rng must be a non-negative seed, got -1"),
        (lambda: run(validation_split=1.5), ValueError, "validation_split must lie between 0 and 1, got 1.5"),
        (lambda: run(validation_split=0.9), ValueError, "validation_split must leave sequences to train on"),
        (
            lambda: run(validation_split=0.5, validation_data=sequences(2)),
            ValueError,
            "validation_split must be 0 if validation_data is given, got 0.5",
        ),
        (lambda: run(validation_data=np.ones(3)), TypeError, r"validation_data must be a tuple \(x, y\)"),
        (lambda: run(callbacks=3), TypeError, "callbacks must be functions, got 3"),
        (lambda: run(progress="yes"), TypeError, "progress must be True or False, got 'yes'"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
