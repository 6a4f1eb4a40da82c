"""Inference over whole sequences."""

from typing import Any

from .suite import Case, run

MODE = "inference"


def test_forward(benchmark: Any, case: Case) -> None:
    run(benchmark, case)
