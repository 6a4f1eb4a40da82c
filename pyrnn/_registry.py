"""The cells that there are, and what they may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from . import _check, _core


@dataclass(frozen=True)
class Cell:
    """A cell of the registry: G gates, S states, values that training keeps besides states.

    `recurrent` are the blocks of `w_hh`, 0 where a unit sees no other; `units` the weights that each unit has
    for itself, and `peepholes` those that it has besides if the layer has peepholes: U together.
    """

    name: str
    number: int
    gates: int
    states: int
    saves: int
    recurrent: int
    units: int
    peepholes: int


REGISTRY = {name: Cell(name, *numbers) for name, numbers in _core.cells().items()}

CELLS: tuple[str, ...] = tuple(REGISTRY)
"""Names of the cells: lstm, gru (reset after the product), gru_before, rnn_tanh, rnn_relu, lstm_coupled,
indrnn, mingru, minlstm, lstm_norm and gru_norm (with layer normalization)."""

ACTIVATIONS: tuple[str, ...] = ("tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "identity")
"""Names of the activations; hard_sigmoid is x/6 + 1/2 between 0 and 1, softsign x / (1 + abs(x))."""

NO_ACTIVATION = ("mingru", "minlstm")  # whose candidate's and gates' functions are fixed


class Options(NamedTuple):
    """A cell's options, in the order of pyrnn_layer."""

    activation: int  # 1 + its number in ACTIVATIONS; 0 for the cell's own
    recurrent_activation: int
    peepholes: bool
    masked: bool  # training comes with a mask for h
    clip: float  # 0 for none
    zoneout: tuple[float, float]  # of h, and of the LSTM's c
    projection: int = 0  # P, what h is projected to; 0 for no projection


PLAIN = Options(0, 0, False, False, 0.0, (0.0, 0.0))
MOST = PLAIN._replace(masked=True)  # keeps the most for the way back


class Own(NamedTuple):
    """A parameter that is a part of Weights.units: its name, its rows there, whether it is a vector."""

    name: str
    rows: int
    flat: bool = True


OWN = {
    "indrnn": (Own("weight_hh", 1, False),),
    "lstm_norm": (Own("gain_ih", 4), Own("gain_hh", 4), Own("gain_ch", 1), Own("bias_ch", 1)),
    "gru_norm": (Own("gain_ih", 3), Own("gain_hh", 3)),
}
"""Of the cells whose units always have weights for themselves."""


def own(cell: Cell, options: Options) -> tuple[Own, ...]:
    """The parameters that Weights.units is made of, in its order; none if it is None."""
    peepholes = (Own("weight_ch", cell.peepholes, False),) if options.peepholes and cell.peepholes else ()
    return OWN.get(cell.name, ()) + peepholes


def count_units(cell: Cell, options: Options) -> int:
    """U, the weights that each unit has for itself."""
    return cell.units + (cell.peepholes if options.peepholes else 0)


def widths(cell: Cell, units: int, options: Options) -> tuple[int, ...]:
    """How wide each state is: h, which is what a layer puts out, and the LSTM's c."""
    return (options.projection or units, *[units] * (cell.states - 1))


def names(cell: Cell, options: Options) -> tuple[str | None, ...]:
    """What layers call the other fields of Weights; None for one that the cell does not have."""
    w_hh, b_hh = ("weight_hh", "bias_hh") if cell.recurrent else (None, None)
    return "weight_ih", w_hh, "bias_ih", b_hh, "weight_hr" if options.projection else None


def find(cell: str) -> Cell:
    if not isinstance(cell, str) or cell not in REGISTRY:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    return REGISTRY[cell]


def read_options(
    cell: Cell,
    activation: str | None,
    recurrent_activation: str | None,
    peepholes: bool,
    clip: float | None,
    zoneout: float | tuple[float, float],
    masked: bool = False,
    projection: int = 0,
) -> Options:
    """Read what a cell's options are."""
    numbers = []
    for value, name in ((activation, "activation"), (recurrent_activation, "recurrent_activation")):
        if value is not None and cell.name in NO_ACTIVATION:
            raise ValueError(f"{name} must be None for {cell.name}, got {value!r}")
        numbers.append(0 if value is None else 1 + ACTIVATIONS.index(_check.choice(value, ACTIVATIONS, name)))
    if clip is not None and cell.states == 1:
        raise ValueError(f"cell_clip must be None for {cell.name}, which has no cell state, got {clip!r}")
    if isinstance(zoneout, (tuple, list)):
        if len(zoneout) != cell.states:
            raise ValueError(
                f"zoneout must be one number or {cell.states} for {cell.name}, got {len(zoneout)}"
            )
        both = tuple(_check.fraction(p, f"zoneout[{i}]") for i, p in enumerate(zoneout))
    else:
        both = (_check.fraction(zoneout, "zoneout"),) * cell.states
    limit = 0.0 if clip is None else _check.positive(clip, "cell_clip")
    return Options(numbers[0], numbers[1], peepholes, masked, limit, (both[0], both[-1]), projection)
