"""Training: `fit`, `predict` and `evaluate`, for layers and for models of one's own."""

from ._history import DivergenceError, History
from .fitting import evaluate, fit, predict

__all__ = ["DivergenceError", "History", "evaluate", "fit", "predict"]
