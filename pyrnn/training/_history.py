"""What a run leaves behind: its numbers, and how it ended."""

from __future__ import annotations

from typing import Any


class History(dict[str, list[float]]):
    """The numbers of every epoch, ``{"loss": [...], "val_loss": [...], ...}``, and how the run ended.

    Attributes
    ----------
    best_epoch : int or None
        The epoch, counted from 0, with the best of what was monitored; None before the first has ended.
    stopped : {"epochs", "patience", "callback", "interrupted"}
        Why the run ended: all epochs are done, nothing got better, a callback returned True, or Ctrl-C.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.best_epoch: int | None = None
        self.stopped = "epochs"

    @property
    def epochs(self) -> int:
        """How many epochs have ended."""
        return len(self.get("loss", ()))

    def add(self, numbers: dict[str, float]) -> None:
        """Append the numbers of an epoch."""
        for name, value in numbers.items():
            self.setdefault(name, []).append(value)


class DivergenceError(FloatingPointError):
    """The loss of a run, or a weight, has become infinite or NaN.

    Attributes
    ----------
    epoch, step : int
        Where: the epoch, and the batch within it, both counted from 0.
    history : History
        The epochs before.
    """

    def __init__(self, message: str, epoch: int, step: int, history: History) -> None:
        super().__init__(message)
        self.epoch, self.step, self.history = epoch, step, history

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.epoch, self.step, self.history)
