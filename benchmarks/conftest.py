"""Options of the suite, and the cases of each file: cells of the registry x named shapes x peers."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyrnn benchmarks")
    group.addoption(
        "--smoke", action="store_true", help="run every benchmark once on tiny shapes, without timing"
    )
    group.addoption(
        "--shapes", default="default", help="a group of benchmarks/shapes.py: default, quick, grid, stack"
    )
    group.addoption("--threads", type=int, default=1, help="threads of every peer")


def pytest_configure(config: pytest.Config) -> None:
    options: Any = config.option
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("the benchmarks need pytest-benchmark: pip install '.[bench]'")
    if options.smoke:
        options.benchmark_disable = True
    if not any(str(argument).startswith("--benchmark") for argument in config.invocation_params.args):
        options.benchmark_sort = "min"
        options.benchmark_columns = ["min", "median", "rounds"]
        options.benchmark_min_rounds = 3
        options.benchmark_max_time = 0.5
        options.benchmark_disable_gc = True


def pytest_report_header(config: pytest.Config) -> list[str]:
    from .machine import config as built
    from .machine import summary

    return [*summary(), *built().splitlines()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        from .suite import cases

        option = metafunc.config.getoption
        found = cases(
            metafunc.module.MODE, "smoke" if option("--smoke") else option("--shapes"), option("--threads")
        )
        metafunc.parametrize("case", found, ids=str)
