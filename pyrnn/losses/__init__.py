"""Losses: a number to minimise, and the way back to the predictions.

A loss is written once, as a function that returns the number and `pull`; the decorator `Loss` gives it two
forms:

- ``loss(predictions, targets)`` is the number, a Python float;
- ``loss.vjp(predictions, targets)`` is the number and `pull`, and ``pull(dloss=1.0)`` the gradient with
  respect to the predictions, times `dloss`.

Every loss is a weighted mean, ``sum(w * l) / sum(w)``, over what the predictions hold: numbers, whose last
axis are the features of a position (`mse`, `mae`, `huber`, `binary_cross_entropy`), or positions
(`cross_entropy`). Of a sequence (T, B, features) the positions are (T, B), of a batch (B, features) they are
(B,). Two keywords, which every loss has, say what counts:

mask
    Booleans: False gives the weight 0. It has exactly the shape of the positions, or, where numbers are
    weighed, that of the predictions.
sample_weight
    Finite real numbers of at least 0, by NumPy's rules broadcast to the positions: (B,) are a weight for each
    sequence of a batch, whether the predictions are (B, features) or (T, B, features); with the batch first,
    (B, T, features), that is (B, 1). Where numbers are weighed, an array of as many axes as the predictions
    is broadcast to their whole shape.

Both together multiply. So scaling all weights changes nothing, a weight of 2 is the same as two samples, and
a weight of 0 as none: scikit-learn's and NumPy's (`numpy.average`) convention, and that of PyTorch's class
weights. Keras multiplies too, but divides by the number of samples.

What does not count does not matter, be it NaN, and its gradient is exactly zero; where nothing counts the
loss is 0.0.
"""

from ._classes import cross_entropy
from ._loss import Loss
from ._numbers import binary_cross_entropy, huber, mae, mse

__all__ = ["Loss", "binary_cross_entropy", "cross_entropy", "huber", "mae", "mse"]

for _loss in (binary_cross_entropy, cross_entropy, huber, mae, mse):
    _loss.__module__ = __name__  # where users, pickle and the documentation find them
