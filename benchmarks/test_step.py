"""One step of one sequence, the state carried from call to call."""

from typing import Any

from .suite import Case, run

MODE = "step"


def test_step(benchmark: Any, case: Case) -> None:
    run(benchmark, case)
