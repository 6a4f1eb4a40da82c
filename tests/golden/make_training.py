"""Make training.npz: losses, optimizers and schedules as PyTorch computes them.

    python tests/golden/make_training.py

needs torch, which the tests do not; the committed file was made with 2.13.0.
"""

from pathlib import Path

import numpy as np
import torch
from torch.optim import lr_scheduler

STEPS, SIZE = 20, 8  # of a trajectory: steps, and parameters, those of a Linear(3, 2)
OPTIMIZERS = {
    "SGD": {
        "plain": {"lr": 0.1},
        "decay": {"lr": 0.1, "weight_decay": 0.3},
        "momentum": {"lr": 0.02, "momentum": 0.9},
        "nesterov": {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    },
    "RMSprop": {
        "default": {},
        "decay": {"lr": 0.03, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.2},
        "momentum": {"lr": 0.003, "momentum": 0.9},
        "centered": {"lr": 0.003, "alpha": 0.9, "momentum": 0.5, "centered": True},
    },
    "Adam": {
        "default": {},
        "options": {"lr": 0.05, "betas": (0.8, 0.99), "eps": 1e-4},
        "decay": {"lr": 0.05, "weight_decay": 0.1},
    },
    "AdamW": {"default": {"lr": 0.02}, "decay": {"lr": 0.05, "betas": (0.5, 0.9), "weight_decay": 0.5}},
}


def losses():
    """Predictions (4, 3, 5), what they should have been, the loss and its gradient."""
    rng = np.random.default_rng(0)
    predictions = 2 * rng.standard_normal((4, 3, 5))
    targets = {
        "mse": rng.standard_normal((4, 3, 5)),
        "mae": rng.standard_normal((4, 3, 5)),
        "huber": rng.standard_normal((4, 3, 5)),
        "binary_cross_entropy": rng.random((4, 3, 5)),
        "cross_entropy": rng.integers(0, 5, (4, 3)),
    }
    calls = {
        "mse": torch.nn.functional.mse_loss,
        "mae": torch.nn.functional.l1_loss,
        "huber": lambda y, t: torch.nn.functional.huber_loss(y, t, delta=0.7),
        "binary_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
        "cross_entropy": lambda y, t: torch.nn.functional.cross_entropy(y.flatten(0, 1), t.flatten()),
    }
    arrays = {"predictions": predictions}
    for name, call in calls.items():
        y = torch.tensor(predictions, requires_grad=True)
        loss = call(y, torch.tensor(targets[name]))
        loss.backward()
        arrays |= {f"{name}/targets": targets[name], f"{name}/loss": loss, f"{name}/gradient": y.grad}
    return arrays


def trajectory(make, start, grads, schedule=None):
    """The parameters after each step."""
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer, path = make([p]), []
    scheduler = None if schedule is None else schedule(optimizer)
    for g in grads:
        p.grad = torch.tensor(g)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        path.append(p.detach().numpy().copy())
    return np.stack(path)


def optimizers():
    rng = np.random.default_rng(1)
    start, grads = rng.uniform(-0.5, 0.5, SIZE), rng.standard_normal((STEPS, SIZE))
    arrays = {"start": start, "grads": grads}
    for dtype in (np.float32, np.float64):
        given = start.astype(dtype), grads.astype(dtype)
        for name, cases in OPTIMIZERS.items():
            for case, options in cases.items():

                def make(params, name=name, options=options):
                    return getattr(torch.optim, name)(params, **options)

                arrays[f"{name}/{case}/{np.dtype(dtype)}"] = trajectory(make, *given)
        arrays[f"scheduled/{np.dtype(dtype)}"] = trajectory(
            lambda params: torch.optim.Adam(params, lr=0.05),
            *given,
            lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.01),
        )
    return arrays


def schedules():
    """Learning rates of 31 steps."""

    def linear(optimizer):  # factors 1/4, 2/4, 3/4, 1
        return lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)

    makers = {
        "constant": lambda o: lr_scheduler.ConstantLR(o, factor=1.0),
        "step": lambda o: lr_scheduler.StepLR(o, 7, 0.3),
        "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 30, eta_min=0.02),
        "warm_step": lambda o: lr_scheduler.ChainedScheduler([linear(o), lr_scheduler.StepLR(o, 7, 0.3)]),
        "warm_cosine": lambda o: lr_scheduler.ChainedScheduler(
            [linear(o), lr_scheduler.CosineAnnealingLR(o, 40)]
        ),
    }
    arrays = {}
    for name, make in makers.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler, rates = make(optimizer), []
        for _ in range(31):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        arrays[name] = np.array(rates, np.float64)
    return arrays


def main():
    arrays = {}
    for name, found in (("losses", losses()), ("optimizers", optimizers()), ("schedules", schedules())):
        arrays |= {
            f"{name}/{key}": value.detach().numpy() if isinstance(value, torch.Tensor) else value
            for key, value in found.items()
        }
    np.savez_compressed(Path(__file__).with_name("training.npz"), **arrays)


if __name__ == "__main__":
    main()
