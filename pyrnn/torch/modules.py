"""LSTM, GRU and RNN as PyTorch has them."""

from __future__ import annotations

from operator import is_
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from ._engine import DTYPES, Packing, engine_of, knows
from ._function import Job, Run, RunOne, infer

PLAIN = (torch.Tensor, torch.nn.Parameter)


class Accelerated(torch.nn.RNNBase):
    """What the modules share: a forward of their own."""

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_engine"}

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run the module, as that of PyTorch does.

        Parameters
        ----------
        input : Tensor or PackedSequence
            (T, B, I), (B, T, I) if `batch_first`, or (T, I).
        hx : Tensor, or tuple of two for the LSTM, optional
            The state before the first step, (D*L, B, H) or (D*L, H); zeros by default.

        Returns
        -------
        output : Tensor or PackedSequence
            h of the last layer after each step, in the form of `input`.
        state : Tensor, or tuple of two for the LSTM
            The state after the last step of each sequence.

        Raises
        ------
        RuntimeError, ValueError
            What PyTorch raises for arguments that do not fit together.
        """
        if not all(map(is_, map(self._parameters.get, self._flat_weights_names), self._flat_weights)):
            self._update_flat_weights()
        packed = isinstance(input, PackedSequence)
        x, weights = input.data if packed else input, self._flat_weights
        state = hx if isinstance(hx, (tuple, list)) else () if hx is None else (hx,)
        watched = _watched()
        known = not watched and knows(self, weights, x)
        others = state if known else (*state, *weights)
        if watched or not (_at_home(x, others) and _fit(self, input, packed, hx, state)):
            theirs: tuple[Any, Any] = super().forward(input, hx)
            return theirs
        if packed and hx is not None:
            state = [s if input.sorted_indices is None else s[:, input.sorted_indices] for s in state]
        engine = engine_of(self, known)
        packing = Packing(input.batch_sizes, self.batch_first) if packed else None
        inputs = (x, *state, *weights)
        trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        drops = self.training and self.dropout > 0 and self.num_layers > 1
        layer = engine.layer if drops or not trains else engine.undropped
        job = Job(layer, packing, self._flat_weights_names, len(state), drops)
        if trains:
            y, *final = (RunOne if layer._slot_count == 1 else Run).apply(job, *inputs)
        else:
            y, *final = infer(job, x, tuple(state))
        if packed:
            if input.unsorted_indices is not None:
                final = [part[:, input.unsorted_indices] for part in final]
            y = PackedSequence(y, *input[1:])
        return y, tuple(final) if len(final) > 1 else final[0]


def _watched() -> bool:
    """Whether somebody records what PyTorch does, or has it do something else."""
    return bool(
        torch.is_autocast_enabled("cpu")
        or torch.jit.is_tracing()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def _at_home(x: Any, others: Any) -> bool:
    """Whether pyrnn has a kernel for these tensors."""
    if type(x) not in PLAIN or x.dtype not in DTYPES:
        return False
    dtype, strided = x.dtype, torch.strided
    for tensor in (x, *others):
        plain = type(tensor) in PLAIN and tensor.is_cpu and tensor.layout is strided
        if not (plain and tensor.dtype is dtype):
            return False
    return True


def _fit(module: Any, input: Any, packed: bool, hx: Any, state: Any) -> bool:
    """Whether the arguments fit together; where not, PyTorch's own module says so best."""
    x = input.data if packed else input
    shape = x.shape
    if len(shape) not in ((2,) if packed else (2, 3)) or 0 in shape or shape[-1] != module.input_size:
        return False
    if hx is None:
        return True
    batch = [shape[0 if module.batch_first else 1]] if len(shape) == 3 else []
    if packed:
        batch = [int(input.batch_sizes[0])]
    slots = module.num_layers * (2 if module.bidirectional else 1)
    widths = [module.proj_size or module.hidden_size, module.hidden_size][: 2 if module.mode == "LSTM" else 1]
    return (
        isinstance(hx, (tuple, list)) == (len(widths) > 1)
        and len(state) == len(widths)
        and all(part.shape == (slots, *batch, n) for part, n in zip(state, widths, strict=True))
    )


class LSTM(Accelerated, torch.nn.LSTM):
    """``torch.nn.LSTM`` on pyrnn's kernels: the same constructor, parameters, calls and results.

    It is a subclass, so that ``isinstance`` checks, ``state_dict``, initialization, hooks, parametrizations,
    ``deepcopy``, ``torch.save`` and wrappers such as ``DistributedDataParallel`` are PyTorch's own.

    Raises
    ------
    RuntimeError
        When gradients of gradients are asked for: there is no double backward.

    Notes
    -----
    PyTorch's own code runs where pyrnn has no kernel: on other devices, for half precision and under
    autocast, for empty batches, in ``torch.compile``, ``torch.export``, ``torch.jit.trace``, ``torch.func``
    and forward-mode differentiation; and for arguments that do not fit, for which it raises what it always
    did.

    A call uses as many threads as ``torch.get_num_threads()`` says, whatever ``pyrnn.set_num_threads`` does.
    Dropout between layers has masks of its own, which ``torch.manual_seed`` repeats.

    The module keeps packed copies of its weights, which a call renews if a single bit of the weights has
    changed, in whatever way. Under ``torch.no_grad`` nothing is kept for a way back. Weights may be changed
    between forward and backward, which uses those of the forward pass; inputs may not, as ever.

    Examples
    --------
    >>> lstm = LSTM(3, 5, bidirectional=True)
    >>> y, (h, c) = lstm(torch.ones(7, 2, 3))
    >>> y.shape
    torch.Size([7, 2, 10])
    """


class GRU(Accelerated, torch.nn.GRU):
    """``torch.nn.GRU`` on pyrnn's kernels; see `LSTM`."""


class RNN(Accelerated, torch.nn.RNN):
    """``torch.nn.RNN`` on pyrnn's kernels, tanh or relu; see `LSTM`."""


OURS: dict[type, type] = {torch.nn.LSTM: LSTM, torch.nn.GRU: GRU, torch.nn.RNN: RNN}


def accelerate(model: Any) -> Any:
    """Make every ``torch.nn.LSTM``, ``GRU`` and ``RNN`` of a model one of pyrnn's, in place.

    They stay the objects that they are, with their parameters, hooks and names: optimizers made before go on
    working, and so does whatever else refers to them. Subclasses are left alone, since they may have a
    forward of their own.

    Parameters
    ----------
    model : torch.nn.Module
        The model, which may itself be one of the three.

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    TypeError
        `model` is no module.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GRU(8, 16))
    >>> accelerate(model)
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): GRU(8, 16)
    )
    >>> isinstance(model[1], GRU)
    True
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    for module in model.modules():
        if type(module) in OURS:
            module.__class__ = OURS[type(module)]
    return model
