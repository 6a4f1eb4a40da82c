"""Schedules against PyTorch's, and what they refuse."""

import copy
import dataclasses
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from pyrnn.schedules import Constant, Cosine, Schedule, StepDecay, WarmUp

with np.load(Path(__file__).parent / "golden" / "training.npz") as file:
    GOLDEN = {key.removeprefix("schedules/"): file[key] for key in file if key.startswith("schedules/")}

# As in golden/make_training.py.
SCHEDULES = {
    "constant": Constant(0.1),
    "step": StepDecay(0.1, every=7, factor=0.3),
    "cosine": Cosine(0.1, steps=30, final=0.02),
    "warm_step": WarmUp(StepDecay(0.1, every=7, factor=0.3), steps=4),
    "warm_cosine": WarmUp(Cosine(0.1, steps=40), steps=4),
}

each_schedule = pytest.mark.parametrize("name", SCHEDULES)


@each_schedule
def test_pytorch_has_the_same_rates(name):
    truth = GOLDEN[name]
    rates = [SCHEDULES[name](k) for k in range(len(truth))]
    assert all(type(rate) is float for rate in rates)
    # PyTorch goes from rate to rate: some roundings a step, at a rate of at most 0.1.
    np.testing.assert_allclose(rates, truth, rtol=0, atol=len(truth) * 0.1 * 4 * np.finfo(float).eps)


@each_schedule
def test_a_schedule_is_a_value(name):
    schedule = SCHEDULES[name]
    assert pickle.loads(pickle.dumps(schedule)) == schedule == copy.deepcopy(schedule)
    assert isinstance(schedule, Schedule) and hash(schedule) == hash(copy.deepcopy(schedule))
    assert eval(repr(schedule)) == schedule
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.steps = 3
    assert [schedule(k) for k in (9, 2, 9)] == [schedule(np.int64(k)) for k in (9, 2, 9)]


def test_ends():
    cosine = Cosine(0.4, steps=10, final=0.1)
    assert cosine(0) == 0.4 and cosine(5) == pytest.approx(0.25, rel=1e-15)
    assert cosine(10) == cosine(11) == cosine(10**9) == 0.1
    warm = WarmUp(lambda k: 2.0 + k, steps=2)
    assert [warm(k) for k in range(4)] == [1.0, 3.0, 4.0, 5.0]
    assert WarmUp(Constant(1), 1)(0) == 1.0
    assert StepDecay(1.0, 1, 0.5)(2000) == 0.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Constant(-1), ValueError, "lr must be finite and at least 0, got -1"),
        (lambda: Constant("1"), TypeError, "lr must be a number, got '1'"),
        (lambda: StepDecay(0.1, 0, 0.5), ValueError, "every must be at least 1, got 0"),
        (lambda: StepDecay(0.1, 2.0, 0.5), TypeError, "every must be an integer, got 2.0"),
        (lambda: StepDecay(0.1, 2, math.nan), ValueError, "factor must be finite and at least 0, got nan"),
        (lambda: Cosine(math.inf, 3), ValueError, "lr must be finite and at least 0, got inf"),
        (lambda: Cosine(0.1, True), TypeError, "steps must be an integer, got True"),
        (lambda: Cosine(0.1, 3, -1), ValueError, "final must be finite and at least 0, got -1"),
        (lambda: WarmUp(0.1, 3), TypeError, "schedule must be a function of the step, got 0.1"),
        (lambda: WarmUp(Constant(0.1), 0), ValueError, "steps must be at least 1, got 0"),
        (lambda: Constant(0.1)(-1), ValueError, "step must be at least 0, got -1"),
        (lambda: Cosine(0.1, 3)(1.5), TypeError, "step must be an integer, got 1.5"),
        (lambda: Schedule(), TypeError, "abstract"),
    ],
)
def test_errors_name_the_argument(make, error, message):
    with pytest.raises(error, match=message):
        make()
