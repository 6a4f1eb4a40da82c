"""A training step: forward, and the gradients of the input and of every parameter."""

from typing import Any

from .suite import Case, run

MODE = "training"


def test_training(benchmark: Any, case: Case) -> None:
    run(benchmark, case)
