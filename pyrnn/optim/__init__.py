"""Optimizers, and the clipping of gradients.

An optimizer is made for layers, whose parameters it moves in place by the gradients that `pull` returned:
one mapping for one layer, a sequence in the order of the layers for several. A step is one pass over memory,
in C and in as many threads as pay for it; its bits do not depend on their number. Numbers below the smallest
normal one (1.2e-38 in float32) count as zeros, as everywhere in the kernels.

The learning rate `lr` is a number, or a schedule: any function of the number of steps taken so far, those of
`pyrnn.schedules` among them.
"""

from ._clip import clip_grad_adaptive, clip_grad_norm, clip_grad_value
from ._optimizer import Optimizer
from ._rules import SGD, Adam, AdamW, RMSprop

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_grad_adaptive",
    "clip_grad_norm",
    "clip_grad_value",
]
