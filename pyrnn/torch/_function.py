"""A call of a module: forward, and the way back as a node of PyTorch's graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _core, functional
from .._call import Call, of_slot
from .._stack import Recurrent
from .._threads import at_most
from ._engine import Packing, as_numpy, put_back, put_by

Array = NDArray[Any]
Tensors = tuple[torch.Tensor, ...]


class Job(NamedTuple):
    """What a call is besides its tensors."""

    layer: Recurrent
    packing: Packing | None
    names: list[str]  # of the weights
    states: int  # S arrays are given as the state, or none
    drops: bool


def read(job: Job, x: torch.Tensor, state: Tensors) -> Call:
    array, lengths = as_numpy(x), None
    if job.packing is not None:
        array, lengths = job.packing.pad(array), job.packing.lengths
    given: Any = tuple(as_numpy(part) for part in state) or None
    return job.layer._read(array, given[0] if given and len(given) == 1 else given, lengths, None)


def as_tensors(job: Job, y: Array, state: Any) -> Tensors:
    """What a layer returned: y, and every part of the state."""
    y = y if job.packing is None else job.packing.pack(y)
    return tuple(map(torch.from_numpy, (y, *(state if isinstance(state, tuple) else (state,)))))


def generator(job: Job) -> np.random.Generator:
    """Where dropout masks come from: a seed that PyTorch draws, so that torch.manual_seed repeats them."""
    seed = int(torch.randint(2**63 - 1, ())) if job.drops else 0
    return np.random.default_rng(seed) if job.drops else job.layer._generator


def infer(job: Job, x: torch.Tensor, state: Tensors) -> Tensors:
    """Forward alone."""
    with at_most(torch.get_num_threads()):
        call = read(job, x, state)
        if job.drops:
            return as_tensors(job, *job.layer._train(call, generator(job))[:2])
        return as_tensors(job, *job.layer._infer(call))


class Run(torch.autograd.Function):
    """Forward, and the gradients of x, of the state and of the weights.

    All that the way back needs is saved as tensors, so that PyTorch gives it free as soon as it has been
    used, checks that inputs have not been written to, and can drop it for a checkpoint. The weights are not
    among it: their packs are a snapshot.
    """

    @staticmethod
    def forward(ctx: Any, job: Job, x: torch.Tensor, *rest: torch.Tensor) -> Tensors:
        state = rest[: job.states]
        with at_most(torch.get_num_threads()):
            y, final, tape = job.layer._train(read(job, x, state), generator(job))
        ctx.tape, arrays = put_by(tape, job.layer.directions)
        ctx.job, ctx.shape = job, y.shape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *state, *map(torch.from_numpy, arrays))
        return as_tensors(job, y, final)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor | None, *dstate: torch.Tensor | None) -> tuple[Any, ...]:
        job: Job = ctx.job
        saved = ctx.saved_tensors[1 + job.states :]
        tape = put_back(ctx.tape, job.layer.directions, [as_numpy(tensor) for tensor in saved])
        with at_most(torch.get_num_threads()):
            found = job.layer._pull(tape, _gradient(job, dy, ctx.shape), _given(dstate))
        return _handed_back(ctx, *found)


class RunOne(torch.autograd.Function):
    """The same for one layer of one direction: no stack to walk through.

    Its calls may be so short that the walk would be a tenth of them.
    """

    @staticmethod
    def forward(ctx: Any, job: Job, x: torch.Tensor, *rest: torch.Tensor) -> Tensors:
        layer, state = job.layer, rest[: job.states]
        with at_most(torch.get_num_threads()):
            call = read(job, x, state)
            (forward,), (back,) = layer._packs(_core.FORWARD), layer._packs(_core.BACKWARD)
            y, final, saved = layer._run_one(call, forward, layer._sequence(call, 0, call.x), None, True)
        y = layer._return(call, y)
        ctx.job, ctx.back, ctx.shape = job, back, y.shape
        ctx.lengths, ctx.batched = call.lengths, call.batched
        ctx.set_materialize_grads(False)
        arrays = (saved, call.x, *(call.states or ()))
        ctx.save_for_backward(x, *state, *map(torch.from_numpy, arrays))
        return as_tensors(job, y, layer._state_out(call, [final]))

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor | None, *dstate: torch.Tensor | None) -> tuple[Any, ...]:
        job: Job = ctx.job
        layer = job.layer
        saved, x, *states = map(as_numpy, ctx.saved_tensors[1 + job.states :])
        call = Call(x, tuple(states) or None, ctx.lengths, None, ctx.batched)
        kept = functional.Kept(ctx.back, layer._sequence(call, 0, x), saved)
        dy_last = layer._gradient_in(call, _gradient(job, dy, ctx.shape))
        given = layer._state_in(_given(dstate), "dstate", x.shape[1], call.batched)
        with at_most(torch.get_num_threads()):
            dx, dstate0, weights = layer._pull_one(kept, dy_last, of_slot(given, 0))
        state0 = layer._state_out(call, [dstate0])
        return _handed_back(ctx, layer._return(call, dx), state0, layer._gradients(0, dx, weights))


def _given(dstate: tuple[torch.Tensor | None, ...]) -> Any:
    """The gradients of the final state as a layer takes them."""
    if all(part is None for part in dstate):
        return None
    given = tuple(None if part is None else as_numpy(part) for part in dstate)
    return given if len(given) > 1 else given[0]


def _handed_back(ctx: Any, dx: Array, dstate0: Any, grads: dict[str, Array]) -> tuple[Any, ...]:
    """The gradients of what forward was given, where they are wanted."""
    job: Job = ctx.job
    found = [dx if job.packing is None else job.packing.pack(dx)]
    if job.states:
        found += dstate0 if isinstance(dstate0, tuple) else (dstate0,)
    found += [grads[name] for name in job.names]
    gradients = [
        torch.from_numpy(one) if wanted else None
        for one, wanted in zip(found, ctx.needs_input_grad[1:], strict=True)
    ]
    if not torch.is_grad_enabled():
        return None, *gradients
    return None, *(None if one is None else Once.apply(one.requires_grad_()) for one in gradients)


class Once(torch.autograd.Function):
    """A gradient made under ``create_graph=True``, which raises when it is differentiated itself.

    torch.autograd.function.once_differentiable would let it pass for a constant where dy is one, and leave a
    penalty on gradients without effect.
    """

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(
            "the modules of pyrnn.torch have no double backward: gradients of gradients need torch.nn"
        )


def _gradient(job: Job, dy: torch.Tensor | None, shape: tuple[int, ...]) -> Array:
    if dy is None:
        return np.broadcast_to(np.zeros(shape[-1], job.layer.dtype), shape)
    return as_numpy(dy) if job.packing is None else job.packing.pad(as_numpy(dy))
