"""Options of cells, one by one and drawn at random, as `functional.vjp` and the reference take them."""

import numpy as np
from hypothesis import strategies as st

from pyrnn import _registry, functional

from .problems import own_weights

SIZES = st.tuples(st.integers(0, 7), st.integers(1, 9), st.integers(1, 6), st.integers(1, 40))  # T B I H


def projections(cell, H):
    """What h may be projected to; 0 for nothing."""
    sizes = st.integers(1, H - 1) if _registry.REGISTRY[cell].states > 1 and H > 1 else st.just(0)
    return st.one_of(st.just(0), sizes)


@st.composite
def options(draw, cell, B, H, dtype, P=0):
    """Arguments by name; most examples have several."""
    entry, chosen = _registry.REGISTRY[cell], {}
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if cell not in _registry.NO_ACTIVATION:
        for name in ("activation", "recurrent_activation"):
            if draw(st.booleans()):
                chosen[name] = draw(st.sampled_from(functional.ACTIVATIONS))
    if entry.states > 1 and draw(st.booleans()):
        chosen["cell_clip"] = draw(st.sampled_from([0.25, 1.0, 8.0]))
    if entry.peepholes and draw(st.booleans()):
        chosen["w_units"] = own_weights(entry, rng, H, peepholes=True).astype(dtype)
    if draw(st.booleans()):
        p = st.sampled_from([0.1, 0.5, 1.0])
        chosen["zoneout"] = tuple(draw(p) for _ in range(entry.states)) if draw(st.booleans()) else draw(p)
        chosen["seed"] = draw(st.integers(0, 2**64 - 1))
    if draw(st.booleans()):
        chosen["mask"] = ((rng.random((B, P or H)) < 0.7) / 0.7).astype(dtype)
    return chosen


def every_option(cell, B, H, dtype, option):
    """The values of one option that a cell can have, each as arguments."""
    entry, rng = _registry.REGISTRY[cell], np.random.default_rng(H)
    if option.endswith("activation"):
        names = () if cell in _registry.NO_ACTIVATION else functional.ACTIVATIONS
        return [{option: name} for name in names]
    if option == "w_units":
        return [{option: own_weights(entry, rng, H, peepholes=True).astype(dtype)}] if entry.peepholes else []
    if option == "cell_clip":
        return [{option: limit} for limit in (0.25, 1.0)] if entry.states > 1 else []
    if option == "zoneout":
        both = [{option: (0.25, 0.75), "seed": 5}] if entry.states > 1 else []
        return [{option: 0.5, "seed": 2**64 - 1}, *both]
    return [{option: ((rng.random((B, H)) < 0.7) / 0.7).astype(dtype)}]
