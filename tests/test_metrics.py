"""Metrics, from their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.metrics import accuracy

from .problems import at_random


@at_random
@given(st.integers(0, 4), st.integers(0, 4), st.integers(2, 3), st.booleans(), st.booleans(), st.booleans())
def test_accuracy_is_the_share_of_hits(T, B, C, masked, weighted, logits):
    rng = np.random.default_rng([T, B, C])
    targets = rng.integers(0, 2 if logits else C, (T, B))
    scores = rng.standard_normal((T, B) if logits else (T, B, C))
    mask, weights = rng.random((T, B)) < 0.7, rng.integers(0, 3, B)
    options = {"mask": mask} if masked else {}
    options |= {"sample_weight": weights} if weighted else {}
    hits = total = 0
    for t, b in np.ndindex(T, B):
        weight = (mask[t, b] if masked else 1) * (weights[b] if weighted else 1)
        guess = scores[t, b] > 0 if logits else max(range(C), key=lambda c, t=t, b=b: scores[t, b, c])
        hits, total = hits + weight * (guess == targets[t, b]), total + weight
    assert accuracy(scores, targets, **options) == (hits / total if total else 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: accuracy([[1.0, 2.0]], [0.5]), TypeError, "targets must be an array of integers, got dtype"),
        (
            lambda: accuracy([1.0, 2.0], [0]),
            ValueError,
            r"targets must have the shape of predictions, with or",
        ),
        (lambda: accuracy([[], []], [0, 1]), ValueError, "targets must have the shape of predictions"),
        (
            lambda: accuracy([1.0], [0], mask=[True, True]),
            ValueError,
            "mask and sample_weight must broadcast",
        ),
        (
            lambda: accuracy([1.0], [0], sample_weight=["a"]),
            TypeError,
            "sample_weight must hold real numbers",
        ),
        (lambda: accuracy([1.0], [0], mask=[[1, 2], [3]]), ValueError, "mask must be array_like, got list"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
