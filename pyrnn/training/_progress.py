"""The progress bar of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Progress:
    """A bar over all steps of a run, with the epoch's numbers so far.

    Parameters
    ----------
    shown : bool or None
        None: if tqdm is installed and standard error is a terminal.
    epochs, done : int
        How many there are, and how many of them have been done before.
    steps : int
        How many steps an epoch has.
    """

    def __init__(self, shown: bool | None, epochs: int, done: int, steps: int) -> None:
        self._bar: Any = None
        self._epochs, self._steps, self._done = epochs, steps, done
        self._last: dict[str, float] = {}  # of the validation of the epoch before
        if shown is False:
            return
        try:
            from tqdm import tqdm
        except ImportError as error:
            if shown:
                raise ImportError(
                    'progress=True needs tqdm; install it with: pip install "pyrnn[train]"'
                ) from error
            return
        bar = tqdm(total=epochs * steps, initial=done * steps, unit="step", disable=False if shown else None)
        if bar.disable:
            bar.close()
        else:
            self._bar = bar

    def epoch(self, number: int) -> None:
        """Say which epoch begins."""
        if self._bar is not None:
            self._bar.set_description(f"epoch {number + 1}/{self._epochs}", refresh=False)

    def step(self, loss: float) -> None:
        """Count a step."""
        if self._bar is not None:
            self._show({"loss": loss} | self._last)
            self._bar.update()

    def ended(self, numbers: Mapping[str, float]) -> None:
        """Show the numbers of the epoch that has ended."""
        if self._bar is not None:
            self._last = {name: value for name, value in numbers.items() if name != "loss"}
            self._show(numbers)
            self._done += 1
            self._bar.update(self._done * self._steps - self._bar.n)  # an epoch may have had fewer steps
            self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, numbers: Mapping[str, float]) -> None:
        text = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self._bar.set_postfix_str(text, refresh=False)
