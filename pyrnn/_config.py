"""What this build is and what it chose on this machine."""

from __future__ import annotations

import os

import numpy as np

from . import _core
from ._threads import get_num_threads


def isas() -> dict[str, bool]:
    """Return the instruction sets that were built, best first, and whether this CPU has each."""
    return _core.isas()


def select_isa(name: str) -> None:
    """Pack weights for the instruction set `name` from now on; what was packed before stays right.

    Raises
    ------
    ValueError
        There is no such instruction set, or this CPU lacks it. The message lists the choices.
    """
    choices = [isa for isa, available in isas().items() if available]
    if name not in choices:
        raise ValueError(f"the instruction set must be one of {', '.join(choices)}, got {name!r}")
    _core.select_isa(list(isas()).index(name))


def show_config() -> None:
    """Print the version, the instruction sets built, available and chosen, and the number of threads."""
    built = [f"{name}{'' if available else ' (not on this CPU)'}" for name, available in isas().items()]
    threads = f"{get_num_threads()}" + ("" if _core.threads_possible() else " (built without threads)")
    print(
        f"pyrnn {_core.VERSION}\n"
        f"  numpy             {np.__version__}\n"
        f"  compiler          {_core.COMPILER}\n"
        f"  instruction sets  {', '.join(built)}\n"
        f"  chosen            {_core.isa()}\n"
        f"  threads           {threads}"
    )


def choose_isa() -> None:
    """Obey ``PYRNN_ISA``; read once, when pyrnn is imported."""
    name = os.environ.get("PYRNN_ISA")
    if name:
        try:
            select_isa(name)
        except ValueError as error:
            raise ValueError(f"PYRNN_ISA: {error}") from None
