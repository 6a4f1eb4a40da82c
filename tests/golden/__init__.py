"""Golden numbers from PyTorch and ONNX Runtime (see make.py), as named cases."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]


class Case(NamedTuple):
    """One computation: what goes in, what must come out. Layouts and parameter names are PyTorch's."""

    cell: str  # name in the registry of cells
    # x (T, B, I), state (S, L * D, B, H), params {name: array}, lengths (B,) or None. Where h is projected, y
    # and what else is as wide as h has P for H, and states are tuples.
    inputs: dict[str, Any]
    outputs: dict[str, Any]  # y (T, B, D * H), final_state (S, L * D, B, H)
    dy: np.ndarray | None  # (T, B, D * H); None: no gradients in this case
    dstate: Any  # (S, L * D, B, H)
    gradients: dict[
        str, Any
    ]  # dx, dstate, grads {name: array}, of (y * dy).sum() + (final_state * dstate).sum()
    dtype: np.dtype  # in which it was computed, and of all its arrays but lengths


def states(arrays: Arrays, name: str) -> Any:
    """An array, or a tuple of those that are numbered."""
    return arrays[name] if name in arrays else tuple(arrays[f"{name}/{q}"] for q in (0, 1))


def load() -> dict[str, Case]:
    """All cases, by name: ``lstm-stack`` and so on."""
    with np.load(Path(__file__).with_name("pytorch.npz"), allow_pickle=False) as file:
        arrays = dict(file)
    cases = {}
    for name in dict.fromkeys(key.split("/")[0] for key in arrays):
        given, params, expected, grads = (
            {key.removeprefix(start): a for key, a in arrays.items() if key.startswith(start)}
            for start in (f"{name}/in/", f"{name}/params/", f"{name}/out/", f"{name}/out/grads/")
        )
        gradients = (
            {"dx": expected["dx"], "dstate": states(expected, "dstate"), "grads": grads} if grads else {}
        )
        cases[name] = Case(
            cell=name.split("-")[0],
            inputs={
                "x": given["x"],
                "state": states(given, "state"),
                "params": params,
                "lengths": given.get("lengths"),
            },
            outputs={"y": expected["y"], "final_state": states(expected, "final_state")},
            dy=given.get("dy"),
            dstate=states(given, "dstate") if grads else None,
            gradients=gradients,
            dtype=given["x"].dtype,
        )
    return cases
