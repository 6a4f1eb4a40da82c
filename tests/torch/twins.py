"""A module of PyTorch, one of pyrnn.torch with the same weights, and what both do on the same problem."""

import copy

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import pyrnn.torch

# What is promised; outputs and gradients below are of order one.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
I, H, B, T = 5, 7, 4, 9


def twins(kind, inputs=I, units=H, *, dtype=torch.float64, **options):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(inputs, units, dtype=dtype, **options)
    return theirs, pyrnn.torch.accelerate(copy.deepcopy(theirs))


def state_for(module, generator, batch):
    """A state as the module wants it; `batch` is () or (B,)."""
    slots = module.num_layers * (2 if module.bidirectional else 1)
    widths = [module.proj_size or module.hidden_size, module.hidden_size][: 2 if module.mode == "LSTM" else 1]
    return [
        torch.from_numpy(generator.standard_normal((slots, *batch, n))).to(module.weight_ih_l0.dtype)
        for n in widths
    ]


def results(module, x, state=None, lengths=None, enforce_sorted=False):
    """The output, the states, and the gradients of everything, for a dy that both twins draw alike."""
    x = x.detach().clone().requires_grad_()
    state = None if state is None else [part.detach().clone().requires_grad_() for part in state]
    given = x
    if lengths is not None:
        given = pack_padded_sequence(
            x, torch.as_tensor(lengths), batch_first=module.batch_first, enforce_sorted=enforce_sorted
        )
    module.zero_grad()
    y, final = module(given, state and (tuple(state) if len(state) > 1 else state[0]))
    y = y if lengths is None else y.data
    outputs = [y, *(final if isinstance(final, tuple) else (final,))]
    rng = np.random.default_rng(1)
    scale = max(1, y.numel() // y.shape[-1]) ** -0.5
    slopes = [torch.from_numpy(rng.standard_normal(a.shape) * scale).to(a.dtype) for a in outputs]
    torch.autograd.backward(outputs, slopes)
    leaves = [x, *(state or ()), *module.parameters()]
    return [a.detach() for a in outputs] + [leaf.grad for leaf in leaves]


def assert_equal(found, desired):
    assert len(found) == len(desired)
    for ours, theirs in zip(found, desired, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=0, atol=TOLERANCE[theirs.dtype])
